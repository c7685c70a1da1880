//! `authpulse config`: shows and checks settings.

use crate::args::ConfigCommand;
use crate::lake::{Access, LakeLocation, open, read_config};
use crate::output::say;
use anyhow::Result;
use authpulse_journal::log::read_tail;
use authpulse_journal::open::check_settings;
use std::process::ExitCode;

/// Runs `authpulse config`.
///
/// # Errors
/// The file cannot be read or has faults, or the lake cannot be read or cannot go on with these settings.
pub async fn run(command: ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Show { config } => say!("{}", read_config(config.as_deref())?.show().trim_end())?,
        ConfigCommand::Check { config: path, lake, catalog } => {
            let config = read_config(Some(&path))?;
            if let Some(dir) = lake {
                let location = LakeLocation::new(&dir, catalog.as_deref())?;
                let lake = open(&location, &config, Access::Read).await?;
                for shard in lake.env.journal.shards().await? {
                    if let Some(tail) = read_tail(&lake.env, &shard).await? {
                        check_settings(&tail.time_rules, &config.options.engine)?;
                    }
                }
                say!("the lake {location} can go on with it")?;
            }
            say!("{} is valid (rule_set {})", path.display(), config.options.engine.rules.digest())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
