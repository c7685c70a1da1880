//! A rule set: a list of rules, which of them are on, their weights and thresholds, and how they score an event.

use super::{Evidence, FIRST, Features, LIST, MIN_HOSTS, RULES_MAX, Rule, THRESHOLDS_MAX, Thresholds};
use crate::flags::{Flag, Flags};
use authpulse_event::id::sha256_hex;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Which rules are on, with their weights and thresholds. All of it may be changed; each row's `rule_set` says what scored it.
#[derive(Clone, Debug)]
pub struct RuleSet {
    list: &'static [Rule],
    on: Flags,
    /// By rule of the list.
    weights: Vec<u8>,
    /// By rule of the list.
    thresholds: Vec<Thresholds>,
    min_hosts: u32,
    /// The first rules, on or off, ready to be evaluated.
    first: [Asked; FIRST],
    /// The later rules that are on, ready to be evaluated.
    later: Vec<(Predicate, Asked)>,
}

/// The type of [`Rule::fires`].
type Predicate = fn(&Features, &Thresholds) -> bool;

/// What the evaluation of one rule needs.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    thresholds: Thresholds,
    /// The bit of its flag; 0 where it is off.
    bit: u32,
    /// Its points; 0 where it is off.
    weight: u8,
}

impl Default for RuleSet {
    fn default() -> Self {
        RuleSet::of(LIST)
    }
}

impl PartialEq for RuleSet {
    fn eq(&self, other: &RuleSet) -> bool {
        let names = |set: &RuleSet| set.list.iter().map(|rule| rule.name).collect::<Vec<_>>();
        names(self) == names(other)
            && (self.on, &self.weights, &self.thresholds) == (other.on, &other.weights, &other.thresholds)
    }
}

impl Eq for RuleSet {}

impl RuleSet {
    /// A list's rules with their defaults; the first four are on, the others off.
    ///
    /// # Panics
    /// The list does not begin with the four rules of 0.1, is too long, gives a rule too many thresholds, or has a name, column or
    /// setting twice.
    pub fn of(list: &'static [Rule]) -> RuleSet {
        if let Some(fault) = fault_of(list) {
            panic!("a list of rules {fault}");
        }
        let mut set = RuleSet {
            list,
            on: Flag::FIRST.into_iter().collect(),
            weights: list.iter().map(|rule| rule.weight).collect(),
            thresholds: list.iter().map(defaults).collect(),
            min_hosts: 0,
            first: [Asked::default(); FIRST],
            later: Vec::new(),
        };
        set.derive();
        set
    }

    /// Recomputes the fields that follow from the others.
    fn derive(&mut self) {
        self.min_hosts = self.threshold(MIN_HOSTS).unwrap_or(0);
        let on = self.on;
        let asked = |flag: Flag| Asked {
            thresholds: self.thresholds[flag.index()],
            bit: u32::from(on.has(flag)) << flag.index(),
            weight: if on.has(flag) { self.weights[flag.index()] } else { 0 },
        };
        let first = Flag::FIRST.map(asked);
        let later =
            self.later().filter(|(flag, _)| on.has(*flag)).map(|(flag, rule)| (rule.fires, asked(flag))).collect();
        (self.first, self.later) = (first, later);
    }

    /// The list of rules, on or off.
    pub fn list(&self) -> &'static [Rule] {
        self.list
    }

    /// The rule of a flag.
    pub fn rule(&self, flag: Flag) -> &'static Rule {
        &self.list[flag.index()]
    }

    /// The flag of the rule with this name, if the list has one.
    pub fn flag(&self, name: &str) -> Option<Flag> {
        self.flags().find(|flag| self.rule(*flag).name == name)
    }

    /// The flags of all rules of the list, in order.
    pub fn flags(&self) -> impl Iterator<Item = Flag> + use<> {
        (0..self.list.len()).map(Flag::new)
    }

    /// The rules after the first four, on or off, each with its flag. Files have their columns only for rows that they scored.
    pub fn later(&self) -> impl Iterator<Item = (Flag, &'static Rule)> + use<> {
        let list = self.list;
        (FIRST..list.len()).map(move |at| (Flag::new(at), &list[at]))
    }

    /// The rules that are on.
    pub fn on(&self) -> Flags {
        self.on
    }

    /// Whether a rule is on, so that its result counts.
    pub fn is_on(&self, flag: Flag) -> bool {
        self.on.has(flag)
    }

    /// Switches these rules on, and all others off.
    ///
    /// # Errors
    /// A name is not that of a rule, or is given twice. Nothing is changed then.
    pub fn turn_on(&mut self, names: &[&str]) -> Result<(), String> {
        let mut on = Flags::default();
        for name in names {
            let Some(flag) = self.flag(name) else {
                let known: Vec<_> = self.list.iter().map(|rule| rule.name).collect();
                return Err(format!("there is no rule '{name}'; there are {}", known.join(", ")));
            };
            if on.has(flag) {
                return Err(format!("'{name}' stands there twice"));
            }
            on.set(flag, true);
        }
        self.on = on;
        self.derive();
        Ok(())
    }

    /// The points of a rule, on or off.
    pub fn weight(&self, flag: Flag) -> u8 {
        self.weights[flag.index()]
    }

    /// Sets the points of a rule. [`crate::Settings::faults`] checks the sum over the rules that are on.
    pub fn set_weight(&mut self, flag: Flag, weight: u8) {
        self.weights[flag.index()] = weight;
        self.derive();
    }

    /// The sum of the weights of the rules that are on.
    pub fn weights_on(&self) -> u32 {
        self.on.iter().map(|flag| u32::from(self.weight(flag))).sum()
    }

    /// The thresholds of a rule as they are set, on or off.
    pub fn thresholds(&self, flag: Flag) -> &Thresholds {
        &self.thresholds[flag.index()]
    }

    /// The threshold with this key; `None` if no rule of the list has it.
    pub fn threshold(&self, key: &str) -> Option<u32> {
        let (rule, at) = self.place(key)?;
        Some(self.thresholds[rule][at])
    }

    /// Sets the threshold of a key.
    ///
    /// # Errors
    /// No rule of the list has such a threshold, or the value lies outside of its bounds.
    pub fn set_threshold(&mut self, key: &str, value: u32) -> Result<(), String> {
        let (rule, at) = self.place(key).ok_or_else(|| format!("no rule has a threshold '{key}'"))?;
        let (least, greatest) = self.list[rule].thresholds[at].bounds;
        if !(least..=greatest).contains(&value) {
            return Err(format!("{value} is not from {least} to {greatest}"));
        }
        self.thresholds[rule][at] = value;
        self.derive();
        Ok(())
    }

    fn place(&self, key: &str) -> Option<(usize, usize)> {
        self.list.iter().enumerate().find_map(|(rule, it)| {
            let at = it.thresholds.iter().position(|threshold| threshold.key == key)?;
            Some((rule, at))
        })
    }

    /// How many computers a look-back must hold for popularity to be known. At least 1: an empty look-back says nothing.
    pub fn min_hosts(&self) -> usize {
        self.min_hosts.max(1) as usize
    }

    /// The rules that fire, and the sum of their weights.
    pub fn evaluate(&self, features: &Features) -> (Flags, u8) {
        let (mut bits, mut score) = (0, 0u8);
        // Without branches, because they could not be predicted. This runs for each event.
        let mut ask = |fires: bool, rule: &Asked| {
            bits |= u32::from(fires).wrapping_neg() & rule.bit;
            // The sum is at most 100: settings with a higher one are refused before anything is scored.
            score = score.wrapping_add(u8::from(fires).wrapping_neg() & rule.weight);
        };
        // Every list begins with these four. Called through constants they are inlined here; through pointers each would be a call.
        let [a, b, c, d] = &self.first;
        ask((LIST[0].fires)(features, &a.thresholds), a);
        ask((LIST[1].fires)(features, &b.thresholds), b);
        ask((LIST[2].fires)(features, &c.thresholds), c);
        ask((LIST[3].fires)(features, &d.thresholds), d);
        for (fires, rule) in &self.later {
            ask(fires(features, &rule.thresholds), rule);
        }
        (Flags::from_bits(bits), score)
    }

    /// Why a rule fired, in words, with the figures that decided.
    pub fn why(&self, flag: Flag, evidence: &Evidence<'_>) -> String {
        (self.rule(flag).why)(evidence, self.thresholds(flag))
    }

    /// The names of flags, in the order in which `risk_flags` lists them. Flags beyond the list are left out.
    pub fn names(&self, flags: Flags) -> impl Iterator<Item = &'static str> + use<> {
        let list = self.list;
        flags.iter().filter_map(move |flag| list.get(flag.index()).map(|rule| rule.name))
    }

    /// A short digest of which rules are on, their weights and thresholds: the column `rule_set`. With exactly the first four on it is
    /// the same as in version 0.1.
    pub fn digest(&self) -> String {
        sha256_hex(self.text().as_bytes())[..12].to_owned()
    }

    /// The text that is digested. A later rule appears in it only while it is on; for the first four it says only which are off.
    pub(super) fn text(&self) -> String {
        let mut text = format!("weights={:?}", &self.weights[..FIRST]);
        let figures = |text: &mut String, flag: Flag| {
            for (threshold, value) in self.rule(flag).thresholds.iter().zip(self.thresholds(flag)) {
                let _ = write!(text, ";{}={value}", threshold.key);
            }
        };
        Flag::FIRST.into_iter().for_each(|flag| figures(&mut text, flag));
        for flag in Flag::FIRST.into_iter().filter(|flag| !self.is_on(*flag)) {
            let _ = write!(text, ";{}=off", self.rule(flag).name);
        }
        for (flag, rule) in self.later().filter(|(flag, _)| self.is_on(*flag)) {
            let _ = write!(text, ";{}={}", rule.name, self.weight(flag));
            figures(&mut text, flag);
        }
        text
    }
}

fn defaults(rule: &Rule) -> Thresholds {
    let mut thresholds = [0; THRESHOLDS_MAX];
    thresholds.iter_mut().zip(rule.thresholds).for_each(|(value, threshold)| *value = threshold.default);
    thresholds
}

/// What is wrong with a list of rules, if anything.
pub(super) fn fault_of(list: &[Rule]) -> Option<String> {
    if list.len() > RULES_MAX {
        return Some(format!("has {} of them; at most {RULES_MAX} have a flag", list.len()));
    }
    if !list.iter().take(FIRST).map(|rule| rule.name).eq(LIST.iter().take(FIRST).map(|rule| rule.name)) {
        return Some("does not begin with the four of 0.1".to_owned());
    }
    let (mut names, mut columns, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::from(["on".to_owned()]));
    for rule in list {
        let name = rule.name;
        if !names.insert(name) || !columns.insert(rule.column) {
            return Some(format!("has the name or the column of {name} twice"));
        }
        if rule.thresholds.len() > THRESHOLDS_MAX {
            return Some(format!("gives {name} more than {THRESHOLDS_MAX} thresholds"));
        }
        let mut own = rule.thresholds.iter().map(|threshold| threshold.key.to_owned()).chain([rule.weight_key()]);
        if let Some(twice) = own.find(|key| !keys.insert(key.clone())) {
            return Some(format!("has the setting {twice} twice"));
        }
    }
    None
}
