//! How a command fails, and the exit code for it.

use std::process::ExitCode;

use tickwire_client::ConnectError;

use crate::console;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command was used wrongly: exit code 2.
    Usage(anyhow::Error),
    /// The command failed: exit code 1.
    Failed(anyhow::Error),
    /// The command failed, and standard error says why already: exit code 1.
    Reported,
}

impl Failure {
    /// A command that was used wrongly, because of `error`.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    /// Prints the message to standard error and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let code = match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Reported => return ExitCode::from(1),
        };
        console::say(format_args!("{}", self.text()));
        ExitCode::from(code)
    }

    /// The message with its causes, without those that it already contains; empty if it was printed before.
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
        text + error.chain().find_map(advice).unwrap_or_default()
    }
}

/// What the user can do about `error` with the flags of this program.
fn advice(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match error.downcast_ref::<ConnectError>()? {
        ConnectError::Refused { status: 401, .. } => {
            Some("; show a token: --token-file FILE, or TICKWIRE_TOKEN in the environment")
        }
        ConnectError::TlsFailed {
            is_untrusted: true, ..
        } => Some(" (--ca FILE)"),
        _ => None,
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
