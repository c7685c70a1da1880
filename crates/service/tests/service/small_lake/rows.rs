//! Rows of a curated file, which tests change and write again.

use super::SmallLake;
use authpulse_engine::flags::Flags;
use authpulse_engine::names::{ComputerNames, UserNames};
use authpulse_engine::rows::{AcceptedEvent, EventId, ScoredEvent, Windows};
use authpulse_engine::rules::RuleSet;
use authpulse_event::ProcessingTime;
use authpulse_event::time::DEFAULT_BASE;
use authpulse_lake::encode::{CuratedRows, Later, encode_curated};
use authpulse_lake::read::LiveFile;
use authpulse_lake::{EncodeOptions, TableFile};

/// Rows as the engine hands them over.
pub struct EditedRows {
    pub rows: Vec<ScoredEvent>,
    users: UserNames,
    computers: ComputerNames,
    pub rules: RuleSet,
    rule_set: String,
    processing_time: ProcessingTime,
    /// The later columns that are written.
    pub later: Option<Later<ScoredEvent>>,
}

impl EditedRows {
    /// Reads a file of the default rules' rows.
    pub async fn read(lake: &SmallLake, file: &TableFile) -> EditedRows {
        EditedRows::read_under(RuleSet::default(), lake, file).await
    }

    /// Reads a file of these rules' rows.
    pub async fn read_under(rules: RuleSet, lake: &SmallLake, file: &TableFile) -> EditedRows {
        let mut edited = EditedRows {
            rules,
            rows: Vec::new(),
            users: UserNames::default(),
            computers: ComputerNames::default(),
            rule_set: String::new(),
            processing_time: ProcessingTime::default(),
            later: None,
        };
        for batch in lake.env.lake.read_curated(&LiveFile::from(file), None).await.unwrap() {
            for row in batch.unwrap().iter() {
                let flags: Flags = row.risk_flags.iter().map(|name| edited.rules.flag(name).unwrap()).collect();
                edited.rule_set = row.rule_set.to_owned();
                edited.processing_time = row.processing_time;
                edited.rows.push(ScoredEvent {
                    event: AcceptedEvent {
                        event_time: row.event_time,
                        ingestion_time: row.ingestion_time,
                        user: edited.users.intern(row.user_id),
                        computer: edited.computers.intern(row.computer_id),
                        id: EventId::Own(row.event_id.into()),
                        windows: Windows {
                            logons_1h: row.login_count_1h as u32,
                            logons_24h: row.login_count_24h as u32,
                            computers_1h: row.unique_computers_1h as u32,
                            computers_24h: row.unique_computers_24h as u32,
                        },
                        new_device: row.is_new_device == 1,
                        attributes: Default::default(),
                    },
                    popularity: row.host_popularity.map(|p| p as u64),
                    flags,
                    score: row.risk_score as u8,
                });
            }
        }
        edited
    }

    /// Writes the rows into new files of at most this many rows.
    pub async fn write(&self, lake: &SmallLake, max_rows_per_file: usize) -> Vec<TableFile> {
        let (users, computers) = (self.users.view(), self.computers.view());
        let input = CuratedRows {
            rows: &self.rows,
            users: &users,
            computers: &computers,
            base: DEFAULT_BASE,
            rules: &self.rules,
            rule_set: &self.rule_set,
            processing_time: self.processing_time,
            later: self.later.as_ref(),
        };
        let options = EncodeOptions { max_rows_per_file, ..EncodeOptions::default() };
        let mut files = Vec::new();
        for encoded in encode_curated(&input, &options).unwrap() {
            let path = encoded.path(&format!("edited-{}", lake.files("warehouse/").await.len()));
            let (file, bytes) = encoded.finish(path);
            lake.env.store.put_new(&file.path, bytes).await.unwrap();
            files.push(file);
        }
        files
    }
}
