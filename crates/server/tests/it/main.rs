//! The broker from outside: a whole one in this process, which the tests reach over its sockets.

mod access;
mod answers;
mod bulk;
mod coding;
mod documentation;
mod doors;
mod ending;
mod history;
mod hostile_http;
mod http;
mod ops;
mod pages;
mod specification;
mod sse;
mod sse_resume;
mod sse_takeover;
mod statuses;
mod stream;
mod support;
