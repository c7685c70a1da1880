//! A reader of RFC 8259, kept apart from any library whose limits (numbers, depth, surrogates) are not the page's.

/// "nesting deeper than 100" is invalid; the top-level object is depth 1.
pub const DEPTH_MAX: usize = 100;

/// A value, as far as anything here asks about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`; nothing here asks which.
    Bool,
    /// As written.
    Number(String),
    /// Unescaped; nothing where a lone surrogate stands in it, which is well-formed but no text.
    Text(Option<String>),
    /// A list; nothing here asks of what.
    Array,
    /// Keys as [`Json::Text`] holds them, in the order written, repetitions included.
    Object(Vec<(Option<String>, Json)>),
}

/// Reads one JSON text: a value with white space around it. Nothing if it is not well-formed UTF-8 and JSON.
pub fn read(bytes: &[u8]) -> Option<Json> {
    let text: Vec<char> = std::str::from_utf8(bytes).ok()?.chars().collect();
    let mut reader = Reader { text: &text, at: 0 };
    reader.skip_white_space();
    let value = reader.value(0)?;
    reader.skip_white_space();
    (reader.at == text.len()).then_some(value)
}

/// `ws` of RFC 8259.
pub fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

struct Reader<'a> {
    text: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    /// A value inside `depth` arrays and objects.
    fn value(&mut self, depth: usize) -> Option<Json> {
        match self.peek()? {
            'n' => self.word("null", Json::Null),
            't' => self.word("true", Json::Bool),
            'f' => self.word("false", Json::Bool),
            '"' => self.string().map(Json::Text),
            '[' if depth < DEPTH_MAX => self.array(depth + 1),
            '{' if depth < DEPTH_MAX => self.object(depth + 1),
            '-' | '0'..='9' => self.number(),
            _ => None,
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        word.chars().try_for_each(|wanted| self.take(wanted))?;
        Some(value)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some('0'..='9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// `number = [ minus ] int [ frac ] [ exp ]`, of any size.
    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some('0');
        let int = self.digits();
        if int == 0 || (leading_zero && int > 1) {
            return None;
        }
        if self.peek() == Some('.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return None;
            }
        }
        Some(Json::Number(self.text[start..self.at].iter().collect()))
    }

    /// A string as UTF-16, in which a lone surrogate can stand until it is asked for as text.
    fn string(&mut self) -> Option<Option<String>> {
        self.take('"')?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            match self.next()? {
                '"' => return Some(String::from_utf16(&units).ok()),
                '\\' => units.push(match self.next()? {
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
                            let digit = self.next()?.to_digit(16)?;
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
    }

    fn array(&mut self, depth: usize) -> Option<Json> {
        self.take('[')?;
        self.skip_white_space();
        if self.peek() == Some(']') {
            self.at += 1;
            return Some(Json::Array);
        }
        loop {
            self.skip_white_space();
            self.value(depth)?;
            self.skip_white_space();
            match self.next()? {
                ',' => {}
                ']' => return Some(Json::Array),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.take('{')?;
        let mut members = Vec::new();
        self.skip_white_space();
        if self.peek() == Some('}') {
            self.at += 1;
            return Some(Json::Object(members));
        }
        loop {
            self.skip_white_space();
            let key = self.string()?;
            self.skip_white_space();
            self.take(':')?;
            self.skip_white_space();
            let value = self.value(depth)?;
            members.push((key, value));
            self.skip_white_space();
            match self.next()? {
                ',' => {}
                '}' => return Some(Json::Object(members)),
                _ => return None,
            }
        }
    }
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
            "\"a\\qb\"",
            "\"\\u12\"",
            "\"\t\"",
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
            "NaN",
            "[1 2]",
        ];
        for text in texts {
            let theirs = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(read(text.as_bytes()).is_some(), theirs, "{text}");
        }
    }

    #[test]
    fn holds_what_libraries_refuse() {
        assert!(read(b"1e999999999999").is_some());
        assert_eq!(read(br#""\ud800""#), Some(Json::Text(None)));
        assert_eq!(read(br#""\ud83d\ude00""#), Some(Json::Text(Some("\u{1F600}".into()))));
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(100).as_bytes()).is_some());
        assert!(read(nested(101).as_bytes()).is_none());
    }
}
