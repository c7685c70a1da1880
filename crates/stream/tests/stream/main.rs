//! The crate's tests, in one program: a program each would be linked with all dependencies each.

mod contract;
mod faults;
mod kill;
mod local;
