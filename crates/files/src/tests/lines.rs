//! What is a line, wherever blocks and reads happen to end.

use authpulse_event::time::DEFAULT_BASE;
use authpulse_event::{Reading, parse_line};
use proptest::prelude::*;

use super::*;

fn texts(source: &[u8]) -> Vec<(u64, String)> {
    let (found, error) = in_blocks(from_memory(source, InputOptions::default()));
    assert!(error.is_none(), "{error:?}");
    found.into_iter().map(|(number, _, _, bytes)| (number, String::from_utf8_lossy(&bytes).into_owned())).collect()
}

/// A source, and the numbers and texts of its records.
type Case = (&'static [u8], &'static [(u64, &'static str)]);

#[test]
fn a_line_ends_with_lf_or_the_source_and_loses_one_cr() {
    let table: [Case; 16] = [
        (b"", &[]),
        (b"a", &[(1, "a")]),
        (b"a\n", &[(1, "a")]),
        (b"a\r\n", &[(1, "a")]),
        (b"a\r", &[(1, "a")]),
        (b"a\r\r\n", &[(1, "a\r")]),
        (b"a\rb\n", &[(1, "a\rb")]),
        (b"\n", &[]),
        (b"\r\n", &[]),
        (b"\r\r\n", &[(1, "\r")]),
        (b"a\n\n \t\r\nb\n", &[(1, "a"), (4, "b")]),
        (b" a\t\n", &[(1, " a\t")]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", &[(1, "a"), (2, "\u{feff}b")]),
        (b"\xef\xbb\xbf", &[]),
        (b"\xef\xbb\xbf\n\xef\xbb", &[(2, "\u{fffd}")]),
        (b"\0\n\xff\xfe\n", &[(1, "\0"), (2, "\u{fffd}\u{fffd}")]),
    ];
    for (source, want) in table {
        let want: Vec<_> = want.iter().map(|&(number, text)| (number, text.to_owned())).collect();
        assert_eq!(texts(source), want, "{:?}", String::from_utf8_lossy(source));
    }
}

/// NULs are bytes like any other where something follows them.
#[test]
fn nuls_at_the_end_of_a_source_are_no_line() {
    let table: [Case; 9] = [
        (b"\0", &[]),
        (b"\0\0\0\0", &[]),
        (b"a\n\0\0", &[(1, "a")]),
        (b"a\0\0", &[(1, "a")]),
        (b"a\r\0", &[(1, "a")]),
        (b"a\n\n\0", &[(1, "a")]),
        (b"a\0\n", &[(1, "a\0")]),
        (b"a\n\0\0b\0", &[(1, "a"), (2, "\0\0b")]),
        (b"\0\n\0\n\0", &[(1, "\0"), (2, "\0")]),
    ];
    for (source, want) in table {
        let want: Vec<_> = want.iter().map(|&(number, text)| (number, text.to_owned())).collect();
        for portions in [vec![usize::MAX], vec![1], vec![2, 3]] {
            let drip = Drip::new(source, portions);
            let blocks = LineBlocks::from_reader("drip", drip, InputOptions::default()).expect("starts");
            let (found, error) = in_blocks(blocks);
            assert!(error.is_none(), "{error:?}");
            let found: Vec<_> =
                found.into_iter().map(|(n, _, _, bytes)| (n, String::from_utf8_lossy(&bytes).into_owned())).collect();
            assert_eq!(found, want, "{:?}", String::from_utf8_lossy(source));
        }
    }
}

/// NULs are handed on as they were, in any portions, and before a failure none of them is a line.
#[test]
fn nuls_within_a_source_come_through() {
    let run = vec![0u8; 200_000];
    let source = [&b"1,U1,C1\n"[..], &run, b"x", &run, b"\n2,U2,C2\n", &run].concat();
    let kept = source.len() - run.len();
    for portions in [vec![usize::MAX], vec![1_000, 65_536, 3]] {
        let blocks = LineBlocks::from_reader("drip", Drip::new(&source, portions), InputOptions::default());
        let (found, error) = in_blocks(blocks.expect("starts"));
        assert!(error.is_none() && found == naive(&source[..kept]));
    }
    let failing = Drip { fails: true, ..Drip::new(&source[..20_000], vec![usize::MAX]) };
    let (found, error) = in_blocks(LineBlocks::from_reader("x", failing, InputOptions::default()).expect("starts"));
    assert_eq!(found.len(), 1);
    assert!(matches!(error, Some(InputError::Read { line: 1, .. })), "{error:?}");
}

#[test]
fn a_line_is_overlong_from_one_byte_above_the_limit() {
    let ends: [&[u8]; 4] = [b"\n", b"\r\n", b"", b"\r"];
    let marks: [&[u8]; 2] = [b"", b"\xef\xbb\xbf"];
    for fill in *b"x " {
        for length in LINE_BYTES_MAX - 1..=LINE_BYTES_MAX + 2 {
            for (end, mark) in ends.iter().flat_map(|end| marks.map(|mark| (end, mark))) {
                let line = vec![fill; length];
                let tail: &[u8] = if end.ends_with(b"\n") { b"tail\n" } else { b"" };
                let source = [mark, &line, end, tail].concat();
                let (found, error) = in_blocks(from_memory(&source, InputOptions::default()));
                assert!(error.is_none());
                assert!(found == naive(&source), "{length} bytes of {fill}, end {end:?}, mark {mark:?}");
                let is_record = fill == b'x' || length > LINE_BYTES_MAX;
                assert_eq!(found.len(), usize::from(is_record) + usize::from(!tail.is_empty()));
                assert!(one_by_one(from_memory(&source, block_bytes(1000))) == found);
            }
        }
    }
}

#[test]
fn a_very_long_line_keeps_its_length_but_not_its_bytes() {
    for length in [OVERLONG_WHOLE_BYTES_MAX, OVERLONG_WHOLE_BYTES_MAX + 1, OVERLONG_WHOLE_BYTES_MAX + 300_000] {
        for end in ["\n", "\r\n", "", "\r"] {
            let mut source = b"first\n".to_vec();
            source.resize(6 + length, b'y');
            source.extend_from_slice(end.as_bytes());
            if end.ends_with('\n') {
                source.extend_from_slice(b"last");
            }
            let (found, error) = in_blocks(from_memory(&source, InputOptions::default()));
            assert!(error.is_none());
            assert!(found == naive(&source), "{length} {end:?}");
            let whole = length <= OVERLONG_WHOLE_BYTES_MAX;
            assert_eq!(found[1].3.len(), if whole { length } else { OVERLONG_PREFIX_BYTES });
            assert!(one_by_one(from_memory(&source, InputOptions::default())) == found);
        }
    }
}

#[test]
fn whole_lines_come_before_the_failure_and_the_rest_does_not_come() {
    let drip = Drip { fails: true, ..Drip::new(b"a\nb\nhalf", vec![3, 64]) };
    let (found, error) = in_blocks(LineBlocks::from_reader("disk", drip, InputOptions::default()).expect("starts"));
    assert_eq!(found.iter().map(|line| line.3.as_slice()).collect::<Vec<_>>(), [b"a", b"b"]);
    let error = error.expect("the disk fails");
    let message = "cannot read 'disk' beyond byte 8 (after line 2); check the disk or the pipe, then run again";
    assert_eq!(error.to_string(), message);
    assert_eq!(std::error::Error::source(&error).map(ToString::to_string).as_deref(), Some("the disk is gone"));
}

#[test]
fn a_dead_reader_is_no_clean_end() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("a bug in a reader (expected in this test)")
        }
    }
    let (found, error) = in_blocks(LineBlocks::from_reader("bug", Panics, InputOptions::default()).expect("starts"));
    assert!(found.is_empty());
    assert!(matches!(error, Some(InputError::Stopped { name }) if name == "bug"));
}

#[test]
fn numbers_go_on_from_earlier_runs() {
    let options = InputOptions { lines_before: 10, ..InputOptions::default() };
    let mut records = Records::from(from_memory(b"\na\n", options));
    let record = records.next().expect("one").expect("in memory");
    assert_eq!((record.line, record.line_in_source, record.offset), (12, 2, 1));
    assert!(record.is_whole() && !record.is_overlong());
}

#[test]
fn a_slow_writer_is_heard_at_once() {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let mut records =
        Records::from(LineBlocks::from_reader("pipe", reader, InputOptions::default()).expect("a thread starts"));
    for text in ["1", "2,U1,C1", "3,U1,C1"] {
        io::Write::write_all(&mut writer, format!("{text}\n").as_bytes()).expect("the reader is there");
        // The writer is still open, so nothing but the line end can have brought this out.
        assert_eq!(records.next().expect("a line").expect("a pipe").bytes, text);
    }
    drop(writer);
    assert!(records.next().is_none());
}

fn lines_of_all_kinds() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        8 => "[0-9]{1,6},U[0-9]{1,4},C[0-9]{1,4}".prop_map(String::into_bytes),
        3 => "[ \t\r]{0,5}".prop_map(String::into_bytes),
        1 => Just(b"\xef\xbb\xbf".to_vec()),
    ];
    let end = prop_oneof![6 => Just(&b"\n"[..]), 2 => Just(&b"\r\n"[..]), 1 => Just(&b""[..])];
    prop::collection::vec((part, end), 0..60)
        .prop_map(|parts| parts.into_iter().flat_map(|(part, end)| [part, end.to_vec()].concat()).collect())
}

proptest! {
    #[test]
    fn blocks_of_any_size_give_the_same_lines(
        source in lines_of_all_kinds(),
        size in prop_oneof![1usize..80, 1usize..5_000],
        portions in prop::collection::vec(1usize..60, 1..5),
    ) {
        // A source that happens to begin with the magic of a packing is no text.
        prop_assume!(Format::detect(&source) == Format::Plain && packings::refuse_unsupported("drip", &source).is_ok());
        let drip = Drip::new(&source, portions);
        let blocks = LineBlocks::from_reader("drip", drip, block_bytes(size)).expect("a thread starts");
        let (found, error) = in_blocks(blocks);
        let expected = naive(&source);
        // The form that it seems to have may depend on how much of it is there at once.
        let (_, whole) = in_blocks(from_memory(&source, block_bytes(size)));
        if let Some(InputError::NoLines { what, .. }) = error.as_ref().or(whole.as_ref()) {
            // What looks like another form of file is refused, unless there is an event in it.
            let mut lines = expected.iter().map(|(.., bytes)| bytes);
            prop_assert!(!lines.any(|line| parse_line(line, Reading::three_fields(DEFAULT_BASE)).is_ok()), "an event within {what}");
            return Ok(());
        }
        prop_assert!(error.is_none());
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(one_by_one(from_memory(&source, block_bytes(size))), found);
    }

    #[test]
    fn overlong_lines_among_others_give_the_same_lines(
        before in lines_of_all_kinds(),
        lengths in prop::collection::vec(LINE_BYTES_MAX - 3..LINE_BYTES_MAX + 400_000, 1..3),
        after in lines_of_all_kinds(),
        size in prop_oneof![1usize..5_000, 500_000usize..2_000_000],
    ) {
        let mut source = [b"1,U1,C1\n".to_vec(), before].concat();
        for length in lengths {
            source.resize(source.len() + length, b'z');
            source.extend_from_slice(b"\r\n");
        }
        source.extend_from_slice(&after);
        let (found, error) = in_blocks(from_memory(&source, block_bytes(size)));
        prop_assert!(error.is_none());
        prop_assert!(found == naive(&source));
        prop_assert!(one_by_one(from_memory(&source, block_bytes(size))) == found);
    }
}
