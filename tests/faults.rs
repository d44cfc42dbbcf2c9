//! Faults of the gateway itself and of the machine below it: a panic, and no port left.
//!
//! A panic comes from the observer of the test, whom the gateway calls inside of a connection's task: the product has no
//! door for it. Few ports come from a network namespace of the test's own, in which this binary runs once more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "that it was passed over is for the reader of the output")]

mod support;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::frames::{FIN, TEXT, bare, masked};
use support::house::HOST;
use support::{Answer, Cases, House, PATIENCE, Plan, Wire, cases, eventually, within};
use tokio::net::TcpSocket;
use wsgate::event::{By, Event, Level, Observer, SharedObserver, Traffic};
use wsgate::policy::Reason;
use wsgate::session::{Cause, Direction};

/// Where an observer panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Before the 101 is written.
    Opening,
    /// While a message passes.
    Carrying,
}

/// An observer that panics once where it is told to.
#[derive(Default)]
struct Faulty(Mutex<Option<Fault>>);

impl Faulty {
    fn arm(&self, fault: Fault) {
        *self.0.lock().unwrap() = Some(fault);
    }

    fn at(&self, place: Fault) {
        let is_armed = self.0.lock().unwrap().take_if(|fault| *fault == place).is_some();
        assert!(!is_armed, "a fault that the test put here");
    }
}

impl Observer for Faulty {
    fn observe(&self, event: &Event) {
        if matches!(event, Event::Opened(_)) {
            self.at(Fault::Opening);
        }
    }

    fn traffic(&self, _: Direction, _: Traffic) {
        self.at(Fault::Carrying);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_one_connection() {
    let faulty = Arc::new(Faulty::default());
    let house = Plan::plain().told_to(Arc::<Faulty>::clone(&faulty) as SharedObserver).build().await;
    let mut cases = Cases::of("panics");
    for (id, name, fault) in [("OP08", "in a handshake", Fault::Opening), ("OP08", "in a session", Fault::Carrying)] {
        let mut neighbour = house.session().await;
        neighbour.echoes("before").await;
        let alone = alive(&house);
        let mark = house.record.mark();

        let mut wire = match fault {
            Fault::Opening => house.wire().await,
            Fault::Carrying => house.session().await,
        };
        faulty.arm(fault);
        // What a message counts is told when it has passed, so its echo may be there before the end.
        let (bytes, most) = match fault {
            Fault::Opening => (house.request().bytes(), Vec::new()),
            Fault::Carrying => (masked(FIN | TEXT, b"the last word"), bare(FIN | TEXT, b"the last word")),
        };
        wire.send(&bytes).await;
        let (rest, _) = wire.rest().await;
        assert!(most.starts_with(&rest), "{name}: it ends without a word of ours: {rest:?}");
        drop(wire);

        let closure = house.record.closed(mark).await;
        assert_eq!((closure.cause, closure.by, closure.code), (Cause::Internal, By::Gateway, None), "{name}");
        let notice = house.record.notice(mark, "internal").await;
        assert_eq!(notice.level, Level::Error, "{name}");
        assert!(notice.text.contains(&closure.who.id.to_string()), "{name}: it says which one: {}", notice.text);
        eventually("its permits return", || alive(&house) == alone).await;
        house.backend.wait("its backend connection ends", |seen| seen.last().is_some_and(|seen| seen.ended)).await;
        let told = house.record.since(mark);
        assert!(matches!(told.as_slice(), [Event::Opened(_), Event::Closed(_)]), "{name}: one record: {told:?}");

        neighbour.echoes("after").await;
        neighbour.closes(1000).await;
        drop(neighbour);
        house.is_at_rest().await;
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    cases.all(2);
}

fn alive(house: &House) -> [usize; 6] {
    let usage = house.gateway.usage();
    [usage.connections, usage.pending, usage.sessions, usage.subjects, usage.servers, usage.networks]
}

/// Says that this process stands in a namespace with few ports.
const INSIDE: &str = "WSGATE_TEST_FEW_PORTS";

/// The ports that the kernel gives away there, and how many: the gateway and the backend listen on two.
const FEW: &str = "20000 20015";
const COUNT: usize = 16;

/// A shell in which loopback is up and ports are few; it goes on as what stands behind it.
const ENTER: &str = "ip link set lo up && echo $0 >/proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";

/// How to come into a network namespace; `None`: not on this machine.
fn namespace() -> Option<Command> {
    ["-n", "-rn"].into_iter().find_map(|kind| {
        let enter = || {
            let mut command = Command::new("unshare");
            command.args([kind, "sh", "-c", ENTER, FEW]);
            command
        };
        enter().arg("true").output().is_ok_and(|output| output.status.success()).then(enter)
    })
}

#[test]
fn a_handshake_is_refused_at_once_where_no_port_is_left() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::var_os(INSIDE).is_some() {
        return runtime.block_on(no_port_is_left());
    }
    let Some(mut inside) = namespace() else {
        println!("passed over: no network namespace of our own; `unshare -n` and `ip` as root make one");
        return;
    };
    let this = "a_handshake_is_refused_at_once_where_no_port_is_left";
    inside.arg(std::env::current_exe().unwrap()).args(["--exact", this, "--nocapture"]).env(INSIDE, "yes");
    let output = inside.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
    cases::held("RX13", "sixteen ports and a session too many");
}

/// Clients come from ports that they choose themselves, so that the few are the gateway's.
struct Clients(u16);

impl Clients {
    async fn ask(&mut self, house: &House) -> (Wire, Answer) {
        self.0 += 1;
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], self.0).into()).unwrap();
        let tcp = socket.connect(house.address()).await.unwrap();
        let mut wire = Wire::tls(tcp, house.authority.client(&[b"http/1.1"]), HOST).await.unwrap();
        wire.send(&house.request().bytes()).await;
        let answer = wire.answer_head().await;
        (wire, answer)
    }
}

async fn no_port_is_left() {
    let house = Plan::plain().policy("[upstream]\nconnect_timeout = \"60s\"").build().await;
    let mut clients = Clients(50_000);
    let mut sessions = Vec::new();
    let refused = loop {
        let mark = house.record.mark();
        let (wire, answer) = clients.ask(&house).await;
        if answer.status != 101 {
            assert_eq!(house.record.refused(mark).await.reason, Reason::BackendNoSocket);
            break answer;
        }
        sessions.push(wire);
        assert!(sessions.len() < COUNT, "more sessions than ports");
    };
    assert_eq!(refused.status, 503, "within {PATIENCE:?}, far from the connect deadline");
    assert!(sessions.len() > COUNT / 2, "{} sessions", sessions.len());
    for wire in &mut sessions {
        wire.echoes("who is in stays in").await;
    }
    let mut first = sessions.remove(0);
    first.closes(1000).await;
    drop(first);
    // The twin: one has gone. The kernel gives its port away again after a second.
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let comes_in = async {
        while clients.ask(&house).await.1.status != 101 {
            looks.tick().await;
        }
    };
    within("a port is free again", comes_in).await;
    drop(sessions);
    house.is_at_rest().await;
}
