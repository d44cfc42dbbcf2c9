//! Handshakes without one Origin, with something else in its place, or with an Origin and nothing that proves who asks;
//! and what a refusal says.

use std::time::Duration;

use super::listed::{Base, allows};
use super::variants::EVIL;
use super::{Asked, Attempt, Case, Invitation, Request, refused, refuses_missing, shown, with_cookie};
use crate::audit::{Exam, Verdict};

pub(super) fn cases(exam: &mut Exam) -> Vec<Case> {
    let missing = missing(exam);
    let doubled = doubled(exam);
    let neighbours = neighbours(exam);
    let other_fields = other_fields(exam);
    let own_host = own_host(exam);
    let rebound = rebound(exam);
    let modes = modes(exam);
    let mut cases = vec![
        tried("OR01", "no Origin", missing),
        tried("OR04", "two Origins", doubled),
        refused(exam, "OR21", "neighbours in the list", neighbours),
        refused(exam, "OR22", "another field in its place", other_fields),
        refused(exam, "OR22", "the host's own name", own_host),
        tried("OR22", "a page that gives its own name to this server", rebound),
        tried("OR24", "a fetch that is no socket's", modes),
    ];
    cases.extend(credentials(exam));
    cases
}

/// A case that does not depend on what is listed.
fn tried(id: &'static str, name: &'static str, attempts: Vec<Attempt>) -> Case {
    let probe = match attempts.is_empty() {
        true => crate::audit::Probe::NotApplicable(String::from("good handshakes come without Origin")),
        false => crate::audit::Probe::Refused(attempts),
    };
    Case { id, name, probe }
}

fn attempt(what: impl Into<String>, request: Request) -> Attempt {
    Attempt { what: what.into(), request }
}

/// Leaves out what the list allows.
fn unlisted(exam: &Exam, attempts: &mut Vec<Attempt>) {
    let listed = |origin: &[u8]| {
        let good = exam.target.origin.as_ref().is_some_and(|good| good.as_bytes() == origin);
        good || allows(&exam.target.listed, origin)
    };
    attempts.retain(|attempt| !attempt.request.value("Origin").is_some_and(listed));
}

/// Without Origin something ambient is a browser's doing; without either it is a program's, which some policies refuse.
fn missing(exam: &mut Exam) -> Vec<Attempt> {
    if exam.target.origin.is_none() {
        return Vec::new();
    }
    let request = exam.good().without("Origin");
    let mut attempts = vec![attempt("no Origin and a cookie", with_cookie(exam, request.clone()))];
    if refuses_missing(&exam.target) && !exam.target.is_ambient() {
        attempts.push(attempt("no Origin", request));
    }
    attempts
}

fn doubled(exam: &mut Exam) -> Vec<Attempt> {
    let Some(good) = exam.target.origin.clone() else { return Vec::new() };
    let evil = format!("https://{EVIL}");
    let pairs = [
        ("the good one first", &good, &evil, "Origin"),
        ("the good one last", &evil, &good, "Origin"),
        ("the good one twice", &good, &good, "Origin"),
        ("the second in another case", &good, &evil, "ORIGIN"),
    ];
    let mut attempts = Vec::new();
    for (what, first, second, name) in pairs {
        let request = exam.good().with("Origin", first).and_line(format!("{name}: {second}"));
        attempts.push(attempt(what, with_cookie(exam, request)));
    }
    attempts
}

/// Where in the list an entry is looked at: some servers change how they compare when lists grow long.
const PLACES: [usize; 3] = [0, 99, 100];

/// Origins that differ from a listed one in its last letter.
fn neighbours(exam: &mut Exam) -> Vec<Attempt> {
    let listed = exam.target.listed.clone();
    let exact: Vec<Base> =
        listed.iter().filter_map(|listed| Base::of(listed)).filter(|base| base.wild.is_none()).collect();
    let last = exact.len().saturating_sub(1);
    let mut places: Vec<usize> = PLACES.into_iter().chain([last]).filter(|place| *place <= last).collect();
    places.dedup();
    let mut attempts = Vec::new();
    for base in places.into_iter().filter_map(|place| exact.get(place)) {
        let mut host = base.host.clone();
        let letter = host.pop();
        host.push(if letter == Some('x') { 'y' } else { 'x' });
        let origin = base.with_host(&host);
        let request = exam.good().with("Origin", &origin);
        attempts.push(attempt(format!("Origin {}", shown(exam, origin.as_bytes())), with_cookie(exam, request)));
    }
    unlisted(exam, &mut attempts);
    attempts
}

/// No Origin, and a field that some frameworks ask then.
fn other_fields(exam: &mut Exam) -> Vec<Attempt> {
    let Some(good) = exam.target.origin.clone() else { return Vec::new() };
    let host = good.split_once("://").map_or(good.as_str(), |(_, host)| host);
    let fields = [
        ("Referer", format!("{good}/page")),
        ("X-Origin", good.clone()),
        ("X-Forwarded-Origin", good.clone()),
        ("Sec-WebSocket-Origin", good.clone()),
        ("X-Forwarded-Host", host.to_owned()),
    ];
    let mut attempts = Vec::new();
    for (name, value) in &fields {
        let alone = exam.good().without("Origin").with(name, value);
        attempts.push(attempt(format!("{name} and no Origin"), with_cookie(exam, alone)));
    }
    for (name, value) in &fields {
        let beside = exam.good().with("Origin", format!("https://{EVIL}")).with(name, value);
        attempts.push(attempt(format!("{name} beside a foreign Origin"), with_cookie(exam, beside)));
    }
    attempts
}

/// Some frameworks take an Origin that equals Host for a listed one.
fn own_host(exam: &mut Exam) -> Vec<Attempt> {
    let authority = exam.target.authority.clone();
    let origins = [format!("https://{authority}"), format!("http://{authority}")];
    let mut attempts = Vec::new();
    for origin in origins {
        let request = exam.good().with("Origin", &origin);
        attempts.push(attempt(format!("Origin {}", shown(exam, origin.as_bytes())), with_cookie(exam, request)));
    }
    unlisted(exam, &mut attempts);
    attempts
}

/// DNS rebinding: Host and Origin agree, and are the attacker's.
fn rebound(exam: &mut Exam) -> Vec<Attempt> {
    if exam.target.origin.is_none() {
        return Vec::new();
    }
    let mut attempts = Vec::new();
    for scheme in ["http", "https"] {
        let request = exam.good().with("Host", EVIL).with("Origin", format!("{scheme}://{EVIL}"));
        attempts.push(attempt(format!("Host {EVIL} and Origin {scheme}://{EVIL}"), with_cookie(exam, request)));
    }
    attempts
}

/// A good Origin, and a browser's word that this is no socket (Fetch Metadata).
fn modes(exam: &mut Exam) -> Vec<Attempt> {
    if exam.target.origin.is_none() {
        return Vec::new();
    }
    let mut attempts = Vec::new();
    for mode in ["navigate", "no-cors", "cors"] {
        attempts.push(attempt(format!("Sec-Fetch-Mode {mode}"), exam.good().with("Sec-Fetch-Mode", mode)));
    }
    attempts
}

/// An Origin proves nothing of who asks, and neither does any cookie.
fn credentials(exam: &Exam) -> [Case; 2] {
    let cookies = "session=1; sid=1; token=1; auth=1";
    let forged = vec![attempt("a listed Origin and no credential", exam.anonymous())];
    let cookie = vec![attempt("a listed Origin, cookies and no credential", exam.anonymous().with("Cookie", cookies))];
    let case = |id, name, attempts| match exam.target.credential {
        Some(_) => tried(id, name, attempts),
        None => {
            let why = String::from("no credential is asked for");
            Case { id, name, probe: crate::audit::Probe::NotApplicable(why) }
        }
    };
    [case("OR23", "a forged Origin of a program", forged), case("OR25", "a cookie that is no credential", cookie)]
}

/// A word that stands in no answer by chance.
const MARK: &str = "wsgate-audit-mark";

/// How long the body of a refusal is waited for.
const BODY: Duration = Duration::from_secs(1);

/// Judges what a refusal says to a page that nobody listed; where its Origin is no reason to refuse, a wrong version is.
pub(super) async fn refusal(invitation: Invitation, exam: &mut Exam) -> Verdict {
    let mut verdict = Verdict::undecided("nothing is refused");
    for version in ["13", "1337"] {
        let request = exam.good().with("Origin", format!("https://{MARK}.invalid"));
        let request = with_cookie(exam, request.with("Sec-WebSocket-Version", version));
        let mut target = request.target_bytes().to_vec();
        target.extend_from_slice(if target.contains(&b'?') { b"&" } else { b"?" });
        target.extend_from_slice(MARK.as_bytes());
        let bytes = request.target(target).bytes();
        let mut asked = exam.ask(&bytes).await;
        if let Asked::Answered(answer, wire) = &mut asked
            && answer.is_refusal()
            && !answer.is_busy()
        {
            wire.ended(BODY).await;
            let exchange = exam.exchange(&bytes, &asked);
            return judged(invitation, &asked).with(exchange);
        }
        verdict = Verdict::undecided(exam.told(&asked)).with(exam.exchange(&bytes, &asked));
    }
    verdict
}

fn judged(invitation: Invitation, asked: &Asked) -> Verdict {
    let Asked::Answered(answer, wire) = asked else { return Verdict::undecided("no answer") };
    let holds = |bytes: &[u8]| bytes.windows(MARK.len()).any(|window| window.eq_ignore_ascii_case(MARK.as_bytes()));
    let cors = answer.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
    match (invitation, cors) {
        (Invitation::Cors, Some((name, _))) => Verdict::fell(format!("the refusal has the field `{name}`")),
        (Invitation::Cors, None) => Verdict::held(format!("{} without a field of CORS", answer.status)),
        (Invitation::Reflection, _) if holds(&answer.head) || holds(&wire.kept) => {
            Verdict::fell("the refusal says what was asked for")
        }
        (Invitation::Reflection, _) => Verdict::held(format!("{}, and nothing of what was asked for", answer.status)),
    }
}
