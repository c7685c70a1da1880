//! Interned names: a number for each user or computer that a shard has seen.

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::Arc;

/// The number of a name within one [`Names`] table of its kind. Only that table gives it out, and it never leaves the process.
///
/// ```
/// # use authpulse_engine::names::UserNames;
/// let mut users = UserNames::default();
/// let user = users.intern("U1");
/// assert_eq!((users.get(user), user.index()), ("U1", 0));
/// ```
///
/// ```compile_fail
/// # use authpulse_engine::names::{ComputerNames, UserNames};
/// let (mut users, mut computers) = (UserNames::default(), ComputerNames::default());
/// let user = users.intern("U1");
/// computers.intern("C1");
/// computers.get(user); // a user is no computer
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId<Kind>(u32, PhantomData<Kind>);

impl<Kind> NameId<Kind> {
    /// A number that the table has given out, or is about to.
    #[inline]
    pub(crate) const fn new(number: u32) -> NameId<Kind> {
        NameId(number, PhantomData)
    }

    /// The number as an index into vectors kept by number: numbers are dense and begin with 0.
    #[inline]
    pub const fn index(self) -> usize
    where
        Kind: Copy,
    {
        self.0 as usize
    }
}

/// Marks names and numbers of users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Users;
/// Marks names and numbers of computers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Computers;

/// The number of a user within one [`UserNames`].
pub type UserId = NameId<Users>;
/// The number of a computer within one [`ComputerNames`].
pub type ComputerId = NameId<Computers>;

/// Names of users.
pub type UserNames = Names<Users>;
/// Names of computers.
pub type ComputerNames = Names<Computers>;
/// The names of users at one moment.
pub type UserNamesView = NamesView<Users>;
/// The names of computers at one moment.
pub type ComputerNamesView = NamesView<Computers>;

/// Names per chunk. Small, because a chunk that a view shares is copied when the next name arrives.
const CHUNK: usize = 1024;

/// A list of names in one string, of less than 4 GiB in all.
#[derive(Clone, Default)]
pub(crate) struct NameList {
    text: String,
    ends: Vec<u32>,
}

impl NameList {
    /// How many names it holds.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name at an index below [`NameList::len`].
    pub(crate) fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }

    /// Appends a name.
    pub(crate) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(u32::try_from(self.text.len()).expect("names of less than 4 GiB"));
    }
}

/// A name as the table compares it. It holds names of up to 16 bytes whole, so that looking one up reads one place in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    /// The first eight bytes; of a name of four to seven bytes the first four; of one beyond 16 bytes its hash.
    head: u64,
    /// The last eight bytes; of a name of four to seven bytes the last four. They overlap `head` in names of fewer than 16 bytes.
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
        // Valid names have at most 256 bytes.
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
pub struct Names<Kind> {
    table: HashTable<(Key, NameId<Kind>)>,
    /// Seeded per process, so that chosen names cannot flood one bucket.
    hasher: RandomState,
    chunks: Vec<Arc<NameList>>,
    len: usize,
}

impl<Kind: Copy> Names<Kind> {
    /// The number of a name; a new one if the name was not known.
    pub fn intern(&mut self, name: &str) -> NameId<Kind> {
        let key = Key::of(name, &self.hasher);
        if let Some(id) = self.find_key(key, name) {
            return id;
        }
        let id = NameId::new(u32::try_from(self.len).expect("fewer than 2^32 names fit a machine"));
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

    /// Reserves memory for this many more names.
    pub fn reserve(&mut self, more: usize) {
        let hasher = &self.hasher;
        self.table.reserve(more, |(key, _)| key.hash(hasher));
    }

    /// The number of a name, if it is known.
    pub fn find(&self, name: &str) -> Option<NameId<Kind>> {
        self.find_key(Key::of(name, &self.hasher), name)
    }

    fn find_key(&self, key: Key, name: &str) -> Option<NameId<Kind>> {
        let same =
            |(other, id): &(Key, NameId<Kind>)| *other == key && (key.is_whole() || text(&self.chunks, *id) == name);
        self.table.find(key.hash(&self.hasher), same).map(|(_, id)| *id)
    }

    /// The name of a number that this table gave out.
    pub fn get(&self, id: NameId<Kind>) -> &str {
        text(&self.chunks, id)
    }

    /// How many names are known. All numbers are below this.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The numbers given out, in order.
    pub fn ids(&self) -> impl Iterator<Item = NameId<Kind>> + use<Kind> {
        // `intern` gives out no more than 2^32 numbers.
        (0..self.len as u32).map(NameId::new)
    }

    /// Whether no name is known.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A view of the names known now, for another thread. Cheap: it shares the chunks.
    pub fn view(&self) -> NamesView<Kind> {
        NamesView { chunks: self.chunks.clone(), kind: PhantomData }
    }
}

fn text<Kind: Copy>(chunks: &[Arc<NameList>], id: NameId<Kind>) -> &str {
    let at = id.index();
    chunks[at / CHUNK].get(at % CHUNK)
}

/// The names that a table held at one moment.
#[derive(Clone, Default)]
pub struct NamesView<Kind> {
    chunks: Vec<Arc<NameList>>,
    kind: PhantomData<Kind>,
}

impl<Kind: Copy> NamesView<Kind> {
    /// The name of a number that the table gave out before the view was taken.
    pub fn get(&self, id: NameId<Kind>) -> &str {
        text(&self.chunks, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_views_keep_what_they_saw() {
        let mut names = UserNames::default();
        let ids: Vec<_> = (0..3 * CHUNK).map(|i| names.intern(&format!("U{i}"))).collect();
        let view = names.view();
        assert_eq!(names.intern("late").index(), 3 * CHUNK);
        for (i, id) in ids.iter().enumerate() {
            assert_eq!((id.index(), view.get(*id)), (i, format!("U{i}").as_str()));
            assert_eq!(names.intern(&format!("U{i}")), *id);
        }
        assert_eq!((names.find("late"), names.find("never")), (Some(UserId::new(3 * CHUNK as u32)), None));
    }

    #[test]
    fn names_of_every_length_that_differ_in_one_byte_are_different() {
        let mut names = UserNames::default();
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
            assert_eq!(names.intern(name).index(), at, "{name:?}");
        }
        for (at, name) in all.iter().enumerate() {
            assert_eq!(
                (names.find(name), names.get(UserId::new(at as u32))),
                (Some(UserId::new(at as u32)), name.as_str())
            );
        }
    }
}
