//! What only tests of the broker itself switch on: the key table `[test]`. Never for production, and off by default.

use super::error::ConfigError;
use super::settings::Settings;

/// The key table `[test]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestOnly {
    /// Whether `GET /v1/echo` opens a WebSocket on which each message comes back as it came.
    pub echo: bool,
}

impl TestOnly {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            echo: settings.boolean("test.echo")?,
        })
    }

    /// Says in the log what is on, since none of it belongs into production.
    pub(crate) fn warn(self) {
        if self.echo {
            tracing::warn!(
                "test.echo is on: anyone may have any message sent back by /v1/echo; it is for conformance suites, not for production"
            );
        }
    }
}
