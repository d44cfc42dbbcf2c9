//! The counters and buckets of the gateway in many interleavings: never more than N alive, all of it given back, no token
//! lost and none invented, a table that stays as large as it is.
//!
//! Each test runs its threads under two schedulers, one that picks at random and one that looks for the few preemptions
//! that a race needs, with fixed seeds; what is small enough runs in every order there is. A failure prints its schedule,
//! and `shuttle::replay` runs that one again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

use std::any::Any;
use std::collections::BTreeSet;
use std::hash::RandomState;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use wsgate_models::config::AddressRules;
use wsgate_models::limits::{Bounds, Fill, IN_56, Limits, Payer, Usage};
use wsgate_models::peer::ClientAddr;
use wsgate_models::policy::PolicyName;
use wsgate_models::policy::quota::{NetworkRules, Quotas};
use wsgate_models::units::Rate;

/// Schedules that each of the two schedulers tries.
const SCHEDULES: usize = 500;
/// Preemptions that the second one places.
const DEPTH: usize = 3;
const SEED: u64 = 0x6455;

/// The house under test and the clock that moves it.
type House = (Arc<Limits<FakeRelativeClock>>, FakeRelativeClock);

/// Something that is given back by being dropped.
type Held = Box<dyn Any + Send>;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn client(text: &str) -> ClientAddr {
    ClientAddr::new(text.parse().unwrap())
}

fn chat() -> PolicyName {
    PolicyName::new("chat")
}

/// Bounds that nobody meets.
fn wide() -> Bounds {
    let address = AddressRules {
        pending: 100,
        sessions: 100,
        connects: rate("1000/s burst 1000"),
        failures: rate("1000/s burst 1000"),
        rules: NetworkRules::default(),
        networks: Vec::new(),
    };
    Bounds { sessions: 100, pending: 1000, admissions: rate("1000/s burst 1000"), address }
}

fn quotas() -> Quotas {
    Quotas {
        connections: None,
        connections_per_address: 100,
        connections_per_subject: 100,
        handshakes_per_subject: rate("1000/s burst 1000"),
        networks: NetworkRules::default(),
    }
}

fn house(bounds: Bounds) -> House {
    let clock = FakeRelativeClock::default();
    (Arc::new(Limits::new(bounds, RandomState::new(), clock.clone())), clock)
}

/// What is alive, without the fill of the tables.
fn alive(limits: &Limits<FakeRelativeClock>) -> Usage {
    let empty = Fill::default();
    Usage { connect_buckets: empty, failure_buckets: empty, subject_buckets: empty, shared: 0, ..limits.usage() }
}

/// Runs `model` in many interleavings; what it returns must not be the same in all of them, else there was no contention.
fn explore(model: impl Fn() -> usize + Send + Sync + 'static) {
    let model = Arc::new(model);
    let random = RandomScheduler::new_from_seed(SEED, SCHEDULES);
    let seen = [run(random, Arc::clone(&model)), run(PctScheduler::new_from_seed(SEED, DEPTH, SCHEDULES), model)];
    for (outcomes, schedules) in seen {
        assert_eq!(schedules, SCHEDULES);
        assert!(outcomes.len() > 1, "one outcome in {schedules} schedules: {outcomes:?}");
    }
}

/// The outcomes that `model` had, and in how many schedules.
fn run<M>(scheduler: impl Scheduler + 'static, model: Arc<M>) -> (BTreeSet<usize>, usize)
where
    M: Fn() -> usize + Send + Sync + 'static,
{
    let outcomes = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&outcomes);
    let mut config = Config::new();
    // All orderings are tried as the strongest one: what is judged under them is behind locks.
    config.silence_warnings = true;
    let schedules = Runner::new(scheduler, config).run(move || {
        let outcome = model();
        seen.lock().unwrap().insert(outcome);
    });
    let outcomes = outcomes.lock().unwrap().clone();
    (outcomes, schedules)
}

/// How many run at the same time.
const THREADS: usize = 3;

/// Runs `work` in [`THREADS`] threads and returns what each made.
fn in_threads<T: Send + 'static>(work: impl Fn(usize) -> T + Send + Sync + 'static) -> Vec<T> {
    let work = Arc::new(work);
    let spawned: Vec<_> = (0..THREADS)
        .map(|thread| {
            let work = Arc::clone(&work);
            thread::spawn(move || work(thread))
        })
        .collect();
    spawned.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// The way out of a holder.
fn leave(held: Held, thread: usize) {
    if thread == 0 {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _held = held;
            resume_unwind(Box::new("the holder panics"));
        }));
        assert!(unwound.is_err());
    } else {
        drop(held);
    }
}

/// A place of which there are [`CAP`]: its name, the bounds, and how it is taken.
type Place = (&'static str, fn() -> Bounds, fn(&Limits<FakeRelativeClock>, usize) -> Option<Held>);

const CAP: u32 = 2;

fn held(permit: Result<impl Send + 'static, impl Sized>) -> Option<Held> {
    permit.ok().map(|permit| Box::new(permit) as Held)
}

fn from(thread: usize) -> ClientAddr {
    ClientAddr::new(Ipv4Addr::new(203, 0, 113, u8::try_from(thread).unwrap()).into())
}

fn capped(set: fn(&mut Bounds)) -> Bounds {
    let mut bounds = wide();
    set(&mut bounds);
    bounds
}

const PLACES: [Place; 10] = [
    ("pending connections", || capped(|bounds| bounds.pending = CAP), |limits, _| held(limits.admit_connection())),
    (
        "connections",
        || capped(|bounds| (bounds.sessions, bounds.pending) = (0, CAP)),
        |limits, _| {
            let mut permit = limits.admit_connection().ok()?;
            permit.end_pending();
            Some(Box::new(permit))
        },
    ),
    (
        "pending connections of an address",
        || capped(|bounds| bounds.address.pending = CAP),
        |limits, _| held(limits.charge_address(client("203.0.113.7"))),
    ),
    (
        "pending connections of a /64, under any of its addresses",
        || capped(|bounds| bounds.address.pending = CAP),
        |limits, thread| held(limits.charge_address(client(&format!("2001:db8::{thread}")))),
    ),
    (
        "sessions of an address",
        || capped(|bounds| bounds.address.sessions = CAP),
        |limits, _| held(limits.reserve_session(Some(client("203.0.113.7")), &chat(), &quotas())),
    ),
    ("sessions of an address on a policy", wide, |limits, _| {
        let few = Quotas { connections_per_address: CAP, ..quotas() };
        held(limits.reserve_session(Some(client("203.0.113.7")), &chat(), &few))
    }),
    (
        "sessions",
        || capped(|bounds| bounds.sessions = CAP),
        |limits, thread| held(limits.reserve_session(Some(from(thread)), &chat(), &quotas())),
    ),
    ("sessions of a subject", wide, |limits, _| {
        let few = Quotas { connections_per_subject: CAP, ..quotas() };
        held(limits.reserve_subject(&chat(), &few, Some("login/alice")))
    }),
    ("sessions of a route", wide, |limits, _| {
        held(limits.reserve_subject(&chat(), &Quotas { connections: Some(CAP), ..quotas() }, None))
    }),
    ("sessions on a server", wide, |limits, _| held(limits.reserve_server(&chat(), "server", Some(CAP)))),
];

#[test]
fn rx04_rx16_never_more_than_the_cap_and_always_given_back() {
    for (name, bounds, take) in PLACES {
        explore(move || {
            let (limits, _) = house(bounds());
            let at_once = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
            let (shared, counted) = (Arc::clone(&limits), Arc::clone(&at_once));
            let refused = in_threads(move |thread| {
                let (now, most) = counted.as_ref();
                let Some(permit) = take(&shared, thread) else { return 1 };
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                thread::yield_now();
                now.fetch_sub(1, SeqCst);
                leave(permit, thread);
                0
            });
            let most = at_once.1.load(SeqCst);
            assert!(most <= usize::try_from(CAP).unwrap(), "{name}: {most} at once");
            assert_eq!(alive(&limits), Usage::default(), "{name}");
            let again: Vec<Held> = (0..THREADS).map_while(|thread| take(&limits, thread)).collect();
            assert_eq!(again.len(), usize::try_from(CAP).unwrap(), "{name}: the twin: there is room again");
            refused.into_iter().sum()
        });
    }
}

#[test]
fn rx04_two_that_want_the_last_place_in_every_order_there_is() {
    let model = || {
        let (limits, _) = house(wide());
        let (shared, alive) = (Arc::clone(&limits), Arc::new(AtomicUsize::new(0)));
        let take = move || {
            let Ok(permit) = shared.reserve_server(&chat(), "server", Some(1)) else { return 0 };
            assert_eq!(alive.fetch_add(1, SeqCst), 0, "one of them and not both");
            thread::yield_now();
            alive.fetch_sub(1, SeqCst);
            drop(permit);
            1
        };
        let other = thread::spawn(take.clone());
        let served = take() + other.join().unwrap();
        assert!(served > 0, "one of them");
        assert_eq!(limits.usage().servers, 0);
        assert!(limits.reserve_server(&chat(), "server", Some(1)).is_ok(), "the twin: it came back");
        served
    };
    let (outcomes, schedules) = run(DfsScheduler::new(None, false), Arc::new(model));
    assert_eq!(outcomes, BTreeSet::from([1, 2]), "at the same time, or one behind the other");
    assert!(schedules > 50, "{schedules}");
}

#[test]
fn rx16_who_is_refused_half_way_keeps_nothing() {
    // Whoever comes to the pace without a token holds three places by then, and the last step of a subject holds one.
    explore(|| {
        let (limits, _) = house(Bounds { admissions: rate("1/h burst 2"), ..wide() });
        let shared = Arc::clone(&limits);
        let refused = in_threads(move |thread| {
            let connection = shared.admit_connection().unwrap();
            let address = shared.charge_address(from(0)).unwrap();
            let session = shared.reserve_session(Some(from(0)), &chat(), &quotas()).unwrap();
            let Ok(token) = shared.take_pace() else { return 1 };
            token.spend();
            let one = Quotas { connections: Some(1), ..quotas() };
            let Ok(subject) = shared.reserve_subject(&chat(), &one, Some("login/alice")) else { return 10 };
            let server = shared.reserve_server(&chat(), "server", None).unwrap();
            leave(Box::new((connection, address, session, subject, server)), thread);
            0
        });
        assert_eq!(alive(&limits), Usage::default());
        assert_eq!(refused.iter().filter(|refused| **refused == 1).count(), 1, "two tokens for three");
        refused.into_iter().sum()
    });
}

#[test]
fn rx03_a_bucket_grants_its_burst_and_its_rate_and_loses_no_token() {
    const BURST: usize = 2;
    const TICKS: usize = 2;
    explore(|| {
        let (limits, clock) = house(capped(|bounds| bounds.address.connects = rate("1/s burst 2")));
        let here = client("203.0.113.7");
        let shared = Arc::clone(&limits);
        // All tokens are out before the clock moves, so that none that comes back finds the bucket full.
        let before: usize = in_threads(move |_| usize::from(shared.charge_address(here).is_ok())).into_iter().sum();
        assert_eq!(before, BURST, "three that come at once");

        let ticking = thread::spawn(move || {
            for _ in 0..TICKS {
                clock.advance(Duration::from_secs(1));
                thread::yield_now();
            }
        });
        let shared = Arc::clone(&limits);
        let granted: usize = in_threads(move |_| usize::from(shared.charge_address(here).is_ok())).into_iter().sum();
        ticking.join().unwrap();
        let left = (0..=TICKS).filter(|_| limits.charge_address(here).is_ok()).count();
        assert_eq!(granted + left, TICKS, "what two seconds bring, no token more and none less");
        granted
    });
}

#[test]
fn au25_attempts_side_by_side_do_not_overdraw_the_failure_budget() {
    explore(|| {
        let (limits, _) = house(capped(|bounds| bounds.address.failures = rate("1/h burst 2")));
        let here = client("203.0.113.7");
        let (shared, trying) = (Arc::clone(&limits), Arc::new(AtomicUsize::new(0)));
        let denied = in_threads(move |thread| {
            let Ok(attempt) = shared.check_failures(here) else { return 1 };
            let others = trying.fetch_add(1, SeqCst);
            assert!(others < 2, "three attempts on two tokens");
            thread::yield_now();
            // What failed stays taken, so nobody has its place.
            if thread > 0 {
                trying.fetch_sub(1, SeqCst);
                attempt.forgive();
            }
            0
        });
        let left = (0..3).filter(|_| limits.check_failures(here).is_ok()).count();
        let failed = 1 - denied[0];
        assert_eq!(left, 2 - failed, "a forgiven attempt costs nothing, a failed one a token");
        denied.into_iter().sum()
    });
}

#[test]
fn rx22_a_pace_that_is_returned_is_there_for_the_next() {
    explore(|| {
        let (limits, _) = house(Bounds { admissions: rate("1/h burst 1"), ..wide() });
        let shared = Arc::clone(&limits);
        let paced = in_threads(move |_| usize::from(shared.take_pace().is_err()));
        let token = limits.take_pace();
        assert!(token.is_ok(), "the token is back");
        assert!(limits.take_pace().is_err(), "and it is one");
        paced.into_iter().sum()
    });
}

/// Buckets of the table of connect rates in this build: one set.
const BUCKETS: usize = 8;

#[test]
fn rx09_rx10_churn_neither_grows_the_table_nor_gives_a_bucket_twice() {
    explore(|| {
        let (limits, clock) = house(capped(|bounds| bounds.address.connects = rate("1/h burst 1")));
        let shared = Arc::clone(&limits);
        // Four networks each, none of them next to another.
        let address = |n: usize| ClientAddr::new(Ipv4Addr::new(10, u8::try_from(n).unwrap(), 0, 1).into());
        let granted = in_threads(move |thread| {
            let order = (0..4).map(|n| if thread == 0 { n } else { n + 4 * thread });
            order.filter(|n| shared.charge_address(address(*n)).is_ok()).fold(0, |mask, n| mask | 1_usize << n)
        });
        let all = granted.into_iter().fold(0, |all, mask| all | mask);
        assert_eq!(all.count_ones(), 8, "each bucket serves one network");
        assert_eq!(limits.usage().connect_buckets, Fill { spent: BUCKETS, total: BUCKETS });
        let again = (0..12).filter(|n| limits.charge_address(address(*n)).is_ok()).count();
        assert_eq!(again, 0, "no penalty was washed out");
        clock.advance(Duration::from_secs(3600));
        assert!(limits.charge_address(address(0)).is_ok(), "the twin: time mends it");
        all
    });
}

#[test]
fn rx09_a_full_set_shares_the_bucket_of_the_wider_network() {
    // One token of the /56 is gone with the first of its networks.
    const LEFT: usize = IN_56 as usize - 1;
    explore(|| {
        let (limits, _) = house(capped(|bounds| bounds.address.connects = rate("1/h burst 1")));
        // A network of IPv6 takes three buckets, its own and two wider ones; then the set is filled.
        drop(limits.charge_address(client("2001:db8::1")).unwrap());
        for n in 0..5 {
            drop(limits.charge_address(client(&format!("10.{n}.0.1"))).unwrap());
        }
        let shared = Arc::clone(&limits);
        let granted = in_threads(move |thread| {
            let nets = (1..=3).map(|n| client(&format!("2001:db8:0:{:x}::1", 3 * thread + n)));
            let payers = nets.filter_map(|net| shared.charge_address(net).ok()).map(|permit| permit.payer());
            payers.inspect(|payer| assert_eq!(*payer, Payer::Shared)).count()
        });
        assert_eq!(granted.iter().sum::<usize>(), LEFT, "{granted:?}");
        assert_eq!(limits.usage().shared, 9, "each of them was told so");
        assert_eq!(alive(&limits), Usage::default());
        granted[0]
    });
}
