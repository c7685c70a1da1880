//! What else differs between two programs, besides sections: the columns, rules and tables that each process gets.
//!
//! What both do follows from the data. What only the newer program knows is null in rows that the older one scored, and nothing on the way
//! may lose or change what the newer one wrote. Both score by the same four rules: if a rule were on in one program and unknown to the
//! other, flags and scores would depend on which worker had which shard when (docs/shape.md, section 6).

use crate::logons_to_come::LOGONS;
use authpulse_engine::rows::ScoredEvent;
use authpulse_engine::rules::{LIST, Rule, RuleSet};
use authpulse_event::{ATTRIBUTES, Attribute};
use authpulse_lake::encode::{LaterGroup, attributes};
use authpulse_lake::read::Value;
use authpulse_lake::schema::{Column, Group, Kind};
use authpulse_lake::{Shape, Table};
use authpulse_oracle as oracle;
use authpulse_settings::Options;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many of the attributes the older program knows. The later ones are always valid in what is sent here, since the older program counts
/// nothing as dropped that it does not know.
pub const ATTRIBUTES_OF_BEFORE: usize = 14;

/// The stage from which the newer program writes new things that may be passed over.
pub const NOTES_FROM: u64 = 1;

/// A column that only the newer program knows: it repeats `login_count_1h`.
pub const NOTED: &str = "noted_to_come";

/// A rule that only the newer program knows, and that is off: it would fire on each event.
pub const EACH: Rule =
    Rule { name: "EACH", column: "is_each", weight: 40, thresholds: &[], fires: |_, _| true, ..LIST[0] };
const RULES: &[Rule] = &[LIST[0], LIST[1], LIST[2], LIST[3], EACH];

/// A table that only the newer program knows: [`LOGONS`].
pub fn table() -> Table {
    Table::new(&LOGONS).unwrap()
}

/// The attributes that a program knows.
fn known(newer: bool) -> &'static [Attribute] {
    if newer { ATTRIBUTES } else { &ATTRIBUTES[..ATTRIBUTES_OF_BEFORE] }
}

/// The columns and tables of a program. The newer one writes its column from a stage on, and has its table if it starts after that.
pub fn shape(newer: bool, stage: &Arc<AtomicU64>) -> Shape {
    let mut shape = Shape { curated: vec![attributes(known(newer))], ..Shape::default() };
    if newer {
        let column = Column::later(Group::Named("notes"), NOTED, Kind::Long, "what login_count_1h says");
        let now = stage.clone();
        let has = move |_: &ScoredEvent| now.load(Ordering::SeqCst) >= NOTES_FROM;
        let notes = LaterGroup::new(vec![column], has, |row: &ScoredEvent, _| {
            Some(Value::Long(row.event.windows.logons_1h.into()))
        });
        shape.curated.push(notes);
        if stage.load(Ordering::SeqCst) >= NOTES_FROM {
            shape.tables.push(table());
        }
        let rules = RuleSet::of(RULES);
        assert_eq!(rules.digest(), RuleSet::default().digest(), "what is off changes nothing");
        shape = shape.with_rules(&rules);
    }
    shape
}

/// A process's settings: the common ones, with the lists of its program.
pub fn options(options: &Options, newer: bool) -> Options {
    let mut options = options.clone();
    options.engine.attributes = known(newer);
    if newer {
        let mut rules = RuleSet::of(RULES);
        for threshold in LIST.iter().flat_map(|rule| rule.thresholds) {
            let set = options.engine.rules.threshold(threshold.key).expect("both have the four rules");
            rules.set_threshold(threshold.key, set).expect("it was in bounds");
        }
        options.engine.rules = rules;
    }
    options
}

/// A row as the older program may have it, with the attributes that it knows.
pub fn of_before(mut row: oracle::Curated) -> oracle::Curated {
    let known = known(false);
    row.attributes.retain(|column, _| known.iter().any(|attribute| attribute.column == *column));
    row
}
