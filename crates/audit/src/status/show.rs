//! The status as text for people.

use super::{GapStatus, Lag, ShardStatus, State, Status, UnreadShard};
use authpulse_event::Span;
use authpulse_event::time::{OnCalendar, format_rfc3339};
use authpulse_lake::entry::Source;
use std::fmt::{self, Display, Formatter};

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.shards.is_empty() {
            writeln!(f, "the lake holds nothing yet")?;
        }
        for shard in &self.shards {
            write!(f, "{shard}")?;
        }
        for shard in &self.unread {
            write!(f, "{shard}")?;
        }
        if !self.leases.is_empty() {
            writeln!(f, "workers")?;
        }
        for lease in &self.leases {
            let owner =
                lease.owner.as_deref().map_or("nobody works on it".to_owned(), |owner| format!("worker {owner}"));
            let next = lease.next_owner.as_ref().map_or(String::new(), |next| format!(", asked for by {next}"));
            let at = lease.checkpoint.as_ref().map_or(String::new(), |at| format!(", checkpoint {at}"));
            writeln!(f, "  {}: {owner}{next}{at}", lease.shard)?;
        }
        write!(f, "tables")?;
        for table in &self.tables {
            write!(f, "\n  {:<22}", table.table)?;
            match table.committed_at {
                None => write!(f, "not made yet")?,
                Some(at) => {
                    write!(f, "last commit {} ({} ago), ", moment(at), age(self.at - at))?;
                    match table.behind {
                        0 => write!(f, "holds every entry")?,
                        n => write!(f, "{n} {} behind the journals", plural(n, "entry", "entries"))?,
                    }
                }
            }
        }
        write!(f, "\n{}", self.formats)
    }
}

impl Display for ShardStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Reading => "reading".to_owned(),
            State::ReadToEnd => "read to its end".to_owned(),
            State::Ended if self.children.is_empty() => "ended; its heirs have not begun".to_owned(),
            State::Ended => format!("ended; goes on in {}", self.children.join(", ")),
            State::Sealed => "sealed".to_owned(),
            State::FinishedEmpty => "finished, nothing was accepted".to_owned(),
        };
        writeln!(f, "{}: {state}", self.shard)?;
        match &self.source {
            Source::File => {}
            Source::Stream { name, created, shard_id } => {
                line(f, "reads", format_args!("{shard_id} of stream '{name}', created {}", moment(*created)))?;
            }
        }
        if let Some(backfill) = &self.backfill {
            let how = match (backfill.finished, backfill.keep_open) {
                _ if backfill.given_up.is_some() => "given up there: the rest needs another lake",
                (false, _) => "not finished: run the same backfill again to go on",
                (true, true) => "finished, left open",
                (true, false) => "finished",
            };
            let files = backfill.files.join(", ");
            let sorted = if backfill.sorted { " in order of time" } else { "" };
            line(f, "files", format_args!("{files}; {} lines stored{sorted}, {how}", backfill.lines))?;
        }
        line(f, "range", format_args!("{}", self.range))?;
        line(f, "position", format_args!("{}", self.position))?;
        if let Some(lag) = &self.lag {
            line(f, "lag", format_args!("{lag}"))?;
        }
        line(f, "watermark", format_args!("{}", maybe(self.watermark)))?;
        line(f, "newest event", format_args!("{}", maybe(self.newest_accepted)))?;
        line(
            f,
            "last entry",
            format_args!(
                "{} ({} ago), epoch {}, format {}",
                self.last_entry,
                age_of(self.age_seconds),
                self.epoch,
                self.format
            ),
        )?;
        let behind: Vec<String> =
            self.behind.iter().filter(|(_, n)| **n > 0).map(|(table, n)| format!("{table} {n}")).collect();
        if !behind.is_empty() {
            line(f, "not in tables", format_args!("entries behind: {}", behind.join(", ")))?;
        }
        self.fmt_open(f)?;
        if let Some(sealed) = self.sealed {
            line(f, "sealed", format_args!("up to {}; input below it is late", moment(sealed)))?;
        }
        if self.state == State::FinishedEmpty {
            line(f, "sealed", format_args!("nothing; a later file or stream goes on"))?;
        }
        if self.fields_dropped > 0 {
            let values = plural(self.fields_dropped, "attribute", "attributes");
            line(f, "left out", format_args!("{} {values} without a value of their form", self.fields_dropped))?;
        }
        self.gaps.iter().try_for_each(|gap| line(f, "gap", format_args!("{gap}")))
    }
}

impl ShardStatus {
    /// Events that wait or are not scored yet.
    fn fmt_open(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for w in &self.waiting {
            let (time, arrival) = (moment(w.time), moment(w.arrival));
            let since = match w.accepted_since {
                0 => "none".to_owned(),
                n => n.to_string(),
            };
            line(
                f,
                "waits",
                format_args!(
                    "{} on {} at {time}, arrived {arrival}, {since} accepted since: an event ahead of the others",
                    w.user, w.computer
                ),
            )?;
        }
        if self.unscored == 0 {
            return Ok(());
        }
        match &self.waits_for {
            None => line(f, "not scored", format_args!("{}; the next entry scores them", self.unscored)),
            Some(wait) => {
                let day = &wait.day;
                line(f, "not scored", format_args!("{}; they need the logins of {day}, which lack", self.unscored))?;
                wait.missing.iter().try_for_each(|missing| match missing.shards.as_slice() {
                    [] => line(f, "", format_args!("{} (no shard of the lake owns it)", missing.range)),
                    shards => line(f, "", format_args!("{} of {}", missing.range, shards.join(", "))),
                })
            }
        }
    }
}

impl Display for UnreadShard {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: not begun", self.shard)?;
        line(f, "range", format_args!("{}", self.range))?;
        line(f, "lag", format_args!("{}", self.lag))
    }
}

impl Display for Lag {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.records == 0 {
            return write!(f, "none, at the tip {}", self.tip);
        }
        let least = if self.or_more { "at least " } else { "" };
        write!(f, "{least}{} {}", self.records, plural(self.records, "record", "records"))?;
        if let (Some(oldest), Some(clock)) = (self.oldest_arrival, self.clock) {
            write!(f, ", the oldest arrived {} ago", age(clock - oldest))?;
        }
        write!(f, "; tip {}", self.tip)
    }
}

impl Display for GapStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let records = self.records.map_or("records".to_owned(), |n| format!("{n} {}", plural(n, "record", "records")));
        write!(f, "{records} after {} and before {} were gone (entry {})", self.after, self.before, self.entry)
    }
}

fn line(f: &mut Formatter<'_>, name: &str, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "  {name:<14}{text}")
}

fn plural<'a>(n: u64, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}

fn maybe(at: Option<impl OnCalendar>) -> String {
    at.map_or("none yet".to_owned(), moment)
}

fn moment(at: impl OnCalendar) -> String {
    format_rfc3339(at)
}

fn age(span: Span) -> String {
    age_of(span.as_seconds())
}

/// An age for people: `4.2 s`, `17 min`, `3.5 h`, `12 days`.
fn age_of(seconds: f64) -> String {
    match seconds.max(0.0) {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}
