//! The rules and edges that an input may reach.

use std::collections::BTreeMap;

/// How often one input reached each edge.
pub type EdgeCounts = BTreeMap<Edge, u64>;

macro_rules! edges {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A rule, a reason or an edge of the page.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Edge {
            $($(#[$doc])* $name,)*
        }

        impl Edge {
            /// Every edge there is.
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
    /// A time exactly 300 s ahead of its arrival, which is not `future`.
    FutureNotQuite,
    /// A time at most a second too far ahead of its arrival.
    FutureBarely,
    /// Rejected: below the watermark.
    Late,
    /// At most a second below the watermark.
    LateBarely,
    /// Accepted exactly at the watermark.
    TieAtWatermark,
    /// Rejected: the same id of the same user was accepted at the same instant on the same computer.
    Duplicate,
    /// The same id of the same user accepted again at another instant, at most the tolerance away.
    SameIdOtherTime,
    /// The same on another computer.
    SameIdOtherComputer,
    /// The same id accepted for two users.
    SameIdOtherUser,
    /// A duplicate of which only one brings an id of its own, the content id of both.
    OwnIdIsContentId,
    /// Accepted with an own id that is the content id of another event, or with the content id that another had as its own.
    OwnIdIsContentIdOfAnother,
    /// The same instant, user and computer accepted in both forms of time, which have two ids.
    BothFormsOfTime,

    // Events that wait.
    /// It waits.
    Waited,
    /// Exactly `max_jump` beyond the high-water mark, which is not ahead.
    AheadNotQuite,
    /// At most a second more than `max_jump` beyond the high-water mark.
    AheadBarely,
    /// The same event waits already.
    DuplicateAmongWaiting,
    /// The same id waits twice, at another instant or for another computer.
    SameIdWaitsTwice,
    /// Events of three distinct users wait, and all go on.
    WentOnByThreeUsers,
    /// Ten events wait, and all go on.
    WentOnByTenEvents,
    /// An acceptance moved the high-water mark so that one that waited is no longer ahead.
    WentOnNoLongerAhead,
    /// No longer ahead only because of one that went on before it.
    WentOnInASecondRound,
    /// Ten events that did not wait were accepted since its arrival: rejected as `future`.
    RejectedAfterTenAccepted,
    /// All that wait are rejected by one more than 86400 s before the first.
    RejectedByEarlierDay,
    /// Exactly 86400 s before the first event that waits, which rejects nothing.
    EarlierDayNotQuite,
    /// One more than 86400 s after the first that waits settles them.
    FlushedByLaterDay,
    /// Exactly 86400 s after the first event that waits, which settles nothing.
    LaterDayNotQuite,
    /// Settling: nothing was accepted since its arrival, so it goes on.
    FlushAccepted,
    /// Settling: something was accepted since its arrival, so it is rejected as `future`.
    FlushRejected,
    /// An event that waited is `late` when it goes on.
    WaitedThenLate,
    /// Something waits at the end of an input that is not settled.
    StillWaiting,

    // Edges of streams.
    /// Accepted, with a time ahead of its arrival.
    AcceptedEarly,
    /// Accepted more than the tolerance below one that is ahead of its arrival: up to that one the watermark has not risen.
    OnTimeBesideEarly,
    /// The watermark advances to the end of a day that is closed for an event ahead of its arrival.
    EarlyClosesDay,
    /// An event within 300 s of its arrival, far beyond the high-water mark.
    LiveJump,
    /// The same in a shard without a high-water mark.
    LiveFirst,
    /// Exactly 300 s behind its arrival, and so not ahead.
    LiveBarely,
    /// It waited with a time up to that of a live event, and goes on before it.
    WentOnBeforeLive,
    /// It waited with a time up to `W` + tolerance + `max_jump`, and goes on before the rise.
    WentOnBeforeAdvance,
    /// Exactly `W` + tolerance + `max_jump`.
    WentOnBeforeAdvanceBarely,
    /// A watermark advances without an event.
    Advance,
    /// An advance to what is not above the watermark, which is none.
    AdvanceToNothing,
    /// `late` because of an advance, not because of the newest accepted event.
    LateByAdvance,
    /// A shard begins with what its parents left.
    Inherited,
    /// A child admits again what waited in a parent.
    InheritedWaiting,
    /// Of those, one waits again.
    InheritedWaitsAgain,
    /// Of those, one is accepted at once.
    InheritedGoesOn,
    /// A window of a child holds events that a parent accepted.
    InheritedWindow,

    // Windows.
    /// An event lies exactly 3600 s before the newest, and so outside.
    HourWindowEdge,
    /// The oldest event inside lies within a second of the edge.
    HourWindowInside,
    /// An event lies exactly 86400 s before the newest, and so outside.
    DayWindowEdge,
    /// The oldest event inside the day lies within a second of the edge.
    DayWindowInside,
    /// Accepted below the user's newest time.
    OutOfOrder,
    /// Two events of a user at one instant.
    SameInstant,

    // Rules of section 4.
    /// NEW_DEVICE fires.
    NewDevice,
    /// A computer that the user was accepted on before: NEW_DEVICE is quiet.
    KnownDevice,
    /// BURST_LOGIN fires.
    BurstLogin,
    /// As many logons as do not fire the rule yet.
    BurstNotQuite,
    /// One more.
    BurstBarely,
    /// LATERAL_MOVEMENT fires.
    LateralMovement,
    /// One computer less than fires the rule.
    LateralNotQuite,
    /// Exactly as many computers as fire the rule.
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
    /// The look-back holds too few computers, but some.
    TooFewHosts,
    /// It holds exactly `min_hosts`.
    JustEnoughHosts,
    /// Popularity above the percentile: RARE_HOST is quiet.
    CommonHost,
    /// Popularity equals the percentile, and another computer's does too.
    PercentileTie,
    /// The computer has no event in the look-back.
    PopularityZero,
    /// Admitted exactly at the end of a day with events + `settle`, which closes the day.
    DayClosedAtSettle,
    /// Admitted after the end of a day with events, before `settle` has passed.
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
    /// Those that a backfilled file can reach.
    pub fn of_files() -> impl Iterator<Item = Edge> {
        Edge::ALL.iter().copied().filter(|edge| !STREAMS_ONLY.contains(edge))
    }
}
