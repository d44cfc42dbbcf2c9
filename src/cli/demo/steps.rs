//! What the demo does, and what must come of each step.

use std::io::Write;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::record::Record;
use crate::cli::connect::{ConnectError, ConnectOptions, Socket, connect};
use crate::policy::Reason;
use crate::policy::refusal::Answer;
use crate::secret::Secret;

/// The Origin that the shipped policy lists.
pub(super) const ORIGIN: &str = "https://localhost:8443";

/// Sessions that the shipped policy gives one subject.
const SESSIONS_PER_SUBJECT: usize = 3;

/// Whether every step came out as told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    AsTold,
    Otherwise,
}

/// The tokens that the steps present.
pub(super) struct Tokens {
    /// Signed by the demo's issuer.
    pub(super) good: Secret<String>,
    /// The same claims, signed by somebody else.
    pub(super) forged: Secret<String>,
}

/// A handshake that must be refused, and why.
struct Hostile {
    what: &'static str,
    options: ConnectOptions,
    reason: Reason,
}

/// Does every step from the good handshake that `good` describes, telling each on `out`.
pub(super) async fn run(good: &ConnectOptions, tokens: &Tokens, record: &Record, out: &mut dyn Write) -> Outcome {
    let mut outcome = Outcome::AsTold;
    let mut tell = |what: &str, result: Result<String, String>| {
        if result.is_err() {
            outcome = Outcome::Otherwise;
        }
        let mark = if result.is_ok() { "as told" } else { "NOT AS TOLD" };
        let (Ok(text) | Err(text)) = result;
        // An error may have several lines, of any length: it comes last.
        let text = text.lines().collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "  {mark:<11}  {what:<43}  {text}");
    };
    tell("our page with a good token", echo(good).await);
    for hostile in hostile(good, tokens) {
        tell(hostile.what, refused(&hostile.options, record, hostile.reason).await);
    }
    tell("one session more than the subject may have", over_the_cap(good, record).await);
    tell("our page again, once those have ended", echo_after(good, record).await);
    outcome
}

fn hostile(good: &ConnectOptions, tokens: &Tokens) -> [Hostile; 4] {
    let version_8 = vec![(String::from("Sec-WebSocket-Version"), String::from("8"))];
    [
        Hostile {
            what: "another site's page with our user's token",
            options: ConnectOptions { origin: Some("https://evil.example".into()), ..good.clone() },
            reason: Reason::OriginNotAllowed,
        },
        Hostile {
            what: "our page without a token",
            options: ConnectOptions { token: None, ..good.clone() },
            reason: Reason::CredentialMissing,
        },
        Hostile {
            what: "our page with a forged token",
            options: ConnectOptions { token: Some(tokens.forged.clone()), ..good.clone() },
            reason: Reason::TokenSignature,
        },
        Hostile {
            what: "a client that speaks version 8",
            options: ConnectOptions { headers: version_8, ..good.clone() },
            reason: Reason::VersionUnsupported,
        },
    ]
}

async fn echo(options: &ConnectOptions) -> Result<String, String> {
    const GREETING: &str = "hello through the gateway";
    let mut session = connect(options).await.map_err(|error| error.to_string())?;
    session.send(Message::text(GREETING)).await.map_err(|error| error.to_string())?;
    match session.next().await {
        Some(Ok(Message::Text(text))) if text.as_str() == GREETING => {}
        other => return Err(format!("101, but not echoed: {other:?}")),
    }
    close(session).await?;
    Ok("101, echoed".into())
}

async fn refused(options: &ConnectOptions, record: &Record, expected: Reason) -> Result<String, String> {
    let refused = match connect(options).await {
        Ok(_) => return Err("101".into()),
        Err(ConnectError::Refused(refused)) => refused,
        Err(error) => return Err(error.to_string()),
    };
    let id = refused.id().unwrap_or_default();
    let status = refused.status.as_u16();
    let code = record.reason(id).await.map_or("no record", Reason::code);
    let told = format!("{status} {code}");
    let as_expected = code == expected.code() && expected.answer() == Answer::Status(status);
    if as_expected { Ok(told) } else { Err(format!("{told}, expected {}", expected.code())) }
}

async fn over_the_cap(good: &ConnectOptions, record: &Record) -> Result<String, String> {
    let mut open = Vec::new();
    for _ in 0..SESSIONS_PER_SUBJECT {
        open.push(connect(good).await.map_err(|error| format!("below the cap: {error}"))?);
    }
    let told = refused(good, record, Reason::SubjectSessions).await;
    for session in open {
        close(session).await?;
    }
    told
}

/// A place comes back when the gateway has seen both ends of a session, which is a moment after its client has.
async fn echo_after(good: &ConnectOptions, record: &Record) -> Result<String, String> {
    if record.ended(1 + SESSIONS_PER_SUBJECT).await { echo(good).await } else { Err("they have not".into()) }
}

async fn close(mut session: Socket) -> Result<(), String> {
    session.close(None).await.map_err(|error| error.to_string())?;
    while let Some(Ok(_)) = session.next().await {}
    Ok(())
}
