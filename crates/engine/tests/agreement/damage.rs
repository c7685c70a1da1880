//! Damage to bytes.

use proptest::prelude::*;
use proptest::sample::Index;

/// One byte replaced, inserted or removed.
#[derive(Debug, Clone)]
pub enum Damage {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
}

pub fn damage() -> impl Strategy<Value = Damage> {
    let telling = b"{}[]\",:\\/u01569deDE.+-TtZzNIx \t\r\n\0\x7f\x1f\x80\xc2\xed\xff".to_vec();
    let byte = || prop_oneof![4 => proptest::sample::select(telling.clone()), 1 => any::<u8>()];
    prop_oneof![
        2 => (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        2 => (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        1 => any::<Index>().prop_map(Damage::Remove),
    ]
}

pub fn damaged(mut payload: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        match damage {
            Damage::Replace(at, byte) if !payload.is_empty() => {
                let at = at.index(payload.len());
                payload[at] = *byte;
            }
            Damage::Remove(at) if !payload.is_empty() => drop(payload.remove(at.index(payload.len()))),
            Damage::Insert(at, byte) => payload.insert(at.index(payload.len() + 1), *byte),
            _ => {}
        }
    }
    payload
}
