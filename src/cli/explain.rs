//! `wsgate explain`: why was this handshake refused, or why would it be?
//!
//! Three questions: what a code means; what the log on standard input, or else the running gateway, says of a connection's
//! id; what the gate says of a handshake that the arguments describe. A token comes from a file or from standard input, never as an argument.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use clap::Args;

use super::admin::{self, Call};
use super::{Exit, complain, environment, unix_now};
use crate::config;
use crate::config::described::{Description, Gate};
use crate::peer::ClientAddr;
use crate::policy::Reason;
use crate::policy::credential::Carrier;
use crate::policy::refusal::Answer;
use crate::policy::screen::PolicySet;
use crate::secret::Secret;
use crate::session::Cause;
use crate::telemetry::notices::{self, Explained};

/// Bytes of a line of the log that are read, and of a token.
const LINE_BYTES: u64 = 64 << 10;

/// Of a ticket that is judged here.
const OF_TICKETS: &str = "\n  No ticket is known here: the gateway that sold it judges it by what bought it. Describe that \
                          credential in its place.";

/// `wsgate explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A code, such as origin_not_allowed; or the id that a refused client was shown: it is looked for in the log on standard
    /// input, and else asked of the running gateway
    #[arg(value_name = "CODE|ID", required_unless_present = "url", conflicts_with = "url")]
    what: Option<String>,
    /// Judge a handshake to this URL by the policies of --config
    #[arg(long)]
    url: Option<String>,
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "gateway.toml", env = "WSGATE_CONFIG")]
    config: PathBuf,
    /// The admin socket of the running gateway. Default: the one that the configuration names
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// The Origin; without it none is sent
    #[arg(long, requires = "url")]
    origin: Option<String>,
    /// A subprotocol that is offered; may be given several times
    #[arg(long = "subprotocol", value_name = "NAME", requires = "url")]
    subprotocols: Vec<String>,
    /// Where the token travels: authorization, subprotocol:NAME, cookie:NAME, query:NAME
    #[arg(long, value_name = "CARRIER", requires = "token_file")]
    credential: Option<String>,
    /// The file with the token; - is standard input
    #[arg(long, value_name = "FILE", requires = "credential")]
    token_file: Option<PathBuf>,
    /// The address of the client
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client: IpAddr,
}

/// Answers on `out`. Exit code 1 means: it would be refused, or nothing is known of it.
pub fn run(args: &ExplainArgs, input: &mut dyn BufRead, out: &mut dyn Write) -> Exit {
    let log = if io::stdin().is_terminal() { Log::Typed } else { Log::Piped };
    answer(args, log, input, out)
}

/// Where a log on standard input would come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    /// From a person who types: nobody types a log.
    Typed,
    /// From a file or another program.
    Piped,
}

fn answer(args: &ExplainArgs, log: Log, input: &mut dyn BufRead, out: &mut dyn Write) -> Exit {
    let answer = match (&args.url, &args.what) {
        (Some(url), _) => judge(args, url, input),
        (None, Some(what)) => match explain_code(what) {
            Some(explanation) => Ok(explanation),
            None => explain_id(args, what, log, input),
        },
        (None, None) => Err(Failure::CouldNotRun("name a code, an id, or a --url".into())),
    };
    match answer {
        Ok(Explanation { text, exit }) => {
            let _ = writeln!(out, "{text}");
            exit
        }
        Err(Failure::CouldNotRun(text)) => {
            complain(text);
            Exit::CouldNotRun
        }
        Err(Failure::Configuration(text)) => {
            complain(text);
            Exit::Configuration
        }
    }
}

struct Explanation {
    text: String,
    exit: Exit,
}

enum Failure {
    CouldNotRun(String),
    Configuration(String),
}

fn explain_code(code: &str) -> Option<Explanation> {
    let reason = Reason::ALL.iter().find(|reason| reason.code() == code).map(|reason| reason_text(*reason));
    let cause = Cause::ALL.iter().find(|cause| cause.code() == code);
    let ended = cause.map(|cause| format!("{code}: the session ended. {}", cause.explanation()));
    let told = [reason.or(ended), notices::find(code).map(notice_text)];
    let text = told.into_iter().flatten().collect::<Vec<_>>().join("\n");
    (!text.is_empty()).then_some(Explanation { text, exit: Exit::Well })
}

fn notice_text(notice: &Explained) -> String {
    let Explained { code, level, meaning, remedy } = notice;
    format!("{code}: a notice of the log ({}). {meaning} {remedy}", level.as_str()).trim_end().to_owned()
}

fn reason_text(reason: Reason) -> String {
    let answer = match reason.answer() {
        Answer::Status(status) => format!("answered {status}"),
        Answer::Drop => "closed unheard".into(),
    };
    format!("{}: {answer}. {}", reason.code(), reason.explanation())
}

/// Whether a text has the form of a connection's id: 32 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What the log says of an id, and else what the running gateway does.
fn explain_id(args: &ExplainArgs, id: &str, log: Log, input: &mut dyn BufRead) -> Result<Explanation, Failure> {
    let logged = if log == Log::Piped { find_in_log(id, input)? } else { None };
    match logged {
        Some(text) => Ok(Explanation { text, exit: Exit::Well }),
        None if is_id(id) => Ok(ask(args, id).unwrap_or_else(|why| {
            let text = format!("{}; and no gateway can be asked: {why}", unknown(id).text);
            Explanation { text, exit: Exit::Findings }
        })),
        None => Ok(unknown(id)),
    }
}

/// Asks the running gateway; an error says why it cannot be.
fn ask(args: &ExplainArgs, id: &str) -> Result<Explanation, String> {
    let socket = args.socket.clone().map_or_else(|| config::admin_socket(&args.config), Ok)?;
    let call = Call::new("GET", format!("/api/refusals/{id}"));
    let (status, answer) = admin::call(&socket, &call).map_err(|error| format!("{}: {error}", socket.display()))?;
    if status != 200 {
        let text = format!("{id}: {}", admin::word(&answer["message"]));
        return Ok(Explanation { text, exit: Exit::Findings });
    }
    let mut text = format!("{} refused {}", admin::word(&answer["at"]), answer["status"]);
    for name in ["client", "subject", "policy", "path", "origin", "reason", "detail", "why"] {
        if answer[name].is_string() {
            text.push_str(&format!("\n  {name}: {}", admin::word(&answer[name])));
        }
    }
    Ok(Explanation { text, exit: Exit::Well })
}

fn unknown(what: &str) -> Explanation {
    let text =
        format!("{what}: neither a code of docs/reasons.md or docs/notices.md nor an id in the log on standard input");
    Explanation { text, exit: Exit::Findings }
}

/// Finds the lines of a connection in a log of either form.
fn find_in_log(id: &str, input: &mut dyn BufRead) -> Result<Option<String>, Failure> {
    let mut found = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        let read = input.take(LINE_BYTES).read_line(&mut line);
        match read.map_err(|error| Failure::CouldNotRun(format!("reading the log: {error}")))? {
            0 => break,
            _ => found.extend(told_of(id, &line)),
        }
    }
    Ok(if found.is_empty() { None } else { Some(found.join("\n")) })
}

/// What a line of the log tells of the connection `id`.
fn told_of(id: &str, line: &str) -> Option<String> {
    let Ok(record) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line) else {
        return is_sentence_of(id, line).then(|| line.trim_end().to_owned());
    };
    let field = |name: &str| record.get(name).and_then(|value| value.as_str());
    if field("id")? != id {
        return None;
    }
    let mut text = format!("{} {}", field("ts").unwrap_or("-"), field("event").unwrap_or("-"));
    for name in ["client", "subject", "policy", "path", "origin", "reason", "cause", "by", "detail", "why"] {
        if let Some(value) = field(name) {
            text.push_str(&format!("\n  {name}: {value}"));
        }
    }
    Some(text)
}

/// Whether a line for people is of the connection `id`: the id stands behind all that a client sent, which is in quotes.
fn is_sentence_of(id: &str, line: &str) -> bool {
    let ours = line.rsplit('"').next().unwrap_or_default();
    ours.split_ascii_whitespace().any(|word| word.strip_prefix("id=") == Some(id))
}

/// Leads the described handshake through the gate: the same parsing, screening and proving as on the wire.
fn judge(args: &ExplainArgs, url: &str, input: &mut dyn BufRead) -> Result<Explanation, Failure> {
    let (config, _) = config::load(&args.config, &environment, unix_now())
        .map_err(|diagnostics| Failure::Configuration(diagnostics.to_string()))?;
    let described = describe(args, url, input).map_err(Failure::CouldNotRun)?;
    let policies = PolicySet::new(config.policies).map_err(|error| Failure::Configuration(error.to_string()))?;
    let limits = &config.gateway.admission.limits;
    let judged = described.judge(&Gate { policies: &policies, keys: &config.keys, limits, now: unix_now() });
    Ok(match judged {
        Ok(admission) => {
            let who = admission.principal.name().unwrap_or_else(|| "nobody in particular".into());
            let text = format!("admitted by policy {} as {who}; limits are not counted here", admission.policy.name);
            Explanation { text, exit: Exit::Well }
        }
        Err(refusal) => {
            let detail = refusal.detail.map(|detail| format!("\n  detail: {detail:?}")).unwrap_or_default();
            let hint = if refusal.reason == Reason::TicketUnknown { OF_TICKETS } else { "" };
            let text = format!("refused: {}{detail}{hint}", reason_text(refusal.reason));
            Explanation { text, exit: Exit::Findings }
        }
    })
}

/// The handshake that the arguments describe.
fn describe(args: &ExplainArgs, url: &str, input: &mut dyn BufRead) -> Result<Description, String> {
    let rest = url.strip_prefix("wss://").or_else(|| url.strip_prefix("ws://"));
    let rest = rest.ok_or_else(|| format!("{url:?} is no ws:// or wss:// URL"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let credential = match (&args.credential, &args.token_file) {
        (Some(word), Some(file)) => {
            let carrier = word.parse::<Carrier>().map_err(|error| error.to_string())?;
            Some((carrier, read_token(file, input)?))
        }
        _ => None,
    };
    Ok(Description {
        client: ClientAddr::new(args.client),
        host: host.to_owned(),
        path: path.to_owned(),
        origin: args.origin.clone(),
        cookie: None,
        subprotocols: args.subprotocols.clone(),
        credential,
    })
}

fn read_token(file: &Path, input: &mut dyn BufRead) -> Result<Secret<String>, String> {
    let mut token = String::new();
    let read = if file == Path::new("-") {
        input.take(LINE_BYTES).read_line(&mut token)
    } else {
        File::open(file).and_then(|file| BufReader::new(file).take(LINE_BYTES).read_line(&mut token))
    };
    read.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Secret::new(token.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_logged_ids_are_explained() {
        let human = "0123456789abcdef0123456789abcdef";
        let log = "{\"ts\":\"2026-01-01T00:00:00.000Z\",\"event\":\"refused\",\"id\":\"abc\",\"reason\":\"key_invalid\"}\n\
                   not json\n{\"id\":7}\n\
                   2026-01-01T00:00:00.000Z refused 404 path_not_served: No. path=\"/id=abcd\" id=0123456789abcdef0123456789abcdef\n";
        let cases = [
            ("origin_not_allowed", Exit::Well, "answered 403"),
            ("address_denied", Exit::Well, "closed unheard"),
            ("idle_timeout", Exit::Well, "the session ended"),
            ("abc", Exit::Well, "reason: key_invalid"),
            (human, Exit::Well, "refused 404 path_not_served: No. path="),
            ("abd", Exit::Findings, "neither a code"),
            ("abcd", Exit::Findings, "neither a code"),
        ];
        for (what, exit, phrase) in cases {
            let args = ExplainArgs {
                what: Some(what.into()),
                url: None,
                config: PathBuf::new(),
                socket: None,
                origin: None,
                subprotocols: Vec::new(),
                credential: None,
                token_file: None,
                client: Ipv4Addr::LOCALHOST.into(),
            };
            let mut out = Vec::new();
            assert_eq!(answer(&args, Log::Piped, &mut log.as_bytes(), &mut out), exit, "{what}");
            assert!(String::from_utf8(out).unwrap().contains(phrase), "{what}");
            let mut unread = log.as_bytes();
            answer(&args, Log::Typed, &mut unread, &mut Vec::new());
            assert_eq!(unread.len(), log.len(), "{what}: nobody types a log");
        }
    }
}
