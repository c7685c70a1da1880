//! Where the later columns of `auth_events_curated` get their values: the attributes of an event, and the rules after the first four.

use super::LaterGroup;
use crate::cells::Value;
use crate::schema::{Bounds, Column, Group, Kind};
use authpulse_engine::rows::ScoredEvent;
use authpulse_engine::rules::RuleSet;
use authpulse_event::attributes::{Attribute, AttributeKind, AttributeValue};

/// The description of a rule's column; the column's name says which rule.
const RULE_DOC: &str = "1 if the rule fires, else 0; null where it was not on";

/// A column for each of these attributes, in their order.
pub fn attributes(list: &'static [Attribute]) -> LaterGroup<ScoredEvent> {
    let column = |attribute: &Attribute| {
        let kind = match attribute.kind() {
            AttributeKind::Text => Kind::Text,
            AttributeKind::Int => Kind::Int,
            AttributeKind::Double => Kind::Double,
        };
        Column::later(Group::Attributes, attribute.column, kind, attribute.doc).bounds(Bounds::Whole)
    };
    LaterGroup::new(
        list.iter().map(column).collect(),
        |row: &ScoredEvent| !row.event.attributes.is_empty(),
        |row, nth| {
            Some(match row.event.attributes.get(&list[nth])? {
                AttributeValue::Text(text) => Value::Text(text),
                AttributeValue::Int(number) => Value::Int(number),
                AttributeValue::Double(number) => Value::Double(number),
            })
        },
    )
}

/// A group for each enabled rule after the first four: a row that such a rule helped to score says whether it fired. The columns of rules
/// that are off are left out of files, but stay in the table.
pub fn rules(rules: &RuleSet) -> Vec<LaterGroup<ScoredEvent>> {
    let on = rules.later().filter(|(flag, _)| rules.is_on(*flag));
    let group = on.map(|(flag, rule)| {
        LaterGroup::new(
            vec![Column::later(Group::Rule(rule.name), rule.column, Kind::Int, RULE_DOC)],
            |_: &ScoredEvent| true,
            move |row, _| Some(Value::Int(i32::from(row.flags.has(flag)))),
        )
    });
    group.collect()
}
