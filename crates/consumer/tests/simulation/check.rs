//! The oracle: the lake must hold what the dumb evaluator says of the stream's records and of the rises in the journals.

use crate::world::World;
use authpulse_consumer::Options;
use authpulse_consumer::service::journal_key;
use authpulse_event::Position;
use authpulse_event::time::SECOND;
use authpulse_lake::Table;
use authpulse_lake::entry::Entry;
use authpulse_oracle as oracle;
use authpulse_stream::{ReadFrom, ReadLimit, Stream};
use std::fmt::Debug;

/// Compares; the error is in words.
pub async fn lake_equals_oracle(world: &World, options: &Options) -> Result<oracle::Outcome, String> {
    let description = world.stream.describe().await.map_err(|e| e.to_string())?;
    let mut shards: Vec<oracle::Shard> = Vec::new();
    for shard in world.stream.shards().await.map_err(|e| e.to_string())? {
        let mut steps: Vec<(Position, oracle::Step)> = Vec::new();
        let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
        let mut from = ReadFrom::Start;
        loop {
            let read = world.stream.read(&shard.id, from, limit).await.map_err(|e| e.to_string())?;
            let Some(last) = read.records.last() else { break };
            from = ReadFrom::After(last.position);
            for record in read.records {
                steps.push((
                    record.position,
                    oracle::Step::Record(oracle::Record {
                        payload: record.payload.to_vec(),
                        partition_key: String::from_utf8_lossy(&record.partition_key).into_owned(),
                        arrival: record.arrival,
                        form: oracle::Form::Wire,
                    }),
                ));
            }
        }
        // Rises and the settling stand where the journal says they were decided.
        let key = journal_key(&description, &shard.id);
        let mut settled = false;
        for (n, body) in world.env.journal.list(&key, 1, usize::MAX).await.map_err(|e| e.to_string())? {
            let entry = Entry::decode(&key, n, &body).map_err(|e| e.to_string())?;
            if !entry.counts.adds_up() {
                return Err(format!("entry {n} of {key} does not add up: {:?}", entry.counts));
            }
            for file in &entry.raw {
                let size = world.env.store.size(&file.path).await.map_err(|e| e.to_string())?;
                size.ok_or_else(|| format!("raw file {} of entry {n} of {key} never got its name", file.path))?;
            }
            for rise in entry.rises.iter().filter(|rise| rise.cause != "seal") {
                let after = rise.after.position()?;
                let at = steps.partition_point(|(position, _)| *position <= after);
                steps.insert(at, (after, oracle::Step::Rise(rise.to)));
            }
            if entry.settled && !settled {
                settled = true;
                let after = entry.position().map_err(|e| e.to_string())?;
                let at = steps.partition_point(|(position, _)| *position <= after);
                steps.insert(at, (after, oracle::Step::Settle));
            }
        }
        let all = world.stream.shards().await.map_err(|e| e.to_string())?;
        let parents = shard.parents.iter().map(|p| all.iter().position(|s| s.id == *p).unwrap()).collect();
        shards.push(oracle::Shard {
            id: shard.id.to_string(),
            range: (shard.range.first, shard.range.last),
            parents,
            live: true,
            steps: steps.into_iter().map(|(_, step)| step).collect(),
        });
    }
    let outcome = oracle::evaluate(&settings(options), &shards);
    if std::env::var("AUTHPULSE_SEED").is_ok() {
        explain(world, &shards, &outcome).await?;
    }
    let anonymous = outcome.curated.iter().map(|row| oracle::Curated { shard: 0, ..row.clone() });
    // Dead letters first: they say why a row is missing.
    compare("rejected", rejected(world).await?, outcome.rejected.iter().cloned())?;
    compare("curated", curated(world).await?, anonymous)?;
    compare("hourly", hourly(world).await?, outcome.hourly.iter().cloned())?;
    compare("daily", daily(world).await?, outcome.daily.iter().cloned())?;
    Ok(outcome)
}

/// Prints what one seed did, for whoever looks into it.
async fn explain(world: &World, shards: &[oracle::Shard], outcome: &oracle::Outcome) -> Result<(), String> {
    println!("oracle: {} wait, watermarks {:?}", outcome.waiting, outcome.watermarks);
    for shard in shards {
        println!("{} from {:?}: {} steps", shard.id, shard.parents, shard.steps.len());
        for (at, step) in shard.steps.iter().enumerate() {
            if !matches!(step, oracle::Step::Record(_)) {
                println!("  step {at}: {step:?}");
            }
        }
    }
    for key in world.env.journal.shards().await.map_err(|e| e.to_string())? {
        for (n, body) in world.env.journal.list(&key, 1, usize::MAX).await.map_err(|e| e.to_string())? {
            let e = Entry::decode(&key, n, &body).map_err(|e| e.to_string())?;
            let marks = [
                ("read to end", e.read_to_end),
                ("settled", e.settled),
                ("end", e.end),
                ("sealed", e.sealed.is_some()),
            ];
            let marks: Vec<&str> = marks.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
            println!(
                "{key} {n} epoch {} to {}: received {} curated {} waiting {} unscored {} watermark {:?} rises {:?} {marks:?}",
                e.epoch,
                e.to.sequence,
                e.counts.received,
                e.counts.curated,
                e.counts.waiting,
                e.counts.unscored,
                e.watermark,
                e.rises
            );
        }
    }
    Ok(())
}

pub fn settings(options: &Options) -> oracle::Settings {
    let (time, rules) = (&options.engine.time, &options.engine.rules);
    oracle::Settings {
        base_micros: time.base,
        tolerance: time.tolerance / SECOND,
        max_jump: time.max_jump / SECOND,
        lookback: i64::from(time.lookback_days),
        settle: time.settle / SECOND,
        min_hosts: i64::from(rules.min_hosts),
        burst_over: i64::from(rules.burst_over),
        lateral_at_least: i64::from(rules.lateral_from),
        weights: rules.weights.map(i32::from),
    }
}

/// Rows of a difference that are shown.
const SHOWN: usize = 3;

fn compare<T: Ord + Debug>(table: &str, mut lake: Vec<T>, oracle: impl Iterator<Item = T>) -> Result<(), String> {
    let mut oracle: Vec<T> = oracle.collect();
    lake.sort();
    oracle.sort();
    if lake == oracle {
        return Ok(());
    }
    let extra: Vec<&T> = lake.iter().filter(|row| oracle.binary_search(row).is_err()).take(SHOWN).collect();
    let missing: Vec<&T> = oracle.iter().filter(|row| lake.binary_search(row).is_err()).take(SHOWN).collect();
    Err(format!(
        "{table}: the lake has {} rows, the oracle {}\n  only in the lake: {extra:#?}\n  only in the oracle: {missing:#?}",
        lake.len(),
        oracle.len()
    ))
}

fn flag_name(name: &str) -> &'static str {
    ["NEW_DEVICE", "BURST_LOGIN", "LATERAL_MOVEMENT", "RARE_HOST"].into_iter().find(|f| *f == name).unwrap()
}

macro_rules! read_table {
    ($world:expr, $table:expr, $read:ident, $row:ident => $make:expr) => {{
        let mut rows = Vec::new();
        for file in $world.env.lake.live_files($table).await.map_err(|e| e.to_string())?.files {
            for batch in $world.env.lake.$read(&file, None).await.map_err(|e| e.to_string())? {
                let batch = batch.map_err(|e| e.to_string())?;
                rows.extend(batch.iter().map(|$row| $make));
            }
        }
        Ok(rows)
    }};
}

async fn curated(world: &World) -> Result<Vec<oracle::Curated>, String> {
    read_table!(world, Table::Curated, read_curated, row => oracle::Curated {
        event_time: row.event_time,
        event_id: row.event_id.to_owned(),
        user_id: row.user_id.to_owned(),
        computer_id: row.computer_id.to_owned(),
        login_count_1h: row.login_count_1h,
        login_count_24h: row.login_count_24h,
        unique_computers_1h: row.unique_computers_1h,
        unique_computers_24h: row.unique_computers_24h,
        is_new_device: row.is_new_device,
        is_burst_login: row.is_burst_login,
        is_lateral_movement: row.is_lateral_movement,
        is_rare_host: row.is_rare_host,
        risk_flags: row.risk_flags.iter().map(|f| flag_name(f)).collect(),
        risk_score: row.risk_score,
        risk_level: ["LOW", "MEDIUM", "HIGH", "CRITICAL"].into_iter().find(|l| *l == row.risk_level).unwrap(),
        host_popularity: row.host_popularity,
        event_date: row.event_date.0,
        shard: 0,
    })
}

async fn rejected(world: &World) -> Result<Vec<oracle::Rejected>, String> {
    let reason = |name: &str| {
        ["invalid", "misrouted", "future", "late", "duplicate", "failed"].into_iter().find(|r| *r == name).unwrap()
    };
    read_table!(world, Table::Rejected, read_rejected, row => oracle::Rejected {
        reason: reason(row.reason),
        payload: row.payload.to_vec(),
        payload_bytes: row.payload_bytes,
    })
}

async fn hourly(world: &World) -> Result<Vec<oracle::Hourly>, String> {
    read_table!(world, Table::Hourly, read_hourly, row => oracle::Hourly {
        window_start: row.window_start,
        window_end: row.window_end,
        user_id: row.user_id.to_owned(),
        total_logins: row.total_logins,
        unique_computers: row.unique_computers,
        anomaly_count: row.anomaly_count,
        total_risk_score: row.total_risk_score,
        max_risk_score: row.max_risk_score,
    })
}

async fn daily(world: &World) -> Result<Vec<oracle::Daily>, String> {
    read_table!(world, Table::Daily, read_daily, row => oracle::Daily {
        date: row.date.0,
        computer_id: row.computer_id.to_owned(),
        unique_users: row.unique_users,
        total_logins: row.total_logins,
        high_risk_events: row.high_risk_events,
    })
}
