//! Figures for people.

/// A number with commas between its thousands, such as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Events a second, rounded.
pub fn rate(events: u64, seconds: f64) -> String {
    if seconds <= 0.0 { "-".to_owned() } else { thousands((events as f64 / seconds).round() as u64) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_grouped_from_the_right() {
        assert_eq!(
            [0, 999, 1_000, 123_456, 1_234_567].map(super::thousands),
            ["0", "999", "1,000", "123,456", "1,234,567"]
        );
    }
}
