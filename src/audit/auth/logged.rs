//! A token in the target's log.
//!
//! A log may grow for anybody's sake. So the handshakes that are looked for bear a mark, and what was written is judged
//! only where the mark stands in it: as User-Agent, which most servers log, and in the path of the last handshake, which
//! wsgate logs too, line behind line. A mark is a word of this suite's own and never a token.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::time::sleep;

use super::leak::{holds, token, wrong_token};
use crate::audit::exam::Asked;
use crate::audit::target::Credential;
use crate::audit::{Exam, Request, Verdict};

/// The most of a log that is read: the last of what was written.
const MOST_LOG: u64 = 4 << 20;

/// How often it is looked for the marks, and how long each time.
const LOOKS: u32 = 30;
const LOOK: Duration = Duration::from_millis(100);

/// How often marked handshakes are sent: a log may leave out refusals that come too fast.
const ROUNDS: u32 = 2;

/// What to do where no mark is found.
const REMEDY: &str = "give the log in which the target tells of its requests, and let it be written at once";

/// The words by which handshakes are found in a log.
#[derive(Debug)]
struct Marks(String);

impl Marks {
    fn of(random: [u8; 8]) -> Self {
        Self(format!("wsgate-audit-{:016x}", u64::from_be_bytes(random)))
    }

    /// The User-Agent of a handshake.
    fn agent(&self, number: usize) -> String {
        format!("{}-agent{number}", self.0)
    }

    /// The last segment of the last handshake's path.
    fn segment(&self) -> String {
        format!("{}-path", self.0)
    }
}

/// The log of a good handshake and of two refused ones, each with its mark, holds no token.
pub(super) async fn judge(path: &Path, exam: &mut Exam) -> Verdict {
    let Some(credential) = exam.target.credential.clone() else { return Verdict::undecided("no credential") };
    let good = token(exam);
    let Some(wrong) = wrong_token(&good) else { return Verdict::undecided("no wrong token can be made") };
    let mut found = Found::default();
    for _ in 0..ROUNDS {
        let marks = Marks::of(random());
        let before = match length(path) {
            Ok(before) => before,
            Err(error) => return unreadable(path, &error),
        };
        if let Err(told) = send(exam, &credential, [&good, &wrong], &marks).await {
            return Verdict::undecided(told);
        }
        for _ in 0..LOOKS {
            sleep(LOOK).await;
            let (written, unread) = match written(path, before) {
                Ok(written) => written,
                Err(error) => return unreadable(path, &error),
            };
            let tokens = [("a good", good.as_str()), ("a refused", wrong.as_str())];
            if let Some((which, _)) = tokens.iter().find(|(_, token)| holds(&written, token)) {
                return Verdict::fell(format!("the log holds {which} token"));
            }
            found = Found::of(&written, &marks);
            if found.is_whole() {
                return Verdict::held(format!(
                    "no token in {} bytes of log that hold {}{}",
                    found.bytes,
                    found.told(),
                    if unread > 0 { format!("; {unread} bytes before them were not read") } else { String::new() }
                ));
            }
        }
    }
    Verdict::undecided(format!("{} holds {}: {REMEDY}", path.display(), found.told()))
}

/// Three handshakes with their marks: a good one, a refused one, and a refused one with the mark in its path.
async fn send(exam: &Exam, credential: &Credential, tokens: [&str; 2], marks: &Marks) -> Result<(), String> {
    let [good, wrong] = tokens;
    let endpoint = exam.target.path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let marked = format!("{endpoint}/{}", marks.segment());
    let places = [(good, None), (wrong, None), (wrong, Some(marked.as_str()))];
    for (number, (token, path)) in places.into_iter().enumerate() {
        let mut request: Request = exam.anonymous();
        if let Some(path) = path {
            request = request.target(path);
        }
        request.set("User-Agent", marks.agent(number));
        exam.target.carry(&mut request, &credential.carrier, token);
        match exam.ask(&request.bytes()).await {
            Asked::Answered(answer, wire) if answer.is_switching() => exam.leave(wire).await,
            asked if number == 0 => return Err(format!("a good token does not come in: {}", exam.told(&asked))),
            _ => {}
        }
    }
    Ok(())
}

/// Which marks stand in what was written, each in a line that is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    agents: [bool; 3],
    path: bool,
    bytes: usize,
}

impl Found {
    fn of(written: &[u8], marks: &Marks) -> Self {
        let end = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
        let lines = written.get(..end).unwrap_or_default();
        let stands = |mark: &str| lines.windows(mark.len().max(1)).any(|part| part == mark.as_bytes());
        Self {
            agents: [0, 1, 2].map(|number| stands(&marks.agent(number))),
            path: stands(&marks.segment()),
            bytes: lines.len(),
        }
    }

    /// Whether nothing of these handshakes is still to come: a log that knows User-Agent has told of each; one that does
    /// not has told of the last, and the others stand before it.
    fn is_whole(self) -> bool {
        match self.agents {
            [_, _, true] => self.agents == [true; 3],
            [_, _, false] => self.path,
        }
    }

    /// Which marks were found.
    fn told(self) -> String {
        match self {
            Self { path: true, agents: [_, _, false], .. } => String::from("the path of the last handshake"),
            Self { agents: [false, false, false], .. } => String::from("none of the marked handshakes"),
            _ => format!("the User-Agent of {} of 3 handshakes", self.agents.iter().filter(|found| **found).count()),
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Verdict {
    Verdict::undecided(format!("the log {} cannot be read: {error}", path.display()))
}

fn random() -> [u8; 8] {
    let mut bytes = [0; 8];
    // Without randomness the mark of another run may stand in the log, but not behind the place that is read from.
    let _ = rand::fill(&mut bytes);
    bytes
}

fn length(path: &Path) -> std::io::Result<u64> {
    let metadata = std::fs::metadata(path)?;
    // Whoever opens a pipe waits for who writes to it.
    if !metadata.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "is no plain file"));
    }
    Ok(metadata.len())
}

/// What stands behind a place of a file, all of a file that was begun anew; the last of it where it is much, and how many
/// bytes are before that.
fn written(path: &Path, from: u64) -> std::io::Result<(Vec<u8>, u64)> {
    let length = length(path)?;
    let mut file = File::open(path)?;
    let from = if length < from { 0 } else { from };
    let first = from.max(length.saturating_sub(MOST_LOG));
    file.seek(SeekFrom::Start(first))?;
    let mut bytes = Vec::new();
    file.take(MOST_LOG).read_to_end(&mut bytes)?;
    Ok((bytes, first.saturating_sub(from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_judged_where_a_mark_stands_in_it_and_whole_where_nothing_is_to_come() {
        let marks = Marks::of([7; 8]);
        let (agents, path) = ([0, 1, 2].map(|number| marks.agent(number)), marks.segment());
        let line = |mark: &str| format!("GET /chat \"{mark}\" 101\n");
        let all = agents.each_ref().map(|agent| line(agent)).concat();
        let other = Marks::of([8; 8]);
        let cases = [
            (String::new(), false, "none of the marked handshakes"),
            (line("curl"), false, "none of the marked handshakes"),
            (line(&other.segment()) + &line(&other.agent(2)), false, "none of the marked handshakes"),
            (line(&path).trim_end().to_owned(), false, "none of the marked handshakes"),
            (line(&path), true, "the path of the last handshake"),
            (line(&agents[0]), false, "the User-Agent of 1 of 3 handshakes"),
            (format!("{}{}", line(&path), line(&agents[2])), false, "the User-Agent of 1 of 3 handshakes"),
            (format!("{}{}", line(&path), all), true, "the User-Agent of 3 of 3 handshakes"),
            (all, true, "the User-Agent of 3 of 3 handshakes"),
        ];
        for (written, is_whole, told) in cases {
            let found = Found::of(written.as_bytes(), &marks);
            assert_eq!(found.is_whole(), is_whole, "{written}");
            assert_eq!(found.told(), told, "{written}");
        }
    }
    #[test]
    fn what_is_not_read_of_a_log_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "before\nbehind\n").unwrap();
        assert_eq!(written(&log, 7).unwrap(), (b"behind\n".to_vec(), 0));
        assert_eq!(written(&log, 100).unwrap(), (b"before\nbehind\n".to_vec(), 0), "it was begun anew");
        let file = File::options().write(true).open(&log).unwrap();
        file.set_len(7 + MOST_LOG + 3).unwrap();
        let (bytes, unread) = written(&log, 7).unwrap();
        assert_eq!((bytes.len() as u64, unread), (MOST_LOG, 3));
    }
}
