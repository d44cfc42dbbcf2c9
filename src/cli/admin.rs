//! `wsgate reload`, `drain` and `sessions`: calls to the admin socket of a running gateway.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::exit::Exit;
use super::{could_not_run, file, written};
use crate::config;
use crate::telemetry::text::Text;

/// How long an answer may take: a reload reads every file.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 16 << 20;

/// Where the gateway is.
#[derive(Args, Debug)]
pub struct AdminArgs {
    /// The configuration of the gateway, which names its admin socket
    #[arg(short, long, value_name = "FILE", default_value = "gateway.toml", env = "WSGATE_CONFIG")]
    config: PathBuf,
    /// The admin socket itself
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// `wsgate sessions`.
#[derive(Args, Debug)]
pub struct SessionsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// End the session with this connection id: the first word of its line
    #[arg(long, value_name = "ID")]
    end: Option<String>,
}

/// `wsgate reload`.
pub fn reload(args: &AdminArgs, out: &mut dyn Write) -> Exit {
    told(args, &Call::new("POST", "/api/reload"), out, &|answer, out| {
        let ended: u64 =
            answer["ended"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
        writeln!(
            out,
            "reloaded: policy version {}; {} judged again, {ended} ended",
            answer["generation"],
            counted(&answer["judged"])
        )?;
        diagnostics(&answer["warnings"], out)
    })
}

/// `wsgate drain`.
pub fn drain(args: &AdminArgs, out: &mut dyn Write) -> Exit {
    let call = Call::new("POST", "/api/drain");
    told(args, &call, out, &|answer, out| writeln!(out, "draining {}", counted(&answer["draining"])))
}

/// `wsgate sessions`.
pub fn sessions(args: &SessionsArgs, out: &mut dyn Write) -> Exit {
    match &args.end {
        Some(id) if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) => could_not_run(
            "a connection's id has 32 hexadecimal digits: `wsgate sessions` shows it beside a page's session=UUID",
        ),
        Some(id) => {
            let call = Call::new("DELETE", format!("/api/sessions/{id}"));
            told(&args.admin, &call, out, &|answer, out| writeln!(out, "ended {}", word(&answer["ended"])))
        }
        None => told(&args.admin, &Call::new("GET", "/api/sessions"), out, &listed),
    }
}

fn listed(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let sessions = answer["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    for one in sessions {
        let [id, client, policy, subject, server, path] =
            ["id", "client", "policy", "subject", "server", "path"].map(|name| word(&one[name]));
        write!(out, "{id} {client} {policy} {subject} {server} {path} {}s", one["age_s"])?;
        match one["session"].as_str() {
            Some(_) => writeln!(out, " session={}", word(&one["session"]))?,
            None => writeln!(out)?,
        }
    }
    writeln!(out, "{} of {} sessions", sessions.len(), answer["total"])
}

/// `1 session`, `2 sessions`.
pub(super) fn counted(sessions: &Value) -> String {
    match sessions.as_u64() {
        Some(1) => String::from("1 session"),
        _ => format!("{sessions} sessions"),
    }
}

/// A string of an answer, fit for a terminal; a dash where there is none.
pub(super) fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| String::from("-"), |text| Text::sentence(text).to_string())
}

fn diagnostics(list: &Value, out: &mut dyn Write) -> io::Result<()> {
    for one in list.as_array().into_iter().flatten() {
        let line = one["line"].as_u64().map(|line| format!(":{line}")).unwrap_or_default();
        let [severity, code, file, message] = ["severity", "code", "file", "message"].map(|name| word(&one[name]));
        writeln!(out, "{severity}[{code}] {file}{line}: {message}")?;
        if one["help"].is_string() {
            writeln!(out, "    {}", word(&one["help"]))?;
        }
    }
    Ok(())
}

/// What is asked of a gateway.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) path: Cow<'static, str>,
    pub(super) body: Option<Value>,
}

impl Call {
    /// A call that takes nothing.
    pub(super) fn new(method: &'static str, path: impl Into<Cow<'static, str>>) -> Self {
        Self { method, path: path.into(), body: None }
    }
}

impl AdminArgs {
    /// The gateway's socket.
    ///
    /// # Errors
    /// One sentence: the configuration names none.
    pub(super) fn socket(&self) -> Result<PathBuf, String> {
        self.socket.clone().map_or_else(|| config::admin_socket(&self.config), Ok)
    }
}

/// Tells a good answer by `tell`, and a bad one as it is.
pub(super) fn told(
    args: &AdminArgs,
    asked: &Call,
    out: &mut dyn Write,
    tell: &dyn Fn(&Value, &mut dyn Write) -> io::Result<()>,
) -> Exit {
    let socket = match args.socket() {
        Ok(socket) => socket,
        Err(error) => return could_not_run(error),
    };
    match call(&socket, asked) {
        Ok((200, answer)) => written(tell(&answer, out).map(|()| Exit::Well)),
        Ok((status, answer)) => {
            let mut text = Vec::new();
            // Writing to memory cannot fail.
            let _ = diagnostics(&answer["diagnostics"], &mut text);
            let told =
                format!("{}: {}\n{}", word(&answer["error"]), word(&answer["message"]), String::from_utf8_lossy(&text));
            super::complain(told.trim_end());
            if status == 422 { Exit::Configuration } else { Exit::Findings }
        }
        Err(error) => could_not_run(format_args!("{}: {error}: does the gateway run?", socket.display())),
    }
}

/// One call: its status and its JSON.
pub(super) fn call(socket: &Path, asked: &Call) -> io::Result<(u16, Value)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Call { method, path, body } = asked;
    let body = body.as_ref().map(Value::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let answer = file::read_from(&stream, LONGEST_ANSWER)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "this is not the answer of a gateway");
    let answer = String::from_utf8(answer).map_err(|_| wrong())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    Ok((status, serde_json::from_str(body).map_err(|_| wrong())?))
}
