//! Settings that are one of a few words.

use super::error::ConfigError;
use super::key::{Setting, Shape};
use super::settings::Settings;

/// Declares an enum of words, as they are written in the file.
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
    /// The severity of a log line. The most severe is first.
    #[derive(PartialOrd, Ord)]
    pub enum LogLevel {
        /// A failure.
        "error" => Error,
        /// A possible failure.
        "warn" => Warn,
        /// News for operators.
        "info" => Info,
        /// Details for developers.
        "debug" => Debug,
        /// Every event that the program reports.
        "trace" => Trace,
    }
}

impl LogLevel {
    /// Every level, the most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word of the level in the file, which filter directives use too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match Self::SHAPE {
            Shape::Choice(words) => words[self as usize],
            _ => unreachable!(),
        }
    }
}

choice! {
    /// When the journal's files are synced.
    pub enum JournalSync {
        /// Never while the broker runs: the system writes them when it likes.
        "never" => Never,
        /// At intervals.
        "interval" => Interval,
        /// With each entry, before anybody sees its messages.
        "each" => Each,
    }
}

choice! {
    /// Where NATS keeps the log of a cluster.
    pub enum ClusterStorage {
        /// In files.
        "file" => File,
        /// In memory. If all servers stop, everything is lost.
        "memory" => Memory,
    }
}

choice! {
    /// How bytes are handed to the kernel.
    pub enum EgressKind {
        /// By `io_uring` if the kernel offers it, otherwise by `write` calls.
        "auto" => Auto,
        /// One system call for each connection.
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
        /// They begin with the client's bytes.
        "off" => Off,
        /// They begin with a header of version 2.
        "v2" => V2,
    }
}

choice! {
    /// Whether the console offers topics and their messages.
    pub enum ConsoleData {
        /// If the operators' listener is on a loopback address and clients need no certificate.
        "auto" => Auto,
        /// In any case.
        "on" => On,
        /// Never.
        "off" => Off,
    }
}

choice! {
    /// Whether clients show certificates.
    pub(super) enum TlsClientAuth {
        /// They are not asked for one.
        "none" => None,
        /// They may show one.
        "optional" => Optional,
        /// They must show one.
        "required" => Required,
    }
}
