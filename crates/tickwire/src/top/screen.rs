//! The terminal of `top`: a screen of its own, which is left when this is dropped, and the keys that end it.

use std::io::{self, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// Enters the other screen and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The reverse.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// The size of a terminal that does not tell its own.
const ROWS: usize = 24;

/// The terminal while it is ours.
#[derive(Debug)]
pub(super) struct Screen {
    /// How the terminal was, if standard input is one.
    was: Option<Termios>,
}

impl Screen {
    /// Takes the terminal: keys are read at once, and not shown.
    pub(super) fn open() -> io::Result<Self> {
        let was = tcgetattr(io::stdin()).ok();
        if let Some(was) = &was {
            let mut ours = was.clone();
            ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(io::stdin(), OptionalActions::Now, &ours)?;
        }
        let screen = Self { was };
        write(ENTER)?;
        Ok(screen)
    }

    /// Draws `text` from the top, as many lines as there is room for.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        let told = tcgetwinsize(io::stdout()).map(|size| usize::from(size.ws_row));
        let rows = told.ok().filter(|rows| *rows > 0).unwrap_or(ROWS);
        let lines: Vec<&str> = text.lines().take(rows).collect();
        // Each line is cleared behind its end, and the rest of the screen behind the last; wrapping is off meanwhile.
        write(&format!(
            "\x1b[H\x1b[?7l{}\x1b[K\x1b[J\x1b[?7h",
            lines.join("\x1b[K\r\n")
        ))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing to restore.
        write(LEAVE).unwrap_or_default();
        if let Some(was) = &self.was {
            tcsetattr(io::stdin(), OptionalActions::Now, was).unwrap_or_default();
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The keys that the user presses.
#[derive(Debug)]
pub(super) struct Keys(mpsc::Receiver<u8>);

impl Keys {
    /// Begins to read standard input, in a thread that ends with the process.
    pub(super) fn listen() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        std::thread::spawn(move || {
            let mut key = [0];
            while matches!(io::stdin().read(&mut key), Ok(1)) && sender.blocking_send(key[0]).is_ok() {}
        });
        Self(receiver)
    }

    /// Waits for a `q`. Without standard input it waits forever.
    pub(super) async fn quit(&mut self) {
        loop {
            match self.0.recv().await {
                Some(b'q' | b'Q') => return,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}
