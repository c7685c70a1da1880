//! The lake's tests, in one program: a program each would be linked with all dependencies each.

mod commit;
mod common;
mod contract;
mod contracts;
mod corpus;
#[path = "common/created_by.rs"]
mod created_by;
mod ddl;
mod faults;
mod later_columns;
mod maintain;
mod round_trip;
