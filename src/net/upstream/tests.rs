//! A server whose changes are remembered, and dialers that take each other's place.

use std::sync::Mutex;

use super::*;
use crate::config::fixture;
use crate::policy::balance::{Check, HealthRules, Orphans};

/// A server, and what was told of it.
pub(super) struct Yard {
    pub(super) target: Arc<Target>,
    told: Arc<Mutex<Vec<String>>>,
    ground: Ground,
}

pub(super) fn yard(host: ServerHost) -> Yard {
    let server = Server { name: String::from("ws://backend.test"), tls: false, host, port: 80 };
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let told_to = move |change: ServerChange| tell.lock().unwrap().push(format!("{:?}", change.what));
    let ground = Ground { told: Arc::new(told_to), random: |bytes| bytes.fill(0) };
    Yard { target: Arc::new(Target::new(&server)), told, ground }
}

impl Yard {
    pub(super) fn watched(&self) -> Watched {
        Watched { target: Arc::clone(&self.target), policy: PolicyName::new("chat"), ground: self.ground.clone() }
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

/// A dialer for the two servers of a policy, which takes the place of another one.
fn dialer(health: Option<HealthRules>, before: Option<&Dialer>) -> Dialer {
    let (config, _) = fixture::Ground::new().load().map_err(|mistakes| format!("{mistakes:?}")).unwrap();
    let mut upstream = config.policies[0].upstream.clone();
    upstream.balancing.health = health;
    let ground = Ground { told: Arc::new(|_| {}), random: |bytes| bytes.fill(0) };
    Dialer::new(&PolicyName::new("chat"), &upstream, before, &ground).unwrap()
}

fn health() -> HealthRules {
    let second = Duration::from_secs(1);
    HealthRules { check: Check::Tcp, interval: second, timeout: second, rise: 1, fall: 1, down: Orphans::Keep }
}

fn open(dialer: &Dialer) -> Vec<bool> {
    dialer.readings().map(|reading| reading.is_open).collect()
}

#[tokio::test]
async fn op04_a_dialer_changes_nothing_until_it_takes_effect() {
    let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
    let before = dialer(Some(health()), None);
    before.targets[0].condition().checked(false, &health(), Instant::now().into_std());
    assert_eq!(open(&before), [false, true]);
    for next in [None, Some(health())] {
        drop(dialer(next, Some(&before)));
        assert_eq!(open(&before), [false, true], "a dialer that was made and never used");
    }
    let asked = dialer(Some(health()), Some(&before));
    asked.watch(&tasks, &end);
    assert_eq!(open(&asked), [false, true], "its checks go on");
    let unasked = dialer(None, Some(&before));
    unasked.watch(&tasks, &end);
    assert_eq!(open(&unasked), [true, true], "nobody asks it any longer");
}
