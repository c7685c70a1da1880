mod small_lake;
use authpulse_consumer::verify::{VerifyOptions, verify};
use authpulse_consumer::Options;
use authpulse_consumer::committer::commit_all;
use authpulse_producer::generate::{GenerateOptions, generate};
use std::sync::Arc;
use std::time::Instant;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn perf() {
    let mut lake = small_lake::SmallLake::new();
    lake.env.work = Arc::new(authpulse_consumer::env::TokioWork);
    let path = lake.dir.path().join("big.txt");
    let events = 6_000_000;
    let out = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    generate(&GenerateOptions { events: Some(events), days: Some(3), seed: 1, attacks: 5 }, out, None::<std::io::Sink>, |_| {}).unwrap();
    let t = Instant::now();
    lake.backfill(&[path], &Arc::new(Options { raw: std::env::var("RAW").is_ok(), ..Options::default() }), false).await;
    println!("backfill {:?}", t.elapsed());
    commit_all(&lake.env).await.unwrap();
    let t = Instant::now();
    let report = verify(&lake.env, &VerifyOptions::default()).await.unwrap();
    println!("verify {:?}\n{report}", t.elapsed());
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.contains("VmHWM")).collect::<String>());
}
