//! Programs of two versions on one lake. The newer one knows two sections more and puts them into entries, spills, pieces and checkpoints:
//! one that may be passed over, which entries carry on, and later one that must be understood. Its lists of columns, attributes, rules and
//! tables are longer as well ([`crate::programs`]).

use crate::gate::ProcessId;
use crate::programs::{self, NOTES_FROM};
use authpulse_lake::Lake;
use authpulse_lake::entry::Entry;
use authpulse_lake::section_list::{Holder, SectionDef, SectionList};
use authpulse_lake::sections::{Body, Section};
use authpulse_settings::Options;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The section that may be passed over, and is carried on.
const NOTES: &str = "notes";
/// The section that must be understood.
const LEDGER: &str = "ledger";

/// The stage from which the newer program writes what must be understood; what may be passed over, it writes from [`NOTES_FROM`] on.
pub const LEDGER_FROM: u64 = 2;

/// Which programs the processes run.
#[derive(Default)]
pub struct Versions {
    /// The newer program's list of sections, and the stage of its new things; absent if all run the same program.
    newer: Option<(SectionList, Arc<AtomicU64>)>,
    /// The processes that run the newer program.
    running: Mutex<BTreeSet<ProcessId>>,
}

fn section(must: bool, carry: bool, last: &Entry) -> Section {
    let body = Body::new(&BTreeMap::from([("after", last.n)])).expect("numbers serialise");
    Section { must, carry, body, also: Vec::new() }
}

impl Versions {
    /// Two versions; nothing new is in use yet.
    pub fn two() -> Versions {
        let stage = Arc::new(AtomicU64::new(0));
        let of = stage.clone();
        // Written once; from then on, entries carry it.
        let notes = move |holder, last: &Entry| {
            let due = holder != Holder::Entry || last.sections.get(NOTES).is_none();
            (of.load(Ordering::SeqCst) >= NOTES_FROM && due).then(|| section(false, holder == Holder::Entry, last))
        };
        let of = stage.clone();
        let ledger =
            move |_, last: &Entry| (of.load(Ordering::SeqCst) >= LEDGER_FROM).then(|| section(true, false, last));
        let list = SectionList::new(vec![
            SectionDef { name: NOTES.to_owned(), writes: Some(Arc::new(notes)) },
            SectionDef { name: LEDGER.to_owned(), writes: Some(Arc::new(ledger)) },
        ]);
        Versions { newer: Some((list, stage)), running: Mutex::default() }
    }

    pub fn are_two(&self) -> bool {
        self.newer.is_some()
    }

    /// Sets which program a process runs.
    pub fn run(&self, process: ProcessId, newer: bool) {
        if newer && self.are_two() {
            self.running.lock().unwrap().insert(process);
        }
    }

    /// Whether a process runs the newest program there is.
    pub fn is_newest(&self, process: ProcessId) -> bool {
        !self.are_two() || self.running.lock().unwrap().contains(&process)
    }

    /// The sections that a process knows.
    pub fn sections(&self, process: ProcessId) -> SectionList {
        match &self.newer {
            Some((list, _)) if self.is_newest(process) => list.clone(),
            _ => SectionList::default(),
        }
    }

    /// A lake as the program of a process sees it.
    pub fn lake(&self, process: ProcessId, lake: Lake) -> Lake {
        let lake = lake.with_sections(self.sections(process));
        match &self.newer {
            Some((_, stage)) => lake.with_shape(programs::shape(self.is_newest(process), stage)),
            None => lake,
        }
    }

    /// Settings as the program of a process has them.
    pub fn options(&self, process: ProcessId, options: &Arc<Options>) -> Arc<Options> {
        match &self.newer {
            Some(_) => Arc::new(programs::options(options, self.is_newest(process))),
            None => options.clone(),
        }
    }

    /// A lake as a program would see it that knows all that either knows.
    pub fn whole(&self, lake: Lake) -> Lake {
        match &self.newer {
            Some((list, _)) => {
                let all = Arc::new(AtomicU64::new(u64::MAX));
                lake.with_sections(list.clone()).with_shape(programs::shape(true, &all))
            }
            None => lake,
        }
    }

    /// Brings new things into use.
    pub fn advance(&self, stage: u64) {
        if let Some((_, now)) = &self.newer {
            now.store(stage, Ordering::SeqCst);
        }
    }
}
