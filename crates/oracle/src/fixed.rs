//! Fixed cases with answers computed by hand, one or more for each sentence of sections 1 to 6.
//!
//! They are data, so that the same table tests both the oracle and the engine. The input of a case is a script:
//!
//! ```text
//! shard file                     a backfilled file over the whole ring; the default if a script begins without one
//! shard s1 8..f from s0          a stream's shard over a part of the ring (first hex digits), child of s0 (,s2 ..)
//! 1d+3600 U1 C1 @1d+3601 id=x    an event: its time since base, user, computer; its arrival, its own id if any
//! repeat 51 100 1 U1 C#          51 events from 100 on, one each second; `#` is 0, 1, 2 ..
//! open 1000                      events of O1, O2 and O3 at 1000, so that the shard has a high-water mark there
//! raw 5,U1,C1                    a payload byte by byte, with escapes \t, \r, \n and \xNN
//! pad 1048577 5,U1,C1            the same, filled up with blanks to this many bytes
//! rise 7200                      the watermark advances
//! settle                         waiting events are flushed
//! ```
//!
//! Times are sums of seconds, days (`d`), hours (`h`) and microseconds (`us`). An event has an integer time if possible, in
//! the line form in a file and in the wire form on a stream. Without `@` the arrival is 10000 days after `base`, as in a
//! replay of old events.
//!
//! The answer has one line for each row, in any order. Rows of O1, O2 and O3 are left out.
//!
//! ```text
//! 5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -     score, level, flags (N, B, L, R), logons 1h and 24h, computers 1h and 24h,
//!                                      popularity
//! late 5,U1,C1                         a dead letter: the reason, and how the payload begins
//! id 3f..                              an event id that must be there
//! hour 3600 U1 -> 2 1 1 30 30          logons, computers, anomalies, total and highest score
//! day 0 C1 -> 1 2 0                    users, logons, high-risk events
//! waiting 1
//! +50                                  this many more rows than are listed
//! ```
//!
//! If an answer has any line `hour`, it must list all hours; the same holds for `day`.

use crate::calendar::format_utc;
use crate::model::{
    Curated, DAY, Daily, Form, HOUR, Hourly, Record, Rejected, SECOND, Settings, Shard, Step, WHOLE_RING,
};

mod clocks;
mod table;

pub use clocks::{SIXTY, sixty};
pub use table::all;

/// The shards of a script, for a case without an answer computed by hand.
pub fn shards(settings: &Settings, script: &str) -> Vec<Shard> {
    Script::run(settings, script)
}

/// A case and its answer.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// The name of the case in a test's output.
    pub name: &'static str,
    /// The sentence of the page that it tests.
    pub sentence: &'static str,
    /// The settings of its shards.
    pub settings: Settings,
    /// The input: the shards with their steps.
    pub shards: Vec<Shard>,
    expected: Expected,
}

/// The answer, as lines, each list sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Expected {
    rows: Vec<String>,
    more_rows: usize,
    rejected: Vec<String>,
    ids: Vec<String>,
    hours: Vec<String>,
    days: Vec<String>,
    waiting: usize,
}

impl Fixed {
    /// Compares an answer, of the oracle or the engine, with the expected one. Returns what differs, in words.
    pub fn check(
        &self,
        curated: &[Curated],
        rejected: &[Rejected],
        hourly: &[Hourly],
        daily: &[Daily],
        waiting: usize,
    ) -> Result<(), String> {
        let mut faults = Vec::new();
        let mut rows: Vec<String> = curated
            .iter()
            .filter(|row| !is_opening(&row.user_id))
            .map(|row| row_line(row, self.settings.base_micros))
            .collect();
        let got = rows.len();
        for line in &self.expected.rows {
            match rows.iter().position(|row| row == line) {
                Some(at) => drop(rows.remove(at)),
                None => faults.push(format!("missing row: {line}")),
            }
        }
        if got != self.expected.rows.len() + self.expected.more_rows {
            faults.push(format!("{got} rows, among them:"));
        }
        if !faults.is_empty() {
            faults.extend(rows.iter().map(|row| format!("other row: {row}")));
        }
        let mut left: Vec<&Rejected> = rejected.iter().collect();
        for line in &self.expected.rejected {
            let (reason, start) = line.split_once(' ').unwrap_or((line, ""));
            let start = unescape(start);
            match left.iter().position(|it| it.reason == reason && it.payload.starts_with(&start)) {
                Some(at) => drop(left.remove(at)),
                None => faults.push(format!("missing rejection: {line}")),
            }
        }
        faults.extend(left.iter().map(|it| format!("other rejection: {it:?}")));
        for id in &self.expected.ids {
            if !curated.iter().any(|row| row.event_id == *id) {
                faults.push(format!("missing id: {id}"));
            }
        }
        let base = self.settings.base_micros;
        let hours = hourly.iter().filter(|row| !is_opening(&row.user_id)).map(|row| hour_line(row, base));
        compare("hours", &self.expected.hours, hours.collect(), &mut faults);
        let days = daily.iter().filter(|row| row.computer_id != OPENING).map(|row| day_line(row, base));
        compare("days", &self.expected.days, days.collect(), &mut faults);
        if waiting != self.expected.waiting {
            faults.push(format!("{waiting} wait, expected {}", self.expected.waiting));
        }
        if faults.is_empty() { Ok(()) } else { Err(format!("{}:\n  {}", self.name, faults.join("\n  "))) }
    }
}

fn compare(what: &str, expected: &[String], mut got: Vec<String>, faults: &mut Vec<String>) {
    got.sort();
    if !expected.is_empty() && expected != got {
        faults.push(format!("{what}: expected {expected:#?}, got {got:#?}"));
    }
}

/// The computer of the events that `open` makes.
const OPENING: &str = "OPENING";

fn is_opening(user: &str) -> bool {
    matches!(user, "O1" | "O2" | "O3")
}

/// A time in seconds since `base`, as answers print it.
fn time_text(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, rest) = (micros.abs() / SECOND, micros.abs() % SECOND);
    if rest == 0 { format!("{sign}{seconds}") } else { format!("{sign}{seconds}.{rest:06}") }
}

fn row_line(row: &Curated, base: i64) -> String {
    let letters: String = row
        .risk_flags
        .iter()
        .map(|flag| match *flag {
            "NEW_DEVICE" => 'N',
            "BURST_LOGIN" => 'B',
            "LATERAL_MOVEMENT" => 'L',
            "RARE_HOST" => 'R',
            _ => '?',
        })
        .collect();
    let ints =
        [('N', row.is_new_device), ('B', row.is_burst_login), ('L', row.is_lateral_movement), ('R', row.is_rare_host)];
    let from_ints: String = ints.iter().filter(|(_, int)| *int == 1).map(|(letter, _)| *letter).collect();
    let date = i64::from(row.event_date) == row.event_time.div_euclid(DAY);
    let odd = if letters == from_ints && date { "" } else { " (its columns contradict each other)" };
    format!(
        "{} {} {} -> {} {} {} {} {} {} {} {}{odd}",
        time_text(row.event_time - base),
        row.user_id,
        row.computer_id,
        row.risk_score,
        row.risk_level,
        if letters.is_empty() { "-" } else { &letters },
        row.login_count_1h,
        row.login_count_24h,
        row.unique_computers_1h,
        row.unique_computers_24h,
        row.host_popularity.map_or("-".to_owned(), |popularity| popularity.to_string()),
    )
}

fn hour_line(row: &Hourly, base: i64) -> String {
    let odd = if row.window_end == row.window_start + HOUR { "" } else { " (it is no hour)" };
    format!(
        "hour {} {} -> {} {} {} {} {}{odd}",
        time_text(row.window_start - base),
        row.user_id,
        row.total_logins,
        row.unique_computers,
        row.anomaly_count,
        row.total_risk_score,
        row.max_risk_score
    )
}

fn day_line(row: &Daily, base: i64) -> String {
    format!(
        "day {} {} -> {} {} {}",
        i64::from(row.date) - base.div_euclid(DAY),
        row.computer_id,
        row.unique_users,
        row.total_logins,
        row.high_risk_events
    )
}

/// `1d+2h+5+1us` as microseconds; a minus may stand before each part.
fn time(text: &str) -> i64 {
    let part = |part: &str| -> i64 {
        let (number, unit) = match part {
            _ if part.ends_with("us") => (&part[..part.len() - 2], 1),
            _ if part.ends_with('d') => (&part[..part.len() - 1], DAY),
            _ if part.ends_with('h') => (&part[..part.len() - 1], HOUR),
            _ => (part, SECOND),
        };
        number.parse::<i64>().unwrap_or_else(|_| panic!("no time: {text}")) * unit
    };
    text.split('+').map(part).sum()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, used) = match (first, after.first()) {
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b'x')) => {
                let hex = std::str::from_utf8(&after[1..3]).expect("two digits");
                (u8::from_str_radix(hex, 16).expect("hex"), 4)
            }
            _ => (first, 1),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    bytes
}

/// `8..f` as the part of the ring from the first hex digit through the last.
fn ring(text: &str) -> (u128, u128) {
    let (from, to) = text.split_once("..").expect("a range");
    let digit = |text: &str| u128::from_str_radix(text, 16).expect("a hex digit") << 124;
    (digit(from), digit(to) | (u128::MAX >> 4))
}

struct Script<'a> {
    settings: &'a Settings,
    shards: Vec<Shard>,
}

impl Script<'_> {
    fn run(settings: &Settings, script: &str) -> Vec<Shard> {
        let mut run = Script { settings, shards: Vec::new() };
        for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            run.line(line);
        }
        run.shards
    }

    fn line(&mut self, line: &str) {
        if let Some(shard) = line.strip_prefix("shard ") {
            return self.open(shard);
        }
        if self.shards.is_empty() {
            self.open("file");
        }
        let arrival = self.settings.base_micros + 10_000 * DAY;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split(' ').collect();
        match word {
            "raw" => self.record(unescape(rest), arrival, "key"),
            "pad" => {
                let (length, start) = rest.split_once(' ').unwrap_or((rest, ""));
                let mut payload = unescape(start);
                payload.resize(length.parse().expect("a length"), b' ');
                self.record(payload, arrival, "key");
            }
            "open" => {
                for user in ["O1", "O2", "O3"] {
                    self.event(&[rest, user, OPENING]);
                }
            }
            "repeat" => {
                let [times, from, step, user, computer] = words[..] else { panic!("no repetition: {line}") };
                for at in 0..times.parse::<i64>().expect("a number") {
                    let micros = time(from) + at * time(step);
                    let (number, when) = (at.to_string(), format!("{micros}us"));
                    self.event(&[&when, &user.replace('#', &number), &computer.replace('#', &number)]);
                }
            }
            "rise" => self.step(Step::Advance(self.settings.base_micros + time(rest))),
            "settle" => self.step(Step::Flush),
            _ => self.event(&line.split(' ').collect::<Vec<&str>>()),
        }
    }

    fn open(&mut self, shard: &str) {
        let words: Vec<&str> = shard.split(' ').collect();
        let index = |id: &str| self.shards.iter().position(|other| other.id == id).expect("an earlier shard");
        let parents = match words.iter().position(|&word| word == "from") {
            Some(at) => words[at + 1].split(',').map(index).collect(),
            None => Vec::new(),
        };
        self.shards.push(Shard {
            id: words[0].to_owned(),
            range: words.get(1).filter(|word| word.contains("..")).map_or(WHOLE_RING, |text| ring(text)),
            parents,
            live: words[0] != "file",
            steps: Vec::new(),
        });
    }

    fn step(&mut self, step: Step) {
        self.shards.last_mut().expect("a shard").steps.push(step);
    }

    fn record(&mut self, payload: Vec<u8>, arrival: i64, key: &str) {
        let file = !self.shards.last().expect("a shard").live;
        let (form, key) = if file { (Form::Line, "") } else { (Form::Wire, key) };
        self.step(Step::Record(Record { payload, partition_key: key.to_owned(), arrival, place: (0, 0), form }));
    }

    fn event(&mut self, words: &[&str]) {
        let [when, user, computer, options @ ..] = words else { panic!("no event: {words:?}") };
        let base = self.settings.base_micros;
        let (mut arrival, mut id) = (base + 10_000 * DAY, None);
        for option in options {
            match option.split_at(1) {
                ("@", at) => arrival = base + time(at),
                ("i", own) => id = own.strip_prefix("d="),
                _ => panic!("no option: {option}"),
            }
        }
        let since = time(when);
        let integer = since >= SECOND && since % SECOND == 0;
        let when = if integer { (since / SECOND).to_string() } else { format_utc(base + since) };
        let file = !self.shards.last().expect("a shard").live;
        let payload = if file && id.is_none() {
            format!("{when},{user},{computer}")
        } else {
            let when = if integer { when } else { format!("\"{when}\"") };
            let id = id.map_or(String::new(), |id| format!(",\"event_id\":\"{id}\""));
            format!("{{\"time\":{when},\"user\":\"{user}\",\"computer\":\"{computer}\"{id}}}")
        };
        self.record(payload.into_bytes(), arrival, user);
    }
}

fn expected(text: &str) -> Expected {
    let mut expected = Expected::default();
    for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "invalid" | "misrouted" | "future" | "late" | "duplicate" => expected.rejected.push(line.to_owned()),
            "id" => expected.ids.push(rest.to_owned()),
            "waiting" => expected.waiting = rest.parse().expect("a number"),
            "day" => expected.days.push(line.to_owned()),
            "hour" => {
                let (when, rest) = rest.split_once(' ').expect("an hour");
                expected.hours.push(format!("hour {} {rest}", time_text(time(when))));
            }
            _ if word.starts_with('+') => expected.more_rows = word[1..].parse().expect("a number"),
            _ => expected.rows.push(format!("{} {rest}", time_text(time(word)))),
        }
    }
    expected.hours.sort();
    expected.days.sort();
    expected
}

fn case(name: &'static str, sentence: &'static str, script: &str, answer: &str) -> Fixed {
    case_with(Settings::default(), name, sentence, script, answer)
}

fn case_with(settings: Settings, name: &'static str, sentence: &'static str, script: &str, answer: &str) -> Fixed {
    let shards = Script::run(&settings, script);
    Fixed { name, sentence, settings, shards, expected: expected(answer) }
}
