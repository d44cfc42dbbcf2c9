//! Who shakes hands: a bounded number at a time, in the order in which they came, and no faster than sessions are admitted.
//!
//! When everybody comes back at once, those whose handshakes have begun end them soon, because the others wait outside:
//! they have cost their accept and nothing of TLS. A client that has its place and is slow loses the place, and not its
//! connection: nobody keeps others waiting by saying nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::limits::{Limits, PaceToken};
use crate::policy::{Reason, Refusal};

/// How long a handshake holds its place. Longer than an honest one takes over a slow link.
const HOLD: Duration = Duration::from_secs(1);

/// How many of those who waited in vain are told so at a time, which takes TLS; the others are dropped.
const ANSWERS: usize = 32;

/// The queue before TLS.
#[derive(Debug)]
pub(super) struct Queue {
    /// Who stands first waits for a place and for the pace.
    first: Semaphore,
    places: Semaphore,
    answers: Semaphore,
    /// How long a connection may stand in it.
    patience: Duration,
}

/// A turn in the queue that came: a place and a token of the admission pace, while they are held.
pub(super) struct Turn<'a>(Mutex<Held<'a>>);

struct Held<'a> {
    place: Option<SemaphorePermit<'a>>,
    token: Option<PaceToken<'a>>,
}

impl Queue {
    pub(super) fn new(places: usize, patience: Duration) -> Self {
        let [first, places, answers] = [1, places, ANSWERS].map(Semaphore::new);
        Self { first, places, answers, patience }
    }

    /// Waits in order for a place and for the pace. Where it is known that neither comes in time nobody waits for it.
    pub(super) async fn wait<'a>(&'a self, limits: &'a Limits) -> Result<Turn<'a>, Refusal> {
        let deadline = Instant::now() + self.patience;
        let stand = async {
            // Neither is ever closed.
            let _first = self.first.acquire().await.map_err(|_| Reason::Internal)?;
            let place = self.places.acquire().await.map_err(|_| Reason::Internal)?;
            loop {
                match limits.take_pace() {
                    Ok(token) => return Ok(Turn(Mutex::new(Held { place: Some(place), token: Some(token) }))),
                    Err(wait) if Instant::now() + wait > deadline => {
                        return Err(Refusal::new(Reason::AdmissionPace).retry_after(wait));
                    }
                    Err(wait) => sleep(wait).await,
                }
            }
        };
        let late = |_| Err(Refusal::new(Reason::HandshakeQueue).retry_after(self.patience));
        timeout_at(deadline, stand).await.unwrap_or_else(late)
    }

    /// A place to tell one who waited in vain that he did.
    pub(super) fn answer(&self) -> Option<SemaphorePermit<'_>> {
        self.answers.try_acquire().ok()
    }
}

impl<'a> Turn<'a> {
    /// Does `work` in this turn, which is over with it, or sooner: then the work goes on without.
    pub(super) async fn lasts<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let done = timeout(HOLD, &mut work).await;
        self.give_up();
        match done {
            Ok(done) => done,
            Err(_) => work.await,
        }
    }

    /// The token of the pace, if the turn is not over; the place stays.
    pub(super) fn take_token(&self) -> Option<PaceToken<'a>> {
        self.held().token.take()
    }

    fn give_up(&self) {
        let mut held = self.held();
        drop((held.place.take(), held.token.take()));
    }

    fn held(&self) -> MutexGuard<'_, Held<'a>> {
        // Each of the two is taken whole: a panic leaves nothing half.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
