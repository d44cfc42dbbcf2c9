//! Many connections and many handshakes: from one address, from many, refused, aborted, and all at once.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::ground::{Entry, Ground, Window, side_by_side};
use super::{Attacked, Requests};
use crate::audit::finding::Verdict;
use crate::audit::tls::client_hello;
use crate::audit::wire::{Heard, Wire};

/// How many of a flood's connections are being made at a time.
const ABREAST: usize = 32;

/// ClientHellos for each connection of other floods: they are cheap to send.
const HELLOS: usize = 16;

/// For the first byte of an answer in a flood, which does not wait for slow ones.
const GLANCE: Duration = Duration::from_secs(2);

/// How far a connection comes before it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Connected,
    Hello,
    Secured,
    Head,
    Asked,
    Session,
}

/// What came of one connection of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    Answered,
    Status(u16),
    Ended,
    Unanswered,
}

/// What came of silent connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Silent {
    wanted: usize,
    /// How many could be tried in the time.
    tried: usize,
    /// How many were taken.
    made: usize,
    /// How many were held at the same time.
    live: usize,
}

impl Silent {
    /// Of one address at most a cap of them may be held.
    fn of_one(self, cap: usize) -> Verdict {
        let Self { wanted, tried, made, live } = self;
        let told = format!("{live} of {wanted} silent connections of one address were held at the same time");
        match () {
            () if live > cap => Verdict::fell(format!("{told}: more than {cap} are no cap")),
            () if made == 0 => Verdict::undecided("no connection was taken"),
            () if live == made && tried <= cap => {
                Verdict::undecided(format!("{told}; {tried} could be tried, and {cap} may still be a cap"))
            }
            () => Verdict::held(format!("{told}, of at most {cap}")),
        }
    }

    /// Of many addresses it is judged by what others felt of it, once it has come to something.
    fn of_many(self, meant: usize) -> Verdict {
        let Self { tried, made, live, .. } = self;
        let told = format!("of {meant} silent connections {tried} were tried, {made} taken and {live} held");
        if made == 0 || tried < meant / 2 { Verdict::undecided(told) } else { Verdict::held(told) }
    }
}

/// Silent connections of one address: at most a cap of them may be held at a time.
pub(super) async fn one_address(ground: &Ground) -> Attacked {
    let silent = silent(ground, false).await;
    Attacked { verdict: silent.of_one(ground.bounds.cap), connections: silent.wanted }
}

/// Silent connections of many addresses.
pub(super) async fn many_addresses(ground: &Ground) -> Attacked {
    let silent = silent(ground, true).await;
    Attacked { verdict: silent.of_many(ground.bounds.flooding), connections: silent.wanted }
}

/// Opens silent connections and keeps them for the length of a flood.
async fn silent(ground: &Ground, is_spread: bool) -> Silent {
    let began = Instant::now();
    let wanted = ground.bounds.within_own_limit(ground.bounds.flooding);
    let (mut wires, mut tried) = (Vec::new(), 0);
    while tried < wanted && began.elapsed() <= ground.bounds.flood {
        let numbers = tried..wanted.min(tried + ABREAST);
        tried = numbers.end;
        let attackers = numbers.map(|number| {
            let (ground, from) = (ground.clone(), ground.address(if is_spread { number } else { 0 }));
            async move { ground.tcp(from, Window::Usual).await.ok() }
        });
        wires.extend(side_by_side(attackers).await.into_iter().flatten().map(Wire::plain));
    }
    sleep(ground.bounds.flood / 2).await;
    let made = wires.len();
    let mut live = 0;
    for wire in &mut wires {
        live += usize::from(wire.ended(Duration::ZERO).await.is_none());
    }
    sleep(ground.bounds.flood.saturating_sub(began.elapsed())).await;
    Silent { wanted, tried, made, live }
}

/// ClientHellos that cost nothing to send and a signature to answer.
pub(super) async fn hellos(ground: &Ground) -> Attacked {
    let came = stream_of(ground, ABREAST, ground.bounds.flooding * HELLOS, |ground, number| async move {
        let Ok(mut tcp) = ground.tcp(ground.address(number), Window::Usual).await else { return Came::Ended };
        if tcp.write_all(&client_hello(&ground.target.name)).await.is_err() {
            return Came::Ended;
        }
        match timeout(GLANCE, tcp.read_u8()).await {
            Err(_) => Came::Unanswered,
            // An alert is answered with a record as well, and costs the target as little as it costs to send it.
            Ok(Ok(0x16)) => Came::Answered,
            Ok(_) => Came::Ended,
        }
    })
    .await;
    told(&came, "ClientHellos", ABREAST)
}

/// Handshakes that must be refused.
pub(super) async fn refused(ground: &Ground, requests: &Requests) -> Attacked {
    let requests = requests.clone();
    let came = stream_of(ground, ABREAST / 2, ground.bounds.flooding, move |ground, number| {
        let request = requests.bad(number);
        async move {
            let Ok(mut wire) = ground.wire(ground.address(0), Window::Usual).await else { return Came::Ended };
            wire.send(&request).await;
            match wire.answer(GLANCE).await {
                Heard::This(answer) => Came::Status(answer.status),
                Heard::Silence => Came::Unanswered,
                Heard::End(_) | Heard::Garbled(_) => Came::Ended,
            }
        }
    })
    .await;
    told(&came, "handshakes that must be refused", ABREAST / 2)
}

/// Connections that are cut, at every stage in turn.
pub(super) async fn aborted(ground: &Ground, requests: &Requests) -> Attacked {
    let requests = requests.clone();
    let came = stream_of(ground, ABREAST / 2, ground.bounds.flooding, move |ground, number| {
        let request = requests.good(number);
        async move { if cut(&ground, number, &request).await { Came::Answered } else { Came::Ended } }
    })
    .await;
    let cut = came.iter().filter(|came| **came == Came::Answered).count();
    let verdict = match cut {
        0 => Verdict::undecided("no connection came as far as it was to be cut"),
        _ => Verdict::held(format!("{cut} connections were cut, at every stage")),
    };
    Attacked { verdict, connections: ABREAST / 2 }
}

/// Comes as far as its number says, and resets. Few come as far as a credential is judged, which has a rate.
async fn cut(ground: &Ground, number: usize, request: &[u8]) -> bool {
    let stage = match number % 16 {
        0..5 => Cut::Connected,
        5..9 => Cut::Hello,
        9..12 => Cut::Secured,
        12..14 => Cut::Head,
        14 => Cut::Asked,
        _ => Cut::Session,
    };
    let (from, half) = (ground.address(number), request.len() / 2);
    match stage {
        Cut::Connected => ground.tcp(from, Window::Usual).await.is_ok(),
        Cut::Hello => {
            let Ok(mut tcp) = ground.tcp(from, Window::Usual).await else { return false };
            let hello = client_hello(&ground.target.name);
            tcp.write_all(hello.get(..hello.len() / 2).unwrap_or_default()).await.is_ok()
        }
        Cut::Secured => ground.wire(from, Window::Usual).await.is_ok(),
        Cut::Head | Cut::Asked => {
            let Ok(mut wire) = ground.wire(from, Window::Usual).await else { return false };
            let length = if stage == Cut::Head { half } else { request.len() };
            wire.send(request.get(..length).unwrap_or_default()).await
        }
        Cut::Session => matches!(ground.try_to_enter(request, from, Window::Usual).await, Entry::In(_)),
    }
}

/// Clients that are all cut at once, and all come again at once, on and on, whatever they are answered.
pub(super) async fn storm(ground: &Ground, requests: &Requests) -> Attacked {
    let clients = ground.bounds.within_own_limit(ground.bounds.crowd);
    let sessions = crowded(ground, requests, clients, true).await;
    drop(sessions);
    let requests = requests.clone();
    let came = stream_of(ground, clients, ground.bounds.flooding, move |ground, number| {
        let request = requests.good(number);
        async move {
            match ground.try_to_enter(&request, ground.address(number), Window::Usual).await {
                Entry::In(_) => Came::Status(101),
                Entry::Busy(status, _) | Entry::Refused(status) => Came::Status(status),
                Entry::Dropped(_) => Came::Ended,
            }
        }
    })
    .await;
    told(&came, "handshakes of clients that come again", clients)
}

/// Opens more sessions than a cap allows, all at once; at no time may more of them live.
pub(super) async fn over_cap(ground: &Ground, requests: &Requests, cap: usize, is_spread: bool) -> Attacked {
    let wanted = crowd(cap);
    let mut live = 0;
    let mut sessions = crowded(ground, requests, wanted, is_spread).await;
    for wire in &mut sessions {
        live += usize::from(wire.ended(Duration::ZERO).await.is_none());
    }
    // The control session and a newcomer may be of the same address or subject.
    let bystanders = if ground.is_apart() && !is_spread { 0 } else { 2 };
    Attacked { verdict: capped(wanted, live, cap, bystanders), connections: wanted }
}

/// Whether a cap was kept, and was what kept the others out.
fn capped(wanted: usize, live: usize, cap: usize, bystanders: usize) -> Verdict {
    let told = format!("of {wanted} sessions opened at once {live} lived; the policy allows {cap}");
    match live {
        _ if live > cap => Verdict::fell(told),
        0 => Verdict::undecided(told),
        _ if live + bystanders < cap => Verdict::undecided(format!("{told}, so something else kept them out")),
        _ => Verdict::held(told),
    }
}

/// How many sessions are opened to exceed a cap.
pub(super) fn crowd(cap: usize) -> usize {
    cap.saturating_add(cap.div_ceil(4).max(4))
}

/// Tries to open so many sessions at once, each once.
async fn crowded(ground: &Ground, requests: &Requests, wanted: usize, is_spread: bool) -> Vec<Wire> {
    let attackers = (0..wanted).map(|number| {
        let (ground, request) = (ground.clone(), requests.good(number));
        let from = ground.address(if is_spread { number } else { 0 });
        async move {
            match ground.try_to_enter(&request, from, Window::Usual).await {
                Entry::In(wire) => Some(wire),
                _ => None,
            }
        }
    });
    side_by_side(attackers).await.into_iter().flatten().collect()
}

/// Repeats an act for the length of a flood, so many times at most, with so many at a time.
async fn stream_of<F, Act>(ground: &Ground, abreast: usize, total: usize, act: F) -> Vec<Came>
where
    F: Fn(Ground, usize) -> Act + Clone + Send + 'static,
    Act: Future<Output = Came> + Send,
{
    let until = Instant::now() + ground.bounds.flood;
    let next = Arc::new(AtomicUsize::new(0));
    let workers = (0..ground.bounds.within_own_limit(abreast)).map(|_| {
        let (ground, act, next) = (ground.clone(), act.clone(), Arc::clone(&next));
        async move {
            let mut came = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total || Instant::now() >= until {
                    return came;
                }
                came.push(act(ground.clone(), number).await);
            }
        }
    });
    side_by_side(workers).await.into_iter().flatten().collect()
}

/// What came of a flood: it is judged by what others felt of it.
fn told(came: &[Came], what: &str, connections: usize) -> Attacked {
    let mut sorted = came.to_vec();
    sorted.sort_unstable();
    let mut said = format!("{} {what}", came.len());
    for (index, group) in sorted.chunk_by(PartialEq::eq).enumerate() {
        said.push_str(if index == 0 { ": " } else { ", " });
        let count = group.len();
        let _ = match group.first() {
            Some(Came::Status(status)) => write!(said, "{count} answered with {status}"),
            Some(Came::Answered) => write!(said, "{count} answered"),
            Some(Came::Unanswered) => write!(said, "{count} not answered within {} s", GLANCE.as_secs()),
            Some(Came::Ended) | None => write!(said, "{count} dropped"),
        };
    }
    let verdict = if came.is_empty() { Verdict::undecided("nothing was sent") } else { Verdict::held(said) };
    Attacked { verdict, connections }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Outcome;

    #[test]
    fn rx01_rx02_a_flood_that_did_not_reach_its_size_proves_nothing() {
        let silent = |tried, made, live| Silent { wanted: 600, tried, made, live };
        let cases = [
            (silent(600, 600, 513), Outcome::Fell, Outcome::Held),
            (silent(600, 600, 512), Outcome::Held, Outcome::Held),
            (silent(600, 128, 128), Outcome::Held, Outcome::Held),
            (silent(512, 512, 128), Outcome::Held, Outcome::Held),
            (silent(512, 512, 512), Outcome::Undecided, Outcome::Held),
            (silent(64, 64, 64), Outcome::Undecided, Outcome::Undecided),
            (silent(600, 0, 0), Outcome::Undecided, Outcome::Undecided),
        ];
        for (silent, one, many) in cases {
            assert_eq!((silent.of_one(512).outcome, silent.of_many(600).outcome), (one, many), "{silent:?}");
        }
        assert_eq!(cases.len(), 7);
    }

    #[test]
    fn rx04_rx05_a_cap_that_was_not_reached_kept_nobody_out() {
        let cases = [
            (21, Outcome::Fell),
            (20, Outcome::Held),
            (18, Outcome::Held),
            (17, Outcome::Undecided),
            (0, Outcome::Undecided),
        ];
        for (live, outcome) in cases {
            assert_eq!(capped(25, live, 20, 2).outcome, outcome, "{live}");
        }
        assert_eq!((capped(5, 1, 1, 2).outcome, capped(5, 0, 1, 2).outcome), (Outcome::Held, Outcome::Undecided));
        assert_eq!((capped(25, 20, 20, 0).outcome, capped(25, 19, 20, 0).outcome), (Outcome::Held, Outcome::Undecided));
    }

    #[test]
    fn a_flood_is_told_by_what_came_of_it() {
        let came = [Came::Status(429), Came::Ended, Came::Status(401), Came::Status(429)];
        assert_eq!(
            told(&came, "tries", 2).verdict.said,
            "4 tries: 1 answered with 401, 2 answered with 429, 1 dropped"
        );
        assert_eq!(told(&[], "tries", 2).verdict.said, "nothing was sent");
    }
}
