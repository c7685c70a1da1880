//! The table of settings, in the order of the file: name, unit, meaning, bounds, and where the value is kept.

use super::{Config, Decisions, S3Encryption};
use authpulse_engine::flags::Flag;
use authpulse_engine::rules::{Rule, RuleSet, Threshold};
use authpulse_event::Span;
use authpulse_event::rfc3339::parse_rfc3339;
use authpulse_event::time::{SECOND, format_rfc3339};
use std::borrow::Cow;
use toml::Value;

/// What happens when a setting is changed for a lake that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The change is refused, because old and new rows could not be compared.
    Refused,
    /// It takes effect from the next entry on; each row names its `rule_set`.
    NewRuleSet,
    /// It may be changed at any time. Stored rows stay as they are.
    Free,
}

/// One setting.
pub struct Setting {
    /// The table in the file, such as `engine`.
    pub section: &'static str,
    /// The key within that table.
    pub key: Cow<'static, str>,
    /// The unit of the value, or its form.
    pub unit: &'static str,
    /// What it does, and what a higher or lower value costs.
    pub meaning: Cow<'static, str>,
    /// Whether it may be changed for a lake that exists.
    pub change: Change,
    kept: Kept,
}

/// Where a setting's value is kept.
#[derive(Clone, Copy)]
enum Kept {
    /// In a field that these functions read and write.
    Fixed(Get, Set),
    /// In the rule set: the names of the rules that are on.
    RulesOn,
    /// In the rule set: this rule's weight.
    Weight(Flag),
    /// In the rule set: this threshold.
    Threshold(&'static Threshold),
}

type Get = fn(&Config) -> Value;
type Set = fn(&mut Config, &Value) -> Result<(), String>;

/// A setting that every program has, whatever its rules are.
struct Fixed {
    section: &'static str,
    key: &'static str,
    unit: &'static str,
    meaning: &'static str,
    change: Change,
    get: Get,
    set: Set,
}

impl From<&Fixed> for Setting {
    fn from(it: &Fixed) -> Setting {
        let (key, meaning) = (it.key.into(), it.meaning.into());
        let kept = Kept::Fixed(it.get, it.set);
        Setting { section: it.section, key, unit: it.unit, meaning, change: it.change, kept }
    }
}

impl Setting {
    /// The value in this configuration, as a file has it.
    pub(super) fn get(&self, config: &Config) -> Value {
        let rules = &config.options.engine.rules;
        match self.kept {
            Kept::Fixed(get, _) => get(config),
            Kept::RulesOn => rules.names(rules.on()).map(Value::from).collect::<Vec<_>>().into(),
            Kept::Weight(flag) => i64::from(rules.weight(flag)).into(),
            Kept::Threshold(it) => i64::from(rules.threshold(it.key).unwrap_or(it.default)).into(),
        }
    }

    /// Sets the value to one from a file.
    ///
    /// # Errors
    /// The value is of another type or not allowed; the words say what is wrong.
    pub(super) fn set(&self, config: &mut Config, value: &Value) -> Result<(), String> {
        let rules = &mut config.options.engine.rules;
        match self.kept {
            Kept::Fixed(_, set) => set(config, value)?,
            Kept::RulesOn => {
                let names: Option<Vec<&str>> = value.as_array().and_then(|all| all.iter().map(Value::as_str).collect());
                rules.turn_on(&names.ok_or_else(|| format!("{value} is not a list of names"))?)?;
            }
            Kept::Weight(flag) => rules.set_weight(flag, integer(value, 0, 100)? as u8),
            Kept::Threshold(it) => {
                let value = integer(value, it.bounds.0.into(), it.bounds.1.into())? as u32;
                rules.set_threshold(it.key, value)?;
            }
        }
        Ok(())
    }
}

/// All settings, in the order of the file. Those of `[rules]` are made from the list of rules.
pub fn settings(rules: &'static [Rule]) -> Vec<Setting> {
    let fixed = |settings: &[Fixed]| settings.iter().map(Setting::from).collect::<Vec<_>>();
    [fixed(BEFORE_RULES), of_rules(rules), fixed(AFTER_RULES)].into_iter().flatten().collect()
}

fn of_rules(rules: &'static [Rule]) -> Vec<Setting> {
    let setting =
        |key, unit, meaning, kept| Setting { section: "rules", key, unit, meaning, change: Change::NewRuleSet, kept };
    let on = "The rules that are on; one that is off never fires. Rules behind the first four are off until they are named here.";
    let mut settings = vec![setting("on".into(), "names of rules", on.into(), Kept::RulesOn)];
    for (flag, rule) in RuleSet::of(rules).flags().zip(rules) {
        let sum = if flag.index() == 0 { " The weights of the rules that are on sum to at most 100." } else { "" };
        let meaning = format!("Points of {}.{sum}", rule.name);
        settings.push(setting(rule.weight_key().into(), "points", meaning.into(), Kept::Weight(flag)));
    }
    for it in rules.iter().flat_map(|rule| rule.thresholds) {
        settings.push(setting(it.key.into(), it.unit, it.meaning.into(), Kept::Threshold(it)));
    }
    settings
}

fn integer(value: &Value, from: i64, to: i64) -> Result<i64, String> {
    match value {
        Value::Integer(n) if (from..=to).contains(n) => Ok(*n),
        other => Err(format!("{other} is not a whole number from {from} to {to}")),
    }
}

fn span(value: &Value) -> Result<Span, String> {
    let seconds = match value {
        Value::Integer(n) => *n as f64,
        Value::Float(x) => *x,
        other => return Err(format!("{other} is not a number of seconds")),
    };
    if (0.0..=1e9).contains(&seconds) {
        Ok(Span::from_micros((seconds * SECOND.micros() as f64).round() as i64))
    } else {
        Err(format!("{seconds} is not from 0 to 1000000000 seconds"))
    }
}

fn seconds(span: Span) -> Value {
    if span % SECOND == Span::ZERO { Value::Integer(span / SECOND) } else { Value::Float(span.as_seconds()) }
}

macro_rules! seconds_setting {
    // The lease crate has no types for kinds of time: its settings are plain microseconds.
    ($section:literal, $key:literal, $change:expr, $meaning:literal, options.leases.$field:ident) => {
        Fixed {
            section: $section, key: $key, unit: "seconds", meaning: $meaning, change: $change,
            get: |c| seconds(Span::from_micros(c.options.leases.$field)),
            set: |c, v| { c.options.leases.$field = span(v)?.micros(); Ok(()) },
        }
    };
    ($section:literal, $key:literal, $change:expr, $meaning:literal, $($field:ident).+) => {
        Fixed {
            section: $section, key: $key, unit: "seconds", meaning: $meaning, change: $change,
            get: |c| seconds(c.$($field).+),
            set: |c, v| { c.$($field).+ = span(v)?; Ok(()) },
        }
    };
}

macro_rules! integer_setting {
    ($section:literal, $key:literal, $unit:literal, $change:expr, $from:expr, $to:expr, $meaning:literal, $type:ty, $($field:tt)+) => {
        Fixed {
            section: $section, key: $key, unit: $unit, meaning: $meaning, change: $change,
            get: |c| Value::Integer(c.$($field)+ as i64),
            set: |c, v| { c.$($field)+ = integer(v, $from, $to)? as $type; Ok(()) },
        }
    };
}

/// Settings that come before those of the rules.
const BEFORE_RULES: &[Fixed] = &[
    Fixed {
        section: "engine",
        key: "base",
        unit: "RFC 3339 time",
        meaning: "What integer times of events count from. LANL hides its real dates, so any day does for it.",
        change: Change::Refused,
        get: |c| Value::String(format_rfc3339(c.options.engine.time.base)),
        set: |c, v| {
            let text = v.as_str().ok_or_else(|| format!("{v} is not a string"))?;
            c.options.engine.time.base = parse_rfc3339(text.as_bytes())?;
            Ok(())
        },
    },
    seconds_setting!(
        "engine",
        "tolerance",
        Change::Refused,
        "How far behind the newest accepted event another may lie before it is late; one ahead of its arrival counts as if it lay there. More forgives more disorder and closes hours and days later. Below 3600.",
        options.engine.time.tolerance
    ),
    seconds_setting!(
        "engine",
        "max_jump",
        Change::Free,
        "How far beyond the front an event may lie before it has to wait for company. Less catches smaller clock errors; more passes longer quiet times without waiting.",
        options.engine.time.max_jump
    ),
    integer_setting!(
        "engine",
        "lookback",
        "days",
        Change::Refused,
        1,
        3650,
        "Calendar days over which the popularity of computers is counted.",
        u32,
        options.engine.time.lookback_days
    ),
    seconds_setting!(
        "engine",
        "settle",
        Change::Refused,
        "How long after its end a day closes for popularity. Leaves shards that long to publish their shares before others wait for them. At least the tolerance.",
        options.engine.time.settle
    ),
];

/// Settings that come after those of the rules.
const AFTER_RULES: &[Fixed] = &[
    integer_setting!(
        "store",
        "roll_rows",
        "rows",
        Change::Free,
        1,
        100_000_000,
        "Files roll, and an entry is stored, at this many rows. More makes larger files, and a longer catch-up after a crash.",
        u64,
        options.entry_rows
    ),
    seconds_setting!(
        "store",
        "roll_age",
        Change::Free,
        "Files roll, and an entry is stored, once in this time, each shard at a moment of its own, so that not all encode at once. Less makes fresher tables out of more, smaller files.",
        options.entry_age
    ),
    integer_setting!(
        "store",
        "roll_bytes",
        "bytes",
        Change::Free,
        1 << 10,
        1 << 30,
        "An entry is stored at this many bytes of raw and rejected records. Bounds memory.",
        u64,
        options.entry_bytes
    ),
    integer_setting!(
        "store",
        "chunk_rows",
        "rows",
        Change::Free,
        1,
        10_000_000,
        "Rows encoded as one piece of work. Less spreads an entry over more threads and makes more files.",
        usize,
        options.chunk_rows
    ),
    integer_setting!(
        "store",
        "memory",
        "bytes",
        Change::Free,
        1 << 20,
        1 << 40,
        "Records and rows of all shards of a process that are not stored yet, those read ahead among them, take up about this much memory at most: each of n shards stores an entry at a 2n-th of it, one being filled and one being stored. Less makes more and smaller files where many shards catch up.",
        u64,
        options.memory
    ),
    integer_setting!(
        "store",
        "gather_below",
        "bytes",
        Change::Free,
        0,
        64 << 20,
        "Files below this size that come into a table with one commit are merged, one for each partition; 0 appends each as its worker wrote it. Queries of today open fewer files; a commit takes longer and writes those rows once more.",
        u64,
        options.gather_below
    ),
    seconds_setting!(
        "store",
        "commit_interval",
        Change::Free,
        "How often the tables follow the journals. Less makes rows queryable sooner and makes more snapshots.",
        options.commit_interval
    ),
    integer_setting!(
        "store",
        "snapshot_rows",
        "rows",
        Change::Free,
        1,
        i64::MAX,
        "A state snapshot is taken after this many rows. Less restarts faster and writes more.",
        u64,
        options.snapshot_rows
    ),
    seconds_setting!(
        "store",
        "snapshot_age",
        Change::Free,
        "A state snapshot is taken after this long, if there were rows.",
        options.snapshot_age
    ),
    Fixed {
        section: "store",
        key: "raw",
        unit: "true or false",
        meaning: "Whether every record of a stream is kept as received. A backfill keeps none unless asked (--raw): the file is the raw zone.",
        change: Change::Free,
        get: |c| Value::Boolean(c.options.raw),
        set: |c, v| {
            c.options.raw = v.as_bool().ok_or_else(|| format!("{v} is neither true nor false"))?;
            Ok(())
        },
    },
    Fixed {
        section: "store",
        key: "group_read",
        unit: "true or false",
        meaning: "Whether the group of the user who runs the program may read what it writes (files 0640, directories 0750), such as an engine under a user of its own. Otherwise nobody else can (0600 and 0700). Holds for what is made from now on; a warning names the chmod for what is there.",
        change: Change::Free,
        get: |c| Value::Boolean(c.group_read),
        set: |c, v| {
            c.group_read = v.as_bool().ok_or_else(|| format!("{v} is neither true nor false"))?;
            Ok(())
        },
    },
    seconds_setting!(
        "run",
        "idle_after",
        Change::Free,
        "A shard that accepted nothing for this long, at its tip, follows the others' watermark. Less lets quiet shards hold others up for a shorter time; an event that comes later than this behind the others is late.",
        options.idle_after
    ),
    seconds_setting!(
        "run",
        "poll_interval",
        Change::Free,
        "How often a shard is read again after it brought nothing. Less sees records sooner and asks more often.",
        options.poll_interval
    ),
    integer_setting!(
        "run",
        "read_records",
        "records",
        Change::Free,
        1,
        10_000,
        "Most records taken from a shard in one read.",
        usize,
        options.read_records
    ),
    integer_setting!(
        "run",
        "read_bytes",
        "bytes",
        Change::Free,
        1 << 10,
        1 << 28,
        "Most bytes taken from a shard in one read.",
        usize,
        options.read_bytes
    ),
    seconds_setting!(
        "workers",
        "follow_interval",
        Change::Free,
        "How often a worker looks what others have stored: scores wait this much longer for their shares. Less asks the journal more often.",
        options.follow_interval
    ),
    seconds_setting!(
        "workers",
        "lease_duration",
        Change::Free,
        "A shard whose worker is silent for this long is taken over. Less takes over sooner after a loss of power or network, and from workers that only pause. The same for all workers of a lake.",
        options.leases.duration
    ),
    seconds_setting!(
        "workers",
        "lease_scan",
        Change::Free,
        "How often a worker looks at all leases: how soon it takes what another gave back. One that has none looks four times as often.",
        options.leases.scan_every
    ),
    integer_setting!(
        "workers",
        "leases_max",
        "shards",
        Change::Free,
        1,
        10_000,
        "The most shards that one worker takes, whatever its part is.",
        usize,
        options.leases.max_leases
    ),
    integer_setting!(
        "maintain",
        "target_bytes",
        "bytes",
        Change::Free,
        1 << 10,
        1 << 30,
        "Bytes that a data file should have: files below three quarters of it are merged, once their day or month is not written to any more. More makes fewer files; merging holds about twice as much in memory.",
        u64,
        options.maintain.target_bytes
    ),
    integer_setting!(
        "maintain",
        "min_files",
        "files",
        Change::Free,
        2,
        1_000_000,
        "Small files of a day or month from which on they are merged. Less leaves fewer small files and writes more.",
        usize,
        options.maintain.min_files
    ),
    integer_setting!(
        "maintain",
        "manifests_max",
        "manifests",
        Change::Free,
        1,
        1_000,
        "Small manifests of a table above which they are merged. Less makes queries open fewer files before they begin.",
        usize,
        options.maintain.manifests_max
    ),
    integer_setting!(
        "maintain",
        "snapshots_max",
        "snapshots",
        Change::Free,
        1,
        100_000,
        "Snapshots of a table above which the oldest expire. Commits themselves keep 200 at most.",
        usize,
        options.maintain.snapshots_max
    ),
    seconds_setting!(
        "maintain",
        "snapshot_age",
        Change::Free,
        "Snapshots older than this expire, except the current one; files that only they reached are removed. It is how far back a query can travel, and how long a query may run.",
        options.maintain.snapshot_age
    ),
    seconds_setting!(
        "maintain",
        "orphan_age",
        Change::Free,
        "Files that no entry and no snapshot names are removed when they are older than this. It must be longer than anybody, another engine included, takes from writing a file to naming it; below 3600 only where nobody writes.",
        options.maintain.orphan_age
    ),
    integer_setting!(
        "maintain",
        "fold_entries",
        "entries",
        Change::Free,
        1,
        1_000_000,
        "Entries of a shard's journal that come together before they are folded into its base; as many of the newest are never removed.",
        u64,
        options.maintain.fold_entries
    ),
    seconds_setting!(
        "maintain",
        "entry_age",
        Change::Free,
        "Entries are removed when they have been folded for this long. It must be longer than any process may be stopped and go on; a process that was stopped for longer ends and is to be started again. Below 7200 only where nobody writes.",
        options.maintain.entry_age
    ),
    seconds_setting!(
        "followers",
        "keep",
        Change::Free,
        "For a follower that registered (`authpulse followers list`) and lacks entries, `tables maintain` keeps these, their sides and their files, until the oldest of them was written this long ago. More lets one be away for longer without being rebuilt; meanwhile journals are not folded and files not removed.",
        options.maintain.follower_keep
    ),
    Fixed {
        section: "decisions",
        key: "to",
        unit: "none, log, or file:PATH",
        meaning: "Where decisions go at the moment they are made, before they are committed: with \"log\" as a line each on standard error, whatever AUTHPULSE_LOG says; with a file as a line each at its end, and SIGHUP opens it anew. After a crash one may come again, with the same event_id, event_time, user_id and computer_id.",
        change: Change::Free,
        get: |c| {
            Value::String(match &c.decisions {
                Decisions::None => "none".to_owned(),
                Decisions::Log => "log".to_owned(),
                Decisions::File(path) => format!("file:{}", path.display()),
            })
        },
        set: |c, v| {
            c.decisions = match v.as_str() {
                Some("none") => Decisions::None,
                Some("log") => Decisions::Log,
                Some(text) if text.len() > 5 && text.starts_with("file:") => Decisions::File(text[5..].into()),
                _ => return Err(format!("{v} is neither \"none\", \"log\" nor \"file:PATH\"")),
            };
            Ok(())
        },
    },
    integer_setting!(
        "decisions",
        "min_score",
        "points",
        Change::Free,
        0,
        100,
        "The lowest risk score that is handed on; 51 is HIGH.",
        u8,
        decisions_min_score
    ),
    Fixed {
        section: "s3",
        key: "encryption",
        unit: "bucket, sse-s3, sse-kms, or sse-kms:KEY",
        meaning: "How S3 encrypts the files of a lake there: as the bucket says (SSE-S3 unless it was told otherwise), or as said here. KEY is the id, ARN or alias of a KMS key.",
        change: Change::Free,
        get: |c| {
            Value::String(match &c.s3_encryption {
                S3Encryption::Bucket => "bucket".to_owned(),
                S3Encryption::S3 => "sse-s3".to_owned(),
                S3Encryption::Kms(None) => "sse-kms".to_owned(),
                S3Encryption::Kms(Some(key)) => format!("sse-kms:{key}"),
            })
        },
        set: |c, v| {
            c.s3_encryption = match v.as_str() {
                Some("bucket") => S3Encryption::Bucket,
                Some("sse-s3") => S3Encryption::S3,
                Some("sse-kms") => S3Encryption::Kms(None),
                Some(text) if text.len() > 8 && text.starts_with("sse-kms:") => {
                    S3Encryption::Kms(Some(text[8..].to_owned()))
                }
                _ => return Err(format!("{v} is none of \"bucket\", \"sse-s3\", \"sse-kms\" and \"sse-kms:KEY\"")),
            };
            Ok(())
        },
    },
    Fixed {
        section: "s3",
        key: "answer_timeout",
        unit: "seconds",
        meaning: "How long an answer of S3, Glue or DynamoDB may take to begin; then it counts as lost, and what was asked for is looked up or asked for again. Less notices a broken network sooner, and takes slow answers for lost ones. At least 0.1.",
        change: Change::Free,
        get: |c| seconds(c.s3_answer),
        set: |c, v| {
            let answer = span(v)?;
            if answer < SECOND / 10 {
                return Err(format!("{v} is less than 0.1"));
            }
            c.s3_answer = answer;
            Ok(())
        },
    },
];
