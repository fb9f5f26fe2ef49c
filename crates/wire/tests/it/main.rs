//! Properties of the wire crate over random input, in one binary: everything here uses the crate as its users do.

mod parser;
mod parser_reference;
mod streams;
