//! Interned names: a number for each user or computer that a shard has seen.

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::Arc;

/// A name's number within one [`Names`]; it never leaves the process.
pub type NameId = u32;

/// Names per chunk: a chunk that a view shares is copied once when the next name arrives, so it stays small.
const CHUNK: usize = 1024;

/// Names one after another, of less than 4 GiB in all.
#[derive(Clone, Default)]
pub(crate) struct NameList {
    text: String,
    ends: Vec<u32>,
}

impl NameList {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }

    pub(crate) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(u32::try_from(self.text.len()).expect("names of less than 4 GiB"));
    }
}

/// A name as its table compares it: names of up to 16 bytes are in here whole, so that looking one up touches one place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    /// The first eight bytes (of four to seven: the first four), or a hash of a longer name.
    head: u64,
    /// The last eight bytes (of four to seven: the last four), overlapping the first where there are fewer than 16.
    tail: u64,
    bytes: u32,
}

impl Key {
    const INLINE: usize = 16;

    fn of(name: &str, hasher: &RandomState) -> Key {
        let name = name.as_bytes();
        let (head, tail) = match name.len() {
            8..=Key::INLINE => match (name.first_chunk(), name.last_chunk()) {
                (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
                _ => unreachable!("eight bytes or more"),
            },
            4..8 => match (name.first_chunk(), name.last_chunk()) {
                (Some(head), Some(tail)) => (u32::from_le_bytes(*head).into(), u32::from_le_bytes(*tail).into()),
                _ => unreachable!("four bytes or more"),
            },
            0..4 => (name.iter().fold(0, |packed, byte| packed << 8 | u64::from(*byte)), 0),
            _ => (hasher.hash_one(name), 0),
        };
        // No name has 2^32 bytes: at most 256 are valid.
        Key { head, tail, bytes: name.len() as u32 }
    }

    fn is_whole(self) -> bool {
        self.bytes as usize <= Key::INLINE
    }

    fn hash(self, hasher: &RandomState) -> u64 {
        hasher.hash_one((self.head, self.tail ^ u64::from(self.bytes).rotate_right(8)))
    }
}

/// An append-only table of names. Looking up a known name allocates nothing.
#[derive(Default)]
pub struct Names {
    table: HashTable<(Key, NameId)>,
    /// Seeded per process, so that chosen names cannot flood one bucket.
    hasher: RandomState,
    chunks: Vec<Arc<NameList>>,
    len: usize,
}

impl Names {
    /// The number of a name, new if it was not known.
    pub fn intern(&mut self, name: &str) -> NameId {
        let key = Key::of(name, &self.hasher);
        if let Some(id) = self.find_key(key, name) {
            return id;
        }
        let id = NameId::try_from(self.len).expect("fewer than 2^32 names fit a machine");
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(self.chunks.last_mut().expect("a chunk was pushed for the first name"));
        chunk.push(name);
        self.len += 1;
        let hasher = &self.hasher;
        self.table.insert_unique(key.hash(hasher), (key, id), |(key, _)| key.hash(hasher));
        id
    }

    /// Makes room for this many names more.
    pub fn reserve(&mut self, more: usize) {
        let hasher = &self.hasher;
        self.table.reserve(more, |(key, _)| key.hash(hasher));
    }

    /// The number of a name, if it is known.
    pub fn find(&self, name: &str) -> Option<NameId> {
        self.find_key(Key::of(name, &self.hasher), name)
    }

    fn find_key(&self, key: Key, name: &str) -> Option<NameId> {
        let same = |(other, id): &(Key, NameId)| *other == key && (key.is_whole() || text(&self.chunks, *id) == name);
        self.table.find(key.hash(&self.hasher), same).map(|(_, id)| *id)
    }

    /// The name of a number that this table gave out.
    pub fn get(&self, id: NameId) -> &str {
        text(&self.chunks, id)
    }

    /// How many names are known; numbers are below it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no name is known.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The names known now, for another thread; cheap.
    pub fn view(&self) -> NamesView {
        NamesView { chunks: self.chunks.clone() }
    }
}

fn text(chunks: &[Arc<NameList>], id: NameId) -> &str {
    chunks[id as usize / CHUNK].get(id as usize % CHUNK)
}

/// The names a table held at one moment.
#[derive(Clone, Default)]
pub struct NamesView {
    chunks: Vec<Arc<NameList>>,
}

impl NamesView {
    /// The name of a number that the table gave out before the view was taken.
    pub fn get(&self, id: NameId) -> &str {
        text(&self.chunks, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_views_keep_what_they_saw() {
        let mut names = Names::default();
        let ids: Vec<_> = (0..3 * CHUNK).map(|i| names.intern(&format!("U{i}"))).collect();
        let view = names.view();
        assert_eq!(names.intern("late"), 3 * CHUNK as u32);
        for (i, id) in ids.iter().enumerate() {
            assert_eq!((*id as usize, view.get(*id)), (i, format!("U{i}").as_str()));
            assert_eq!(names.intern(&format!("U{i}")), *id);
        }
        assert_eq!((names.find("late"), names.find("never")), (Some(3 * CHUNK as u32), None));
    }

    #[test]
    fn names_of_every_length_that_differ_in_one_byte_are_different() {
        let mut names = Names::default();
        let mut all = vec![String::new()];
        for len in 1..=40 {
            let same = "x".repeat(len);
            for at in 0..len {
                all.push(format!("{}y{}", &same[..at], &same[at + 1..]));
            }
            all.push(same);
        }
        all.push("xx\0".to_owned());
        all.push("\0\0".to_owned());
        all.push("\0".to_owned());
        for (at, name) in all.iter().enumerate() {
            assert_eq!(names.find(name), None, "{name:?}");
            assert_eq!(names.intern(name) as usize, at, "{name:?}");
        }
        for (at, name) in all.iter().enumerate() {
            assert_eq!((names.find(name), names.get(at as u32)), (Some(at as u32), name.as_str()));
        }
    }
}
