//! Made-up logons in LANL's format, with attacks that are known: the profile `simple`. Logons in the shape of LANL's data are in
//! [`crate::lanl`].
//!
//! Each event is a line `time,user,computer`: times in whole seconds from 1 and in order, `U1…` and `C1…` numbered by first appearance, no
//! line twice. The same options give the same bytes on every machine. Attacks are put between the everyday logons without changing them
//! (only the numbers in names shift).
//!
//! The shape follows LANL's nine months: mean and rhythm of day and week, events that share user and second, few popular and many private
//! computers, new pairs ever more slowly. It departs from the data where that is too wild to show what the rules do. At LANL a hundred
//! accounts make half of all events. Here a handful of service accounts fire BURST_LOGIN all day, one or two scanners fire
//! LATERAL_MOVEMENT, and people fire either rarely.
//!
//! ```text
//! Scale (how large) -> Population (who) -> Traffic (a second's logons) -+-> Output (names, lines)
//!                                             `- read by - Attacks -----'      `-> labels
//! ```

mod attack;
mod output;
mod population;
mod rhythm;
pub(crate) mod rng;
mod scale;
#[cfg(test)]
mod tests;
mod traffic;

use std::io::{self, Write};

use crate::labels::{AttackKind, Label, LabelWriter};
use attack::Attacks;
use output::Output;
use scale::Scale;
pub use scale::{DAYS_MAX, EVENTS_MAX};
use traffic::Traffic;

/// How many events there are if neither events nor days are given.
pub const EVENTS_DEFAULT: u64 = 1_000_000;

/// How many events lie between two calls of the progress function.
const PROGRESS_EVENTS: u64 = 65_536;

/// What to generate.
///
/// With `events` alone, the days follow (a million: 3 days of 3,200 users; from 60 million on, the full network of 9,000 to 11,400 users at
/// 30 events/s). With `days` alone, the events follow at the full network's rate (2.6 million a day). With both, the network is as large as
/// that rate suggests. With neither, there are [`EVENTS_DEFAULT`] events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenerateOptions {
    /// Exactly how many everyday events, 1 to [`EVENTS_MAX`]. Those of attacks come on top.
    pub events: Option<u64>,
    /// Whole days from midnight, 1 to [`DAYS_MAX`].
    pub days: Option<u32>,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How many attacks; they take turns among the kinds of [`AttackKind`], in the later half.
    pub attacks: u32,
}

/// What was generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Everyday events.
    pub events: u64,
    /// Events of attacks, on top of those.
    pub attack_events: u64,
    /// Attacks.
    pub attacks: u32,
    /// Users that appear; the highest `U` number.
    pub users: u32,
    /// Computers that appear; the highest `C` number.
    pub computers: u32,
    /// Distinct pairs of user and computer among the everyday events.
    pub pairs: u64,
    /// Days that were asked for or followed from the events.
    pub days: u32,
    /// Time of the first line, in seconds.
    pub first_time: u64,
    /// Time of the last line, in seconds.
    pub last_time: u64,
    /// Bytes written as lines.
    pub bytes: u64,
}

impl Summary {
    /// All lines written.
    pub fn lines(&self) -> u64 {
        self.events + self.attack_events
    }
}

/// Why nothing, or not everything, was generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// `events` is out of range.
    #[error("cannot generate {events} events; give --events between 1 and {EVENTS_MAX}")]
    Events {
        /// What was given.
        events: u64,
    },

    /// `days` is out of range.
    #[error("cannot generate {days} days; give --days between 1 and {DAYS_MAX}")]
    Days {
        /// What was given.
        days: u32,
    },

    /// The lines could not be written.
    #[error(
        "cannot write the events (after {lines} lines); choose another --out, or free some space where that is what lacks"
    )]
    Write {
        /// Lines generated before.
        lines: u64,
        /// What the system says.
        source: io::Error,
    },

    /// The labels could not be written.
    #[error("cannot write the labels; choose another --labels, or free some space where that is what lacks")]
    WriteLabels {
        /// What the system says.
        source: io::Error,
    },
}

impl GenerateOptions {
    /// Refuses what cannot be generated; a command does this before it makes a file.
    ///
    /// # Errors
    /// [`GenerateError::Events`] or [`GenerateError::Days`].
    pub fn check(&self) -> Result<(), GenerateError> {
        Scale::new(self.events, self.days).map(drop)
    }
}

/// Writes the events to `out` and, for each event of an attack, a row to `labels`. `progress` is called now and then, and at the end, with
/// the lines written so far. Both writers are flushed; neither needs a buffer of its own.
///
/// Memory grows with users, computers and their pairs (some 20 MB for nine months), not with events.
///
/// # Errors
/// An option is out of range, or a file cannot be written.
pub fn generate(
    options: &GenerateOptions,
    out: impl Write,
    labels: Option<impl Write>,
    mut progress: impl FnMut(u64),
) -> Result<Summary, GenerateError> {
    let labels_error = |source| GenerateError::WriteLabels { source };
    let scale = Scale::new(options.events, options.days)?;
    let mut world = World::new(&scale, options);
    let population = &world.traffic.population;
    let mut output = Output::new(out, population.users.len(), population.computers as usize);
    let mut labels = labels.map(LabelWriter::new).transpose().map_err(labels_error)?;
    let (mut lines, mut attack_events, mut told) = (0, 0, 0);
    let (mut first_time, mut last_time) = (0, 0);
    while let Some(second) = world.next() {
        for logon in &world.logons {
            let (user, computer) =
                output.line(second, logon).map_err(|source| GenerateError::Write { lines, source })?;
            lines += 1;
            if logon.attack == 0 {
                continue;
            }
            attack_events += 1;
            if let Some(labels) = &mut labels {
                let kind = AttackKind::of(logon.attack);
                let (user, computer) = (format!("U{user}"), format!("C{computer}"));
                let label = Label { attack: logon.attack, kind, time: u64::from(second), user, computer };
                labels.write(&label).map_err(labels_error)?;
            }
        }
        if !world.logons.is_empty() {
            last_time = u64::from(second);
            first_time = if first_time == 0 { last_time } else { first_time };
        }
        if lines - told >= PROGRESS_EVENTS {
            told = lines;
            progress(lines);
        }
    }
    output.finish().map_err(|source| GenerateError::Write { lines, source })?;
    labels.map_or(Ok(()), LabelWriter::finish).map_err(labels_error)?;
    progress(lines);
    Ok(Summary {
        events: lines - attack_events,
        attack_events,
        attacks: options.attacks,
        users: output.users(),
        computers: output.computers(),
        pairs: world.traffic.population.users.iter().map(|user| user.known.len() as u64).sum(),
        days: scale.days,
        first_time,
        last_time,
        bytes: output.bytes(),
    })
}

/// Everyday traffic and attacks, a second at a time, before names are given.
struct World {
    traffic: Traffic,
    attacks: Attacks,
    second: u32,
    /// What happened in the current second, in order.
    logons: Vec<traffic::Logon>,
}

impl World {
    fn new(scale: &Scale, options: &GenerateOptions) -> World {
        World {
            traffic: Traffic::new(scale, options.seed),
            attacks: Attacks::new(scale, options.seed, options.attacks),
            second: 0,
            logons: Vec::new(),
        }
    }

    /// Goes on to the next second, and puts what happens there into `logons`; `None` when all is done.
    fn next(&mut self) -> Option<u32> {
        self.logons.clear();
        let attack = self.attacks.next_second();
        self.second = match (self.traffic.is_done(), attack) {
            (false, _) => self.second + 1,
            (true, Some(attack)) => attack.max(self.second + 1),
            (true, None) => return None,
        };
        if !self.traffic.is_done() {
            self.traffic.second(self.second, &mut self.logons);
        }
        if attack.is_some_and(|attack| attack <= self.second) {
            self.attacks.second(self.second, &self.traffic, &mut self.logons);
        }
        Some(self.second)
    }
}
