//! What a program knows of what is stored (docs/shape.md). It is handed in, so that one test can run programs of two versions beside each
//! other.

use crate::encode::{LaterGroup, attributes, rules};
use crate::schema::{Column, Table};
use authpulse_engine::rows::{DayRow, HourRow, RejectedRecord, ScoredEvent};
use authpulse_engine::rules::RuleSet;
use authpulse_event::ATTRIBUTES;

/// The tables and later columns that a program knows.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The tables, in the order in which a commit visits them.
    pub tables: Vec<Table>,
    /// Later columns of `auth_events_curated`, by group, in the order in which the table gains them.
    pub curated: Vec<LaterGroup<ScoredEvent>>,
    /// Later columns of `user_behavior_hourly`.
    pub hourly: Vec<LaterGroup<HourRow>>,
    /// Later columns of `host_popularity_daily`.
    pub daily: Vec<LaterGroup<DayRow>>,
    /// Later columns of `auth_events_rejected`.
    pub rejected: Vec<LaterGroup<RejectedRecord>>,
}

impl Default for Shape {
    /// The four tables of version 0.1, and a column for each attribute.
    fn default() -> Shape {
        Shape {
            tables: Table::FIRST.to_vec(),
            curated: vec![attributes(ATTRIBUTES)],
            hourly: Vec::new(),
            daily: Vec::new(),
            rejected: Vec::new(),
        }
    }
}

impl Shape {
    /// Adds the columns of those enabled rules that come after the first four.
    #[must_use]
    pub fn with_rules(mut self, set: &RuleSet) -> Shape {
        self.curated.extend(rules(set));
        self
    }

    /// The later columns of a table that this program knows, in the order in which the table gains them.
    pub fn later(&self, table: Table) -> Vec<Column> {
        if table == Table::CURATED {
            columns(&self.curated)
        } else if table == Table::HOURLY {
            columns(&self.hourly)
        } else if table == Table::DAILY {
            columns(&self.daily)
        } else if table == Table::REJECTED {
            columns(&self.rejected)
        } else {
            Vec::new()
        }
    }
}

fn columns<R>(groups: &[LaterGroup<R>]) -> Vec<Column> {
    groups.iter().flat_map(LaterGroup::columns).copied().collect()
}
