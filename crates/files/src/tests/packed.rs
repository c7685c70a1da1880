//! Compressed sources: whole, in several parts, cut off, damaged.

use std::io::Write;

use proptest::prelude::*;

use super::*;

const PACKED: [Format; 3] = [Format::Gzip, Format::Bzip2, Format::Zstd];

fn pack(format: Format, bytes: &[u8]) -> Vec<u8> {
    let packed = match format {
        Format::Plain => Ok(bytes.to_vec()),
        Format::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        Format::Bzip2 => {
            // Level 1: blocks of 100 kB, so that a short test has several.
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        Format::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("level 1 exists");
            encoder.include_checksum(true).expect("a valid parameter");
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
    };
    packed.expect("a vector takes all")
}

/// About `bytes` of lines that do not compress to nothing.
fn events(bytes: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut number = 12_345u64;
    for time in 1.. {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        lines.extend_from_slice(format!("{time},U{},C{}\n", number >> 50, (number >> 20) & 0xffff).as_bytes());
        if lines.len() >= bytes {
            break;
        }
    }
    lines
}

fn read(packed: &[u8]) -> (Vec<FoundLine>, Option<InputError>) {
    in_blocks(from_memory(packed, InputOptions::default()))
}

#[test]
fn every_compression_gives_the_same_lines() {
    let source = [b"\xef\xbb\xbf".to_vec(), events(700_000), b"last".to_vec()].concat();
    for format in [Format::Plain].into_iter().chain(PACKED) {
        let packed = pack(format, &source);
        assert_eq!(Format::detect(&packed), format);
        let (found, error) = read(&packed);
        assert!(error.is_none(), "{format}: {error:?}");
        assert!(found == naive(&source), "{format}");
    }
}

#[test]
fn parts_put_together_are_one_source() {
    let source = events(300_000);
    // The parts end anywhere, also within a line, and one is empty.
    let (a, b, c) = (&source[..100_003], &source[100_003..100_003], &source[100_003..]);
    for format in PACKED {
        let packed = [pack(format, a), pack(format, b), pack(format, c)].concat();
        let (found, error) = read(&packed);
        assert!(error.is_none(), "{format}: {error:?}");
        assert!(found == naive(&source), "{format}");
    }
}

#[test]
fn nothing_packed_is_no_lines() {
    for format in PACKED {
        let (found, error) = read(&pack(format, b""));
        assert!(found.is_empty() && error.is_none(), "{format}: {error:?}");
    }
}

#[test]
fn a_source_cut_off_gives_its_whole_lines_and_then_says_so() {
    let source = events(700_000);
    let all = naive(&source);
    for format in PACKED {
        let packed = pack(format, &source);
        let cuts = [4, 9, packed.len() / 2, packed.len() * 9 / 10, packed.len() - 5, packed.len() - 1];
        for cut in cuts {
            let (found, error) = read(&packed[..cut]);
            match error {
                Some(InputError::Truncated { name, format: of, read_bytes, line }) => {
                    assert_eq!((name.as_str(), of, read_bytes), ("memory", format, cut as u64));
                    assert_eq!(line, found.len() as u64);
                }
                other => panic!("{format} cut at {cut}: {other:?}"),
            }
            assert!(all.starts_with(&found), "{format} cut at {cut}: a line was cut");
            if cut >= packed.len() / 2 {
                // bzip2 decodes whole blocks of 100 kB.
                assert!(found.len() * 3 > all.len(), "{format} cut at {cut}: {} lines", found.len());
            }
        }
    }
}

#[test]
fn damage_is_noticed_and_named() {
    let source = events(700_000);
    for format in PACKED {
        let mut packed = pack(format, &source);
        let middle = packed.len() / 2;
        packed[middle..middle + 64].fill(0xa5);
        let (found, error) = read(&packed);
        let error = error.unwrap_or_else(|| panic!("{format}: the damage went unnoticed"));
        assert!(matches!(error, InputError::Damaged { .. } | InputError::Truncated { .. }), "{format}: {error}");
        assert!(found.len() < naive(&source).len());

        let trailed = [pack(format, b"1,U1,C1\n"), b"and then something else".to_vec()].concat();
        let (found, error) = read(&trailed);
        assert_eq!(found.len(), 1, "{format}: {error:?}");
        assert!(matches!(error, Some(InputError::Damaged { .. })), "{format}: {error:?}");
    }
}

#[test]
fn the_message_says_what_and_where_and_what_next() {
    let packed = pack(Format::Bzip2, &events(300_000));
    let (_, error) = read(&packed[..packed.len() - 3]);
    let message = error.expect("cut off").to_string();
    for part in ["'memory' is cut off", "bzip2", &format!("byte {}", packed.len() - 3), "after line ", "fetch it again"]
    {
        assert!(message.contains(part), "{message}");
    }
    let (_, error) = read(b"\xfd7zXZ\0 and so on");
    let message = error.expect("not read").to_string();
    assert!(message.contains("packed as xz") && message.contains("unpack it first: xz -dc 'memory' >"), "{message}");
}

#[test]
fn text_that_begins_like_a_magic_is_text() {
    for text in ["BZh", "BZhx", "BZh9,U1,C1", "BZ", "PK", "7z", "(", "P*M"] {
        let (found, error) = read(text.as_bytes());
        assert!(error.is_none(), "{text}: {error:?}");
        assert_eq!(found.len(), 1, "{text}");
    }
}

proptest! {
    #[test]
    fn junk_never_panics(head in 0usize..5, junk in prop::collection::vec(any::<u8>(), 0..3_000)) {
        let magic: [&[u8]; 5] = [b"", b"\x1f\x8b\x08\0", b"BZh91AY&SY", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"];
        let (_, error) = read(&[magic[head], &junk].concat());
        prop_assert!(!matches!(error, Some(InputError::Stopped { .. } | InputError::Read { .. })), "{error:?}");
    }

    #[test]
    fn packed_parts_of_any_size_give_the_same_lines(
        parts in prop::collection::vec("[0-9,UC \r\n]{0,200}", 0..6),
        which in 0usize..3,
        size in 1usize..300,
        portions in prop::collection::vec(1usize..60, 1..4),
    ) {
        let format = PACKED[which];
        // An event first: without one, what looks like another form of file by chance would be refused.
        let parts = [vec!["1,U1,C1\n".to_owned()], parts].concat();
        let source = parts.concat().into_bytes();
        let packed: Vec<u8> = parts.iter().flat_map(|part| pack(format, part.as_bytes())).collect();
        let drip = Drip::new(&packed, portions);
        let (found, error) = in_blocks(LineBlocks::from_reader("drip", drip, block_bytes(size)).expect("starts"));
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(found, naive(&source));
    }
}

/// What may stand behind the last stream, and whether it is damage.
#[test]
fn zeros_up_to_the_end_are_the_end_and_anything_else_is_damage() {
    let source = b"1,U1,C1\n2,U1,C2\n";
    let zeros = |count: usize| vec![0u8; count];
    for format in PACKED {
        let (one, two) = (pack(format, source), pack(format, b"3,U1,C3\n"));
        let sound: [(&str, Vec<u8>, usize); 6] = [
            ("nothing", Vec::new(), 2),
            ("one zero", zeros(1), 2),
            ("a block", zeros(512), 2),
            ("more than a buffer", zeros(700_001), 2),
            ("another stream", two.clone(), 3),
            ("another stream and a block", [two.clone(), zeros(10_240)].concat(), 3),
        ];
        for (what, behind, lines) in sound {
            for portions in [vec![usize::MAX], vec![1, 7, 4096]] {
                let packed = [one.clone(), behind.clone()].concat();
                let drip = LineBlocks::from_reader("drip", Drip::new(&packed, portions), InputOptions::default());
                let (found, error) = in_blocks(drip.expect("starts"));
                assert!(error.is_none(), "{format}, {what}: {error:?}");
                assert_eq!(found.len(), lines, "{format}, {what}");
            }
        }
        let damaged: [(&str, Vec<u8>); 4] = [
            ("text", b"tail".to_vec()),
            ("zeros and text", [zeros(600_000), b"x".to_vec()].concat()),
            ("zeros and another stream", [zeros(512), two.clone()].concat()),
            ("bytes of a disk", vec![0xff; 512]),
        ];
        for (what, behind) in damaged {
            let (found, error) = read(&[one.clone(), behind].concat());
            assert!(matches!(error, Some(InputError::Damaged { line: 2, .. })), "{format}, {what}: {error:?}");
            assert_eq!(found.len(), 2, "{format}, {what}");
        }
        let (_, error) = read(&[one.clone(), zeros(3), b"x".to_vec()].concat());
        let told = std::error::Error::source(&error.expect("damage")).expect("a cause").to_string();
        assert!(told.contains("zero bytes follow its end"), "{told}");
    }
}

/// A source of which only the beginning is in memory.
struct Endless {
    begin: io::Cursor<Vec<u8>>,
    zeros: u64,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.begin.read(out)?;
        if read > 0 {
            return Ok(read);
        }
        let zeros = usize::try_from(self.zeros).unwrap_or(usize::MAX).min(out.len());
        out[..zeros].fill(0);
        self.zeros -= zeros as u64;
        Ok(zeros)
    }
}

/// Zeros are read a buffer at a time and thrown away: held as a line they would be a block.
#[test]
fn however_many_zeros_there_are() {
    for format in [Format::Plain].into_iter().chain(PACKED) {
        let begin = io::Cursor::new(pack(format, b"1,U1,C1\n2,U2,C2"));
        let endless = LineBlocks::from_reader("tape", Endless { begin, zeros: 1 << 26 }, InputOptions::default());
        let (found, error) = in_blocks(endless.expect("starts"));
        assert!(error.is_none(), "{format}: {error:?}");
        assert_eq!(found.last().map(|(_, _, length, _)| *length), Some(7), "{format}");
        assert_eq!(found.len(), 2, "{format}");
    }
}
