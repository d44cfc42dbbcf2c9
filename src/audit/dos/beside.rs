//! What runs beside an attack: the control session, and the readings of the target's process.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::control::{self, Manner, Phase, Trips};
use super::ground::Ground;
use super::process::{self, Process, Readings};
use crate::audit::exam::Exam;
use crate::units::Rate;

/// What runs beside an attack, until [`Beside::end`].
pub(super) struct Beside {
    phase: watch::Sender<Phase>,
    control: JoinSet<Trips>,
    own: JoinSet<Duration>,
    process: JoinSet<Readings>,
    watched: Option<Process>,
    descriptors: Option<usize>,
}

/// What was measured beside an attack.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// By the control session.
    pub(super) trips: Trips,
    /// How late this process was itself, at worst.
    pub(super) late: Duration,
    /// Of the target's process, where it is known.
    pub(super) readings: Option<Readings>,
}

impl Beside {
    /// Opens the control session and measures it in quiet.
    ///
    /// # Errors
    /// With a sentence where no session opens, or the process cannot be read.
    pub(super) async fn begin(exam: &mut Exam, ground: &Ground) -> Result<Self, String> {
        let watched = match exam.target.process {
            None => None,
            Some(id) => Some(Process::find(id).ok_or_else(|| format!("process {id} cannot be read"))?),
        };
        let wire = exam.session().await?;
        let (phase, during) = watch::channel(Phase::Quiet);
        let mut control = JoinSet::new();
        control.spawn(control::measured(wire, manner(ground), during.clone()));
        let mut own = JoinSet::new();
        own.spawn(control::own_lateness(ground.bounds.pace, during.clone()));
        let mut process = JoinSet::new();
        if let Some(watched) = &watched {
            process.spawn(process::watched(watched.clone(), during));
        }
        sleep(ground.bounds.quiet).await;
        let descriptors = watched.as_ref().and_then(Process::read).and_then(|reading| reading.descriptors);
        phase.send_replace(Phase::Attack);
        Ok(Self { phase, control, own, process, watched, descriptors })
    }

    /// The attack is over: what it left behind may go.
    pub(super) fn attacked(&self) {
        self.phase.send_replace(Phase::After);
    }

    /// Waits until the target's descriptors are back, and gives what was measured.
    pub(super) async fn end(mut self, ground: &Ground) -> Measured {
        if let Some(watched) = &self.watched {
            process::settled(watched, self.descriptors, ground.bounds.recovery).await;
        }
        self.phase.send_replace(Phase::Over);
        let readings = self.process.join_next().await.and_then(Result::ok);
        let trips = self.control.join_next().await.and_then(Result::ok).unwrap_or_default();
        let late = self.own.join_next().await.and_then(Result::ok).unwrap_or_default();
        Measured { trips, late, readings }
    }
}

/// A pace that the policy allows with room to spare.
fn manner(ground: &Ground) -> Manner {
    let rate = ground.target.policy.as_ref().and_then(|policy| policy.session.from_client.control);
    let least = rate.map(|rate: Rate| rate.period * 5 / 4 / rate.count.get()).unwrap_or_default();
    Manner { pace: ground.bounds.pace.max(least), patience: ground.bounds.recovery }
}
