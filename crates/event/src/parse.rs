//! Bytes become an event: from a line of a LANL file, or from a record of a stream in the wire form (semantics, section 1).

use crate::attributes::{Attribute, Attributes, Given};
use crate::epoch::too_many_digits;
use crate::id::{EventIdRef, TimeForm, sha256_hex};
use crate::json::{self, Value};
use crate::reading::Reading;
use crate::rfc3339::{self, Mark};
use crate::time::{END_TIME, EventTime, Span};
use crate::{MAX_EVENT_ID_BYTES, MAX_NAME_BYTES, MAX_RECORD_BYTES, MAX_TIME_DIGITS};
use std::borrow::Cow;
use std::fmt;

/// A valid event. Borrows from its payload, except for strings that were written with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedEvent<'a> {
    /// Event time.
    pub time: EventTime,
    /// How the time was written; part of a content id.
    pub form: TimeForm,
    /// The user's name, trimmed and valid.
    pub user: Cow<'a, str>,
    /// The computer's name, trimmed and valid.
    pub computer: Cow<'a, str>,
    /// The producer's own id, if it sent one.
    pub own_id: Option<Cow<'a, str>>,
    /// The attributes that the event carries.
    pub attributes: Attributes,
    /// How many attributes were left out because their value was not of their form.
    pub fields_dropped: u16,
}

impl ParsedEvent<'_> {
    /// Where the event's id comes from.
    pub fn id(&self) -> EventIdRef<'_> {
        match &self.own_id {
            Some(id) => EventIdRef::Own(id),
            None => EventIdRef::Content(self.form),
        }
    }
}

/// Why a record is no event: the words for the `detail` of its dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub Cow<'static, str>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Invalid {
    fn from(words: &'static str) -> Self {
        Invalid(Cow::Borrowed(words))
    }
}

/// Reads a line (without byte-order mark and line end): three comma-separated fields, or the wire form if its first byte is `{`.
///
/// # Errors
/// The line is no event; the words say which rule of section 1 it breaks.
pub fn parse_line(line: &[u8], reading: Reading) -> Result<ParsedEvent<'_>, Invalid> {
    let base = reading.base;
    if let Some(event) = parse_plain_line(line, base) {
        return Ok(event);
    }
    check_length(line)?;
    if line.first() == Some(&b'{') {
        return parse_object(line, reading);
    }
    let text = utf8(line)?;
    let mut fields = text.split(',');
    let (Some(time), Some(user), Some(computer), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(no_three_fields(text));
    };
    let (time, form) = match read_time(trim(time), Mark::Point, base) {
        Err(_) if trim(time).starts_with('{') => return Err(no_three_fields(text)),
        time => time?,
    };
    Ok(ParsedEvent {
        time,
        form,
        user: name(Cow::Borrowed(user), "user")?,
        computer: name(Cow::Borrowed(computer), "computer")?,
        own_id: None,
        attributes: Attributes::NONE,
        fields_dropped: 0,
    })
}

/// Why a line does not have three fields.
#[cold]
fn no_three_fields(text: &str) -> Invalid {
    let text = trim(text);
    if text.starts_with('{') {
        return "a blank stands before the JSON object of a line".into();
    }
    let with_fraction = text.match_indices(',').nth(1).map_or("", |(second, _)| trim(&text[..second]));
    if rfc3339::read(with_fraction.as_bytes(), Mark::PointOrComma).is_ok() {
        return "time has a comma before its fraction, where a comma separates fields: a point does".into();
    }
    match text.split(',').count() {
        1 => "no comma; a line has exactly three comma-separated fields: time,user,computer".into(),
        n => Invalid(Cow::Owned(format!("{n} comma-separated fields; a line has exactly three: time,user,computer"))),
    }
}

/// The fast path for lines as LANL writes them: digits and two names of visible ASCII, read in one pass. It returns `None` for
/// anything unusual, which the general rules then decide; it accepts nothing that they would not.
fn parse_plain_line(line: &[u8], base: EventTime) -> Option<ParsedEvent<'_>> {
    let digits = line.iter().take(MAX_TIME_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > MAX_TIME_DIGITS || line.get(digits) != Some(&b',') {
        return None;
    }
    let names = line.get(digits + 1..)?;
    if names.len() > 2 * MAX_NAME_BYTES + 1 {
        return None;
    }
    let (mut commas, mut comma, mut plain) = (0, 0, true);
    for (at, byte) in names.iter().enumerate() {
        plain &= matches!(byte, 0x21..=0x7e);
        if *byte == b',' {
            (commas, comma) = (commas + 1, at);
        }
    }
    let name_bytes = 1..=MAX_NAME_BYTES;
    if !plain || commas != 1 || !name_bytes.contains(&comma) || !name_bytes.contains(&(names.len() - comma - 1)) {
        return None;
    }
    let (time, form) = read_seconds(&line[..digits], base).ok()?;
    let names = std::str::from_utf8(names).ok()?;
    let (user, computer) = (Cow::Borrowed(&names[..comma]), Cow::Borrowed(&names[comma + 1..]));
    Some(ParsedEvent { time, form, user, computer, own_id: None, attributes: Attributes::NONE, fields_dropped: 0 })
}

/// The detail of the dead letter for a file's line that begins with a blank and that a replay could not parse.
pub const NO_LINE: &str = "a line of a file that is neither time,user,computer nor begins with {";

/// Reads a record of a stream in the wire form.
///
/// A record that begins with JSON white space and whose partition key is the hexadecimal SHA-256 of its bytes is a line of a file
/// that the producer could not parse. It stays invalid here, so that a file gives the same rows through a stream as through a
/// backfill.
///
/// # Errors
/// The record is no event; the words say which rule of section 1 it breaks.
pub fn parse_record<'a>(payload: &'a [u8], partition_key: &[u8], reading: Reading) -> Result<ParsedEvent<'a>, Invalid> {
    check_length(payload)?;
    match payload.first() {
        Some(b'{') => {}
        Some(b' ' | b'\t' | b'\n' | b'\r') if payload.iter().all(u8::is_ascii_whitespace) => {
            return Err("a blank record".into());
        }
        Some(b' ' | b'\t' | b'\n' | b'\r') if sha256_hex(payload).as_bytes() == partition_key => {
            return Err(NO_LINE.into());
        }
        None => return Err("an empty record".into()),
        Some(_) => {
            // The words for a bad line say more than "not a JSON object".
            if let Err(words) = parse_line(payload, reading)
                && sha256_hex(payload).as_bytes() == partition_key
            {
                return Err(words);
            }
        }
    }
    parse_object(payload, reading)
}

fn check_length(payload: &[u8]) -> Result<(), Invalid> {
    if payload.len() > MAX_RECORD_BYTES {
        return Err(too_long(payload.len() as u64));
    }
    Ok(())
}

/// Why a record of this many bytes, more than [`MAX_RECORD_BYTES`], is invalid.
pub fn too_long(bytes: u64) -> Invalid {
    Invalid(Cow::Owned(format!("{bytes} bytes long; at most {MAX_RECORD_BYTES} are allowed")))
}

fn utf8(line: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(line).map_err(|e| {
        let valid = e.valid_up_to();
        Invalid(Cow::Owned(format!("a line that is not UTF-8 behind its first {valid} bytes")))
    })
}

/// The keys that are always read.
#[derive(Clone, Copy)]
enum Key {
    Time,
    User,
    Computer,
    EventId,
}

impl Key {
    fn of(name: &[u8]) -> Option<Key> {
        match name {
            b"time" => Some(Key::Time),
            b"user" => Some(Key::User),
            b"computer" => Some(Key::Computer),
            b"event_id" => Some(Key::EventId),
            _ => None,
        }
    }
}

/// The values found under these keys.
#[derive(Default)]
struct First<'a> {
    time: Option<Value<'a>>,
    user: Option<Value<'a>>,
    computer: Option<Value<'a>>,
    own_id: Option<Value<'a>>,
}

/// What was found under the key of an attribute.
#[derive(Clone)]
enum Occurrence<'a> {
    Nothing,
    Once(Value<'a>),
    /// Nobody can tell which of the two values holds, so neither does.
    Twice,
}

impl Occurrence<'_> {
    fn given(&self) -> Given<'_> {
        match self {
            Occurrence::Nothing | Occurrence::Once(Value::Other("null")) => Given::Nothing,
            Occurrence::Once(Value::Other("true")) => Given::Bool(true),
            Occurrence::Once(Value::Other("false")) => Given::Bool(false),
            Occurrence::Once(Value::Text(text)) => Given::Text(Cow::Borrowed(text)),
            Occurrence::Once(Value::Number(number)) => Given::Number(String::from_utf8_lossy(number)),
            Occurrence::Once(Value::Other(_) | Value::NoText(_)) | Occurrence::Twice => Given::Unfit,
        }
    }
}

fn parse_object(payload: &[u8], reading: Reading) -> Result<ParsedEvent<'_>, Invalid> {
    if !reading.attributes.is_empty() {
        return parse_with_attributes(payload, reading);
    }
    let mut first = First::default();
    json::read_object(payload, Key::of, |key, value, _| first.take(key, value))?;
    first.event(reading.base)
}

/// As [`parse_object`], with attributes. A function of its own, so that lakes without attributes pay nothing for them.
fn parse_with_attributes(payload: &[u8], reading: Reading) -> Result<ParsedEvent<'_>, Invalid> {
    enum Any {
        First(Key),
        /// The attribute's index in the list.
        Attribute(usize),
    }
    let list = reading.attributes;
    let known = |name: &[u8]| {
        let place = || list.iter().position(|attribute| attribute.key.as_bytes() == name);
        Key::of(name).map(Any::First).or_else(|| place().map(Any::Attribute))
    };
    let mut first = First::default();
    // By index in the list; empty until the first attribute is found.
    let mut found = Vec::new();
    json::read_object(payload, known, |key, value, _| match key {
        Any::First(key) => first.take(key, value),
        Any::Attribute(at) => {
            found.resize(list.len(), Occurrence::Nothing);
            found[at] =
                if matches!(found[at], Occurrence::Nothing) { Occurrence::Once(value) } else { Occurrence::Twice };
            Ok(())
        }
    })?;
    let mut event = first.event(reading.base)?;
    if !found.is_empty() {
        (event.attributes, event.fields_dropped) = Attributes::take(list, |at| found[at].given());
    }
    Ok(event)
}

impl<'a> First<'a> {
    #[inline]
    fn take(&mut self, key: Key, value: Value<'a>) -> json::Result<()> {
        let (slot, twice) = match key {
            Key::Time => (&mut self.time, "the key time occurs twice"),
            Key::User => (&mut self.user, "the key user occurs twice"),
            Key::Computer => (&mut self.computer, "the key computer occurs twice"),
            Key::EventId => (&mut self.own_id, "the key event_id occurs twice"),
        };
        if slot.replace(value).is_some() { Err(twice) } else { Ok(()) }
    }

    /// The event of these fields, without attributes.
    #[inline(always)]
    fn event(self, base: EventTime) -> Result<ParsedEvent<'a>, Invalid> {
        let First { time, user, computer, own_id } = self;
        let (time, form) = match time {
            None => return Err("the key time is missing".into()),
            Some(Value::Number(number)) if number.iter().all(u8::is_ascii_digit) => read_seconds(number, base)?,
            Some(Value::Number(number)) => return Err(rfc3339::no_date(number).into()),
            Some(Value::Text(text)) => read_time(&text, Mark::PointOrComma, base)?,
            Some(Value::NoText(why)) => return Err(Invalid(Cow::Owned(format!("time {why}")))),
            Some(Value::Other(what)) => {
                return Err(Invalid(Cow::Owned(format!("time is {what}, and not a number or a string"))));
            }
        };
        let user = name(string(user, "user")?, "user")?;
        let computer = name(string(computer, "computer")?, "computer")?;
        let own_id = match own_id {
            None => None,
            Some(value) => {
                let id = string(Some(value), "event_id")?;
                if id.is_empty() {
                    return Err("event_id is empty".into());
                }
                if id.len() > MAX_EVENT_ID_BYTES {
                    return Err("event_id is longer than 128 bytes".into());
                }
                if id.chars().any(char::is_control) {
                    return Err("event_id holds a control character".into());
                }
                Some(id)
            }
        };
        Ok(ParsedEvent { time, form, user, computer, own_id, attributes: Attributes::NONE, fields_dropped: 0 })
    }
}

/// The attributes of `list` that an event's object has: key, and value as written. A replay that rewrites an event needs them so
/// that it loses none. Empty if the payload is not a JSON object.
pub fn attribute_members<'a>(payload: &'a [u8], list: &'static [Attribute]) -> Vec<(&'static str, &'a [u8])> {
    let mut members = Vec::new();
    let known = |name: &[u8]| list.iter().find(|attribute| attribute.key.as_bytes() == name);
    let read = json::read_object(payload, known, |attribute, _, written| {
        members.push((attribute.key, written));
        Ok(())
    });
    if read.is_ok() { members } else { Vec::new() }
}

fn string<'a>(value: Option<Value<'a>>, key: &str) -> Result<Cow<'a, str>, Invalid> {
    Err(Invalid(Cow::Owned(match value {
        Some(Value::Text(text)) => return Ok(text),
        Some(Value::NoText(why)) => format!("{key} {why}"),
        Some(Value::Number(_)) => format!("{key} is a number, and not a string"),
        Some(Value::Other(what)) => format!("{key} is {what}, and not a string"),
        None => format!("the key {key} is missing"),
    })))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn name<'a>(raw: Cow<'a, str>, what: &str) -> Result<Cow<'a, str>, Invalid> {
    let name = match raw {
        Cow::Borrowed(text) => Cow::Borrowed(trim(text)),
        Cow::Owned(text) => Cow::Owned(trim(&text).to_owned()),
    };
    let fault = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "is longer than 256 bytes"
    } else if name.contains(',') {
        "holds a comma"
    } else if has_control(&name) {
        "holds a control character"
    } else {
        return Ok(name);
    };
    Err(Invalid(Cow::Owned(format!("{what} {fault}"))))
}

/// Unicode category Cc: U+0000-001F, U+007F and U+0080-009F.
fn has_control(text: &str) -> bool {
    if text.is_ascii() { text.bytes().any(|b| b < 0x20 || b == 0x7f) } else { text.chars().any(char::is_control) }
}

fn read_time(text: &str, mark: Mark, base: EventTime) -> Result<(EventTime, TimeForm), Invalid> {
    let text = text.as_bytes();
    if !text.is_empty() && text.iter().all(u8::is_ascii_digit) {
        read_seconds(text, base)
    } else {
        Ok((rfc3339::read(text, mark)?, TimeForm::Rfc3339))
    }
}

/// `digits` must hold ASCII digits only.
fn read_seconds(digits: &[u8], base: EventTime) -> Result<(EventTime, TimeForm), Invalid> {
    if digits.len() > MAX_TIME_DIGITS {
        return Err(too_many_digits(digits).into());
    }
    let seconds = digits.iter().fold(0i64, |n, b| n * 10 + i64::from(b - b'0'));
    if seconds == 0 {
        return Err("time is below 1".into());
    }
    // 12 digits of seconds are 10^18 microseconds, and base lies within the years 1 to 9999: no overflow.
    let time = base + Span::seconds(seconds);
    if time >= END_TIME {
        return Err("time lies beyond the year 9999".into());
    }
    Ok((time, TimeForm::Seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{DEFAULT_BASE, SECOND};

    const READING: Reading = Reading::three_fields(DEFAULT_BASE);

    fn line(text: &str) -> Result<String, String> {
        shown(parse_line(text.as_bytes(), READING))
    }
    fn wire(text: &str) -> Result<String, String> {
        shown(parse_record(text.as_bytes(), b"U1", READING))
    }
    fn shown(event: Result<ParsedEvent<'_>, Invalid>) -> Result<String, String> {
        event
            .map(|e| format!("{}|{}|{}|{:?}", (e.time - DEFAULT_BASE).micros(), e.user, e.computer, e.own_id))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn lines_are_three_trimmed_fields() {
        assert_eq!(line("1,U1,C1").unwrap(), "1000000|U1|C1|None");
        assert_eq!(line(" 000000000007\t, U 1 ,\tC1").unwrap(), "7000000|U 1|C1|None");
        assert_eq!(line("2015-01-01T00:00:02.5Z,U1,C1").unwrap(), "2500000|U1|C1|None");
        assert_eq!(line("\t2015-01-01 00:00:02.5z , U1,C1").unwrap(), "2500000|U1|C1|None");
        assert_eq!(line("1,\"U1\",C1").unwrap(), "1000000|\"U1\"|C1|None");
        for bad in [
            "0,U1,C1",
            "1,U1",
            "1,U1,C1,",
            "0000000000001,U1,C1",
            "1,,C1",
            "1, ,C1",
            "-1,U1,C1",
            "+1,U1,C1",
            "1.0,U1,C1",
            "1,U\r1,C1",
            "1,U\t1,C1",
            "1,U1,C\u{85}1",
            "1,U1,C\u{7f}",
            "\u{feff}1,U1,C1",
            "999999999999,U1,C1",
            "١,U1,C1",
            "",
            "2015-01-01T00:00:02.5,U1,C1",
            " {\"time\":1,\"user\":\"U1\",\"computer\":\"C1\"}",
        ] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
        assert!(line(&format!("1,{},C1", "é".repeat(128))).is_ok());
        assert!(line(&format!("1,{}x,C1", "é".repeat(128))).is_err());
        assert!(parse_line(b"1,U\xff,C1", READING).is_err());
    }

    #[test]
    fn plain_lines_are_read_by_the_same_rules() {
        let (long, longer) = ("u".repeat(MAX_NAME_BYTES), "u".repeat(MAX_NAME_BYTES + 1));
        for (text, is_plain) in [
            ("1,U1,C1", true),
            ("999999999999,U1,C1", false),
            ("252455615999,U1,C1", false),
            ("000000000001,U1,C1", true),
            ("0000000000001,U1,C1", false),
            ("0,U1,C1", false),
            ("1,U1,", false),
            ("1,,C1", false),
            ("1,U1,C1,", false),
            ("1,U 1,C1", false),
            ("1,U1,C\u{7f}", false),
            ("1,é,C1", false),
            (&format!("1,{long},C1"), true),
            (&format!("1,C1,{long}"), true),
            (&format!("1,{longer},C1"), false),
            (&format!("1,C1,{longer}"), false),
            ("1", false),
            ("", false),
        ] {
            let plain = parse_plain_line(text.as_bytes(), DEFAULT_BASE);
            assert_eq!(plain.is_some(), is_plain, "{text}");
            if let Some(plain) = plain {
                // A space before a field changes nothing, except that the line takes the general path.
                assert_eq!(parse_line(format!(" {text}").as_bytes(), READING), Ok(plain), "{text}");
            }
        }
    }

    #[test]
    fn the_last_valid_second_is_the_one_before_the_year_10000() {
        let last = (END_TIME - DEFAULT_BASE) / SECOND - 1;
        assert!(line(&format!("{last},U1,C1")).is_ok());
        assert!(line(&format!("{},U1,C1", last + 1)).is_err());
    }

    #[test]
    fn the_wire_form_is_one_object() {
        let id = |id: &str| wire(&format!(r#"{{"time":1,"user":"U1","computer":"C1","event_id":{id}}}"#));
        assert_eq!(wire(r#"{"time":1,"user":"U1","computer":"C1"}"#).unwrap(), "1000000|U1|C1|None");
        assert_eq!(
            wire(r#" {"time":"1","user":" U1\t","computer":"\u00431","x":[{"y":1e999}]} "#).unwrap(),
            "1000000|U1|C1|None"
        );
        assert_eq!(line(r#"{"time":1,"user":"U1","computer":"C1"}"#).unwrap(), "1000000|U1|C1|None");
        assert_eq!(id("\" e, 1 \"").unwrap(), "1000000|U1|C1|Some(\" e, 1 \")");
        assert_eq!(id(&format!("\"{}\"", "x".repeat(128))).unwrap().len(), 128 + 22);
        for bad in ["null", "1", "\"\"", "\"a\\n\"", "\"\\ud800\"", &format!("\"{}\"", "x".repeat(129))] {
            assert!(id(bad).is_err(), "{bad}");
        }
        for bad in [
            r#"{"time":1.0,"user":"U1","computer":"C1"}"#,
            r#"{"time":1e0,"user":"U1","computer":"C1"}"#,
            r#"{"time":null,"user":"U1","computer":"C1"}"#,
            r#"{"time":-1,"user":"U1","computer":"C1"}"#,
            r#"{"time":" 1","user":"U1","computer":"C1"}"#,
            r#"{"user":"U1","computer":"C1"}"#,
            r#"{"time":1,"user":"U1","computer":"C1","us\u0065r":"U1"}"#,
            r#"{"time":1,"user":"U1","computer":"C1"}x"#,
            r#"{"time":1,"user":"U,1","computer":"C1"}"#,
            r#"{"time":01,"user":"U1","computer":"C1"}"#,
            r#"[{"time":1,"user":"U1","computer":"C1"}]"#,
            "",
            " ",
            "1,U1,C1",
            r#"{"time":1,"user":"U1","computer":"C1",}"#,
            r#"{"time":1,"user":"\ud800","computer":"C1"}"#,
            r#"{"time":"","user":"U1","computer":"C1"}"#,
        ] {
            assert!(wire(bad).is_err(), "{bad}");
        }
    }

    /// The words for each case, written down by hand. Those for times and for JSON are tested beside their readers.
    #[test]
    fn words_name_what_is_wrong() {
        let hint = "set base = \"1970-01-01T00:00:00Z\"";
        for (text, words) in [
            ("5,U1", "2 comma-separated fields; a line has exactly three: time,user,computer"),
            ("5;U1;C1", "no comma; a line has exactly three comma-separated fields: time,user,computer"),
            ("5,U1,C1,Negotiate,Batch", "5 comma-separated fields; a line has exactly three: time,user,computer"),
            (
                "2015-01-01T00:00:01,5Z,U1,C1",
                "time has a comma before its fraction, where a comma separates fields: a point does",
            ),
            (
                " 2015-01-01 00:00:01,500+0000,U1,C1",
                "time has a comma before its fraction, where a comma separates fields: a point does",
            ),
            (" {\"time\":1,\"user\":\"U1\",\"computer\":\"C1\"}", "a blank stands before the JSON object of a line"),
            ("\t{\"time\":1,\"user\":\"U1\"}", "a blank stands before the JSON object of a line"),
            ("{\"time\":1,\"user\":\"U1\"}", "the key computer is missing"),
            ("0,U1,C1", "time is below 1"),
            (",U1,C1", "time is empty"),
            ("time,user,computer", "time is neither digits nor an RFC 3339 time such as 2015-01-01T00:00:01Z"),
            ("\"1\",U1,C1", "time is neither digits nor an RFC 3339 time such as 2015-01-01T00:00:01Z"),
            ("999999999999,U1,C1", "time lies beyond the year 9999"),
            (
                "1448000000000,U1,C1",
                &format!("time has more than 12 digits; if it is milliseconds since 1970, divide by 1000, and {hint}"),
            ),
            (
                "1448000000.123,U1,C1",
                &format!("time has a fraction or exponent: cut it off, and if it is seconds since 1970, {hint}"),
            ),
            ("2015-01-01T00:00:01,U1,C1", "time has no zone: Z or an offset such as +01:00 belongs behind it"),
            ("1,,C1", "user is empty"),
            ("1,U1,\t", "computer is empty"),
            ("1,U1,C\r", "computer holds a control character"),
        ] {
            assert_eq!(line(text).unwrap_err(), words, "{text}");
        }
        assert_eq!(
            shown(parse_line(b"1,U\xff,C1", READING)).unwrap_err(),
            "a line that is not UTF-8 behind its first 3 bytes"
        );
        let with = |key: &str, value: &str| {
            let value = |of: &str, plain: &str| if key == of { value.to_owned() } else { plain.to_owned() };
            let (time, user, computer) = (value("time", "1"), value("user", "\"U1\""), value("computer", "\"C1\""));
            format!(
                "{{\"time\":{time},\"user\":{user},\"computer\":{computer},\"event_id\":{}}}",
                value("event_id", "\"e\"")
            )
        };
        for (key, value, words) in [
            ("time", "null", "time is null, and not a number or a string"),
            ("time", "[1]", "time is an array, and not a number or a string"),
            ("time", "NaN", "time is NaN, and not a number or a string"),
            (
                "time",
                "5.0",
                "time has a fraction or exponent: it is whole seconds in digits alone, or an RFC 3339 time",
            ),
            ("time", "-5", "time has a sign: it is whole seconds from 1 on, or an RFC 3339 time"),
            (
                "time",
                "1448000000000",
                &format!("time has more than 12 digits; if it is milliseconds since 1970, divide by 1000, and {hint}"),
            ),
            ("time", "\"5\\ud800\"", "time holds a lone surrogate"),
            ("time", "\" 5\"", "time has blanks around it"),
            ("time", "\"\"", "time is empty"),
            ("user", "7", "user is a number, and not a string"),
            ("user", "{}", "user is an object, and not a string"),
            ("user", "true", "user is true, and not a string"),
            ("user", "\"U\\udc00\"", "user holds a lone surrogate"),
            ("user", "\"U\t\"", "user holds a raw control character"),
            ("user", "\"U\\t1\"", "user holds a control character"),
            ("user", "\"\\x41\"", "user holds an escape that JSON does not have"),
            ("computer", "\" \"", "computer is empty"),
            ("computer", "\"a,b\"", "computer holds a comma"),
            ("event_id", "null", "event_id is null, and not a string"),
            ("event_id", "\"\"", "event_id is empty"),
            ("event_id", "\"a\\nb\"", "event_id holds a control character"),
            ("event_id", &format!("\"{}\"", "i".repeat(129)), "event_id is longer than 128 bytes"),
        ] {
            assert_eq!(wire(&with(key, value)).unwrap_err(), words, "{key} {value}");
        }
        let not_utf8 = b"{\"time\":1,\"user\":\"U1\",\"computer\":\"C\xff\"}";
        assert_eq!(shown(parse_record(not_utf8, b"", READING)).unwrap_err(), "computer is not UTF-8");
        assert_eq!(wire("").unwrap_err(), "an empty record");
        assert_eq!(wire(" \r\n").unwrap_err(), "a blank record");
        assert_eq!(wire(&with("time", "1,\"time\":2")).unwrap_err(), "the key time occurs twice");
    }

    #[test]
    fn a_bad_byte_that_nobody_reads_costs_no_logon() {
        let record = b"{\"time\":1,\"user\":\"U1\",\"\xff\":NaN,\"host\":\"Caf\xe9\t\",\"computer\":\"C1\"}";
        for event in [parse_line(record, READING), parse_record(record, b"U1", READING)] {
            assert_eq!(shown(event).as_deref(), Ok("1000000|U1|C1|None"));
        }
    }

    #[test]
    fn a_line_that_replay_could_not_parse_stays_invalid_on_the_stream() {
        let payload = br#" {"time":1,"user":"U1","computer":"C1"}"#;
        assert!(parse_record(payload, b"U1", READING).is_ok());
        let invalid = parse_record(payload, sha256_hex(payload).as_bytes(), READING).unwrap_err();
        assert_eq!(invalid, Invalid::from(NO_LINE));
        // The words are those for the line. A line that parses now, but not in an earlier version, is still "not a JSON object".
        for (line, words) in [
            ("1448000000000,U1,C1", "divide by 1000"),
            ("junk", "no comma"),
            ("2015-01-01T00:00:01+0000,U1,C1", "not a JSON object"),
        ] {
            let invalid = parse_record(line.as_bytes(), sha256_hex(line.as_bytes()).as_bytes(), READING);
            assert!(shown(invalid).unwrap_err().contains(words), "{line}");
            assert_eq!(wire(line).unwrap_err(), "not a JSON object", "{line}");
        }
    }

    #[test]
    fn the_length_is_bounded() {
        let padded = |n: usize| format!("{}1,U1,C1", " ".repeat(n - 7));
        assert!(line(&padded(MAX_RECORD_BYTES)).is_ok());
        assert!(line(&padded(MAX_RECORD_BYTES + 1)).unwrap_err().contains("1048577 bytes"));
    }
}
