//! The columns of the rules behind the first four, in one file: what they say of a row against its `risk_flags`.
//!
//! That the flags are those that should have fired is seen from the row's figures (`row`); here only that the columns say the same.

use super::row::{RowRules, Wrong};
use super::tables::AuditedFile;
use authpulse_engine::flags::Flag;
use authpulse_engine::rules::{Rule, RuleSet};
use authpulse_lake::read::{CuratedRow, Value};
use authpulse_lake::schema::{Kind, becomes};

/// Those that a file has.
pub(super) struct RuleColumns {
    columns: Vec<(Flag, &'static Rule)>,
    /// Whether an entry tells of them. It tells of a column in which some row has a value, and what it tells is as one worker wrote it,
    /// with one list of rules: then each row has one.
    of_entry: bool,
}

impl RuleColumns {
    /// The columns of the later rules of this list that a file has, on or off. A column of such a name and of another type is
    /// somebody else's, and says nothing of the rule.
    pub fn of(rules: &RuleSet, file: &AuditedFile) -> RuleColumns {
        let int = Kind::Int.iceberg(0);
        let is_there = |rule: &Rule| {
            file.live.ids.later().iter().any(|column| column.name == rule.column && becomes(&int, &column.kind))
        };
        let columns = rules.later().filter(|(_, rule)| is_there(rule)).collect();
        RuleColumns { columns, of_entry: file.entry.is_some() }
    }

    /// Their names.
    pub fn names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|(_, rule)| rule.column).collect()
    }

    /// Whether they agree with what a row lists as fired; `value` gives that of the nth.
    ///
    /// A null says nothing where no entry tells of the column: its name may have been taken when the row was written, or its values
    /// may have gone with a column that was dropped.
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

/// The table may have promoted it.
fn number(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(n) => Some((*n).into()),
        Value::Long(n) => Some(*n),
        _ => None,
    }
}
