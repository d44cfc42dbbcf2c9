//! What a scrape of the metrics asks the house for: the metrics exist before the house does, and read from it later.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use tokio::runtime::Handle;

use super::house::{Door, House};
use crate::config::Certificate;
use crate::limits::Fill;
use crate::policy::revocation::MOST_ENTRIES;
use crate::telemetry::metrics::{self, CertificateLife, ServerState, Source, TableFill};

/// Where a scrape will read from.
#[derive(Default)]
pub(super) struct Readings(Arc<OnceLock<Origin>>);

struct Origin {
    house: Weak<House>,
    doors: Vec<Arc<Door>>,
}

impl Readings {
    /// Gives nothing until [`Readings::read_from`] was called.
    pub(super) fn source(&self) -> Source {
        let origin = Arc::clone(&self.0);
        Arc::new(move || origin.get().and_then(Origin::read).unwrap_or_default())
    }

    pub(super) fn read_from(&self, house: &Arc<House>, doors: Vec<Arc<Door>>) {
        // A second call would change nothing, and there is none.
        let _ = self.0.set(Origin { house: Arc::downgrade(house), doors });
    }
}

impl Origin {
    fn read(&self) -> Option<metrics::Readings> {
        let house = self.house.upgrade()?;
        let usage = house.limits.usage();
        let bounds = house.limits.bounds();
        let fill = |table, fill: Fill| TableFill { table, used: count(fill.spent), capacity: count(fill.total) };
        let slots = |table, used, capacity: u32| TableFill { table, used: count(used), capacity: capacity.into() };
        let [called, listed] = house.ledger.sets();
        let entries = |table, used| TableFill { table, used: count(used), capacity: count(MOST_ENTRIES) };
        Some(metrics::Readings {
            generation: house.snapshot.load().generation,
            last_reload_success: house.reloaded.load(Ordering::Relaxed),
            tasks: Handle::try_current().map_or(0, |runtime| count(runtime.metrics().num_alive_tasks())),
            log_lines_lost: house.observer.untold(),
            shared_charges: usage.shared,
            state_changes_lost: house.ledger.losses(),
            tables: vec![
                slots("pending", usage.pending, bounds.pending),
                slots("sessions", usage.sessions, bounds.sessions),
                fill("connect_rates", usage.connect_buckets),
                fill("failure_budgets", usage.failure_buckets),
                fill("subject_rates", usage.subject_buckets),
                entries("revocations", called.len()),
                entries("revocations_listed", listed.len()),
            ],
            servers: servers(&house),
            certificates: self.doors.iter().flat_map(|door| certificates(door)).collect(),
        })
    }
}

fn servers(house: &House) -> Vec<ServerState> {
    let snapshot = house.snapshot.load();
    let of_policy = snapshot.dialers.iter().flat_map(|(policy, dialer)| {
        dialer.readings().map(|reading| ServerState {
            sessions: house.limits.sessions_on(policy, &reading.server).into(),
            policy: policy.as_str().to_owned(),
            server: reading.server,
            is_open: reading.is_open,
        })
    });
    let mut servers: Vec<_> = of_policy.collect();
    servers.sort_by(|a, b| (&a.policy, &a.server).cmp(&(&b.policy, &b.server)));
    servers
}

fn certificates(door: &Door) -> Vec<CertificateLife> {
    let Some(tls) = &door.tls else { return Vec::new() };
    let listener = door.address.to_string();
    let shown = tls.certificates();
    let life = |(certificate, chain): (&Arc<Certificate>, &PathBuf)| CertificateLife {
        listener: listener.clone(),
        certificate: chain.display().to_string(),
        not_after: certificate.not_after,
    };
    shown.iter().zip(door.chains.load().iter()).map(life).collect()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
