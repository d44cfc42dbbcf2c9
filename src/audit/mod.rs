//! The suites that prove a gateway: attacks on a running endpoint, wsgate or not, and what came of each.
//!
//! A case carries an id of docs/threat-model.md. It is judged by its property, never by a number: any refusal is a
//! refusal. A 429, a 503 or a drop proves nothing: the suite paces itself, and a case whose good twin does not come in
//! before and after it is undecided. Everything that is sent is bounded in count, bytes and time.
//!
//! Requests, frames and answers are built and read here alone, so that what measures does not share a mistake with what
//! is measured.

use std::time::Duration;

use tokio::time::{Instant, timeout};

pub mod answer;
pub mod auth;
pub mod canary;
pub mod cswsh;
pub mod dos;
pub mod exam;
pub mod finding;
pub mod frame;
pub mod frames;
pub mod handshake;
pub mod redact;
pub mod report;
pub mod request;
pub mod rule;
pub mod target;
pub mod tls;
pub mod wire;

pub use canary::{Callers, Canary};
pub use exam::{Exam, Patience};
pub use finding::{Finding, Outcome, Scorecard, Suite, Verdict};
pub use request::Request;
pub use target::Target;

/// One attack and how it is judged.
#[derive(Debug)]
pub struct Case {
    /// Its id in docs/threat-model.md.
    pub id: &'static str,
    /// What it tries; with the id unique in its suite.
    pub name: &'static str,
    /// How it is tried.
    pub probe: Probe,
}

/// How a case is tried.
#[derive(Debug)]
pub enum Probe {
    /// Not at all: the policy says that this is not claimed.
    NotApplicable(String),
    /// Not at all: this was not given (`--canary`).
    NotRun(&'static str),
    /// By handshakes, each of which must be refused.
    Refused(Vec<Attempt>),
    /// As the suite of handshakes does.
    Handshake(handshake::Probe),
    /// As the suite of hostile pages does.
    Cswsh(cswsh::Probe),
    /// As the suite of credentials does.
    Auth(auth::Probe),
    /// As the suite of frames does.
    Frames(frames::Probe),
    /// As the suite of TLS does.
    Tls(tls::Probe),
    /// As the suite of floods does.
    Dos(dos::Probe),
}

/// What a case needs whose sessions live longer than the signing key's tokens may.
const LONGER_TOKENS: &str = "tokens that live longer than its sessions: a longer max_life, or --token-file";

/// A handshake that must be refused.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What is wrong with it, in a few words.
    pub what: String,
    /// The handshake.
    pub request: Request,
}

/// Hears of a run as it goes.
pub trait Progress {
    /// A suite begins, of so many cases.
    fn begins(&mut self, suite: Suite, cases: usize);
    /// A case begins.
    fn tries(&mut self, case: &Case);
    /// A case was judged.
    fn found(&mut self, finding: &Finding);
}

/// Runs suites one after another. What a run that is dropped has found so far stands in `findings`.
///
/// # Errors
/// With a sentence where the good twin does not come in at all, or not through to the canary: then nothing can be proved.
pub async fn run(
    suites: &[Suite],
    exam: &mut Exam,
    progress: &mut dyn Progress,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    arrives(exam).await?;
    for suite in suites {
        let cases = cases(*suite, exam);
        run_cases(*suite, cases, exam, progress, findings).await;
    }
    Ok(())
}

/// The good twin comes in, and through to the canary, where one listens.
async fn arrives(exam: &mut Exam) -> Result<(), String> {
    let mark = exam.mark();
    if let Err(why) = exam.twin().await {
        return Err(format!("{why}{}", hint(&why, exam.target.credential.is_some())));
    }
    let (Some(canary), Some(mark)) = (&exam.canary, mark) else { return Ok(()) };
    if !canary.since(mark).await.is_empty() {
        return Ok(());
    }
    // A target that passes no query on lets no watchword through.
    canary.listens_to(Callers::Everybody);
    if !canary.since(mark).await.is_empty() {
        return Ok(());
    }
    Err(format!("a good handshake comes in, and the canary at {} hears nothing: is it the backend?", canary.address()))
}

/// What to look at where the good handshake of the beginning is refused for its credential.
fn hint(why: &str, has_credential: bool) -> &'static str {
    match (why.ends_with(": 401") || why.ends_with(": 403"), has_credential) {
        (false, _) => "",
        (true, false) => ": no credential was given; --token-file names one, --signing-key mints one",
        (true, true) => {
            ": is it the right credential, of an issuer with several keys by the right --kid, in the right place \
             (--carrier), from a listed --origin? `wsgate explain` says what a wsgate refuses it for, by the id in its log"
        }
    }
}

/// Runs some cases of a suite. Where the target lets nobody in any longer the rest of them is not tried.
pub async fn run_cases(
    suite: Suite,
    cases: Vec<Case>,
    exam: &mut Exam,
    progress: &mut dyn Progress,
    findings: &mut Vec<Finding>,
) {
    let mut twin = Twin::default();
    progress.begins(suite, cases.len());
    for case in cases {
        progress.tries(&case);
        let began = Instant::now();
        let verdict = judge(suite, &case.probe, exam, &mut twin).await;
        let verdict = fit_to_be_shown(verdict, exam);
        let finding = Finding { suite, id: case.id, name: case.name, verdict, took: began.elapsed() };
        progress.found(&finding);
        findings.push(finding);
    }
}

/// The verdict without tokens, whatever a probe put into it.
fn fit_to_be_shown(verdict: Verdict, exam: &Exam) -> Verdict {
    let exchange = verdict.exchange.map(|exchange| finding::Exchange {
        sent: exam.shown(exchange.sent.as_bytes()),
        received: exam.shown(exchange.received.as_bytes()),
    });
    let attempts = verdict.attempts.iter().map(|said| exam.shown_in_a_line(said)).collect();
    Verdict { said: exam.shown_in_a_line(&verdict.said), attempts, exchange, ..verdict }
}

/// How often in a row the good twin is tried that does not come in, until a suite gives up.
const TWINS: u32 = 3;

/// The good twin: tried behind each case, and so before the next.
#[derive(Debug, Default)]
struct Twin {
    /// What came of the last one.
    last: Option<Result<(), String>>,
    /// How many in a row did not come in.
    refused: u32,
}

impl Twin {
    async fn comes_in(&mut self, exam: &mut Exam) -> Result<(), String> {
        let came = exam.twin().await;
        self.refused = if came.is_ok() { 0 } else { self.refused.saturating_add(1) };
        self.last = Some(came.clone());
        came
    }

    /// Before a case: as it came in behind the last one, or once more.
    async fn before(&mut self, exam: &mut Exam) -> Result<(), String> {
        match &self.last {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) if self.refused >= TWINS => Err(format!("the good twin was tried {TWINS} times: {why}")),
            _ => self.comes_in(exam).await,
        }
    }
}

/// The cases of a suite against this target.
pub fn cases(suite: Suite, exam: &mut Exam) -> Vec<Case> {
    match suite {
        Suite::Handshake => handshake::cases(exam),
        Suite::Cswsh => cswsh::cases(exam),
        Suite::Auth => auth::cases(exam),
        Suite::Frames => frames::cases(exam),
        Suite::Tls => tls::cases(exam),
        Suite::Dos => dos::cases(exam),
    }
}

/// How long a case may take: more than one that a patient target answers ever does.
fn longest(suite: Suite, exam: &Exam) -> Duration {
    match suite {
        Suite::Dos => exam.bounds.longest(),
        _ => exam.patience.case,
    }
}

/// Judges a case between two good twins.
async fn judge(suite: Suite, probe: &Probe, exam: &mut Exam, twin: &mut Twin) -> Verdict {
    if matches!(probe, Probe::NotApplicable(_) | Probe::NotRun(_)) {
        return tried(probe, exam).await;
    }
    if let Err(why) = twin.before(exam).await {
        return Verdict::undecided(format!("before it, {why}"));
    }
    let (limit, mark) = (longest(suite, exam), exam.mark());
    // On the heap: what a suite keeps over its waits is large.
    let judged = timeout(limit, Box::pin(tried(probe, exam))).await;
    let mut verdict = judged.unwrap_or_else(|_| {
        Verdict::undecided(format!("broken off after {} s: the target answers too slowly for it", limit.as_secs()))
    });
    if let Some(canary) = &exam.canary {
        canary.honest();
        if verdict.outcome == Outcome::Held && mark.is_some_and(|mark| canary.has_forgotten(mark)) {
            verdict.outcome = Outcome::Undecided;
            verdict.said = String::from("more came to the canary than it remembers");
        }
    }
    match (verdict.outcome, twin.comes_in(exam).await) {
        (Outcome::Held, Err(why)) => {
            Verdict { outcome: Outcome::Undecided, said: format!("after it, {why}"), ..verdict }
        }
        _ => verdict,
    }
}

async fn tried(probe: &Probe, exam: &mut Exam) -> Verdict {
    match probe {
        Probe::NotApplicable(why) => Verdict::new(Outcome::NotApplicable, why.clone()),
        Probe::NotRun(needs) => Verdict::new(Outcome::NotRun, format!("needs {needs}")),
        Probe::Refused(attempts) => all_refused(attempts, exam).await,
        Probe::Handshake(probe) => handshake::judge(probe, exam).await,
        Probe::Cswsh(probe) => cswsh::judge(probe, exam).await,
        Probe::Auth(probe) => auth::judge(probe, exam).await,
        Probe::Frames(probe) => frames::judge(probe, exam).await,
        Probe::Tls(probe) => tls::judge(probe, exam).await,
        Probe::Dos(probe) => dos::judge(probe, exam).await,
    }
}

/// Every attempt is refused. The first that is not ends the case; an undecided one lets the others be tried.
async fn all_refused(attempts: &[Attempt], exam: &Exam) -> Verdict {
    let mut held = None;
    let mut undecided = None;
    let mut told = Vec::new();
    for attempt in attempts {
        let verdict = exam.refused(attempt).await;
        told.push(verdict.said.clone());
        match verdict.outcome {
            Outcome::Fell => return Verdict { attempts: told.into(), ..verdict },
            Outcome::Held => held = Some(verdict),
            _ => undecided = undecided.or(Some(verdict)),
        }
    }
    let verdict = match (undecided, held) {
        (Some(verdict), _) => verdict,
        (None, Some(verdict)) if attempts.len() > 1 => {
            Verdict { said: format!("all {} refused, the last: {}", attempts.len(), verdict.said), ..verdict }
        }
        (None, Some(verdict)) => verdict,
        (None, None) => Verdict::undecided("nothing was tried"),
    };
    Verdict { attempts: told.into(), ..verdict }
}
