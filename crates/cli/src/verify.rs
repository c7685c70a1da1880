//! `authpulse verify`: compares a lake's journal, files and tables with each other.

use crate::args::Verify;
use crate::lake::{Access, open, read_config};
use crate::output::say;
use anyhow::Result;
use authpulse_audit::verify::{VerifyOptions, verify};
use authpulse_producer::progress::ProgressReporter;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// Runs `authpulse verify`.
///
/// # Errors
/// The configuration or the lake cannot be read, or the report cannot be written. A difference is no error, but the exit code tells of it.
pub async fn run(args: Verify) -> Result<ExitCode> {
    let config = read_config(args.config.as_deref())?;
    let lake = open(&args.lake.location()?, &config, Access::Read).await?;
    let reporter = Mutex::new(None::<ProgressReporter>);
    let options = VerifyOptions {
        rules: config.options.engine.rules.clone(),
        progress: Arc::new(move |done, total| {
            let mut reporter = reporter.lock().unwrap_or_else(PoisonError::into_inner);
            reporter.get_or_insert_with(|| ProgressReporter::new("verify", Some(total), "rows")).update(done);
        }),
    };
    let report = verify(&lake.env, &options).await?;
    drop(options);
    say!("{report}")?;
    Ok(if report.difference.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
