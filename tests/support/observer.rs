//! An observer that remembers every event and wakes who waits for one.

use std::sync::Mutex;

use tokio::sync::watch;
use wsgate::event::{Answered, Closure, Event, Observer, Opened, Refused, SharedObserver, Traffic};
use wsgate::session::Direction;

use super::within;

/// Every event of one gateway, in order.
pub struct Record {
    events: Mutex<Vec<Event>>,
    count: watch::Sender<usize>,
    next: Option<SharedObserver>,
}

impl Observer for Record {
    fn observe(&self, event: &Event) {
        {
            let mut events = self.events.lock().unwrap();
            events.push(event.clone());
            self.count.send_replace(events.len());
        }
        if let Some(next) = &self.next {
            next.observe(event);
        }
    }

    fn traffic(&self, direction: Direction, delta: Traffic) {
        if let Some(next) = &self.next {
            next.traffic(direction, delta);
        }
    }

    fn untold(&self) -> u64 {
        self.next.as_ref().map_or(0, |next| next.untold())
    }
}

impl Record {
    /// An empty record that passes everything on.
    pub fn before(next: Option<SharedObserver>) -> Self {
        Self { events: Mutex::default(), count: watch::Sender::new(0), next }
    }

    /// A place in the record: what comes later is behind it.
    pub fn mark(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// Everything behind a mark that tells of a connection: notices of the gateway itself are left out.
    pub fn since(&self, mark: usize) -> Vec<Event> {
        let events = self.events.lock().unwrap();
        events.iter().skip(mark).filter(|event| !matches!(event, Event::Notice(_))).cloned().collect()
    }

    /// The first event behind a mark of which `pick` makes something.
    pub async fn wait<T>(&self, what: &str, mark: usize, pick: impl Fn(&Event) -> Option<T>) -> T {
        let mut count = self.count.subscribe();
        let found = async {
            loop {
                let picked = self.events.lock().unwrap().iter().skip(mark).find_map(&pick);
                if let Some(value) = picked {
                    return value;
                }
                count.changed().await.unwrap();
            }
        };
        within(&format!("the event: {what}"), found).await
    }

    /// The first refusal behind a mark.
    pub async fn refused(&self, mark: usize) -> Refused {
        self.wait("a refusal", mark, |event| match event {
            Event::Refused(refused) => Some(refused.clone()),
            Event::Opened(_) | Event::Closed(_) | Event::Answered(_) | Event::Notice(_) => None,
        })
        .await
    }

    /// The first session opened behind a mark.
    pub async fn opened(&self, mark: usize) -> Opened {
        self.wait("a session opened", mark, |event| match event {
            Event::Opened(opened) => Some(opened.clone()),
            Event::Refused(_) | Event::Closed(_) | Event::Answered(_) | Event::Notice(_) => None,
        })
        .await
    }

    /// The first session closed behind a mark.
    pub async fn closed(&self, mark: usize) -> Closure {
        self.wait("a session closed", mark, |event| match event {
            Event::Closed(closure) => Some(closure.clone()),
            Event::Refused(_) | Event::Opened(_) | Event::Answered(_) | Event::Notice(_) => None,
        })
        .await
    }

    /// The first call answered behind a mark.
    pub async fn answered(&self, mark: usize) -> Answered {
        self.wait("a call answered", mark, |event| match event {
            Event::Answered(answered) => Some(answered.clone()),
            _ => None,
        })
        .await
    }

    /// The first notice with this code behind a mark.
    pub async fn notice(&self, mark: usize, code: &str) -> wsgate::event::Notice {
        self.wait(code, mark, |event| match event {
            Event::Notice(notice) if notice.code == code => Some(notice.clone()),
            _ => None,
        })
        .await
    }

    /// Everything that was told, as text, for the search for secrets.
    pub fn as_text(&self) -> String {
        format!("{:?}", self.events.lock().unwrap())
    }
}
