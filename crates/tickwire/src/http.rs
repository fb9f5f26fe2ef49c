//! What the commands that ask over HTTP share: one request on one connection, and its answer as JSON.

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use tickwire_client::{ClientBuilder, ConnectError};

use crate::failure::Failure;
use crate::logging;

/// Runs a command to its end.
pub(crate) fn run(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let _log = logging::start(logging::TOOL)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(command);
    // What still runs must not keep the program from ending.
    runtime.shutdown_background();
    outcome
}

/// The answer to a GET of `target`; `None` if there is no such thing.
pub(crate) async fn get<T: DeserializeOwned>(
    broker: &ClientBuilder,
    target: &str,
) -> Result<Option<T>, Failure> {
    answer(target, broker.get(target).await)
}

/// The answer to a DELETE of `target`; `None` if there is no such thing.
pub(crate) async fn delete<T: DeserializeOwned>(
    broker: &ClientBuilder,
    target: &str,
) -> Result<Option<T>, Failure> {
    answer(target, broker.delete(target).await)
}

/// The answer to a POST of `body` to `target`; `None` if there is no such thing.
pub(crate) async fn post<T: DeserializeOwned>(
    broker: &ClientBuilder,
    target: &str,
    body: &serde_json::Value,
) -> Result<Option<T>, Failure> {
    answer(target, broker.post(target, body.to_string()).await)
}

fn answer<T: DeserializeOwned>(
    target: &str,
    body: Result<Vec<u8>, ConnectError>,
) -> Result<Option<T>, Failure> {
    let body = match body {
        Ok(body) => body,
        Err(ConnectError::Refused { status: 404, .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let answer = serde_json::from_slice(&body);
    let answer = answer.with_context(|| format!("the answer to {target} is not what was asked for"));
    Ok(Some(answer?))
}
