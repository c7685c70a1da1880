//! Attributes: what an event may carry beside time, user, computer and id (docs/shape.md, section 5).
//!
//! The only list of them is here. All code between the record and its row hands [`Attributes`] on as one value and knows no single
//! one. To add an attribute, add a line to [`ATTRIBUTES`], and with it its column.

use core::net::IpAddr;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::MAX_NAME_BYTES;

/// One attribute: its key on the wire, which values it may have, and its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The key in the wire form.
    pub key: &'static str,
    /// The column of the curated table.
    pub column: &'static str,
    /// What a value may be.
    pub form: Form,
    /// What it means, in one line of at most 255 bytes: the column's comment.
    pub doc: &'static str,
}

/// Which values an attribute may have. Texts are trimmed of blanks (space, tab) and hold no control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One of these words (lower-case ASCII); the sender may write them in any case.
    Words(&'static [&'static str]),
    /// Text of at most this many bytes.
    Text(usize),
    /// As `Text`, but ASCII letters become lower case.
    LowerText(usize),
    /// Text of which at most this many bytes are kept, in whole characters.
    Beginning(usize),
    /// A name by the rules for users and computers: at most 256 bytes, no comma.
    Name,
    /// An IP address, kept in its canonical spelling: IPv6 as in RFC 5952, an IPv4 address mapped into IPv6 as IPv4. The unspecified
    /// address is refused, and so are brackets, port, zone and prefix length.
    Address,
    /// `true` or `false`; 1 or 0 in the column.
    Flag,
    /// A number from the first to the second bound, both included and in hundredths; the first is at most 0, the second at least 0.
    /// Kept to the nearest hundredth, half away from zero.
    Hundredths(i32, i32),
}

/// The type of an attribute's values, which decides the type of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    /// A text in UTF-8.
    Text,
    /// A signed integer of 32 bits.
    Int,
    /// A floating-point number of 64 bits (IEEE 754).
    Double,
}

impl Attribute {
    /// The type of its values.
    pub fn kind(&self) -> AttributeKind {
        match self.form {
            Form::Flag => AttributeKind::Int,
            Form::Hundredths(..) => AttributeKind::Double,
            Form::Words(_) | Form::Text(_) | Form::LowerText(_) | Form::Beginning(_) | Form::Name | Form::Address => {
                AttributeKind::Text
            }
        }
    }
}

/// Longest value of most texts, in bytes.
const TEXT: Form = Form::Text(256);

/// The attributes of this version, in the order of their columns.
pub const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        key: "activity",
        column: "activity",
        form: Form::Words(&[
            "logon",
            "logoff",
            "ticket",
            "service_ticket",
            "preauth",
            "validate",
            "explicit",
            "resume",
            "switch",
            "token",
            "mfa",
        ]),
        doc: "what was done: logon, logoff, ticket, service_ticket, preauth, validate, explicit, resume, switch, token or mfa; null: \
              the source did not say",
    },
    Attribute {
        key: "outcome",
        column: "outcome",
        form: Form::Words(&["success", "failure", "unknown"]),
        doc: "how it ended: success, failure or unknown; null: the source did not say",
    },
    Attribute {
        key: "reason",
        column: "failure_reason",
        form: Form::Words(&[
            "bad_password",
            "unknown_user",
            "bad_credentials",
            "locked",
            "disabled",
            "expired",
            "restricted",
            "denied",
            "mfa",
            "other",
        ]),
        doc: "why it failed: bad_password, unknown_user, bad_credentials, locked, disabled, expired, restricted, denied, mfa or other",
    },
    Attribute {
        key: "source_ip",
        column: "source_ip",
        form: Form::Address,
        doc: "where it came from: an IP address in its canonical spelling",
    },
    Attribute {
        key: "source_computer",
        column: "source_computer",
        form: Form::Name,
        doc: "where it came from: the name of the computer",
    },
    Attribute {
        key: "kind",
        column: "logon_kind",
        form: Form::Words(&[
            "system",
            "interactive",
            "network",
            "batch",
            "service",
            "unlock",
            "network_cleartext",
            "new_credentials",
            "remote_interactive",
            "cached_interactive",
            "cached_remote_interactive",
            "cached_unlock",
            "web",
            "api",
        ]),
        doc: "the kind of logon: one of Windows' types (system, interactive, network, batch, service, unlock, ...), web or api",
    },
    Attribute {
        key: "method",
        column: "auth_method",
        form: Form::LowerText(64),
        doc: "how the user proved who it is, in lower case: kerberos, ntlm, publickey, saml, otp, ...",
    },
    Attribute {
        key: "mfa",
        column: "is_mfa",
        form: Form::Flag,
        doc: "1 where a second factor was used, 0 where none was",
    },
    Attribute {
        key: "actor",
        column: "actor",
        form: Form::Name,
        doc: "the account that asked for it, where that is another than the user",
    },
    Attribute { key: "app", column: "app", form: TEXT, doc: "the application" },
    Attribute { key: "device", column: "device", form: TEXT, doc: "the id or kind of the device" },
    Attribute { key: "session", column: "session", form: TEXT, doc: "the id of the session" },
    Attribute { key: "site", column: "site", form: TEXT, doc: "the branch or region" },
    Attribute { key: "role", column: "role", form: TEXT, doc: "the role that was taken on" },
    Attribute {
        key: "country",
        column: "source_country",
        form: TEXT,
        doc: "the country that it came from, as the source or a look-up of the address says",
    },
    Attribute {
        key: "lat",
        column: "source_lat",
        form: Form::Hundredths(-9000, 9000),
        doc: "the latitude that it came from, in degrees to the hundredth, north positive",
    },
    Attribute {
        key: "lon",
        column: "source_lon",
        form: Form::Hundredths(-18000, 18000),
        doc: "the longitude that it came from, in degrees to the hundredth, east positive",
    },
    Attribute {
        key: "user_agent",
        column: "user_agent",
        form: Form::Beginning(1_024),
        doc: "the program that asked, as it calls itself: the first 1,024 bytes",
    },
    Attribute {
        key: "source",
        column: "source_type",
        form: TEXT,
        doc: "the kind of source, and the version of the mapping that made the event",
    },
];

/// The most bytes that the attributes of one event may take up ([`Attributes::bytes`]); values beyond it are dropped. All values of
/// [`ATTRIBUTES`] at their longest take up half of it.
pub const ATTRIBUTES_BYTES_MAX: usize = 8 << 10;

/// Longest number that is read, in bytes as it is written.
const NUMBER_BYTES_MAX: usize = 32;

/// The attributes of one event: one pointer, null where there are none. Clones share the values.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Attributes(Option<Arc<Set>>);

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttributeValue<'a> {
    /// A value of [`AttributeKind::Text`].
    Text(&'a str),
    /// A value of [`AttributeKind::Int`].
    Int(i32),
    /// A value of [`AttributeKind::Double`].
    Double(f64),
}

/// A value as a sender gives it or as an entry stores it: a JSON value, in a type that needs no JSON library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given<'a> {
    /// The key is missing, or its value is `null`.
    Nothing,
    /// A string.
    Text(Cow<'a, str>),
    /// A number as JSON writes it.
    Number(Cow<'a, str>),
    /// `true` or `false`.
    Bool(bool),
    /// A value that no attribute may have.
    Unfit,
}

/// The values of an event, in the order of the list. Their texts are stored together in `texts`.
#[derive(PartialEq, Eq, Hash)]
struct Set {
    held: Box<[HeldValue]>,
    texts: Box<str>,
}

#[derive(Clone, Copy)]
struct HeldValue {
    attribute: &'static Attribute,
    value: Value,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Value {
    /// The word's index in [`Form::Words`].
    Word(u16),
    /// Where the text begins and ends in `texts`.
    Text(u32, u32),
    Int(i32),
    Hundredths(i32),
}

/// Attributes are compared by key: a key means the same in two programs, and in two lists of a test.
impl PartialEq for HeldValue {
    fn eq(&self, other: &HeldValue) -> bool {
        self.value == other.value && same(self.attribute, other.attribute)
    }
}

impl Eq for HeldValue {}

impl Hash for HeldValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.attribute.key.hash(state);
        self.value.hash(state);
    }
}

fn same(a: &Attribute, b: &Attribute) -> bool {
    std::ptr::eq(a, b) || a.key == b.key
}

impl Attributes {
    /// No attributes.
    pub const NONE: Attributes = Attributes(None);

    /// Asks `given` for the value of each attribute of `list`, by index. A value that is not of its attribute's form, or too much for
    /// [`ATTRIBUTES_BYTES_MAX`], is left out and counted in the number returned. A missing key, null and an empty text are no value
    /// and not counted.
    pub fn take<'a>(list: &'static [Attribute], mut given: impl FnMut(usize) -> Given<'a>) -> (Attributes, u16) {
        let (mut held, mut texts, mut dropped) = (Vec::new(), String::new(), 0u16);
        for (at, attribute) in list.iter().enumerate() {
            let before = texts.len();
            match attribute.form.take(&given(at), &mut texts) {
                Taken::Value(_) if set_bytes(held.len() + 1, texts.len()) > ATTRIBUTES_BYTES_MAX => {
                    texts.truncate(before);
                    dropped = dropped.saturating_add(1);
                }
                Taken::Value(value) => held.push(HeldValue { attribute, value }),
                Taken::Nothing => {}
                Taken::Dropped => dropped = dropped.saturating_add(1),
            }
        }
        if held.is_empty() {
            return (Attributes::NONE, dropped);
        }
        (Attributes(Some(Arc::new(Set { held: held.into(), texts: texts.into() }))), dropped)
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The memory that they take up, in bytes. Clones share it.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |set| set_bytes(set.held.len(), set.texts.len()))
    }

    /// The value of an attribute, if the event has one.
    pub fn get(&self, attribute: &Attribute) -> Option<AttributeValue<'_>> {
        let set = self.0.as_ref()?;
        set.held.iter().find(|held| same(held.attribute, attribute)).map(|held| set.value(held))
    }

    /// The attributes that the event has, with their values, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Attribute, AttributeValue<'_>)> {
        self.sets().flat_map(|set| set.held.iter().map(|held| (held.attribute, set.value(held))))
    }

    /// The keys and values from which [`Attributes::take`] makes the same attributes again.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, Given<'_>)> {
        self.sets().flat_map(|set| {
            set.held.iter().map(|held| {
                let given = match (held.value, set.value(held)) {
                    (Value::Hundredths(n), _) => {
                        let sign = if n < 0 { "-" } else { "" };
                        let n = n.unsigned_abs();
                        Given::Number(format!("{sign}{}.{:02}", n / 100, n % 100).into())
                    }
                    (_, AttributeValue::Int(n)) => Given::Bool(n != 0),
                    (_, AttributeValue::Text(text)) => Given::Text(text.into()),
                    (_, AttributeValue::Double(_)) => Given::Unfit,
                };
                (held.attribute.key, given)
            })
        })
    }

    fn sets(&self) -> impl Iterator<Item = &Set> {
        self.0.iter().map(|set| &**set)
    }
}

/// The bytes that a set of this many values, with this many bytes of text, takes up.
fn set_bytes(values: usize, texts: usize) -> usize {
    // An `Arc` puts two counters before the shared data.
    2 * size_of::<usize>() + size_of::<Set>() + values * size_of::<HeldValue>() + texts
}

impl Set {
    fn value(&self, held: &HeldValue) -> AttributeValue<'_> {
        match held.value {
            Value::Word(at) => match held.attribute.form {
                Form::Words(words) => AttributeValue::Text(words.get(usize::from(at)).copied().unwrap_or_default()),
                _ => AttributeValue::Text(""),
            },
            Value::Text(from, to) => AttributeValue::Text(&self.texts[from as usize..to as usize]),
            Value::Int(n) => AttributeValue::Int(n),
            Value::Hundredths(n) => AttributeValue::Double(f64::from(n) / 100.0),
        }
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(attribute, value)| (attribute.key, value))).finish()
    }
}

enum Taken {
    Value(Value),
    Nothing,
    Dropped,
}

impl Form {
    /// The given value, if it is of this form. A text is appended to `texts`.
    fn take(self, given: &Given<'_>, texts: &mut String) -> Taken {
        let value = match (self, given) {
            (_, Given::Nothing) => return Taken::Nothing,
            (Form::Flag, Given::Bool(yes)) => Some(Value::Int(i32::from(*yes))),
            (Form::Hundredths(least, most), Given::Number(number)) => {
                hundredths(number, least, most).map(Value::Hundredths)
            }
            (Form::Flag | Form::Hundredths(..), _) => None,
            (_, Given::Text(text)) => {
                let text = trim(text);
                if text.is_empty() {
                    return Taken::Nothing;
                }
                self.take_text(text, texts)
            }
            _ => None,
        };
        value.map_or(Taken::Dropped, Taken::Value)
    }

    /// As [`Form::take`], for a text that is trimmed and not empty.
    fn take_text(self, text: &str, texts: &mut String) -> Option<Value> {
        let from = texts.len();
        match self {
            Form::Words(words) => {
                let at = words.iter().position(|word| word.eq_ignore_ascii_case(text))?;
                return u16::try_from(at).ok().map(Value::Word);
            }
            Form::Address => {
                let address: IpAddr = text.parse().ok()?;
                let address = address.to_canonical();
                if address.is_unspecified() {
                    return None;
                }
                texts.push_str(&address.to_string());
            }
            Form::Name if text.len() > MAX_NAME_BYTES || text.contains(',') => return None,
            Form::Text(most) | Form::LowerText(most) if text.len() > most => return None,
            Form::Beginning(most) => texts.push_str(beginning(text, most)),
            Form::Name | Form::Text(_) | Form::LowerText(_) => texts.push_str(text),
            Form::Flag | Form::Hundredths(..) => return None,
        }
        if texts[from..].contains(char::is_control) {
            texts.truncate(from);
            return None;
        }
        if matches!(self, Form::LowerText(_)) {
            texts[from..].make_ascii_lowercase();
        }
        Some(Value::Text(u32::try_from(from).ok()?, u32::try_from(texts.len()).ok()?))
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The first `most` bytes of a text, in whole characters. Trimmed again, so that reading the result once more does not change it.
fn beginning(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    trim(&text[..end])
}

/// A JSON number rounded to the nearest hundredth, half away from zero; `None` if it is too long or out of bounds. Computed from the
/// decimal digits: with binary fractions the result could differ from one reader to another.
fn hundredths(number: &str, least: i32, most: i32) -> Option<i32> {
    if number.len() > NUMBER_BYTES_MAX {
        return None;
    }
    let (is_negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
    let (digits, exponent) = match number.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i128>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut value = 0u128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        // At most 32 digits, so no overflow.
        value = value * 10 + u128::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    let bound = u128::from(if is_negative { least } else { most }.unsigned_abs());
    let shift = exponent - fraction.len() as i128 + 2;
    let (kept, rest, unit) = match u32::try_from(shift.unsigned_abs()).unwrap_or(u32::MAX) {
        _ if value == 0 => (0, 0, 1),
        up if shift >= 0 => (10u128.checked_pow(up)?.checked_mul(value)?, 0, 1),
        down if down <= 38 => {
            let unit = 10u128.pow(down);
            (value / unit, value % unit, unit)
        }
        // Less than half a hundredth.
        _ => (0, 1, u128::MAX),
    };
    if kept > bound || (kept == bound && rest > 0) {
        return None;
    }
    let rounded = i32::try_from(kept + u128::from(rest >= unit - rest)).ok()?;
    Some(if is_negative { -rounded } else { rounded })
}

#[cfg(test)]
mod tests;
