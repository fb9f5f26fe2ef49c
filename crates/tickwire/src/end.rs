//! `tickwire end`: ends topics, over HTTP.

use serde::Deserialize;
use tickwire_wire::{Epoch, Seq};

use crate::cli::EndArgs;
use crate::console::say;
use crate::failure::Failure;
use crate::http;

/// The position at which a topic has ended.
#[derive(Deserialize)]
struct Ended {
    epoch: Epoch,
    seq: Seq,
}

/// Ends the topics in their order. Those that do not exist are named.
pub(crate) fn run(args: &EndArgs) -> Result<(), Failure> {
    http::run(async {
        let broker = args.broker.client()?;
        let mut is_any_missing = false;
        for topic in &args.topics {
            let ended: Option<Ended> = http::delete(&broker, &format!("/v1/topics/{topic}")).await?;
            match ended {
                Some(Ended { epoch, seq }) => {
                    say(format_args!("{topic}: ended at {epoch}:{seq}"));
                }
                None => {
                    is_any_missing = true;
                    say(format_args!("{topic}: no such topic"));
                }
            }
        }
        if is_any_missing {
            return Err(Failure::Reported);
        }
        Ok(())
    })
}
