//! Random histories that shrink. A plan consists of small, named acts (a logon, a burst, a quiet night, a corrupt clock), and
//! a builder turns it into records. The builder runs the admission at the same time, so that an act can aim at an exact
//! limit: the watermark, the high-water mark + `max_jump`, a day before the first event that waits.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::admission::{Admission, History, holds};
use crate::attributes::samples;
use crate::broken;
use crate::calendar::{date_of, days_of, format_utc, year_10000};
use crate::model::{DAY, FUTURE_LIMIT, Form, HOUR, LINE_BYTES_MAX, Record, SECOND, Settings, Shard, Step, WHOLE_RING};
use crate::parse::{Event, parse, ring_position};

/// A random input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The settings of all its shards.
    pub settings: Settings,
    /// The shards with their steps, parents before children.
    pub shards: Vec<Shard>,
}

/// One backfilled file: the shard `file`, sealed at its end.
pub fn file_case() -> impl Strategy<Value = Case> {
    (settings(), start(), acts(false)).prop_map(|(settings, start, acts)| {
        let run = start + 4_000 * DAY;
        let shards = {
            let mut builder = Builder::new(&settings, start, Pace::Run(run));
            builder.open("file", WHOLE_RING, false, &[]);
            builder.play(&acts);
            builder.flush_waiting();
            builder.shards()
        };
        Case { settings, shards }
    })
}

/// One to eight shards of a stream. Shards may split, merge or follow a file, and records may lie in the wrong shard.
pub fn stream_case() -> impl Strategy<Value = Case> {
    let parts = (settings(), start(), pace(), layout(), acts(true), turn(), acts(true), any::<bool>());
    parts.prop_map(|(settings, start, pace, layout, before, turn, after, flushed)| {
        let pace = match pace {
            Pace::Live => Pace::Live,
            Pace::Run(_) => Pace::Run(start + 4_000 * DAY),
        };
        let shards = {
            let mut builder = Builder::new(&settings, start, pace);
            builder.play_layout(&layout, &before, &turn, &after);
            if flushed {
                builder.flush_waiting();
            }
            builder.shards()
        };
        Case { settings, shards }
    })
}

/// The bytes of a file with these payloads. `style`, any number, decides on a byte-order mark, the line ends, and blank lines
/// in between.
pub fn file_bytes(payloads: &[Vec<u8>], style: u64) -> Vec<u8> {
    const MARK: &[u8] = b"\xEF\xBB\xBF";
    let mut file = Vec::new();
    let marked = payloads.first().is_some_and(|first| first.starts_with(MARK));
    if marked || style & 1 == 1 {
        file.extend_from_slice(MARK);
    }
    for (at, payload) in payloads.iter().enumerate() {
        let choice = style.rotate_right(u32::try_from(at * 3 % 60).expect("small") + 1);
        if choice & 7 == 0 {
            file.extend_from_slice(if choice & 8 == 0 { b"\n" } else { b" \t\r\n" });
        }
        file.extend_from_slice(payload);
        let last = at + 1 == payloads.len();
        if payload.ends_with(b"\r") || choice & 16 == 0 {
            file.push(b'\r');
        }
        if !last || choice & 32 == 0 {
            file.push(b'\n');
        }
    }
    file
}

/// A user's name. There are few, so that events of the same user meet.
pub fn user_name(number: u8) -> String {
    match number % 8 {
        5 => "\u{fc}5@DOM1".to_owned(),
        6 => "U 6\"".to_owned(),
        7 => "U".repeat(256),
        n => format!("U{n}"),
    }
}

/// A computer's name.
pub fn computer_name(number: u8) -> String {
    match number % 64 {
        31 => "\u{1F600}31".to_owned(),
        n => format!("C{n}"),
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The parts of a plan.

/// A distance from a limit, in microseconds.
type Delta = i64;

/// When an event happens.
#[derive(Debug, Clone)]
enum At {
    Now,
    /// The clock moves on by this many seconds.
    After(u16),
    /// The clock moves on by this many microseconds.
    Micros(u32),
    /// This many seconds before the clock.
    Back(u16),
    /// Near the watermark.
    Watermark(Delta),
    /// Near `max_jump` beyond the high-water mark.
    MaxJump(Delta),
    /// More than `max_jump` beyond the high-water mark, by this many seconds.
    Ahead(u32),
    /// About an hour after the user's last event.
    HourLater(Delta),
    DayLater(Delta),
    /// About a day before or after the first event that waits.
    DayBeforeWaiting(Delta),
    DayAfterWaiting(Delta),
    /// This many seconds after its arrival; if all records arrive in one run, after the clock.
    Early(u16),
    /// About 300 s after its arrival.
    FutureLimit(Delta),
    /// About 300 s before its arrival.
    LiveLimit(Delta),
    /// By a clock that is wrong by this many hours.
    Corrupt(i32),
}

/// How an event is written.
#[derive(Debug, Clone, Copy)]
enum Dress {
    /// The line form in a file, the wire form on a stream.
    Plain,
    Rfc,
    /// An unusual but valid spelling: with an offset, blanks, leading zeros, digits that are cut, keys in another order, and so on.
    Odd(u8),
    /// The wire form, also in a file.
    Wire,
    WireRfc,
    WireOdd(u8),
    /// The wire form with attributes, some of them invalid.
    WireWith(u16),
}

/// The time between an event and its arrival: as the clock goes, or this many seconds (live streams only).
#[derive(Debug, Clone, Copy)]
enum Delay {
    None,
    Secs(u16),
}

#[derive(Debug, Clone)]
struct Logon {
    user: u8,
    computer: u8,
    at: At,
    dress: Dress,
    own_id: Option<u8>,
    delay: Delay,
    /// If set, the record is sent to this shard, no matter which shard owns the user.
    stray: Option<u8>,
}

/// An act that repeats an earlier event, with changes.
#[derive(Debug, Clone)]
struct Again {
    /// How many valid events ago it was.
    back: u8,
    shift: Shift,
    other_user: Option<u8>,
    dress: Dress,
}

#[derive(Debug, Clone, Copy)]
enum Shift {
    /// The same content again, in the given dress. (In the other form of time it has another id.)
    Content,
    /// The same event with its id sent as an own id.
    AsOwn,
    /// The same id sent as an own id, at a time this many seconds and microseconds away.
    SameId(i16, Delta),
    /// The same id at the same time on another computer.
    Elsewhere(u8),
}

#[derive(Debug, Clone, Copy)]
enum Quiet {
    Secs(u16),
    Hours(u8),
    Days(u8),
    Hour,
    Midnight,
    /// The next end of a day + `settle`.
    Settle(Delta),
    Month,
    Year,
}

#[derive(Debug, Clone, Copy)]
enum AdvanceTo {
    /// "W, the newest watermark of the other shards".
    Others,
    /// To this many seconds from the shard's own watermark.
    Own(i32),
    /// Just far enough, more or less, that the first event that waits goes on.
    Reaches(Delta),
}

#[derive(Debug, Clone)]
enum Act {
    Logon(Logon),
    /// One user, one computer, many logons.
    Burst {
        user: u8,
        computer: u8,
        logons: u8,
        every: u8,
    },
    /// One user, many computers.
    Sweep {
        user: u8,
        first: u8,
        computers: u8,
        every: u8,
    },
    /// One user, many own ids; then one of the ids again, for the same event and for another.
    Ids {
        user: u8,
        ids: u8,
        every: u8,
        again: u8,
    },
    /// Logons of many users on many computers, so that a day has enough computers for popularity.
    Fleet {
        computers: u8,
        twice: u8,
    },
    /// Fleets on several days in a row.
    Week {
        days: u8,
        computers: u8,
    },
    Quiet(Quiet),
    /// Quiet, and then events of three users at the instant at which it ends, so that all are accepted.
    Morning(Quiet, u8),
    Again(Again),
    /// Two events ahead, of which the second comes within reach only by the first; then an event that brings the first within reach.
    Chain {
        users: (u8, u8, u8),
        first: u16,
        second: u16,
        reach: u16,
    },
    /// An event ahead, an accepted one, another ahead, and one more than a day after the first: the waiting ones are flushed.
    Settled {
        users: (u8, u8),
        hours: u8,
        later: Delta,
    },
    /// An event that waits, `beyond` seconds out of reach. Then it comes again, and its id for two other events: one that waits too, and
    /// one `before` seconds within reach.
    Meet {
        user: u8,
        beyond: u8,
        before: u8,
    },
    /// An event ahead of its arrival, with a time near `settle` after the next end of a day, and two events of others on time.
    Early {
        users: (u8, u8),
        before: u16,
        ahead: u16,
    },
    Broken {
        kind: u16,
        user: u8,
    },
    /// A logon in a leap second, which is written as second 60.
    Leap {
        user: u8,
        computer: u8,
        dress: Dress,
    },
    /// A payload of exactly 1 MiB, or of a byte more.
    Large {
        over: bool,
        blank: bool,
        user: u8,
    },
    Advance {
        shard: u8,
        to: AdvanceTo,
    },
    /// All shards flush waiting events and advance to the end of the newest day.
    Seal,
}

/// How the ring is divided, and how that changes half-way through the plan.
#[derive(Debug, Clone)]
enum Layout {
    Same(u8),
    /// One of several shards splits; the others stay.
    Split(u8, u8),
    /// Two neighbours merge; the others stay.
    Merge(u8, u8),
    /// One of several splits, and later its second half merges with its neighbour.
    SplitThenMerge(u8, u8),
    /// All shards end, and children with another division of the ring follow.
    Anew(u8, u8),
    FileThen(u8),
}

/// Whether records arrive as the events happen, or all in one run.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Live,
    Run(i64),
}

// ---------------------------------------------------------------------------------------------------------------------
// Strategies.

fn settings() -> impl Strategy<Value = Settings> {
    let standard = Settings::default();
    let base = standard.base_micros;
    let other = (
        prop_oneof![4 => Just(base), 1 => Just(base + 250_000), 1 => Just(base - 400 * DAY)],
        prop_oneof![3 => Just(300), 1 => Just(1), 1 => Just(60), 1 => Just(3_599)],
        prop_oneof![3 => Just(3_600), 1 => Just(600), 1 => Just(7_200)],
        prop_oneof![2 => Just(30), 1 => Just(1), 2 => Just(2), 1 => Just(7)],
        prop_oneof![6 => Just(3_600), 2 => Just(0), 2 => Just(7_200), 1 => Just(90_000), 1 => Just(604_800)],
        prop_oneof![2 => Just(20), 6 => Just(3), 1 => Just(1), 1 => Just(0)],
        prop_oneof![Just(50), Just(4)],
        prop_oneof![Just(10), Just(3)],
        prop_oneof![
            3 => Just([30, 25, 35, 10]),
            1 => Just([25, 25, 25, 25]),
            1 => Just([26, 25, 0, 49]),
            1 => Just([1, 50, 24, 25]),
        ],
    )
        .prop_map(|(base_micros, tolerance, max_jump, lookback, settle, min_hosts, burst, lateral, weights)| {
            Settings {
                base_micros,
                tolerance,
                max_jump: i64::max(max_jump, tolerance),
                lookback,
                settle: i64::max(settle, tolerance),
                min_hosts,
                burst_over: burst,
                lateral_at_least: lateral,
                weights,
                event_model: 1,
            }
        });
    let settings = prop_oneof![1 => Just(standard), 1 => other];
    (settings, 1..=2u32).prop_map(|(settings, event_model)| Settings { event_model, ..settings })
}

/// The time at which the clock of a case begins.
fn start() -> impl Strategy<Value = i64> {
    let at = |year, month, day, hour| days_of(year, month, day).expect("a date") * DAY + hour * HOUR;
    prop_oneof![
        4 => Just(at(2015, 1, 1, 0) + SECOND),
        2 => Just(at(2015, 1, 30, 22)),
        1 => Just(at(2015, 12, 31, 21)),
        1 => Just(at(2016, 2, 28, 23)),
        2 => Just(at(2014, 12, 31, 22)),
        1 => Just(at(1969, 12, 31, 20)),
        1 => Just(at(2015, 1, 1, 0) + 500_000),
    ]
}

fn delta() -> impl Strategy<Value = Delta> {
    prop_oneof![3 => Just(0), 1 => Just(1), 1 => Just(-1), 2 => Just(SECOND), 2 => Just(-SECOND)]
}

/// A user's number. Three users make most of the events, so that events of the same user meet.
fn user() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0..3u8, 1 => 3..8u8]
}

fn computer() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 0..4u8, 2 => 0..32u8]
}

fn at(live: bool) -> impl Strategy<Value = At> {
    let streams = if live { 3 } else { 1 };
    prop_oneof![
        4 => Just(At::Now),
        14 => (1..120u16).prop_map(At::After),
        2 => (1..2_000_000u32).prop_map(At::Micros),
        4 => (1..400u16).prop_map(At::Back),
        2 => (300..9_000u16).prop_map(At::Back),
        4 => delta().prop_map(At::Watermark),
        3 => delta().prop_map(At::MaxJump),
        4 => (1..20_000u32).prop_map(At::Ahead),
        2 => delta().prop_map(At::HourLater),
        2 => delta().prop_map(At::DayLater),
        2 => delta().prop_map(At::DayBeforeWaiting),
        2 => delta().prop_map(At::DayAfterWaiting),
        streams => (1..301u16).prop_map(At::Early),
        2 => delta().prop_map(At::FutureLimit),
        streams => delta().prop_map(At::LiveLimit),
        2 => (26..600i32).prop_map(At::Corrupt),
        1 => (-600..-1i32).prop_map(At::Corrupt),
        1 => (600..60_000i32).prop_map(At::Corrupt),
    ]
}

fn dress() -> impl Strategy<Value = Dress> {
    prop_oneof![
        6 => Just(Dress::Plain),
        2 => Just(Dress::Rfc),
        2 => any::<u8>().prop_map(Dress::Odd),
        2 => Just(Dress::Wire),
        1 => Just(Dress::WireRfc),
        2 => any::<u8>().prop_map(Dress::WireOdd),
        3 => any::<u16>().prop_map(Dress::WireWith),
    ]
}

fn delay() -> impl Strategy<Value = Delay> {
    prop_oneof![
        6 => Just(Delay::None),
        1 => (1..300u16).prop_map(Delay::Secs),
        2 => (301..20_000u16).prop_map(Delay::Secs),
    ]
}

fn logon(live: bool) -> impl Strategy<Value = Logon> {
    let own_id = prop_oneof![6 => Just(None), 1 => (0..8u8).prop_map(Some)];
    let stray = prop_oneof![12 => Just(None), 1 => any::<u8>().prop_map(Some)];
    (user(), computer(), at(live), dress(), own_id, delay(), stray).prop_map(
        |(user, computer, at, dress, own_id, delay, stray)| Logon { user, computer, at, dress, own_id, delay, stray },
    )
}

fn shift() -> impl Strategy<Value = Shift> {
    prop_oneof![
        3 => Just(Shift::Content),
        2 => Just(Shift::AsOwn),
        2 => (-400..400i16, delta()).prop_map(|(secs, delta)| Shift::SameId(secs, delta)),
        1 => delta().prop_map(|delta| Shift::SameId(0, delta)),
        2 => computer().prop_map(Shift::Elsewhere),
    ]
}

fn again() -> impl Strategy<Value = Again> {
    let other_user = prop_oneof![4 => Just(None), 1 => user().prop_map(Some)];
    let back = prop_oneof![3 => 1..3u8, 1 => 1..40u8];
    (back, shift(), other_user, dress()).prop_map(|(back, shift, other_user, dress)| Again {
        back,
        shift,
        other_user,
        dress,
    })
}

fn quiet() -> impl Strategy<Value = Quiet> {
    prop_oneof![
        3 => (60..5_000u16).prop_map(Quiet::Secs),
        2 => (1..30u8).prop_map(Quiet::Hours),
        1 => (1..40u8).prop_map(Quiet::Days),
        2 => Just(Quiet::Hour),
        2 => Just(Quiet::Midnight),
        3 => delta().prop_map(Quiet::Settle),
        1 => Just(Quiet::Month),
        1 => Just(Quiet::Year),
    ]
}

fn advance_to() -> impl Strategy<Value = AdvanceTo> {
    prop_oneof![
        2 => Just(AdvanceTo::Others),
        2 => (-100..20_000i32).prop_map(AdvanceTo::Own),
        3 => delta().prop_map(AdvanceTo::Reaches),
    ]
}

fn act(live: bool) -> BoxedStrategy<Act> {
    let chain = ((user(), user(), user()), 1..3_000u16, 1..3_000u16, 1..3_600u16)
        .prop_map(|(users, first, second, reach)| Act::Chain { users, first, second, reach });
    let settled =
        ((user(), user()), 1..48u8, delta()).prop_map(|(users, hours, later)| Act::Settled { users, hours, later });
    let early =
        ((user(), user()), 0..120u16, 1..301u16).prop_map(|(users, before, ahead)| Act::Early { users, before, ahead });
    let meet = (user(), 1..200u8, 0..100u8).prop_map(|(user, beyond, before)| Act::Meet { user, beyond, before });
    let both = prop_oneof![
        40 => logon(live).prop_map(Act::Logon),
        8 => again().prop_map(Act::Again),
        2 => (quiet(), computer()).prop_map(|(quiet, computer)| Act::Morning(quiet, computer)),
        6 => quiet().prop_map(Act::Quiet),
        2 => (user(), computer(), 3..60u8, 0..80u8)
            .prop_map(|(user, computer, logons, every)| Act::Burst { user, computer, logons, every }),
        2 => (user(), 0..32u8, prop_oneof![9 => 2..16u8, 1 => 30..60u8], 0..120u8)
            .prop_map(|(user, first, computers, every)| Act::Sweep { user, first, computers, every }),
        1 => (user(), 1..40u8, 0..60u8, any::<u8>())
            .prop_map(|(user, ids, every, again)| Act::Ids { user, ids, every, again }),
        2 => (1..32u8, 0..32u8).prop_map(|(computers, twice)| Act::Fleet { computers, twice }),
        1 => (2..34u8, 1..26u8).prop_map(|(days, computers)| Act::Week { days, computers }),
        3 => early,
        2 => chain,
        2 => settled,
        2 => meet,
        5 => (any::<u16>(), user()).prop_map(|(kind, user)| Act::Broken { kind, user }),
        1 => (user(), computer(), dress()).prop_map(|(user, computer, dress)| Act::Leap { user, computer, dress }),
    ];
    if live {
        let advance = (any::<u8>(), advance_to()).prop_map(|(shard, to)| Act::Advance { shard, to });
        prop_oneof![24 => both, 1 => advance].boxed()
    } else {
        both.boxed()
    }
}

/// Mostly small acts. The expensive (a megabyte) and the drastic ones (a seal) are rare.
fn acts(live: bool) -> impl Strategy<Value = Vec<Act>> {
    let large = (any::<bool>(), any::<bool>(), user()).prop_map(|(over, blank, user)| Act::Large { over, blank, user });
    let rare = if live { prop_oneof![large, Just(Act::Seal)].boxed() } else { large.boxed() };
    let most = if live { 25 } else { 40 };
    vec(prop_oneof![300 => act(live), 1 => rare], 0..most)
}

/// Acts right before the ring is divided again, mostly events that wait.
fn turn() -> impl Strategy<Value = Vec<Act>> {
    let ahead = (
        user(),
        computer(),
        prop_oneof![
            (1..9_000u32).prop_map(At::Ahead),
            delta().prop_map(At::DayAfterWaiting),
            (26..200i32).prop_map(At::Corrupt),
        ],
    );
    let ahead = (ahead, any::<u8>()).prop_map(|((user, computer, at), id)| {
        let own_id = (id % 3 == 0).then_some(id % 8);
        let delay = Delay::Secs(301 + u16::from(id));
        Act::Logon(Logon { user, computer, at, dress: Dress::Plain, own_id, delay, stray: None })
    });
    vec(ahead, 0..4)
}

fn pace() -> impl Strategy<Value = Pace> {
    prop_oneof![3 => Just(Pace::Live), 2 => Just(Pace::Run(0))]
}

fn layout() -> impl Strategy<Value = Layout> {
    prop_oneof![
        3 => Just(Layout::Same(1)),
        4 => (2..9u8).prop_map(Layout::Same),
        2 => (1..6u8, any::<u8>()).prop_map(|(shards, which)| Layout::Split(shards, which)),
        3 => (2..6u8, any::<u8>()).prop_map(|(shards, which)| Layout::Merge(shards, which)),
        2 => (1..4u8, any::<u8>()).prop_map(|(shards, which)| Layout::SplitThenMerge(shards, which)),
        2 => (1..4u8, 1..5u8).prop_map(|(before, after)| Layout::Anew(before, after)),
        1 => (1..5u8).prop_map(Layout::FileThen),
    ]
}

// ---------------------------------------------------------------------------------------------------------------------
// From a plan to records.

/// A shard that is being built.
struct Lane<'a> {
    shard: Shard,
    admission: Admission<'a>,
    open: bool,
}

struct Builder<'a> {
    settings: &'a Settings,
    lanes: Vec<Lane<'a>>,
    /// The clock of the plan.
    now: i64,
    pace: Pace,
    /// The last arrival. Arrivals in streams never repeat, so that no order depends on a tie.
    arrived: i64,
    /// Every valid event so far.
    log: Vec<Event>,
}

/// `count` equal parts of the ring.
pub fn equal_ranges(count: u8) -> Vec<(u128, u128)> {
    let count = u128::from(count);
    let step = u128::MAX / count;
    (0..count)
        .map(|at| {
            let end = if at + 1 == count { u128::MAX } else { (at + 1) * step - 1 };
            (at * step, end)
        })
        .collect()
}

fn middle(range: (u128, u128)) -> u128 {
    range.0 + (range.1 - range.0) / 2
}

impl<'a> Builder<'a> {
    fn new(settings: &'a Settings, start: i64, pace: Pace) -> Builder<'a> {
        let arrived = match pace {
            Pace::Live => start,
            Pace::Run(run) => run,
        };
        Builder { settings, lanes: Vec::new(), now: start, pace, arrived, log: Vec::new() }
    }

    fn shards(self) -> Vec<Shard> {
        self.lanes.into_iter().map(|lane| lane.shard).collect()
    }

    fn open(&mut self, id: &str, range: (u128, u128), live: bool, parents: &[usize]) {
        for &parent in parents {
            self.lanes[parent].open = false;
        }
        let histories: Vec<&History> = parents.iter().map(|&parent| &self.lanes[parent].admission.history).collect();
        let admission = Admission::new(self.settings, range, live, &histories);
        let shard = Shard { id: id.to_owned(), range, parents: parents.to_vec(), live, steps: Vec::new() };
        self.lanes.push(Lane { shard, admission, open: true });
    }

    fn open_shard(&mut self, range: (u128, u128), parents: &[usize]) {
        let id = format!("shardId-{:012}", self.lanes.len());
        self.open(&id, range, true, parents);
    }

    fn play_layout(&mut self, layout: &Layout, before: &[Act], turn: &[Act], after: &[Act]) {
        let first = match layout {
            Layout::Same(shards) | Layout::Split(shards, _) | Layout::Merge(shards, _) => *shards,
            Layout::SplitThenMerge(shards, _) => *shards,
            Layout::Anew(before, _) => *before,
            Layout::FileThen(_) => 0,
        };
        let ranges = equal_ranges(first.max(1));
        if first == 0 {
            self.open("file", WHOLE_RING, false, &[]);
        } else {
            ranges.iter().for_each(|&range| self.open_shard(range, &[]));
        }
        self.play(before);
        if !matches!(layout, Layout::Same(_)) {
            self.play(turn);
        }
        match layout {
            Layout::Same(_) => {}
            Layout::Split(shards, which) => self.split(usize::from(which % shards)),
            Layout::SplitThenMerge(shards, which) => {
                let which = usize::from(which % shards);
                self.split(which);
                let (soon, later) = after.split_at(after.len() / 2);
                self.play(soon);
                self.play(turn);
                let (first, second) = (self.lanes.len() - 2, self.lanes.len() - 1);
                // The next shard on the ring or, if there is none, the first half.
                let parents = if which + 1 < ranges.len() { [second, which + 1] } else { [first, second] };
                let [from, to] = parents.map(|parent| self.lanes[parent].shard.range);
                self.open_shard((from.0, to.1), &parents);
                return self.play(later);
            }
            Layout::Merge(shards, which) => {
                let which = usize::from(which % (shards - 1));
                let range = (ranges[which].0, ranges[which + 1].1);
                self.open_shard(range, &[which, which + 1]);
            }
            Layout::Anew(_, shards) | Layout::FileThen(shards) => {
                for range in equal_ranges(*shards) {
                    let overlaps = |old: &(u128, u128)| old.0 <= range.1 && range.0 <= old.1;
                    let parents: Vec<usize> = (0..ranges.len()).filter(|&at| overlaps(&ranges[at])).collect();
                    self.open_shard(range, &parents);
                }
            }
        }
        self.play(after);
    }

    /// Splits a shard in the middle.
    fn split(&mut self, which: usize) {
        let range = self.lanes[which].shard.range;
        self.open_shard((range.0, middle(range)), &[which]);
        self.open_shard((middle(range) + 1, range.1), &[which]);
    }

    fn play(&mut self, acts: &[Act]) {
        for act in acts {
            self.act(act);
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Logon(ref logon) => self.logon(logon),
            Act::Burst { user, computer, logons, every } => {
                for _ in 0..logons {
                    self.simple(user, computer, every);
                }
            }
            Act::Sweep { user, first, computers, every } => {
                for at in 0..computers {
                    self.simple(user, first.wrapping_add(at), every);
                }
            }
            Act::Ids { user, ids, every, again } => {
                let id = |at: u8| Some(format!("many-{at}"));
                let again = again % ids;
                let mut then = self.now;
                for at in 0..ids {
                    self.now += i64::from(every) * SECOND;
                    then = if at == again { self.now } else { then };
                    self.write(user, at % 3, self.now, Dress::Plain, id(at));
                }
                self.write(user, again % 3, then, Dress::Plain, id(again));
                self.write(user, again % 3, self.now, Dress::Plain, id(again));
            }
            Act::Fleet { computers, twice } => self.fleet(computers, twice),
            Act::Week { days, computers } => {
                for day in 0..days {
                    self.fleet(if day % 3 == 0 { computers } else { 3 }, day);
                    self.quiet(Quiet::Settle(0));
                }
            }
            Act::Quiet(quiet) => self.quiet(quiet),
            Act::Morning(quiet, computer) => {
                self.quiet(quiet);
                for user in 0..3 {
                    self.simple(user, computer, 0);
                }
            }
            Act::Again(ref again) => self.again(again),
            Act::Chain { users, first, second, reach } => {
                let high_water = self.high_water_of(users.2).unwrap_or(self.now);
                let jump = self.settings.max_jump * SECOND;
                let first = high_water + jump + i64::from(first) * SECOND;
                let second = i64::max(first, high_water + jump) + i64::from(second) * SECOND;
                self.write(users.0, 1, first, Dress::Plain, None);
                self.write(users.1, 2, second, Dress::Plain, None);
                self.write(users.2, 3, high_water + i64::from(reach) * SECOND, Dress::Plain, None);
            }
            Act::Settled { users, hours, later } => {
                let high_water = self.high_water_of(users.0).unwrap_or(self.now);
                let first = high_water + self.settings.max_jump * SECOND + i64::from(hours) * HOUR;
                self.write(users.0, 1, first, Dress::Plain, None);
                self.write(users.1, 2, high_water + SECOND, Dress::Plain, None);
                self.write(users.0, 3, first + HOUR, Dress::Plain, None);
                self.write(users.1, 4, first + DAY + later, Dress::Plain, None);
            }
            Act::Meet { user, beyond, before } => {
                let reach = self.high_water_of(user).unwrap_or(self.now) + self.settings.max_jump * SECOND;
                let mut meet = |computer, time| self.write(user, computer, time, Dress::Plain, Some(own_id(user)));
                meet(1, reach + i64::from(beyond) * SECOND);
                meet(1, reach + i64::from(beyond) * SECOND);
                meet(2, reach + i64::from(beyond) * SECOND);
                meet(1, reach - i64::from(before) * SECOND);
            }
            Act::Early { users, before, ahead } => {
                self.quiet(Quiet::Settle(-i64::from(before) * SECOND));
                let time = self.now + i64::from(ahead) * SECOND;
                self.write(users.0, 1, time, Dress::Plain, None);
                self.simple(users.1, 2, 1);
                self.simple(users.1, 3, 1);
            }
            Act::Broken { kind, user } => self.broken(kind, user),
            Act::Leap { user, computer, dress } => {
                self.now = (self.now.div_euclid(DAY) + 1) * DAY - 1;
                self.write(user, computer, self.now, dress, None);
            }
            Act::Large { over, blank, user } => self.large(over, blank, user),
            Act::Advance { shard, to } => self.advance(shard, to),
            Act::Seal => self.seal(),
        }
    }

    /// The open shard that owns a user.
    fn owner(&self, user: &str) -> usize {
        let owns = |lane: &Lane| lane.open && holds(lane.shard.range, user);
        self.lanes.iter().position(owns).expect("open shards cover the ring")
    }

    fn high_water_of(&self, user: u8) -> Option<i64> {
        self.lanes[self.owner(&user_name(user))].admission.high_water()
    }

    fn next_arrival(&mut self, lane: usize, delay: Delay) -> i64 {
        match self.pace {
            // "for a backfilled file, the (stored) start of the run"
            Pace::Run(run) if self.lanes[lane].shard.id == "file" => return run,
            Pace::Run(_) => self.arrived += 1_000,
            Pace::Live => {
                if let Delay::Secs(secs) = delay {
                    self.now += i64::from(secs) * SECOND;
                }
                let millis = (self.now.max(self.arrived + 1) + 999).div_euclid(1_000);
                self.arrived = millis * 1_000;
            }
        }
        self.arrived
    }

    fn time_of(&mut self, at: &At, user: &str, lane: usize, arrival: i64) -> i64 {
        let admission = &self.lanes[lane].admission;
        let high_water = admission.high_water().unwrap_or(self.now);
        let jump = self.settings.max_jump * SECOND;
        let tolerance = self.settings.tolerance * SECOND;
        let accepted = admission.history.accepted.iter().filter(|event| event.user == user);
        let newest = accepted.map(|event| event.time).max().unwrap_or(self.now);
        let waits = admission.history.waiting.first().map_or(high_water + jump + 3 * DAY, |it| it.arrived.event.time);
        match *at {
            At::Now => self.now,
            At::After(secs) => {
                self.now += i64::from(secs) * SECOND;
                self.now
            }
            At::Micros(micros) => {
                self.now += i64::from(micros);
                self.now
            }
            At::Back(secs) => self.now - i64::from(secs) * SECOND,
            At::Watermark(delta) => high_water - tolerance + delta,
            At::MaxJump(delta) => high_water + jump + delta,
            At::Ahead(secs) => high_water + jump + i64::from(secs) * SECOND,
            At::HourLater(delta) => newest + HOUR + delta,
            At::DayLater(delta) => newest + DAY + delta,
            At::DayBeforeWaiting(delta) => waits - DAY + delta,
            At::DayAfterWaiting(delta) => waits + DAY + delta,
            At::Early(secs) => {
                let clock = if matches!(self.pace, Pace::Live) { arrival } else { self.now };
                clock + i64::from(secs) * SECOND
            }
            At::FutureLimit(delta) => arrival + FUTURE_LIMIT + delta,
            At::LiveLimit(delta) => arrival - FUTURE_LIMIT + delta,
            At::Corrupt(hours) => self.now + i64::from(hours) * HOUR,
        }
    }

    fn logon(&mut self, logon: &Logon) {
        let user = user_name(logon.user);
        let owner = self.owner(&user);
        let lane = match logon.stray {
            Some(stray) => {
                let open: Vec<usize> = (0..self.lanes.len()).filter(|&at| self.lanes[at].open).collect();
                open[usize::from(stray) % open.len()]
            }
            None => owner,
        };
        let before = self.now;
        let arrival = if matches!(logon.delay, Delay::None) {
            // The clock may move with the event, and its arrival with the clock.
            if let At::After(secs) = logon.at {
                self.now += i64::from(secs) * SECOND;
            }
            let arrival = self.next_arrival(lane, Delay::None);
            self.now = before;
            arrival
        } else {
            self.next_arrival(lane, logon.delay)
        };
        let delayed = self.now;
        self.now = before;
        let time = self.time_of(&logon.at, &user, lane, arrival);
        self.now = self.now.max(delayed);
        self.send(lane, arrival, time, &user, &computer_name(logon.computer), logon.dress, logon.own_id.map(own_id));
    }

    /// A plain logon, `every` seconds after the clock.
    fn simple(&mut self, user: u8, computer: u8, every: u8) {
        self.now += i64::from(every) * SECOND;
        self.write(user, computer, self.now, Dress::Plain, None);
    }

    /// Sends an event with this time to the shard that owns its user.
    fn write(&mut self, user: u8, computer: u8, time: i64, dress: Dress, id: Option<String>) {
        let user = user_name(user);
        let lane = self.owner(&user);
        let arrival = self.next_arrival(lane, Delay::None);
        self.send(lane, arrival, time, &user, &computer_name(computer), dress, id);
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a record, each of another kind")]
    fn send(
        &mut self,
        lane: usize,
        arrival: i64,
        time: i64,
        user: &str,
        computer: &str,
        dress: Dress,
        id: Option<String>,
    ) {
        let first = days_of(1, 1, 1).expect("a date") * DAY;
        let time = time.clamp(first, year_10000() - 1);
        let file = self.lanes[lane].shard.id == "file";
        let payload = dress_up(self.settings, time, user, computer, dress, id, file);
        self.push(lane, arrival, payload, user.to_owned());
    }

    fn push(&mut self, lane: usize, arrival: i64, payload: Vec<u8>, partition_key: String) {
        let file = self.lanes[lane].shard.id == "file";
        let form = if file { Form::Line } else { Form::Wire };
        let partition_key = if file { String::new() } else { partition_key };
        let record = Record { payload, partition_key, arrival, place: (0, 0), form };
        self.log.extend(parse(self.settings, &record));
        self.step(lane, Step::Record(record));
    }

    fn step(&mut self, lane: usize, step: Step) {
        let lane = &mut self.lanes[lane];
        lane.admission.step(&step);
        lane.shard.steps.push(step);
        // The plan's clock follows the shards. Otherwise all later events would be late.
        if let Some(high_water) = lane.admission.high_water() {
            self.now = self.now.max(high_water);
        }
    }

    fn fleet(&mut self, computers: u8, twice: u8) {
        for at in 0..computers {
            self.simple(at % 5, at, 3);
            if at < twice {
                self.simple((at + 1) % 5, at, 0);
            }
        }
    }

    fn quiet(&mut self, quiet: Quiet) {
        let day = self.now.div_euclid(DAY);
        let (year, month, _) = date_of(day);
        let midnight = (day + 1) * DAY;
        self.now = match quiet {
            Quiet::Secs(secs) => self.now + i64::from(secs) * SECOND,
            Quiet::Hours(hours) => self.now + i64::from(hours) * HOUR,
            Quiet::Days(days) => self.now + i64::from(days) * DAY,
            Quiet::Hour => (self.now.div_euclid(HOUR) + 1) * HOUR,
            Quiet::Midnight => midnight,
            Quiet::Settle(delta) => {
                let settle = self.settings.settle * SECOND;
                ((self.now - settle).div_euclid(DAY) + 1) * DAY + settle + delta
            }
            Quiet::Month if month == 12 => days_of(year + 1, 1, 1).expect("a date") * DAY,
            Quiet::Month => days_of(year, month + 1, 1).expect("a date") * DAY,
            Quiet::Year => days_of(year + 1, 1, 1).expect("a date") * DAY,
        };
    }

    fn again(&mut self, again: &Again) {
        let back = usize::from(again.back).min(self.log.len());
        if back == 0 {
            return;
        }
        let event = self.log[self.log.len() - back].clone();
        let user = again.other_user.map_or(event.user, user_name);
        let (mut time, mut computer, mut id) = (event.time, event.computer, Some(event.id));
        match again.shift {
            Shift::Content => id = id.filter(|_| !event.content_id),
            Shift::AsOwn => {}
            Shift::SameId(secs, delta) => time += i64::from(secs) * SECOND + delta,
            Shift::Elsewhere(other) => computer = computer_name(other),
        }
        let lane = self.owner(&user);
        let arrival = self.next_arrival(lane, Delay::None);
        self.send(lane, arrival, time, &user, &computer, again.dress, id);
    }

    fn broken(&mut self, kind: u16, user: u8) {
        let user = user_name(user % 5);
        let lane = self.owner(&user);
        let arrival = self.next_arrival(lane, Delay::None);
        let file = self.lanes[lane].shard.id == "file";
        let (payload, key) = if file {
            let lines = broken::lines(&user);
            (lines[usize::from(kind) % lines.len()].clone(), String::new())
        } else {
            let records = broken::records(&user);
            records[usize::from(kind) % records.len()].clone()
        };
        self.push(lane, arrival, payload, key);
    }

    /// A payload of 1,048,576 bytes or one more: blanks, or a valid event with blanks after it.
    fn large(&mut self, over: bool, blank: bool, user: u8) {
        let user = user_name(user % 5);
        let lane = self.owner(&user);
        let arrival = self.next_arrival(lane, Delay::None);
        let file = self.lanes[lane].shard.id == "file";
        let mut payload = if blank && (over || !file) {
            Vec::new()
        } else {
            dress_up(self.settings, self.now, &user, "C1", Dress::Wire, None, file)
        };
        payload.resize(LINE_BYTES_MAX + usize::from(over), b' ');
        self.push(lane, arrival, payload, user);
    }

    fn advance(&mut self, shard: u8, to: AdvanceTo) {
        let open: Vec<usize> = (0..self.lanes.len()).filter(|&at| self.lanes[at].open).collect();
        // Prefers a shard in which an event waits.
        let waits = |at: &&usize| !self.lanes[**at].admission.history.waiting.is_empty();
        let lane = match open.iter().find(waits) {
            Some(&lane) if shard.is_multiple_of(2) => lane,
            _ => open[usize::from(shard) % open.len()],
        };
        let watermark = |at: usize| self.lanes[at].admission.history.watermark;
        let to = match to {
            AdvanceTo::Others => {
                let others = open.iter().filter(|&&other| other != lane);
                others.filter_map(|&other| watermark(other)).max()
            }
            AdvanceTo::Own(secs) => Some(watermark(lane).unwrap_or(self.now) + i64::from(secs) * SECOND),
            AdvanceTo::Reaches(delta) => self.lanes[lane].admission.history.waiting.first().map(|it| {
                let reach = (self.settings.max_jump + self.settings.tolerance) * SECOND;
                it.arrived.event.time - reach + delta
            }),
        };
        if let Some(to) = to {
            self.step(lane, Step::Advance(to));
        }
    }

    fn flush_waiting(&mut self) {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].open {
                self.step(lane, Step::Flush);
            }
        }
    }

    /// Section 2, sealing: waiting events are flushed; when all ends are stored, each shard's watermark advances to the end
    /// of the newest day (UTC) accepted in any of them.
    fn seal(&mut self) {
        self.flush_waiting();
        let accepted = self.lanes.iter().flat_map(|lane| &lane.admission.history.accepted);
        let Some(newest) = accepted.map(|event| event.time).max() else {
            return;
        };
        let end = (newest.div_euclid(DAY) + 1) * DAY;
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].open {
                self.step(lane, Step::Advance(end));
            }
        }
    }
}

/// A producer's own id: short, or as long as allowed.
fn own_id(number: u8) -> String {
    match number {
        7 => "\u{e9}".repeat(64),
        6 => " 6, ".to_owned(),
        n => format!("id-{n}"),
    }
}

/// An event as the bytes of a record.
fn dress_up(
    settings: &Settings,
    time: i64,
    user: &str,
    computer: &str,
    dress: Dress,
    id: Option<String>,
    file: bool,
) -> Vec<u8> {
    let since = time - settings.base_micros;
    let whole = since % SECOND == 0 && (1..1_000_000_000_000).contains(&(since / SECOND));
    let integer = whole.then(|| (since / SECOND).to_string());
    let as_line = file && id.is_none();
    match dress {
        Dress::Plain | Dress::Rfc | Dress::Odd(_) if as_line => {
            let text = match (dress, integer) {
                (Dress::Plain, Some(integer)) => integer,
                (Dress::Odd(n), Some(integer)) if n % 3 == 0 => {
                    return format!("\t {integer:0>12} , {user}\t,  {computer} ").into_bytes();
                }
                (Dress::Odd(n), _) => odd_rfc(time, n, false),
                _ => format_utc(time),
            };
            // A line must not begin with `{`, or it would be read as the wire form. It begins with a time here.
            format!("{text},{user},{computer}").into_bytes()
        }
        Dress::Odd(n) | Dress::WireOdd(n) => odd_wire(time, integer, user, computer, id.as_deref(), n, file),
        Dress::Rfc | Dress::WireRfc => {
            let time = json_text(&format_utc(time));
            wire(&time, &json_text(user), &json_text(computer), id.as_deref())
        }
        Dress::Plain | Dress::Wire | Dress::WireWith(_) => {
            let time = integer.unwrap_or_else(|| json_text(&format_utc(time)));
            let mut record = wire(&time, &json_text(user), &json_text(computer), id.as_deref());
            if let Dress::WireWith(n) = dress {
                record.splice(1..1, samples::members(n).into_bytes());
            }
            record
        }
    }
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

fn wire(time: &str, user: &str, computer: &str, id: Option<&str>) -> Vec<u8> {
    let id = id.map_or(String::new(), |id| format!(",\"event_id\":{}", json_text(id)));
    format!("{{\"time\":{time},\"user\":{user},\"computer\":{computer}{id}}}").into_bytes()
}

/// The same instant in another spelling that the page allows.
fn odd_rfc(time: i64, n: u8, in_json: bool) -> String {
    let first = days_of(1, 1, 2).expect("a date") * DAY;
    let last = year_10000() - DAY;
    if time < first || time >= last {
        return format_utc(time);
    }
    let shift = |minutes: i64, zone: &str| {
        let local = format_utc(time + minutes * 60 * SECOND);
        let local = local.trim_end_matches('Z');
        // The last microsecond of a day can also be written as a leap second, with any fraction.
        let leap = time.rem_euclid(DAY) == DAY - 1;
        if leap { local.replace("59.999999", "60.25") + zone } else { format!("{local}{zone}") }
    };
    let short = |text: String| text.replace(".000000", "").replace(".500000", ".5").replace("60.25", "60");
    let spaced = |text: String| text.replacen('T', " ", 1);
    let comma = |text: String| if in_json { text.replace('.', ",") } else { text };
    match n % 12 {
        0 => short(shift(0, "Z")),
        1 => shift(0, "999999999Z"),
        2 => shift(330, "+05:30"),
        3 => short(shift(-(23 * 60 + 59), "-23:59")),
        4 => shift(0, "-00:00"),
        5 => short(shift(23 * 60 + 59, "+23:59")),
        6 => shift(0, "z").to_lowercase(),
        7 => spaced(short(shift(0, "Z"))),
        8 => shift(330, "+0530"),
        9 => spaced(shift(-(23 * 60 + 59), "-2359")),
        10 => comma(shift(0, "z")),
        _ => comma(spaced(shift(60, "+0100"))),
    }
}

/// The wire form in unusual but valid spellings.
fn odd_wire(
    time: i64,
    integer: Option<String>,
    user: &str,
    computer: &str,
    id: Option<&str>,
    n: u8,
    file: bool,
) -> Vec<u8> {
    let digits = |integer: &str| format!("\"{integer:0>12}\"");
    let plain = integer.clone().unwrap_or_else(|| json_text(&odd_rfc(time, n / 16, true)));
    let (user, computer) = (json_text(user), json_text(computer));
    let own = id.map_or(String::new(), |id| format!(",\"event_id\":{}", json_text(id)));
    let escaped = |text: &str| {
        let inner: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{inner}\"")
    };
    let unquoted = |json: &str| serde_json::from_str::<String>(json).expect("a string");
    let extra = |extra: &str| format!("{{\"time\":{plain},{extra},\"user\":{user},\"computer\":{computer}{own}}}");
    let text = match n % 20 {
        0 => format!("{{\"computer\":{computer},\"user\":{user}{own},\"time\":{plain}}}"),
        1 => extra(&format!("\"deep\":{}{}", "[".repeat(99), "]".repeat(99))),
        2 => extra("\"n\":[-0,1e999999999,0.5E-3,123456789012345678901234567890]"),
        3 => extra(r#""\ud800":"\udc00\ud800x","\ud800":null"#),
        4 => extra(r#""x":1,"x":2,"Time":null,"user ":{"user":[],"time":{}}"#),
        5 => format!("{{\"\\u0074ime\":{plain},\"u\\u0073er\":{user},\"computer\":{computer}{own}}}"),
        6 => format!(
            "{{\"time\":{plain},\"user\":{},\"computer\":{}{own}}}",
            escaped(&unquoted(&user)),
            escaped(&unquoted(&computer))
        ),
        7 => format!(
            "{{\"time\":{plain},\"user\":{},\"computer\":{}{own}}}",
            json_text(&format!(" \t{}\t ", unquoted(&user))),
            json_text(&format!("{} ", unquoted(&computer)))
        ),
        8 => format!("{{ \"time\" :\t{plain} ,\"user\": {user},\"computer\":{computer}{own} }} \t"),
        9 if !file => format!("\r\n\t {{\"time\":{plain},\"user\":{user},\"computer\":{computer}{own}}}\n"),
        10 | 11 => {
            let time = integer.as_deref().map_or(plain.clone(), digits);
            format!("{{\"time\":{time},\"user\":{user},\"computer\":{computer}{own}}}")
        }
        12 => {
            let time = json_text(&odd_rfc(time, n / 16, true));
            format!("{{\"time\":{time},\"user\":{user},\"computer\":{computer}{own}}}")
        }
        // Bytes that are passed over where nobody reads them. U+F8FF stands for a byte that is not valid UTF-8.
        13 => extra("\"x\":\"\u{f8ff}\",\"\u{f8ff}\":[{\"\u{f8ff}\":\"\u{f8ff}\\\u{f8ff}\"}]"),
        14 => extra("\"x\":\"\t\u{1}\r\0\",\"\t\":{\"\t\":[\"\u{1f}\"]}"),
        15 if !file => extra("\"x\":\"\n\",\"\n\":null"),
        15 | 16 => extra(r#""x":NaN,"y":[Infinity,-Infinity,{"time":NaN}]"#),
        17 => extra(r#""x":"\x41\u12g4\"\U\\","\q":["\ud800\u",{"\ ":"\\\""}]"#),
        18 => extra("\"user\u{f8ff}\":\"x\",\"time\t\":0,\"\\x75ser\":NaN,\"event_id\\ud800\":null"),
        _ => extra("\"\u{7f}\u{fffe}\":\"\u{85}\\/\\b\\f\""),
    };
    broken::with_bad_bytes(text)
}

/// The shards of a case in which a user's events may lie: those whose range holds MD5(user).
pub fn shards_of<'a>(case: &'a Case, user: &str) -> impl Iterator<Item = &'a Shard> {
    let position = ring_position(user);
    case.shards.iter().filter(move |shard| (shard.range.0..=shard.range.1).contains(&position))
}
