//! Which certificate is shown to whom, and whether the name of TLS is the name of HTTP.

use std::sync::Arc;

use rustls_pki_types::UnixTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::client::{Client, NoTls, Trust, terms};
use super::reply::version_name;
use crate::audit::finding::Exchange;
use crate::audit::{Exam, Outcome, Verdict};

/// A name that nobody has (RFC 6761 section 6.4).
const NOBODY: &str = "nobody.wsgate-audit.invalid";

/// Days before the end of a certificate from which it is told that it ends soon.
const SOON_DAYS: i64 = 14;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaf {
    names: Vec<String>,
    /// Days until it ends, rounded down; and the day.
    days: i64,
    ends: String,
}

/// Judges that the certificate is good for the name of the URL, and tells when it ends.
pub(super) async fn certificate(exam: &Exam) -> Verdict {
    match shaken(exam, Trust::Vouched, &exam.target.name).await {
        Ok(client) => match leaf(&client) {
            Some(leaf) if leaf.days < 0 => Verdict::fell(format!("it ended on {}", leaf.ends)),
            Some(leaf) => {
                let soon = if leaf.days < SOON_DAYS { ", which is soon" } else { "" };
                let said = format!("verified for {}, until {} ({} days{soon})", exam.target.name, leaf.ends, leaf.days);
                Verdict::held(said).with(seen(&client, &leaf))
            }
            None => Verdict::undecided("the certificate cannot be read"),
        },
        Err(NoTls::Refused(error)) => Verdict::fell(format!("no client takes it: {error}")),
        Err(no) => Verdict::undecided(no.told()),
    }
}

/// Judges what somebody sees who asks for a name that nobody has, or for none: a refusal, or a certificate.
pub(super) async fn strangers(exam: &mut Exam) -> Verdict {
    let mut said = Vec::new();
    for (what, name) in [("a name that nobody has", NOBODY), ("no name", "192.0.2.1")] {
        // A client that asks for an address says no name (RFC 6066 section 3).
        said.push(match shaken(exam, Trust::Anybody, name).await {
            Ok(client) => {
                let names = leaf(&client).map(|leaf| leaf.names.join(", ")).unwrap_or_default();
                format!("{what}: the certificate of {names}")
            }
            Err(NoTls::Unable(why)) => return Verdict::undecided(format!("{what}: {why}")),
            Err(NoTls::Silence) => return Verdict::undecided(format!("{what}: silence")),
            Err(no) => format!("{what}: {}", no.told()),
        });
    }
    match exam.twin().await {
        Ok(()) => Verdict::held(said.join("; ")),
        Err(why) => Verdict::fell(format!("{}; behind it {why}", said.join("; "))),
    }
}

/// Judges that a handshake for one name is refused on a connection that asked for another name of the certificate: the
/// choice that TLS made for the one (client certificates, say) would hold for the other.
pub(super) async fn another_host(exam: &mut Exam) -> Verdict {
    let own = exam.target.name.clone();
    let names = match shaken(exam, Trust::Vouched, &own).await {
        Ok(client) => leaf(&client).map(|leaf| leaf.names).unwrap_or_default(),
        Err(no) => return Verdict::undecided(no.told()),
    };
    let is_other = |name: &&String| !name.eq_ignore_ascii_case(&own) && !name.contains('*');
    let Some(other) = names.iter().find(is_other) else {
        let why = "the certificate has no second name under which TLS could be asked for";
        return Verdict::new(Outcome::NotApplicable, why);
    };
    let terms = match terms(&exam.target, Trust::Vouched) {
        Ok(terms) => Arc::new(terms),
        Err(why) => return Verdict::undecided(why),
    };
    let request = exam.good().bytes();
    let answer = match Client::asked(exam, &terms, other, usize::MAX, &request).await {
        Ok((_, answer)) => answer,
        Err(no @ (NoTls::Alert(_) | NoTls::Ended(_))) => {
            return Verdict::held(format!("{other} gets no TLS: {}", no.told()));
        }
        Err(no) => return Verdict::undecided(format!("TLS for {other}: {}", no.told())),
    };
    let what = format!("TLS for {other}, Host {}: {}", exam.target.authority, answer.status);
    let verdict = match answer {
        _ if answer.is_switching() => Verdict::fell(format!("{what}, the socket opened")),
        _ if answer.is_refusal() => Verdict::held(what),
        _ => Verdict::undecided(what),
    };
    verdict.with(Exchange { sent: exam.shown(&request), received: exam.shown(&answer.head) })
}

/// Tells what TLS is spoken; that it is spoken at all is the property.
pub(super) async fn presence(exam: &Exam) -> Verdict {
    match shaken(exam, Trust::Vouched, &exam.target.name).await {
        Ok(client) => Verdict::held(spoken(&client)),
        Err(no) => Verdict::undecided(no.told()),
    }
}

async fn shaken(exam: &Exam, trust: Trust, name: &str) -> Result<Client, NoTls> {
    let terms = Arc::new(terms(&exam.target, trust).map_err(NoTls::Unable)?);
    Client::open(&exam.target, &terms, name, usize::MAX, b"").await
}

fn spoken(client: &Client) -> String {
    let version = client.tls.protocol_version().map_or(0, u16::from);
    let suite = client.tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    let group = client.tls.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
    [Some(version_name(version)), suite, group].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn seen(client: &Client, leaf: &Leaf) -> Exchange {
    let received = format!("{}; a certificate of {} until {}", spoken(client), leaf.names.join(", "), leaf.ends);
    Exchange { sent: String::from("a TLS handshake"), received }
}

fn leaf(client: &Client) -> Option<Leaf> {
    let der = client.tls.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternatives = certificate.subject_alternative_name().ok()?;
    let names = alternatives.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(String::from(*name)),
        _ => None,
    });
    let ends = certificate.validity().not_after.timestamp();
    let now = i64::try_from(UnixTime::now().as_secs()).ok()?;
    let day = jiff::Timestamp::from_second(ends).ok()?.strftime("%Y-%m-%d").to_string();
    Some(Leaf { names: names.collect(), days: ends.saturating_sub(now).div_euclid(86_400), ends: day })
}
