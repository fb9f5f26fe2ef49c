//! Settings that are one of some words.

use super::error::ConfigError;
use super::key::{Setting, Shape};
use super::settings::Settings;

/// Makes an enum of words as the file has them.
macro_rules! choice {
    ($(#[$attribute:meta])* $visibility:vis enum $name:ident { $($(#[$about:meta])* $word:literal => $choice:ident,)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$about])* $choice,)*
        }

        impl Setting for $name {
            const SHAPE: Shape = Shape::Choice(&[$($word),*]);

            fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
                match settings.word(path, Self::SHAPE)? {
                    $($word => Ok(Self::$choice),)*
                    word => unreachable!("{word} is not a word of {path}"),
                }
            }
        }
    };
}

choice! {
    /// How log lines are written.
    pub enum LogFormat {
        /// For people.
        "text" => Text,
        /// One JSON object a line.
        "json" => Json,
    }
}

choice! {
    /// How severe a log line is, the most severe first.
    #[derive(PartialOrd, Ord)]
    pub enum LogLevel {
        /// Something failed.
        "error" => Error,
        /// Something may fail.
        "warn" => Warn,
        /// What an operator wants to know.
        "info" => Info,
        /// What a developer wants to know.
        "debug" => Debug,
        /// Every event that the program reports.
        "trace" => Trace,
    }
}

impl LogLevel {
    /// Every level, the most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level as the file has it, which is also how filter directives have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match Self::SHAPE {
            Shape::Choice(words) => words[self as usize],
            _ => unreachable!(),
        }
    }
}

choice! {
    /// How bytes are handed to the kernel.
    pub enum EgressKind {
        /// By `io_uring` where the kernel offers it, otherwise plainly.
        "auto" => Auto,
        /// One system call a connection.
        "plain" => Plain,
        /// One system call for a batch of connections.
        "io_uring" => IoUring,
    }
}

choice! {
    /// When the feed starts.
    pub enum FeedStart {
        /// With the broker.
        "now" => Now,
        /// With the first subscription.
        "on-subscribe" => OnSubscribe,
    }
}

choice! {
    /// Whether connections of trusted proxies begin with a header of the PROXY protocol.
    pub enum ProxyProtocol {
        /// They begin with what the client sent.
        "off" => Off,
        /// With one of version 2.
        "v2" => V2,
    }
}

choice! {
    /// Whether clients show certificates.
    pub(super) enum TlsClientAuth {
        /// They are not asked.
        "none" => None,
        /// They may.
        "optional" => Optional,
        /// They must.
        "required" => Required,
    }
}
