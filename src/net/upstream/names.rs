//! What the names of servers resolve to, looked up in the background.
//!
//! A handshake never waits for a lookup but for the first one. One lookup of a name runs at a time, however slow its
//! resolver is; what it resolved to last stays in use while it fails.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Changed, Watched};

/// How long the answer of a lookup serves.
const FRESH: Duration = Duration::from_secs(10);

/// How long it is until the next lookup of a name that never resolved.
const FRESH_FAILURE: Duration = Duration::from_secs(1);

/// How long handshakes wait for a first lookup.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// How long a lookup may take; behind that its thread is left to itself.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A lookup under way.
type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Asks the system's resolver, off the workers.
pub(super) fn system(name: String, port: u16) -> impl Fn() -> Lookup + Send {
    move || {
        let name = name.clone();
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
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
    use std::sync::{Arc, Mutex};

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
}
