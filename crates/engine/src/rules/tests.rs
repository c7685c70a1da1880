//! The tests use the program's list, and a longer one with a fifth rule that only tests have.

use super::set::fault_of;
use super::*;
use crate::Settings;
use crate::flags::{Flag, Flags};
use authpulse_event::time::{Day, EventTime, HOUR, Span, time_of_day};

/// Fires at night: from the hour `night_from` on, or before the hour `night_to` (UTC).
const BY_NIGHT: Rule = Rule {
    name: "BY_NIGHT",
    column: "is_by_night",
    weight: 0,
    thresholds: &[
        Threshold {
            key: "night_from",
            default: 20,
            unit: "hour of the day",
            meaning: "Nights begin with it.",
            bounds: (0, 24),
        },
        Threshold {
            key: "night_to",
            default: 6,
            unit: "hour of the day",
            meaning: "Nights end before it.",
            bounds: (0, 24),
        },
    ],
    techniques: &[Technique { id: "T1078", name: "Valid Accounts" }],
    fires: |features, [from, to, ..]| {
        let hour = time_of_day(features.time) / HOUR;
        hour >= i64::from(*from) || hour < i64::from(*to)
    },
    why: |_, [from, to, ..]| format!("by night ({from} to {to} o'clock)"),
    cases: Cases {
        quiet: Features::QUIET,
        just_below: Features { time: AT_NIGHT.after(Span::from_micros(-1)), ..Features::QUIET },
        just_above: Features { time: AT_NIGHT, ..Features::QUIET },
        firing: Features { time: Day(0).start().after(Span::hours(2)), ..Features::LOUD },
    },
};

/// The moment at which a night of [`BY_NIGHT`] begins.
const AT_NIGHT: EventTime = Day(0).start().after(Span::hours(20));

const FIVE: &[Rule] = &[new_device::RULE, burst_login::RULE, lateral_movement::RULE, rare_host::RULE, BY_NIGHT];

fn on(list: &'static [Rule], names: &[&str]) -> RuleSet {
    let mut set = RuleSet::of(list);
    set.turn_on(names).unwrap();
    set
}

fn evaluated(set: &RuleSet, features: &Features) -> (String, u8) {
    let (flags, score) = set.evaluate(features);
    (set.names(flags).collect::<Vec<_>>().join("+"), score)
}

#[test]
fn each_rule_stands_by_its_cases() {
    for list in [LIST, FIVE] {
        for rule in list {
            let alone = on(list, &[rule.name]);
            let fires = |features| evaluated(&alone, features).0 == rule.name;
            let cases = &rule.cases;
            let all = [&cases.quiet, &cases.just_below, &cases.just_above, &cases.firing];
            assert_eq!(all.map(fires), [false, false, true, true], "{}", rule.name);
            let defaults = *alone.thresholds(alone.flag(rule.name).unwrap());
            for (value, threshold) in defaults.iter().zip(rule.thresholds) {
                let (least, greatest) = threshold.bounds;
                assert!((least..=greatest).contains(value) && *value == threshold.default, "{}", threshold.key);
            }
        }
        // Where one rule just fires, no other does.
        let all = on(list, &list.iter().map(|rule| rule.name).collect::<Vec<_>>());
        assert_eq!(evaluated(&all, &Features::QUIET), (String::new(), 0));
        for rule in list {
            assert_eq!(evaluated(&all, &rule.cases.just_above), (rule.name.to_owned(), rule.weight));
            assert_eq!(evaluated(&all, &rule.cases.just_below), (String::new(), 0), "{}", rule.name);
        }
    }
}

#[test]
fn scores_add_up_to_a_hundred_at_most() {
    let all = ("NEW_DEVICE+BURST_LOGIN+LATERAL_MOVEMENT+RARE_HOST".to_owned(), 100);
    assert_eq!(evaluated(&RuleSet::default(), &Features::LOUD), all);
    let mut settings = Settings { rules: RuleSet::of(FIVE), ..Settings::default() };
    let night = settings.rules.flag("BY_NIGHT").unwrap();
    settings.rules.set_weight(night, 1);
    assert_eq!(settings.faults(), Vec::<String>::new(), "what is off adds nothing");
    settings.rules.turn_on(&["RARE_HOST", "BY_NIGHT"]).unwrap();
    assert_eq!((settings.faults().len(), settings.rules.weights_on()), (0, 11));
    settings.rules.turn_on(&FIVE.iter().map(|rule| rule.name).collect::<Vec<_>>()).unwrap();
    assert!(settings.faults()[0].contains("sum to 101"), "{:?}", settings.faults());
}

#[test]
fn thresholds_are_those_that_are_set() {
    let mut set = RuleSet::default();
    let burst = Features { windows: Windows { logons_1h: 51, ..Features::QUIET.windows }, ..Features::QUIET };
    let lateral = Features { windows: Windows { computers_1h: 9, ..Features::QUIET.windows }, ..Features::QUIET };
    assert_eq!((evaluated(&set, &burst).1, evaluated(&set, &lateral).1), (25, 0));
    set.set_threshold("burst_over", 51).unwrap();
    set.set_threshold("lateral_from", 9).unwrap();
    assert_eq!((evaluated(&set, &burst).1, evaluated(&set, &lateral).1), (0, 35));
    assert!(set.set_threshold("night_from", 3).unwrap_err().contains("night_from"));
    let mut five = RuleSet::of(FIVE);
    assert!(five.set_threshold("night_from", 25).unwrap_err().contains("0 to 24"));
    set.set_threshold(MIN_HOSTS, 0).unwrap();
    assert_eq!(set.min_hosts(), 1, "an empty look-back judges nothing");
}

#[test]
fn a_later_rule_is_off_until_it_is_named() {
    let mut set = RuleSet::of(FIVE);
    let night = Features { new_device: true, ..BY_NIGHT.cases.just_above };
    assert_eq!(evaluated(&set, &night), ("NEW_DEVICE".to_owned(), 30));
    set.turn_on(&["BY_NIGHT", "NEW_DEVICE"]).unwrap();
    assert_eq!(
        evaluated(&set, &night),
        ("NEW_DEVICE+BY_NIGHT".to_owned(), 30),
        "listed in the list's order, adds nothing"
    );
    let later: Vec<_> =
        set.later().map(|(flag, rule)| (flag.index(), rule.name, rule.column, set.is_on(flag))).collect();
    assert_eq!(later, [(4, "BY_NIGHT", "is_by_night", true)]);
    let (flag, _) = set.later().next().unwrap();
    assert!(
        set.evaluate(&night).0.has(flag) && !set.evaluate(&Features::QUIET).0.has(flag),
        "what a column is made of"
    );
    set.turn_on(&[]).unwrap();
    assert_eq!(evaluated(&set, &Features::LOUD), (String::new(), 0));
}

#[test]
fn unknown_and_doubled_names_are_refused_and_change_nothing() {
    let mut set = RuleSet::of(FIVE);
    let before = set.clone();
    let why = set.turn_on(&["NEW_DEVICE", "OFF"]).unwrap_err();
    assert!(why.contains("'OFF'") && why.contains("NEW_DEVICE, BURST_LOGIN") && why.contains("BY_NIGHT"), "{why}");
    assert!(RuleSet::default().turn_on(&["BY_NIGHT"]).is_err(), "the list is the one that was handed in");
    assert!(set.turn_on(&["RARE_HOST", "RARE_HOST"]).unwrap_err().contains("twice"));
    assert_eq!(set, before);
}

#[test]
fn the_digest_of_exactly_the_first_four_is_that_of_0_1() {
    let four = RuleSet::default();
    assert_eq!(four.text(), "weights=[30, 25, 35, 10];burst_over=50;lateral_from=10;min_hosts=20");
    assert_eq!(four.digest(), "40f86ee40d92");
    assert_eq!(RuleSet::of(FIVE).digest(), "40f86ee40d92", "a later rule that is off says nothing");
}

#[test]
fn each_figure_that_decides_a_score_enters_the_digest() {
    let all: Vec<_> = FIVE.iter().map(|rule| rule.name).collect();
    let changed = |change: fn(&mut RuleSet)| {
        let mut set = on(FIVE, &all);
        change(&mut set);
        set.text()
    };
    let night = |set: &RuleSet| set.flag("BY_NIGHT").unwrap();
    assert!(on(FIVE, &all).text().ends_with(";min_hosts=20;BY_NIGHT=0;night_from=20;night_to=6"));
    assert!(
        changed(|set| set.turn_on(&["BURST_LOGIN"]).unwrap())
            .ends_with(";min_hosts=20;NEW_DEVICE=off;LATERAL_MOVEMENT=off;RARE_HOST=off")
    );
    let texts = [
        RuleSet::default().text(),
        on(FIVE, &all).text(),
        changed(|set| set.set_threshold("burst_over", 51).unwrap()),
        changed(|set| set.set_threshold("lateral_from", 9).unwrap()),
        changed(|set| set.set_threshold("min_hosts", 21).unwrap()),
        changed(|set| set.set_threshold("night_to", 5).unwrap()),
        changed(|set| set.set_weight(Flag::NEW_DEVICE, 29)),
        changed(|set| set.set_weight(Flag::RARE_HOST, 9)),
        {
            let mut set = on(FIVE, &all);
            set.set_weight(night(&set), 1);
            set.text()
        },
        changed(|set| set.turn_on(&["NEW_DEVICE", "BURST_LOGIN", "LATERAL_MOVEMENT"]).unwrap()),
        changed(|set| set.turn_on(&["BURST_LOGIN", "LATERAL_MOVEMENT", "RARE_HOST"]).unwrap()),
    ];
    let distinct: std::collections::BTreeSet<_> = texts.iter().collect();
    assert_eq!(distinct.len(), texts.len(), "{texts:#?}");
}

#[test]
fn a_list_has_nothing_twice_and_begins_with_the_four() {
    assert_eq!((fault_of(LIST), fault_of(FIVE)), (None, None));
    let fault = |list: Vec<Rule>| fault_of(&list).unwrap_or_default();
    let four = || vec![new_device::RULE, burst_login::RULE, lateral_movement::RULE, rare_host::RULE];
    let with = |rule: Rule| four().into_iter().chain([rule]).collect::<Vec<_>>();
    assert!(fault(vec![burst_login::RULE]).contains("begin with"));
    assert!(fault(with(Rule { name: "RARE_HOST", ..BY_NIGHT })).contains("twice"));
    assert!(fault(with(Rule { column: "is_rare_host", ..BY_NIGHT })).contains("twice"));
    assert!(fault(with(Rule { thresholds: burst_login::RULE.thresholds, ..BY_NIGHT })).contains("burst_over twice"));
    let many = (0..29).map(|n| Rule { name: format!("R{n}").leak(), column: format!("c{n}").leak(), ..BY_NIGHT });
    assert!(fault(four().into_iter().chain(many).collect()).contains("33"));
}

#[test]
fn a_firing_is_told_with_the_figures_that_decided() {
    let evidence = Evidence {
        time: EventTime::default(),
        computer: "C7",
        windows: Windows { logons_1h: 61, logons_24h: 70, computers_1h: 49, computers_24h: 50 },
        popularity: Some(3),
    };
    let set = RuleSet::of(FIVE);
    let why: Vec<_> = set.flags().map(|flag| set.why(flag, &evidence)).collect();
    assert_eq!(
        why,
        [
            "never seen on C7 before",
            "61 logons within an hour (more than 50)",
            "on 49 different computers within an hour (10 or more)",
            "C7 is among the 5% least used computers (3 logons in the look-back)",
            "by night (20 to 6 o'clock)",
        ]
    );
}

#[test]
fn flags_go_in_and_out_of_a_set() {
    let mut flags = Flags::default();
    for index in [31, 0, 4] {
        flags.set(Flag::new(index), true);
    }
    flags.set(Flag::new(4), false);
    assert_eq!(flags.iter().map(Flag::index).collect::<Vec<_>>(), [0, 31]);
    assert_eq!((flags.bits(), Flags::from_bits(flags.bits())), (1 | 1 << 31, flags));
}
