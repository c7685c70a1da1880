//! The table of leases, with the AWS SDK.

use crate::table::{COUNTER, Change, KEY, LeaseTable, Row, Rows, TableError, Value};
use async_trait::async_trait;
use authpulse_aws_client::fault::{Call, Fault, code, explain};
use authpulse_aws_client::{Aws, once};
use authpulse_lease::LeaseError;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Builder, timeout::TimeoutConfig};
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription,
    TableStatus,
};
use std::collections::HashMap;
use std::time::Duration;

/// How long one request may take: DynamoDB answers within milliseconds, and a lease has to be renewed in time.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How often a new table is looked for, and the pause in between.
const TABLE_LOOKS: u32 = 120;
const TABLE_LOOK: Duration = Duration::from_millis(500);
/// How often the lock of a leader of KCL 3 is looked at, which renews it every 30 s.
const LEADER_LOOKS: u32 = 35;
const LEADER_LOOK: Duration = Duration::from_secs(1);

type Item = HashMap<String, AttributeValue>;

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Text(text) => s(text),
        Value::Number(number) => n(*number),
        Value::Texts(texts) => AttributeValue::Ss(texts.iter().cloned().collect()),
    }
}

/// Leaves out what leases do not use: KCL 3 keeps more in the same table.
fn row(item: Item) -> Row {
    let value = |value| match value {
        AttributeValue::S(text) => Some(Value::Text(text)),
        AttributeValue::N(number) => number.parse().ok().map(Value::Number),
        AttributeValue::Ss(texts) => Some(Value::Texts(texts.into_iter().collect())),
        _ => None,
    };
    item.into_iter().filter_map(|(name, found)| Some((name, value(found)?))).collect()
}

/// Checks the name of an application, which is also its table's.
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

/// A table of leases in DynamoDB, called with the SDK.
#[derive(Clone, Debug)]
pub struct DynamoDbTable {
    client: Client,
    name: String,
}

impl DynamoDbTable {
    /// The table of an application, which has its name; nothing is asked yet.
    ///
    /// # Errors
    /// A table cannot have this name.
    pub fn new(aws: &Aws, application: &str) -> Result<DynamoDbTable, LeaseError> {
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(4 * ATTEMPT).build();
        let client = Client::from_conf(Builder::from(aws.sdk()).timeout_config(timeouts).build());
        let table = DynamoDbTable { client, name: application.to_owned() };
        check_name(application).map_err(|why| table.failed("opening them", why))?;
        Ok(table)
    }

    /// Makes the table if it is missing, and waits until it can be used: a minute at most.
    ///
    /// # Errors
    /// The table cannot be made or described, it is not a table of leases, or it is not active in time.
    pub async fn ensure(&self) -> Result<(), LeaseError> {
        const DOING: &str = "making their table";
        let wrong = |error: BuildError| self.failed(DOING, error.to_string());
        let mut made = false;
        for _ in 0..TABLE_LOOKS {
            match self.client.describe_table().table_name(&self.name).send().await {
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
                        .table_name(&self.name)
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

    /// Checks that the table is there.
    ///
    /// # Errors
    /// There is no table of that name, it is not a table of leases, or it cannot be described.
    pub async fn find(&self) -> Result<(), LeaseError> {
        match self.client.describe_table().table_name(&self.name).send().await {
            Ok(told) => self.check_key(told.table()),
            Err(error) if code(&error) == "ResourceNotFoundException" => {
                let cause = "there is no such table in this account and region: no worker of this --app has run yet, or it is \
                             another --app or AWS_REGION";
                Err(self.failed("opening them", cause.to_owned()))
            }
            Err(error) => Err(self.failed("opening them", self.fault("dynamodb:DescribeTable", &error).text())),
        }
    }

    fn check_key(&self, table: Option<&TableDescription>) -> Result<(), LeaseError> {
        let keys = table.map(|table| table.key_schema().iter().map(|key| key.attribute_name()).collect::<Vec<_>>());
        if keys.is_some_and(|keys| keys != [KEY]) {
            let cause = format!("it is another's: its key is not {KEY}; choose another --app");
            return Err(self.failed("opening them", cause));
        }
        Ok(())
    }

    /// The present lock of a leader of KCL 3: its owner and version. It is in this table (3.5) or in the coordinator's own (3.0 to 3.4).
    async fn leader(&self) -> Result<Option<(String, String)>, LeaseError> {
        for (table, key) in [(self.name.clone(), KEY), (format!("{}-CoordinatorState", self.name), "key")] {
            let call = self.client.get_item().table_name(&table).consistent_read(true).key(key, s("Leader"));
            match call.send().await {
                Ok(told) => {
                    if let Some(item) = told.item {
                        let text = |name| item.get(name).and_then(|value| value.as_s().ok()).cloned();
                        let (owner, version) = (text("ownerName"), text("recordVersionNumber"));
                        return Ok(Some((owner.unwrap_or_default(), version.unwrap_or_default())));
                    }
                }
                Err(error) if table != self.name && code(&error) == "ResourceNotFoundException" => {}
                // Policies older than KCL 3 do not allow reading its table.
                Err(error) if table != self.name && code(&error) == "AccessDeniedException" => {
                    tracing::warn!(%table, "whether a KCL 3.0 to 3.4 assigns these leases is unknown: dynamodb:GetItem on its table is not allowed")
                }
                Err(error) => {
                    return Err(self.failed("looking for a KCL", self.fault("dynamodb:GetItem", &error).text()));
                }
            }
        }
        Ok(None)
    }

    /// Refuses to go on beside a leader of KCL 3, which assigns leases by its own rules. If a leader's lock is in the table, it is
    /// watched for 35 s.
    ///
    /// # Errors
    /// Such a leader lives, or cannot be looked for.
    pub async fn refuse_a_living_leader(&self) -> Result<(), LeaseError> {
        let Some(first) = self.leader().await? else { return Ok(()) };
        tracing::warn!(table = %self.name, leader = %first.0, "a leader of KCL 3 left its lock here; looking for 35 s whether it lives");
        for _ in 0..LEADER_LOOKS {
            tokio::time::sleep(LEADER_LOOK).await;
            match self.leader().await? {
                // The leader stopped. Or it made way for another, which takes the lock at its next look.
                None => {}
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

    fn failed(&self, action: &'static str, cause: String) -> LeaseError {
        LeaseError::Failed { place: self.place(), action, cause }
    }

    fn fault<E>(&self, call: &'static str, error: &SdkError<E>) -> Fault
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        explain(error, &Call { action: call, on: self.place() })
    }

    /// Classifies an error of a call.
    fn understand<E>(&self, call: &'static str) -> impl Fn(SdkError<E>) -> TableError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| match self.fault(call, &error) {
            Fault::Busy(text) => TableError::Throttled(text),
            Fault::Refused(text) => TableError::Refused(text),
            Fault::Unclear(text) => TableError::Unclear(text),
        }
    }

    /// Whether the condition of a write held.
    fn held<T, E>(&self, call: &'static str, answer: Result<T, SdkError<E>>) -> Result<bool, TableError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match answer {
            Ok(_) => Ok(true),
            Err(error) if code(&error) == "ConditionalCheckFailedException" => Ok(false),
            Err(error) => Err(self.understand(call)(error)),
        }
    }
}

#[async_trait]
impl LeaseTable for DynamoDbTable {
    fn place(&self) -> String {
        format!("DynamoDB table {}", self.name)
    }

    async fn scan(&self, after: Option<&str>) -> Result<Rows, TableError> {
        let start = after.map(|key| Item::from([(KEY.to_owned(), s(key))]));
        // A consistent read: a lease that was just written must not look as if it stood still.
        let scan = self.client.scan().table_name(&self.name).consistent_read(true).set_exclusive_start_key(start);
        let page = scan.send().await.map_err(self.understand("dynamodb:Scan"))?;
        let next = match page.last_evaluated_key.map(row) {
            None => None,
            Some(mut last) => match last.remove(KEY) {
                Some(Value::Text(key)) => Some(key),
                _ => return Err(TableError::Unclear(format!("{} gave a page without its last key", self.place()))),
            },
        };
        Ok(Rows { rows: page.items.unwrap_or_default().into_iter().map(row).collect(), next })
    }

    async fn get(&self, key: &str) -> Result<Option<Row>, TableError> {
        let call = self.client.get_item().table_name(&self.name).consistent_read(true).key(KEY, s(key));
        Ok(call.send().await.map_err(self.understand("dynamodb:GetItem"))?.item.map(row))
    }

    async fn put_new(&self, row: &Row) -> Result<bool, TableError> {
        let item = row.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", KEY)
            .set_item(Some(item));
        let answer = put.customize().config_override(Builder::new().retry_config(once())).send().await;
        self.held("dynamodb:PutItem", answer)
    }

    async fn change(&self, change: &Change) -> Result<bool, TableError> {
        let mut set = vec!["#counter = :next".to_owned()];
        let mut update = self
            .client
            .update_item()
            .table_name(&self.name)
            .key(KEY, s(&change.key))
            .condition_expression("#counter = :known")
            .expression_attribute_names("#counter", COUNTER)
            .expression_attribute_values(":known", n(change.known))
            .expression_attribute_values(":next", n(change.known + 1));
        // With placeholders: a name may be a reserved word of DynamoDB.
        for (name, value) in &change.set {
            set.push(format!("#{name} = :{name}"));
            update = update
                .expression_attribute_names(format!("#{name}"), *name)
                .expression_attribute_values(format!(":{name}"), attribute(value));
        }
        if let Some(name) = change.count_up {
            set.push(format!("#{name} = if_not_exists(#{name}, :zero) + :one"));
            update = update
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(":one", n(1))
                .expression_attribute_values(":zero", n(0));
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !change.remove.is_empty() {
            let remove: Vec<String> = change.remove.iter().map(|name| format!("#{name}")).collect();
            expression = format!("{expression} REMOVE {}", remove.join(", "));
            for name in &change.remove {
                update = update.expression_attribute_names(format!("#{name}"), *name);
            }
        }
        let update = update.update_expression(expression);
        let answer = update.customize().config_override(Builder::new().retry_config(once())).send().await;
        self.held("dynamodb:UpdateItem", answer)
    }

    async fn remove(&self, key: &str, known: u64) -> Result<bool, TableError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.name)
            .key(KEY, s(key))
            .condition_expression("#counter = :known")
            .expression_attribute_names("#counter", COUNTER)
            .expression_attribute_values(":known", n(known));
        let answer = call.customize().config_override(Builder::new().retry_config(once())).send().await;
        self.held("dynamodb:DeleteItem", answer)
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
    fn what_leases_have_no_use_for_is_left_out_of_rows() {
        let item = Item::from([
            (KEY.to_owned(), s("shard")),
            (COUNTER.to_owned(), n(7)),
            ("parentShardId".to_owned(), AttributeValue::Ss(vec!["b".to_owned(), "a".to_owned()])),
            ("throughputKBps".to_owned(), AttributeValue::N("1.5".to_owned())),
            ("flag".to_owned(), AttributeValue::Bool(true)),
        ]);
        let texts = Value::Texts(["a".to_owned(), "b".to_owned()].into());
        let expected = [(KEY, Value::text("shard")), (COUNTER, Value::Number(7)), ("parentShardId", texts)];
        assert_eq!(row(item), expected.map(|(name, value)| (name.to_owned(), value)).into());
    }
}
