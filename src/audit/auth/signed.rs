//! Tokens that the issuer's own key has signed, and that say what may not be said.
//!
//! RFC 7515 and RFC 7519 let a verifier take a fraction in `exp`, pass over `b64` without `crit` and an unknown `zip`, and
//! read members that say the same twice; how long a token may be they leave open. A gateway is not wrong to do so. wsgate
//! refuses these, so they are tried where a policy of wsgate is given, and against nobody else.

use std::time::Duration;

use serde_json::{Value, json};

use super::jws::{self, Key, Object, UnusableKey};
use super::keyless::{Made, TOO_LONG};
use super::sample::Forgery;
use crate::audit::Target;
use crate::audit::target::Signing;
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::auth::{Auth, JwtRules};
use crate::units::UnixSeconds;

/// How far the clocks of an unknown target may differ from ours.
const ASSUMED_LEEWAY: Duration = Duration::from_secs(300);

/// How long a token of the forge lives: longer than its case takes.
const LIFE: Duration = Duration::from_secs(300);

/// A span beyond any leeway, in seconds.
const FAR: u64 = 24 * 3600;

/// Another value for a member of a JSON object; `None` takes the member out.
type Change<'c> = (&'c str, Option<Value>);

/// The issuer's key, and what a good token says at this time.
pub struct Forge {
    pub(super) signing: Signing,
    pub(super) rules: Option<JwtRules>,
    pub(super) now: u64,
    /// When a good token ends.
    end: u64,
    key: Key,
    header: Object,
    claims: Object,
}

impl Forge {
    /// The forge for a target; `None` without a signing key.
    pub(super) fn of(target: &Target, now: UnixSeconds) -> Option<Result<Self, UnusableKey>> {
        let signing = target.signing.clone()?;
        let rules = jwt_rules(target).cloned();
        let life = rules.as_ref().map_or(LIFE, |rules| rules.max_life.min(LIFE));
        let end = now.saturating_add(life).0;
        let header = jws::header(&signing);
        let claims = changed(&jws::claims(&signing, now), &[("exp", Some(json!(end)))]);
        Some(Key::of(&signing).map(|key| Self { signing, rules, now: now.0, end, key, header, claims }))
    }

    /// A good token.
    pub(super) fn good(&self) -> Result<String, UnusableKey> {
        self.raw(&jws::text(&self.header), jws::text(&self.claims).as_bytes())
    }

    /// A token with other claims; `None` takes one out.
    pub(super) fn claiming(&self, members: &[Change<'_>]) -> Result<String, UnusableKey> {
        self.raw(&jws::text(&self.header), jws::text(&changed(&self.claims, members)).as_bytes())
    }

    /// A token with other members of its header.
    fn headed(&self, members: &[Change<'_>]) -> Result<String, UnusableKey> {
        self.raw(&jws::text(&changed(&self.header, members)), jws::text(&self.claims).as_bytes())
    }

    fn raw(&self, header: &str, claims: &[u8]) -> Result<String, UnusableKey> {
        self.key.sign(header.as_bytes(), claims)
    }

    /// Every value of one claim; `None` takes it out.
    fn each(&self, name: &str, values: &[Change<'_>]) -> Made {
        let made = |(what, value): &Change<'_>| {
            Ok(Forgery::new(format!("{name} {what}"), self.claiming(&[(name, value.clone())])?))
        };
        values.iter().map(made).collect()
    }

    /// Whether what RFC 7515 and RFC 7519 allow must be refused as well: where a policy of wsgate says so.
    fn is_strict(&self) -> bool {
        self.rules.is_some()
    }

    fn leeway(&self) -> u64 {
        self.rules.as_ref().map_or(ASSUMED_LEEWAY, |rules| rules.leeway).as_secs()
    }

    fn claim(&self, name: &str) -> String {
        self.claims.get(name).and_then(Value::as_str).map(String::from).unwrap_or_default()
    }
}

/// The rules for the token of this target, where its policy is known.
pub(super) fn jwt_rules(target: &Target) -> Option<&JwtRules> {
    match target.meant(true)? {
        Auth::Jwt(rules) => Some(rules),
        Auth::Token(_) | Auth::Ticket(_) | Auth::Backend | Auth::Open => None,
    }
}

fn changed(object: &Object, members: &[Change<'_>]) -> Object {
    let mut object = object.clone();
    for (name, value) in members {
        match value {
            Some(value) => object.insert(String::from(*name), value.clone()),
            None => object.remove(*name),
        };
    }
    object
}

/// The public key as the secret of an HMAC.
pub(super) fn public_key_as_secret(forge: &Forge) -> Made {
    let claims = jws::text(&forge.claims);
    let mut made = Vec::new();
    for (form, secret) in jws::public_forms(&forge.signing) {
        for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
            let header = jws::text(&changed(&forge.header, &[("alg", Some(json!(algorithm.as_str())))]));
            let token = Key::read(&secret, algorithm)?.sign(header.as_bytes(), claims.as_bytes())?;
            made.push(Forgery::new(format!("{algorithm} with {form}"), token));
        }
    }
    Ok(made)
}

/// Another algorithm for the same key, and its own in another spelling.
pub(super) fn algorithm(forge: &Forge) -> Made {
    let own = forge.signing.algorithm;
    let mut made = Vec::new();
    for other in Algorithm::ALL.into_iter().filter(|other| other.key_kind() == own.key_kind() && *other != own) {
        let header = jws::text(&changed(&forge.header, &[("alg", Some(json!(other.as_str())))]));
        let key = Key::of_as(&forge.signing, other)?;
        let token = key.sign(header.as_bytes(), jws::text(&forge.claims).as_bytes())?;
        made.push(Forgery::new(format!("signed with {other}, where the key is for {own}"), token));
    }
    let own = own.as_str();
    let names = [json!(own.to_lowercase()), json!(format!("{own} ")), json!("ES512"), json!([own]), Value::Null];
    for name in names {
        made.push(Forgery::new(format!("alg {name}"), forge.headed(&[("alg", Some(name))])?));
    }
    made.push(Forgery::new("no alg", forge.headed(&[("alg", None)])?));
    Ok(made)
}

/// A `kid` that names no key, or is no name.
pub(super) fn kid(forge: &Forge) -> Made {
    let own = forge.signing.kid.clone().unwrap_or_default();
    let mut kids = vec![json!([own]), json!(1), json!({ "kid": own }), json!(true)];
    if forge.signing.kid.is_some() {
        let names = [format!("{own}\0"), format!("../{own}"), format!("{own}x"), format!("x{own}"), String::new()];
        kids.extend(names.map(Value::from));
        kids.push(json!("k".repeat(3000)));
    }
    kids.into_iter()
        .map(|kid| {
            let shown: String = kid.to_string().chars().take(40).collect();
            Ok(Forgery::new(format!("kid {shown}"), forge.headed(&[("kid", Some(kid))])?))
        })
        .collect()
}

/// What a header demands that nobody here understands; what RFC 7515 lets a verifier pass over is the policy's matter.
pub(super) fn crit(forge: &Forge) -> Made {
    let headers: [(&str, &[Change<'_>]); 5] = [
        ("an unknown crit", &[("crit", Some(json!(["wsgate-audit"]))), ("wsgate-audit", Some(json!(1)))]),
        ("a crit of what is absent", &[("crit", Some(json!(["wsgate-audit"])))]),
        ("an empty crit", &[("crit", Some(json!([])))]),
        ("b64 false", &[("b64", Some(json!(false))), ("crit", Some(json!(["b64"])))]),
        ("b64 false without crit", &[("b64", Some(json!(false)))]),
    ];
    let headers = headers.iter().filter(|(what, _)| forge.is_strict() || *what != "b64 false without crit");
    headers.map(|(what, members)| Ok(Forgery::new(*what, forge.headed(members)?))).collect()
}

/// A token that is meant for something else, where the policy names the type.
pub(super) fn typ(forge: &Forge) -> Made {
    let types = [("id+jwt", Some(json!("id+jwt"))), ("missing", None), ("a list", Some(json!(["at+jwt"])))];
    types
        .iter()
        .map(|(what, typ)| Ok(Forgery::new(format!("typ {what}"), forge.headed(&[("typ", typ.clone())])?)))
        .collect()
}

/// An end that is none; a fraction, which RFC 7519 allows, is the policy's matter.
pub(super) fn exp(forge: &Forge) -> Made {
    let good = forge.end;
    let mut ends = vec![
        ("missing", None),
        ("as text", Some(json!(good.to_string()))),
        ("negative", Some(json!(-1))),
        ("of 1e300", Some(json!(1e300))),
        ("zero", Some(json!(0))),
        ("null", Some(Value::Null)),
        ("in a list", Some(json!([good]))),
        ("true", Some(json!(true))),
    ];
    if forge.is_strict() {
        ends.push(("with a fraction", Some(json!(f64::from(u32::try_from(good).unwrap_or(u32::MAX)) + 0.5))));
    }
    forge.each("exp", &ends)
}

/// A token that is over.
pub(super) fn expired(forge: &Forge) -> Made {
    let ends = [("a moment beyond the leeway", forge.leeway().saturating_add(5)), ("a day", FAR)];
    let made = |(what, ago): &(&str, u64)| {
        let end = forge.now.saturating_sub(*ago);
        let claims = [("exp", Some(json!(end))), ("iat", Some(json!(end.saturating_sub(300))))];
        Ok(Forgery::new(format!("over for {what}"), forge.claiming(&claims)?))
    };
    ends.iter().map(made).collect()
}

/// A token that has not begun.
pub(super) fn not_yet(forge: &Forge) -> Made {
    let begins = forge.now.saturating_add(forge.leeway()).saturating_add(1800);
    let (begin, end) = (Some(json!(begins)), Some(json!(begins.saturating_add(60))));
    let text = Some(json!(forge.now.to_string()));
    let claims: [(&str, &[Change<'_>]); 6] = [
        ("nbf in half an hour", &[("nbf", begin.clone()), ("iat", None), ("exp", end.clone())]),
        ("nbf as text", &[("nbf", text.clone())]),
        ("nbf of 1e300", &[("nbf", Some(json!(1e300)))]),
        ("nbf null", &[("nbf", Some(Value::Null))]),
        ("iat in half an hour", &[("iat", begin), ("exp", end)]),
        ("iat as text", &[("iat", text)]),
    ];
    claims.iter().map(|(what, claims)| Ok(Forgery::new(*what, forge.claiming(claims)?))).collect()
}

/// A token that lives longer than the policy lets it.
pub(super) fn too_long_lived(forge: &Forge) -> Made {
    let Some(rules) = &forge.rules else { return Ok(Vec::new()) };
    let end = forge.now.saturating_add(rules.max_life.as_secs()).saturating_add(rules.leeway.as_secs());
    let ends =
        [("an hour too long", end.saturating_add(3600)), ("a hundred years", end.saturating_add(100 * 365 * FAR))];
    ends.iter().map(|(what, end)| Ok(Forgery::new(*what, forge.claiming(&[("exp", Some(json!(end)))])?))).collect()
}

/// Somebody else's token.
pub(super) fn iss(forge: &Forge) -> Made {
    let own = forge.claim("iss");
    let prefix: String = own.chars().take(own.chars().count().saturating_sub(1)).collect();
    forge.each(
        "iss",
        &[
            ("missing", None),
            ("of somebody else", Some(json!("https://issuer.invalid"))),
            ("cut short", Some(json!(prefix))),
            ("with a slash behind it", Some(json!(format!("{own}/")))),
            ("with more behind it", Some(json!(format!("{own}.invalid")))),
            ("in a list", Some(json!([own]))),
            ("a number", Some(json!(1))),
            ("null", Some(Value::Null)),
            ("empty", Some(json!(""))),
        ],
    )
}

/// A token for somebody else.
pub(super) fn aud(forge: &Forge) -> Made {
    let own = match forge.claims.get("aud") {
        Some(Value::Array(list)) => list.first().and_then(Value::as_str).unwrap_or_default().to_owned(),
        _ => forge.claim("aud"),
    };
    let prefix: String = own.chars().take(own.chars().count().saturating_sub(1)).collect();
    forge.each(
        "aud",
        &[
            ("missing", None),
            ("of somebody else", Some(json!("wsgate-audit"))),
            ("in a list of others", Some(json!(["wsgate-audit"]))),
            ("cut short", Some(json!(prefix))),
            ("with more behind it", Some(json!(format!("{own}x")))),
            ("an empty list", Some(json!([]))),
            ("a number", Some(json!(1))),
            ("an object", Some(json!({ own.as_str(): true }))),
            ("null", Some(Value::Null)),
        ],
    )
}

/// A token of nobody.
pub(super) fn sub(forge: &Forge) -> Made {
    forge.each(
        "sub",
        &[
            ("missing", None),
            ("empty", Some(json!(""))),
            ("of 4000 characters", Some(json!("a".repeat(4000)))),
            ("with a line end", Some(json!("alice\r\nX-User: admin"))),
            ("with a NUL", Some(json!("alice\0"))),
            ("a number", Some(json!(1))),
            ("in a list", Some(json!(["alice"]))),
            ("null", Some(Value::Null)),
        ],
    )
}

/// JSON that two readers read differently. Of two members that differ, RFC 7519 section 4 lets a reader take the last or
/// refuse both; two that say the same are the policy's matter.
pub(super) fn json_of_two_minds(forge: &Forge) -> Made {
    let (header, claims) = (jws::text(&forge.header), jws::text(&forge.claims));
    let over = forge.now.saturating_sub(FAR);
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let mut not_utf8 = with_more(&claims, r#""name":"x"#).into_bytes();
    // Behind the x stands the closing brace, which goes behind the stray byte.
    not_utf8.pop();
    not_utf8.extend([0xff, b'"', b'}']);
    let mut made = vec![
        (
            "a good exp and one that is over",
            header.clone(),
            with_more(&claims, &format!(r#""exp":{over}"#)).into_bytes(),
        ),
        ("a good alg and none", with_more(&header, r#""alg":"none""#), claims.clone().into_bytes()),
        ("2000 lists in each other", header.clone(), with_more(&claims, &format!(r#""deep":{deep}"#)).into_bytes()),
        ("a byte order mark", header.clone(), [b"\xef\xbb\xbf", claims.as_bytes()].concat()),
        ("a byte order mark in the header", format!("\u{feff}{header}"), claims.clone().into_bytes()),
        ("a byte that is no UTF-8", header.clone(), not_utf8),
        ("something behind the claims", header.clone(), format!("{claims}{claims}").into_bytes()),
    ];
    if forge.is_strict() {
        made.extend(said_twice(forge, &header, &claims));
    }
    made.iter().map(|(what, header, claims)| Ok(Forgery::new(*what, forge.raw(header, claims)?))).collect()
}

/// Members that say the same twice: what they are, header and claims.
fn said_twice(forge: &Forge, header: &str, claims: &str) -> [(&'static str, String, Vec<u8>); 4] {
    let sub = Value::from(forge.claim("sub"));
    let alg = forge.signing.algorithm;
    let claiming = |members: String| (header.to_owned(), with_more(claims, &members).into_bytes());
    let [once, escaped, exp] =
        [format!(r#""sub":{sub}"#), format!(r#""s\u0075b":{sub}"#), format!(r#""exp":{}"#, forge.end)].map(claiming);
    [
        ("sub twice", once.0, once.1),
        ("sub twice, once escaped", escaped.0, escaped.1),
        ("exp twice", exp.0, exp.1),
        ("alg twice", with_more(header, &format!(r#""alg":"{alg}""#)), claims.as_bytes().to_vec()),
    ]
}

/// The text of an object with more members behind its own.
fn with_more(object: &str, members: &str) -> String {
    format!("{},{members}}}", object.strip_suffix('}').unwrap_or_default())
}

/// What is to be inflated, or has more members than anybody needs; RFC 7515 lets a verifier pass over `zip`.
pub(super) fn heavy(forge: &Forge) -> Made {
    let many: Vec<String> = (0..1500).map(|number| format!(r#""{number}":0"#)).collect();
    let claims = with_more(&jws::text(&forge.claims), &many.join(","));
    let mut made = vec![
        Forgery::new("an enc", forge.headed(&[("enc", Some(json!("A256GCM")))])?),
        Forgery::new("1500 claims more", forge.raw(&jws::text(&forge.header), claims.as_bytes())?),
    ];
    if forge.is_strict() {
        made.push(Forgery::new("zip DEF", forge.headed(&[("zip", Some(json!("DEF")))])?));
    }
    Ok(made)
}

/// What is longer than any honest token and as good as one.
pub(super) fn too_long(forge: &Forge) -> Made {
    let stuffing = [("stuffing", Some(json!("x".repeat(TOO_LONG))))];
    Ok(vec![
        Forgery::new(format!("{TOO_LONG} characters"), "A".repeat(TOO_LONG)),
        Forgery::new("a stuffed header", forge.headed(&stuffing)?),
        Forgery::new("stuffed claims", forge.claiming(&stuffing)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn forge(algorithm: Algorithm, rules: Option<JwtRules>) -> Forge {
        let claims = [("iss", "https://login.test"), ("aud", "chat"), ("sub", "alice")];
        let claims = claims.iter().map(|(name, value)| (String::from(*name), json!(value))).collect();
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = match algorithm {
            Algorithm::Es256 => pair.serialize_pem().into_bytes(),
            _ => vec![b'k'; 64],
        };
        let (kid, life) = (Some(String::from("login")), Duration::from_secs(300));
        let signing = Signing { key: Secret::new(key), algorithm, kid, claims, life };
        let header = jws::header(&signing);
        let claims = jws::claims(&signing, UnixSeconds(10_000));
        let key = Key::of(&signing).unwrap();
        Forge { signing, rules, now: 10_000, end: 10_300, key, header, claims }
    }

    fn rules() -> JwtRules {
        JwtRules {
            issuer: "login".into(),
            from: Vec::new(),
            audience: vec![String::from("chat")],
            require: Vec::new(),
            typ: None,
            leeway: Duration::from_secs(5),
            max_life: Duration::from_secs(3600),
        }
    }

    /// Every maker, and how many it makes without and with a policy.
    #[test]
    fn no_forgery_says_what_the_good_token_says() {
        type Maker = fn(&Forge) -> Made;
        let makers: [(Maker, usize, usize); 15] = [
            (kid, 10, 10),
            (crit, 4, 5),
            (typ, 3, 3),
            (exp, 8, 9),
            (expired, 2, 2),
            (not_yet, 6, 6),
            (too_long_lived, 0, 2),
            (iss, 9, 9),
            (aud, 9, 9),
            (sub, 8, 8),
            (json_of_two_minds, 7, 11),
            (heavy, 2, 3),
            (too_long, 3, 3),
            (public_key_as_secret, 15, 15),
            (algorithm, 6, 6),
        ];
        for rules in [None, Some(rules())] {
            let forge = forge(Algorithm::Es256, rules);
            let good = forge.good().unwrap();
            let said =
                |token: &str| token.rsplit_once('.').map_or_else(|| String::from(token), |(said, _)| said.into());
            for (make, lenient, strict) in makers {
                let made = make(&forge).unwrap();
                assert_eq!(made.len(), if forge.is_strict() { strict } else { lenient }, "{made:?}");
                for Forgery { what, token } in &made {
                    assert_ne!(said(token), said(&good), "{what}");
                }
            }
        }
    }

    /// What the RFCs allow is asked of nobody but wsgate: a reader that takes the last of two members, fractions and what
    /// it does not know finds nothing good among the rest.
    #[test]
    fn a_verifier_of_the_letter_refuses_what_is_tried_without_a_policy() {
        let allowed = [
            "b64 false without crit",
            "exp with a fraction",
            "sub twice",
            "sub twice, once escaped",
            "exp twice",
            "alg twice",
            "zip DEF",
        ];
        for (rules, expected) in [(None, 0), (Some(rules()), allowed.len())] {
            let forge = forge(Algorithm::Es256, rules);
            let made = [crit, exp, json_of_two_minds, heavy].map(|make| make(&forge).unwrap()).concat();
            let found = made.iter().filter(|forgery| allowed.contains(&forgery.what.as_str()));
            assert_eq!(found.count(), expected);
            assert_eq!(made.iter().filter(|forgery| forgery.what.starts_with("a good ")).count(), 2, "for everybody");
        }
    }

    #[test]
    fn a_secret_has_no_public_key_and_two_other_algorithms() {
        let forge = forge(Algorithm::Hs256, None);
        assert_eq!(public_key_as_secret(&forge).unwrap(), []);
        assert_eq!(algorithm(&forge).unwrap().len(), 8);
    }
}
