//! A server whose every answer the test decides, over real connections. It gives answers that an emulator never gives.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The parts of a request that tests ask for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// The path and query.
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The text in the body between these words and the next quotation mark.
    #[allow(dead_code, reason = "not every test that starts a server reads bodies")]
    pub fn text(&self, after: &str) -> Option<String> {
        let (_, rest) = self.body.split_once(after)?;
        Some(rest.split('"').next().unwrap_or_default().to_owned())
    }

    /// The operation, for a JSON service; otherwise the method.
    pub fn operation(&self) -> String {
        match self.header("x-amz-target").rsplit_once('.') {
            Some((_, operation)) => operation.to_owned(),
            None => self.method.clone(),
        }
    }
}

/// An answer.
pub enum Reply {
    /// Answers with status, headers and body.
    Say(u16, Vec<(&'static str, String)>, String),
    /// Takes the request in, and sends no answer.
    HangUp,
    /// Promises as many bytes as the body has, and sends only the first half.
    CutOff(String),
}

impl Reply {
    pub fn ok() -> Reply {
        Reply::Say(200, Vec::new(), String::new())
    }
    /// An error as S3 writes it.
    pub fn s3(status: u16, code: &str) -> Reply {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>told so</Message></Error>");
        Reply::Say(status, vec![("content-type", "application/xml".to_owned())], body)
    }
    /// An error as Glue and DynamoDB write it.
    pub fn json(status: u16, code: &str) -> Reply {
        Reply::Say(status, Vec::new(), format!("{{\"__type\":\"{code}\",\"message\":\"told so\"}}"))
    }
}

/// A running server.
pub struct Server {
    pub endpoint: String,
    pub seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server that answers as `script` says. The script gets all requests so far; the last is the one to answer.
    pub fn start(script: impl Fn(&[Request]) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (all, script) = (seen.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (all, script) = (all.clone(), script.clone());
                std::thread::spawn(move || {
                    // The server does not care about a client that goes away.
                    let _ = serve(connection?, &all, &*script);
                    std::io::Result::Ok(())
                });
            }
        });
        Server { endpoint, seen }
    }

    /// The operations that were requested, in order.
    pub fn operations(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(Request::operation).collect()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    connection: TcpStream,
    all: &Mutex<Vec<Request>>,
    script: &(dyn Fn(&[Request]) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let mut out = connection.try_clone()?;
    let mut lines = BufReader::new(connection);
    loop {
        let mut first = String::new();
        if lines.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut words = first.split(' ').map(str::to_owned);
        let mut request = Request {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            ..Request::default()
        };
        loop {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => drop(request.headers.insert(name.to_ascii_lowercase(), value.to_owned())),
                None => break,
            }
        }
        if request.header("expect") == "100-continue" {
            out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let length: u64 = request.header("content-length").parse().unwrap_or(0);
        let mut body = Vec::new();
        lines.by_ref().take(length).read_to_end(&mut body)?;
        request.body = String::from_utf8_lossy(&body).into_owned();
        let head = request.method == "HEAD";
        let reply = {
            let mut all = all.lock().unwrap();
            all.push(request);
            script(&all)
        };
        let (status, headers, body, sent) = match reply {
            Reply::HangUp => return Ok(()),
            Reply::Say(status, headers, body) => (status, headers, body.clone(), body),
            Reply::CutOff(body) => (200, Vec::new(), body.clone(), body[..body.len() / 2].to_owned()),
        };
        let mut answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| answer += &format!("{name}: {value}\r\n"));
        out.write_all(format!("{answer}\r\n{}", if head { "" } else { &sent }).as_bytes())?;
        if sent.len() < body.len() {
            return Ok(());
        }
    }
}
