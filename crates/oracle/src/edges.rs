//! Edges: the rules and limits of the page that an input may reach, so that tests can count them.

use std::collections::BTreeMap;

/// How often one input reached each edge.
pub type EdgeCounts = BTreeMap<Edge, u64>;

macro_rules! edges {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A rule, a reason or a limit of the page.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Edge {
            $($(#[$doc])* $name,)*
        }

        impl Edge {
            /// All edges.
            pub const ALL: &[Edge] = &[$(Edge::$name,)*];
        }
    };
}

edges! {
    // Reasons of section 2.
    /// Rejected: does not parse or breaks a rule of section 1.
    Invalid,
    /// Rejected: the user belongs to another shard.
    Misrouted,
    /// Rejected: more than 300 s ahead of its arrival.
    Future,
    /// Exactly 300 s ahead of its arrival, which is not `future`.
    FutureNotQuite,
    /// Rejected as `future` by at most a second.
    FutureBarely,
    /// Rejected: below the watermark.
    Late,
    /// Rejected as `late` by at most a second.
    LateBarely,
    /// Accepted exactly at the watermark.
    TieAtWatermark,
    /// Rejected: the same id of the same user was accepted at the same instant on the same computer.
    Duplicate,
    /// The same id of the same user was accepted again at another instant, at most the tolerance away.
    SameIdOtherTime,
    /// The same id of the same user was accepted again on another computer, at most the tolerance away.
    SameIdOtherComputer,
    /// The same id was accepted for two users.
    SameIdOtherUser,
    /// A duplicate where only one of the two events has an own id, which equals the content id of both.
    OwnIdIsContentId,
    /// Accepted with an own id that is the content id of another event, or with the content id that another has as its own id.
    OwnIdIsContentIdOfAnother,
    /// The same instant, user and computer were accepted in both forms of time, with two ids.
    BothFormsOfTime,

    // Events that wait.
    /// An event waits.
    Waited,
    /// Exactly `max_jump` beyond the high-water mark, which is not ahead.
    AheadNotQuite,
    /// At most a second more than `max_jump` beyond the high-water mark.
    AheadBarely,
    /// Rejected as `duplicate`: the same event waits already.
    DuplicateAmongWaiting,
    /// Two events with the same id wait, at different instants or on different computers.
    SameIdWaitsTwice,
    /// Events of three distinct users wait, so all go on.
    WentOnByThreeUsers,
    /// Ten events wait, so all go on.
    WentOnByTenEvents,
    /// An acceptance moved the high-water mark, so that a waiting event is no longer ahead.
    WentOnNoLongerAhead,
    /// A waiting event is no longer ahead only because another went on before it.
    WentOnInASecondRound,
    /// A waiting event is rejected as `future`: ten events that did not wait were accepted since its arrival.
    RejectedAfterTenAccepted,
    /// An event more than 86400 s before the first that waits: all that wait are rejected.
    RejectedByEarlierDay,
    /// An event exactly 86400 s before the first that waits: nothing is rejected.
    EarlierDayNotQuite,
    /// An event more than 86400 s after the first that waits: they are flushed.
    FlushedByLaterDay,
    /// An event exactly 86400 s after the first that waits: nothing is flushed.
    LaterDayNotQuite,
    /// Flushing: nothing was accepted since its arrival, so it goes on.
    FlushAccepted,
    /// Flushing: something was accepted since its arrival, so it is rejected as `future`.
    FlushRejected,
    /// An event that waited is `late` when it goes on.
    WaitedThenLate,
    /// Events wait at the end of an input that is not flushed.
    StillWaiting,

    // Edges of streams.
    /// Accepted with a time ahead of its arrival.
    AcceptedEarly,
    /// Accepted more than the tolerance below an event that is ahead of its arrival: that one did not move the watermark so far.
    OnTimeBesideEarly,
    /// The watermark advances to the end of a day that is closed for an event ahead of its arrival.
    EarlyClosesDay,
    /// A live event more than `max_jump` beyond the high-water mark.
    LiveJump,
    /// A live event in a shard without a high-water mark.
    LiveFirst,
    /// Exactly 300 s behind its arrival, and so live.
    LiveBarely,
    /// An event that waited with a time up to that of a live event goes on before that.
    WentOnBeforeLive,
    /// An event that waited with a time up to `W` + tolerance + `max_jump` goes on before the advance to `W`.
    WentOnBeforeAdvance,
    /// The same with a time of exactly `W` + tolerance + `max_jump`.
    WentOnBeforeAdvanceBarely,
    /// A watermark advances without an event.
    Advance,
    /// An advance to a time that is not above the watermark, which does nothing.
    AdvanceToNothing,
    /// Rejected as `late` because of an advance, not because of accepted events.
    LateByAdvance,
    /// A shard inherits from its parents.
    Inherited,
    /// A child admits again an event that waited in a parent.
    InheritedWaiting,
    /// Such an event waits again.
    InheritedWaitsAgain,
    /// Such an event goes on at once.
    InheritedGoesOn,
    /// A window of a child holds events that a parent accepted.
    InheritedWindow,

    // Windows.
    /// An event lies exactly 3600 s before the newest, so outside of the window.
    HourWindowEdge,
    /// An event lies inside the window of an hour, within a second of its edge.
    HourWindowInside,
    /// An event lies exactly 86400 s before the newest, so outside of the window.
    DayWindowEdge,
    /// An event lies inside the window of a day, within a second of its edge.
    DayWindowInside,
    /// Accepted with a time before the user's newest event.
    OutOfOrder,
    /// Two events of a user at one instant.
    SameInstant,

    // Rules of section 4.
    /// NEW_DEVICE fires.
    NewDevice,
    /// The user was accepted on the computer before: NEW_DEVICE is quiet.
    KnownDevice,
    /// BURST_LOGIN fires.
    BurstLogin,
    /// The most logons with which BURST_LOGIN is quiet.
    BurstNotQuite,
    /// The fewest logons with which BURST_LOGIN fires.
    BurstBarely,
    /// LATERAL_MOVEMENT fires.
    LateralMovement,
    /// The most computers with which LATERAL_MOVEMENT is quiet.
    LateralNotQuite,
    /// The fewest computers with which LATERAL_MOVEMENT fires.
    LateralBarely,
    /// RARE_HOST fires.
    RareHost,
    /// No rule fires.
    NoFlag,
    /// Score 0 to 25.
    Low,
    /// Score 26 to 50.
    Medium,
    /// Score 51 to 75.
    High,
    /// Score 76 and more.
    Critical,

    // Popularity.
    /// The look-back holds computers, but too few.
    TooFewHosts,
    /// The look-back holds exactly `min_hosts` computers.
    JustEnoughHosts,
    /// Popularity above the percentile: RARE_HOST is quiet.
    CommonHost,
    /// Popularity equals the percentile, and another computer's does too.
    PercentileTie,
    /// The computer has no event in the look-back.
    PopularityZero,
    /// An event exactly `settle` after the end of a day with events: the day is closed for it.
    DayClosedAtSettle,
    /// An event after the end of a day with events, by less than `settle`: the day is not closed for it.
    DayNotYetClosed,
    /// The computer has events on the first day of the look-back.
    LookbackFirstDay,
    /// The computer has events on the day before the look-back, which do not count.
    LookbackDayBefore,

    // Calendar.
    /// Exactly at the start of an hour.
    HourEdge,
    /// Exactly at the start of a day.
    MidnightEdge,
    /// Exactly at the start of a month.
    MonthEdge,
    /// Exactly at the start of a year.
    YearEdge,
    /// A time with a fraction of a second.
    Microseconds,
    /// A time before `base`.
    BeforeBase,
}

/// Edges that a backfilled file cannot reach.
const STREAMS_ONLY: &[Edge] = &[
    Edge::AcceptedEarly,
    Edge::OnTimeBesideEarly,
    Edge::EarlyClosesDay,
    Edge::Misrouted,
    Edge::LiveJump,
    Edge::LiveFirst,
    Edge::LiveBarely,
    Edge::WentOnBeforeLive,
    Edge::WentOnBeforeAdvance,
    Edge::WentOnBeforeAdvanceBarely,
    Edge::Advance,
    Edge::AdvanceToNothing,
    Edge::LateByAdvance,
    Edge::Inherited,
    Edge::InheritedWaiting,
    Edge::InheritedWaitsAgain,
    Edge::InheritedGoesOn,
    Edge::InheritedWindow,
    Edge::StillWaiting,
];

impl Edge {
    /// The edges that a backfilled file can reach.
    pub fn of_files() -> impl Iterator<Item = Edge> {
        Edge::ALL.iter().copied().filter(|edge| !STREAMS_ONLY.contains(edge))
    }
}
