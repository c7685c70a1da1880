//! What a demo set out to do, kept so that an interrupted one continues with the same.

use crate::args::Demo;
use crate::generate::Profile;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a demo set out to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The user's file, absolute.
    pub input: Option<PathBuf>,
    /// Events to generate or to take.
    pub events: Option<u64>,
    /// How many shards the stream has.
    pub shards: u32,
    /// The shape of the events; the simple one for a demo that began before there were several.
    #[serde(default = "simple")]
    pub profile: Profile,
    /// The seed of the generator.
    pub seed: u64,
    /// How many attacks to inject.
    pub attacks: u32,
    /// Whether everything is stored and adds up.
    pub done: bool,
}

fn simple() -> Profile {
    Profile::Simple
}

impl Plan {
    /// A new plan, from the command line.
    pub fn new(args: &Demo) -> Plan {
        let input = args.input.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        Plan {
            input,
            events: args.events,
            shards: args.shards,
            profile: args.profile.unwrap_or(Profile::NineMonths),
            seed: args.seed,
            attacks: args.attacks,
            done: false,
        }
    }

    /// Reads a plan, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn read(path: &Path) -> Result<Option<Plan>> {
        match std::fs::read(path) {
            Ok(bytes) => {
                let plan = serde_json::from_slice(&bytes);
                plan.map(Some).with_context(|| format!("{} is damaged: use --fresh or another --lake", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let temporary = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            std::fs::write(&temporary, serde_json::to_vec_pretty(self)?)?;
            std::fs::rename(&temporary, path)
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Refuses to continue with another input than the one that was begun.
    ///
    /// # Errors
    /// The command line asks for another input, number of events or number of shards.
    pub fn check_same_input(&self, args: &Demo) -> Result<()> {
        let mut asked = Plan::new(args);
        if args.profile.is_none() {
            // The default has not always been the same.
            asked.profile = self.profile;
        }
        if asked == *self {
            return Ok(());
        }
        let source = |plan: &Plan| match &plan.input {
            Some(path) => path.display().to_string(),
            None => format!("generated events ({:?}, seed {}, attacks {})", plan.profile, plan.seed, plan.attacks),
        };
        bail!(
            "the interrupted demo in this lake goes over {}, {} events, {} shards; this one asks for {}, {} events, {} shards: \
             repeat its own command to continue, or use --fresh or another --lake",
            source(self),
            self.events.map_or("default".to_owned(), |n| n.to_string()),
            self.shards,
            source(&asked),
            asked.events.map_or("default".to_owned(), |n| n.to_string()),
            asked.shards
        )
    }
}
