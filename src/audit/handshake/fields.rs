//! Fields that must not pass: what a client says of itself, of others and of the connection never reaches the backend
//! (RFC 9110 section 7.6.1). A handshake with such a field may come in; what the canary got is then looked through.

use super::{Case, Probe, Request, Verdict, contains, with_canary};
use crate::audit::Exam;
use crate::audit::canary::Contact;
use crate::audit::exam::Asked;
use crate::policy::Policy;

/// A handshake, and what must not be found of it at the backend.
#[derive(Debug)]
pub struct Foreign {
    /// What it carries, in a few words.
    what: String,
    /// The handshake.
    request: Request,
    /// What would be found.
    trace: Trace,
}

/// What shows that something passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    /// [`MARK`] or [`ADDRESS`], anywhere in the head.
    Mark,
    /// A line of its own that the client did not send as one.
    Injected,
    /// A field of the plain handshake is missing.
    Gap,
}

/// A word that stands in no handshake by chance.
const MARK: &str = "wsgate-audit-mark";

/// An address that is nobody's (RFC 5737).
const ADDRESS: &str = "203.0.113.66";

/// Id, name, and fields that are sent together.
type Group = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// What no gateway passes on, whatever its policy is.
const GROUPS: [Group; 7] = [
    ("HS11", "an Accept of the client's", &[("Sec-WebSocket-Accept", MARK)]),
    (
        "ID01",
        "who the user is",
        &[
            ("X-User-Id", MARK),
            ("X-User", MARK),
            ("X-Auth-User", MARK),
            ("X-Auth-Roles", MARK),
            ("X-Forwarded-User", MARK),
            ("X-Remote-User", MARK),
            ("X-SSL-Client-Cert", MARK),
            ("X-Client-Cert", MARK),
        ],
    ),
    (
        "ID01",
        "how it came in",
        &[
            ("X-Forwarded-Proto", MARK),
            ("X-Forwarded-Host", MARK),
            ("X-Forwarded-Port", MARK),
            ("X-Original-URL", MARK),
            ("X-Rewrite-URL", MARK),
        ],
    ),
    (
        "ID04",
        "an address of its own choice",
        &[
            ("X-Forwarded-For", ADDRESS),
            ("Forwarded", "for=203.0.113.66"),
            ("X-Real-IP", ADDRESS),
            ("X-Client-IP", ADDRESS),
            ("True-Client-IP", ADDRESS),
            ("CF-Connecting-IP", ADDRESS),
        ],
    ),
    ("ID11", "a request id of the client's", &[("X-Request-Id", MARK)]),
    ("SM15", "settings of HTTP/2", &[("HTTP2-Settings", MARK)]),
    (
        "SM19",
        "fields of the connection",
        &[
            ("Proxy-Authorization", "Basic wsgate-audit-mark"),
            ("Proxy-Connection", MARK),
            ("Keep-Alive", MARK),
            ("TE", MARK),
            ("Trailer", MARK),
        ],
    ),
];

/// What passes only where a policy names it.
const UNNAMED: &[(&str, &str)] = &[
    ("Referer", "https://nobody.invalid/wsgate-audit-mark"),
    ("Via", "1.1 wsgate-audit-mark"),
    ("Accept-Language", MARK),
    ("X-HTTP-Method-Override", MARK),
    ("X-Anything", MARK),
];

/// Names that a service may read as others (CGI writes `-` as `_`).
const TWINS: [(&str, &str); 3] = [
    ("underscores", "X_Forwarded_For: 203.0.113.66"),
    ("one underscore", "X-Forwarded_For: 203.0.113.66"),
    ("underscores in a user's name", "X_User_Id: wsgate-audit-mark"),
];

/// Fields that a client asks a gateway to take out, by naming them in Connection.
const NOMINATED: [&str; 6] =
    ["X-Forwarded-For", "X-Forwarded-Proto", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Host", "Origin"];

/// Line ends that some reader decodes.
const LINE_ENDS: [&str; 4] =
    ["%0d%0aX-Injected:%201", "%0aX-Injected:%201", "\rX-Injected: 1", "%E5%98%8A%E5%98%8DX-Injected: 1"];

pub(super) fn cases(exam: &mut Exam) -> Vec<Case> {
    let mut cases = Vec::new();
    let policy = exam.target.policy.clone();
    for (id, name, fields) in GROUPS {
        let sent = fielded(exam, fields, policy.as_deref());
        cases.push(Case { id, name, probe: with_canary(exam, Probe::Foreign(vec![sent])) });
    }
    let unnamed = fielded(exam, UNNAMED, policy.as_deref());
    let cookies = cookies(exam);
    for (name, sent) in [("fields that the policy does not name", unnamed), ("cookies that it does not name", cookies)]
    {
        let probe = match policy {
            // Without a policy nobody knows which fields this backend is to see.
            None => crate::audit::Probe::NotRun("--policy and --canary"),
            Some(_) => with_canary(exam, Probe::Foreign(vec![sent])),
        };
        cases.push(Case { id: "SM19", name, probe });
    }
    let twins = TWINS.map(|(what, line)| foreign(what, exam.good().and_line(line), Trace::Mark));
    cases.push(Case {
        id: "ID02",
        name: "a name with an underscore",
        probe: with_canary(exam, Probe::Foreign(twins.into())),
    });
    let nominated = NOMINATED.map(|name| {
        let request = exam.good().with("Connection", format!("Upgrade, {name}"));
        foreign(name, request, Trace::Gap)
    });
    let probe = with_canary(exam, Probe::Foreign(nominated.into()));
    cases.push(Case { id: "HS06", name: "fields that Connection nominates", probe });
    let injected = injections(exam);
    let probe = with_canary(exam, Probe::Foreign(injected));
    cases.push(Case { id: "SM18", name: "a line end in a field", probe });
    cases
}

fn foreign(what: &str, request: Request, trace: Trace) -> Foreign {
    Foreign { what: what.to_owned(), request, trace }
}

/// One handshake with all of these fields, less those that the policy names.
fn fielded(exam: &mut Exam, fields: &[(&str, &str)], policy: Option<&Policy>) -> Foreign {
    let named = |name: &str| {
        policy.is_some_and(|policy| policy.upstream.headers.iter().any(|one| one.eq_ignore_ascii_case(name)))
    };
    let fields: Vec<_> = fields.iter().filter(|(name, _)| !named(name)).collect();
    let request = fields.iter().fold(exam.good(), |request, (name, value)| request.with(name, value));
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    foreign(&names.join(", "), request, Trace::Mark)
}

fn cookies(exam: &mut Exam) -> Foreign {
    let request = exam.good();
    let mut cookies = request.value("Cookie").map(|cookies| [cookies, b"; "].concat()).unwrap_or_default();
    cookies.extend_from_slice(b"wsgate_audit=wsgate-audit-mark");
    foreign("a cookie", request.with("Cookie", cookies), Trace::Mark)
}

fn injections(exam: &mut Exam) -> Vec<Foreign> {
    let mut sent = Vec::new();
    for end in LINE_ENDS {
        let target = exam.good().target_bytes().to_vec();
        let sign: &[u8] = if target.contains(&b'?') { b"&x=" } else { b"?x=" };
        // In the target a space would end it.
        let coded = end.replace(' ', "%20");
        let query = exam.good().target([target.as_slice(), sign, coded.as_bytes()].concat());
        sent.push(foreign("in the query", query, Trace::Injected));
        let agent = exam.good().with("User-Agent", format!("x{end}"));
        sent.push(foreign("in User-Agent", agent, Trace::Injected));
        let offer = super::heads::offering(exam.good(), &format!("x{end}"));
        sent.push(foreign("in a subprotocol", offer, Trace::Injected));
    }
    sent
}

/// Judges that nothing of it is found at the backend.
pub(super) async fn judge(sent: &[Foreign], exam: &mut Exam) -> Verdict {
    let plain = match plain(exam).await {
        Ok(names) => names,
        Err(why) => return Verdict::undecided(why),
    };
    let mut verdict = Verdict::undecided("nothing was tried");
    for foreign in sent {
        verdict = one(foreign, &plain, exam).await;
        if verdict.outcome != crate::audit::Outcome::Held {
            return verdict;
        }
    }
    verdict
}

async fn one(foreign: &Foreign, plain: &[String], exam: &Exam) -> Verdict {
    let Foreign { what, request, trace } = foreign;
    let Some(canary) = &exam.canary else { return Verdict::undecided("there is no canary") };
    let bytes = request.bytes();
    let mark = canary.mark();
    let asked = exam.ask(&bytes).await;
    let told = exam.told(&asked);
    let seen = canary.since(mark).await;
    let found = seen.iter().find_map(|contact| found(*trace, contact, plain).map(|found| (found, contact)));
    if let Some((found, contact)) = found {
        let mut exchange = exam.exchange(&bytes, &asked);
        exchange.received.push_str("\n\nThe backend got:\n");
        exchange.received.push_str(&exam.shown(contact.head()));
        return Verdict::fell(format!("the backend {}", exam.shown(found.as_bytes()))).with(exchange);
    }
    let exchange = exam.exchange(&bytes, &asked);
    match asked {
        Asked::Answered(answer, wire) if answer.is_switching() => {
            exam.leave(wire).await;
            if seen.is_empty() {
                return Verdict::undecided("the socket opened, and the canary saw nothing of it").with(exchange);
            }
            let said = match trace {
                Trace::Gap => format!("{what}: the socket opened, and nothing was missing at the backend"),
                Trace::Mark | Trace::Injected => {
                    format!("{what}: the socket opened, and the backend saw nothing of it")
                }
            };
            Verdict::held(said).with(exchange)
        }
        Asked::Answered(answer, _) if answer.is_refusal() && !answer.is_busy() => {
            Verdict::held(format!("{what}: {told}")).with(exchange)
        }
        _ => Verdict::undecided(format!("{what}: {told}")).with(exchange),
    }
}

/// The names of the fields that a plain handshake brings to the backend, in lower case.
async fn plain(exam: &mut Exam) -> Result<Vec<String>, String> {
    let mark = exam.canary.as_ref().map(|canary| canary.mark()).unwrap_or_default();
    let wire = exam.session().await?;
    let seen = match &exam.canary {
        Some(canary) => canary.since(mark).await,
        None => Vec::new(),
    };
    exam.leave(wire).await;
    let contact = seen.first().ok_or("the canary sees nothing of a good handshake: the target has another backend")?;
    Ok(lines(contact).skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect())
}

/// The lines of a head in lower case, however they end.
fn lines(contact: &Contact) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(contact.head()).to_ascii_lowercase();
    let lines: Vec<String> = text.split(['\r', '\n']).filter(|line| !line.is_empty()).map(String::from).collect();
    lines.into_iter()
}

/// What shows in a head that something passed.
fn found(trace: Trace, contact: &Contact, plain: &[String]) -> Option<String> {
    match trace {
        Trace::Mark => {
            let marked = |line: &String| [MARK, ADDRESS].iter().any(|mark| contains(line.as_bytes(), mark.as_bytes()));
            lines(contact).find(marked).map(|line| format!("got `{line}`"))
        }
        Trace::Injected => {
            lines(contact).find(|line| line.starts_with("x-injected")).map(|line| format!("got a line `{line}`"))
        }
        Trace::Gap => {
            let names: Vec<String> =
                lines(contact).skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
            plain.iter().find(|name| !names.contains(name)).map(|name| format!("did not get `{name}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_is_found_in_a_head() {
        let head = |text: &str| Contact { received: text.as_bytes().to_vec(), ..Contact::default() };
        let plain = [String::from("host"), String::from("origin")];
        let cases = [
            (Trace::Mark, "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1, WSGATE-audit-mark\r\n\r\n", true),
            (Trace::Mark, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.66, 1.2.3.4\r\n\r\n", true),
            (Trace::Mark, "GET / HTTP/1.1\r\nHost: a\r\n\r\nwsgate-audit-mark", false),
            (Trace::Injected, "GET /?%0d%0aX-Injected:1 HTTP/1.1\r\nHost: a\r\n\r\n", false),
            (Trace::Injected, "GET / HTTP/1.1\r\nHost: a\rX-Injected: 1\r\n\r\n", true),
            (Trace::Gap, "GET / HTTP/1.1\r\nHost: a\r\nOrigin: b\r\n\r\n", false),
            (Trace::Gap, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ];
        for (trace, text, passed) in cases {
            assert_eq!(found(trace, &head(text), &plain).is_some(), passed, "{trace:?} {text:?}");
        }
    }
}
