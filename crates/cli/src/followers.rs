//! `authpulse followers`: which followers besides the tables a lake's journals have, and what is kept for each.

use crate::args::FollowersCommand;
use crate::lake::{Access, LakeLocation, OpenLake, open, read_config};
use crate::output::{say, tell};
use crate::report::thousands;
use anyhow::{Result, bail};
use authpulse_event::Span;
use authpulse_event::time::{DAY, HOUR, SECOND, format_rfc3339};
use authpulse_lake::FollowerName;
use authpulse_lake::followers;
use authpulse_lake::maintain::{Kept, Standing, standings};
use std::fmt::Write;
use std::process::ExitCode;

/// A follower that registered this recently may still run: while it goes on, it registers again, every 10 s at most.
const RECENT: Span = Span::seconds(60);

/// Runs `authpulse followers`.
///
/// # Errors
/// The lake or its registrations cannot be read, there is no follower of this name, or the results cannot be written.
pub async fn run(command: FollowersCommand) -> Result<ExitCode> {
    match command {
        FollowersCommand::List { lake, json, config } => {
            let config = read_config(config.as_deref())?;
            let lake = open(&lake.location()?, &config, Access::Read).await?;
            let keep = config.options.maintain.follower_keep;
            let found = standings(&lake.env.lake, lake.env.journal.as_ref(), keep).await?;
            if json {
                say!("{}", serde_json::to_string_pretty(&found)?)?;
            } else if found.is_empty() {
                say!("nobody but the tables follows this lake")?;
            } else {
                let words: String = found.iter().map(|of| words(of, keep)).collect();
                say!("{}", words.trim_end())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        FollowersCommand::Forget { name, lake } => {
            let name = FollowerName::new(&name).map_err(anyhow::Error::msg)?;
            let location = lake.location()?;
            let lake = open(&location, &read_config(None)?, Access::Read).await?;
            forget(&lake, &name, &location).await
        }
    }
}

async fn forget(lake: &OpenLake, name: &FollowerName, location: &LakeLocation) -> Result<ExitCode> {
    let registry = lake.env.journal.followers();
    // A registration that cannot be read is forgotten as well.
    let at = followers::read(registry).await.ok().and_then(|all| all.into_iter().find(|(known, _)| known == name));
    if !registry.forget(name).await? {
        bail!("there is no follower {name} of {location}: `authpulse followers list` names them");
    }
    say!("{name}: forgotten; nothing is kept for it any more")?;
    let now = lake.env.clock.now();
    if at.is_some_and(|(_, registration)| now.saturating_since(registration.at) < RECENT) {
        tell!("{name} registered less than a minute ago: if it still runs, it registers again when it goes on");
    }
    Ok(ExitCode::SUCCESS)
}

// Writing into a String does not fail.
fn words(of: &Standing, keep: Span) -> String {
    let mut out = format!("{}\n  registered  {}\n", of.name, format_rfc3339(of.at));
    let Some(oldest) = &of.oldest else {
        let lacks = if of.lacks == 0 { "nothing".to_owned() } else { format!("{} entries", thousands(of.lacks)) };
        let _ = writeln!(out, "  lacks       {lacks}");
        if of.kept == Kept::Folded {
            let _ = writeln!(out, "  kept        no: some of them are folded; it will be rebuilt when it comes back");
        }
        return out;
    };
    let (since, shard, n) = (format_rfc3339(oldest.written_at), &oldest.shard, oldest.n);
    let _ = writeln!(out, "  lacks       {} entries, since {since}: entry {n} of shard {shard}", thousands(of.lacks));
    match of.kept {
        Kept::Yes => {
            let until = format_rfc3339(oldest.written_at.saturating_add(keep));
            let _ = writeln!(out, "  kept        until {until} ({} after that entry was written)", length(keep));
            let _ = writeln!(
                out,
                "  holds back  the folding of {} entries, and the removal of their files",
                thousands(of.holds)
            );
        }
        Kept::Overdue => {
            let _ = writeln!(
                out,
                "  kept        no longer, as that is more than {} ago; it will be rebuilt when it comes back",
                length(keep)
            );
        }
        Kept::Folded => {
            let _ = writeln!(out, "  kept        no: some of them are folded; it will be rebuilt when it comes back");
        }
    }
    out
}

/// A length of time in the largest unit that fits it.
fn length(span: Span) -> String {
    let units = [(DAY, "days"), (HOUR, "hours"), (60 * SECOND, "minutes")];
    let fits = units.into_iter().find(|(unit, _)| span >= *unit && span % *unit == Span::ZERO);
    let (unit, name) = fits.unwrap_or((SECOND, "seconds"));
    format!("{} {name}", span / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::ProcessingTime;
    use authpulse_lake::maintain::Lacked;

    #[test]
    fn what_is_told_of_a_follower_says_since_when_it_lags_and_what_it_holds_back() {
        let oldest = Lacked {
            shard: "shardId-000000000000@s.1".to_owned(),
            n: 41,
            written_at: ProcessingTime::from_micros(1_709_251_200_000_000),
        };
        let lagging = Standing {
            name: "counts".to_owned(),
            at: ProcessingTime::from_micros(1_709_251_210_000_000),
            lacks: 1_200,
            oldest: Some(oldest),
            kept: Kept::Yes,
            holds: 1_100,
        };
        let told = words(&lagging, 7 * DAY);
        for part in [
            "counts\n  registered  2024-03-01T00:00:10",
            "1,200 entries, since 2024-03-01T00:00:00",
            "entry 41 of shard shardId-000000000000@s.1",
            "until 2024-03-08T00:00:00",
            "(7 days after",
            "the folding of 1,100 entries",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
        let told = words(&Standing { kept: Kept::Overdue, ..lagging.clone() }, 90 * 60 * SECOND);
        assert!(told.contains("more than 90 minutes ago; it will be rebuilt"), "{told}");
        let told = words(&Standing { oldest: None, lacks: 0, ..lagging }, DAY);
        assert!(told.contains("lacks       nothing"), "{told}");
    }
}
