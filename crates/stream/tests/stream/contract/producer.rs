//! What a producer relies on: progress stored with its records.

use super::subject::{Make, NOON, RETENTION, is_refused, record, texts};
use authpulse_event::Span;
use authpulse_stream::limits::MAX_PAYLOAD_BYTES;
use futures::executor::block_on;

pub fn progress_is_stored_with_the_records(make: Make) {
    let s = make(2);
    assert_eq!(s.progress("a"), None);
    s.try_put(vec![record(b"k", b"1")], Some(("a", "one"))).unwrap();
    s.try_put(vec![record(b"k", b"2")], Some(("b", ""))).unwrap();
    s.try_put(vec![record(b"k", b"3")], None).unwrap();
    s.try_put(vec![record(b"k", b"4")], Some(("a", "{\"line\": 2}"))).unwrap();
    let s = s.reopen();
    assert_eq!(s.progress("a").as_deref(), Some("{\"line\": 2}"));
    assert_eq!(s.progress("b").as_deref(), Some(""));
    assert_eq!(s.progress("c"), None);
}

pub fn a_refused_put_stores_no_progress(make: Make) {
    let s = make(1);
    s.try_put(vec![record(b"k", b"1")], Some(("a", "one"))).unwrap();
    let too_long = vec![record(b"k", b"2"), record(b"k", &vec![0; MAX_PAYLOAD_BYTES + 1])];
    assert!(is_refused(s.try_put(too_long, Some(("a", "two")))));
    assert_eq!(s.progress("a").as_deref(), Some("one"));
    assert_eq!(texts(&s.read_all(&s.shards()[0].id)), ["1"]);
}

pub fn a_put_without_records_stores_progress_alone(make: Make) {
    let s = make(1);
    assert_eq!(s.try_put(Vec::new(), Some(("a", "nothing yet"))).unwrap(), []);
    assert_eq!(s.try_put(Vec::new(), None).unwrap(), []);
    assert_eq!(s.progress("a").as_deref(), Some("nothing yet"));
    assert_eq!(s.put(&[("k", "x")])[0].sequence, 1.into());
}

pub fn describe_tells_the_streams_identity(make: Make) {
    let s = make(1);
    s.advance(Span::millis(1));
    let s = s.reopen();
    let described = block_on(s.stream().describe()).unwrap();
    assert_eq!((&described.name[..], described.created), ("subject", NOON));
    assert_eq!((described.retention, described.closed), (RETENTION, false));
    s.close();
    assert!(block_on(s.stream().describe()).unwrap().closed);
}
