//! Which forms of files are recognised by how they begin, and what must not be refused.

use super::super::{InputOptions, LineBlocks, check};
use super::*;
use std::io::{Cursor, Write};

const EVENTS: &str = "1,U1,C1\n2,U2,C2\n3,U3,C3\n4,U4,C4\n";

fn utf16(text: &str, mark: bool, big: bool) -> Vec<u8> {
    let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
    units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

fn utf32(text: &str, mark: bool, big: bool) -> Vec<u8> {
    let chars = mark.then_some(0xfeff).into_iter().chain(text.chars().map(u32::from));
    chars.flat_map(|char| if big { char.to_be_bytes() } else { char.to_le_bytes() }).collect()
}

/// An archive of one file.
fn tar(content: &[u8], magic: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    for (at, field) in [
        (0, &b"auth.txt"[..]),
        (100, b"0000644\0"),
        (124, format!("{:011o}\0", content.len()).as_bytes()),
        (257, magic),
    ] {
        header[at..at + field.len()].copy_from_slice(field);
    }
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    [header, content.to_vec(), vec![0; 1_024]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes all")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes all")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(bytes, 1).expect("a vector takes all")
}

/// What the message names, what it advises, and the bytes.
fn foreign() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let nine: String =
        (1..5).map(|n| format!("{n},C1$@DOM1,U{n}@DOM1,C1,C{n},Negotiate,Batch,LogOn,Success\n")).collect();
    let array = r#"[{"time":1,"user":"U1","computer":"C1"}, {"time":2,"user":"U2","computer":"C1"}]"#;
    let tall = "[\n  {\"time\":1,\"user\":\"U1\",\"computer\":\"C1\"},\n  {\"time\":2,\"user\":\"U2\",\"computer\":\"C1\"}\n]\n";
    let spread = "{\n  \"time\": 1,\n  \"user\": \"U1\",\n  \"computer\": \"C1\"\n}\n{\n  \"time\": 2 }\n";
    let other = |separator: &str| EVENTS.replace(',', separator).into_bytes();
    let quoted = |separator: &str| -> Vec<u8> {
        let line = |line: &str| line.split(',').map(|field| format!("\"{field}\"")).collect::<Vec<_>>().join(separator);
        EVENTS.lines().map(|text| line(text) + "\r\n").collect::<String>().into_bytes()
    };
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("archive (tar)", "tar -xOf", tar(EVENTS.as_bytes(), b"ustar\x0000")),
        ("archive (tar)", "tar -xOf", tar(EVENTS.as_bytes(), b"ustar  \0")),
        ("archive (tar)", "tar -xOf", tar(EVENTS.as_bytes(), b"")),
        ("UTF-16", "iconv -f UTF-16 ", utf16(EVENTS, true, false)),
        ("UTF-16", "iconv -f UTF-16 ", utf16(EVENTS, true, true)),
        ("UTF-16", "iconv -f UTF-16 ", utf16("", true, false)),
        ("UTF-16LE", "iconv -f UTF-16LE", utf16(EVENTS, false, false)),
        ("UTF-16BE", "iconv -f UTF-16BE", utf16("{\"time\":1}\r\n", false, true)),
        ("UTF-32", "iconv -f UTF-32 ", utf32(EVENTS, true, false)),
        ("UTF-32LE", "iconv -f UTF-32LE", utf32(EVENTS, false, false)),
        ("UTF-32BE", "iconv -f UTF-32BE", utf32(EVENTS, false, true)),
        ("JSON array", "jq -c '.[]'", text(array)),
        ("JSON array", "jq -c '.[]'", text(tall)),
        ("JSON array", "jq -c '.[]'", text("[\n{\"time\":1,\"user\":\"U1\",\"computer\":\"C1\"}\n]\n")),
        ("JSON array", "jq -c '.[]'", text("[]\n")),
        ("over several lines", "jq -c .", text(spread)),
        ("CR alone", r"tr '\r' '\n'", other(",").into_iter().map(|b| if b == b'\n' { b'\r' } else { b }).collect()),
        ("separated by ';'", "tr ';' ','", other(";")),
        ("separated by ';'", "tr ';' ','", [b"time;user;computer\n".to_vec(), other(";")].concat()),
        ("separated by ';'", "tr ';' ','", text("1;U1;C1")),
        ("separated by tabs", r"tr '\t' ','", other("\t")),
        ("separated by '|'", "tr '|' ','", other("|")),
        ("in quotes", r#"tr -d '"'"#, quoted(",")),
        ("separated by ';', not by ',', and in quotes", r#"tr -d '"'"#, quoted(";")),
        ("4 columns separated by tabs", r"awk -F'\t'", text("a\tb\tc\td\n1\tx\ty\tz\n2\tx\ty\tz\n")),
        ("nine columns", "awk -F,", text(&nine)),
        ("Parquet", "DuckDB", b"PAR1\x15\x04\x15\x80".to_vec()),
        ("ORC", "export", b"ORC\x0a\x03\x08\x01".to_vec()),
        ("Avro", "export", b"Obj\x01\x04\x14avro.codec".to_vec()),
        ("SQLite", "sqlite3", b"SQLite format 3\0\x10\0".to_vec()),
        ("event log (evtx)", "evtx_dump", b"ElfFile\0\0\0\x01".to_vec()),
        ("PDF", "right file", text("%PDF-1.7\n%\n1 0 obj\n")),
        ("HTML", "fetch the file again", text("<!DOCTYPE html>\n<html><body>Sign in</body></html>\n")),
        ("XML", "export", text("<?xml version=\"1.0\"?>\n<Events><Event/></Events>\n")),
        ("Git LFS", "git lfs pull", text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")),
        ("packed twice", "gzip -dc", gzip(&gzip(EVENTS.as_bytes()))),
        ("packed as rar", "unrar", b"Rar!\x1a\x07\x01\0".to_vec()),
        ("packed as lzma", "xz -dc", b"\x5d\0\0\x80\0\xff".to_vec()),
        ("packed as compress", "gzip -dc", b"\x1f\x9d\x90".to_vec()),
        ("packed as zip", "unzip -p", b"PK\x05\x06\0\0".to_vec()),
        ("packed as lz4", "lz4 -dc", b"\x04\x22\x4d\x18\x64".to_vec()),
        ("packed as 7z", "7z e -so", b"7z\xbc\xaf\x27\x1c\0\x04".to_vec()),
    ]
}

fn checked(bytes: &[u8]) -> Result<(), InputError> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("it's here");
    std::fs::write(&path, bytes).expect("it can be written");
    check(&[Source::File(path)]).map(drop)
}

fn piped(bytes: &[u8]) -> Result<(), InputError> {
    let name = Source::Stdin.to_string();
    let blocks = LineBlocks::from_reader(&name, Cursor::new(bytes.to_vec()), InputOptions::default())?;
    blocks.into_iter().try_for_each(|block| block.map(drop))
}

#[test]
fn what_is_no_lines_is_named_and_what_to_do_about_it() {
    for (what, advice, bytes) in foreign() {
        let told = checked(&bytes).expect_err(what).to_string();
        assert!(told.contains(what) && told.contains(advice), "{what}: {told}");
        assert!(told.contains("it's here"), "{what}: {told}");
        assert!(!advice.ends_with("-dc") || told.contains(r"'\''s here'"), "as a shell takes it: {told}");
        let told = piped(&bytes).expect_err(what).to_string();
        assert!(told.contains("'standard input' is") && told.contains(what), "{what}: {told}");
        assert!(!told.contains("events.txt <") && !told.contains("'standard input' >"), "no such file: {told}");
    }
}

#[test]
fn the_same_shows_within_a_packed_file() {
    type Pack = fn(&[u8]) -> Vec<u8>;
    let packings: [(&str, Pack); 3] = [("gzip", gzip), ("bzip2", bzip2), ("zstd", zstd)];
    for (packing, pack) in packings {
        for (what, _, bytes) in foreign().into_iter().filter(|(what, ..)| !what.starts_with("packed")) {
            let told = checked(&pack(&bytes)).expect_err(what).to_string();
            assert!(told.contains(what), "{packing}, {what}: {told}");
            let filters = ["iconv", "jq", "tr"].iter().any(|filter| told.contains(&format!("| {filter}")));
            assert!(!told.contains(" < ") && (filters || !told.contains("iconv")), "it is packed: {told}");
            assert!(piped(&pack(&bytes)).is_err(), "{packing}, {what}: in a pipe");
        }
    }
}

/// Whatever gives an event today gives it still, and what is merely wrong is a dead letter.
#[test]
fn what_gives_events_is_never_refused() {
    let lines = |text: &str, n: usize| text.repeat(n).into_bytes();
    let late = |head: &str| [head.as_bytes(), EVENTS.as_bytes()].concat();
    let cases: Vec<Vec<u8>> = vec![
        lines("", 0),
        lines("\n", 3),
        lines(EVENTS, 1),
        lines(EVENTS, 50_000),
        lines("1,U1,C1", 1),
        lines("1,U1,C1\r", 1),
        lines("1,U1,C1\r\n", 4),
        b"\xef\xbb\xbf1,U1,C1\r\n".to_vec(),
        lines("{\"time\":1,\"user\":\"U1\",\"computer\":\"C1\"}\n", 3),
        b"{\"time\":1,\r\"user\":\"U1\",\r\"computer\":\"C1\"}".to_vec(),
        late("time,user,computer\n"),
        late("time;user;computer\n"),
        late("[\n"),
        late("[2015-01-01] begins\n"),
        late("PAR1\n"),
        late("ORC\n"),
        late("%PDF-\n"),
        late("<html>\n"),
        late("{\n"),
        late("\"1\",\"U1\",\"C1\"\n"),
        late("1;U1;C1\n2;U2;C2\n3;U3;C3\n"),
        // Dead letters, all of them, but nothing that shows in their form.
        b"no event at all\n".to_vec(),
        lines("1,U1\n", 5),
        lines("1,U1,C1,success\n", 5),
        lines("U1,C1\n", 5),
        b"\xff\xfe is no mark of text in two bytes\n".to_vec(),
        b"\xfe\xff\n1,U1,C1\n".to_vec(),
        vec![0; 5_000],
        b"5,U1,C1\0\n6,U1,C1\0\n".to_vec(),
        b"\r\r\r".to_vec(),
        b"a\rb\rc".to_vec(),
        b"{\"user\":\"U1\"}\n".to_vec(),
        b"{\"time\":1,\"user\":\"U\n{\"time\":2,\"user\":\"U\n".to_vec(),
    ];
    for bytes in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        checked(&bytes).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        piped(&bytes).unwrap_or_else(|error| panic!("{shown:?} in a pipe: {error}"));
        checked(&gzip(&bytes)).unwrap_or_else(|error| panic!("{shown:?} packed: {error}"));
    }
}

/// A sound file that asks for more memory than is given is not called damaged, wherever its large frame lies.
#[test]
fn a_window_that_is_too_large_is_no_damage() {
    // A frame of one empty raw block that declares a window of 2 GiB.
    let large: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    assert_eq!(super::super::format::zstd_window(large), Some(1 << 31));
    for (what, bytes, names) in [
        ("the first frame", large.to_vec(), "a window of 2048 MiB"),
        ("a later frame", [zstd(EVENTS.as_bytes()), large.to_vec()].concat(), "a larger window"),
    ] {
        for told in [checked(&bytes), piped(&bytes)] {
            let told = told.expect_err(what).to_string();
            for words in [names, "at most 128 MiB", "--long=31"] {
                assert!(told.contains(words) && !told.contains("damaged"), "{what}: {told}");
            }
        }
    }
}
