//! The catalog: which metadata file is a table's current one. A swap succeeds only if the current one is still the one that was loaded.

use crate::fault::Faults;
use crate::sqlite::{Database, Failure};
use async_trait::async_trait;
use authpulse_event::Remedy;
use iceberg::spec::Schema;
use rusqlite::{ErrorCode, OptionalExtension, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The catalog's name and the namespace of all tables.
pub const NAMESPACE: &str = "authpulse";

/// What became of a swap or a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// The table points to the new metadata, durably.
    Swapped,
    /// The table points elsewhere, or exists already. After an unclear answer the cause may be the caller's own earlier swap.
    Conflict,
}

/// Why a call of the catalog failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogError {
    /// Whether the swap happened is unknown: load the table and look.
    #[error(
        "table {table}: the catalog's answer to a commit is unclear ({cause}): nothing is lost, the next commit looks the table up first"
    )]
    Unclear {
        /// The table.
        table: String,
        /// What the catalog said.
        cause: String,
    },
    /// The catalog could not be reached, or postponed the call; nothing happened.
    #[error("table {table}: the catalog could not be reached: {cause}")]
    Failed {
        /// The table.
        table: String,
        /// What the catalog said.
        cause: String,
    },
    /// The catalog could not be opened; what it holds is unchanged.
    #[error("catalog {catalog}: opening it failed: {cause}")]
    Unopened {
        /// Where it is.
        catalog: String,
        /// What the catalog said.
        cause: String,
    },
    /// The catalog refused. Nothing happened, and trying again will not help.
    #[error("table {table}: {why}")]
    Refused {
        /// The table, or the catalog itself.
        table: String,
        /// Why, and what would help.
        why: String,
    },
    /// The catalog's file is no catalog, or is damaged.
    #[error("catalog {catalog} cannot be used: {cause}: restore the file from a copy, or start a new lake")]
    Damaged {
        /// Where it is.
        catalog: String,
        /// What is wrong.
        cause: String,
    },
}

impl CatalogError {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            CatalogError::Unclear { .. } => Remedy::Look,
            CatalogError::Failed { .. } | CatalogError::Unopened { .. } => Remedy::Retry,
            CatalogError::Refused { .. } => Remedy::Correct,
            CatalogError::Damaged { .. } => Remedy::Restore,
        }
    }
}

/// The tables' pointers to their current metadata files.
///
/// # Errors
/// Calls fail with a [`CatalogError`]; its [`remedy`](CatalogError::remedy) says what the caller can do.
#[async_trait]
pub trait TablePointers: Send + Sync {
    /// The URI of a table's current metadata file; `None` if there is no such table.
    async fn load(&self, table: &str) -> Result<Option<String>, CatalogError>;
    /// Creates a table that points to this metadata; a conflict if it exists. `schema` is the current schema in that metadata, for catalogs
    /// that keep a list of columns beside the pointer.
    async fn create(&self, table: &str, location: &str, schema: &Schema) -> Result<SwapOutcome, CatalogError>;
    /// Points the table to `new` if it points to `old`; durable when it returns. `schema` is the current schema in `new`: in the same step
    /// a catalog adds the columns that its own list lacks.
    async fn swap(&self, table: &str, old: &str, new: &str, schema: &Schema) -> Result<SwapOutcome, CatalogError>;
}

/// Iceberg's SQL catalog in an SQLite database, compatible with the JDBC catalog and PyIceberg's `SqlCatalog`.
pub struct SqliteCatalog {
    database: Database,
}

/// Columns and keys as PyIceberg 0.12 creates them (schema "v1": with `iceberg_type`).
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name));
    CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000) NOT NULL, PRIMARY KEY (catalog_name, namespace, property_key));
    INSERT OR IGNORE INTO iceberg_namespace_properties VALUES ('authpulse', 'authpulse', 'exists', 'true');";

/// Finds a row if [`SCHEMA`] would change nothing.
const IS_MADE: &str = "SELECT 1 FROM iceberg_namespace_properties, (SELECT count(*) FROM iceberg_tables) \
                       WHERE catalog_name = 'authpulse' AND namespace = 'authpulse'";

const WHICH: &str = "catalog_name = 'authpulse' AND table_namespace = 'authpulse' AND table_name = ?1 \
                     AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)";

impl SqliteCatalog {
    /// Opens a catalog, and creates it if it is missing.
    ///
    /// # Errors
    /// [`CatalogError::Unopened`] if the disk, its rights or another process is in the way, `Damaged` if the file is no catalog.
    pub fn open(path: impl AsRef<Path>) -> Result<SqliteCatalog, CatalogError> {
        let catalog = path.as_ref().display().to_string();
        match Database::open(path.as_ref(), SCHEMA, IS_MADE) {
            Ok(database) => Ok(SqliteCatalog { database }),
            Err(Failure { damaged: true, cause, .. }) => Err(CatalogError::Damaged { catalog, cause }),
            Err(Failure { cause, .. }) => Err(CatalogError::Unopened { catalog, cause }),
        }
    }

    /// What a failure means: damage, or that nothing happened; otherwise `else_` makes the error from its cause.
    fn failed(&self, table: &str, failure: Failure, else_: impl FnOnce(String) -> CatalogError) -> CatalogError {
        let Failure { damaged, busy, cause } = failure;
        match (damaged, busy) {
            (true, _) => CatalogError::Damaged { catalog: self.database.name(), cause },
            (_, true) => CatalogError::Failed { table: table.to_owned(), cause },
            _ => else_(cause),
        }
    }
}

#[async_trait]
impl TablePointers for SqliteCatalog {
    async fn load(&self, table: &str) -> Result<Option<String>, CatalogError> {
        let query = format!("SELECT metadata_location FROM iceberg_tables WHERE {WHICH}");
        let load = self
            .database
            .read(|c| c.prepare_cached(&query)?.query_row([table], |row| row.get::<_, Option<String>>(0)).optional());
        let failed = |cause| CatalogError::Failed { table: table.to_owned(), cause };
        load.map(Option::flatten).map_err(|failure| self.failed(table, failure, failed))
    }

    async fn create(&self, table: &str, location: &str, _: &Schema) -> Result<SwapOutcome, CatalogError> {
        let create = self.database.write(|c| {
            c.execute(
                "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, iceberg_type) \
                 VALUES ('authpulse', 'authpulse', ?1, ?2, 'TABLE')",
                params![table, location],
            )
        });
        match create.await {
            Ok(_) => Ok(SwapOutcome::Swapped),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(SwapOutcome::Conflict),
            Err(e) => Err(self.failed(table, self.database.failure(e), unclear(table))),
        }
    }

    async fn swap(&self, table: &str, old: &str, new: &str, _: &Schema) -> Result<SwapOutcome, CatalogError> {
        let update = format!(
            "UPDATE iceberg_tables SET metadata_location = ?3, previous_metadata_location = ?2 \
             WHERE {WHICH} AND metadata_location = ?2"
        );
        let swap = self.database.write(|c| c.prepare_cached(&update)?.execute(params![table, old, new]));
        match swap.await {
            Ok(0) => Ok(SwapOutcome::Conflict),
            Ok(_) => Ok(SwapOutcome::Swapped),
            Err(e) => Err(self.failed(table, self.database.failure(e), unclear(table))),
        }
    }
}

/// Pointers in a map: the deterministic test double, with faults.
#[derive(Default)]
pub struct MemoryCatalog {
    pointers: Mutex<BTreeMap<String, String>>,
    faults: Mutex<Faults>,
}

impl MemoryCatalog {
    /// An empty catalog.
    pub fn new() -> MemoryCatalog {
        MemoryCatalog::default()
    }
    /// Drops a table, as an operator may; its files stay.
    pub fn drop_table(&self, table: &str) {
        self.pointers.lock().unwrap_or_else(PoisonError::into_inner).remove(table);
    }
    /// Replaces the faults from the next operation on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    fn run<T>(
        &self,
        operation: &'static str,
        table: &str,
        fault: impl Fn(String) -> CatalogError,
        effect: impl FnOnce(&mut BTreeMap<String, String>) -> T,
    ) -> Result<T, CatalogError> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pointers = || self.pointers.lock().unwrap_or_else(PoisonError::into_inner);
        faults.around("catalog", operation, table, fault, || Ok(effect(&mut pointers())))
    }
}

fn unclear(table: &str) -> impl Fn(String) -> CatalogError {
    move |cause| CatalogError::Unclear { table: table.to_owned(), cause }
}

#[async_trait]
impl TablePointers for MemoryCatalog {
    async fn load(&self, table: &str) -> Result<Option<String>, CatalogError> {
        let fault = |cause| CatalogError::Failed { table: table.to_owned(), cause };
        self.run("load", table, fault, |pointers| pointers.get(table).cloned())
    }

    async fn create(&self, table: &str, location: &str, _: &Schema) -> Result<SwapOutcome, CatalogError> {
        self.run("create", table, unclear(table), |pointers| {
            if pointers.contains_key(table) {
                return SwapOutcome::Conflict;
            }
            pointers.insert(table.to_owned(), location.to_owned());
            SwapOutcome::Swapped
        })
    }

    async fn swap(&self, table: &str, old: &str, new: &str, _: &Schema) -> Result<SwapOutcome, CatalogError> {
        self.run("swap", table, unclear(table), |pointers| match pointers.get_mut(table) {
            Some(current) if current == old => {
                new.clone_into(current);
                SwapOutcome::Swapped
            }
            _ => SwapOutcome::Conflict,
        })
    }
}
