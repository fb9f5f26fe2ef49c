//! Tests of the client against a scripted broker on loopback that can misbehave. No test sleeps: each waits for
//! messages, with a deadline that only a failure reaches.

mod conformance;
mod connecting;
mod peer;
mod requests;
mod resuming;
mod tokens;
