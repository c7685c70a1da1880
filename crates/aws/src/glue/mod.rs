//! The pointers of tables in the Glue Data Catalog.
//!
//! What this assumes of Glue: `UpdateTable` with a `VersionId` changes the table only if that is still its version, and every change, by
//! anybody, makes a new version. So the version guards the whole table as it was read: its pointer, and the parameters and columns that a
//! commit keeps. A commit to a table that has gained columns adds them to Glue's list in the same update.
//!
//! `SkipArchive` keeps Glue from storing every version: with two a minute, a table would reach its quota within a year. The history that
//! counts is in Iceberg's own metadata.

mod input;

use async_trait::async_trait;
use authpulse_aws_client::fault::{Call, Fault, code, explain};
use authpulse_aws_client::{Aws, AwsError, PAUSES_MS, once};
use authpulse_lake::TablePointers;
use authpulse_lake::catalog::{CatalogError, SwapOutcome};
use authpulse_lake::schema::RAW;
use aws_sdk_glue::Client;
use aws_sdk_glue::config::Builder;
use aws_sdk_glue::error::SdkError;
use aws_sdk_glue::operation::create_table::CreateTableError;
use aws_sdk_glue::types::{DatabaseInput, Table, TableInput};
use iceberg::spec::Schema;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The parameter of a table that has the pointer.
const LOCATION: &str = "metadata_location";
const PREVIOUS: &str = "previous_metadata_location";
const KIND: &str = "table_type";
const ICEBERG: &str = "ICEBERG";

/// The tables of one Glue database.
pub struct GlueCatalog {
    client: Client,
    database: String,
    /// Each table as it was last read. A swap need not read it again: its version guards all of it.
    known: Mutex<HashMap<String, Known>>,
}

/// A table at one version.
#[derive(Clone)]
struct Known {
    version: String,
    location: String,
    table: Table,
}

impl GlueCatalog {
    /// The catalog of a database; nothing is asked yet.
    ///
    /// # Errors
    /// Athena cannot read a database of this name.
    pub fn new(aws: &Aws, database: &str) -> Result<GlueCatalog, AwsError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=252).contains(&database.len()) || !database.bytes().all(fits) {
            return Err(AwsError::Location {
                text: format!("glue:{database}"),
                why: "the name of a database has 1 to 252 lower-case letters, digits and '_'".to_owned(),
            });
        }
        let client = Client::new(aws.sdk());
        Ok(GlueCatalog { client, database: database.to_owned(), known: Mutex::default() })
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Makes the database if it is missing. `location` is where Athena would put a table without a location of its own.
    ///
    /// # Errors
    /// Glue cannot be reached, or refuses.
    pub async fn ensure_database(&self, location: &str) -> Result<(), CatalogError> {
        let subject = format!("(database {})", self.database);
        let database = || format!("Glue database {}", self.database);
        match self.client.get_database().name(&self.database).send().await {
            Ok(_) => return Ok(()),
            Err(e) if code(&e) == "EntityNotFoundException" => {}
            Err(e) => {
                return Err(read_error(&subject, explain(&e, &Call { action: "glue:GetDatabase", on: database() })));
            }
        }
        let input = DatabaseInput::builder()
            .name(&self.database)
            .description("AuthPulse: authentication events with their risk")
            .location_uri(location)
            .build()
            .map_err(|e| refused(&subject, e.to_string()))?;
        match self.client.create_database().database_input(input).send().await {
            Ok(_) => Ok(()),
            // Another worker made it first, or this call did and its answer was lost.
            Err(e) if code(&e) == "AlreadyExistsException" => Ok(()),
            Err(e) => Err(read_error(&subject, explain(&e, &Call { action: "glue:CreateDatabase", on: database() }))),
        }
    }

    /// Makes the table `auth_events_raw` if it is missing: plain Parquet with partition projection, as in `ddl/auth_events_raw.sql`.
    /// `lake` is the URI of the lake, without a `/` at its end. An existing table stays as it is.
    ///
    /// # Errors
    /// Glue cannot be reached, or refuses.
    pub async fn ensure_raw(&self, lake: &str) -> Result<(), CatalogError> {
        if self.get(RAW).await?.is_some() {
            return Ok(());
        }
        let input = input::raw(lake).map_err(|e| refused(RAW, e.to_string()))?;
        self.create_table(RAW, input).await.map(|_| ())
    }

    fn call(&self, action: &'static str, table: &str) -> Call {
        Call { action, on: format!("Glue table {}.{table} (and its database and catalog)", self.database) }
    }

    async fn get(&self, table: &str) -> Result<Option<Table>, CatalogError> {
        match self.client.get_table().database_name(&self.database).name(table).send().await {
            Ok(answer) => Ok(answer.table),
            Err(e) if code(&e) == "EntityNotFoundException" => Ok(None),
            Err(e) => Err(read_error(table, explain(&e, &self.call("glue:GetTable", table)))),
        }
    }

    /// Reads the table as it is now, with its version.
    async fn read(&self, table: &str) -> Result<Option<Known>, CatalogError> {
        let Some(found) = self.get(table).await? else { return Ok(None) };
        let parameter = |key: &str| found.parameters().and_then(|p| p.get(key)).map(String::as_str);
        if !parameter(KIND).is_some_and(|kind| kind.eq_ignore_ascii_case(ICEBERG)) {
            let why = format!(
                "Glue has it in database {}, but not as an Iceberg table: name another database, or drop that table",
                self.database
            );
            return Err(refused(table, why));
        }
        let (Some(location), Some(version)) = (parameter(LOCATION), found.version_id()) else {
            let why =
                format!("Glue database {} names no {LOCATION} or version of it: drop it or repair it", self.database);
            return Err(refused(table, why));
        };
        Ok(Some(Known { version: version.to_owned(), location: location.to_owned(), table: found }))
    }

    fn remember(&self, table: &str, known: Option<&Known>) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some(known) => drop(all.insert(table.to_owned(), known.clone())),
            None => drop(all.remove(table)),
        }
    }

    fn recall(&self, table: &str, location: &str) -> Option<Known> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(table).filter(|known| known.location == location).cloned()
    }

    /// The SDK may repeat the call. If an earlier attempt made the table, the result is a conflict, after which the caller loads the
    /// table.
    async fn create_table(&self, table: &str, input: TableInput) -> Result<SwapOutcome, CatalogError> {
        let create = self.client.create_table().database_name(&self.database).table_input(input);
        match create.send().await {
            Ok(_) => Ok(SwapOutcome::Swapped),
            Err(e) if code(&e) == "AlreadyExistsException" => Ok(SwapOutcome::Conflict),
            Err(e) if is_no_database(&e) => {
                let why = format!("there is no Glue database {}: make it, or name another --catalog", self.database);
                Err(refused(table, why))
            }
            Err(e) => match explain(&e, &self.call("glue:CreateTable", table)) {
                Fault::Unclear(cause) => Err(CatalogError::Unclear { table: table.to_owned(), cause }),
                fault => Err(read_error(table, fault)),
            },
        }
    }
}

fn is_no_database(error: &SdkError<CreateTableError>) -> bool {
    code(error) == "EntityNotFoundException"
}

/// If nothing was done and an attempt is left, waits for it. Otherwise returns the error for the caller.
async fn again(pauses: &mut std::slice::Iter<'_, u64>, table: &str, fault: Fault) -> Result<(), CatalogError> {
    match (fault, pauses.next()) {
        (Fault::Busy(_), Some(pause)) => {
            tokio::time::sleep(Duration::from_millis(*pause)).await;
            Ok(())
        }
        (Fault::Busy(cause), None) => Err(CatalogError::Failed { table: table.to_owned(), cause }),
        (Fault::Refused(why), _) => Err(refused(table, why)),
        (Fault::Unclear(cause), _) => Err(CatalogError::Unclear { table: table.to_owned(), cause }),
    }
}

fn refused(table: &str, why: String) -> CatalogError {
    CatalogError::Refused { table: table.to_owned(), why }
}

/// The error of a call that changes nothing or may be repeated.
fn read_error(table: &str, fault: Fault) -> CatalogError {
    match fault {
        Fault::Refused(why) => refused(table, why),
        Fault::Busy(cause) | Fault::Unclear(cause) => CatalogError::Failed { table: table.to_owned(), cause },
    }
}

#[async_trait]
impl TablePointers for GlueCatalog {
    async fn load(&self, table: &str) -> Result<Option<String>, CatalogError> {
        let known = self.read(table).await?;
        self.remember(table, known.as_ref());
        Ok(known.map(|known| known.location))
    }

    async fn create(&self, table: &str, location: &str, schema: &Schema) -> Result<SwapOutcome, CatalogError> {
        let input = input::iceberg(table, location, schema).map_err(|e| refused(table, e.to_string()))?;
        self.create_table(table, input).await
    }

    async fn swap(&self, table: &str, old: &str, new: &str, schema: &Schema) -> Result<SwapOutcome, CatalogError> {
        let known = match self.recall(table, old) {
            Some(known) => known,
            None => match self.read(table).await? {
                Some(known) if known.location == old => known,
                // The table was deleted, or its pointer has moved on.
                _ => return Ok(SwapOutcome::Conflict),
            },
        };
        let input = input::moved(&known.table, old, new, schema).map_err(|e| refused(table, e.to_string()))?;
        // Whatever the answer is, the version may be another one now.
        self.remember(table, None);
        let mut pauses = PAUSES_MS.iter();
        loop {
            let update = self
                .client
                .update_table()
                .database_name(&self.database)
                .table_input(input.clone())
                .version_id(&known.version)
                .skip_archive(true);
            // Without the SDK's repetition: its second attempt would meet the success of the first and report a conflict.
            let sent = update.customize().config_override(Builder::new().retry_config(once())).send().await;
            let error = match sent {
                Ok(_) => return Ok(SwapOutcome::Swapped),
                Err(e) => match code(&e) {
                    // The version is another, after a commit or a change by DDL; or the table was deleted. Loading it again tells.
                    "ConcurrentModificationException" | "VersionMismatchException" | "EntityNotFoundException" => {
                        return Ok(SwapOutcome::Conflict);
                    }
                    _ => explain(&e, &self.call("glue:UpdateTable", table)),
                },
            };
            again(&mut pauses, table, error).await?;
        }
    }
}
