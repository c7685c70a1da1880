//! Streams by their name on the command line: embedded ones in a directory, and those in Kinesis.

#[cfg(feature = "aws")]
pub mod kinesis;
#[cfg(not(feature = "aws"))]
#[path = "no_kinesis.rs"]
pub mod kinesis;

use anyhow::{Context, Result, bail};
use authpulse_event::ArrivalTime;
use authpulse_event::rfc3339::parse_rfc3339;
use authpulse_journal::env::Ids;
use authpulse_lake::{ObjectStore, StoreError};
use authpulse_stream::local::LocalStream;
use authpulse_stream::{ShardDescription, Stream};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamLocation {
    /// In a directory.
    Local(PathBuf),
    /// In Kinesis: a name or an ARN.
    Kinesis(String),
}

impl StreamLocation {
    /// Reads `local:DIR`, `kinesis:NAME` or `kinesis:ARN`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<StreamLocation> {
        match text.split_once(':') {
            Some(("local", dir)) if !dir.is_empty() => Ok(StreamLocation::Local(PathBuf::from(dir))),
            Some(("kinesis", name)) if !name.is_empty() => Ok(StreamLocation::Kinesis(name.to_owned())),
            _ => bail!("'{text}' is not a stream: give local:DIR, kinesis:NAME or kinesis:ARN"),
        }
    }
}

/// A stream that exists, to look at.
///
/// # Errors
/// It does not exist, or cannot be reached.
pub async fn open_to_look(location: &StreamLocation) -> Result<Box<dyn Stream>> {
    Ok(match location {
        StreamLocation::Local(dir) => Box::new(LocalStream::open(dir)?),
        StreamLocation::Kinesis(name) => Box::new(kinesis::KinesisReader::open(name).await?.stream()),
    })
}

/// Where a shard is split: its second half begins there.
pub fn middle(shard: &ShardDescription) -> u128 {
    shard.range.first + (shard.range.last - shard.range.first) / 2 + 1
}

/// What a build without AWS says to a stream in Kinesis.
#[cfg(not(feature = "aws"))]
const NOT_BUILT: &str = "this program was built without AWS support: cargo build --release --features aws";

/// How a stream in Kinesis is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reading {
    /// By GetRecords: free, and shared with all others that poll the stream: 2 MB and 5 calls a second for each shard.
    Polling,
    /// By enhanced fan-out: 2 MB a second for each shard to this application alone, by subscriptions of a consumer that is registered
    /// under the name of --app. Each shard hour and each GB costs; see docs/kinesis.md.
    FanOut,
}

/// Where reading begins, as the command line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "embedded streams are read from their beginning"))]
pub enum Start {
    /// At the oldest record that is kept.
    TrimHorizon,
    /// With what arrives from now on.
    Latest,
    /// With what arrived at this time or later.
    At(ArrivalTime),
}

/// Reads `--start`.
///
/// # Errors
/// The text is neither of the two words nor a time; the error says so in words.
#[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "embedded streams are read from their beginning"))]
pub fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "trim-horizon" => Ok(Start::TrimHorizon),
        "latest" => Ok(Start::Latest),
        time => parse_rfc3339(time.as_bytes()).map(Start::At).map_err(|why| {
            format!("'{time}' is not trim-horizon, latest or a time such as 2026-11-21T08:00:00Z: {why}")
        }),
    }
}

/// Keeps in the lake, in `streams/….json`, where its first worker began to read a stream, for all that come later; none is the oldest
/// record. Without it `latest` would mean another moment after every restart, and what arrived in between would be passed over.
///
/// # Errors
/// The lake cannot be read or written, or the file in it is damaged.
#[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "embedded streams are read from their beginning"))]
pub async fn remember_start(
    store: &dyn ObjectStore,
    stream: &str,
    start: Start,
    now: ArrivalTime,
) -> Result<Option<ArrivalTime>> {
    let path = format!("streams/{}.json", &authpulse_event::id::sha256_hex(stream.as_bytes())[..32]);
    let start = match start {
        Start::TrimHorizon => None,
        Start::Latest => Some(now),
        Start::At(time) => Some(time),
    };
    let what = "where reading this stream began";
    let kept =
        keep(store, &path, json!({ "what": what, "stream": stream, "start_micros": start.map(ArrivalTime::micros) }))
            .await?;
    if kept["stream"] != stream {
        bail!("{} is damaged: restore it", store.uri(&path));
    }
    Ok(kept["start_micros"].as_i64().map(ArrivalTime::from_micros))
}

/// The name of a lake in tables of leases, for ever: `streams/name.json` in the lake. (Beside an embedded stream, a local lake goes by the
/// id of its marker.)
///
/// # Errors
/// The name cannot be read or stored, or its file is damaged.
pub async fn lake_name(store: &dyn ObjectStore, ids: &dyn Ids) -> Result<String> {
    let what = "what this lake is called in tables of leases";
    let kept = keep(store, NAME, json!({ "what": what, "name": format!("lake-{}", ids.commit_id()) })).await?;
    name_in(store, &kept)
}

/// The same, if the lake has a name already.
///
/// # Errors
/// The name cannot be read, or its file is damaged.
#[cfg(feature = "aws")]
pub async fn known_lake_name(store: &dyn ObjectStore) -> Result<Option<String>> {
    kept(store, NAME).await?.map(|kept| name_in(store, &kept)).transpose()
}

/// The file in a lake that holds its name.
const NAME: &str = "streams/name.json";

fn name_in(store: &dyn ObjectStore, kept: &Value) -> Result<String> {
    let name = kept["name"].as_str().with_context(|| format!("{} is damaged: restore it", store.uri(NAME)))?;
    Ok(name.to_owned())
}

/// What the lake keeps at a path, if anything.
async fn kept(store: &dyn ObjectStore, path: &str) -> Result<Option<Value>> {
    match store.get(path).await {
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(bytes) => {
            let damaged = || format!("{} is damaged: restore it", store.uri(path));
            Ok(Some(serde_json::from_slice(&bytes).with_context(damaged)?))
        }
    }
}

/// Keeps `note` at a path of the lake, unless something is kept there already; returns what is kept.
async fn keep(store: &dyn ObjectStore, path: &str, note: Value) -> Result<Value> {
    let read = async || kept(store, path).await;
    if let Some(kept) = read().await? {
        return Ok(kept);
    }
    match store.put_new(path, format!("{note}\n").into()).await {
        Ok(()) => Ok(note),
        // Another worker was faster, or the answer was lost: what is there counts.
        Err(error) => match read().await? {
            Some(kept) => Ok(kept),
            None => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_journal::env::RandomIds;
    use authpulse_lake::LocalStore;

    #[test]
    fn a_stream_is_local_or_in_kinesis() {
        assert_eq!(StreamLocation::parse("local:./x").unwrap(), StreamLocation::Local("./x".into()));
        assert_eq!(StreamLocation::parse("kinesis:auth").unwrap(), StreamLocation::Kinesis("auth".to_owned()));
        let arn = "arn:aws:kinesis:eu-west-1:1:stream/auth";
        assert_eq!(StreamLocation::parse(&format!("kinesis:{arn}")).unwrap(), StreamLocation::Kinesis(arn.to_owned()));
        for wrong in ["", "auth", "local:", "kinesis:", "s3:x"] {
            let told = StreamLocation::parse(wrong).unwrap_err().to_string();
            assert!(told.contains("give local:DIR, kinesis:NAME or kinesis:ARN"), "{told}");
        }
    }

    #[test]
    fn a_start_is_a_word_or_a_time() {
        assert_eq!(parse_start("trim-horizon"), Ok(Start::TrimHorizon));
        assert_eq!(parse_start("latest"), Ok(Start::Latest));
        assert_eq!(parse_start("1970-01-01T00:00:01Z"), Ok(Start::At(ArrivalTime::from_micros(1_000_000))));
        assert!(parse_start("yesterday").unwrap_err().contains("trim-horizon, latest or a time"));
    }

    #[tokio::test]
    async fn the_first_start_holds_for_ever() {
        let at = ArrivalTime::from_micros;
        let place = tempfile::tempdir().unwrap();
        let store = LocalStore::open(place.path()).unwrap();
        assert_eq!(remember_start(&store, "one", Start::Latest, at(70)).await.unwrap(), Some(at(70)));
        assert_eq!(remember_start(&store, "one", Start::Latest, at(99)).await.unwrap(), Some(at(70)));
        assert_eq!(remember_start(&store, "one", Start::TrimHorizon, at(99)).await.unwrap(), Some(at(70)));
        assert_eq!(remember_start(&store, "two", Start::TrimHorizon, at(99)).await.unwrap(), None);
        assert_eq!(remember_start(&store, "two", Start::At(at(5)), at(99)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_lake_has_one_name_for_ever_and_another_lake_another() {
        let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, two] = places.each_ref().map(|place| LocalStore::open(place.path()).unwrap());
        let name = lake_name(&one, &RandomIds).await.unwrap();
        assert_eq!(lake_name(&one, &RandomIds).await.unwrap(), name);
        assert_ne!(lake_name(&two, &RandomIds).await.unwrap(), name);
        std::fs::write(places[0].path().join("streams/name.json"), "{").unwrap();
        let damaged = lake_name(&one, &RandomIds).await.unwrap_err().to_string();
        assert!(damaged.contains("name.json is damaged: restore it"), "{damaged}");
    }
}
