//! Colours of what is printed for people: where standard output is a terminal, unless `NO_COLOR` is set (no-color.org).

use std::env;
use std::fmt;
use std::io::{self, IsTerminal};

/// A colour or style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Colour {
    /// Its number in a sequence "select graphic rendition" (ECMA-48 §8.3.117).
    const fn code(self) -> u8 {
        match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Cyan => 36,
        }
    }
}

/// Paints text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Painter {
    is_on: bool,
}

impl Painter {
    /// Leaves all text as it is.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { is_on: false };

    /// The painter for standard output.
    pub(crate) fn of_stdout() -> Self {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_on: io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb,
        }
    }

    /// `text` in this colour.
    pub(crate) fn with<T: fmt::Display>(self, colour: Colour, text: T) -> Painted<T> {
        Painted {
            colour: self.is_on.then_some(colour),
            text,
        }
    }
}

/// A text with its colour, if it has one.
#[derive(Debug)]
pub(crate) struct Painted<T> {
    colour: Option<Colour>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.colour {
            Some(colour) => {
                write!(f, "\x1b[{}m", colour.code())?;
                self.text.fmt(f)?;
                f.write_str("\x1b[0m")
            }
            None => self.text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_colour() {
        let on = Painter { is_on: true };
        assert_eq!(format!("{:>3}|", on.with(Colour::Red, 7)), "\x1b[31m  7\x1b[0m|");
        assert_eq!(format!("{:>3}|", Painter::PLAIN.with(Colour::Red, 7)), "  7|");
    }
}
