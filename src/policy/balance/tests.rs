use std::time::Instant;

use proptest::prelude::*;

use super::condition::{Change, Client, Condition, Entry, Met, Openness};
use super::order::{Candidate, Draw, Share, order};
use super::*;
use crate::policy::admission::tests::{admission, policy};
use crate::policy::credential::tests::handshake;
use crate::policy::forward::CredentialForwarding;

const SECOND: Duration = Duration::from_secs(1);

fn client(last: u8) -> ClientAddr {
    ClientAddr::new([192, 0, 2, last].into())
}

/// Who comes from this address, and says nothing of who it is.
fn nobody(last: u8) -> Client {
    Client::new(client(last).net(), None)
}

fn candidates(count: usize) -> Vec<Candidate> {
    let one = |number| Candidate {
        name: HashKey::of(&format!("ws://10.0.0.{number}:9001")),
        sessions: 0,
        share: Share::WHOLE,
    };
    (0..count).map(one).collect()
}

fn draw(turn: usize, key: &str, random: u64) -> Draw {
    Draw { turn, key: HashKey::of(key), random }
}

fn on_hash() -> Balance {
    Balance::Hash(HashOn::Address)
}

/// How often each of `count` comes first in so many draws.
fn firsts(balance: &Balance, candidates: &[Candidate], draws: usize) -> Vec<usize> {
    let mut firsts = vec![0; candidates.len()];
    for number in 0..draws {
        let random = u64::try_from(number).unwrap().wrapping_mul(0x2545_f491_4f6c_dd1d);
        firsts[order(balance, candidates, draw(number, &format!("key {number}"), random))[0]] += 1;
    }
    firsts
}

#[test]
fn every_way_names_every_server_once() {
    let mut ran = 0;
    for balance in [Balance::RoundRobin, Balance::LeastSessions, on_hash()] {
        for count in 0..5 {
            for share in [Share::WHOLE, Share::thousandths(0)] {
                let mut among = candidates(count);
                among.iter_mut().for_each(|one| one.share = share);
                let mut places = order(&balance, &among, draw(usize::MAX, "k", 7));
                places.sort_unstable();
                assert_eq!(places, (0..count).collect::<Vec<_>>(), "{balance:?}");
                ran += 1;
            }
        }
    }
    assert_eq!(ran, 30);
}

#[test]
fn whole_servers_take_turns() {
    let among = candidates(3);
    let turns: Vec<_> = (0..5).map(|turn| order(&Balance::RoundRobin, &among, draw(turn, "", 9))).collect();
    assert_eq!(turns, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2], [1, 2, 0]]);
}

#[test]
fn the_fewest_sessions_come_first_and_chance_breaks_ties() {
    let mut among = candidates(3);
    for (one, sessions) in among.iter_mut().zip([7, 2, 5]) {
        one.sessions = sessions;
    }
    assert_eq!(order(&Balance::LeastSessions, &among, draw(0, "", 1)), [1, 2, 0]);
    let ties = firsts(&Balance::LeastSessions, &candidates(4), 4000);
    assert!(ties.iter().all(|count| (850..1150).contains(count)), "{ties:?}");
}

#[test]
fn a_hash_spreads_and_stays() {
    let among = candidates(5);
    let spread = firsts(&on_hash(), &among, 10_000);
    assert!(spread.iter().all(|count| (1800..2200).contains(count)), "{spread:?}");
    let alice = |random| order(&on_hash(), &among, draw(3, "alice", random));
    assert_eq!(alice(1), alice(2), "neither chance nor turns move it");
    let names: Vec<_> = ["ws://a", "ws://b", "ws://c", "ws://d"].map(HashKey::of).into();
    let fixed: Vec<_> = names.iter().map(|name| Candidate { name: *name, ..among[0] }).collect();
    assert_eq!(order(&on_hash(), &fixed, draw(0, "alice", 0)), [3, 0, 1, 2], "the same on every machine, for ever");
}

proptest! {
    /// A server that is added takes its share from the others and moves nothing between them.
    #[test]
    fn a_server_that_is_added_moves_only_what_it_takes(count in 1_usize..12, salt in any::<u32>()) {
        let (before, after) = (candidates(count), candidates(count + 1));
        let mut moved = 0_usize;
        for number in 0..2000 {
            let draw = draw(0, &format!("{salt} {number}"), 0);
            let (was, is) = (order(&on_hash(), &before, draw)[0], order(&on_hash(), &after, draw)[0]);
            prop_assert!(is == was || is == count, "from {was} to {is} of {count}");
            moved += usize::from(is != was);
        }
        let fair = 2000 / (count + 1);
        prop_assert!(moved.abs_diff(fair) < 200, "{moved} of 2000 moved, {fair} is fair");
    }
}

#[test]
fn a_part_of_a_share_is_a_part_of_the_handshakes() {
    let mut ran = 0;
    for balance in [Balance::RoundRobin, on_hash()] {
        for thousandths in [0, 100, 500] {
            let mut among = candidates(4);
            among[2].share = Share::thousandths(thousandths);
            let spread = firsts(&balance, &among, 20_000);
            let part = f64::from(u32::try_from(thousandths.max(50)).unwrap()) / 1000.0;
            let got = f64::from(u32::try_from(spread[2]).unwrap());
            let others = f64::from(u32::try_from(spread[0] + spread[1] + spread[3]).unwrap()) / 3.0;
            assert!(got / others < part * 1.5 + 0.02, "{balance:?} {thousandths}: {spread:?}");
            assert!(got / others > part * 0.6, "{balance:?} {thousandths}: {spread:?}");
            ran += 1;
        }
    }
    let mut among = candidates(2);
    among.iter_mut().for_each(|one| one.sessions = 9);
    (among[1].sessions, among[1].share) = (0, Share::thousandths(50));
    assert_eq!(order(&Balance::LeastSessions, &among, draw(0, "", 0)), [0, 1], "an empty one is not flooded");
    among[1].share = Share::WHOLE;
    assert_eq!(order(&Balance::LeastSessions, &among, draw(0, "", 0)), [1, 0]);
    assert_eq!(ran, 6);
}

#[test]
fn a_handshake_belongs_to_what_the_policy_names() {
    let fields = [("cookie", "x=1; lb=seven"), ("x-room", "blue")];
    let strip = || policy(Vec::new(), CredentialForwarding::Strip);
    let admit = |fields: &[(&str, &str)]| admission(handshake(None, fields), strip(), None, None);
    let told = |on: &str, admission: &Admission, client| {
        HashKey::asked_for(&Balance::Hash(on.parse().unwrap()), admission, client).unwrap()
    };
    let (with, without) = (admit(&fields), admit(&[]));
    let by_address = HashKey::of("192.0.2.1/32");
    let cases = [
        ("address", HashKey::of("192.0.2.1/32")),
        ("cookie:lb", HashKey::of("lb=seven")),
        ("header:X-Room", HashKey::of("blue")),
        ("cookie:other", by_address),
        ("header:other", by_address),
        ("subject", by_address),
    ];
    for (on, key) in cases {
        assert_eq!(told(on, &with, client(1)), key, "{on}");
        assert_eq!(told(on, &without, client(1)), by_address, "{on}: without it the address tells");
        assert_ne!(told(on, &without, client(2)), by_address, "{on}");
    }
    let claims = serde_json::Map::from_iter([(String::from("sub"), serde_json::Value::from("alice"))]);
    let alice = admission(handshake(None, &fields), strip(), Some(claims), None);
    assert_eq!(told("subject", &alice, client(1)), HashKey::of("login/alice"));
    for wrong in ["", "ip", "cookie", "subject:x", "query:x"] {
        assert!(wrong.parse::<HashOn>().is_err(), "{wrong}");
    }
    assert_eq!(cases.len(), 6);
}

fn rules() -> EjectRules {
    EjectRules { failures: 3, time: 10 * SECOND, longest: 60 * SECOND }
}

/// A server, and a clock that a test moves.
struct Yard {
    condition: Condition,
    now: Instant,
}

#[expect(clippy::disallowed_methods, reason = "there is no other instant to count from")]
fn yard() -> Yard {
    Yard { condition: Condition::default(), now: Instant::now() }
}

impl Yard {
    fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    fn openness(&self, who: u8) -> Openness {
        self.condition.openness(nobody(who), Some(&rules()), self.now)
    }

    fn goes(&mut self, who: u8) -> Option<Entry> {
        self.condition.enter(nobody(who), Some(&rules()), self.now)
    }

    fn met(&mut self, who: u8, entry: Entry, met: Met) -> Option<Change> {
        self.condition.leave(entry, met, nobody(who), Some(&rules()), (self.now, 0))
    }

    /// So many connections that fail.
    fn fails(&mut self, times: u8) {
        for who in 0..times {
            self.handshake(who, Met::NoConnection);
        }
    }

    /// So many checks.
    fn checks(&mut self, is_well: bool, times: u8) {
        for _ in 0..times {
            self.condition.checked(is_well, &health(), self.now);
        }
    }

    /// One handshake that must be let in.
    fn handshake(&mut self, who: u8, met: Met) -> Option<Change> {
        let entry = self.goes(who).expect("it is let in");
        self.met(who, entry, met)
    }
}

#[test]
fn be10_failures_on_end_eject_and_one_success_between_them_does_not() {
    let mut yard = yard();
    for met in [Met::NoConnection, Met::NoConnection, Met::Well, Met::NoConnection, Met::NoConnection] {
        assert_eq!(yard.handshake(1, met), None);
    }
    assert_eq!(yard.openness(1), Openness::Open);
    assert_eq!(yard.handshake(1, Met::NoConnection), Some(Change::Ejected(10 * SECOND)));
    assert_eq!(yard.openness(1), Openness::Shut(Some(10 * SECOND)));
    assert_eq!((yard.goes(1), yard.condition.is_open()), (None, false));
}

#[test]
fn be10_one_client_ejects_nobody_by_what_it_asks_for() {
    let mut yard = yard();
    for _ in 0..100 {
        assert_eq!(yard.handshake(1, Met::NoAnswer), None, "one network counts once");
        assert_eq!(yard.handshake(1, Met::Nothing), None);
        assert_eq!(yard.handshake(1, Met::BrokenOff), None);
    }
    assert_eq!(yard.handshake(2, Met::NoAnswer), None);
    assert_eq!(yard.handshake(3, Met::NoAnswer), Some(Change::Ejected(10 * SECOND)), "three networks do");
}

#[test]
fn be10_one_site_ejects_nobody_from_all_its_networks() {
    let mut yard = yard();
    let from = |yard: &mut Yard, address: &str| {
        let net = Client::new(ClientAddr::new(address.parse().unwrap()).net(), None);
        let entry = yard.condition.enter(net, Some(&rules()), yard.now).expect("it is let in");
        yard.condition.leave(entry, Met::NoAnswer, net, Some(&rules()), (yard.now, 0))
    };
    for network in 0..100 {
        assert_eq!(from(&mut yard, &format!("2001:db8:1:{network:x}::1")), None, "one site counts once");
    }
    assert_eq!(from(&mut yard, "2001:db8:2::1"), None);
    assert_eq!(from(&mut yard, "2001:db8:3::1"), Some(Change::Ejected(10 * SECOND)), "three sites do");
}

#[test]
fn be10_one_subject_ejects_nobody_from_all_its_addresses_nor_makes_it_longer() {
    let mut yard = yard();
    let from = |yard: &mut Yard, last: u8, subject: &str| {
        let who = Client::new(client(last).net(), Some(HashKey::of(subject)));
        let entry = yard.condition.enter(who, Some(&rules()), yard.now)?;
        yard.condition.leave(entry, Met::NoAnswer, who, Some(&rules()), (yard.now, 0))
    };
    for last in 0..100 {
        assert_eq!(from(&mut yard, last, "login/alice"), None, "one subject counts once");
    }
    for _ in 0..100 {
        assert_eq!(from(&mut yard, 0, "login/bob"), None, "and so does one network, whoever is there");
    }
    assert_eq!(from(&mut yard, 101, "login/bob"), None);
    assert_eq!(from(&mut yard, 102, "login/carol"), Some(Change::Ejected(10 * SECOND)), "three of both do");
    for last in 103..106 {
        yard.passes(30 * SECOND);
        assert_eq!(from(&mut yard, last, "login/alice"), Some(Change::Ejected(10 * SECOND)), "asked again, no longer");
        yard.passes(10 * SECOND);
        assert_eq!(from(&mut yard, last + 50, "login/alice"), None, "it leaves the next one to others");
    }
    yard.passes(30 * SECOND);
    assert_eq!(from(&mut yard, 107, "login/dave"), Some(Change::Ejected(20 * SECOND)), "the twin: somebody else");
}

#[test]
fn be10_one_probe_at_a_time_finds_out() {
    let mut yard = yard();
    yard.fails(3);
    yard.passes(10 * SECOND - Duration::from_nanos(1));
    assert_eq!(yard.goes(1), None);
    yard.passes(Duration::from_nanos(1));
    assert_eq!(yard.openness(1), Openness::HalfOpen);
    assert_eq!(yard.goes(1), Some(Entry::Probe));
    for who in 1..9 {
        assert_eq!(yard.goes(who), None, "no stampede");
    }
    assert_eq!(yard.met(2, Entry::Plain, Met::Well), None, "who went there before knows nothing of now");
    assert_eq!(yard.goes(2), None);
    assert_eq!(yard.met(1, Entry::Probe, Met::Nothing), None);
    assert_eq!(yard.goes(2), Some(Entry::Probe), "a probe that learned nothing leaves it to another");
    assert_eq!(yard.met(2, Entry::Probe, Met::Well), Some(Change::Readmitted));
    assert_eq!((yard.openness(3), yard.condition.is_open()), (Openness::Open, true));
}

#[test]
fn be10_each_time_on_end_is_twice_as_long_and_bounded() {
    let mut yard = yard();
    yard.fails(3);
    for seconds in [20, 40, 60, 60] {
        yard.passes(60 * SECOND);
        assert_eq!(yard.handshake(1, Met::NoConnection), Some(Change::Ejected(seconds * SECOND)));
        yard.passes(10 * SECOND);
    }
    yard.passes(60 * SECOND);
    assert_eq!(yard.handshake(1, Met::Well), Some(Change::Readmitted));
    for _ in 0..2 {
        assert_eq!(yard.handshake(1, Met::NoConnection), None);
    }
    assert_eq!(yard.handshake(1, Met::NoConnection), Some(Change::Ejected(60 * SECOND)), "it flaps: still on end");
    yard.passes(60 * SECOND);
    assert_eq!(yard.handshake(1, Met::Well), Some(Change::Readmitted));
    yard.passes(60 * SECOND);
    yard.fails(2);
    assert_eq!(yard.handshake(1, Met::NoConnection), Some(Change::Ejected(10 * SECOND)), "it was well for long");
}

#[test]
fn be10_who_breaks_the_probe_leaves_the_next_to_others() {
    let mut yard = yard();
    yard.fails(3);
    yard.passes(10 * SECOND);
    assert_eq!(yard.handshake(7, Met::NoAnswer), Some(Change::Ejected(20 * SECOND)));
    yard.passes(20 * SECOND);
    assert_eq!((yard.goes(7), yard.openness(8)), (None, Openness::HalfOpen));
    yard.passes(10 * SECOND);
    assert_eq!(yard.openness(7), Openness::HalfOpen, "where nobody else comes it is asked again");
}

#[test]
fn be10_who_breaks_probes_off_keeps_nobody_out() {
    let mut yard = yard();
    yard.fails(3);
    yard.passes(100 * SECOND);
    assert_eq!(yard.handshake(1, Met::BrokenOff), None, "nothing was learned");
    assert_eq!((yard.goes(1), yard.openness(2)), (None, Openness::HalfOpen));
    for who in 2..4 {
        assert_eq!(yard.handshake(who, Met::BrokenOff), None);
    }
    assert_eq!([1, 2, 3].map(|who| yard.goes(who)), [None; 3], "each of three leaves it to others");
    assert_eq!(yard.handshake(4, Met::BrokenOff), None);
    assert_eq!(yard.openness(1), Openness::HalfOpen, "no more are kept in mind than would have ejected it");
    assert_eq!(yard.goes(4), None);
    yard.passes(10 * SECOND);
    assert_eq!(yard.openness(4), Openness::HalfOpen, "where nobody else comes it is asked again");
    assert_eq!(yard.handshake(4, Met::NoAnswer), Some(Change::Ejected(20 * SECOND)));
    yard.passes(20 * SECOND);
    assert_eq!(yard.goes(4), None);
    assert_eq!(yard.handshake(5, Met::Well), Some(Change::Readmitted));
    assert_eq!((yard.handshake(4, Met::BrokenOff), yard.openness(4)), (None, Openness::Open));
}

#[test]
fn chance_shortens_an_ejection_by_up_to_a_quarter() {
    let mut ran = 0;
    for random in [0, 1 << 30, u32::MAX] {
        let mut yard = yard();
        let many = EjectRules { failures: 1, ..rules() };
        let left = yard.condition.leave(Entry::Plain, Met::NoConnection, nobody(1), Some(&many), (yard.now, random));
        let Some(Change::Ejected(time)) = left else { panic!("{left:?}") };
        let expected = 10.0 - 2.5 * f64::from(random) / 4_294_967_296.0;
        assert!((time.as_secs_f64() - expected).abs() < 0.001, "{random}: {time:?}");
        ran += 1;
    }
    assert_eq!(ran, 3);
}

#[test]
fn rules_that_a_reload_takes_away_hold_no_longer() {
    let mut yard = yard();
    yard.fails(3);
    assert_eq!(yard.condition.openness(nobody(1), None, yard.now), Openness::Open);
    assert_eq!(yard.condition.enter(nobody(1), None, yard.now), Some(Entry::Plain));
    assert_eq!(yard.condition.leave(Entry::Plain, Met::Well, nobody(1), None, (yard.now, 0)), None);
    assert_eq!(yard.openness(1), Openness::Open);
}

fn health() -> HealthRules {
    HealthRules { check: Check::Tcp, interval: SECOND, timeout: SECOND, rise: 2, fall: 3, down: Orphans::Keep }
}

#[test]
fn be12_checks_on_end_take_a_server_down_and_bring_it_up() {
    let mut yard = yard();
    let rules = health();
    let steps = [
        (false, None),
        (false, None),
        (true, None),
        (false, None),
        (false, None),
        (false, Some(Change::Down)),
        (false, None),
        (true, None),
        (false, None),
        (true, None),
        (true, Some(Change::Up)),
        (true, None),
    ];
    for (number, (is_well, change)) in steps.iter().enumerate() {
        let was_open = yard.condition.is_open();
        assert_eq!(yard.condition.checked(*is_well, &rules, yard.now), *change, "step {number}");
        assert_eq!(yard.condition.is_open(), was_open ^ change.is_some(), "step {number}");
    }
    yard.checks(false, 3);
    assert_eq!(yard.openness(1), Openness::Shut(None));
    yard.condition.forget_checks();
    assert_eq!(yard.openness(1), Openness::Open, "nobody checks it any longer");
    assert_eq!(steps.len(), 12);
}

#[test]
fn a_share_grows_with_time() {
    let mut yard = yard();
    let share = |yard: &Yard| yard.condition.share(10 * SECOND, yard.now);
    assert_eq!(share(&yard), Share::WHOLE, "it was there from the beginning");
    yard.condition = Condition::added(yard.now);
    let mut ran = 0;
    for (passes, thousandths) in [(0, 0), (1, 100), (4, 500), (5, 1000)] {
        yard.passes(passes * SECOND);
        assert_eq!(share(&yard), Share::thousandths(thousandths), "{thousandths}");
        ran += 1;
    }
    assert_eq!(ran, 4);
    yard.checks(false, 3);
    yard.checks(true, 2);
    assert_eq!(share(&yard), Share::thousandths(0), "it came up");
}
