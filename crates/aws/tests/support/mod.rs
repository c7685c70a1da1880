//! An emulator of S3, Glue and DynamoDB, written by others: ministack, from the Python environment that `./test` makes.

mod client;

use authpulse_aws::{Aws, Encryption, S3Location, S3Store};
use client::aws;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long it may take to start: a second, but more on a shared machine.
const START: Duration = Duration::from_secs(60);

/// Starts ministack, and ends it when this process closes its end of the pipe or ends, however that happens.
const PROGRAM: &str = "
import os, signal, sys, threading
def wait():
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=wait, daemon=True).start()
from ministack.app import main
main()
";

/// A running emulator, and a runtime for the clients.
pub struct Emulator {
    process: Child,
    pub endpoint: String,
    pub runtime: Runtime,
}

fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace is above this crate");
    let venv = std::env::var_os("AUTHPULSE_VENV").map_or_else(|| root.join(".venv"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(
        python.exists(),
        "these tests need the Python environment of ./test (ministack, the emulator of AWS); there is none at {}: run ./test \
         once, or set AUTHPULSE_VENV",
        venv.display()
    );
    python
}

impl Emulator {
    /// Starts one on a free port.
    pub fn start() -> Emulator {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = tempfile::tempdir().unwrap();
        let process = Command::new(python())
            .args(["-c", PROGRAM])
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            .env("SERVICES", "s3,glue,sts,dynamodb,kinesis")
            .env("TMPDIR", data.path())
            .env("LOG_LEVEL", "ERROR")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the emulator can be started");
        let emulator = Emulator { process, endpoint: format!("http://127.0.0.1:{port}"), runtime };
        let begun = Instant::now();
        while !emulator.answers(port) {
            assert!(begun.elapsed() < START, "ministack does not answer on port {port} after {START:?}");
            emulator.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
        }
        emulator
    }

    fn answers(&self, port: u16) -> bool {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        let mut answer = [0; 12];
        let asked =
            connection.write_all(b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        asked.and_then(|()| connection.read_exact(&mut answer)).is_ok() && answer.ends_with(b" 200")
    }

    /// The configuration of a client.
    pub fn aws(&self) -> Aws {
        self.runtime.block_on(aws(&self.endpoint))
    }

    /// Makes a bucket, and returns a store in it.
    pub fn store(&self, bucket: &str, prefix: &str) -> S3Store {
        let aws = self.aws();
        let config = aws_sdk_s3::config::Builder::from(aws.sdk()).force_path_style(true).build();
        let client = aws_sdk_s3::Client::from_conf(config);
        // It may be there from an earlier call.
        let _ = self.runtime.block_on(client.create_bucket().bucket(bucket).send());
        S3Store::new(&aws, S3Location::parse(&format!("s3://{bucket}/{prefix}")).unwrap(), Encryption::Bucket)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
