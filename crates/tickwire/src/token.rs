//! The token that the tools show to the broker. It comes from a file or the environment, never from the command line,
//! which other users of the machine can see.

use std::env;
use std::path::Path;

use anyhow::anyhow;
use tickwire_client::ClientBuilder;

use crate::failure::Failure;

/// The variable with the token, if no file is named.
const VARIABLE: &str = "TICKWIRE_TOKEN";

/// Gives `builder` the token of `file` or of the environment, if there is one.
pub(crate) fn shown_by(builder: ClientBuilder, file: Option<&Path>) -> Result<ClientBuilder, Failure> {
    if let Some(path) = file {
        return Ok(builder.token_file(path));
    }
    match env::var(VARIABLE) {
        Ok(token) if token.is_empty() => Ok(builder),
        Ok(token) => Ok(builder.token(token)),
        Err(env::VarError::NotPresent) => Ok(builder),
        // The message of this error would repeat the value.
        Err(env::VarError::NotUnicode(_)) => Err(Failure::usage(anyhow!("{VARIABLE} is not UTF-8"))),
    }
}

/// The token of the environment, if there is one that can be read.
pub(crate) fn of_environment() -> Option<String> {
    env::var(VARIABLE).ok().filter(|token| !token.is_empty())
}
