//! Times in RFC 3339, and in the spellings that log shippers use (semantics, section 1).

use crate::time::{Day, END_TIME, EventTime, MICROSECOND, MIN_TIME, OnCalendar, Span};

/// What may separate the fraction of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// `.` only: in a line a comma separates fields.
    Point,
    /// `.` or `,`: in a JSON record.
    PointOrComma,
}

const SHAPE: &str = "time is neither digits nor an RFC 3339 time such as 2015-01-01T00:00:01Z";
const NO_ZONE: &str = "time has no zone: Z or an offset such as +01:00 belongs behind it";
const FRACTION: &str = "time has a fraction or exponent: it is whole seconds in digits alone, or an RFC 3339 time";
const FRACTION_OF_UNIX: &str =
    "time has a fraction or exponent: cut it off, and if it is seconds since 1970, set base = \"1970-01-01T00:00:00Z\"";
const BLANKS: &str = "time has blanks around it";
const BETWEEN: &str = "time has neither T nor one space between date and time of day";
const ZONE: &str = "time has a zone that is neither Z nor an offset such as +01:00 or +0100";

/// Reads an RFC 3339 time by the rules of the semantics page: `T`, `t` or one space between date and time, a fraction after a point,
/// a zone `Z`, `z`, ±hh:mm or ±hhmm, years 0001 to 9999 as written and in UTC. It is kept to the microsecond (further digits are
/// cut). A leap second, 60 at 23:59 UTC, becomes the last microsecond before midnight.
///
/// # Errors
/// The text breaks one of these rules; the words say which part is wrong.
pub fn parse_rfc3339<T: OnCalendar>(text: &[u8]) -> Result<T, &'static str> {
    read(text, Mark::Point).map(|time| T::of_micros(time.micros()))
}

/// [`parse_rfc3339`] with a choice of what may separate the fraction.
///
/// # Errors
/// As of [`parse_rfc3339`].
pub(crate) fn read(text: &[u8], mark: Mark) -> Result<EventTime, &'static str> {
    let number = |at: usize, width: usize| -> Option<u32> {
        text.get(at..at + width)?.iter().try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
    };
    let is = |at: usize, byte: u8| text.get(at) == Some(&byte);
    let (true, true, Some(year), Some(month), Some(day)) =
        (is(4, b'-'), is(7, b'-'), number(0, 4), number(5, 2), number(8, 2))
    else {
        return Err(no_date(text));
    };
    let (true, true, Some(hour), Some(minute)) =
        (matches!(text.get(10), Some(b'T' | b't' | b' ')), is(13, b':'), number(11, 2), number(14, 2))
    else {
        return Err(match &text[10..] {
            [] => "time is a date alone: a time of day such as T00:00:01Z belongs behind it",
            [b' ', b' ', ..] => BETWEEN,
            [b'T' | b't' | b' ', ..] => "time has no time of day such as 00:00:01 behind its date",
            _ => BETWEEN,
        });
    };
    let (true, Some(second)) = (is(16, b':'), number(17, 2)) else {
        return Err("time has no seconds, which take two digits");
    };
    let (fraction, end) = match text.get(19) {
        Some(b',') if mark == Mark::Point => {
            return Err("time has a comma before its fraction: only JSON may, a point does");
        }
        Some(b'.' | b',') => fraction(text)?,
        _ => (Span::ZERO, 19),
    };
    let offset_minutes = offset(&text[end..])?;
    if year == 0 || month == 0 || month > 12 || day == 0 || day > days_in_month(year, month) {
        return Err("time has a date that does not exist");
    }
    if hour > 23 || minute > 59 || second > 60 {
        return Err("time has an hour, minute or second out of range");
    }
    let minute_of_day = i64::from(hour * 60 + minute);
    let whole = minute_of_day * 60 + i64::from(second);
    let local = Day::from_civil(year as i32, month, day).start() + Span::seconds(whole) + fraction;
    let mut utc = local - Span::seconds(offset_minutes * 60);
    if second == 60 {
        if (minute_of_day - offset_minutes).rem_euclid(24 * 60) != 24 * 60 - 1 {
            return Err("time has a second 60 elsewhere than at 23:59 UTC");
        }
        // The fraction is ignored: a day of 86400 s has no such second.
        utc = Day::of(utc).start() - MICROSECOND;
    }
    if !(MIN_TIME..END_TIME).contains(&utc) {
        return Err("time lies outside the years 0001 to 9999 in UTC");
    }
    Ok(utc)
}

/// Why a text that does not begin with a date is no time. Of a number: why it is not a whole one.
#[cold]
pub(crate) fn no_date(text: &[u8]) -> &'static str {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match (text, &text[digits..]) {
        ([], _) => "time is empty",
        ([b' ' | b'\t', ..] | [.., b' ' | b'\t'], _) => BLANKS,
        ([b'-' | b'+', b'0'..=b'9', ..], _) => "time has a sign: it is whole seconds from 1 on, or an RFC 3339 time",
        (_, [b'.' | b'e' | b'E', rest @ ..]) if rest.iter().all(|b| b.is_ascii_digit() || b"eE+-".contains(b)) => {
            match digits {
                0 => SHAPE,
                10 => FRACTION_OF_UNIX,
                _ => FRACTION,
            }
        }
        _ => SHAPE,
    }
}

/// The fraction after the mark at byte 19, and where its digits end.
fn fraction(text: &[u8]) -> Result<(Span, usize), &'static str> {
    let digits = text[20..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err("time has a decimal point or comma without digits");
    }
    let mut micros = 0i64;
    for at in 0..6 {
        let digit = if at < digits { text[20 + at] - b'0' } else { 0 };
        micros = micros * 10 + i64::from(digit);
    }
    Ok((Span::from_micros(micros), 20 + digits))
}

/// Minutes east of UTC.
fn offset(zone: &[u8]) -> Result<i64, &'static str> {
    let (sign, [h, hours, m, minutes]) = match *zone {
        [b'Z' | b'z'] => return Ok(0),
        [sign @ (b'+' | b'-'), h, hours, b':', m, minutes] => (sign, [h, hours, m, minutes]),
        [sign @ (b'+' | b'-'), h, hours, m, minutes] => (sign, [h, hours, m, minutes]),
        [] => return Err(NO_ZONE),
        [.., b' ' | b'\t'] => return Err(BLANKS),
        _ => return Err(ZONE),
    };
    if ![h, hours, m, minutes].iter().all(u8::is_ascii_digit) {
        return Err(ZONE);
    }
    let number = |tens: u8, ones: u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    let (hours, minutes) = (number(h, hours), number(m, minutes));
    if hours > 23 || minutes > 59 {
        return Err("time has a zone offset out of range");
    }
    let minutes = hours * 60 + minutes;
    Ok(if sign == b'-' { -minutes } else { minutes })
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::format_rfc3339;

    #[test]
    fn every_spelling_is_read_as_the_page_says() {
        for (text, expected) in [
            ("2015-01-01T00:00:01Z", "2015-01-01T00:00:01.000000Z"),
            ("2015-01-01t00:00:01z", "2015-01-01T00:00:01.000000Z"),
            ("2015-01-01 00:00:01+0000", "2015-01-01T00:00:01.000000Z"),
            ("2015-01-01T00:00:01.1234569Z", "2015-01-01T00:00:01.123456Z"),
            ("2015-01-01T01:00:00.5+01:30", "2014-12-31T23:30:00.500000Z"),
            ("2015-01-01T01:00:00.5+0130", "2014-12-31T23:30:00.500000Z"),
            ("2016-02-29T00:00:00-00:00", "2016-02-29T00:00:00.000000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
            ("2016-12-31T23:59:60.75z", "2016-12-31T23:59:59.999999Z"),
            ("2017-01-01T08:59:60.999999+0900", "2016-12-31T23:59:59.999999Z"),
            ("2016-12-31T15:59:60-08:00", "2016-12-31T23:59:59.999999Z"),
            ("9999-12-31T23:59:60Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(
                parse_rfc3339::<EventTime>(text.as_bytes()).map(format_rfc3339).as_deref(),
                Ok(expected),
                "{text}"
            );
            let comma = text.replace('.', ",");
            assert_eq!(
                read(comma.as_bytes(), Mark::PointOrComma).map(format_rfc3339).as_deref(),
                Ok(expected),
                "{comma}"
            );
            assert_eq!(read(comma.as_bytes(), Mark::Point).is_ok(), comma == text, "{comma}");
        }
    }

    /// The words for each case, written down by hand.
    #[test]
    fn words_name_what_is_wrong() {
        let range = "time has an hour, minute or second out of range";
        let leap = "time has a second 60 elsewhere than at 23:59 UTC";
        let date = "time has a date that does not exist";
        let years = "time lies outside the years 0001 to 9999 in UTC";
        let seconds = "time has no seconds, which take two digits";
        let offset = "time has a zone offset out of range";
        for (text, words) in [
            ("", "time is empty"),
            (" 2015-01-01T00:00:01Z", BLANKS),
            ("5\t", BLANKS),
            ("-5", "time has a sign: it is whole seconds from 1 on, or an RFC 3339 time"),
            ("5.5", FRACTION),
            ("1448000000.25", FRACTION_OF_UNIX),
            ("1e9", FRACTION),
            ("yesterday", SHAPE),
            ("2015/01/01 00:00:01Z", SHAPE),
            ("01.01.2015", SHAPE),
            ("20150101T000001Z", SHAPE),
            ("2015-1-1T00:00:01Z", SHAPE),
            ("+02015-01-01T00:00:01Z", "time has a sign: it is whole seconds from 1 on, or an RFC 3339 time"),
            ("2015-01-01", "time is a date alone: a time of day such as T00:00:01Z belongs behind it"),
            ("2015-01-01T", "time has no time of day such as 00:00:01 behind its date"),
            ("2015-01-01T000001Z", "time has no time of day such as 00:00:01 behind its date"),
            ("2015-01-01  00:00:01Z", BETWEEN),
            ("2015-01-01_00:00:01Z", BETWEEN),
            ("2015-01-01\t00:00:01Z", BETWEEN),
            ("2015-01-01T00:00Z", seconds),
            ("2015-01-01T00:00:1Z", seconds),
            ("2015-01-01T00:00:01", NO_ZONE),
            ("2015-01-01T00:00:01.5", NO_ZONE),
            ("2015-01-01T00:00:01.Z", "time has a decimal point or comma without digits"),
            ("2015-01-01T00:00:01,5Z", "time has a comma before its fraction: only JSON may, a point does"),
            ("2015-01-01T00:00:01+01", ZONE),
            ("2015-01-01T00:00:01+1:00", ZONE),
            ("2015-01-01T00:00:01 +0000", ZONE),
            ("2015-01-01T00:00:01+00:00:00", ZONE),
            ("2015-01-01T00:00:01 UTC", ZONE),
            ("2015-01-01T00:00:01ZZ", ZONE),
            ("2015-01-01T00:00:01Z ", BLANKS),
            (".5", SHAPE),
            ("-Infinity", SHAPE),
            ("2015-01-01T00:00:01+0a00", ZONE),
            ("2015-01-01T00:00:01+24:00", offset),
            ("2015-01-01T00:00:01+0160", offset),
            ("2015-02-29T00:00:00Z", date),
            ("2015-13-01T00:00:00Z", date),
            ("0000-01-01T00:00:00Z", date),
            ("2015-00-10T00:00:00Z", date),
            ("2015-01-00T00:00:00Z", date),
            ("2015-01-01T24:00:00Z", range),
            ("2015-01-01T00:60:00Z", range),
            ("2015-01-01T23:59:61Z", range),
            ("2015-01-01T00:00:60Z", leap),
            ("2016-12-31T23:59:60+01:00", leap),
            ("0001-01-01T00:59:60+01:00", years),
            ("0001-01-01T00:00:00+00:01", years),
            ("9999-12-31T23:59:59-0001", years),
        ] {
            assert_eq!(parse_rfc3339::<EventTime>(text.as_bytes()), Err(words), "{text}");
        }
    }

    #[test]
    fn any_bytes_are_a_time_or_words() {
        let valid = b"2016-12-31T23:59:60.123456+00:00";
        for end in 0..valid.len() {
            for byte in 0..=255 {
                for mark in [Mark::Point, Mark::PointOrComma] {
                    let mut text = valid[..=end].to_vec();
                    text[end] = byte;
                    let _ = read(&text, mark);
                }
            }
        }
    }
}
