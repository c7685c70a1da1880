//! Dates, computed by counting years and months one by one.

use crate::model::{DAY, HOUR, SECOND};

const DAYS_BEFORE_1970: i64 = 719_162;

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 0001-01-01 to the first day of `year`, which is at least 1.
fn days_before_year(year: i64) -> i64 {
    let whole = year - 1;
    whole * 365 + whole / 4 - whole / 100 + whole / 400
}

/// Days from 1970-01-01 to a date; `None` if there is no such date.
pub fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if year < 1 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let months: i64 = (1..month).map(|m| days_in_month(year, m)).sum();
    Some(days_before_year(year) + months + day - 1 - DAYS_BEFORE_1970)
}

/// The date that lies `days` after 1970-01-01, for years from 1 on.
pub fn date_of(days: i64) -> (i64, i64, i64) {
    let mut rest = days + DAYS_BEFORE_1970;
    assert!(rest >= 0, "no date before the year 1 is a date here");
    // Begins with a guess that is never too high, and goes on year by year.
    let mut year = rest / 366 + 1;
    while days_before_year(year + 1) <= rest {
        year += 1;
    }
    rest -= days_before_year(year);
    let mut month = 1;
    while rest >= days_in_month(year, month) {
        rest -= days_in_month(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

/// The first instant of the year 10000.
pub fn year_10000() -> i64 {
    days_of(10_000, 1, 1).expect("a date") * DAY
}

/// The number that a text of ASCII digits alone spells.
fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// "RFC 3339 times have `T`, `t` or one blank (a space) between date and time, a zone (`Z`, `z`, ±hh:mm or ±hhmm; none is
/// refused), years 0001 to 9999 (as written and in UTC), a fraction behind `.`, in a JSON record also behind `,`, and a
/// second below 60, or 60 at 23:59 UTC, which is read as the last microsecond before midnight. They are kept to the
/// microsecond (further digits are cut)".
///
/// The grammar is RFC 3339's: two digits each, hours to 23 and minutes to 59 also in the offset, at least one digit
/// after a point or comma.
pub fn parse_rfc3339(text: &str, in_json: bool) -> Option<i64> {
    let (date, clock) = (text.get(..10)?, text.get(11..19)?);
    if !["T", "t", " "].contains(&text.get(10..11)?) {
        return None;
    }
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let mut zone = text.get(19..)?;
    let mut micros = 0;
    let mark = zone.chars().next().filter(|&mark| mark == '.' || (mark == ',' && in_json));
    if mark.is_some() {
        let end = zone[1..].find(|c: char| !c.is_ascii_digit()).map_or(zone.len(), |length| 1 + length);
        let fraction = &zone[1..end];
        if fraction.is_empty() {
            return None;
        }
        let six: String = fraction.chars().chain("000000".chars()).take(6).collect();
        micros = six.parse().expect("six digits");
        zone = &zone[end..];
    }
    let east = minutes_east(zone)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let minutes = days_of(year, month, day)? * 24 * 60 + hour * 60 + minute - east;
    let utc = if second < 60 {
        minutes * 60 * SECOND + second * SECOND + micros
    } else if minutes.rem_euclid(24 * 60) == 23 * 60 + 59 {
        (minutes + 1) * 60 * SECOND - 1
    } else {
        return None;
    };
    let first = days_of(1, 1, 1).expect("a date") * DAY;
    (first..year_10000()).contains(&utc).then_some(utc)
}

/// Three numbers of exactly these widths, in digits, with a separator between them.
fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let [Some(a), Some(b), Some(c)] = [0, 1, 2].map(|at| {
        let part = parts.get(at).filter(|part| part.len() == widths[at])?;
        digits(part.as_bytes())
    }) else {
        return None;
    };
    (parts.len() == 3).then_some([a, b, c])
}

/// The minutes by which a zone is ahead of UTC.
fn minutes_east(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let sign = match zone.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let offset = match zone.len() {
        5 => zone[1..].to_owned(),
        6 if zone.get(3..4) == Some(":") => zone.get(1..3)?.to_owned() + zone.get(4..)?,
        _ => return None,
    };
    let (hours, minutes) = (digits(offset.get(..2)?.as_bytes())?, digits(offset.get(2..)?.as_bytes())?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// "an RFC 3339 time stands there as UTC with six decimals, `2015-01-01T00:00:01.000000Z`".
pub fn format_utc(micros: i64) -> String {
    let (year, month, day) = date_of(micros.div_euclid(DAY));
    let rest = micros.rem_euclid(DAY);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        rest / HOUR,
        rest / (60 * SECOND) % 60,
        rest / SECOND % 60,
        rest % SECOND
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_are_inverse_and_follow_each_other() {
        let mut expected = (1, 1, 1);
        for days in days_of(1, 1, 1).unwrap()..=days_of(9999, 12, 31).unwrap() {
            assert_eq!(date_of(days), expected);
            assert_eq!(days_of(expected.0, expected.1, expected.2), Some(days));
            let (year, month, day) = expected;
            expected = if day < days_in_month(year, month) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
    }

    #[test]
    fn known_instants() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("2015-01-01T00:00:00Z", 1_420_070_400_000_000),
            ("2000-02-29T12:34:56.7890129Z", 951_827_696_789_012),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ];
        for (text, micros) in cases {
            assert_eq!(parse_rfc3339(text, false), Some(micros), "{text}");
        }
        assert_eq!(format_utc(951_827_696_789_012), "2000-02-29T12:34:56.789012Z");
        assert_eq!(format_utc(-1), "1969-12-31T23:59:59.999999Z");
    }
}
