//! Intervals on the command line.

use std::time::Duration;

/// The longest interval.
const INTERVAL_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A number and a unit, such as `90s`, `30m`, `1h`, `1d`.
///
/// # Errors
/// The text is no number with a unit, or lies outside 1 s to 366 d; the error says in words what would do.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a number and s, m, h or d, such as 1h, from 1s to 366d");
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let interval = Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?);
    if interval.is_zero() || interval > INTERVAL_MAX { Err(wrong()) } else { Ok(interval) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_a_unit() {
        let seconds = |text: &str| parse_interval(text).map(|d| d.as_secs()).ok();
        assert_eq!(["90s", "30m", "1h", "2d"].map(seconds), [Some(90), Some(1_800), Some(3_600), Some(172_800)]);
        assert_eq!(["", "h", "1", "0s", "-1h", "1w", "1é", "99999999999999999999d"].map(seconds), [None; 8]);
    }
}
