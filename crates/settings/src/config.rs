//! The configuration file: reading it, and printing it. `config show` prints the table of settings itself, so the manual cannot differ
//! from the program.

mod settings;

pub use settings::{Change, Setting, settings};

use crate::options::Options;
use authpulse_engine::rules::{LIST, Rule, RuleSet};
use authpulse_event::Span;
use authpulse_event::time::SECOND;
use std::path::PathBuf;

/// The whole configuration: the consumer's options, and settings for output and for S3.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the consumer runs.
    pub options: Options,
    /// Where decisions are written when they are made.
    pub decisions: Decisions,
    /// The lowest score of decisions that are written there.
    pub decisions_min_score: u8,
    /// Whether the group of the user who runs the program may read what it writes.
    pub group_read: bool,
    /// How the files of a lake on S3 are encrypted.
    pub s3_encryption: S3Encryption,
    /// How long S3, Glue or DynamoDB may take to begin an answer.
    pub s3_answer: Span,
}

/// How S3 encrypts stored files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Encryption {
    /// As the bucket's own setting says.
    Bucket,
    /// SSE-S3: with keys that S3 manages.
    S3,
    /// SSE-KMS: with this key, or with the account's own key for S3.
    Kms(Option<String>),
}

/// Where decisions are written when they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decisions {
    /// Nowhere; they are only in the tables.
    None,
    /// To standard error, a line each, whatever the log level.
    Log,
    /// Appended to this file, a line of JSON each.
    File(PathBuf),
}

impl Default for Config {
    fn default() -> Self {
        Config {
            options: Options::default(),
            decisions: Decisions::None,
            decisions_min_score: 51,
            group_read: false,
            s3_encryption: S3Encryption::Bucket,
            s3_answer: 20 * SECOND,
        }
    }
}

impl Config {
    /// The defaults of a program with these rules.
    pub fn for_rules(rules: &'static [Rule]) -> Config {
        let mut config = Config::default();
        config.options.engine.rules = RuleSet::of(rules);
        config
    }

    /// Reads a configuration file. Settings that it leaves out keep their defaults.
    ///
    /// # Errors
    /// The text is not TOML, names an unknown table or setting, or has a value that is not allowed. All faults are returned at once.
    pub fn parse(text: &str) -> Result<Config, Vec<String>> {
        Config::parse_for(LIST, text)
    }

    /// As [`Config::parse`], for a program with these rules.
    ///
    /// # Errors
    /// As of [`Config::parse`].
    pub fn parse_for(rules: &'static [Rule], text: &str) -> Result<Config, Vec<String>> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| vec![format!("not TOML: {e}")])?;
        let mut config = Config::for_rules(rules);
        let settings = settings(rules);
        let mut faults = Vec::new();
        for (section, value) in &table {
            let Some(keys) = value.as_table() else {
                faults.push(format!("'{section}' stands outside of a table such as [engine]"));
                continue;
            };
            if !settings.iter().any(|s| s.section == section) {
                faults.push(format!("there is no table [{section}]; known are {}", sections(&settings).join(", ")));
                continue;
            }
            for (key, value) in keys {
                match settings.iter().find(|s| s.section == section && s.key == *key) {
                    None => {
                        let known: Vec<_> = settings.iter().filter(|s| s.section == section).map(|s| &*s.key).collect();
                        faults.push(format!("[{section}] has no setting '{key}'; it has {}", known.join(", ")));
                    }
                    Some(setting) => {
                        if let Err(why) = setting.set(&mut config, value) {
                            faults.push(format!("[{section}] {key}: {why} ({})", setting.unit));
                        }
                    }
                }
            }
        }
        faults.extend(config.options.engine.faults());
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    /// A digest that tells configurations apart: the first 12 hexadecimal digits of the SHA-256 over all settings and their values.
    pub fn digest(&self) -> String {
        let mut all = String::new();
        for setting in settings(self.options.engine.rules.list()) {
            all += &format!("{}.{} = {}\n", setting.section, setting.key, setting.get(self));
        }
        authpulse_event::id::sha256_hex(all.as_bytes())[..12].to_owned()
    }

    /// The configuration as a file: every setting with its meaning, unit, default and value.
    pub fn show(&self) -> String {
        let rules = self.options.engine.rules.list();
        let (default, settings) = (Config::for_rules(rules), settings(rules));
        let mut out = String::from("# AuthPulse: every setting, as it holds now.\n");
        for section in sections(&settings) {
            out += &format!("\n[{section}]\n");
            for setting in settings.iter().filter(|s| s.section == section) {
                for line in wrap(&setting.meaning, 116) {
                    out += &format!("# {line}\n");
                }
                let change = match setting.change {
                    Change::Refused => "; a lake keeps it for life",
                    Change::NewRuleSet => "; a change holds from the next entry on, as another rule_set",
                    Change::Free => "",
                };
                let (value, standard) = (setting.get(self), setting.get(&default));
                out += &format!("# unit: {}; default: {standard}{change}\n{} = {value}\n", setting.unit, setting.key);
            }
        }
        out
    }
}

fn sections(settings: &[Setting]) -> Vec<&'static str> {
    let mut sections: Vec<&str> = settings.iter().map(|s| s.section).collect();
    sections.dedup();
    sections
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_engine::flags::FIRST;
    use authpulse_engine::rules::Threshold;
    use toml::Value;

    #[test]
    fn what_show_prints_is_read_back_as_the_same() {
        let text = Config::default().show();
        assert_eq!(Config::parse(&text).unwrap().show(), text);
        let changed = "[engine]\ntolerance = 0.5\n[rules]\nweight_rare_host = 0\n[decisions]\nto = \"file:d.jsonl\"\n[store]\nraw = false";
        let config = Config::parse(changed).unwrap();
        assert_eq!(Config::parse(&config.show()).unwrap().show(), config.show());
        assert_eq!(config.options.engine.time.tolerance, SECOND / 2);
    }

    #[test]
    fn a_digest_tells_configurations_apart() {
        let of = |text| Config::parse(text).unwrap().digest();
        assert_eq!(of("[engine]\ntolerance = 300\n# a comment"), of("[store]\nraw = true"), "both are the default");
        assert_ne!(of(""), of("[decisions]\nmin_score = 50"));
        assert_eq!(of("").len(), 12);
    }

    #[test]
    fn every_fault_is_told_at_once_with_what_would_do() {
        let faults = Config::parse(
            "top = 1\n[engin]\nx = 1\n[engine]\ntolerence = 1\nbase = 5\nsettle = 10\n[rules]\nweight_new_device = 90\nburst_over = -1\n[run]\npoll_interval = \"fast\"",
        )
        .unwrap_err();
        let all = faults.join("\n");
        for words in [
            "'top' stands outside",
            "no table [engin]; known are engine, rules",
            "no setting 'tolerence'; it has base",
            "base: 5 is not a string",
            "settle is 10 s",
            "sum to 160",
            "burst_over: -1 is not a whole number",
            "poll_interval",
        ] {
            assert!(all.contains(words), "{words} in\n{all}");
        }
        assert!(Config::parse("[engine").unwrap_err()[0].contains("not TOML"));
    }

    #[test]
    fn each_setting_can_be_set_and_shows_its_value() {
        for setting in settings(FIVE) {
            let mut config = Config::for_rules(FIVE);
            let value = match setting.get(&config) {
                Value::Integer(n) => Value::Integer(n / 2 + 1),
                Value::Float(x) => Value::Float(x / 2.0),
                Value::Boolean(b) => Value::Boolean(!b),
                Value::Array(on) => [&on[1..], &["BY_NIGHT".into()]].concat().into(),
                Value::String(_) if setting.key == "base" => Value::String("2020-02-02T00:00:00.000000Z".to_owned()),
                Value::String(_) if setting.key == "encryption" => Value::String("sse-kms:alias/lake".to_owned()),
                _ => Value::String("log".to_owned()),
            };
            setting.set(&mut config, &value).unwrap_or_else(|e| panic!("{}: {e}", setting.key));
            assert_eq!(setting.get(&config), value, "{}", setting.key);
        }
    }

    /// A rule that only these tests have.
    const BY_NIGHT: Rule = Rule {
        name: "BY_NIGHT",
        column: "is_by_night",
        weight: 0,
        thresholds: &[Threshold {
            key: "night_from",
            default: 20,
            unit: "hour of the day",
            meaning: "Nights begin with it.",
            bounds: (0, 24),
        }],
        fires: |_, _| true,
        ..LIST[0]
    };
    const FIVE: &[Rule] = &[LIST[0], LIST[1], LIST[2], LIST[3], BY_NIGHT];

    #[test]
    fn the_settings_of_the_first_four_rules_are_those_of_0_1() {
        let settings = settings(&LIST[..FIRST]);
        let mut of_rules = settings.iter().filter(|s| s.section == "rules");
        assert_eq!(of_rules.next().map(|s| &*s.key), Some("on"));
        let shown: Vec<_> =
            of_rules.map(|s| format!("{} = {} {}: {}", s.key, s.get(&Config::default()), s.unit, s.meaning)).collect();
        assert_eq!(
            shown,
            [
                "weight_new_device = 30 points: Points of NEW_DEVICE. The weights of the rules that are on sum to at most 100.",
                "weight_burst_login = 25 points: Points of BURST_LOGIN.",
                "weight_lateral_movement = 35 points: Points of LATERAL_MOVEMENT.",
                "weight_rare_host = 10 points: Points of RARE_HOST.",
                "burst_over = 50 logons: BURST_LOGIN fires above this many logons of a user within an hour.",
                "lateral_from = 10 computers: LATERAL_MOVEMENT fires from this many distinct computers of a user within an hour on.",
                "min_hosts = 20 computers: RARE_HOST never fires with fewer computers than this in the look-back.",
            ]
        );
        assert!(settings.iter().filter(|s| s.section == "rules").all(|s| s.change == Change::NewRuleSet));
    }

    #[test]
    fn rules_are_on_that_are_named() {
        let of = |text: &str| Config::parse_for(FIVE, &format!("[rules]\n{text}"));
        let names = |config: &Config| {
            let rules = &config.options.engine.rules;
            rules.names(rules.on()).collect::<Vec<_>>().join(" ")
        };
        let four = "NEW_DEVICE BURST_LOGIN LATERAL_MOVEMENT RARE_HOST";
        assert_eq!(names(&of("").unwrap()), four);
        let config = of("on = [\"BY_NIGHT\", \"RARE_HOST\"]\nweight_by_night = 90\nnight_from = 22").unwrap();
        assert_eq!(names(&config), "RARE_HOST BY_NIGHT");
        let shown = config.show();
        assert!(shown.contains("\non = [\"RARE_HOST\", \"BY_NIGHT\"]\n"), "{shown}");
        assert_eq!(Config::parse_for(FIVE, &shown).unwrap().show(), shown);
        assert_eq!(names(&of("on = []").unwrap()), "");
        for (text, words) in [
            ("on = [\"BY_NIGHT\", \"BY_DAY\"]", "there is no rule 'BY_DAY'; there are NEW_DEVICE, BURST_LOGIN"),
            ("on = [\"RARE_HOST\", \"RARE_HOST\"]", "'RARE_HOST' stands there twice"),
            ("on = \"RARE_HOST\"", "is not a list of names"),
            ("on = [1]", "is not a list of names"),
            ("night_from = 25", "from 0 to 24"),
            ("weight_by_night = 101", "from 0 to 100"),
            ("on = [\"NEW_DEVICE\", \"BY_NIGHT\"]\nweight_by_night = 71", "sum to 101"),
        ] {
            let faults = of(text).unwrap_err().join("\n");
            assert!(faults.contains(words), "{text}: {faults}");
        }
        let unknown = Config::parse("[rules]\nnight_from = 1\non = [\"BY_NIGHT\"]").unwrap_err().join("\n");
        assert!(unknown.contains("no setting 'night_from'; it has on, weight_new_device"), "{unknown}");
        assert!(unknown.contains("no rule 'BY_NIGHT'"), "{unknown}");
    }
}
