//! Files: several, missing, recognised again.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use authpulse_event::{EventTime, Span};

use super::*;

fn file(directory: &Path, name: &str, bytes: &[u8]) -> Source {
    let path = directory.join(name);
    fs::write(&path, bytes).expect("a temporary directory can be written");
    Source::File(path)
}

#[test]
fn several_files_are_one_sequence_of_lines() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let files: [&[u8]; 5] = [b"\xef\xbb\xbfa\n\nb", b"", b"\n", b"\xef\xbb\xbfc\r\n", b"d\n"];
    let sources: Vec<Source> =
        files.iter().enumerate().map(|(index, bytes)| file(directory.path(), &format!("{index}"), bytes)).collect();
    let records = Records::open(sources.clone(), InputOptions::default()).expect("they exist");
    assert_eq!(records.name(4), sources[4].to_string());
    let progress = records.progress();
    let found: Vec<_> = records
        .map(|record| record.expect("they can be read"))
        .map(|record| (record.source, record.line, record.line_in_source, record.offset, record.bytes.to_vec()))
        .collect();
    assert_eq!(
        found,
        [
            (0, 1, 1, 3, b"a".to_vec()),
            (0, 3, 3, 6, b"b".to_vec()),
            (3, 5, 1, 3, b"c".to_vec()),
            (4, 6, 1, 0, b"d".to_vec()),
        ]
    );
    let bytes = files.iter().map(|bytes| bytes.len() as u64).sum();
    assert_eq!((progress.read_bytes(), progress.total_bytes()), (bytes, Some(bytes)));
}

#[test]
fn what_cannot_be_read_is_said_before_anything_is_read() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let good = file(directory.path(), "good", b"a\n");
    let missing = Source::File(directory.path().join("missing"));
    let open = |sources: Vec<Source>| LineBlocks::open(sources, InputOptions::default()).expect_err("must be refused");
    assert!(matches!(open(vec![good.clone(), missing]), InputError::NotFound { .. }));
    let error = open(vec![good.clone(), directory.path().into()]);
    assert!(error.to_string().contains("is a directory; name the files in it"), "{error}");
    assert!(matches!(open(vec![]), InputError::NoSource));
    let stdin = Source::parse("-");
    assert!(matches!(open(vec![stdin.clone(), good, stdin]), InputError::StdinTwice { times: 2 }));
    let below_a_file = Source::parse(&format!("{}/good/x", directory.path().display()));
    assert!(matches!(open(vec![below_a_file]), InputError::Open { .. }));
}

#[test]
fn a_damaged_file_ends_the_input_and_names_itself() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let sources = vec![
        file(directory.path(), "1.txt", b"a\n"),
        file(directory.path(), "2.txt", b"BZh9\x31\x41\x59"),
        file(directory.path(), "3.txt", b"c\n"),
    ];
    let (found, error) = in_blocks(LineBlocks::open(sources, InputOptions::default()).expect("they exist"));
    assert_eq!(found.len(), 1);
    assert!(matches!(error, Some(InputError::Truncated { name, .. }) if name.ends_with("2.txt")));
}

#[test]
fn a_file_is_known_by_its_bytes_on_disk() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let one = file(directory.path(), "one.gz", b"abc");
    let two = file(directory.path(), "two.gz", b"abc");
    let identity = |source: &Source| identify(source, &|| true).expect("it exists").expect("it is a file");
    assert_eq!(
        identity(&one),
        FileIdentity {
            name: "one.gz".to_owned(),
            size: 3,
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
        }
    );
    assert!(identity(&one).same_content(&identity(&two)));
    assert_ne!(identity(&one), identity(&two));
    let cheap = stamp(&one).expect("it exists").expect("it is a file");
    assert_eq!((cheap.name.as_str(), cheap.size), ("one.gz", 3));
    assert!(cheap.modified_us.is_some());
    assert!(!identity(&file(directory.path(), "three", b"abd")).same_content(&identity(&one)));
}

#[test]
fn what_is_no_file_has_no_identity() {
    assert!(identify(&Source::Stdin, &|| true).expect("nothing to fail").is_none());
    assert!(stamp(&Source::Stdin).expect("nothing to fail").is_none());
    let missing = Source::parse("no/such/file");
    assert!(matches!(identify(&missing, &|| true), Err(InputError::NotFound { .. })));
}

/// A function that looks at much asks again and again whether to go on, within one file as well.
#[test]
fn a_look_at_files_ends_where_it_is_told_to() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let sources = [file(directory.path(), "none.csv", &b"no event\n".repeat(500_000))];
    let asked = Cell::new(0);
    let go_on = || {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    let told = |error: Option<InputError>| {
        assert!(matches!(error, Some(InputError::ToldToEnd)), "{error:?}");
        assert_eq!(asked.replace(0), 3);
    };
    told(identify(&sources[0], &go_on).err());
    told(first_event(&sources, EventTime::default(), EventTime::MAX, &go_on).err());
    told(find_disorder(&sources, EventTime::default(), Span::ZERO, EventTime::MAX, &go_on).err());
}

#[test]
fn a_dropped_reader_does_not_hang() {
    let lines = b"1,U1,C1\n".repeat(100_000);
    let mut blocks = from_memory(&lines, block_bytes(1_000));
    assert!(blocks.next().is_some());
    drop(blocks);
}

/// The second line comes while the first is not yet taken, and nothing follows it: it must not wait for what follows.
#[test]
fn a_live_line_comes_without_the_one_after_it() {
    struct Live(mpsc::Receiver<&'static [u8]>);
    impl Read for Live {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let Ok(bytes) = self.0.recv() else { return Ok(0) };
            out[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }
    let (writer, live) = mpsc::channel();
    let blocks = LineBlocks::from_reader("live", Live(live), InputOptions::default()).expect("starts");
    // As long as the first bytes that are looked at, so that each is one read.
    for line in [&b"1,U11,C11\n"[..], b"2,U11,C11\n"] {
        writer.send(line).expect("it listens");
    }
    #[expect(clippy::disallowed_methods, reason = "it is to find both lines there, if it would wait for them")]
    thread::sleep(Duration::from_millis(50));
    let (sender, taken) = mpsc::channel();
    thread::spawn(move || blocks.flatten().try_for_each(|block| sender.send(block.line_count)));
    let mut lines = 0;
    while lines < 2 {
        lines += taken.recv_timeout(Duration::from_secs(30)).expect("the line comes although nothing follows it");
    }
    drop(writer);
}
