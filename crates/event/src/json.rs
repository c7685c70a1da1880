//! A reader for the wire form: the top level of one JSON object (RFC 8259), strings borrowed where they hold no escape.
//!
//! Why not a general JSON crate: the contract (semantics, section 1) needs four things at once that none offers. A known key
//! twice at the top level after unescaping is invalid; a lone surrogate is invalid in a known value and allowed elsewhere;
//! nesting is bounded at 100, also inside ignored values; and a number must be told from the same number with a fraction.

use crate::MAX_JSON_DEPTH;
use std::borrow::Cow;

/// A value of a top-level key, as far as an event needs it.
#[derive(Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// A string without lone surrogates.
    Text(Cow<'a, str>),
    /// A string with a lone surrogate: well-formed JSON, but no text.
    LoneSurrogate,
    /// A number as written.
    Number(&'a str),
    Null,
    /// `true`, `false`, an array or an object.
    Other,
}

pub(crate) type Result<T> = std::result::Result<T, &'static str>;

/// Reads one object and hands each top-level key and value to `field`; a key with a lone surrogate is handed over as `None`.
pub(crate) fn read_object<'a>(
    text: &'a str,
    mut field: impl FnMut(Option<Cow<'a, str>>, Value<'a>) -> Result<()>,
) -> Result<()> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_space();
    if !reader.eat(b'{') {
        return Err("not a JSON object");
    }
    reader.skip_space();
    if !reader.eat(b'}') {
        loop {
            reader.skip_space();
            let key = match reader.string()? {
                Value::Text(key) => Some(key),
                _ => None,
            };
            reader.skip_space();
            if !reader.eat(b':') {
                return Err("malformed JSON: a key without a colon");
            }
            reader.skip_space();
            let value = reader.value()?;
            field(key, value)?;
            reader.skip_space();
            if reader.eat(b',') {
                continue;
            }
            if reader.eat(b'}') {
                break;
            }
            return Err("malformed JSON: neither a comma nor the end of the object after a value");
        }
    }
    reader.skip_space();
    if reader.at != text.len() {
        return Err("malformed JSON: something follows the object");
    }
    Ok(())
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
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

    /// A value of the top-level object.
    fn value(&mut self) -> Result<Value<'a>> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b'n') => self.word("null").map(|()| Value::Null),
            Some(b't') => self.word("true").map(|()| Value::Other),
            Some(b'f') => self.word("false").map(|()| Value::Other),
            Some(b'[' | b'{') => self.skip_nested().map(|()| Value::Other),
            _ => Err("malformed JSON: a value is missing"),
        }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err("malformed JSON: an unknown word")
        }
    }

    fn number(&mut self) -> Result<&'a str> {
        const MALFORMED: &str = "malformed JSON: a malformed number";
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') && self.digits() == 0 {
            return Err(MALFORMED);
        }
        if self.eat(b'.') && self.digits() == 0 {
            return Err(MALFORMED);
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(MALFORMED);
            }
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// A string; borrowed unless it holds an escape.
    fn string(&mut self) -> Result<Value<'a>> {
        if !self.eat(b'"') {
            return Err("malformed JSON: a key is not a string");
        }
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Value::Text(Cow::Borrowed(text)));
                }
                Some(b'\\') => return self.escaped_string(start),
                Some(0..0x20) => return Err("malformed JSON: a control character in a string"),
                Some(_) => self.at += 1,
                None => return Err("malformed JSON: a string without an end"),
            }
        }
    }

    /// The rest of a string that holds escapes, from the first of them.
    fn escaped_string(&mut self, start: usize) -> Result<Value<'a>> {
        let mut out = self.text[start..self.at].to_owned();
        let mut lone = false;
        let mut plain = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    out.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    return Ok(if lone { Value::LoneSurrogate } else { Value::Text(Cow::Owned(out)) });
                }
                Some(b'\\') => {
                    out.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    match self.escape()? {
                        Some(c) => out.push(c),
                        None => lone = true,
                    }
                    plain = self.at;
                }
                Some(0..0x20) => return Err("malformed JSON: a control character in a string"),
                Some(_) => self.at += 1,
                None => return Err("malformed JSON: a string without an end"),
            }
        }
    }

    /// One escape after its backslash; `None` for a lone surrogate.
    fn escape(&mut self) -> Result<Option<char>> {
        let byte = self.peek().ok_or("malformed JSON: a string without an end")?;
        self.at += 1;
        Ok(Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex4()?;
                match unit {
                    0xD800..=0xDBFF => {
                        let after_high = self.at;
                        if self.eat(b'\\') && self.eat(b'u') {
                            let low = self.hex4()?;
                            if (0xDC00..=0xDFFF).contains(&low) {
                                return Ok(char::from_u32(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)));
                            }
                        }
                        // The escape that follows stands for itself: read it again on its own.
                        self.at = after_high;
                        return Ok(None);
                    }
                    0xDC00..=0xDFFF => return Ok(None),
                    _ => return Ok(char::from_u32(unit)),
                }
            }
            _ => return Err("malformed JSON: an unknown escape"),
        }))
    }

    fn hex4(&mut self) -> Result<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or("malformed JSON: a short \\u escape")?;
        self.at += 4;
        digits.iter().try_fold(0u32, |n, b| {
            char::from(*b)
                .to_digit(16)
                .map(|d| n * 16 + d)
                .ok_or("malformed JSON: a \\u escape that is not hexadecimal")
        })
    }

    /// Passes over an array or object inside the top-level object, without recursion.
    fn skip_nested(&mut self) -> Result<()> {
        const MALFORMED: &str = "malformed JSON: a malformed array or object";
        let mut open = [0u8; MAX_JSON_DEPTH];
        let mut depth = 1; // the top-level object
        // Whether the next thing is a value (or, in an object, a key and its value).
        let mut value_next = true;
        loop {
            self.skip_space();
            if value_next {
                match self.peek() {
                    Some(bracket @ (b'[' | b'{')) => {
                        self.at += 1;
                        if depth == MAX_JSON_DEPTH {
                            return Err("malformed JSON: nested deeper than 100");
                        }
                        open[depth] = bracket;
                        depth += 1;
                        self.skip_space();
                        if self.eat(bracket + 2) {
                            depth -= 1;
                            value_next = false;
                        } else if bracket == b'{' {
                            self.nested_key()?;
                        }
                    }
                    _ => {
                        self.value()?;
                        value_next = false;
                    }
                }
            } else {
                let bracket = open[depth - 1];
                if self.eat(b',') {
                    value_next = true;
                    if bracket == b'{' {
                        self.nested_key()?;
                    }
                } else if self.eat(bracket + 2) {
                    depth -= 1;
                } else {
                    return Err(MALFORMED);
                }
            }
            if depth == 1 {
                return Ok(());
            }
        }
    }

    fn nested_key(&mut self) -> Result<()> {
        self.skip_space();
        self.string()?;
        self.skip_space();
        if self.eat(b':') { Ok(()) } else { Err("malformed JSON: a key without a colon") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(text: &str) -> Result<Vec<String>> {
        let mut out = Vec::new();
        read_object(text, |k, v| {
            out.push(format!("{}={v:?}", k.as_deref().unwrap_or("?")));
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn nesting_is_bounded_at_100_with_the_object_as_depth_1() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(keys(&nested(99)).is_ok());
        assert!(keys(&nested(100)).is_err());
        assert!(keys(&format!("{{\"a\":{}1{}}}", "{\"b\":".repeat(99), "}".repeat(99))).is_ok());
        assert!(keys(&format!("{{\"a\":{}1{}}}", "{\"b\":".repeat(100), "}".repeat(100))).is_err());
    }

    #[test]
    fn lone_surrogates_are_well_formed_but_no_text() {
        assert_eq!(
            keys(r#"{"\ud800":1,"a":"\udc00","b":"\ud83d\ude00","c":"\ud800\ud83d\ude00"}"#).unwrap(),
            ["?=Number(\"1\")", "a=LoneSurrogate", "b=Text(\"😀\")", "c=LoneSurrogate",]
        );
    }

    proptest! {
        /// serde_json is the second opinion on well-formedness, where the two do not differ on purpose.
        #[test]
        fn agrees_with_serde_json(text in r#"\{("[a-c\\n"u0]{0,4}"[: ]{1,2}[-0-9.eE+\[\]{},tru"nul\\]{0,8},?){0,3}\}"#) {
            let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok();
            // Their Value refuses numbers beyond f64, ours only looks at the grammar.
            let ours = keys(&text).is_ok();
            prop_assert!(ours == theirs || (ours && text.contains(['e', 'E'])), "{text} ours {ours} theirs {theirs}");
        }

        #[test]
        fn agrees_with_serde_json_on_valid_documents(depth in 0usize..4, text in ".{0,12}", n in any::<i64>()) {
            let mut value = serde_json::json!({ "s": text, "n": n, "l": [text, null, true, {}] });
            for _ in 0..depth { value = serde_json::json!({ "v": value, "x": [[], {"k": 1}] }); }
            prop_assert!(keys(&value.to_string()).is_ok());
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") { let _ = keys(&text); let _ = keys(&format!("{{{text}")); }
    }
}
