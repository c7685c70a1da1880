//! Records that each break one rule of section 1.

use crate::model::LINE_BYTES_MAX;
use crate::parse::sha256_hex;
use crate::spellings::{self, Read};

/// Lines of a file, each of which is one invalid record.
pub fn lines(user: &str) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = [
        // The fields.
        "5,U",
        "5,U,C,x",
        "5,U,C,",
        "5",
        ",U,C",
        "5,,C",
        "5,U, \t",
        "5, ,C",
        "5;U;C",
        "\"5\",U,C",
        "5,U,C\r",
        "\r",
        " {\"time\":5,\"user\":\"U\",\"computer\":\"C\"}",
        // The integer.
        "0,U,C",
        "000000000000,U,C",
        "-1,U,C",
        "+1,U,C",
        "1.0,U,C",
        "1e3,U,C",
        "0x1,U,C",
        "1 0,U,C",
        "0000000000005,U,C",
        "999999999999,U,C",
        "\u{ff15},U,C",
        "five,U,C",
        // The timestamp.
        "2015-01-02T00:00:00,5Z,U,C",
        "2015-01-02\t00:00:00Z,U,C",
        "2015-01-02\u{a0}00:00:00Z,U,C",
        "2015-01-02T23:59:60+00:01,U,C",
        "2015-01-02T23:58:60Z,U,C",
        "2015-01-02T00:60:00Z,U,C",
        "2015-01-02T24:00:00Z,U,C",
        "2015-02-29T00:00:00Z,U,C",
        "1900-02-29T00:00:00Z,U,C",
        "2015-04-31T00:00:00Z,U,C",
        "2015-00-01T00:00:00Z,U,C",
        "2015-13-01T00:00:00Z,U,C",
        "2015-01-00T00:00:00Z,U,C",
        "2015-1-2T00:00:00Z,U,C",
        "15-01-02T00:00:00Z,U,C",
        "02015-01-02T00:00:00Z,U,C",
        "2015-01-02T00:00:00.Z,U,C",
        "2015-01-02T00:00:00+24:00,U,C",
        "2015-01-02T00:00:00+01:60,U,C",
        "2015-01-02T00:00:00ZZ,U,C",
        "0000-12-31T23:00:00-23:00,U,C",
        "0001-01-01T00:00:00+00:01,U,C",
        "9999-12-31T23:59:59-00:01,U,C",
        "10000-01-01T00:00:00Z,U,C",
        // The names.
        "5,U\u{7},C",
        "5,U\u{7f},C",
        "5,U,C\u{85}",
        "5,U\tU\tU,C",
        "5,\u{0},C",
        "\u{feff}5,U,C",
        "5,U,\r",
    ]
    .into_iter()
    .map(|line| line.replace('U', user).into_bytes())
    .collect();
    lines.extend([
        b"5,U\xFF,C".to_vec(),
        b"5,U,\xED\xA0\x80".to_vec(),
        b"\xFF\xFE5\x00".to_vec(),
        format!("5,{},C", "u".repeat(257)).into_bytes(),
        format!("5,U,{}", "\u{e9}".repeat(129)).into_bytes(),
        vec![b'x'; 65_536],
        vec![b'x'; 65_537],
    ]);
    let no_time = spellings::ALL.iter().filter(|spelling| matches!(spelling.line, Read::No(_)));
    lines.extend(no_time.map(|spelling| spelling.as_line(user).into_bytes()));
    lines.extend(objects(user));
    lines
}

/// Records of a stream with their partition keys, each of which is invalid.
pub fn records(user: &str) -> Vec<(Vec<u8>, String)> {
    let by_user = |payload: Vec<u8>| (payload, user.to_owned());
    let mut records: Vec<(Vec<u8>, String)> = objects(user).into_iter().map(by_user).collect();
    let valid = format!("{{\"time\":5,\"user\":\"{user}\",\"computer\":\"C\"}}");
    let others = [
        String::new(),
        " \t\r\n".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "5".to_owned(),
        format!("\"{user}\""),
        format!("5,{user},C"),
        format!("[{valid}]"),
        format!("\u{feff}{valid}"),
        format!("\u{a0}{valid}"),
        format!("{valid}\0"),
    ];
    records.extend(others.into_iter().map(|text| by_user(text.into_bytes())));
    // Lines that a producer could not parse. Their partition key is the hash of their bytes.
    for line in [format!(" {valid}"), format!("\t{valid} ")] {
        let key = sha256_hex(line.as_bytes());
        records.push((line.into_bytes(), key));
    }
    records
}

/// The bytes of a text, in which each U+F8FF is replaced by a byte that is not valid UTF-8.
pub fn with_bad_bytes(text: String) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for (at, part) in text.split('\u{f8ff}').enumerate() {
        if at > 0 {
            bytes.push(0xFF);
        }
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// Payloads that begin with `{`, invalid both in a file and on a stream.
fn objects(user: &str) -> Vec<Vec<u8>> {
    let members = [
        // Missing keys and values of the wrong type.
        r#""#,
        r#""user":"U","computer":"C""#,
        r#""time":5,"computer":"C""#,
        r#""time":5,"user":"U""#,
        r#""time":null,"user":"U","computer":"C""#,
        r#""time":5,"user":null,"computer":"C""#,
        r#""time":5,"user":"U","computer":null"#,
        r#""time":5,"user":"U","computer":"C","event_id":null"#,
        r#""time":5,"user":"U","computer":"C","event_id":7"#,
        r#""time":true,"user":"U","computer":"C""#,
        r#""time":[5],"user":"U","computer":"C""#,
        r#""time":5,"user":7,"computer":"C""#,
        r#""time":5,"user":["U"],"computer":"C""#,
        r#""time":5,"user":{"user":"U"},"computer":"C""#,
        r#""Time":5,"user":"U","computer":"C""#,
        // The time.
        r#""time":5.0,"user":"U","computer":"C""#,
        r#""time":5e0,"user":"U","computer":"C""#,
        r#""time":5E+0,"user":"U","computer":"C""#,
        r#""time":-5,"user":"U","computer":"C""#,
        r#""time":-0,"user":"U","computer":"C""#,
        r#""time":0,"user":"U","computer":"C""#,
        r#""time":05,"user":"U","computer":"C""#,
        r#""time":999999999999,"user":"U","computer":"C""#,
        r#""time":1000000000000,"user":"U","computer":"C""#,
        r#""time":18446744073709551617,"user":"U","computer":"C""#,
        r#""time":"","user":"U","computer":"C""#,
        r#""time":" 5","user":"U","computer":"C""#,
        r#""time":"5\t","user":"U","computer":"C""#,
        r#""time":"0000000000005","user":"U","computer":"C""#,
        r#""time":"-5","user":"U","computer":"C""#,
        r#""time":"5.0","user":"U","computer":"C""#,
        r#""time":" 2015-01-02T00:00:00Z","user":"U","computer":"C""#,
        r#""time":"2015-01-02T00:00:00","user":"U","computer":"C""#,
        r#""time":"5\ud800","user":"U","computer":"C""#,
        // A known key twice.
        r#""time":5,"time":5,"user":"U","computer":"C""#,
        r#""time":5,"user":"U","computer":"C","user":"U""#,
        r#""time":5,"user":"U","computer":"C","\u0075ser":"U""#,
        r#""time":5,"user":"U","computer":"C","c\u006fmputer":null"#,
        r#""time":5,"user":"U","computer":"C","event_id":"a","event_id":"a""#,
        // Names and ids.
        r#""time":5,"user":"","computer":"C""#,
        r#""time":5,"user":" \t","computer":"C""#,
        r#""time":5,"user":"U,","computer":"C""#,
        r#""time":5,"user":"\nU","computer":"C""#,
        r#""time":5,"user":"U","computer":"C\u0000""#,
        r#""time":5,"user":"U","computer":"C\u0085""#,
        r#""time":5,"user":"U\u007f","computer":"C""#,
        r#""time":5,"user":"U\ud800","computer":"C""#,
        r#""time":5,"user":"U","computer":"\udc00\ud800""#,
        r#""time":5,"user":"U","computer":"C","event_id":"""#,
        r#""time":5,"user":"U","computer":"C","event_id":"a\tb""#,
        r#""time":5,"user":"U","computer":"C","event_id":"\u009f""#,
        r#""time":5,"user":"U","computer":"C","event_id":"\ud83d""#,
        // Not JSON.
        r#""time":5,"user":"U","computer":"C","#,
        r#","time":5,"user":"U","computer":"C""#,
        r#""time":5 "user":"U","computer":"C""#,
        r#""time":5,"user":"U","computer":"C","x":1."#,
        r#""time":5,"user":"U","computer":"C","x":.5"#,
        r#""time":5,"user":"U","computer":"C","x":-"#,
        r#""time":5,"user":"U","computer":"C","x":+1"#,
        r#""time":5,"user":"U","computer":"C","x":01"#,
        r#""time":5,"user":"U","computer":"C","x":1e"#,
        r#""time":5,"user":"U","computer":"C","x":nul"#,
        r#""time":5,"user":"U","computer":"C","x":nan"#,
        r#""time":5,"user":"U","computer":"C","x":+Infinity"#,
        r#""time":5,"user":"U","computer":"C","x":-NaN"#,
        r#""time":5,"user":"U","computer":"C","x":[-infinity]"#,
        r#""time":5,"user":"U","computer":"C","x":"\""#,
        r#""time":5,"user":"U","computer":"C","x":{"\\\":1}"#,
        r#""time":NaN,"user":"U","computer":"C""#,
        r#""time":5,"user":Infinity,"computer":"C""#,
        r#""time":5,"user":"U","computer":-Infinity"#,
        r#""time":5,"user":"U","computer":"C","event_id":NaN"#,
        // In a known key: what is passed over in keys that nobody reads.
        r#""time":5,"user":"U\x41","computer":"C""#,
        r#""time":5,"user":"U","computer":"\u12g4""#,
        r#""time":5,"user":"U","computer":"C","event_id":"\U0041""#,
        "\"time\":5,\"user\":\"U\t\",\"computer\":\"C\"",
        "\"time\":\"5\u{1}\",\"user\":\"U\",\"computer\":\"C\"",
        r#""time":5,"user":"U","computer":"C","x":[1,]"#,
        r#""time":5,"user":"U","computer":"C","x":{"a"}"#,
        r#""time":5,'user':"U","computer":"C""#,
        r#"time:5,"user":"U","computer":"C""#,
        r#"/**/"time":5,"user":"U","computer":"C""#,
    ];
    let mut objects: Vec<Vec<u8>> = members
        .iter()
        .map(|members| format!("{{{}}}", members.replace("\"U", &format!("\"{user}"))).into_bytes())
        .collect();
    let with = |extra: &str| format!("{{\"time\":5,\"user\":\"{user}\",\"computer\":\"C\"{extra}}}").into_bytes();
    let valid = String::from_utf8(with("")).expect("text");
    // A byte that is not valid UTF-8, in each place where that matters.
    let not_utf8 = [
        format!("{{\"time\":\"5\u{f8ff}\",\"user\":\"{user}\",\"computer\":\"C\"}}"),
        format!("{{\"time\":5,\"user\":\"{user}\u{f8ff}\",\"computer\":\"C\"}}"),
        format!("{{\"time\":5,\"user\":\"{user}\",\"computer\":\"\u{f8ff}\"}}"),
        format!("{{\"time\":5,\"user\":\"{user}\",\"computer\":\"C\",\"event_id\":\"\u{f8ff}\"}}"),
        format!("{{\"time\":5,\"user\u{f8ff}\":\"{user}\",\"computer\":\"C\"}}"),
        format!("{{\"time\":5,\"user\":\"{user}\",\"computer\":\"C\",\"x\":\u{f8ff}}}"),
        format!("{{\"time\":5,\"user\":\"{user}\",\"computer\":\"C\"\u{f8ff}}}"),
    ];
    objects.extend(not_utf8.map(with_bad_bytes));
    let no_time = spellings::ALL.iter().filter(|spelling| matches!(spelling.json, Read::No(_)));
    objects.extend(no_time.map(|spelling| spelling.object(user).into_bytes()));
    let mut too_long = with("");
    too_long.resize(LINE_BYTES_MAX + 1, b' ');
    objects.extend([
        valid.as_bytes()[..valid.len() - 1].to_vec(),
        format!("{valid}x").into_bytes(),
        format!("{valid}{valid}").into_bytes(),
        with(&format!(",\"x\":{}{}", "[".repeat(100), "]".repeat(100))),
        with(&format!(",\"x\":{}1{}", "{\"x\":".repeat(100), "}".repeat(100))),
        with(&format!(",\"event_id\":\"{}\"", "i".repeat(129))),
        with(&format!(",\"event_id\":\"{}\"", "\u{e9}".repeat(65))),
        format!("{{\"time\":5,\"user\":\"{}\",\"computer\":\"C\"}}", "u".repeat(257)).into_bytes(),
        b"{".to_vec(),
        too_long,
    ]);
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Form, Record, Settings};
    use crate::parse::parse;

    #[test]
    fn each_kind_is_invalid() {
        let record = |payload: Vec<u8>, key: &str, form| Record {
            payload,
            partition_key: key.to_owned(),
            arrival: 0,
            place: (0, 0),
            form,
        };
        for line in lines("U1") {
            let record = record(line, "", Form::Line);
            assert_eq!(parse(&Settings::default(), &record), None, "{record:?}");
        }
        for (payload, key) in records("U1") {
            let record = record(payload, &key, Form::Wire);
            assert_eq!(parse(&Settings::default(), &record), None, "{record:?}");
        }
    }
}
