//! Runs examples through the gate that clients come through. Credentials are made with a throwaway key that stands in every issuer's place, so no secret is needed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Map, Value, json};

use super::{Config, Example};
use crate::config::described::{self, Description};
use crate::peer::ClientAddr;
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::auth::key_file::from_pem;
use crate::policy::auth::keys::{Issuer, Keys};
use crate::policy::auth::token::{TokenTable, digest_hex};
use crate::policy::auth::{Auth, JwtRules};
use crate::policy::credential::Carrier;
use crate::policy::screen::PolicySet;
use crate::policy::{Policy, PolicyName, Refusal};
use crate::secret::Secret;
use crate::units::UnixSeconds;
use crate::ws::head::HeadLimits;

/// What became of an example.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The policy that holds it.
    pub policy: PolicyName,
    /// The example.
    pub example: Example,
    /// `admitted`, the code of the reason for which it was refused, or `not_run`.
    pub got: &'static str,
}

/// Runs every example of every policy at the time `now`.
pub fn run(config: &Config, now: UnixSeconds) -> Vec<Outcome> {
    let gate = Gate::new(config, now);
    let told = |policy: &PolicyName| config.policies.iter().find(|one| one.name == *policy);
    let mut outcomes = Vec::new();
    for (name, examples) in &config.examples {
        for example in examples {
            let got = match (&gate, told(name)) {
                (Some(gate), Some(policy)) => gate.judge(example, policy),
                _ => "not_run",
            };
            outcomes.push(Outcome { policy: name.clone(), example: example.clone(), got });
        }
    }
    outcomes
}

/// A token that is good wherever a token table is asked. It opens nothing: the tables are throwaway too.
const EXAMPLE_TOKEN: &str = "example-token-of-wsgate-check-0000";
const SUBJECT: &str = "example";
const LIFE: Duration = Duration::from_secs(60);

struct Gate {
    policies: PolicySet,
    keys: Keys,
    signing: EncodingKey,
    issuers: HashMap<Arc<str>, String>,
    limits: HeadLimits,
    now: UnixSeconds,
}

impl Gate {
    fn new(config: &Config, now: UnixSeconds) -> Option<Self> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).ok()?;
        let key = from_pem(pair.public_key_pem().as_bytes(), &[Algorithm::Es256], None).ok()?;
        let mut keys = Keys::default();
        let mut issuers = HashMap::new();
        for issuer in &config.gateway.issuers {
            keys.issuers.insert(Arc::clone(&issuer.name), Arc::new(Issuer::new(&issuer.iss, vec![key.clone()]).ok()?));
            issuers.insert(Arc::clone(&issuer.name), issuer.iss.clone());
        }
        let until = now.saturating_add(LIFE).0;
        for path in token_tables(config) {
            let line = format!("{} {SUBJECT} use_until={until}", digest_hex(EXAMPLE_TOKEN));
            keys.token_tables.insert(path, Arc::new(TokenTable::parse(&line).ok()?));
        }
        let policies = PolicySet::new(config.policies.clone()).ok()?;
        let signing = EncodingKey::from_ec_der(&pair.serialize_der());
        Some(Self { policies, keys, signing, issuers, limits: config.gateway.admission.limits, now })
    }

    fn judge(&self, example: &Example, policy: &Policy) -> &'static str {
        match self.admit(example, policy) {
            Ok(()) => "admitted",
            Err(refusal) => refusal.reason.code(),
        }
    }

    fn admit(&self, example: &Example, policy: &Policy) -> Result<(), Refusal> {
        let allowed = policy.quotas.networks.allow.first();
        let client = allowed.map_or(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), |net| net.addr());
        let carried = |carrier: &Carrier| (carrier.clone(), Secret::new(self.token(carrier, example, policy)));
        let described = Description {
            client: ClientAddr::new(client),
            host: example.host.clone(),
            path: example.path.clone(),
            origin: example.origin.clone(),
            cookie: example.cookie.clone(),
            subprotocols: example.subprotocols.clone(),
            credential: example.credential.as_ref().map(carried),
        };
        let Self { policies, keys, limits, now, .. } = self;
        described.judge(&described::Gate { policies, keys, limits, now: *now }).map(drop)
    }

    /// The credential that the first way with this carrier takes; where none has it, that of the first way.
    fn token(&self, carrier: &Carrier, example: &Example, policy: &Policy) -> String {
        let way = policy.auth.iter().find(|way| way.from().contains(carrier)).or(policy.auth.first());
        match way {
            Some(Auth::Jwt(rules)) => self.jwt(rules, &example.claims).unwrap_or_default(),
            _ => String::from(EXAMPLE_TOKEN),
        }
    }

    fn jwt(&self, rules: &JwtRules, told: &Map<String, Value>) -> Option<String> {
        let until = self.now.saturating_add(LIFE.min(rules.max_life)).0;
        let iss = self.issuers.get(&rules.issuer)?;
        let mut claims = json!({ "iss": iss, "sub": SUBJECT, "iat": self.now.0, "exp": until });
        if let Some(audience) = rules.audience.first() {
            place(&mut claims, "/aud", Value::from(audience.as_str()));
        }
        for rule in &rules.require {
            if let Some(word) = rule.any_of.first() {
                place(&mut claims, &rule.pointer, Value::from(word.as_str()));
            }
        }
        for (name, value) in told {
            claims.as_object_mut()?.insert(name.clone(), value.clone());
        }
        let header = Header {
            typ: rules.typ.clone().or(Some(String::from("JWT"))),
            ..Header::new(jsonwebtoken::Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.signing).ok()
    }
}

fn token_tables(config: &Config) -> impl Iterator<Item = PathBuf> {
    config.policies.iter().flat_map(|policy| &policy.auth).filter_map(|way| match way {
        Auth::Token(rules) => Some(rules.tokens.clone()),
        _ => None,
    })
}

/// Writes a value where a JSON pointer (RFC 6901) leads, with the objects before it.
fn place(claims: &mut Value, pointer: &str, value: Value) {
    let mut here = claims;
    for name in pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        let Some(object) = here.as_object_mut() else { return };
        here = object.entry(name).or_insert(Value::Null);
    }
    *here = value;
}
