//! Properties of the wire crate over random input, in one program. The tests use the crate as its users do.

mod fuzz;
mod parser;
mod parser_reference;
mod pattern_sets;
mod round_trips;
mod streams;
mod topics;
mod values;
