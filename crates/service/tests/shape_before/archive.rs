//! A lake of memory doubles as one file: a zstd frame of one line of JSON, which lists the contents, and then the bytes of each.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes, hexadecimal in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).map_err(serde::de::Error::custom);
        (0..text.len()).step_by(2).map(byte).collect::<Result<_, _>>().map(Body)
    }
}

/// What was done to a stream, and when, in microseconds, in the form of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StreamChange {
    Create {
        at: i64,
        name: String,
        shards: u32,
    },
    Put {
        at: i64,
        key: String,
        payload: Body,
    },
    /// `at_hash` in decimal.
    Split {
        at: i64,
        shard: String,
        at_hash: String,
    },
    Merge {
        at: i64,
        left: String,
        right: String,
    },
}

impl StreamChange {
    pub fn at(&self) -> i64 {
        match self {
            StreamChange::Create { at, .. }
            | StreamChange::Put { at, .. }
            | StreamChange::Split { at, .. }
            | StreamChange::Merge { at, .. } => *at,
        }
    }
}

/// A lake, its input, and its clock and counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    pub now: i64,
    pub chance: u64,
    pub next_commit_id: u64,
    pub next_uuid: u64,
    pub changes: Vec<StreamChange>,
    /// Files that a backfill reads, by name.
    pub inputs: BTreeMap<String, String>,
    /// The pointers of the tables.
    pub pointers: BTreeMap<String, String>,
    /// Path, time of writing, content.
    pub files: Vec<(String, i64, Bytes)>,
    /// Shard, number, content.
    pub entries: Vec<(String, u64, Bytes)>,
    /// Shard, number, content.
    pub checkpoints: Vec<(String, u64, Bytes)>,
}

/// The line before the bytes. In place of each content it has the length; the contents follow in the same order.
#[derive(Serialize, Deserialize)]
struct Head {
    now: i64,
    chance: u64,
    next_commit_id: u64,
    next_uuid: u64,
    pointers: BTreeMap<String, String>,
    files: Vec<(String, i64, usize)>,
    entries: Vec<(String, u64, usize)>,
    #[serde(rename = "bases")]
    checkpoints: Vec<(String, u64, usize)>,
    inputs: BTreeMap<String, String>,
    changes: Vec<StreamChange>,
}

/// The zstd level, and the most bytes that a frame may unpack to.
const LEVEL: i32 = 19;
const UNPACKED_MAX: usize = 64 << 20;

impl Dump {
    pub fn pack(&self) -> Vec<u8> {
        let head = Head {
            now: self.now,
            chance: self.chance,
            next_commit_id: self.next_commit_id,
            next_uuid: self.next_uuid,
            pointers: self.pointers.clone(),
            files: self.files.iter().map(|(path, at, body)| (path.clone(), *at, body.len())).collect(),
            entries: self.entries.iter().map(|(shard, n, body)| (shard.clone(), *n, body.len())).collect(),
            checkpoints: self.checkpoints.iter().map(|(shard, n, body)| (shard.clone(), *n, body.len())).collect(),
            inputs: self.inputs.clone(),
            changes: self.changes.clone(),
        };
        let mut bytes = serde_json::to_vec(&head).unwrap();
        bytes.push(b'\n');
        self.files.iter().for_each(|(_, _, body)| bytes.extend_from_slice(body));
        self.entries.iter().chain(&self.checkpoints).for_each(|(_, _, body)| bytes.extend_from_slice(body));
        zstd::bulk::compress(&bytes, LEVEL).unwrap()
    }

    pub fn unpack(packed: &[u8]) -> Dump {
        let bytes = Bytes::from(zstd::bulk::decompress(packed, UNPACKED_MAX).unwrap());
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let head: Head = serde_json::from_slice(&bytes[..end]).unwrap();
        let mut at = end + 1;
        let mut next = |len: usize| {
            at += len;
            bytes.slice(at - len..at)
        };
        let files = head.files.into_iter().map(|(path, modified, len)| (path, modified, next(len))).collect();
        let entries = head.entries.into_iter().map(|(shard, n, len)| (shard, n, next(len))).collect();
        let checkpoints = head.checkpoints.into_iter().map(|(shard, n, len)| (shard, n, next(len))).collect();
        assert_eq!(at, bytes.len());
        Dump {
            now: head.now,
            chance: head.chance,
            next_commit_id: head.next_commit_id,
            next_uuid: head.next_uuid,
            changes: head.changes,
            inputs: head.inputs,
            pointers: head.pointers,
            files,
            entries,
            checkpoints,
        }
    }
}
