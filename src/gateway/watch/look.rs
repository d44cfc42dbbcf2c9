//! A look that is taken regularly, in a thread for which nothing else waits: what hangs holds up what it looks at alone.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::PERIOD;
use crate::event::{Event, Level, Notice, SharedObserver};
use crate::gateway::readers::Readers;

/// How long a look may take before that is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who looks, and who is told where that stalls.
#[derive(Clone)]
pub(in crate::gateway) struct Lookout {
    pub(in crate::gateway) readers: Readers,
    pub(in crate::gateway) observer: SharedObserver,
}

/// Looks that are taken until it is dropped.
pub(in crate::gateway) struct Watch<F> {
    lookout: Lookout,
    finds: mpsc::Sender<F>,
    found: mpsc::Receiver<F>,
    looks: JoinSet<()>,
}

impl<F: Send + 'static> Watch<F> {
    /// At nothing.
    pub(in crate::gateway) fn new(lookout: &Lookout) -> Self {
        let (finds, found) = mpsc::channel(1);
        Self { lookout: lookout.clone(), finds, found, looks: JoinSet::new() }
    }

    /// Looks once a second at this, too, in a thread of its own; what it finds is [found](Self::found).
    pub(in crate::gateway) fn look_at(&mut self, at: &'static str, look: impl FnMut() -> Option<F> + Send + 'static) {
        let Lookout { readers, observer } = self.lookout.clone();
        let look_at = Look { at, readers, observer, found: self.finds.clone() };
        self.looks.spawn(look_at.regularly(PATIENCE, look));
    }

    /// What the next look finds that finds something.
    pub(in crate::gateway) async fn found(&mut self) -> F {
        // It holds a sender itself, so there is an end only with it.
        match self.found.recv().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }
}

/// What is looked at, and who is told of it.
struct Look<F> {
    /// What is looked at, in the words of a notice.
    at: &'static str,
    readers: Readers,
    observer: SharedObserver,
    /// Gets what was found.
    found: mpsc::Sender<F>,
}

impl<F: Send + 'static> Look<F> {
    /// Looks until nobody wants to know. One look that takes longer than `patience` is told once, until one does not; there
    /// is never a second one meanwhile.
    async fn regularly(self, patience: Duration, mut look: impl FnMut() -> Option<F> + Send + 'static) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_stalled = false;
        loop {
            ticks.tick().await;
            let Some(reader) = self.readers.reader() else {
                self.stalls(&mut is_stalled);
                continue;
            };
            let mut looking = reader.begin(move || {
                let found = look();
                (look, found)
            });
            let looked = match timeout(patience, &mut looking).await {
                Ok(looked) => looked,
                Err(_) => {
                    self.stalls(&mut is_stalled);
                    // Whoever wants something else looked at, or the gateway's end, ends this task and the wait with it.
                    looking.await
                }
            };
            let Ok((again, found)) = looked else {
                let text = format!("nobody looks any longer ({}): a bug", self.at);
                return self.tell(Level::Error, "watch_ended", text);
            };
            look = again;
            if std::mem::take(&mut is_stalled) {
                self.tell(Level::Info, "watch_resumed", format!("files answer again ({})", self.at));
            }
            if let Some(found) = found
                && self.found.send(found).await.is_err()
            {
                return;
            }
        }
    }

    fn stalls(&self, is_stalled: &mut bool) {
        if !std::mem::replace(is_stalled, true) {
            let text = format!("files do not answer ({}): what was read before stays in use", self.at);
            self.tell(Level::Error, "watch_stalled", text);
        }
    }

    fn tell(&self, level: Level, code: &'static str, text: String) {
        self.observer.observe(&Event::Notice(Notice { level, code, text }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc as threads};

    use super::*;
    use crate::event::Observer;

    const SOON: Duration = Duration::from_millis(10);
    const LATE: Duration = Duration::from_secs(60);

    /// The codes of what is told.
    struct Told(mpsc::UnboundedSender<&'static str>);

    impl Observer for Told {
        fn observe(&self, event: &Event) {
            if let Event::Notice(notice) = event {
                let _ = self.0.send(notice.code);
            }
        }
    }

    async fn soon<T>(awaited: impl Future<Output = T>) -> T {
        timeout(LATE, awaited).await.expect("what must happen")
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_told_once_and_holds_up_no_other() {
        let (tells, mut told) = mpsc::unbounded_channel();
        let observer: SharedObserver = Arc::new(Told(tells));
        let readers = Readers::default();
        let (finds, mut found) = mpsc::channel(1);
        let look = |at| Look { at, readers: readers.clone(), observer: Arc::clone(&observer), found: finds.clone() };
        let mut looks = JoinSet::new();

        let (goes_on, hangs) = threads::channel::<()>();
        let hanging = move || hangs.recv().err().map(|_| "keys");
        looks.spawn(look("keys").regularly(SOON, hanging));
        assert_eq!(soon(told.recv()).await, Some("watch_stalled"));
        let other = looks.spawn(look("a list").regularly(LATE, || Some("a list")));
        assert_eq!(soon(found.recv()).await, Some("a list"));
        other.abort();
        drop(goes_on);
        assert_eq!(soon(told.recv()).await, Some("watch_resumed"), "what was told before was told once");
        soon(async { while found.recv().await != Some("keys") {} }).await;

        looks.shutdown().await;
        let held: Vec<_> = std::iter::from_fn(|| readers.reader()).collect();
        looks.spawn(look("a list").regularly(LATE, || Some("a later list")));
        assert_eq!(soon(told.recv()).await, Some("watch_stalled"), "no thread is left to look");
        drop(held);
        assert_eq!(soon(told.recv()).await, Some("watch_resumed"));
        soon(async { while found.recv().await != Some("a later list") {} }).await;
    }
}
