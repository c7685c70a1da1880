use super::events::StoredId;
use super::*;
use crate::checkpoint::{self, Checkpoint};
use crate::schema::{FileColumn, Table};
use crate::section_list::{SectionDef, SectionList};
use crate::sections::Section;
use authpulse_engine::settings::TimeRules;
use authpulse_event::ATTRIBUTES;

/// An entry with something in most of its fields.
pub(crate) fn entry() -> Entry {
    Entry {
        n: 7,
        epoch: 2,
        commit_id: "c".to_owned(),
        written_at: ProcessingTime::from_micros(1),
        source: Source::Stream {
            name: "auth".to_owned(),
            created: ArrivalTime::from_micros(5),
            shard_id: "shardId-1".to_owned(),
        },
        to: StoredPosition {
            sequence: "49590338271490256608559692538361571095921575989136588898".to_owned(),
            sub_sequence: 3,
        },
        counts: EntryCounts { received: 3, curated: 1, waiting: 1, unscored: 1, ..EntryCounts::default() },
        watermark: Some(EventTime::from_micros(-5)),
        advances: vec![WatermarkAdvance {
            after: Position::START.into(),
            to: EventTime::from_micros(9),
            cause: "idle".to_owned(),
        }],
        last_accepted_live: true,
        counts_through: Some(-3),
        waiting: vec![Waiting {
            time: EventTime::from_micros(1),
            user: "U1".to_owned(),
            computer: "C1".to_owned(),
            id: StoredId::Own("x".to_owned()),
            payload: "00ff7b".to_owned(),
            payload_bytes: 3,
            at: Position::START.into(),
            arrival: ArrivalTime::from_micros(2),
            accepted_since: 9,
            attributes: StoredAttributes::default(),
        }],
        ..Entry::zero(
            &ShardId::new("shardId-000000000001"),
            Source::File,
            HashRange::FULL,
            (&TimeRules::default()).into(),
            "r".to_owned(),
        )
    }
}

fn nothing() -> SectionList {
    SectionList::default()
}

fn knows(name: &str) -> SectionList {
    SectionList::new(vec![SectionDef::read_only(name)])
}

fn section(must: bool, carry: bool) -> Section {
    let body = serde_json::from_str(r#"{"b": 1.10, "a":12345678901234567890123}"#).unwrap();
    Section { must, carry, body, also: Vec::new() }
}

fn sections(name: &str, must: bool) -> Sections {
    let mut sections = Sections::default();
    sections.insert(name, section(must, false));
    sections
}

#[test]
fn what_is_read_is_what_was_written() {
    let entry = entry();
    let shard = ShardId::new(&entry.shard);
    let read = Entry::decode(&shard, 7, &entry.encode(), &nothing()).unwrap();
    assert_eq!(read, entry);
    let from = read.restore_from(&read.spill, ATTRIBUTES).unwrap();
    assert_eq!(from.waiting[0].payload, b"\x00\xff{");
    assert_eq!(Waiting::from(&from.waiting[0]), entry.waiting[0]);
    assert!(entry.counts.adds_up());
}

#[test]
fn newer_damaged_and_misplaced_entries_are_told_apart() {
    let shard = ShardId::new("shardId-000000000001");
    let newer = Entry { format: FORMAT + 1, ..entry() };
    assert!(matches!(Entry::decode(&shard, 7, &newer.encode(), &nothing()), Err(EntryError::Newer { .. })));
    let older = Entry { format: 1, ..entry() };
    assert_eq!(Entry::decode(&shard, 7, &older.encode(), &nothing()), Ok(older));
    // If all entries but the last are folded, the checkpoint's format decides.
    let checkpoint = |format| Checkpoint::new(Entry { format, ..entry() }, &Spill::default()).encode();
    assert!(
        Checkpoint::decode(&shard, 7, &checkpoint(1), &nothing()).is_ok()
            && Checkpoint::decode(&shard, 7, &checkpoint(FORMAT), &nothing()).is_ok()
    );
    let error = Checkpoint::decode(&shard, 7, &checkpoint(FORMAT + 1), &nothing()).unwrap_err();
    assert!(matches!(error, EntryError::Newer { format, newest: FORMAT, .. } if format == FORMAT + 1), "{error}");
    assert!(
        Entry::decode(&shard, 8, &entry().encode(), &nothing()).unwrap_err().to_string().contains("says it is entry 7")
    );
    let bytes = entry().encode();
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(Entry::decode(&shard, 7, &bytes[..cut], &nothing()), Err(EntryError::Damaged { .. })));
    }
}

/// The JSON of [`entry`], as programs write it that know no format above 2.
const PLAIN: &str = concat!(
    r#"{"format":2,"shard":"shardId-000000000001","n":7,"epoch":2,"commit_id":"c","written_at":1,"takes_over":false,"#,
    r#""source":{"kind":"stream","name":"auth","created":5,"shard_id":"shardId-1"},"#,
    r#""range":"00000000000000000000000000000000-ffffffffffffffffffffffffffffffff","from":{"sequence":"0","sub_sequence":0},"#,
    r#""to":{"sequence":"49590338271490256608559692538361571095921575989136588898","sub_sequence":3},"#,
    r#""counts":{"received":3,"curated":1,"waiting_before":0,"unscored_before":0,"waiting":1,"unscored":1},"watermark":-5,"#,
    r#""rises":[{"after":{"sequence":"0","sub_sequence":0},"to":9,"cause":"idle"}],"newest_accepted":null,"#,
    r#""last_accepted_live":true,"hours_through":null,"shares_through":-3,"#,
    r#""score_spans":[{"range":"00000000000000000000000000000000-ffffffffffffffffffffffffffffffff","through":null}],"#,
    r#""daily_through":null,"waiting":[{"time":1,"user":"U1","computer":"C1","id":{"own":"x"},"payload":"00ff7b","#,
    r#""payload_bytes":3,"at":{"sequence":"0","sub_sequence":0},"arrival":2,"accepted_since":9}],"raw_done":0,"#,
    r#""last_snapshot":0,"read_to_end":false,"settled":false,"end":false,"#,
    r#""time_rules":{"base":1420070400000000,"tolerance":300000000,"lookback_days":30,"settle":3600000000},"rule_set":"r"}"#,
);

fn json(bytes: &[u8]) -> String {
    String::from_utf8(codec::decompress(bytes).unwrap()).unwrap()
}

#[test]
fn what_holds_nothing_new_is_written_as_ever() {
    let mut entry = entry();
    entry.format = entry.format_to_write(&Spill::default(), PLAIN_FORMAT);
    assert_eq!(json(&entry.encode()), PLAIN);
    let checkpoint = json(&Checkpoint::new(entry, &Spill::default()).encode());
    assert!(
        checkpoint.starts_with(r#"{"format":1,"shard":"shardId-000000000001","through":7,"marks":[],"#),
        "{checkpoint}"
    );
    assert!(checkpoint.contains(PLAIN) && !checkpoint.contains("sections"), "{checkpoint}");
    assert_eq!(json(&Spill::default().encode()), "{}");
}

#[test]
fn an_entry_is_newer_if_anything_in_it_is_or_what_it_goes_on_from() {
    let spill = Spill::default();
    let new_spill = Spill { sections: sections("a", false), ..Spill::default() };
    assert_eq!(entry().format_to_write(&spill, 1), PLAIN_FORMAT, "of a shard of the oldest format");
    assert_eq!(entry().format_to_write(&spill, FORMAT), FORMAT, "a shard never goes back");
    assert_eq!(entry().format_to_write(&new_spill, PLAIN_FORMAT), FORMAT);
    assert_eq!(Entry { sections: sections("a", false), ..entry() }.format_to_write(&spill, PLAIN_FORMAT), FORMAT);
    let file = FileRef { path: "p".to_owned(), bytes: 1, sha256: String::new() };
    let piece = |sections| PieceRef { range: HashRange::FULL.to_string(), users: 1, sections, file: file.clone() };
    let with_piece = |sections| Entry { snapshot: vec![piece(sections)], ..entry() };
    assert_eq!(with_piece(BTreeMap::new()).format_to_write(&spill, PLAIN_FORMAT), PLAIN_FORMAT);
    let sections = BTreeMap::from([("a".to_owned(), false)]);
    assert_eq!(with_piece(sections).format_to_write(&spill, PLAIN_FORMAT), FORMAT);
    let file = |columns: Vec<FileColumn>| TableFile {
        table: Table::CURATED,
        path: String::new(),
        rows: 1,
        bytes: 1,
        spec_id: 0,
        partition: 0,
        times: None,
        data_file: String::new(),
        sha256: String::new(),
        columns,
    };
    let column = serde_json::from_str(r#"{"name":"x","id":22,"type":"string"}"#).unwrap();
    let with_file = |columns| Entry { files: vec![file(columns)], ..entry() };
    assert_eq!(with_file(Vec::new()).format_to_write(&spill, PLAIN_FORMAT), PLAIN_FORMAT);
    assert_eq!(with_file(vec![column]).format_to_write(&spill, PLAIN_FORMAT), FORMAT);
}

#[test]
fn a_checkpoint_is_newer_if_anything_that_it_stands_for_is() {
    let plain = |n| Entry { n, ..entry() };
    let newer = |n| Entry { n, format: FORMAT, ..entry() };
    let of = |entries: Vec<Entry>| {
        let mut entries = entries.into_iter();
        let mut checkpoint = Checkpoint::new(entries.next().unwrap(), &Spill::default());
        entries.for_each(|entry| checkpoint.add(entry, &Spill::default()));
        checkpoint
    };
    assert_eq!(of(vec![plain(1), plain(2)]).format, checkpoint::PLAIN_FORMAT);
    assert_eq!(of(vec![plain(1), newer(2)]).format, checkpoint::FORMAT);
    assert_eq!(of(vec![newer(1), newer(2)]).format, checkpoint::FORMAT);
    let mut with_sections = of(vec![plain(1)]);
    with_sections.add_sections(Sections::default());
    assert_eq!(with_sections.format, checkpoint::PLAIN_FORMAT);
    with_sections.add_sections(sections("a", false));
    assert_eq!(with_sections.format, checkpoint::FORMAT);
}

/// What a reader that knows no section does with both kinds of sections, in every holder.
#[test]
fn sections_are_passed_over_or_refused_and_kept_as_they_are() {
    let shard = ShardId::new("shardId-000000000001");
    let refused = |error: EntryError, what: &str| {
        let words = error.to_string();
        assert!(
            error.is_too_new() && matches!(&error, EntryError::Section { section, .. } if section == "a"),
            "{words}"
        );
        assert!(words.contains(what) && words.contains("run a newer version of authpulse"), "{words}");
    };
    for must in [false, true] {
        let new = || sections("a", must);
        let spill = Spill { sections: new(), ..Spill::default() };
        let in_entry = Entry { format: FORMAT, sections: new(), ..entry() };
        let in_spill = Entry { format: FORMAT, spill: spill.clone(), ..entry() };
        let file = FileRef { path: "state/p".to_owned(), bytes: 1, sha256: String::new() };
        let named = BTreeMap::from([("a".to_owned(), must)]);
        let piece = PieceRef { range: HashRange::FULL.to_string(), users: 1, sections: named, file };
        let in_piece = Entry { format: FORMAT, snapshot: vec![piece], ..entry() };
        for (entry, what) in [(in_entry, "entry 7 of shard"), (in_spill, "entry 7 of shard"), (in_piece, "state/p")] {
            assert_eq!(Entry::decode(&shard, 7, &entry.encode(), &knows("a")), Ok(entry.clone()));
            let checkpoint = Checkpoint::new(entry.clone(), &Spill::default());
            assert_eq!(Checkpoint::decode(&shard, 7, &checkpoint.encode(), &knows("a")), Ok(checkpoint.clone()));
            match must {
                true => {
                    refused(Entry::decode(&shard, 7, &entry.encode(), &nothing()).unwrap_err(), what);
                    refused(
                        Checkpoint::decode(&shard, 7, &checkpoint.encode(), &nothing()).unwrap_err(),
                        "the last entry in the base",
                    );
                }
                false => {
                    // Kept to the byte, including numbers that no reader here could hold.
                    let read = Entry::decode(&shard, 7, &entry.encode(), &nothing()).unwrap();
                    assert_eq!(read.encode(), entry.encode());
                    let read = Checkpoint::decode(&shard, 7, &checkpoint.encode(), &nothing()).unwrap();
                    assert_eq!(read.encode(), checkpoint.encode());
                }
            }
        }
        let read = Spill::decode("s", &spill.encode(), &nothing());
        match must {
            true => refused(read.unwrap_err(), "file s"),
            false => assert_eq!(read.unwrap().encode(), spill.encode()),
        }
        assert_eq!(Spill::decode("s", &spill.encode(), &knows("a")), Ok(spill));
        let mut checkpoint = Checkpoint::new(entry(), &Spill::default());
        checkpoint.add_sections(new());
        let read = Checkpoint::decode(&shard, 7, &checkpoint.encode(), &nothing());
        match must {
            true => refused(read.unwrap_err(), "the base of entries up to 7"),
            false => {
                // A program that does not know the section keeps it when it folds further.
                let mut read = read.unwrap();
                read.add(Entry { n: 8, format: FORMAT, ..entry() }, &Spill::default());
                assert_eq!(read.sections, sections("a", false));
            }
        }
    }
}
