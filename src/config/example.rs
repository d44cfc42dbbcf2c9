//! `[[example]]`: a handshake that a policy describes, and what must become of it.

use serde_json::{Map, Value};

mod gate;

pub use gate::{Outcome, run};

use super::Config;
use super::build::policy::First;
use super::diagnostic::{Code, Place};
use super::raw::policy::RawExample;
use super::raw::words::At;
use super::scope::{Scope, span_of};
use crate::policy::Reason;
use crate::policy::credential::{Carrier, CarrierError};

/// A described handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What it shows, in a person's words.
    pub name: String,
    /// Where it is written.
    pub place: Place,
    /// The Origin; `None`: none is sent.
    pub origin: Option<String>,
    /// The Host.
    pub host: String,
    /// The path with its query.
    pub path: String,
    /// Where a credential travels that the policy takes; `None`: none is sent.
    pub credential: Option<Carrier>,
    /// Claims that replace or join those of the token.
    pub claims: Map<String, Value>,
    /// The Cookie header.
    pub cookie: Option<String>,
    /// Subprotocols offered.
    pub subprotocols: Vec<String>,
    /// What must become of it.
    pub expect: Expectation,
}

/// What must become of an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// It comes in.
    Admitted,
    /// It is refused for this reason.
    Refused(Reason),
}

impl Expectation {
    /// The word for it in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused(reason) => reason.code(),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        let refused = || Reason::ALL.iter().copied().find(|reason| reason.code() == word).map(Self::Refused);
        if word == "admitted" { Some(Self::Admitted) } else { refused() }
    }
}

/// Builds one example; `None` where its name or its expectation is missing.
pub(super) fn build(at: &At<RawExample>, scope: &mut Scope<'_>, first: &First) -> Option<Example> {
    let raw = at.get();
    let here = || Some(at.span());
    let name = scope.required("name", &raw.name, here(), "say what it shows: name = \"another site's page\"");
    let help = "write expect = \"admitted\", or a reason such as \"origin_not_allowed\"";
    let word = scope.required("expect", &raw.expect, here(), help);
    let expect = word.and_then(|word| {
        let expect = Expectation::from_word(&word);
        if let (None, Some(span)) = (expect, span_of(&raw.expect)) {
            scope.error(Code::UnknownName, span, format!("there is no reason `{word}`"), likeness(&word));
        }
        expect
    });
    let credential = raw.credential.as_ref().and_then(|written| {
        let help = "write a carrier of [[auth]]: credential = \"cookie:session\"";
        let wrong = |error: CarrierError| scope.error(Code::WrongValue, written.span(), error.to_string(), help);
        written.get().0.parse().map_err(wrong).ok()
    });
    Some(Example {
        name: name?,
        place: scope.at(at.span()),
        origin: scope.optional("origin", &raw.origin),
        host: scope.or("host", &raw.host, first.host.clone()),
        path: scope.or("path", &raw.path, first.path.clone()),
        credential,
        claims: raw.claims.iter().flat_map(|at| at.get().clone()).collect(),
        cookie: scope.optional("cookie", &raw.cookie),
        subprotocols: scope.values("subprotocols", &raw.subprotocols, 64),
        expect: expect?,
    })
}

fn likeness(word: &str) -> String {
    let codes = Reason::ALL.iter().map(|reason| reason.code());
    let nearest = codes.max_by(|a, b| strsim::jaro_winkler(a, word).total_cmp(&strsim::jaro_winkler(b, word)));
    format!("did you mean `{}`?", nearest.unwrap_or("admitted"))
}
