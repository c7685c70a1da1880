//! All of the lake's tests in one program: separate ones would each be linked with all dependencies.

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
