//! Writing a snapshot.

use super::{MAGIC, Piece, VERSION, VERSION_WITH_SECTIONS};
use crate::names::{ComputerId, UserId};
use crate::shard::Shard;
use crate::user::{Slot, User};
use authpulse_event::varint::put_varint;
use authpulse_event::{Day, EventTime, HashRange};
use std::collections::HashMap;

impl Shard {
    /// A snapshot of all users' state, in pieces of about `piece_bytes` bytes each.
    pub fn snapshot(&self, piece_bytes: usize) -> Vec<Piece> {
        let mut order: Vec<UserId> = self.user_names.ids().collect();
        order.sort_unstable_by_key(|id| self.users[id.index()].hash);
        let mut high_risk: HashMap<UserId, Vec<(Day, Slot, u64)>> = HashMap::new();
        for (day, counts) in &self.high_risk {
            for ((user, computer), n) in counts {
                let slot = self.users[user.index()].slot(*computer).expect("a scored computer is a pair");
                high_risk.entry(*user).or_default().push((*day, slot, *n));
            }
        }
        // A hash map has no order, but the same state must give the same bytes.
        high_risk.values_mut().for_each(|counts| counts.sort_unstable());
        let mut pieces = Vec::new();
        let mut first = self.range.first;
        let mut writer = PieceWriter::default();
        for (at, id) in order.iter().enumerate() {
            let user = &self.users[id.index()];
            let risk = high_risk.get(id).map_or(&[][..], |v| v);
            writer.user(self, self.user_names.get(*id), user, risk);
            // Users with the same hash (only tests have such) stay in one piece.
            let next = order.get(at + 1).map(|id| self.users[id.index()].hash);
            if writer.users.len() >= piece_bytes && next.is_some_and(|next| next != user.hash) {
                pieces.push(writer.finish(HashRange { first, last: user.hash }));
                first = user.hash + 1;
            }
        }
        pieces.push(writer.finish(HashRange { first, last: self.range.last }));
        pieces
    }
}

/// A named part of a piece, after its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceSection {
    /// The name by which a reader knows it.
    pub name: String,
    /// Whether a program that does not know it must refuse the piece.
    pub must: bool,
    /// The content of the section.
    pub body: Vec<u8>,
}

impl Piece {
    /// Adds sections to a piece from [`Shard::snapshot`]. With an empty list the piece stays as it is.
    #[must_use]
    pub fn with_sections(mut self, sections: &[PieceSection]) -> Piece {
        if !sections.is_empty() {
            self.bytes[MAGIC.len()] = VERSION_WITH_SECTIONS;
            put_varint(&mut self.bytes, sections.len() as u64);
            for section in sections {
                put_text(&mut self.bytes, &section.name);
                self.bytes.push(u8::from(section.must));
                put_varint(&mut self.bytes, section.body.len() as u64);
                self.bytes.extend_from_slice(&section.body);
            }
        }
        self
    }
}

#[derive(Default)]
struct PieceWriter {
    computers: Vec<u8>,
    computer_count: u64,
    numbers: HashMap<ComputerId, u64>,
    users: Vec<u8>,
    user_count: u64,
}

impl PieceWriter {
    fn user(&mut self, shard: &Shard, name: &str, user: &User, high_risk: &[(Day, Slot, u64)]) {
        self.user_count += 1;
        put_text(&mut self.users, name);
        put_varint(&mut self.users, user.computers().len() as u64);
        for computer in user.computers() {
            let number = *self.numbers.entry(*computer).or_insert_with(|| {
                put_text(&mut self.computers, shard.computers.get(*computer));
                self.computer_count += 1;
                self.computer_count - 1
            });
            put_varint(&mut self.users, number);
        }
        put_varint(&mut self.users, user.ring.len() as u64);
        let mut time = EventTime::default();
        for recent in &user.ring {
            put_signed(&mut self.users, (recent.time - time).micros());
            put_varint(&mut self.users, u64::from(recent.slot) << 2 | recent.kind as u64);
            time = recent.time;
        }
        let open_from = shard.watermark.map_or(Day(i32::MAX), Day::of);
        let open: Vec<_> = user.open_counts(open_from).collect();
        put_varint(&mut self.users, open.len() as u64);
        for (slot, day, logons) in open {
            put_varint(&mut self.users, u64::from(slot));
            put_signed(&mut self.users, i64::from(day.0));
            put_varint(&mut self.users, u64::from(logons));
        }
        // The state forgets ids that are needed no more at different times. They are left out, so that equal states give equal bytes.
        let keep_ids_from = shard.oldest_id_to_keep();
        let own = user.own_ids.iter().flat_map(|own| own.iter());
        let mut own: Vec<_> = own.filter(|(_, time, _)| *time >= keep_ids_from).collect();
        own.sort_unstable();
        put_varint(&mut self.users, own.len() as u64);
        for (id, time, slot) in own {
            put_text(&mut self.users, id);
            put_signed(&mut self.users, time.micros());
            put_varint(&mut self.users, u64::from(slot));
        }
        put_varint(&mut self.users, user.hours.len() as u64);
        for hour in &user.hours {
            put_signed(&mut self.users, hour.hour);
            for number in [hour.logons, hour.anomalies, hour.total_score, u64::from(hour.max_score)] {
                put_varint(&mut self.users, number);
            }
            put_varint(&mut self.users, hour.slots.len() as u64);
            for slot in &hour.slots {
                put_varint(&mut self.users, u64::from(*slot));
            }
        }
        put_varint(&mut self.users, high_risk.len() as u64);
        for (day, slot, n) in high_risk {
            put_signed(&mut self.users, i64::from(day.0));
            put_varint(&mut self.users, u64::from(*slot));
            put_varint(&mut self.users, *n);
        }
    }

    /// The finished piece. The writer then begins the next one and reuses its memory.
    fn finish(&mut self, range: HashRange) -> Piece {
        let mut bytes = Vec::with_capacity(self.computers.len() + self.users.len() + 32);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        put_varint(&mut bytes, self.computer_count);
        bytes.extend_from_slice(&self.computers);
        put_varint(&mut bytes, self.user_count);
        bytes.extend_from_slice(&self.users);
        self.numbers.clear();
        self.computers.clear();
        self.users.clear();
        self.computer_count = 0;
        Piece { range, users: std::mem::take(&mut self.user_count), bytes }
    }
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63) as u64);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
