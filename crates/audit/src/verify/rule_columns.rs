//! Checks the columns of the rules behind the first four, in one file, against the `risk_flags` of each row.
//!
//! `row` checks from the figures of a row which flags it should have; this module only checks that the columns say the same as the flags.

use super::row::{RowRules, Wrong};
use super::tables::AuditedFile;
use authpulse_engine::flags::Flag;
use authpulse_engine::rules::{Rule, RuleSet};
use authpulse_lake::read::{CuratedRow, Value};
use authpulse_lake::schema::{Kind, becomes};

/// The rule columns that a file has.
pub(super) struct RuleColumns {
    columns: Vec<(Flag, &'static Rule)>,
    /// Whether an entry names the file. An entry names a column only if some row has a value in it. Such a file was written by one worker
    /// with one list of rules, so then every row has a value.
    of_entry: bool,
}

impl RuleColumns {
    /// The columns of those later rules in `rules` that a file has, whether they are on or off. A column of such a name but of another
    /// type is somebody else's, and says nothing about the rule.
    pub fn of(rules: &RuleSet, file: &AuditedFile) -> RuleColumns {
        let int = Kind::Int.iceberg(0);
        let is_there = |rule: &Rule| {
            file.live.ids.later().iter().any(|column| column.name == rule.column && becomes(&int, &column.kind))
        };
        let columns = rules.later().filter(|(_, rule)| is_there(rule)).collect();
        RuleColumns { columns, of_entry: file.entry.is_some() }
    }

    /// The names of these columns.
    pub fn names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|(_, rule)| rule.column).collect()
    }

    /// Checks these columns against the rules that fired according to the row. `value` gives the row's value in the nth column.
    ///
    /// If no entry names the file, a null says nothing: the name may have been taken when the row was written, or the values may have
    /// gone when somebody dropped the column.
    ///
    /// # Errors
    /// A column is not 1 where its rule fired or not 0 where it did not, or has a value although the rule was off.
    pub fn check<'a>(
        &self,
        rules: &RowRules,
        row: &CuratedRow<'_>,
        value: impl Fn(usize) -> Option<Value<'a>>,
    ) -> Result<(), Wrong> {
        let own = row.rule_set == rules.digest;
        for (nth, (flag, rule)) in self.columns.iter().enumerate() {
            let fired = i64::from(row.risk_flags.contains(&rule.name));
            let off = own && !rules.rules.is_on(*flag);
            let found = value(nth);
            let holds = match &found {
                None => off || !self.of_entry,
                Some(found) => !off && number(found) == Some(fired),
            };
            if !holds {
                let expected = if off { "null, for the rule was off".to_owned() } else { fired.to_string() };
                let found = found.map_or("null".to_owned(), |found| match number(&found) {
                    Some(n) => n.to_string(),
                    None => format!("{found:?}"),
                });
                let what = format!("{} does not follow from risk_flags", rule.column);
                return Err((what.into(), expected, found));
            }
        }
        Ok(())
    }
}

/// The value of an integer column; the table may have promoted it from int to long.
fn number(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(n) => Some((*n).into()),
        Value::Long(n) => Some(*n),
        _ => None,
    }
}
