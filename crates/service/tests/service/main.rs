//! The consumer's tests over real stores, in one program: separate programs would each be linked with all dependencies.

mod attributes;
mod backfill;
mod beside;
mod clocks;
mod columns;
mod dropped_column;
mod finished_empty;
mod forgotten;
mod later_table;
#[path = "../../../lake/tests/common/logons_to_come.rs"]
mod logons_to_come;
mod memory;
mod redrive;
mod rules;
mod sections;
mod small_lake;
mod verify;
mod verify_folded;
mod verify_rows;
mod verify_service;
