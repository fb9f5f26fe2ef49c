//! The program as its users see it: its commands, and the broker as clients of other projects see it.
//!
//! The clients are Python's `websockets`, Node's `ws`, Chromium, curl, Prometheus, nginx and HAProxy, and plain sockets
//! for what these would never send. A test whose client is missing says so and is skipped. No test sleeps. A process
//! that does not end is killed, and its test fails.

mod access;
mod accounting;
mod admin;
mod archived;
mod attacks;
mod batches;
mod broker;
mod browser;
mod clocks;
mod compression;
mod console;
mod containers;
mod dashboards;
mod deploy;
mod derive;
mod descriptors;
mod documents;
mod echo;
mod exporting;
mod faults;
mod floods;
mod handshake;
mod heap;
mod http;
mod journal;
mod journal_files;
mod kubernetes;
mod logging;
mod metrics;
mod moments;
mod node;
mod operators;
mod panics;
mod patterns;
mod payloads;
mod program;
mod prometheus;
mod proxies;
mod publish;
mod rates;
mod reading;
mod recorded;
mod recorded_log;
mod recordings;
mod reload;
mod repeated;
mod replay;
mod replay_kills;
mod requests;
mod several;
mod shutdown;
mod slow;
mod specifications;
mod support;
mod systemd;
mod terminal;
mod timers;
mod tls;
mod unread;
mod usage;
mod views;
mod wildcards;
