//! The signals that end a program, and the one that makes a broker read its configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals `SIGINT` and `SIGTERM`.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to listen. The signals no longer end the program at once, which is the system's default. Needs a runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal and returns its number.
    pub(crate) async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        u8::try_from(kind.as_raw_value()).unwrap_or(u8::MAX)
    }
}

/// The signal `SIGHUP`.
#[derive(Debug)]
pub(crate) struct Hangup(Signal);

impl Hangup {
    /// Starts to listen. The signal no longer ends the program at once, which is the system's default. Needs a runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next signal. Several that come before the call count as one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}
