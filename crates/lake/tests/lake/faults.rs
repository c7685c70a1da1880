//! Faults after a number of steps, and lost answers.

use authpulse_lake::fault::{Faults, Moment, Step};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A fault at the `nth` step alone, or, as if the process were gone, at that step and all later ones. Returns the number of steps as well.
pub fn at(nth: usize, for_good: bool) -> (Faults, Arc<AtomicUsize>) {
    let steps = Arc::new(AtomicUsize::new(0));
    let counter = steps.clone();
    let faults = Faults::new(move |_: &Step<'_>| {
        let step = counter.fetch_add(1, Ordering::Relaxed);
        if step == nth || (for_good && step > nth) { Err("reset".to_owned()) } else { Ok(()) }
    });
    (faults, steps)
}

/// The first swap fails before it takes place, or its answer is lost.
pub fn at_first_swap(moment: Moment) -> Faults {
    let swaps = AtomicUsize::new(0);
    Faults::new(move |step| {
        let is_due = step.operation == "swap" && step.moment == moment && swaps.fetch_add(1, Ordering::Relaxed) == 0;
        if is_due { Err("reset".to_owned()) } else { Ok(()) }
    })
}
