//! The one door through which policies and keys change while the gateway runs: a reload of the whole configuration, and
//! the watch over its files.
//!
//! The order is that of safety: everything is read and checked, then swapped at once, then the sessions of what changed
//! are judged again. A handshake registers before it looks whether the snapshot moved, so it judges itself, or is found
//! among the sessions, or both.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::clock;
use super::house::{Door, House, bounds};
use super::readers::Readers;
use super::snapshot::Snapshot;
use super::watch::{self, Findings, Found, Lookout, Sources, Watch, Written};
use crate::config::diagnostic::{Code, Place};
use crate::config::{self, Config, Diagnostic, Diagnostics, Setting};
use crate::event::Level;
use crate::net::tls::ServerTls;
use crate::policy::Reason;
use crate::policy::auth::keys::Keys;
use crate::policy::revocation::RevocationSet;

/// Reloads that may wait for their turn.
pub(super) const MOST_WAITING: usize = 16;

/// How long the whole configuration may take to be read.
const LONGEST_LOAD: Duration = Duration::from_secs(30);

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
    lookout: Lookout,
    path: PathBuf,
    /// The values of gateway.toml under which it runs.
    settings: Vec<Setting>,
    watch: Watch<Found>,
    /// Over what is not used before it is reloaded; `None`: a change of that is not enough.
    written: Option<Watch<()>>,
}

impl Keeper {
    /// Keeps what this configuration says, as it was read.
    pub(super) fn new(house: Arc<House>, doors: Vec<Arc<Door>>, kept: Kept) -> Self {
        let Kept { sources, written, path, settings } = kept;
        let lookout = Lookout { readers: Readers::default(), observer: Arc::clone(&house.observer) };
        let (watch, written) = (Watch::over(sources, &lookout), written.map(|written| written.watch(&lookout)));
        Self { house, doors, lookout, path, settings, watch, written }
    }

    /// Uses what the watch finds, and reloads when asked, until the gateway ends.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Asked>) {
        let end = self.house.end.clone();
        let _tending = self.tend();
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                Some(who) = asked.recv() => {
                    let came_of_it = self.reload().await;
                    // Whoever asked may have gone meanwhile; the log has it.
                    let _ = who.send(came_of_it);
                }
                found = self.watch.found() => match found {
                    Found::Material(findings) => self.replace_material(findings).await,
                    Found::List(Ok(revoked)) => self.relist(revoked).await,
                    Found::List(Err(kept)) => watch::complain(&self.house, vec![kept]),
                },
                () = changed(&mut self.written) => drop(self.reload().await),
            }
        }
    }

    /// Tends the till and the ledger until what this returns is dropped.
    fn tend(&self) -> Watch<()> {
        let (mut tending, house) = (Watch::new(&self.lookout), Arc::clone(&self.house));
        tending.look_at("the state", move || {
            house.till.tend();
            house.tend_ledger(clock::unix_now());
            None
        });
        tending
    }

    async fn replace_material(&self, findings: Findings) {
        let Findings { certificates, issuers, token_tables, kept } = findings;
        watch::show(&self.house, &self.doors, certificates);
        watch::complain(&self.house, kept);
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
        let load = move || config::attempt(&path, &watch::environment, clock::unix_now());
        let read = self.lookout.readers.read(LONGEST_LOAD, load).await;
        let (loaded, files) = read.map_err(|error| self.mistake(error.to_string()))?;
        let came_of_it = match loaded {
            Ok((config, warnings)) => self.replace_all(config, warnings).await,
            Err(mistakes) => Err(mistakes),
        };
        if let (Err(_), Some(written)) = (&came_of_it, &mut self.written) {
            // What is bad was told of, and may become good by any of its files.
            *written = Written::of(&files).watch(&self.lookout);
        }
        came_of_it
    }

    async fn replace_all(&mut self, config: Config, warnings: Vec<Diagnostic>) -> Result<Reloaded, Diagnostics> {
        let failed = |message: String| self.mistake(message);
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
        let next = current.next(policies, &keys, gateway.address.rules.clone()).map_err(failed)?;
        let generation = next.generation;
        for (door, listener) in self.doors.iter().zip(&gateway.listeners) {
            door.show(listener);
        }
        // What is revoked holds before many are judged by what changed beside it.
        if *self.house.ledger.sets()[1] != revoked {
            self.relist(revoked).await;
        }
        self.house.limits.rebind(bounds(&gateway));
        let judged = self.swap(&current, next).await;
        for danger in dangers {
            self.house.notice(Level::Warning, "danger", danger);
        }
        self.watch = Watch::over(kept.sources, &self.lookout);
        self.written = kept.written.map(|written| written.watch(&self.lookout));
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

/// Waits until what is written changed, where that is watched.
async fn changed(written: &mut Option<Watch<()>>) {
    match written {
        Some(written) => written.found().await,
        None => std::future::pending().await,
    }
}

/// What is kept of a configuration to tell what changed.
pub(super) struct Kept {
    sources: Sources,
    written: Option<Written>,
    path: PathBuf,
    settings: Vec<Setting>,
}

impl Kept {
    pub(super) fn of(config: &Config) -> Self {
        let settings = config.settings.iter().filter(|setting| setting.file == config.path).cloned().collect();
        let sources = Sources::of(config);
        let written = config.gateway.reloads_on_change.then(|| Written::beside(&sources, &config.files));
        Self { sources, written, path: config.path.clone(), settings }
    }
}
