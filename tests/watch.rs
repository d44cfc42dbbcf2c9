//! The watch over what the configuration names: what changes is used, whenever it changes, and what is bad is told.

#![allow(clippy::print_stdout, reason = "what was counted is for the reader of the output")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, mkfifoat};
use support::house::{HEADER_ONLY, HOST};
use support::observer::Record;
use support::tokens::{Signer, digest};
use support::{Backend, Cases, House, Plan};
use wsgate::event::SharedObserver;
use wsgate::gateway::Gateway;
use wsgate::policy::Reason;

/// A query token that the table does not have at first.
const WORD: &str = "0123456789abcdef0123";

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_behind_the_reading_is_read_at_the_first_look() {
    let mut cases = Cases::of("changes before the start");
    for what in ["certificate_replaced", "keys_replaced", "tokens", "revocations_replaced"] {
        let plan = Plan::plain().policy(&ways("chat.tokens")).file("policies/chat.tokens", "").file("revoked.txt", "");
        let plan = plan.gateway("revocations = \"revoked.txt\"");
        let backend = Backend::echo().await;
        let written = plan.written(backend.address);
        let config = written.load().unwrap();
        let mut signer = Arc::clone(plan.signs());
        let put = |path: &str, text: &str| fs::write(written.folder.path().join(path), text).unwrap();
        match what {
            "certificate_replaced" => {
                let leaf = written.authority.leaf(&[HOST]);
                put("certs/server.key", &leaf.key_pem);
                put("certs/server.pem", &leaf.chain_pem);
            }
            "keys_replaced" => {
                signer = Arc::new(Signer::es256());
                put("certs/login.pem", &signer.public_pem());
            }
            "tokens" => {
                put("policies/chat.tokens", &format!("{} kiosk use_until=9000-01-01T00:00:00Z\n", digest(WORD)));
            }
            _ => put("revoked.txt", "subject alice until=9000-01-01T00:00:00Z\n"),
        }
        let record = Arc::new(Record::before(None));
        let observer: SharedObserver = Arc::<Record>::clone(&record);
        let gateway = Gateway::start(config, observer).await.unwrap();
        let (authority, folder) = (written.authority, written.folder);
        let house = House { gateway, backend, record, signer, authority, folder };
        house.record.notice(0, if what == "tokens" { "keys_replaced" } else { what }).await;
        match what {
            "tokens" => {
                let by_token = |request: &mut support::Request| {
                    request.remove("Authorization");
                    request.target(format!("/chat?token={WORD}"));
                };
                house.admits(&house.request_with(by_token)).await;
            }
            "revocations_replaced" => drop(house.refuses(&house.request(), Reason::CredentialRevoked).await),
            _ => drop(house.admits(&house.request()).await),
        }
        cases.held("OP04", what);
    }
    cases.all(4);
}

/// Puts a pipe to which nobody writes in the place of a file.
fn put_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_a_file_holds_nothing_up() {
    let pipes = [
        ("certs/server.pem", "certificate_kept"),
        ("certs/login.pem", "keys_kept"),
        ("policies/chat.tokens", "tokens_kept"),
        ("revoked.txt", "revocations_kept"),
        ("policies/chat.toml", "reload_refused"),
        ("gateway.toml", "reload_refused"),
    ];
    let mut cases = Cases::of("pipes");
    for (path, code) in pipes {
        let plan = Plan::plain().policy(&ways("chat.tokens")).file("policies/chat.tokens", "").file("revoked.txt", "");
        let house = plan.gateway("revocations = \"revoked.txt\"").build().await;
        let place = house.folder.path().join(path);
        let good = fs::read(&place).unwrap();
        let mark = house.record.mark();
        put_pipe(&place);
        let refused = house.refuses_to_reload().await;
        let said = house.record.notice(mark, code).await.text;
        for said in [&said, &refused] {
            assert!(said.contains("it is not a regular file"), "{path}: {said}");
        }
        house.admits(&house.request()).await;
        fs::remove_file(&place).unwrap();
        fs::write(&place, good).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o600)).unwrap();
        house.reloads().await;
        house.admits(&house.request()).await;
        cases.held("OP04", path);
    }
    cases.all(pipes.len());
}

const POLICY: &str = "policies/chat.toml";

/// How many notices of this code there were.
fn notices(house: &House, code: &str) -> usize {
    house.record.as_text().matches(&format!("code: \"{code}\"")).count()
}

/// Looks are taken meanwhile: two that found something at [`TOKENS`].
async fn looks_go_on(house: &House) {
    for tokens in [format!("{} kiosk use_until=9000-01-01T00:00:00Z\n", digest(WORD)), String::new()] {
        let mark = house.record.mark();
        fs::write(house.folder.path().join(TOKENS), tokens).unwrap();
        house.record.notice(mark, "keys_replaced").await;
    }
}

const TOKENS: &str = "policies/kiosk.tokens";

/// What lets in by these tokens, and by JWT.
fn ways(tokens: &str) -> String {
    format!("{HEADER_ONLY}[[auth]]\nby = \"token\"\ntokens = \"{tokens}\"\nfrom = [\"query:token\"]\n")
}

fn tokened() -> Plan {
    Plan::plain().policy(&ways("kiosk.tokens")).file(TOKENS, "")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_used_on_change_where_that_is_asked_for() {
    let house = tokened().second_policy("other", "[route]\npaths = [\"/other\"]").build().await;
    let folder = house.folder.path();
    let to_the_other = house.request_with(|request| request.target("/other"));
    let mut cases = Cases::of("on change");
    house.rewrite(POLICY, "[origin]\nallow = [\"https://other.test\"]");
    looks_go_on(&house).await;
    house.admits(&house.request()).await;
    assert_eq!(notices(&house, "reloaded"), 0);
    cases.held("OP04", "nobody asked for it");

    house.rewrite("gateway.toml", "reload = \"on_change\"");
    house.rewrite(POLICY, "[origin]\nallow = [\"https://app.test\"]");
    house.reloads().await;
    let mut session = house.session().await;
    let mark = house.record.mark();
    house.rewrite(POLICY, "[origin]\nallow = [\"https://other.test\"]");
    let said = house.record.notice(mark, "reloaded").await.text;
    assert!(said.ends_with("; 1 sessions judged again, 1 ended: origin_not_allowed 1"), "{said}");
    session.is_closed_with(4403).await;
    drop(session);
    house.closure(mark).await;
    house.refuses(&house.request(), Reason::OriginNotAllowed).await;
    cases.held("OP04", "a policy");

    let mark = house.record.mark();
    fs::rename(folder.join("policies/other.toml"), folder.join("policies/other.off")).unwrap();
    house.record.notice(mark, "reloaded").await;
    house.refuses(&to_the_other, Reason::PathNotServed).await;
    let mark = house.record.mark();
    fs::rename(folder.join("policies/other.off"), folder.join("policies/again.toml")).unwrap();
    house.record.notice(mark, "reloaded").await;
    house.admits(&to_the_other).await;
    cases.held("OP04", "a policy that is taken out and one that is added");

    let mark = house.record.mark();
    house.rewrite("gateway.toml", "drain = \"3s\"");
    let said = house.record.notice(mark, "reload_refused").await.text;
    assert!(said.contains("`drain` cannot change while the gateway runs"), "{said}");
    house.rewrite("gateway.toml", "drain = \"2s\"\nreload = \"on_request\"");
    house.record.notice(mark, "reloaded").await;
    house.rewrite(POLICY, "[origin]\nallow = [\"https://app.test\"]");
    looks_go_on(&house).await;
    house.refuses(&house.request(), Reason::OriginNotAllowed).await;
    cases.held("OP04", "gateway.toml, until it asks for it no longer");
    cases.all(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_badly_is_told_once_until_it_changes_again() {
    let house = tokened().gateway("reload = \"on_change\"").build().await;
    let put = |path: &str, text: &str| fs::write(house.folder.path().join(path), text).unwrap();
    let good = fs::read_to_string(house.folder.path().join(POLICY)).unwrap();
    let mut cases = Cases::of("bad changes");
    let mut told = 0;
    let without_file = good.replace("kiosk.tokens", "chat.tokens");
    let bad =
        [("no TOML", "this is not TOML", "expected `=`"), ("a file that is missing", &without_file, "chat.tokens")];
    for (name, text, why) in bad {
        let mark = house.record.mark();
        put(POLICY, text);
        let said = house.record.notice(mark, "reload_refused").await.text;
        told += 1;
        assert!(said.starts_with("nothing was changed: ") && said.contains(why), "{name}: {said}");
        house.refuses_to_reload().await;
        told += 1;
        looks_go_on(&house).await;
        assert_eq!(notices(&house, "reload_refused"), told, "{name}: once, and once to whoever asks");
        house.admits(&house.request()).await;
        cases.held("OP04", name);
    }
    let mark = house.record.mark();
    put("policies/chat.tokens", "");
    house.record.notice(mark, "reloaded").await;
    cases.held("OP04", "the file that was missing");
    let mark = house.record.mark();
    put(POLICY, &good);
    house.record.notice(mark, "reloaded").await;
    house.admits(&house.request()).await;
    assert_eq!(notices(&house, "reload_refused"), told, "what is good is not refused");
    cases.held("OP04", "what was there before");
    cases.all(4);
}
