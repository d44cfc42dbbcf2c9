//! The one door through which policies and keys change while the gateway runs: a reload of the whole configuration, and
//! the watch over key and token files.
//!
//! The order is that of safety: everything is read and checked, then swapped at once, then the sessions of what changed
//! are judged again. A handshake registers before it looks whether the snapshot moved, so it judges itself, or is found
//! among the sessions, or both.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::clock;
use super::house::{Door, House};
use super::snapshot::Snapshot;
use super::watch::{self, Findings, Sources};
use crate::config::diagnostic::{Code, Place};
use crate::config::{self, Config, Diagnostic, Diagnostics, Setting};
use crate::event::Level;
use crate::net::tls::ServerTls;
use crate::policy::Reason;
use crate::policy::auth::keys::Keys;
use crate::policy::revocation::RevocationSet;

/// Reloads that may wait for their turn.
pub(super) const MOST_WAITING: usize = 16;

/// What came of a reload.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The policy version that judges from here on.
    pub generation: u64,
    /// What became of the sessions whose policy or keys changed, or whose path fell to another policy.
    pub judged: Judged,
    /// What an operator should look at.
    pub warnings: Vec<Diagnostic>,
}

/// Sessions that were judged again.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// How many.
    pub sessions: usize,
    /// How many of them may not stay, by the code of the reason.
    pub ended: BTreeMap<&'static str, usize>,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sessions judged again, {} ended", self.sessions, self.ended.values().sum::<usize>())?;
        for (place, (code, count)) in self.ended.iter().enumerate() {
            write!(f, "{} {code} {count}", if place == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// Somebody who waits for a reload.
pub(super) type Asked = oneshot::Sender<Result<Reloaded, Diagnostics>>;

/// What changes policies and keys, one change at a time.
pub(super) struct Keeper {
    house: Arc<House>,
    doors: Vec<Arc<Door>>,
    sources: Sources,
    path: PathBuf,
    /// The values of gateway.toml under which it runs.
    settings: Vec<Setting>,
}

impl Keeper {
    /// Keeps what this configuration says, as it was read.
    pub(super) fn new(house: Arc<House>, doors: Vec<Arc<Door>>, kept: Kept) -> Self {
        let Kept { sources, path, settings } = kept;
        Self { house, doors, sources, path, settings }
    }

    /// Looks at the files, and reloads when asked, until the gateway ends.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut ticks = interval(watch::PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = self.house.end.clone();
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                Some(who) = asked.recv() => {
                    let came_of_it = self.reload().await;
                    // Whoever asked may have gone meanwhile; the log has it.
                    let _ = who.send(came_of_it);
                }
                _ = ticks.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let mut sources = std::mem::take(&mut self.sources);
        let house = Arc::clone(&self.house);
        let looked = spawn_blocking(move || {
            house.tend_ledger(clock::unix_now());
            let findings = sources.look(clock::unix_now());
            (sources, findings)
        });
        let Ok((seen, findings)) = looked.await else {
            return self.house.notice(Level::Error, "watch_ended", "the watch over certificates and keys ended".into());
        };
        self.sources = seen;
        let Findings { certificates, issuers, token_tables, revoked, kept } = findings;
        watch::show(&self.house, &self.doors, certificates);
        watch::complain(&self.house, kept);
        if let Some(revoked) = revoked {
            self.relist(revoked).await;
        }
        if issuers.is_empty() && token_tables.is_empty() {
            return;
        }
        let read = format!("read {} issuers and {} token files again", issuers.len(), token_tables.len());
        let current = self.house.snapshot.load_full();
        let mut keys = Keys::clone(&current.keys);
        keys.issuers.extend(issuers);
        keys.token_tables.extend(token_tables);
        let judged = self.swap(&current, current.with_keys(&keys)).await;
        self.house.notice(Level::Info, "keys_replaced", format!("{read}; {judged}"));
    }

    async fn relist(&self, revoked: RevocationSet) {
        let (count, house) = (revoked.len(), Arc::clone(&self.house));
        let ended = spawn_blocking(move || house.relist(revoked, clock::unix_now())).await.unwrap_or_default();
        let text = format!("read {count} revocations again; {ended} sessions ended");
        self.house.notice(Level::Info, "revocations_replaced", text);
    }

    /// Reads everything again, and uses it if all of it is good.
    async fn reload(&mut self) -> Result<Reloaded, Diagnostics> {
        let came_of_it = self.try_reload().await;
        self.house.reloaded.store(came_of_it.is_ok(), Ordering::Relaxed);
        match &came_of_it {
            Ok(Reloaded { generation, judged, .. }) => {
                self.house.notice(Level::Info, "reloaded", format!("policy version {generation}; {judged}"));
            }
            Err(mistakes) => {
                let told = mistakes.iter().map(|one| format!("{}: {}", one.place, one.message));
                let told = told.collect::<Vec<_>>().join("; ");
                self.house.notice(Level::Error, "reload_refused", format!("nothing was changed: {told}"));
            }
        }
        came_of_it
    }

    async fn try_reload(&mut self) -> Result<Reloaded, Diagnostics> {
        let path = self.path.clone();
        let read = spawn_blocking(move || config::load(&path, &watch::environment, clock::unix_now()));
        let failed = |message: String| self.mistake(message);
        let (config, warnings) = read.await.map_err(|error| failed(format!("reading ended: {error}")))??;
        let mut mistakes = Diagnostics::default();
        config::needs_restart(&self.settings, &config.settings, &self.path).for_each(|one| mistakes.push(one));
        if mistakes.has_errors() {
            return Err(mistakes);
        }
        for listener in config.gateway.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
            ServerTls::new(listener).map_err(|error| failed(error.to_string()))?;
        }
        let (kept, dangers) = (Kept::of(&config), config.dangers());
        let Config { gateway, policies, keys, revoked, .. } = config;
        let current = self.house.snapshot.load_full();
        let next = current.next(policies, &keys).map_err(failed)?;
        let generation = next.generation;
        for (door, listener) in self.doors.iter().zip(&gateway.listeners) {
            door.show(listener);
        }
        // What is revoked holds before many are judged by what changed beside it.
        if *self.house.ledger.sets()[1] != revoked {
            self.relist(revoked).await;
        }
        let judged = self.swap(&current, next).await;
        for danger in dangers {
            self.house.notice(Level::Warning, "danger", danger);
        }
        self.sources = kept.sources;
        self.settings = kept.settings;
        Ok(Reloaded { generation, judged, warnings })
    }

    /// Judges by `next` from here on, sessions of what changed included.
    async fn swap(&self, current: &Snapshot, next: Snapshot) -> Judged {
        let next = Arc::new(next);
        let residents = self.house.replace(current, Arc::clone(&next));
        // A signature costs tens of microseconds, and there may be many: the workers go on carrying meanwhile.
        let judge = move || {
            let mut judged = Judged::default();
            for resident in residents {
                judged.sessions = judged.sessions.saturating_add(1);
                if let Err(refusal) = resident.judge_and_tell(&next) {
                    judged.count(refusal.reason);
                }
            }
            judged
        };
        spawn_blocking(judge).await.unwrap_or_else(|_| {
            self.house.notice(Level::Error, "internal", "judging sessions again ended early: a bug".into());
            Judged::default()
        })
    }

    fn mistake(&self, message: String) -> Diagnostics {
        let mut mistakes = Diagnostics::default();
        mistakes.push(Diagnostic::error(Code::Unreadable, Place::File(self.path.clone(), None), message));
        mistakes
    }
}

impl Judged {
    fn count(&mut self, reason: Reason) {
        let count = self.ended.entry(reason.code()).or_default();
        *count = count.saturating_add(1);
    }
}

/// What is kept of a configuration to tell what changed.
pub(super) struct Kept {
    sources: Sources,
    path: PathBuf,
    settings: Vec<Setting>,
}

impl Kept {
    pub(super) fn of(config: &Config) -> Self {
        let settings = config.settings.iter().filter(|setting| setting.file == config.path).cloned().collect();
        Self { sources: Sources::of(config), path: config.path.clone(), settings }
    }
}
