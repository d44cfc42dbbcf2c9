//! What a case found, and the card on which all findings stand.

use std::fmt;
use std::time::Duration;

/// A group of cases that is run by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// The opening handshake and the HTTP around it.
    Handshake,
    /// Pages of other sites.
    Cswsh,
    /// Credentials, missing and forged.
    Auth,
    /// What is sent behind the 101.
    Frames,
    /// Versions, names and protocols of TLS.
    Tls,
    /// Floods, slowness, and what an honest session feels of them.
    Dos,
}

impl Suite {
    /// Every suite, in the order in which `all` runs them.
    pub const ALL: [Self; 6] = [Self::Handshake, Self::Cswsh, Self::Auth, Self::Frames, Self::Tls, Self::Dos];

    /// The word by which it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Cswsh => "cswsh",
            Self::Auth => "auth",
            Self::Frames => "frames",
            Self::Tls => "tls",
            Self::Dos => "dos",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a case came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The target did what it must.
    Held,
    /// It did not.
    Fell,
    /// It was tried, and what came back proves neither: a 429, a 503, a drop, a good twin that was refused.
    Undecided,
    /// The policy says that the target does not claim this.
    NotApplicable,
    /// It needs something that was not given: a canary, a signing key, a process id, a browser.
    NotRun,
}

impl Outcome {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Fell => "fell",
            Self::Undecided => "undecided",
            Self::NotApplicable => "not applicable",
            Self::NotRun => "not run",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What was sent and what came back, fit to be shown: bounded, control characters escaped, secrets taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// What was sent.
    pub sent: String,
    /// What came back, or what did not.
    pub received: String,
}

/// A course of values over the time of a case, for the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// What was measured: `round trip of the control session`.
    pub name: &'static str,
    /// Its unit: `ms`, `MiB`, `descriptors`, `% of a core`.
    pub unit: &'static str,
    /// Seconds since the case began, and the value; at most 1000 points.
    pub points: Vec<(f64, f64)>,
}

/// What a probe says of the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How it came out.
    pub outcome: Outcome,
    /// One sentence: what was seen.
    pub said: String,
    /// What each of several attempts came to, as far as they were tried.
    pub attempts: Box<[String]>,
    /// The evidence: of a fall the exchange that shows it, else the last one.
    pub exchange: Option<Exchange>,
    /// What was measured meanwhile.
    pub courses: Vec<Course>,
}

impl Verdict {
    /// A verdict without evidence.
    pub fn new(outcome: Outcome, said: impl Into<String>) -> Self {
        Self { outcome, said: said.into(), attempts: Box::default(), exchange: None, courses: Vec::new() }
    }

    /// It held.
    pub fn held(said: impl Into<String>) -> Self {
        Self::new(Outcome::Held, said)
    }

    /// It fell.
    pub fn fell(said: impl Into<String>) -> Self {
        Self::new(Outcome::Fell, said)
    }

    /// Neither is proved.
    pub fn undecided(said: impl Into<String>) -> Self {
        Self::new(Outcome::Undecided, said)
    }

    /// The same with evidence.
    #[must_use]
    pub fn with(mut self, exchange: Exchange) -> Self {
        self.exchange = Some(exchange);
        self
    }
}

/// One case, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The suite it belongs to.
    pub suite: Suite,
    /// Its id in docs/threat-model.md.
    pub id: &'static str,
    /// What it tried; with the id unique in its suite.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

impl Finding {
    /// How it came out.
    pub fn outcome(&self) -> Outcome {
        self.verdict.outcome
    }
}

/// All findings of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scorecard {
    /// Where the target is: its URL without query and credential.
    pub url: String,
    /// When the run began, RFC 3339.
    pub began: String,
    /// How long it took.
    pub took: Duration,
    /// What the target was known by and watched with, as it was written on the command line.
    pub given: Vec<String>,
    /// What weakens the policy, with the operator's reason, where a policy was given.
    pub dangers: Vec<(String, String)>,
    /// Why not everything was tried, where the run did not come to its end.
    pub cut_short: Option<String>,
    /// The cases that were not tried then: suite, id and name.
    pub left: Vec<(Suite, &'static str, &'static str)>,
    /// The findings in the order of the run.
    pub findings: Vec<Finding>,
}

impl Scorecard {
    /// How many findings came out like this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.findings.iter().filter(|finding| finding.outcome() == outcome).count()
    }

    /// What was not given, and how many cases need it.
    pub fn needs(&self) -> Vec<(&str, usize)> {
        let mut needs: Vec<(&str, usize)> = Vec::new();
        for finding in self.that(Outcome::NotRun) {
            let what = finding.verdict.said.trim_start_matches("needs ");
            match needs.iter_mut().find(|(known, _)| *known == what) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => needs.push((what, 1)),
            }
        }
        needs
    }

    /// The cases that were left, suite by suite: how many, and from which on.
    pub fn left_by_suite(&self) -> Vec<(Suite, usize, &'static str)> {
        let of = |suite| self.left.iter().filter(move |(of, ..)| *of == suite);
        let told = |suite| Some((suite, of(suite).count(), of(suite).next()?.1));
        Suite::ALL.into_iter().filter_map(told).collect()
    }

    /// The findings that came out like this.
    pub fn that(&self, outcome: Outcome) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.outcome() == outcome)
    }
}
