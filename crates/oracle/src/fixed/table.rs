//! The table of fixed cases, section by section.

use crate::broken;
use crate::model::{DAY, Form, Record, Settings, Shard, Step, WHOLE_RING};

use super::clocks::clocks;
use super::{Expected, Fixed, case, case_with};

/// All fixed cases.
pub fn all() -> Vec<Fixed> {
    let parts = [
        events(),
        invalid(),
        order(),
        ahead(),
        live(),
        clocks(),
        advances(),
        children(),
        windows(),
        rules(),
        levels(),
        popularity(),
        percentile(),
        tables(),
    ];
    parts.into_iter().flatten().collect()
}

/// Settings under which three computers are enough for a look-back.
fn three_hosts() -> Settings {
    Settings { min_hosts: 3, ..Settings::default() }
}

/// The id of `1,U1,C1`.
const ID_1_U1_C1: &str = "id 877ce6b6bdee283d542210afb605cbfa59600bcce246291277a498421e03b80b";
/// The id of `2015-01-01T00:00:01.000000Z,U1,C1`.
const ID_RFC_1_U1_C1: &str = "id b77477ad8588c13101525a616884e4c5237e31801bfdac23f8c457c204952693";

/// One event of U1 on C1 a second after `base`, in any spelling, and its id.
fn one(name: &'static str, sentence: &'static str, payload: &str, id: &str) -> Fixed {
    let script = format!("raw {payload}\nsettle");
    case(name, sentence, &script, &format!("1 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n{id}"))
}

fn events() -> Vec<Fixed> {
    let long = "u".repeat(256);
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let rfc = "2015-01-01T00:00:01Z";
    vec![
        one("integer_time", "`event_time = base + time`", "1,U1,C1", ID_1_U1_C1),
        one(
            "rfc_3339_time",
            "an RFC 3339 time stands there as UTC with six decimals",
            &format!("{rfc},U1,C1"),
            ID_RFC_1_U1_C1,
        ),
        one(
            "rfc_3339_with_an_offset",
            "a zone (`Z`, `z`, ±hh:mm or ±hhmm), which must be there",
            "2015-01-01T05:30:01+05:30,U1,C1",
            ID_RFC_1_U1_C1,
        ),
        one(
            "rfc_3339_with_a_negative_offset",
            "a zone (`Z`, `z`, ±hh:mm or ±hhmm), which must be there",
            "2014-12-31T23:00:01.0-01:00,U1,C1",
            ID_RFC_1_U1_C1,
        ),
        one(
            "further_digits_are_cut",
            "kept to the microsecond (further digits are cut)",
            "2015-01-01T00:00:01.0000009Z,U1,C1",
            ID_RFC_1_U1_C1,
        ),
        one("letters_of_either_case", "`T`, `t` or one blank", "2015-01-01t00:00:01z,U1,C1", ID_RFC_1_U1_C1),
        one("a_blank_for_t", "`T`, `t` or one blank", "2015-01-01 00:00:01Z,U1,C1", ID_RFC_1_U1_C1),
        one("an_offset_without_colon", "±hh:mm or ±hhmm", "2015-01-01 05:30:01+0530,U1,C1", ID_RFC_1_U1_C1),
        one(
            "a_comma_before_the_fraction",
            "a fraction behind `.`, in a JSON record also behind `,`",
            r#"{"time":"2014-12-31T23:00:01,0-0100","user":"U1","computer":"C1"}"#,
            ID_RFC_1_U1_C1,
        ),
        case(
            "a_leap_second",
            "60 at 23:59 UTC, which is read as the last microsecond before midnight",
            "raw 2014-12-31T23:59:60Z,U1,C1\nraw 2015-01-01 04:59:60.5+0500,U2,C1\nsettle",
            "-1us U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n-1us U2 C1 -> 30 MEDIUM N 1 1 1 1 -\nid 1573fa8e2d721916b4e863141d71622f3900608aae01b632ab1e7f18b05120fe",
        ),
        one("leading_zeros_leave_the_id", "decimal without leading zeros", "000000000001,U1,C1", ID_1_U1_C1),
        one(
            "line_fields_are_trimmed",
            "exactly three comma-separated fields, each trimmed",
            r"\t 1 ,U1\t , C1 ",
            ID_1_U1_C1,
        ),
        one(
            "wire_form_in_a_file",
            "A line whose first byte is `{` is an event in the wire form instead",
            r#"{"time":1,"user":"U1","computer":"C1"}"#,
            ID_1_U1_C1,
        ),
        one(
            "string_of_digits",
            "`time` is an integer number, a string of digits or an RFC 3339 string",
            r#"{"time":"000000000001","user":"U1","computer":"C1"}"#,
            ID_1_U1_C1,
        ),
        one(
            "rfc_3339_string",
            "`time` is an integer number, a string of digits or an RFC 3339 string",
            r#"{"time":"2015-01-01T00:00:01Z","user":"U1","computer":"C1"}"#,
            ID_RFC_1_U1_C1,
        ),
        one(
            "keys_in_any_order_with_white_space",
            "one JSON object (RFC 8259, UTF-8)",
            r#"{ "computer" : "C1" ,\t"user":"U1" , "time": 1 } "#,
            ID_1_U1_C1,
        ),
        one(
            "known_keys_may_be_escaped",
            "a known key twice at the top level (after unescaping)",
            r#"{"\u0074ime":1,"us\u0065r":"\u00551","computer":"C1"}"#,
            ID_1_U1_C1,
        ),
        one(
            "unknown_keys_are_ignored",
            "Apart from that, ignored keys and their values must be well-formed",
            r#"{"time":1,"x":[1e99999,-0.0,{"time":null}],"x":"\ud800","\udc00":{},"user":"U1","computer":"C1"}"#,
            ID_1_U1_C1,
        ),
        one(
            "bad_bytes_in_unknown_keys",
            "in them and their values any bytes between quotes",
            r#"{"time":1,"\xFF\t":"\xED\xA0\x80\x00","x":["\x5Cx41\x5C"\x5Cu12"],"user\xFF":0,"user":"U1","computer":"C1"}"#,
            ID_1_U1_C1,
        ),
        one(
            "no_numbers_in_unknown_keys",
            "`NaN`, `Infinity` and `-Infinity`",
            r#"{"time":1,"x":NaN,"y":[Infinity,{"time":-Infinity}],"user":"U1","computer":"C1"}"#,
            ID_1_U1_C1,
        ),
        one(
            "depth_of_100",
            "nesting deeper than 100",
            &format!(r#"{{"time":1,"x":{},"user":"U1","computer":"C1"}}"#, deep(99)),
            ID_1_U1_C1,
        ),
        one(
            "wire_names_are_trimmed",
            "The strings of `user` and `computer` are trimmed",
            r#"{"time":1,"user":"\u0009 U1","computer":"C1 "}"#,
            ID_1_U1_C1,
        ),
        one(
            "own_id_is_used_as_it_is",
            "A producer that has an id of its own sends `event_id`",
            r#"{"time":1,"user":"U1","computer":"C1","event_id":" a,b "}"#,
            "id  a,b ",
        ),
        case(
            "own_id_of_128_bytes",
            "1 to 128 bytes of UTF-8, no control character",
            &format!("1 U1 C1 id={}\nsettle", "\u{e9}".repeat(64)),
            &format!("1 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nid {}", "\u{e9}".repeat(64)),
        ),
        case(
            "name_of_256_bytes",
            "1 to 256 bytes of UTF-8 after trimming blanks",
            &format!("raw 1,{long},  {long}\nsettle"),
            &format!("1 {long} {long} -> 30 MEDIUM N 1 1 1 1 -"),
        ),
        case(
            "quotes_are_no_quoting",
            "each trimmed, without quoting",
            "raw 1,\"U1\",'C1'\nsettle",
            "1 \"U1\" 'C1' -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "forms_of_time_have_their_own_ids",
            "lower-case hex SHA-256 of the canonical line `time,user,computer`",
            "raw 1,U1,C1\nraw 2015-01-01T00:00:01Z,U1,C1\nsettle",
            &format!("1 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n1 U1 C1 -> 0 LOW - 2 2 1 1 -\n{ID_1_U1_C1}\n{ID_RFC_1_U1_C1}"),
        ),
        case(
            "equal_logons_are_one_event",
            "With content ids two equal logons within one second are one event",
            "open 1000\n1001 U1 C1\nraw  01001 ,U1, C1",
            "1001 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nduplicate  01001",
        ),
        case(
            "time_before_base",
            "may lie before `base`",
            "raw 2014-12-31T23:59:59.5Z,U1,C1\nsettle",
            "-500000us U1 C1 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "first_instant_there_is",
            "years 0001 to 9999 (as written and in UTC)",
            "raw 0001-01-01T00:00:00Z,U1,C1\nsettle",
            "-63555667200 U1 C1 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "last_instant_there_is",
            "years 0001 to 9999 (as written and in UTC)",
            "raw 9999-12-31T23:59:59.999999Z,U1,C1\nraw 251982230399,U1,C1\nraw 251982230400,U1,C1",
            "future 9999\nfuture 251982230399\ninvalid 251982230400",
        ),
        case(
            "line_of_1_mib",
            "A line above 1,048,576 bytes (without mark and line end) is one invalid record, blank or not",
            "pad 1048576 1,U1,C1\npad 1048577 2,U1,C1\npad 1048577 \nsettle",
            "1 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\ninvalid 2,U1,C1\ninvalid  ",
        ),
        case(
            "record_of_1_mib",
            "A record of a stream above 1,048,576 bytes is invalid, as a line is",
            r#"shard s1
               pad 1048576 {"time":1,"user":"U1","computer":"C1"}
               pad 1048577 {"time":2,"user":"U1","computer":"C1"}
               settle"#,
            "1 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\ninvalid {\"time\":2",
        ),
        case(
            "white_space_around_a_record",
            "one JSON object (RFC 8259, UTF-8)",
            "shard s1\nraw \\r\\n {\"time\":1,\"user\":\"U1\",\"computer\":\"C1\"}\\n\nsettle",
            &format!("1 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n{ID_1_U1_C1}"),
        ),
    ]
}

/// All kinds of broken records, in one case for files and one for streams.
fn invalid() -> Vec<Fixed> {
    let settings = Settings::default();
    let arrival = settings.base_micros + 10_000 * DAY;
    let build = |name, sentence, id: &str, records: Vec<(Vec<u8>, String)>, form| {
        let expected = Expected { rejected: vec!["invalid".to_owned(); records.len()], ..Expected::default() };
        let record =
            |(payload, partition_key)| Step::Record(Record { payload, partition_key, arrival, place: (0, 0), form });
        let steps = records.into_iter().map(record).collect();
        let live = form == Form::Wire;
        let shard = Shard { id: id.to_owned(), range: WHOLE_RING, parents: Vec::new(), live, steps };
        Fixed { name, sentence, settings: settings.clone(), shards: vec![shard], expected }
    };
    let lines = broken::lines("U1").into_iter().map(|line| (line, String::new())).collect();
    let sentence = "`invalid`: does not parse or breaks a rule of section 1";
    vec![
        build("broken_lines", sentence, "file", lines, Form::Line),
        build("broken_records", sentence, "s1", broken::records("U1"), Form::Wire),
    ]
}

fn order() -> Vec<Fixed> {
    vec![
        case(
            "late_below_the_watermark",
            "`late`: below the watermark",
            "open 1000\n700 U1 C1\n699 U1 C1",
            "700 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nlate 699",
        ),
        case(
            "watermark_never_falls",
            "It never falls",
            "open 1000\n800 U1 C1\n699 U1 C1\n700 U1 C1",
            "800 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n700 U1 C1 -> 0 LOW - 2 2 1 1 -\nlate 699",
        ),
        case(
            "late_comes_before_duplicate",
            "the first that holds decides",
            "open 1000\n700 U1 C1\n1001 U2 C2\n700 U1 C1",
            "700 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n1001 U2 C2 -> 30 MEDIUM N 1 1 1 1 -\nlate 700",
        ),
        case(
            "duplicate_of_the_same_instant_and_computer",
            "an event of the same user with the same `event_id`, instant and computer was accepted",
            "open 1000\n1000 U1 C1 id=a\n1000 U1 C1 id=a\n1000 U1 C1 id=a",
            r#"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               duplicate {"time":1000
               duplicate {"time":1000"#,
        ),
        case(
            "one_own_id_at_several_instants",
            "The same own id with another instant or computer is another event",
            "open 1000\n1000 U1 C1 id=4624\n1000+1us U1 C1 id=4624\n1001 U1 C1 id=4624\n999 U1 C1 id=4624",
            r"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              1000+1us U1 C1 -> 0 LOW - 2 2 1 1 -
              1001 U1 C1 -> 0 LOW - 3 3 1 1 -
              999 U1 C1 -> 0 LOW - 4 4 1 1 -",
        ),
        case(
            "one_own_id_on_several_computers",
            "The same own id with another instant or computer is another event",
            "open 1000\n1000 U1 C1 id=4624\n1000 U1 C2 id=4624\n1000 U1 C1 id=4624",
            r#"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               1000 U1 C2 -> 30 MEDIUM N 2 2 2 2 -
               duplicate {"time":1000"#,
        ),
        case(
            "duplicate_of_any_that_was_accepted",
            "an event of the same user with the same `event_id`, instant and computer was accepted",
            "open 1000\n1000 U1 C1 id=a\n1200 U1 C2 id=a\n1000 U1 C1 id=a\n1000 U1 C1 id=b",
            r#"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               1200 U1 C2 -> 30 MEDIUM N 2 2 2 2 -
               1000 U1 C1 -> 0 LOW - 3 3 2 2 -
               duplicate {"time":1000"#,
        ),
        case(
            "no_duplicate_of_another_user",
            "an event of the same user",
            "open 1000\n1000 U1 C1 id=a\n1000 U2 C1 id=a",
            "1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n1000 U2 C1 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "own_id_that_is_the_content_id_of_another_event",
            "that one is used as it is",
            &format!("open 1\nraw 1,U1,C1\n2 U1 C1 i{0}\n1 U1 C2 i{0}", ID_1_U1_C1.replace("id ", "d=")),
            r"1 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              2 U1 C1 -> 0 LOW - 2 2 1 1 -
              1 U1 C2 -> 30 MEDIUM N 3 3 2 2 -",
        ),
        case(
            "own_id_that_is_its_own_content_id",
            "that one is used as it is",
            &format!("open 1\nraw 1,U1,C1\n1 U1 C1 i{}", ID_1_U1_C1.replace("id ", "d=")),
            "1 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nduplicate {\"time\":1",
        ),
        case(
            "content_id_that_was_sent_as_an_own_id",
            "that one is used as it is",
            &format!("open 1\n1 U1 C1 i{}\nraw 1,U1,C1\nraw 2,U1,C1", ID_1_U1_C1.replace("id ", "d=")),
            "1 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n2 U1 C1 -> 0 LOW - 2 2 1 1 -\nduplicate 1,U1",
        ),
        case(
            "future_beyond_300_s",
            "`future`: more than 300 s ahead of its own arrival",
            "shard s1\n1000 U1 C1 @700\n1100+1us U1 C1 @800",
            "1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nfuture {",
        ),
        case(
            "future_in_a_file",
            "for a backfilled file, the (stored) start of the run",
            "5 U1 C1 @-295\n6 U1 C1 @-295\nsettle",
            "5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nfuture 6",
        ),
        case(
            "misrouted_by_the_user_not_the_key",
            "`misrouted`: MD5(user) lies outside the shard's range (a foreign producer's partition key",
            r#"shard s1 8..f
               raw {"time":1,"user":"U2","computer":"C1"}
               raw {"time":2,"user":"U1","computer":"C1"}
               settle"#,
            "2 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nmisrouted {\"time\":1",
        ),
        case(
            "misrouted_after_invalid_before_future",
            "the first that holds decides",
            "shard s1 8..f\n5 U2 C1 @-1000\nraw {\"time\":0,\"user\":\"U2\",\"computer\":\"C1\"}",
            "misrouted {\"time\":5\ninvalid {\"time\":0",
        ),
    ]
}

fn ahead() -> Vec<Fixed> {
    vec![
        case("a_first_event_waits", "the shard has no high-water mark yet", "5 U1 C1", "waiting 1"),
        case(
            "three_users_go_on",
            "As soon as events of three distinct users, or ten events, wait, all of them go on",
            "5 U1 C1\n6 U2 C2\n6 U1 C1\n7 U3 C3\n8 U1 C1",
            r"5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              6 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
              6 U1 C1 -> 0 LOW - 2 2 1 1 -
              7 U3 C3 -> 30 MEDIUM N 1 1 1 1 -
              8 U1 C1 -> 0 LOW - 3 3 1 1 -",
        ),
        case(
            "ten_events_go_on",
            "As soon as events of three distinct users, or ten events, wait, all of them go on",
            "repeat 10 5 1 U1 C1",
            "5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n14 U1 C1 -> 0 LOW - 10 10 1 1 -\n+8",
        ),
        case("nine_events_wait", "there are never more than nine", "repeat 9 5 1 U1 C1", "waiting 9"),
        case(
            "max_jump_is_not_ahead",
            "the time lies more than `max_jump` (3600 s) beyond it",
            "open 1000\n4600 U1 C1",
            "4600 U1 C1 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "beyond_max_jump_is_ahead",
            "the time lies more than `max_jump` (3600 s) beyond it",
            "open 1000\n4600+1us U1 C1",
            "waiting 1",
        ),
        case(
            "those_that_wait_go_on_one_after_another",
            "in order of arrival, one after another, each through 5, 6 and 7 against the state the last one left",
            "5000 U1 C1\n4699 U2 C2\n4700 U3 C3",
            r"5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              4700 U3 C3 -> 30 MEDIUM N 1 1 1 1 -
              late 4699",
        ),
        case(
            "no_longer_ahead_goes_on",
            "first those that wait and are no longer ahead go on",
            "open 1000\n5000 U1 C1\n1400 U2 C2",
            "5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n1400 U2 C2 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "no_longer_ahead_in_rounds",
            "in rounds (those that are not ahead now, in order of arrival; then again, until none is left)",
            "open 1000\n8000 U2 C2\n5000 U1 C1\n1500 U1 C3",
            r"1500 U1 C3 -> 30 MEDIUM N 1 1 1 1 -
              5000 U1 C1 -> 30 MEDIUM N 2 2 2 2 -
              8000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "rounds_are_in_order_of_arrival",
            "those that are not ahead now, in order of arrival",
            "open 1000\n5000 U1 C1\n4650 U2 C2\n1400 U3 C3\n4699 U3 C3",
            r"1400 U3 C3 -> 30 MEDIUM N 1 1 1 1 -
              5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              late 4650
              late 4699",
        ),
        case(
            "a_rejection_moves_nothing",
            "After each acceptance of an event that did not wait",
            "open 1000\n9000 U1 C1\nrepeat 20 600 1 U2 C2\nsettle",
            &format!("9000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -{}", "\nlate 6".repeat(20)),
        ),
        case(
            "nine_accepted_reject_nothing",
            "those since whose arrival ten events that did not wait have been accepted are rejected as `future`",
            "open 1000\n9000 U1 C1\nrepeat 9 1001 1 U2 C2",
            "waiting 1\n+9",
        ),
        case(
            "ten_accepted_reject",
            "those since whose arrival ten events that did not wait have been accepted are rejected as `future`",
            "open 1000\n9000 U1 C1\n1001 U2 C2\n9001 U1 C1\nrepeat 9 1002 1 U2 C2",
            "future 9000\nwaiting 1\n+10",
        ),
        case(
            "the_tenth_lets_go_on_first",
            "first those that wait and are no longer ahead go on",
            "open 1000\n5000 U1 C1\nrepeat 9 1001 1 U2 C2\n1400 U2 C2",
            "5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n+10",
        ),
        case(
            "events_that_waited_do_not_count",
            "ten events that did not wait have been accepted",
            "open 1000\n9000 U1 C1\n5000 U2 C2\n1500 U2 C3\nrepeat 8 5001 1 U2 C2",
            "waiting 1\n+10",
        ),
        case(
            "duplicate_among_those_that_wait",
            "Where the same event (step 6) waits already",
            "open 1000\n9000 U1 C1 id=a\n9000 U1 C1 id=a\n9001 U1 C1 id=a\n9000 U1 C2 id=a\n9000 U2 C1 id=a",
            "duplicate {\"time\":9000\nwaiting 4",
        ),
        case(
            "duplicate_among_those_that_wait_by_its_content_id",
            "Where the same event (step 6) waits already",
            &format!("1 U1 C1\n1 U1 C1 i{}\n1 U1 C1", ID_1_U1_C1.replace("id ", "d=")),
            "duplicate {\"time\":1\nduplicate 1,U1\nwaiting 1",
        ),
        case(
            "one_own_id_of_several_events_that_wait",
            "The same own id with another instant or computer is another event",
            "open 1000\n4700 U1 C1 id=a\n4600 U1 C2 id=a",
            "4600 U1 C2 -> 30 MEDIUM N 1 1 1 1 -\n4700 U1 C1 -> 30 MEDIUM N 2 2 2 2 -",
        ),
        case(
            "a_day_before_the_first_rejects",
            "more than 86400 s before that of the first event that waits, all that wait are rejected as `future`",
            "open 1000\n3d U1 C1\n200000 U1 C2\n172799 U2 C3",
            "future 259200\nfuture 200000\nwaiting 1",
        ),
        case(
            "exactly_a_day_before_the_first_waits",
            "more than 86400 s before that of the first event that waits",
            "open 1000\n3d U1 C1\n2d U2 C3",
            "waiting 2",
        ),
        case(
            "a_day_after_the_first_settles",
            "more than 86400 s after that of the first event that waits, what waits is flushed",
            "open 1000\n100000 U1 C1\n186401 U2 C2",
            "100000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nwaiting 1",
        ),
        case(
            "exactly_a_day_after_the_first_waits",
            "more than 86400 s after that of the first event that waits",
            "open 1000\n100000 U1 C1\n186400 U2 C2",
            "waiting 2",
        ),
        case(
            "judged_again_after_settling",
            "the new one goes through 4 again from its start",
            "open 1000\n100000 U1 C1\n186400 U1 C2\n186401 U2 C3\n186402 U2 C3",
            r"100000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              186400 U1 C2 -> 30 MEDIUM N 1 1 1 1 -
              186401 U2 C3 -> 30 MEDIUM N 1 1 1 1 -
              186402 U2 C3 -> 0 LOW - 2 2 1 1 -",
        ),
        case(
            "settling",
            "those since whose arrival no event that did not wait has been accepted go on, the others are rejected",
            "open 1000\n9000 U1 C1\n1001 U2 C2\n9500 U1 C3\n9600 U1 C4\nsettle",
            r"1001 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
              9500 U1 C3 -> 30 MEDIUM N 1 1 1 1 -
              9600 U1 C4 -> 30 MEDIUM N 2 2 2 2 -
              future 9000",
        ),
        case(
            "one_corrupt_clock",
            "one corrupt clock must not make everything after it late",
            "open 1000\n500d U1 C1\nrepeat 12 1010 10 U2 C2\nsettle",
            "future 43200000\n+12",
        ),
        case(
            "a_corrupt_clock_at_the_start",
            "one corrupt clock must not make everything after it late",
            "500d U1 C1\n1000 U2 C2\n1001 U3 C3\n1002 U1 C1",
            r"future 43200000
              1000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
              1001 U3 C3 -> 30 MEDIUM N 1 1 1 1 -
              1002 U1 C1 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "after_a_quiet_night",
            "the first logon after a quiet night must not be thrown away",
            "open 1000\n30000 U1 C1\n30060 U1 C1\n30100 U2 C2\n30200 U3 C3",
            r"30000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              30060 U1 C1 -> 0 LOW - 2 2 1 1 -
              30100 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
              30200 U3 C3 -> 30 MEDIUM N 1 1 1 1 -",
        ),
    ]
}

fn live() -> Vec<Fixed> {
    vec![
        case(
            "live_is_never_ahead",
            "An event within 300 s of its own arrival on a stream is never ahead",
            "shard s1\n5 U1 C1 @10\n20000 U1 C2 @20010",
            "5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n20000 U1 C2 -> 30 MEDIUM N 1 2 1 2 -",
        ),
        case(
            "live_up_to_300_s_after",
            "within 300 s of its own arrival",
            "shard s1\n5 U1 C1 @305\n20000 U1 C2 @20300+1us",
            "5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nwaiting 1",
        ),
        case(
            "live_up_to_300_s_before",
            "within 300 s of its own arrival",
            "shard s1\n5 U1 C1 @10\n20000 U1 C2 @19700",
            "5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n20000 U1 C2 -> 30 MEDIUM N 1 2 1 2 -",
        ),
        case(
            "a_file_has_no_live_events",
            "a backfilled file has no such events",
            "shard file\n5 U1 C1 @10",
            "waiting 1",
        ),
        case(
            "those_that_wait_go_on_before_a_live_one",
            "those that wait with a time up to its own go on before it",
            "shard s1\n5 U1 C1 @10\n9000 U2 C2 @9900\n10000 U1 C3 @10000",
            r"5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              9000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
              10000 U1 C3 -> 30 MEDIUM N 1 2 1 2 -",
        ),
        case(
            "one_that_waits_with_the_very_time_of_a_live_one",
            "those that wait with a time up to its own go on before it",
            "shard s1\n5 U1 C1 @10\n10000 U2 C2 @10301\n10000 U2 C3 @10000",
            r"5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              10000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
              10000 U2 C3 -> 30 MEDIUM N 2 2 2 2 -",
        ),
        case(
            "also_where_there_is_no_front",
            "the shard has no high-water mark yet",
            "shard s1\n9000 U2 C2 @9900\n10000 U1 C3 @10000",
            "9000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -\n10000 U1 C3 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "a_live_duplicate_of_one_that_waited",
            "Only events that are ahead and not live are compared with those that wait",
            "shard s1\n5 U1 C1 @10\n9000 U2 C2 @9301 id=a\n9000 U2 C2 @9290 id=a",
            r#"5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               9000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
               duplicate {"time":9000"#,
        ),
    ]
}

fn advances() -> Vec<Fixed> {
    vec![
        case(
            "late_after_a_rise",
            "or an advance (below), where that is higher",
            "shard s1\nopen 1000\nrise 5000\n4999 U1 C1\n5000 U1 C2",
            "5000 U1 C2 -> 30 MEDIUM N 1 1 1 1 -\nlate {\"time\":4999",
        ),
        case(
            "front_after_a_rise",
            "High-water mark = watermark + tolerance",
            "shard s1\nopen 1000\nrise 5000\n8900+1us U1 C2\n8900 U2 C1",
            "8900 U2 C1 -> 30 MEDIUM N 1 1 1 1 -\n8900+1us U1 C2 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "a_rise_gives_a_new_shard_a_front",
            "A new shard has neither",
            "shard s1\nrise 1000\n4900 U1 C1\n999 U1 C1",
            "4900 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nlate {\"time\":999",
        ),
        case(
            "a_rise_lowers_nothing",
            "It never falls",
            "shard s1\nopen 1000\nrise 100\n699 U1 C1\n700 U1 C1",
            "700 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nlate {\"time\":699",
        ),
        case(
            "those_that_wait_go_on_before_a_rise",
            "Before an advance to W, those that wait with a time up to W + tolerance + `max_jump` go on",
            "shard s1\nopen 1000\n5000 U1 C1\n9000 U2 C2\nrise 20000\nsettle",
            "5000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n9000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "up_to_w_and_tolerance_and_max_jump",
            "Before an advance to W, those that wait with a time up to W + tolerance + `max_jump` go on",
            "shard s1\nopen 1000\n9000 U1 C1\nrise 5100",
            "9000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case("later_ones_wait_on", "later ones wait on", "shard s1\nopen 1000\n9000 U1 C1\nrise 5099", "waiting 1"),
        case(
            "then_in_rounds",
            "then, in rounds, those no longer ahead",
            "shard s1\nopen 1000\n9000 U1 C1\n12600 U1 C2\nrise 5100",
            "9000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n12600 U1 C2 -> 30 MEDIUM N 1 2 1 2 -",
        ),
        case(
            "a_rise_counts_as_no_acceptance",
            "those since whose arrival no event that did not wait has been accepted go on",
            "shard s1\nopen 1000\n20000 U1 C1\n9000 U2 C2\nrise 5100\nsettle",
            "9000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -\n20000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -",
        ),
    ]
}

fn children() -> Vec<Fixed> {
    vec![
        case(
            "a_split_divides_the_users",
            "take from their parents' ends, by hash range, every user's state",
            r"shard s0
              5 U1 C1
              6 U2 C2
              7 U3 C3
              shard s1 0..7 from s0
              8 U2 C2
              shard s2 8..f from s0
              8 U1 C1
              5 U1 C1
              9 U2 C2",
            r#"8 U2 C2 -> 0 LOW - 2 2 1 1 -
               8 U1 C1 -> 0 LOW - 2 2 1 1 -
               duplicate {"time":5
               misrouted {"time":9
               +3"#,
        ),
        case(
            "a_merge_takes_the_newest_watermark",
            "the newest of the parents' watermarks",
            r"shard s0 0..7
              repeat 1 1000 1 U2 C1
              1000 U4 C1
              1000 U5 C1
              shard s1 8..f
              5000 U1 C1
              5000 U3 C1
              5000 U9 C1
              shard s2 from s0,s1
              4699 U2 C1
              4700 U2 C1",
            "4700 U2 C1 -> 0 LOW - 1 2 1 1 -\nlate {\"time\":4699\n+6",
        ),
        case(
            "what_waits_is_judged_again",
            "The child admits the waiting events once more, from step 4 on, in order of arrival, before its first record",
            r"shard s0 0..7
              5 U2 C2
              shard s1 8..f
              5 U1 C1
              6 U3 C3
              shard s2 from s0,s1",
            r"5 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
              5 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              6 U3 C3 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        case(
            "what_waits_is_divided_too",
            "the events that wait, the events not yet scored",
            "shard s0\n5 U1 C1\n6 U2 C2\nshard s1 0..7 from s0\n7 U4 C4\nshard s2 8..f from s0",
            "waiting 3",
        ),
        case(
            "judged_again_in_order_of_arrival",
            "in order of arrival",
            r"shard s0 0..7
              5000 U2 C2 @100000
              shard s1 8..f
              1000 U1 C1 @90000
              1001 U3 C3 @110000
              shard s2 from s0,s1",
            r#"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               5000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
               late {"time":1001"#,
        ),
        case(
            "no_longer_ahead_in_the_heir",
            "The child admits the waiting events once more, from step 4 on",
            "shard s0 0..7\n5000 U2 C2\nshard s1 8..f\n4000 U1 C1\n4000 U3 C1\n4000 U9 C1\nshard s2 from s0,s1",
            "5000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -\n+3",
        ),
        case(
            "late_in_the_heir",
            "The child admits the waiting events once more, from step 4 on",
            "shard s0 0..7\n5000 U2 C2\nshard s1 8..f\n9000 U1 C1\n9000 U3 C1\n9000 U9 C1\nshard s2 from s0,s1",
            "late {\"time\":5000\n+3",
        ),
        case(
            "duplicate_in_the_heir_by_its_parents_users",
            "every user's state",
            "shard s0\nopen 1000\n1000 U1 C1 id=a\nshard s1 8..f from s0\n1000 U1 C1 id=a\nshard s2 0..7 from s0",
            "1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\nduplicate {\"time\":1000",
        ),
        case(
            "the_heir_goes_on_counting",
            "Events that wait are part of the shard's state",
            "shard s0\nopen 1000\n9000 U1 C1\nrepeat 9 1001 1 U2 C2\nshard s1 from s0\n1010 U2 C2",
            "1010 U2 C2 -> 0 LOW - 10 10 1 1 -\nfuture {\"time\":9000\n+9",
        ),
        case(
            "judging_again_counts_as_no_acceptance",
            "those since whose arrival no event that did not wait has been accepted go on",
            r"shard s0 0..7
              9000 U2 C2
              5000 U2 C3
              shard s1 8..f
              4000 U1 C1
              4000 U3 C1
              4000 U9 C1
              shard s2 from s0,s1
              settle",
            "5000 U2 C3 -> 30 MEDIUM N 1 1 1 1 -\n9000 U2 C2 -> 30 MEDIUM N 1 2 1 2 -\n+3",
        ),
        case(
            "a_stream_after_a_file",
            "The first shards that a lake reads after others have ended (a stream after a backfill) inherit in the same way",
            r"shard file
              open 1000
              1000 U1 C1
              1000 U2 C2
              settle
              rise 1d
              shard s1 0..7 from file
              86399 U2 C2
              86400 U2 C2
              shard s2 8..f from file
              86400 U1 C1",
            r#"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
               1000 U2 C2 -> 30 MEDIUM N 1 1 1 1 -
               86400 U2 C2 -> 0 LOW - 1 2 1 1 -
               86400 U1 C1 -> 0 LOW - 1 2 1 1 -
               late {"time":86399"#,
        ),
    ]
}

fn windows() -> Vec<Fixed> {
    let burst_over_2 = Settings { burst_over: 2, ..Settings::default() };
    vec![
        case(
            "an_hour_ago_is_outside",
            "The windows are `(T - 3600 s, T]`",
            "open 1000\n1000 U1 C1\n4600 U1 C1",
            "1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n4600 U1 C1 -> 0 LOW - 1 2 1 1 -",
        ),
        case(
            "less_than_an_hour_ago_is_inside",
            "The windows are `(T - 3600 s, T]`",
            "open 1000\n1000+1us U1 C1\n4600 U1 C1",
            "1000+1us U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n4600 U1 C1 -> 0 LOW - 2 2 1 1 -",
        ),
        case(
            "a_day_ago_is_outside",
            "and `(T - 86400 s, T]`",
            "open 1000\n1000 U1 C1\nopen 87400\n87400 U1 C1",
            "1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n87400 U1 C1 -> 0 LOW - 1 1 1 1 -",
        ),
        case(
            "less_than_a_day_ago_is_inside",
            "and `(T - 86400 s, T]`",
            "open 1000\n1000 U1 C1\nopen 87400\n87399 U1 C2",
            "1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n87399 U1 C2 -> 30 MEDIUM N 1 2 1 2 -",
        ),
        case(
            "of_two_in_one_second_the_first_does_not_see_the_second",
            "of two events in one second the first to arrive does not see the second",
            "open 1000\n1000 U1 C1\n1000 U1 C2",
            "1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n1000 U1 C2 -> 30 MEDIUM N 2 2 2 2 -",
        ),
        case(
            "windows_end_at_the_newest",
            "Let `T` be the newest accepted `event_time` of the user, the event at hand included",
            "open 1000\n1100 U1 C1\n4700 U1 C2\n4400 U1 C3",
            r"1100 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              4700 U1 C2 -> 30 MEDIUM N 1 2 1 2 -
              4400 U1 C3 -> 30 MEDIUM N 2 3 2 3 -",
        ),
        case_with(
            burst_over_2,
            "reverse_order_hides_no_burst",
            "logons delivered in reverse cannot hide a burst",
            "open 1000\n1200 U1 C1\n1100 U1 C1\n1000 U1 C1",
            r"1200 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              1100 U1 C1 -> 0 LOW - 2 2 1 1 -
              1000 U1 C1 -> 25 LOW B 3 3 1 1 -",
        ),
        case(
            "users_have_their_own_windows",
            "Per user, over event time",
            "open 1000\n1000 U1 C1\n1001 U2 C1\n1002 U1 C1",
            r"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              1001 U2 C1 -> 30 MEDIUM N 1 1 1 1 -
              1002 U1 C1 -> 0 LOW - 2 2 1 1 -",
        ),
        case(
            "what_was_rejected_is_in_no_window",
            "they hold what has been accepted so far",
            "open 1000\n1000 U1 C1\n600 U1 C2\n1000 U1 C1\n1001 U1 C3",
            r"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              1001 U1 C3 -> 30 MEDIUM N 2 2 2 2 -
              late 600
              duplicate 1000",
        ),
        case(
            "distinct_computers",
            "`unique_computers_*` distinct computers, exactly",
            "open 1000\n1000 U1 C1\n1001 U1 C2\n1002 U1 C1\n4601 U1 C2",
            r"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              1001 U1 C2 -> 30 MEDIUM N 2 2 2 2 -
              1002 U1 C1 -> 0 LOW - 3 3 2 2 -
              4601 U1 C2 -> 0 LOW - 2 4 2 2 -",
        ),
    ]
}

fn rules() -> Vec<Fixed> {
    let weightless = Settings { weights: [0, 25, 35, 10], ..Settings::default() };
    vec![
        case(
            "a_known_device_after_forty_days",
            "over all time",
            "open 1000\n1000 U1 C1\nopen 40d\n40d U1 C1",
            "1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n40d U1 C1 -> 0 LOW - 1 1 1 1 -",
        ),
        case(
            "new_in_order_of_acceptance",
            "no event of this user on this computer was accepted before (in order of acceptance",
            "open 1000\n1200 U1 C1\n1000 U1 C1",
            "1200 U1 C1 -> 30 MEDIUM N 1 1 1 1 -\n1000 U1 C1 -> 0 LOW - 2 2 1 1 -",
        ),
        case(
            "fifty_are_no_burst",
            "`login_count_1h > 50`",
            "open 1000\nrepeat 51 1000 1 U1 C1",
            "1049 U1 C1 -> 0 LOW - 50 50 1 1 -\n1050 U1 C1 -> 25 LOW B 51 51 1 1 -\n+49",
        ),
        case(
            "ten_computers_are_lateral_movement",
            "`unique_computers_1h >= 10`",
            "open 1000\nrepeat 10 1000 1 U1 C#\n1020 U1 C0",
            r"1008 U1 C8 -> 30 MEDIUM N 9 9 9 9 -
              1009 U1 C9 -> 65 HIGH NL 10 10 10 10 -
              1020 U1 C0 -> 35 MEDIUM L 11 11 10 10 -
              +8",
        ),
        case(
            "the_score_is_the_sum",
            "`risk_score` = sum of the weights of the flags that fire",
            "open 1000\nrepeat 42 1000 1 U1 C\nrepeat 8 1042 1 U1 D#\n1050 U1 E\n1051 U1 C",
            r"1050 U1 E -> 90 CRITICAL NBL 51 51 10 10 -
              1051 U1 C -> 60 HIGH BL 52 52 10 10 -
              +50",
        ),
        case_with(
            weightless,
            "a_flag_without_weight",
            "`risk_flags` lists the flags in the order of the table",
            "open 1000\n1000 U1 C1",
            "1000 U1 C1 -> 0 LOW N 1 1 1 1 -",
        ),
    ]
}

/// "`risk_level`: LOW 0-25, MEDIUM 26-50, HIGH 51-75, CRITICAL 76 and more."
fn levels() -> Vec<Fixed> {
    let levels = [
        ("a_score_of_25", 25, "LOW"),
        ("a_score_of_26", 26, "MEDIUM"),
        ("a_score_of_50", 50, "MEDIUM"),
        ("a_score_of_51", 51, "HIGH"),
        ("a_score_of_75", 75, "HIGH"),
        ("a_score_of_76", 76, "CRITICAL"),
        ("a_score_of_100", 100, "CRITICAL"),
    ];
    let level = |(name, score, level)| {
        case_with(
            Settings { weights: [score, 0, 0, 0], ..Settings::default() },
            name,
            "`risk_level`: LOW 0-25, MEDIUM 26-50, HIGH 51-75, CRITICAL 76 and more",
            "open 1000\n1000 U1 C1",
            &format!("1000 U1 C1 -> {score} {level} N 1 1 1 1 -"),
        )
    };
    levels.into_iter().map(level).collect()
}

/// A first day with three computers: one logon on C1, two on C2, and the three of `open`. Then the script follows.
fn second_day(settings: Settings, name: &'static str, sentence: &'static str, script: &str, answer: &str) -> Fixed {
    let script = format!("open 1000\n1000 U1 C1\n1000 U1 C2\n1001 U1 C2\n{script}");
    case_with(settings, name, sentence, &script, &format!("{answer}\n+3"))
}

fn popularity() -> Vec<Fixed> {
    let four_hosts = Settings { min_hosts: 4, ..Settings::default() };
    let short = Settings { lookback: 1, ..three_hosts() };
    let quick = Settings { settle: 300, ..three_hosts() };
    let full = Settings { burst_over: 1, lateral_at_least: 2, ..three_hosts() };
    vec![
        second_day(
            three_hosts(),
            "rare_from_the_settling_of_the_day",
            "A day is closed for an event at its own `event_time` `t` when `t >= end of that day + settle`",
            "open 1d+3600\n1d+3600 U1 C1",
            "1d+3600 U1 C1 -> 10 LOW R 1 1 1 1 1",
        ),
        second_day(
            three_hosts(),
            "not_before_the_day_has_settled",
            "between midnight and 01:00 the newest closed day is the day before yesterday",
            "open 1d+3600\n1d+3599+999999us U1 C1",
            "1d+3599+999999us U1 C1 -> 0 LOW - 1 1 1 1 -",
        ),
        second_day(
            quick,
            "settle_is_a_setting",
            "`settle` (3600 s; at least the tolerance)",
            "open 1d+300\n1d+300 U1 C1",
            "1d+300 U1 C1 -> 10 LOW R 1 4 1 2 1",
        ),
        second_day(
            four_hosts,
            "never_with_too_few_computers",
            "With fewer than `min_hosts` (20) computers in the look-back the rule never fires",
            "open 1d+3600\n1d+3600 U1 C1",
            "1d+3600 U1 C1 -> 0 LOW - 1 1 1 1 -",
        ),
        case_with(
            Settings { min_hosts: 0, ..Settings::default() },
            "an_empty_look_back_judges_nothing",
            "With an empty look-back `host_popularity` is null and RARE_HOST quiet, whatever `min_hosts` is",
            "open 1000\n1000 U1 C1",
            "1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -",
        ),
        second_day(
            three_hosts(),
            "a_common_computer",
            "The rule fires when popularity `<= p5`",
            "open 1d+3600\n1d+3600 U1 C2",
            "1d+3600 U1 C2 -> 0 LOW - 1 1 1 1 2",
        ),
        second_day(
            three_hosts(),
            "a_computer_never_seen",
            "a computer without an event there has popularity 0",
            "open 1d+3600\n1d+3600 U1 C9",
            "1d+3600 U1 C9 -> 40 MEDIUM NR 1 1 1 1 0",
        ),
        second_day(
            full,
            "all_flags_at_once",
            "`risk_score` = sum of the weights of the flags that fire, 0 to 100",
            "open 1d+3600\n1d+3600 U2 C1\n1d+3600 U2 C9",
            "1d+3600 U2 C1 -> 40 MEDIUM NR 1 1 1 1 1\n1d+3600 U2 C9 -> 100 CRITICAL NBLR 2 2 2 2 0",
        ),
        second_day(
            three_hosts(),
            "ties_are_rare_too",
            "ties included",
            "1001 U2 C3\nopen 1d+3600\n1d+3600 U2 C3",
            "1001 U2 C3 -> 30 MEDIUM N 1 1 1 1 -\n1d+3600 U2 C3 -> 10 LOW R 1 1 1 1 1",
        ),
        second_day(
            three_hosts(),
            "logins_of_all_users",
            "logons accepted on that computer, by all users",
            "1001 U2 C1\nopen 1d+3600\n1d+3600 U1 C1",
            "1001 U2 C1 -> 30 MEDIUM N 1 1 1 1 -\n1d+3600 U1 C1 -> 10 LOW R 1 1 1 1 2",
        ),
        second_day(
            three_hosts(),
            "the_day_itself_does_not_count",
            "that end with the newest **closed** day",
            "open 1d+3600\n1d+3600 U2 C1\n1d+3601 U1 C1",
            "1d+3600 U2 C1 -> 40 MEDIUM NR 1 1 1 1 1\n1d+3601 U1 C1 -> 10 LOW R 1 1 1 1 1",
        ),
        second_day(
            three_hosts(),
            "the_last_day_of_the_look_back",
            "days without events included",
            "open 30d+3600\n30d+3600 U1 C1",
            "30d+3600 U1 C1 -> 10 LOW R 1 1 1 1 1",
        ),
        second_day(
            three_hosts(),
            "the_day_after_the_look_back",
            "days without events included",
            "open 31d+3600\n31d+3600 U1 C1",
            "31d+3600 U1 C1 -> 0 LOW - 1 1 1 1 -",
        ),
        second_day(
            three_hosts(),
            "the_look_back_moves_at_the_settling",
            "between midnight and 01:00 the newest closed day is the day before yesterday",
            "open 31d+3600\n31d+3599 U1 C1",
            "31d+3599 U1 C1 -> 10 LOW R 1 1 1 1 1",
        ),
        second_day(
            short,
            "a_look_back_of_one_day",
            "`lookback` (30)",
            "open 1d+3600\n1d+3600 U1 C1\nopen 2d+3600\n2d+3600 U1 C1",
            "1d+3600 U1 C1 -> 10 LOW R 1 1 1 1 1\n2d+3600 U1 C1 -> 0 LOW - 1 1 1 1 -",
        ),
        second_day(
            three_hosts(),
            "what_was_rejected_is_not_popular",
            "logons accepted on that computer",
            "1000 U1 C1\n600 U2 C1\nopen 1d+3600\n1d+3600 U1 C1",
            "1d+3600 U1 C1 -> 10 LOW R 1 1 1 1 1\nduplicate 1000\nlate 600",
        ),
        case_with(
            three_hosts(),
            "popularity_over_all_shards",
            "Shards share popularity (a computer is used by users of many shards)",
            r"shard s1 0..7
              1000 U2 C1
              1000 U4 C1
              1000 U5 C1
              1d+3600 U2 C2
              1d+3600 U4 C2
              1d+3600 U5 C3
              shard s2 8..f
              1000 U1 C2
              1000 U3 C3
              1000 U9 C3",
            r"90000 U2 C2 -> 40 MEDIUM NR 1 1 1 1 1
              90000 U4 C2 -> 40 MEDIUM NR 1 1 1 1 1
              90000 U5 C3 -> 30 MEDIUM N 1 1 1 1 2
              +6",
        ),
        case_with(
            three_hosts(),
            "popularity_through_a_split",
            "Open days are counted per user and computer, so that a split or merge divides them",
            r"shard s0
              1000 U2 C1
              1000 U1 C1
              1000 U3 C2
              shard s1 0..7 from s0
              1001 U2 C3
              1d+3600 U2 C1
              1d+3600 U4 C1
              1d+3600 U5 C1
              shard s2 8..f from s0
              1001 U1 C3
              1002 U1 C3",
            r"1001 U2 C3 -> 30 MEDIUM N 2 2 2 2 -
              90000 U2 C1 -> 0 LOW - 1 1 1 1 2
              90000 U4 C1 -> 30 MEDIUM N 1 1 1 1 2
              90000 U5 C1 -> 30 MEDIUM N 1 1 1 1 2
              1001 U1 C3 -> 30 MEDIUM N 2 2 2 2 -
              1002 U1 C3 -> 0 LOW - 3 3 2 2 -
              +3",
        ),
    ]
}

/// One computer with one logon, a number of them with two, and OPENING with three.
fn percentile() -> Vec<Fixed> {
    let ranks = [
        ("nineteen_computers", 17, "0 LOW - 1 1 1 1 -"),
        ("twenty_computers", 18, "0 LOW - 1 1 1 1 2"),
        ("twenty_one_computers", 19, "10 LOW R 1 1 1 1 2"),
    ];
    let rank = |(name, twice, answer)| {
        case(
            name,
            "ascending, element number `(n + 19) div 20`, counted from 1",
            &format!(
                "open 1000\n1000 U1 Z\nrepeat {twice} 1001 1 U1 H#\nrepeat {twice} 1100 1 U2 H#\n\
                 open 1d+3600\n1d+3600 U1 H5"
            ),
            &format!("1d+3600 U1 H5 -> {answer}\n+{}", 2 * twice + 1),
        )
    };
    ranks.into_iter().map(rank).collect()
}

fn tables() -> Vec<Fixed> {
    let lateral_days: String = (0..9).map(|at| format!("\nday 0 C{at} -> 1 1 0")).collect();
    vec![
        case(
            "hours_of_a_user",
            "one row per user and clock hour (UTC) of event time in which the user has an accepted event",
            "open 3000\n3000 U1 C1\n3599+999999us U1 C1\n3600 U1 C2\n3600 U2 C1\n3500 U1 C3",
            r"3000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              3599+999999us U1 C1 -> 0 LOW - 2 2 1 1 -
              3600 U1 C2 -> 30 MEDIUM N 3 3 2 2 -
              3600 U2 C1 -> 30 MEDIUM N 1 1 1 1 -
              3500 U1 C3 -> 30 MEDIUM N 4 4 3 3 -
              hour 0 U1 -> 3 2 2 60 30
              hour 3600 U1 -> 1 1 1 30 30
              hour 3600 U2 -> 1 1 1 30 30
              day 0 C1 -> 2 3 0
              day 0 C2 -> 1 1 0
              day 0 C3 -> 1 1 0",
        ),
        case(
            "days_of_a_computer",
            "one row per day and computer with an accepted event",
            "open 1d\n1d+-1us U1 C1\n1d U1 C1\n1d+1 U2 C1\n1d+1 U2 C1",
            r"86399+999999us U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              1d U1 C1 -> 0 LOW - 2 2 1 1 -
              1d+1 U2 C1 -> 30 MEDIUM N 1 1 1 1 -
              duplicate 86401
              hour 23h U1 -> 1 1 1 30 30
              hour 24h U1 -> 1 1 0 0 0
              hour 24h U2 -> 1 1 1 30 30
              day 0 C1 -> 1 1 0
              day 1 C1 -> 2 2 0",
        ),
        case(
            "high_risk_events_of_a_day",
            "high_risk_events LONG (HIGH or CRITICAL)",
            "open 1000\nrepeat 10 1000 1 U1 C#",
            &format!(
                "1009 U1 C9 -> 65 HIGH NL 10 10 10 10 -\n+9\nday 0 C9 -> 1 1 1{lateral_days}\nhour 0 U1 -> 10 10 10 335 65"
            ),
        ),
        case(
            "an_hour_across_a_split",
            "a key appears once",
            "shard s0\nopen 1000\n1000 U1 C1\nshard s1 8..f from s0\n1001 U1 C2\nshard s2 0..7 from s0",
            r"1000 U1 C1 -> 30 MEDIUM N 1 1 1 1 -
              1001 U1 C2 -> 30 MEDIUM N 2 2 2 2 -
              hour 0 U1 -> 2 2 2 60 30",
        ),
    ]
}
