//! Watches over the workers of a service: starts them, stops them, and looks for new shards and entries.

use super::Ended;
use super::TARGET;
use super::course::{Course, Heard, Turn};
use super::shard_tasks::ShardTasks;
use crate::aside::{Aside, Reminder};
use crate::beside::bug;
use crate::lease_keeper::{LeaseKeeper, LeaseOrder};
use crate::service::Service;
use authpulse_event::Tick;
use authpulse_journal::env::{Env, duration};
use authpulse_journal::error::{Chain, ConsumerError, Result};
use authpulse_journal::stop::unless_stopped;
use authpulse_lease::Holdings;
use authpulse_settings::options::Options;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::watch;

/// The loop of a service's run and what it needs.
pub(super) struct Supervisor<'a> {
    service: &'a mut Service,
    env: &'a Env,
    options: &'a Options,
    leases: &'a LeaseKeeper,
    shard_tasks: ShardTasks,
    course: Course,
    reminder: Reminder,
    /// When it last looked for new shards and entries.
    refreshed_at: Tick,
    /// Whether it is told to stop.
    stop: watch::Receiver<bool>,
    /// What a task beside the workers does, once it has panicked.
    panicked: watch::Receiver<Option<&'static str>>,
    /// What is too new for this program, once something was met.
    met: watch::Receiver<Option<Arc<str>>>,
    holdings: watch::Receiver<Holdings>,
}

impl<'a> Supervisor<'a> {
    /// For a service that has no workers yet.
    pub fn new(
        service: &'a mut Service,
        (env, options): (&'a Env, &'a Options),
        leases: &'a LeaseKeeper,
        aside: &Aside,
        stop: watch::Receiver<bool>,
        panicked: watch::Receiver<Option<&'static str>>,
    ) -> Supervisor<'a> {
        Supervisor {
            service,
            env,
            options,
            leases,
            shard_tasks: ShardTasks::new(aside.clone()),
            course: Course::default(),
            reminder: Reminder::default(),
            refreshed_at: env.clock.ticks(),
            stop,
            panicked,
            met: aside.watch(),
            holdings: leases.holdings.clone(),
        }
    }

    /// Runs the service until everything is done, or until it is told to stop.
    ///
    /// # Errors
    /// A shard cannot go on, or a task beside the workers panicked; all workers are stopped then.
    pub async fn run(mut self) -> Result<Ended> {
        loop {
            self.listen();
            let holdings = self.holdings.borrow_and_update().clone();
            if self.course.works() {
                if self.start_and_stop(&holdings).await.is_break() {
                    continue;
                }
            } else {
                self.stop_all(&holdings);
            }
            if self.is_over(&holdings) {
                break;
            }
            self.wait().await;
            if self.course.works() {
                self.look_for_news().await;
            }
        }
        if let Some(error) = self.shard_tasks.failure {
            return Err(error);
        }
        if *self.stop.borrow() {
            return Ok(Ended::Stopped);
        }
        self.shard_tasks.store_what_became_ready().await?;
        Ok(Ended::Complete)
    }

    /// Takes in failures, panics and stops since the last call, and passes on what follows from them.
    fn listen(&mut self) {
        if let Some(what) = *self.panicked.borrow_and_update() {
            self.shard_tasks.failure.get_or_insert_with(|| bug(what));
        }
        let heard = Heard {
            has_failed: self.shard_tasks.failure.is_some(),
            told_to_stop: *self.stop.borrow_and_update(),
            met: self.met.borrow_and_update().clone(),
        };
        for turn in self.course.hear(heard, self.service.mode()) {
            match turn {
                Turn::StandAside => self.leases.tell(LeaseOrder::StandAside),
                Turn::Fail(met) => {
                    self.shard_tasks.failure.get_or_insert_with(|| ConsumerError::TooNew(met.to_string()));
                }
                Turn::Leave => self.leases.tell(LeaseOrder::Leave),
            }
        }
    }

    /// Stops workers whose leases go to other processes, and starts workers for leases that this one has. Breaks if something failed or
    /// it is told to stop, so that the caller listens first.
    async fn start_and_stop(&mut self, holdings: &Holdings) -> ControlFlow<()> {
        let Supervisor { service, env, options, leases, shard_tasks, stop, .. } = self;
        shard_tasks.release(holdings, service, leases);
        let ready = holdings.held.difference(&holdings.asked_for).cloned().collect();
        let start = async {
            service.finish_raw_of_ended().await?;
            shard_tasks.start_all(&ready, service, env, options).await
        };
        match unless_stopped(stop, start).await {
            None => ControlFlow::Break(()),
            Some(Ok(())) => ControlFlow::Continue(()),
            // Another worker took the shard over at the same time.
            Some(Err(ConsumerError::Fenced { shard, n })) => {
                shard_tasks.lost(&shard.clone(), false, ConsumerError::Fenced { shard, n }, leases);
                ControlFlow::Continue(())
            }
            Some(Err(error)) => {
                shard_tasks.fail(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Stops all workers. If it stands aside, it also gives back leases without a running worker, and says why.
    fn stop_all(&mut self, holdings: &Holdings) {
        self.shard_tasks.stop_all();
        if let Some(met) = self.course.aside_of() {
            self.reminder.say(self.env.clock.ticks(), met);
            self.shard_tasks.give_back(holdings, self.leases);
        }
    }

    /// Whether no worker runs any more, and none is to be started.
    fn is_over(&self, holdings: &Holdings) -> bool {
        let is_complete = || self.course.works() && self.service.is_complete(&holdings.others);
        self.shard_tasks.tasks.is_empty() && (self.course.is_stopping() || is_complete())
    }

    /// Waits until something happens, or until it is time to look for new shards and entries.
    async fn wait(&mut self) {
        self.leases.stored(self.service.positions());
        let stopping = self.course.is_stopping();
        tokio::select! {
            biased;
            Some(joined) = self.shard_tasks.tasks.join_next() => {
                self.leases.stored(self.service.positions());
                self.shard_tasks.joined(joined, self.service, self.leases);
            }
            _ = self.stop.changed(), if !stopping => {}
            _ = self.panicked.changed(), if !stopping => {}
            _ = self.met.changed(), if !stopping => {}
            // A keeper that is gone has panicked, which `panicked` reports.
            Ok(()) = self.holdings.changed() => {}
            () = self.env.clock.sleep(duration(self.options.follow_interval)) => {}
        }
    }

    /// Looks for new shards of the stream and new entries of other workers, if that is due.
    async fn look_for_news(&mut self) {
        let now = self.env.clock.ticks();
        if now - self.refreshed_at < self.options.follow_interval {
            return;
        }
        self.refreshed_at = now;
        let Supervisor { service, shard_tasks, stop, .. } = self;
        let at_work = shard_tasks.at_work();
        let news = async {
            service.refresh().await?;
            service.follow(at_work).await
        };
        match unless_stopped(stop, news).await {
            Some(Err(error)) if error.may_pass() => {
                tracing::warn!(target: TARGET, error = %Chain(&error), "the stream could not be looked at; trying again");
            }
            Some(Err(error)) => shard_tasks.fail(error),
            Some(Ok(())) => {}
            None => return,
        }
        self.leases.want(self.service.wanted_leases());
    }
}
