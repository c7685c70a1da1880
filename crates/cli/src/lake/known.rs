//! The lakes that an embedded stream knows: its leases note the place and the id of each lake that it was read into. A lake that was
//! deleted, or is another by now, would otherwise be made anew in silence, and the whole stream scored once more.

use super::{LakeLocation, OpenLake, local, s3};
use crate::stream::lake_name;
use anyhow::{Result, bail};
use authpulse_journal::env::{Ids, RandomIds};
use authpulse_lake::LocalStore;
use authpulse_lease::{Fleet, Known, LocalLeases};
use authpulse_settings::Options;
use authpulse_settings::config::Config;
use std::path::Path;
use std::sync::Arc;

/// What leases beside a stream are called: they are for one application of the stream, and a lake has one consumer of a stream, of
/// however many workers.
///
/// # Errors
/// The lake cannot have this name.
pub fn application(location: &LakeLocation) -> Result<String> {
    Ok(match location {
        LakeLocation::Local(dir) => LocalStore::root_uri(dir)?,
        LakeLocation::S3 { uri, .. } => format!("{uri}/"),
    })
}

/// What to do where a lake is not the one that a stream was read into.
fn anew(stream: &Path, location: &LakeLocation) -> String {
    let catalog = if let LakeLocation::S3 { database, .. } = location {
        format!(" --catalog glue:{database}")
    } else {
        String::new()
    };
    format!(
        "put that lake back; or, to begin anew and have the whole stream scored again, run `authpulse leases reset --stream local:{} \
         --lake {location}{catalog}` first",
        stream.display()
    )
}

/// Refuses a lake that the stream was read into and that is gone, before anything is made; a local one also where it has lost its journal,
/// one on S3 where it is another by now.
///
/// # Errors
/// As said; or the leases beside the stream, or the lake, cannot be read.
pub async fn refuse_a_lost_lake(stream: &Path, location: &LakeLocation, config: &Config) -> Result<()> {
    let Some(known) = LocalLeases::known(stream, &application(location)?)? else { return Ok(()) };
    let found = match location {
        LakeLocation::Local(dir) => local::id_of(dir)?,
        LakeLocation::S3 { uri, database } => s3::id_of(uri, database, config).await?,
    };
    let Some(id) = found else {
        bail!(
            "the lake {location} is gone, and the stream {} was read into it: {}",
            stream.display(),
            anew(stream, location)
        )
    };
    match (location, known) {
        // Whoever noted an id had opened the lake, and so made its journal. Of a lake without an id in which a program of before ended too
        // early there may be leases and no journal.
        (LakeLocation::Local(dir), known) => {
            local::check_journal(dir, id.is_some() && known == Known { destination: id })
        }
        // A local lake of before gets its id only where it is opened to be written to.
        (LakeLocation::S3 { .. }, Known { destination: Some(noted) }) if id.as_ref() != Some(&noted) => {
            refuse_another(stream, location, id.as_deref().unwrap_or("missing"), &noted)
        }
        (LakeLocation::S3 { .. }, _) => Ok(()),
    }
}

fn refuse_another(stream: &Path, location: &LakeLocation, id: &str, noted: &str) -> Result<()> {
    bail!(
        "the lake {location} is not the one that the stream {} was read into (its id is {id}, noted is {noted}): {}",
        stream.display(),
        anew(stream, location)
    )
}

/// This worker's part in the leases of a local stream's shards, for one lake, which is noted there. `worker` is its name.
///
/// # Errors
/// The leases beside the stream cannot be read or written, or the lake is not the one that the stream was read into.
pub async fn fleet(
    stream: &Path,
    location: &LakeLocation,
    lake: &OpenLake,
    options: &Options,
    worker: &str,
) -> Result<Fleet> {
    let leases = LocalLeases::open(stream, &lake.env.store.uri(""), worker)?;
    let id = match &lake.id {
        Some(id) => id.clone(),
        None => lake_name(&*lake.env.store, &*lake.env.ids).await?,
    };
    let noted = leases.bound_for(&id)?;
    if noted != id {
        refuse_another(stream, location, &id, &noted)?;
    }
    Ok(Fleet::new(Arc::new(leases), worker.to_owned(), options.leases))
}

/// The leases of a local stream's shards, of one application, to look at; none where no worker has ever run.
///
/// # Errors
/// They cannot be read.
pub fn leases_of(stream: &Path, application: &str) -> Result<Option<LocalLeases>> {
    if !LocalLeases::exist(stream) {
        return Ok(None);
    }
    Ok(Some(LocalLeases::open(stream, application, &RandomIds.commit_id())?))
}
