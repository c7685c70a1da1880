//! The gate: every effect of every process waits here until the simulation lets it through, one at a time. So any two effects
//! of any two processes, and of any two tasks of one, may follow each other in either order, and a seed fixes which.

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
    /// The process ends before it takes place.
    CrashBefore,
    /// The process ends after it took place, before the answer.
    CrashAfter,
    /// No answer; it did not take place.
    NotDone,
    /// No answer; it took place.
    Done,
    /// It takes its time on the way there and on the way back.
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

/// Of these effects there may be one in a run, or none.
pub const RARE: [&str; 6] =
    ["store copy_new", "journal put base", "journal remove", "kinesis consumer", "kinesis register", "lease get"];

/// The effects there are: the methods of the traits behind which the world lies, as far as anything calls them.
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

/// What was done how often: effect, fault, times.
pub type Struck = BTreeMap<(&'static str, Fault), u64>;

/// Something that waits: an effect, or the end of a pause.
struct Waiting {
    process: ProcessId,
    /// The effect and what it is about; none for a pause.
    effect: Option<(&'static str, String)>,
    /// When it may go on.
    from: Tick,
    waker: Option<Waker>,
    /// The answer: let through, with a fault or none.
    granted: Option<Option<Fault>>,
}

#[derive(Default)]
struct State {
    /// By the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// Processes that end as soon as they have come to rest.
    ending: BTreeSet<ProcessId>,
}

/// See the module.
pub struct Gate {
    state: Mutex<State>,
    pub time: Time,
}

/// The simulated time: ticks run, and clocks show them wrongly.
pub struct Time {
    state: Mutex<Clocks>,
}

struct Clocks {
    ticks: Tick,
    /// By how much all clocks are wrong.
    all: Span,
    /// By how much, on top, the clock of one process.
    of: BTreeMap<ProcessId, Span>,
}

/// 2024-03-01T00:00:00Z.
const BEGIN: ProcessingTime = ProcessingTime::from_micros(1_709_251_200_000_000);

impl Time {
    pub fn ticks(&self) -> Tick {
        self.lock().ticks
    }
    /// What the clock of a process shows.
    pub fn shown(&self, process: ProcessId) -> ProcessingTime {
        let clocks = self.lock();
        let run = clocks.ticks - Tick::default();
        BEGIN + run + clocks.all + clocks.of.get(&process).copied().unwrap_or_default()
    }
    pub fn pass(&self, span: Span) {
        self.lock().ticks += span;
    }
    /// Sets all clocks, or that of one process, ahead or back. They go wrong by so much at most.
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
    /// One of these; a number to let through.
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

    /// Waits to be let through. Whoever stops waiting is forgotten.
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

    /// Waits until so many ticks have gone by.
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

    /// What can go on now; the processes for which `asleep` holds cannot.
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

    /// Who waits with a ticket, and for which effect.
    pub fn look(&self, ticket: u64) -> (ProcessId, Option<(&'static str, String)>) {
        let state = self.lock();
        let waiting = &state.waiting[&ticket];
        (waiting.process, waiting.effect.clone())
    }

    /// Lets through.
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

/// Decides what goes wrong, and keeps the record of all that happened.
pub struct Fate {
    rng: Rng,
    /// Whether anything goes wrong by itself.
    pub on: bool,
    /// Everything so far, condensed.
    pub trace: u64,
    pub struck: Struck,
    pub seen: BTreeSet<&'static str>,
    /// What this seed makes sure of: this fault, the time when so many of these effects were seen.
    focus: (&'static str, Fault, u64),
    /// Whether each effect is printed.
    told: bool,
}

impl Fate {
    pub fn new(rng: Rng, seed: u64) -> Fate {
        let mut rng = rng;
        // Folded entries are removed in about a third of the runs that make sure of a fault of it: it gets three times as many.
        let effects = EFFECTS.into_iter().chain(["journal remove"; 2]);
        let pairs: Vec<_> = effects.flat_map(|effect| Fault::ALL.map(|fault| (effect, fault))).collect();
        let (effect, fault) = pairs[(seed % pairs.len() as u64) as usize];
        let after = rng.below(4);
        let focus = (effect, fault, if RARE.contains(&effect) { 0 } else { after });
        let told = std::env::var("AUTHPULSE_TOLD").is_ok();
        Fate { rng, on: true, trace: 0xCBF2_9CE4_8422_2325, struck: Struck::new(), seen: BTreeSet::new(), focus, told }
    }

    /// The effect to which something happens for sure, if the run has it.
    pub fn focus(&self) -> &'static str {
        self.focus.0
    }

    /// Takes something down in the trace.
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

    /// What becomes of an effect.
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
