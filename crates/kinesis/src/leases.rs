//! Leases in DynamoDB, in the table of the Kinesis Client Library (KCL) 2.x: a KCL application can go on from our table, and we can go on
//! from its table.
//!
//! | attribute | here |
//! | --- | --- |
//! | `leaseKey` S | the shard |
//! | `leaseCounter` N | [`Lease::counter`]: every write has it as its condition, and counts it up |
//! | `leaseOwner` S, `checkpointOwner` S | owner; while a hand-over is asked for, `leaseOwner` is the next one and `checkpointOwner` the owner, as in KCL 3 |
//! | `checkpoint` S, `checkpointSubSequenceNumber` N | [`Lease::checkpoint`]; `SHARD_END` is [`Lease::ended`], written after the leases of the children |
//! | `parentShardId` SS, `childShardIds` SS, `startingHashKey` S, `endingHashKey` S, `ownerSwitchesSinceCheckpoint` N | for the KCL |
//! | `entityType` S | `LEASE`: what is otherwise is no lease and is passed over |
//! | `destination` S | whose positions these are, where the application said so ([`DynamoDbLeases::bound_for`]); not for the KCL |
//! | `streamCreated` S | when the stream was made, which the KCL does not look at: a stream made anew under the name is another |
//!
//! If an answer is lost, the lease is read again: a write took effect if its counter and owners are there.

use crate::dynamodb::DynamoDbTable;
use crate::table::{COUNTER, Change, KEY, LeaseTable, Row, TableError, Value};
use async_trait::async_trait;
use authpulse_aws_client::Aws;
use authpulse_event::ShardId;
use authpulse_event::time::format_rfc3339;
use authpulse_lease::{Checkpoint, Lease, LeaseError, LeaseStore};
use authpulse_stream::{ShardDescription, Stream, StreamDescription};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

const OWNER: &str = "leaseOwner";
const CHECKPOINT_OWNER: &str = "checkpointOwner";
const CHECKPOINT: &str = "checkpoint";
const SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
const SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
const PARENTS: &str = "parentShardId";
const CHILDREN: &str = "childShardIds";
const SHARD_END: &str = "SHARD_END";
const TRIM_HORIZON: &str = "TRIM_HORIZON";
const ENTITY: &str = "entityType";
const LEASE: &str = "LEASE";
const CREATED: &str = "streamCreated";
const DESTINATION: &str = "destination";

/// The leases of one application on one stream, in a table of DynamoDB or a double of it.
pub struct DynamoDbLeases<T = DynamoDbTable> {
    table: T,
    /// A lease's name is the shard's name and this suffix.
    suffix: String,
    /// When the stream was made, as leases store it.
    created: String,
    /// Where the application stores what it reads.
    destination: Option<String>,
    /// Whether leases of an earlier stream of this name, or of another destination, are an error.
    refuses_others: bool,
    stream: Arc<dyn Stream>,
    /// Leases as they were last seen, which are what a write changes.
    seen: Mutex<BTreeMap<String, Lease>>,
}

fn text(row: &Row, name: &str) -> Option<String> {
    match row.get(name) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

fn number(row: &Row, name: &str) -> Option<u64> {
    match row.get(name) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

fn shards_set<'a>(shards: impl IntoIterator<Item = &'a ShardId>) -> Value {
    Value::Texts(shards.into_iter().map(ShardId::to_string).collect())
}

/// Reads a row as a lease; `None` if it is no lease.
fn read(row: &Row, suffix: &str) -> Option<Lease> {
    if text(row, ENTITY).is_some_and(|kind| kind != LEASE) {
        return None;
    }
    let (owner, asked_by) = match (text(row, OWNER), text(row, CHECKPOINT_OWNER)) {
        (next, Some(owner)) => (Some(owner), next),
        (owner, None) => (owner, None),
    };
    let at = text(row, CHECKPOINT).unwrap_or_default();
    let ended = at == SHARD_END;
    let is_number = !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit());
    let sub_sequence = number(row, SUB_SEQUENCE).unwrap_or(0);
    Some(Lease {
        key: format!("{}{suffix}", text(row, KEY)?),
        owner,
        next_owner: asked_by,
        counter: number(row, COUNTER)?,
        ended,
        checkpoint: is_number.then_some(Checkpoint { sequence: at, sub_sequence }),
    })
}

impl DynamoDbLeases {
    /// Opens the leases of an application. The table has the application's name and is made if it is missing. A lease is named
    /// `SHARD@STREAM.CREATED`, by the description; `stream` lists the shards.
    ///
    /// # Errors
    /// The table cannot be used, or a living leader of KCL 3 assigns its leases.
    pub async fn open(
        aws: &Aws,
        application: &str,
        description: &StreamDescription,
        stream: Arc<dyn Stream>,
    ) -> Result<DynamoDbLeases, LeaseError> {
        let table = DynamoDbTable::new(aws, application)?;
        table.ensure().await?;
        table.refuse_a_living_leader().await?;
        Ok(DynamoDbLeases::over(table, description, stream))
    }

    /// The leases of an application whose table exists, for operators. It makes nothing, and does not look for a leader of KCL 3.
    ///
    /// # Errors
    /// There is no such table, or it is not a table of leases.
    pub async fn look(
        aws: &Aws,
        application: &str,
        description: &StreamDescription,
        stream: Arc<dyn Stream>,
    ) -> Result<DynamoDbLeases, LeaseError> {
        let table = DynamoDbTable::new(aws, application)?;
        table.find().await?;
        Ok(DynamoDbLeases { refuses_others: false, ..DynamoDbLeases::over(table, description, stream) })
    }

    /// Refuses to go on beside a leader of KCL 3, which assigns leases by its own rules. If a leader's lock is in the table, it is
    /// watched for 35 s.
    ///
    /// # Errors
    /// Such a leader lives, or cannot be looked for.
    pub async fn refuse_a_living_leader(&self) -> Result<(), LeaseError> {
        self.table.refuse_a_living_leader().await
    }
}

impl<T: LeaseTable> DynamoDbLeases<T> {
    /// Leases in a table that exists already, with names as in [`DynamoDbLeases::open`].
    pub fn over(table: T, description: &StreamDescription, stream: Arc<dyn Stream>) -> DynamoDbLeases<T> {
        let suffix = format!("@{}.{}", description.name, description.created.micros());
        let created = format_rfc3339(description.created);
        DynamoDbLeases {
            table,
            suffix,
            created,
            destination: None,
            refuses_others: true,
            stream,
            seen: Mutex::default(),
        }
    }

    fn failed(&self, action: &'static str, cause: impl ToString) -> LeaseError {
        LeaseError::Failed { place: self.table.place(), action, cause: cause.to_string() }
    }

    fn shard_of<'a>(&self, key: &'a str) -> Result<&'a str, LeaseError> {
        key.strip_suffix(&self.suffix)
            .ok_or_else(|| self.failed("naming a lease", format!("'{key}' is no shard of this stream")))
    }

    /// Sets where the application stores what it reads; the name must be unique. Leases then store it, and leases with another one are
    /// refused: if two lakes shared the leases of one application, each would get a part of the stream, and neither would know.
    pub fn bound_for(self, destination: &str) -> DynamoDbLeases<T> {
        DynamoDbLeases { destination: Some(destination.to_owned()), ..self }
    }

    /// Refuses leases that mean nothing here: positions in a deleted stream of the same name, and positions of an application that stores
    /// elsewhere.
    fn check(&self, row: &Row) -> Result<(), LeaseError> {
        if !self.refuses_others {
            return Ok(());
        }
        if let (Some(theirs), Some(ours)) = (text(row, DESTINATION), &self.destination)
            && theirs != *ours
        {
            let cause = format!(
                "they are those of an application that stores elsewhere ('{theirs}', this one: '{ours}'), and each of the two would get a \
                 part of the stream: choose another --app, or stop it and remove them with `authpulse leases reset`; where this lake was \
                 deleted, put it back instead"
            );
            return Err(self.failed("reading them", cause));
        }
        match text(row, CREATED) {
            Some(created) if created != self.created => {
                let cause = format!(
                    "they are of a stream of this name that was made at {created}, and this one at {}: choose another --app, or remove \
                     them with `authpulse leases reset`",
                    self.created
                );
                Err(self.failed("reading them", cause))
            }
            _ => Ok(()),
        }
    }

    fn saw(&self, lease: &Lease) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(lease.key.clone(), lease.clone());
    }

    fn last_seen(&self, key: &str) -> Option<Lease> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, LeaseError> {
        self.stream.shards().await.map_err(|error| self.failed("looking up a shard", error))
    }

    async fn put_new(&self, lease: &Lease, shards: &[ShardDescription]) -> Result<bool, LeaseError> {
        let name = self.shard_of(&lease.key)?;
        let mut row = vec![
            (KEY, Value::text(name)),
            (COUNTER, Value::Number(lease.counter)),
            (CHECKPOINT, Value::text(if lease.ended { SHARD_END } else { TRIM_HORIZON })),
            (SUB_SEQUENCE, Value::Number(0)),
            (SWITCHES, Value::Number(0)),
            (ENTITY, Value::text(LEASE)),
            (CREATED, Value::text(&self.created)),
        ];
        row.extend(self.destination.as_ref().map(|to| (DESTINATION, Value::text(to))));
        row.extend(lease.owner.as_ref().map(|owner| (OWNER, Value::text(owner))));
        if let Some(shard) = shards.iter().find(|shard| shard.id.as_str() == name) {
            row.push(("startingHashKey", Value::text(shard.range.first.to_string())));
            row.push(("endingHashKey", Value::text(shard.range.last.to_string())));
            if !shard.parents.is_empty() {
                row.push((PARENTS, shards_set(&shard.parents)));
            }
        }
        let row = row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        match self.table.put_new(&row).await {
            Ok(true) => {
                self.saw(lease);
                Ok(true)
            }
            Ok(false) => Ok(false),
            // The lease is there, or the next look makes it.
            Err(TableError::Unclear(cause)) => match self.get(&lease.key).await? {
                Some(_) => Ok(false),
                None => Err(self.failed("making a lease", cause)),
            },
            Err(error) => Err(self.failed("making a lease", error)),
        }
    }

    /// The change of the row that makes the lease what it should be.
    fn change(&self, lease: &Lease, children: &[ShardId]) -> Result<Change, LeaseError> {
        let before = self.last_seen(&lease.key);
        let key = self.shard_of(&lease.key)?.to_owned();
        let mut change = Change { key, known: lease.counter, set: Vec::new(), remove: Vec::new(), count_up: None };
        let (stands_as_owner, checkpoint_owner) = match (&lease.owner, &lease.next_owner) {
            (Some(owner), Some(next)) => (Some(next), Some(owner)),
            (owner, next) => (owner.as_ref().or(next.as_ref()), None),
        };
        for (name, value) in [(OWNER, stands_as_owner), (CHECKPOINT_OWNER, checkpoint_owner)] {
            match value {
                Some(value) => change.set.push((name, Value::text(value))),
                None => change.remove.push(name),
            }
        }
        let is_new = before.as_ref().is_none_or(|b| b.checkpoint != lease.checkpoint || b.ended != lease.ended);
        let place = match (&lease.checkpoint, lease.ended) {
            (_, true) => Some((SHARD_END, 0)),
            (Some(at), false) => Some((at.sequence.as_str(), at.sub_sequence)),
            (None, false) => None,
        };
        match place.filter(|_| is_new) {
            Some((at, sub_sequence)) => change.set.extend(
                [
                    (CHECKPOINT, Value::text(at)),
                    (SUB_SEQUENCE, Value::Number(sub_sequence)),
                    (SWITCHES, Value::Number(0)),
                    (CREATED, Value::text(&self.created)),
                ]
                .into_iter()
                .chain(self.destination.as_ref().map(|to| (DESTINATION, Value::text(to)))),
            ),
            None if before.as_ref().is_some_and(|b| b.owner != lease.owner && lease.owner.is_some()) => {
                change.count_up = Some(SWITCHES);
            }
            None => {}
        }
        if !children.is_empty() {
            change.set.push((CHILDREN, shards_set(children)));
        }
        Ok(change)
    }
}

#[async_trait]
impl<T: LeaseTable> LeaseStore for DynamoDbLeases<T> {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        let mut leases = Vec::new();
        let mut after = None;
        loop {
            let page = self.table.scan(after.as_deref()).await.map_err(|error| self.failed("listing leases", error))?;
            for row in &page.rows {
                self.check(row)?;
                leases.extend(read(row, &self.suffix));
            }
            after = page.next;
            if after.is_none() {
                leases.iter().for_each(|lease| self.saw(lease));
                leases.sort_by(|a: &Lease, b: &Lease| a.key.cmp(&b.key));
                return Ok(leases);
            }
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Lease>, LeaseError> {
        let row = self.table.get(self.shard_of(key)?).await.map_err(|error| self.failed("reading a lease", error))?;
        let lease = row.and_then(|row| read(&row, &self.suffix));
        if let Some(lease) = &lease {
            self.saw(lease);
        }
        Ok(lease)
    }

    async fn create(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let shards = self.shards().await?;
        self.put_new(lease, &shards).await
    }

    async fn create_all(&self, leases: &[Lease]) -> Result<(), LeaseError> {
        // The shards are listed once: an application that starts on a large stream makes hundreds of leases.
        let shards = self.shards().await?;
        for lease in leases {
            self.put_new(lease, &shards).await?;
        }
        Ok(())
    }

    async fn update(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let mut children = Vec::new();
        let ends_now = lease.ended && !self.last_seen(&lease.key).is_some_and(|before| before.ended);
        if ends_now {
            // The children's leases are made first, so that a worker that reads SHARD_END finds them.
            let shards = self.shards().await?;
            let parent = ShardId::new(self.shard_of(&lease.key)?);
            for child in shards.iter().filter(|shard| shard.parents.contains(&parent)) {
                self.put_new(&Lease::new(format!("{}{}", child.id, self.suffix)), &shards).await?;
                children.push(child.id.clone());
            }
        }
        let written = match self.table.change(&self.change(lease, &children)?).await {
            Ok(is_changed) => is_changed,
            Err(TableError::Unclear(cause)) => match self.get(&lease.key).await? {
                Some(now) if now.counter == lease.counter => return Err(self.failed("changing a lease", cause)),
                Some(now) => {
                    now.counter == lease.counter + 1
                        && (&now.owner, &now.next_owner, now.ended) == (&lease.owner, &lease.next_owner, lease.ended)
                }
                None => false,
            },
            Err(error) => return Err(self.failed("changing a lease", error)),
        };
        if written {
            self.saw(&Lease { counter: lease.counter + 1, ..lease.clone() });
        }
        Ok(written)
    }

    async fn remove(&self, lease: &Lease) -> Result<bool, LeaseError> {
        match self.table.remove(self.shard_of(&lease.key)?, lease.counter).await {
            Ok(is_gone) => Ok(is_gone),
            Err(TableError::Unclear(cause)) => match self.get(&lease.key).await? {
                None => Ok(true),
                Some(now) if now.counter == lease.counter => Err(self.failed("removing a lease", cause)),
                Some(_) => Ok(false),
            },
            Err(error) => Err(self.failed("removing a lease", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_of_the_kcl_are_read_and_nothing_else_is() {
        let row = |texts: &[(&str, &str)], numbers: &[(&str, u64)]| -> Row {
            let texts = texts.iter().map(|(name, value)| (name.to_string(), Value::text(*value)));
            texts.chain(numbers.iter().map(|(name, value)| (name.to_string(), Value::Number(*value)))).collect()
        };
        let lease = |texts: &[(&str, &str)], sub_sequence| {
            let found = row(&[&[(KEY, "shard")], texts].concat(), &[(COUNTER, 7), (SUB_SEQUENCE, sub_sequence)]);
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
        assert_eq!(read(&row(&leader, &[]), "@stream"), None);
        assert_eq!(read(&row(&metrics, &[(COUNTER, 1)]), "@stream"), None);
    }
}
