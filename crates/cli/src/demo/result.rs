//! How a demo came out.

use super::Paths;
use super::findings;
use super::plan::Plan;
use crate::args::Demo;
use crate::lake::{Access, LakeLocation, open, options};
use crate::output::print_warnings;
use crate::report::{rate, thousands};
use crate::totals::totals;
use anyhow::Result;
use authpulse_journal::Env;
use authpulse_producer::replay::ReplaySummary;
use authpulse_settings::config::Config;
use std::fmt::Write;
use std::time::Duration;

/// What was sent, and how long it took.
pub(super) struct Run {
    /// What was sent.
    pub replayed: ReplaySummary,
    /// How long it took to send all of it.
    pub replayed_in: Duration,
    /// How long it took until all of it was stored.
    pub took: Duration,
}

/// What a demo shows at its end.
pub(super) struct Shown {
    /// The text to print.
    pub words: String,
    /// Whether all of the input is in the tables.
    pub complete: bool,
    /// Whether records were received and none was accepted.
    pub all_rejected: bool,
}

/// Sums up a demo whose consumer has ended; `generated` is how long its input took to make.
///
/// # Errors
/// The lake cannot be read.
pub(super) async fn result(
    args: &Demo,
    config: &Config,
    location: &LakeLocation,
    paths: &Paths,
    plan: &Plan,
    generated: Duration,
    Run { replayed, replayed_in, took }: &Run,
) -> Result<Shown> {
    let open = open(location, config, Access::Read).await?;
    let totals = totals(&open.env, &options(config)).await?;
    let mut out = String::new();
    writeln!(out, "AuthPulse demo: {}\n", args.lake.display())?;
    if plan.input.is_none() {
        writeln!(out, "generated in {:.1} s: {}", generated.as_secs_f64(), paths.events.display())?;
    }
    writeln!(
        out,
        "replayed {} records in {:.1} s, landed after {:.1} s: {} events/s end to end\n",
        thousands(replayed.job.records()),
        replayed_in.as_secs_f64(),
        took.as_secs_f64(),
        rate(replayed.run.records(), took.as_secs_f64())
    )?;
    writeln!(out, "{totals}")?;
    let missing = entries_missing_in_tables(&open.env).await?;
    if missing > 0 {
        writeln!(out, "{missing} journal entries are not in the tables yet: run the demo again")?;
    }
    if totals.received != replayed.job.records() {
        writeln!(
            out,
            "{} records were replayed, {} were received: run `authpulse verify`",
            replayed.job.records(),
            totals.received
        )?;
    }
    let findings = findings::collect(&open.env, &config.options.engine, findings::read_labels(&paths.labels)?).await?;
    write!(out, "\n{findings}")?;
    print_warnings(&replayed.warnings);
    let complete = missing == 0
        && totals.adds_up()
        && totals.waiting + totals.unscored == 0
        && totals.received == replayed.job.records();
    Ok(Shown { words: out, complete, all_rejected: totals.received > 0 && totals.curated == 0 })
}

/// Entries that a table does not hold yet, at most over all tables.
async fn entries_missing_in_tables(env: &Env) -> Result<u64> {
    let mut missing = 0;
    for table in env.lake.made_tables().await? {
        let applied = env.lake.load(table).await?.applied()?;
        for shard in env.journal.shards().await? {
            let tail = env.journal.tail(&shard).await?.unwrap_or(0);
            missing = missing.max(tail - applied.get(&shard).copied().unwrap_or(0));
        }
    }
    Ok(missing)
}

/// The commands to go on with once a demo is complete.
pub(super) fn next_commands(args: &Demo, plan: &Plan, paths: &Paths) -> String {
    let lake = args.lake.display();
    let stream = paths.stream.display();
    let config = args.config.as_ref().map_or(String::new(), |path| format!(" --config {}", path.display()));
    let evaluate = |lake: &str| match plan.input.is_none() && plan.attacks > 0 {
        true => format!(
            "  authpulse evaluate --lake {lake} --labels {}{config}  # what so many alerts a day catch of the attacks\n",
            paths.labels.display()
        ),
        false => String::new(),
    };
    if let Some(catalog) = &args.catalog {
        let lake = format!("{lake} --catalog {catalog}");
        let evaluate = evaluate(&lake);
        return format!(
            "  authpulse verify --lake {lake}{config}     # audit journal and tables, row by row\n  \
               authpulse status --lake {lake} --stream local:{stream}{config}\n{evaluate}  \
               docs/aws.md                         # the same tables through Athena, PyIceberg and DuckDB"
        );
    }
    let evaluate = evaluate(&lake.to_string());
    format!(
        "  authpulse verify --lake {lake}{config}                    # audit journal and tables, row by row\n  \
           authpulse status --lake {lake} --stream local:{stream}{config}\n{evaluate}  \
           python3 docs/examples/riskiest_users.py {lake}     # the same tables through PyIceberg and DuckDB\n  \
           authpulse backfill --input FILE --lake ./history  # your own file, straight into a lake\n  \
         (authpulse is target/release/authpulse, or: cargo run --release -- …)"
    )
}
