//! The console: the operators' web page, and what only this page asks for.
//!
//! The page itself is made from `clients/console` and is part of the program. Its data has the same source as that of
//! clients: it opens a WebSocket and lists topics with the rights that the same token, or none, has at the clients'
//! listener, and may never publish. So whoever reaches the operators' listener can read nothing more than at the
//! clients' listener. By default even this is offered only on a loopback address, and not where clients need a
//! certificate, since this listener asks for none.
//!
//! A page of another site must not reach it through an operator's browser: see [`gate`]. Closing a session is a right
//! of a static key, which no key has by default.

mod about;
mod assets;
mod closing;
mod gate;
mod health;
mod viewing;

pub(super) use self::about::about;
pub(super) use self::assets::asset;
pub(super) use self::closing::close;
pub(crate) use self::health::HealthLog;
pub(crate) use self::viewing::Viewing;
pub(super) use self::viewing::{history, topics, websocket};
