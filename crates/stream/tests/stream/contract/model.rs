//! Random histories: the stream answers like a model that is too simple to be wrong.

use super::subject::{Make, RETENTION, Subject, record};
use authpulse_event::ring::hash_key;
use authpulse_event::time::SECOND;
use authpulse_event::{ArrivalTime, HashRange, Position, ShardId, Span};
use authpulse_stream::limits::TRIM_INTERVAL;
use authpulse_stream::{Gap, PutRecord, ReadFrom, ReadLimit};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const HISTORIES: u32 = 200;

#[derive(Clone, Debug)]
enum Step {
    Put { keys: Vec<u8>, payload_bytes: usize },
    Split { shard: usize, at: u128 },
    Merge { left: usize, right: usize },
    Advance(Span),
    Trim,
    Read { shard: usize, after: u64, records: usize, bytes: usize },
    Reopen,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop::collection::vec(any::<u8>(), 0..30), 0usize..50)
            .prop_map(|(keys, payload_bytes)| Step::Put { keys, payload_bytes }),
        2 => (any::<usize>(), any::<u128>()).prop_map(|(shard, at)| Step::Split { shard, at }),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(left, right)| Step::Merge { left, right }),
        3 => (-20 * SECOND.micros()..120 * SECOND.micros()).prop_map(|by| Step::Advance(Span::from_micros(by))),
        1 => Just(Step::Advance(RETENTION / 2)),
        1 => Just(Step::Trim),
        8 => (any::<usize>(), any::<u64>(), 0usize..40, 0usize..1000)
            .prop_map(|(shard, after, records, bytes)| Step::Read { shard, after, records, bytes }),
        1 => Just(Step::Reopen),
        1 => prop::bool::weighted(0.05).prop_map(|close| if close { Step::Close } else { Step::Trim }),
    ]
}

/// Every record ever put, in one list, and every shard ever made.
#[derive(Default)]
struct Model {
    shards: Vec<(ShardId, HashRange, bool)>,
    records: Vec<Entry>,
    newest_arrival: ArrivalTime,
    trimmed_at: ArrivalTime,
    closed: bool,
}

struct Entry {
    shard: usize,
    sequence: u64,
    put: PutRecord,
    arrival: ArrivalTime,
    kept: bool,
}

impl Model {
    fn clock(&self, s: &Subject) -> ArrivalTime {
        s.now().max(self.newest_arrival)
    }

    fn trim(&mut self, now: ArrivalTime) -> u64 {
        let mut trimmed = 0;
        for entry in self.records.iter_mut().filter(|entry| entry.kept && now - entry.arrival > RETENTION) {
            entry.kept = false;
            trimmed += 1;
        }
        self.trimmed_at = now;
        trimmed
    }

    fn put(&mut self, s: &Subject, keys: &[u8], payload_bytes: usize) {
        let first = self.records.len();
        let puts: Vec<_> = (first..)
            .zip(keys)
            .map(|(index, key)| record(&[*key], format!("{index}{}", ".".repeat(payload_bytes)).as_bytes()))
            .collect();
        let progress = format!("{}", first + puts.len());
        let result = s.try_put(puts.clone(), Some(("job", &progress)));
        if self.closed {
            assert!(result.is_err());
            return;
        }
        let receipts = result.unwrap();
        assert_eq!(receipts.len(), puts.len());
        assert_eq!(s.progress("job"), Some(progress));
        let last = self.records.iter().map(|entry| entry.sequence).max().unwrap_or(0);
        for (put, receipt) in puts.into_iter().zip(receipts) {
            let hash = hash_key(&put.partition_key);
            let shard = self.shards.iter().position(|(_, range, closed)| !closed && range.contains(hash)).unwrap();
            let sequence = receipt.sequence.as_u64().unwrap();
            assert_eq!(receipt.shard, self.shards[shard].0);
            assert!(sequence > last && sequence <= last + keys.len() as u64, "numbers grow without a hole");
            let arrival = self.clock(s);
            self.records.push(Entry { shard, sequence, put, arrival, kept: true });
        }
        if !keys.is_empty() {
            self.newest_arrival = self.clock(s);
            if self.newest_arrival - self.trimmed_at >= TRIM_INTERVAL {
                self.trim(self.newest_arrival);
            }
        }
    }

    fn read(&self, s: &Subject, shard: usize, after: u64, limit: ReadLimit) {
        let (id, _, closed) = &self.shards[shard];
        let from = match after {
            0 => ReadFrom::Start,
            _ => ReadFrom::After(Position { sequence: after.into(), sub_sequence: 0 }),
        };
        let read = s.read(id, from, limit);
        let beyond: Vec<_> =
            self.records.iter().filter(|entry| entry.shard == shard && entry.sequence > after).collect();
        let kept: Vec<_> = beyond.iter().filter(|entry| entry.kept).collect();
        let lost = (beyond.len() - kept.len()) as u64;
        assert_eq!(read.gap, (lost > 0).then_some(Gap { records: Some(lost) }));
        let mut bytes = 0;
        let fitting = kept.iter().take_while(|entry| {
            bytes += entry.put.payload.len();
            bytes <= limit.bytes
        });
        let count = fitting.count().min(limit.records).max(1).min(kept.len());
        assert_eq!(read.records.len(), count);
        for (got, entry) in read.records.iter().zip(&kept) {
            assert_eq!((&got.payload, &got.partition_key), (&entry.put.payload, &entry.put.partition_key));
            assert_eq!((got.position.sequence.as_u64(), got.arrival), (Some(entry.sequence), entry.arrival));
        }
        assert_eq!(read.at_tip, count == kept.len());
        assert_eq!(read.at_end, read.at_tip && *closed);
        assert_eq!(read.clock, Some(s.now()).filter(|now| *now >= self.newest_arrival));
        let newest = self.records.iter().filter(|entry| entry.shard == shard).map(|entry| entry.sequence).max();
        assert_eq!(s.tip(id).sequence, newest.unwrap_or(0).into());
    }

    fn replace(&mut self, parents: &[usize], children: Vec<(ShardId, HashRange)>) {
        for parent in parents {
            self.shards[*parent].2 = true;
        }
        self.shards.extend(children.into_iter().map(|(id, range)| (id, range, false)));
    }
}

pub fn any_history_reads_like_the_naive_model(make: Make) {
    let strategy = (1u32..5, prop::collection::vec(step(), 1..60));
    let config = Config { cases: HISTORIES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&strategy, |(shards, steps)| {
            run(make(shards), steps);
            Ok(())
        })
        .unwrap();
}

fn run(mut s: Subject, steps: Vec<Step>) {
    let mut model = Model { trimmed_at: s.now(), newest_arrival: s.now(), ..Model::default() };
    model.shards = s.shards().into_iter().map(|shard| (shard.id, shard.range, false)).collect();
    for step in steps {
        let count = model.shards.len();
        match step {
            Step::Put { keys, payload_bytes } => model.put(&s, &keys, payload_bytes),
            Step::Split { shard, at } => {
                let (id, range, closed) = model.shards[shard % count].clone();
                match s.split(&id, at) {
                    Err(_) => assert!(closed || at <= range.first || at > range.last),
                    Ok([left, right]) => {
                        assert!(!closed);
                        let ranges =
                            [HashRange { first: range.first, last: at - 1 }, HashRange { first: at, last: range.last }];
                        model.replace(&[shard % count], vec![(left, ranges[0]), (right, ranges[1])]);
                    }
                }
            }
            Step::Merge { left, right } => {
                let (a, b) = (model.shards[left % count].clone(), model.shards[right % count].clone());
                let adjacent = a.1.last.checked_add(1) == Some(b.1.first) || b.1.last.checked_add(1) == Some(a.1.first);
                let merged = s.merge(&a.0, &b.0);
                assert_eq!(merged.is_ok(), adjacent && !a.2 && !b.2);
                if let Ok(child) = merged {
                    let range = HashRange { first: a.1.first.min(b.1.first), last: a.1.last.max(b.1.last) };
                    model.replace(&[left % count, right % count], vec![(child, range)]);
                }
            }
            Step::Advance(by) => s.advance(by),
            Step::Trim => {
                let now = model.clock(&s);
                assert_eq!(s.trim(), model.trim(now));
            }
            Step::Read { shard, after, records, bytes } => {
                let newest = model.records.iter().map(|entry| entry.sequence).max().unwrap_or(0);
                model.read(&s, shard % count, after % (newest + 1), ReadLimit { records, bytes });
            }
            Step::Reopen => s = s.reopen(),
            Step::Close => {
                s.close();
                model.closed = true;
                model.shards.iter_mut().for_each(|shard| shard.2 = true);
            }
        }
    }
    let described: Vec<_> = s.shards().into_iter().map(|shard| (shard.id, shard.range, shard.closed)).collect();
    assert_eq!(described, model.shards);
    for shard in 0..model.shards.len() {
        model.read(&s, shard, 0, ReadLimit { records: usize::MAX, bytes: usize::MAX });
    }
}
