//! `authpulse`: one binary over the crates; this crate only wires them together.

mod args;
mod commands;
mod consume;
mod demo;
mod lake;
mod leases;
mod logging;
mod maintenance_turn;
mod redrive;
mod report;
mod rights;
mod signals;
mod stream;
mod tables;

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whoever reads the results may stop reading (`authpulse status | head`). That is no bug and has no backtrace; everything that a
/// command was to store is stored before it prints. 141 is what a shell calls the end by SIGPIPE.
fn end_quietly_with_the_reader() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload_as_str().unwrap_or_default();
        if words.starts_with("failed printing to") && words.contains("Broken pipe") {
            std::process::exit(141);
        }
        otherwise(panic);
    }));
}

fn main() -> ExitCode {
    end_quietly_with_the_reader();
    rights::set(false);
    let args = args::Args::parse();
    logging::start(args.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(commands::run(args.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    };
    // What is still waited for by then, such as a commit that a stop gave up, bears being ended at any instant.
    runtime.shutdown_background();
    code
}
