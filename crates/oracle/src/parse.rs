//! Section 1: which records are events, and which are `invalid`.

use md5::{Digest, Md5};
use sha2::Sha256;

use crate::attributes::{self, Attributes};
use crate::calendar::{format_utc, parse_rfc3339, year_10000};
use crate::json::{self, Json};
use crate::model::{Form, LINE_BYTES_MAX, Record, SECOND, Settings};

/// A valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Event time, in microseconds since 1970.
    pub time: i64,
    /// The content id (lower-case hexadecimal), or the producer's own.
    pub id: String,
    /// The user's name, trimmed.
    pub user: String,
    /// The computer's name, trimmed.
    pub computer: String,
    /// Whether the id is a content id and not the producer's own.
    pub content_id: bool,
    /// The attributes of the event; none unless the event model is 2.
    pub attributes: Attributes,
    /// How many attributes were left out because their value was not of their form.
    pub fields_dropped: usize,
}

/// "a user belongs to the shard whose range holds MD5(user)": the digest as a big-endian number.
pub fn ring_position(user: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(user.as_bytes()).into())
}

/// Lower-case hexadecimal SHA-256 of some bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The event in a record; `None` if it is `invalid`: "does not parse or breaks a rule of section 1".
pub fn parse(settings: &Settings, record: &Record) -> Option<Event> {
    match record.form {
        Form::Line => parse_line(settings, &record.payload),
        Form::Wire => parse_stream_record(settings, record),
    }
}

/// "A line of a LANL file has exactly three comma-separated fields, each trimmed, without quoting; `time` may take
/// either form (a fraction behind `.` alone). A line whose first byte is `{` is an event in the wire form instead." "A line above 1,048,576 bytes is
/// one invalid record."
fn parse_line(settings: &Settings, line: &[u8]) -> Option<Event> {
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    if line.first() == Some(&b'{') {
        return parse_wire(settings, line);
    }
    let line = std::str::from_utf8(line).ok()?;
    let fields: Vec<&str> = line.split(',').map(trim).collect();
    let [time, user, computer] = fields[..] else {
        return None;
    };
    event(parse_time(settings, time, false)?, name(user)?, name(computer)?, None)
}

/// "an empty or blank record on a stream" is invalid (it is no JSON object).
///
/// Section 8, a and b: a record above 1,048,576 bytes is invalid, as a line is. And a record that begins with JSON white
/// space and whose partition key is the hexadecimal SHA-256 of its payload is a line of a file that the producer could not
/// parse (its first byte is not `{`), so it is invalid here too.
fn parse_stream_record(settings: &Settings, record: &Record) -> Option<Event> {
    if record.payload.len() > LINE_BYTES_MAX {
        return None;
    }
    let white_first = record.payload.first().is_some_and(|&byte| json::is_white_space(byte));
    if white_first && record.partition_key == sha256_hex(&record.payload) {
        return None;
    }
    parse_wire(settings, &record.payload)
}

/// "On the wire an event is one JSON object (RFC 8259, UTF-8); `time` is an integer number, a string of digits or an
/// RFC 3339 string. Other keys are passed over, and in them and their values any bytes between quotes (a backslash takes
/// the next byte along), `NaN`, `Infinity` and `-Infinity`; the rest of them must be well-formed. Invalid: a number with fraction
/// or exponent (`1.0`, `1e0`), null, a missing known key (`event_id` may be missing, not null), a known key twice at
/// the top level (after unescaping), a lone surrogate in a known value, nesting deeper than 100. Strings of `user` and
/// `computer` are trimmed, of `time` and `event_id` not."
fn parse_wire(settings: &Settings, bytes: &[u8]) -> Option<Event> {
    let Json::Object(members) = json::read(bytes)? else {
        return None;
    };
    let known = |wanted: &str| -> Vec<&Json> {
        let is_wanted = |key: &Option<String>| key.as_deref() == Some(wanted);
        members.iter().filter(|(key, _)| is_wanted(key)).map(|(_, value)| value).collect()
    };
    let time = match known("time")[..] {
        // JSON's grammar excludes leading zeros; `integer_time` refuses a sign, a fraction and an exponent.
        [Json::Number(digits)] => integer_time(settings, digits)?,
        [Json::Text(Some(text))] => parse_time(settings, text, true)?,
        _ => return None,
    };
    let text = |key: &str| match known(key)[..] {
        [Json::Text(Some(text))] => Some(text.clone()),
        _ => None,
    };
    let user = text("user")?;
    let computer = text("computer")?;
    let own_id = match known("event_id")[..] {
        [] => None,
        _ => Some(text("event_id")?),
    };
    let event = event(time, name(trim(&user))?, name(trim(&computer))?, own_id)?;
    if settings.event_model == 1 {
        return Some(event);
    }
    let (attributes, fields_dropped) = attributes::read(&members);
    Some(Event { attributes, fields_dropped, ..event })
}

/// A time by section 1: the instant, and its text in the canonical line.
struct Time {
    micros: i64,
    canonical: String,
}

/// "integer seconds since the data set's epoch, or an RFC 3339 timestamp". The two cannot be confused.
fn parse_time(settings: &Settings, text: &str, in_json: bool) -> Option<Time> {
    integer_time(settings, text).or_else(|| {
        let micros = parse_rfc3339(text, in_json)?;
        Some(Time { micros, canonical: format_utc(micros) })
    })
}

/// "ASCII digits only, at most 12 of them with leading zeros, value at least 1; the resulting date lies before the
/// year 10000". "`event_time = base + time`."
fn integer_time(settings: &Settings, text: &str) -> Option<Time> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits || text.len() > 12 {
        return None;
    }
    let seconds: i64 = text.parse().expect("at most 12 digits");
    let micros = settings.base_micros + seconds * SECOND;
    (seconds >= 1 && micros < year_10000()).then(|| Time { micros, canonical: seconds.to_string() })
}

/// "after trimming blanks (space, tab)".
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// "1 to 256 bytes of UTF-8 after trimming blanks; no comma, no control character (Unicode Cc)".
fn name(trimmed: &str) -> Option<&str> {
    let allowed = |c: char| c != ',' && !is_control(c);
    ((1..=256).contains(&trimmed.len()) && trimmed.chars().all(allowed)).then_some(trimmed)
}

/// General category Cc: C0, delete and C1.
fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}')
}

/// "`event_id` = lower-case hex SHA-256 of the canonical line `time,user,computer`. A producer that has an id of its
/// own sends `event_id` (1 to 128 bytes of UTF-8, no control character), and that one is used as it is."
fn event(time: Time, user: &str, computer: &str, own_id: Option<String>) -> Option<Event> {
    let content_id = own_id.is_none();
    let id = match own_id {
        Some(id) if !(1..=128).contains(&id.len()) || id.chars().any(is_control) => return None,
        Some(id) => id,
        None => sha256_hex(format!("{},{user},{computer}", time.canonical).as_bytes()),
    };
    Some(Event {
        time: time.micros,
        id,
        user: user.to_owned(),
        computer: computer.to_owned(),
        content_id,
        attributes: Attributes::new(),
        fields_dropped: 0,
    })
}
