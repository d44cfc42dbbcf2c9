//! Who sends how much: what every session has passed on, looked at twice.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Admin;
use crate::gateway::sessions::Resident;
use crate::session::{Side, Traffic};

/// The time between the two looks.
const SPAN: Duration = Duration::from_secs(1);
/// The most sessions of one answer.
const MOST_SESSIONS: usize = 100;

/// What the sessions are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Bytes,
    Messages,
}

/// What a session, or a policy's sessions together, passed on between the looks: from the client, from the backend.
#[derive(Clone, Copy, Debug, Default)]
struct Passed([Traffic; 2]);

impl Admin {
    pub(super) async fn top(&self, by: By) -> Value {
        let first: Vec<_> = self.house.sessions.all().into_iter().map(|one| (one.control.traffic(), one)).collect();
        let begun = Instant::now();
        sleep(SPAN).await;
        let mut passed: Vec<(Passed, Arc<Resident>)> =
            first.into_iter().map(|(before, one)| (Passed::between(before, one.control.traffic()), one)).collect();
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut policies: BTreeMap<String, (usize, Passed)> = BTreeMap::new();
        for (one, resident) in &passed {
            let (count, sum) = policies.entry(resident.standing.policy().to_string()).or_default();
            *count = count.saturating_add(1);
            sum.add(one);
        }
        passed.sort_by_key(|(passed, resident)| (Reverse(passed.by(by)), resident.id));
        let policies: Vec<Value> = policies
            .into_iter()
            .map(|(policy, (count, sum))| told(json!({ "policy": policy, "sessions": count }), &sum, millis))
            .collect();
        let total = passed.len();
        let sessions: Vec<Value> =
            passed.iter().take(MOST_SESSIONS).map(|(passed, one)| told(super::told(one), passed, millis)).collect();
        json!({ "total": total, "policies": policies, "sessions": sessions })
    }
}

impl Passed {
    fn between(before: [Traffic; 2], after: [Traffic; 2]) -> Self {
        let mut passed = after;
        for (passed, before) in passed.iter_mut().zip(before) {
            passed.bytes = passed.bytes.saturating_sub(before.bytes);
            passed.messages = passed.messages.saturating_sub(before.messages);
        }
        Self(passed)
    }

    fn add(&mut self, other: &Self) {
        for (sum, other) in self.0.iter_mut().zip(other.0) {
            sum.bytes = sum.bytes.saturating_add(other.bytes);
            sum.messages = sum.messages.saturating_add(other.messages);
        }
    }

    fn by(&self, by: By) -> u64 {
        let of = |traffic: &Traffic| match by {
            By::Bytes => traffic.bytes,
            By::Messages => traffic.messages,
        };
        self.0.iter().map(of).fold(0, u64::saturating_add)
    }
}

/// Adds what passed in a second, by direction.
fn told(mut one: Value, passed: &Passed, millis: u64) -> Value {
    let rate = |count: u64| count.saturating_mul(1000).checked_div(millis).unwrap_or(count);
    for (side, traffic) in Side::BOTH.into_iter().zip(passed.0) {
        one[side.direction().as_str()] =
            json!({ "messages_per_s": rate(traffic.messages), "bytes_per_s": rate(traffic.bytes) });
    }
    one
}
