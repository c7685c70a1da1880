//! A list of rules with figures: which are on, their weights and thresholds, and what they make of an event.

use super::{Evidence, FIRST, Features, LIST, MIN_HOSTS, RULES_MAX, Rule, THRESHOLDS_MAX, Thresholds};
use crate::flags::{Flag, Flags};
use authpulse_event::id::sha256_hex;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Which rules are on, and what they go by. All of it may change; each row says by its `rule_set` what scored it.
#[derive(Clone, Debug)]
pub struct RuleSet {
    list: &'static [Rule],
    on: Flags,
    /// Of each rule of the list.
    weights: Vec<u8>,
    /// Of each rule of the list.
    thresholds: Vec<Thresholds>,
    min_hosts: u32,
    /// The first rules, on or off, as they are asked for each event.
    first: [Asked; FIRST],
    /// The later rules that are on, as they are asked for each event.
    later: Vec<(Predicate, Asked)>,
}

/// [`Rule::fires`].
type Predicate = fn(&Features, &Thresholds) -> bool;

/// What a rule is asked with.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    thresholds: Thresholds,
    /// Its flag's bit; none where it is off.
    bit: u32,
    /// 0 where it is off.
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
    /// The rules of a list with its defaults; the first four are on, the others off.
    ///
    /// # Panics
    /// The list is not one: it does not begin with the four rules of 0.1, is too long, or has something twice.
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

    /// What follows from the figures.
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

    /// The list.
    pub fn list(&self) -> &'static [Rule] {
        self.list
    }

    /// A rule of the list.
    pub fn rule(&self, flag: Flag) -> &'static Rule {
        &self.list[flag.index()]
    }

    /// The flag of the rule of this name.
    pub fn flag(&self, name: &str) -> Option<Flag> {
        self.flags().find(|flag| self.rule(*flag).name == name)
    }

    /// The flags of all rules of the list, in order.
    pub fn flags(&self) -> impl Iterator<Item = Flag> + use<> {
        (0..self.list.len()).map(Flag::new)
    }

    /// The rules behind the first four, on or off, each with its flag: whose columns are in files of rows that they scored alone.
    pub fn later(&self) -> impl Iterator<Item = (Flag, &'static Rule)> + use<> {
        let list = self.list;
        (FIRST..list.len()).map(move |at| (Flag::new(at), &list[at]))
    }

    /// The rules that are on.
    pub fn on(&self) -> Flags {
        self.on
    }

    /// Whether a rule is on: asked for each event.
    pub fn is_on(&self, flag: Flag) -> bool {
        self.on.has(flag)
    }

    /// Switches these rules on, and all others off.
    ///
    /// # Errors
    /// A name is not in the list, or stands there twice. Nothing is changed then.
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

    /// Sets the points of a rule. The sum of those that are on is a matter of [`crate::Settings::faults`].
    pub fn set_weight(&mut self, flag: Flag, weight: u8) {
        self.weights[flag.index()] = weight;
        self.derive();
    }

    /// The sum of the weights of the rules that are on.
    pub fn weights_on(&self) -> u32 {
        self.on.iter().map(|flag| u32::from(self.weight(flag))).sum()
    }

    /// The thresholds of a rule.
    pub fn thresholds(&self, flag: Flag) -> &Thresholds {
        &self.thresholds[flag.index()]
    }

    /// The threshold of this key; none where no rule of the list has it.
    pub fn threshold(&self, key: &str) -> Option<u32> {
        let (rule, at) = self.place(key)?;
        Some(self.thresholds[rule][at])
    }

    /// Sets the threshold of a key.
    ///
    /// # Errors
    /// No rule of the list has it, or the value lies outside of its bounds.
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

    /// The fewest computers of a look-back for which popularity is known. At least 1: an empty look-back tells nothing.
    pub fn min_hosts(&self) -> usize {
        self.min_hosts.max(1) as usize
    }

    /// The rules that fire, and the sum of their weights.
    pub fn evaluate(&self, features: &Features) -> (Flags, u8) {
        let (mut bits, mut score) = (0, 0u8);
        // Without branches: what fires cannot be foretold. Once for each event.
        let mut ask = |fires: bool, rule: &Asked| {
            bits |= u32::from(fires).wrapping_neg() & rule.bit;
            // Settings with faults are refused before anything is scored; without, the sum is at most 100.
            score = score.wrapping_add(u8::from(fires).wrapping_neg() & rule.weight);
        };
        // Every list begins with these four. Named by constants they are compiled into this place; by a pointer each is a call.
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

    /// The names of rules, in the order in which `risk_flags` lists them. Flags that the list does not reach have none.
    pub fn names(&self, flags: Flags) -> impl Iterator<Item = &'static str> + use<> {
        let list = self.list;
        flags.iter().filter_map(move |flag| list.get(flag.index()).map(|rule| rule.name))
    }

    /// A short digest of which rules are on and what they go by: the column `rule_set`. Of exactly the first four it is what
    /// version 0.1 wrote.
    pub fn digest(&self) -> String {
        sha256_hex(self.text().as_bytes())[..12].to_owned()
    }

    /// What the digest is of. A later rule has a part in it while it is on, one of the first four says only that it is off.
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

/// Why this is no list of rules, if it is none.
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
