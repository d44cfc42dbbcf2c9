//! A session whose token runs out while it is open.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::signed::{Forge, jwt_rules};
use super::{now, request};
use crate::audit::exam::Asked;
use crate::audit::frame::opcode;
use crate::audit::wire::Heard;
use crate::audit::{Exam, Target, Verdict};

/// How long the token is good.
const LIFE: Duration = Duration::from_secs(3);

/// The leeway of a target whose policy is not known.
const ASSUMED_LEEWAY: Duration = Duration::from_secs(10);

/// What a target may take beyond the end.
const SLACK: Duration = Duration::from_secs(4);

/// The longest leeway that is waited for.
pub(super) const LONGEST_LEEWAY: Duration = Duration::from_secs(60);

/// How far the target's clock may differ.
pub(super) fn leeway(target: &Target) -> Duration {
    jwt_rules(target).map_or(ASSUMED_LEEWAY, |rules| rules.leeway)
}

/// The session ends with its token.
pub(super) async fn judge(exam: &mut Exam) -> Verdict {
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
    let Asked::Answered(answer, mut wire) = asked else { return Verdict::undecided(told).with(exchange) };
    if !answer.is_switching() {
        return Verdict::undecided(format!("a token of {} s does not come in: {told}", LIFE.as_secs())).with(exchange);
    }
    let until = began + LIFE + leeway(&exam.target) + SLACK;
    loop {
        let verdict = match wire.frame(until.saturating_duration_since(Instant::now())).await {
            Heard::This(frame) if frame.opcode() != opcode::CLOSE => continue,
            Heard::This(frame) => {
                Verdict::held(format!("a Close ({:?}) came with the end of the token", frame.close_code()))
            }
            Heard::End(_) => Verdict::held("the connection ended with the token"),
            Heard::Garbled(why) => Verdict::undecided(why),
            Heard::Silence if exam.lives(&mut wire, "after").await => {
                let seconds = began.elapsed().as_secs();
                Verdict::fell(format!(
                    "the session lives {seconds} s after it began, with a token of {} s",
                    LIFE.as_secs()
                ))
            }
            Heard::Silence => Verdict::held("the session does not answer any longer"),
        };
        return verdict.with(exchange);
    }
}
