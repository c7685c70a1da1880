//! How fast the engine alone is: lines of a file in memory are parsed, judged and scored on one thread; nothing is written.
//!
//! `cargo run --release -p authpulse-engine --example engine_speed -- FILE` with a file of `authpulse generate`.

use authpulse_engine::{Board, Incoming, Output, Settings, Shard, SourceKind};
use authpulse_event::{HashRange, Position, SequenceNumber, parse_line};
use std::time::Instant;

/// Lines between two looks at the board.
const STRIDE: usize = 1_024;

fn main() -> std::io::Result<()> {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: engine_speed FILE");
        return Ok(());
    };
    let input = std::fs::read(path)?;
    let settings = Settings::default();
    for pass in 1..=3 {
        let mut shard = Shard::new(settings.clone(), SourceKind::File, HashRange::FULL);
        let mut board = Board::new(settings.time.lookback_days);
        let mut out = Output::default();
        let mut scored = 0u64;
        let begin = Instant::now();
        for (at, line) in input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let position = Position { sequence: SequenceNumber::from(at as u64 + 1), sub_sequence: 0 };
            let incoming =
                Incoming { payload: line, payload_bytes: line.len() as u64, position, arrival: i64::MAX / 2 };
            shard.judge(incoming, parse_line(line, settings.time.base), &mut out);
            if at % STRIDE == 0 {
                shard.score_ready(&mut board, &mut out);
                scored += out.scored.len() as u64;
                out.scored.clear();
                out.rejected.clear();
                if shard.has_share_to_publish() {
                    for share in shard.cut().shares {
                        board.add_share(&share);
                    }
                }
            }
        }
        shard.score_ready(&mut board, &mut out);
        scored += out.scored.len() as u64;
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "pass {pass}: {scored} events scored, {seconds:.2} s, {:.2} M events/s",
            scored as f64 / seconds / 1e6
        );
    }
    Ok(())
}
