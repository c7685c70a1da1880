//! What a program knows of what is stored (docs/shape.md): handed in, so that programs of two versions can run beside each other
//! in one test.

use crate::encode::{LaterGroup, attributes, rules};
use crate::schema::{Column, Table};
use authpulse_engine::rows::{DayRow, HourRow, RejectedRecord, ScoredEvent};
use authpulse_engine::rules::RuleSet;
use authpulse_event::ATTRIBUTES;

/// The lists that a program goes by.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The tables, in the order in which a commit visits them.
    pub tables: Vec<Table>,
    /// Later columns of `auth_events_curated`, group by group in the order in which they come into the table.
    pub curated: Vec<LaterGroup<ScoredEvent>>,
    /// Those of `user_behavior_hourly`.
    pub hourly: Vec<LaterGroup<HourRow>>,
    /// Those of `host_popularity_daily`.
    pub daily: Vec<LaterGroup<DayRow>>,
    /// Those of `auth_events_rejected`.
    pub rejected: Vec<LaterGroup<RejectedRecord>>,
}

impl Default for Shape {
    /// The four tables of 0.1, and a column for each attribute.
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
    /// With the columns of the rules behind the first four that are on.
    #[must_use]
    pub fn with_rules(mut self, set: &RuleSet) -> Shape {
        self.curated.extend(rules(set));
        self
    }

    /// The later columns of a table that this program knows, in the order in which they come into it.
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
