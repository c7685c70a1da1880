//! Whether generated events look like LANL's: the figures that `--check` prints, and the red team's.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::*;

fn off(figures: &[Figure]) -> Vec<&Figure> {
    figures.iter().filter(|figure| figure.verdict == Verdict::Off).collect()
}

/// A writer that counts a run with `Figures`, without keeping the text.
struct Counter(Figures, Vec<u8>);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.1.extend_from_slice(piece);
            if self.1.ends_with(b"\n") {
                self.0.line(&self.1[..self.1.len() - 1]);
                self.1.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn counted(options: &LanlOptions) -> Vec<Figure> {
    let mut counter = Counter(Figures::new(), Vec::new());
    write(options, &mut counter, None::<io::Sink>, |_| ()).expect("it takes all");
    counter.0.figures(options).expect("options that were run")
}

fn reached(figures: &[Figure]) -> usize {
    figures.iter().filter(|figure| figure.verdict == Verdict::Within).count()
}

#[test]
fn the_nine_months_keep_the_real_figures() {
    let long = std::env::var("AUTHPULSE_LONG").is_ok();
    let sizes: &[(u64, usize)] = if long { &[(20, 37), (100, 39)] } else { &[(1, 25), (5, 27)] };
    for seed in [1, 2] {
        for &(millions, held) in sizes {
            let options = LanlOptions { events: Some(millions * 1_000_000), seed, ..LanlOptions::default() };
            let figures = counted(&options);
            assert!(off(&figures).is_empty(), "{millions} M, seed {seed}: {:#?}", off(&figures));
            assert_eq!(reached(&figures), held, "{millions} M: {figures:#?}");
        }
    }
}

/// Compares the real first 10,000 events with the first 10,000 generated, both counted by the same code; and the real ones with the model,
/// which a second program (`derive.py`) counted.
#[test]
fn the_first_ten_thousand_are_as_the_real_ones() {
    let packed = include_bytes!("../../../../../tests/data/lanl/auth9mo_head10k.txt.gz");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).expect("it is whole");
    let head = |figures: Vec<Figure>| {
        figures.into_iter().filter(|figure| figure.name.starts_with("first")).collect::<Vec<_>>()
    };
    let options = LanlOptions { events: Some(10_000), seed: 1, ..LanlOptions::default() };
    let real = head(figures(&text, &options));
    assert_eq!(real.len(), 13);
    assert!(real.iter().all(|figure| figure.found == figure.real), "{real:#?}");
    for seed in 1..=10 {
        let options = LanlOptions { seed, ..options.clone() };
        let made = head(figures(&run(&options).0, &options));
        assert!(made.iter().all(|figure| figure.verdict == Verdict::Within), "seed {seed}: {made:#?}");
    }
}

#[test]
fn a_file_of_another_kind_is_off() {
    // One user, a hundred computers, an event a second.
    let text: String = (1..=1_000_000).map(|second| format!("{second},U1,C{}\n", second % 100)).collect();
    let found = figures(&text, &LanlOptions::default());
    let of = |name: &str| found.iter().find(|figure| figure.name.starts_with(name)).expect("it is there").verdict;
    assert_eq!(of("first 10,000: users"), Verdict::Off);
    assert_eq!(of("pairs after 1 M"), Verdict::Off);
    assert_eq!(of("pairs after 5 M"), Verdict::TooShort);
    assert_eq!(of("events of the busiest hour"), Verdict::MadeUp);
}

#[test]
fn the_58_days_have_their_new_pairs_a_day() {
    // Ten days of the whole network are too many events for a test, so each day is taken from the plan.
    let options = LanlOptions { profile: Profile::FiftyEightDays, seed: 3, ..LanlOptions::default() };
    let model = options.model();
    let Extent { share, rhythm, .. } = options.extent(&model).expect("the whole set");
    let plan = options.plan(&model, share);
    let real = model.counts("day_pairs");
    let mut bursts = HashMap::new();
    for day in 0..58 {
        let (from, to) = (plan.until(rhythm.before(day * 24)), plan.until(rhythm.before((day + 1) * 24)));
        let (made, real) = ((to - from) as u64, real[day as usize]);
        assert!(made.abs_diff(real) * 10 <= real, "day {day}: {made} new pairs, really {real}");
        let mut of_user: HashMap<u32, u32> = HashMap::new();
        plan.pairs[from..to].iter().for_each(|&(user, _)| *of_user.entry(user).or_default() += 1);
        bursts.insert(day, of_user.values().max().copied().unwrap_or(0));
    }
    assert!(bursts[&49] > 9_000, "one account meets thousands on one day");
    assert_eq!(plan.users.len(), 80_553);
    assert_eq!(plan.users.iter().filter(|user| user.machine).count(), 17_586);
    assert!(plan.pairs.iter().collect::<HashSet<_>>().len() == plan.pairs.len());
}

#[test]
fn the_red_team_has_the_shape_of_the_real_one() {
    for profile in [Profile::NineMonths, Profile::FiftyEightDays] {
        // Enough users for 301 computers: in the 58 days, there are fewer computers to a user.
        let users = Some(if profile == Profile::NineMonths { 400 } else { 2_000 });
        let options = LanlOptions { profile, users, days: Some(30), red_team: Some(RedTeam::default()), ..small() };
        let options = LanlOptions { users_only: profile == Profile::FiftyEightDays, ..options };
        let mut csv = Vec::new();
        let written = write(&options, io::sink(), Some(&mut csv), |_| ()).expect("vectors take all");
        let found = labels::read(csv.as_slice()).expect("own file");
        assert_eq!((found.len(), written.red_team_left_out), (715, 0));
        let distinct = |of: fn(&Label) -> &str| found.iter().map(of).collect::<HashSet<_>>().len();
        assert_eq!((distinct(|label| &label.user), distinct(|label| &label.computer)), (104, 301));
        assert!(found.iter().all(|label| (6..24).contains(&(label.time / 3_600 % 24))));
        let mut targets: BTreeMap<(&str, u64), HashSet<&str>> = BTreeMap::new();
        found.iter().for_each(|label| {
            targets.entry((&label.user, label.time / 86_400)).or_default().insert(&label.computer);
        });
        let mut sizes: Vec<usize> = targets.values().map(HashSet::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes.len(), 181, "account-days");
        assert_eq!((sizes[sizes.len() / 2], sizes[sizes.len() * 9 / 10], sizes[sizes.len() - 1]), (1, 6, 49));
        let mut gaps: Vec<u64> = found.windows(2).map(|pair| pair[1].time - pair[0].time).collect();
        gaps.sort_unstable();
        for (percent, real) in [(10, 8), (50, 89), (90, 1_061)] {
            let gap = gaps[gaps.len() * percent / 100];
            assert!(gap.abs_diff(real) * 5 <= real.max(15), "{percent} % of gaps are up to {gap} s, really {real}");
        }
    }
}

#[test]
fn the_red_team_follows_its_parameters() {
    let known = |red: RedTeam| {
        let options = LanlOptions { users: Some(800), days: Some(14), red_team: Some(red), ..small() };
        let (text, found, _) = run(&options);
        let labelled: HashSet<String> = found.iter().map(line).collect();
        let mut seen: HashMap<(&str, &str), u64> = HashMap::new();
        let mut users_of: HashMap<&str, HashSet<&str>> = HashMap::new();
        for (time, user, computer) in text.lines().filter(|line| !labelled.contains(*line)).map(parse) {
            seen.entry((user, computer)).or_insert(time);
            users_of.entry(computer).or_default().insert(user);
        }
        let mut once = HashSet::new();
        let firsts: Vec<&Label> = found.iter().filter(|label| once.insert(&label.computer)).collect();
        let novel = firsts.iter().filter(|label| {
            seen.get(&(label.user.as_str(), label.computer.as_str())).is_none_or(|&time| time >= label.time)
        });
        let popular: usize = firsts.iter().map(|label| users_of[label.computer.as_str()].len()).sum();
        (novel.count() * 100 / firsts.len(), popular / firsts.len())
    };
    let (novel, few) = known(RedTeam { novelty: 100, popularity: 0, accounts: 100 });
    let (known_share, many) = known(RedTeam { novelty: 0, popularity: 100, accounts: 100 });
    assert!(novel > 95 && known_share < 40, "{novel} %, {known_share} %");
    assert!(many > 5 * few.max(1), "{few} users of a target, {many}");
}
