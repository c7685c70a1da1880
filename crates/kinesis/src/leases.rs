//! Leases in DynamoDB, in the table of the Kinesis Client Library (KCL) 2.x: a KCL application can go on from our table, and we
//! from one of its.
//!
//! | attribute | here |
//! | --- | --- |
//! | `leaseKey` S | the shard |
//! | `leaseCounter` N | [`Lease::counter`]: every write has it as its condition, and counts it up |
//! | `leaseOwner` S, `checkpointOwner` S | owner; while a hand-over is asked for, `leaseOwner` is the next one and `checkpointOwner` the owner, as in KCL 3 |
//! | `checkpoint` S, `checkpointSubSequenceNumber` N | [`Lease::checkpoint`]; `SHARD_END` is [`Lease::ended`], written after the leases of the children |
//! | `parentShardId` SS, `childShardIds` SS, `startingHashKey` S, `endingHashKey` S, `ownerSwitchesSinceCheckpoint` N | for the KCL |
//! | `entityType` S | `LEASE`: what is otherwise is no lease and is passed over |
//!
//! An answer that is lost is looked up: a write whose counter and owners are there took effect.

use async_trait::async_trait;
use authpulse_aws_client::fault::{Call, Fault, code, explain};
use authpulse_aws_client::{Aws, once};
use authpulse_event::ShardId;
use authpulse_lease::{Checkpoint, Lease, LeaseError, LeaseStore};
use authpulse_stream::{ShardDescription, Stream, StreamDescription};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Builder, timeout::TimeoutConfig};
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription,
    TableStatus,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const KEY: &str = "leaseKey";
const COUNTER: &str = "leaseCounter";
const OWNER: &str = "leaseOwner";
const CHECKPOINT_OWNER: &str = "checkpointOwner";
const CHECKPOINT: &str = "checkpoint";
const SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
const SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
const SHARD_END: &str = "SHARD_END";
const TRIM_HORIZON: &str = "TRIM_HORIZON";
const ENTITY: &str = "entityType";
const LEASE: &str = "LEASE";

/// One request; DynamoDB answers within milliseconds, and a lease has to be renewed in time.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a table that was just made may take to be there, and how often it is looked for.
const TABLE_LOOKS: u32 = 120;
const TABLE_LOOK: Duration = Duration::from_millis(500);
/// A leader of KCL 3 renews its lock every 30 s.
const LEADER_LOOKS: u32 = 35;
const LEADER_LOOK: Duration = Duration::from_secs(1);

type Item = HashMap<String, AttributeValue>;

/// See the module.
pub struct DynamoDbLeases {
    client: Client,
    table: String,
    /// What a lease's name has behind the shard's.
    suffix: String,
    stream: Arc<dyn Stream>,
    /// Leases as they were seen last: what a write changes.
    seen: Mutex<BTreeMap<String, Lease>>,
}

/// What became of a conditional write.
enum Written {
    Done,
    Refused,
    /// It may have happened.
    Unclear(String),
}

fn text(item: &Item, key: &str) -> Option<String> {
    item.get(key).and_then(|value| value.as_s().ok()).cloned()
}

fn number(item: &Item, key: &str) -> Option<u64> {
    item.get(key).and_then(|value| value.as_n().ok()?.parse().ok())
}

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn shards_set(shards: impl Iterator<Item = ShardId>) -> AttributeValue {
    AttributeValue::Ss(shards.map(|shard| shard.to_string()).collect())
}

/// A lease as the store knows it; `None` for what is none.
fn read(item: &Item, suffix: &str) -> Option<Lease> {
    if item.get(ENTITY).is_some_and(|kind| kind.as_s().is_ok_and(|kind| kind != LEASE)) {
        return None;
    }
    let (owner, asked_by) = match (text(item, OWNER), text(item, CHECKPOINT_OWNER)) {
        (next, Some(owner)) => (Some(owner), next),
        (owner, None) => (owner, None),
    };
    let at = text(item, CHECKPOINT).unwrap_or_default();
    let ended = at == SHARD_END;
    let is_number = !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit());
    let sub_sequence = number(item, SUB_SEQUENCE).unwrap_or(0);
    Some(Lease {
        key: format!("{}{suffix}", text(item, KEY)?),
        owner,
        next_owner: asked_by,
        counter: number(item, COUNTER)?,
        ended,
        checkpoint: is_number.then_some(Checkpoint { sequence: at, sub_sequence }),
    })
}

/// What the name of an application, which is the table's, may be.
fn check_name(application: &str) -> Result<(), String> {
    let plain = application.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    match (3..=255).contains(&application.len()) && plain {
        true => Ok(()),
        false => Err(format!(
            "'{application}' cannot name an application: its name is that of a table in DynamoDB, 3 to 255 letters, digits, '_', \
             '.' and '-'"
        )),
    }
}

impl DynamoDbLeases {
    /// Opens the leases of an application, the table of that name, and makes the table if it is missing. A lease is
    /// named `SHARD@STREAM.CREATED`, by the description; `stream` knows the shards.
    ///
    /// # Errors
    /// The table cannot be used, or a living KCL 3 assigns its leases.
    pub async fn open(
        aws: &Aws,
        application: &str,
        description: &StreamDescription,
        stream: Arc<dyn Stream>,
    ) -> Result<DynamoDbLeases, LeaseError> {
        let leases = DynamoDbLeases::named(aws, application, description, stream)?;
        leases.ensure_table().await?;
        leases.refuse_a_living_leader().await?;
        Ok(leases)
    }

    /// The leases of an application whose table exists, for operators: nothing is made, and a leader of KCL 3 is not looked for.
    ///
    /// # Errors
    /// There is no such table, or it is not one of leases.
    pub async fn look(
        aws: &Aws,
        application: &str,
        description: &StreamDescription,
        stream: Arc<dyn Stream>,
    ) -> Result<DynamoDbLeases, LeaseError> {
        let leases = DynamoDbLeases::named(aws, application, description, stream)?;
        match leases.client.describe_table().table_name(&leases.table).send().await {
            Ok(told) => leases.check_key(told.table())?,
            Err(error) if code(&error) == "ResourceNotFoundException" => {
                let cause = "there is no such table in this account and region: no worker of this --app has run yet, or it is \
                             another --app or AWS_REGION";
                return Err(leases.failed("opening them", cause.to_owned()));
            }
            Err(error) => {
                return Err(leases.failed("opening them", leases.fault("dynamodb:DescribeTable", &error).text()));
            }
        }
        Ok(leases)
    }

    fn named(
        aws: &Aws,
        application: &str,
        description: &StreamDescription,
        stream: Arc<dyn Stream>,
    ) -> Result<DynamoDbLeases, LeaseError> {
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(4 * ATTEMPT).build();
        let leases = DynamoDbLeases {
            client: Client::from_conf(Builder::from(aws.sdk()).timeout_config(timeouts).build()),
            table: application.to_owned(),
            suffix: format!("@{}.{}", description.name, description.created),
            stream,
            seen: Mutex::default(),
        };
        check_name(application).map_err(|why| leases.failed("opening them", why))?;
        Ok(leases)
    }

    fn check_key(&self, table: Option<&TableDescription>) -> Result<(), LeaseError> {
        let keys = table.map(|table| table.key_schema().iter().map(|key| key.attribute_name()).collect::<Vec<_>>());
        if keys.is_some_and(|keys| keys != [KEY]) {
            let cause = format!("it is another's: its key is not {KEY}; choose another --app");
            return Err(self.failed("opening them", cause));
        }
        Ok(())
    }

    fn failed(&self, action: &'static str, cause: String) -> LeaseError {
        LeaseError::Failed { place: format!("DynamoDB table {}", self.table), action, cause }
    }

    fn fault<E>(&self, call: &'static str, error: &SdkError<E>) -> Fault
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        explain(error, &Call { action: call, on: format!("DynamoDB table {}", self.table) })
    }

    async fn ensure_table(&self) -> Result<(), LeaseError> {
        const DOING: &str = "making their table";
        let wrong = |error: BuildError| self.failed(DOING, error.to_string());
        let mut made = false;
        for _ in 0..TABLE_LOOKS {
            match self.client.describe_table().table_name(&self.table).send().await {
                Ok(told) => {
                    let table = told.table();
                    self.check_key(table)?;
                    if table.and_then(|table| table.table_status()) == Some(&TableStatus::Active) {
                        return Ok(());
                    }
                }
                Err(error) if code(&error) == "ResourceNotFoundException" && !made => {
                    let key = KeySchemaElement::builder().attribute_name(KEY).key_type(KeyType::Hash).build();
                    let kind = AttributeDefinition::builder()
                        .attribute_name(KEY)
                        .attribute_type(ScalarAttributeType::S)
                        .build();
                    let create = self
                        .client
                        .create_table()
                        .table_name(&self.table)
                        .key_schema(key.map_err(wrong)?)
                        .attribute_definitions(kind.map_err(wrong)?)
                        .billing_mode(BillingMode::PayPerRequest);
                    match create.send().await {
                        Ok(_) => {}
                        // Another worker made it at the same time.
                        Err(error) if code(&error) == "ResourceInUseException" => {}
                        Err(error) => return Err(self.failed(DOING, self.fault("dynamodb:CreateTable", &error).text())),
                    }
                    made = true;
                }
                Err(error) if code(&error) == "ResourceNotFoundException" => {}
                Err(error) => {
                    return Err(self.failed("opening them", self.fault("dynamodb:DescribeTable", &error).text()));
                }
            }
            tokio::time::sleep(TABLE_LOOK).await;
        }
        Err(self.failed(DOING, "it is not there yet: try again".to_owned()))
    }

    /// The lock of a leader of KCL 3, in this table (3.5) or in the coordinator's own (3.0 to 3.4), as of now.
    async fn leader(&self) -> Result<Option<(String, String)>, LeaseError> {
        for (table, key) in [(self.table.clone(), KEY), (format!("{}-CoordinatorState", self.table), "key")] {
            let call = self.client.get_item().table_name(&table).consistent_read(true).key(key, s("Leader"));
            match call.send().await {
                Ok(told) => {
                    if let Some(item) = told.item {
                        let (owner, version) = (text(&item, "ownerName"), text(&item, "recordVersionNumber"));
                        return Ok(Some((owner.unwrap_or_default(), version.unwrap_or_default())));
                    }
                }
                // Without leave to look at a table that need not exist it is taken for missing.
                Err(error) if table != self.table => {
                    tracing::debug!(%table, code = code(&error), "no table of a coordinator")
                }
                Err(error) => {
                    return Err(self.failed("looking for a KCL", self.fault("dynamodb:GetItem", &error).text()));
                }
            }
        }
        Ok(None)
    }

    /// A leader of KCL 3 gives leases away by its own rules. One whose lock is in the table is watched for 35 s.
    ///
    /// # Errors
    /// It lives, or cannot be looked for.
    pub async fn refuse_a_living_leader(&self) -> Result<(), LeaseError> {
        let Some(first) = self.leader().await? else { return Ok(()) };
        tracing::warn!(table = %self.table, leader = %first.0, "a leader of KCL 3 left its lock here; looking for 35 s whether it lives");
        for _ in 0..LEADER_LOOKS {
            tokio::time::sleep(LEADER_LOOK).await;
            match self.leader().await? {
                None => return Ok(()),
                Some(now) if now != first => {
                    let cause = format!(
                        "a living worker of KCL 3 ('{}') assigns these leases: stop the KCL application first, or choose another --app",
                        now.0
                    );
                    return Err(self.failed("opening them", cause));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn shard_of<'a>(&self, key: &'a str) -> Result<&'a str, LeaseError> {
        key.strip_suffix(&self.suffix)
            .ok_or_else(|| self.failed("naming a lease", format!("'{key}' is no shard of this stream")))
    }

    fn read(&self, item: &Item) -> Option<Lease> {
        read(item, &self.suffix)
    }

    fn saw(&self, lease: &Lease) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(lease.key.clone(), lease.clone());
    }

    fn last_seen(&self, key: &str) -> Option<Lease> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, LeaseError> {
        self.stream.shards().await.map_err(|error| self.failed("looking up a shard", error.to_string()))
    }

    async fn put_new(&self, lease: &Lease, shards: &[ShardDescription]) -> Result<bool, LeaseError> {
        let name = self.shard_of(&lease.key)?;
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", KEY)
            .item(KEY, s(name))
            .item(COUNTER, n(lease.counter))
            .item(CHECKPOINT, s(if lease.ended { SHARD_END } else { TRIM_HORIZON }))
            .item(SUB_SEQUENCE, n(0))
            .item(SWITCHES, n(0))
            .item(ENTITY, s(LEASE))
            .set_item_owner(lease);
        if let Some(shard) = shards.iter().find(|shard| shard.id.as_str() == name) {
            put = put
                .item("startingHashKey", s(shard.range.first.to_string()))
                .item("endingHashKey", s(shard.range.last.to_string()));
            if !shard.parents.is_empty() {
                put = put.item("parentShardId", shards_set(shard.parents.iter().cloned()));
            }
        }
        match put.customize().config_override(Builder::new().retry_config(once())).send().await {
            Ok(_) => {
                self.saw(lease);
                Ok(true)
            }
            Err(error) if code(&error) == "ConditionalCheckFailedException" => Ok(false),
            Err(error) => match self.fault("dynamodb:PutItem", &error) {
                // It is there, or will be made by the next look.
                Fault::Unclear(cause) => match self.get(&lease.key).await? {
                    Some(_) => Ok(false),
                    None => Err(self.failed("making a lease", cause)),
                },
                fault => Err(self.failed("making a lease", fault.text())),
            },
        }
    }

    async fn write(&self, lease: &Lease, children: Vec<ShardId>) -> Result<Written, LeaseError> {
        let before = self.last_seen(&lease.key);
        let mut set = vec!["#counter = :next".to_owned()];
        let mut remove = Vec::new();
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(KEY, s(self.shard_of(&lease.key)?))
            .condition_expression("#counter = :known")
            .expression_attribute_names("#counter", COUNTER)
            .expression_attribute_values(":known", n(lease.counter))
            .expression_attribute_values(":next", n(lease.counter + 1));
        let (stands_as_owner, checkpoint_owner) = match (&lease.owner, &lease.next_owner) {
            (Some(owner), Some(next)) => (Some(next), Some(owner)),
            (owner, next) => (owner.as_ref().or(next.as_ref()), None),
        };
        for (name, value) in [(OWNER, stands_as_owner), (CHECKPOINT_OWNER, checkpoint_owner)] {
            match value {
                Some(value) => {
                    set.push(format!("{name} = :{name}"));
                    update = update.expression_attribute_values(format!(":{name}"), s(value));
                }
                None => remove.push(name),
            }
        }
        let is_new = before.as_ref().is_none_or(|b| b.checkpoint != lease.checkpoint || b.ended != lease.ended);
        let place = match (&lease.checkpoint, lease.ended) {
            (_, true) => Some((SHARD_END.to_owned(), 0)),
            (Some(at), false) => Some((at.sequence.clone(), at.sub_sequence)),
            (None, false) => None,
        };
        match place.filter(|_| is_new) {
            Some((at, sub_sequence)) => {
                set.push(format!("#checkpoint = :checkpoint, {SUB_SEQUENCE} = :sub, {SWITCHES} = :switches"));
                update = update
                    .expression_attribute_names("#checkpoint", CHECKPOINT)
                    .expression_attribute_values(":checkpoint", s(at))
                    .expression_attribute_values(":sub", n(sub_sequence))
                    .expression_attribute_values(":switches", n(0));
            }
            None if before.as_ref().is_some_and(|b| b.owner != lease.owner && lease.owner.is_some()) => {
                set.push(format!("{SWITCHES} = if_not_exists({SWITCHES}, :zero) + :one"));
                update = update.expression_attribute_values(":one", n(1)).expression_attribute_values(":zero", n(0));
            }
            None => {}
        }
        if !children.is_empty() {
            set.push("childShardIds = :children".to_owned());
            update = update.expression_attribute_values(":children", shards_set(children.into_iter()));
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        let update = update.update_expression(expression);
        match update.customize().config_override(Builder::new().retry_config(once())).send().await {
            Ok(_) => Ok(Written::Done),
            Err(error) if code(&error) == "ConditionalCheckFailedException" => Ok(Written::Refused),
            Err(error) => match self.fault("dynamodb:UpdateItem", &error) {
                Fault::Unclear(cause) => Ok(Written::Unclear(cause)),
                fault => Err(self.failed("changing a lease", fault.text())),
            },
        }
    }
}

/// Owners of a new item.
trait WithOwner {
    fn set_item_owner(self, lease: &Lease) -> Self;
}

impl WithOwner for aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder {
    fn set_item_owner(self, lease: &Lease) -> Self {
        match &lease.owner {
            Some(owner) => self.item(OWNER, s(owner)),
            None => self,
        }
    }
}

#[async_trait]
impl LeaseStore for DynamoDbLeases {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        let mut leases = Vec::new();
        let mut next = None;
        loop {
            // A lease that was just written must not look as if it stood still.
            let scan = self.client.scan().table_name(&self.table).consistent_read(true).set_exclusive_start_key(next);
            let page = scan.send().await;
            let page = page.map_err(|e| self.failed("listing leases", self.fault("dynamodb:Scan", &e).text()))?;
            leases.extend(page.items().iter().filter_map(|item| self.read(item)));
            next = page.last_evaluated_key;
            if next.is_none() {
                leases.iter().for_each(|lease| self.saw(lease));
                leases.sort_by(|a: &Lease, b: &Lease| a.key.cmp(&b.key));
                return Ok(leases);
            }
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Lease>, LeaseError> {
        let shard = self.shard_of(key)?;
        let call = self.client.get_item().table_name(&self.table).consistent_read(true).key(KEY, s(shard));
        let told = call.send().await;
        let told = told.map_err(|e| self.failed("reading a lease", self.fault("dynamodb:GetItem", &e).text()))?;
        let lease = told.item.as_ref().and_then(|item| self.read(item));
        if let Some(lease) = &lease {
            self.saw(lease);
        }
        Ok(lease)
    }

    async fn create(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let shards = self.shards().await?;
        self.put_new(lease, &shards).await
    }

    async fn update(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let mut children = Vec::new();
        let ends_now = lease.ended && !self.last_seen(&lease.key).is_some_and(|before| before.ended);
        if ends_now {
            // Whoever finds SHARD_END finds the leases of the children.
            let shards = self.shards().await?;
            let parent = ShardId::new(self.shard_of(&lease.key)?);
            for child in shards.iter().filter(|shard| shard.parents.contains(&parent)) {
                self.put_new(&Lease::new(format!("{}{}", child.id, self.suffix)), &shards).await?;
                children.push(child.id.clone());
            }
        }
        let written = match self.write(lease, children).await? {
            Written::Done => true,
            Written::Refused => false,
            Written::Unclear(cause) => match self.get(&lease.key).await? {
                Some(now) if now.counter == lease.counter => return Err(self.failed("changing a lease", cause)),
                Some(now) => {
                    now.counter == lease.counter + 1
                        && (&now.owner, &now.next_owner, now.ended) == (&lease.owner, &lease.next_owner, lease.ended)
                }
                None => false,
            },
        };
        if written {
            self.saw(&Lease { counter: lease.counter + 1, ..lease.clone() });
        }
        Ok(written)
    }

    async fn remove(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key(KEY, s(self.shard_of(&lease.key)?))
            .condition_expression("#counter = :known")
            .expression_attribute_names("#counter", COUNTER)
            .expression_attribute_values(":known", n(lease.counter));
        match call.customize().config_override(Builder::new().retry_config(once())).send().await {
            Ok(_) => Ok(true),
            Err(error) if code(&error) == "ConditionalCheckFailedException" => Ok(false),
            Err(error) => match self.fault("dynamodb:DeleteItem", &error) {
                Fault::Unclear(cause) => match self.get(&lease.key).await? {
                    None => Ok(true),
                    Some(now) if now.counter == lease.counter => Err(self.failed("removing a lease", cause)),
                    Some(_) => Ok(false),
                },
                fault => Err(self.failed("removing a lease", fault.text())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_names_a_table() {
        for name in ["abc", "auth-pulse_1.x", &"x".repeat(255)] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", "ab", "a b c", "söc", &"x".repeat(256)] {
            assert!(check_name(name).unwrap_err().contains("3 to 255"), "{name}");
        }
    }

    #[test]
    fn leases_of_the_kcl_are_read_and_nothing_else_is() {
        let item = |texts: &[(&str, &str)], numbers: &[(&str, u64)]| -> Item {
            let texts = texts.iter().map(|(key, value)| (key.to_string(), s(*value)));
            texts.chain(numbers.iter().map(|(key, value)| (key.to_string(), n(*value)))).collect()
        };
        let lease = |texts: &[(&str, &str)], sub_sequence| {
            let found = item(&[&[(KEY, "shard")], texts].concat(), &[(COUNTER, 7), (SUB_SEQUENCE, sub_sequence)]);
            read(&found, "@stream").expect("a lease")
        };
        let free = Lease { counter: 7, ..Lease::new("shard@stream") };
        // KCL 2.x names no kind, 3.5 does.
        assert_eq!(lease(&[(CHECKPOINT, TRIM_HORIZON)], 0), free);
        assert_eq!(lease(&[(CHECKPOINT, "LATEST"), (ENTITY, LEASE)], 0), free);
        let checkpoint = Some(Checkpoint { sequence: "49".to_owned(), sub_sequence: 6 });
        let owner = Some("w1".to_owned());
        let read_half = Lease { owner: owner.clone(), checkpoint, ..free.clone() };
        assert_eq!(lease(&[(CHECKPOINT, "49"), (OWNER, "w1")], 6), read_half);
        let handed_over = Lease { next_owner: Some("w2".to_owned()), ..read_half };
        assert_eq!(lease(&[(CHECKPOINT, "49"), (OWNER, "w2"), (CHECKPOINT_OWNER, "w1")], 6), handed_over);
        assert_eq!(lease(&[(CHECKPOINT, SHARD_END), (OWNER, "w1")], 0), Lease { owner, ended: true, ..free });
        // What KCL 3 keeps in the same table.
        let leader = [(KEY, "Leader"), ("ownerName", "w1"), ("recordVersionNumber", "1")];
        let metrics = [(KEY, "w1"), (ENTITY, "WORKER_METRIC_STATS")];
        assert_eq!(read(&item(&leader, &[]), "@stream"), None);
        assert_eq!(read(&item(&metrics, &[(COUNTER, 1)]), "@stream"), None);
    }
}
