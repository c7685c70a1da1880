//! Reading a snapshot: each piece by itself, on any thread; then into the shard, one after another.

use super::{MAGIC, PieceSection, SnapshotError, VERSION, VERSION_WITH_SECTIONS};
use crate::names::{ComputerId, NameList, UserId};
use crate::settings::ARRIVAL_SLACK;
use crate::shard::Shard;
use crate::user::{IdKind, OpenHour, OwnIds, Recent, Slot, User};
use crate::written_hours::WrittenHours;
use authpulse_event::time::{DAY, END_TIME, HOUR, MIN_TIME, hour_of};
use authpulse_event::{Day, EventTime, HashRange, Span, ring};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Real counts lie far below this, and sums of counts below it do not overflow.
const COUNT_LIMIT: u64 = 1 << 48;
/// Real numbers of logons of one user on one computer and day lie far below this.
const LOGONS_LIMIT: u64 = 1 << 31;
/// A user takes up at least this many bytes: its name and seven counts.
const USER_BYTES_MIN: u64 = 8;
/// The most items for which a list reserves memory before it has read them.
const RESERVED_MAX: u64 = 1024;

/// Reads pieces for one shard that is being rebuilt. Cheap to clone.
#[derive(Clone)]
pub struct PieceReader {
    range: HashRange,
    /// Ids of events before this time are needed no more.
    keep_ids_from: EventTime,
    /// The first and the last day that can be open: the same or consecutive.
    open_days: RangeInclusive<Option<Day>>,
    /// The last day whose high-risk counts each part of the range has published.
    score_spans: Vec<(HashRange, Option<Day>)>,
    written: Arc<WrittenHours>,
    /// The sections that are read. Others are passed over, or refused if they must be understood.
    known: Arc<[String]>,
}

/// A piece that was read but not yet added to a shard. Its users and computers are numbered in the order in which it names them.
pub struct ReadPiece {
    computers: NameList,
    names: NameList,
    users: Vec<User>,
    high_risk: Vec<(Day, u32, Slot, u64)>,
    sections: Vec<PieceSection>,
}

impl ReadPiece {
    /// The sections of the piece that the reader knows.
    pub fn sections(&self) -> &[PieceSection] {
        &self.sections
    }
}

impl PieceReader {
    /// A reader for a shard that is being rebuilt.
    pub(crate) fn new(shard: &Shard, written: Arc<WrittenHours>) -> PieceReader {
        PieceReader {
            range: shard.range,
            keep_ids_from: shard.oldest_id_to_keep(),
            open_days: shard.watermark.map(Day::of)
                ..=shard.high_water().map(|high_water| Day::of(high_water + ARRIVAL_SLACK)),
            score_spans: shard.score_spans.clone(),
            written,
            known: Arc::default(),
        }
    }

    /// The same reader, but knowing these sections.
    #[must_use]
    pub fn knowing(self, sections: impl IntoIterator<Item = String>) -> PieceReader {
        PieceReader { known: sections.into_iter().collect(), ..self }
    }

    /// Reads those users of a piece that lie within the range.
    ///
    /// # Errors
    /// The bytes are damaged, are of a version that is too new or too old, or have an unknown section that must be understood.
    pub fn read(&self, bytes: &[u8]) -> Result<ReadPiece, SnapshotError> {
        let mut reader = ByteReader { bytes };
        if reader.take(4)? != MAGIC {
            return Err(SnapshotError::Damaged("it does not begin with its magic bytes"));
        }
        let version = reader.take(1)?[0];
        match version {
            VERSION | VERSION_WITH_SECTIONS => {}
            newer @ VERSION_WITH_SECTIONS.. => return Err(SnapshotError::Newer(newer)),
            older @ 1.. => return Err(SnapshotError::Older(older)),
            _ => return Err(SnapshotError::Damaged("it has no version")),
        }
        let mut piece = ReadPiece {
            computers: NameList::default(),
            names: NameList::default(),
            users: Vec::new(),
            high_risk: Vec::new(),
            sections: Vec::new(),
        };
        for _ in 0..reader.number()? {
            piece.computers.push(reader.text()?);
        }
        let count = reader.number()?;
        // Not by the count alone, which may be damaged.
        piece.users.reserve(count.min(bytes.len() as u64 / USER_BYTES_MIN) as usize);
        let mut parts = UserParts { last_user: vec![None; piece.computers.len()], ..UserParts::default() };
        for _ in 0..count {
            self.read_user(&mut reader, &mut piece, &mut parts)?;
        }
        if version == VERSION_WITH_SECTIONS {
            for _ in 0..reader.number()? {
                piece.sections.extend(self.read_section(&mut reader)?);
            }
        }
        if reader.bytes.is_empty() {
            Ok(piece)
        } else {
            Err(SnapshotError::Damaged("something follows what should be last"))
        }
    }

    /// The next section; `None` for one that is unknown and need not be understood.
    fn read_section(&self, reader: &mut ByteReader<'_>) -> Result<Option<PieceSection>, SnapshotError> {
        let name = reader.text()?;
        let must = reader.below(2, "a section that must be understood or not in a third way")? == 1;
        let length = reader.number()?;
        let body = reader.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        if self.known.iter().any(|known| known == name) {
            return Ok(Some(PieceSection { name: name.to_owned(), must, body: body.to_vec() }));
        }
        if must { Err(SnapshotError::Section(name.to_owned())) } else { Ok(None) }
    }

    fn read_user<'a>(
        &self,
        reader: &mut ByteReader<'a>,
        piece: &mut ReadPiece,
        parts: &mut UserParts<'a>,
    ) -> Result<(), SnapshotError> {
        let name = reader.text()?;
        let of_piece = piece.computers.len() as u64;
        let computer = |r: &mut ByteReader<'a>| {
            Ok(ComputerId::new(r.below(of_piece, "a computer that is not in the piece")? as u32))
        };
        reader.list_into(&mut parts.pairs, computer)?;
        let slots = parts.pairs.len() as u64;
        let mut time = EventTime::default();
        reader.list_into(&mut parts.ring, |r| {
            time = in_calendar(time.checked_add(r.span()?))?;
            let packed = r.number()?;
            let kind = match packed & 3 {
                0 => IdKind::Seconds,
                1 => IdKind::Rfc3339,
                2 => IdKind::Own,
                _ => return Err(SnapshotError::Damaged("an id of no kind")),
            };
            Ok(Recent { time, slot: as_slot(packed >> 2, slots)?, kind })
        })?;
        reader.list_into(&mut parts.open_days, |r| Ok((r.slot(slots)?, r.day()?, r.count(LOGONS_LIMIT)? as u32)))?;
        reader.list_into(&mut parts.own_ids, |r| {
            Ok((r.text()?, in_calendar(Some(EventTime::from_micros(r.signed()?)))?, r.slot(slots)?))
        })?;
        reader.list_into(&mut parts.hours, |r| {
            Ok(OpenHour {
                hour: hour_of(in_calendar(r.times(HOUR)?)?),
                logons: r.count(COUNT_LIMIT)?,
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
        let id = piece.users.len() as u32;
        for computer in &parts.pairs {
            if parts.last_user[computer.index()].replace(id) == Some(id) {
                return Err(SnapshotError::Damaged("a user has a computer twice"));
            }
        }
        let user = User::restore(hash, parts.pairs.clone(), &parts.ring);
        let mut user = user.ok_or(SnapshotError::Damaged("events that are not in order or not of one day"))?;
        for (own, time, slot) in parts.own_ids.drain(..) {
            user.own_ids.get_or_insert_with(Box::<OwnIds>::default).insert(own, time, slot, self.keep_ids_from);
        }
        for (slot, day, logons) in parts.open_days.drain(..).filter(|(_, day, _)| Some(*day) >= *self.open_days.start())
        {
            if !self.open_days.contains(&Some(day)) || !user.count_day(slot, day, logons) {
                return Err(SnapshotError::Damaged("a day that is not open, or is twice"));
            }
        }
        for hour in parts.hours.drain(..).filter(|h| !self.written.contains(name, h.hour)) {
            user.restore_hour(hour);
        }
        let high_risk = parts.high_risk.drain(..);
        let high_risk = high_risk.filter(|(day, ..)| !is_published(&self.score_spans, hash, *day));
        piece.high_risk.extend(high_risk.map(|(day, slot, n)| (day, id, slot, n)));
        piece.names.push(name);
        piece.users.push(user);
        Ok(())
    }
}

impl Shard {
    /// Adds the users of a piece.
    ///
    /// # Errors
    /// The shard has one of the users already. It can then not be used any more.
    pub(crate) fn take_in(&mut self, piece: ReadPiece) -> Result<(), SnapshotError> {
        let ReadPiece { computers, names, users, high_risk, sections: _ } = piece;
        let first = self.users.len() as u32;
        // Each computer's name is looked up once for the piece, not once for each user.
        let mut known: Vec<Option<ComputerId>> = vec![None; computers.len()];
        for (at, mut user) in users.into_iter().enumerate() {
            let id = self.user_names.intern(names.get(at));
            if id.index() != self.users.len() {
                return Err(SnapshotError::Damaged("a user occurs twice"));
            }
            user.renumber(|computer| {
                let known = &mut known[computer.index()];
                *known.get_or_insert_with(|| self.computers.intern(computers.get(computer.index())))
            });
            for hour in &user.hours {
                self.open_hours.entry(hour.hour).or_default().push(id);
            }
            // Only counts of open days were read.
            for (slot, day, _) in user.open_counts(Day(i32::MIN)) {
                self.touch_day(day, id, slot);
            }
            self.users.push(user);
        }
        for (day, user, slot, n) in high_risk {
            let user = UserId::new(first + user);
            let computer = self.users[user.index()].computers()[slot as usize];
            *self.high_risk.entry(day).or_default().entry((user, computer)).or_default() += n;
        }
        Ok(())
    }
}

/// Whether the high-risk counts of a day are published by the part of the range that holds the user with this hash.
pub(crate) fn is_published(spans: &[(HashRange, Option<Day>)], hash: u128, day: Day) -> bool {
    let span = spans.iter().find(|(range, _)| range.contains(hash));
    span.is_some_and(|(_, after)| after.is_some_and(|a| day <= a))
}

/// What is read of one user. The memory is reused for the next.
#[derive(Default)]
struct UserParts<'a> {
    pairs: Vec<ComputerId>,
    ring: Vec<Recent>,
    open_days: Vec<(Slot, Day, u32)>,
    own_ids: Vec<(&'a str, EventTime, Slot)>,
    hours: Vec<OpenHour>,
    high_risk: Vec<(Day, Slot, u64)>,
    /// By computer: the last user that has it.
    last_user: Vec<Option<u32>>,
}

fn as_slot(value: u64, slots: u64) -> Result<Slot, SnapshotError> {
    match Slot::try_from(value) {
        Ok(slot) if value < slots => Ok(slot),
        _ => Err(SnapshotError::Damaged("a computer that its user does not have")),
    }
}

fn in_calendar(time: Option<EventTime>) -> Result<EventTime, SnapshotError> {
    time.filter(|time| (MIN_TIME..END_TIME).contains(time)).ok_or(SnapshotError::Damaged("a time outside the calendar"))
}

struct ByteReader<'a> {
    bytes: &'a [u8],
}

impl<'a> ByteReader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], SnapshotError> {
        let (head, rest) = self.bytes.split_at_checked(n).ok_or(SnapshotError::Damaged("it ends early"))?;
        self.bytes = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<u64, SnapshotError> {
        // The fast path: most numbers are below 128.
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

    fn span(&mut self) -> Result<Span, SnapshotError> {
        self.signed().map(Span::from_micros)
    }

    /// Reads a number and returns the time that many `part`s after the beginning of 1970; `None` where that would overflow.
    fn times(&mut self, part: Span) -> Result<Option<EventTime>, SnapshotError> {
        let since_1970 = part.checked_mul(self.signed()?);
        Ok(since_1970.map(|span| EventTime::default() + span))
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
        in_calendar(self.times(DAY)?).map(Day::of)
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

    /// Reads a list into `items`, replacing what they held.
    fn list_into<T>(
        &mut self,
        items: &mut Vec<T>,
        mut item: impl FnMut(&mut Self) -> Result<T, SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let count = self.number()?;
        items.clear();
        // The count may be damaged, so it must not decide how much memory is reserved.
        items.reserve(count.min(RESERVED_MAX) as usize);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(())
    }
}
