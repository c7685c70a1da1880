//! `authpulse tables`: maintains, checks and describes a lake's tables.

use crate::args::TablesCommand;
use crate::lake::{Access, LakeLocation, OpenLake, open, read_config};
use crate::maintenance_turn::Turn;
use crate::output::say;
use crate::report::thousands;
use crate::signals::stop_signal;
use anyhow::{Result, bail};
use authpulse_lake::MaintainSettings;
use authpulse_lake::maintain::{
    CleanReport, Extent, Folded, MaintainReport, Memory, PlanLimits, Standing, TableInfo, TableReport, Tally, inspect,
    maintain,
};
use authpulse_settings::config::Config;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::watch;

/// How many paths the text of a report shows; its JSON has all of them.
const PATHS_SHOWN: usize = 100;

/// Runs `authpulse tables`.
///
/// # Errors
/// The lake or its tables cannot be read or made, another process maintains them, or the results cannot be written.
pub async fn run(command: TablesCommand) -> Result<ExitCode> {
    match command {
        TablesCommand::Maintain { lake, every, dry_run, json, config } => {
            // First of all: from now on a signal asks for an orderly end.
            let every = every.map(|every| Ok::<_, std::io::Error>((every, stop_signal(None)?))).transpose()?;
            let config = read_config(config.as_deref())?;
            let location = lake.location()?;
            let lake = open(&location, &config, Access::Read).await?;
            let turn = match dry_run {
                true => None,
                false => Some(Turn::take(&lake.maintenance, &location.to_string()).await?),
            };
            let settings = config.options.maintain;
            let code = match every {
                Some((every, stop)) => run_regularly(&lake, &settings, every, stop, turn.as_ref(), json).await,
                None => {
                    let report = run_once(&lake, &settings, dry_run, json, &mut Memory::default()).await;
                    report.map(|report| if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
                }
            };
            if let Some(turn) = turn {
                turn.give_back().await;
            }
            code
        }
        TablesCommand::Create { lake, config } => {
            let config = read_config(config.as_deref())?;
            let location = lake.location()?;
            let lake = open(&location, &config, Access::Write("tables create")).await?;
            for table in lake.env.lake.ensure_tables().await? {
                say!("{table}: made")?;
            }
            compare(&lake, &config).await
        }
        TablesCommand::Check { lake } => check(&lake.location()?).await,
        TablesCommand::Describe { lake, json, config } => {
            let config = read_config(config.as_deref())?;
            let lake = open(&lake.location()?, &config, Access::Read).await?;
            let infos = infos(&lake, &config.options.maintain).await?;
            if json {
                say!("{}", serde_json::to_string_pretty(&infos)?)?;
            } else {
                let words: String = infos.iter().map(describe).collect();
                say!("{}", words.trim_end())?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn run_once(
    lake: &OpenLake,
    settings: &MaintainSettings,
    dry_run: bool,
    json: bool,
    memory: &mut Memory,
) -> Result<MaintainReport> {
    let report = maintain(&lake.env.lake, lake.env.journal.as_ref(), settings, dry_run, memory).await;
    for told in report.followers.iter().filter_map(Standing::words) {
        tracing::warn!("{told}");
    }
    if json {
        say!("{}", serde_json::to_string(&report)?)?;
    } else {
        say!("{}", words(&report).trim_end())?;
    }
    Ok(report)
}

async fn run_regularly(
    lake: &OpenLake,
    settings: &MaintainSettings,
    every: Duration,
    mut stop: watch::Receiver<bool>,
    turn: Option<&Turn>,
    json: bool,
) -> Result<ExitCode> {
    let mut memory = Memory::default();
    while !*stop.borrow() {
        // The process that took it over does the work.
        if turn.is_some_and(Turn::is_lost) {
            bail!("another process took the maintenance of the tables over");
        }
        let report = run_once(lake, settings, turn.is_none(), json, &mut memory).await?;
        if !report.is_complete() {
            tracing::warn!("not all tables could be maintained; trying again at the next interval");
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stop.changed() => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn infos(lake: &OpenLake, settings: &MaintainSettings) -> Result<Vec<TableInfo>> {
    let limits = PlanLimits { target_bytes: settings.target_bytes, min_files: settings.min_files };
    let mut infos = Vec::new();
    for table in lake.env.lake.made_tables().await? {
        infos.push(inspect(&lake.env.lake, table, &limits).await?);
    }
    Ok(infos)
}

async fn check(location: &LakeLocation) -> Result<ExitCode> {
    let config = read_config(None)?;
    compare(&open(location, &config, Access::Read).await?, &config).await
}

/// Prints in which ways tables differ from those that this program makes.
async fn compare(lake: &OpenLake, config: &Config) -> Result<ExitCode> {
    let mut differences = 0;
    for info in infos(lake, &config.options.maintain).await? {
        if info.differences.is_empty() {
            say!("{}: as it should be", info.table)?;
        }
        for difference in &info.differences {
            say!("{}: {difference}", info.table)?;
            differences += 1;
        }
    }
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tally(tally: Tally) -> String {
    format!("{} files, {} bytes", thousands(tally.files), thousands(tally.bytes))
}

fn shape(shape: &Extent) -> String {
    format!(
        "{} ({} small), {} rows, {} manifests, {} snapshots; stored {}",
        tally(shape.live),
        thousands(shape.small_files),
        thousands(shape.rows),
        thousands(shape.manifests),
        thousands(shape.snapshots),
        tally(shape.stored)
    )
}

// Writing into a String does not fail.
fn describe(info: &TableInfo) -> String {
    let mut out = format!("{}\n  location    {}\n", info.table, info.location);
    let _ = writeln!(out, "  metadata    {}", info.metadata_location);
    let pairs = |pairs: &[(String, String)]| {
        let words: Vec<String> = pairs.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    };
    let _ = writeln!(out, "  partitions  {}; {} hold rows", pairs(&info.partitioned_by), thousands(info.partitions));
    let _ = writeln!(out, "  sorted by   {}", pairs(&info.sorted_by));
    let _ = writeln!(out, "  size        {}", shape(&info.shape));
    for (name, kind) in &info.columns {
        let _ = writeln!(out, "  column      {name} {kind}");
    }
    for (key, value) in &info.properties {
        let _ = writeln!(out, "  property    {key} = {value}");
    }
    for (shard, n) in &info.applied {
        let _ = writeln!(out, "  applied     entry {n} of shard {shard}");
    }
    for difference in &info.differences {
        let _ = writeln!(out, "  differs     {difference}");
    }
    out
}

fn words(report: &MaintainReport) -> String {
    let mut out = String::new();
    for table in &report.tables {
        table_words(&mut out, table, report.dry_run);
    }
    let folded = &report.folded;
    if *folded != Folded::default() {
        let (shards, entries) = (thousands(folded.shards), thousands(folded.entries));
        let _ = writeln!(out, "journals");
        let _ =
            writeln!(out, "  folded      {entries} entries of {shards} shards, into {} bytes", thousands(folded.bytes));
        let _ = writeln!(out, "  removed     {} folded entries", thousands(folded.removed));
        if let Some(why) = &folded.failed {
            let _ = writeln!(out, "  failed      {why}");
        }
    }
    let followers: Vec<String> = report.followers.iter().filter_map(Standing::words).collect();
    if !followers.is_empty() {
        let _ = writeln!(out, "followers");
        for told in followers {
            let _ = writeln!(out, "  note        {told}");
        }
    }
    clean_words(&mut out, &report.cleaned, report.dry_run);
    if report.is_idle() {
        out += "nothing to do\n";
    } else if report.dry_run {
        out += "nothing was changed: this was a dry run\n";
    }
    out
}

fn table_words(out: &mut String, table: &TableReport, dry_run: bool) {
    let _ = writeln!(out, "{}\n  before      {}", table.table, shape(&table.before));
    let compacted = &table.compacted;
    if compacted.before.files > 0 {
        let after = if dry_run { format!("{} files", compacted.after.files) } else { tally(compacted.after) };
        let rows = thousands(compacted.rows);
        let _ = writeln!(out, "  merged      {} -> {after}, {rows} rows", tally(compacted.before));
    }
    if compacted.dropped > 0 {
        let _ = writeln!(out, "  dropped     {} groups that others changed meanwhile", compacted.dropped);
    }
    if table.manifests_merged > 0 {
        let _ = writeln!(out, "  manifests   {} merged", thousands(table.manifests_merged));
    }
    if table.expired > 0 {
        let _ = writeln!(out, "  expired     {} snapshots", thousands(table.expired));
    }
    if table.removed.files > 0 {
        let _ = writeln!(out, "  removed     {} that no snapshot reaches", tally(table.removed));
    }
    if let Some(after) = &table.after {
        let _ = writeln!(out, "  after       {}", shape(after));
    }
    for note in &table.notes {
        let _ = writeln!(out, "  note        {note}");
    }
    if let Some(why) = &table.failed {
        let _ = writeln!(out, "  failed      {why}");
    }
}

fn clean_words(out: &mut String, cleaned: &CleanReport, dry_run: bool) {
    let _ = writeln!(out, "files that nothing needs");
    for (location, found) in &cleaned.orphans {
        let _ = writeln!(out, "  orphans     {location}: {}", tally(*found));
    }
    if cleaned.old_state.files > 0 {
        let _ = writeln!(out, "  old state   {}", tally(cleaned.old_state));
    }
    if dry_run {
        for path in cleaned.paths.iter().take(PATHS_SHOWN) {
            let _ = writeln!(out, "  would go    {path}");
        }
        if cleaned.paths.len() > PATHS_SHOWN {
            let _ = writeln!(out, "  would go    and {} more; --json names them", cleaned.paths.len() - PATHS_SHOWN);
        }
    }
    let _ = writeln!(out, "  removed     {}", tally(cleaned.removed));
    if cleaned.held.files > 0 {
        let _ = writeln!(out, "  held        {} for followers that lack their entries", tally(cleaned.held));
    }
    for note in &cleaned.notes {
        let _ = writeln!(out, "  note        {note}");
    }
    if let Some(why) = &cleaned.stopped {
        let _ = writeln!(out, "  stopped     {why}");
    }
}
