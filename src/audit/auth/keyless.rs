//! Tokens that anybody can make, without the issuer's key.

use serde_json::{Value, json};

use super::jws::{self, Key, UnusableKey};
use super::sample::{Forgery, Sample};
use crate::policy::auth::algorithm::{Algorithm, KeyKind};

/// What a maker gives.
pub(super) type Made = Result<Vec<Forgery>, UnusableKey>;

/// Secrets that are in every list.
const WEAK_SECRETS: [&str; 6] = ["", "secret", "changeme", "password", "key", "your-256-bit-secret"];

/// The most bytes of a token that nobody needs more of.
pub(super) const TOO_LONG: usize = 9000;

/// Words that are no token of anybody's.
pub(super) fn words(sample: &Sample) -> Made {
    let token = &sample.token;
    let shorter: String = token.chars().skip(1).collect();
    let mut made: Vec<Forgery> = ["x", "null", "undefined", "true", "e30.e30.e30", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
        .map(|word| Forgery::new(format!("the word {word}"), word))
        .to_vec();
    made.push(Forgery::new("the token without its first character", shorter));
    made.push(Forgery::new("the token with a character behind it", format!("{token}A")));
    made.push(Forgery::new("the token backwards", token.chars().rev().collect::<String>()));
    if token.to_ascii_uppercase() != *token {
        made.push(Forgery::new("the token in capitals", token.to_ascii_uppercase()));
    }
    Ok(made)
}

/// Tokens with too few or too many parts: of the given one, where it has three.
pub(super) fn parts(sample: &Sample) -> Made {
    let likely = [jws::encode(sample.headed(&[]).as_bytes()), jws::encode(sample.claimed().as_bytes())];
    let [header, claims, signature] = sample.parts.clone().unwrap_or_else(|| {
        let [header, claims] = likely;
        [header, claims, String::from("c2lnbmF0dXJl")]
    });
    let encrypted = jws::encode(br#"{"alg":"dir","enc":"A256GCM"}"#);
    Ok(vec![
        Forgery::new("one part", header.clone()),
        Forgery::new("two parts", format!("{header}.{claims}")),
        Forgery::new("four parts", format!("{header}.{claims}.{signature}.{signature}")),
        Forgery::new("five parts", format!("{header}.{claims}.{signature}.{claims}.{signature}")),
        Forgery::new("an empty fourth part", format!("{header}.{claims}.{signature}.")),
        Forgery::new("an empty part before them", format!(".{header}.{claims}.{signature}")),
        Forgery::new("no header", format!(".{claims}.{signature}")),
        Forgery::new("no claims", format!("{header}..{signature}")),
        Forgery::new("dots alone", ".."),
        Forgery::new("an encrypted token", format!("{encrypted}..AAAA.{claims}.AAAA")),
    ])
}

/// `alg` is `none` in all its spellings.
pub(super) fn none(sample: &Sample) -> Made {
    let claims = jws::encode(sample.claimed().as_bytes());
    let mut made = Vec::new();
    let spellings = [json!("none"), json!("None"), json!("NONE"), json!("nOnE"), json!(""), json!(["none"]), json!(0)];
    for alg in spellings {
        let header = jws::encode(sample.headed(&[("alg", alg.clone())]).as_bytes());
        made.push(Forgery::new(format!("alg {alg} and no signature"), format!("{header}.{claims}.")));
        if let Some([_, _, signature]) = &sample.parts {
            made.push(Forgery::new(format!("alg {alg} and a signature"), format!("{header}.{claims}.{signature}")));
        }
    }
    let header = jws::encode(sample.headed(&[("alg", Value::Null)]).as_bytes());
    made.push(Forgery::new("no alg and no signature", format!("{header}.{claims}.")));
    Ok(made)
}

/// A signature that is none: of the given token, whose claims are good.
pub(super) fn signature(sample: &Sample) -> Made {
    let Some([header, claims, signature]) = &sample.parts else { return Ok(Vec::new()) };
    let with = |what: &str, signature: &str| Forgery::new(what, format!("{header}.{claims}.{signature}"));
    let bytes = jws::decode(signature).unwrap_or_default();
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
        jws::encode(&bytes)
    };
    let part = |count: usize| jws::encode(bytes.get(..count).unwrap_or_default());
    Ok(vec![
        with("an empty signature", ""),
        with("a signature of half its length", &part(bytes.len() / 2)),
        with("a signature without its last byte", &part(bytes.len().saturating_sub(1))),
        with("a signature with a byte behind it", &jws::encode(&[bytes.as_slice(), &[0]].concat())),
        with("a signature with its first bit turned", &flipped(0)),
        with("a signature with a bit turned amid", &flipped(bytes.len() / 2)),
        with("a signature with its last bit turned", &flipped(bytes.len().saturating_sub(1))),
        with("a signature of zeros", &jws::encode(&vec![0; bytes.len()])),
    ])
}

/// The given token's signature in another spelling.
pub(super) fn spelling(sample: &Sample) -> Made {
    let Some([header, claims, signature]) = &sample.parts else { return Ok(Vec::new()) };
    let with = |what: &str, signature: String| Forgery::new(what, format!("{header}.{claims}.{signature}"));
    let mut made = vec![
        with("a padded signature", format!("{signature}=")),
        with("a signature padded twice", format!("{signature}==")),
    ];
    let standard = signature.replace('-', "+").replace('_', "/");
    if standard != *signature {
        made.push(with("a signature in the other alphabet", standard));
    }
    if let Some(other) = spare_bit(signature) {
        made.push(with("a signature with a spare bit set", other));
    }
    Ok(made)
}

/// The same bytes with another last character: its spare bits are ignored by a lenient reader.
fn spare_bit(signature: &str) -> Option<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if signature.len().is_multiple_of(4) {
        return None;
    }
    let (last, rest) = signature.as_bytes().split_last()?;
    let at = ALPHABET.iter().position(|letter| letter == last)?;
    let other = *ALPHABET.get(at ^ 1)?;
    Some(format!("{}{}", str::from_utf8(rest).ok()?, char::from(other)))
}

/// Good claims, signed by somebody else: with a key made on the spot, and with secrets that everybody knows.
pub(super) fn foreign(sample: &Sample) -> Made {
    let claims = sample.claimed();
    let key = Key::fresh(sample.algorithm())?;
    let header = sample.headed(&[("alg", json!(key.algorithm().as_str()))]);
    let mut made = vec![Forgery::new("another key", key.sign(header.as_bytes(), claims.as_bytes())?)];
    let header = sample.headed(&[("alg", json!("HS256"))]);
    for secret in WEAK_SECRETS {
        let key = Key::read(secret.as_bytes(), Algorithm::Hs256)?;
        made.push(Forgery::new(format!("the secret `{secret}`"), key.sign(header.as_bytes(), claims.as_bytes())?));
    }
    Ok(made)
}

/// ECDSA signatures that broken arithmetic takes for good ones, and the right one in the wrong form; none where the given
/// token is signed otherwise.
pub(super) fn ecdsa(sample: &Sample) -> Made {
    let given = sample.parts.as_ref().filter(|_| sample.is_ecdsa());
    let Some([good_header, good_claims, good_signature]) = given else { return Ok(Vec::new()) };
    let size = if sample.algorithm().key_kind() == KeyKind::P384 { 96 } else { 64 };
    let alg = sample.algorithm().as_str();
    let header = jws::encode(sample.headed(&[("alg", json!(alg))]).as_bytes());
    let claims = jws::encode(sample.claimed().as_bytes());
    let with = |what: &str, bytes: &[u8]| Forgery::new(what, format!("{header}.{claims}.{}", jws::encode(bytes)));
    let mut one = vec![0; size];
    if let Some(last) = one.last_mut() {
        *last = 1;
    }
    let mut made = vec![
        with("r = 0, s = 0", &vec![0; size]),
        with("r = 0, s = 1", &one),
        with("r and s beyond the order", &vec![0xff; size]),
        with("r = 0, s = 0 in DER", &[0x30, 6, 2, 1, 0, 2, 1, 0]),
    ];
    if let Some(der) = jws::decode(good_signature).and_then(|bytes| der_of(&bytes)) {
        let token = format!("{good_header}.{good_claims}.{}", jws::encode(&der));
        made.push(Forgery::new("the given signature in DER", token));
    }
    Ok(made)
}

/// ASN.1 of an ECDSA signature (RFC 3279 section 2.2.3).
fn der_of(signature: &[u8]) -> Option<Vec<u8>> {
    let half = signature.len() / 2;
    let mut body = Vec::new();
    for number in [signature.get(..half)?, signature.get(half..)?] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let mut number = number.get(zeros..)?.to_vec();
        if number.first().is_none_or(|byte| *byte & 0x80 != 0) {
            number.insert(0, 0);
        }
        body.extend([2, u8::try_from(number.len()).ok()?]);
        body.extend(number);
    }
    Some([&[0x30, u8::try_from(body.len()).ok().filter(|length| *length < 128)?], body.as_slice()].concat())
}

/// A `kid` that leads a reader of files or tables to a key that everybody knows.
pub(super) fn kid(sample: &Sample) -> Made {
    let kids: [(&str, &str); 8] = [
        ("../../../../../../dev/null", ""),
        ("/dev/null", ""),
        ("file:///dev/null", ""),
        ("../../../../../../proc/sys/kernel/randomize_va_space", "2\n"),
        ("x' UNION SELECT 'wsgate'-- ", "wsgate"),
        ("x\" UNION SELECT \"wsgate\"-- ", "wsgate"),
        ("x|echo wsgate", "wsgate\n"),
        ("\0", ""),
    ];
    let mut made = Vec::new();
    for (kid, secret) in kids {
        let key = Key::read(secret.as_bytes(), Algorithm::Hs256)?;
        let header = sample.headed(&[("alg", json!("HS256")), ("kid", json!(kid))]);
        let token = key.sign(header.as_bytes(), sample.claimed().as_bytes())?;
        made.push(Forgery::new(format!("kid {}", json!(kid)), token));
    }
    Ok(made)
}

/// What is longer than any honest token.
pub(super) fn too_long(sample: &Sample) -> Made {
    let stuffed = sample.headed(&[("stuffing", json!("x".repeat(TOO_LONG)))]);
    let signature = sample.parts.as_ref().map_or("c2ln", |[_, _, signature]| signature.as_str());
    let claims = jws::encode(sample.claimed().as_bytes());
    Ok(vec![
        Forgery::new(format!("{TOO_LONG} characters"), "A".repeat(TOO_LONG)),
        Forgery::new("a stuffed header", format!("{}.{claims}.{signature}", jws::encode(stuffed.as_bytes()))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::UnixSeconds;

    #[test]
    fn nothing_that_is_made_without_a_key_is_the_token() {
        let key = Key::fresh(Algorithm::Es256).unwrap();
        let token = key.sign(br#"{"alg":"ES256","kid":"k"}"#, br#"{"sub":"alice","exp":99}"#).unwrap();
        let jwt = Sample::of(&token, UnixSeconds(1000));
        let opaque = Sample::of("an-opaque-word-of-some-length", UnixSeconds(1000));
        type Maker = fn(&Sample) -> Made;
        let makers: [(Maker, usize, usize); 9] = [
            (words, 10, 10),
            (parts, 10, 10),
            (none, 15, 8),
            (signature, 8, 0),
            (spelling, 3, 0),
            (foreign, 7, 7),
            (ecdsa, 5, 0),
            (kid, 8, 8),
            (too_long, 2, 2),
        ];
        for (make, of_jwt, of_opaque) in makers {
            for (sample, count) in [(&jwt, of_jwt), (&opaque, of_opaque)] {
                let made = make(sample).unwrap();
                // The other alphabet differs only where the signature has one of its two letters.
                assert!((count..=count + 1).contains(&made.len()), "{made:?}");
                assert!(made.iter().all(|forgery| forgery.token != sample.token), "{made:?}");
            }
        }
    }

    #[test]
    fn an_ecdsa_signature_is_forged_for_the_curve_of_the_good_token_alone() {
        for (algorithm, length) in
            [(Algorithm::Es256, Some(64)), (Algorithm::Es384, Some(96)), (Algorithm::EdDsa, None)]
        {
            let key = Key::fresh(algorithm).unwrap();
            let token = key.sign(format!(r#"{{"alg":"{algorithm}"}}"#).as_bytes(), br#"{"sub":"alice"}"#).unwrap();
            let made = ecdsa(&Sample::of(&token, UnixSeconds(1000))).unwrap();
            assert_eq!(made.len(), if length.is_some() { 5 } else { 0 }, "{algorithm}");
            for Forgery { what, token } in &made {
                let parts: Vec<Vec<u8>> = token.split('.').map(|part| jws::decode(part).unwrap()).collect();
                let header: Value = serde_json::from_slice(&parts[0]).unwrap();
                assert_eq!(header["alg"], algorithm.as_str(), "{what}");
                assert!(what.contains("DER") || Some(parts[2].len()) == length, "{algorithm} {what}");
            }
        }
    }

    #[test]
    fn an_ecdsa_signature_has_its_form_in_der() {
        let mut signature = [0; 64];
        (signature[31], signature[32]) = (5, 0x80);
        let der = der_of(&signature).unwrap();
        assert_eq!(der.get(..5), Some([0x30, 38, 2, 1, 5].as_slice()));
        assert_eq!(der.get(5..9), Some([2, 33, 0, 0x80].as_slice()));
    }
}
