//! How a command fails, and the exit code that says so.

use std::process::ExitCode;

use crate::console;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was used wrongly: exit code 2.
    Usage(anyhow::Error),
    /// It could not be done: exit code 1.
    Failed(anyhow::Error),
    /// It could not be done, and standard error says why already: exit code 1.
    Reported,
}

impl Failure {
    /// Used wrongly because of `error`.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    /// Says what went wrong and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let code = match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Reported => return ExitCode::from(1),
        };
        console::say(format_args!("{}", self.text()));
        ExitCode::from(code)
    }

    /// What went wrong, with its causes, unless a message tells its cause by itself; nothing if it was said already.
    pub(crate) fn text(&self) -> String {
        let (Self::Usage(error) | Self::Failed(error)) = self else {
            return String::new();
        };
        let mut text = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        text
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
