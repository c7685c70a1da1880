//! `authpulse evaluate`: how many labelled attacks a lake's scores catch, for several budgets of alerts a day.

mod rank;

use crate::lake::{Access, NamedLake, OpenLake, open, read_config};
use crate::output::say;
use crate::report::thousands;
use anyhow::{Context, Result, bail};
use authpulse_event::{EventTime, Reading, parse_line};
use authpulse_lake::Table;
use authpulse_producer::labels;
use clap::Args as ClapArgs;
use rank::{By, Days, Event, Ranking};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

/// Says what a lake's scores catch of labelled attacks.
///
/// Accounts are ranked per day, by the day's highest score or by how often a rule fired. A budget of N alerts a day takes the
/// N x D highest of all D days; D counts the days with a row from the first label's day to the last. Beside it stand a count
/// of first-seen computers and a random order. Reads the lake only.
#[derive(ClapArgs, Debug)]
pub struct Evaluate {
    #[command(flatten)]
    pub lake: NamedLake,
    /// The labels, as `authpulse generate --labels` writes them.
    #[arg(long)]
    pub labels: PathBuf,
    /// `score`, or `rule` and a rule's name.
    #[arg(long, num_args = 1..=2, value_names = ["WHAT", "NAME"], default_value = "score")]
    pub by: Vec<String>,
    /// The figures as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// The configuration that the lake was written with, if it sets the time of second 0.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// Everything that the command prints, in the shape of its JSON.
#[derive(Serialize)]
struct Report {
    days: u64,
    /// Account-days with a label.
    labelled: u64,
    account_days: u64,
    rows: u64,
    labels: u64,
    #[serde(rename = "landed")]
    stored: u64,
    #[serde(rename = "not_landed")]
    not_stored: BTreeMap<String, u64>,
    #[serde(flatten)]
    ranking: Ranking,
    first_seen: Ranking,
    random: Ranking,
}

/// Runs `authpulse evaluate`.
///
/// # Errors
/// The labels, the configuration or the lake cannot be read, there is no label, or `--by` asks for an unknown order or rule.
pub async fn run(args: Evaluate) -> Result<ExitCode> {
    let by = order(&args.by)?;
    let config = read_config(args.config.as_deref())?;
    let file = File::open(&args.labels).with_context(|| format!("{} cannot be read", args.labels.display()))?;
    let labels =
        labels::read(BufReader::new(file)).with_context(|| format!("{} cannot be used", args.labels.display()))?;
    if labels.is_empty() {
        bail!("{} has no label: make one with `authpulse generate --attacks N --labels FILE`", args.labels.display());
    }
    let count = labels.len() as u64;
    let lake = open(&args.lake.location()?, &config, Access::Read).await?;
    let base = config.options.engine.time.base;
    let mut days = Days::new(labels, base);
    let fired = read(&lake, &by, &mut days).await?;
    if let By::Rule(name) = &by
        && !fired
        && !authpulse_engine::rules::LIST.iter().any(|rule| rule.name == name)
    {
        bail!(
            "no rule of this program is called {name}, and no row of the lake has such a flag: see `authpulse config show`"
        );
    }
    let not_stored = reasons(&lake, &days, base).await?;
    let report = Report {
        days: days.span().len() as u64,
        labelled: days.labelled().len() as u64,
        account_days: days.account_days(),
        rows: days.rows(),
        labels: count,
        stored: days.stored(),
        not_stored,
        ranking: days.rank_by(&by),
        first_seen: days.rank_by(&By::FirstSeen),
        random: days.rank_by(&By::Random),
    };
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn order(words: &[String]) -> Result<By> {
    match words {
        [what] if what == "score" => Ok(By::Score),
        [what, name] if what == "rule" => Ok(By::Rule(name.clone())),
        _ => bail!("--by {} cannot be: give --by score, or --by rule NAME", words.join(" ")),
    }
}

/// Reads the curated table once; returns whether the rule ever fired.
async fn read(lake: &OpenLake, by: &By, days: &mut Days) -> Result<bool> {
    let mut fired = false;
    for file in lake.env.lake.live_files(Table::CURATED).await?.files {
        for batch in lake.env.lake.read_curated(&file, None).await? {
            for row in batch?.iter() {
                let fires = matches!(by, By::Rule(name) if row.risk_flags.contains(&name.as_str()));
                fired |= fires;
                days.add(&Event {
                    time: row.event_time,
                    user: row.user_id,
                    computer: row.computer_id,
                    score: row.risk_score,
                    is_new_device: row.is_new_device == 1,
                    fires,
                });
            }
        }
    }
    Ok(fired)
}

/// Counts by reason the labels that have no row. The reason is that of the dead letter with the event, or that the lake has neither.
async fn reasons(lake: &OpenLake, days: &Days, base: EventTime) -> Result<BTreeMap<String, u64>> {
    let wanted: HashMap<_, u64> = days.missing().map(|(key, labels)| (key.clone(), labels)).collect();
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(reasons);
    }
    let mut found = HashSet::new();
    for file in lake.env.lake.live_files(Table::REJECTED).await?.files {
        for batch in lake.env.lake.read_rejected(&file, None).await? {
            for row in batch?.iter() {
                // A label names an event, so a dead letter that does not parse matches none.
                let Ok(event) = parse_line(row.payload.trim_ascii(), Reading::three_fields(base)) else { continue };
                let key = (event.time, event.user.into_owned(), event.computer.into_owned());
                if let Some(labels) = wanted.get(&key)
                    && found.insert(key)
                {
                    *reasons.entry(row.reason.to_owned()).or_default() += labels;
                }
            }
        }
    }
    let absent: u64 = wanted.iter().filter(|(key, _)| !found.contains(*key)).map(|(_, labels)| labels).sum();
    if absent > 0 {
        reasons.insert("not in the lake".to_owned(), absent);
    }
    Ok(reasons)
}

fn print(report: &Report) -> Result<()> {
    say!(
        "{} of {} labels are in the lake, on {} account-days of {} in {} days",
        thousands(report.stored),
        thousands(report.labels),
        thousands(report.labelled),
        thousands(report.account_days),
        report.days
    )?;
    for (reason, labels) in &report.not_stored {
        say!("  {} not landed: {reason}", thousands(*labels))?;
    }
    let ranked = [&report.ranking, &report.first_seen, &report.random];
    say!("\n| by | alerts a day | alerts | caught | recall | precision | attacks seen | median to detection |")?;
    say!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for ranking in ranked {
        for budget in &ranking.budgets {
            say!(
                "| {} | {} | {} | {} | {:.1} % | {:.2} % | {} | {} |",
                ranking.by,
                budget.per_day,
                thousands(budget.alerts),
                thousands(budget.caught),
                100.0 * budget.recall,
                100.0 * budget.precision,
                thousands(budget.attacks_detected),
                budget
                    .median_seconds_to_detection
                    .map_or("-".to_owned(), |seconds| format!("{} s", thousands(seconds)))
            )?;
        }
    }
    let precision: Vec<String> =
        ranked.map(|ranking| format!("{} {:.4}", ranking.by, ranking.average_precision)).to_vec();
    say!("\naverage precision: {}", precision.join(", "))?;
    say!(
        "\n| attack, computers on the day | account-days | {} |",
        report.ranking.budgets.iter().map(|budget| format!("{} a day", budget.per_day)).collect::<Vec<_>>().join(" | ")
    )?;
    say!("| --- | ---: |{}", " ---: |".repeat(report.ranking.budgets.len()))?;
    let Some(first) = report.ranking.budgets.first() else { return Ok(()) };
    for (row, kind) in first.kinds.iter().enumerate() {
        let caught = report.ranking.budgets.iter().filter_map(|budget| budget.kinds.get(row));
        let caught: Vec<String> = caught.map(|kind| thousands(kind.caught)).collect();
        say!("| {}, {} | {} | {} |", kind.kind, kind.size, thousands(kind.of), caught.join(" | "))?;
    }
    Ok(())
}
