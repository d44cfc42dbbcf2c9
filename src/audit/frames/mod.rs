//! What is sent behind the 101.
//!
//! Frames that RFC 6455 forbids end the session, whichever side sends them, and nothing of them reaches the other. What
//! is honest comes through. From outside the end of the session is seen; what reached the backend is seen by a canary,
//! and only a canary can be a backend that lies.
//!
//! Text that is no UTF-8 (FR13) is not sent: a gateway passes payload on, and whether the service behind judges it
//! cannot be told from what comes back. Where a message is cut into segments (FR22), and what happens inside a frame
//! that is half written (FR18), is not visible from outside either. A frame that drips for longer than half a minute
//! belongs to the suite of floods.

use std::time::Duration;

use super::{Canary, Case, Exam, Verdict};
use breach::Breach;
use flood::Flood;
use lie::Lie;
use linger::Unfinished;

mod breach;
mod closes;
mod flood;
mod honest;
mod lie;
mod linger;
mod offer;
mod rules;
mod seen;

pub use rules::RULES;

/// A probe of this suite's own kind.
#[derive(Debug)]
pub enum Probe {
    /// Each of these ends the session, and nothing of it reaches the backend.
    Breaches(Vec<Breach>),
    /// Each of these of a backend ends the session, and nothing of it reaches the client.
    Lies(Vec<Lie>),
    /// So many of these are not taken in less than so long a time.
    Floods(Vec<Flood>),
    /// Data behind a Close goes nowhere.
    BehindClose,
    /// A session ends at the latest so long after a Close, whatever the client goes on sending.
    CloseIgnored(Duration),
    /// What is begun and never finished ends the session within so long a time.
    Unfinished(Vec<Unfinished>, Duration),
    /// A client that says nothing is pinged within so long a time.
    Silence(Duration),
    /// Honest frames come through; no message is longer than this many bytes.
    Honest(usize),
    /// An extension is offered and not agreed to.
    Offer,
    /// An extension is offered, not agreed to, and used.
    Unagreed(Breach),
}

/// The cases against this target.
pub fn cases(exam: &mut Exam) -> Vec<Case> {
    let policy = exam.target.policy.clone();
    let session = policy.as_ref().map(|policy| policy.session.as_ref());
    let mut cases = breach::cases(session);
    cases.extend(flood::cases(session));
    cases.extend(linger::cases(session, exam));
    cases.extend(honest::cases(session, exam.canary.as_ref()));
    cases.extend(offer::cases(policy.as_deref()));
    cases.extend(lie::cases(session, exam.canary.as_ref()));
    cases
}

/// Judges one.
pub async fn judge(probe: &Probe, exam: &mut Exam) -> Verdict {
    match probe {
        Probe::Breaches(breaches) => breach::judge(breaches, exam).await,
        Probe::Lies(lies) => lie::judge(lies, exam).await,
        Probe::Floods(floods) => flood::judge(floods, exam).await,
        Probe::BehindClose => linger::judge_behind_close(exam).await,
        Probe::CloseIgnored(within) => linger::judge_ignored(*within, exam).await,
        Probe::Unfinished(begun, within) => linger::judge_unfinished(begun, *within, exam).await,
        Probe::Silence(within) => linger::judge_silence(*within, exam).await,
        Probe::Honest(longest) => honest::judge(*longest, exam).await,
        Probe::Offer => offer::judge(exam).await,
        Probe::Unagreed(breach) => offer::judge_unagreed(breach, exam).await,
    }
}

/// A case of this suite.
fn case(id: &'static str, name: &'static str, probe: Probe) -> Case {
    Case { id, name, probe: super::Probe::Frames(probe) }
}

/// A case that needs something that was not given.
fn not_run(id: &'static str, name: &'static str, needs: &'static str) -> Case {
    Case { id, name, probe: super::Probe::NotRun(needs) }
}

/// A case that the policy says is not claimed.
fn not_applicable(id: &'static str, name: &'static str, why: impl Into<String>) -> Case {
    Case { id, name, probe: super::Probe::NotApplicable(why.into()) }
}

/// A case that only a canary can judge.
fn with_canary(id: &'static str, name: &'static str, canary: Option<&Canary>, probe: impl FnOnce() -> Probe) -> Case {
    match canary {
        Some(_) => case(id, name, probe()),
        None => not_run(id, name, "--canary"),
    }
}
