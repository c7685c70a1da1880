//! A lake seen from outside: [`verify`] compares journals, files and tables row by row, [`status`] says how far each of them is.
//!
//! Both only read, and may run while other programs use the lake.

pub mod status;
pub mod verify;
