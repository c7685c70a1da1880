//! The lakes that an embedded stream knows: its leases note the place and the id of each lake that it was read into. Without that, a lake
//! that was deleted or replaced would be created anew in silence, and the whole stream scored once more.

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

/// The application that a lake's leases beside an embedded stream belong to: the lake's URI. For a lake has one consumer of a stream, with
/// any number of workers.
///
/// # Errors
/// A local lake's path cannot stand in the tables' metadata.
pub fn application(location: &LakeLocation) -> Result<String> {
    Ok(match location {
        LakeLocation::Local(dir) => LocalStore::root_uri(dir)?,
        LakeLocation::S3 { uri, .. } => format!("{uri}/"),
    })
}

/// The advice where a lake is not the one that a stream was read into.
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

/// Refuses, before anything is created, a lake that the stream was read into and that is gone. A local lake is also refused if it lost its
/// journal, a lake on S3 if its id is not the noted one.
///
/// # Errors
/// The lake is refused; or the leases beside the stream, or the lake, cannot be read.
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
        // The worker that noted an id had opened the lake, and so created its journal. A lake without an id may have leases and no journal,
        // if an older program ended too early.
        (LakeLocation::Local(dir), known) => {
            local::check_journal(dir, id.is_some() && known == Known { destination: id })
        }
        // Local lakes are compared later, in `fleet`: one of an older program gets its id only when it is opened for writing.
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

/// Opens this worker's part in the leases of a local stream's shards for one lake, and notes the lake there. `worker` is its name.
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

/// The leases that one application has of a local stream's shards, to look at; none where no worker has ever run.
///
/// # Errors
/// The leases cannot be read.
pub fn leases_of(stream: &Path, application: &str) -> Result<Option<LocalLeases>> {
    if !LocalLeases::exist(stream) {
        return Ok(None);
    }
    Ok(Some(LocalLeases::open(stream, application, &RandomIds.commit_id())?))
}
