//! Why a call is not done: one table of status, code and sentence.

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue};
use serde_json::json;

use super::{Answer, LONGEST_BODY, diagnostic, page};
use crate::config::Diagnostics;
use crate::gateway::ledger::Unchanged;
use crate::gateway::refusals::MOST;
use crate::policy::revocation::Full;
use crate::policy::revocation::order::Wrong;

/// Why a call is not done.
#[derive(Debug)]
pub(super) enum Fault {
    NotFound,
    /// The methods that there are.
    Method(&'static str),
    ContentType,
    TooLarge,
    Slow,
    Malformed(String),
    UnknownSession,
    UnknownPolicy,
    UnknownIssuer,
    UnknownEntry,
    UnknownRefusal,
    Full(Full),
    HandingOver,
    Configuration(Diagnostics),
    Ending,
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Self {
        Self::Malformed(wrong.to_string())
    }
}

impl From<Unchanged> for Fault {
    fn from(unchanged: Unchanged) -> Self {
        match unchanged {
            Unchanged::Full(full) => Self::Full(full),
            Unchanged::Unknown => Self::UnknownEntry,
            Unchanged::HandingOver => Self::HandingOver,
        }
    }
}

impl Fault {
    pub(super) fn answer(&self) -> Answer {
        let (status, code) = self.code();
        let mut value = json!({ "error": code, "message": self.message() });
        if let Self::Configuration(mistakes) = self {
            value["diagnostics"] = mistakes.iter().map(diagnostic).collect();
        }
        let mut refusal = page(status, &value);
        if let Self::Method(wanted) = self {
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(wanted));
        }
        refusal
    }

    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "slow"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::UnknownSession => (StatusCode::NOT_FOUND, "unknown_session"),
            Self::UnknownPolicy => (StatusCode::NOT_FOUND, "unknown_policy"),
            Self::UnknownIssuer => (StatusCode::NOT_FOUND, "unknown_issuer"),
            Self::UnknownEntry => (StatusCode::NOT_FOUND, "unknown_entry"),
            Self::UnknownRefusal => (StatusCode::NOT_FOUND, "unknown_refusal"),
            Self::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "revocations_full"),
            Self::HandingOver => (StatusCode::SERVICE_UNAVAILABLE, "handing_over"),
            Self::Configuration(_) => (StatusCode::UNPROCESSABLE_ENTITY, "configuration"),
            Self::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NotFound => String::from(
                "there are /api/reload, /api/drain, /api/take-over, /api/sessions, /api/sessions/ID, /api/revoke, \
                 /api/revocations, /api/deny, /api/refusals/ID, /api/top/bytes and /api/top/messages",
            ),
            Self::Method(wanted) => format!("only {wanted}"),
            Self::ContentType => String::from("a body is application/json"),
            Self::TooLarge => format!("a body has at most {LONGEST_BODY} bytes"),
            Self::Slow => String::from("the body did not come in time"),
            Self::Malformed(what) => what.clone(),
            Self::UnknownSession => String::from("no session with this id lives here"),
            Self::UnknownPolicy => String::from("`policy`: there is no policy of this name"),
            Self::UnknownIssuer => String::from(
                "`issuer`: there is none of this name: NAME of an [issuer.NAME], or tokens:STEM for a policy's STEM.tokens",
            ),
            Self::UnknownEntry => String::from("no call revoked this: what a file lists is lifted there"),
            Self::UnknownRefusal => format!("none of the last {MOST} refusals that were answered has this id"),
            Self::Full(full) => full.to_string(),
            Self::HandingOver => String::from("another process is taking over: ask again"),
            Self::Configuration(_) => String::from("nothing was changed"),
            Self::Ending => String::from("the gateway ends"),
        }
    }
}
