//! Faults for the test doubles in memory: a hook is called for every operation, before it takes effect and after.

use std::fmt;
use std::sync::Arc;

/// Whether an operation has taken effect yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened yet.
    Before,
    /// It has happened, but the caller does not know yet.
    After,
}

/// One moment of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// `store`, `journal` or `catalog`.
    pub part: &'static str,
    /// The method's name.
    pub operation: &'static str,
    /// The path, `shard/number` or table that it concerns.
    pub subject: &'a str,
    /// Before or after its effect.
    pub moment: Moment,
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = if self.moment == Moment::Before { "before" } else { "after" };
        write!(f, "{} {} {} {}", moment, self.part, self.operation, self.subject)
    }
}

type Hook = dyn Fn(&Step<'_>) -> Result<(), String> + Send + Sync;

/// Decides which moments fail. A failed operation says that its outcome is unclear, whether it took effect or not.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Hook>>);

impl Faults {
    /// Nothing fails.
    pub fn none() -> Faults {
        Faults(None)
    }
    /// Fails at every step for which the hook returns an error; its text becomes the cause.
    pub fn new(hook: impl Fn(&Step<'_>) -> Result<(), String> + Send + Sync + 'static) -> Faults {
        Faults(Some(Arc::new(hook)))
    }

    /// Runs `effect` between two calls of the hook.
    ///
    /// # Errors
    /// What `effect` returns, or what the hook returns, made into the part's own error by `fault`.
    pub(crate) fn around<T, E>(
        &self,
        part: &'static str,
        operation: &'static str,
        subject: &str,
        fault: impl Fn(String) -> E,
        effect: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(hook) = &self.0 else { return effect() };
        hook(&Step { part, operation, subject, moment: Moment::Before }).map_err(&fault)?;
        let outcome = effect()?;
        hook(&Step { part, operation, subject, moment: Moment::After }).map_err(&fault)?;
        Ok(outcome)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Faults(hook)" } else { "Faults(none)" })
    }
}
