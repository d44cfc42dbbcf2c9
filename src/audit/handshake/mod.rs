//! Handshakes that are none, and the HTTP around them: what a gateway must refuse, what may reach its backend, and what
//! it must not believe of its backend.
//!
//! Most cases are a good handshake with one thing wrong (`Row`). The others are told by the file that judges them:
//! fields that must not pass (`fields`), a backend that lies (`lies`), bytes that come too early or too late (`tunnel`),
//! and what the answers themselves give away (`answers`). Slowness belongs to the suite of floods.

use super::canary::{Contact, contains};
use super::rule::Rule;
use super::{Attempt, Case, Exam, Request, Verdict};

mod answers;
mod fields;
mod heads;
mod http_rules;
mod lies;
mod messages;
mod paths;
mod rules;
mod tunnel;

/// What the cases of the handshake itself stand for.
pub const RULES: &[Rule] = rules::RULES;

/// What the cases of the HTTP around it stand for.
pub const HTTP_RULES: &[Rule] = http_rules::RULES;

/// A probe of this suite's own kind.
#[derive(Debug)]
pub enum Probe {
    /// Handshakes that may open a session, as long as nothing of theirs is found at the backend.
    Foreign(Vec<fields::Foreign>),
    /// Answers of a backend that is none, or that lies.
    Lies(Vec<lies::Lie>),
    /// Bytes that come before the 101.
    Early(tunnel::Early),
    /// Handshakes that are refused; a second request behind each.
    Second(Vec<Attempt>),
    /// What is no handshake at all: any answer but a 101, and any end, will do.
    Noise(Vec<Attempt>),
    /// Handshakes whose reading must not take long, whatever becomes of them.
    Prompt(Vec<Attempt>),
    /// What an answer says, and how a connection ends.
    Answer(answers::Look),
}

/// One thing that is wrong with a good handshake.
type Change = fn(Request) -> Request;

/// A case of handshakes that must be refused: id, name, and what is wrong with each.
type Row = (&'static str, &'static str, &'static [(&'static str, Change)]);

/// The cases against this target.
pub fn cases(exam: &mut Exam) -> Vec<Case> {
    let mut cases = Vec::new();
    for (id, name, changes) in heads::ROWS.iter().chain(paths::ROWS).chain(messages::ROWS) {
        cases.push(Case { id, name, probe: super::Probe::Refused(attempts(exam, changes)) });
    }
    for (id, name, changes) in messages::NOISE {
        cases.push(Case { id, name, probe: own(Probe::Noise(attempts(exam, changes))) });
    }
    for (id, name, changes) in messages::COSTLY {
        cases.push(Case { id, name, probe: own(Probe::Prompt(attempts(exam, changes))) });
    }
    cases.extend(fields::cases(exam));
    cases.extend(lies::cases(exam));
    cases.extend(tunnel::cases(exam));
    cases.extend(answers::cases(exam));
    cases
}

/// Judges one.
pub async fn judge(probe: &Probe, exam: &mut Exam) -> Verdict {
    match probe {
        Probe::Foreign(sent) => fields::judge(sent, exam).await,
        Probe::Lies(lies) => lies::judge(lies, exam).await,
        Probe::Early(early) => tunnel::early(*early, exam).await,
        Probe::Second(refused) => tunnel::second(refused, exam).await,
        Probe::Noise(noise) => messages::noise(noise, exam).await,
        Probe::Prompt(costly) => messages::prompt(costly, exam).await,
        Probe::Answer(look) => answers::judge(look, exam).await,
    }
}

fn attempts(exam: &mut Exam, changes: &[(&str, Change)]) -> Vec<Attempt> {
    changes.iter().map(|(what, change)| Attempt { what: (*what).to_owned(), request: change(exam.good()) }).collect()
}

fn own(probe: Probe) -> super::Probe {
    super::Probe::Handshake(probe)
}

/// The probe where the target's backend is ours.
fn with_canary(exam: &Exam, probe: Probe) -> super::Probe {
    if exam.canary.is_some() { own(probe) } else { super::Probe::NotRun("--canary") }
}

/// Whether a backend got this: the very bytes behind its head, or a frame of this payload, whose mask may be another.
fn carries(contact: &Contact, bytes: &[u8], payload: &[u8]) -> bool {
    contains(contact.behind(), bytes) || contact.frames().frames.iter().any(|frame| frame.payload == payload)
}

#[cfg(test)]
mod tests;
