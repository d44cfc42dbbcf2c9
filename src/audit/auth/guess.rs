//! Somebody who guesses: learns nothing from the answers, and does not get in by numbers.

use std::time::Duration;

use super::sample::{Forgery, Sample};
use super::signed::{self, Forge};
use super::{jws, keyless, now, request};
use crate::audit::answer::Answer;
use crate::audit::exam::Asked;
use crate::audit::wire::Wire;
use crate::audit::{Exam, Verdict};

/// How many wrong tokens are tried one behind the other.
const GUESSES: usize = 100;

/// How often a guess that was not judged is made again, how often in all, and after which pause.
const AGAIN: u32 = 2;
const AGAIN_IN_ALL: u32 = 20;
const PAUSE: Duration = Duration::from_millis(200);

/// The fewest characters of a word that may be an id of this one answer.
const LEAST_ID: usize = 6;

/// Every kind of wrong token that is refused has the same answer; which are not is judged elsewhere.
pub(super) async fn judge_uniform(exam: &mut Exam) -> Verdict {
    let kinds = match kinds(exam) {
        Ok(kinds) => kinds,
        Err(why) => return Verdict::undecided(why),
    };
    let mut first: Option<(&str, String)> = None;
    let mut alike = 0_usize;
    for Forgery { what, token } in &kinds {
        let bytes = request(exam, token).bytes();
        let asked = exam.ask(&bytes).await;
        let exchange = exam.exchange(&bytes, &asked);
        let answer = match asked {
            Asked::Answered(answer, wire) if answer.is_switching() => {
                exam.leave(wire).await;
                continue;
            }
            Asked::Answered(answer, wire) if answer.is_refusal() && !answer.is_busy() => {
                told(&answer, wire, exam).await
            }
            other => return Verdict::undecided(format!("{what}: {}", exam.told(&other))).with(exchange),
        };
        match &first {
            Some((other, same)) if *same != answer => {
                return Verdict::fell(format!("{other} and {what} are answered differently")).with(exchange);
            }
            _ => first = first.or(Some((what, answer))),
        }
        alike = alike.saturating_add(1);
    }
    match alike {
        0 | 1 => Verdict::undecided("fewer than two kinds of wrong tokens are refused"),
        _ => Verdict::held(format!("one answer for {alike} kinds of wrong tokens")),
    }
}

/// What a refusal says to everybody: its status, challenge and body without ids.
async fn told(answer: &Answer, mut wire: Wire, exam: &Exam) -> String {
    let body = wire.body(answer, exam.patience.close).await;
    let challenge = answer.value("www-authenticate").unwrap_or_default();
    format!("{} {challenge}\n{}", answer.status, without_ids(&String::from_utf8_lossy(&body)))
}

fn kinds(exam: &Exam) -> Result<Vec<Forgery>, String> {
    let token = exam.target.credential.as_ref().and_then(|credential| credential.tokens.first());
    let sample = Sample::of(token.map(|token| token.expose().as_str()).unwrap_or_default(), now());
    let key = jws::Key::fresh(sample.algorithm()).map_err(|why| why.to_string())?;
    let signed = |what: &str, kid: Option<&str>| {
        let kid = kid.map(|kid| ("kid", kid.into()));
        let header = sample.headed(&kid.into_iter().collect::<Vec<_>>());
        let token = key.sign(header.as_bytes(), sample.claimed().as_bytes());
        token.map(|token| Forgery::new(what, token)).map_err(|why| why.to_string())
    };
    let mut kinds = vec![signed("a wrong signature", None)?, signed("an unknown key", Some("wsgate-audit"))?];
    if let Some(forge) = Forge::of(&exam.target, now()) {
        let forge = forge.map_err(|why| why.to_string())?;
        let makers: [fn(&Forge) -> keyless::Made; 3] = [signed::expired, signed::iss, signed::aud];
        for make in makers {
            kinds.extend(make(&forge).map_err(|why| why.to_string())?.into_iter().nth(1));
        }
    }
    Ok(kinds)
}

/// A text with `#` for every word that may be an id or a time: long, with a digit.
fn without_ids(text: &str) -> String {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let part = |part: &str| {
        let (word, end) = part.split_at(part.trim_end_matches(|letter| !is_word(letter)).len());
        let is_id = word.len() >= LEAST_ID && word.bytes().any(|byte| byte.is_ascii_digit());
        format!("{}{end}", if is_id { "#" } else { word })
    };
    text.split_inclusive(|letter| !is_word(letter)).map(part).collect()
}

/// None of many wrong tokens comes in: each is judged, or a limit shows.
pub(super) async fn judge_many(exam: &mut Exam) -> Verdict {
    let mark = exam.mark();
    let mut tally = Tally::default();
    for number in 1..=GUESSES {
        let bytes = request(exam, &guess(number)).bytes();
        let asked = guessed(exam, &bytes, &mut tally).await;
        match &asked {
            Asked::Answered(answer, _) if answer.is_switching() => {
                return Verdict::fell(format!("guess {number} opened the socket")).with(exam.exchange(&bytes, &asked));
            }
            Asked::Answered(answer, _) if answer.status == 429 => tally.limited = tally.limited.or(Some(number)),
            Asked::Answered(answer, _) if judges(answer) => {}
            _ => tally.missed(number, exam.told(&asked)),
        }
        if matches!(asked, Asked::Silent) {
            // Each silence takes all of the patience.
            break;
        }
    }
    if exam.reached(mark, exam.target.path.as_bytes()).await {
        return Verdict::fell("one of the guesses reached the backend");
    }
    tally.verdict()
}

/// What comes of a guess. One that was dropped or met a server that is busy is made again, a bounded number of times.
async fn guessed(exam: &Exam, bytes: &[u8], tally: &mut Tally) -> Asked {
    let mut again = 0;
    let pause = |asked: &Asked| {
        let is_passing = match asked {
            Asked::Answered(answer, _) => answer.status == 503,
            Asked::Dropped(_) | Asked::Garbled(..) | Asked::Failed(_) => true,
            Asked::Silent => false,
        };
        let is_made_again = is_passing && again < AGAIN && tally.again < AGAIN_IN_ALL;
        again += u32::from(is_made_again);
        tally.again += u32::from(is_made_again);
        is_made_again.then_some(PAUSE)
    };
    exam.repeated(async || exam.ask_once(bytes).await, pause).await
}

/// Whether an answer is one to the token: what a server says of itself (5xx, 408) proves nothing of tokens.
fn judges(answer: &Answer) -> bool {
    (400..500).contains(&answer.status) && !matches!(answer.status, 408 | 429)
}

/// What became of many guesses, none of which came in.
#[derive(Debug, Default)]
struct Tally {
    /// The first that met a limit.
    limited: Option<usize>,
    /// The first that was neither judged nor limited, and what came of it.
    missed: Option<(usize, String)>,
    /// How often one was made again.
    again: u32,
}

impl Tally {
    fn missed(&mut self, number: usize, told: String) {
        self.missed.get_or_insert((number, told));
    }

    fn verdict(&self) -> Verdict {
        match (self.limited, &self.missed) {
            (limited, Some((number, told))) if limited.is_none_or(|limited| *number < limited) => Verdict::undecided(
                format!("guess {number}: {told}, which judges no token, and no limit showed before it"),
            ),
            (Some(number), _) => Verdict::held(format!("none of {GUESSES} came in; a limit showed at number {number}")),
            (None, _) => Verdict::held(format!("none of {GUESSES} came in; no limit showed")),
        }
    }
}

/// A word like a token, another each time.
fn guess(number: usize) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &number.to_be_bytes());
    let header = jws::encode(br#"{"alg":"HS256"}"#);
    format!("{header}.{}.{}", jws::encode(br#"{"sub":"admin"}"#), jws::encode(digest.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Outcome;

    #[test]
    fn only_a_refusal_of_the_token_or_a_limit_says_something_of_guesses() {
        for (status, expected) in
            [(400, true), (401, true), (403, true), (404, true), (408, false), (429, false), (500, false), (503, false)]
        {
            assert_eq!(judges(&Answer { status, ..Answer::default() }), expected, "{status}");
        }
        let missed = |number| Some((number, String::from("502")));
        let cases = [
            (None, None, Outcome::Held),
            (Some(60), None, Outcome::Held),
            (Some(60), missed(61), Outcome::Held),
            (Some(60), missed(59), Outcome::Undecided),
            (None, missed(1), Outcome::Undecided),
        ];
        for (limited, missed, expected) in cases {
            let tally = Tally { limited, missed, again: 0 };
            assert_eq!(tally.verdict().outcome, expected, "{tally:?}");
        }
    }

    #[test]
    fn ids_are_no_difference_and_words_are() {
        let one = without_ids("unauthorized (id 01hx8k3q9vtn): token-expired\n");
        assert_eq!(one, "unauthorized (id #): token-expired\n");
        assert_eq!(one, without_ids("unauthorized (id 7fd0c2aa91b3): token-expired\n"));
        assert_ne!(one, without_ids("unauthorized (id 7fd0c2aa91b3): key-unknown\n"));
    }
}
