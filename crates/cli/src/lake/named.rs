//! A lake as the command line names it.

use super::LakeLocation;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// A lake that exists.
#[derive(Args, Debug)]
pub struct NamedLake {
    /// The lake: a directory, or s3://BUCKET/PREFIX with --catalog.
    #[arg(long)]
    lake: PathBuf,
    /// The catalog of a lake on S3: glue, or glue:DATABASE. [default database: authpulse]
    #[arg(long)]
    catalog: Option<String>,
}

impl NamedLake {
    /// Where the lake is.
    ///
    /// # Errors
    /// No lake can be at this place, or `--catalog` does not fit it.
    pub fn location(&self) -> Result<LakeLocation> {
        LakeLocation::new(&self.lake, self.catalog.as_deref())
    }
}
