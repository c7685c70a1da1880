//! `authpulse generate`: writes made-up events, or compares any file with the real figures.

use crate::output::{Results, say, tell};
use crate::report::thousands;
use anyhow::{Context, Result, bail};
use authpulse_files::{InputOptions, LineBlocks, Source};
use authpulse_producer::generate::{EVENTS_DEFAULT, GenerateOptions, generate};
use authpulse_producer::lanl::{self, Disturbance, Figure, Figures, LanlOptions, RedTeam, Verdict};
use authpulse_producer::progress::ProgressReporter;
use clap::{Args as ClapArgs, ValueEnum};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// In the shape of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Profile {
    /// LANL's nine months: 708 million logons of 11,361 users on 22,283 computers.
    #[value(name = "lanl-9mo")]
    #[serde(rename = "lanl-9mo")]
    NineMonths,
    /// LANL's 58 days: 1,051 million events of 80,553 accounts, machine accounts among them.
    #[value(name = "lanl-58")]
    #[serde(rename = "lanl-58")]
    FiftyEightDays,
    /// A small office that rules are easy to show on: hardly anybody fires one by accident.
    #[value(name = "simple")]
    #[serde(rename = "simple")]
    Simple,
}

/// Writes events in order of time, deterministic from the seed, in the shape of LANL's data; or holds a file against it.
///
/// What is real in it and what is made up is in docs/generator.md.
#[derive(ClapArgs, Debug)]
pub struct Generate {
    /// Where to write; `-` for standard output.
    #[arg(long, required_unless_present = "check")]
    pub out: Option<PathBuf>,
    /// The shape of the traffic.
    #[arg(long, value_enum, default_value = "lanl-9mo")]
    pub profile: Profile,
    /// Writes nothing; prints the figures of this file (or `-`) beside the real ones of the profile.
    #[arg(long, conflicts_with_all = ["out", "labels"])]
    pub check: Option<String>,
    /// Events to write, attacks not counted. With --days, the network is as large as so many events in so many days ask for.
    /// [default: 1000000 without --days]
    #[arg(long)]
    pub events: Option<u64>,
    /// Days to write.
    #[arg(long)]
    pub days: Option<u32>,
    /// The day to begin on, from 0; numbers and known computers are those of the whole run.
    #[arg(long, default_value_t = 0)]
    pub from_day: u32,
    /// Users of a smaller network, which has as small a share of the events.
    #[arg(long, conflicts_with = "scale")]
    pub users: Option<u32>,
    /// The same, as a share of the whole network, up to 1.
    #[arg(long, value_parser = share)]
    pub scale: Option<f64>,
    /// Leaves machine accounts out; for lanl-58.
    #[arg(long)]
    pub users_only: bool,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Attacks to inject, in turn: fan-outs, bursts, lateral movement (over days; in `simple` over hours), stolen credentials on
    /// a rare host.
    #[arg(long, default_value_t = 0)]
    pub attacks: u32,
    /// The seed of the attacks, red team included (in `simple` they follow --seed).
    #[arg(long, default_value_t = 1)]
    pub attack_seed: u64,
    /// A red team in the shape of the real one: 104 accounts, 301 computers, days 1 to 29.
    #[arg(long)]
    pub red_team: bool,
    /// Of 100 first uses of a computer by the red team, on how many its account has never been there.
    #[arg(long, default_value_t = RedTeam::default().novelty, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub red_novelty: u32,
    /// The red team's computers: 0 those that few use, 100 those that many use.
    #[arg(long, default_value_t = RedTeam::default().popularity, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub red_popularity: u32,
    /// The red team's accounts: 0 those that know few computers, 100 those that know many.
    #[arg(long, default_value_t = RedTeam::default().accounts, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub red_accounts: u32,
    /// Where to write which events are attacks: attack,kind,time,user,computer, below lines with what was made.
    #[arg(long)]
    pub labels: Option<PathBuf>,
    /// One everyday line in fifty comes up to so many seconds late.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub disorder: u32,
    /// Lines that are no events.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub bad: u64,
    /// The share of lines that stand twice, 0 to 1.
    #[arg(long, value_name = "P", value_parser = share, default_value = "0")]
    pub duplicates: f64,
    /// Computers whose clocks are wrong by up to two hours.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skewed_clocks: u32,
    /// The share of users whose names are spelled in several ways, 0 to 1.
    #[arg(long, value_name = "P", value_parser = share, default_value = "0")]
    pub spellings: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("it is not between 0 and 1".to_owned()) }
}

/// A share in millionths.
fn millionths(share: f64) -> u32 {
    (share * 1e6).round() as u32
}

/// Writes a generated file, or prints a check.
///
/// # Errors
/// A file cannot be read or written, or the profile does not have an option or its value.
pub fn run(args: &Generate) -> Result<ExitCode> {
    if let Some(file) = &args.check {
        return check(file, args);
    }
    let Some(out) = &args.out else { bail!("give --out FILE, or --check FILE") };
    match args.profile {
        Profile::Simple => {
            args.refuse_what_simple_has_not()?;
            let options =
                GenerateOptions { events: args.events, days: args.days, seed: args.seed, attacks: args.attacks };
            simple(&options, out, args.labels.as_deref())
        }
        Profile::NineMonths | Profile::FiftyEightDays => lanl(&args.lanl_options(), out, args.labels.as_deref()),
    }
}

impl Generate {
    fn refuse_what_simple_has_not(&self) -> Result<()> {
        let given = [
            (self.from_day > 0, "--from-day"),
            (self.users.is_some(), "--users"),
            (self.scale.is_some(), "--scale"),
            (self.users_only, "--users-only"),
            (self.red_team, "--red-team"),
            (self.disorder > 0, "--disorder"),
            (self.bad > 0, "--bad"),
            (self.duplicates > 0.0, "--duplicates"),
            (self.skewed_clocks > 0, "--skewed-clocks"),
            (self.spellings > 0.0, "--spellings"),
        ];
        match given.iter().find(|(given, _)| *given) {
            Some((_, name)) => bail!("the profile simple has no {name}; leave it out, or take --profile lanl-9mo"),
            None => Ok(()),
        }
    }

    fn lanl_options(&self) -> LanlOptions {
        let profile = match self.profile {
            Profile::FiftyEightDays => lanl::Profile::FiftyEightDays,
            Profile::NineMonths | Profile::Simple => lanl::Profile::NineMonths,
        };
        let scaled = self.scale.map(|scale| (f64::from(profile.users()) * scale).round() as u32);
        LanlOptions {
            profile,
            events: self.events.or_else(|| self.days.is_none().then_some(EVENTS_DEFAULT)),
            days: self.days,
            from_day: self.from_day,
            users: self.users.or(scaled),
            users_only: self.users_only,
            seed: self.seed,
            attack_seed: self.attack_seed,
            attacks: self.attacks,
            red_team: self.red_team.then_some(RedTeam {
                novelty: self.red_novelty,
                popularity: self.red_popularity,
                accounts: self.red_accounts,
            }),
            disturbance: Disturbance {
                disorder_s: self.disorder,
                bad: self.bad,
                duplicates: millionths(self.duplicates),
                skewed_clocks: self.skewed_clocks,
                spellings: millionths(self.spellings),
            },
        }
    }
}

/// What a demo is run on. In LANL's shape it is a small network: a million events are three days of some 1,300 users, so
/// that there is history, and a day is closed, before the attacks begin.
pub enum ForDemo {
    /// In the simple profile.
    Simple(GenerateOptions),
    /// In one of LANL's profiles.
    Lanl(LanlOptions),
}

/// From this many events on, a demo takes LANL's whole network.
const WHOLE_NETWORK_EVENTS: u64 = 50_000_000;

impl ForDemo {
    /// The input for so many events and attacks.
    pub fn new(profile: Profile, events: u64, seed: u64, attacks: u32) -> ForDemo {
        let lanl = |profile| {
            let days = ((3.0 * (events as f64 / 1e6).sqrt()).round() as u32).max(1);
            let days = (events < WHOLE_NETWORK_EVENTS).then_some(days);
            let more = LanlOptions::default();
            ForDemo::Lanl(LanlOptions { profile, events: Some(events), days, seed, attack_seed: seed, attacks, ..more })
        };
        match profile {
            Profile::Simple => ForDemo::Simple(GenerateOptions { events: Some(events), days: None, seed, attacks }),
            Profile::NineMonths => lanl(lanl::Profile::NineMonths),
            Profile::FiftyEightDays => lanl(lanl::Profile::FiftyEightDays),
        }
    }

    /// Refuses options that cannot be, before anything is made.
    ///
    /// # Errors
    /// An option is out of its range, or two do not go together.
    pub fn check(&self) -> Result<()> {
        match self {
            ForDemo::Simple(options) => Ok(options.check()?),
            ForDemo::Lanl(options) => Ok(options.check()?),
        }
    }

    /// Writes the events, and the labels of the attacks.
    ///
    /// # Errors
    /// An option cannot be, or a file cannot be written.
    pub fn write(&self, out: &Path, labels: &Path) -> Result<ExitCode> {
        match self {
            ForDemo::Simple(options) => simple(options, out, Some(labels)),
            ForDemo::Lanl(options) => lanl(options, out, Some(labels)),
        }
    }
}

/// Writes what [`generate`] makes.
fn simple(options: &GenerateOptions, out: &Path, labels: Option<&Path>) -> Result<ExitCode> {
    options.check()?;
    let (writer, labels) = (open(out)?, labels.map(create).transpose()?.map(BufWriter::new));
    let mut progress = ProgressReporter::new("generate", options.events, "events");
    let summary = generate(options, writer, labels, |done| progress.update(done))
        .with_context(|| format!("generating {} failed", out.display()))?;
    progress.finish();
    tell!(
        "{} events ({} of {} attacks) by {} users on {} computers over {} days",
        thousands(summary.lines()),
        thousands(summary.attack_events),
        summary.attacks,
        thousands(u64::from(summary.users)),
        thousands(u64::from(summary.computers)),
        summary.days
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes what [`lanl::write`] makes.
fn lanl(options: &LanlOptions, out: &Path, labels: Option<&Path>) -> Result<ExitCode> {
    options.check()?;
    let (writer, labels) = (open(out)?, labels.map(create).transpose()?);
    let mut progress = ProgressReporter::new("generate", options.events, "events");
    let written = lanl::write(options, writer, labels, |done| progress.update(done))
        .with_context(|| format!("generating {} failed", out.display()))?;
    progress.finish();
    tell!(
        "{} lines: {} events and {} of {} attacks, by {} users on {} computers over {} days",
        thousands(written.lines),
        thousands(written.events),
        thousands(written.attack_events),
        written.attacks,
        thousands(u64::from(written.users)),
        thousands(u64::from(written.computers)),
        written.days
    );
    Ok(ExitCode::SUCCESS)
}

fn open(out: &Path) -> Result<Box<dyn Write>> {
    Ok(if out.as_os_str() == "-" {
        Box::new(BufWriter::with_capacity(1 << 20, Results))
    } else {
        Box::new(BufWriter::with_capacity(1 << 20, create(out)?))
    })
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("{} cannot be written", path.display()))
}

fn check(file: &str, args: &Generate) -> Result<ExitCode> {
    if args.profile == Profile::Simple {
        bail!("the profile simple has no real figures; take --profile lanl-9mo or lanl-58");
    }
    let mut blocks = LineBlocks::open(vec![Source::parse(file)], InputOptions::default())?;
    let mut progress = ProgressReporter::new("check", None, "events");
    let mut figures = Figures::new();
    for block in &mut blocks {
        block?.lines().for_each(|line| figures.line(line.bytes));
        progress.update(figures.events());
    }
    progress.finish();
    let rows = figures.figures(&LanlOptions { events: None, days: None, ..args.lanl_options() })?;
    say!(
        "{} events in {file}, beside the real figures of {}",
        thousands(figures.events()),
        args.lanl_options().profile.as_str()
    )?;
    if figures.other_lines > 0 {
        say!("{} lines are not time,user,computer with a time in seconds: left out", thousands(figures.other_lines))?;
    }
    say!("\n{:<62} {:>12} {:>12} {:>8}", "", "real", "this file", "off by")?;
    for row in &rows {
        say!("{}", line(row))?;
    }
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    say!(
        "\n{} within, {} off, {} too short, {} made up (the data does not say)",
        count(Verdict::Within),
        count(Verdict::Off),
        count(Verdict::TooShort),
        count(Verdict::MadeUp)
    )?;
    Ok(ExitCode::SUCCESS)
}

fn line(row: &Figure) -> String {
    let number = |number: Option<f64>| match number {
        Some(number) if number < 100.0 && number.fract() > 0.0 => format!("{number:.2}"),
        Some(number) => thousands(number.round() as u64),
        None => "-".to_owned(),
    };
    let off = match (row.real, row.found) {
        (Some(real), Some(found)) if real > 0.0 => format!("{:+.1} %", 100.0 * (found / real - 1.0)),
        _ => String::new(),
    };
    let verdict = match row.verdict {
        Verdict::Within | Verdict::Off => format!("{} {} %", row.verdict.as_str(), row.tolerance),
        Verdict::TooShort | Verdict::MadeUp => row.verdict.as_str().to_owned(),
    };
    format!("{:<62} {:>12} {:>12} {off:>8}  {verdict}", row.name, number(row.real), number(row.found))
}
