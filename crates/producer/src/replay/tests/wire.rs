//! What a line becomes, and that a consumer decides about it as about the line.

use super::super::wire::{Encoded, push_record};
use super::*;
use authpulse_files::tally::Tally;
use authpulse_files::{OVERLONG_PREFIX_BYTES, OVERLONG_WHOLE_BYTES_MAX};
use proptest::prelude::*;

fn encode(line: &[u8]) -> (Vec<u8>, Vec<u8>, Option<EventTime>) {
    let mut out = b"what was there before".to_vec();
    let line = Line { number: 1, offset: 0, bytes: line, length: line.len() as u64 };
    let Encoded { payload, partition_key, time, .. } =
        push_record(&mut out, &line, DEFAULT_BASE, None, &mut Tally::default());
    (out[payload].to_vec(), out[partition_key].to_vec(), time)
}

fn text(line: &str) -> [String; 2] {
    let (payload, key, _) = encode(line.as_bytes());
    [payload, key].map(|bytes| String::from_utf8(bytes).expect("it was text"))
}

#[test]
fn a_valid_line_takes_the_wire_form() {
    for (line, payload, key) in [
        ("1,U1,C1", r#"{"time":1,"user":"U1","computer":"C1"}"#, "U1"),
        (" 000000000700\t, U 1 ,\tC1 ", r#"{"time":700,"user":"U 1","computer":"C1"}"#, "U 1"),
        (r#"1,"U\1",C\"#, r#"{"time":1,"user":"\"U\\1\"","computer":"C\\"}"#, r#""U\1""#),
        ("1,U\u{2028}é,😀", "{\"time\":1,\"user\":\"U\u{2028}é\",\"computer\":\"😀\"}", "U\u{2028}é"),
        (
            " 2015-01-01T01:00:00.12345678901+01:00,U1,C1",
            r#"{"time":"2015-01-01T00:00:00.123456Z","user":"U1","computer":"C1"}"#,
            "U1",
        ),
        (
            "2015-01-01 00:00:00.5+0000 ,U1,C1",
            r#"{"time":"2015-01-01T00:00:00.500000Z","user":"U1","computer":"C1"}"#,
            "U1",
        ),
        ("2014-12-31t23:59:60z,U1,C1", r#"{"time":"2014-12-31T23:59:59.999999Z","user":"U1","computer":"C1"}"#, "U1"),
    ] {
        assert_eq!(text(line), [payload, key], "{line}");
        assert!(encode(line.as_bytes()).2.is_some());
    }
}

#[test]
fn a_line_in_the_wire_form_stays_as_it_is() {
    for (line, key) in [
        (r#"{ "x":[{}], "user":" \u00551\t","computer":"C1","time":"0001" } "#, "U1"),
        (r#"{"time":1,"user":"U1","computer":"C1","event_id":"e 1"}"#, "U1"),
    ] {
        assert_eq!(text(line), [line, key]);
    }
    // What nothing reads goes along as bytes.
    let odd = b"{\"time\":\"2015-01-01 00:00:00,5z\",\"user\":\"U1\",\"computer\":\"C1\",\"x\":[NaN,\"\xff\t\"]}";
    let (payload, key, time) = encode(odd);
    assert_eq!((&payload[..], &key[..], time), (&odd[..], &b"U1"[..], Some(DEFAULT_BASE + Span::millis(500))));
    assert_same(&payload, &key, odd);
}

#[test]
fn any_other_line_stays_as_it_is_under_its_digest() {
    for line in [
        "0,U1,C1",
        "header",
        "{",
        r#" {"time":1,"user":"U1","computer":"C1"}"#,
        "\t{\"time\":1,\"user\":\"U1\",\"computer\":\"C1\"}",
        "\r{\"time\":1,\"user\":\"U1\",\"computer\":\"C1\"}",
        "\r \u{b}\u{c}",
    ] {
        assert_eq!(text(line), [line.to_owned(), sha256_hex(line.as_bytes())], "{line:?}");
        assert_same(&encode(line.as_bytes()).0, &encode(line.as_bytes()).1, line.as_bytes());
    }
}

#[test]
fn the_longest_valid_lines_stay_valid() {
    let decimals = format!("2015-01-01T00:00:00.{}Z,U1,C1", "7".repeat(LINE_BYTES_MAX - 27));
    let blanks = format!("{}1,U1,C1", " ".repeat(LINE_BYTES_MAX - 7));
    let escapes = format!("1,{},{}", "\"".repeat(256), "\\".repeat(256));
    let object = format!(r#"{{"time":1,"user":"U1","computer":"C1"}}{}"#, " ".repeat(LINE_BYTES_MAX - 38));
    for line in [decimals, blanks, escapes, object] {
        let (payload, key, time) = encode(line.as_bytes());
        assert!(time.is_some());
        assert_same(&payload, &key, line.as_bytes());
    }
}

#[test]
fn an_overlong_line_stays_invalid_even_if_only_its_beginning_is_sent() {
    let object = br#"{"time":1,"user":"U1","computer":"C1"}"#;
    for length in [LINE_BYTES_MAX + 1, OVERLONG_WHOLE_BYTES_MAX, OVERLONG_WHOLE_BYTES_MAX + 1] {
        let mut line = object.to_vec();
        line.resize(length, b' ');
        let kept = if length > OVERLONG_WHOLE_BYTES_MAX { &line[..OVERLONG_PREFIX_BYTES] } else { &line };
        let mut out = Vec::new();
        let line = Line { number: 1, offset: 0, bytes: kept, length: length as u64 };
        let Encoded { payload, partition_key, time, .. } =
            push_record(&mut out, &line, DEFAULT_BASE, None, &mut Tally::default());
        assert_eq!(time, None);
        assert!(out[payload.clone()] == *kept);
        assert!(parse_record(&out[payload], &out[partition_key], Reading::three_fields(DEFAULT_BASE)).is_err());
    }
}

/// Lines of every kind, most of them near a border between valid and invalid.
pub(super) fn line() -> impl Strategy<Value = Vec<u8>> {
    let blank = "[ \t]{0,2}";
    let time = prop_oneof![
        4 => "0{0,3}[0-9]{1,9}",
        1 => "[0-9]{11,13}",
        2 => r"201[5-9]-(0[1-9]|1[0-3])-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-5][0-9]([.,][0-9]{0,80})?(Z|z|[+-]0[0-9]:?[0-5]0)?",
        1 => r"201[5-9]-12-31[Tt ](23:59:60(\.[0-9]{1,9})?(Z|z|[+-]00:?00)|22:59:60-01:?00)",
        1 => "[-+ .0-9a-z]{0,6}",
    ];
    let name = prop_oneof![
        4 => "U[0-9]{1,2}",
        2 => r#"["\\/ é€\u{2028}\u{85}\u{7f}\t{}a-c]{0,6}"#,
        1 => r#"["\\é]{120,260}"#,
    ];
    let field = move |inner: BoxedStrategy<String>| (blank, inner, blank).prop_map(|(a, b, c)| format!("{a}{b}{c}"));
    let (time, name) = (time.boxed(), name.boxed());
    let lanl = (field(time.clone()), field(name.clone()), field(name.clone()), r"(,|\r|,x)?")
        .prop_map(|(time, user, computer, end)| format!("{time},{user},{computer}{}", end));
    let quoted = prop_oneof![
        3 => name.clone().prop_map(|name| serde_json::to_string(&name).expect("a string is JSON")),
        1 => name.prop_map(|name| format!("\"{name}\"")),
        1 => r#"null|1|"\\u00551"|"\\ud800"|"\\ud83d\\ude00"|[\[]{0,101}"#,
    ]
    .boxed();
    let wire_time =
        prop_oneof![3 => "[0-9]{1,3}", 1 => "1.0|1e0|-1|null", 2 => time.prop_map(|time| format!("\"{time}\""))];
    let more =
        r#"(,"event_id":"[a-c ]{0,3}")?(,"x":([\[]{0,2}[\]]{0,2}|NaN|-?Infinity|"[\\"\t\x00a]{0,3}"))?(,"user":"U1")?"#;
    let wire = ("[ \t\r]{0,1}", wire_time, quoted.clone(), quoted, more, "[ x]{0,1}").prop_map(
        |(start, time, user, computer, more, end)| {
            format!(r#"{start}{{"time":{time},"user":{user},"computer":{computer}{more}}}{end}"#)
        },
    );
    prop_oneof![
        5 => lanl.prop_map(String::into_bytes),
        4 => wire.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => "[ \t]{0,3}".prop_map(String::into_bytes),
    ]
    .prop_map(|line| line.into_iter().filter(|byte| *byte != b'\n').collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]
    #[test]
    fn a_consumer_decides_about_the_record_as_about_the_line(line in line()) {
        let (payload, key, time) = encode(&line);
        assert_eq!(time, parse_line(&line, Reading::three_fields(DEFAULT_BASE)).ok().map(|event| event.time));
        assert_same(&payload, &key, &line);
    }
}
