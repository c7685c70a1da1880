//! When a network is busy: by hour of the day and by day of the week.

/// Mean events by (day mod 7) over nine months at LANL, in ten thousands.
const DAY: [f64; 7] = [281.0, 298.0, 313.0, 321.0, 241.0, 180.0, 182.0];

/// Events by hour of the day, in percent of the mean: low from 23 to 2, high from 10 to 13, about 2 to 1.
const HOUR: [f64; 24] = [
    66.0, 66.0, 67.0, 71.0, 76.0, 84.0, 95.0, 108.0, 120.0, 129.0, 136.0, 138.0, //
    137.0, 135.0, 130.0, 123.0, 115.0, 107.0, 99.0, 92.0, 85.0, 78.0, 72.0, 67.0,
];

const MINUTES_A_DAY: u32 = 24 * 60;

/// How busy a minute is; 1 is the mean of a week. Hours blend into each other from middle to middle.
pub(super) fn weight(minute: u32) -> f64 {
    let day = DAY[(minute / MINUTES_A_DAY % 7) as usize] * 7.0 / DAY.iter().sum::<f64>();
    // Half an hour later, and the hour before: the middle of an hour is where its own value holds.
    let shifted = minute % MINUTES_A_DAY + 30;
    let (hour, part) = ((shifted / 60) as usize, f64::from(shifted % 60) / 60.0);
    let blend = HOUR[(hour + 23) % 24] * (1.0 - part) + HOUR[hour % 24] * part;
    day * blend * 24.0 / HOUR.iter().sum::<f64>()
}

/// The sum of the weights of all minutes of so many days.
pub(super) fn total(days: u32) -> f64 {
    let a_day = |day: u32| (0..MINUTES_A_DAY).map(|minute| weight(day * MINUTES_A_DAY + minute)).sum::<f64>();
    let week: [f64; 7] = std::array::from_fn(|day| a_day(day as u32));
    (0..days).map(|day| week[(day % 7) as usize]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_means_one_a_minute() {
        assert!((total(7) / (7.0 * 1440.0) - 1.0).abs() < 1e-9);
        assert!((total(1) / 1440.0 - 281.0 * 7.0 / 1816.0).abs() < 1e-9);
    }

    #[test]
    fn noon_is_twice_as_busy_as_midnight() {
        let ratio = weight(11 * 60 + 30) / weight(30);
        assert!((1.7..2.5).contains(&ratio), "{ratio}");
    }
}
