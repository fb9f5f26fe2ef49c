//! The feeds, tested from outside: what they publish is compared with independent computations.

mod anomalies;
mod book_audit;
mod derived_audit;
mod excerpt;
mod recorded;
mod recorded_log;
mod recordings;
mod replay;
mod sim_books;
mod sim_rate;
mod sim_statistics;
mod support;
