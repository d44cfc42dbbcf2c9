//! Versions, names and protocols of TLS, as far as they can be seen from outside.
//!
//! What no library offers is made by hand (`hello`) and read by hand (`reply`); what needs keys is done with rustls
//! on terms of its own (`client`). Absent is a client that renegotiates: that needs the keys of TLS 1.2, and no library
//! here does it. Connections that say nothing, and floods of handshakes, are the floods' suite.

use super::rule::Rule;
use super::{Case, Exam, Outcome, Verdict};

mod client;
mod hello;
mod names;
mod noise;
mod reply;
mod rules;
mod sessions;
mod weak;

pub(super) use hello::client_hello;

pub use noise::Noise;
pub use weak::Weak;

/// What the cases stand for.
pub const RULES: &[Rule] = rules::RULES;

/// A probe of this suite's own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// No TLS, and not from this machine alone.
    Absent,
    /// TLS, of whatever kind.
    Present,
    /// Plain HTTP to the port of TLS.
    Plain,
    /// A hello that must not be answered.
    Weak(Weak),
    /// Whether TLS 1.2 binds renegotiation to its connection.
    Renegotiation,
    /// A flood of key updates.
    KeyUpdates,
    /// No handshake, or one without end.
    Noise(Noise),
    /// A hello in pieces.
    Pieces,
    /// The certificate for the name of the URL.
    Certificate,
    /// What somebody sees who asks for another name.
    Strangers,
    /// HTTP for another name than TLS.
    AnotherHost,
    /// An application protocol that is offered alone.
    Protocol(&'static str),
    /// A request in early data.
    EarlyData,
    /// A resumed session.
    Resumption,
    /// An end of TCP without an end of TLS.
    Truncation,
}

/// The cases against this target.
pub fn cases(exam: &mut Exam) -> Vec<Case> {
    let mut cases =
        vec![("HS21", "TLS at all", Probe::Present), ("HS21", "plain HTTP on the port of TLS", Probe::Plain)];
    cases.extend(weak::WEAK.map(|(name, weak)| ("TL07", name, Probe::Weak(weak))));
    cases.extend([
        ("TL03", "a hello in pieces", Probe::Pieces),
        ("TL04", "what is no handshake", Probe::Noise(Noise::Garbage)),
        ("TL04", "empty records without end", Probe::Noise(Noise::EmptyRecords)),
        ("TL04", "a handshake message without end", Probe::Noise(Noise::Endless)),
        ("TL04", "a hello of 60 kB", Probe::Noise(Noise::Long)),
        ("TL06", "renegotiation bound to its connection", Probe::Renegotiation),
        ("TL06", "a flood of key updates", Probe::KeyUpdates),
        ("TL08", "a handshake in early data", Probe::EarlyData),
        ("TL09", "the certificate of the name", Probe::Certificate),
        ("TL09", "a name that nobody has, and none", Probe::Strangers),
        ("TL09", "names that are none", Probe::Noise(Noise::Names)),
        ("HS16", "HTTP for another name than TLS", Probe::AnotherHost),
        ("TL10", "h2 alone", Probe::Protocol("h2")),
        ("TL10", "an unknown protocol alone", Probe::Protocol("wsgate-audit")),
        ("TL11", "a resumed session", Probe::Resumption),
        ("TL12", "an end without close_notify", Probe::Truncation),
    ]);
    let is_near = exam.target.address.ip().is_loopback();
    let probe = |probe| match (exam.target.tls.is_some(), probe) {
        (true, probe) => super::Probe::Tls(probe),
        (false, Probe::Present) if !is_near => super::Probe::Tls(Probe::Absent),
        (false, _) => super::Probe::NotApplicable(String::from("the target has no TLS")),
    };
    cases.into_iter().map(|(id, name, tried)| Case { id, name, probe: probe(tried) }).collect()
}

/// Judges one.
pub async fn judge(probe: &Probe, exam: &mut Exam) -> Verdict {
    let judged = match *probe {
        Probe::Absent => Ok(Verdict::new(Outcome::Fell, "ws:// to an address that is not this machine's own")),
        Probe::Present => Ok(names::presence(exam).await),
        Probe::Plain => Ok(noise::plain(exam).await),
        Probe::Weak(weak) => Ok(weak::judge(weak, exam).await),
        Probe::Renegotiation => Ok(weak::renegotiation(exam).await),
        Probe::KeyUpdates => sessions::key_updates(exam).await,
        Probe::Noise(noise) => Ok(noise::judge(noise, exam).await),
        Probe::Pieces => sessions::pieces(exam).await,
        Probe::Certificate => Ok(names::certificate(exam).await),
        Probe::Strangers => Ok(names::strangers(exam).await),
        Probe::AnotherHost => Ok(names::another_host(exam).await),
        Probe::Protocol(alpn) => sessions::protocol(alpn, exam).await,
        Probe::EarlyData => sessions::early_data(exam).await,
        Probe::Resumption => sessions::resumption(exam).await,
        Probe::Truncation => sessions::truncation(exam).await,
    };
    judged.unwrap_or_else(|untried| untried)
}
