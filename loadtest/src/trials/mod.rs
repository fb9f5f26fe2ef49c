//! Tests of what the broker promises: each trial is a module with its arguments, its run and its outcome.

pub(crate) mod attack;
pub(crate) mod chaos;
pub(crate) mod cluster;
pub(crate) mod drain;
pub(crate) mod k6;
pub(crate) mod proxy;
pub(crate) mod slowlink;
pub(crate) mod stall;
pub(crate) mod tls_reload;
