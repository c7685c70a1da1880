//! A lake looked at from outside: [`verify`] compares journals, files and tables row by row, [`status`] says where they stand.
//!
//! Both read and change nothing, beside whatever else uses the lake.

pub mod status;
pub mod verify;
