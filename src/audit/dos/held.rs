//! Connections that stop at one stage, silent or dripping: each must be ended by a deadline, whatever trickles.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::bounds::Bounds;
use super::ground::{Ground, Window, side_by_side};
use super::verdict::seconds;
use super::{Attacked, Requests};
use crate::audit::finding::{Exchange, Verdict};
use crate::audit::frame::{self, FIN, opcode};
use crate::audit::tls::client_hello;
use crate::audit::wire::{Heard, Wire};
use crate::policy::Policy;
use crate::session::SessionRules;

/// Where a connection stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Behind the TCP handshake, silent.
    Connected,
    /// Inside a ClientHello that drips.
    Hello,
    /// Behind the server's first flight of TLS, silent.
    ServerHello,
    /// Where a head should come, silent.
    Secured,
    /// Inside a head that drips and does not end.
    Head,
    /// Behind a refusal that is not read.
    Refusal,
    /// Inside the header of a frame, silent.
    FrameHeader,
    /// Inside the payload of a frame that drips.
    FrameBody,
    /// In a session, answering nothing.
    Dead,
    /// Behind the target's Close, which is not answered; frames go on coming.
    Closing,
}

/// The payload that a dripping frame announces.
const FRAME_BYTES: u16 = 16 << 10;

impl Stage {
    /// How long a connection may be held here: the policy's deadline and a margin, or what the bounds say.
    pub(super) fn limit(self, policy: Option<&Policy>, bounds: &Bounds) -> Duration {
        let known = policy.and_then(|policy| self.deadline(&policy.session));
        known.map_or(bounds.hold, |known| known + bounds.margin)
    }

    /// The deadline that the rules of a session set; the stages before a session have theirs elsewhere.
    fn deadline(self, rules: &SessionRules) -> Option<Duration> {
        let ends = match self {
            Self::FrameHeader => rules.partial_header,
            Self::FrameBody => SessionRules::SLOW_FRAME_GRACE + SessionRules::SLOW_FRAME_WINDOW,
            Self::Dead => rules.ping_interval + rules.pong_timeout,
            Self::Closing => Duration::ZERO,
            Self::Connected | Self::Hello | Self::ServerHello | Self::Secured | Self::Head | Self::Refusal => {
                return None;
            }
        };
        // A peer that is told that it ends may take this long to answer.
        Some(ends + rules.close_timeout)
    }

    /// Whether it lies behind the 101.
    fn is_in_session(self) -> bool {
        matches!(self, Self::FrameHeader | Self::FrameBody | Self::Dead | Self::Closing)
    }

    /// What is sent on the way there, in words.
    fn told(self) -> &'static str {
        match self {
            Self::Connected => "a TCP connection, then nothing",
            Self::Hello => "a ClientHello, a byte at a time",
            Self::ServerHello => "a ClientHello, then nothing",
            Self::Secured => "TLS where the target has it, then nothing",
            Self::Head => "a request head, a byte at a time, without an end",
            Self::Refusal => "a handshake that must be refused; the answer is not read",
            Self::FrameHeader => "a good handshake, then one byte of a frame",
            Self::FrameBody => "a good handshake, then a frame of 16 KiB, a byte at a time",
            Self::Dead => "a good handshake, then nothing, no Pong either",
            Self::Closing => "a good handshake, an unmasked frame, then Pings on and on; no Close is answered",
        }
    }
}

/// How one connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    /// By the target, after this long at the stage.
    Ended(Duration),
    /// Not within the limit.
    Held,
    /// It never came to the stage; the sentence tells why.
    NotThere(String),
}

/// What is sent at a stage, byte by byte.
#[derive(Clone, Debug, Default)]
struct Drip {
    bytes: Vec<u8>,
    /// What comes behind them, on and on.
    filler: Option<u8>,
}

/// Brings connections to a stage, holds them there, and judges that the target ends every one of them.
pub(super) async fn attack(stage: Stage, ground: &Ground, requests: &Requests) -> Attacked {
    let limit = stage.limit(ground.target.policy.as_deref(), &ground.bounds);
    let wanted = if stage.is_in_session() { ground.bounds.sessions } else { ground.bounds.held };
    let connections = ground.bounds.within_own_limit(wanted);
    let attackers = (0..connections).map(|number| {
        let request = if stage == Stage::Refusal { requests.bad(number) } else { requests.good(number) };
        let (ground, from) = (ground.clone(), ground.address(0));
        async move { one(stage, &ground, &request, from, limit).await }
    });
    let endings = side_by_side(attackers).await;
    let sent = format!("on each of {connections} connections: {}", stage.told());
    let mut verdict = judged(&endings, limit);
    verdict.exchange = Some(Exchange { sent, received: verdict.said.clone() });
    Attacked { verdict, connections }
}

/// One connection that is held is too many; where none came to the stage nothing is proved.
fn judged(endings: &[Ending], limit: Duration) -> Verdict {
    let held = endings.iter().filter(|ending| **ending == Ending::Held).count();
    let ended = endings.iter().filter_map(|ending| match ending {
        Ending::Ended(after) => Some(*after),
        _ => None,
    });
    let (last, ended) = (ended.clone().max(), ended.count());
    let why = endings.iter().find_map(|ending| match ending {
        Ending::NotThere(why) => Some(why),
        _ => None,
    });
    let apart = why.map(|why| format!("; {} did not come that far: {why}", endings.len() - held - ended));
    let apart = apart.unwrap_or_default();
    match last {
        _ if held > 0 => Verdict::fell(format!("{held} of {} were still held after {}", endings.len(), seconds(limit))),
        Some(last) => Verdict::held(format!(
            "{ended} were ended, the last after {} of at most {}{apart}",
            seconds(last),
            seconds(limit)
        )),
        None => Verdict::undecided(format!("none was held{apart}")),
    }
}

async fn one(stage: Stage, ground: &Ground, request: &[u8], from: Option<IpAddr>, limit: Duration) -> Ending {
    let mut wire = match brought(stage, ground, request, from).await {
        Ok(wire) => wire,
        Err(why) => return Ending::NotThere(why),
    };
    let began = Instant::now();
    match stage {
        Stage::Refusal => {
            // Nothing is read meanwhile: only then the end, if there is one.
            sleep(ground.bounds.flood).await;
            let rest = limit.saturating_sub(began.elapsed());
            ended(&mut wire, rest, began).await
        }
        Stage::Closing => closing(wire, ground, limit).await,
        _ => dripped(&mut wire, &drip(stage, ground, request), ground.bounds.drip, limit).await,
    }
}

/// A connection at its stage.
async fn brought(stage: Stage, ground: &Ground, request: &[u8], from: Option<IpAddr>) -> Result<Wire, String> {
    match stage {
        Stage::Connected | Stage::Hello | Stage::ServerHello => {
            let tcp = ground.tcp(from, Window::Usual).await.map_err(|error| format!("no connection: {error}"))?;
            let mut wire = Wire::plain(tcp);
            if stage == Stage::ServerHello {
                wire.send(&client_hello(&ground.target.name)).await;
            }
            Ok(wire)
        }
        Stage::Secured | Stage::Head => ground.wire(from, Window::Usual).await,
        Stage::Refusal => {
            let mut wire = ground.wire(from, Window::Small).await?;
            wire.send(request).await;
            Ok(wire)
        }
        Stage::FrameHeader | Stage::FrameBody | Stage::Dead | Stage::Closing => {
            ground.enter(request, from, ground.bounds.recovery).await
        }
    }
}

fn drip(stage: Stage, ground: &Ground, request: &[u8]) -> Drip {
    match stage {
        Stage::Hello => Drip { bytes: client_hello(&ground.target.name), filler: None },
        Stage::Head => {
            let open = request.strip_suffix(b"\r\n").unwrap_or(request);
            Drip { bytes: [open, b"X-Slow: "].concat(), filler: Some(b'x') }
        }
        Stage::FrameHeader => Drip { bytes: vec![FIN | opcode::BINARY], filler: None },
        Stage::FrameBody => {
            let most = ground.target.policy.as_ref().map(|policy| policy.session.from_client.message_size.as_u64());
            let length = u16::try_from(most.unwrap_or(u64::MAX)).unwrap_or(u16::MAX).min(FRAME_BYTES);
            Drip { bytes: frame::header_16(FIN | opcode::BINARY, length), filler: Some(0) }
        }
        _ => Drip::default(),
    }
}

/// Sends a byte at a time until the target ends it or the limit is reached. A ClientHello stays short of its last byte.
async fn dripped(wire: &mut Wire, drip: &Drip, pace: Duration, limit: Duration) -> Ending {
    let began = Instant::now();
    let whole = if drip.filler.is_some() { drip.bytes.len() } else { drip.bytes.len().max(2) - 1 };
    for number in 0_usize.. {
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() {
            break;
        }
        let byte = if number < whole { drip.bytes.get(number).copied() } else { drip.filler };
        if let Some(byte) = byte {
            wire.send(&[byte]).await;
        }
        let wait = if byte.is_some() { pace.min(left) } else { left };
        if let Ending::Ended(after) = ended(wire, wait, began).await {
            return Ending::Ended(after);
        }
    }
    Ending::Held
}

async fn ended(wire: &mut Wire, within: Duration, began: Instant) -> Ending {
    match wire.ended(within).await {
        Some(_) => Ending::Ended(began.elapsed()),
        None => Ending::Held,
    }
}

/// Makes the target close and goes on as if it had not.
async fn closing(mut wire: Wire, ground: &Ground, limit: Duration) -> Ending {
    // A frame without a mask, and one with an opcode that there is not: who overlooks the one closes for the other.
    wire.send(&[FIN | opcode::TEXT, 1, b'x', FIN | 0x3, 0x80, 0, 0, 0, 0]).await;
    let until = Instant::now() + ground.patience.close;
    loop {
        match wire.frame(until.saturating_duration_since(Instant::now())).await {
            Heard::This(frame) if frame.opcode() == opcode::CLOSE => break,
            Heard::This(_) => {}
            Heard::End(_) => return Ending::Ended(Duration::ZERO),
            Heard::Silence | Heard::Garbled(_) => {
                return Ending::NotThere(String::from("broken frames do not make it close"));
            }
        }
    }
    let ping = frame::masked(FIN | opcode::PING, b"still here");
    let began = Instant::now();
    while began.elapsed() < limit {
        wire.send(&ping).await;
        if let Ending::Ended(after) = ended(&mut wire, ground.bounds.pace, began).await {
            return Ending::Ended(after);
        }
    }
    Ending::Held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Outcome;

    #[test]
    fn one_connection_that_is_held_is_too_many() {
        let ended = |seconds| Ending::Ended(Duration::from_secs(seconds));
        let away = || Ending::NotThere(String::from("no connection"));
        let cases = [
            (vec![ended(1), ended(10)], Outcome::Held),
            (vec![ended(1), away()], Outcome::Held),
            (vec![ended(1), Ending::Held], Outcome::Fell),
            (vec![away(), Ending::Held], Outcome::Fell),
            (vec![away()], Outcome::Undecided),
            (Vec::new(), Outcome::Undecided),
        ];
        for (endings, outcome) in &cases {
            assert_eq!(judged(endings, Duration::from_secs(75)).outcome, *outcome, "{endings:?}");
        }
        assert_eq!(cases.len(), 6);
    }

    #[test]
    fn a_known_deadline_is_the_limit_and_an_unknown_one_is_the_bounds() {
        let bounds = Bounds::default();
        let rules = SessionRules::default();
        for (stage, known) in [
            (Stage::FrameHeader, Some(15)),
            (Stage::FrameBody, Some(45)),
            (Stage::Dead, Some(55)),
            (Stage::Closing, Some(5)),
            (Stage::Connected, None),
            (Stage::Head, None),
        ] {
            assert_eq!(stage.deadline(&rules), known.map(Duration::from_secs), "{stage:?}");
            assert_eq!(stage.limit(None, &bounds), bounds.hold, "{stage:?}");
            assert_eq!(stage.is_in_session(), known.is_some());
        }
    }
}
