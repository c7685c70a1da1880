//! The models: gzipped text that `model/derive.py` writes, a section a line.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::GzDecoder;

const NINE_MONTHS: &[u8] = include_bytes!("../../model/lanl-9mo.txt.gz");
const FIFTY_EIGHT_DAYS: &[u8] = include_bytes!("../../model/lanl-58.txt.gz");

/// Sections by name, each a list of whole numbers.
pub(super) struct Model {
    sections: HashMap<String, Vec<i64>>,
}

impl Model {
    /// The model of the nine months.
    pub(super) fn nine_months() -> Model {
        Model::read(NINE_MONTHS)
    }

    /// The model of the 58 days.
    pub(super) fn fifty_eight_days() -> Model {
        Model::read(FIFTY_EIGHT_DAYS)
    }

    fn read(packed: &[u8]) -> Model {
        let mut text = String::new();
        GzDecoder::new(packed).read_to_string(&mut text).expect("a model is part of the program, and is gzip");
        let section = |line: &str| {
            let (name, numbers) = line.split_once(' ').expect("a section has a name");
            let numbers = numbers.split(' ').map(|number| number.parse().expect("sections hold whole numbers"));
            (name.to_owned(), numbers.collect())
        };
        Model { sections: text.lines().map(section).collect() }
    }

    /// A section by its name; empty if there is none. A test asks for each that the program names.
    pub(super) fn section(&self, name: &str) -> &[i64] {
        self.sections.get(name).map_or(&[], Vec::as_slice)
    }

    /// A section of counts.
    pub(super) fn counts(&self, name: &str) -> Vec<u64> {
        self.section(name).iter().map(|&number| number.unsigned_abs()).collect()
    }

    /// A section of counts that fit 32 bits.
    pub(super) fn small(&self, name: &str) -> Vec<u32> {
        self.section(name).iter().map(|&number| u32::try_from(number).unwrap_or(0)).collect()
    }

    /// The running sums of a section that holds steps.
    pub(super) fn sums(&self, name: &str) -> Vec<u64> {
        let add = |sum: &mut i64, step: &i64| {
            *sum += step;
            Some(sum.unsigned_abs())
        };
        self.section(name).iter().scan(0, add).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_are_small_and_complete() {
        assert!(NINE_MONTHS.len() + FIFTY_EIGHT_DAYS.len() < 300_000);
        let nine = Model::nine_months();
        assert_eq!(nine.sums("growth_events").last(), Some(&708_304_516));
        assert_eq!(nine.sums("growth_pairs").last(), Some(&312_283));
        assert_eq!(nine.counts("hours").iter().sum::<u64>(), 708_304_516);
        assert_eq!(nine.small("user_degrees").iter().sum::<u32>(), 312_283);
        assert_eq!(nine.small("computer_degrees").iter().sum::<u32>(), 312_283);
        let days = Model::fifty_eight_days();
        assert_eq!(days.counts("day_events").iter().sum::<u64>(), 1_051_430_459);
        assert_eq!(days.counts("day_pairs").iter().sum::<u64>(), 780_892);
        assert_eq!(days.small("degrees").iter().sum::<u32>(), 780_892);
        assert_eq!(days.small("computer_degrees").iter().sum::<u32>(), 780_892);
        assert_eq!(days.section("red_seconds").len(), 715);
    }
}
