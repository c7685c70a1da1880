//! Gives up a run whose files cannot be read to their end. What it stored stays; the lake goes on without the rest.

use super::{BackfillRun, What, passed::stored_lines, start_of};
use crate::backfill::mark_complete;
use crate::committer::commit_all;
use authpulse_event::{ArrivalTime, ShardId};
use authpulse_journal::backfills::{given_up_words, names};
use authpulse_journal::env::Env;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::open::{OpenedLake, open_lake};
use authpulse_journal::refusal::Refusal;
use authpulse_settings::options::Options;
use authpulse_worker::begin::open_existing;
use authpulse_worker::input::Input;
use authpulse_worker::poison::Poison;
use authpulse_worker::worker::{Goal, SharedTally, Worker};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Begins to give up the lake's unfinished run. Its worker flushes what waits and stores that; it needs no file.
///
/// # Errors
/// There is no unfinished run ([`ConsumerError::NothingToDo`] if it was given up already), another process works on it, or the lake
/// cannot be read.
pub async fn prepare_giving_up(env: &Env, options: Arc<Options>) -> Result<BackfillRun> {
    prepare_with(env, options, Arc::default()).await
}

/// [`prepare_giving_up`], with the lines at which earlier workers of the run panicked.
///
/// # Errors
/// As for [`prepare_giving_up`].
pub(super) async fn prepare_with(env: &Env, options: Arc<Options>, poison: Arc<Poison>) -> Result<BackfillRun> {
    env.lake.ensure_tables().await?;
    let OpenedLake { registry, mut tails, options } = open_lake(env, &options).await?;
    commit_all(env).await?;
    let key = ShardId::file();
    let run = tails.remove(&key).and_then(|tail| Some((tail.backfill.clone()?, tail)));
    let Some((backfill, tail)) = run else {
        return Err(
            Refusal::NothingToGiveUp("the lake holds no backfill: there is nothing to give up".to_owned()).into()
        );
    };
    if let Some(line) = backfill.given_up {
        // The process that gave it up may have ended before it noted that.
        mark_complete(env, tail.n).await?;
        return Err(ConsumerError::NothingToDo(given_up_words(&backfill, line)));
    }
    if backfill.finished {
        let words = "is finished: there is nothing to give up";
        let words = format!("the lake's backfill of {} {words}", names(&backfill.files));
        return Err(Refusal::NothingToGiveUp(words).into());
    }
    let lines_stored = stored_lines(&tail, &backfill)?;
    registry.set_topology(BTreeMap::from([(key.clone(), Vec::new())]), true);
    let n = tail.n;
    let opened = open_existing(env, &options, &registry, tail).await?;
    // `None` would mean that the shard has ended, but only shards of a stream end.
    let opened = opened.ok_or_else(|| ConsumerError::Fenced { shard: key.clone(), n })?;
    let input = Input::nothing(ArrivalTime::of_run(backfill.run_started), names(&backfill.files));
    let start = start_of(opened, input, Goal::GiveUp);
    let worker = Worker::new(env.clone(), options.clone(), registry.clone(), poison.clone(), start)?;
    let tally = SharedTally::default();
    Ok(BackfillRun {
        worker,
        registry,
        progress: Arc::default(),
        lines_stored,
        tally,
        what: What::GiveUp,
        options,
        poison,
    })
}
