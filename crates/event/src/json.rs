//! A reader for the wire form: the top level of one JSON object (RFC 8259). Strings are borrowed where they hold no escape.
//!
//! Why not a general JSON crate: no crate meets all of the contract (semantics, section 1). A known key twice at the top level after
//! unescaping is invalid. Nesting is bounded at 100, also inside ignored values. A number must be told from the same number with a
//! fraction. And in keys that nobody reads, any bytes between quotes, `NaN` and `Infinity` are passed over: a sender who can put
//! bytes into such a key must not be able to keep a logon from being scored.

use crate::MAX_JSON_DEPTH;
use std::borrow::Cow;

/// The value of a known key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// A string.
    Text(Cow<'a, str>),
    /// A string that is not valid text. The words say why and follow the key's name in a message.
    NoText(&'static str),
    /// A number as written.
    Number(&'a [u8]),
    /// Any other value; the words name it.
    Other(&'static str),
}

/// A result whose error is the words for a dead letter.
pub(crate) type Result<T> = std::result::Result<T, &'static str>;

const NO_KEY: &str = "malformed JSON: a key is missing or not in double quotes";
const NO_COLON: &str = "malformed JSON: a key without a colon";
const NO_VALUE: &str = "malformed JSON: a value is missing, or none that JSON has";
const NUMBER: &str = "malformed JSON: a malformed number";

/// Reads one object. `known` says which top-level keys are read; their values go to `field`, each with its bytes as written.
///
/// # Errors
/// The bytes are not one well-formed JSON object, it is nested too deeply, or `field` refused a value.
pub(crate) fn read_object<'a, Key>(
    bytes: &'a [u8],
    known: impl Fn(&[u8]) -> Option<Key>,
    mut field: impl FnMut(Key, Value<'a>, &'a [u8]) -> Result<()>,
) -> Result<()> {
    let mut reader = JsonReader { bytes, text: std::str::from_utf8(bytes).ok(), at: 0 };
    reader.skip_space();
    if !reader.eat(b'{') {
        return Err(match bytes {
            [0xef, 0xbb, 0xbf, ..] => "not a JSON object: a byte-order mark stands before it",
            _ if reader.peek() == Some(b'[') => "not a JSON object but an array: each event is a record of its own",
            _ => "not a JSON object",
        });
    }
    reader.skip_space();
    if !reader.eat(b'}') {
        loop {
            let key = reader.key()?;
            match reader.known(key, &known) {
                Some(key) => {
                    let start = reader.at;
                    let value = reader.value()?;
                    field(key, value, bytes.get(start..reader.at).unwrap_or_default())?;
                }
                None => {
                    reader.skip_value()?;
                }
            }
            reader.skip_space();
            if reader.eat(b',') {
                reader.skip_space();
                continue;
            }
            if reader.eat(b'}') {
                break;
            }
            return Err(reader.or_end("malformed JSON: neither a comma nor the end of the object after a value"));
        }
    }
    reader.skip_space();
    if reader.at != bytes.len() {
        return Err("malformed JSON: something follows the object");
    }
    Ok(())
}

/// What stands between two quotes. A backslash and the byte after it belong together, whatever that byte is.
#[derive(Clone, Copy)]
struct Quoted {
    start: usize,
    end: usize,
    escaped: bool,
    control: bool,
}

const ESCAPE: &str = "holds an escape that JSON does not have";
const LONE: &str = "holds a lone surrogate";

fn unescaped(text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (c, behind) = escape(&rest[at + 1..])?;
        out.push(c);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// Decodes one escape, given without its backslash. Returns the character and the rest of the text.
fn escape(text: &str) -> Result<(char, &str)> {
    let c = match text.as_bytes().first() {
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let (unit, rest) = hex4(&text[1..]).ok_or(ESCAPE)?;
            if let Some(c) = char::from_u32(unit) {
                return Ok((c, rest));
            }
            return match rest.strip_prefix("\\u").and_then(hex4) {
                Some((low @ 0xDC00..=0xDFFF, rest)) if unit < 0xDC00 => {
                    let c = char::from_u32(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00));
                    Ok((c.expect("a pair of surrogates is a character"), rest))
                }
                _ => Err(LONE),
            };
        }
        _ => return Err(ESCAPE),
    };
    Ok((c, &text[1..]))
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let digits = text.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(digits, 16).ok()?, &text[4..]))
}

struct JsonReader<'a> {
    bytes: &'a [u8],
    /// The bytes as text, if all of them are UTF-8: checking the whole record once is faster than checking each string.
    text: Option<&'a str>,
    at: usize,
}

impl<'a> JsonReader<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// What is wrong here: `words`, or that the record has ended.
    fn or_end(&self, words: &'static str) -> &'static str {
        if self.at < self.bytes.len() { words } else { "malformed JSON: the record ends before its object does" }
    }

    /// Reads a key and its colon, up to the value.
    fn key(&mut self) -> Result<Quoted> {
        if self.peek() != Some(b'"') {
            return Err(self.or_end(NO_KEY));
        }
        let key = self.quoted()?;
        self.skip_space();
        if !self.eat(b':') {
            return Err(self.or_end(NO_COLON));
        }
        self.skip_space();
        Ok(key)
    }

    /// Reads the value of a known key.
    #[inline(always)]
    fn value(&mut self) -> Result<Value<'a>> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                let quoted = self.quoted()?;
                Ok(self.text(quoted))
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Ok(Value::Number(&self.bytes[start..self.at]))
            }
            _ => self.skip_value().map(Value::Other),
        }
    }

    /// Passes over a value; returns words that name it.
    fn skip_value(&mut self) -> Result<&'static str> {
        match self.peek() {
            Some(b'"') => self.quoted().map(|_| "a string"),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| "a number"),
            Some(b'n') => self.word("null").map(|()| "null"),
            Some(b't') => self.word("true").map(|()| "true"),
            Some(b'f') => self.word("false").map(|()| "false"),
            Some(b'N') => self.word("NaN").map(|()| "NaN"),
            Some(b'I') => self.word("Infinity").map(|()| "Infinity"),
            Some(b'[') => self.skip_nested().map(|()| "an array"),
            Some(b'{') => self.skip_nested().map(|()| "an object"),
            _ => Err(self.or_end(NO_VALUE)),
        }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(NO_VALUE)
        }
    }

    fn number(&mut self) -> Result<()> {
        if self.eat(b'-') && self.peek() == Some(b'I') {
            return self.word("Infinity");
        }
        if self.eat(b'0') {
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err("malformed JSON: a number with a leading zero");
            }
        } else if self.digits() == 0 {
            return Err(NUMBER);
        }
        if self.eat(b'.') && self.digits() == 0 {
            return Err(NUMBER);
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(NUMBER);
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// Passes over a string, from its first quote to its last.
    fn quoted(&mut self) -> Result<Quoted> {
        self.at += 1;
        let (start, mut escaped, mut control) = (self.at, false, false);
        loop {
            self.at += plain_bytes(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Quoted { start, end: self.at - 1, escaped, control });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => {
                    control = true;
                    self.at += 1;
                }
                None => return Err("malformed JSON: a string without an end"),
            }
        }
    }

    /// What `known` says of a key. A key that is not valid text is not known.
    fn known<Key>(&self, key: Quoted, known: impl Fn(&[u8]) -> Option<Key>) -> Option<Key> {
        if !key.escaped {
            return known(&self.bytes[key.start..key.end]);
        }
        match self.text(key) {
            Value::Text(key) => known(key.as_bytes()),
            _ => None,
        }
    }

    /// The text of a string value, or why it is none.
    fn text(&self, value: Quoted) -> Value<'a> {
        if value.control {
            return Value::NoText("holds a raw control character");
        }
        let inside = value.start..value.end;
        let text = match self.text {
            Some(text) => Some(&text[inside]),
            None => std::str::from_utf8(&self.bytes[inside]).ok(),
        };
        match text {
            Some(text) if !value.escaped => Value::Text(Cow::Borrowed(text)),
            Some(text) => unescaped(text).map_or_else(Value::NoText, |text| Value::Text(Cow::Owned(text))),
            None => Value::NoText("is not UTF-8"),
        }
    }

    /// Passes over an array or object inside the top-level object, without recursion.
    fn skip_nested(&mut self) -> Result<()> {
        let mut open = [0u8; MAX_JSON_DEPTH];
        let mut depth = 1; // the top-level object
        // Whether a value comes next (in an object: a key and its value).
        let mut value_next = true;
        loop {
            self.skip_space();
            if value_next {
                match self.peek() {
                    Some(bracket @ (b'[' | b'{')) => {
                        self.at += 1;
                        if depth == MAX_JSON_DEPTH {
                            return Err("nested deeper than 100");
                        }
                        open[depth] = bracket;
                        depth += 1;
                        self.skip_space();
                        if self.eat(bracket + 2) {
                            depth -= 1;
                            value_next = false;
                        } else if bracket == b'{' {
                            self.key()?;
                        }
                    }
                    _ => {
                        self.skip_value()?;
                        value_next = false;
                    }
                }
            } else {
                let bracket = open[depth - 1];
                if self.eat(b',') {
                    value_next = true;
                    if bracket == b'{' {
                        self.skip_space();
                        self.key()?;
                    }
                } else if self.eat(bracket + 2) {
                    depth -= 1;
                } else {
                    return Err(self.or_end("malformed JSON: a malformed array or object"));
                }
            }
            if depth == 1 {
                return Ok(());
            }
        }
    }
}

/// How many bytes come before the first quote, backslash or control character. Looks at eight at a time: the subtraction sets the
/// highest bit of the first byte that is wanted, and perhaps of bytes after it, but of none before.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let equal = |byte: u8| {
            let differs = word ^ (ONES * u64::from(byte));
            differs.wrapping_sub(ONES) & !differs
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (equal(b'"') | equal(b'\\') | control) & HIGHEST;
        if found != 0 {
            return n * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let is_wanted = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    bytes.len() - rest.len() + rest.iter().position(is_wanted).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values that a reader gets which knows the keys `a` to `d`.
    fn keys(bytes: impl AsRef<[u8]>) -> std::result::Result<Vec<String>, &'static str> {
        let mut out = Vec::new();
        let known = |key: &[u8]| matches!(key, [b'a'..=b'd']).then(|| char::from(key[0]));
        read_object(bytes.as_ref(), known, |key, value, _| {
            out.push(format!("{key}={value:?}"));
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn nesting_is_bounded_at_100_with_the_object_as_depth_1() {
        for key in ["a", "x", "\\q"] {
            let nested = |n: usize| format!("{{\"{key}\":{}{}}}", "[".repeat(n), "]".repeat(n));
            assert!(keys(nested(99)).is_ok());
            assert_eq!(keys(nested(100)), Err("nested deeper than 100"));
            let objects = |n: usize| format!("{{\"{key}\":{}1{}}}", "{\"b\":".repeat(n), "}".repeat(n));
            assert!(keys(objects(99)).is_ok());
            assert_eq!(keys(objects(100)), Err("nested deeper than 100"));
        }
    }

    #[test]
    fn what_a_key_holds_is_text_or_it_is_said_why_not() {
        for (value, expected) in [
            (&br#""""#[..], "Text(\"\")"),
            (br#""\u0041\ud83d\ude00\/\"\\""#, "Text(\"A😀/\\\"\\\\\")"),
            (br#""\udc00""#, "NoText(\"holds a lone surrogate\")"),
            (br#""\ud800\ud83d\ude00""#, "NoText(\"holds a lone surrogate\")"),
            (br#""\ude00\ud83d""#, "NoText(\"holds a lone surrogate\")"),
            (br#""\ud83d\u00e9""#, "NoText(\"holds a lone surrogate\")"),
            (br#""\x41""#, "NoText(\"holds an escape that JSON does not have\")"),
            (br#""\u00g1""#, "NoText(\"holds an escape that JSON does not have\")"),
            (br#""\u+123""#, "NoText(\"holds an escape that JSON does not have\")"),
            (br#""\u12""#, "NoText(\"holds an escape that JSON does not have\")"),
            ("\"\\u12\u{e9}4\"".as_bytes(), "NoText(\"holds an escape that JSON does not have\")"),
            (b"\"\t\"", "NoText(\"holds a raw control character\")"),
            (b"\"\xff\"", "NoText(\"is not UTF-8\")"),
            (b"\"\xc3\"", "NoText(\"is not UTF-8\")"),
            (b"null", "Other(\"null\")"),
            (b"NaN", "Other(\"NaN\")"),
            (b"[\"\xff\", {\"\t\": -Infinity}]", "Other(\"an array\")"),
        ] {
            let record = [&b"{\"a\":"[..], value, b"}"].concat();
            assert_eq!(keys(record), Ok(vec![format!("a={expected}")]), "{:?}", String::from_utf8_lossy(value));
        }
    }

    /// Values and keys that nobody reads, each at the top level and one level deeper.
    #[test]
    fn what_nobody_reads_is_passed_over() {
        let passed: &[&[u8]] = &[
            b"\"\xff\xfe\"",
            b"\"\xed\xa0\x80\"",
            b"\"\t\r\n\0\x1f\"",
            br#""\x41\u12g4\U\ ""#,
            br#""\"""#,
            br#""\\""#,
            b"\"\\\xff\\\n\"",
            br#""\ud800""#,
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"1e99999",
        ];
        let refused: &[&[u8]] = &[
            br#""\""#,
            br#""\\\""#,
            b"\xff",
            b"nan",
            b"inf",
            b"+Infinity",
            b"-NaN",
            b"-infinity",
            b"Infinit",
            b"NaNN",
            b"NULL",
            b"None",
            b"01",
            b"1.",
            b"'x'",
            b"\"\"\"",
            b"1 2",
            b"",
        ];
        for (values, is_passed) in [(passed, true), (refused, false)] {
            for value in values {
                for record in [
                    [&b"{\"x\":"[..], *value, b",\"a\":1}"].concat(),
                    [&b"{\"x\":[0,"[..], *value, b"],\"a\":1}"].concat(),
                    [&b"{\"x\":{\"a\":"[..], *value, b"},\"a\":1}"].concat(),
                ] {
                    let shown = String::from_utf8_lossy(&record).into_owned();
                    assert_eq!(keys(&record).is_ok(), is_passed, "{shown}");
                    assert!(!is_passed || keys(&record) == Ok(vec!["a=Number([49])".to_owned()]), "{shown}");
                }
            }
        }
        for key in passed.iter().filter(|key| key[0] == b'"') {
            for record in
                [[&b"{"[..], *key, b":2,\"a\":1}"].concat(), [&b"{\"x\":{"[..], *key, b":2},\"a\":1}"].concat()]
            {
                assert_eq!(
                    keys(&record),
                    Ok(vec!["a=Number([49])".to_owned()]),
                    "{}",
                    String::from_utf8_lossy(&record)
                );
            }
        }
        // A known key spoiled by bytes that make it no valid text.
        for key in [&b"a\xff"[..], b"a\t", br"a\q", br"\u006", br"a\ud800"] {
            assert_eq!(
                keys([&b"{\""[..], key, b"\":1,\"\\u0061\":2}"].concat()),
                Ok(vec!["a=Number([50])".to_owned()])
            );
        }
    }

    #[test]
    fn words_name_what_is_wrong() {
        for (record, words) in [
            ("", "not a JSON object"),
            ("5,U1,C1", "not a JSON object"),
            (" [{}]", "not a JSON object but an array: each event is a record of its own"),
            ("\u{feff}{}", "not a JSON object: a byte-order mark stands before it"),
            ("{", "malformed JSON: the record ends before its object does"),
            (r#"{"a""#, "malformed JSON: the record ends before its object does"),
            (r#"{"a":"#, "malformed JSON: the record ends before its object does"),
            (r#"{"a":1"#, "malformed JSON: the record ends before its object does"),
            (r#"{"a":1,"#, "malformed JSON: the record ends before its object does"),
            (r#"{"a":[1"#, "malformed JSON: the record ends before its object does"),
            (r#"{"a":"1"#, "malformed JSON: a string without an end"),
            ("{a:1}", NO_KEY),
            ("{'a':1}", NO_KEY),
            (r#"{"a":1,}"#, NO_KEY),
            (r#"{"a" 1}"#, NO_COLON),
            (r#"{"a":}"#, NO_VALUE),
            (r#"{"a":'x'}"#, NO_VALUE),
            (r#"{"a":None}"#, NO_VALUE),
            (r#"{"a":[1,]}"#, NO_VALUE),
            (r#"{"a":+1}"#, NO_VALUE),
            (r#"{"a":05}"#, "malformed JSON: a number with a leading zero"),
            (r#"{"a":1.}"#, NUMBER),
            (r#"{"a":1 "b":2}"#, "malformed JSON: neither a comma nor the end of the object after a value"),
            (r#"{"a":[1 2]}"#, "malformed JSON: a malformed array or object"),
            (r#"{"a":[1}"#, "malformed JSON: a malformed array or object"),
            (r#"{"a":1}{"a":1}"#, "malformed JSON: something follows the object"),
        ] {
            assert_eq!(keys(record), Err(words), "{record}");
        }
    }

    proptest! {
        /// Agrees with serde_json on what is well-formed, except where the two differ on purpose.
        #[test]
        fn agrees_with_serde_json(text in r#"\{("[a-c\\n"u0]{0,4}"[: ]{1,2}[-0-9.eE+\[\]{},tru"nul\\]{0,8},?){0,3}\}"#) {
            let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok();
            // serde_json refuses numbers beyond f64 and checks every string; this reader checks only the grammar.
            let ours = keys(&text).is_ok();
            prop_assert!(ours == theirs || (ours && text.contains(['e', 'E', '\\'])), "{text} ours {ours} theirs {theirs}");
        }

        #[test]
        fn agrees_with_serde_json_on_valid_documents(depth in 0usize..4, text in ".{0,12}", n in any::<i64>()) {
            let mut value = serde_json::json!({ "s": text, "a": text, "n": n, "l": [text, null, true, {}] });
            for _ in 0..depth { value = serde_json::json!({ "v": value, "x": [[], {"k": 1}] }); }
            let expected = if depth == 0 { vec![format!("a={:?}", Value::Text(Cow::Borrowed(&text)))] } else { Vec::new() };
            prop_assert_eq!(keys(value.to_string()), Ok(expected));
        }

        #[test]
        fn plain_bytes_end_where_the_first_other_one_is(bytes in prop::collection::vec(
            prop_oneof![8 => 0x20u8..=0xff, 1 => any::<u8>(), 1 => prop::sample::select(b"\"\\\x1f\x20\x80\xa2\xdc".to_vec())],
            0..40,
        )) {
            let first = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(plain_bytes(&bytes), first.unwrap_or(bytes.len()));
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "\\PC{0,40}") {
            let _ = keys(&bytes);
            let _ = keys([&b"{\"a\":\""[..], &bytes[..]].concat());
            let _ = keys(&text);
            let _ = keys(format!("{{{text}"));
        }
    }
}
