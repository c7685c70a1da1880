//! Spills: what of an entry can be too large for it. A spill is within its entry, or in a file of its own.

use super::codec::{EntryError, compress, decompress};
use super::events::Unscored;
use crate::sections::{Known, Sections};
use authpulse_engine::DailyCounts;
use authpulse_engine::popularity::ComputerCount;
use authpulse_event::Day;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What an entry publishes or carries on that can be large.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spill {
    /// Events accepted and not yet scored, in order of acceptance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unscored: Vec<Unscored>,
    /// Logons and distinct users per computer, of the days that are published.
    #[serde(rename = "shares", default, skip_serializing_if = "Vec::is_empty")]
    pub daily_counts: Vec<StoredDailyCounts>,
    /// High-risk counts per computer, of the days that are published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<StoredDailyCounts>,
    /// Sections that older programs do not know.
    #[serde(default, skip_serializing_if = "Sections::is_empty")]
    pub sections: Sections,
}

impl Spill {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.unscored.is_empty() && self.daily_counts.is_empty() && self.scores.is_empty() && self.sections.is_empty()
    }
    /// Roughly how many bytes of JSON it takes.
    pub fn size_estimate(&self) -> usize {
        let computers = |daily_counts: &[StoredDailyCounts]| {
            daily_counts.iter().flat_map(|s| &s.days).map(|d| d.computers.len()).sum::<usize>()
        };
        let sections =
            self.sections.iter().map(|(name, section)| name.len() + section.body.text().len()).sum::<usize>();
        let unscored = self.unscored.iter().map(Unscored::size_estimate).sum::<usize>();
        unscored + (computers(&self.daily_counts) + computers(&self.scores)) * 24 + sections
    }
}

/// Daily counts of some days: logons and users, or high-risk events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDailyCounts {
    /// The part of the ring whose users are counted.
    pub range: String,
    /// The last day published before, as days since 1970; `None` if all earlier days are published at once.
    pub after: Option<i32>,
    /// The last day published, as days since 1970.
    pub through: i32,
    /// The days that have events.
    pub days: Vec<StoredDay>,
}

/// One day of daily counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDay {
    /// Days since 1970.
    pub day: i32,
    /// For each computer: its name, logons (or high-risk events), distinct users.
    #[serde(rename = "hosts")]
    pub computers: Vec<(String, u64, u64)>,
}

impl Spill {
    /// The bytes of a spill file.
    pub fn encode(&self) -> Bytes {
        compress(&serde_json::to_vec(self).expect("a side has string keys only and serialises"))
    }

    /// Reads a spill file; `known` are the sections that the reader knows.
    ///
    /// # Errors
    /// It holds an unknown section that must be understood, or is damaged.
    pub fn decode(path: &str, bytes: &[u8], known: &dyn Known) -> Result<Spill, EntryError> {
        let damaged = |cause: String| EntryError::Damaged { what: format!("file {path}"), cause };
        let json = decompress(bytes).map_err(damaged)?;
        let spill: Spill = serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))?;
        match spill.sections.beyond(known) {
            Some(section) => Err(EntryError::Section { what: format!("file {path}"), section: section.to_owned() }),
            None => Ok(spill),
        }
    }
}

impl From<&DailyCounts> for StoredDailyCounts {
    fn from(counts: &DailyCounts) -> Self {
        let computers =
            |computers: &[ComputerCount]| computers.iter().map(|h| (h.computer.clone(), h.logons, h.users)).collect();
        StoredDailyCounts {
            range: counts.range.to_string(),
            after: counts.after.map(|d| d.0),
            through: counts.through.0,
            days: counts.days.iter().map(|(day, h)| StoredDay { day: day.0, computers: computers(h) }).collect(),
        }
    }
}

impl StoredDailyCounts {
    /// The counts as the engine has them.
    ///
    /// # Errors
    /// Text: the range cannot be parsed.
    pub fn to_daily_counts(&self) -> Result<DailyCounts, String> {
        let computer = |(computer, logons, users): &(String, u64, u64)| ComputerCount {
            computer: computer.clone(),
            logons: *logons,
            users: *users,
        };
        Ok(DailyCounts {
            range: self.range.parse()?,
            after: self.after.map(Day),
            through: Day(self.through),
            days: self.days.iter().map(|d| (Day(d.day), d.computers.iter().map(computer).collect())).collect(),
        })
    }
}
