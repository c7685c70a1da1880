//! A server that speaks Kinesis over HTTP/1.1, including subscriptions as event streams: the Kinesis in memory on real connections.

use authpulse_event::{ArrivalTime, ShardId};
use authpulse_kinesis::api::{Api, ApiError, Event, Events, IteratorAt, RawRecord};
use futures::executor::block_on;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// How often a subscription looks for something to send.
const LOOK: Duration = Duration::from_millis(1);

/// What a subscription does next.
pub enum Next {
    /// It sends a message, see [`event`] and [`exception`].
    Message(Vec<u8>),
    /// It waits.
    Wait,
    /// It ends the answer in order.
    End,
    /// It sends this much of a message, and closes the connection.
    Cut(Vec<u8>),
}

/// The answer to an operation.
pub enum Answer {
    /// Status and body.
    Json(u16, Value),
    /// A subscription.
    Stream(Box<dyn FnMut() -> Next + Send>),
}

/// Starts a server and returns its address. `answer` gets the operation and the body.
pub fn start(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let answer = answer.clone();
            // The server does not care about a client that goes away.
            std::thread::spawn(move || connection.and_then(|connection| serve(connection, &*answer)));
        }
    });
    address
}

fn serve(connection: TcpStream, answer: &(dyn Fn(&str, &Value) -> Answer + Send + Sync)) -> std::io::Result<()> {
    let mut out = connection.try_clone()?;
    let mut lines = BufReader::new(connection);
    loop {
        let (mut operation, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("x-amz-target", value)) => operation = value.rsplit('.').next().unwrap_or_default().to_owned(),
                Some(("content-length", value)) => length = value.parse().unwrap(),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body)?;
        match answer(&operation, &serde_json::from_slice(&body).unwrap()) {
            Answer::Json(status, body) => {
                let body = body.to_string();
                let head =
                    format!("HTTP/1.1 {status} Said\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: ");
                out.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
            }
            Answer::Stream(mut next) => {
                let head = "HTTP/1.1 200 Said\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n";
                out.write_all(head.as_bytes())?;
                let mut chunk = |bytes: &[u8]| {
                    out.write_all(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
                };
                chunk(&event("initial-response", &json!({})))?;
                loop {
                    match next() {
                        Next::Message(bytes) => chunk(&bytes)?,
                        Next::Wait => std::thread::park_timeout(LOOK),
                        Next::End => {
                            chunk(&[])?;
                            break;
                        }
                        Next::Cut(bytes) => return chunk(&bytes),
                    }
                }
            }
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

/// A message of `application/vnd.amazon.eventstream`: lengths and their checksum, text headers, payload, checksum of all.
fn message(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(name.len() as u8);
        head.extend(name.bytes());
        head.push(7);
        head.extend((value.len() as u16).to_be_bytes());
        head.extend(value.bytes());
    }
    let payload = payload.to_string();
    let mut all = ((16 + head.len() + payload.len()) as u32).to_be_bytes().to_vec();
    all.extend((head.len() as u32).to_be_bytes());
    all.extend(crc32(&all).to_be_bytes());
    all.extend(head);
    all.extend(payload.bytes());
    all.extend(crc32(&all).to_be_bytes());
    all
}

/// A message that reports an event.
pub fn event(kind: &str, payload: &Value) -> Vec<u8> {
    let headers = [(":message-type", "event"), (":event-type", kind), (":content-type", "application/json")];
    message(&headers, payload)
}

/// A message that ends a subscription with an error.
pub fn exception(code: &str) -> Vec<u8> {
    let headers = [(":message-type", "exception"), (":exception-type", code), (":content-type", "application/json")];
    message(&headers, &json!({"__type": code, "message": "told so"}))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let n = (0..3).fold(0, |n, i| n << 8 | usize::from(*three.get(i).unwrap_or(&0)));
        (0..4)
            .map(move |i| if i > three.len() { '=' } else { DIGITS[n >> (18 - 6 * i) & 63] as char })
            .collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

fn records(records: &[RawRecord]) -> Value {
    let record = |r: &RawRecord| {
        json!({
            "SequenceNumber": r.sequence.to_string(),
            "ApproximateArrivalTimestamp": r.arrival.micros() as f64 / 1e6,
            "PartitionKey": String::from_utf8(r.partition_key.to_vec()).unwrap(),
            "Data": base64(&r.data),
        })
    };
    records.iter().map(record).collect()
}

/// Names that nobody looks at: only their number counts.
fn children(any: bool) -> Value {
    let range = json!({"StartingHashKey": "0", "EndingHashKey": "1"});
    let child =
        json!({"ShardId": "shardId-000000000099", "ParentShards": ["shardId-000000000000"], "HashKeyRange": range});
    if any { json!([child]) } else { Value::Null }
}

fn code(error: &ApiError) -> &'static str {
    match error {
        ApiError::Throttled(_) => "LimitExceededException",
        ApiError::ExpiredIterator => "ExpiredIteratorException",
        ApiError::InvalidArgument(_) => "InvalidArgumentException",
        ApiError::NotFound(_) => "ResourceNotFoundException",
        ApiError::InUse(_) => "ResourceInUseException",
        ApiError::Refused(_) => "AccessDeniedException",
        ApiError::Key(_) => "KMSDisabledException",
        ApiError::Unclear(_) => "InternalFailureException",
    }
}

/// An event in the form in which it is sent.
pub fn told(told: &Event) -> Vec<u8> {
    let payload = json!({
        "Records": records(&told.records),
        "ContinuationSequenceNumber": told.continuation.map(|n| n.to_string()),
        "MillisBehindLatest": told.behind.as_millis() as u64,
        "ChildShards": children(told.has_children),
    });
    event("SubscribeToShardEvent", &payload)
}

/// Serves a Kinesis in memory.
pub fn serve_api(api: Arc<dyn Api>) -> String {
    start(move |operation, asked| {
        let answered = answer(&*api, operation, asked);
        answered.unwrap_or_else(|error| {
            let status = if matches!(error, ApiError::Unclear(_)) { 500 } else { 400 };
            Answer::Json(status, json!({"__type": code(&error), "message": error.to_string()}))
        })
    })
}

fn answer(api: &dyn Api, operation: &str, asked: &Value) -> Result<Answer, ApiError> {
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let at = |of: &Value, kind: &str, sequence: &str| match text(&of[kind]).as_str() {
        "TRIM_HORIZON" => IteratorAt::Oldest,
        "AT_TIMESTAMP" => IteratorAt::Time(ArrivalTime::from_micros((of["Timestamp"].as_f64().unwrap() * 1e6) as i64)),
        "AT_SEQUENCE_NUMBER" => IteratorAt::At(text(&of[sequence]).parse().unwrap()),
        _ => IteratorAt::After(text(&of[sequence]).parse().unwrap()),
    };
    let shard = ShardId::new(text(&asked["ShardId"]));
    let consumer = |c: authpulse_kinesis::api::Consumer| {
        json!({"ConsumerARN": c.arn, "ConsumerName": "app", "ConsumerStatus": c.status,
            "ConsumerCreationTimestamp": 1, "StreamARN": "arn"})
    };
    Ok(Answer::Json(
        200,
        match operation {
            "listshards" => {
                let all = block_on(api.shards())?;
                let one = |s: &authpulse_stream::ShardDescription| {
                    json!({
                        "ShardId": s.id.as_str(),
                        "ParentShardId": s.parents.first().map(ShardId::as_str),
                        "AdjacentParentShardId": s.parents.get(1).map(ShardId::as_str),
                        "HashKeyRange": {"StartingHashKey": s.range.first.to_string(), "EndingHashKey": s.range.last.to_string()},
                        "SequenceNumberRange":
                            {"StartingSequenceNumber": "1", "EndingSequenceNumber": s.closed.then_some("2")},
                    })
                };
                json!({ "Shards": all.iter().map(one).collect::<Vec<_>>() })
            }
            "getsharditerator" => {
                let begin = at(asked, "ShardIteratorType", "StartingSequenceNumber");
                json!({ "ShardIterator": block_on(api.iterator(&shard, begin))? })
            }
            "getrecords" => {
                let page = block_on(
                    api.get(&text(&asked["ShardIterator"]), asked["Limit"].as_u64().unwrap_or(10_000) as usize),
                )?;
                json!({
                    "Records": records(&page.records),
                    "NextShardIterator": page.next,
                    "MillisBehindLatest": page.behind.as_millis() as u64,
                    "ChildShards": children(page.has_children),
                })
            }
            "describestreamconsumer" => {
                json!({ "ConsumerDescription": consumer(block_on(api.consumer(&text(&asked["ConsumerName"])))?) })
            }
            "registerstreamconsumer" => {
                json!({ "Consumer": consumer(block_on(api.register(&text(&asked["ConsumerName"])))?) })
            }
            "subscribetoshard" => {
                let begin = at(&asked["StartingPosition"], "Type", "SequenceNumber");
                let events = block_on(api.subscribe(&text(&asked["ConsumerARN"]), &shard, begin))?;
                return Ok(Answer::Stream(Box::new(send(events))));
            }
            other => panic!("nobody asks for {other}"),
        },
    ))
}

/// The messages of a subscription. Every second failure cuts the connection in the middle of a message.
fn send(mut events: Events) -> impl FnMut() -> Next {
    let mut sent = 0;
    move || {
        sent += 1;
        match events.next().now_or_never() {
            None => Next::Wait,
            Some(None) => Next::End,
            Some(Some(Ok(event))) => Next::Message(told(&event)),
            Some(Some(Err(ApiError::Unclear(_)))) if sent % 2 == 0 => {
                let whole = told(&Event::default());
                Next::Cut(whole[..whole.len() / 2].to_vec())
            }
            Some(Some(Err(error))) => Next::Message(exception(code(&error))),
        }
    }
}
