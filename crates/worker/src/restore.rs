//! Rebuilds a shard's state from what is stored: from the newest snapshot and the rows written since, or, if that snapshot or one of those
//! files is lost, from the whole curated table.

use authpulse_engine::{PieceReader, ReadPiece, Restoring, Settings, Shard, SnapshotError, SourceKind, StoredRow};
use authpulse_event::id::sha256_hex;
use authpulse_event::{HashRange, ShardId};
use authpulse_journal::env::{Env, start_urgent};
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::log::{entry_of, read_parents, read_spill};
use authpulse_lake::entry::{Entry, EntryError, Source};
use authpulse_lake::read::{CuratedBatch, LiveFile, Rows};
use authpulse_lake::{LakeError, ObjectStore, StoreError, Table};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::Arc;
use zstd::zstd_safe::get_frame_content_size;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::restore";

/// A decompressed piece is at most this large, in bytes.
const MAX_PIECE_BYTES: u64 = 1 << 31;

/// Entries, of some kilobytes each, that are read at the same time. On S3 each wait is some 20 to 100 ms, and the former owner of a shard
/// that moves has stopped already.
const ENTRIES_AT_ONCE: usize = 32;
/// Files of rows, of some 10 MB at most (`chunk_rows`), that are read at the same time.
const FILES_AT_ONCE: usize = 16;
/// Pieces of a snapshot, of some 10 MB each, that are read at the same time.
const PIECES_AT_ONCE: usize = 3;

/// The kind of input behind an entry.
pub fn source_kind(source: &Source) -> SourceKind {
    match source {
        Source::File => SourceKind::File,
        Source::Stream { .. } => SourceKind::Stream,
    }
}

/// Rebuilds the shard as of `tail`, its last entry; only the users within `range`.
///
/// # Errors
/// An entry, a file or the table cannot be read, or something stored was written by a newer program.
pub async fn restore(env: &Env, settings: &Settings, tail: &Entry, range: HashRange) -> Result<Shard> {
    match from_snapshot(env, settings, tail, range).await {
        Ok(shard) => Ok(shard),
        Err(Lost::Snapshot(why)) => {
            tracing::warn!(target: TARGET, shard = %tail.shard, %why, "the state is rebuilt from the curated table, which takes longer");
            from_table(env, settings, tail, range).await
        }
        Err(Lost::Older(why)) => {
            let words = "the snapshot of the state was written by an older version: the state is rebuilt from \
                         the curated table, which takes longer, until this version has stored one";
            tracing::warn!(target: TARGET, shard = %tail.shard, %why, "{words}");
            from_table(env, settings, tail, range).await
        }
        Err(Lost::Other(error)) => Err(error),
    }
}

/// Why a snapshot could not be used.
enum Lost {
    /// The snapshot, or a file written since, is lost: the state is rebuilt from the table.
    Snapshot(String),
    /// The snapshot is whole, but of an older version that this program does not read: the state is rebuilt from the table, too.
    Older(String),
    /// Anything else.
    Other(ConsumerError),
}

impl Lost {
    /// Why a piece was not taken in.
    fn piece(path: &str, error: &SnapshotError) -> Lost {
        match error {
            SnapshotError::Older(_) => Lost::Older(format!("{path}: {error}")),
            SnapshotError::Damaged(_) => Lost::Snapshot(format!("{path}: {error}")),
            // The table does not hold what this piece says: only a program that understands it may go on.
            SnapshotError::Newer(_) | SnapshotError::Section(_) => {
                Lost::Other(ConsumerError::Snapshot { path: path.to_owned(), source: error.clone() })
            }
        }
    }
}

impl<E: Into<ConsumerError>> From<E> for Lost {
    fn from(error: E) -> Self {
        match error.into() {
            ConsumerError::Store(error @ StoreError::NotFound { .. }) => Lost::Snapshot(error.to_string()),
            ConsumerError::Lake(error @ LakeError::Damaged { .. }) => Lost::Snapshot(error.to_string()),
            ConsumerError::Entry(error @ EntryError::Damaged { .. }) => Lost::Snapshot(error.to_string()),
            error => Lost::Other(error),
        }
    }
}

async fn from_snapshot(
    env: &Env,
    settings: &Settings,
    tail: &Entry,
    range: HashRange,
) -> std::result::Result<Shard, Lost> {
    let shard_id = ShardId::new(&tail.shard);
    let spill = read_spill(env, tail).await?;
    let mut state = Restoring::begin(
        settings.clone(),
        source_kind(&tail.source),
        range,
        tail.restore_from(&spill, settings.attributes)?,
    );
    let next = tail.last_snapshot + 1;
    // The rows behind the snapshot are fetched while the snapshot is taken in.
    let rows = async {
        let files = curated_of(env, &shard_id, next, tail.n).await?;
        let mut rows = Box::pin(rows_of(env, files).peekable());
        rows.as_mut().peek().await;
        Ok::<_, Lost>(rows)
    };
    let pieces = async {
        let Some(last_snapshot) = (tail.last_snapshot > 0).then_some(tail.last_snapshot) else { return Ok(()) };
        let entry = entry_of(env, &shard_id, last_snapshot).await?;
        take_in_pieces(env, &entry, range, &mut state).await?;
        let unscored: Vec<_> = read_spill(env, &entry).await?.unscored.iter().map(|u| u.to_event(&[])).collect();
        state.unscored_at_snapshot(&unscored);
        Ok(())
    };
    let (mut rows, ()) = futures::try_join!(rows, pieces)?;
    if tail.last_snapshot == 0
        && let inherits @ [_, ..] = &read_parents(env, &shard_id).await?[..]
    {
        // A child without a snapshot of its own begins with its parents' ends.
        let mut parents = Vec::new();
        for parent in inherits {
            let end = entry_of(env, &ShardId::new(&parent.shard), parent.n).await?;
            if let Some(part) = end.hash_range()?.intersect(&range) {
                // Not from the table, which holds the child's own rows already. If a parent's snapshot is lost, the whole child is rebuilt
                // from the table.
                parents.push(Box::pin(from_snapshot(env, settings, &end, part)).await?);
            }
        }
        let child = Shard::inherit(settings.clone(), range, parents);
        let unscored = child.named_unscored();
        for piece in child.snapshot(usize::MAX) {
            let piece = state.reader().read(&piece.bytes);
            piece.and_then(|piece| state.piece(piece)).map_err(|e| Lost::Snapshot(e.to_string()))?;
        }
        state.unscored_at_snapshot(&unscored);
    }
    while let Some(batches) = rows.try_next().await? {
        take_in_rows(batches, &mut state)?;
    }
    Ok(state.finish())
}

/// Takes in the pieces of a snapshot that reach into the range. While one is taken in, the next are fetched and read on other
/// threads.
async fn take_in_pieces(
    env: &Env,
    entry: &Entry,
    range: HashRange,
    state: &mut Restoring,
) -> std::result::Result<(), Lost> {
    let mut wanted = VecDeque::new();
    let mut users = 0u64;
    for piece in &entry.snapshot {
        let part: HashRange = piece.range.parse().map_err(|cause| damaged(&piece.file.path, cause))?;
        if part.intersect(&range).is_some() {
            wanted.push_back(&piece.file);
            users = users.saturating_add(piece.users);
        }
    }
    state.expect_users(users);
    let reader = state.reader().knowing(env.lake.sections().names().map(str::to_owned));
    let mut under_way = VecDeque::new();
    loop {
        // Started at once, not when they are waited for: this task is busy with the piece before.
        while under_way.len() < PIECES_AT_ONCE
            && let Some(file) = wanted.pop_front()
        {
            let piece = read_piece(env.store.clone(), file.path.clone(), file.sha256.clone(), reader.clone());
            under_way.push_back((&file.path, start_urgent(&*env.work, piece)));
        }
        let Some((path, piece)) = under_way.pop_front() else { return Ok(()) };
        let bug = || ConsumerError::Bug(format!("reading {path}"));
        let piece = piece.await.ok_or_else(bug)??;
        state.piece(piece).map_err(|e| Lost::piece(path, &e))?;
    }
}

/// Fetches a piece, checks, decompresses and reads it.
async fn read_piece(
    store: Arc<dyn ObjectStore>,
    path: String,
    sha256: String,
    reader: PieceReader,
) -> std::result::Result<ReadPiece, Lost> {
    let lost = |why: &dyn Display| Lost::Snapshot(format!("{path}: {why}"));
    let bytes = store.get(&path).await?;
    if sha256_hex(&bytes) != sha256 {
        return Err(lost(&"its checksum does not match"));
    }
    let size = get_frame_content_size(&bytes).ok().flatten().filter(|size| *size <= MAX_PIECE_BYTES);
    let size = size.ok_or_else(|| lost(&"it does not tell its size, or is too large"))?;
    let raw = zstd::bulk::decompress(&bytes, size as usize).map_err(|e| lost(&e))?;
    drop(bytes);
    reader.read(&raw).map_err(|e| Lost::piece(&path, &e))
}

/// The states of ended shards as of `ends`, their last entries; of each, only the users within `range`.
///
/// # Errors
/// As for [`restore`].
pub async fn restore_parents(env: &Env, settings: &Settings, ends: &[Entry], range: HashRange) -> Result<Vec<Shard>> {
    let mut shards = Vec::new();
    for end in ends {
        if let Some(part) = end.hash_range()?.intersect(&range) {
            shards.push(Box::pin(restore(env, settings, end, part)).await?);
        }
    }
    Ok(shards)
}

async fn from_table(env: &Env, settings: &Settings, tail: &Entry, range: HashRange) -> Result<Shard> {
    let spill = read_spill(env, tail).await?;
    let from = tail.restore_from(&spill, settings.attributes)?;
    let mut state = Restoring::begin(settings.clone(), source_kind(&tail.source), range, from);
    let table = env.lake.live_files(Table::CURATED).await?;
    read_files(env, table.files, &mut state).await?;
    // Entries of this shard and its ancestors that the table does not hold yet.
    let mut pending = vec![ShardId::new(&tail.shard)];
    let mut seen = BTreeSet::new();
    while let Some(shard) = pending.pop() {
        if !seen.insert(shard.clone()) {
            continue;
        }
        pending.extend(read_parents(env, &shard).await?.iter().map(|i| ShardId::new(&i.shard)));
        let last = if shard.as_str() == tail.shard { Some(tail.n) } else { env.journal.tail(&shard).await? };
        let next = table.applied.get(&shard).copied().unwrap_or(0) + 1;
        read_files(env, curated_of(env, &shard, next, last.unwrap_or(0)).await?, &mut state).await?;
    }
    Ok(state.finish())
}

/// The curated files of the entries from `first` to `last`, in order.
async fn curated_of(env: &Env, shard: &ShardId, first: u64, last: u64) -> Result<Vec<LiveFile>> {
    let entries: Vec<_> = (first..=last).map(|n| entry_of(env, shard, n)).collect();
    let mut entries = stream::iter(entries).buffered(ENTRIES_AT_ONCE);
    let mut files = Vec::new();
    while let Some(entry) = entries.try_next().await? {
        files.extend(entry.files.iter().filter(|f| f.table == Table::CURATED).map(LiveFile::from));
    }
    Ok(files)
}

/// Takes in the rows of files, in their order; while one is decoded, the next are on their way.
async fn read_files(env: &Env, files: Vec<LiveFile>, state: &mut Restoring) -> Result<()> {
    let mut rows = std::pin::pin!(rows_of(env, files));
    while let Some(of_file) = rows.try_next().await? {
        take_in_rows(of_file, state)?;
    }
    Ok(())
}

/// The rows of files, in the order of the files, fetched ahead.
fn rows_of(env: &Env, files: Vec<LiveFile>) -> impl Stream<Item = Result<Rows<CuratedBatch>>> {
    let reads = files.into_iter().map(|file| async move { Ok(env.lake.read_curated(&file, None).await?) });
    stream::iter(reads.collect::<Vec<_>>()).buffered(FILES_AT_ONCE)
}

fn take_in_rows(rows: Rows<CuratedBatch>, state: &mut Restoring) -> Result<()> {
    for batch in rows {
        for row in batch?.iter() {
            state.row(&StoredRow {
                event_id: row.event_id,
                time: row.event_time,
                user: row.user_id,
                computer: row.computer_id,
                score: u8::try_from(row.risk_score).unwrap_or(u8::MAX),
            });
        }
    }
    Ok(())
}

fn damaged(path: &str, cause: String) -> ConsumerError {
    EntryError::Damaged { what: format!("the reference to {path}"), cause }.into()
}
