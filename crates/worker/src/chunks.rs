//! The files of the entry in the making: chunks of its rows are encoded and put on other threads while more rows pile up.

use crate::columns::Asking;
use authpulse_engine::Shard;
use authpulse_engine::rows::ScoredEvent;
use authpulse_journal::env::{Env, start};
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_lake::encode::{CuratedRows, encode_curated};
use authpulse_lake::store::put_once;
use authpulse_lake::{EncodedFile, Table, TableFile};
use authpulse_settings::options::Options;
use futures::future::BoxFuture;
use std::collections::VecDeque;

/// Chunks that may be under way on other threads, per entry. Each holds its rows and its encoded bytes.
const CHUNKS_UNDER_WAY: usize = 3;

type Files = Result<Vec<TableFile>>;

/// See the module.
pub struct Chunks {
    /// Names the entry's files; becomes its commit id.
    pub commit_id: String,
    begun: u32,
    under_way: VecDeque<BoxFuture<'static, Option<Files>>>,
    files: Vec<TableFile>,
}

impl Chunks {
    /// No files yet, for an entry with a fresh commit id.
    pub fn new(env: &Env) -> Chunks {
        Chunks { commit_id: env.ids.commit_id(), begun: 0, under_way: VecDeque::new(), files: Vec::new() }
    }

    /// Sends scored rows to be encoded and put. Waits while too many chunks are under way.
    ///
    /// # Errors
    /// An earlier chunk could not be encoded or put.
    pub async fn add_rows(
        &mut self,
        env: &Env,
        options: &Options,
        (shard, asking): (&Shard, &Asking),
        rows: Vec<ScoredEvent>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        while self.under_way.len() >= CHUNKS_UNDER_WAY {
            self.wait_for_one().await?;
        }
        let (users, computers) = (shard.user_names().view(), shard.computer_names().view());
        let (base, rules) = (options.engine.time.base, options.engine.rules.clone());
        let (encode, processing_time) = (options.encode, env.clock.now());
        let (world, asking) = (env.clone(), asking.clone());
        let encoded = async move {
            let later = asking.later(&world, Table::CURATED, &world.lake.shape().curated, &rows).await?;
            let _turn = world.work.turn().await;
            let (users, computers, rule_set) = (&users, &computers, &*rules.digest());
            let input = CuratedRows {
                rows: &rows,
                users,
                computers,
                base,
                rules: &rules,
                rule_set,
                processing_time,
                later: later.as_ref(),
            };
            Ok(encode_curated(&input, &encode)?)
        };
        self.start(env, encoded);
        Ok(())
    }

    /// Starts to encode and put other rows of the entry.
    pub fn start(&mut self, env: &Env, encoded: impl Future<Output = Result<Vec<EncodedFile>>> + Send + 'static) {
        let unique = format!("{}-{:02}", self.commit_id, self.begun);
        self.begun += 1;
        let store = env.store.clone();
        self.under_way.push_back(start(&*env.work, async move {
            let mut files = Vec::new();
            for (part, encoded) in encoded.await?.into_iter().enumerate() {
                let path = encoded.path(&format!("{unique}-{part}"));
                let (file, bytes) = encoded.finish(path);
                put_once(&*store, &file.path, bytes).await?;
                files.push(file);
            }
            Ok(files)
        }));
    }

    async fn wait_for_one(&mut self) -> Result<()> {
        if let Some(chunk) = self.under_way.pop_front() {
            let files = chunk.await.ok_or(ConsumerError::Bug("encoding rows".to_owned()))??;
            self.files.extend(files);
        }
        Ok(())
    }

    /// Waits for all chunks. Returns their files, in the order in which their rows came.
    ///
    /// # Errors
    /// A chunk could not be encoded or put.
    pub async fn finish(mut self) -> Files {
        while !self.under_way.is_empty() {
            self.wait_for_one().await?;
        }
        Ok(self.files)
    }
}
