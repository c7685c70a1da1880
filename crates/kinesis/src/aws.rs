//! The calls of Kinesis with the AWS SDK.

use crate::api::{Api, ApiError, Consumer, Entry, Event, Events, IteratorAt, Page, Put, RawRecord, Summary};
use crate::limits::{GET_RECORDS, RECORD_BYTES};
use crate::patience::patiently;
use crate::time::{Chance, ServiceTimes};
use async_trait::async_trait;
use authpulse_aws_client::fault::{Call, Fault, code, explain};
use authpulse_aws_client::{Aws, once};
use authpulse_event::{ArrivalTime, HashRange, SequenceNumber, ShardId, Span};
use authpulse_stream::{ShardDescription, StreamError};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{
    Builder, ConfigBag, Intercept, Region, RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_kinesis::error::{BoxError, BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::{Blob, DateTime, DateTimeFormat};
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, PutRecordsResultEntry, Record, Shard, ShardIteratorType, StartingPosition,
    SubscribeToShardEvent, SubscribeToShardEventStream,
};
use futures::StreamExt;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long one request may take; GetRecords returns up to 10 MiB.
const ATTEMPT: Duration = Duration::from_secs(30);
/// The most pages of ListShards. A page has 1,000 shards: together they are more than an account may have.
const PAGES: usize = 100;

/// How a stream is addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// By name, in the account and region of the credentials.
    Name(String),
    /// By ARN, in any account and region: `arn:aws:kinesis:REGION:ACCOUNT:stream/NAME`.
    Arn {
        /// The whole ARN.
        arn: String,
        /// The stream's region.
        region: String,
        /// The stream's name.
        name: String,
    },
}

impl Address {
    /// Parses what follows `kinesis:`.
    ///
    /// # Errors
    /// It is neither a name nor an ARN of a stream; the text says so.
    pub fn parse(text: &str) -> Result<Address, String> {
        let is_name = |name: &str| {
            (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let wrong = || {
            format!(
                "'kinesis:{text}' names no stream: give kinesis:NAME (1 to 128 letters, digits, '_', '.', '-') or \
                 kinesis:arn:aws:kinesis:REGION:ACCOUNT:stream/NAME"
            )
        };
        if !text.starts_with("arn:") {
            return if is_name(text) { Ok(Address::Name(text.to_owned())) } else { Err(wrong()) };
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts[..] {
            ["arn", _, "kinesis", region, account, resource] if !region.is_empty() && !account.is_empty() => {
                let name = resource.strip_prefix("stream/").filter(|name| is_name(name)).ok_or_else(wrong)?;
                Ok(Address::Arn { arn: text.to_owned(), region: region.to_owned(), name: name.to_owned() })
            }
            _ => Err(wrong()),
        }
    }

    /// The stream's name.
    pub fn name(&self) -> &str {
        match self {
            Address::Name(name) | Address::Arn { name, .. } => name,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Name(name) => write!(f, "kinesis:{name}"),
            Address::Arn { arn, .. } => write!(f, "kinesis:{arn}"),
        }
    }
}

/// The configuration of a client for the region of this address.
pub(crate) fn client(aws: &Aws, address: &Address) -> Builder {
    let builder = Builder::from(aws.sdk());
    match address {
        Address::Name(_) => builder,
        Address::Arn { region, .. } => builder.region(Region::new(region.clone())),
    }
}

/// Classifies an error of the SDK: what happened, and what may help.
pub(crate) fn understand<E>(error: &SdkError<E>, action: &'static str, on: &str) -> ApiError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let text = |fault: Fault| fault.text();
    let fault = explain(error, &Call { action, on: on.to_owned() });
    match code(error) {
        "ExpiredIteratorException" => ApiError::ExpiredIterator,
        "InvalidArgumentException" => ApiError::InvalidArgument(text(fault)),
        "ResourceNotFoundException" => ApiError::NotFound(format!(
            "Kinesis knows no such stream or shard in this account and region: check AWS_REGION and the name, or make it with \
             `authpulse stream create` ({})",
            text(fault)
        )),
        "ResourceInUseException" => ApiError::InUse(text(fault)),
        // If KMS throttles a put, nothing is stored: the put is sent again as after any throttle.
        "KMSThrottlingException" if action == "kinesis:PutRecords" => ApiError::Throttled(text(fault)),
        "KMSThrottlingException" => ApiError::Key(format!(
            "KMS throttles requests for the key that encrypts {on}: a quota of KMS in this account, not of the stream ({})",
            text(fault)
        )),
        key if key.starts_with("KMS") => ApiError::Key(text(fault)),
        _ => match fault {
            Fault::Busy(text) => ApiError::Throttled(text),
            Fault::Unclear(text) => ApiError::Unclear(text),
            Fault::Refused(text) => ApiError::Refused(text),
        },
    }
}

/// The error for an answer with impossible content.
fn strange(what: impl fmt::Display) -> ApiError {
    ApiError::Unclear(format!("Kinesis gave an answer that cannot be used: {what}"))
}

fn built<T>(made: Result<T, BuildError>) -> Result<T, ApiError> {
    made.map_err(|error| ApiError::Refused(error.to_string()))
}

/// The SDK gives times as seconds in binary fractions, slightly off the milliseconds that are meant.
fn arrival(time: &DateTime) -> ArrivalTime {
    i64::try_from((time.as_nanos() + 500) / 1_000).map_or(ArrivalTime::MAX, ArrivalTime::from_micros)
}

type EventReceiver = aws_sdk_kinesis::primitives::event_stream::EventReceiver<
    SubscribeToShardEventStream,
    SubscribeToShardEventStreamError,
>;

/// A stream in Kinesis, called with the SDK.
#[derive(Clone, Debug)]
pub struct AwsKinesis {
    client: Client,
    arn: String,
    /// The name, if the stream was addressed by it. It is sent beside the ARN, for services that know no ARNs.
    name: Option<String>,
    shown: String,
    /// If sequence numbers are written with leading zeros, their number of digits; otherwise 0. AWS writes none. Some services that speak
    /// Kinesis do, and compare numbers as texts.
    digits: Arc<AtomicUsize>,
    times: Arc<ServiceTimes>,
}

/// Reads the service's clock from the `Date` of its answers.
#[derive(Debug)]
struct Dates(Arc<ServiceTimes>);

impl Intercept for Dates {
    fn name(&self) -> &'static str {
        "Dates"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Without a valid `Date`, the clocks stay as they are.
        let date = context.response().headers().get("date");
        if let Some(Ok(date)) = date.map(|date| DateTime::from_str(date, DateTimeFormat::HttpDate)) {
            self.0.told(arrival(&date));
        }
        Ok(())
    }
}

impl AwsKinesis {
    /// Finds a stream, and its ARN if it is addressed by name.
    ///
    /// # Errors
    /// The stream does not exist, or cannot be described.
    pub async fn open(aws: &Aws, address: &Address) -> Result<AwsKinesis, StreamError> {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(ATTEMPT).build();
        // The SDK repeats nothing: reader and writer repeat calls, because they know what has to stay in order. It also does not watch
        // for silence: a subscription may be silent for as long as the reader allows, which watches it. All other calls have a time
        // limit.
        let times = Arc::new(ServiceTimes::new());
        let config = client(aws, address)
            .interceptor(Dates(times.clone()))
            .timeout_config(timeouts)
            .retry_config(once())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let client = Client::from_conf(config);
        let shown = address.to_string();
        let arn = match address {
            Address::Arn { arn, .. } => arn.clone(),
            Address::Name(name) => {
                let ask = || async {
                    let told = client.describe_stream_summary().stream_name(name).send().await;
                    told.map_err(|error| understand(&error, "kinesis:DescribeStreamSummary", &shown))
                };
                let chance = Chance::new(std::process::id().into());
                let told = patiently(&*times, &chance, "open", ask).await;
                let told = told.map_err(|error| crate::stream_error(&shown, "open", error))?;
                told.stream_description_summary.map(|summary| summary.stream_arn).unwrap_or_default()
            }
        };
        let name = matches!(address, Address::Name(_)).then(|| address.name().to_owned());
        Ok(AwsKinesis { client, arn, name, shown, digits: Arc::default(), times })
    }

    /// The clocks to read with: the host's, with the time of day corrected to that of Kinesis.
    pub fn times(&self) -> Arc<ServiceTimes> {
        self.times.clone()
    }

    /// ListStreamConsumers: names and states of the registered consumers.
    ///
    /// # Errors
    /// The call is not allowed, or fails.
    pub async fn consumers(&self) -> Result<Vec<(String, String)>, ApiError> {
        let mut consumers = Vec::new();
        let mut next = None;
        for _ in 0..PAGES {
            let call = self.client.list_stream_consumers().stream_arn(&self.arn).set_next_token(next);
            let page = call.send().await.map_err(self.fault("kinesis:ListStreamConsumers"))?;
            let found = page.consumers.unwrap_or_default();
            consumers.extend(found.into_iter().map(|c| (c.consumer_name, c.consumer_status.as_str().to_owned())));
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        Ok(consumers)
    }

    /// DeregisterStreamConsumer, by name.
    ///
    /// # Errors
    /// There is no consumer of this name, or the call is not allowed or fails.
    pub async fn deregister(&self, name: &str) -> Result<(), ApiError> {
        let call = self.client.deregister_stream_consumer().stream_arn(&self.arn).consumer_name(name);
        call.send().await.map(drop).map_err(|error| match code(&error) {
            "ResourceNotFoundException" => ApiError::NotFound(format!("{} has no consumer {name}", self.shown)),
            _ => understand(&error, "kinesis:DeregisterStreamConsumer", &self.shown),
        })
    }

    fn written(&self, sequence: SequenceNumber) -> String {
        format!("{:0>width$}", sequence.to_string(), width = self.digits.load(Ordering::Relaxed))
    }

    /// The beginning of an iterator or a subscription in the types of the SDK: kind, sequence number, time.
    fn begin(&self, at: IteratorAt) -> Result<(ShardIteratorType, Option<String>, Option<DateTime>), ApiError> {
        Ok(match at {
            IteratorAt::Oldest => (ShardIteratorType::TrimHorizon, None, None),
            IteratorAt::Time(time) => {
                let time = DateTime::from_nanos(i128::from(time.micros()) * 1_000).map_err(strange)?;
                (ShardIteratorType::AtTimestamp, None, Some(time))
            }
            IteratorAt::At(sequence) => (ShardIteratorType::AtSequenceNumber, Some(self.written(sequence)), None),
            IteratorAt::After(sequence) => (ShardIteratorType::AfterSequenceNumber, Some(self.written(sequence)), None),
        })
    }

    fn fault<E>(&self, action: &'static str) -> impl FnOnce(SdkError<E>) -> ApiError + '_
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| understand(&error, action, &self.shown)
    }
}

fn describe(shard: Shard) -> Result<ShardDescription, ApiError> {
    let id = shard.shard_id;
    let range = shard.hash_key_range.and_then(|range| {
        let (first, last) = (range.starting_hash_key.parse().ok()?, range.ending_hash_key.parse().ok()?);
        Some(HashRange { first, last })
    });
    let range = range.ok_or_else(|| strange(format!("shard {id} has no range of hash keys")))?;
    let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
    let parents = parents.into_iter().flatten().filter(|id| !id.is_empty()).map(ShardId::new).collect();
    let closed = shard.sequence_number_range.is_some_and(|range| range.ending_sequence_number.is_some());
    Ok(ShardDescription { id: ShardId::new(id), range, parents, closed })
}

fn put(entry: PutRecordsResultEntry) -> Result<Put, ApiError> {
    match (entry.error_code.as_deref(), entry.shard_id, entry.sequence_number) {
        (None, Some(shard), Some(sequence)) => {
            let sequence = sequence.parse().map_err(strange)?;
            Ok(Put::Stored { shard: ShardId::new(shard), sequence })
        }
        (Some("ProvisionedThroughputExceededException" | "KMSThrottlingException"), ..) => Ok(Put::Throttled),
        (code, ..) => {
            let message = entry.error_message.unwrap_or_default();
            Ok(Put::Failed(format!("an entry failed: {} {message}", code.unwrap_or("without a reason"))))
        }
    }
}

fn record(record: Record) -> Result<RawRecord, ApiError> {
    Ok(RawRecord {
        sequence: record.sequence_number.parse().map_err(strange)?,
        arrival: record.approximate_arrival_timestamp.as_ref().map_or_else(ArrivalTime::default, arrival),
        partition_key: record.partition_key.into(),
        data: record.data.into_inner().into(),
    })
}

fn event(event: SubscribeToShardEvent) -> Result<Event, ApiError> {
    Ok(Event {
        records: event.records.into_iter().map(record).collect::<Result<_, _>>()?,
        // The number is missing at the end of a shard.
        continuation: event.continuation_sequence_number.parse().ok(),
        behind: Duration::from_millis(event.millis_behind_latest.max(0).cast_unsigned()),
        has_children: event.child_shards.is_some_and(|children| !children.is_empty()),
    })
}

/// Classifies the error that ended a subscription after it had begun.
fn broke_off<R>(
    error: &aws_sdk_kinesis::error::SdkError<SubscribeToShardEventStreamError, R>,
    shown: &str,
) -> ApiError {
    let Some(said) = error.as_service_error() else {
        return ApiError::Unclear(format!("a subscription to {shown} broke off"));
    };
    let code = said.code().unwrap_or("an error without a code");
    let text = format!("a subscription to {shown} was ended: {code}: {}", said.message().unwrap_or_default());
    match said {
        SubscribeToShardEventStreamError::ResourceInUseException(_) => ApiError::InUse(text),
        SubscribeToShardEventStreamError::ResourceNotFoundException(_) => ApiError::NotFound(text),
        SubscribeToShardEventStreamError::KmsThrottlingException(_) => ApiError::Throttled(text),
        _ => ApiError::Unclear(text),
    }
}

#[async_trait]
impl Api for AwsKinesis {
    async fn summary(&self) -> Result<Summary, ApiError> {
        let call = self.client.describe_stream_summary().stream_arn(&self.arn).set_stream_name(self.name.clone());
        let told = call.send().await.map_err(self.fault("kinesis:DescribeStreamSummary"))?;
        let told = told.stream_description_summary.ok_or_else(|| strange("it describes no stream"))?;
        let kibibytes = told.max_record_size_in_kib.and_then(|kib| usize::try_from(kib).ok());
        Ok(Summary {
            arn: told.stream_arn,
            created: arrival(&told.stream_creation_timestamp),
            retention: Span::hours(told.retention_period_hours.into()),
            status: told.stream_status.as_str().to_owned(),
            max_record_bytes: kibibytes.map_or(RECORD_BYTES, |kib| kib << 10),
        })
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, ApiError> {
        let mut shards = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES {
            let call = self.client.list_shards();
            // The token already names the stream.
            let call = match next.take() {
                Some(token) => call.next_token(token),
                None => call.stream_arn(&self.arn).set_stream_name(self.name.clone()),
            };
            let page = match call.send().await {
                Err(error) if code(&error) == "ExpiredNextTokenException" => {
                    shards.clear();
                    continue;
                }
                page => page.map_err(self.fault("kinesis:ListShards"))?,
            };
            for shard in page.shards.unwrap_or_default() {
                let first = shard.sequence_number_range.as_ref().map_or("", |range| &range.starting_sequence_number);
                if first.starts_with('0') {
                    self.digits.store(first.len(), Ordering::Relaxed);
                }
                shards.push(describe(shard)?);
            }
            next = page.next_token;
            if next.is_none() {
                return Ok(shards);
            }
        }
        Err(strange(format!("its list of shards has more than {PAGES} pages")))
    }

    async fn put(&self, entries: &[Entry]) -> Result<Vec<Put>, ApiError> {
        let entry = |entry: &Entry| {
            let made = PutRecordsRequestEntry::builder()
                .partition_key(&entry.partition_key)
                .set_explicit_hash_key(entry.explicit_hash_key.map(|key| key.to_string()))
                .data(Blob::new(entry.data.clone()));
            built(made.build())
        };
        let entries: Vec<PutRecordsRequestEntry> = entries.iter().map(entry).collect::<Result<_, _>>()?;
        let count = entries.len();
        let call = self.client.put_records().stream_arn(&self.arn).set_stream_name(self.name.clone());
        let call = call.set_records(Some(entries));
        let told = call.send().await.map_err(self.fault("kinesis:PutRecords"))?;
        if told.records.len() != count {
            return Err(strange(format!("{} results for {count} records", told.records.len())));
        }
        told.records.into_iter().map(put).collect()
    }

    async fn iterator(&self, shard: &ShardId, at: IteratorAt) -> Result<String, ApiError> {
        let call = self.client.get_shard_iterator().stream_arn(&self.arn).set_stream_name(self.name.clone());
        let call = call.shard_id(shard.as_str());
        let (kind, sequence, time) = self.begin(at)?;
        let call = call.shard_iterator_type(kind).set_starting_sequence_number(sequence).set_timestamp(time);
        let told = call.send().await.map_err(self.fault("kinesis:GetShardIterator"))?;
        told.shard_iterator.ok_or_else(|| strange("no iterator"))
    }

    async fn get(&self, iterator: &str, limit: usize) -> Result<Page, ApiError> {
        let limit = limit.min(GET_RECORDS) as i32;
        let call = self.client.get_records().stream_arn(&self.arn).shard_iterator(iterator).limit(limit);
        let told = call.send().await.map_err(self.fault("kinesis:GetRecords"))?;
        Ok(Page {
            records: told.records.into_iter().map(record).collect::<Result<_, _>>()?,
            next: told.next_shard_iterator,
            behind: Duration::from_millis(told.millis_behind_latest.unwrap_or(0).max(0).cast_unsigned()),
            has_children: told.child_shards.is_some_and(|children| !children.is_empty()),
        })
    }

    async fn consumer(&self, name: &str) -> Result<Consumer, ApiError> {
        let call = self.client.describe_stream_consumer().stream_arn(&self.arn).consumer_name(name);
        let told = call.send().await.map_err(self.fault("kinesis:DescribeStreamConsumer"))?;
        let told = told.consumer_description.ok_or_else(|| strange("it describes no consumer"))?;
        Ok(Consumer { arn: told.consumer_arn, status: told.consumer_status.as_str().to_owned() })
    }

    async fn register(&self, name: &str) -> Result<Consumer, ApiError> {
        let call = self.client.register_stream_consumer().stream_arn(&self.arn).consumer_name(name);
        let told = call.send().await.map_err(self.fault("kinesis:RegisterStreamConsumer"))?;
        let told = told.consumer.ok_or_else(|| strange("it registered no consumer"))?;
        Ok(Consumer { arn: told.consumer_arn, status: told.consumer_status.as_str().to_owned() })
    }

    async fn subscribe(&self, consumer: &str, shard: &ShardId, at: IteratorAt) -> Result<Events, ApiError> {
        let (kind, sequence, time) = self.begin(at)?;
        let begin = StartingPosition::builder().r#type(kind).set_sequence_number(sequence).set_timestamp(time);
        let call = self.client.subscribe_to_shard().consumer_arn(consumer).shard_id(shard.as_str());
        let call = call.starting_position(built(begin.build())?).send();
        // The client's own limit covers only the head of the answer; here the limit also covers the wait for the first message.
        let told = tokio::time::timeout(ATTEMPT, call).await;
        let told = told.map_err(|_| ApiError::Unclear(format!("a subscription to {} did not begin", self.shown)))?;
        let events = told.map_err(self.fault("kinesis:SubscribeToShard"))?.event_stream;
        let next = |(mut events, shown): (EventReceiver, String)| async move {
            loop {
                let told = match events.recv().await {
                    Ok(None) => return None,
                    Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(told))) => event(told),
                    // A kind of event that this program does not know.
                    Ok(Some(_)) => continue,
                    Err(error) => Err(broke_off(&error, &shown)),
                };
                return Some((told, (events, shown)));
            }
        };
        Ok(futures::stream::unfold((events, self.shown.clone()), next).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_by_name_or_arn() {
        assert_eq!(Address::parse("auth-1_x.y"), Ok(Address::Name("auth-1_x.y".to_owned())));
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/auth";
        let address = Address::parse(arn).unwrap();
        assert_eq!((address.name(), address.to_string()), ("auth", format!("kinesis:{arn}")));
        assert!(matches!(address, Address::Arn { region, .. } if region == "eu-west-1"));
        let long = "x".repeat(129);
        for wrong in [
            "",
            "a b",
            &long,
            "arn:aws:kinesis:eu-west-1:123456789012:stream/",
            "arn:aws:s3:::bucket",
            "arn:aws:kinesis:eu-west-1:1:stream/a/consumer/b:1",
            "arn:aws:kinesis::1:stream/a",
        ] {
            assert!(Address::parse(wrong).unwrap_err().contains("give kinesis:NAME"), "{wrong}");
        }
    }

    #[test]
    fn an_answer_without_number_or_reason_is_no_success() {
        let entry = |code: Option<&str>, sequence: Option<&str>| {
            put(PutRecordsResultEntry::builder()
                .set_error_code(code.map(str::to_owned))
                .set_sequence_number(sequence.map(str::to_owned))
                .shard_id("shardId-000000000000")
                .build())
        };
        assert!(matches!(entry(None, Some("7")), Ok(Put::Stored { .. })));
        assert_eq!(entry(Some("ProvisionedThroughputExceededException"), None), Ok(Put::Throttled));
        assert!(matches!(entry(Some("InternalFailure"), None), Ok(Put::Failed(_))));
        assert!(matches!(entry(None, None), Ok(Put::Failed(_))));
        assert!(entry(None, Some("x")).is_err());
    }
}
