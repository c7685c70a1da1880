//! The columns with which each table is made, and those of the raw zone: the one list of them. The words are those of the
//! statements under `ddl/`.

use super::{Bounds, Closing, Column, ColumnId, Kind, Order, Partitioning, TableDef};

pub(crate) static CURATED: TableDef = TableDef {
    name: "auth_events_curated",
    columns: &[
        Column::new(
            ColumnId::Fixed(1, None),
            "event_id",
            Kind::Text,
            "the producer's own id, else hex SHA-256 of the canonical line time,user,computer",
        )
        .bounds(Bounds::Never),
        Column::new(ColumnId::Fixed(2, None), "event_time", Kind::Time, "UTC, microseconds"),
        Column::new(ColumnId::Fixed(3, None), "user_id", Kind::Text, "who, trimmed").bounds(Bounds::Pages),
        Column::new(ColumnId::Fixed(4, None), "computer_id", Kind::Text, "where, trimmed").bounds(Bounds::Pages),
        Column::new(
            ColumnId::Fixed(5, None),
            "ingestion_time",
            Kind::Time,
            "arrival in the stream; for a backfilled file the start of the run",
        ),
        Column::new(
            ColumnId::Fixed(6, None),
            "login_count_1h",
            Kind::Long,
            "events of the user in (T - 1 h, T], T being the newest accepted event_time of the user",
        ),
        Column::new(ColumnId::Fixed(7, None), "login_count_24h", Kind::Long, "the same over (T - 24 h, T]"),
        Column::new(
            ColumnId::Fixed(8, None),
            "unique_computers_1h",
            Kind::Long,
            "distinct computers of the user in (T - 1 h, T], exact",
        ),
        Column::new(ColumnId::Fixed(9, None), "unique_computers_24h", Kind::Long, "the same over (T - 24 h, T]"),
        Column::new(ColumnId::Fixed(10, None), "is_new_device", Kind::Int, "1 if NEW_DEVICE fires, else 0"),
        Column::new(ColumnId::Fixed(11, None), "is_burst_login", Kind::Int, "1 if BURST_LOGIN fires, else 0"),
        Column::new(ColumnId::Fixed(12, None), "is_lateral_movement", Kind::Int, "1 if LATERAL_MOVEMENT fires, else 0"),
        Column::new(ColumnId::Fixed(13, None), "is_rare_host", Kind::Int, "1 if RARE_HOST fires, else 0"),
        Column::new(
            ColumnId::Fixed(14, Some(21)),
            "risk_flags",
            Kind::Texts,
            "the rules that fire, in the order of the rule table; empty, not null, where none does",
        )
        .bounds(Bounds::Counts),
        Column::new(
            ColumnId::Fixed(15, None),
            "risk_score",
            Kind::Int,
            "sum of the weights of the rules that fire, 0 to 100",
        )
        .bounds(Bounds::Pages),
        Column::new(
            ColumnId::Fixed(16, None),
            "risk_level",
            Kind::Text,
            "LOW 0-25, MEDIUM 26-50, HIGH 51-75, CRITICAL 76-100",
        ),
        Column::new(
            ColumnId::Fixed(17, None),
            "processing_time",
            Kind::Time,
            "when the row was handed to the encoder; differs between runs",
        ),
        Column::new(ColumnId::Fixed(18, None), "event_date", Kind::Date, "day (UTC) of event_time; the partition"),
        Column::new(
            ColumnId::Fixed(19, None),
            "host_popularity",
            Kind::Long,
            "popularity that RARE_HOST judged; null with fewer than min_hosts computers in the look-back",
        )
        .nullable(),
        Column::new(
            ColumnId::Fixed(20, None),
            "rule_set",
            Kind::Text,
            "digest of the thresholds and weights that scored the row",
        )
        .bounds(Bounds::Counts),
    ],
    time_column: "event_time",
    partitioning: Partitioning::Date("event_date"),
    order: Order::Hour("user_id"),
    closing: Closing::Events,
};

pub(crate) static HOURLY: TableDef = TableDef {
    name: "user_behavior_hourly",
    columns: &[
        Column::new(
            ColumnId::Fixed(1, None),
            "window_start",
            Kind::Time,
            "first instant of the hour; its day is the partition",
        ),
        Column::new(ColumnId::Fixed(2, None), "window_end", Kind::Time, "first instant after the hour"),
        Column::new(ColumnId::Fixed(3, None), "user_id", Kind::Text, "who").bounds(Bounds::Pages),
        Column::new(ColumnId::Fixed(4, None), "total_logins", Kind::Long, "accepted events"),
        Column::new(ColumnId::Fixed(5, None), "unique_computers", Kind::Long, "distinct computers, exact"),
        Column::new(ColumnId::Fixed(6, None), "anomaly_count", Kind::Long, "events with a risk_score above 0"),
        Column::new(ColumnId::Fixed(7, None), "total_risk_score", Kind::Long, "sum of the scores"),
        Column::new(ColumnId::Fixed(8, None), "max_risk_score", Kind::Int, "highest score"),
    ],
    time_column: "window_start",
    partitioning: Partitioning::Day { column: "window_start", field: "window_start_day" },
    order: Order::Time("user_id"),
    closing: Closing::Hours,
};

pub(crate) static DAILY: TableDef = TableDef {
    name: "host_popularity_daily",
    columns: &[
        Column::new(ColumnId::Fixed(1, None), "date", Kind::Date, "the day (UTC); its month is the partition"),
        Column::new(ColumnId::Fixed(2, None), "computer_id", Kind::Text, "where").bounds(Bounds::Pages),
        Column::new(ColumnId::Fixed(3, None), "unique_users", Kind::Long, "distinct users"),
        Column::new(ColumnId::Fixed(4, None), "total_logins", Kind::Long, "accepted events"),
        Column::new(ColumnId::Fixed(5, None), "high_risk_events", Kind::Long, "events of level HIGH or CRITICAL"),
    ],
    time_column: "date",
    partitioning: Partitioning::Month { column: "date", field: "date_month" },
    order: Order::Time("computer_id"),
    closing: Closing::Days,
};

pub(crate) static REJECTED: TableDef = TableDef {
    name: "auth_events_rejected",
    columns: &[
        Column::new(
            ColumnId::Fixed(1, None),
            "reason",
            Kind::Text,
            "invalid, misrouted, future, late, duplicate or failed",
        ),
        Column::new(ColumnId::Fixed(2, None), "detail", Kind::Text, "why, in words, with the figures that decided")
            .bounds(Bounds::Never),
        Column::new(ColumnId::Fixed(3, None), "payload", Kind::Binary, "the first 64 KiB of the record, unchanged")
            .bounds(Bounds::Never),
        Column::new(ColumnId::Fixed(4, None), "payload_bytes", Kind::Long, "the whole length of the record"),
        Column::new(ColumnId::Fixed(5, None), "shard_id", Kind::Text, "the shard that judged it; file for a backfill"),
        Column::new(
            ColumnId::Fixed(6, None),
            "sequence_number",
            Kind::Text,
            "decimal; the number of the line for a backfill",
        ),
        Column::new(
            ColumnId::Fixed(7, None),
            "sub_sequence_number",
            Kind::Long,
            "place within an aggregate, 0 for a record that stands alone",
        ),
        Column::new(
            ColumnId::Fixed(8, None),
            "ingestion_time",
            Kind::Time,
            "arrival in the stream; for a backfilled file the start of the run",
        ),
        Column::new(
            ColumnId::Fixed(9, None),
            "processing_time",
            Kind::Time,
            "when the row was handed to the encoder; differs between runs",
        ),
        Column::new(ColumnId::Fixed(10, None), "ingest_date", Kind::Date, "day (UTC) of ingestion_time; the partition"),
    ],
    time_column: "ingestion_time",
    partitioning: Partitioning::Date("ingest_date"),
    order: Order::Arrival,
    closing: Closing::Arrivals,
};

/// See [`super::raw_columns`].
pub(super) static RAW: &[Column] = &[
    Column::new(
        ColumnId::Fixed(1, None),
        "stream",
        Kind::Text,
        "name of the stream; for a backfill the names of the files",
    ),
    Column::new(ColumnId::Fixed(2, None), "shard_id", Kind::Text, "the shard; file for a backfill"),
    Column::new(
        ColumnId::Fixed(3, None),
        "sequence_number",
        Kind::Text,
        "decimal; the number of the line for a backfill",
    ),
    Column::new(
        ColumnId::Fixed(4, None),
        "sub_sequence_number",
        Kind::Long,
        "place within an aggregate, 0 for a record that stands alone",
    ),
    Column::new(ColumnId::Fixed(5, None), "partition_key", Kind::Text, "as the producer sent it; empty for a backfill"),
    Column::new(
        ColumnId::Fixed(6, None),
        "ingestion_time",
        Kind::Time,
        "arrival in the stream; for a backfilled file the start of the run",
    ),
    Column::new(ColumnId::Fixed(7, None), "payload", Kind::Binary, "the bytes, unchanged").bounds(Bounds::Never),
];
