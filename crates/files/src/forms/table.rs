//! Well-known file formats, by how they begin.

use super::super::Format;
use super::{Form, Next};

/// What no text begins with: how it begins, what it is, and what to do.
const BYTES: [(&[u8], &str, &str); 13] = [
    (b"Obj\x01", "an Avro file", RECORDS),
    (b"ARROW1\0\0", "an Arrow file", RECORDS),
    (
        b"SQLite format 3\0",
        "an SQLite database",
        "export the table: sqlite3 -csv FILE 'SELECT time, user, computer FROM …'",
    ),
    (b"ElfFile\0", "a Windows event log (evtx)", EVENT_LOG),
    (b"\x30\0\0\0LfLe", "a Windows event log (evt)", EVENT_LOG),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "a document of Microsoft Office",
        "save its sheet as text: time,user,computer",
    ),
    (b"\xd4\xc3\xb2\xa1", "a capture of packets", NO_EVENTS),
    (b"\xa1\xb2\xc3\xd4", "a capture of packets", NO_EVENTS),
    (b"\x7fELF", "a program", NO_EVENTS),
    (b"\x89PNG\r\n\x1a\n", "a picture", NO_EVENTS),
    (b"\xff\xd8\xff", "a picture", NO_EVENTS),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", RECORDS),
    (b"\x80\x04\x95", "a pickle of Python", RECORDS),
];

/// What text might begin with as well.
const TEXT: [(&[u8], &str, &str); 12] = [
    (
        b"PAR1",
        "a Parquet file",
        "export it, such as with DuckDB: COPY (SELECT time, \"user\", computer FROM 'FILE') TO 'events.txt' (HEADER false)",
    ),
    (b"ORC", "an ORC file", RECORDS),
    (b"%PDF-", "a PDF document", NO_EVENTS),
    (b"<!doctype html", "an HTML page", PAGE),
    (b"<html", "an HTML page", PAGE),
    (b"<?xml", "an XML document", RECORDS),
    (b"<events", "an XML document", RECORDS),
    (b"<event", "an XML document", RECORDS),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "fetch the file itself: git lfs pull"),
    (b"-----begin pgp message", "encrypted (PGP)", "decrypt it first: gpg -d FILE > events.txt"),
    (b"{\\rtf", "a document of a word processor", NO_EVENTS),
    (b"-- mysql dump", "a dump of a database", RECORDS),
];

const RECORDS: &str = "export what it holds as lines `time,user,computer`, or as one JSON object a line";
const EVENT_LOG: &str =
    "export its logons as lines `time,user,computer`, such as from `evtx_dump -o jsonl FILE` through jq";
const NO_EVENTS: &str = "check that --input names the right file";
const PAGE: &str =
    "it is probably what a web server answered instead of the file: open it to see why, and fetch the file again";

/// A format that shows in bytes that no text has.
pub(super) fn of_bytes(sample: &[u8]) -> Option<Form> {
    let twice = match Format::detect(sample) {
        Format::Plain => None,
        format => Some(Form::new(format!("packed twice (as {format} within)"), Next::Filter(format!("{format} -dc")))),
    };
    twice.or_else(|| find(&BYTES, |magic| sample.starts_with(magic)))
}

/// A format that shows in text, if no line of it is an event.
pub(super) fn of_text(sample: &[u8]) -> Option<Form> {
    let text = sample.trim_ascii_start();
    find(&TEXT, |magic| text.get(..magic.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(magic)))
}

fn find(table: &[(&[u8], &str, &str)], begins: impl Fn(&[u8]) -> bool) -> Option<Form> {
    let (_, what, advice) = table.iter().find(|(magic, ..)| begins(magic))?;
    Some(Form::new(*what, Next::Words((*advice).to_owned())))
}
