//! The gate: every effect of every process waits here until the simulation lets it through, one at a time. So any two effects of any two
//! processes, and of any two tasks of one, may follow each other in either order, and the seed decides which.

use crate::rng::Rng;
use authpulse_event::{ProcessingTime, Span, Tick};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A process of the simulation, counted from 1.
pub type ProcessId = usize;

/// What can go wrong with an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process ends before the effect takes place.
    CrashBefore,
    /// The process ends after the effect took place, before the answer.
    CrashAfter,
    /// No answer comes; the effect did not take place.
    NotDone,
    /// No answer comes; the effect took place.
    Done,
    /// Both the request and the answer take long.
    Slow,
}

impl Fault {
    pub const ALL: [Fault; 5] = [Fault::CrashBefore, Fault::CrashAfter, Fault::NotDone, Fault::Done, Fault::Slow];

    pub fn name(self) -> &'static str {
        match self {
            Fault::CrashBefore => "crash before",
            Fault::CrashAfter => "crash after",
            Fault::NotDone => "unanswered, not done",
            Fault::Done => "unanswered, done",
            Fault::Slow => "slow",
        }
    }
}

/// Effects that a run may have once, or not at all.
pub const RARE: [&str; 6] =
    ["store copy_new", "journal put base", "journal remove", "kinesis consumer", "kinesis register", "lease get"];

/// All effects: the methods of the traits that lead to the world, as far as anything calls them.
pub const EFFECTS: [&str; 41] = [
    "store put_new",
    "store get",
    "store get_range",
    "store size",
    "store delete",
    "store list",
    "store copy_new",
    "journal put",
    "journal get",
    "journal tail",
    "journal shards",
    "journal list",
    "journal base",
    "journal put base",
    "journal remove",
    "journal followers",
    "journal register",
    "follower commit",
    "catalog load",
    "catalog create",
    "catalog swap",
    "stream describe",
    "stream shards",
    "stream read",
    "stream tip",
    "kinesis summary",
    "kinesis shards",
    "kinesis iterator",
    "kinesis get",
    "kinesis consumer",
    "kinesis register",
    "kinesis subscribe",
    "kinesis event",
    "lease list",
    "lease get",
    "lease create",
    "lease update",
    "table scan",
    "table get",
    "table put_new",
    "table change",
];

/// How often each fault struck each effect.
pub type Struck = BTreeMap<(&'static str, Fault), u64>;

/// Something that waits: an effect, or the end of a pause.
struct Waiting {
    process: ProcessId,
    /// The effect and its subject; none for a pause.
    effect: Option<(&'static str, String)>,
    /// The tick from which it may go on.
    from: Tick,
    waker: Option<Waker>,
    /// Set once it is let through, with a fault or without one.
    granted: Option<Option<Fault>>,
}

#[derive(Default)]
struct State {
    /// All that waits, in order of coming.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// Processes that end as soon as all of their tasks wait.
    ending: BTreeSet<ProcessId>,
}

/// The gate.
pub struct Gate {
    state: Mutex<State>,
    pub time: Time,
}

/// The simulated time: ticks run right, and clocks show wrong times.
pub struct Time {
    state: Mutex<Clocks>,
}

struct Clocks {
    ticks: Tick,
    /// By how much all clocks are wrong.
    all: Span,
    /// By how much the clock of a process is wrong in addition.
    of: BTreeMap<ProcessId, Span>,
}

/// 2024-03-01T00:00:00Z.
const BEGIN: ProcessingTime = ProcessingTime::from_micros(1_709_251_200_000_000);

impl Time {
    pub fn ticks(&self) -> Tick {
        self.lock().ticks
    }
    /// The time that the clock of a process shows.
    pub fn shown(&self, process: ProcessId) -> ProcessingTime {
        let clocks = self.lock();
        let run = clocks.ticks - Tick::default();
        BEGIN + run + clocks.all + clocks.of.get(&process).copied().unwrap_or_default()
    }
    pub fn pass(&self, span: Span) {
        self.lock().ticks += span;
    }
    /// Sets all clocks, or that of one process, ahead or back, and at most by `most` in all.
    pub fn set(&self, process: Option<ProcessId>, by: Span, most: Span) {
        let mut clocks = self.lock();
        let wrong = match process {
            Some(process) => clocks.of.entry(process).or_default(),
            None => &mut clocks.all,
        };
        *wrong = (*wrong + by).clamp(-most, most);
    }
    fn lock(&self) -> MutexGuard<'_, Clocks> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes next at the gate.
pub enum Next {
    /// One of these tickets can be let through.
    Ready(Vec<u64>),
    /// Nothing before this tick.
    At(Tick),
    /// Nothing at all.
    Nothing,
}

impl Gate {
    pub fn new() -> Gate {
        let clocks = Clocks { ticks: Tick::default(), all: Span::ZERO, of: BTreeMap::new() };
        Gate { state: Mutex::default(), time: Time { state: Mutex::new(clocks) } }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits to be let through. A future that is dropped is forgotten.
    async fn wait(&self, process: ProcessId, effect: Option<(&'static str, String)>, from: Tick) -> Option<Fault> {
        struct Ticket<'a>(&'a Gate, u64);
        impl Drop for Ticket<'_> {
            fn drop(&mut self) {
                self.0.lock().waiting.remove(&self.1);
            }
        }
        let ticket = {
            let mut state = self.lock();
            state.next += 1;
            let ticket = state.next;
            state.waiting.insert(ticket, Waiting { process, effect, from, waker: None, granted: None });
            Ticket(self, ticket)
        };
        poll_fn(|context| {
            let mut state = self.lock();
            let waiting = state.waiting.get_mut(&ticket.1).expect("it is forgotten only by its own ticket");
            match waiting.granted {
                Some(fault) => Poll::Ready(fault),
                None => {
                    waiting.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits until an effect is let through.
    pub async fn effect(&self, process: ProcessId, effect: &'static str, subject: &str) -> Option<Fault> {
        let now = self.time.ticks();
        self.wait(process, Some((effect, subject.to_owned())), now).await
    }

    /// Waits until this time has gone by in ticks.
    pub async fn pause(&self, process: ProcessId, span: Span) {
        let from = self.time.ticks() + span;
        self.wait(process, None, from).await;
    }

    /// Says that a process is to end, and never returns.
    pub async fn crash(&self, process: ProcessId) {
        self.lock().ending.insert(process);
        std::future::pending().await
    }

    /// Whether a process is to end.
    pub fn is_ending(&self, process: ProcessId) -> bool {
        self.lock().ending.contains(&process)
    }

    /// What can go on now; processes for which `asleep` holds cannot.
    pub fn next(&self, asleep: impl Fn(ProcessId) -> bool) -> Next {
        let (state, now) = (self.lock(), self.time.ticks());
        let awake = || state.waiting.iter().filter(|(_, w)| w.granted.is_none() && !asleep(w.process));
        let ready: Vec<u64> = awake().filter(|(_, w)| w.from <= now).map(|(ticket, _)| *ticket).collect();
        match awake().map(|(_, w)| w.from).min() {
            _ if !ready.is_empty() => Next::Ready(ready),
            Some(from) => Next::At(from),
            None => Next::Nothing,
        }
    }

    /// The process that waits with a ticket, and the effect that it waits for.
    pub fn look(&self, ticket: u64) -> (ProcessId, Option<(&'static str, String)>) {
        let state = self.lock();
        let waiting = &state.waiting[&ticket];
        (waiting.process, waiting.effect.clone())
    }

    /// Lets a ticket through, with a fault or without one.
    pub fn grant(&self, ticket: u64, fault: Option<Fault>) {
        let waker = {
            let mut state = self.lock();
            let waiting = state.waiting.get_mut(&ticket).expect("it was looked at just now");
            waiting.granted = Some(fault);
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Decides what goes wrong, and records all that happened.
pub struct Fate {
    rng: Rng,
    /// Whether anything goes wrong by itself.
    pub on: bool,
    /// A digest of everything so far.
    pub trace: u64,
    pub struck: Struck,
    pub seen: BTreeSet<&'static str>,
    /// What this seed makes sure of: this fault, when this effect comes for that time.
    focus: (&'static str, Fault, u64),
    /// Whether each effect is printed.
    told: bool,
}

impl Fate {
    pub fn new(rng: Rng, seed: u64) -> Fate {
        let mut rng = rng;
        // Only about a third of the runs that make sure of a fault of `journal remove` remove folded entries, so that effect gets three
        // times as many runs.
        let effects = EFFECTS.into_iter().chain(["journal remove"; 2]);
        let pairs: Vec<_> = effects.flat_map(|effect| Fault::ALL.map(|fault| (effect, fault))).collect();
        let (effect, fault) = pairs[(seed % pairs.len() as u64) as usize];
        let after = rng.below(4);
        let focus = (effect, fault, if RARE.contains(&effect) { 0 } else { after });
        let told = std::env::var("AUTHPULSE_TOLD").is_ok();
        Fate { rng, on: true, trace: 0xCBF2_9CE4_8422_2325, struck: Struck::new(), seen: BTreeSet::new(), focus, told }
    }

    /// The effect that a fault surely strikes, if the run has it.
    pub fn focus(&self) -> &'static str {
        self.focus.0
    }

    /// Adds something to the trace.
    pub fn note(&mut self, what: &str, more: &str, number: u64) {
        for byte in what.bytes().chain(more.bytes()).chain(number.to_le_bytes()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    /// Prints what happens, if it was asked for (`AUTHPULSE_TOLD`).
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.told {
            println!("{}", what());
        }
    }

    /// Decides what goes wrong with an effect.
    pub fn decide(&mut self, process: ProcessId, effect: &'static str, subject: &str) -> Option<Fault> {
        let fault = if self.on { self.draw(effect) } else { None };
        self.note(effect, subject, process as u64);
        self.tell(|| format!("process {process}: {effect} {subject} {}", fault.map_or("", Fault::name)));
        if let Some(fault) = fault {
            self.note(fault.name(), "", 0);
            *self.struck.entry((effect, fault)).or_default() += 1;
        }
        fault
    }

    fn draw(&mut self, effect: &'static str) -> Option<Fault> {
        self.seen.insert(effect);
        let (focused, fault, left) = &mut self.focus;
        if *focused == effect {
            let fault = *fault;
            *left = left.wrapping_sub(1);
            if *left == u64::MAX {
                return Some(fault);
            }
        }
        Some(match self.rng.below(10_000) {
            0..=9 => Fault::CrashBefore,
            10..=19 => Fault::CrashAfter,
            20..=39 => Fault::NotDone,
            40..=59 => Fault::Done,
            60..=89 => Fault::Slow,
            _ => return None,
        })
    }
}
