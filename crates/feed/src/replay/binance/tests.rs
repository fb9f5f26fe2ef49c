//! Lines that are understood, and lines that are not, with what is said about them.
