//! Tokens and origins as clients show them, and what comes of each.
