//! What is attacked, and what is known of it: where it is, who may come in, and what its policy says.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::request::Request;
use crate::net::tls::ClientTls;
use crate::policy::Policy;
use crate::policy::auth::Auth;
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::credential::Carrier;
use crate::secret::Secret;
use crate::units::UnixSeconds;

/// A running endpoint, wsgate or not.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its URL as it is shown: without query and credential.
    pub url: String,
    /// Where it is dialled.
    pub address: SocketAddr,
    /// TLS toward it; `None` for `ws://`.
    pub tls: Option<Tls>,
    /// The host of its URL: a DNS name, or an address without brackets.
    pub name: String,
    /// What stands in Host: the host, and the port where the URL has one.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// An origin that may open a socket there; `None` where every handshake comes without one.
    pub origin: Option<String>,
    /// Every origin that is known to be listed, as an operator writes it: `https://*.example.org` is one label.
    pub listed: Vec<String>,
    /// What opens a session; `None` where nothing is asked for.
    pub credential: Option<Credential>,
    /// Subprotocols that a good client offers.
    pub subprotocols: Vec<String>,
    /// What its policy says, where one was given.
    pub policy: Option<Arc<Policy>>,
    /// The issuer's private key, for forged claims.
    pub signing: Option<Signing>,
    /// Its process, whose memory, descriptors and processor time are watched.
    pub process: Option<u32>,
    /// The log that it writes, in which no token may stand.
    pub log: Option<PathBuf>,
    /// The browser to start.
    pub browser: Option<PathBuf>,
}

/// How TLS is spoken with the target.
#[derive(Clone, Debug)]
pub struct Tls {
    /// A client that verifies its certificate.
    pub client: ClientTls,
    /// PEM of the authorities that it trusts; `None`: the system's.
    pub authorities_pem: Option<Vec<u8>>,
}

/// A credential that opens a session.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Where it travels.
    pub carrier: Carrier,
    /// Good tokens, at least one; several are of different subjects, so that none meets its own rate.
    pub tokens: Vec<Secret<String>>,
    /// How the signing key minted them; `None`: they were given.
    pub minted: Option<Minted>,
}

/// What is known of tokens that the signing key minted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// Their subjects, one each; none: it is one token, of the subject that the claims name.
    pub subjects: Vec<String>,
    /// When they were minted.
    pub at: UnixSeconds,
}

/// An issuer's private key, and what its good tokens say.
#[derive(Clone)]
pub struct Signing {
    /// The private key: PEM (PKCS #8), or the secret of an HMAC.
    pub key: Secret<Vec<u8>>,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The key's id, where the issuer has one.
    pub kid: Option<String>,
    /// The claims of a good token, without `iat` and `exp`.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// How long a good token lives.
    pub life: Duration,
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").field("algorithm", &self.algorithm).field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Target {
    /// A handshake that follows RFC 6455, without Origin, credential and subprotocol.
    pub fn bare(&self, key: [u8; 16]) -> Request {
        Request::new(&self.authority, &self.path, key)
    }

    /// A handshake that must come in, with one of the good tokens.
    pub fn good(&self, key: [u8; 16], token: Option<&str>) -> Request {
        let mut request = self.anonymous(key);
        if let (Some(credential), Some(token)) = (&self.credential, token) {
            self.carry(&mut request, &credential.carrier, token);
        }
        request
    }

    /// A good handshake but for its credential, which is absent.
    pub fn anonymous(&self, key: [u8; 16]) -> Request {
        let mut request = self.bare(key);
        if let Some(origin) = &self.origin {
            request.set("Origin", origin);
        }
        if !self.subprotocols.is_empty() {
            request.set("Sec-WebSocket-Protocol", self.subprotocols.join(", "));
        }
        request
    }

    /// Puts a token where this carrier has it.
    pub fn carry(&self, request: &mut Request, carrier: &Carrier, token: &str) {
        match carrier {
            Carrier::Authorization => request.set("Authorization", format!("Bearer {token}")),
            Carrier::Cookie(name) => request.set("Cookie", format!("{name}={token}")),
            Carrier::Subprotocol(marker) => {
                let words = [marker.as_str(), token].into_iter().chain(self.subprotocols.iter().map(String::as_str));
                request.set("Sec-WebSocket-Protocol", words.collect::<Vec<_>>().join(", "));
            }
            Carrier::Query(name) => {
                let target = String::from_utf8_lossy(request.target_bytes()).into_owned();
                let sign = if target.contains('?') { '&' } else { '?' };
                *request = request.clone().target(format!("{target}{sign}{name}={token}"));
            }
        }
    }

    /// Whether a session of a good token may live so long. Of a token that was given nobody here knows its end.
    pub fn may_live(&self, session: Duration) -> bool {
        let is_minted = self.credential.as_ref().is_some_and(|credential| credential.minted.is_some());
        let life = self.signing.as_ref().filter(|_| is_minted).map(|signing| signing.life);
        life.is_none_or(|life| life > session)
    }

    /// The `[[auth]]` of its policy that its credential is for.
    pub fn meant(&self, is_signed: bool) -> Option<&Auth> {
        let carrier = self.credential.as_ref().map(|credential| &credential.carrier);
        meant(&self.policy.as_ref()?.auth, carrier, is_signed)
    }

    /// What nobody is shown: the good tokens, and what may be one in the query of the URL.
    pub fn secrets(&self) -> Vec<&str> {
        let tokens = self.credential.iter().flat_map(|credential| &credential.tokens);
        let tokens = tokens.map(|token| token.expose().as_str());
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        tokens.chain(query.split('&').filter_map(|pair| pair.split_once('=')).filter_map(secret)).collect()
    }

    /// Whether a browser sends the credential by itself, whoever's page asks.
    pub fn is_ambient(&self) -> bool {
        self.credential.as_ref().is_some_and(|credential| !credential.carrier.is_explicit())
    }
}

/// The `[[auth]]` that a good token is for: one that names the carrier where it is known, the first jwt where there is a
/// key to sign with, else the first that a token is for.
pub fn meant<'p>(auth: &'p [Auth], carrier: Option<&Carrier>, is_signed: bool) -> Option<&'p Auth> {
    let names = |auth: &&Auth| match carrier {
        Some(carrier) => auth.from().contains(carrier),
        // A ticket is bought with the token of another way.
        None => !auth.from().is_empty() && !matches!(auth, Auth::Ticket(_)),
    };
    let signed = auth.iter().filter(names).find(|auth| is_signed && matches!(auth, Auth::Jwt(_)));
    signed.or_else(|| auth.iter().find(names))
}

/// Words of which a parameter's name consists whose value is a secret, unless it is very short.
const SECRET_NAMES: [&str; 9] = ["auth", "jwt", "key", "pass", "secret", "session", "sig", "ticket", "token"];

/// A value without one of those names is a secret where it is so long, and names no place.
const SECRET_LENGTH: usize = 16;

/// A shorter value stands in other words too: it cannot be taken out.
const LEAST_SECRET: usize = 6;

/// The value of a parameter that may be a token.
fn secret<'q>((name, value): (&'q str, &'q str)) -> Option<&'q str> {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let is_named = value.len() >= LEAST_SECRET && words.any(|word| SECRET_NAMES.contains(&word));
    let is_long = value.len() >= SECRET_LENGTH && !value.contains("://") && !value.contains("%3A%2F");
    (is_named || is_long).then_some(value)
}

#[cfg(test)]
impl Target {
    /// A target that nobody dials.
    pub(crate) fn for_tests(listed: &[&str], carrier: Option<Carrier>) -> Self {
        Self {
            url: String::from("ws://chat.test/chat"),
            address: SocketAddr::from(([127, 0, 0, 1], 9)),
            tls: None,
            name: String::from("chat.test"),
            authority: String::from("chat.test"),
            path: String::from("/chat"),
            origin: listed.iter().find(|origin| !origin.contains('*')).map(|origin| (*origin).to_owned()),
            listed: listed.iter().map(|origin| (*origin).to_owned()).collect(),
            credential: carrier.map(|carrier| Credential {
                carrier,
                tokens: vec![Secret::new(String::from("good-token"))],
                minted: None,
            }),
            subprotocols: Vec::new(),
            policy: None,
            signing: None,
            process: None,
            log: None,
            browser: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::auth::{JwtRules, TokenRules};

    fn from(carriers: &[&str]) -> Vec<Carrier> {
        carriers.iter().map(|carrier| carrier.parse().unwrap()).collect()
    }

    fn jwt(issuer: &str, carriers: &[&str]) -> Auth {
        Auth::Jwt(JwtRules {
            issuer: issuer.into(),
            from: from(carriers),
            audience: Vec::new(),
            require: Vec::new(),
            typ: None,
            leeway: Duration::ZERO,
            max_life: Duration::from_secs(60),
        })
    }

    #[test]
    fn carrier_and_claims_are_of_one_entry() {
        let auth = [
            Auth::Open,
            Auth::Token(TokenRules {
                tokens: PathBuf::from("a.tokens"),
                from: from(&["query:ticket", "authorization"]),
            }),
            jwt("first", &["authorization", "cookie:session"]),
            jwt("second", &["cookie:other", "cookie:session"]),
        ];
        let cases = [
            (None, false, Some(1)),
            (None, true, Some(2)),
            (Some("authorization"), false, Some(1)),
            (Some("authorization"), true, Some(2)),
            (Some("cookie:session"), false, Some(2)),
            (Some("cookie:other"), true, Some(3)),
            (Some("query:ticket"), true, Some(1)),
            (Some("query:unheard-of"), true, None),
        ];
        for (carrier, signing_key, expected) in cases {
            let carrier = carrier.map(|carrier| carrier.parse::<Carrier>().unwrap());
            let found = meant(&auth, carrier.as_ref(), signing_key);
            let at = found.map(|found| auth.iter().position(|one| std::ptr::eq(one, found)).unwrap());
            assert_eq!(at, expected, "{carrier:?} {signing_key}");
        }
    }

    #[test]
    fn what_may_be_a_token_in_a_query_is_a_secret_and_nothing_else() {
        let cases = [
            (("token", "s3cret"), true),
            (("access_token", "abcdef"), true),
            (("room", "kJ3vPq8sLx0ZtYw2"), true),
            (("monkey", "1"), false),
            (("key", "1"), false),
            (("design", "classic"), false),
            (("room", "general"), false),
            (("redirect", "https://app.example.com/"), false),
        ];
        for (pair, is_secret) in cases {
            assert_eq!(secret(pair).is_some(), is_secret, "{pair:?}");
        }
        assert_eq!(cases.len(), 8);
    }
}
