//! `tickwire get`: prints the values of topics, read over HTTP.

use serde::Deserialize;
use serde_json::value::RawValue;
use tickwire_client::ClientBuilder;

use crate::cli::GetArgs;
use crate::console;
use crate::failure::Failure;
use crate::{http, sub};

/// The data of a message.
#[derive(Deserialize)]
struct Message<'m> {
    #[serde(borrow)]
    data: &'m RawValue,
}

/// Prints the values in the order of the topics. Topics without a value are named afterwards.
pub(crate) fn run(args: &GetArgs) -> Result<(), Failure> {
    http::run(async {
        let broker = args.broker.client()?;
        get(&broker, args).await
    })
}

async fn get(broker: &ClientBuilder, args: &GetArgs) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for topic in &args.topics {
        let value: Option<Box<RawValue>> = http::get(broker, &format!("/v1/topics/{topic}")).await?;
        match value {
            Some(value) => console::print(line(&value, args.data)?.as_bytes())?,
            None => missing.push(topic.to_string()),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    sub::tell_missing(broker.clone(), missing).await;
    Err(Failure::Reported)
}

/// The line of a message, or of its data only. Its digits stay as they are.
pub(crate) fn line(message: &RawValue, only_data: bool) -> Result<String, Failure> {
    let text = match only_data {
        true => serde_json::from_str::<Message<'_>>(message.get())?.data.get(),
        false => message.get(),
    };
    // Between tokens, line ends mean nothing, and a string cannot contain one (RFC 8259 §7).
    Ok(text.replace(['\n', '\r'], "") + "\n")
}
