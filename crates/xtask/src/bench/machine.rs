//! Where and when figures were taken, since they mean nothing without. Never the machine's name.

use std::process::Command;
use std::thread;

use super::side::{Side, said_by};

/// A few lines: what was measured, the date, the processor, the system, the compiler.
pub(super) fn describe(sides: &[Side]) -> String {
    let sides = match sides {
        [before, after] => format!("before: {}\nafter:  {}", before.name(), after.name()),
        sides => sides.iter().map(|side| format!("now: {}", side.name())).collect(),
    };
    let cores = thread::available_parallelism()
        .map_or_else(|_| "? cores".to_owned(), |cores| format!("{cores} cores"));
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = model(&cpuinfo).unwrap_or("unknown processor");
    let ask = |program: &str, arguments: &[&str]| {
        said_by(Command::new(program).args(arguments))
            .map_or_else(|_| format!("unknown {program}"), |said| said.trim().to_owned())
    };
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    format!(
        "{sides}\n{}, {processor}, {cores}\n{}, {}\n",
        ask("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        ask("uname", &["-srm"]),
        ask(&rustc, &["--version"]),
    )
}

/// The processor's name as Linux has it.
fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: A Chip @ 2 GHz\n"),
            Some("A Chip @ 2 GHz")
        );
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
