//! Scoring what was accepted, as far as the days' shares of all shards allow, and waiting for the rest.

use super::{Progress, ROWS_ROOM_PART, Worker};
use authpulse_engine::rows::ScoredEvent;
use authpulse_event::Day;
use authpulse_event::time::format_rfc3339;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::sink::Decision;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Worker {
    /// Scores what can be scored and hands the decisions over; tells whether there were any.
    pub(super) fn score(&mut self) -> Result<bool> {
        let before = self.out.scored.len();
        if self.shard.unscored_len() > 0 && !self.registry.is_poisoned() {
            let (shard, out, probe) = (&mut self.shard, &mut self.out, &self.env.probe);
            let scored = catch_unwind(AssertUnwindSafe(|| {
                self.registry.with_board(|board| {
                    probe("score", self.key.as_str());
                    shard.score_ready(board, out);
                });
            }));
            scored.map_err(|panic| self.unscorable(&*panic))?;
            let min_score = self.env.sink.min_score();
            for scored in &self.out.scored[before..] {
                if scored.score >= min_score {
                    self.env.sink.decided(Decision {
                        scored,
                        user: self.shard.user_names().get(scored.event.user),
                        computer: self.shard.computer_names().get(scored.event.computer),
                        base: self.options.engine.time.base,
                        rules: &self.options.engine.rules,
                    });
                }
            }
        }
        Ok(self.out.scored.len() > before)
    }

    /// The rows scored so far. As many are expected again: their vector then grows no more.
    pub(super) fn take_rows(&mut self) -> Vec<ScoredEvent> {
        let expected = self.room_for(self.out.scored.len(), size_of::<ScoredEvent>(), ROWS_ROOM_PART);
        std::mem::replace(&mut self.out.scored, Vec::with_capacity(expected))
    }

    fn unscorable(&self, panic: &(dyn std::any::Any + Send)) -> ConsumerError {
        let event = self.shard.next_to_score().map_or("an event".to_owned(), |event| {
            let (user, computer) =
                (self.shard.user_names().get(event.user), self.shard.computer_names().get(event.computer));
            format!("the event of {user} on {computer} at {}", format_rfc3339(event.event_time))
        });
        let words = crate::poison::words(panic);
        ConsumerError::Unscorable { shard: self.key.clone(), entry: self.last.n, event, words }
    }

    /// Scoring is too far behind: say what is missing, and read on only when scoring has caught up. What others may wait for is stored
    /// at once, the rest when it is due: an entry stored now would hold all those events twice, unscored and, in the next, scored.
    pub(super) async fn catch_up_scoring(&mut self) -> Result<Progress> {
        if self.in_flight.is_some() {
            self.want();
            self.land().await?;
            return Ok(Progress::Worked);
        }
        self.store_while_waiting().await
    }

    /// Says which day's shares scoring waits for, if it does.
    pub(super) fn want(&self) -> Option<Day> {
        let day = self.registry.with_board(|board| self.shard.waits_for_day(board));
        self.registry.want(&self.key, day);
        day
    }
}
