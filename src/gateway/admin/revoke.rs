//! Calls that take access away, and give it back.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use super::Admin;
use super::fault::Fault;
use crate::event::Level;
use crate::gateway::clock;
use crate::gateway::ledger::{Kept, Revoked, Unchanged};
use crate::policy::revocation::order::{LAST_TIME, Order};
use crate::policy::revocation::{Entry, RevocationSet, Target, longest_life};
use crate::units::UnixSeconds;

/// What `/api/revoke` takes.
pub(super) const REVOKED: &[&str] = &["subject", "token_id", "session", "address", "policy"];
/// What `/api/deny` takes.
pub(super) const DENIED: &[&str] = &["address"];

/// Reads an order of `/api/deny`, whose addresses are dropped.
pub(super) fn read_denial(body: &[u8]) -> Result<Order, Fault> {
    let Order { target, since, end } = Order::read(body, DENIED)?;
    let target = match target {
        Target::Address(net) => Target::Denial(net),
        other => other,
    };
    Ok(Order { target, since, end })
}

impl Admin {
    pub(super) async fn revoke(&self, order: Order) -> Result<Value, Fault> {
        let now = clock::unix_now();
        let entry = self.entry(order, now)?;
        let asked = entry.clone();
        let house = Arc::clone(&self.house);
        // Told where it is done: whoever called may be gone by then.
        let revoke = move || {
            let revoked = house.revoke(entry, now)?;
            let Revoked { entry, ended, .. } = &revoked;
            let told = Value::Object(entry.to_json());
            house.notice(Level::Info, "revoked", format!("{told} was revoked; {ended} sessions ended"));
            Ok::<_, Unchanged>(revoked)
        };
        let Revoked { entry, ended, change } = spawn_blocking(revoke).await.map_err(|_| Fault::Ending)??;
        let mut answer = json!({ "entry": Value::Object(entry.to_json()), "ended": ended });
        if entry != asked {
            note(
                &mut answer,
                "an entry that was there reaches further than this one: what holds is told, lift it for less",
            );
        }
        Ok(with_kept(answer, self.house.ledger.kept(change).await))
    }

    pub(super) async fn lift(&self, order: Order) -> Result<Value, Fault> {
        if order.end.is_some() || order.since.is_some() {
            return Err(Fault::Malformed(String::from(
                "an entry is lifted whole: `since`, `until` and `for` have no meaning",
            )));
        }
        let told = Value::Object(order.target.to_json());
        let change = self.house.lift(&order.target)?;
        self.house.notice(Level::Info, "lifted", format!("{told} is revoked no longer"));
        let kept = self.house.ledger.kept(change).await;
        Ok(with_kept(json!({ "lifted": told }), kept))
    }

    /// What is revoked, as far as `is_asked` for.
    pub(super) fn revocations(&self, is_asked: impl Fn(&Target) -> bool) -> Value {
        let now = clock::unix_now();
        let [called, listed] = self.house.ledger.sets();
        let told = |set: &RevocationSet, from: &str| -> Vec<Value> {
            let entries = set.entries().into_iter().filter(|entry| now < entry.until && is_asked(&entry.target));
            let told = entries.map(|entry| {
                let mut members: Map<String, Value> = entry.to_json();
                members.insert(String::from("from"), Value::from(from));
                Value::Object(members)
            });
            told.collect()
        };
        let all = [told(&called, "call"), told(&listed, "file")].concat();
        json!({ "total": all.len(), "revocations": all })
    }

    fn entry(&self, order: Order, now: UnixSeconds) -> Result<Entry, Fault> {
        let Order { target, since, end } = order;
        let snapshot = self.house.snapshot.load();
        if let Target::Policy(name) = &target
            && !snapshot.policies.iter().any(|policy| policy.name == *name)
        {
            return Err(Fault::UnknownPolicy);
        }
        if target.issuer().is_some_and(|issuer| !snapshot.keys.has_issuer(issuer)) {
            return Err(Fault::UnknownIssuer);
        }
        let since = matches!(target, Target::Subject { .. }).then(|| since.unwrap_or(now));
        let longest = || longest_life(snapshot.policies.iter().map(AsRef::as_ref));
        let until = match end {
            None => now.saturating_add(longest()).min(LAST_TIME),
            Some(end) => end.at(now)?,
        };
        Ok(Entry { target, since, until })
    }
}

/// Whether it survives a restart, and why it may not.
fn with_kept(mut answer: Value, kept: Kept) -> Value {
    answer["kept"] = Value::from(kept == Kept::Yes);
    match kept {
        Kept::Yes => {}
        Kept::InMemory => note(&mut answer, "there is no `state` in gateway.toml: a restart forgets this"),
        Kept::Lost(why) => note(&mut answer, &format!("{why}: it holds, and is not written yet")),
    }
    answer
}

/// Adds a sentence to what the caller is told.
fn note(answer: &mut Value, sentence: &str) {
    let before = answer["message"].as_str().map(|before| format!("{before}; ")).unwrap_or_default();
    answer["message"] = Value::from(before + sentence);
}
