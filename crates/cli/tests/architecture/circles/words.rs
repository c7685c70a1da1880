//! Splits a source into the words of its code: without comments, and with a literal as one word.

/// A name, `::`, a literal, a lifetime or one other character, and the line where it begins, from 1.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    pub text: &'a str,
    pub line: usize,
}

impl Word<'_> {
    /// Whether it may be a name; so may numbers and keywords.
    pub fn is_name(&self) -> bool {
        self.text.starts_with(is_of_name)
    }
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words of a source that compiles.
pub fn words(source: &str) -> Vec<Word<'_>> {
    let (mut words, mut rest, mut line) = (Vec::new(), source, 1);
    while let Some(first) = rest.chars().next() {
        let is_code = !first.is_whitespace() && !rest.starts_with("//") && !rest.starts_with("/*");
        let (text, behind) = rest.split_at(length(rest, first));
        if is_code {
            words.push(Word { text, line });
        }
        line += text.matches('\n').count();
        rest = behind;
    }
    words
}

/// How many bytes the word, comment or blank has that a text begins with.
fn length(rest: &str, first: char) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if let Some(literal) = text_literal(rest) {
        return literal;
    }
    if first == '\'' {
        return character_or_lifetime(rest);
    }
    if rest.starts_with("::") {
        return 2;
    }
    if is_of_name(first) {
        return rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
    }
    first.len_utf8()
}

/// The bytes of a block comment; those may be nested.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = match &rest[at..] {
            inner if inner.starts_with("/*") => (1, 2),
            inner if inner.starts_with("*/") => (-1, 2),
            inner => (0, inner.chars().next().map_or(1, char::len_utf8)),
        };
        depth += step.0;
        at += step.1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// A literal in quotation marks, raw or not, of characters or of bytes.
fn text_literal(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let behind = rest.strip_prefix(prefix).unwrap_or_default();
        let behind = if prefix.ends_with('r') { behind.trim_start_matches('#') } else { behind };
        behind.starts_with('"')
    })?;
    let hashes = rest[prefix.len()..].find('"')?;
    let begin = prefix.len() + hashes + 1;
    if prefix.ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len()));
    }
    Some(begin + closing(&rest[begin..], '"'))
}

/// The bytes up to and including the mark that closes a literal.
fn closing(inside: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if c == mark && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    inside.len()
}

fn character_or_lifetime(rest: &str) -> usize {
    let mut inside = rest[1..].chars();
    match (inside.next(), inside.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => 1 + closing(&rest[1..], '\''),
        _ => 1 + rest[1..].find(|c| !is_of_name(c)).unwrap_or(rest.len() - 1),
    }
}

#[test]
fn comments_are_no_words_and_literals_are_one() {
    let source = "a::b /* c /* d */ e */ 'x' '\\'' 'life \"f // \\\" g\" r#\"h \" i\"# br\"j\" // k\nl.m";
    let found: Vec<(&str, usize)> = words(source).iter().map(|word| (word.text, word.line)).collect();
    let first = ["a", "::", "b", "'x'", "'\\''", "'life", "\"f // \\\" g\"", "r#\"h \" i\"#", "br\"j\""];
    let expected = first.iter().map(|text| (*text, 1)).chain(["l", ".", "m"].map(|text| (text, 2)));
    assert_eq!(found, expected.collect::<Vec<_>>());
}
