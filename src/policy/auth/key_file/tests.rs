use super::*;
use crate::policy::auth::algorithm::Algorithm::{self, *};
use crate::policy::auth::fixtures::{SECRET, Signer, encode};
use crate::policy::auth::keys::Issuer;

fn pem_error(pem: &str, algorithms: &[Algorithm]) -> KeyError {
    from_pem(pem.as_bytes(), algorithms, None).unwrap_err()
}

fn set(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// The public key of a signer as a JWK, with these further members.
fn jwk(signer: &Signer, more: &str) -> String {
    let der = pem_der(&signer.public_pem);
    let members = match PublicPart::from_spki(&der).unwrap() {
        PublicPart::Rsa { modulus, exponent } => {
            format!(r#""kty":"RSA","n":"{}","e":"{}""#, encode(modulus), encode(exponent))
        }
        PublicPart::P256(point) => format!(r#""kty":"EC","crv":"P-256",{}"#, coordinates(&point)),
        PublicPart::P384(point) => format!(r#""kty":"EC","crv":"P-384",{}"#, coordinates(&point)),
        PublicPart::Ed25519(raw) => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, encode(raw)),
    };
    format!("{{{members}{more}}}")
}

fn coordinates(point: &[u8]) -> String {
    let (x, y) = point[1..].split_at(point.len() / 2);
    format!(r#""x":"{}","y":"{}""#, encode(x), encode(y))
}

fn pem_der(pem: &str) -> Vec<u8> {
    <(SectionKind, Vec<u8>)>::from_pem_slice(pem.as_bytes()).unwrap().1
}

fn pem_of(der: &[u8]) -> String {
    use base64::engine::general_purpose::STANDARD;
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[test]
fn every_kind_of_key_is_read_from_pem_and_from_a_set() {
    for algorithm in [Rs256, Ps512, Es256, Es384, EdDsa] {
        let signer = Signer::new(algorithm);
        let from_pem = from_pem(signer.public_pem.as_bytes(), &[algorithm], Some("a")).unwrap();
        let from_set = from_jwks(set(&[jwk(&signer, r#","kid":"a""#)]).as_bytes(), &[algorithm]).unwrap();
        let token = signer.token("{}");
        let (message, signature) = token.rsplit_once('.').unwrap();
        for key in [&from_pem, &from_set[0]] {
            assert_eq!((key.algorithm(), key.id()), (algorithm, Some("a")));
            assert!(key.verifies(message.as_bytes(), signature), "{algorithm}");
            assert!(!key.verifies(b"another message", signature), "{algorithm}");
        }
    }
}

#[test]
fn au03_au04_a_key_is_bound_to_one_algorithm() {
    let rsa = Signer::new(Rs256);
    let bound =
        |algorithms: &[Algorithm]| from_pem(rsa.public_pem.as_bytes(), algorithms, None).map(|key| key.algorithm());
    assert_eq!(bound(&[Ps256, Es256, Hs256]), Ok(Ps256));
    assert_eq!(bound(&[Rs256, Ps256]), Err(KeyError::AlgorithmUnclear(vec![Rs256, Ps256])));
    assert_eq!(bound(&[Es256, Hs256]), Err(KeyError::AlgorithmMissing(KeyKind::Rsa)));
    assert_eq!(bound(&[]), Err(KeyError::AlgorithmMissing(KeyKind::Rsa)));
    let named = set(&[jwk(&rsa, r#","alg":"PS256""#)]);
    assert_eq!(from_jwks(named.as_bytes(), &[Rs256, Ps256]).unwrap()[0].algorithm(), Ps256);
    let unnamed = set(&[jwk(&rsa, "")]);
    assert!(matches!(from_jwks(unnamed.as_bytes(), &[Rs256, Ps256]), Err(KeyError::AlgorithmUnclear(_))));
    let misnamed = set(&[jwk(&rsa, r#","alg":"ES256""#)]);
    assert_eq!(from_jwks(misnamed.as_bytes(), &[Rs256, Es256]).unwrap_err(), KeyError::SetMember(0, "alg"));
    let as_secret = from_secret(rsa.public_pem.as_bytes(), &[Hs256], None);
    assert_eq!(as_secret.unwrap_err(), KeyError::SecretIsPublicKey);
}

#[test]
fn pem_that_is_no_public_key_is_told() {
    let good = Signer::new(Es256).public_pem;
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut off_curve = pem_der(&good);
    *off_curve.last_mut().unwrap() ^= 1;
    let mut trailing = pem_der(&good);
    trailing.push(0);
    let cases = [
        (String::new(), KeyError::NotPem),
        (String::from("certs/login.pem"), KeyError::NotPem),
        (pair.serialize_pem(), KeyError::Private),
        (format!("{good}{good}"), KeyError::SeveralInPem),
        (pem_of(b"junk"), KeyError::Invalid),
        (pem_of(&off_curve), KeyError::Invalid),
        (pem_of(&trailing), KeyError::Invalid),
        (good.replace("PUBLIC KEY", "CERTIFICATE"), KeyError::NotPem),
    ];
    for (pem, expected) in &cases {
        assert_eq!(pem_error(pem, &[Es256]), *expected, "{pem}");
    }
    assert_eq!(cases.len(), 8);
    assert!(from_pem(good.as_bytes(), &[Es256], None).is_ok());
}

#[test]
fn weak_rsa_keys_are_refused() {
    let odd = |bytes: usize| {
        let mut modulus = vec![0x80; bytes];
        modulus[bytes - 1] |= 1;
        modulus
    };
    let rsa = |modulus: &[u8], exponent: &[u8]| PublicPart::rsa(modulus, exponent).map(|_| ());
    assert_eq!(rsa(&odd(256), &[1, 0, 1]), Ok(()));
    assert_eq!(rsa(&[&[0, 0][..], &odd(256)].concat(), &[0, 1, 0, 1]), Ok(()), "leading zeros count for nothing");
    assert_eq!(rsa(&odd(128), &[1, 0, 1]), Err(KeyError::RsaBits(1024)));
    let mut short = odd(256);
    short[0] = 0x7f;
    assert_eq!(rsa(&short, &[1, 0, 1]), Err(KeyError::RsaBits(2047)));
    assert_eq!(rsa(&odd(1025), &[1, 0, 1]), Err(KeyError::RsaBits(8200)));
    assert_eq!(rsa(&[], &[1, 0, 1]), Err(KeyError::RsaBits(0)));
    assert_eq!(rsa(&odd(256), &[1]), Err(KeyError::Invalid));
    assert_eq!(rsa(&odd(256), &[2]), Err(KeyError::Invalid));
    assert_eq!(rsa(&odd(256), &[]), Err(KeyError::Invalid));
    assert_eq!(rsa(&[0x80; 256], &[1, 0, 1]), Err(KeyError::Invalid));
}

#[test]
fn a_set_is_filtered_and_its_mistakes_are_told() {
    let signer = Signer::new(Es256);
    let good = jwk(&signer, r#","kid":"a""#);
    let passed_over = [
        jwk(&signer, r#","kid":"e","use":"enc""#),
        jwk(&signer, r#","kid":"s","key_ops":["sign"]"#),
        jwk(&signer, r#","kid":"o","alg":"ECDH-ES""#),
        jwk(&Signer::new(EdDsa), r#","kid":"x""#),
        String::from(r#"{"kty":"AKP","alg":"ML-DSA-65"}"#),
        String::from(r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#),
    ];
    for key in &passed_over {
        assert_eq!(
            from_jwks(set(std::slice::from_ref(key)).as_bytes(), &[Es256]).unwrap_err(),
            KeyError::NoKeys,
            "{key}"
        );
        let ids = from_jwks(set(&[key.clone(), good.clone()]).as_bytes(), &[Es256]).unwrap();
        assert_eq!(ids.iter().filter_map(VerifyingKey::id).collect::<Vec<_>>(), ["a"], "{key}");
    }
    let wrong = [
        (String::from("7"), KeyError::SetMember(1, "kty")),
        (String::from("{}"), KeyError::SetMember(1, "kty")),
        (jwk(&signer, r#","kid":7"#), KeyError::SetMember(1, "kid")),
        (jwk(&signer, r#","d":"AAAA""#), KeyError::Private),
        (String::from(r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#), KeyError::SetMember(1, "x")),
        (String::from(r#"{"kty":"EC","crv":"P-256"}"#), KeyError::SetMember(1, "x")),
        (String::from(r#"{"kty":"RSA","n":"AQAB=","e":"AQAB"}"#), KeyError::SetMember(1, "n")),
        (String::from(r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#), KeyError::RsaBits(17)),
        (String::from(r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#), KeyError::Invalid),
        (format!(r#"{{"kty":"oct","k":"{}"}}"#, encode(SECRET)), KeyError::SecretInSet),
    ];
    for (key, expected) in &wrong {
        let read = from_jwks(set(&[good.clone(), key.clone()]).as_bytes(), &[Es256, Rs256]);
        assert_eq!(read.unwrap_err(), *expected, "{key}");
    }
    assert_eq!((passed_over.len(), wrong.len()), (6, 10));
    for text in ["", "[]", r#"{"keys":[],"keys":[]}"#] {
        assert!(matches!(from_jwks(text.as_bytes(), &[Es256]), Err(KeyError::SetNotJson(_))), "{text}");
    }
    assert_eq!(from_jwks(b"{}", &[Es256]).unwrap_err(), KeyError::SetWithoutKeys);
    let secret = format!(r#"{{"kty":"oct","alg":"HS256","k":"{}"}}"#, encode(SECRET));
    assert!(from_jwks(set(&[secret]).as_bytes(), &[Hs256, Hs384]).is_ok());
}

#[test]
fn au29_weak_and_well_known_secrets_are_refused() {
    let judged = |secret: &[u8], algorithm| from_secret(secret, &[algorithm], None).map(|_| ());
    for (algorithm, least) in [(Hs256, 32), (Hs384, 48), (Hs512, 64)] {
        assert_eq!(judged(&SECRET[..least], algorithm), Ok(()));
        assert_eq!(judged(&SECRET[..least - 1], algorithm), Err(KeyError::SecretShort(algorithm, least - 1)));
    }
    let samples = [
        "secret",
        "your-256-bit-secret",
        "a-string-secret-at-least-256-bits-long\n",
        "A-STRING-SECRET-AT-LEAST-256-BITS-LONG",
        "",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    for sample in samples {
        assert_eq!(judged(sample.as_bytes(), Hs256), Err(KeyError::SecretSample), "{sample}");
    }
    let told = KeyError::SecretShort(Hs256, 5).to_string();
    assert!(told.contains("32") && told.contains("openssl"), "{told}");
}

#[test]
fn an_issuers_keys_have_ids_that_differ() {
    let signer = Signer::new(Es256);
    let key = |id: Option<&str>| from_pem(signer.public_pem.as_bytes(), &[Es256], id).unwrap();
    let issuer =
        |keys: Vec<VerifyingKey>| Issuer::new("https://login.example.com", keys).map(|issuer| issuer.keys().len());
    assert_eq!(issuer(vec![key(Some("a")), key(Some("b"))]), Ok(2));
    assert_eq!(issuer(vec![key(None)]), Ok(1));
    assert_eq!(issuer(vec![key(Some("a")), key(Some("a"))]), Err(KeyError::IdRepeated(String::from("a"))));
    assert_eq!(issuer(vec![key(Some("a")), key(None)]), Err(KeyError::IdMissing));
    assert_eq!(issuer(vec![]), Err(KeyError::NoKeys));
    let many = |count: usize| (0..count).map(|place| key(Some(&place.to_string()))).collect();
    assert_eq!(issuer(many(Issuer::MAX_KEYS)), Ok(Issuer::MAX_KEYS));
    assert_eq!(issuer(many(Issuer::MAX_KEYS + 1)), Err(KeyError::TooManyKeys));
    for id in ["", "a\u{0}", &"a".repeat(257)] {
        assert_eq!(from_pem(signer.public_pem.as_bytes(), &[Es256], Some(id)).unwrap_err(), KeyError::IdMalformed);
    }
}

#[test]
fn a_file_is_what_it_begins_with() {
    let signer = Signer::new(Es256);
    let secret = [&SECRET[..], b"\r\n"].concat();
    let both = [Es256, Hs256];
    let keys = set(&[jwk(&signer, "")]);
    type Case<'a> = (&'a [u8], &'a [Algorithm], Result<Algorithm, KeyError>);
    let cases: [Case<'_>; 7] = [
        (signer.public_pem.as_bytes(), &both, Ok(Es256)),
        (keys.as_bytes(), &[Es256], Ok(Es256)),
        (&secret, &both, Ok(Hs256)),
        (&secret, &[Es256], Err(KeyError::NotPem)),
        (signer.public_pem.as_bytes(), &[Hs256], Err(KeyError::AlgorithmMissing(KeyKind::P256))),
        (&SECRET[..31], &both, Err(KeyError::SecretShort(Hs256, 31))),
        (b"", &[Es256], Err(KeyError::NotPem)),
    ];
    for (file, algorithms, expected) in cases {
        let read = read(file, algorithms, None).map(|keys| keys[0].algorithm());
        assert_eq!(read, expected, "{}", String::from_utf8_lossy(file));
    }
    let bare = [&SECRET[..31], b"\n"].concat();
    assert_eq!(read(&bare, &both, None).unwrap_err(), KeyError::SecretShort(Hs256, 31), "a line end is no byte of it");
}

#[test]
fn no_key_is_printed() {
    let key = from_secret(SECRET, &[Hs256], None).unwrap();
    assert!(!format!("{key:?}").contains("52, 102"), "{key:?}");
    assert!(format!("{key:?}").contains("redacted"));
}
