//! The built binary as an operator meets it: a command that ends, or a gateway that serves.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::sync::watch;

use super::client::{Answer, Request, Wire};
use super::{eventually, within};

/// The binary that cargo built for this suite.
pub const WSGATE: &str = env!("CARGO_BIN_EXE_wsgate");

/// How a process ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// It ended with this code, and no panic or backtrace was shown.
    pub fn ended(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for trace in ["panicked at", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!self.err.contains(trace) && !self.out.contains(trace), "{}", self.err);
        }
        self
    }

    /// Standard output holds all of these.
    pub fn told(&self, phrases: &[&str]) -> &Self {
        for phrase in phrases {
            assert!(self.out.contains(phrase), "{phrase:?} is not in:\n{}\n{}", self.out, self.err);
        }
        self
    }

    /// Standard error holds all of these.
    pub fn complained(&self, phrases: &[&str]) -> &Self {
        for phrase in phrases {
            assert!(self.err.contains(phrase), "{phrase:?} is not in:\n{}", self.err);
        }
        self
    }
}

/// What a process has written so far, and whether it will write more.
#[derive(Clone, Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    ended: bool,
}

/// A process that does not outlive its test.
pub struct Process {
    child: Child,
    out: Arc<watch::Sender<Written>>,
    err: Arc<watch::Sender<Written>>,
}

/// `wsgate` with these arguments in this folder, with nothing of the tester's own configuration.
pub fn wsgate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(WSGATE);
    command.args(arguments).current_dir(folder).env_remove("WSGATE_CONFIG");
    command
}

/// Runs `wsgate` to its end with this on standard input.
pub async fn ran(folder: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut process = Process::start(wsgate(folder, arguments));
    process.input(input);
    process.ends().await
}

impl Process {
    /// Starts it, with pipes for all three streams.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = gathered(child.stdout.take().unwrap());
        let err = gathered(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// Writes this to standard input and ends it. The process may be gone already.
    pub fn input(&mut self, text: &str) {
        let _ = self.child.stdin.take().unwrap().write_all(text.as_bytes());
    }

    /// Standard input, for a test that writes to it by and by.
    pub fn take_input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("an input that nobody took")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it ended by itself.
    pub async fn ends(mut self) -> Ran {
        let mut code = None;
        eventually("the process ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        })
        .await;
        let text = async |stream: &watch::Sender<Written>| {
            let mut stream = stream.subscribe();
            let whole = within("the stream of a process ends", stream.wait_for(|written| written.ended)).await;
            String::from_utf8_lossy(&whole.unwrap().bytes).into_owned()
        };
        let (out, err) = (text(&self.out).await, text(&self.err).await);
        Ran { code: code.and_then(|status| status.code()), out, err }
    }

    /// Standard output up to this moment.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.out.borrow().bytes).into_owned()
    }

    /// Standard error up to this moment.
    pub fn complaints(&self) -> String {
        String::from_utf8_lossy(&self.err.borrow().bytes).into_owned()
    }

    /// Waits until `pick` makes something of all bytes of standard output.
    pub async fn bytes<T>(&self, what: &str, pick: impl Fn(&[u8]) -> Option<T>) -> T {
        let mut stream = self.out.subscribe();
        let found = async {
            loop {
                let written = stream.borrow_and_update().clone();
                if let Some(found) = pick(&written.bytes) {
                    return found;
                }
                let text = String::from_utf8_lossy(&written.bytes);
                assert!(!written.ended, "{what}: the process ended: {text}\n{}", self.complaints());
                stream.changed().await.unwrap();
            }
        };
        within(what, found).await
    }

    /// Waits until standard error as a whole `holds`.
    pub async fn complaint(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let mut stream = self.err.subscribe();
        let told = stream.wait_for(|written| holds(&String::from_utf8_lossy(&written.bytes)));
        within(what, told).await.unwrap();
    }

    /// All of standard output, once it has ended.
    pub async fn whole(&self) -> Vec<u8> {
        let mut stream = self.out.subscribe();
        let whole = within("the stream of a process ends", stream.wait_for(|written| written.ended)).await;
        whole.unwrap().bytes.clone()
    }

    /// Waits until `pick` makes something of a whole line of standard output.
    pub async fn line<T>(&self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let mut stream = self.out.subscribe();
        let found = async {
            loop {
                let written = stream.borrow_and_update().clone();
                let text = String::from_utf8_lossy(&written.bytes);
                let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                if let Some(found) = whole.map(str::trim_end).find_map(&pick) {
                    return found;
                }
                assert!(!written.ended, "{what}: the process ended: {text}\n{}", self.complaints());
                stream.changed().await.unwrap();
            }
        };
        within(what, found).await
    }

    /// Waits for the first line of the JSON log of which `holds` is true.
    pub async fn record(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.line(what, |line| serde_json::from_str(line).ok().filter(&holds)).await
    }

    /// Waits for a notice of the gateway in its JSON log.
    pub async fn notice(&self, code: &str) -> Value {
        self.record(code, |record| record["notice"] == code).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gathered(mut stream: impl Read + Send + 'static) -> Arc<watch::Sender<Written>> {
    let written = Arc::new(watch::Sender::new(Written::default()));
    let writer = Arc::clone(&written);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            writer.send_modify(|written| written.bytes.extend_from_slice(&buffer[..count]));
        }
        writer.send_modify(|written| written.ended = true);
    });
    written
}

/// `wsgate run`, listening.
pub struct Running {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Running {
    /// Starts a command that serves with a JSON log, and waits until it listens.
    pub async fn start(command: Command) -> Self {
        let process = Process::start(command);
        let notice = process.notice("listening").await;
        let address = notice["why"].as_str().and_then(|why| why.strip_prefix("listening on ")?.parse().ok());
        Self { address: address.expect("the bound address in the notice"), process }
    }

    /// A connection over TLS.
    pub async fn wire(&self, client: &Arc<ClientConfig>, name: &str) -> Wire {
        let tcp = Wire::tcp_from("127.0.0.1", self.address).await.unwrap();
        Wire::tls(tcp, Arc::clone(client), name).await.unwrap()
    }

    /// Sends a handshake and reads the head of its answer.
    pub async fn asked(&self, client: &Arc<ClientConfig>, name: &str, request: &Request) -> (Wire, Answer) {
        let mut wire = self.wire(client, name).await;
        wire.send(&request.bytes()).await;
        let answer = wire.answer_head().await;
        (wire, answer)
    }
}
