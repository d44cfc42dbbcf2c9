//! What the names of servers resolve to, looked up in the background.
//!
//! A handshake never waits for a lookup but for the first one. One lookup of a server's name runs at a time, however slow
//! its resolver is and however often the configuration is reloaded meanwhile; what it resolved to last stays in use while it
//! fails.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::{Changed, Watched};

/// How long the answer of a lookup serves.
const FRESH: Duration = Duration::from_secs(10);

/// How long it is until the next lookup of a name that never resolved.
const FRESH_FAILURE: Duration = Duration::from_secs(1);

/// How long handshakes wait for a first lookup.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// How long a lookup may take, and its wait for a thread; behind that its thread is left to itself.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

/// Threads of lookups, of the 512 for everything that blocks. Nothing ends one that hangs, and where all of them hang, other
/// names keep the addresses that they have.
static THREADS: Semaphore = Semaphore::const_new(64);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A lookup under way.
type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Asks the system's resolver, off the workers, when it is the `turn` of this server.
pub(super) fn system(name: String, port: u16, turn: &Arc<Semaphore>) -> impl Fn() -> Lookup + Send + use<> {
    on_a_thread(&THREADS, Arc::clone(turn), move || Ok((name.as_str(), port).to_socket_addrs()?.collect()))
}

/// Asks on one of these threads. It keeps its place and the turn until it is done, whether anybody waits for it or not.
fn on_a_thread(
    threads: &'static Semaphore,
    turn: Arc<Semaphore>,
    resolve: impl Fn() -> io::Result<Vec<SocketAddr>> + Clone + Send + 'static,
) -> impl Fn() -> Lookup + Send {
    move || {
        let (turn, resolve) = (Arc::clone(&turn), resolve.clone());
        Box::pin(async move {
            let turn = turn.acquire_owned().await.map_err(io::Error::other)?;
            let place = threads.acquire().await.map_err(io::Error::other)?;
            let asked = spawn_blocking(move || {
                let _until_it_is_done = (turn, place);
                resolve()
            });
            asked.await.map_err(io::Error::other)?
        })
    }
}

/// Looks a server's name up again and again.
pub(super) async fn keep_resolved(watched: Watched, lookup: impl Fn() -> Lookup + Send) {
    let known = &watched.target.known;
    let mut fails = false;
    loop {
        match look_up(&watched, lookup()).await {
            Ok(addresses) => {
                known.send_modify(|known| {
                    known.addresses = addresses;
                    known.is_looked_up = true;
                });
                if std::mem::take(&mut fails) {
                    watched.tell(Changed::Resolved);
                }
            }
            Err(error) => {
                known.send_modify(|known| known.is_looked_up = true);
                if !std::mem::replace(&mut fails, true) {
                    watched.tell(Changed::Unresolved(error.to_string()));
                }
            }
        }
        let pause = if known.borrow().addresses.is_empty() { FRESH_FAILURE } else { FRESH };
        sleep(watched.shortened(pause)).await;
    }
}

async fn look_up(watched: &Watched, mut lookup: Lookup) -> io::Result<Vec<SocketAddr>> {
    let found = match timeout(FIRST_WAIT, &mut lookup).await {
        Ok(found) => found,
        Err(_) => {
            watched.target.known.send_modify(|known| known.is_looked_up = true);
            timeout(LOOKUP_TIMEOUT, lookup).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    };
    let mut addresses = found?;
    addresses.truncate(MAX_ADDRESSES);
    if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, mpsc};

    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;
    use crate::net::upstream::tests::{Yard, yard};
    use crate::policy::forward::ServerHost;

    /// What a resolver says, and how long it takes for that.
    type Said = (Duration, Option<Vec<SocketAddr>>);

    /// A server behind a resolver that says one thing after the other, and the last one for ever.
    struct Site {
        yard: Yard,
        asked: Arc<AtomicUsize>,
        _task: JoinSet<()>,
    }

    fn site(said: Vec<Said>) -> Site {
        let (yard, asked) = (yard(ServerHost::Name(String::from("backend.test"))), Arc::new(AtomicUsize::new(0)));
        let (left, count) = (Mutex::new(VecDeque::from(said)), Arc::clone(&asked));
        let lookup = move || -> Lookup {
            count.fetch_add(1, Ordering::SeqCst);
            let mut left = left.lock().unwrap();
            let (takes, answer) = if left.len() > 1 { left.pop_front() } else { left.front().cloned() }.unwrap();
            Box::pin(async move {
                sleep(takes).await;
                answer.ok_or_else(|| io::Error::other("no such name"))
            })
        };
        let mut task = JoinSet::new();
        task.spawn(keep_resolved(yard.watched(), lookup));
        Site { yard, asked, _task: task }
    }

    fn at(port: u16) -> Vec<SocketAddr> {
        vec![SocketAddr::from(([127, 0, 0, 1], port))]
    }

    const NOW: Duration = Duration::ZERO;
    const HOUR: Duration = Duration::from_secs(3600);

    impl Site {
        async fn addresses(&self) -> Option<Vec<SocketAddr>> {
            self.yard.target.addresses().await.ok()
        }

        fn told(&self) -> Vec<String> {
            self.yard.told()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn be18_what_a_name_resolved_to_last_stays_while_lookups_fail() {
        let site = site(vec![(NOW, Some(at(1))), (NOW, None), (NOW, Some(Vec::new())), (NOW, Some(at(2)))]);
        assert_eq!(site.addresses().await, Some(at(1)));
        sleep(FRESH * 2 + FRESH / 2).await;
        assert_eq!((site.addresses().await, site.asked.load(Ordering::SeqCst)), (Some(at(1)), 3));
        assert_eq!(site.told(), ["Unresolved(\"no such name\")"], "told once");
        sleep(FRESH).await;
        assert_eq!(site.addresses().await, Some(at(2)), "an address that is gone is no longer dialled");
        assert_eq!(site.told().len(), 2);
        assert_eq!(site.told()[1], "Resolved");
    }

    #[tokio::test(start_paused = true)]
    async fn be18_nobody_waits_for_a_lookup_but_for_the_first_and_not_for_long() {
        let site = site(vec![(Duration::from_secs(1), Some(at(1))), (HOUR, None)]);
        let began = Instant::now();
        assert_eq!(site.addresses().await, Some(at(1)));
        assert_eq!(began.elapsed(), Duration::from_secs(1), "the first one is waited for");
        sleep(FRESH + Duration::from_secs(5)).await;
        let began = Instant::now();
        assert_eq!((site.addresses().await, began.elapsed()), (Some(at(1)), NOW), "while a lookup hangs");
    }

    #[tokio::test(start_paused = true)]
    async fn be18_a_resolver_that_hangs_is_asked_once_at_a_time() {
        let site = site(vec![(HOUR, None)]);
        let began = Instant::now();
        assert_eq!((site.addresses().await, began.elapsed()), (None, FIRST_WAIT));
        sleep(LOOKUP_TIMEOUT - FRESH_FAILURE).await;
        assert_eq!(site.asked.load(Ordering::SeqCst), 1);
        sleep(FRESH_FAILURE + LOOKUP_TIMEOUT / 2).await;
        assert_eq!(site.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn be18_a_name_that_comes_up_late_is_found_soon() {
        let site = site(vec![(NOW, None), (NOW, Some(at(1)))]);
        assert_eq!(site.addresses().await, None, "a handshake is refused at once");
        sleep(FRESH_FAILURE * 2).await;
        assert_eq!(site.addresses().await, Some(at(1)));
    }

    async fn eventually(what: &str, holds: impl Fn() -> bool) {
        let looks = async {
            while !holds() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LOOKUP_TIMEOUT, looks).await.expect(what);
    }

    #[tokio::test]
    async fn be18_a_lookup_that_hangs_holds_one_thread_of_few_until_it_is_done() {
        static FEW: Semaphore = Semaphore::const_new(2);
        let (gate, hangs) = mpsc::channel::<()>();
        let (hangs, asked) = (Arc::new(Mutex::new(hangs)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let resolve = move || {
            count.fetch_add(1, Ordering::SeqCst);
            hangs.lock().unwrap().recv().unwrap_err();
            Ok(at(1))
        };
        let turns = [(); 3].map(|()| Arc::new(Semaphore::new(1)));
        let lookup = |server: usize| on_a_thread(&FEW, Arc::clone(&turns[server]), resolve.clone())();
        let mut waiting = JoinSet::new();
        waiting.spawn(lookup(0));
        eventually("the first name is asked for", || asked.load(Ordering::SeqCst) == 1).await;
        waiting.shutdown().await;
        assert_eq!((turns[0].available_permits(), FEW.available_permits()), (0, 1), "its thread hangs on");
        waiting.spawn(lookup(0));
        waiting.spawn(lookup(1));
        eventually("another name is asked for", || asked.load(Ordering::SeqCst) == 2).await;
        waiting.spawn(lookup(2));
        eventually("a third one's turn", || turns[2].available_permits() == 0).await;
        assert_eq!((asked.load(Ordering::SeqCst), FEW.available_permits()), (2, 0), "no more threads than few");
        drop(gate);
        while let Some(found) = waiting.join_next().await {
            assert_eq!(found.unwrap().unwrap(), at(1));
        }
        eventually("all places are back", || FEW.available_permits() == 2).await;
        assert_eq!(asked.load(Ordering::SeqCst), 4);
    }
}
