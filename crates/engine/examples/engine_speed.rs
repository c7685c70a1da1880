//! Measures the engine alone: lines of a file in memory are parsed, admitted and scored on one thread; nothing is written. Then a
//! snapshot of the state is taken and read back, as the next owner of a shard would do.
//!
//! `cargo run --release -p authpulse-engine --example engine_speed -- FILE` with a file of `authpulse generate`.

use authpulse_engine::{Incoming, Output, PopularityIndex, RestoreFrom, Restoring, Settings, Shard, SourceKind};
use authpulse_event::{ArrivalTime, HashRange, Position, SequenceNumber, parse_line};
use std::time::Instant;

// The allocator of the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lines between two rounds of scoring.
const STRIDE: u64 = 1_024;
/// Lines that are looked up together.
const LOOK_AHEAD: usize = 32;
/// The arrival of all lines: later than any time that they may hold.
const LATER: ArrivalTime = ArrivalTime::from_micros(i64::MAX / 2);
/// Bytes of a piece of a snapshot: the service's default.
const PIECE_BYTES: usize = 16 << 20;

fn main() -> std::io::Result<()> {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: engine_speed FILE");
        return Ok(());
    };
    let input = std::fs::read(path)?;
    let settings = Settings::default();
    for pass in 1..=3 {
        let mut shard = Shard::new(settings.clone(), SourceKind::File, HashRange::FULL);
        let mut index = PopularityIndex::new(settings.time.lookback_days);
        let mut out = Output::default();
        let mut scored = 0u64;
        let begin = Instant::now();
        let mut lines = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let (mut at, mut parsed, mut known) = (0u64, Vec::new(), Vec::new());
        loop {
            let reading = settings.reading();
            parsed.clear();
            parsed.extend(lines.by_ref().take(LOOK_AHEAD).map(|line| (line, parse_line(line, reading))));
            if parsed.is_empty() {
                break;
            }
            shard.look_ahead(parsed.iter().map(|(_, parsed)| parsed.as_ref().ok()), &mut known);
            for ((line, parsed), known) in parsed.drain(..).zip(&known) {
                at += 1;
                let position = Position { sequence: SequenceNumber::from(at), sub_sequence: 0 };
                let incoming = Incoming { payload: line, payload_bytes: line.len() as u64, position, arrival: LATER };
                shard.admit_known(incoming, parsed, *known, &mut out);
            }
            if at.is_multiple_of(STRIDE) {
                shard.score_ready(&mut index, &mut out);
                scored += out.scored.len() as u64;
                out.scored.clear();
                out.rejected.clear();
                if shard.has_counts_to_publish() {
                    for counts in shard.cut().daily_counts {
                        index.add_counts(&counts);
                    }
                }
            }
        }
        shard.score_ready(&mut index, &mut out);
        scored += out.scored.len() as u64;
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "pass {pass}: {scored} events scored, {seconds:.2} s, {:.2} M events/s",
            scored as f64 / seconds / 1e6
        );
        shard.cut();
        let begin = Instant::now();
        let pieces = shard.snapshot(PIECE_BYTES);
        let (taken, begin) = (begin.elapsed(), Instant::now());
        let from = RestoreFrom {
            watermark: shard.watermark(),
            newest_accepted: shard.newest_accepted(),
            ..RestoreFrom::default()
        };
        let mut state = Restoring::begin(settings.clone(), SourceKind::File, HashRange::FULL, from);
        state.expect_users(pieces.iter().map(|piece| piece.users).sum());
        let reader = state.reader();
        for piece in &pieces {
            let read = reader.read(&piece.bytes);
            read.and_then(|read| state.piece(read)).map_err(std::io::Error::other)?;
        }
        let read = state.finish();
        let read_in = begin.elapsed();
        drop(read);
        let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
        let users: u64 = pieces.iter().map(|piece| piece.users).sum();
        println!(
            "pass {pass}: snapshot of {users} users, {:.0} MB, taken in {:.2} s, read in {:.2} s",
            bytes as f64 / 1e6,
            taken.as_secs_f64(),
            read_in.as_secs_f64()
        );
    }
    Ok(())
}
