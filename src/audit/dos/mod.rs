//! Floods, slowness, and what an honest session feels of them.
//!
//! Beside each attack a well-behaved control session measures round trips, from another address where the target is on
//! the loopback. The verdict is what the attack came to (were silent connections ended, was a cap kept, did a flood
//! pass), what happened to the control session and to newcomers, and, where the target's process is known, what it cost
//! in memory and descriptors. Everything is bounded by [`Bounds`]; [`may_attack`] says against whom it may go.
//!
//! Each attack ends all its connections, by a reset, before the next begins.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::exam::Exam;
use super::finding::Verdict;
use super::rule::Rule;
use super::{Case, LONGER_TOKENS, Request};
use crate::policy::Policy;

mod beside;
mod bounds;
mod control;
mod course;
mod flood;
mod ground;
mod held;
mod process;
mod rules;
mod session;
mod verdict;

pub use bounds::{Bounds, Consent, may_attack};
pub use held::Stage;
pub use session::Frames;

use beside::Beside;
use ground::Ground;
use session::Allowed;
use verdict::Newcomer;

/// What the cases stand for.
pub const RULES: &[Rule] = rules::RULES;

/// How many handshakes are made for the attackers of a case, who take them in turn.
const HANDSHAKES: usize = 64;

/// A probe of this suite's own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Connections that stop at a stage.
    Held(Stage),
    /// A flood of ClientHellos.
    Hellos,
    /// Silent connections of one address.
    OneAddress,
    /// Silent connections of many addresses.
    ManyAddresses,
    /// A flood of handshakes that are refused.
    Refused,
    /// Heads that do not end.
    Heads,
    /// Connections that are cut at every stage.
    Aborted,
    /// Clients that are cut and come again, all at once.
    Storm,
    /// More sessions of one address than the policy allows.
    AddressCap(usize),
    /// More sessions of one subject than the policy allows.
    SubjectCap(usize),
    /// A flood of small frames.
    Frames(Frames),
    /// Frames that announce more than any memory holds.
    Bombs,
    /// Sessions that ask for much and do not read.
    Unread,
    /// Sessions that send as fast as they may.
    LineRate,
}

impl Probe {
    /// How long the control session lives beside it at most.
    fn lasts(self, policy: Option<&Policy>, bounds: &Bounds) -> Duration {
        let attack = match self {
            Self::Held(stage) => stage.limit(policy, bounds).min(bounds.hold),
            Self::Unread => bounds.hold,
            _ => bounds.flood,
        };
        bounds.quiet + attack + bounds.flood + bounds.recovery
    }

    /// What a newcomer is owed while the attack lasts.
    fn newcomer(self) -> Newcomer {
        match self {
            Self::Hellos | Self::ManyAddresses | Self::Aborted | Self::Storm => Newcomer::Crowded,
            // The newcomer may be of the subject whose cap is reached.
            Self::AddressCap(_) | Self::SubjectCap(_) => Newcomer::Crowded,
            _ => Newcomer::Place,
        }
    }
}

/// What an attack came to.
struct Attacked {
    verdict: Verdict,
    /// How many connections it had at a time.
    connections: usize,
}

/// Handshakes for the attackers, which take them in turn.
#[derive(Clone, Debug)]
struct Requests {
    good: Arc<[Vec<u8>]>,
    bad: Arc<[Vec<u8>]>,
}

impl Requests {
    fn of(probe: Probe, exam: &mut Exam) -> Self {
        let is_of_one_subject = matches!(probe, Probe::SubjectCap(_));
        let first = exam.good();
        let good = (0..HANDSHAKES).map(|_| if is_of_one_subject { first.bytes() } else { exam.good().bytes() });
        let good = good.collect();
        let bad = [bad(exam).bytes()].into();
        Self { good, bad }
    }

    fn good(&self, number: usize) -> Vec<u8> {
        in_turn(&self.good, number)
    }

    fn bad(&self, number: usize) -> Vec<u8> {
        in_turn(&self.bad, number)
    }
}

fn in_turn(requests: &[Vec<u8>], number: usize) -> Vec<u8> {
    number.checked_rem(requests.len()).and_then(|index| requests.get(index)).cloned().unwrap_or_default()
}

/// A handshake that must be refused: with a token that is not quite a good one, or of a version that there is not.
fn bad(exam: &Exam) -> Request {
    let credential = exam.target.credential.as_ref();
    let Some((credential, token)) = credential.and_then(|credential| Some((credential, credential.tokens.first()?)))
    else {
        return exam.anonymous().with("Sec-WebSocket-Version", "12");
    };
    let token: String = token
        .expose()
        .chars()
        .rev()
        .enumerate()
        .map(|(at, letter)| match (at, letter) {
            (4..12, 'A') => 'B',
            (4..12, _) => 'A',
            _ => letter,
        })
        .collect();
    let token: String = token.chars().rev().collect();
    let mut request = exam.anonymous();
    exam.target.carry(&mut request, &credential.carrier, &token);
    request
}

/// The cases against this target.
pub fn cases(exam: &mut Exam) -> Vec<Case> {
    let held = |id, name, stage| Case { id, name, probe: held_probe(stage, exam) };
    let always = |id, name, probe| Case { id, name, probe: super::Probe::Dos(probe) };
    let frames = |id, name, kind| Case { id, name, probe: frames_probe(kind, exam) };
    let mut cases = vec![
        held("TL01", "a TCP connection that stays silent", Stage::Connected),
        held("TL02", "a ClientHello, a byte at a time", Stage::Hello),
        held("TL02", "silence behind the server's first flight", Stage::ServerHello),
        Case { id: "TL05", name: "a flood of ClientHellos", probe: with_tls(Probe::Hellos, exam) },
        held("H101", "silence where a head should come", Stage::Secured),
        held("H101", "a head, a byte at a time", Stage::Head),
        always("H104", "heads that do not end", Probe::Heads),
        held("H106", "refusals that are not read", Stage::Refusal),
        always("RX01", "silent connections of one address", Probe::OneAddress),
        Case { id: "RX02", name: "silent connections of many addresses", probe: many_addresses(exam) },
        always("RX03", "a flood of handshakes that are refused", Probe::Refused),
        Case { id: "RX04", name: "more sessions of an address than allowed", probe: address_cap(exam) },
        Case { id: "RX05", name: "more sessions of a subject than allowed", probe: subject_cap(exam) },
        held("RX06", "a session that answers nothing", Stage::Dead),
        always("RX07", "a session that asks for much and does not read", Probe::Unread),
        always("RX15", "sessions at line rate", Probe::LineRate),
        always("RX16", "connections that are cut at every stage", Probe::Aborted),
        always("FR07", "a flood of frames that announce 2^62 bytes", Probe::Bombs),
        frames("FR09", "a flood of fragments of one message", Frames::Fragments),
        frames("FR11", "a flood of messages of one byte", Frames::OneByte),
        frames("FR11", "a flood of empty messages", Frames::Empty),
        frames("FR12", "a flood of pings", Frames::Pings),
        frames("FR12", "a flood of pongs that nobody asked for", Frames::Pongs),
        held("FR16", "peers that do not answer a Close", Stage::Closing),
        held("FR17", "frame headers that stay incomplete", Stage::FrameHeader),
        held("FR17", "large frames, a byte at a time", Stage::FrameBody),
        always("RX22", "clients that are cut and come again at once", Probe::Storm),
    ];
    for case in &mut cases {
        if let super::Probe::Dos(probe) = case.probe
            && !exam.target.may_live(probe.lasts(exam.target.policy.as_deref(), &exam.bounds))
        {
            case.probe = super::Probe::NotRun(LONGER_TOKENS);
        }
    }
    cases
}

fn with_tls(probe: Probe, exam: &Exam) -> super::Probe {
    match exam.target.tls {
        Some(_) => super::Probe::Dos(probe),
        None => super::Probe::NotApplicable(String::from("the target has no TLS")),
    }
}

fn held_probe(stage: Stage, exam: &Exam) -> super::Probe {
    let probe = Probe::Held(stage);
    match stage {
        Stage::Connected | Stage::Hello | Stage::ServerHello => with_tls(probe, exam),
        _ if stage.limit(exam.target.policy.as_deref(), &exam.bounds) > exam.bounds.hold => {
            super::Probe::NotRun(longer(
                stage.limit(exam.target.policy.as_deref(), &exam.bounds) <= Bounds::long().hold,
                "--floods long: the policy's deadline is beyond what is waited for",
                "a shorter deadline in the policy: it is beyond what is waited for",
            ))
        }
        _ => super::Probe::Dos(probe),
    }
}

fn frames_probe(kind: Frames, exam: &Exam) -> super::Probe {
    match kind.allowed(exam.target.policy.as_deref(), exam.bounds.frames, exam.bounds.flood) {
        Allowed::Unknown | Allowed::Less => super::Probe::Dos(Probe::Frames(kind)),
        Allowed::All => super::Probe::NotApplicable(String::from("the policy sets no rate for these frames")),
        Allowed::Enough => super::Probe::NotRun(longer(
            kind.allowed(exam.target.policy.as_deref(), Bounds::long().frames, Bounds::long().flood) == Allowed::Less,
            "--floods long: the policy allows as many frames as are sent",
            "a lower rate in the policy: it allows as many frames as are sent",
        )),
    }
}

fn many_addresses(exam: &Exam) -> super::Probe {
    match exam.target.address.ip() {
        std::net::IpAddr::V4(v4) if v4.is_loopback() => super::Probe::Dos(Probe::ManyAddresses),
        _ => super::Probe::NotRun("a target at an IPv4 loopback address, toward which one has many addresses"),
    }
}

fn address_cap(exam: &Exam) -> super::Probe {
    let Some(policy) = exam.target.policy.as_deref() else { return super::Probe::NotRun("--policy") };
    let cap = whole(policy.quotas.connections_per_address);
    let tokens = exam.target.credential.as_ref().map_or(usize::MAX, |credential| credential.tokens.len());
    if flood::crowd(cap) > exam.bounds.crowd {
        return too_many(cap);
    }
    // The control session and a newcomer are somebody's too.
    let most = tokens.saturating_mul(whole(policy.quotas.connections_per_subject).saturating_sub(2));
    if most <= cap {
        return super::Probe::NotRun("more tokens: the cap of the subject is met before that of the address");
    }
    super::Probe::Dos(Probe::AddressCap(cap))
}

fn subject_cap(exam: &Exam) -> super::Probe {
    let Some(policy): Option<&Policy> = exam.target.policy.as_deref() else { return super::Probe::NotRun("--policy") };
    let cap = whole(policy.quotas.connections_per_subject);
    match () {
        () if exam.target.credential.is_none() => {
            super::Probe::NotApplicable(String::from("no credential names a subject"))
        }
        () if flood::crowd(cap) > exam.bounds.crowd => too_many(cap),
        () => super::Probe::Dos(Probe::SubjectCap(cap)),
    }
}

/// A cap that is beyond the sessions that are opened.
fn too_many(cap: usize) -> super::Probe {
    super::Probe::NotRun(longer(
        flood::crowd(cap) <= Bounds::long().crowd,
        "--floods long: the policy allows more sessions than are opened",
        "a lower cap in the policy: it allows more sessions than are opened",
    ))
}

/// What would let a case be run: longer bounds, where they are enough, or another policy.
fn longer(is_enough: bool, bounds: &'static str, policy: &'static str) -> &'static str {
    if is_enough { bounds } else { policy }
}

fn whole(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Judges one.
pub async fn judge(probe: &Probe, exam: &mut Exam) -> Verdict {
    let ground = Ground::of(exam);
    let beside = match Beside::begin(exam, &ground).await {
        Ok(beside) => beside,
        Err(why) => return Verdict::undecided(why),
    };
    let requests = Requests::of(*probe, exam);
    let (first, second) = (exam.good().bytes(), exam.good().bytes());
    let attacking = async { (attack(*probe, &ground, &requests).await, Instant::now()) };
    let knocking = async {
        sleep(ground.bounds.flood / 4).await;
        let knocked = Instant::now();
        (knocked, if ground.is_apart() { Some(newcomer(exam, &ground, &first).await) } else { None })
    };
    let ((attacked, over), (knocked, meanwhile)) = tokio::join!(attacking, knocking);
    beside.attacked();
    let afterwards = newcomer(exam, &ground, &second).await;
    let measured = beside.end(&ground).await;

    let mut verdicts = vec![attacked.verdict];
    verdicts.extend(verdict::of_measured(measured, attacked.connections, &ground.bounds));
    let (lasted, owed) = (over.saturating_duration_since(knocked), ground.bounds.recovery / 4);
    verdicts.extend(meanwhile.and_then(|came| probe.newcomer().meanwhile(came, lasted, owed)));
    verdicts.push(verdict::afterwards(afterwards));
    verdict::worst(verdicts)
}

/// A good handshake from the address of everybody else: how long it took until it came in.
async fn newcomer(exam: &Exam, ground: &Ground, request: &[u8]) -> Result<Duration, String> {
    let began = Instant::now();
    let wire = ground.enter(request, None, ground.bounds.recovery).await?;
    let took = began.elapsed();
    exam.leave(wire).await;
    Ok(took)
}

async fn attack(probe: Probe, ground: &Ground, requests: &Requests) -> Attacked {
    match probe {
        Probe::Held(stage) => held::attack(stage, ground, requests).await,
        Probe::Hellos => flood::hellos(ground).await,
        Probe::OneAddress => flood::one_address(ground).await,
        Probe::ManyAddresses => flood::many_addresses(ground).await,
        Probe::Refused => flood::refused(ground, requests).await,
        Probe::Heads => session::heads(ground, requests).await,
        Probe::Aborted => flood::aborted(ground, requests).await,
        Probe::Storm => flood::storm(ground, requests).await,
        Probe::AddressCap(cap) => flood::over_cap(ground, requests, cap, false).await,
        Probe::SubjectCap(cap) => flood::over_cap(ground, requests, cap, true).await,
        Probe::Frames(kind) => session::frames(kind, ground, requests).await,
        Probe::Bombs => session::bombs(ground, requests).await,
        Probe::Unread => session::unread(ground, requests).await,
        Probe::LineRate => session::line_rate(ground, requests).await,
    }
}
