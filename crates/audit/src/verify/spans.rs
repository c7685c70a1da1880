//! Checks which days each part of the ring has published: every day once, without holes.

use super::stop::{Check, RESTORE_JOURNAL, differ};
use authpulse_event::{Day, HashRange};
use authpulse_lake::entry::StoredDailyCounts;

/// Days that one part of the ring has published: those after `after` (all earlier days if it is `None`), up to and including `through`.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub range: HashRange,
    pub after: Option<i32>,
    pub through: i32,
    /// The entry that published the first of them, in words.
    pub place: String,
}

impl Span {
    fn holds(&self, day: i32) -> bool {
        self.after.is_none_or(|after| after < day) && day <= self.through
    }
    fn overlaps(&self, other: &Span) -> bool {
        self.range.intersect(&other.range).is_some()
            && self.after.is_none_or(|after| after < other.through)
            && other.after.is_none_or(|after| after < self.through)
    }
    fn days(&self) -> String {
        let after = self.after.map_or("the beginning".to_owned(), |a| Day(a.saturating_add(1)).to_string());
        format!("{after} to {} of {}", Day(self.through), self.range)
    }
}

/// Adds the daily counts of an entry; a span that follows another becomes one with it.
pub(super) fn add(spans: &mut Vec<Span>, counts: &StoredDailyCounts, owned: HashRange, place: &str) -> Check<()> {
    let bad = |what: &str, expected: String, found: String| Err(differ(what, place, expected, found, RESTORE_JOURNAL));
    let Ok(range) = counts.range.parse::<HashRange>() else {
        return bad("a share's range cannot be read", "a range".to_owned(), counts.range.clone());
    };
    if range.intersect(&owned) != Some(range) {
        return bad("a share is not of its shard's users", format!("a part of {owned}"), range.to_string());
    }
    if counts.after.is_some_and(|after| after >= counts.through) {
        return bad(
            "a share ends before it begins",
            format!("through after {:?}", counts.after),
            counts.through.to_string(),
        );
    }
    let mut last = counts.after;
    for day in &counts.days {
        if last.is_some_and(|last| day.day <= last) || day.day > counts.through {
            return bad(
                "a share's days are not in order",
                format!("after {last:?}, up to {}", counts.through),
                day.day.to_string(),
            );
        }
        last = Some(day.day);
    }
    let known = spans.iter_mut().rev().find(|span| span.range == range && Some(span.through) == counts.after);
    match known {
        Some(span) => span.through = counts.through,
        None => {
            spans.push(Span { range, after: counts.after, through: counts.through, place: place.to_owned() });
        }
    }
    Ok(())
}

/// Checks that no part of the ring publishes a day twice, or leaves one out.
pub(super) fn check(spans: &[Span], what: &str) -> Check<()> {
    for (i, span) in spans.iter().enumerate() {
        if let Some(other) = spans[..i].iter().find(|other| other.overlaps(span)) {
            return Err(differ(
                format!("{what} of one day are published twice"),
                &span.place,
                format!("no day that {} published ({})", other.place, other.days()),
                span.days(),
                RESTORE_JOURNAL,
            ));
        }
        let Some(after) = span.after else { continue };
        let before = spans.iter().filter(|s| s.holds(after)).filter_map(|s| s.range.intersect(&span.range));
        if !covers(before.collect(), span.range) {
            return Err(differ(
                format!("{what} of a day are left out"),
                &span.place,
                format!("{} published for {} before", Day(after), span.range),
                "not published for all of it",
                RESTORE_JOURNAL,
            ));
        }
    }
    Ok(())
}

/// Whether the whole ring has published a day.
pub(super) fn ring_published(spans: &[Span], day: Day) -> bool {
    HashRange::cover_ring(spans.iter().filter(|s| s.holds(day.0)).map(|s| s.range))
}

/// Whether the parts together cover the whole range.
pub(super) fn covers(mut parts: Vec<HashRange>, whole: HashRange) -> bool {
    parts.sort_unstable();
    let mut next = whole.first;
    for part in parts {
        if part.first > next {
            return false;
        }
        if part.last >= whole.last {
            return true;
        }
        next = next.max(part.last + 1);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::stop::Stop;
    use super::*;

    fn counts(range: HashRange, after: Option<i32>, through: i32) -> StoredDailyCounts {
        StoredDailyCounts { range: range.to_string(), after, through, days: Vec::new() }
    }

    fn verdict(daily_counts: &[StoredDailyCounts]) -> Result<(), String> {
        let mut spans = Vec::new();
        let mut run = || {
            daily_counts.iter().try_for_each(|s| add(&mut spans, s, HashRange::FULL, "here"))?;
            check(&spans, "logins")
        };
        run().map_err(|stop| match stop {
            Stop::Difference(d) => d.what,
            Stop::Error(e) => e.to_string(),
            Stop::Folded(d) => d.what,
        })
    }

    #[test]
    fn days_follow_each_other_also_where_the_ring_is_divided_anew() {
        let [left, right] = HashRange::divide(2)[..] else { panic!("two parts") };
        let full = HashRange::FULL;
        assert_eq!(verdict(&[counts(full, None, 5), counts(full, Some(5), 7)]), Ok(()));
        assert_eq!(verdict(&[counts(left, None, 5), counts(right, None, 5), counts(full, Some(5), 6)]), Ok(()));
        assert_eq!(verdict(&[counts(full, None, 5), counts(left, Some(5), 6), counts(right, Some(5), 9)]), Ok(()));
        for twice in [
            vec![counts(full, None, 5), counts(left, None, 2)],
            vec![counts(full, None, 5), counts(full, Some(4), 6)],
            vec![counts(left, None, 5), counts(right, None, 6), counts(full, Some(5), 7)],
        ] {
            assert!(verdict(&twice).unwrap_err().contains("twice"), "{twice:?}");
        }
        for hole in [
            vec![counts(full, Some(3), 5)],
            vec![counts(full, None, 5), counts(full, Some(6), 7)],
            vec![counts(left, None, 5), counts(right, None, 4), counts(full, Some(5), 7)],
        ] {
            assert!(verdict(&hole).unwrap_err().contains("left out"), "{hole:?}");
        }
    }
}
