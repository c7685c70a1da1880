//! Writes the lines, with disturbances put in on purpose and counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, Write};

use super::plan::Plan;
use super::rng::{Purpose, Rng};
use super::traffic::Logon;
use crate::buffer::LineBuffer;

/// With disorder, so many of 1,000 lines come late.
const LATE_OF_1000: u32 = 20;
/// The most that a wrong clock is wrong, in seconds.
const SKEW_MAX_S: u32 = 7_200;
const MILLION: u32 = 1_000_000;

/// What goes wrong on purpose. Nothing of it but duplicates touches lines of attacks, so that labels name them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disturbance {
    /// One everyday line in fifty comes up to so many seconds late.
    pub disorder_s: u32,
    /// Lines that are no events.
    pub bad: u64,
    /// Of a million lines, how many stand twice.
    pub duplicates: u32,
    /// Computers whose clocks are wrong by up to two hours, half of them ahead.
    pub skewed_clocks: u32,
    /// Of a million users, how many have a name that is spelled in four ways.
    pub spellings: u32,
}

/// What went wrong: the lines of each kind in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disturbed {
    /// Lines whose time is before that of a line above, by disorder (not by a skewed clock).
    pub disordered_lines: u64,
    /// The most that one of them is late, in seconds.
    pub disorder_seconds: u64,
    /// Lines that are no events.
    pub bad_lines: u64,
    /// Second copies.
    pub duplicate_lines: u64,
    /// Computers with a skewed clock, of those that have lines.
    pub skewed_computers: u64,
    /// Lines of those computers.
    pub skewed_lines: u64,
    /// Users spelled in several ways.
    pub spelled_users: u64,
    /// Lines with another spelling than the usual one.
    pub spelled_lines: u64,
}

/// The second when it is written, the order in which it was held, its own second, the line.
type Late = (u64, u64, u64, Vec<u8>);

/// The file, and what has gone wrong in it so far.
pub(super) struct Lines<W> {
    out: LineBuffer<W>,
    /// Lines written, bad ones and copies among them.
    pub(super) lines: u64,
    /// A letter and a number for each user.
    names: Vec<(u8, u32)>,
    disturbance: Disturbance,
    any: bool,
    /// What has gone wrong so far.
    pub(super) disturbed: Disturbed,
    rng: Rng,
    late: BinaryHeap<Reverse<Late>>,
    held: u64,
    last: u64,
    bad_every: u64,
    seen: u64,
    skewed: BTreeMap<u32, (i64, bool)>,
    spelled: BTreeMap<u32, bool>,
}

impl<W: Write> Lines<W> {
    /// Nothing written yet. `events` is about how many there will be; bad lines are spread over them.
    pub(super) fn new(out: W, plan: &Plan, disturbance: Disturbance, seed: u64, events: u64) -> Lines<W> {
        let mut rng = Rng::new(seed, Purpose::LanlDisturbance);
        let (mut users, mut machines) = (0, 0);
        let names = plan.users.iter().map(|user| {
            let (letter, number) = if user.machine { (b'M', &mut machines) } else { (b'U', &mut users) };
            *number += 1;
            (letter, *number)
        });
        let mut skewed = BTreeMap::new();
        // Among the first computers, which are in any run.
        let among = (plan.computers / 10).max(disturbance.skewed_clocks.min(plan.computers));
        while skewed.len() < disturbance.skewed_clocks.min(plan.computers) as usize {
            let by = i64::from(rng.between(60, SKEW_MAX_S));
            let by = if skewed.len() % 2 == 0 { by } else { -by };
            skewed.entry(rng.below(among)).or_insert((by, false));
        }
        Lines {
            names: names.collect(),
            out: LineBuffer::new(out),
            lines: 0,
            any: disturbance != Disturbance::default(),
            bad_every: events.checked_div(disturbance.bad).unwrap_or(u64::MAX).max(1),
            disturbance,
            disturbed: Disturbed::default(),
            rng,
            late: BinaryHeap::new(),
            held: 0,
            last: 0,
            seen: 0,
            skewed,
            spelled: BTreeMap::new(),
        }
    }

    /// A user's name.
    pub(super) fn user(&self, user: u32) -> String {
        let (letter, number) = self.names[user as usize];
        format!("{}{number}", char::from(letter))
    }

    /// Writes the line of a logon, with the disturbances that are due.
    ///
    /// # Errors
    /// The file cannot be written.
    #[inline]
    pub(super) fn write(&mut self, second: u64, logon: &Logon) -> io::Result<()> {
        if self.any {
            return self.write_disturbed(second, logon);
        }
        self.lines += 1;
        self.out.put_event(second, self.names[logon.user as usize], logon.computer + 1)
    }

    fn write_disturbed(&mut self, second: u64, logon: &Logon) -> io::Result<()> {
        self.release(second)?;
        let attack = logon.attack > 0;
        if self.disturbance.bad > self.disturbed.bad_lines && self.seen / self.bad_every > self.disturbed.bad_lines {
            self.bad(second)?;
        }
        self.seen += 1;
        let mut time = second;
        // Times begin at 1: a slow clock is right as long as it would show less.
        if !attack
            && let Some((by, has_lines)) = self.skewed.get_mut(&logon.computer)
            && let Some(shown) = second.checked_add_signed(*by).filter(|&shown| shown > 0)
        {
            *has_lines = true;
            time = shown;
            self.disturbed.skewed_lines += 1;
        }
        let user = if attack { self.user(logon.user) } else { self.spelling(logon.user) };
        let line = format!("{time},{user},C{}\n", logon.computer + 1).into_bytes();
        let twice = self.rng.below(MILLION) < self.disturbance.duplicates;
        if !attack && self.disturbance.disorder_s > 0 && self.rng.below(1_000) < LATE_OF_1000 {
            self.held += 1;
            let release = second + u64::from(self.rng.between(1, self.disturbance.disorder_s));
            self.late.push(Reverse((release, self.held, second, line)));
            return Ok(());
        }
        self.last = second;
        self.put(&line)?;
        if twice {
            self.disturbed.duplicate_lines += 1;
            self.put(&line)?;
        }
        Ok(())
    }

    /// Writes the lines that were held and are due.
    fn release(&mut self, second: u64) -> io::Result<()> {
        while let Some(Reverse((release, ..))) = self.late.peek()
            && *release <= second
        {
            let Some(Reverse((_, _, time, line))) = self.late.pop() else { break };
            if time < self.last {
                self.disturbed.disordered_lines += 1;
                self.disturbed.disorder_seconds = self.disturbed.disorder_seconds.max(self.last - time);
            }
            self.put(&line)?;
        }
        Ok(())
    }

    fn bad(&mut self, second: u64) -> io::Result<()> {
        let line = match self.disturbed.bad_lines % 5 {
            0 => format!("{second},U1\n"),
            1 => format!("no time,U{},C1\n", self.rng.between(1, 99)),
            2 => format!("{second},,C1\n"),
            3 => format!("{second},U1,\n"),
            _ => format!("-{second},U1,C1\n"),
        };
        self.disturbed.bad_lines += 1;
        self.put(line.as_bytes())
    }

    fn spelling(&mut self, user: u32) -> String {
        let usual = self.user(user);
        if self.disturbance.spellings == 0 {
            return usual;
        }
        let rng = &mut self.rng;
        let spelled = match self.spelled.get(&user) {
            Some(&spelled) => spelled,
            None => {
                let spelled = rng.below(MILLION) < self.disturbance.spellings;
                self.disturbed.spelled_users += u64::from(spelled);
                self.spelled.insert(user, spelled);
                spelled
            }
        };
        let way = if spelled { rng.below(4) } else { 0 };
        self.disturbed.spelled_lines += u64::from(way > 0);
        match way {
            0 => usual,
            1 => usual.to_lowercase(),
            2 => format!("{usual}@DOM1"),
            _ => format!("DOM1\\{usual}"),
        }
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        self.lines += 1;
        self.out.put(line)
    }

    /// Writes what is left, with the bad lines that are still due, and flushes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.release(u64::MAX)?;
        while self.disturbed.bad_lines < self.disturbance.bad {
            self.bad(self.last)?;
        }
        self.disturbed.skewed_computers = self.skewed.values().filter(|(_, has_lines)| *has_lines).count() as u64;
        self.out.finish()
    }

    /// Bytes that the file has got; all of them once it is finished.
    pub(super) fn bytes(&self) -> u64 {
        self.out.written()
    }
}
