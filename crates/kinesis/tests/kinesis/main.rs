//! The crate's tests, in one program: separate programs would each be linked with all dependencies.

mod answers;
#[path = "../../../aws/tests/support/client.rs"]
mod client;
mod event_stream;
mod fan_out;
mod leases;
mod putting;
mod reading;
#[path = "../../../aws/tests/support/server.rs"]
mod server;
mod support;
