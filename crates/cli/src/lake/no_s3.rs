//! What a build without AWS says of a lake on S3.

use super::{Access, Parts};
use anyhow::{Result, bail};
use authpulse_settings::config::Config;

/// Opens no lake.
///
/// # Errors
/// Always: this build has no support for AWS.
pub(super) async fn open(uri: &str, _database: &str, _config: &Config, _access: Access<'_>) -> Result<Parts> {
    unsupported(uri)
}

/// Knows no lake's id.
///
/// # Errors
/// Always: this build has no support for AWS.
pub(super) async fn id_of(uri: &str, _database: &str, _config: &Config) -> Result<Option<Option<String>>> {
    unsupported(uri)
}

fn unsupported<T>(uri: &str) -> Result<T> {
    bail!(
        "the lake {uri} cannot be opened: this program was built without AWS support: cargo build --release --features aws"
    )
}
