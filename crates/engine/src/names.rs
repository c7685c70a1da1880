//! Interned names: a number for each user or computer that a shard has seen.

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::Arc;

/// A name's number within one [`Names`]; it never leaves the process.
pub type NameId = u32;

/// Names per chunk: a chunk that a view shares is copied once when the next name arrives, so it stays small.
const CHUNK: usize = 1024;

#[derive(Clone, Default)]
struct Chunk {
    text: String,
    ends: Vec<u32>,
}

impl Chunk {
    fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }
}

/// An append-only table of names. Looking up a known name allocates nothing.
#[derive(Default)]
pub struct Names {
    table: HashTable<NameId>,
    /// Seeded per process, so that chosen names cannot flood one bucket.
    hasher: RandomState,
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

impl Names {
    /// The number of a name, new if it was not known.
    pub fn intern(&mut self, name: &str) -> NameId {
        let hash = self.hasher.hash_one(name);
        let chunks = &self.chunks;
        if let Some(id) = self.table.find(hash, |id| text(chunks, *id) == name) {
            return *id;
        }
        let id = NameId::try_from(self.len).expect("fewer than 2^32 names fit a machine");
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(self.chunks.last_mut().expect("a chunk was pushed for the first name"));
        chunk.text.push_str(name);
        chunk.ends.push(u32::try_from(chunk.text.len()).expect("1024 names of 256 bytes fit 32 bits"));
        self.len += 1;
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        self.table.insert_unique(hash, id, |id| hasher.hash_one(text(chunks, *id)));
        id
    }

    /// The number of a name, if it is known.
    pub fn find(&self, name: &str) -> Option<NameId> {
        self.table.find(self.hasher.hash_one(name), |id| text(&self.chunks, *id) == name).copied()
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

fn text(chunks: &[Arc<Chunk>], id: NameId) -> &str {
    chunks[id as usize / CHUNK].get(id as usize % CHUNK)
}

/// The names a table held at one moment.
#[derive(Clone, Default)]
pub struct NamesView {
    chunks: Vec<Arc<Chunk>>,
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
}
