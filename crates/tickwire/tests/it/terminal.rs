//! What commands do on a terminal: a pseudo-terminal of the kernel, which the test reads and types into.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::program::{Serve, run, tickwire};
use crate::support::{Broker, DEADLINE};

/// A program on a terminal.
struct Terminal {
    child: Child,
    keys: File,
    output: mpsc::Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).expect("it can be used");
        unlockpt(&ours).expect("it can be opened");
        let name = ptsname(&ours, Vec::new()).expect("it has a name");
        let open = || {
            let path = OsStr::from_bytes(name.as_bytes());
            let theirs = OpenOptions::new().read(true).write(true).open(path);
            Stdio::from(OwnedFd::from(theirs.expect("it can be opened")))
        };
        let child = tickwire(arguments)
            .envs(variables.iter().copied())
            .env("TERM", "xterm")
            .stdin(open())
            .stdout(open())
            .spawn()
            .expect("the program starts");
        let keys = File::from(ours);
        let mut reader = keys.try_clone().expect("a second handle");
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut piece = [0; 4_096];
            // The last program that has the terminal open ends it with an error.
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                if sender.send(piece[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keys,
            output,
            shown: String::new(),
        }
    }

    /// Waits until the terminal has shown `text`.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            match self.output.recv_timeout(DEADLINE) {
                Ok(piece) => self.shown += &String::from_utf8_lossy(&piece),
                Err(error) => panic!("no {text:?} ({error}) in {:?}", self.shown),
            }
        }
    }

    fn type_key(&mut self, key: u8) {
        self.keys.write_all(&[key]).expect("the terminal takes it");
    }

    /// Waits for the end of the program. Returns its exit code, and all that was shown.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("it can be waited for");
        while let Ok(piece) = self.output.recv_timeout(DEADLINE) {
            self.shown += &String::from_utf8_lossy(&piece);
        }
        (status.code(), self.shown)
    }
}

#[test]
fn top_takes_the_screen_and_gives_it_back_when_q_is_pressed() {
    let broker = Broker::start(&["--feed", "sim", "--symbols", "1"]);
    broker.wait_for_metric("tickwire_feed_ticks_total", |ticks| ticks > 0.0);
    let ops = format!("http://{}", broker.ops);
    let mut terminal = Terminal::start(&["top", "--ops", &ops], &[]);
    terminal.wait_for("\x1b[?1049h");
    terminal.wait_for("updates/s");
    terminal.wait_for("\x1b[1m");
    terminal.type_key(b'x');
    terminal.type_key(b'q');
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.ends_with("\x1b[?25h\x1b[?1049l"), "{shown:?}");
    // Keys are not shown, and no text has this letter.
    assert!(!shown.contains('x'), "{shown:?}");
    broker.stop();
}

#[test]
fn colours_are_for_terminals_without_no_color() {
    let serve = Serve::start(&["--feed", "none", "--anonymous-publish", ">"]);
    let published = run(&["pub", "--url", &serve.url, "chat.a"], "{\"n\":1}");
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let arguments = [
        "sub", "--url", &serve.url, "--pretty", "--mode", "snapshot", "chat.a",
    ];
    for (variables, is_coloured) in [
        (&[][..], true),
        (&[("NO_COLOR", "1")], false),
        (&[("NO_COLOR", "")], true),
    ] {
        let (code, shown) = Terminal::start(&arguments, variables).end();
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains("chat.a"), "{shown}");
        assert_eq!(shown.contains("\x1b["), is_coloured, "{variables:?}: {shown:?}");
    }
}
