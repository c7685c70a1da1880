//! Checks what the table of leases says of shards against their journals.

use crate::journals::Journals;
use crate::leases::{Reached, reached};
use crate::world::World;

/// Checks that a KCL may go on from the table: its checkpoints never went back, it calls nothing done that no journal holds, and where a
/// shard has ended, its children have leases.
pub fn hold(world: &World, journals: &Journals) -> Result<(), String> {
    if let Some(why) = world.table.wrong.lock().unwrap().clone() {
        return Err(why);
    }
    let rows = world.table.rows.rows();
    for (shard, key, entries) in journals {
        let Some(row) = rows.get(shard.id.as_str()) else { continue };
        let wrong = |what: String| Err(format!("the lease of {key}: {what}: {row:?}"));
        match reached(row) {
            Reached::Nothing => {}
            Reached::Through(position) => {
                let stored = entries.last().map(|entry| entry.position().map_err(|e| e.to_string())).transpose()?;
                if stored.is_none_or(|stored| stored < position) {
                    return wrong(format!("its checkpoint is beyond {stored:?}, where the journal ends"));
                }
            }
            Reached::End => {
                if !entries.iter().any(|entry| entry.end) {
                    return wrong("it has ended, and the journal has no end".to_owned());
                }
                let children = journals.iter().filter(|(child, ..)| child.parents.contains(&shard.id));
                if let Some((child, ..)) =
                    children.into_iter().find(|(child, ..)| !rows.contains_key(child.id.as_str()))
                {
                    return wrong(format!("it has ended, and its heir {} has no lease", child.id));
                }
            }
        }
    }
    Ok(())
}
