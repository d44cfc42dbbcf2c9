//! A session whose token runs out while it is open, beside one whose token lives on.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::signed::{Forge, jwt_rules};
use super::{now, request};
use crate::audit::exam::Asked;
use crate::audit::frame::{self, FIN, opcode};
use crate::audit::wire::{Heard, Wire};
use crate::audit::{Exam, Target, Verdict};

/// How long the token is good.
const LIFE: Duration = Duration::from_secs(5);

/// The leeway of a target whose policy is not known.
const ASSUMED_LEEWAY: Duration = Duration::from_secs(10);

/// What a target may take beyond the end.
const SLACK: Duration = Duration::from_secs(4);

/// How long before its token's end a session may end for its sake: the part of a second that `exp` does not have, and a
/// second for the clocks.
const EARLY: Duration = Duration::from_secs(2);

/// The longest leeway that is waited for.
pub(super) const LONGEST_LEEWAY: Duration = Duration::from_secs(60);

/// How far the target's clock may differ.
pub(super) fn leeway(target: &Target) -> Duration {
    jwt_rules(target).map_or(ASSUMED_LEEWAY, |rules| rules.leeway)
}

/// The session lives until its token's end and ends with it, while another one stays.
pub(super) async fn judge(exam: &mut Exam) -> Verdict {
    let mut other = match exam.session().await {
        Ok(other) => other,
        Err(why) => return Verdict::undecided(why),
    };
    let token = match Forge::of(&exam.target, now()) {
        Some(Ok(forge)) => forge.claiming(&[("exp", Some(json!(forge.now.saturating_add(LIFE.as_secs()))))]),
        Some(Err(why)) => Err(why),
        None => return Verdict::undecided("no signing key"),
    };
    let bytes = match token {
        Ok(token) => request(exam, &token).bytes(),
        Err(why) => return Verdict::undecided(why.to_string()),
    };
    let began = Instant::now();
    let asked = exam.ask(&bytes).await;
    let exchange = exam.exchange(&bytes, &asked);
    let told = exam.told(&asked);
    let verdict = match asked {
        Asked::Answered(answer, _) if answer.is_switching() && began.elapsed() > LIFE / 2 => {
            Verdict::undecided(format!("it took {} s to come in", began.elapsed().as_secs()))
        }
        Asked::Answered(answer, wire) if answer.is_switching() => watched(wire, &mut other, began, exam).await,
        _ => Verdict::undecided(format!("a token of {} s does not come in: {told}", LIFE.as_secs())),
    };
    exam.leave(other).await;
    verdict.with(exchange)
}

/// What becomes of the session, and of the other one meanwhile.
async fn watched(mut wire: Wire, other: &mut Wire, began: Instant, exam: &Exam) -> Verdict {
    let until = began + LIFE + leeway(&exam.target) + SLACK;
    let ending = tokio::select! {
        ending = ending(&mut wire, until) => ending,
        ending = ending(other, until + SLACK) => {
            return Verdict::undecided(format!("another session, whose token lives on: {}", ending.told()));
        }
    };
    let lived = began.elapsed();
    if !exam.lives(other, "beside").await {
        return Verdict::undecided(format!("{}; so did another session, whose token lives on", ending.told()));
    }
    match ending {
        Ending::None if exam.lives(&mut wire, "after").await => {
            let (seconds, life) = (lived.as_secs(), LIFE.as_secs());
            Verdict::fell(format!("the session lives {seconds} s after it began, with a token of {life} s"))
        }
        ending => ended(&ending, lived),
    }
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    /// By a Close with this code.
    Close(Option<u16>),
    /// Without one.
    End,
    /// By something that is no frame.
    Garbled(String),
    /// Not at all.
    None,
}

impl Ending {
    fn told(&self) -> String {
        match self {
            Self::Close(Some(code)) => format!("a Close ({code}) came"),
            Self::Close(None) => String::from("a Close came"),
            Self::End => String::from("the connection ended"),
            Self::Garbled(why) => why.clone(),
            Self::None => String::from("the session does not answer any longer"),
        }
    }
}

/// Waits for the end of a session that answers its Pings.
async fn ending(wire: &mut Wire, until: Instant) -> Ending {
    loop {
        match wire.frame(until.saturating_duration_since(Instant::now())).await {
            Heard::This(frame) if frame.opcode() == opcode::CLOSE => return Ending::Close(frame.close_code()),
            Heard::This(frame) if frame.opcode() == opcode::PING => {
                wire.send(&frame::masked(FIN | opcode::PONG, &frame.payload)).await;
            }
            Heard::This(_) if Instant::now() < until => {}
            Heard::This(_) | Heard::Silence => return Ending::None,
            Heard::End(_) => return Ending::End,
            Heard::Garbled(why) => return Ending::Garbled(why),
        }
    }
}

/// Judges an end by when it came: one before the token's has another reason.
fn ended(ending: &Ending, lived: Duration) -> Verdict {
    let told = ending.told();
    match ending {
        Ending::Garbled(why) => Verdict::undecided(why.clone()),
        _ if lived.saturating_add(EARLY) < LIFE => {
            let (seconds, life) = (lived.as_secs_f32(), LIFE.as_secs());
            Verdict::undecided(format!("{told} after {seconds:.1} s, before the end of a token of {life} s"))
        }
        _ => Verdict::held(format!("{told} with the end of the token")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Outcome;

    #[test]
    fn an_end_before_the_tokens_proves_nothing() {
        let (at_once, at_the_end) = (Duration::from_millis(20), LIFE);
        for ending in [Ending::Close(Some(1008)), Ending::Close(None), Ending::End, Ending::None] {
            assert_eq!(ended(&ending, at_once).outcome, Outcome::Undecided, "{ending:?}");
            assert_eq!(ended(&ending, LIFE - EARLY).outcome, Outcome::Held, "{ending:?}");
            assert_eq!(ended(&ending, at_the_end).outcome, Outcome::Held, "{ending:?}");
        }
        let garbled = Ending::Garbled(String::from("a frame of opcode 11"));
        assert_eq!(ended(&garbled, at_the_end).outcome, Outcome::Undecided);
    }
}
