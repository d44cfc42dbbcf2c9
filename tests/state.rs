//! The state file: kept over a restart, on disks that fail, and among people. What is revoked holds at once, whatever becomes
//! of its line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use support::admin::{ADMIN, SOCKET, call, tell};
use support::observer::Record;
use support::tokens::now;
use support::{Cases, House, Plan, Wire, cases, within};
use wsgate::config;
use wsgate::event::Level;
use wsgate::gateway::Gateway;
use wsgate::gateway::handover::Inherited;
use wsgate::units::UnixSeconds;

const STATE: &str = "state/revocations";
const LIST: &str = "revoked.txt";

fn plan() -> Plan {
    Plan::plain().gateway(ADMIN).gateway("state = \"state\"\nrevocations = \"revoked.txt\"").file(LIST, "")
}

async fn revokes(house: &House, subject: &str) -> Value {
    let (status, told) = tell(house, "POST", "/api/revoke", &json!({ "subject": subject, "for": "1h" })).await;
    assert_eq!(status, 200, "{subject}: {told}");
    told
}

async fn session_of(house: &House, subject: &str) -> Wire {
    let token = house.signer.token_with(|claims| drop(claims.insert("sub".into(), json!(subject))));
    let mut wire = house.session_of(&house.request_as(&token)).await.0;
    wire.echoes("hello").await;
    wire
}

/// The subjects that calls revoked.
async fn revoked(house: &House) -> Vec<String> {
    let told = call(house, "GET", "/api/revocations", "", "").await.1;
    let calls = told["revocations"].as_array().unwrap().iter().filter(|one| one["from"] == "call");
    calls.map(|one| one["subject"].as_str().unwrap().to_owned()).collect()
}

/// The same files, read by another process's worth of gateway.
async fn restarted(house: House) -> House {
    let House { gateway, backend, signer, authority, folder, .. } = house;
    within("the drain", gateway.drain()).await;
    let record = Arc::new(Record::before(None));
    let config = config::load(&folder.path().join("gateway.toml"), &|_| None, UnixSeconds(now())).unwrap().0;
    let gateway = Gateway::start(config, Arc::<Record>::clone(&record) as _).await.unwrap();
    House { gateway, backend, record, signer, authority, folder }
}

/// Puts a copy of the file in its place.
fn replace(file: &Path) {
    let beside = file.with_extension("copy");
    fs::copy(file, &beside).unwrap();
    fs::rename(beside, file).unwrap();
}

/// While it lives the file cannot be written anew, and no error says so: whoever opens a pipe waits for its other end.
struct Hung(PathBuf);

impl Hung {
    fn beside(file: &Path) -> Self {
        let pipe = file.with_extension("next");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        Self(pipe)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // The other end, which is no disk, and is gone at once.
        drop(fs::File::options().read(true).write(true).open(&self.0).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_keeps_nobody_from_being_revoked() {
    let house = plan().build().await;
    let (folder, file) = (house.folder.path(), house.folder.path().join(STATE));
    assert_eq!(revokes(&house, "carol").await["kept"], true, "the twin");
    let (mut alice, mut bob) = (session_of(&house, "alice").await, session_of(&house, "bob").await);
    let mark = house.record.mark();
    let taken = within("the descriptors", Inherited::take_over(&folder.join(SOCKET))).await.unwrap();
    replace(&file);
    let hung = Hung::beside(&file);
    drop(taken);
    house.record.notice(mark, "handover_failed").await;

    let ends = async {
        for wire in [&mut alice, &mut bob] {
            wire.is_closed_with(4403).await;
        }
        let list = file.with_file_name("list");
        fs::write(&list, "subject dave until=9000-01-01T00:00:00Z\n").unwrap();
        fs::rename(list, folder.join(LIST)).unwrap();
        house.record.notice(mark, "revocations_replaced").await;
    };
    let (first, second, ()) = tokio::join!(revokes(&house, "alice"), revokes(&house, "bob"), ends);
    for told in [first, second] {
        assert_eq!((&told["ended"], &told["kept"]), (&json!(1), &json!(false)), "{told}");
        assert!(told["message"].as_str().unwrap().contains("the disk has not answered"), "{told}");
    }
    house.record.notice(mark, "state_lost").await;
    let before = fs::read_to_string(&file).unwrap();
    assert_eq!(before.lines().count(), 2, "none of it is written: {before}");

    drop(hung);
    house.record.notice(mark, "state_written").await;
    assert_eq!(revokes(&house, "erin").await["kept"], true);
    drop((alice, bob));
    let house = restarted(house).await;
    assert_eq!(revoked(&house).await, ["alice", "bob", "carol", "erin"]);
    cases::held("OP03", "a disk that hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_moved_replaced_or_cut_is_whole_again() {
    type Harm<'h> = (&'h str, &'h dyn Fn(&Path));
    let harms: [Harm<'_>; 4] = [
        ("moved away", &|file| fs::rename(file, file.with_extension("away")).unwrap()),
        ("taken out", &|file| fs::remove_file(file).unwrap()),
        ("replaced", &replace),
        ("cut", &|file| fs::File::options().write(true).open(file).unwrap().set_len(30).unwrap()),
    ];
    let mut cases = Cases::of("harm to a state file");
    for (name, harm) in harms {
        let house = plan().build().await;
        let file = house.folder.path().join(STATE);
        revokes(&house, "alice").await;
        let mark = house.record.mark();
        harm(&file);
        let said = house.record.notice(mark, "state_moved").await;
        assert_eq!(said.level, Level::Warning, "{name}");
        assert_eq!(revokes(&house, "bob").await["kept"], true, "{name}");
        let house = restarted(house).await;
        assert_eq!(revoked(&house).await, ["alice", "bob"], "{name}");
        cases.held("OP03", name);
    }
    cases.all(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_this_states_is_left_as_it_is() {
    let mut cases = Cases::of("foreign files");
    for (name, is_a_state) in [("a letter", false), ("the state of another time", true)] {
        let house = plan().build().await;
        let file = house.folder.path().join(STATE);
        revokes(&house, "alice").await;
        revokes(&house, "dave").await;
        let text = if is_a_state { fs::read_to_string(&file).unwrap() } else { String::from("remember the milk\n") };
        tell(&house, "DELETE", "/api/revoke", &json!({ "subject": "dave" })).await;
        let mut bob = session_of(&house, "bob").await;
        let mark = house.record.mark();
        let beside = file.with_extension("put");
        fs::write(&beside, &text).unwrap();
        fs::rename(&beside, &file).unwrap();
        let said = house.record.notice(mark, "state_lost").await.text;
        assert!(said.contains("put it away"), "{name}: {said}");
        let told = revokes(&house, "bob").await;
        assert_eq!((&told["ended"], &told["kept"]), (&json!(1), &json!(false)), "{name}: {told}");
        bob.is_closed_with(4403).await;
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{name}");
        let mark = house.record.mark();
        fs::rename(&file, &beside).unwrap();
        house.record.notice(mark, "state_written").await;
        drop(bob);
        let house = restarted(house).await;
        assert_eq!(revoked(&house).await, ["alice", "bob"], "{name}");
        assert_eq!(fs::read_to_string(&beside).unwrap(), text, "{name}");
        cases.held("OP03", name);
    }
    cases.all(2);
}
