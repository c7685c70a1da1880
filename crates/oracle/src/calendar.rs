//! Dates, by counting years and months one after another.

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

/// Days since 1970 of a date, or nothing if there is no such date.
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
    // A guess that is never too high; then year by year.
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

/// Exactly `text.len()` ASCII digits as a number.
fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// "RFC 3339 times need `T` and a zone (`Z` or an offset), both in upper case, years 0001 to 9999 (as written and in
/// UTC), a second below 60; they are kept to the microsecond (further digits are cut)".
///
/// The grammar is RFC 3339's: two digits each, hours to 23 and minutes to 59 also in the offset, at least one digit
/// after a point.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let text = text.as_bytes();
    if text.len() < 20 {
        return None;
    }
    let (fixed, mut rest) = text.split_at(19);
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| fixed[at] != byte) {
        return None;
    }
    let (year, month, day) = (digits(&fixed[0..4])?, digits(&fixed[5..7])?, digits(&fixed[8..10])?);
    let (hour, minute, second) = (digits(&fixed[11..13])?, digits(&fixed[14..16])?, digits(&fixed[17..19])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = 0;
    if rest[0] == b'.' {
        let fraction = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if fraction == 0 {
            return None;
        }
        for place in 0..6 {
            let digit = if place < fraction { i64::from(rest[1 + place] - b'0') } else { 0 };
            micros = micros * 10 + digit;
        }
        rest = &rest[1 + fraction..];
    }
    let offset_minutes = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), zone @ ..] if zone.len() == 5 && zone[2] == b':' => {
            let (hours, minutes) = (digits(&zone[0..2])?, digits(&zone[3..5])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let ahead = hours * 60 + minutes;
            if *sign == b'+' { ahead } else { -ahead }
        }
        _ => return None,
    };
    let local = days_of(year, month, day)? * DAY + hour * HOUR + minute * 60 * SECOND + second * SECOND + micros;
    let utc = local - offset_minutes * 60 * SECOND;
    let first = days_of(1, 1, 1).expect("a date") * DAY;
    (first..year_10000()).contains(&utc).then_some(utc)
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
            assert_eq!(parse_rfc3339(text), Some(micros), "{text}");
        }
        assert_eq!(format_utc(951_827_696_789_012), "2000-02-29T12:34:56.789012Z");
        assert_eq!(format_utc(-1), "1969-12-31T23:59:59.999999Z");
    }
}
