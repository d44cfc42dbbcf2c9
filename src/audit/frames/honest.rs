//! What is honest comes through: each message goes to the canary and comes back as it was.

use super::seen;
use super::{Probe, with_canary};
use crate::audit::frame::{FIN, masked, opcode};
use crate::audit::wire::{Heard, Wire};
use crate::audit::{Canary, Case, Exam, Verdict};
use crate::session::SessionRules;

/// The longest message that is sent: the longest that is read back whole.
const LONGEST: u64 = 1 << 20;

/// The longest where no policy says more.
const ASSUMED: u64 = 1024;

pub(super) fn cases(rules: Option<&SessionRules>, canary: Option<&Canary>) -> Vec<Case> {
    let longest = rules.map_or(ASSUMED, |rules| {
        rules.from_client.message_size.as_u64().min(rules.from_backend.message_size.as_u64()).min(LONGEST)
    });
    let longest = usize::try_from(longest).unwrap_or_default();
    vec![with_canary("FR21", "honest messages of every kind", canary, || Probe::Honest(longest))]
}

/// A message: what it is, its frames, and what must come back.
struct Message {
    what: String,
    frames: Vec<u8>,
    code: u8,
    payload: Vec<u8>,
}

fn messages(longest: usize) -> Vec<Message> {
    let whole = |what: String, code: u8, payload: Vec<u8>| Message {
        what,
        frames: masked(FIN | code, &payload),
        code,
        payload,
    };
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    let mut messages = vec![
        whole(String::from("a text"), opcode::TEXT, "Grüße, 世界 🌍".into()),
        whole(String::from("an empty text"), opcode::TEXT, Vec::new()),
    ];
    let lengths = [125, 126, 127, 256, 65_535, 65_536, longest].into_iter().filter(|length| *length <= longest);
    messages.extend(lengths.map(|length| {
        let payload = bytes.iter().copied().cycle().take(length).collect();
        whole(format!("{length} bytes"), opcode::BINARY, payload)
    }));
    if longest >= 16 {
        let parts: [&[u8]; 4] = ["frag".as_bytes(), b"", b"men", b"ted"];
        let frames = [
            masked(opcode::TEXT, parts[0]),
            masked(opcode::CONTINUATION, parts[1]),
            masked(FIN | opcode::PING, b"amid"),
            masked(opcode::CONTINUATION, parts[2]),
            masked(FIN | opcode::CONTINUATION, parts[3]),
        ];
        let what = String::from("a text in fragments with a Ping amid");
        messages.push(Message { what, frames: frames.concat(), code: opcode::TEXT, payload: parts.concat() });
    }
    messages
}

/// Every one comes back.
pub(super) async fn judge(longest: usize, exam: &mut Exam) -> Verdict {
    let mut wire = match seen::session(exam).await {
        Ok(wire) => wire,
        Err(why) => return Verdict::undecided(why),
    };
    let messages = messages(longest);
    for message in &messages {
        wire.send(&message.frames).await;
        let what = &message.what;
        match next_message(&mut wire, exam).await {
            Ok((code, payload)) if code == message.code && payload == message.payload => {}
            Ok((_, payload)) => {
                return Verdict::fell(format!("{what}: {} other bytes came back", payload.len()))
                    .with(seen::exchange(&message.frames, seen::hex(&payload)));
            }
            Err(why) => {
                return Verdict::fell(format!("{what}: {why}")).with(seen::exchange(&message.frames, why));
            }
        }
    }
    exam.leave(wire).await;
    Verdict::held(format!("all {} came back as they were", messages.len()))
}

/// The next message: its opcode and its payload over all fragments.
async fn next_message(wire: &mut Wire, exam: &Exam) -> Result<(u8, Vec<u8>), String> {
    let mut code = None;
    let mut payload = Vec::new();
    loop {
        match wire.frame(exam.patience.answer).await {
            Heard::This(frame) => {
                if let Some(flaw) = seen::flaw(&frame) {
                    return Err(format!("back came {flaw}"));
                }
                match frame.opcode() {
                    opcode::CLOSE => return Err(format!("a Close came back ({:?})", frame.close_code())),
                    opcode::PING | opcode::PONG => continue,
                    other => code = code.or(Some(other)),
                }
                payload.extend_from_slice(&frame.payload);
                if frame.first & FIN != 0 {
                    return Ok((code.unwrap_or_default(), payload));
                }
            }
            Heard::End(_) => return Err(String::from("the session ended")),
            Heard::Silence => return Err(String::from("nothing came back")),
            Heard::Garbled(why) => return Err(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_is_longer_than_it_may_be() {
        for (longest, count) in [(0, 3), (100, 4), (1024, 8), (65_536, 10)] {
            let messages = messages(longest);
            assert_eq!(messages.len(), count, "{longest}");
            assert!(messages.iter().all(|message| message.payload.len() <= longest.max(20)), "{longest}");
        }
    }
}
