//! The router as its users see it: a directory, its shards and their sessions, driven from outside.

mod anew;
mod reader;
mod script;
mod world;

mod behind;
mod books;
mod bounds;
mod caps;
mod compression;
mod cycles;
mod dialects;
mod draining;
mod ending;
mod epochs;
mod grants;
mod lagging;
mod lives;
mod memory;
mod model;
mod moments;
mod one_shots;
mod patterns;
mod piecewise;
mod publishing;
mod rates;
mod resuming;
mod sessions;
mod sharing;
mod staleness;
mod storms;
mod subscribing;
mod threads;
mod tokens;
mod turns;
mod unsubscribing;
