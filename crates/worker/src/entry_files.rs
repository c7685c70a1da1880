//! The files of an entry that hold no rows of tables: raw records, pieces of a snapshot, and a spill too large for the entry itself.

use authpulse_engine::{Piece, PieceSection};
use authpulse_event::ShardId;
use authpulse_event::id::sha256_hex;
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_lake::encode::encode_raw;
use authpulse_lake::entry::{Entry, FileRef, PieceRef, RawFile, Spill};
use authpulse_lake::schema::raw_name;
use authpulse_lake::section_list::Holder;
use authpulse_lake::sections::Section;
use authpulse_lake::store::put_once;
use authpulse_lake::{RawRecord, RawSource, StoreError};
use authpulse_settings::options::Options;
use bytes::Bytes;

/// A spill larger than this, in bytes of JSON, is put into a file of its own.
const SPILL_INLINE_BYTES: usize = 64 << 10;
/// zstd level of snapshots.
const SNAPSHOT_ZSTD_LEVEL: i32 = 1;

/// Puts an entry's raw records into files of the staging area. [`finish_raw`] gives these their final names once the entry is stored.
///
/// # Errors
/// The records cannot be encoded, or a file cannot be put.
pub async fn stage_raw(
    env: &Env,
    options: &Options,
    commit_id: &str,
    (shard, n): (&ShardId, u64),
    (source, records): (&RawSource, Vec<RawRecord>),
) -> Result<Vec<RawFile>> {
    let mut files = Vec::new();
    if records.is_empty() {
        return Ok(files);
    }
    let turn = env.work.turn().await;
    let all = encode_raw(source, &records, &options.encode)?;
    // The records take up as much memory as the encoded rows and are of no use any more.
    drop(records);
    drop(turn);
    for (k, encoded) in all.into_iter().enumerate() {
        let staged = format!("staging/raw/{commit_id}-{k}.parquet");
        let (path, rows, bytes) = (encoded.path(&raw_name(shard, n, k)), encoded.rows, encoded.bytes.len() as u64);
        put_once(&*env.store, &staged, encoded.bytes).await?;
        files.push(RawFile { staged, path, rows, bytes });
    }
    Ok(files)
}

/// Puts an entry's raw files under their final names; repeating it is harmless.
///
/// # Errors
/// A file can neither be copied to its final name nor found there, or its staged copy cannot be deleted.
pub async fn finish_raw(env: &Env, entry: &Entry) -> Result<()> {
    for file in &entry.raw {
        (env.probe)("raw rename before", &file.path);
        match env.store.copy_new(&file.staged, &file.path).await {
            Ok(()) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => {
                if env.store.size(&file.path).await?.is_none() {
                    return Err(error.into());
                }
            }
        }
        (env.probe)("raw rename after", &file.path);
        env.store.delete(&file.staged).await?;
    }
    Ok(())
}

/// Puts the pieces of a snapshot, each compressed and with the sections that this program writes.
///
/// # Errors
/// A piece cannot be put.
pub async fn put_snapshot(
    env: &Env,
    commit_id: &str,
    pieces: Option<Vec<Piece>>,
    last: &Entry,
) -> Result<Vec<PieceRef>> {
    let mut stored = Vec::new();
    for (k, piece) in pieces.into_iter().flatten().enumerate() {
        let written = env.lake.sections().written(Holder::Piece, last);
        let sections: Vec<PieceSection> = written.iter().map(of_piece).collect();
        let piece = piece.with_sections(&sections);
        let turn = env.work.turn().await;
        let bytes: Bytes = zstd::bulk::compress(&piece.bytes, SNAPSHOT_ZSTD_LEVEL)
            .expect("compressing into memory does not fail")
            .into();
        drop(turn);
        let path = format!("state/{commit_id}-{k}.apst.zst");
        let file = FileRef { path, bytes: bytes.len() as u64, sha256: sha256_hex(&bytes) };
        (env.probe)("snapshot before", &file.path);
        put_once(&*env.store, &file.path, bytes).await?;
        (env.probe)("snapshot after", &file.path);
        let sections = sections.into_iter().map(|section| (section.name, section.must)).collect();
        stored.push(PieceRef { range: piece.range.to_string(), users: piece.users, sections, file });
    }
    Ok(stored)
}

fn of_piece((name, section): (&str, &Section)) -> PieceSection {
    PieceSection { name: name.to_owned(), must: section.must, body: section.body.text().as_bytes().to_vec() }
}

/// Puts a spill that is too large for its entry into a file of its own. Returns `None` if it is not too large.
///
/// # Errors
/// The file cannot be put.
pub async fn put_spill(env: &Env, commit_id: &str, spill: &Spill) -> Result<Option<FileRef>> {
    if spill.size_estimate() <= SPILL_INLINE_BYTES {
        return Ok(None);
    }
    let bytes = spill.encode();
    let file = FileRef {
        path: format!("state/{commit_id}.side.json.zst"),
        bytes: bytes.len() as u64,
        sha256: sha256_hex(&bytes),
    };
    put_once(&*env.store, &file.path, bytes).await?;
    Ok(Some(file))
}
