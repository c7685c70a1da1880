//! Which of many workers commits: one item in DynamoDB with a counter, which its holder counts up.
//!
//! The clocks of two machines are never compared. A worker that wants the lock watches the counter. If the counter has not moved for the
//! length of the lease, measured here from the moment it was first seen, the holder is taken for dead. A conditional write on that very
//! counter then takes the lock over. A holder that was only slow finds its own write refused. If both commit for a while, the catalog's
//! conditional swap sorts it out.

use async_trait::async_trait;
use authpulse_aws_client::Aws;
use authpulse_aws_client::fault::{Call, Fault, code, explain};
use authpulse_lake::CommitterLock;
use authpulse_lake::lock::{LockError, Monotonic};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The table of all locks.
pub const LOCK_TABLE: &str = "authpulse_locks";
/// The table's key, which names a lake.
const KEY: &str = "lake";
const OWNER: &str = "lease_owner";
const COUNTER: &str = "lease_counter";
/// The attribute that names the holder, for people who look into the table.
const HOLDER: &str = "holder";
/// How long a new table may take to be there, and the pause between two looks at it.
const TABLE_WAIT: Duration = Duration::from_secs(60);
const TABLE_LOOK: Duration = Duration::from_millis(500);
/// How long one request to DynamoDB may take; it answers within milliseconds.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The lock of a lake's committer in DynamoDB.
pub struct DynamoDbCommitterLock {
    client: Client,
    table: String,
    lake: String,
    owner: String,
    holder: String,
    lease: Duration,
    now: Monotonic,
    state: Mutex<State>,
    observed: std::sync::Mutex<Observed>,
}

#[derive(Default)]
struct State {
    /// The counter of our own last write; `None` if another process has the lock.
    held: Option<u64>,
    /// The item of another process as it was last seen, and since when it is unchanged.
    watched: Option<(Item, Duration)>,
}

/// What callers may ask for at any moment, even while a call is under way.
#[derive(Default)]
struct Observed {
    /// The process from which the lock was taken over.
    silent: Option<String>,
    /// Whether the present holder was seen to renew the lock.
    is_renewed: bool,
}

/// The lock as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    /// Empty if the lock was released.
    owner: String,
    counter: u64,
    /// Names the owner, for people.
    holder: String,
}

impl Item {
    fn free(counter: u64) -> Item {
        Item { owner: String::new(), counter, holder: "nobody".to_owned() }
    }
}

/// The result of a conditional write.
enum Written {
    Done,
    /// The condition did not hold. After a repetition, an earlier attempt of our own may be the reason: reading the item tells.
    Refused,
    NoTable,
}

impl DynamoDbCommitterLock {
    /// The lock of one lake, not taken yet. `lake` is the lake's name, the same for all workers; `holder` names this process for people.
    /// `lease` is how long a silent holder keeps the lock: several times the longest pause between two calls of `hold`.
    pub fn new(aws: &Aws, lake: &str, holder: &str, lease: Duration) -> DynamoDbCommitterLock {
        let start = Instant::now();
        Self::with_clock(aws, LOCK_TABLE, lake, holder, lease, Arc::new(move || start.elapsed()))
    }

    /// The same, with a table and a clock of the caller's own.
    pub fn with_clock(
        aws: &Aws,
        table: &str,
        lake: &str,
        holder: &str,
        lease: Duration,
        now: Monotonic,
    ) -> DynamoDbCommitterLock {
        let attempt = ATTEMPT.min(aws.answer());
        let timeouts = aws_sdk_dynamodb::config::timeout::TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(attempt)
            .operation_timeout(2 * attempt)
            .build();
        let config = Builder::from(aws.sdk()).timeout_config(timeouts).build();
        DynamoDbCommitterLock {
            client: Client::from_conf(config),
            table: table.to_owned(),
            lake: lake.to_owned(),
            owner: uuid::Uuid::new_v4().simple().to_string(),
            holder: holder.to_owned(),
            lease,
            now,
            state: Mutex::default(),
            observed: std::sync::Mutex::default(),
        }
    }

    fn fault<E>(&self, action: &'static str, error: &SdkError<E>) -> Fault
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        explain(error, &Call { action, on: format!("DynamoDB table {}", self.table) })
    }

    fn failed(&self, fault: Fault) -> LockError {
        LockError::Failed { lake: self.lake.clone(), cause: fault.text() }
    }

    async fn read(&self) -> Result<Option<Item>, LockError> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        match get.key(KEY, AttributeValue::S(self.lake.clone())).send().await {
            Ok(answer) => Ok(answer.item.map(|item| Item::read(&item))),
            Err(e) if code(&e) == "ResourceNotFoundException" => Ok(None),
            Err(e) => Err(self.failed(self.fault("dynamodb:GetItem", &e))),
        }
    }

    /// Writes the item if the table still has `old`.
    async fn write(&self, old: Option<&Item>, new: &Item) -> Result<Written, LockError> {
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item(KEY, AttributeValue::S(self.lake.clone()))
            .item(OWNER, AttributeValue::S(new.owner.clone()))
            .item(COUNTER, AttributeValue::N(new.counter.to_string()))
            .item(HOLDER, AttributeValue::S(new.holder.clone()));
        put = match old {
            None => put.condition_expression("attribute_not_exists(#lake)").expression_attribute_names("#lake", KEY),
            Some(old) => put
                .condition_expression("#owner = :owner AND #counter = :counter")
                .expression_attribute_names("#owner", OWNER)
                .expression_attribute_names("#counter", COUNTER)
                .expression_attribute_values(":owner", AttributeValue::S(old.owner.clone()))
                .expression_attribute_values(":counter", AttributeValue::N(old.counter.to_string())),
        };
        // The SDK may repeat it: the condition lets it take effect only once.
        match put.send().await {
            Ok(_) => Ok(Written::Done),
            Err(e) if code(&e) == "ResourceNotFoundException" => Ok(Written::NoTable),
            Err(e) if code(&e) == "ConditionalCheckFailedException" => Ok(Written::Refused),
            Err(e) => Err(self.failed(self.fault("dynamodb:PutItem", &e))),
        }
    }

    async fn make_table(&self) -> Result<(), LockError> {
        let wrong = |what: String| LockError::Failed { lake: self.lake.clone(), cause: what };
        let key = KeySchemaElement::builder().attribute_name(KEY).key_type(KeyType::Hash).build();
        let kind = AttributeDefinition::builder().attribute_name(KEY).attribute_type(ScalarAttributeType::S).build();
        let create = self
            .client
            .create_table()
            .table_name(&self.table)
            .key_schema(key.map_err(|e| wrong(e.to_string()))?)
            .attribute_definitions(kind.map_err(|e| wrong(e.to_string()))?)
            .billing_mode(BillingMode::PayPerRequest);
        match create.send().await {
            Ok(_) => {}
            Err(e) if code(&e) == "ResourceInUseException" => {}
            Err(e) => return Err(self.failed(self.fault("dynamodb:CreateTable", &e))),
        }
        let begun = (self.now)();
        loop {
            let told = self.client.describe_table().table_name(&self.table).send().await;
            match told {
                Ok(told) => {
                    let status = told.table().and_then(|table| table.table_status());
                    if status == Some(&TableStatus::Active) {
                        return Ok(());
                    }
                }
                Err(e) if code(&e) == "ResourceNotFoundException" => {}
                Err(e) => return Err(self.failed(self.fault("dynamodb:DescribeTable", &e))),
            }
            if (self.now)().saturating_sub(begun) > TABLE_WAIT {
                return Err(wrong(format!("DynamoDB table {} was made and is not there yet: try again", self.table)));
            }
            tokio::time::sleep(TABLE_LOOK).await;
        }
    }

    /// Writes, and reads if the write was refused. Returns whether the lock is ours now.
    async fn take(&self, state: &mut State, old: Option<Item>, counter: u64) -> Result<bool, LockError> {
        let new = self.item(counter);
        let mut written = self.write(old.as_ref(), &new).await?;
        if matches!(written, Written::NoTable) {
            self.make_table().await?;
            written = self.write(None, &new).await?;
        }
        state.held = None;
        if matches!(written, Written::Done) {
            state.held = Some(counter);
            state.watched = None;
            return Ok(true);
        }
        match self.read().await? {
            // An earlier write of our own took effect, but its answer was lost.
            Some(item) if item.owner == self.owner => {
                state.held = Some(item.counter);
                Ok(true)
            }
            found => {
                self.watch(state, found);
                Ok(false)
            }
        }
    }

    fn item(&self, counter: u64) -> Item {
        Item { owner: self.owner.clone(), counter, holder: self.holder.clone() }
    }

    fn observed(&self) -> std::sync::MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the item of another process, and since when it is unchanged.
    fn watch(&self, state: &mut State, found: Option<Item>) {
        let same = |watched: &Option<(Item, Duration)>| matches!((watched, &found), (Some((w, _)), Some(f)) if w == f);
        if !same(&state.watched) {
            let owner = |item: &Item| item.owner.clone();
            let before = state.watched.as_ref().map(|(item, _)| owner(item)).filter(|owner| !owner.is_empty());
            self.observed().is_renewed = before.is_some() && before == found.as_ref().map(owner);
            state.watched = found.map(|item| (item, (self.now)()));
        }
    }
}

impl Item {
    fn read(item: &HashMap<String, AttributeValue>) -> Item {
        let text = |key| item.get(key).and_then(|value: &AttributeValue| value.as_s().ok()).cloned();
        let number = |key| item.get(key).and_then(|value: &AttributeValue| value.as_n().ok()?.parse().ok());
        Item {
            owner: text(OWNER).unwrap_or_default(),
            counter: number(COUNTER).unwrap_or_default(),
            holder: text(HOLDER).unwrap_or_default(),
        }
    }
}

#[async_trait]
impl CommitterLock for DynamoDbCommitterLock {
    async fn hold(&self) -> Result<bool, LockError> {
        let mut state = self.state.lock().await;
        if let Some(counter) = state.held {
            let old = self.item(counter);
            return self.take(&mut state, Some(old), counter + 1).await;
        }
        let Some(found) = self.read().await? else {
            return self.take(&mut state, None, 1).await;
        };
        self.watch(&mut state, Some(found.clone()));
        let since = state.watched.as_ref().map_or(Duration::ZERO, |(_, since)| *since);
        let silent = (self.now)().saturating_sub(since);
        if found.owner.is_empty() || found.owner == self.owner || silent >= self.lease {
            let counter = found.counter + 1;
            let silent = (!found.owner.is_empty() && found.owner != self.owner).then(|| found.holder.clone());
            let taken = self.take(&mut state, Some(found), counter).await?;
            if taken {
                *self.observed() = Observed { silent, is_renewed: false };
            }
            return Ok(taken);
        }
        Ok(false)
    }

    fn taken_over_from(&self) -> Option<String> {
        self.observed().silent.take()
    }

    fn is_renewed_by_another(&self) -> bool {
        self.observed().is_renewed
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }

    async fn release(&self) {
        let mut state = self.state.lock().await;
        if let Some(counter) = state.held.take() {
            let old = self.item(counter);
            // If this is lost, the others wait for the lease to run out.
            let _ = self.write(Some(&old), &Item::free(counter + 1)).await;
        }
    }
}
