//! Converts rows, settings and ranges between the types of the engine and those of the oracle.

use authpulse_engine::flags::Flag;
use authpulse_engine::rows::{EventId, HourRow, RejectedRecord, RiskLevel, ScoredEvent};
use authpulse_engine::rules::RuleSet;
use authpulse_engine::settings::TimeRules;
use authpulse_engine::{Settings, Shard, StoredRow, rows::DayRow};
use authpulse_event::id::{canonical_line, content_id};
use authpulse_event::time::{HOUR, SECOND};
use authpulse_event::{AttributeValue, Attributes, Day, EventModel, EventTime, HashRange};
use authpulse_oracle::{Curated, Daily, Hourly, Rejected, attributes as oracle};

/// The oracle's settings as the engine's.
pub fn settings(oracle: &authpulse_oracle::Settings) -> Settings {
    let number = |value: i64| u32::try_from(value).expect("a small number");
    let settings = Settings {
        time: TimeRules {
            base: EventTime::from_micros(oracle.base_micros),
            tolerance: oracle.tolerance * SECOND,
            max_jump: oracle.max_jump * SECOND,
            lookback_days: number(oracle.lookback),
            settle: oracle.settle * SECOND,
            event_model: EventModel::from_number(oracle.event_model).expect("1 or 2"),
        },
        rules: rules(oracle),
        ..Settings::default()
    };
    assert_eq!(settings.faults(), Vec::<String>::new());
    settings
}

/// The four rules with the oracle's weights and thresholds.
fn rules(oracle: &authpulse_oracle::Settings) -> RuleSet {
    let mut rules = RuleSet::default();
    for (flag, weight) in Flag::FIRST.into_iter().zip(oracle.weights) {
        rules.set_weight(flag, u8::try_from(weight).expect("at most 100"));
    }
    let thresholds =
        [("burst_over", oracle.burst_over), ("lateral_from", oracle.lateral_at_least), ("min_hosts", oracle.min_hosts)];
    for (key, value) in thresholds {
        rules.set_threshold(key, u32::try_from(value).expect("a small number")).expect("a threshold of the four");
    }
    rules
}

/// A range of the ring from its first and last place.
pub fn range((first, last): (u128, u128)) -> HashRange {
    HashRange { first, last }
}

/// A scored event of a shard as a row of the oracle, with its names and id.
pub fn curated(shard: &Shard, row: &ScoredEvent) -> Curated {
    let event = &row.event;
    let (user, computer) = (shard.user_names().get(event.user), shard.computer_names().get(event.computer));
    let event_id = match &event.id {
        EventId::Own(id) => id.to_string(),
        EventId::Content(form) => {
            let mut line = Vec::new();
            canonical_line(&mut line, shard.settings().time.base, event.event_time, *form, user, computer);
            content_id(&line).map(char::from).iter().collect()
        }
    };
    let fires = |flag| i32::from(row.flags.has(flag));
    Curated {
        event_time: event.event_time.micros(),
        event_id,
        user_id: user.to_owned(),
        computer_id: computer.to_owned(),
        login_count_1h: event.windows.logons_1h.into(),
        login_count_24h: event.windows.logons_24h.into(),
        unique_computers_1h: event.windows.computers_1h.into(),
        unique_computers_24h: event.windows.computers_24h.into(),
        is_new_device: fires(Flag::NEW_DEVICE),
        is_burst_login: fires(Flag::BURST_LOGIN),
        is_lateral_movement: fires(Flag::LATERAL_MOVEMENT),
        is_rare_host: fires(Flag::RARE_HOST),
        risk_flags: shard.settings().rules.names(row.flags).collect(),
        risk_score: row.score.into(),
        risk_level: RiskLevel::of(row.score).name(),
        host_popularity: row.popularity.map(count),
        event_date: Day::of(event.event_time).0,
        attributes: attributes(&event.attributes),
        shard: 0,
    }
}

/// The attributes of an event, by column.
pub fn attributes(attributes: &Attributes) -> oracle::Attributes {
    let value = |value| match value {
        AttributeValue::Text(text) => oracle::Value::Text(text.to_owned()),
        AttributeValue::Int(n) => oracle::Value::Flag(n == 1),
        AttributeValue::Double(n) => oracle::Value::Hundredths((n * 100.0).round() as i64),
    };
    attributes.iter().map(|(attribute, of_event)| (attribute.column, value(of_event))).collect()
}

/// The columns of a row that restoring reads.
pub fn stored(row: &Curated) -> StoredRow<'_> {
    StoredRow {
        event_id: &row.event_id,
        time: EventTime::from_micros(row.event_time),
        user: &row.user_id,
        computer: &row.computer_id,
        score: u8::try_from(row.risk_score).expect("at most 100"),
    }
}

/// A dead letter as a row of the oracle.
pub fn rejected(row: RejectedRecord) -> Rejected {
    Rejected { reason: row.reason.name(), payload: row.payload, payload_bytes: count(row.payload_bytes) }
}

/// A user's hour as a row of the oracle, with the user's name.
pub fn hourly(shard: &Shard, row: &HourRow) -> Hourly {
    Hourly {
        window_start: row.window_start.micros(),
        window_end: (row.window_start + HOUR).micros(),
        user_id: shard.user_names().get(row.user).to_owned(),
        total_logins: count(row.total_logins),
        unique_computers: count(row.unique_computers),
        anomaly_count: count(row.anomaly_count),
        total_risk_score: count(row.total_risk_score),
        max_risk_score: row.max_risk_score.into(),
    }
}

/// A computer's day as a row of the oracle.
pub fn daily(row: DayRow) -> Daily {
    Daily {
        date: row.day.0,
        computer_id: row.computer,
        unique_users: count(row.unique_users),
        total_logins: count(row.total_logins),
        high_risk_events: count(row.high_risk_events),
    }
}

fn count(value: u64) -> i64 {
    i64::try_from(value).expect("a count")
}
