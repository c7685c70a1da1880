//! A reader of JSON (RFC 8259). It uses no library, because the limits of libraries (numbers, depth, surrogates) are not
//! those of the page. And like the page it accepts, where nobody reads it, any bytes between quotes, `NaN`, `Infinity` and
//! `-Infinity`.

/// "nesting deeper than 100" is invalid; the top-level object is depth 1.
pub const DEPTH_MAX: usize = 100;

/// A JSON value, as far as the oracle needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// A string, unescaped. `None` if it is no valid text: not UTF-8, a raw control character, an escape that JSON does not
    /// have, or a lone surrogate.
    Text(Option<String>),
    /// `NaN`, `Infinity` or `-Infinity`.
    NoNumber,
    /// An array, without its items: the oracle needs none.
    Array,
    /// An object: keys as in [`Json::Text`], in the order in which they are written, repeated ones included.
    Object(Vec<(Option<String>, Json)>),
}

/// Reads one JSON text: a value with white space around it. `None` if it is not well-formed even by the page's looser rules.
pub fn read(bytes: &[u8]) -> Option<Json> {
    let mut reader = JsonReader { bytes, at: 0 };
    reader.skip_white_space();
    let value = reader.value(0)?;
    reader.skip_white_space();
    (reader.at == bytes.len()).then_some(value)
}

/// `ws` of RFC 8259.
pub fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

struct JsonReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl JsonReader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn skip_white_space(&mut self) {
        while self.peek().is_some_and(is_white_space) {
            self.at += 1;
        }
    }

    /// A value inside `depth` arrays and objects.
    fn value(&mut self, depth: usize) -> Option<Json> {
        match self.peek()? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' if depth < DEPTH_MAX => self.array(depth + 1),
            b'{' if depth < DEPTH_MAX => self.object(depth + 1),
            b'N' => self.word("NaN", Json::NoNumber),
            b'I' => self.word("Infinity", Json::NoNumber),
            b'-' if self.bytes[self.at..].starts_with(b"-I") => self.word("-Infinity", Json::NoNumber),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        word.bytes().try_for_each(|wanted| self.take(wanted))?;
        Some(value)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// `number = [ minus ] int [ frac ] [ exp ]`, of any size.
    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let int = self.digits();
        if int == 0 || (leading_zero && int > 1) {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return None;
            }
        }
        Some(Json::Number(self.bytes[start..self.at].iter().copied().map(char::from).collect()))
    }

    /// A string; the inner `None` means that it is no valid text. A backslash takes the next byte along, whatever it is.
    fn string(&mut self) -> Option<Option<String>> {
        self.take(b'"')?;
        let mut inside: Vec<u8> = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(text(&inside)),
                b'\\' => inside.extend([b'\\', self.next()?]),
                other => inside.push(other),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Json> {
        self.take(b'[')?;
        self.skip_white_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Some(Json::Array);
        }
        loop {
            self.skip_white_space();
            self.value(depth)?;
            self.skip_white_space();
            match self.next()? {
                b',' => {}
                b']' => return Some(Json::Array),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.take(b'{')?;
        let mut members = Vec::new();
        self.skip_white_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Some(Json::Object(members));
        }
        loop {
            self.skip_white_space();
            let key = self.string()?;
            self.skip_white_space();
            self.take(b':')?;
            self.skip_white_space();
            let value = self.value(depth)?;
            members.push((key, value));
            self.skip_white_space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(Json::Object(members)),
                _ => return None,
            }
        }
    }
}

/// The text of a string, from the bytes between its quotes. It goes through UTF-16, which can hold a lone surrogate until it
/// is converted to text.
fn text(inside: &[u8]) -> Option<String> {
    let mut units: Vec<u16> = Vec::new();
    let mut chars = std::str::from_utf8(inside).ok()?.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => units.push(match chars.next()? {
                '"' => 0x22,
                '\\' => 0x5C,
                '/' => 0x2F,
                'b' => 0x08,
                'f' => 0x0C,
                'n' => 0x0A,
                'r' => 0x0D,
                't' => 0x09,
                'u' => {
                    let mut unit = 0;
                    for _ in 0..4 {
                        let digit = chars.next()?.to_digit(16)?;
                        unit = unit * 16 + u16::try_from(digit).expect("below 16");
                    }
                    unit
                }
                _ => return None,
            }),
            '\0'..='\u{1F}' => return None,
            other => units.extend_from_slice(other.encode_utf16(&mut [0; 2])),
        }
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_serde_json_on_what_both_can_hold() {
        let texts = [
            "{}",
            "[]",
            " [ 1 , 2 ] ",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "01",
            "-",
            "-0",
            "1.",
            "1.5e+3",
            ".5",
            "1e",
            "1E-2",
            "tru",
            "true",
            "nullx",
            "\"\\ud83d\\ude00\"",
            "\"\u{7f}\"",
            "{\"a\":{\"b\":[null,false]}}",
            "",
            " ",
            "1 2",
            "{\"a\":1}x",
            "\u{FEFF}{}",
            "{a:1}",
            "'a'",
            "\"a",
            "+1",
            "[1 2]",
            "nan",
            "+Infinity",
            "-Infinit",
        ];
        for text in texts {
            let theirs = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(read(text.as_bytes()).is_some(), theirs, "{text}");
        }
    }

    #[test]
    fn holds_what_libraries_refuse() {
        assert!(read(b"1e999999999999").is_some());
        for no_text in [&br#""\ud800""#[..], br#""a\qb""#, br#""\u12""#, b"\"\t\"", b"\"\xff\"", br#""\x\"""#] {
            assert_eq!(read(no_text), Some(Json::Text(None)), "{}", String::from_utf8_lossy(no_text));
        }
        for no_number in ["NaN", "Infinity", "-Infinity"] {
            assert_eq!(read(no_number.as_bytes()), Some(Json::NoNumber));
        }
        for neither in [&br#""\""#[..], br#""\\\""#, b"\xff", b"[\"\"\xff]"] {
            assert_eq!(read(neither), None, "{}", String::from_utf8_lossy(neither));
        }
        assert_eq!(read(br#""\ud83d\ude00""#), Some(Json::Text(Some("\u{1F600}".into()))));
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(100).as_bytes()).is_some());
        assert!(read(nested(101).as_bytes()).is_none());
    }
}
