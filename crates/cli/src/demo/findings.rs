//! What the lake says about people: the riskiest users and why, and which injected attacks were caught.

use crate::report::thousands;
use anyhow::{Context, Result};
use authpulse_engine::Settings;
use authpulse_engine::rows::Windows;
use authpulse_engine::rules::{Evidence, RuleSet};
use authpulse_event::EventTime;
use authpulse_event::time::{SECOND, format_rfc3339};
use authpulse_journal::Env;
use authpulse_lake::Table;
use authpulse_lake::read::CuratedRow;
use authpulse_producer::labels::{self, AttackKind, Label};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::BufReader;
use std::path::Path;

/// Users to name.
const USERS: usize = 10;

/// The labels of a generated file; none if the input is the user's own file.
///
/// # Errors
/// The file is there, but cannot be read as labels.
pub fn read_labels(path: &Path) -> Result<Vec<Label>> {
    match std::fs::File::open(path) {
        Ok(file) => labels::read(BufReader::new(file)).with_context(|| format!("{} cannot be read", path.display())),
        Err(_) => Ok(Vec::new()),
    }
}

/// A user's worst logon, and how often it looked bad.
#[derive(Clone, Debug, Default)]
struct Suspect {
    user: String,
    score: i32,
    high_events: u64,
    total_score: u64,
    computer: String,
    time: EventTime,
    why: Vec<String>,
}

/// How one injected attack came out.
#[derive(Clone, Copy, Debug)]
struct Attack {
    kind: AttackKind,
    caught: bool,
    top_score: i32,
}

/// The riskiest users, and how the injected attacks came out.
pub struct Findings {
    suspects: Vec<Suspect>,
    attacks: BTreeMap<u32, Attack>,
    levels: BTreeMap<String, u64>,
}

/// The rule that is meant for a kind of attack.
fn rule_for(kind: AttackKind) -> &'static str {
    match kind {
        AttackKind::FanOut | AttackKind::SlowLateral => "LATERAL_MOVEMENT",
        AttackKind::Burst => "BURST_LOGIN",
        AttackKind::StolenCredentials => "RARE_HOST",
        AttackKind::LateralOverDays | AttackKind::RedTeam => "NEW_DEVICE",
    }
}

/// Reads the curated table once.
///
/// # Errors
/// The curated table or one of its files cannot be read.
pub async fn collect(env: &Env, settings: &Settings, labels: Vec<Label>) -> Result<Findings> {
    let mut attacks = BTreeMap::new();
    let mut labelled: HashMap<(EventTime, String, String), u32> = HashMap::new();
    for label in labels {
        attacks.entry(label.attack).or_insert(Attack { kind: label.kind, caught: false, top_score: 0 });
        labelled.insert((settings.time.base + label.time as i64 * SECOND, label.user, label.computer), label.attack);
    }
    let mut users: HashMap<String, Suspect> = HashMap::new();
    let mut levels: BTreeMap<String, u64> = BTreeMap::new();
    for file in env.lake.live_files(Table::CURATED).await?.files {
        for batch in env.lake.read_curated(&file, None).await? {
            for row in batch?.iter().filter(|row| row.risk_score > 0) {
                *levels.entry(row.risk_level.to_owned()).or_default() += 1;
                if !labelled.is_empty()
                    && let Some(number) =
                        labelled.get(&(row.event_time, row.user_id.to_owned(), row.computer_id.to_owned()))
                    && let Some(attack) = attacks.get_mut(number)
                {
                    attack.caught |= row.risk_flags.contains(&rule_for(attack.kind));
                    attack.top_score = attack.top_score.max(row.risk_score);
                }
                let suspect = match users.get_mut(row.user_id) {
                    Some(suspect) => suspect,
                    None => users.entry(row.user_id.to_owned()).or_default(),
                };
                suspect.total_score += u64::from(row.risk_score.unsigned_abs());
                suspect.high_events += u64::from(row.risk_score > 50);
                if row.risk_score > suspect.score || (row.risk_score == suspect.score && row.event_time < suspect.time)
                {
                    suspect.user = row.user_id.to_owned();
                    suspect.score = row.risk_score;
                    suspect.computer = row.computer_id.to_owned();
                    suspect.time = row.event_time;
                    suspect.why = reasons(&settings.rules, &row);
                }
            }
        }
    }
    let mut suspects: Vec<Suspect> = users.into_values().collect();
    suspects.sort_by(|a, b| {
        let key = |s: &Suspect| (s.score, s.high_events, s.total_score);
        key(b).cmp(&key(a)).then_with(|| a.user.cmp(&b.user))
    });
    suspects.truncate(USERS);
    Ok(Findings { suspects, attacks, levels })
}

/// Why a row scored, in words. A rule that this program does not have is given by its name alone.
fn reasons(rules: &RuleSet, row: &CuratedRow<'_>) -> Vec<String> {
    let evidence = Evidence {
        time: row.event_time,
        computer: row.computer_id,
        windows: Windows {
            logons_1h: count(row.login_count_1h),
            logons_24h: count(row.login_count_24h),
            computers_1h: count(row.unique_computers_1h),
            computers_24h: count(row.unique_computers_24h),
        },
        popularity: row.host_popularity.map(i64::unsigned_abs),
    };
    let why = |name: &&str| rules.flag(name).map_or_else(|| (*name).to_owned(), |flag| rules.why(flag, &evidence));
    row.risk_flags.iter().map(why).collect()
}

fn count(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels: Vec<String> = self.levels.iter().map(|(level, n)| format!("{} {level}", thousands(*n))).collect();
        writeln!(f, "events that scored: {}", if levels.is_empty() { "none".to_owned() } else { levels.join(", ") })?;
        if !self.attacks.is_empty() {
            let caught = self.attacks.values().filter(|a| a.caught).count();
            writeln!(f, "injected attacks caught by the rule made for them: {caught} of {}", self.attacks.len())?;
            for kind in AttackKind::ALL {
                let of_kind: Vec<&Attack> = self.attacks.values().filter(|a| a.kind == kind).collect();
                if !of_kind.is_empty() {
                    let caught = of_kind.iter().filter(|a| a.caught).count();
                    let top: Vec<String> = of_kind.iter().map(|a| a.top_score.to_string()).collect();
                    writeln!(
                        f,
                        "  {:<19}{:>2} of {:>2} by {:<17} highest scores {}",
                        kind.as_str(),
                        caught,
                        of_kind.len(),
                        rule_for(kind),
                        top.join(", ")
                    )?;
                }
            }
        }
        writeln!(f, "\nriskiest users")?;
        for (rank, s) in (1..).zip(&self.suspects) {
            let level = authpulse_engine::rows::RiskLevel::of(s.score.clamp(0, 100) as u8).name();
            let time = format_rfc3339(s.time);
            writeln!(
                f,
                "{rank:>3}. {:<8} {:>3} {level:<8} on {} at {}, {} event(s) HIGH or worse",
                s.user,
                s.score,
                s.computer,
                time.get(..19).unwrap_or(&time),
                thousands(s.high_events)
            )?;
            writeln!(f, "       {}", s.why.join("; "))?;
        }
        Ok(())
    }
}
