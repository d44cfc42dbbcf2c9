//! What befalls a connection while it waits.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::sync::watch;

use super::peers::Progress;
use super::{FOREIGN, LISTED, replace};
use crate::gateway::clock;
use crate::gateway::house::House;
use crate::policy::revocation::{Entry, Target};
use crate::units::UnixSeconds;

/// What happens to a connection while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Its task is aborted.
    Dropped,
    /// Its task panics.
    Panicking,
    /// Its policy is replaced by one that allows it no longer.
    Losing,
    /// Its policy is replaced by one that allows it still.
    Keeping,
    /// Its subject is revoked.
    Revoked,
    /// Somebody else's subject is.
    Spared,
    /// Its server goes down, and its policy closes sessions there.
    Lost,
    /// Its server goes down, and its policy leaves sessions there.
    Down,
}

impl How {
    /// What the policy says of its server.
    pub(super) fn upstream(self) -> &'static str {
        match self {
            Self::Lost => "health = { down = \"close\" }",
            Self::Down => "health = { down = \"keep\" }",
            _ => "",
        }
    }

    fn befalls(self, house: &Arc<House>) {
        match self {
            Self::Dropped | Self::Panicking => {}
            Self::Losing => replace(house, FOREIGN),
            Self::Keeping => replace(house, LISTED),
            Self::Revoked => revoke(house, "kiosk"),
            Self::Spared => revoke(house, "panel"),
            Self::Lost | Self::Down => check(house, false),
        }
    }

    /// Takes back what changed for those who come later.
    pub(super) fn is_made_good(self, house: &Arc<House>) {
        match self {
            Self::Dropped | Self::Panicking => {}
            Self::Losing | Self::Keeping => replace(house, LISTED),
            Self::Revoked => lift(house, "kiosk"),
            Self::Spared => lift(house, "panel"),
            Self::Lost | Self::Down => check(house, true),
        }
    }
}

fn revoke(house: &Arc<House>, subject: &str) {
    let entry = Entry { target: of(subject), since: Some(clock::unix_now()), until: UnixSeconds(u64::MAX) };
    house.revoke(entry, clock::unix_now()).unwrap();
}

fn lift(house: &Arc<House>, subject: &str) {
    house.lift(&of(subject)).unwrap();
}

fn check(house: &Arc<House>, is_well: bool) {
    house.snapshot.load().dialers.values().for_each(|dialer| dialer.check_all(is_well));
}

fn of(subject: &str) -> Target {
    Target::Subject { subject: subject.into(), issuer: None }
}

/// How far a connection had come, by what it held and what was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It holds the places of a connection.
    Entering,
    /// It holds those of a session on a server, too.
    Dialling,
    /// It is told that it may not come in.
    Refused,
}

/// The connection under test: counts how often it had to wait, and is met at the time that is set.
pub(super) struct Cut {
    pub(super) life: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pub(super) cut: Option<(usize, How)>,
    pub(super) house: Arc<House>,
    pub(super) progress: Arc<watch::Sender<Progress>>,
    pub(super) look: Box<dyn Fn() -> Stage + Send>,
    pub(super) found: Arc<Mutex<Option<Stage>>>,
}

impl Future for Cut {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(life) = &mut self.life else { return Poll::Ready(()) };
        if life.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        self.progress.send_modify(|progress| progress.waits += 1);
        let waits = self.progress.borrow().waits;
        let Some((_, how)) = self.cut.filter(|(at, _)| *at == waits) else { return Poll::Pending };
        *self.found.lock().unwrap() = Some((self.look)());
        match how {
            How::Dropped => self.life = None,
            How::Panicking => resume_unwind(Box::new("cut")),
            how => {
                how.befalls(&self.house);
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.progress.send_modify(|progress| progress.is_over = true);
    }
}
