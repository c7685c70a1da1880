//! State as bytes: what a user leaves behind in a snapshot, in pieces that each cover a range of the ring.
//!
//! ```text
//! piece  magic "APST" | version u8 | computers: n, name* | users: n, user*          users in order of their hash
//! user   name | pairs: n, computer* | ring: n, (time delta, slot * 4 + kind)*
//!        open days: n, (slot, day, logins)* | own ids: n, (id, time)* | hours: n, hour* | high risk: n, (day, slot, count)*
//! hour   hour | logins | anomalies | total | max | n, slot*
//! ```
//!
//! Numbers are LEB128 varints, signed ones zigzag; names and ids are length and bytes. Process-local numbers do not travel:
//! computers are numbered within the piece. Compression and checksums are the caller's. What passes a checksum by accident is
//! still an error where it says what cannot be, never a panic.

use crate::names::{NameId, Names};
use crate::restore::WrittenHours;
use crate::shard::Shard;
use crate::user::{IdKind, OpenHour, OwnIds, Recent, Slot, User};
use authpulse_event::time::{DAY, END_TIME, HOUR, MIN_TIME, hour_of};
use authpulse_event::{Day, HashRange, Micros, ring};
use std::collections::HashMap;

const MAGIC: &[u8; 4] = b"APST";
const VERSION: u8 = 1;
/// Counts lie far below; sums of such counts do not overflow.
const COUNT_LIMIT: u64 = 1 << 48;
/// Logins of one user on one computer and day lie far below.
const LOGINS_LIMIT: u64 = 1 << 31;
/// Items for which a list reserves memory before it has read them.
const RESERVED_MAX: u64 = 1024;

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The users within it. The pieces of a snapshot divide the shard's range.
    pub range: HashRange,
    /// How many users it holds.
    pub users: u64,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Why a piece cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a newer version; upgrade, or remove the reference and rebuild from the tables.
    #[error("state snapshot has format version {0}, this program reads up to {VERSION}; run a newer version")]
    Newer(u8),
    /// Not what was written.
    #[error("state snapshot is damaged: {0}")]
    Damaged(&'static str),
}

impl Shard {
    /// Everything known of users, in pieces of about `piece_bytes`.
    pub fn snapshot(&self, piece_bytes: usize) -> Vec<Piece> {
        let mut order: Vec<u32> = (0..self.users.len() as u32).collect();
        order.sort_unstable_by_key(|id| self.users[*id as usize].hash);
        let mut high_risk: HashMap<u32, Vec<(Day, Slot, u64)>> = HashMap::new();
        for (day, counts) in &self.high_risk {
            for ((user, computer), n) in counts {
                let slot = self.users[*user as usize].slot(*computer).expect("a scored computer is a pair");
                high_risk.entry(*user).or_default().push((*day, slot, *n));
            }
        }
        // Maps have no order, but one state has one snapshot.
        high_risk.values_mut().for_each(|counts| counts.sort_unstable());
        let mut pieces = Vec::new();
        let mut first = self.range.first;
        let mut writer = PieceWriter::default();
        for (at, id) in order.iter().enumerate() {
            let user = &self.users[*id as usize];
            let risk = high_risk.get(id).map_or(&[][..], |v| v);
            writer.user(self, self.user_names.get(*id), user, risk);
            // Users of one hash (there are none outside of tests) stay in one piece.
            let next = order.get(at + 1).map(|id| self.users[*id as usize].hash);
            if writer.users.len() >= piece_bytes && next.is_some_and(|next| next != user.hash) {
                pieces.push(std::mem::take(&mut writer).finish(HashRange { first, last: user.hash }));
                first = user.hash + 1;
            }
        }
        pieces.push(writer.finish(HashRange { first, last: self.range.last }));
        pieces
    }

    /// Adds the users of a piece that lie within the shard's range.
    ///
    /// # Errors
    /// If the bytes are not those of a piece. The shard is then unfit for use.
    pub(crate) fn load_piece(&mut self, bytes: &[u8], written: &WrittenHours) -> Result<(), SnapshotError> {
        let mut reader = Reader { bytes };
        if reader.take(4)? != MAGIC {
            return Err(SnapshotError::Damaged("it does not begin with its magic bytes"));
        }
        match reader.take(1)?[0] {
            VERSION => {}
            newer @ VERSION.. => return Err(SnapshotError::Newer(newer)),
            _ => return Err(SnapshotError::Damaged("it has no version")),
        }
        let names = reader.list(Reader::text)?;
        let mut computers = PieceComputers { known: vec![None; names.len()], names };
        let count = reader.number()?;
        let mut parts = UserParts::default();
        for _ in 0..count {
            self.load_user(&mut reader, &mut computers, &mut parts, written)?;
        }
        if reader.bytes.is_empty() { Ok(()) } else { Err(SnapshotError::Damaged("something follows the last user")) }
    }

    fn load_user<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        computers: &mut PieceComputers<'a>,
        parts: &mut UserParts<'a>,
        written: &WrittenHours,
    ) -> Result<(), SnapshotError> {
        let name = reader.text()?;
        let of_piece = computers.names.len() as u64;
        reader.list_into(&mut parts.pairs, |r| r.below(of_piece, "a computer that is not in the piece"))?;
        let slots = parts.pairs.len() as u64;
        let mut time = 0;
        reader.list_into(&mut parts.ring, |r| {
            time = in_calendar(r.signed()?.checked_add(time))?;
            let packed = r.number()?;
            let kind = match packed & 3 {
                0 => IdKind::Seconds,
                1 => IdKind::Rfc3339,
                2 => IdKind::Own,
                _ => return Err(SnapshotError::Damaged("an id of no kind")),
            };
            Ok(Recent { time, slot: as_slot(packed >> 2, slots)?, kind })
        })?;
        reader.list_into(&mut parts.open_days, |r| Ok((r.slot(slots)?, r.day()?, r.count(LOGINS_LIMIT)? as u32)))?;
        reader.list_into(&mut parts.own_ids, |r| Ok((r.text()?, in_calendar(Some(r.signed()?))?)))?;
        reader.list_into(&mut parts.hours, |r| {
            Ok(OpenHour {
                hour: hour_of(in_calendar(r.signed()?.checked_mul(HOUR))?),
                logins: r.count(COUNT_LIMIT)?,
                anomalies: r.count(COUNT_LIMIT)?,
                total_score: r.count(COUNT_LIMIT)?,
                max_score: r.below(101, "a score above 100")? as u8,
                slots: r.list(|r| r.slot(slots))?,
            })
        })?;
        reader.list_into(&mut parts.high_risk, |r| Ok((r.day()?, r.slot(slots)?, r.count(COUNT_LIMIT)?)))?;

        let hash = ring::hash_key(name.as_bytes());
        if !self.range.contains(hash) {
            return Ok(());
        }
        let id = self.user_names.intern(name);
        if (id as usize) < self.users.len() {
            return Err(SnapshotError::Damaged("a user occurs twice"));
        }
        let mut user = User::with_capacity(hash, parts.pairs.len(), parts.ring.len());
        for computer in &parts.pairs {
            let computer = computers.number(*computer as usize, &mut self.computers);
            if !user.slot_or_new(computer).1 {
                return Err(SnapshotError::Damaged("a user has a computer twice"));
            }
        }
        for recent in &parts.ring {
            user.observe(recent.time, recent.slot, recent.kind);
        }
        let keep_ids_from = self.oldest_id_to_keep();
        for (own, time) in parts.own_ids.drain(..) {
            user.own_ids.get_or_insert_with(Box::<OwnIds>::default).insert(own, time, keep_ids_from);
        }
        // None but these can be open, and no two others at once.
        let open = self.watermark.map(Day::of)..=self.front().map(Day::of);
        parts.touched.clear();
        for (slot, day, logins) in parts.open_days.drain(..).filter(|(_, day, _)| Some(*day) >= *open.start()) {
            if !open.contains(&Some(day)) || !user.count_day(slot, day, logins) {
                return Err(SnapshotError::Damaged("a day that is not open, or is twice"));
            }
            parts.touched.push((day, slot));
        }
        for hour in parts.hours.drain(..).filter(|h| !written.contains(name, h.hour)) {
            self.open_hours.entry(hour.hour).or_default().push(id);
            user.restore_hour(hour);
        }
        for (day, slot, n) in parts.high_risk.drain(..) {
            let computer = user.computers()[slot as usize];
            if !self.score_is_published(hash, day) {
                *self.high_risk.entry(day).or_default().entry((id, computer)).or_default() += n;
            }
        }
        self.users.push(user);
        for (day, slot) in parts.touched.drain(..) {
            self.touch_day(day, id, slot);
        }
        Ok(())
    }
}

/// The computers that a piece names, with the numbers they have here: a name is looked up once a piece, not once a user.
struct PieceComputers<'a> {
    names: Vec<&'a str>,
    known: Vec<Option<NameId>>,
}

impl PieceComputers<'_> {
    fn number(&mut self, at: usize, all: &mut Names) -> NameId {
        *self.known[at].get_or_insert_with(|| all.intern(self.names[at]))
    }
}

/// What is read of one user; the memory is used again for the next.
#[derive(Default)]
struct UserParts<'a> {
    pairs: Vec<u64>,
    ring: Vec<Recent>,
    open_days: Vec<(Slot, Day, u32)>,
    own_ids: Vec<(&'a str, Micros)>,
    hours: Vec<OpenHour>,
    high_risk: Vec<(Day, Slot, u64)>,
    touched: Vec<(Day, Slot)>,
}

#[derive(Default)]
struct PieceWriter {
    computers: Vec<u8>,
    computer_count: u64,
    numbers: HashMap<u32, u64>,
    users: Vec<u8>,
    user_count: u64,
}

impl PieceWriter {
    fn user(&mut self, shard: &Shard, name: &str, user: &User, high_risk: &[(Day, Slot, u64)]) {
        self.user_count += 1;
        put_text(&mut self.users, name);
        put_number(&mut self.users, user.computers().len() as u64);
        for computer in user.computers() {
            let number = *self.numbers.entry(*computer).or_insert_with(|| {
                put_text(&mut self.computers, shard.computers.get(*computer));
                self.computer_count += 1;
                self.computer_count - 1
            });
            put_number(&mut self.users, number);
        }
        put_number(&mut self.users, user.ring.len() as u64);
        let mut time = 0;
        for recent in &user.ring {
            put_signed(&mut self.users, recent.time - time);
            put_number(&mut self.users, u64::from(recent.slot) << 2 | recent.kind as u64);
            time = recent.time;
        }
        let open_from = shard.watermark.map_or(Day(i32::MAX), Day::of);
        let open: Vec<_> = user.open_counts(open_from).collect();
        put_number(&mut self.users, open.len() as u64);
        for (slot, day, logins) in open {
            put_number(&mut self.users, u64::from(slot));
            put_signed(&mut self.users, i64::from(day.0));
            put_number(&mut self.users, u64::from(logins));
        }
        // Ids that no duplicate can meet any more are forgotten at different times; none of them is written.
        let keep_ids_from = shard.oldest_id_to_keep();
        let own = user.own_ids.iter().flat_map(|own| own.iter());
        let mut own: Vec<_> = own.filter(|(_, time)| *time >= keep_ids_from).collect();
        own.sort_unstable();
        put_number(&mut self.users, own.len() as u64);
        for (id, time) in own {
            put_text(&mut self.users, id);
            put_signed(&mut self.users, time);
        }
        put_number(&mut self.users, user.hours.len() as u64);
        for hour in &user.hours {
            put_signed(&mut self.users, hour.hour);
            for number in [hour.logins, hour.anomalies, hour.total_score, u64::from(hour.max_score)] {
                put_number(&mut self.users, number);
            }
            put_number(&mut self.users, hour.slots.len() as u64);
            for slot in &hour.slots {
                put_number(&mut self.users, u64::from(*slot));
            }
        }
        put_number(&mut self.users, high_risk.len() as u64);
        for (day, slot, n) in high_risk {
            put_signed(&mut self.users, i64::from(day.0));
            put_number(&mut self.users, u64::from(*slot));
            put_number(&mut self.users, *n);
        }
    }

    fn finish(self, range: HashRange) -> Piece {
        let mut bytes = Vec::with_capacity(self.computers.len() + self.users.len() + 32);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        put_number(&mut bytes, self.computer_count);
        bytes.extend_from_slice(&self.computers);
        put_number(&mut bytes, self.user_count);
        bytes.extend_from_slice(&self.users);
        Piece { range, users: self.user_count, bytes }
    }
}

fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_number(out, (value << 1 ^ value >> 63) as u64);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn as_slot(value: u64, slots: u64) -> Result<Slot, SnapshotError> {
    match Slot::try_from(value) {
        Ok(slot) if value < slots => Ok(slot),
        _ => Err(SnapshotError::Damaged("a computer that its user does not have")),
    }
}

fn in_calendar(time: Option<Micros>) -> Result<Micros, SnapshotError> {
    time.filter(|time| (MIN_TIME..END_TIME).contains(time)).ok_or(SnapshotError::Damaged("a time outside the calendar"))
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], SnapshotError> {
        let (head, rest) = self.bytes.split_at_checked(n).ok_or(SnapshotError::Damaged("it ends early"))?;
        self.bytes = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<u64, SnapshotError> {
        // Most are below 128.
        if let [byte @ ..0x80, rest @ ..] = self.bytes {
            self.bytes = rest;
            return Ok(u64::from(*byte));
        }
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(SnapshotError::Damaged("a number has no end"))
    }

    fn signed(&mut self) -> Result<i64, SnapshotError> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn below(&mut self, limit: u64, fault: &'static str) -> Result<u64, SnapshotError> {
        let value = self.number()?;
        if value < limit { Ok(value) } else { Err(SnapshotError::Damaged(fault)) }
    }

    fn count(&mut self, limit: u64) -> Result<u64, SnapshotError> {
        self.below(limit, "a count that is too high")
    }

    fn slot(&mut self, slots: u64) -> Result<Slot, SnapshotError> {
        as_slot(self.number()?, slots)
    }

    fn day(&mut self) -> Result<Day, SnapshotError> {
        in_calendar(self.signed()?.checked_mul(DAY)).map(Day::of)
    }

    fn text(&mut self) -> Result<&'a str, SnapshotError> {
        let len = self.number()?;
        let bytes = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        std::str::from_utf8(bytes).map_err(|_| SnapshotError::Damaged("a name is not UTF-8"))
    }

    fn list<T>(&mut self, item: impl FnMut(&mut Self) -> Result<T, SnapshotError>) -> Result<Vec<T>, SnapshotError> {
        let mut items = Vec::new();
        self.list_into(&mut items, item)?;
        Ok(items)
    }

    /// Reads a list in place of what `items` held.
    fn list_into<T>(
        &mut self,
        items: &mut Vec<T>,
        mut item: impl FnMut(&mut Self) -> Result<T, SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let count = self.number()?;
        items.clear();
        // A count that the bytes cannot hold is damage; do not reserve memory for it.
        items.reserve(count.min(RESERVED_MAX) as usize);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(())
    }
}
