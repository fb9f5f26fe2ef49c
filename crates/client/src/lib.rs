//! The Rust client of Tickwire: subscribe, publish, reconnect, resume, and checks of what the broker promises.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tickwire_client::{Client, Event, Subscription};
//!
//! let (client, mut events) = Client::builder("ws://127.0.0.1:7400/v1/ws").connect().await?;
//! for result in client.subscribe(Subscription::to(["ticker.BTC-USD", "trade.*"])).await? {
//!     if let Some(refusal) = result.error {
//!         eprintln!("{}: {refusal}", result.topic);
//!     }
//! }
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{message:?}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`promise`] and [`book`] are pure: a simulator or a load test with sockets of its own can use them. The rest is one
//! task per [`Client`] that owns the connection, and a reader task and a writer task per connection. Every queue
//! between them is bounded.

pub mod book;
pub mod promise;

mod backoff;
mod builder;
mod client;
mod clocks;
mod connect;
mod core;
mod driver;
mod endpoint;
mod error;
mod event;
mod http;
mod idle;
mod ledger;
mod link;
mod nodes;
mod pace;
#[cfg(planted)]
pub mod planted;
#[cfg(not(planted))]
#[expect(unreachable_pub, reason = "only tests that plant faults name them")]
mod planted;
mod request;
mod session;
mod stream;
mod subscription;
mod tls;
mod token;

pub use backoff::BackoffBounds;
pub use builder::ClientBuilder;
pub use client::{Client, Events, PublishOptions, PublishReceipt, Publishing, Subscribing};
pub use clocks::Clocks;
pub use error::{ConnectError, Loss, RequestError, TlsError, UrlError};
pub use event::Event;
pub use http::Download;
pub use subscription::Subscription;
