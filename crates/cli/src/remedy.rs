//! What to do about the error that ends a command: the errors of each crate say so of themselves.

use authpulse_journal::error::ConsumerError;
use authpulse_lake::catalog::CatalogError;
use authpulse_lake::journal::JournalError;
use authpulse_lake::{LakeError, Remedy, StoreError};
use authpulse_lease::LeaseError;
use authpulse_stream::StreamError;
use std::error::Error;

/// What to do about an error, by the first of its causes that knows.
pub fn of(error: &anyhow::Error) -> Option<Remedy> {
    error.chain().find_map(of_cause)
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<Remedy> {
    cause
        .downcast_ref::<ConsumerError>()
        .map(ConsumerError::remedy)
        .or_else(|| cause.downcast_ref::<LakeError>().map(LakeError::remedy))
        .or_else(|| cause.downcast_ref::<CatalogError>().map(CatalogError::remedy))
        .or_else(|| cause.downcast_ref::<JournalError>().map(JournalError::remedy))
        .or_else(|| cause.downcast_ref::<StoreError>().map(StoreError::remedy))
        .or_else(|| cause.downcast_ref::<StreamError>().map(StreamError::remedy))
        .or_else(|| cause.downcast_ref::<LeaseError>().map(LeaseError::remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};
    use authpulse_journal::refusal::Refusal;

    #[test]
    fn the_first_cause_that_knows_says_what_to_do() {
        let damaged = LakeError::Damaged { table: "t".to_owned(), file: "f".to_owned(), what: "empty".to_owned() };
        let cases = [
            (anyhow!("a command line"), None),
            (ConsumerError::from(Refusal::Growing).into(), Some(Remedy::Retry)),
            (ConsumerError::from(Refusal::ContinuedByStream("s".to_owned())).into(), Some(Remedy::Correct)),
            (ConsumerError::Bug("sorting".to_owned()).into(), Some(Remedy::Report)),
            (ConsumerError::from(damaged).into(), Some(Remedy::Restore)),
        ];
        for (error, remedy) in cases {
            let (words, error) = (error.to_string(), error.context("while it did something"));
            assert_eq!(of(&error), remedy, "{words}");
        }
        let wrapped = Err::<(), _>(CatalogError::Unopened { catalog: "c".to_owned(), cause: "busy".to_owned() });
        assert_eq!(of(&wrapped.context("opening").unwrap_err()), Some(Remedy::Retry));
    }
}
