//! A lake on S3 with its tables in the Glue Data Catalog. Any number of processes may write to it: the journal fences shards, and
//! each commit is conditional.

use super::{Access, LAYOUT, MAINTENANCE_LEASES, MARKER, Parts, holder, read_marker};
use crate::stream::known_lake_name;
use anyhow::{Context, Result, bail};
use authpulse_aws::{Aws, DynamoDbCommitterLock, Encryption, GlueCatalog, S3Location, S3Store};
use authpulse_event::Span;
use authpulse_journal::env::duration;
use authpulse_lake::{ObjectJournal, ObjectStore, StoreError};
use authpulse_settings::config::{Config, S3Encryption};
use std::sync::Arc;

async fn store(uri: &str, config: &Config) -> Result<(Aws, Arc<dyn ObjectStore>)> {
    let location = S3Location::parse(uri)?;
    let aws = Aws::load(duration(config.s3_answer)).await?;
    let encryption = match &config.s3_encryption {
        S3Encryption::Bucket => Encryption::Bucket,
        S3Encryption::S3 => Encryption::S3,
        S3Encryption::Kms(key) => Encryption::Kms(key.clone()),
    };
    let store = Arc::new(S3Store::new(&aws, location, encryption));
    Ok((aws, store))
}

/// The id of a lake, which is its name in tables of leases. `Some(None)` if no stream was read into the lake yet, none where there is no
/// lake. Creates nothing.
///
/// # Errors
/// S3 cannot be reached, the marker is damaged, or the lake's tables are in another database.
pub(super) async fn id_of(uri: &str, database: &str, config: &Config) -> Result<Option<Option<String>>> {
    let (_, store) = store(uri, config).await?;
    Ok(match has_marker(&*store, uri, database).await? {
        true => Some(known_lake_name(&*store).await?),
        false => None,
    })
}

/// Opens the lake at `s3://BUCKET/PREFIX`; creates it first if `access` is to write.
///
/// # Errors
/// S3 or Glue cannot be reached, there is no lake to read, the prefix holds something else, or the tables are in another database.
pub(super) async fn open(uri: &str, database: &str, config: &Config, access: Access<'_>) -> Result<Parts> {
    let (aws, store) = store(uri, config).await?;
    let catalog = GlueCatalog::new(&aws, database)?;
    match access {
        Access::Read => {
            if !has_marker(&*store, uri, database).await? {
                bail!("there is no lake at {uri}: make one with `authpulse backfill` or `authpulse consume`");
            }
        }
        Access::Write(_) | Access::Share(..) => {
            make_marker(&*store, uri, database).await?;
            catalog.ensure_database(&store.uri("warehouse")).await?;
            catalog.ensure_raw(uri).await?;
        }
    }
    // The committer renews its lock as workers renew the leases of their shards.
    let lease = duration(Span::from_micros(config.options.leases.duration));
    let holder = holder(access);
    Ok(Parts {
        journal: Arc::new(ObjectJournal::new(store.clone())),
        committer: Arc::new(DynamoDbCommitterLock::new(&aws, uri, &holder, lease)),
        maintenance: Arc::new(DynamoDbCommitterLock::new(
            &aws,
            &format!("{uri} maintenance"),
            &holder,
            MAINTENANCE_LEASES * lease,
        )),
        pointers: Arc::new(catalog),
        store,
        lock: None,
        id: None,
    })
}

/// Whether there is a lake. It is an error if its tables are in another database.
async fn has_marker(store: &dyn ObjectStore, uri: &str, database: &str) -> Result<bool> {
    let bytes = match store.get(MARKER).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("lake {uri} cannot be opened")),
    };
    let shown = store.uri(MARKER);
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{shown} is damaged: restore it"))?;
    let marker = read_marker(text, &shown)?;
    // A second database would begin with empty tables, and take in the same files once more.
    match marker["catalog"].as_str() {
        Some(catalog) if catalog == format!("glue:{database}") => Ok(true),
        Some(catalog) => {
            bail!("the tables of lake {uri} are in --catalog {catalog}, not in glue:{database}: name that one")
        }
        None => bail!("{shown} names no catalog: restore it"),
    }
}

/// Makes the lake where there is nothing yet.
async fn make_marker(store: &dyn ObjectStore, uri: &str, database: &str) -> Result<()> {
    if has_marker(store, uri, database).await? {
        return Ok(());
    }
    if let Some(other) = store.list_from("", "", 1).await?.first()
        && other.path != MARKER
    {
        bail!("{uri} is not a lake (it has no {MARKER}), and it is not empty ({}): name another prefix", other.path);
    }
    let marker =
        serde_json::json!({ "what": "AuthPulse lake", "layout": LAYOUT, "catalog": format!("glue:{database}") });
    match store.put_new(MARKER, format!("{marker}\n").into()).await {
        Ok(()) => Ok(()),
        // Another process made it at the same time; it must have made the same.
        Err(StoreError::AlreadyExists { .. }) => has_marker(store, uri, database).await.map(|_| ()),
        Err(error) => Err(error).with_context(|| format!("lake {uri} cannot be made")),
    }
}
