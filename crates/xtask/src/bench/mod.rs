//! `cargo xtask bench`: measures the hot paths, now or compared with another revision.
//!
//! There are two measures of the cases in the package `tickwire-benches`: wall time and counted instructions. With
//! another revision, both sides are built first and then take turns case by case. So a machine that becomes busier
//! slows both. Results go below the target folder and, if asked, to a file.

mod measure;
mod report;
mod side;
mod valgrind;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::Args;

use self::measure::Measure;
use self::side::Side;
use crate::workspace::{Workspace, make, write};

/// The arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Measure only cases whose name contains this, such as `encode` or `fan_out/subscribers_100`; may be given several
    /// times
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Measure this revision as well, and print both
    #[arg(long, value_name = "REV")]
    against: Option<String>,
    /// Only count instructions
    #[arg(long, conflicts_with = "wall")]
    instructions: bool,
    /// Only measure wall time
    #[arg(long)]
    wall: bool,
    /// The number of turns of each case in wall time; the best one counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// List the cases and measure nothing
    #[arg(long, conflicts_with_all = ["against", "save"])]
    list: bool,
    /// Write the results to this new file as well
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

impl BenchArgs {
    fn measures(&self) -> Vec<Measure> {
        let wall = (!self.instructions).then_some(Measure::Wall { rounds: self.rounds });
        let instructions = (!self.wall).then_some(Measure::Instructions);
        wall.into_iter().chain(instructions).collect()
    }

    fn wants(&self, case: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| case.contains(name))
    }
}

/// Measures and prints. Returns true when everything was measured; a case that cannot be measured is an error.
pub(crate) fn run(workspace: &Workspace, args: &BenchArgs) -> Result<bool> {
    let measures = args.measures();
    if !args.list && measures.contains(&Measure::Instructions) {
        valgrind::check()?;
    }
    if let Some(path) = &args.save {
        make_room(path)?;
    }
    let mut sides = Vec::new();
    if let Some(revision) = &args.against {
        sides.push(Side::of_revision(workspace, revision)?);
    }
    sides.push(Side::of_work_tree(workspace)?);
    for side in &mut sides {
        eprintln!("building {}", side.name);
        side.build()?;
    }
    let cases = cases(&sides, args)?;
    if args.list {
        cases.iter().for_each(|case| println!("{case}"));
        return Ok(true);
    }
    if measures.contains(&Measure::Instructions) {
        for side in &mut sides {
            side.prepare_runner(workspace)?;
        }
    }
    let mut text = report::describe(&sides);
    println!("{text}");
    for measure in measures {
        let width = report::width(&cases);
        let mut lines = vec![measure.title(), report::head(width, sides.len())];
        lines.iter().for_each(|line| println!("{line}"));
        for (at, case) in (1..).zip(&cases) {
            say(&format!("[{at}/{}] {case}", cases.len()));
            let line = report::line(measure, width, case, &measure.take(&sides, case)?);
            say("");
            println!("{line}");
            lines.push(line);
        }
        println!();
        text += &format!("\n{}\n", lines.join("\n"));
    }
    if let Some(path) = &args.save {
        write(path, text)?;
        println!("saved in {}", path.display());
    }
    Ok(true)
}

/// Shows progress to a person who waits, in a line that the next one replaces.
fn say(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}\r");
    }
}

/// The cases to measure: those of any side, in the order of the last side.
fn cases(sides: &[Side], args: &BenchArgs) -> Result<Vec<String>> {
    let mut cases: Vec<String> = Vec::new();
    for case in sides.iter().rev().flat_map(|side| &side.cases) {
        if args.wants(case) && !cases.contains(case) {
            cases.push(case.clone());
        }
    }
    ensure!(
        !cases.is_empty(),
        "no case has {} in its name; `cargo xtask bench --list` shows them all",
        args.names.join(" or ")
    );
    Ok(cases)
}

/// Checks before the long measuring that the results can be written.
fn make_room(path: &Path) -> Result<()> {
    if path.exists() {
        bail!("{} exists; remove it or choose another file", path.display());
    }
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(line: &str) -> Result<BenchArgs, clap::Error> {
        Command::try_parse_from(line.split(' ')).map(|command| command.args)
    }

    #[test]
    fn what_is_measured() {
        let (wall, instructions) = (Measure::Wall { rounds: 3 }, Measure::Instructions);
        assert_eq!(parse("bench").unwrap().measures(), [wall, instructions]);
        assert_eq!(parse("bench --wall").unwrap().measures(), [wall]);
        assert_eq!(parse("bench --instructions").unwrap().measures(), [instructions]);
        for refused in ["--wall --instructions", "--rounds 0", "--list --save a"] {
            assert!(parse(&format!("bench {refused}")).is_err(), "{refused}");
        }
    }

    #[test]
    fn which_cases_are_wanted() {
        let args = parse("bench encode fan_out/subscribers_1").unwrap();
        for wanted in ["encode/ticker_json", "fan_out/subscribers_10"] {
            assert!(args.wants(wanted), "{wanted}");
        }
        assert!(!args.wants("fan_out/subscribers_2") && !args.wants("book/snapshot"));
        assert!(parse("bench").unwrap().wants("anything"));
    }

    #[test]
    fn a_file_of_results_is_never_overwritten() {
        let error = make_room(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err();
        assert!(error.to_string().contains("exists"), "{error}");
    }
}
