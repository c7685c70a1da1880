//! Records of a made-up organisation: mostly in order, with everything that can be wrong mixed in. Times are seconds since the base of
//! integer times, from noon of the first day on.

use crate::world::Chance;
use authpulse_event::time::{DEFAULT_BASE, SECOND, format_rfc3339};

pub struct Traffic {
    chance: Chance,
    /// The event time reached so far, in seconds.
    pub time: u64,
    /// Whether some senders give ids of their own.
    own_ids: bool,
    last: Option<(String, Vec<u8>)>,
}

impl Traffic {
    pub fn new(seed: u64, own_ids: bool) -> Traffic {
        Traffic { chance: Chance(seed), time: 43_200, own_ids, last: None }
    }

    /// The key and the payload of a record.
    pub fn record(&mut self) -> (String, Vec<u8>) {
        let chance = &mut self.chance;
        match (chance.below(100), self.last.clone()) {
            (0..=2, _) => {
                let line = format!("junk {}", chance.below(1_000));
                return (line.clone(), line.into_bytes());
            }
            (3..=4, Some(last)) => return last,
            _ => {}
        }
        self.time += match chance.below(100) {
            0..=69 => chance.below(90),
            70..=96 => chance.below(900),
            97..=98 => chance.below(4 * 3_600),
            _ => chance.below(20 * 3_600),
        };
        let time = match chance.below(100) {
            0..=87 => self.time,
            88..=94 => self.time - chance.below(310),
            95 => self.time - chance.below(5_000),
            96 => self.time + 5 * 3_600 + chance.below(50 * 3_600),
            _ => self.time + chance.below(320),
        };
        // Few users make most of the traffic.
        let user = chance.below(40).min(chance.below(40));
        let computer = if chance.below(10) < 7 { user % 25 } else { chance.below(60) };
        let id = match self.own_ids && chance.below(5) == 0 {
            true => format!(",\"event_id\":\"e{}\"", chance.below(60)),
            false => String::new(),
        };
        let time = match chance.below(10) {
            0 => format!("\"{}\"", format_rfc3339(DEFAULT_BASE + time as i64 * SECOND)),
            _ => time.to_string(),
        };
        // A field that nothing reads, and that need not be text.
        let rest: &[u8] = if chance.below(20) == 0 { b",\"host\":\"Caf\xe9\"}" } else { b"}" };
        let mut payload =
            format!("{{\"time\":{time},\"user\":\"U{user}\",\"computer\":\"C{computer}\"{id}").into_bytes();
        payload.extend_from_slice(rest);
        let key = if chance.below(100) == 0 { "elsewhere".to_owned() } else { format!("U{user}") };
        self.last = Some((key.clone(), payload.clone()));
        (key, payload)
    }

    /// Records as lines of a file.
    pub fn lines(&mut self, n: usize) -> String {
        let records: Vec<_> = (0..n).map(|_| self.record().1).collect();
        let line = |payload: &Vec<u8>| String::from_utf8_lossy(payload).into_owned() + "\n";
        records.iter().map(line).collect()
    }
}
