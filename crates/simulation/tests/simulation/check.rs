//! The oracle: the lake must hold what the dumb evaluator makes of the stream's records and of the advances in the journals.

use crate::checkpoints;
use crate::fence;
use crate::formats;
use crate::journals::{Journals, archived, explain, journals, records};
use crate::newer;
use crate::programs;
use crate::world::World;
use authpulse_engine::flags::Flag;
use authpulse_event::time::SECOND;
use authpulse_event::{ATTRIBUTES, Position, ShardId};
use authpulse_lake::read::{LiveFile, Value};
use authpulse_lake::{Lake, ObjectStore, Table};
use authpulse_oracle as oracle;
use authpulse_settings::Options;
use authpulse_stream::Stream;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hasher};

/// What a check found in a lake.
pub struct Checked {
    pub outcome: oracle::Outcome,
    /// A digest of the rows of all tables.
    pub digest: u64,
    /// How often a shard was taken over.
    pub take_overs: u64,
    /// What only the newer of two programs wrote.
    pub new: newer::New,
}

/// Checks everything about a lake after a run; an error says in words what is wrong.
pub async fn lake(world: &World, options: &Options, explained: bool) -> Result<Checked, String> {
    let journals = journals(world).await?;
    if explained {
        explain(&journals);
    }
    let take_overs = fence::holds(world, &journals)?;
    checkpoints::hold(world, &journals)?;
    formats::hold(&journals)?;
    let shards = steps(world, &journals).await?;
    let settings = settings(options);
    dropped_once(&journals, &settings, &shards)?;
    let outcome = oracle::evaluate(&settings, &shards);
    if explained {
        println!("oracle: {} wait, watermarks {:?}", outcome.waiting, outcome.watermarks);
    }
    let digest = tables_hold(world, &outcome).await?;
    order_per_user(world, &journals, &outcome).await?;
    raw_zone(world, options).await?;
    let new = newer::hold(world, &journals).await?;
    Ok(Checked { outcome, digest, take_overs, new })
}

/// What happened to each shard: its records, and where the journal says that its watermark advanced or that its waiting events were
/// settled.
async fn steps(world: &World, journals: &Journals) -> Result<Vec<oracle::Shard>, String> {
    let mut shards: Vec<oracle::Shard> = Vec::new();
    for (shard, key, entries) in journals {
        let mut steps: Vec<(Position, oracle::Step)> = Vec::new();
        for record in records(world, &shard.id).await? {
            steps.push((
                record.position,
                oracle::Step::Record(oracle::Record {
                    payload: record.payload.to_vec(),
                    partition_key: String::from_utf8_lossy(&record.partition_key).into_owned(),
                    arrival: record.arrival.micros(),
                    place: (record.position.sequence.as_u64().unwrap_or(u64::MAX), record.position.sub_sequence),
                    form: oracle::Form::Wire,
                }),
            ));
        }
        let mut flushed = false;
        for entry in entries {
            if !entry.counts.adds_up() {
                return Err(format!("entry {} of {key} does not add up: {:?}", entry.n, entry.counts));
            }
            for file in &entry.raw {
                let size = world.outside.store.size(&file.path).await.map_err(|e| e.to_string())?;
                size.ok_or_else(|| format!("raw file {} of entry {} of {key} never got its name", file.path, entry.n))?;
            }
            for advance in entry.advances.iter().filter(|advance| advance.cause != "seal") {
                let after = advance.after.position()?;
                let at = steps.partition_point(|(position, _)| *position <= after);
                steps.insert(at, (after, oracle::Step::Advance(advance.to.micros())));
            }
            if entry.flushed && !flushed {
                flushed = true;
                let after = entry.position().map_err(|e| e.to_string())?;
                let at = steps.partition_point(|(position, _)| *position <= after);
                steps.insert(at, (after, oracle::Step::Flush));
            }
        }
        let index = |id: &ShardId| journals.iter().position(|(s, ..)| s.id == *id).unwrap();
        shards.push(oracle::Shard {
            id: shard.id.to_string(),
            range: (shard.range.first, shard.range.last),
            parents: shard.parents.iter().map(index).collect(),
            live: true,
            steps: steps.into_iter().map(|(_, step)| step).collect(),
        });
    }
    Ok(shards)
}

/// Checks that the tables hold the evaluator's rows, each once. Returns a digest of them.
pub async fn tables_hold(world: &World, outcome: &oracle::Outcome) -> Result<u64, String> {
    let mut rows = curated(world).await?;
    let mut anonymous: Vec<oracle::Curated> = outcome.curated.iter().map(without_shard).collect();
    if world.versions.are_two() {
        attributes_whole_or_of_before(&rows, &anonymous)?;
        rows = rows.into_iter().map(programs::of_before).collect();
        anonymous = anonymous.into_iter().map(programs::of_before).collect();
    }
    let mut digest = DefaultHasher::new();
    // Dead letters first: they say why a row is missing.
    compare("rejected", rejected(world).await?, outcome.rejected.iter().cloned(), &mut digest)?;
    compare("curated", rows, anonymous.into_iter(), &mut digest)?;
    compare("hourly", hourly(world).await?, outcome.hourly.iter().cloned(), &mut digest)?;
    compare("daily", daily(world).await?, outcome.daily.iter().cloned(), &mut digest)?;
    Ok(digest.finish())
}

/// Checks that each row has either all attributes of its event, or those that the older of two programs knows.
fn attributes_whole_or_of_before(rows: &[oracle::Curated], outcome: &[oracle::Curated]) -> Result<(), String> {
    // Some senders give many events the same id.
    let of =
        |row: &oracle::Curated| (row.event_time, row.event_id.clone(), row.user_id.clone(), row.computer_id.clone());
    let whole: BTreeMap<_, _> = outcome.iter().map(|row| (of(row), &row.attributes)).collect();
    let is_neither = |row: &&oracle::Curated| {
        whole.get(&of(row)) != Some(&&row.attributes) && programs::of_before((*row).clone()) != **row
    };
    match rows.iter().find(is_neither) {
        Some(row) => Err(format!("a row has some of its attributes: {row:?}")),
        None => Ok(()),
    }
}

/// A row as it is read back: no column says which shard accepted it.
fn without_shard(row: &oracle::Curated) -> oracle::Curated {
    oracle::Curated { shard: 0, ..row.clone() }
}

/// Checks that the entries count each dropped attribute once, going by the records that they read.
fn dropped_once(journals: &Journals, settings: &oracle::Settings, shards: &[oracle::Shard]) -> Result<(), String> {
    let counted: u64 = journals.iter().flat_map(|(_, _, entries)| entries).map(|e| e.counts.fields_dropped).sum();
    let records = shards.iter().flat_map(|shard| &shard.steps).filter_map(|step| match step {
        oracle::Step::Record(record) => oracle::parse(settings, record),
        _ => None,
    });
    let dropped = records.map(|event| event.fields_dropped as u64).sum::<u64>();
    if counted == dropped {
        Ok(())
    } else {
        Err(format!("the entries count {counted} attributes dropped, the oracle {dropped}"))
    }
}

/// Checks that the entries, one after another from parents to children, carry each user's rows in the order that semantics.md gives: what
/// one entry holds of a user is exactly what comes next. The files are read as they were put, even if something has removed them since.
async fn order_per_user(world: &World, journals: &Journals, outcome: &oracle::Outcome) -> Result<(), String> {
    let mut expected: BTreeMap<&str, VecDeque<oracle::Curated>> = BTreeMap::new();
    for row in &outcome.curated {
        expected.entry(&row.user_id).or_default().push_back(without_shard(row));
    }
    let lake = archived(world).await?;
    for (_, key, entries) in journals {
        for entry in entries {
            let mut of_user: BTreeMap<String, Vec<oracle::Curated>> = BTreeMap::new();
            for file in entry.files.iter().filter(|file| file.table == Table::CURATED) {
                for row in curated_of(&lake, &file.into()).await? {
                    of_user.entry(row.user_id.clone()).or_default().push(row);
                }
            }
            for (user, mut rows) in of_user {
                let next = expected.get_mut(user.as_str()).map(|rest| rest.drain(..rows.len().min(rest.len())));
                let mut next: Vec<_> = next.into_iter().flatten().collect();
                if world.versions.are_two() {
                    rows = rows.into_iter().map(programs::of_before).collect();
                    next = next.into_iter().map(programs::of_before).collect();
                }
                rows.sort();
                next.sort();
                if rows != next {
                    return Err(format!("entry {} of {key} holds rows of {user} out of order", entry.n));
                }
            }
        }
    }
    match expected.iter().find(|(_, rest)| !rest.is_empty()) {
        Some((user, rest)) => Err(format!("no entry holds the last {} rows of {user}", rest.len())),
        None => Ok(()),
    }
}

/// Checks that the raw zone holds each record of the stream once, and nothing else.
pub async fn raw_zone(world: &World, options: &Options) -> Result<(), String> {
    let mut expected = Vec::new();
    if options.raw {
        for shard in world.stream.shards().await.map_err(|e| e.to_string())? {
            for record in records(world, &shard.id).await? {
                expected.push((shard.id.to_string(), record.position.sequence.to_string(), record.payload.to_vec()));
            }
        }
    }
    let mut found = Vec::new();
    for file in world.store.list("raw/").await.map_err(|e| e.to_string())? {
        for batch in world.outside.lake.read_raw(&file.path).await.map_err(|e| e.to_string())? {
            let batch = batch.map_err(|e| e.to_string())?;
            let rows = batch.iter();
            found.extend(rows.map(|r| (r.shard_id.to_owned(), r.sequence_number.to_owned(), r.payload.to_vec())));
        }
    }
    compare("the raw zone", found, expected.into_iter(), &mut DefaultHasher::new())
}

fn settings(options: &Options) -> oracle::Settings {
    let (time, rules) = (&options.engine.time, &options.engine.rules);
    let threshold = |key| i64::from(rules.threshold(key).expect("a threshold of the four"));
    oracle::Settings {
        base_micros: time.base.micros(),
        tolerance: time.tolerance / SECOND,
        max_jump: time.max_jump / SECOND,
        lookback: i64::from(time.lookback_days),
        settle: time.settle / SECOND,
        min_hosts: threshold("min_hosts"),
        burst_over: threshold("burst_over"),
        lateral_at_least: threshold("lateral_from"),
        weights: Flag::FIRST.map(|flag| rules.weight(flag).into()),
        event_model: time.event_model.number(),
    }
}

/// How many rows of a difference are shown.
const SHOWN: usize = 3;

fn compare<T: Ord + Debug>(
    table: &str,
    mut lake: Vec<T>,
    oracle: impl Iterator<Item = T>,
    digest: &mut DefaultHasher,
) -> Result<(), String> {
    let mut oracle: Vec<T> = oracle.collect();
    lake.sort();
    oracle.sort();
    if lake == oracle {
        digest.write(format!("{lake:?}").as_bytes());
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

/// A table's rows.
macro_rules! read_table {
    ($world:expr, $table:expr, $read:ident, $row:ident => $make:expr) => {{
        let lake = &$world.outside.lake;
        let mut rows = Vec::new();
        for file in lake.live_files($table).await.map_err(|e| e.to_string())?.files {
            rows.extend(read_file!(lake, &file, $read, $row => $make));
        }
        Ok(rows)
    }};
}

/// A file's rows.
macro_rules! read_file {
    ($lake:expr, $file:expr, $read:ident, $row:ident => $make:expr) => {{
        let mut rows = Vec::new();
        for batch in $lake.$read($file, None).await.map_err(|e| e.to_string())? {
            let batch = batch.map_err(|e| e.to_string())?;
            rows.extend(batch.iter().map(|$row| $make));
        }
        rows
    }};
}

async fn curated(world: &World) -> Result<Vec<oracle::Curated>, String> {
    let mut rows = Vec::new();
    for file in world.outside.lake.live_files(Table::CURATED).await.map_err(|e| e.to_string())?.files {
        rows.extend(curated_of(&world.outside.lake, &file).await?);
    }
    Ok(rows)
}

async fn curated_of(lake: &Lake, file: &LiveFile) -> Result<Vec<oracle::Curated>, String> {
    let mut carried = attributes_of(lake, file).await?.into_iter();
    Ok(read_file!(lake, file, read_curated, row => oracle::Curated {
        attributes: carried.next().unwrap_or_default(),
        event_time: row.event_time.micros(),
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
    }))
}

/// The attributes in a file, row by row.
async fn attributes_of(lake: &Lake, file: &LiveFile) -> Result<Vec<oracle::attributes::Attributes>, String> {
    let names: Vec<&str> = ATTRIBUTES.iter().map(|attribute| attribute.column).collect();
    let value = |value: Value<'_>| match value {
        Value::Text(text) => oracle::attributes::Value::Text(text.to_owned()),
        Value::Int(n) => oracle::attributes::Value::Flag(n == 1),
        Value::Double(n) => oracle::attributes::Value::Hundredths((n * 100.0).round() as i64),
        other => panic!("no attribute is {other:?}"),
    };
    let mut rows = Vec::new();
    for batch in lake.read_values(file, &names, None).await.map_err(|e| e.to_string())? {
        let batch = batch.map_err(|e| e.to_string())?;
        for row in 0..batch.len() {
            let mut carried = oracle::attributes::Attributes::new();
            for (nth, attribute) in ATTRIBUTES.iter().enumerate() {
                carried.extend(batch.value(row, nth).map(|of_row| (attribute.column, value(of_row))));
            }
            rows.push(carried);
        }
    }
    Ok(rows)
}

async fn rejected(world: &World) -> Result<Vec<oracle::Rejected>, String> {
    let reason = |name: &str| {
        ["invalid", "misrouted", "future", "late", "duplicate", "failed"].into_iter().find(|r| *r == name).unwrap()
    };
    let rows: Result<Vec<_>, String> = read_table!(world, Table::REJECTED, read_rejected, row => oracle::Rejected {
        reason: reason(row.reason),
        payload: row.payload.to_vec(),
        payload_bytes: row.payload_bytes,
    });
    Ok(rows?.into_iter().filter(|row| !row.payload.starts_with(crate::foreign::PAYLOAD)).collect())
}

async fn hourly(world: &World) -> Result<Vec<oracle::Hourly>, String> {
    read_table!(world, Table::HOURLY, read_hourly, row => oracle::Hourly {
        window_start: row.window_start.micros(),
        window_end: row.window_end.micros(),
        user_id: row.user_id.to_owned(),
        total_logins: row.total_logins,
        unique_computers: row.unique_computers,
        anomaly_count: row.anomaly_count,
        total_risk_score: row.total_risk_score,
        max_risk_score: row.max_risk_score,
    })
}

async fn daily(world: &World) -> Result<Vec<oracle::Daily>, String> {
    read_table!(world, Table::DAILY, read_daily, row => oracle::Daily {
        date: row.date.0,
        computer_id: row.computer_id.to_owned(),
        unique_users: row.unique_users,
        total_logins: row.total_logins,
        high_risk_events: row.high_risk_events,
    })
}
