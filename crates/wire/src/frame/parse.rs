//! The strict incremental parser of client frames.
