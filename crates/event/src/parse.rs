//! From bytes to an event: a line of a LANL file, or a record of a stream in the wire form (semantics, section 1).

use crate::id::{EventIdRef, TimeForm, sha256_hex};
use crate::json::{self, Value};
use crate::time::{END_TIME, Micros, SECOND, parse_rfc3339};
use crate::{MAX_EVENT_ID_BYTES, MAX_NAME_BYTES, MAX_RECORD_BYTES, MAX_TIME_DIGITS};
use std::borrow::Cow;
use std::fmt;

/// A valid event. Borrows from its payload, except for strings that were written with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedEvent<'a> {
    /// Event time.
    pub time: Micros,
    /// How the time was written; part of a content id.
    pub form: TimeForm,
    /// Trimmed, valid user name.
    pub user: Cow<'a, str>,
    /// Trimmed, valid computer name.
    pub computer: Cow<'a, str>,
    /// The producer's own id, if it sent one.
    pub own_id: Option<Cow<'a, str>>,
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

/// Why a record is no event, in words for the `detail` of its dead letter.
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

/// Reads a line (without mark and line end): three comma-separated fields, or the wire form where its first byte is `{`.
///
/// # Errors
/// Words that say which rule of section 1 the line breaks.
pub fn parse_line(line: &[u8], base: Micros) -> Result<ParsedEvent<'_>, Invalid> {
    if let Some(event) = parse_plain_line(line, base) {
        return Ok(event);
    }
    check_length(line)?;
    if line.first() == Some(&b'{') {
        return parse_object(line, base);
    }
    let text = utf8(line)?;
    let mut fields = text.split(',');
    let (Some(time), Some(user), Some(computer), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("a line needs exactly three comma-separated fields: time,user,computer".into());
    };
    let (time, form) = read_time(trim(time), base)?;
    Ok(ParsedEvent {
        time,
        form,
        user: name(Cow::Borrowed(user), "user")?,
        computer: name(Cow::Borrowed(computer), "computer")?,
        own_id: None,
    })
}

/// Reads a line as LANL writes them: digits and two names of visible ASCII. One pass; whatever is unusual is left to the rules
/// as they are written, so that this never rejects and never accepts what they would not.
fn parse_plain_line(line: &[u8], base: Micros) -> Option<ParsedEvent<'_>> {
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
    let (digits, names) = (std::str::from_utf8(&line[..digits]).ok()?, std::str::from_utf8(names).ok()?);
    let (time, form) = read_seconds(digits, base).ok()?;
    let (user, computer) = (Cow::Borrowed(&names[..comma]), Cow::Borrowed(&names[comma + 1..]));
    Some(ParsedEvent { time, form, user, computer, own_id: None })
}

/// Reads a record of a stream in the wire form.
///
/// A record that begins with JSON white space and whose partition key is the hexadecimal SHA-256 of its bytes is a file's
/// line that the producer could not parse. It stays invalid here, so that a file gives the same rows through a stream as
/// through a backfill.
///
/// # Errors
/// Words that say which rule of section 1 the record breaks.
pub fn parse_record<'a>(payload: &'a [u8], partition_key: &[u8], base: Micros) -> Result<ParsedEvent<'a>, Invalid> {
    check_length(payload)?;
    match payload.first() {
        Some(b'{') => {}
        Some(b' ' | b'\t' | b'\n' | b'\r') if payload.iter().all(u8::is_ascii_whitespace) => {
            return Err("a blank record".into());
        }
        Some(b' ' | b'\t' | b'\n' | b'\r') if sha256_hex(payload).as_bytes() == partition_key => {
            return Err("a line of a file that is neither time,user,computer nor begins with {".into());
        }
        None => return Err("an empty record".into()),
        _ => {}
    }
    parse_object(payload, base)
}

fn check_length(payload: &[u8]) -> Result<(), Invalid> {
    if payload.len() > MAX_RECORD_BYTES {
        return Err(too_long(payload.len() as u64));
    }
    Ok(())
}

/// Why a record of this length is invalid.
pub fn too_long(bytes: u64) -> Invalid {
    Invalid(Cow::Owned(format!("{bytes} bytes long; at most {MAX_RECORD_BYTES} are allowed")))
}

fn utf8(bytes: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(bytes).map_err(|e| Invalid(Cow::Owned(format!("not UTF-8 from byte {} on", e.valid_up_to()))))
}

fn parse_object(payload: &[u8], base: Micros) -> Result<ParsedEvent<'_>, Invalid> {
    let text = utf8(payload)?;
    let (mut time, mut user, mut computer, mut own_id) = (None, None, None, None);
    json::read_object(text, |key, value| {
        let Some(key) = key else { return Ok(()) };
        let (slot, twice) = match &*key {
            "time" => (&mut time, "the key time occurs twice"),
            "user" => (&mut user, "the key user occurs twice"),
            "computer" => (&mut computer, "the key computer occurs twice"),
            "event_id" => (&mut own_id, "the key event_id occurs twice"),
            _ => return Ok(()),
        };
        if slot.replace(value).is_some() { Err(twice) } else { Ok(()) }
    })?;
    let (time, form) = match time {
        None => return Err("the key time is missing".into()),
        Some(Value::Number(number)) => {
            if !number.bytes().all(|b| b.is_ascii_digit()) {
                return Err("time is a number, but not a whole positive one".into());
            }
            read_seconds(number, base)?
        }
        Some(Value::Text(text)) => read_time(&text, base)?,
        Some(_) => return Err("time is neither a number nor a string".into()),
    };
    let user = name(string(user, "user")?, "user")?;
    let computer = name(string(computer, "computer")?, "computer")?;
    let own_id = match own_id {
        None => None,
        Some(value) => {
            let id = string(Some(value), "event_id")?;
            if id.is_empty() || id.len() > MAX_EVENT_ID_BYTES {
                return Err("event_id has not 1 to 128 bytes".into());
            }
            if id.chars().any(char::is_control) {
                return Err("event_id holds a control character".into());
            }
            Some(id)
        }
    };
    Ok(ParsedEvent { time, form, user, computer, own_id })
}

fn string<'a>(value: Option<Value<'a>>, key: &str) -> Result<Cow<'a, str>, Invalid> {
    match value {
        Some(Value::Text(text)) => Ok(text),
        Some(Value::LoneSurrogate) => Err(Invalid(Cow::Owned(format!("{key} holds a lone surrogate")))),
        Some(_) => Err(Invalid(Cow::Owned(format!("{key} is not a string")))),
        None => Err(Invalid(Cow::Owned(format!("the key {key} is missing")))),
    }
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

fn read_time(text: &str, base: Micros) -> Result<(Micros, TimeForm), Invalid> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        read_seconds(text, base)
    } else {
        Ok((parse_rfc3339(text.as_bytes())?, TimeForm::Rfc3339))
    }
}

/// `digits` holds ASCII digits only.
fn read_seconds(digits: &str, base: Micros) -> Result<(Micros, TimeForm), Invalid> {
    if digits.len() > MAX_TIME_DIGITS {
        return Err("time has more than 12 digits".into());
    }
    let seconds = digits.bytes().fold(0i64, |n, b| n * 10 + i64::from(b - b'0'));
    if seconds == 0 {
        return Err("time is below 1".into());
    }
    // 12 digits of seconds are 10^18 microseconds, and base lies within the years 1 to 9999: no overflow.
    let time = base + seconds * SECOND;
    if time >= END_TIME {
        return Err("time lies beyond the year 9999".into());
    }
    Ok((time, TimeForm::Seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DEFAULT_BASE;

    fn line(text: &str) -> Result<String, String> {
        shown(parse_line(text.as_bytes(), DEFAULT_BASE))
    }
    fn wire(text: &str) -> Result<String, String> {
        shown(parse_record(text.as_bytes(), b"U1", DEFAULT_BASE))
    }
    fn shown(event: Result<ParsedEvent<'_>, Invalid>) -> Result<String, String> {
        event
            .map(|e| format!("{}|{}|{}|{:?}", e.time - DEFAULT_BASE, e.user, e.computer, e.own_id))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn lines_are_three_trimmed_fields() {
        assert_eq!(line("1,U1,C1").unwrap(), "1000000|U1|C1|None");
        assert_eq!(line(" 000000000007\t, U 1 ,\tC1").unwrap(), "7000000|U 1|C1|None");
        assert_eq!(line("2015-01-01T00:00:02.5Z,U1,C1").unwrap(), "2500000|U1|C1|None");
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
        assert!(parse_line(b"1,U\xff,C1", DEFAULT_BASE).is_err());
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
                // A space around a field changes nothing, except that the line is no longer plain.
                assert_eq!(parse_line(format!(" {text}").as_bytes(), DEFAULT_BASE), Ok(plain), "{text}");
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

    #[test]
    fn a_line_that_replay_could_not_parse_stays_invalid_on_the_stream() {
        let payload = br#" {"time":1,"user":"U1","computer":"C1"}"#;
        assert!(parse_record(payload, b"U1", DEFAULT_BASE).is_ok());
        assert!(parse_record(payload, sha256_hex(payload).as_bytes(), DEFAULT_BASE).is_err());
    }

    #[test]
    fn the_length_is_bounded() {
        let padded = |n: usize| format!("{}1,U1,C1", " ".repeat(n - 7));
        assert!(line(&padded(MAX_RECORD_BYTES)).is_ok());
        assert!(line(&padded(MAX_RECORD_BYTES + 1)).unwrap_err().contains("1048577 bytes"));
    }
}
