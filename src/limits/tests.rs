//! The calls of [`Limits`] together, on a clock that is moved by hand.

use governor::clock::FakeRelativeClock;

use super::*;
use crate::config::KnownNetwork;
use crate::policy::quota::NetworkRules;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn client(text: &str) -> ClientAddr {
    ClientAddr::new(text.parse().unwrap())
}

fn bounds() -> Bounds {
    let address = AddressRules {
        pending: 128,
        sessions: 1024,
        connects: rate("20/s burst 400"),
        failures: rate("1/s burst 60"),
        rules: NetworkRules::default(),
        networks: Vec::new(),
    };
    Bounds { sessions: 1000, pending: 2048, admissions: rate("500/s burst 2000"), address }
}

fn quotas() -> Quotas {
    Quotas {
        connections: None,
        connections_per_address: 256,
        connections_per_subject: 20,
        handshakes_per_subject: rate("1/s burst 40"),
        networks: NetworkRules::default(),
    }
}

fn limits(bounds: Bounds) -> (Limits<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limits::new(bounds, RandomState::new(), clock.clone()), clock)
}

fn chat() -> PolicyName {
    PolicyName::new("chat")
}

/// What is alive, without the fill of the tables.
fn alive(limits: &Limits<FakeRelativeClock>) -> Usage {
    let empty = Fill::default();
    Usage { connect_buckets: empty, failure_buckets: empty, subject_buckets: empty, shared: 0, ..limits.usage() }
}

#[test]
fn rx02_the_gateway_takes_so_many_connections_and_no_more() {
    let (limits, _) = limits(Bounds { sessions: 2, pending: 3, ..bounds() });
    let mut held: Vec<_> = (0..3).map(|_| limits.admit_connection().unwrap()).collect();
    assert_eq!(limits.admit_connection().unwrap_err(), Reason::GatewayFull, "pending");
    held.iter_mut().for_each(ConnectionPermit::end_pending);
    held.extend((0..2).map(|_| limits.admit_connection().unwrap()));
    assert_eq!(limits.admit_connection().unwrap_err(), Reason::GatewayFull, "pending and sessions together");
    assert_eq!((alive(&limits).connections, alive(&limits).pending), (5, 2));
    held.pop();
    held.push(limits.admit_connection().unwrap());
    drop(held);
    assert_eq!(alive(&limits), Usage::default());
}

#[test]
fn op06_other_bounds_bind_who_comes_and_count_who_is_there() {
    let (limits, _) = limits(Bounds { sessions: 2, pending: 3, ..bounds() });
    let mut held: Vec<_> = (0..3).map(|_| limits.admit_connection().unwrap()).collect();
    limits.rebind(Bounds { sessions: 2, pending: 2, ..bounds() });
    held.pop();
    assert_eq!(limits.admit_connection().unwrap_err(), Reason::GatewayFull, "a lower cap binds newcomers");
    held.pop();
    held.push(limits.admit_connection().unwrap());
    limits.rebind(Bounds { sessions: 2, pending: 4, ..bounds() });
    held.extend((0..2).map(|_| limits.admit_connection().unwrap()));
    assert_eq!(limits.admit_connection().unwrap_err(), Reason::GatewayFull, "a higher one takes more, and no more");
    let (stays, mut denied) = (client("203.0.113.7"), bounds());
    assert!(limits.charge_address(stays).is_ok(), "the twin");
    denied.address.rules.deny = vec!["203.0.113.0/24".parse().unwrap()];
    limits.rebind(denied);
    assert_eq!(limits.charge_address(stays).unwrap_err().reason, Reason::AddressDenied);
    let (slow, mut fast) = (client("198.51.100.7"), bounds());
    let mut strict = bounds();
    (strict.address.connects, fast.address.connects) = (rate("1/h burst 1"), rate("1/s burst 1"));
    limits.rebind(strict);
    assert!(limits.charge_address(slow).is_ok());
    assert!(limits.charge_address(slow).unwrap_err().retry_after > Some(Duration::from_secs(3000)), "the twin");
    limits.rebind(fast);
    assert_eq!(limits.charge_address(slow).unwrap_err().retry_after, Some(Duration::from_secs(1)));
    drop(held);
    assert_eq!(alive(&limits), Usage::default());
}

#[test]
fn op06_a_pace_token_goes_back_to_the_pace_that_gave_it() {
    let (limits, _) = limits(Bounds { admissions: rate("1/h burst 2"), ..bounds() });
    let token = limits.take_pace().ok().unwrap();
    limits.rebind(Bounds { admissions: rate("1/s burst 2"), ..bounds() });
    drop(token);
    limits.rebind(Bounds { admissions: rate("1/h burst 2"), ..bounds() });
    let admitted = (0..3).filter(|_| limits.take_pace().map(PaceToken::spend).is_ok());
    assert_eq!(admitted.count(), 2);
}

#[test]
fn rx01_id08_an_address_connects_at_its_rate() {
    let cases = [
        ("IPv4", ["203.0.113.7", "203.0.113.7", "203.0.113.8"]),
        ("one /64", ["2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1"]),
        ("ID07 one address in two notations", ["203.0.113.7", "::ffff:203.0.113.7", "::ffff:203.0.113.8"]),
    ];
    for (name, [first, same, other]) in cases {
        let (limits, clock) = limits(bounds());
        for _ in 0..400 {
            drop(limits.charge_address(client(first)).unwrap());
        }
        let refusal = limits.charge_address(client(same)).unwrap_err();
        assert_eq!(refusal.reason, Reason::AddressConnectRate, "{name}");
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(50)), "{name}");
        assert!(limits.charge_address(client(other)).is_ok(), "{name}, ID09: another address has its own bucket");
        clock.advance(Duration::from_millis(50));
        assert!(limits.charge_address(client(same)).is_ok(), "{name}");
    }
}

#[test]
fn id08_wider_networks_cap_at_eight_and_thirty_two_times() {
    let mut small = bounds();
    small.address.connects = rate("1/h burst 10");
    type Address<'a> = &'a dyn Fn(u32) -> String;
    let granted = |limits: &Limits<_>, count: u32, address: Address| {
        (0..count).filter(|n| limits.charge_address(client(&address(*n))).is_ok()).count()
    };
    // Neighbours in one /48 that are spread over its /56s.
    let spread = |n: u32| format!("2001:db8:0:{:x}::1", (n << 8 | n >> 8) & 0xffff);
    let cases: [(&str, Address, usize); 3] = [
        ("65 536 addresses of one /64", &|n| format!("2001:db8::{n:x}"), 10),
        ("all networks of one /56", &|n| format!("2001:db8:0:{:x}::1", n & 0xff), 80),
        ("all networks of one /48", &spread, 320),
    ];
    for (name, address, expected) in cases {
        let (limits, _) = limits(small.clone());
        assert_eq!(granted(&limits, 65_536, address), expected, "{name}");
    }
    let (limits, _) = limits(small.clone());
    assert_eq!(granted(&limits, 320, &spread), 320);
    let refusal = limits.charge_address(client("2001:db8:0:7::1")).unwrap_err();
    assert_eq!(refusal.detail.as_deref(), Some("2001:db8::/48"), "the refusal names the network");
    assert!(limits.charge_address(client("2001:db8:1::1")).is_ok(), "the twin: the next /48");
    let many: Vec<_> = (0..=255).map(|n| limits.charge_address(client(&format!("203.0.113.{n}")))).collect();
    assert!(many.iter().all(Result::is_ok), "an IPv4 /24 caps nothing");
}

#[test]
fn an_address_waits_and_lives_within_its_slots() {
    let mut small = bounds();
    small.address.pending = 2;
    small.address.sessions = 3;
    let (limits, _) = limits(small);
    let here = client("203.0.113.7");
    let pending = [limits.charge_address(here).unwrap(), limits.charge_address(here).unwrap()];
    assert_eq!(limits.charge_address(here).unwrap_err().reason, Reason::AddressPending);
    assert!(limits.charge_address(client("203.0.113.8")).is_ok(), "ID09");
    drop(pending);
    drop(limits.charge_address(here).unwrap());

    let mut sessions: Vec<_> =
        (0..3).map(|_| limits.reserve_session(Some(here), &chat(), &quotas()).unwrap()).collect();
    assert_eq!(limits.charge_address(here).unwrap_err().reason, Reason::AddressSessionsHard);
    let refusal = limits.reserve_session(Some(here), &chat(), &quotas()).unwrap_err();
    assert_eq!(refusal.reason, Reason::AddressSessionsHard, "who was pending when the last place went");
    sessions.pop();
    drop(limits.charge_address(here).unwrap());
    drop(sessions);
    assert_eq!(alive(&limits), Usage::default());
}

#[test]
fn static_networks_are_denied_before_anything_is_charged() {
    let mut ruled = bounds();
    ruled.address.rules.deny = vec!["203.0.113.0/24".parse().unwrap()];
    let (limits, _) = limits(ruled);
    let refusal = limits.charge_address(client("::ffff:203.0.113.7")).unwrap_err();
    assert_eq!((refusal.reason, refusal.detail.as_deref()), (Reason::AddressDenied, Some("203.0.113.7")));
    assert_eq!(limits.usage().connect_buckets.spent, 0);
    assert!(limits.charge_address(client("203.0.114.7")).is_ok());
}

#[test]
fn id10_a_known_network_has_every_bound_times_over() {
    let mut small = bounds();
    small.address.pending = 2;
    small.address.sessions = 3;
    small.address.connects = rate("1/h burst 4");
    small.address.failures = rate("1/h burst 5");
    let nets = vec!["203.0.113.7/32".parse().unwrap()];
    small.address.networks = vec![KnownNetwork { name: String::from("Berlin office NAT"), nets, times: 10 }];
    let quotas = Quotas { connections_per_address: 2, ..quotas() };
    for (address, times) in [("203.0.113.7", 10), ("203.0.113.8", 1)] {
        let (limits, _) = limits(small.clone());
        let here = client(address);
        let pending: Vec<_> = std::iter::from_fn(|| limits.charge_address(here).ok()).collect();
        assert_eq!(pending.len(), 2 * times, "{address} pending");
        drop(pending);
        let connects = std::iter::from_fn(|| limits.charge_address(here).ok()).count();
        assert!(connects > 0 && connects < 4 * times, "{address} connects");
        let failures = std::iter::from_fn(|| limits.check_failures(here).ok()).count();
        assert_eq!(failures, 5 * times, "{address} failures");
        let sessions: Vec<_> =
            std::iter::from_fn(|| limits.reserve_session(Some(here), &chat(), &quotas).ok()).collect();
        assert_eq!(sessions.len(), 2 * times, "{address} on one policy");
        let other = PolicyName::new("other");
        let more: Vec<_> = std::iter::from_fn(|| limits.reserve_session(Some(here), &other, &quotas).ok()).collect();
        assert_eq!(more.len(), times, "{address} over all policies");
    }
}

#[test]
fn au25_a_spent_failure_budget_slows_and_never_locks_out() {
    let (limits, clock) = limits(bounds());
    let here = client("2001:db8::1");
    let failed = (0..10_000).filter(|_| limits.check_failures(here).is_ok()).count();
    assert_eq!(failed, 60, "10 000 guesses at once: 60 signatures are checked");
    let refusal = limits.check_failures(client("2001:db8::2")).err().unwrap();
    assert_eq!(refusal.reason, Reason::AddressFailures);
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
    assert!(limits.check_failures(client("2001:db8:0:1::1")).is_ok(), "another /64");
    for second in 0..10 {
        clock.advance(Duration::from_secs(1));
        let passed = (0..100).filter(|_| limits.check_failures(here).is_ok()).count();
        assert_eq!(passed, 1, "second {second}");
    }
    clock.advance(Duration::from_secs(1));
    for _ in 0..300 {
        limits.check_failures(here).unwrap().forgive();
    }
    clock.advance(Duration::from_secs(60));
    assert_eq!((0..100).filter(|_| limits.check_failures(here).is_ok()).count(), 60, "and it is whole again");
}

#[test]
fn a_late_failure_spends_the_budget_too() {
    let (limits, _) = limits(bounds());
    let here = client("203.0.113.7");
    for _ in 0..60 {
        limits.check_failures(here).unwrap().forgive();
        assert!(limits.check_failures(here).map(Attempt::forgive).is_ok());
        limits.record_failure(here);
    }
    limits.record_failure(here);
    assert_eq!(limits.check_failures(here).err().unwrap().reason, Reason::AddressFailures);
}

#[test]
fn attempts_side_by_side_do_not_overdraw_the_budget() {
    let (limits, _) = limits(bounds());
    let here = client("203.0.113.7");
    let mut running: Vec<_> = std::iter::from_fn(|| limits.check_failures(here).ok()).collect();
    assert_eq!(running.len(), 60);
    running.pop().unwrap().forgive();
    assert!(limits.check_failures(here).is_ok());
}

#[test]
fn an_old_attempt_gives_nothing_back_twice() {
    let (limits, clock) = limits(bounds());
    let here = client("203.0.113.7");
    let attempt = limits.check_failures(here).unwrap();
    clock.advance(Duration::from_secs(100));
    let mut spent: Vec<_> = std::iter::from_fn(|| limits.check_failures(here).ok()).collect();
    assert_eq!(spent.len(), 60);
    attempt.forgive();
    assert!(limits.check_failures(here).is_err(), "its token had come back by itself");
    spent.pop().unwrap().forgive();
    assert!(limits.check_failures(here).is_ok(), "the twin: a young one's had not");
}

fn address(host: u32) -> ClientAddr {
    client(&std::net::Ipv4Addr::from(0xcb00_7100 + host).to_string())
}

#[test]
fn rx01_a_few_that_say_nothing_leave_room_for_others() {
    let mut roomy = bounds();
    roomy.pending = 1024;
    roomy.address.pending = 128;
    let (limits, _) = limits(roomy);
    let silent = |host: u32| {
        let take = || Some((limits.admit_connection().ok()?, limits.charge_address(address(host)).ok()?));
        std::iter::from_fn(take).collect::<Vec<_>>()
    };
    let crowd: Vec<_> = (0..16).map(silent).collect();
    let held: Vec<usize> = crowd.iter().map(Vec::len).collect();
    assert_eq!(held[..4], [128; 4], "below half, each has its own");
    assert_eq!(held[5..], [16; 11], "beyond half, an eighth of it");
    let honest = (limits.admit_connection(), limits.charge_address(address(99)));
    assert!(honest.0.is_ok() && honest.1.is_ok(), "the twin: another address gets in");
    drop(crowd);
    assert_eq!(silent(0).len(), 128, "and the crowd's places return");
}

#[test]
fn rx01_a_wide_network_has_an_eighth_of_the_pending_connections() {
    let mut roomy = bounds();
    roomy.pending = 1024;
    let (limits, _) = limits(roomy);
    let of_one_48 = (0..4096).map(|n| limits.charge_address(client(&format!("2001:db8:7:{n:x}::1"))));
    let held: Vec<_> = of_one_48.filter_map(Result::ok).collect();
    assert_eq!(held.len(), 128);
    assert!(limits.charge_address(client("2001:db8:8::1")).is_ok(), "the twin: the next /48");
}

#[test]
fn rx22_who_is_refused_paces_nobody() {
    let (limits, clock) = limits(Bounds { admissions: rate("1/h burst 2"), ..bounds() });
    for _ in 0..100 {
        drop(limits.take_pace().ok().unwrap());
    }
    let admitted = (0..3).filter(|_| limits.take_pace().map(PaceToken::spend).is_ok());
    assert_eq!(admitted.count(), 2, "the twin: what is admitted is paced");
    let wait = limits.take_pace().err().unwrap();
    assert!((Duration::from_secs(3500)..=Duration::from_secs(3600)).contains(&wait), "{wait:?}");
    clock.advance(wait);
    assert!(limits.take_pace().is_ok(), "time brings one");
}

#[test]
fn a_proxy_that_speaks_for_itself_is_bound_by_the_gateway_alone() {
    let few = Quotas { connections_per_address: 1, ..quotas() };
    let (limits, _) = limits(Bounds { sessions: 5, ..bounds() });
    let held: Vec<_> = std::iter::from_fn(|| limits.reserve_session(None, &chat(), &few).ok()).collect();
    assert_eq!((held.len(), limits.usage().networks), (5, 0));
}

#[test]
fn a_session_is_reserved_in_the_order_of_who_can_act() {
    let here = client("203.0.113.7");
    let few = Quotas { connections_per_address: 1, ..quotas() };
    let cases = [
        ("policy", bounds(), few, Reason::AddressSessions, 429_u16),
        ("gateway", Bounds { sessions: 1, ..bounds() }, quotas(), Reason::GatewaySessions, 503),
    ];
    for (name, bounds, quotas, reason, status) in cases {
        let (limits, clock) = limits(bounds);
        let first = limits.reserve_session(Some(here), &chat(), &quotas).unwrap();
        let before = alive(&limits);
        let refusal = limits.reserve_session(Some(here), &chat(), &quotas).unwrap_err();
        assert_eq!(refusal.reason, reason, "{name}");
        assert_eq!(refusal.reason.answer(), crate::policy::refusal::Answer::Status(status), "{name}");
        assert!(refusal.retry_after.is_some_and(|wait| wait >= Duration::from_secs(1)), "{name}");
        assert_eq!(alive(&limits), before, "{name}: a refusal keeps nothing");
        drop(first);
        clock.advance(Duration::from_secs(1));
        assert!(limits.reserve_session(Some(here), &chat(), &quotas).is_ok(), "{name}");
        assert_eq!(alive(&limits), Usage::default(), "{name}");
    }
}

#[test]
fn rx05_a_subject_is_held_over_all_addresses() {
    let (limits, clock) = limits(bounds());
    let mut sessions: Vec<_> =
        (0..20).map(|_| limits.reserve_subject(&chat(), &quotas(), Some("login/alice")).unwrap()).collect();
    let refusal = limits.reserve_subject(&chat(), &quotas(), Some("login/alice")).unwrap_err();
    assert_eq!(refusal.reason, Reason::SubjectSessions);
    assert!(limits.reserve_subject(&chat(), &quotas(), Some("login/bob")).is_ok());
    assert!(limits.reserve_subject(&PolicyName::new("other"), &quotas(), Some("login/alice")).is_ok());
    sessions.pop();
    for _ in 0..19 {
        drop(limits.reserve_subject(&chat(), &quotas(), Some("login/alice")).unwrap());
    }
    let refusal = limits.reserve_subject(&chat(), &quotas(), Some("login/alice")).unwrap_err();
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::SubjectRate, Some(Duration::from_secs(1))));
    clock.advance(Duration::from_secs(1));
    drop(limits.reserve_subject(&chat(), &quotas(), Some("login/alice")).unwrap());
    drop(sessions);
    assert_eq!(alive(&limits), Usage::default());
}

#[test]
fn a_route_and_a_server_hold_so_many() {
    let (limits, _) = limits(bounds());
    let two = Quotas { connections: Some(2), ..quotas() };
    let held = [None, Some("login/alice")].map(|subject| limits.reserve_subject(&chat(), &two, subject).unwrap());
    for subject in [None, Some("login/bob")] {
        let refusal = limits.reserve_subject(&chat(), &two, subject).unwrap_err();
        assert_eq!(refusal.reason, Reason::RouteSessions, "{subject:?}");
    }
    drop(held);
    assert!(limits.reserve_subject(&chat(), &two, None).is_ok());

    let server = limits.reserve_server(&chat(), "10.0.0.11:9001", Some(1)).unwrap();
    let refusal = limits.reserve_server(&chat(), "10.0.0.11:9001", Some(1)).unwrap_err();
    assert_eq!((refusal.reason, refusal.detail.as_deref()), (Reason::BackendFull, Some("10.0.0.11:9001")));
    assert!(limits.reserve_server(&chat(), "10.0.0.12:9001", Some(1)).is_ok());
    assert!(limits.reserve_server(&chat(), "10.0.0.11:9001", None).is_ok());
    drop(server);
    assert!(limits.reserve_server(&chat(), "10.0.0.11:9001", Some(1)).is_ok());
}

#[test]
fn rx09_a_full_table_shares_the_wider_bucket_and_then_fails_closed() {
    let mut slow = bounds();
    slow.address.connects = rate("1/h burst 1");
    let (mut limits, clock) = limits(slow);
    limits.connects = BucketTable::new(8);
    let address = |n: u32| client(&std::net::Ipv4Addr::from(0x0a00_0000 + n * 256).to_string());
    let mut own = 0;
    for n in 0..8 {
        own += usize::from(limits.charge_address(address(n)).unwrap().payer() == Payer::Own);
    }
    assert_eq!((own, limits.usage().connect_buckets.spent, limits.usage().shared), (8, 8, 0));
    let refusal = limits.charge_address(address(9)).unwrap_err();
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::AddressConnectRate, Some(Duration::from_secs(1))));
    assert_eq!(limits.usage().shared, 2, "neither its own nor the wider network has a bucket");

    // With the wider network in the table, IN_24 addresses of it get in, on its bucket.
    clock.advance(Duration::from_secs(3600));
    let wider = client("10.0.9.0").net().wider().unwrap();
    let quota = store::quota(rate("1/h burst 1"), IN_24);
    assert_eq!(limits.connects.take(limits.key(&wider), quota, limits.elapsed()), Take::Taken);
    (0..7).for_each(|n| drop(limits.charge_address(address(n)).unwrap()));
    let shared = (0..20).filter_map(|n| limits.charge_address(client(&format!("10.0.9.{n}"))).ok());
    let shared: Vec<Payer> = shared.map(|permit| permit.payer()).collect();
    assert_eq!(shared, vec![Payer::Shared; 7]);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(limits.charge_address(address(9)).unwrap().payer(), Payer::Own, "the twin: there is room again");
}

#[test]
fn rx16_every_way_out_returns_to_the_baseline() {
    let (limits, clock) = limits(bounds());
    let (limits, completed) = (&limits, &AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..8_u32 {
            let clock = clock.clone();
            scope.spawn(move || {
                for round in 0..500_u32 {
                    clock.advance(Duration::from_millis(1));
                    let here = ClientAddr::new(std::net::Ipv4Addr::from(worker * 1000 + round % 7).into());
                    let stage = (worker + round) % 6;
                    let Ok(mut connection) = limits.admit_connection() else { continue };
                    let Ok(address) = limits.charge_address(here) else { continue };
                    if stage == 0 {
                        continue;
                    }
                    let Ok(_session) = limits.reserve_session(Some(here), &chat(), &quotas()) else { continue };
                    if stage == 1 {
                        continue;
                    }
                    let Ok(_subject) = limits.reserve_subject(&chat(), &quotas(), Some("login/alice")) else {
                        continue;
                    };
                    let Ok(_server) = limits.reserve_server(&chat(), "server", Some(4)) else { continue };
                    connection.end_pending();
                    drop(address);
                    completed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(completed.load(Ordering::Relaxed) > 0);
    assert_eq!(alive(limits), Usage::default());
}
