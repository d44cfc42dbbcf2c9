//! A reload: read whole or not at all, one version for each decision, and live sessions judged again.

#![allow(clippy::print_stdout, reason = "what was counted is for the reader of the output")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use rustls::pki_types::ServerName;
use support::backend::{SWITCHING, Seen};
use support::frames::{BINARY, CLOSE, FIN, masked};
use support::house::{HOST, ORIGIN};
use support::tokens::{Signer, digest};
use support::{Cases, House, Plan, Request, Step, Wire, cases, eventually, within};
use tokio_rustls::TlsConnector;
use wsgate::event::{Event, Observer, Opened, Refused};
use wsgate::policy::Reason;
use wsgate::session::Cause;

const GATEWAY: &str = "gateway.toml";
const POLICY: &str = "policies/chat.toml";
const OTHER_ORIGIN: &str = "https://other.test";

/// A house with a second policy beside the first, for `/other`.
fn with_another() -> Plan {
    Plan::plain().second_policy("other", "[route]\npaths = [\"/other\"]")
}

fn to_the_other(house: &House) -> Request {
    house.request_with(|request| request.target("/other"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_no_longer_allows_ends_and_the_rest_is_not_touched() {
    #[rustfmt::skip]
    let changes = [
        ("another origin", "[origin]\nallow = [\"https://other.test\"]", "origin_not_allowed"),
        ("another audience", "[[auth]]\nby = \"jwt\"\nissuer = \"login\"\nfrom = [\"authorization\"]\naudience = [\"mail\"]", "token_audience"),
        ("another carrier", "[[auth]]\nby = \"jwt\"\nissuer = \"login\"\nfrom = [\"query:t\"]\naudience = [\"chat\"]", "credential_missing"),
        ("another host", "[route]\nhosts = [\"localhost\"]", "path_not_served"),
        ("another path", "[route]\npaths = [\"/talk\"]", "path_not_served"),
        ("another network", "[limits]\ndeny = [\"127.0.0.0/8\"]", "network_not_allowed"),
    ];
    let mut cases = Cases::of("rights taken away");
    for (name, change, code) in changes {
        let house = with_another().build().await;
        let (mut kept, _) = house.session_of(&to_the_other(&house)).await;
        let mark = house.record.mark();
        let mut lost = house.session().await;
        house.rewrite(POLICY, change);
        let reloaded = house.reloads().await;
        assert_eq!((reloaded.generation, reloaded.judged.sessions), (2, 1), "{name}");
        assert_eq!(reloaded.judged.ended, BTreeMap::from([(code, 1)]), "{name}");
        lost.is_closed_with(4403).await;
        let closure = house.record.closed(mark).await;
        assert_eq!((closure.cause, closure.who.generation), (Cause::Revoked, 2), "{name}");
        kept.echoes("nobody asked for this one").await;
        kept.closes(1000).await;
        drop((kept, lost));
        house.is_at_rest().await;
        let mark = house.record.mark();
        let mut wire = house.wire().await;
        wire.send(&house.request().bytes()).await;
        wire.rest().await;
        let refused = house.record.refused(mark).await;
        assert_eq!((refused.reason.code(), refused.who.generation), (code, 2), "{name}: a handshake");
        cases.held("OP06", name);
    }
    cases.all(changes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_stay_is_held_to_the_rules_as_they_are() {
    let house = with_another().build().await;
    let mut cases = Cases::of("rules of live sessions");
    let mark = house.record.mark();
    let (mut session, mut other) = (house.session().await, house.session_of(&to_the_other(&house)).await.0);
    house.rewrite(POLICY, "[session]\nfrom_client = { message_size = \"100B\" }\nclose = { idle = 4999 }");
    let reloaded = house.reloads().await;
    assert_eq!((reloaded.judged.sessions, reloaded.judged.ended.len()), (1, 0));
    session.echoes("short").await;
    let long = masked(FIN | BINARY, &[7; 101]);
    session.send(&long).await;
    session.is_closed_with(1009).await;
    assert_eq!(house.record.closed(mark).await.cause, Cause::MessageTooBig);
    cases.held("OP06", "a message that is too long by the new rules");
    other.send(&long).await;
    assert_eq!(other.frame().await.expect("its echo").payload.len(), 101);
    cases.held("OP06", "the same message where nothing changed");
    let mark = house.record.mark();
    let mut idle = house.session().await;
    house.rewrite(POLICY, "[session]\nidle_timeout = \"1ms\"");
    house.reloads().await;
    idle.is_closed_with(4999).await;
    assert_eq!(house.record.closed(mark).await.cause, Cause::IdleTimeout);
    cases.held("OP06", "a session that was silent for too long already");
    drop((session, other, idle));
    house.is_at_rest().await;
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lowered_cap_binds_newcomers_and_permits_return_to_where_they_came_from() {
    let house = Plan::plain().policy("[limits]\nconnections = 2").build().await;
    let (mut first, mut second) = (house.session().await, house.session().await);
    house.rewrite(POLICY, "[limits]\nconnections = 1");
    assert_eq!(house.reloads().await.judged.ended.len(), 0);
    first.echoes("still here").await;
    second.echoes("so am I").await;
    for leaves in [first, second] {
        let mark = house.record.mark();
        let mut wire = house.wire().await;
        wire.send(&house.request().bytes()).await;
        assert_eq!(wire.answer_head().await.status, 503);
        assert_eq!(house.record.refused(mark).await.reason, Reason::RouteSessions);
        drop(wire);
        let mark = house.record.mark();
        drop(leaves);
        house.record.closed(mark).await;
    }
    house.is_at_rest().await;
    let only = house.session().await;
    house.rewrite(POLICY, "[limits]\nconnections = 2");
    house.reloads().await;
    let twin = house.session().await;
    drop((only, twin));
    house.is_at_rest().await;
    cases::held("OP06", "a cap that was lowered, and raised again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bounds_of_all_and_of_addresses_are_read_again() {
    let house = House::plain().await;
    let mut cases = Cases::of("bounds that are read again");
    let session_from = async |address: &str| {
        let mut wire = house.try_wire(address, HOST).await.ok()?;
        wire.send(&house.request().bytes()).await;
        assert_eq!(wire.answer_head().await.status, 101, "{address}");
        Some(wire)
    };
    let (mut stays, mut leaves) = (house.session().await, session_from("127.0.0.2").await.unwrap());
    house.rewrite(GATEWAY, "[address]\ndeny = [\"127.0.0.2/32\"]");
    let reloaded = house.reloads().await;
    assert_eq!((reloaded.judged.sessions, reloaded.judged.ended), (2, BTreeMap::from([("address_denied", 1)])));
    leaves.is_closed_with(4403).await;
    stays.echoes("another network was denied").await;
    assert!(session_from("127.0.0.2").await.is_none());
    cases.held("OP06", "a network that is denied");
    house.rewrite(GATEWAY, "[address]\ndeny = []");
    house.reloads().await;
    drop((leaves, session_from("127.0.0.2").await.expect("the twin: it is let in again")));
    eventually("one is left", || house.gateway.usage().sessions == 1).await;
    house.rewrite(GATEWAY, "[capacity]\nsessions = 1");
    assert_eq!(house.reloads().await.judged.sessions, 0, "no policy changed, and no network");
    let mark = house.record.mark();
    let mut newcomer = house.wire().await;
    newcomer.send(&house.request().bytes()).await;
    assert_eq!(newcomer.answer_head().await.status, 503);
    assert_eq!(house.record.refused(mark).await.reason, Reason::GatewaySessions);
    stays.echoes("a lower cap binds newcomers").await;
    house.rewrite(GATEWAY, "[capacity]\nsessions = 2");
    house.reloads().await;
    drop(house.session().await);
    cases.held("OP06", "a capacity that is lowered, and raised");
    drop((stays, newcomer));
    house.is_at_rest().await;
    cases.all(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_changes_nothing_and_says_why() {
    let house = House::plain().await;
    let gateway = GATEWAY;
    #[rustfmt::skip]
    let bad = [
        ("a policy that is not TOML", POLICY, "this is not TOML", "syntax"),
        ("a key that is not known", POLICY, "[origin]\nallowed = []", "unknown_key"),
        ("a policy without an origin", POLICY, "[origin]\nallow = [\"*\"]", "danger"),
        ("a policy that names no issuer", POLICY, "[[auth]]\nby = \"jwt\"\nissuer = \"nobody\"\nfrom = [\"query:t\"]\naudience = [\"a\"]", "unknown_name"),
        ("an address", gateway, "[[listener]]\naddress = \"127.0.0.1:1\"\ncertificates = [{ chain = \"certs/server.pem\", key = { file = \"certs/server.key\" } }]", "`listener[0].address` cannot change"),
        ("a listener", gateway, "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:1\"\n", "`listener[1].address` cannot change"),
        ("the oldest TLS", gateway, "[[listener]]\ntls_min = \"1.3\"\naddress = \"127.0.0.1:0\"\ncertificates = [{ chain = \"certs/server.pem\", key = { file = \"certs/server.key\" } }]", "`listener[0].tls_min` cannot change"),
        ("the health address", gateway, "health = { address = \"127.0.0.1:1\" }", "`health.address` cannot change"),
        ("threads", gateway, "threads = 3", "`threads` cannot change"),
        ("the drain time", gateway, "drain = \"3s\"", "`drain` cannot change"),
        ("how many handshakes go on", gateway, "[capacity]\nhandshakes = 5", "`capacity.handshakes` cannot change"),
        ("how many TLS handshakes are computed", gateway, "[capacity]\ntls_handshakes = 5", "`capacity.tls_handshakes` cannot change"),
    ];
    let mut cases = Cases::of("reloads that are refused");
    let folder = house.folder.path();
    for (name, path, change, said) in bad {
        let good = fs::read(folder.join(path)).unwrap();
        if change.contains('=') {
            house.rewrite(path, change);
        } else {
            fs::write(folder.join(path), change).unwrap();
        }
        let policy = fs::read(folder.join(POLICY)).unwrap();
        if path == gateway {
            // What is good about it is not used either.
            house.rewrite(POLICY, "[origin]\nallow = [\"https://other.test\"]");
        }
        let refused = house.refuses_to_reload().await;
        assert!(refused.contains(said), "{name}: {refused}");
        fs::write(folder.join(POLICY), policy).unwrap();
        fs::write(folder.join(path), good).unwrap();
        house.admits(&house.request()).await;
        cases.held("OP04", name);
    }
    cases.all(bad.len());
    let mark = house.record.mark();
    let reloaded = house.reloads().await;
    assert_eq!((reloaded.generation, reloaded.judged.sessions), (2, 0), "the twin");
    assert_eq!(house.record.notice(mark, "reloaded").await.text, "policy version 2; 0 sessions judged again, 0 ended");
}

/// The metric that an operator watches.
async fn last_reload(house: &House) -> String {
    let mut wire = Wire::over(Wire::tcp_from("127.0.0.1", house.gateway.health_address().unwrap()).await.unwrap());
    wire.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    let page = String::from_utf8(wire.rest().await.0).unwrap();
    page.lines().find_map(|line| line.strip_prefix("wsgate_config_last_reload_success ")).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metric_tells_whether_the_last_reload_was_good() {
    let house = Plan::plain().gateway("health = { address = \"127.0.0.1:0\" }").build().await;
    assert_eq!(last_reload(&house).await, "1", "before any");
    let good = fs::read(house.folder.path().join(POLICY)).unwrap();
    fs::write(house.folder.path().join(POLICY), "this is not TOML").unwrap();
    house.refuses_to_reload().await;
    assert_eq!(last_reload(&house).await, "0");
    fs::write(house.folder.path().join(POLICY), good).unwrap();
    house.reloads().await;
    assert_eq!(last_reload(&house).await, "1", "the twin");
    cases::held("OP04", "the metric of the last reload");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_at_other_paths_are_shown_after_a_reload() {
    const MOVED: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificates = [{ chain = \"certs/next.pem\", key = { file = \"certs/next.key\" } }]";
    let house = House::plain().await;
    let next = house.authority.leaf(&[HOST]);
    let mut session = house.session().await;
    house.rewrite("gateway.toml", MOVED);
    let refused = house.refuses_to_reload().await;
    assert!(refused.contains("next.pem"), "{refused}");
    assert_ne!(shown(&house).await, next.der());
    for (name, pem) in [("next.pem", &next.chain_pem), ("next.key", &next.key_pem)] {
        let path = house.folder.path().join("certs").join(name);
        fs::write(&path, pem).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    house.reloads().await;
    assert_eq!(shown(&house).await, next.der());
    session.echoes("the connection that I have goes on").await;
    cases::held("OP04", "certificates at other paths");
}

/// The certificate that a client is shown, in DER.
async fn shown(house: &House) -> Vec<u8> {
    let name = ServerName::try_from(HOST).unwrap();
    let client = TlsConnector::from(house.authority.client(&[b"http/1.1"]));
    let stream = within("a TLS handshake", client.connect(name, house.tcp().await)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_added_serves_and_one_that_is_removed_does_not() {
    let house = with_another().build().await;
    let folder = house.folder.path().join("policies");
    let mark = house.record.mark();
    let mut session = house.session_of(&to_the_other(&house)).await.0;
    fs::rename(folder.join("other.toml"), folder.join("other.off")).unwrap();
    assert_eq!(house.reloads().await.judged.ended, BTreeMap::from([("path_not_served", 1)]));
    session.is_closed_with(4403).await;
    drop(session);
    house.closure(mark).await;
    house.refuses(&to_the_other(&house), Reason::PathNotServed).await;
    fs::rename(folder.join("other.off"), folder.join("renamed.toml")).unwrap();
    house.reloads().await;
    house.admits(&to_the_other(&house)).await;
    cases::held("OP06", "a policy that is gone, and comes back under another name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_comes_over_the_path_of_another_takes_its_sessions() {
    #[rustfmt::skip]
    let changes: [(&str, &str, &str, usize, Option<&str>); 5] = [
        ("one that is added", "added", "/chat/room", 1, Some("policy_replaced")),
        ("one that is widened", "other", "/chat/room", 2, Some("policy_replaced")),
        ("one whose path differs in letters alone", "other", "/Chat/Room", 2, Some("path_not_served")),
        ("one that is added elsewhere", "added", "/elsewhere", 0, None),
        ("one that is widened elsewhere", "other", "/elsewhere", 1, None),
    ];
    let mut cases = Cases::of("policies over others");
    for (name, policy, path, judged, code) in changes {
        let house = with_another().build().await;
        let file = format!("policies/{policy}.toml");
        if policy == "added" {
            fs::copy(house.folder.path().join("policies/other.toml"), house.folder.path().join(&file)).unwrap();
        }
        let mut chats = house.session().await;
        let mut others = house.session_of(&to_the_other(&house)).await.0;
        let mark = house.record.mark();
        let mut inside = house.session_of(&house.request_with(|request| request.target("/chat/room"))).await.0;
        let paths = if policy == "other" { format!("\"/other\", \"{path}\"") } else { format!("\"{path}\"") };
        house.rewrite(&file, &format!("[route]\npaths = [{paths}]"));
        let reloaded = house.reloads().await;
        assert_eq!(reloaded.judged.sessions, judged, "{name}: nobody else is touched");
        assert_eq!(reloaded.judged.ended, code.map(|code| (code, 1)).into_iter().collect(), "{name}");
        if code.is_some() {
            inside.is_closed_with(4403).await;
            assert_eq!(house.record.closed(mark).await.cause, Cause::Revoked, "{name}");
        } else {
            inside.echoes("my path is my policy's still").await;
        }
        chats.echoes("mine is another path").await;
        others.echoes("and mine another policy").await;
        drop((chats, others, inside));
        house.is_at_rest().await;
        cases.held("OP06", name);
    }
    cases.all(changes.len());
}

/// Holds up whoever tells that another list of revocations holds, until it may go on.
struct Holdup(Mutex<mpsc::Receiver<()>>);

impl Observer for Holdup {
    fn observe(&self, event: &Event) {
        if matches!(event, Event::Notice(notice) if notice.code == "revocations_replaced") {
            tokio::task::block_in_place(|| self.0.lock().unwrap().recv().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reload_revokes_holds_before_anybody_is_judged_again() {
    let (go_on, held_up) = mpsc::channel();
    let plan = Plan::plain().file("revoked.txt", "subject alice until=9000-01-01T00:00:00Z\n");
    let house = plan.told_to(Arc::new(Holdup(Mutex::new(held_up)))).build().await;
    let bob = house.request_as(&house.signer.token_with(|claims| drop(claims.insert("sub".into(), "bob".into()))));
    let (mut revoked, mut stays) = (house.session().await, house.session_of(&bob).await.0);
    house.rewrite("gateway.toml", "revocations = \"revoked.txt\"");
    house.rewrite(POLICY, "[session]\nidle_timeout = \"59m\"");
    let mark = house.record.mark();
    let meanwhile = async {
        house.record.notice(mark, "revocations_replaced").await;
        revoked.is_closed_with(4403).await;
        assert_eq!(house.record.closed(mark).await.who.generation, 1, "by the policy as it was");
        let mark = house.record.mark();
        let mut wire = house.wire().await;
        wire.send(&house.request().bytes()).await;
        assert_eq!(wire.answer_head().await.status, 401);
        let refused = house.record.refused(mark).await;
        assert_eq!((refused.reason, refused.who.generation), (Reason::CredentialRevoked, 1), "it holds for newcomers");
        go_on.send(()).unwrap();
    };
    let (reloaded, ()) = tokio::join!(house.reloads(), meanwhile);
    assert_eq!((reloaded.generation, reloaded.judged.ended.len()), (2, 0));
    stays.echoes("of me nothing is said").await;
    drop((revoked, stays));
    house.is_at_rest().await;
    cases::held("OP06", "a list of revocations beside a policy");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_server_that_is_down_close_once_their_policy_says_so() {
    let upstream = |interval: &str, down: &str| {
        let rules = format!("interval = \"{interval}\", rise = 1, fall = 1, down = \"{down}\"");
        format!("[upstream]\nhealth = {{ check = {{ websocket = \"/health\" }}, {rules} }}")
    };
    let house = Plan::plain().policy(&upstream("100ms", "keep")).build().await;
    let mut session = house.session().await;
    let mark = house.record.mark();
    house.backend.play(vec![Step::Head, Step::Send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".into())]);
    house.record.notice(mark, "server_down").await;
    house.rewrite(POLICY, &upstream("200ms", "keep"));
    assert_eq!(house.reloads().await.judged.ended, BTreeMap::new(), "the twin");
    session.echoes("its server carries it still").await;
    house.rewrite(POLICY, &upstream("200ms", "close"));
    assert_eq!(house.reloads().await.judged.ended, BTreeMap::from([("backend_down", 1)]));
    session.is_closed_with(1012).await;
    assert_eq!(house.record.closed(mark).await.cause, Cause::ServerDown);
    drop(session);
    house.is_at_rest().await;
    cases::held("OP06", "a server that is down");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tokens_that_are_taken_away_end_what_they_opened() {
    let word = "0123456789abcdef0123";
    let line = |word: &str, name: &str| format!("{} {name} use_until=9000-01-01T00:00:00Z\n", digest(word));
    let tokens = [line(word, "kiosk"), line("another-word-of-some-length", "panel")].concat();
    let way = "[[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"query:token\"]";
    let plan = with_another().policy(way).file("policies/chat.tokens", &tokens);
    let house = plan.build().await;
    let by_token = |word: &str| {
        house.request_with(|request| {
            request.remove("Authorization");
            request.target(format!("/chat?token={word}"));
        })
    };
    let mut cases = Cases::of("keys of live sessions");
    let (mut kiosk, _) = house.session_of(&by_token(word)).await;
    let (mut panel, _) = house.session_of(&by_token("another-word-of-some-length")).await;
    let (mut signed, _) = house.session_of(&to_the_other(&house)).await;
    let mark = house.record.mark();
    fs::write(house.folder.path().join("policies/chat.tokens"), line("another-word-of-some-length", "panel")).unwrap();
    let notice = house.record.notice(mark, "keys_replaced").await;
    assert!(notice.text.ends_with("2 sessions judged again, 1 ended: token_unknown 1"), "{}", notice.text);
    kiosk.is_closed_with(4403).await;
    panel.echoes("my line is still there").await;
    signed.echoes("nor did I come by a line").await;
    cases.held("OP06", "a line of a token file that was taken out");
    let mark = house.record.mark();
    fs::write(house.folder.path().join("certs/login.pem"), Signer::es256().public_pem()).unwrap();
    let notice = house.record.notice(mark, "keys_replaced").await;
    assert!(notice.text.ends_with("1 sessions judged again, 1 ended: token_signature 1"), "{}", notice.text);
    signed.is_closed_with(4403).await;
    panel.echoes("I have no key").await;
    cases.held("OP06", "a key that was taken out");
    drop((kiosk, panel, signed));
    house.is_at_rest().await;
    cases.all(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_under_way_is_judged_by_the_policy_as_it_is() {
    type Expected = Result<(), (u16, Reason)>;
    let script = vec![Step::Head, Step::Gate, Step::Send(SWITCHING.into()), Step::Echo];
    let changes: [(&str, &str, Expected); 5] = [
        (
            "an origin that is taken out",
            "[origin]\nallow = [\"https://other.test\"]",
            Err((403, Reason::OriginNotAllowed)),
        ),
        ("a path that is taken out", "[route]\npaths = [\"/talk\"]", Err((404, Reason::PathNotServed))),
        ("an address that is taken out", "[limits]\ndeny = [\"127.0.0.1/32\"]", Err((403, Reason::NetworkNotAllowed))),
        ("a shorter message", "[session]\nfrom_client = { message_size = \"100B\" }", Ok(())),
        ("nothing", "", Ok(())),
    ];
    let mut cases = Cases::of("handshakes under way");
    for (name, change, expected) in &changes {
        let house = Plan::plain().script(script.clone()).build().await;
        let mark = house.record.mark();
        let mut wire = house.wire().await;
        wire.send(&house.request().bytes()).await;
        let asked = |seen: &[Seen]| seen.last().is_some_and(|last| !last.head.is_empty());
        house.backend.wait("the handshake is at the backend", asked).await;
        house.rewrite(POLICY, change);
        house.reloads().await;
        house.backend.release();
        match expected {
            Err((status, reason)) => {
                assert_eq!(wire.answer_head().await.status, *status, "{name}");
                let refused = house.record.refused(mark).await;
                assert_eq!((refused.reason, refused.who.generation), (*reason, 2), "{name}");
            }
            Ok(()) => {
                assert_eq!(wire.answer_head().await.status, 101, "{name}");
                assert_eq!(house.record.opened(mark).await.who.generation, 2, "{name}");
                wire.send(&masked(FIN | BINARY, &[7; 101])).await;
                let answer = wire.frame().await.expect("a frame");
                let expected = if change.is_empty() { BINARY } else { CLOSE };
                assert_eq!(answer.opcode(), expected, "{name}");
            }
        }
        drop(wire);
        house.is_at_rest().await;
        cases.held("OP05", name);
    }
    cases.all(changes.len());
}

/// Which origin a policy version lists.
fn listed_in(generation: u64) -> &'static str {
    if generation % 2 == 1 { ORIGIN } else { OTHER_ORIGIN }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_of_exactly_one_version() {
    hundred_reloads_during(1000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "twenty thousand handshakes: `.ci/long` runs it"]
async fn every_decision_of_twenty_thousand_is_of_exactly_one_version() {
    hundred_reloads_during(20_000).await;
}

/// A hundred reloads, spread over at least this many handshakes.
async fn hundred_reloads_during(handshakes: u64) {
    const RELOADS: u64 = 100;
    const CLIENTS: usize = 16;
    let house = Arc::new(Plan::plain().without_tls().build().await);
    let (going, count) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (house, going, count) = (Arc::clone(&house), Arc::clone(&going), Arc::clone(&count));
        let origin = if number % 2 == 0 { ORIGIN } else { OTHER_ORIGIN };
        let request = house.request_with(|request| request.set("Origin", origin)).bytes();
        clients.spawn(async move {
            while going.load(Ordering::Relaxed) {
                let mut wire = Wire::over(house.tcp().await);
                wire.send(&request).await;
                assert!([101, 403].contains(&wire.answer_head().await.status));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for reload in 1..=RELOADS {
        let due = handshakes * reload / RELOADS;
        eventually("clients are answered", || count.load(Ordering::Relaxed) >= due).await;
        house.rewrite(POLICY, &format!("[origin]\nallow = [\"{}\"]", listed_in(reload + 1)));
        assert_eq!(house.reloads().await.generation, reload + 1);
    }
    going.store(false, Ordering::Relaxed);
    while let Some(client) = within("a client", clients.join_next()).await {
        client.unwrap();
    }
    let answered = usize::try_from(count.load(Ordering::Relaxed)).unwrap();
    assert!(count.load(Ordering::Relaxed) >= handshakes);
    house.is_at_rest().await;
    let told = house.record.since(0);
    let (mut opened, mut refused, mut closed, mut revoked) = (0_usize, 0_usize, 0_usize, 0_usize);
    for event in &told {
        match event {
            Event::Opened(Opened { who, origin, .. }) => {
                assert_eq!(origin.as_deref(), Some(listed_in(who.generation)), "{event:?}");
                opened += 1;
            }
            Event::Refused(Refused { who, origin, reason, .. }) => {
                assert_eq!(*reason, Reason::OriginNotAllowed, "{event:?}");
                assert_ne!(origin.as_deref(), Some(listed_in(who.generation)), "{event:?}");
                refused += 1;
            }
            Event::Closed(closure) => {
                closed += 1;
                revoked += usize::from(closure.cause == Cause::Revoked);
            }
            Event::Answered(_) | Event::Notice(_) => {}
        }
    }
    assert_eq!((opened + refused, closed), (answered, opened), "none is lost, and none told twice");
    println!(
        "{answered} handshakes: {opened} opened, of which {revoked} were judged again and ended, {refused} refused"
    );
    assert!(opened > 100 && refused > 100, "{opened} {refused}");
    cases::held("OP05", "a hundred reloads");
}
