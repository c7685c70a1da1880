//! Aggregates and deaggregates records as text, to try the crate out and to compare it with other libraries.
//!
//! ```text
//! kpl aggregate    lines of {"partition_key","explicit_hash_key"?,"data"} in, {"partition_key","explicit_hash_key"?,"data"} out
//! kpl deaggregate  lines of hexadecimal in; for each a JSON list of user records out, or "plain" or "damaged: …"
//! ```
//! `data` is hexadecimal, hash keys are decimal text. An optional second argument of `aggregate` is the most bytes of an aggregate.

use bytes::Bytes;
use kpl_aggregation::{Aggregator, Limits, Payload, UserRecord, parse};
use serde_json::{Value, json};
use std::io::{BufRead, stdin};

type Failure = Box<dyn std::error::Error>;

fn unhex(text: &str) -> Result<Bytes, Failure> {
    let digits = |at: usize| text.get(at..at + 2).ok_or("an odd number of digits");
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(digits(at)?, 16)?)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(key: &[u8], hash_key: Option<u128>, data: &[u8]) -> Value {
    json!({ "partition_key": String::from_utf8_lossy(key), "explicit_hash_key": hash_key.map(|h| h.to_string()), "data": hex(data) })
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("aggregate") => {
            let bytes = words.get(1).map_or(Ok(Limits::default().bytes), |word| word.parse())?;
            let mut aggregator = Aggregator::new(Limits { bytes, ..Limits::default() });
            let tell = |aggregator: &mut Aggregator| {
                if let Some(out) = aggregator.take() {
                    println!("{}", shown(&out.partition_key, out.explicit_hash_key, &out.data));
                }
            };
            for line in stdin().lock().lines() {
                let given: Value = serde_json::from_str(&line?)?;
                let key = given["partition_key"].as_str().ok_or("no partition_key")?.to_owned();
                let explicit_hash_key = given["explicit_hash_key"].as_str().map(str::parse).transpose()?;
                let data = unhex(given["data"].as_str().ok_or("no data")?)?;
                let record = UserRecord { explicit_hash_key, ..UserRecord::new(key, data) };
                if !aggregator.push(&record) {
                    tell(&mut aggregator);
                    aggregator.push(&record);
                }
            }
            tell(&mut aggregator);
        }
        Some("deaggregate") => {
            for line in stdin().lock().lines() {
                match parse(&unhex(&line?)?) {
                    Payload::Plain => println!("\"plain\""),
                    Payload::Damaged(damage) => println!("{}", json!(format!("damaged: {damage}"))),
                    Payload::Aggregate(aggregate) => {
                        let all = aggregate.records().map(|r| shown(&r.partition_key, r.explicit_hash_key, &r.data));
                        println!("{}", Value::from(all.collect::<Vec<_>>()));
                    }
                }
            }
        }
        _ => return Err("say `aggregate` or `deaggregate`".into()),
    }
    Ok(())
}
