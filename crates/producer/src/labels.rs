//! Which events were attacks: a CSV file beside the generated events, `attack,kind,time,user,computer`. Lines `# name=value`
//! before the header say how the events were made and count what was wrong with them on purpose.

use std::fmt;
use std::io::{self, BufRead, BufWriter, Write};
use std::str::FromStr;

/// The first line of the file.
pub const HEADER: &str = "attack,kind,time,user,computer";

/// What an attack does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttackKind {
    /// At least ten computers new to the user within an hour. Fires LATERAL_MOVEMENT and NEW_DEVICE.
    FanOut,
    /// More than 50 logons within an hour on a computer the user knows. Fires BURST_LOGIN.
    Burst,
    /// A computer new to the user every 8 to 24 minutes for hours. Fires NEW_DEVICE and is meant to be hard: by
    /// itself it never fills an hour with the ten computers of LATERAL_MOVEMENT (with the user's own it may).
    SlowLateral,
    /// One to four logons at night on a computer that hardly anyone uses. Fires NEW_DEVICE and, once a day has
    /// been closed, RARE_HOST.
    StolenCredentials,
    /// A computer or two a day that are new to the user, for days. Fires NEW_DEVICE, one at a time.
    LateralOverDays,
    /// A logon of a red team in the shape of the real one; an attack is what one account does.
    RedTeam,
}

impl AttackKind {
    /// All kinds.
    pub const ALL: [AttackKind; 6] = [
        AttackKind::FanOut,
        AttackKind::Burst,
        AttackKind::SlowLateral,
        AttackKind::StolenCredentials,
        AttackKind::LateralOverDays,
        AttackKind::RedTeam,
    ];

    /// The kind of an attack of the profile `simple` by its number, from 1: the first four take turns.
    pub(crate) fn of(attack: u32) -> AttackKind {
        Self::ALL[(attack.max(1) - 1) as usize % 4]
    }

    /// The name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            AttackKind::FanOut => "fan_out",
            AttackKind::Burst => "burst",
            AttackKind::SlowLateral => "slow_lateral",
            AttackKind::StolenCredentials => "stolen_credentials",
            AttackKind::LateralOverDays => "lateral_over_days",
            AttackKind::RedTeam => "red_team",
        }
    }
}

impl fmt::Display for AttackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AttackKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// One event of an attack, named as in the events file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The attack, counted from 1.
    pub attack: u32,
    /// Its kind.
    pub kind: AttackKind,
    /// The event's time, in seconds.
    pub time: u64,
    /// The event's user.
    pub user: String,
    /// The event's computer.
    pub computer: String,
}

/// Why a labels file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// The file cannot be read.
    #[error("cannot read the labels")]
    Read {
        /// What the system says.
        #[from]
        source: io::Error,
    },

    /// The file does not begin with the header.
    #[error("this is no labels file: it starts with '{found}' instead of '{HEADER}'")]
    Header {
        /// Its first line, shortened.
        found: String,
    },

    /// A row is not as written by `generate`.
    #[error("line {line} of the labels is invalid: {problem}; write the file again with `authpulse generate --labels`")]
    Row {
        /// Counted from 1, the header included.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Reads a labels file; rows are in the order of the events. Empty lines, and lines with `#` before the header, are skipped.
///
/// # Errors
/// The file cannot be read, has no header, or a row is not as `generate` writes it.
pub fn read(input: impl BufRead) -> Result<Vec<Label>, LabelsError> {
    let mut lines = input.lines();
    let mut above = 1;
    let header = loop {
        let line = lines.next().transpose()?.unwrap_or_default();
        if !line.starts_with('#') {
            break line;
        }
        above += 1;
    };
    if header.trim_end() != HEADER {
        return Err(LabelsError::Header { found: header.chars().take(60).collect() });
    }
    let mut labels = Vec::new();
    for (index, line) in (above + 1..).zip(lines) {
        let line = line?;
        if !line.trim().is_empty() {
            labels.push(parse(line.trim_end()).map_err(|problem| LabelsError::Row { line: index, problem })?);
        }
    }
    Ok(labels)
}

fn parse(line: &str) -> Result<Label, &'static str> {
    let fields: Vec<&str> = line.split(',').collect();
    let &[attack, kind, time, user, computer] = fields.as_slice() else {
        return Err("it does not have five fields");
    };
    if user.is_empty() || computer.is_empty() {
        return Err("user or computer is empty");
    }
    Ok(Label {
        attack: attack.parse().map_err(|_| "the attack is not a number")?,
        kind: kind.parse().map_err(|()| "the kind is unknown")?,
        time: time.parse().map_err(|_| "the time is not a number of seconds")?,
        user: user.to_owned(),
        computer: computer.to_owned(),
    })
}

/// Writes a labels file. Names must hold neither comma nor line end, which those of `generate` do not.
pub struct LabelWriter<W: Write> {
    out: BufWriter<W>,
}

impl<W: Write> LabelWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(out: W) -> io::Result<Self> {
        Self::with_counts(out, &[])
    }

    /// Writes `# name=value` for each, and the header.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn with_counts(out: W, counts: &[(&str, String)]) -> io::Result<Self> {
        let mut out = BufWriter::new(out);
        for (name, value) in counts {
            writeln!(out, "# {name}={value}")?;
        }
        writeln!(out, "{HEADER}")?;
        Ok(LabelWriter { out })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, label: &Label) -> io::Result<()> {
        let Label { attack, kind, time, user, computer } = label;
        writeln!(self.out, "{attack},{kind},{time},{user},{computer}")
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_written() {
        let labels: Vec<Label> = (1..=4)
            .map(|attack| Label {
                attack,
                kind: AttackKind::of(attack),
                time: 1_000 + u64::from(attack),
                user: format!("U{attack}"),
                computer: "C9".to_owned(),
            })
            .collect();
        let mut file = Vec::new();
        let mut writer = LabelWriter::new(&mut file).expect("a vector takes all");
        labels.iter().for_each(|label| writer.write(label).expect("a vector takes all"));
        writer.finish().expect("a vector takes all");
        assert!(file.starts_with(b"attack,kind,time,user,computer\n1,fan_out,1001,U1,C9\n2,burst,"));
        assert_eq!(read(file.as_slice()).expect("own file"), labels);
        let crlf = String::from_utf8(file).expect("ascii").replace('\n', "\r\n") + "\r\n";
        assert_eq!(read(crlf.as_bytes()).expect("the same"), labels);
    }

    #[test]
    fn a_wrong_file_is_named_as_such() {
        let table = [
            ("", "no labels file"),
            ("1,U1,C1\n", "no labels file"),
            ("attack,kind,time,user,computer\n1,fan_out,7,U1\n", "line 2"),
            ("attack,kind,time,user,computer\n\n1,worm,7,U1,C1\n", "line 3 of the labels is invalid: the kind"),
            ("attack,kind,time,user,computer\n1,burst,-7,U1,C1\n", "the time"),
            ("attack,kind,time,user,computer\nx,burst,7,U1,C1\n", "the attack"),
            ("attack,kind,time,user,computer\n1,burst,7,,C1\n", "empty"),
            ("# bad_lines=3\n# seed=1\nattack,kind,time,user,computer\n1,burst,7,U1\n", "line 4"),
            ("# bad_lines=3\n1,burst,7,U1,C1\n", "no labels file"),
        ];
        for (text, want) in table {
            let message = read(text.as_bytes()).expect_err(text).to_string();
            assert!(message.contains(want), "{message}");
        }
    }
}
