//! The crate's tests, in one program: several would each be linked with all dependencies.

mod contract;
mod faults;
mod kill;
mod local;
