//! The rows of a lake, in words, in whatever files they are. The time of scoring is left out: it depends on how often a service stepped.

use authpulse_event::id::sha256_hex;
use authpulse_lake::{Lake, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The number of rows, and a digest of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    rows: usize,
    sha256: String,
}

/// By table, and of the raw zone.
pub type Digests = BTreeMap<String, Digest>;

pub async fn digests(lake: &Lake) -> Digests {
    let mut all = Digests::new();
    for table in Table::FIRST {
        let mut rows = Vec::new();
        for file in lake.live_files(table).await.unwrap().files {
            match table.name() {
                "auth_events_curated" => {
                    for batch in lake.read_curated(&file, None).await.unwrap() {
                        rows.extend(batch.unwrap().iter().map(|r| {
                            let event = (r.event_id, r.event_time, r.user_id, r.computer_id, r.ingestion_time);
                            let logons = (r.login_count_1h, r.login_count_24h);
                            let computers = (r.unique_computers_1h, r.unique_computers_24h);
                            let rules = (r.is_new_device, r.is_burst_login, r.is_lateral_movement, r.is_rare_host);
                            let risk = (r.risk_flags, r.risk_score, r.risk_level, r.rule_set);
                            format!("{:?}", (event, logons, computers, rules, risk, r.event_date.0, r.host_popularity))
                        }));
                    }
                }
                "user_behavior_hourly" => {
                    for batch in lake.read_hourly(&file, None).await.unwrap() {
                        rows.extend(batch.unwrap().iter().map(|r| {
                            let counts = (r.total_logins, r.unique_computers, r.anomaly_count);
                            let risk = (r.total_risk_score, r.max_risk_score);
                            format!("{:?}", (r.window_start, r.window_end, r.user_id, counts, risk))
                        }));
                    }
                }
                "host_popularity_daily" => {
                    for batch in lake.read_daily(&file, None).await.unwrap() {
                        rows.extend(batch.unwrap().iter().map(|r| {
                            let counts = (r.unique_users, r.total_logins, r.high_risk_events);
                            format!("{:?}", (r.date.0, r.computer_id, counts))
                        }));
                    }
                }
                "auth_events_rejected" => {
                    for batch in lake.read_rejected(&file, None).await.unwrap() {
                        rows.extend(batch.unwrap().iter().map(|r| {
                            let place = (r.shard_id, r.sequence_number, r.sub_sequence_number);
                            let times = (r.ingestion_time, r.ingest_date.0);
                            format!("{:?}", (r.reason, r.detail, r.payload, r.payload_bytes, place, times))
                        }));
                    }
                }
                other => panic!("no reader for {other}"),
            }
        }
        all.insert(table.name().to_owned(), digest(rows));
    }
    let mut rows = Vec::new();
    for file in lake.store().list("raw/").await.unwrap() {
        for batch in lake.read_raw(&file.path).await.unwrap() {
            rows.extend(batch.unwrap().iter().map(|r| {
                let place = (r.shard_id, r.sequence_number, r.sub_sequence_number);
                format!("{:?}", (r.stream, place, r.partition_key, r.ingestion_time, r.payload))
            }));
        }
    }
    all.insert("raw".to_owned(), digest(rows));
    all
}

fn digest(mut rows: Vec<String>) -> Digest {
    rows.sort_unstable();
    Digest { rows: rows.len(), sha256: sha256_hex(rows.join("\n").as_bytes()) }
}
