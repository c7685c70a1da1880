//! The lists of two programs beside what they make of sections: columns, rules and tables, as each process is handed them.
//!
//! What both do is a function of the data; what only the newer one knows is null in the rows that the older one scored, and nobody on
//! the way may lose or change what the newer one wrote. Both score by the same four rules: a rule that is on in one program and unknown to
//! the other would make flags and scores depend on who had which shard when (docs/shape.md, section 6).

use crate::check::{Journals, archived};
use crate::logons_to_come::LOGONS;
use crate::versions::NOTES_FROM;
use crate::world::World;
use authpulse_engine::rows::ScoredEvent;
use authpulse_engine::rules::{LIST, Rule, RuleSet};
use authpulse_event::{ATTRIBUTES, Attribute};
use authpulse_lake::encode::{LaterGroup, attributes};
use authpulse_lake::read::{LiveFile, Value};
use authpulse_lake::schema::{Column, FileColumn, Group, Kind};
use authpulse_lake::{Lake, LakeError, Shape, Table};
use authpulse_oracle as oracle;
use authpulse_service::committer::commit_all;
use authpulse_settings::Options;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many of the attributes the older program knows. Those behind them are never wrong in what is sent here: of what it does not know
/// it counts nothing as dropped.
const ATTRIBUTES_OF_BEFORE: usize = 14;

/// A column that only the newer program knows: it repeats `login_count_1h`.
const NOTED: &str = "noted_to_come";

/// A rule that only the newer program knows, and that is off: it would fire on each event.
const EACH: Rule = Rule { name: "EACH", column: "is_each", weight: 40, thresholds: &[], fires: |_, _| true, ..LIST[0] };
const RULES: &[Rule] = &[LIST[0], LIST[1], LIST[2], LIST[3], EACH];

/// A table that only the newer program knows: [`LOGONS`].
fn table() -> Table {
    Table::new(&LOGONS).unwrap()
}

/// The attributes that a program knows.
fn known(newer: bool) -> &'static [Attribute] {
    if newer { ATTRIBUTES } else { &ATTRIBUTES[..ATTRIBUTES_OF_BEFORE] }
}

/// The columns and tables of a program. The newer one writes its column from a stage on, and has its table if it is started behind that.
pub fn shape(newer: bool, stage: &Arc<AtomicU64>) -> Shape {
    let mut shape = Shape { curated: vec![attributes(known(newer))], ..Shape::default() };
    if newer {
        let column = Column::later(Group::Named("notes"), NOTED, Kind::Long, "what login_count_1h says");
        let now = stage.clone();
        let has = move |_: &ScoredEvent| now.load(Ordering::SeqCst) >= NOTES_FROM;
        let notes = LaterGroup::new(vec![column], has, |row: &ScoredEvent, _| {
            Some(Value::Long(row.event.windows.logins_1h.into()))
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

/// A process's settings: those of all, with the lists of its program.
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

/// A row as a program may have it that knows only the attributes of before.
pub fn of_before(mut row: oracle::Curated) -> oracle::Curated {
    let known = known(false);
    row.attributes.retain(|column, _| known.iter().any(|attribute| attribute.column == *column));
    row
}

/// What only the newer program writes, by who it is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct New {
    /// By time, id, user and computer: of some senders many events have one id.
    noted: BTreeMap<(i64, String, String, String), i64>,
    /// By hour and user.
    logons: BTreeMap<(i64, String), i64>,
}

impl New {
    /// Rows with a value of the column, and rows of the table.
    pub fn rows(&self) -> (u64, u64) {
        (self.noted.len() as u64, self.logons.len() as u64)
    }

    async fn take(&mut self, lake: &Lake, file: &LiveFile) -> Result<(), String> {
        let names: &[&str] = if file.table == Table::CURATED {
            &["event_time", "user_id", NOTED, "event_id", "computer_id", "login_count_1h"]
        } else if file.table == table() {
            &["hour", "user_id", "logons"]
        } else {
            return Ok(());
        };
        for batch in lake.read_values(file, names, None).await.map_err(|e| e.to_string())? {
            let batch = batch.map_err(|e| e.to_string())?;
            for row in 0..batch.len() {
                let (Some(Value::Time(time)), Some(Value::Text(user))) = (batch.value(row, 0), batch.value(row, 1))
                else {
                    return Err(format!("{} holds a row without time or user", file.path));
                };
                let n = match batch.value(row, 2) {
                    None if file.table == Table::CURATED => continue,
                    Some(Value::Long(n)) => n,
                    other => return Err(format!("{} holds {other:?} for a number", file.path)),
                };
                let twice = match (batch.value(row, 3), batch.value(row, 4), batch.value(row, 5)) {
                    (Some(Value::Text(id)), Some(Value::Text(computer)), logins) => {
                        if logins != Some(Value::Long(n)) {
                            return Err(format!("{} says {n} of {id}, and it is {logins:?}", file.path));
                        }
                        let of = (time, id.to_owned(), user.to_owned(), computer.to_owned());
                        self.noted.insert(of, n).is_some()
                    }
                    _ => self.logons.insert((time, user.to_owned()), n).is_some(),
                };
                if twice {
                    return Err(format!("{} holds a row that another file holds as well", file.path));
                }
            }
        }
        Ok(())
    }
}

/// Whether each entry holds what the program of its writer puts into it, and the tables all of that and nothing else.
pub async fn hold(world: &World, journals: &Journals) -> Result<New, String> {
    if !world.versions.are_two() {
        return Ok(New::default());
    }
    let stored = world.writers.lock().unwrap().stored.clone();
    let writers: BTreeMap<_, _> = stored.into_iter().map(|(shard, n, process)| ((shard, n), process)).collect();
    let archive = archived(world).await?;
    let mut expected = New::default();
    for (_, key, entries) in journals {
        for entry in entries {
            let wrong = |what: &str| Err(format!("entry {} of {key}, of an older program, {what}", entry.n));
            let of_newer =
                writers.get(&(key.clone(), entry.n)).is_some_and(|process| world.versions.is_newest(*process));
            for file in &entry.files {
                let is_new = |column: &FileColumn| {
                    column.name == NOTED || ATTRIBUTES[ATTRIBUTES_OF_BEFORE..].iter().any(|a| a.column == column.name)
                };
                if !of_newer && file.table == table() {
                    return wrong("names a file of a table that it does not know");
                }
                if !of_newer && file.columns.iter().any(is_new) {
                    return wrong("has columns that it does not know");
                }
                if file.columns.iter().any(|column| column.name == EACH.column) {
                    return Err(format!("{} has the column of a rule that is off", file.path));
                }
                expected.take(&archive, &file.into()).await?;
            }
        }
    }
    // Whoever brought the tables up last may not have known of the table.
    commit_all(&world.outside).await.map_err(|e| e.to_string())?;
    let lake = &world.outside.lake;
    let mut found = New::default();
    for of in [Table::CURATED, table()] {
        let live = match lake.live_files(of).await {
            Err(LakeError::NoTable { .. }) => continue,
            live => live.map_err(|e| e.to_string())?,
        };
        for file in live.files {
            found.take(lake, &file).await?;
        }
    }
    if found == expected {
        return Ok(found);
    }
    Err(format!(
        "the tables hold {:?} values and rows of the newer program, its entries {:?}, or others",
        found.rows(),
        expected.rows()
    ))
}
