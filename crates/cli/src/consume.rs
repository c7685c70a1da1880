//! `authpulse consume`: opens a stream and a lake, runs the service on them, and ends it in order.

use crate::args::Consume;
use crate::lake::{
    Access, LakeLocation, OpenLake, fleet, open, open_when_free, options, read_config, refuse_a_lost_lake, tell_rights,
};
use crate::logging::SERVICE;
use crate::output::{self, print_warnings, say, tell};
use crate::remedy;
use crate::signals::{Heard, heard_by_service};
use crate::stop_request::stop_requested;
use crate::stream::{self, Reading, kinesis};
use anyhow::{Result, bail};
use authpulse_event::time::{SECOND, format_rfc3339};
use authpulse_files::tally::{Of, most_rejected};
use authpulse_journal::ConsumerError;
use authpulse_journal::env::SystemClock;
use authpulse_journal::rejections::Counted;
use authpulse_journal::stop::unless_stopped;
use authpulse_lake::{LakeError, Remedy, Seal};
use authpulse_lease::Fleet;
use authpulse_service::aside::stand_aside;
use authpulse_service::drive::{Ended, run_service};
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_settings::config::Config;
use authpulse_stream::Stream;
use authpulse_stream::local::LocalStream;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// The stream that a consumer reads, before its lake is open.
enum Consumed {
    Local(PathBuf),
    Kinesis { reader: Box<kinesis::KinesisReader>, application: String, start: stream::Start, reading: Reading },
}

impl Consumed {
    async fn open(args: &Consume) -> Result<Consumed> {
        match stream::StreamLocation::parse(&args.stream)? {
            stream::StreamLocation::Local(_)
                if args.app.is_some() || args.start.is_some() || args.reading.is_some() =>
            {
                bail!(
                    "--app, --start and --reading are for streams in Kinesis; an embedded one is read from its beginning"
                )
            }
            stream::StreamLocation::Local(dir) => {
                LocalStream::open(&dir)?;
                Ok(Consumed::Local(dir))
            }
            stream::StreamLocation::Kinesis(name) => {
                let (application, start) = kinesis::application_and_start(args.app.as_deref(), args.start.as_deref())?;
                let reader = Box::new(kinesis::KinesisReader::open(&name).await?);
                let reading = args.reading.unwrap_or(Reading::Polling);
                Ok(Consumed::Kinesis { reader, application, start, reading })
            }
        }
    }

    /// What all workers of a lake read, in words that are the same for all of them.
    async fn input(&self) -> Result<String> {
        Ok(match self {
            Consumed::Local(dir) => format!("stream {}", dir.canonicalize()?.display()),
            Consumed::Kinesis { reader, .. } => format!("stream {}", reader.stream().describe().await?.name),
        })
    }

    async fn start(
        &self,
        location: &LakeLocation,
        lake: &OpenLake,
        options: &Options,
        worker: &str,
    ) -> Result<(Arc<dyn Stream>, Fleet)> {
        match self {
            Consumed::Local(dir) => {
                let stream = LocalStream::open(dir)?;
                warn_of_clock_behind(&stream, dir).await?;
                Ok((Arc::new(stream), fleet(dir, location, lake, options, worker).await?))
            }
            Consumed::Kinesis { reader, application, start, reading } => {
                let consumed = reader.consume(&lake.env, options, application, *start, *reading, worker).await?;
                Ok((consumed.stream, consumed.fleet))
            }
        }
    }
}

/// Warns if the host's clock was ahead and was set back. Until it has caught up, arrivals stand still and say nothing of the time.
async fn warn_of_clock_behind(stream: &LocalStream, dir: &Path) -> Result<()> {
    let Some(behind) = stream.clock_behind().await?.filter(|behind| *behind >= SECOND) else { return Ok(()) };
    let words = "this host's clock lies behind the newest arrival in the stream: it was ahead, and was set back. Until it has caught up \
                 new records arrive at that time, a sender's clock that is ahead may make others' events late, and quiet shards follow \
                 the other shards alone";
    tracing::warn!(stream = %dir.display(), seconds = behind / SECOND, "{words}");
    Ok(())
}

/// All that a consumer needs.
struct Consumer {
    lake: OpenLake,
    options: Arc<Options>,
    fleet: Fleet,
    service: Service,
}

impl Consumer {
    async fn open(args: &Consume, config: &Config, stop: &watch::Receiver<bool>) -> Result<Consumer> {
        // The stream before the lake: a command that is refused creates nothing.
        let from = Consumed::open(args).await?;
        let location = LakeLocation::new(&args.lake, args.catalog.as_deref())?;
        let input = from.input().await?;
        let stream = if let Consumed::Local(stream) = &from { Some(stream.as_path()) } else { None };
        if let Some(stream) = stream {
            refuse_a_lost_lake(stream, &location, config).await?;
        }
        tell_rights(&location, stream, config);
        let access = Access::Share("authpulse consume", &input);
        let lake = match args.with_parent {
            // The consumer of a demo that was just killed may still have the lake; it is about to release it.
            Some(_) => open_when_free(&location, config, access, stop).await?,
            None => open(&location, config, access).await?,
        };
        let options = options(config);
        let (stream, fleet) = from.start(&location, &lake, &options, &output::worker()).await?;
        let service = Service::open(lake.env.clone(), options.clone(), stream, mode(args)).await?;
        Ok(Consumer { lake, options, fleet, service })
    }
}

/// When the service ends by itself.
fn mode(args: &Consume) -> Mode {
    match (args.until_caught_up, args.seal) {
        (true, _) => Mode::UntilCaughtUp,
        (_, true) => Mode::Seal,
        _ => Mode::Run,
    }
}

/// What in a lake is too new for this program, if that is why a service cannot work on it.
fn too_new(error: &anyhow::Error) -> Option<String> {
    let is_too_new = error.chain().any(|cause| {
        cause.downcast_ref::<ConsumerError>().is_some_and(ConsumerError::is_too_new)
            || cause.downcast_ref::<LakeError>().is_some_and(LakeError::is_too_new)
    });
    is_too_new.then(|| format!("{error:#}"))
}

/// The last line of a consumer that was told to stop.
const STOPPED: &str = "stopped; run it again to go on";

/// Runs `authpulse consume`.
///
/// # Errors
/// The stream, the lake or the configuration cannot be used, the service fails, or the results of one that ends by itself cannot be
/// written.
pub async fn run(args: Consume) -> Result<ExitCode> {
    let is_reported = args.with_parent.is_none();
    if is_reported {
        output::set_from(|from| from.app = Some(application(&args)));
    }
    let work = async {
        // First of all: from now on a signal asks for an orderly end, whatever is under way.
        let heard = heard_by_service(args.with_parent)?;
        let config = read_config(args.config.as_deref())?;
        if is_reported {
            tell_start(&args, &config);
        }
        consume(&args, &config, heard).await
    };
    // The panic hook has reported the panic itself.
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    if is_reported {
        tell_end(&args, &outcome);
    }
    let (ended, words) = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    match (say!("{words}"), ended) {
        (Ok(()), _) => {}
        // A service that ended in order has done so, even if nobody reads its last words.
        (Err(lost), ended) if ended == Ended::Stopped || !(args.until_caught_up || args.seal) => {
            if !lost.is_unread() {
                tell!("{:#}", anyhow::Error::from(lost));
            }
        }
        (Err(lost), _) => return Err(lost.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The application that log lines name; for an embedded stream it is the lake.
fn application(args: &Consume) -> String {
    args.app.clone().unwrap_or_else(|| args.lake.display().to_string())
}

fn tell_start(args: &Consume, config: &Config) {
    tracing::info!(
        target: SERVICE,
        version = env!("CARGO_PKG_VERSION"),
        build = build(),
        configuration = config.digest(),
        stream = args.stream,
        lake = %args.lake.display(),
        app = application(args),
        "started"
    );
}

/// What this program was built for, and with which features.
fn build() -> String {
    let features = if cfg!(feature = "aws") { "aws" } else { "no features" };
    format!("{}-{}, {features}", std::env::consts::ARCH, std::env::consts::OS)
}

fn tell_end(args: &Consume, outcome: &std::thread::Result<Result<(Ended, String)>>) {
    match outcome {
        Err(_) => tracing::info!(target: SERVICE, why = "panic", "ended"),
        Ok(Err(error)) => {
            let remedy = remedy::of(error).map(Remedy::name);
            tracing::info!(target: SERVICE, why = "error", error = format!("{error:#}"), remedy, "ended");
        }
        Ok(Ok((Ended::Stopped, _))) => {
            let signal = stop_requested().map_or("none", |request| request.by);
            tracing::info!(target: SERVICE, why = "signal", signal, "ended");
        }
        Ok(Ok((Ended::Complete, _))) => {
            let why = if args.until_caught_up { "caught up" } else { "sealed" };
            tracing::info!(target: SERVICE, why, "ended");
        }
    }
}

/// Runs the service until its end; returns how it ended, and the results in words.
async fn consume(args: &Consume, config: &Config, heard: Heard) -> Result<(Ended, String)> {
    let Heard { stop, mut reopen, watchdog } = heard;
    let Some(opened) = unless_stopped(&mut stop.clone(), Consumer::open(args, config, &stop)).await else {
        return Ok((Ended::Stopped, STOPPED.to_owned()));
    };
    if let (Mode::Run, Some(met)) = (mode(args), opened.as_ref().err().and_then(too_new)) {
        stand_aside(&SystemClock, &met, stop).await;
        return Ok((Ended::Stopped, STOPPED.to_owned()));
    }
    let Consumer { lake, options, fleet, service } = opened?;
    (lake.env.probe)("service begin", "");
    let sink = lake.env.sink.clone();
    tokio::spawn(async move {
        while reopen.changed().await.is_ok() {
            let sink = sink.clone();
            // If it panics, the panic hook says so, and the old file stays in use.
            let _ = tokio::task::spawn_blocking(move || sink.reopen()).await;
        }
    });
    let registry = service.registry().clone();
    let ended = run_service(service, &lake.env, &options, fleet, stop).await?;
    if let Some(watchdog) = watchdog {
        watchdog.abort();
    }
    let mut words = String::new();
    for (shard, view) in registry.leaves() {
        let watermark = view.watermark.map_or("none".to_owned(), format_rfc3339);
        words += &match view.sealed {
            Some(sealed) => format!("{shard}: {}\n", Seal::of(sealed)),
            None => format!("{shard}: watermark {watermark}, {} events wait for scores\n", view.unscored),
        };
    }
    words += if ended == Ended::Stopped { STOPPED } else { "done" };
    let Counted { received, rejected } = registry.rejections().all().clone();
    if let Some(words) = most_rejected(Of::Stream, "this stream", received, &rejected, None) {
        print_warnings(&[words]);
    }
    Ok((ended, words))
}
