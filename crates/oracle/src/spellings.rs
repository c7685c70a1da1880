//! Spellings of times as sources write them: the instant of each, or the words of the dead letter if it is not accepted.
//!
//! Both parsers are tested with this table. The instants were computed by hand.

use Read::{At, No};

/// How a spelling must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// As this instant, which is written as in the canonical line.
    At(&'static str),
    /// As no time; the detail of the dead letter contains these words.
    No(&'static str),
}

/// A time as a source writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelling {
    /// The text as written; in JSON it stands within quotes.
    pub text: &'static str,
    /// How it must be read in a JSON record.
    pub json: Read,
    /// How it must be read in a line `time,user,computer`.
    pub line: Read,
}

/// A spelling that is read alike in a JSON record and in a line.
const fn both(text: &'static str, read: Read) -> Spelling {
    Spelling { text, json: read, line: read }
}

/// A spelling with a comma before the fraction. In a line the comma ends the field.
const fn comma(text: &'static str, instant: &'static str) -> Spelling {
    Spelling { text, json: At(instant), line: No("comma before its fraction") }
}

const SECOND: &str = "2026-11-29T10:15:00.000000Z";
const HALF: &str = "2026-11-29T10:15:00.500000Z";
const LEAP: &str = "2016-12-31T23:59:59.999999Z";
const NO_ZONE: &str = "no zone";
const ZONE: &str = "neither Z nor an offset";
const NEITHER: &str = "neither digits nor an RFC 3339 time";
const LEAP_ELSEWHERE: &str = "second 60 elsewhere than at 23:59 UTC";
const NO_TIME_OF_DAY: &str = "no time of day";
const OUT_OF_RANGE: &str = "out of range";
const SEPARATOR: &str = "neither T nor one space";
const UNIX: &str = "set base = \"1970-01-01T00:00:00Z\"";

/// Every spelling.
pub const ALL: &[Spelling] = &[
    // RFC 3339 itself: letters in either case, a space for T, leap seconds.
    both("2026-11-29T10:15:00Z", At(SECOND)),
    both("2026-11-29t10:15:00z", At(SECOND)),
    both("2026-11-29T10:15:00z", At(SECOND)),
    both("2026-11-29 10:15:00Z", At(SECOND)),
    both("2026-11-29T11:15:00+01:00", At(SECOND)),
    both("2026-11-29T04:45:00-05:30", At(SECOND)),
    both("2026-11-29T10:15:00-00:00", At(SECOND)),
    both("2026-11-29T10:15:00.5Z", At(HALF)),
    both("2026-11-29 15:45:00.500+05:30", At(HALF)),
    both("2026-11-29T10:15:00.500000000Z", At(HALF)),
    both("2026-11-29T10:15:00.5000009Z", At(HALF)),
    both("2016-12-31T23:59:60Z", At(LEAP)),
    both("2016-12-31T23:59:60.25Z", At(LEAP)),
    both("2017-01-01T00:59:60+01:00", At(LEAP)),
    both("2016-12-31 18:59:60-0500", At(LEAP)),
    // As log shippers write: offsets without a colon, a comma before the fraction.
    both("2026-11-29T10:15:00+0000", At(SECOND)),
    both("2026-11-29T10:15:00.000+0000", At(SECOND)),
    both("2026-11-29 11:15:00+0100", At(SECOND)),
    both("2026-11-29T00:00:00.5-1015", At(HALF)),
    both("2026-11-29T10:15:00-0000", At(SECOND)),
    comma("2026-11-29T10:15:00,5Z", HALF),
    comma("2026-11-29 10:15:00,500+0000", HALF),
    comma("2016-12-31T23:59:60,999Z", LEAP),
    // No zone, or one of another form.
    both("2026-11-29T10:15:00", No(NO_ZONE)),
    both("2026-11-29 10:15:00", No(NO_ZONE)),
    both("2026-11-29 10:15:00.500", No(NO_ZONE)),
    Spelling { text: "2026-11-29 10:15:00,500", json: No(NO_ZONE), line: No("comma-separated fields") },
    both("2026-11-29T10:15:00+00", No(ZONE)),
    both("2026-11-29T10:15:00 +0000", No(ZONE)),
    both("2026-11-29 10:15:00 UTC", No(ZONE)),
    both("2026-11-29T10:15:00 Z", No(ZONE)),
    both("2026-11-29T10:15:00Z[UTC]", No(ZONE)),
    both("2026-11-29T10:15:00+1:00", No(ZONE)),
    both("2026-11-29T10:15:00+24:00", No(OUT_OF_RANGE)),
    both("2026-11-29T10:15:00+0160", No(OUT_OF_RANGE)),
    // Dates and times of another form.
    both("2026-11-29", No("a date alone")),
    both("2026-11-29T", No(NO_TIME_OF_DAY)),
    both("2026-11-29T101500Z", No(NO_TIME_OF_DAY)),
    both("2026-11-29T10:15Z", No("no seconds")),
    both("2026-11-29_10:15:00Z", No(SEPARATOR)),
    both("2026-11-29  10:15:00Z", No(SEPARATOR)),
    both("20261129T101500Z", No(NEITHER)),
    both("2026/11/29 10:15:00", No(NEITHER)),
    both("2026-W48-7T10:15:00Z", No(NEITHER)),
    both("11/29/2026 10:15:00 AM", No(NEITHER)),
    both("29/Nov/2026:10:15:00 +0000", No(NEITHER)),
    both("Nov 29 10:15:00", No(NEITHER)),
    Spelling { text: "Sun, 29 Nov 2026 10:15:00 GMT", json: No(NEITHER), line: No("4 comma-separated fields") },
    both("/Date(1795947300000)/", No(NEITHER)),
    both("2026-11-29T10:15:00.Z", No("without digits")),
    // Instants that do not exist.
    both("2026-11-29T24:00:00Z", No(OUT_OF_RANGE)),
    both("2026-11-31T10:15:00Z", No("a date that does not exist")),
    both("2026-11-29T10:15:60Z", No(LEAP_ELSEWHERE)),
    both("2016-12-31T23:59:60+01:00", No(LEAP_ELSEWHERE)),
    both("2016-12-31T23:59:61Z", No(OUT_OF_RANGE)),
    both("0001-01-01T00:59:60+01:00", No("outside the years 0001 to 9999")),
    // Numbers: seconds since `base`.
    both("375876900", At(SECOND)),
    both("000375876900", At(SECOND)),
    both("1795947300000", No(UNIX)),
    both("1795947300000", No("milliseconds since 1970, divide by 1000")),
    both("1795947300.5", No(UNIX)),
    both("375876900.0", No("a fraction or exponent")),
    both("-1", No("a sign")),
    both("0", No("below 1")),
    both("999999999999", No("beyond the year 9999")),
];

impl Spelling {
    /// A JSON object with this time.
    pub fn object(&self, user: &str) -> String {
        format!("{{\"time\":\"{}\",\"user\":\"{user}\",\"computer\":\"C1\"}}", self.text)
    }

    /// A line with this time.
    pub fn as_line(&self, user: &str) -> String {
        format!("{},{user},C1", self.text)
    }
}
