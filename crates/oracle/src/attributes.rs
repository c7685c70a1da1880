//! Attributes: what an event carries beside time, user, computer and id if the lake's event model is 2 (semantics, section 1). Written
//! by hand from the page's table, without the engine's list.

pub mod samples;

use std::collections::BTreeMap;

use crate::json::Json;

/// The value of an attribute, as its column holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A text.
    Text(String),
    /// 1 or 0.
    Flag(bool),
    /// A number in hundredths; the column has it divided by 100.
    Hundredths(i64),
}

/// The attributes that an event has, by column.
pub type Attributes = BTreeMap<&'static str, Value>;

/// The members of a record's JSON object: keys (`None` for one that is no text) and values.
type Members = [(Option<String>, Json)];

/// The attributes of an object, and how many were dropped. Section 1: a value that is not of its form is left out and counted, and so is
/// a key that occurs twice. `null` and an empty text are no value and not counted.
pub fn read(members: &Members) -> (Attributes, usize) {
    let mut attributes = Attributes::new();
    let mut dropped = 0;
    let mut take = |key: &str, column: &'static str, form: &dyn Fn(&Json) -> Option<Value>| {
        let found: Vec<&Json> =
            members.iter().filter(|(name, _)| name.as_deref() == Some(key)).map(|(_, value)| value).collect();
        match found[..] {
            [] | [Json::Null] => {}
            [value] => match form(value) {
                Some(Value::Text(text)) if text.is_empty() => {}
                Some(value) => drop(attributes.insert(column, value)),
                None => dropped += 1,
            },
            _ => dropped += 1,
        }
    };
    let activities =
        "logon logoff ticket service_ticket preauth validate explicit resume switch token mfa".split(' ').collect();
    take("activity", "activity", &|value| word(value, &activities));
    take("outcome", "outcome", &|value| word(value, &vec!["success", "failure", "unknown"]));
    let reasons =
        "bad_password unknown_user bad_credentials locked disabled expired restricted denied mfa other".split(' ');
    let reasons = reasons.collect();
    take("reason", "failure_reason", &|value| word(value, &reasons));
    take("source_ip", "source_ip", &address);
    take("source_computer", "source_computer", &name);
    let kinds = "system interactive network batch service unlock network_cleartext new_credentials remote_interactive \
                 cached_interactive cached_remote_interactive cached_unlock web api";
    let kinds = kinds.split(' ').collect();
    take("kind", "logon_kind", &|value| word(value, &kinds));
    take("method", "auth_method", &|value| {
        let lower = |c: char| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c };
        Some(Value::Text(text(value, 64)?.chars().map(lower).collect()))
    });
    take("mfa", "is_mfa", &|value| match value {
        Json::Bool(yes) => Some(Value::Flag(*yes)),
        _ => None,
    });
    take("actor", "actor", &name);
    for key in ["app", "device", "session", "site", "role"] {
        take(key, key, &|value| text(value, 256).map(Value::Text));
    }
    take("country", "source_country", &|value| text(value, 256).map(Value::Text));
    take("lat", "source_lat", &|value| degrees(value, 90));
    take("lon", "source_lon", &|value| degrees(value, 180));
    take("user_agent", "user_agent", &|value| {
        let Json::Text(Some(text)) = value else { return None };
        let mut kept = String::new();
        for c in trim(text).chars() {
            if kept.len() + c.len_utf8() > 1_024 {
                break;
            }
            kept.push(c);
        }
        let kept = trim(&kept);
        (!has_control(kept)).then(|| Value::Text(kept.to_owned()))
    });
    take("source", "source_type", &|value| text(value, 256).map(Value::Text));
    (attributes, dropped)
}

/// "blanks (space, tab)".
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn has_control(text: &str) -> bool {
    text.chars().any(|c| matches!(c, '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}'))
}

/// Section 1, a text: trimmed, at most this many bytes, no control character.
fn text(value: &Json, most: usize) -> Option<String> {
    let Json::Text(Some(text)) = value else { return None };
    let text = trim(text);
    (text.len() <= most && !has_control(text)).then(|| text.to_owned())
}

/// Section 1, a name: "is as a user's or computer's".
fn name(value: &Json) -> Option<Value> {
    text(value, 256).filter(|name| !name.contains(',')).map(Value::Text)
}

/// Section 1, a word: "may be written in any case (ASCII) and is stored as in the table".
fn word(value: &Json, words: &Vec<&str>) -> Option<Value> {
    let text = text(value, usize::MAX)?;
    let is_it = |word: &&&str| {
        word.len() == text.len()
            && word.bytes().zip(text.bytes()).all(|(a, b)| a == b || (b < b'a' && b + 32 == a && b >= b'A'))
    };
    if text.is_empty() {
        return Some(Value::Text(text));
    }
    words.iter().find(is_it).map(|word| Value::Text((*word).to_owned()))
}

/// Section 1, degrees: a number of at most 32 bytes, stored to the nearest hundredth, half away from zero. Computed by moving the point.
fn degrees(value: &Json, most: i64) -> Option<Value> {
    let Json::Number(number) = value else { return None };
    if number.len() > 32 {
        return None;
    }
    let lower = number.to_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let exponent: i128 = exponent.trim_start_matches('+').parse().expect("at most 30 digits");
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.chars().chain(fraction.chars()).all(|digit| digit == '0') {
        return Some(Value::Hundredths(0));
    }
    if exponent > 100 {
        return None;
    }
    // Moves the point so that hundredths become units. Zeros are added on both sides so that it always lies among the digits.
    let zeros = "0".repeat(150);
    let digits: Vec<char> = zeros.chars().chain(whole.chars()).chain(fraction.chars()).chain(zeros.chars()).collect();
    let point = 150 + whole.len() as i128 + exponent.max(-110) + 2;
    let (units, rest) = digits.split_at(usize::try_from(point).expect("within the zeros"));
    let units: String = units.iter().collect();
    let units = units.trim_start_matches('0');
    if units.len() > 6 {
        return None;
    }
    let units: i64 = if units.is_empty() { 0 } else { units.parse().expect("six digits") };
    let beyond = rest.iter().any(|digit| *digit != '0');
    if units > most * 100 || (units == most * 100 && beyond) {
        return None;
    }
    let rounded = units + i64::from(rest[0] >= '5');
    Some(Value::Hundredths(if negative { -rounded } else { rounded }))
}

/// Section 1, an address: an IP address and nothing else, not the unspecified one, in its canonical spelling; an IPv4 address mapped into
/// IPv6 is spelled as IPv4.
fn address(value: &Json) -> Option<Value> {
    let text = text(value, usize::MAX)?;
    if text.is_empty() {
        return Some(Value::Text(text));
    }
    let groups = match v4(&text) {
        Some(octets) => [0, 0, 0, 0, 0, 0xffff, pair(octets[0], octets[1]), pair(octets[2], octets[3])],
        None => v6(&text)?,
    };
    let spelled = match groups {
        [0, 0, 0, 0, 0, 0xffff, a, b] if (a, b) == (0, 0) => return None,
        [0, 0, 0, 0, 0, 0, 0, 0] => return None,
        [0, 0, 0, 0, 0, 0xffff, a, b] => format!("{}.{}.{}.{}", a >> 8, a & 255, b >> 8, b & 255),
        groups => spell_v6(groups),
    };
    Some(Value::Text(spelled))
}

fn pair(a: u16, b: u16) -> u16 {
    a * 256 + b
}

/// An IPv4 address: four decimal numbers up to 255, without leading zeros.
fn v4(text: &str) -> Option<[u16; 4]> {
    let parts: Vec<&str> = text.split('.').collect();
    let mut octets = [0; 4];
    if parts.len() != 4 {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if !digits || (part.len() > 1 && part.starts_with('0')) {
            return None;
        }
        *octet = part.parse().ok().filter(|n| *n <= 255)?;
    }
    Some(octets)
}

/// An IPv6 address: eight groups of one to four hexadecimal digits. `::` may stand once for one or more groups of zeros, and the last
/// two groups may be spelled as IPv4.
fn v6(text: &str) -> Option<[u16; 8]> {
    let side = |text: &str, may_end_in_v4: bool| -> Option<Vec<u16>> {
        let mut groups = Vec::new();
        if text.is_empty() {
            return Some(groups);
        }
        let parts: Vec<&str> = text.split(':').collect();
        for (at, part) in parts.iter().enumerate() {
            if may_end_in_v4 && at + 1 == parts.len() && part.contains('.') {
                let [a, b, c, d] = v4(part)?;
                groups.extend([pair(a, b), pair(c, d)]);
            } else if (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit()) {
                groups.push(u16::from_str_radix(part, 16).expect("four digits"));
            } else {
                return None;
            }
        }
        Some(groups)
    };
    let all = match text.split_once("::") {
        None => side(text, true)?,
        Some((before, behind)) => {
            let (before, behind) = (side(before, false)?, side(behind, true)?);
            let zeros = 8usize.checked_sub(before.len() + behind.len()).filter(|zeros| *zeros > 0)?;
            [before, vec![0; zeros], behind].concat()
        }
    };
    all.try_into().ok()
}

/// RFC 5952: lower case, no leading zeros, the first longest run of two or more zeros as `::`.
fn spell_v6(groups: [u16; 8]) -> String {
    let run = |from: usize| groups[from..].iter().take_while(|group| **group == 0).count();
    let longest = (0..8).map(run).max().unwrap_or(0);
    let spell = |groups: &[u16]| groups.iter().map(|group| format!("{group:x}")).collect::<Vec<_>>().join(":");
    if longest < 2 {
        return spell(&groups);
    }
    let from = (0..8).find(|from| run(*from) == longest).expect("there is one");
    format!("{}::{}", spell(&groups[..from]), spell(&groups[from + longest..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_spelled_as_the_rfc_has_it() {
        let spelled = |text: &str| match address(&Json::Text(Some(text.to_owned()))) {
            Some(Value::Text(text)) => text,
            _ => "none".to_owned(),
        };
        for (given, expected) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("1::", "1::"),
            ("::1", "::1"),
            ("64:ff9b::1.2.3.4", "64:ff9b::102:304"),
            ("::", "none"),
            ("0.0.0.0", "none"),
            ("::ffff:0.0.0.0", "none"),
            ("1:2:3:4:5:6:7::8:9", "none"),
            ("1:2:3:4:5:6:7:8:9", "none"),
            (":::1", "none"),
            ("1.2.3.4:80", "none"),
            ("01.2.3.4", "none"),
        ] {
            assert_eq!(spelled(given), expected, "{given}");
        }
    }

    #[test]
    fn degrees_are_rounded_as_they_are_written() {
        let of = |number: &str| degrees(&Json::Number(number.to_owned()), 90);
        for (number, hundredths) in [
            ("1.005", 101),
            ("-1.005", -101),
            ("48.1349999", 4813),
            ("9e1", 9000),
            ("1e-9", 0),
            ("0.005", 1),
            ("-0", 0),
        ] {
            assert_eq!(of(number), Some(Value::Hundredths(hundredths)), "{number}");
        }
        for number in ["90.0001", "91", "1e2", "1e400"] {
            assert_eq!(of(number), None, "{number}");
        }
    }
}
