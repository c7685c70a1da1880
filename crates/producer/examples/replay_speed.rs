//! Measures how fast a file goes into an embedded stream at full speed: `replay_speed [EVENTS]`. Run it under `time` to see the cores.

use std::fs::File;
use std::io::BufWriter;
use std::time::Instant;

use authpulse_files::Source;
use authpulse_producer::generate::{GenerateOptions, generate};
use authpulse_producer::replay::{Pace, ReplayOptions, Surroundings, SystemPace, replay};
use authpulse_stream::{CreateOptions, LocalStream, MemoryStream, StreamWriter};
use tokio::sync::watch;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let events = std::env::args().nth(1).map_or(Ok(2_000_000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("auth.txt");
    let options = GenerateOptions { events: Some(events), ..GenerateOptions::default() };
    generate(&options, BufWriter::new(File::create(&path)?), None::<Vec<u8>>, |_| {})?;
    let local = LocalStream::create(dir.path().join("stream"), CreateOptions::default())?;
    let memory = MemoryStream::new(CreateOptions::default())?;
    let streams: [(&str, &dyn StreamWriter); 2] = [("embedded", &local), ("memory", &memory)];
    for (name, stream) in streams {
        let begin = Instant::now();
        let options = ReplayOptions { pace: Pace::Max, ..ReplayOptions::default() };
        let around = Surroundings {
            clock: &SystemPace::default(),
            stop: watch::channel(false).1,
            probe: &|_| {},
            progress: &mut |_| {},
        };
        let summary = replay(vec![Source::File(path.clone())].into(), stream, &options, around).await?;
        let seconds = begin.elapsed().as_secs_f64();
        println!("{name}: {:?} in {seconds:.2} s, {:.0} events/s", summary.job, events as f64 / seconds);
    }
    Ok(())
}
