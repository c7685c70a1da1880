//! `authpulse consume`: the service, from the stream and the lake that it is told of to its orderly end.

use crate::args::{Consume, Reading};
use crate::lake::{
    Access, OpenLake, Place, fleet, open, open_when_free, options, read_config, refuse_a_lost_lake, tell_rights,
};
use crate::signals::stop_signal_of_service;
use crate::stream::{self, kinesis};
use anyhow::{Result, bail};
use authpulse_consumer::Options;
use authpulse_consumer::drive::{Ended, run_service, unless_stopped};
use authpulse_consumer::service::{Mode, Service};
use authpulse_event::time::format_rfc3339;
use authpulse_lease::Fleet;
use authpulse_stream::Stream;
use authpulse_stream::local::LocalStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// The stream that a consumer reads, before its lake is open.
enum Consumed {
    Local(PathBuf),
    Kinesis { reader: Box<kinesis::Reader>, application: String, start: stream::Start, reading: Reading },
}

impl Consumed {
    async fn open(args: &Consume) -> Result<Consumed> {
        match stream::Place::parse(&args.stream)? {
            stream::Place::Local(_) if args.app.is_some() || args.start.is_some() || args.reading.is_some() => {
                bail!(
                    "--app, --start and --reading are for streams in Kinesis; an embedded one is read from its beginning"
                )
            }
            stream::Place::Local(dir) => {
                LocalStream::open(&dir)?;
                Ok(Consumed::Local(dir))
            }
            stream::Place::Kinesis(name) => {
                let (application, start) = kinesis::application_and_start(args.app.as_deref(), args.start.as_deref())?;
                let reader = Box::new(kinesis::Reader::open(&name).await?);
                let reading = args.reading.unwrap_or(Reading::Polling);
                Ok(Consumed::Kinesis { reader, application, start, reading })
            }
        }
    }

    /// What all workers of a lake have in common.
    async fn input(&self) -> Result<String> {
        Ok(match self {
            Consumed::Local(dir) => format!("stream {}", dir.canonicalize()?.display()),
            Consumed::Kinesis { reader, .. } => format!("stream {}", reader.stream().describe().await?.name),
        })
    }

    async fn start(&self, place: &Place, lake: &OpenLake, options: &Options) -> Result<(Arc<dyn Stream>, Fleet)> {
        match self {
            Consumed::Local(dir) => Ok((Arc::new(LocalStream::open(dir)?), fleet(dir, place, lake, options).await?)),
            Consumed::Kinesis { reader, application, start, reading } => {
                let consumed = reader.consume(&lake.env, options, application, *start, *reading).await?;
                Ok((consumed.stream, consumed.fleet))
            }
        }
    }
}

/// All that a consumer needs.
struct Consumer {
    lake: OpenLake,
    options: Arc<Options>,
    fleet: Fleet,
    service: Service,
}

impl Consumer {
    async fn open(args: &Consume, stop: &watch::Receiver<bool>) -> Result<Consumer> {
        let config = read_config(args.config.as_deref())?;
        // The stream before the lake: a command that is refused makes nothing.
        let from = Consumed::open(args).await?;
        let place = Place::new(&args.lake, args.catalog.as_deref())?;
        let input = from.input().await?;
        let stream = if let Consumed::Local(stream) = &from { Some(stream.as_path()) } else { None };
        if let Some(stream) = stream {
            refuse_a_lost_lake(stream, &place)?;
        }
        tell_rights(&place, stream, &config);
        let access = Access::Share("authpulse consume", &input);
        let lake = match args.with_parent {
            // A demo that was killed may have left its own hold on the lake just now; it is about to let go.
            Some(_) => open_when_free(&place, &config, access, stop).await?,
            None => open(&place, &config, access).await?,
        };
        let mode = match (args.until_caught_up, args.seal) {
            (true, _) => Mode::UntilCaughtUp,
            (_, true) => Mode::Seal,
            _ => Mode::Run,
        };
        let options = options(&config);
        let (stream, fleet) = from.start(&place, &lake, &options).await?;
        let service = Service::open(lake.env.clone(), options.clone(), stream, mode).await?;
        Ok(Consumer { lake, options, fleet, service })
    }
}

/// The last line of a consumer that was told to stop.
const STOPPED: &str = "stopped; run it again to go on";

/// Runs `authpulse consume`.
///
/// # Errors
/// What failed, on which input, and what to do.
pub async fn run(args: Consume) -> Result<ExitCode> {
    // First of all: from now on a signal asks for an orderly end, whatever is under way.
    let stop = stop_signal_of_service(args.with_parent)?;
    let Some(opened) = unless_stopped(&mut stop.clone(), Consumer::open(&args, &stop)).await else {
        println!("{STOPPED}");
        return Ok(ExitCode::SUCCESS);
    };
    let Consumer { lake, options, fleet, service } = opened?;
    let registry = service.registry().clone();
    let ended = run_service(service, &lake.env, &options, fleet, stop).await?;
    for (shard, view) in registry.leaves() {
        let watermark = view.watermark.map_or("none".to_owned(), format_rfc3339);
        match view.sealed {
            Some(sealed) => println!("{shard}: sealed up to {}; input below it will be late", format_rfc3339(sealed)),
            None => println!("{shard}: watermark {watermark}, {} events wait for scores", view.unscored),
        }
    }
    println!("{}", if ended == Ended::Stopped { STOPPED } else { "done" });
    Ok(ExitCode::SUCCESS)
}
