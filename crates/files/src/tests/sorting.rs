//! Sorting on disk against sorting in memory.

use std::io::Write;
use std::sync::Arc;

use authpulse_event::time::DEFAULT_BASE;
use authpulse_event::{Reading, parse_line};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Where a line stood, its true length, what is kept of it.
type Stood = (Origin, u64, Vec<u8>);

/// A plain stable sort of all lines by event time, what is no event first.
fn in_memory(sources: &[Vec<u8>]) -> Vec<Stood> {
    let mut lines = Vec::new();
    for (source, bytes) in sources.iter().enumerate() {
        for (line, _, length, kept) in naive(bytes) {
            let whole = length <= LINE_BYTES_MAX as u64;
            let time =
                parse_line(&kept, Reading::three_fields(DEFAULT_BASE)).ok().filter(|_| whole).map(|event| event.time);
            lines.push((time, (Origin { source: source as u32, line }, length, kept)));
        }
    }
    lines.sort_by_key(|(time, _)| *time);
    lines.into_iter().map(|(_, line)| line).collect()
}

fn files(dir: &TempDir, sources: &[Vec<u8>]) -> Vec<Source> {
    let write = |(at, bytes): (usize, &Vec<u8>)| {
        let path = dir.path().join(format!("d{at}.log"));
        std::fs::write(&path, bytes).expect("written");
        Source::File(path)
    };
    sources.iter().enumerate().map(write).collect()
}

fn options(dir: &TempDir, memory_bytes: usize, fan_in: usize) -> SortOptions {
    SortOptions { memory_bytes, fan_in, ..SortOptions::new(dir.path(), DEFAULT_BASE) }
}

/// Sorts, and reads the lines in blocks as a backfill does: numbers are ranks without a gap.
fn on_disk(sources: &[Vec<u8>], memory_bytes: usize, fan_in: usize, block_bytes: usize) -> Vec<Stood> {
    let dir = tempfile::tempdir().expect("a directory");
    let sorted = sort(&files(&dir, sources), &options(&dir, memory_bytes, fan_in), |_| true).expect("sorts");
    let sorted = Arc::new(sorted);
    let earlier = 1_000;
    let options = InputOptions { block_bytes, lines_before: earlier, ..InputOptions::default() };
    let mut stood = Vec::new();
    let mut next = earlier + 1;
    for block in LineBlocks::sorted(Arc::clone(&sorted), options).expect("starts") {
        let block = block.expect("reads");
        assert_eq!(block.first_line, next);
        next += block.line_count;
        let before = stood.len();
        for line in block.lines() {
            let origin = block.origins.as_ref().and_then(|origins| origins.of(line.number)).expect("stood somewhere");
            assert_eq!(line.is_overlong(), matches!(block.kind, BlockKind::Overlong { .. }));
            stood.push((origin, line.length, line.bytes.to_vec()));
        }
        assert_eq!((stood.len() - before) as u64, block.line_count, "no line is blank");
    }
    assert_eq!(sorted.records(), stood.len() as u64);
    let first = stood.iter().find_map(|(origin, length, bytes)| {
        let whole = *length <= LINE_BYTES_MAX as u64;
        parse_line(bytes, Reading::three_fields(DEFAULT_BASE)).ok().filter(|_| whole).map(|event| (event.time, *origin))
    });
    assert_eq!(sorted.first_event(), first);
    let left = std::fs::read_dir(dir.path()).expect("there").count();
    assert_eq!(left, sources.len(), "a temporary file has a name");
    stood
}

#[test]
fn lines_of_files_in_the_shells_order_come_out_by_time() {
    let file =
        |day: u32| (0..50).map(|n| format!("{},U{n},C{day}\n", day * 1_000 + n)).collect::<String>().into_bytes();
    let sources = [file(1), file(10), file(11), file(2)];
    let stood = on_disk(&sources, 1 << 20, 64, 1 << 16);
    let from: Vec<u32> = stood.iter().step_by(50).map(|(origin, ..)| origin.source).collect();
    assert_eq!(from, [0, 3, 1, 2]);
    assert_eq!(stood, in_memory(&sources));
}

#[test]
fn what_is_no_event_comes_first_and_ties_keep_their_order() {
    let sources = [
        b"\xef\xbb\xbf5,U1,C1\r\n\n \t\nno event\n3,U1,C1\r\r\n5,U2,C2\n".to_vec(),
        b"2015-01-01T00:00:05Z,U3,C3\n4,U1,C1\n{\"time\":5,\"user\":\"U4\",\"computer\":\"C\"}\nlast,no event\r"
            .to_vec(),
        Vec::new(),
        b"\n\n5,U5,C5\0\0\0".to_vec(),
    ];
    for (memory, fan_in) in [(1, 2), (1, 3), (300, 2), (1 << 20, 64)] {
        let stood = on_disk(&sources, memory, fan_in, 1);
        assert_eq!(stood, in_memory(&sources));
        let places: Vec<(u32, u64)> = stood.iter().map(|(origin, ..)| (origin.source, origin.line)).collect();
        // A CR that is no part of the line end is a control character: that line is no event.
        assert_eq!(places, [(0, 4), (0, 5), (1, 4), (1, 2), (0, 1), (0, 6), (1, 1), (1, 3), (3, 3)]);
    }
}

#[test]
fn overlong_lines_keep_what_is_held_of_them_and_their_length() {
    let long = |fill: u8, length: usize| [vec![fill; length], b"\n".to_vec()].concat();
    let sources = [
        [b"9,U1,C1\n".to_vec(), long(b'x', LINE_BYTES_MAX + 1), b"8,U1,C1\n".to_vec()].concat(),
        [long(b' ', OVERLONG_WHOLE_BYTES_MAX + 1), long(b'7', LINE_BYTES_MAX), b"7,U1,C1\n".to_vec()].concat(),
    ];
    for (memory, fan_in) in [(1, 2), (1 << 20, 4)] {
        let stood = on_disk(&sources, memory, fan_in, 1 << 16);
        assert!(stood == in_memory(&sources), "memory of {memory} bytes");
        assert_eq!(stood[1].1, OVERLONG_WHOLE_BYTES_MAX as u64 + 1);
        assert_eq!(stood[1].2.len(), OVERLONG_PREFIX_BYTES);
    }
}

#[test]
fn many_runs_are_merged_in_levels() {
    let mut number = 1u64;
    let mut lines = Vec::new();
    for n in 0..5_000 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writeln!(lines, "{},U{n},C1", 1 + (number >> 33) % 300).expect("a vector takes all");
    }
    let (one, two) = lines.split_at(lines.len() / 3);
    let sources = [one.to_vec(), two.to_vec()];
    let expected = in_memory(&sources);
    // Some 4,500 runs of one line, and fewer of some; two at a time makes twelve levels.
    for (memory, fan_in) in [(1, 2), (1, 3), (400, 5), (3_000, 2)] {
        assert!(on_disk(&sources, memory, fan_in, 1 << 12) == expected, "{memory} bytes, {fan_in} at a time");
    }
}

#[test]
fn a_sort_that_is_told_to_end_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let sources = files(&dir, &[b"1,U1,C1\n".repeat(500_000)]);
    let mut asked = 0;
    let told = sort(&sources, &options(&dir, 1 << 20, 2), |_| {
        asked += 1;
        asked < 3
    });
    assert!(matches!(told, Err(InputError::ToldToEnd)), "{told:?}");
    assert_eq!(asked, 3);
}

#[test]
fn a_failure_names_the_input_or_the_place_of_temporary_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let sources = files(&dir, &[b"1,U1,C1\n".to_vec()]);
    let nowhere = SortOptions::new(&dir.path().join("nowhere"), DEFAULT_BASE);
    let told = sort(&sources, &nowhere, |_| true).expect_err("there is none").to_string();
    assert!(told.contains("nowhere' cannot be made") && told.contains("--sort-dir"), "{told}");
    let cut = files(&dir, &[b"\x1f\x8b\x08\0\0\0".to_vec()]);
    let told = sort(&cut, &options(&dir, 1, 2), |_| true).expect_err("cut off").to_string();
    assert!(told.contains("d0.log") && told.contains("cut off"), "{told}");
}

proptest! {
    #[test]
    fn sorting_on_disk_is_sorting_in_memory(
        sources in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![
                    6 => (1u32..40, 1u32..4).prop_map(|(time, user)| format!("{time},U{user},C1")),
                    1 => "[0-9,UC\r \t]{0,12}".prop_map(|text| text),
                    1 => Just("\u{feff}1,U1,C1".to_owned()),
                ],
                0..40,
            ),
            1..5,
        ),
        memory in prop_oneof![Just(1usize), 50usize..2_000],
        fan_in in 0usize..6,
        block_bytes in 1usize..200,
        ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r\r\n"]), 1..4),
    ) {
        let text = |lines: &Vec<String>| {
            let mut text = Vec::new();
            for (at, line) in lines.iter().enumerate() {
                let end = if at + 1 == lines.len() && at % 2 == 0 { "" } else { ends[at % ends.len()] };
                text.extend_from_slice(line.as_bytes());
                text.extend_from_slice(end.as_bytes());
            }
            text
        };
        let sources: Vec<Vec<u8>> = sources.iter().map(text).collect();
        prop_assert_eq!(on_disk(&sources, memory, fan_in, block_bytes), in_memory(&sources));
    }
}
