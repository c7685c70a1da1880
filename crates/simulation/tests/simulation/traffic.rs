//! Records of a made-up organisation: mostly in order, with everything mixed in that can be wrong.

use crate::rng::Rng;
use authpulse_event::EventTime;
use authpulse_event::id::sha256_hex;
use authpulse_event::time::{DEFAULT_BASE, HOUR, SECOND, format_rfc3339};
use authpulse_stream::PutRecord;

pub struct Traffic {
    rng: Rng,
    /// Whether events happen when they arrive, or are replayed from long ago.
    live: bool,
    /// The present event time.
    time: EventTime,
    users: u64,
    computers: u64,
    /// The last event, for a sender that repeats it.
    last: Option<PutRecord>,
}

impl Traffic {
    pub fn new(rng: Rng) -> Traffic {
        let mut rng = rng;
        let live = rng.per_mille(400);
        let (users, computers) = (3 + rng.below(15), 3 + rng.below(30));
        Traffic { live, time: DEFAULT_BASE + 20 * HOUR, users, computers, last: None, rng }
    }

    pub fn batch(&mut self, now: EventTime) -> Vec<PutRecord> {
        let n = 1 + self.rng.below(20);
        (0..n).map(|_| self.record(now)).collect()
    }

    fn record(&mut self, now: EventTime) -> PutRecord {
        let rng = &mut self.rng;
        if rng.per_mille(30) {
            let line = format!("junk {}", rng.below(1000));
            return PutRecord { partition_key: sha256_hex(line.as_bytes()).into(), payload: line.into() };
        }
        if let Some(last) = self.last.clone().filter(|_| rng.per_mille(20)) {
            return last;
        }
        self.time += match rng.below(100) {
            0..=69 => rng.below(90) as i64 * SECOND,
            70..=94 => rng.below(900) as i64 * SECOND,
            95..=98 => rng.below(4 * 3600) as i64 * SECOND,
            _ => rng.below(30 * 3600) as i64 * SECOND,
        };
        let now_time = if self.live { now } else { self.time };
        let time = match rng.below(100) {
            0..=84 => now_time,
            85..=94 => now_time - rng.below(310) as i64 * SECOND,
            95 => now_time - rng.below(5000) as i64 * SECOND,
            96 => now_time + rng.below(100 * 3600) as i64 * SECOND,
            _ => now_time + rng.below(320) as i64 * SECOND,
        };
        // A few users make most of the traffic.
        let user = rng.below(self.users).min(rng.below(self.users));
        let computer = if rng.per_mille(700) { user % self.computers } else { rng.below(self.computers) };
        let (user, computer) = (format!("U{user}"), format!("C{computer}"));
        // Some senders use the id for a kind of event.
        let id = if rng.per_mille(200) { format!(",\"event_id\":\"e{}\"", rng.below(40)) } else { String::new() };
        let second = (time - DEFAULT_BASE).micros().div_euclid(SECOND.micros());
        let time = if self.live || rng.per_mille(100) || second < 1 {
            format!("\"{}\"", format_rfc3339(time))
        } else {
            second.to_string()
        };
        // Written as log shippers write, and with fields that nothing reads. Nothing is drawn for this, so that seeds keep what they draw.
        let time = match second.rem_euclid(7) {
            0 => time.to_lowercase(),
            1 => time.replacen('T', " ", 1).replace('Z', "+0000"),
            2 => time.replace('.', ","),
            _ => time,
        };
        let mut payload = format!("{{\"time\":{time},\"user\":\"{user}\",\"computer\":\"{computer}\"{id}").into_bytes();
        payload.extend_from_slice(match second.rem_euclid(11) {
            0 => &b",\"host\":\"Caf\xe9\t\"}"[..],
            1 => b",\"\xff\":[NaN,-Infinity]}",
            // Attributes for a lake that takes them, and invalid ones.
            2 => b",\"source_ip\":\"10.0.0.7\",\"outcome\":\"success\",\"mfa\":true}",
            3 => b",\"lat\":47.377,\"user_agent\":\"curl \\\"8\\\"\",\"app\":null,\"device\":\"\"}",
            4 => b",\"source_ip\":\"localhost\",\"lon\":8.54,\"app\":\"a\",\"app\":\"b\"}",
            _ => b"}",
        });
        let key = if rng.per_mille(5) { format!("U{}", rng.below(self.users)) } else { user };
        let record = PutRecord { payload: payload.into(), partition_key: key.into() };
        self.last = Some(record.clone());
        record
    }
}
