//! Checks what only the newer of two programs writes, in entries and in tables.

use crate::journals::{Journals, archived};
use crate::programs::{ATTRIBUTES_OF_BEFORE, EACH, NOTED, table};
use crate::world::World;
use authpulse_event::ATTRIBUTES;
use authpulse_lake::read::{LiveFile, Value};
use authpulse_lake::schema::FileColumn;
use authpulse_lake::{Lake, LakeError, Table};
use authpulse_service::committer::commit_all;
use std::collections::BTreeMap;

/// What only the newer program writes, by the rows that it belongs to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct New {
    /// By time, id, user and computer, since some senders give many events the same id.
    noted: BTreeMap<(i64, String, String, String), i64>,
    /// By hour and user.
    logons: BTreeMap<(i64, String), i64>,
}

impl New {
    /// How many rows have a value in the new column, and how many the new table has.
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
                    (Some(Value::Text(id)), Some(Value::Text(computer)), logons) => {
                        if logons != Some(Value::Long(n)) {
                            return Err(format!("{} says {n} of {id}, and it is {logons:?}", file.path));
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

/// Checks that each entry holds what its writer's program puts into it, and that the tables hold all of that and nothing else.
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
    // The last committer may have been of the older program, which does not know the table.
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
