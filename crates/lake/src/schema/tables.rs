//! The columns with which each table is created, and those of the raw zone: the only list of them. The descriptions are those of the
//! statements under `ddl/`.

use super::def::{Closing, Order, Partitioning, TableDef};
use super::describe::{batch, columns};

pub(crate) mod curated {
    use super::columns;
    use crate::cells::long;
    use authpulse_engine::flags::Flag;
    use authpulse_engine::rows::RiskLevel;

    columns! {
        CuratedBatch, CuratedRow<'a>, "`auth_events_curated`",
        filled from at: crate::lines::CuratedLine<'_>;
        1 event_id: Text Never
            "the producer's own id, else hex SHA-256 of the canonical line time,user,computer"
            = out => at.event_id(out);
        2 event_time: Happened Whole
            "UTC, microseconds"
            = out => out.push(at.row.event.event_time);
        3 user_id: Text Pages
            "who, trimmed"
            = out => out.push(at.user.as_bytes());
        4 computer_id: Text Pages
            "where, trimmed"
            = out => out.push(at.computer.as_bytes());
        5 ingestion_time: Arrived Whole
            "arrival in the stream; for a backfilled file the start of the run"
            = out => out.push(at.row.event.ingestion_time);
        6 login_count_1h: Long Whole
            "events of the user in (T - 1 h, T], T being the newest accepted event_time of the user"
            = out => out.push(at.row.event.windows.logons_1h.into());
        7 login_count_24h: Long Whole
            "the same over (T - 24 h, T]"
            = out => out.push(at.row.event.windows.logons_24h.into());
        8 unique_computers_1h: Long Whole
            "distinct computers of the user in (T - 1 h, T], exact"
            = out => out.push(at.row.event.windows.computers_1h.into());
        9 unique_computers_24h: Long Whole
            "the same over (T - 24 h, T]"
            = out => out.push(at.row.event.windows.computers_24h.into());
        10 is_new_device: Int Whole
            "1 if NEW_DEVICE fires, else 0"
            = out => out.push(at.fires(Flag::NEW_DEVICE));
        11 is_burst_login: Int Whole
            "1 if BURST_LOGIN fires, else 0"
            = out => out.push(at.fires(Flag::BURST_LOGIN));
        12 is_lateral_movement: Int Whole
            "1 if LATERAL_MOVEMENT fires, else 0"
            = out => out.push(at.fires(Flag::LATERAL_MOVEMENT));
        13 is_rare_host: Int Whole
            "1 if RARE_HOST fires, else 0"
            = out => out.push(at.fires(Flag::RARE_HOST));
        14 (21) risk_flags: Texts Counts
            "the rules that fire, in the order of the rule table; empty, not null, where none does"
            = out => out.push(at.scoring.rules.names(at.row.flags));
        15 risk_score: Int Pages
            "sum of the weights of the rules that fire, 0 to 100"
            = out => out.push(at.row.score.into());
        16 risk_level: Text Whole
            "LOW 0-25, MEDIUM 26-50, HIGH 51-75, CRITICAL 76-100"
            = out => out.push(RiskLevel::of(at.row.score).name().as_bytes());
        17 processing_time: Processed Whole
            "when the row was handed to the encoder; differs between runs"
            = out => out.push(at.scoring.processing_time);
        18 event_date: Date Whole
            "day (UTC) of event_time; the partition"
            = out => out.push(at.day.0);
        19 host_popularity: MaybeLong Whole
            "popularity that RARE_HOST judged; null with fewer than min_hosts computers in the look-back"
            = out => out.push(at.row.popularity.map(long));
        20 rule_set: Text Counts
            "digest of the thresholds and weights that scored the row"
            = out => out.push(at.scoring.rule_set.as_bytes());
    }
}

pub(crate) mod hourly {
    use super::columns;
    use crate::cells::long;
    use authpulse_event::time::HOUR;

    columns! {
        HourlyBatch, HourlyRow<'a>, "`user_behavior_hourly`",
        filled from at: crate::lines::HourlyLine<'_>;
        1 window_start: Happened Whole
            "first instant of the hour; its day is the partition"
            = out => out.push(at.row.window_start);
        2 window_end: Happened Whole
            "first instant after the hour"
            = out => out.push(at.row.window_start + HOUR);
        3 user_id: Text Pages
            "who"
            = out => out.push(at.user.as_bytes());
        4 total_logins: Long Whole
            "accepted events"
            = out => out.push(long(at.row.total_logins));
        5 unique_computers: Long Whole
            "distinct computers, exact"
            = out => out.push(long(at.row.unique_computers));
        6 anomaly_count: Long Whole
            "events with a risk_score above 0"
            = out => out.push(long(at.row.anomaly_count));
        7 total_risk_score: Long Whole
            "sum of the scores"
            = out => out.push(long(at.row.total_risk_score));
        8 max_risk_score: Int Whole
            "highest score"
            = out => out.push(at.row.max_risk_score.into());
    }
}

pub(crate) mod daily {
    use super::columns;
    use crate::cells::long;

    columns! {
        DailyBatch, DailyRow<'a>, "`host_popularity_daily`",
        filled from at: &authpulse_engine::rows::DayRow;
        1 date: Date Whole
            "the day (UTC); its month is the partition"
            = out => out.push(at.day.0);
        2 computer_id: Text Pages
            "where"
            = out => out.push(at.computer.as_bytes());
        3 unique_users: Long Whole
            "distinct users"
            = out => out.push(long(at.unique_users));
        4 total_logins: Long Whole
            "accepted events"
            = out => out.push(long(at.total_logins));
        5 high_risk_events: Long Whole
            "events of level HIGH or CRITICAL"
            = out => out.push(long(at.high_risk_events));
    }
}

pub(crate) mod rejected {
    use super::columns;
    use crate::cells::long;

    columns! {
        RejectedBatch, RejectedRow<'a>, "`auth_events_rejected`",
        filled from at: crate::lines::RejectedLine<'_>;
        1 reason: Text Whole
            "invalid, misrouted, future, late, duplicate or failed"
            = out => out.push(at.row.reason.name().as_bytes());
        2 detail: Text Never
            "why, in words, with the figures that decided"
            = out => out.push(at.row.detail.as_bytes());
        3 payload: Binary Never
            "the first 64 KiB of the record, unchanged"
            = out => out.push(&at.row.payload);
        4 payload_bytes: Long Whole
            "the whole length of the record"
            = out => out.push(long(at.row.payload_bytes));
        5 shard_id: Text Whole
            "the shard that judged it; file for a backfill"
            = out => out.push(at.shard.as_str().as_bytes());
        6 sequence_number: Text Whole
            "decimal; the number of the line for a backfill"
            = out => out.push(at.row.position.sequence.to_string().as_bytes());
        7 sub_sequence_number: Long Whole
            "place within an aggregate, 0 for a record that stands alone"
            = out => out.push(long(at.row.position.sub_sequence));
        8 ingestion_time: Arrived Whole
            "arrival in the stream; for a backfilled file the start of the run"
            = out => out.push(at.row.ingestion_time);
        9 processing_time: Processed Whole
            "when the row was handed to the encoder; differs between runs"
            = out => out.push(at.processing_time);
        10 ingest_date: Date Whole
            "day (UTC) of ingestion_time; the partition"
            = out => out.push(at.day.0);
    }
}

pub(crate) mod raw {
    use super::columns;
    use crate::cells::long;

    columns! {
        RawBatch, RawRow<'a>, "the raw zone",
        filled from at: crate::lines::RawLine<'_>;
        1 stream: Text Whole
            "name of the stream; for a backfill the names of the files"
            = out => out.push(at.source.stream.as_bytes());
        2 shard_id: Text Whole
            "the shard; file for a backfill"
            = out => out.push(at.source.shard.as_str().as_bytes());
        3 sequence_number: Text Whole
            "decimal; the number of the line for a backfill"
            = out => out.push(at.sequence.as_bytes());
        4 sub_sequence_number: Long Whole
            "place within an aggregate, 0 for a record that stands alone"
            = out => out.push(long(at.row.position.sub_sequence));
        5 partition_key: Text Whole
            "as the producer sent it; empty for a backfill"
            = out => out.push(String::from_utf8_lossy(&at.row.partition_key).as_bytes());
        6 ingestion_time: Arrived Whole
            "arrival in the stream; for a backfilled file the start of the run"
            = out => out.push(at.row.ingestion_time);
        7 payload: Binary Never
            "the bytes, unchanged"
            = out => out.push(&at.row.payload);
    }
}

/// The definition of `auth_events_curated`.
pub(crate) static CURATED: TableDef = TableDef {
    name: "auth_events_curated",
    columns: curated::COLUMNS,
    time_column: "event_time",
    partitioning: Partitioning::Date("event_date"),
    order: Order::Hour("user_id"),
    closing: Closing::Events,
    fill: None,
};

/// The definition of `user_behavior_hourly`.
pub(crate) static HOURLY: TableDef = TableDef {
    name: "user_behavior_hourly",
    columns: hourly::COLUMNS,
    time_column: "window_start",
    partitioning: Partitioning::Day { column: "window_start", field: "window_start_day" },
    order: Order::Time("user_id"),
    closing: Closing::Hours,
    fill: None,
};

/// The definition of `host_popularity_daily`.
pub(crate) static DAILY: TableDef = TableDef {
    name: "host_popularity_daily",
    columns: daily::COLUMNS,
    time_column: "date",
    partitioning: Partitioning::Month { column: "date", field: "date_month" },
    order: Order::Time("computer_id"),
    closing: Closing::Days,
    fill: None,
};

/// The definition of `auth_events_rejected`.
pub(crate) static REJECTED: TableDef = TableDef {
    name: "auth_events_rejected",
    columns: rejected::COLUMNS,
    time_column: "ingestion_time",
    partitioning: Partitioning::Date("ingest_date"),
    order: Order::Arrival,
    closing: Closing::Arrivals,
    fill: None,
};

/// User and computer alone: which user was ever accepted on which computer.
pub(crate) mod pairs {
    use super::{batch, curated};
    use crate::cells::Text;

    /// The columns user and computer of rows of `auth_events_curated`.
    pub struct PairBatch {
        rows: usize,
        user_id: Text,
        computer_id: Text,
    }

    /// The user and the computer of one row.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[expect(missing_docs, reason = "two columns of the table, named and explained in the semantics")]
    pub struct PairRow<'a> {
        pub user_id: &'a str,
        pub computer_id: &'a str,
    }

    batch!(PairBatch, PairRow, curated::COLUMNS, user_id, computer_id);
}
