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
        let ways = format!("{HEADER_ONLY}[[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"query:token\"]");
        let plan = Plan::plain().policy(&ways).file("policies/chat.tokens", "").file("revoked.txt", "");
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
        let ways = format!("{HEADER_ONLY}[[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"query:t\"]");
        let plan = Plan::plain().policy(&ways).file("policies/chat.tokens", "").file("revoked.txt", "");
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
