//! Starting, running and stopping: the threads and their data, changes of settings, and the clock.

mod alarm;
mod announce;
pub(crate) mod broker;
pub(crate) mod clock;
pub(crate) mod command;
mod derive_thread;
pub(crate) mod derived;
mod feed_thread;
pub(crate) mod http_budget;
pub(crate) mod kept_up;
pub(crate) mod leaving;
pub(crate) mod lifecycle;
pub(crate) mod live_settings;
mod opening;
pub(crate) mod program;
pub(crate) mod pulse;
pub(crate) mod reload;
pub(crate) mod shard_thread;
mod stale_watch;
mod start_error;
mod trim;
mod view_thread;
mod vitals;

pub use broker::{Broker, start};
pub use program::{Program, StopRequest};
pub use reload::{ReloadError, Reloaded};
pub use start_error::StartError;
pub use trim::share_heap;
pub use vitals::{NoSignOfLife, Vitals};
