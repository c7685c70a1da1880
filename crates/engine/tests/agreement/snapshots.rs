//! Snapshots: reading gives back the state that was written, also in parts, and damage gives an error.

use crate::damage::{damage, damaged};
use crate::random;
use crate::rows;
use crate::service::{Check, restore_from};
use authpulse_engine::{
    Cut, Incoming, Output, Piece, PieceSection, PopularityIndex, Restoring, Shard, SnapshotError, SourceKind,
};
use authpulse_event::{ArrivalTime, HashRange, Position, parse_line};
use authpulse_oracle::cases::{Case, file_case};
use authpulse_oracle::{Record, Step};
use proptest::collection::vec;
use proptest::prelude::*;

/// A file's shard after its last line, and the cut after which it has nothing to publish.
fn read(case: &Case) -> (Shard, Cut) {
    let settings = rows::settings(&case.settings);
    let (reading, mut index) = (settings.reading(), PopularityIndex::new(settings.time.lookback_days));
    let mut shard = Shard::new(settings, SourceKind::File, HashRange::FULL);
    let mut out = Output::default();
    for step in &case.shards[0].steps {
        let Step::Record(Record { payload, arrival, .. }) = step else { continue };
        let payload_bytes = payload.len() as u64;
        let record =
            Incoming { payload, payload_bytes, position: Position::START, arrival: ArrivalTime::from_micros(*arrival) };
        shard.admit(record, parse_line(payload, reading), &mut out);
    }
    shard.cut().daily_counts.iter().for_each(|counts| index.add_counts(counts));
    shard.score_ready(&mut index, &mut out);
    let cut = shard.cut();
    (shard, cut)
}

/// A shard with the users from `pieces` that lie within `range`.
fn restore(case: &Case, cut: &Cut, range: HashRange, pieces: &[Piece]) -> Result<Shard, SnapshotError> {
    let mut restoring = Restoring::begin(rows::settings(&case.settings), SourceKind::File, range, restore_from(cut));
    for piece in pieces {
        restoring.piece(restoring.reader().read(&piece.bytes)?)?;
    }
    restoring.unscored_at_snapshot(&cut.unscored);
    Ok(restoring.finish())
}

fn users(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.users).sum()
}

#[test]
fn a_snapshot_comes_back_as_it_was_written() {
    random::check(400, &(file_case(), 1..3_000usize), |(case, piece_bytes)| {
        let (shard, cut) = read(&case);
        let pieces = shard.snapshot(piece_bytes);
        let restored = restore(&case, &cut, HashRange::FULL, &pieces)?;
        prop_assert_eq!(restored.snapshot(piece_bytes), pieces);
        prop_assert_eq!(restored.snapshot(usize::MAX), shard.snapshot(usize::MAX));
        Ok(())
    });
}

#[test]
fn pieces_divide_the_range_and_the_users() {
    random::check(400, &(file_case(), 1..3_000usize), |(case, piece_bytes)| {
        let (shard, cut) = read(&case);
        let pieces = shard.snapshot(piece_bytes);
        prop_assert_eq!(users(&pieces), shard.user_names().len() as u64);
        prop_assert_eq!((pieces[0].range.first, pieces[pieces.len() - 1].range.last), (0, u128::MAX));
        for pair in pieces.windows(2) {
            prop_assert_eq!(pair[0].range.last + 1, pair[1].range.first);
        }
        for piece in &pieces {
            let part = restore(&case, &cut, piece.range, std::slice::from_ref(piece))?;
            prop_assert_eq!(users(&part.snapshot(usize::MAX)), piece.users, "a piece holds the users of its range");
        }
        Ok(())
    });
}

/// The users that a child reads from a parent's snapshot are those that it would take from the parent itself.
#[test]
fn a_part_read_from_pieces_is_the_part_a_child_takes() {
    random::check(400, &(file_case(), 1..3_000usize, any::<u128>(), any::<u128>()), |(case, piece_bytes, a, b)| {
        let range = HashRange { first: a.min(b), last: a.max(b) };
        let (shard, cut) = read(&case);
        let mut pieces = shard.snapshot(piece_bytes);
        let of_all = restore(&case, &cut, range, &pieces)?;
        pieces.retain(|piece| piece.range.intersect(&range).is_some());
        let of_its_own = restore(&case, &cut, range, &pieces)?;
        let child = Shard::inherit(shard.settings().clone(), range, vec![shard]);
        let expected = child.snapshot(usize::MAX);
        prop_assert_eq!(&of_all.snapshot(usize::MAX), &expected);
        prop_assert_eq!(&of_its_own.snapshot(usize::MAX), &expected);
        prop_assert_eq!(of_its_own.waiting(), child.waiting());
        prop_assert_eq!(of_its_own.unscored_len(), child.unscored_len());
        Ok(())
    });
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let cases = (file_case(), vec(vec(damage(), 1..6), 1..60));
    random::check(400, &cases, |(case, damages)| {
        let (shard, cut) = read(&case);
        // Without events not yet scored: a damaged piece may have lost their computers.
        let cut = Cut { unscored: Vec::new(), ..cut };
        let pieces = shard.snapshot(usize::MAX);
        for damages in &damages {
            let bytes = damaged(pieces[0].bytes.clone(), damages);
            if let Ok(restored) = restore(&case, &cut, HashRange::FULL, &[Piece { bytes, ..pieces[0].clone() }]) {
                go_on(restored, &cut);
            }
        }
        Ok(())
    });
}

/// Uses a state that may be nonsense; it must not panic.
fn go_on(mut shard: Shard, cut: &Cut) {
    let mut out = Output::default();
    shard.advance_watermark(cut.watermark.unwrap_or_default() + 400 * authpulse_event::time::DAY, &mut out);
    shard.cut();
    shard.snapshot(100);
}

#[test]
fn every_beginning_of_a_piece_is_damaged() {
    random::check(10, &file_case(), |case| {
        let (shard, cut) = read(&case);
        let piece = &shard.snapshot(usize::MAX)[0];
        for length in 0..piece.bytes.len() {
            let bytes = piece.bytes[..length].to_vec();
            let error = restore(&case, &cut, HashRange::FULL, &[Piece { bytes, ..piece.clone() }]).err();
            prop_assert!(matches!(error, Some(SnapshotError::Damaged(_))), "{error:?} at {length}");
        }
        versions_are_told_apart(&case, &cut, piece)
    });
}

fn versions_are_told_apart(case: &Case, cut: &Cut, piece: &Piece) -> Check {
    let of_version = |version| {
        let mut piece = piece.clone();
        piece.bytes[4] = version;
        restore(case, cut, HashRange::FULL, &[piece]).err()
    };
    prop_assert!(matches!(of_version(0), Some(SnapshotError::Damaged(_))));
    prop_assert_eq!(of_version(1), Some(SnapshotError::Older(1)));
    prop_assert_eq!(of_version(2), None);
    // A piece of version 3 must end with a list of sections, even if an empty one.
    prop_assert!(matches!(of_version(3), Some(SnapshotError::Damaged(_))));
    prop_assert_eq!(of_version(4), Some(SnapshotError::Newer(4)));
    Ok(())
}

#[test]
fn sections_are_read_by_who_knows_them_and_else_passed_over_or_refused() {
    let section = |name: &str, must| PieceSection { name: name.to_owned(), must, body: name.as_bytes().repeat(40) };
    random::check(10, &file_case(), |case| {
        let (shard, cut) = read(&case);
        let plain = shard.snapshot(usize::MAX).remove(0);
        prop_assert_eq!(plain.clone().with_sections(&[]), plain.clone());
        prop_assert_eq!(plain.bytes[4], 2, "what is not used changes nothing");
        let skipped = plain.clone().with_sections(&[section("notes", false)]);
        prop_assert_eq!((skipped.bytes[4], skipped.users), (3, plain.users));
        let restored = restore(&case, &cut, HashRange::FULL, std::slice::from_ref(&skipped))?;
        prop_assert_eq!(restored.snapshot(usize::MAX), vec![plain.clone()]);
        let both = plain.clone().with_sections(&[section("notes", false), section("ledger", true)]);
        let error = restore(&case, &cut, HashRange::FULL, std::slice::from_ref(&both)).err();
        prop_assert_eq!(error.as_ref(), Some(&SnapshotError::Section("ledger".to_owned())));
        prop_assert!(
            error.is_some_and(|e| e.is_too_new() && e.to_string().contains("run a newer version of authpulse"))
        );
        let state =
            Restoring::begin(rows::settings(&case.settings), SourceKind::File, HashRange::FULL, restore_from(&cut));
        let read = state.reader().knowing(["ledger".to_owned()]).read(&both.bytes)?;
        prop_assert_eq!(read.sections(), &[section("ledger", true)][..]);
        for length in plain.bytes.len()..both.bytes.len() {
            let error = state.reader().read(&both.bytes[..length]).err();
            prop_assert!(matches!(error, Some(SnapshotError::Damaged(_))), "{error:?} at {length}");
        }
        Ok(())
    });
}
