//! Finding the newest record of a shard.

use crate::api::{ApiError, IteratorAt, Summary};
use crate::cursor::Cursor;
use crate::limits::GET_RECORDS;
use crate::poll::Poll;
use crate::room::Room;
use authpulse_event::{Position, ShardId, Span};
use authpulse_stream::{ReadFrom, StreamError};
use std::sync::Arc;
use std::time::Duration;

/// How far back the first look for the newest record goes; each further look goes four times as far. Once a look finds a record, the
/// interval is halved down to this length, so that little has to be read to find the newest.
const TIP_FIRST: Span = Span::seconds(10);
const TIP_FARTHER: i64 = 4;

/// The position of a shard's newest record, [`Position::START`] if there is none. Kinesis has no call for it. This looks back further and
/// further until there is a record, then narrows that down, and reads on to the tip.
///
/// # Errors
/// The stream cannot be described or read, or its key cannot be used.
pub(crate) async fn tip(poll: &Poll, room: &Arc<Room>, shard: &ShardId) -> Result<Position, StreamError> {
    let Summary { created, retention, .. } = poll.summary().await?;
    let now = poll.time.now();
    let oldest = (now - created).min(retention);
    let since = |back: Span| if back < oldest { IteratorAt::Time(now - back) } else { IteratorAt::Oldest };
    let mut back = TIP_FIRST;
    if let Some(position) = newest_since(poll, room, shard, since(back)).await? {
        return Ok(position);
    }
    // Nothing arrived within `nothing`; something arrived within `back`.
    let mut nothing = back;
    while !has_any_since(poll, room, shard, since(back)).await? {
        if back >= oldest {
            return Ok(Position::START);
        }
        (nothing, back) = (back, TIP_FARTHER * back);
    }
    back = back.min(oldest);
    while back - nothing > TIP_FIRST {
        let middle = nothing + (back - nothing) / 2;
        if has_any_since(poll, room, shard, since(middle)).await? {
            back = middle;
        } else {
            nothing = middle;
        }
    }
    Ok(newest_since(poll, room, shard, since(back)).await?.unwrap_or(Position::START))
}

/// A cursor beside the reader's, which is not affected. Both share the shard's budget, so one of them may be throttled.
async fn look(
    poll: &Poll,
    room: &Arc<Room>,
    shard: &ShardId,
    at: IteratorAt,
    limit: usize,
) -> Result<Cursor, StreamError> {
    let mut cursor = Cursor::new(ReadFrom::Start, Duration::ZERO, room);
    cursor.limit = limit;
    while cursor.iterator.is_none() {
        match poll.api.iterator(shard, at).await {
            Ok(iterator) => cursor.iterator = Some(iterator),
            Err(error) => {
                poll.passing(&mut cursor, error)?;
                poll.time.sleep(cursor.not_before.saturating_sub(poll.time.monotonic())).await;
            }
        }
    }
    Ok(cursor)
}

/// Fetches for a look. A caller that looks wants an answer, and not to wait until somebody repairs a key.
async fn look_on(poll: &Poll, shard: &ShardId, cursor: &mut Cursor) -> Result<(), StreamError> {
    poll.fetch(shard, cursor).await?;
    match cursor.key_failed.take() {
        Some(why) => Err(poll.failed("read", ApiError::Key(why))),
        None => Ok(()),
    }
}

/// Whether a shard has a record since `at`.
async fn has_any_since(poll: &Poll, room: &Arc<Room>, shard: &ShardId, at: IteratorAt) -> Result<bool, StreamError> {
    let mut cursor = look(poll, room, shard, at, 1).await?;
    while !cursor.at_tip && cursor.is_empty() {
        look_on(poll, shard, &mut cursor).await?;
    }
    Ok(!cursor.is_empty())
}

/// The position of the newest record since `at`, if there is one.
async fn newest_since(
    poll: &Poll,
    room: &Arc<Room>,
    shard: &ShardId,
    at: IteratorAt,
) -> Result<Option<Position>, StreamError> {
    let mut cursor = look(poll, room, shard, at, GET_RECORDS).await?;
    let mut newest = None;
    while !cursor.at_tip {
        look_on(poll, shard, &mut cursor).await?;
        newest = cursor.newest(shard).or(newest);
    }
    Ok(newest)
}
