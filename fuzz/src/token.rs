//! The gate of JSON Web Tokens, and that of token files.
//!
//! The first byte of the input chooses a key (`e`, `d`, `h`: ES256, EdDSA, HS256), the second what is done with it (`s`
//! signs; `o` signs with another's; `p` signs with the public half as a secret; `n` leaves the signature empty). Behind a
//! line end stand the header and the claims, a line each; an empty one means a good one. What follows changes the token:
//! four bytes say how, where (two), and to what.
//!
//! `f` begins a token file: lines that begin with `?` ask for a token, the others are the file. `$WORD` in it stands for
//! the word's digest.

use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use wsgate::policy::auth::algorithm::Algorithm;
use wsgate::policy::auth::jwt::{self, Proof};
use wsgate::policy::auth::keys::Issuer;
use wsgate::policy::auth::token::TokenTable;
use wsgate::policy::auth::{ClaimRule, JwtRules, key_file};
use wsgate::policy::credential::Carrier;
use wsgate::units::UnixSeconds;

use super::Verdict;
use super::tokens::{Signer, encode};

const NOW: u64 = 1_800_000_000;
const LEEWAY: u64 = 5;
const MAX_LIFE: u64 = 3600;
const ISS: &str = "https://login.test";
const CLAIMS: &str =
    r#"{"iss":"https://login.test","aud":"chat","sub":"alice","iat":1799999990,"exp":1800000600,"scope":"chat:join"}"#;

/// Whatever passes was signed by the issuer's own key under its own algorithm, as the library of cryptography says by
/// itself, and its claims hold for a naive reader; or its digest stands in the file beside its subject. The good token
/// passes.
pub fn token(bytes: &[u8]) -> Verdict {
    match bytes {
        [b'f', file @ ..] => str::from_utf8(file).map_or(Verdict::Refused, token_file),
        [key, manner, rest @ ..] => json_web_token(*key, *manner, rest),
        _ => Verdict::Refused,
    }
}

/// An issuer with one key, and what only it and we know.
struct House {
    signer: Signer,
    stranger: Signer,
    algorithm: Algorithm,
    issuer: Issuer,
}

impl House {
    fn new(signer: Signer, stranger: Signer, algorithm: Algorithm) -> Self {
        let key = match &signer {
            Signer::Hmac(secret) => key_file::from_secret(secret, &[algorithm], None),
            signer => key_file::from_pem(signer.public_pem().as_bytes(), &[algorithm], None),
        };
        let issuer = Issuer::new(ISS, vec![key.expect("a key")]).expect("an issuer");
        Self { signer, stranger, algorithm, issuer }
    }

    fn of(letter: u8) -> &'static Self {
        static HOUSES: OnceLock<[House; 3]> = OnceLock::new();
        let secret = |seed: u8| Signer::Hmac((seed..seed + 64).collect());
        let [es256, eddsa, hs256] = HOUSES.get_or_init(|| {
            [
                Self::new(Signer::es256(), Signer::es256(), Algorithm::Es256),
                Self::new(Signer::ed25519(), Signer::ed25519(), Algorithm::EdDsa),
                Self::new(secret(1), secret(2), Algorithm::Hs256),
            ]
        });
        match letter {
            b'd' => eddsa,
            b'h' => hs256,
            _ => es256,
        }
    }

    /// The signature over `message` that is asked for; only `s` makes a good one.
    fn sign(&self, manner: u8, message: &[u8]) -> Vec<u8> {
        let algorithm = self.algorithm.as_str();
        match (manner, &self.signer) {
            (b's', signer) => signer.sign(algorithm, message),
            (b'p', Signer::Hmac(_)) | (b'o', _) => self.stranger.sign(algorithm, message),
            (b'p', signer) => Signer::Hmac(signer.public_pem().into_bytes()).sign("HS256", message),
            _ => Vec::new(),
        }
    }

    /// The judgement of the library of cryptography alone.
    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.signer {
            Signer::Es256(pair) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key()).verify(message, signature).is_ok()
            }
            Signer::EdDsa(pair) => {
                UnparsedPublicKey::new(&ED25519, pair.public_key()).verify(message, signature).is_ok()
            }
            Signer::Hmac(secret) => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, signature).is_ok()
            }
            Signer::Rsa(_) => false,
        }
    }
}

fn json_web_token(key: u8, manner: u8, rest: &[u8]) -> Verdict {
    let house = House::of(key);
    let mut parts = rest.splitn(4, |byte| *byte == b'\n').skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let (header, claims, changes) = (part(), part(), part());
    let is_good = header.is_empty() && claims.is_empty() && changes.is_empty() && manner == b's';
    let plain = format!(r#"{{"alg":"{}"}}"#, house.algorithm);
    let header = if header.is_empty() { plain.as_bytes() } else { header };
    let claims = if claims.is_empty() { CLAIMS.as_bytes() } else { claims };
    let message = format!("{}.{}", encode(header), encode(claims));
    let token = format!("{message}.{}", encode(house.sign(manner, message.as_bytes())));
    let Ok(token) = String::from_utf8(changed(token.into_bytes(), changes)) else { return Verdict::Refused };
    let proof = jwt::verify(&token, &rules(), &house.issuer, UnixSeconds(NOW)).ok();
    assert!(proof.is_some() || !is_good, "the good token passes");
    if let Some(proof) = &proof {
        assert_eq!(manner, b's', "nothing passes that the key did not sign");
        judge(&token, house, proof);
    }
    Verdict::of(&proof)
}

fn rules() -> JwtRules {
    JwtRules {
        issuer: "login".into(),
        from: vec![Carrier::Authorization],
        audience: vec!["chat".to_owned()],
        require: vec![ClaimRule { pointer: "/scope".to_owned(), any_of: vec!["chat:join".to_owned()] }],
        typ: None,
        leeway: Duration::from_secs(LEEWAY),
        max_life: Duration::from_secs(MAX_LIFE),
    }
}

fn changed(mut token: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(4).take(16) {
        let at = usize::from(u16::from_be_bytes([change[1], change[2]])) % (token.len() + 1);
        let letter = change[3] & 0x7f;
        match change[0] % 5 {
            0 => token.splice(at..(at + 1).min(token.len()), [letter]).for_each(drop),
            1 => token.insert(at, letter),
            2 => token.splice(at..(at + 1).min(token.len()), []).for_each(drop),
            3 => token.truncate(at),
            _ => token.extend_from_within(at..),
        }
        token.truncate(9000);
    }
    token
}

fn judge(token: &str, house: &House, proof: &Proof) {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts: {token}") };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url without padding");
    let message = format!("{header}.{payload}");
    assert!(house.has_signed(message.as_bytes(), &decode(signature)), "the key did not sign this: {token}");
    let [header, claims] = [header, payload].map(|part| serde_json::from_slice::<Value>(&decode(part)).expect("JSON"));
    assert_eq!(header["alg"], house.algorithm.as_str());
    assert!(["crit", "b64", "zip", "enc"].iter().all(|demand| header.get(demand).is_none()), "{header}");
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some(ISS), Some(proof.subject.as_str())));
    let audience = &claims["aud"];
    assert!(audience == "chat" || audience.as_array().is_some_and(|list| list.iter().any(|one| one == "chat")));
    let time = |name: &str| claims.get(name).map(|time| time.as_u64().expect("whole seconds"));
    let end = time("exp").expect("an end");
    assert!(end + LEEWAY > NOW, "{claims}");
    assert_eq!(proof.session_until, UnixSeconds(end + LEEWAY));
    let begin = time("iat").or(time("nbf"));
    assert!([begin, time("nbf")].into_iter().flatten().all(|begin| begin <= NOW + LEEWAY), "{claims}");
    assert!(end.saturating_sub(begin.unwrap_or(NOW)) <= MAX_LIFE, "{claims}");
    let scope = &claims["scope"];
    let words: Vec<&str> = match scope {
        Value::String(words) => words.split(' ').collect(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    assert!(words.contains(&"chat:join"), "{claims}");
}

fn token_file(text: &str) -> Verdict {
    let (asked, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('?'));
    let lines: Vec<String> = lines.into_iter().map(with_digest).collect();
    let table = match TokenTable::parse(&lines.join("\n")) {
        Ok(table) => table,
        Err(mistakes) => {
            assert!((1..=20).contains(&mistakes.len()));
            let in_order = mistakes.is_sorted_by(|one, next| one.line < next.line);
            assert!(in_order && mistakes.iter().all(|one| (1..=lines.len()).contains(&one.line)), "{mistakes:?}");
            return Verdict::Refused;
        }
    };
    let mut verdict = Verdict::Refused;
    for token in asked.iter().map(|line| &line[1..]) {
        let Ok(row) = table.find(token, UnixSeconds(NOW)) else { continue };
        let named = lines.iter().map(|line| line.split('#').next().unwrap_or_default()).find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()?.to_lowercase() == hex_digest(token)).then(|| words.map(String::from).collect::<Vec<_>>())
        });
        let words = named.expect("its digest stands in the file");
        assert_eq!(words.first(), Some(&row.subject));
        let ends = words.iter().filter_map(|word| word.split_once('=')).filter(|(name, _)| name.ends_with("_until"));
        assert!(ends.filter_map(|(_, time)| time.parse::<u64>().ok()).all(|end| end > NOW), "{words:?}");
        assert!((16..=512).contains(&token.len()), "no guess that is short or long");
        verdict = Verdict::Accepted;
    }
    verdict
}

fn with_digest(line: &str) -> String {
    let Some(marked) = line.strip_prefix('$') else { return line.to_owned() };
    let (word, rest) = marked.split_once(' ').unwrap_or((marked, ""));
    format!("{} {rest}", hex_digest(word))
}

fn hex_digest(word: &str) -> String {
    let digest = digest::digest(&digest::SHA256, word.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
