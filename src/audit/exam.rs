//! The examiner's hands: asks the target in its own pace, keeps the good twin at hand, and shows what was exchanged.

use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::time::{Instant, sleep};

use super::Attempt;
use super::answer::Answer;
use super::auth;
use super::canary::{Canary, WATCHWORD, contains};
use super::dos::Bounds;
use super::finding::{Exchange, Verdict};
use super::frame::{self, FIN, opcode};
use super::redact::Redactor;
use super::request::Request;
use super::target::Target;
use super::wire::{End, Heard, OpenError, Wire};

/// The longest single wait, whatever Retry-After says.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often a question is repeated on a new connection after a drop: a rate of connections may have caused it.
const DROPS: u32 = 2;
const DROP_PAUSE: Duration = Duration::from_secs(1);

/// The most characters of an exchange that are shown, each way.
const SHOWN_CHARS: usize = 4000;

/// The most characters of what is said of a case.
const LINE_CHARS: usize = 300;

/// How long things may take; a slow target needs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to a handshake.
    pub answer: Duration,
    /// For a target that says that it is busy, at each question.
    pub busy: Duration,
    /// For a session to be ended behind a frame that must end it.
    pub close: Duration,
    /// For a case, floods excepted, which have their own bounds.
    pub case: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [answer, busy, close, case] = [15, 60, 10, 300].map(Duration::from_secs);
        Self { answer, busy, close, case }
    }
}

/// What came of a question.
#[derive(Debug)]
pub enum Asked {
    /// An answer, and the connection on which it came.
    Answered(Answer, Wire),
    /// The connection ended without one.
    Dropped(End),
    /// Nothing came.
    Silent,
    /// These bytes came, which are no answer; the sentence tells why.
    Garbled(String, Vec<u8>),
    /// There was no connection; the sentence tells why.
    Failed(String),
}

impl Asked {
    /// What comes on a connection on which everything was sent.
    pub async fn on(mut wire: Wire, within: Duration) -> Self {
        match wire.answer(within).await {
            Heard::This(answer) => Self::Answered(answer, wire),
            Heard::End(end) => Self::Dropped(end),
            Heard::Silence => Self::Silent,
            Heard::Garbled(why) => Self::Garbled(why, wire.kept),
        }
    }
}

/// An examination of one target.
#[derive(Debug)]
pub struct Exam {
    /// What is examined.
    pub target: Target,
    /// What stands behind it, where the target's backend is ours.
    pub canary: Option<Canary>,
    /// How long things may take.
    pub patience: Patience,
    /// How much the suite of floods may do.
    pub bounds: Bounds,
    redactor: OnceLock<Redactor>,
    turn: usize,
}

impl Exam {
    /// An examination, with the default bounds for floods. Where a canary listens every handshake carries its watchword.
    pub fn new(mut target: Target, canary: Option<Canary>, patience: Patience) -> Self {
        if canary.is_some() {
            let sign = if target.path.contains('?') { '&' } else { '?' };
            target.path = format!("{}{sign}{WATCHWORD}", target.path);
        }
        Self { target, canary, patience, bounds: Bounds::default(), redactor: OnceLock::new(), turn: 0 }
    }

    /// A handshake that must come in: with a key of its own and the next of the good tokens.
    pub fn good(&mut self) -> Request {
        self.turn = self.turn.wrapping_add(1);
        if auth::renew(&mut self.target, auth::now())
            && let Some(redactor) = self.redactor.get_mut()
        {
            redactor.learn(&self.target.secrets());
        }
        let tokens = self.target.credential.as_ref().map(|credential| credential.tokens.as_slice()).unwrap_or_default();
        let token = tokens.get(self.turn.checked_rem(tokens.len()).unwrap_or(0)).map(|token| token.expose().as_str());
        self.target.good(random_key(), token)
    }

    /// A good handshake but for its credential, which is absent.
    pub fn anonymous(&self) -> Request {
        self.target.anonymous(random_key())
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(&self) -> Result<Wire, OpenError> {
        Wire::open(&self.target, None).await
    }

    /// Sends these bytes on a connection of their own and gives the answer. A target that says it is busy, or drops, is
    /// waited for and asked again.
    pub async fn ask(&self, bytes: &[u8]) -> Asked {
        self.ask_by(async || self.ask_once(bytes).await).await
    }

    /// The same by a way of one's own.
    pub async fn ask_by(&self, once: impl AsyncFnMut() -> Asked) -> Asked {
        let mut drops = 0;
        let pause = |asked: &Asked| match asked {
            Asked::Dropped(_) | Asked::Garbled(..) | Asked::Failed(_) if drops < DROPS => {
                drops += 1;
                Some(DROP_PAUSE)
            }
            asked => until_free(asked),
        };
        self.repeated(once, pause).await
    }

    /// Asks again behind each pause, within the patience for a busy target: what comes then is the answer.
    pub async fn repeated(
        &self,
        mut once: impl AsyncFnMut() -> Asked,
        mut pause: impl FnMut(&Asked) -> Option<Duration>,
    ) -> Asked {
        let until = Instant::now() + self.patience.busy;
        loop {
            let asked = once().await;
            match pause(&asked) {
                Some(wait) if Instant::now() + wait <= until => {
                    drop(asked);
                    sleep(wait).await;
                }
                _ => return asked,
            }
        }
    }

    /// The same, asked once: whatever comes is the answer. For a backend that lies to one connection only.
    pub async fn ask_once(&self, bytes: &[u8]) -> Asked {
        match self.open().await {
            Ok(wire) => self.ask_on(wire, bytes).await,
            Err(error) => Asked::Failed(error.to_string()),
        }
    }

    /// Sends these bytes on an open connection and gives the answer.
    pub async fn ask_on(&self, mut wire: Wire, bytes: &[u8]) -> Asked {
        // A target may answer before it took everything.
        let _ = wire.send(bytes).await;
        Asked::on(wire, self.patience.answer).await
    }

    /// A session: the connection behind a 101.
    ///
    /// # Errors
    /// With a sentence where a good handshake does not come in.
    pub async fn session(&mut self) -> Result<Wire, String> {
        let request = self.good();
        match self.ask(&request.bytes()).await {
            Asked::Answered(answer, wire) if answer.is_switching() => Ok(wire),
            asked => Err(format!("a good handshake does not come in: {}", self.told(&asked))),
        }
    }

    /// The good twin: a good handshake comes in, and the session ends in order.
    ///
    /// # Errors
    /// With a sentence where it does not.
    pub async fn twin(&mut self) -> Result<(), String> {
        let mark = self.mark();
        let wire = self.session().await?;
        let opened = wire.opened;
        self.leave(wire).await;
        if let (Some(canary), Some(mark)) = (&self.canary, mark) {
            canary.learn(mark, opened);
        }
        Ok(())
    }

    /// Ends a session in order, so that its place is free again.
    pub async fn leave(&self, mut wire: Wire) {
        wire.send(&frame::close(1000, "")).await;
        wire.finish().await;
        wire.ended(Duration::from_secs(2)).await;
    }

    /// Whether a session lives: a Ping is answered by its Pong, whatever comes before it.
    pub async fn lives(&self, wire: &mut Wire, word: &str) -> bool {
        wire.send(&frame::masked(FIN | opcode::PING, word.as_bytes())).await;
        let until = Instant::now() + self.patience.answer;
        loop {
            match wire.frame(until.saturating_duration_since(Instant::now())).await {
                Heard::This(frame) if frame.opcode() == opcode::PONG && frame.payload == word.as_bytes() => {
                    return true;
                }
                // A target that never stops sending is not listened to for ever.
                Heard::This(frame) if frame.opcode() != opcode::CLOSE && Instant::now() < until => {}
                _ => return false,
            }
        }
    }

    /// Judges that a handshake was refused: an answer of 4xx or 5xx, and nothing behind it heard of it. To wait for a
    /// body that is announced and does not come is to have taken the handshake for something else.
    pub async fn refused(&self, attempt: &Attempt) -> Verdict {
        let (what, bytes) = (&attempt.what, attempt.request.bytes());
        let mark = self.mark();
        let asked = self.ask(&bytes).await;
        let said = self.told(&asked);
        let exchange = self.exchange(&bytes, &asked);
        if self.reached(mark, &bytes).await {
            return Verdict::fell(format!("{what}: it reached the backend ({said})")).with(exchange);
        }
        let verdict = match &asked {
            Asked::Answered(answer, _) if answer.is_switching() => Verdict::fell(format!("{what}: the socket opened")),
            Asked::Answered(answer, _) if answer.is_busy() => {
                Verdict::undecided(format!("{what}: {said} to everybody"))
            }
            Asked::Answered(answer, _) if answer.is_refusal() => Verdict::held(format!("{what}: {said}")),
            Asked::Silent if attempt.request.withholds_body() => {
                Verdict::fell(format!("{what}: {said}: the body is waited for"))
            }
            _ => Verdict::undecided(format!("{what}: {said}, which is no refusal")),
        };
        verdict.with(exchange)
    }

    /// Where the canary stands; `None` where there is none.
    pub fn mark(&self) -> Option<usize> {
        self.canary.as_ref().map(Canary::mark)
    }

    /// Whether these bytes reached the backend since a mark. Whoever called and sent a byte counts where they carry no
    /// watchword.
    pub async fn reached(&self, mark: Option<usize>, sent: &[u8]) -> bool {
        let (Some(canary), Some(mark)) = (&self.canary, mark) else { return false };
        let arrived = match contains(sent, WATCHWORD.as_bytes()) {
            true => canary.since(mark).await,
            false => canary.since_of_anybody(mark).await,
        };
        !arrived.is_empty()
    }

    /// What came of a question, in a few words.
    pub fn told(&self, asked: &Asked) -> String {
        match asked {
            Asked::Answered(answer, _) => format!("{}", answer.status),
            Asked::Dropped(End::Clean) => String::from("closed without an answer"),
            Asked::Dropped(End::Cut) => String::from("cut without an answer"),
            Asked::Silent => format!("no answer within {} s", self.patience.answer.as_secs()),
            Asked::Garbled(why, _) | Asked::Failed(why) => why.clone(),
        }
    }

    /// What was sent and what came back, fit to be shown.
    pub fn exchange(&self, sent: &[u8], asked: &Asked) -> Exchange {
        let received = match asked {
            Asked::Answered(answer, wire) => self.shown(&[answer.head.as_slice(), &wire.kept].concat()),
            Asked::Garbled(_, received) => self.shown(received),
            other => self.told(other),
        };
        Exchange { sent: self.shown(sent), received }
    }

    /// A sentence that may hold what a target sent: as [`Self::shown`], in one line of at most 300 characters.
    pub fn shown_in_a_line(&self, said: &str) -> String {
        let line = self.shown(said.as_bytes()).replace('\n', " ");
        match line.char_indices().nth(LINE_CHARS) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
            None => line,
        }
    }

    /// Bytes as text: bounded, controls escaped, tokens taken out, good ones and what was made of them.
    pub fn shown(&self, bytes: &[u8]) -> String {
        // What is cut off here lies far beyond what is shown.
        let first = bytes.get(..bytes.len().min(4 * SHOWN_CHARS)).unwrap_or_default();
        let redactor = self.redactor.get_or_init(|| Redactor::new(&self.target.secrets()));
        let text = redactor.redacted(&String::from_utf8_lossy(first));
        let mut shown = String::new();
        for (count, letter) in text.chars().enumerate() {
            match letter {
                _ if count == SHOWN_CHARS => {
                    shown.push('…');
                    break;
                }
                '\r' => {}
                '\n' => shown.push('\n'),
                _ if crate::telemetry::text::misleads(letter) || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                    shown.extend(letter.escape_unicode())
                }
                _ => shown.push(letter),
            }
        }
        shown
    }
}

/// A key that no handshake had before.
fn random_key() -> [u8; 16] {
    let mut key = [0; 16];
    // Without randomness the key is the same each time, which no server minds.
    let _ = rand::fill(&mut key);
    key
}

/// How long a target that is busy asks to be left alone; `None` where it is not.
pub fn until_free(asked: &Asked) -> Option<Duration> {
    match asked {
        Asked::Answered(answer, _) if answer.is_busy() => Some(retry_after(answer)),
        _ => None,
    }
}

/// The same of an answer that says so, within bounds.
pub fn retry_after(answer: &Answer) -> Duration {
    let seconds = answer.value("retry-after").and_then(|value| value.trim().parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds).clamp(Duration::from_millis(200), LONGEST_WAIT)
}
