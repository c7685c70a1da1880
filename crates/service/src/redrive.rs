//! Puts dead letters into a stream again, for `authpulse redrive`: the payload as it was received, under the partition key that it
//! should have had.
//!
//! - **Which.** Those whose reason allows another outcome at a second try ([`REDRIVABLE`]), and only those in the table. Letters in
//!   entries that are not committed yet are left for a later run.
//! - **Whole ones only.** A dead letter keeps the first 64 KiB. Longer ones are named and counted, and not sent.
//! - **Once.** With each put the stream stores a note: the position up to which letters were sent for each reason and shard, and each sent
//!   letter whose event had waited. A repeated run sends only the others. The last put may be repeated if its answer is lost, or if the
//!   process is killed and the stream has no place for a note (Kinesis). The consumer then finds a duplicate by the event's id.
//! - **Order.** By day of arrival, and within a day by arrival, shard and position. One day's letters are in memory at once.

use authpulse_engine::WENT_ON;
use authpulse_engine::rows::Reason;
use authpulse_event::id::sha256_hex;
use authpulse_event::parse::{Invalid, NO_LINE};
use authpulse_event::{
    ArrivalTime, Day, EventTime, Position, Reading, SequenceNumber, ShardId, TimeForm, parse_line, parse_record,
};
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_lake::read::LiveFile;
use authpulse_lake::{LakeError, Table};
use authpulse_producer::replay::record_of;
use authpulse_stream::{ProducerProgress, PutRecord, StreamError, StreamWriter};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::redrive";

/// Letters of these reasons may be put again. The other reasons follow from the event's time and would be the same again. An invalid
/// record may be an event for a newer version that reads more.
pub const REDRIVABLE: [Reason; 3] = [Reason::Misrouted, Reason::Failed, Reason::Invalid];

/// The most letters in one put.
const PUT_RECORDS: usize = 1_000;
/// A put is sent once its payloads have this many bytes.
const PUT_BYTES: usize = 4 << 20;
/// How many times a put is tried.
const ATTEMPTS: u32 = 8;
/// The pause after the first attempt; it doubles each time.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// At most this many letters that cannot be sent are named; all are counted.
pub const NAMED_MAX: usize = 100;
/// The version of the note's form.
const NOTE_VERSION: u32 = 1;

/// Which letters to put again.
#[derive(Clone, Debug)]
pub struct RedriveOptions {
    /// The reasons whose letters are put; all are among [`REDRIVABLE`].
    pub reasons: Vec<Reason>,
    /// Letters that arrived on this day (UTC) or later.
    pub since: Option<Day>,
    /// Letters that arrived on this day or earlier.
    pub until: Option<Day>,
    /// Only count, and put nothing.
    pub dry_run: bool,
    /// The consumer's base: the moment from which whole seconds in records count.
    pub base: EventTime,
}

/// What a run found and put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Letters found, by reason.
    pub found: BTreeMap<&'static str, u64>,
    /// Letters put by this run; in a dry run those that would be put.
    pub sent: u64,
    /// Letters put by earlier runs.
    pub sent_before: u64,
    /// Letters not sent because the table has only their beginning.
    pub shortened: u64,
    /// Letters not sent because they are not an event, so that their user is unknown.
    pub no_event: u64,
    /// The first [`NAMED_MAX`] letters that cannot be sent, and why, in words.
    pub named: Vec<String>,
    /// Whether the run was told to stop before its end.
    pub stopped: bool,
}

/// A dead letter, as the table has it.
struct Letter {
    reason: Reason,
    arrival: ArrivalTime,
    shard: String,
    position: Position,
    /// Whether its event had waited. It was then rejected after records behind it, and in a child shard its position may be a parent's.
    has_waited: bool,
    form: Form,
    payload: Bytes,
    /// The payload's length in the stream or file, in bytes; `payload` may be only its beginning.
    bytes: u64,
}

/// What a payload was when it was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A line of a backfilled file.
    Line,
    /// A record of a stream.
    Record,
    /// A record that a replay made of a line that begins with a blank. It is no event, whatever its bytes are (semantics, 8 b).
    NoLine,
}

impl Form {
    fn of(shard: &str, detail: &str) -> Form {
        if ShardId::new(shard).is_file() {
            Form::Line
        } else if detail == NO_LINE {
            Form::NoLine
        } else {
            Form::Record
        }
    }
}

impl Letter {
    fn name(&self) -> String {
        format!("{} {} of shard {}, {} bytes", self.reason, self.position, self.shard, self.bytes)
    }
}

/// The position up to which letters of one reason and shard were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    sequence: String,
    sub_sequence: u64,
    /// The newest arrival among them. If the lake follows a second stream with shards of the same names, positions begin again; letters of
    /// that stream are known by their later arrival.
    #[serde(with = "authpulse_lake::micros")]
    arrival: ArrivalTime,
}

impl Mark {
    fn position(&self) -> Position {
        let sequence = self.sequence.parse::<SequenceNumber>().unwrap_or_default();
        Position { sequence, sub_sequence: self.sub_sequence }
    }
}

/// What the stream stores about a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    version: u32,
    /// The marks by reason and shard; a key is `REASON SHARD`.
    marks: BTreeMap<String, Mark>,
    /// Sent letters whose events had waited, each as `REASON SHARD POSITION ARRIVAL`. In a shard at most nine events wait at a time.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    waited: BTreeSet<String>,
}

impl Note {
    fn read(text: Option<&str>, job: &str) -> std::result::Result<Note, StreamError> {
        let Some(text) = text else { return Ok(Note { version: NOTE_VERSION, ..Note::default() }) };
        match serde_json::from_str(text) {
            Ok(note @ Note { version: NOTE_VERSION, .. }) => Ok(note),
            _ => Err(StreamError::Damaged {
                stream: job.to_owned(),
                what: "the note on how far these dead letters were put again is of a newer version, or none".to_owned(),
            }),
        }
    }

    fn key(letter: &Letter) -> String {
        format!("{} {}", letter.reason, letter.shard)
    }

    fn key_of_one(letter: &Letter) -> String {
        format!("{} {} {}", Note::key(letter), letter.position, letter.arrival.micros())
    }

    fn has(&self, letter: &Letter) -> bool {
        if letter.has_waited {
            return self.waited.contains(&Note::key_of_one(letter));
        }
        self.marks
            .get(&Note::key(letter))
            .is_some_and(|mark| letter.position <= mark.position() && letter.arrival <= mark.arrival)
    }

    fn note(&mut self, letter: &Letter) {
        if letter.has_waited {
            self.waited.insert(Note::key_of_one(letter));
            return;
        }
        let before = self.marks.get(&Note::key(letter));
        let at = before.map_or(Position::START, Mark::position).max(letter.position);
        let mark = Mark {
            sequence: at.sequence.to_string(),
            sub_sequence: at.sub_sequence,
            arrival: before.map_or(ArrivalTime::MIN, |mark| mark.arrival).max(letter.arrival),
        };
        self.marks.insert(Note::key(letter), mark);
    }
}

/// Puts dead letters of a lake into a stream again.
///
/// # Errors
/// The table or the stream's note cannot be read, or a put fails. What was put stays; the same run again goes on behind it.
pub async fn redrive(
    env: &Env,
    stream: &dyn StreamWriter,
    options: &RedriveOptions,
    stop: &watch::Receiver<bool>,
) -> Result<Redriven> {
    // The days are part of the job's name: marks left by a run over some days would hide unsent letters of earlier days.
    let day = |day: Option<Day>| day.map_or_else(String::new, |day| day.to_string());
    let of = format!("{}\n{}\n{}", env.store.uri(""), day(options.since), day(options.until));
    let job = format!("redrive-{}", sha256_hex(of.as_bytes()));
    let mut note = Note::read(stream.progress(&job).await?.as_deref(), &job)?;
    let mut done = Redriven::default();
    for (_, files) in files_by_day(env, options).await? {
        let mut letters = Vec::new();
        for file in &files {
            read_letters(env, file, options, &mut letters).await?;
        }
        letters.sort_by(|a: &Letter, b| (a.arrival, &a.shard, a.position).cmp(&(b.arrival, &b.shard, b.position)));
        let mut put = Vec::new();
        let mut bytes = 0;
        for letter in &letters {
            if *stop.borrow() {
                done.stopped = true;
                return Ok(done);
            }
            *done.found.entry(letter.reason.name()).or_default() += 1;
            // Before `note.has`: a letter that cannot be sent may lie below a mark, and would count as sent.
            let Some(record) = classify(letter, options.base, &mut done) else { continue };
            if note.has(letter) {
                done.sent_before += 1;
                continue;
            }
            if options.dry_run {
                done.sent += 1;
                continue;
            }
            note.note(letter);
            bytes += record.payload.len();
            put.push(record);
            if put.len() >= PUT_RECORDS || bytes >= PUT_BYTES {
                bytes = 0;
                done.sent += put_noted(env, stream, std::mem::take(&mut put), &job, &note).await?;
            }
        }
        if !put.is_empty() {
            done.sent += put_noted(env, stream, put, &job, &note).await?;
        }
    }
    Ok(done)
}

/// The files of the table by day of arrival. Files without a day come first; another engine wrote them.
async fn files_by_day(env: &Env, options: &RedriveOptions) -> Result<BTreeMap<Option<i32>, Vec<LiveFile>>> {
    let live = match env.lake.live_files(Table::REJECTED).await {
        Err(LakeError::NoTable { .. }) => return Ok(BTreeMap::new()),
        live => live?,
    };
    let mut days: BTreeMap<Option<i32>, Vec<LiveFile>> = BTreeMap::new();
    for file in live.files {
        let day = file.partition.map(Day);
        let is_before = day.zip(options.since).is_some_and(|(day, since)| day < since);
        let is_after = day.zip(options.until).is_some_and(|(day, until)| day > until);
        if !is_before && !is_after {
            days.entry(file.partition).or_default().push(file);
        }
    }
    Ok(days)
}

async fn read_letters(env: &Env, file: &LiveFile, options: &RedriveOptions, letters: &mut Vec<Letter>) -> Result<()> {
    for batch in env.lake.read_rejected(file, None).await? {
        for row in batch?.iter() {
            let Some(reason) = options.reasons.iter().copied().find(|reason| reason.name() == row.reason) else {
                continue;
            };
            let day = row.ingest_date;
            if options.since.is_some_and(|since| day < since) || options.until.is_some_and(|until| day > until) {
                continue;
            }
            let damaged = |why: String| LakeError::Damaged {
                table: Table::REJECTED.name().to_owned(),
                file: file.path.clone(),
                what: why,
            };
            letters.push(Letter {
                reason,
                arrival: row.ingestion_time,
                shard: row.shard_id.to_owned(),
                position: Position {
                    sequence: row.sequence_number.parse().map_err(damaged)?,
                    sub_sequence: row.sub_sequence_number.unsigned_abs(),
                },
                has_waited: row.detail.starts_with(WENT_ON),
                form: Form::of(row.shard_id, row.detail),
                payload: Bytes::copy_from_slice(row.payload),
                bytes: row.payload_bytes.unsigned_abs(),
            });
        }
    }
    Ok(())
}

/// The record to put for a letter; `None` if it cannot be sent, which is counted and named in `done`.
fn classify(letter: &Letter, base: EventTime, done: &mut Redriven) -> Option<PutRecord> {
    let mut name = |why: &str| {
        if done.named.len() < NAMED_MAX {
            done.named.push(format!("{}: {why}", letter.name()));
        }
    };
    if letter.bytes > letter.payload.len() as u64 {
        name("only its beginning is kept; the raw zone holds the whole, where there is one");
        done.shortened += 1;
        return None;
    }
    let record = record(letter, base);
    if let Err(why) = &record {
        name(&format!("it is no event, so it has no user to be put under: {why}"));
        done.no_event += 1;
    }
    record.ok()
}

fn record(letter: &Letter, base: EventTime) -> std::result::Result<PutRecord, Invalid> {
    // The bytes are put as they are, attributes and all.
    let reading = Reading::three_fields(base);
    let as_line = || {
        let line = parse_line(&letter.payload, reading)?;
        let record = record_of(&letter.payload, base).expect("a line that is an event has a record");
        Ok((record, line.form))
    };
    match letter.form {
        Form::Line => as_line().map(|(record, _)| record),
        Form::NoLine => Err(NO_LINE.into()),
        Form::Record => match parse_record(&letter.payload, b"", reading) {
            Ok(event) => {
                let partition_key = Bytes::copy_from_slice(event.user.as_bytes());
                Ok(PutRecord { payload: letter.payload.clone(), partition_key })
            }
            // A replay sends a line that it cannot parse unchanged; a newer version may parse it. Every version could parse a line in
            // whole seconds, so such a payload comes from a foreign producer and is no record in the wire form.
            Err(invalid) => match as_line() {
                Ok((record, form)) if letter.reason != Reason::Invalid || form == TimeForm::Rfc3339 => Ok(record),
                _ => Err(invalid),
            },
        },
    }
}

/// Puts records and the note in one put, and returns the number of records.
async fn put_noted(env: &Env, stream: &dyn StreamWriter, put: Vec<PutRecord>, job: &str, note: &Note) -> Result<u64> {
    let state = serde_json::to_string(note).unwrap_or_default();
    let mut pause = PAUSE_FIRST;
    for attempt in 1.. {
        // A failed attempt may have put the records all the same: then the stream has the note.
        let stored = attempt > 1 && stream.progress(job).await?.as_deref() == Some(&state);
        if stored {
            break;
        }
        let progress = ProducerProgress { job: job.to_owned(), state: state.clone() };
        match stream.put(put.clone(), Some(progress)).await {
            Ok(_) => break,
            Err(error @ StreamError::Storage { retry: true, .. }) if attempt < ATTEMPTS => {
                tracing::warn!(target: TARGET, attempt, %error, "the stream failed; trying again");
                env.clock.sleep(pause).await;
                pause *= 2;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(put.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::time::DEFAULT_BASE;

    fn letter(reason: Reason, sequence: u64, arrival: i64, payload: &[u8]) -> Letter {
        Letter {
            reason,
            arrival: ArrivalTime::from_micros(arrival),
            shard: "shardId-1".to_owned(),
            position: Position { sequence: sequence.into(), sub_sequence: 0 },
            has_waited: false,
            form: Form::Record,
            payload: Bytes::copy_from_slice(payload),
            bytes: payload.len() as u64,
        }
    }

    #[test]
    fn a_letter_goes_as_it_came_under_its_users_key() {
        let mut done = Redriven::default();
        let mut record = |payload: &[u8]| {
            let record = classify(&letter(Reason::Misrouted, 1, 5, payload), DEFAULT_BASE, &mut done);
            record.map(|record| (record.payload, record.partition_key))
        };
        let event = br#" {"computer":"C1","user":" U\"1 ","more":[1],"time":7}"#;
        assert_eq!(record(event), Some((Bytes::from_static(event), Bytes::from_static(b"U\"1"))));
        // A line of a file becomes what a replay makes of it.
        let wire = Bytes::from_static(br#"{"time":7,"user":"U1","computer":"C1"}"#);
        assert_eq!(record(b"007, U1,C1"), Some((wire, Bytes::from_static(b"U1"))));
        assert_eq!(record(b"broken"), None);
        assert_eq!((done.no_event, done.named.len()), (1, 1));
        let long = Letter { bytes: 70_000, ..letter(Reason::Misrouted, 9, 5, event) };
        assert_eq!(classify(&long, DEFAULT_BASE, &mut done), None, "its beginning alone would be another event");
        assert_eq!(done.shortened, 1);
        assert!(done.named[1].starts_with("misrouted 9/0 of shard shardId-1, 70000 bytes: only its beginning"));
    }

    /// An invalid letter that is an event by now is put as a replay would send it; the rest stays.
    #[test]
    fn an_invalid_letter_goes_if_it_is_an_event_by_now() {
        let record = |shard: &str, detail: &str, payload: &[u8]| {
            let form = Form::of(shard, detail);
            let mut done = Redriven::default();
            let letter = Letter { form, ..letter(Reason::Invalid, 1, 5, payload) };
            let record = classify(&letter, DEFAULT_BASE, &mut done);
            assert_eq!((done.no_event, done.named.len()), if record.is_some() { (0, 0) } else { (1, 1) }, "{done:?}");
            record.map(|record| {
                assert_eq!(record.partition_key, &b"U1"[..]);
                String::from_utf8_lossy(&record.payload).into_owned()
            })
        };
        let no_zone = "time has no zone (Z or an offset such as +01:00)";
        let no_object = "not a JSON object";
        let line = b"2015-01-01 00:00:07+0000,U1,C1";
        let sent = Some(r#"{"time":"2015-01-01T00:00:07.000000Z","user":"U1","computer":"C1"}"#.to_owned());
        assert_eq!(record("file", no_zone, line), sent, "a line of a file");
        assert_eq!(record("shardId-000000000000", no_object, line), sent, "a line that a replay sent as it stood");
        let object = br#"{"time":"2015-01-01T00:00:07,5z","user":"U1","computer":"C1"}"#;
        for shard in ["file", "shardId-000000000000"] {
            assert_eq!(
                record(shard, no_zone, object).as_deref(),
                std::str::from_utf8(object).ok(),
                "as it was received"
            );
            let odd = b"{\"time\":7,\"user\":\"U1\",\"computer\":\"C1\",\"x\":\"\xff\"}";
            assert!(record(shard, "not UTF-8 from byte 47 on", odd).is_some());
            for still in [&b"junk"[..], b"0,U1,C1", b"2015-01-01T00:00:07,U1,C1", br#"{"time":7,"user":"U1"}"#] {
                assert_eq!(record(shard, no_object, still), None);
            }
        }
        // A record on a stream may begin with a blank, a line may not.
        let indented = br#" {"time":"2015-01-01t00:00:07z","user":"U1","computer":"C1"}"#;
        assert!(record("shardId-000000000000", no_zone, indented).is_some());
        assert_eq!(record("file", no_zone, indented), None);
        assert_eq!(record("shardId-000000000000", NO_LINE, indented), None);
        // No replay sends that line unchanged: it comes from a foreign producer and is still no JSON object.
        assert_eq!(record("shardId-000000000000", no_object, b"7,U1,C1"), None);
    }

    #[test]
    fn what_was_sent_is_known_by_reason_shard_and_place() {
        let mut note = Note::read(None, "j").unwrap();
        let of = |sequence, arrival| letter(Reason::Misrouted, sequence, arrival, b"");
        assert!(!note.has(&of(5, 100)));
        note.note(&of(5, 100));
        assert!(note.has(&of(5, 100)) && note.has(&of(4, 100)) && note.has(&of(5, 90)));
        assert!(!note.has(&of(6, 100)), "a later record");
        assert!(!note.has(&of(2, 200)), "a later stream with a shard of that name");
        note.note(&of(2, 200));
        assert!(note.has(&of(2, 200)) && note.has(&of(5, 100)) && !note.has(&of(3, 201)));
        assert!(!note.has(&letter(Reason::Failed, 4, 100, b"")));
        // An event that waited is given up later than records behind it.
        note.note(&letter(Reason::Failed, 20, 300, b""));
        let waited = |sequence| Letter { has_waited: true, ..letter(Reason::Failed, sequence, 100, b"") };
        assert!(!note.has(&waited(10)));
        note.note(&waited(10));
        assert!(note.has(&waited(10)) && !note.has(&waited(9)) && !note.has(&waited(11)));
        let text = serde_json::to_string(&note).unwrap();
        assert_eq!(Note::read(Some(&text), "j").unwrap(), note);
        let later = text.replace("\"version\":1", "\"version\":2");
        assert!(Note::read(Some(&later), "j").is_err());
    }
}
