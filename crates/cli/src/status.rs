//! `authpulse status`: where a lake stands.

use crate::args::Status;
use crate::lake::{Access, open, read_config};
use crate::leases;
use crate::output::say;
use crate::stream::{self, open_to_look};
use anyhow::{Result, bail};
use authpulse_audit::status::{TooNew, status};
use std::process::ExitCode;

/// Runs `authpulse status`.
///
/// # Errors
/// The lake, the stream or its leases cannot be read, something in the lake is too new for this program, or the results cannot be written.
pub async fn run(args: Status) -> Result<ExitCode> {
    let config = read_config(args.config.as_deref())?;
    let lake = open(&args.lake.location()?, &config, Access::Read).await?;
    let (mut stream, mut leases) = (None, None);
    if let Some(text) = &args.stream {
        let location = stream::StreamLocation::parse(text)?;
        if let (stream::StreamLocation::Local(_), Some(_)) = (&location, &args.app) {
            bail!("--app is for streams in Kinesis: the leases of an embedded one are of its lake");
        }
        stream = Some(open_to_look(&location).await?);
        leases = leases::find(&location, args.app.as_deref(), Some(&lake.env.store.uri(""))).await?;
    }
    let store = leases.as_ref().map(|leases| leases.store());
    let status = status(&lake.env, stream.as_deref(), store).await?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        say!("{status}")?;
    }
    match status.formats.too_new.first() {
        // All that can be read was shown.
        Some(TooNew { name, what }) => bail!("{name} is too new for this program: {what}"),
        None => Ok(ExitCode::SUCCESS),
    }
}
