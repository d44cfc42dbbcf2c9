use super::*;
use crate::policy::auth::algorithm::{Algorithm, KeyKind};
use crate::policy::auth::fixtures::{CLAIMS, ISS, NOW, SECRET, Signer, encode, rules};
use crate::policy::auth::key_file;

fn judged(token: &str, issuer: &Issuer, rules: &JwtRules) -> Result<(), Reason> {
    verify(token, rules, issuer, NOW).map(|_| ()).map_err(|refusal| refusal.reason)
}

/// `CLAIMS` with `from` replaced by `to`.
fn claims(from: &str, to: &str) -> String {
    assert!(CLAIMS.contains(from), "{from}");
    CLAIMS.replacen(from, to, 1)
}

#[test]
fn every_algorithm_verifies_its_own_signature_and_no_other() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let issuer = signer.issuer();
        let token = signer.token(CLAIMS);
        let proof = verify(&token, &rules(), &issuer, NOW).unwrap();
        assert_eq!((proof.subject.as_str(), proof.session_until), ("alice", UnixSeconds(1_800_000_605)), "{algorithm}");
        assert_eq!(proof.claims.len(), 6);
        if algorithm.key_kind() != KeyKind::Secret {
            let stranger = Signer::new(algorithm).token(CLAIMS);
            assert_eq!(judged(&stranger, &issuer, &rules()), Err(Reason::TokenSignature), "{algorithm}");
        }
    }
}

#[test]
fn au02_au04_only_the_keys_own_algorithm_is_accepted() {
    let mut ran = 0;
    for algorithm in [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256] {
        let signer = Signer::new(algorithm);
        let issuer = signer.issuer();
        let others =
            ["none", "None", "nOnE", "", "HS384", "PS256", "RS384", "es256", "hs256", "rs256", "ES384", "EdDSA"];
        for other in others {
            let header = format!(r#"{{"alg":"{other}"}}"#);
            let signed = signer.sign(&header, CLAIMS);
            let bare = format!("{}.{}.", encode(&header), encode(CLAIMS));
            for token in [signed, bare] {
                assert_eq!(judged(&token, &issuer, &rules()), Err(Reason::TokenAlgorithm), "{algorithm} {other}");
                ran += 1;
            }
        }
        for header in [r#"{"alg":["HS256"]}"#, r#"{"alg":null}"#, "{}"] {
            assert_eq!(
                judged(&signer.sign(header, CLAIMS), &issuer, &rules()),
                Err(Reason::TokenAlgorithm),
                "{header}"
            );
            ran += 1;
        }
        assert_eq!(judged(&signer.token(CLAIMS), &issuer, &rules()), Ok(()));
    }
    assert_eq!(ran, 81);
}

#[test]
fn au03_a_public_key_is_no_secret() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
        let signer = Signer::new(algorithm);
        let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(CLAIMS));
        let public = jsonwebtoken::EncodingKey::from_secret(signer.public_pem.as_bytes());
        let mac = jsonwebtoken::crypto::sign(message.as_bytes(), &public, jsonwebtoken::Algorithm::HS256).unwrap();
        let forged = format!("{message}.{mac}");
        assert_eq!(judged(&forged, &signer.issuer(), &rules()), Err(Reason::TokenAlgorithm));
        let disguised =
            forged.replacen(&encode(r#"{"alg":"HS256"}"#), &encode(format!(r#"{{"alg":"{algorithm}"}}"#)), 1);
        assert_eq!(judged(&disguised, &signer.issuer(), &rules()), Err(Reason::TokenSignature));
        assert_eq!(judged(&signer.token(CLAIMS), &signer.issuer(), &rules()), Ok(()));
    }
}

/// The same bits in another spelling: the spare bits of the last symbol set.
fn respelled(part: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = part.chars().last().unwrap();
    let place = alphabet.find(last).unwrap();
    format!("{}{}", &part[..part.len() - 1], alphabet.chars().nth(place ^ 1).unwrap())
}

#[test]
fn au05_a_token_has_one_spelling() {
    let signer = Signer::new(Algorithm::Es256);
    let issuer = signer.issuer();
    let token = signer.token(CLAIMS);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let cases = [
        ("signature empty", format!("{message}."), Reason::TokenSignature),
        ("signature truncated", token[..token.len() - 2].to_owned(), Reason::TokenSignature),
        ("signature extended", format!("{token}AAAA"), Reason::TokenSignature),
        ("signature respelled", format!("{message}.{}", respelled(signature)), Reason::TokenMalformed),
        ("signature padded", format!("{token}=="), Reason::TokenMalformed),
        ("newline behind", format!("{token}\n"), Reason::TokenMalformed),
        ("newline within", format!("{}\n{}", &token[..9], &token[9..]), Reason::TokenMalformed),
        ("standard alphabet", format!("{message}.{}+/", &signature[2..]), Reason::TokenMalformed),
        ("one part", header.to_owned(), Reason::TokenMalformed),
        ("two parts", message.to_owned(), Reason::TokenMalformed),
        ("four parts", format!("{token}.{signature}"), Reason::TokenMalformed),
        ("five parts (JWE)", format!("{token}.{header}.{header}"), Reason::TokenMalformed),
        ("header empty", format!(".{payload}.{signature}"), Reason::TokenMalformed),
        ("header padded", format!("{header}=.{payload}.{signature}"), Reason::TokenMalformed),
        ("payload empty", format!("{header}..{signature}"), Reason::TokenSignature),
        ("empty", String::new(), Reason::TokenMalformed),
        ("dots", "..".to_owned(), Reason::TokenMalformed),
    ];
    for (what, bad, reason) in &cases {
        assert_eq!(judged(bad, &issuer, &rules()), Err(*reason), "{what}");
    }
    assert_eq!(cases.len(), 17);
    for index in 0..signature.len() {
        let mut bytes = token.clone().into_bytes();
        let place = message.len() + 1 + index;
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        assert!(judged(&String::from_utf8(bytes).unwrap(), &issuer, &rules()).is_err(), "symbol {index}");
    }
    assert_eq!(judged(&token, &issuer, &rules()), Ok(()));
}

#[test]
fn au06_weak_and_foreign_ecdsa_signatures_fail() {
    let signer = Signer::new(Algorithm::Es256);
    let token = signer.token(CLAIMS);
    let (message, _) = token.rsplit_once('.').unwrap();
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let der = [&[0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01][..]].concat();
    let signatures = [
        ("r=0 s=0", vec![0; 64]),
        ("r=1 s=0", [[0; 31].as_slice(), &[1], &[0; 32]].concat()),
        ("r=0 s=1", [[0; 63].as_slice(), &[1]].concat()),
        ("r=n s=n", [order, order].concat()),
        ("all ones", vec![0xff; 64]),
        ("DER", der),
        ("one byte short", vec![1; 63]),
        ("one byte long", vec![1; 65]),
        ("P-384 length", vec![1; 96]),
    ];
    for (what, signature) in &signatures {
        let forged = format!("{message}.{}", encode(signature));
        assert_eq!(judged(&forged, &signer.issuer(), &rules()), Err(Reason::TokenSignature), "{what}");
    }
    assert_eq!(signatures.len(), 9);
    assert_eq!(judged(&token, &signer.issuer(), &rules()), Ok(()));
}

#[test]
fn au07_a_key_id_is_a_look_up_and_nothing_else() {
    let signers = [Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256)];
    let key = |signer: &Signer, id: &str| {
        key_file::from_pem(signer.public_pem.as_bytes(), &[Algorithm::Es256], Some(id)).unwrap()
    };
    let two = Issuer::new(ISS, vec![key(&signers[0], "a"), key(&signers[1], "b")]).unwrap();
    let with_kid = |kid: &str| signers[0].sign(&format!(r#"{{"alg":"ES256","kid":{kid}}}"#), CLAIMS);
    let long = format!("\"{}\"", "a".repeat(4000));
    let unknown = [
        r#""../../dev/null""#,
        r#""' OR 1=1 --""#,
        r#""\u0000""#,
        r#""a\u0000""#,
        &long,
        r#"["a"]"#,
        "1",
        "null",
        r#""""#,
        r#""A""#,
        r#""c""#,
    ];
    for kid in unknown {
        assert_eq!(judged(&with_kid(kid), &two, &rules()), Err(Reason::TokenKeyUnknown), "{kid}");
    }
    assert_eq!(judged(&signers[0].token(CLAIMS), &two, &rules()), Err(Reason::TokenKeyUnknown), "no kid, two keys");
    assert_eq!(judged(&with_kid(r#""b""#), &two, &rules()), Err(Reason::TokenSignature), "another's key");
    assert_eq!(judged(&with_kid(r#""a""#), &two, &rules()), Ok(()));

    let one = Issuer::new(ISS, vec![key(&signers[0], "a")]).unwrap();
    assert_eq!(judged(&signers[0].token(CLAIMS), &one, &rules()), Ok(()), "no kid, one key");
    assert_eq!(judged(&with_kid(r#""c""#), &one, &rules()), Err(Reason::TokenKeyUnknown));
    let nameless = signers[0].issuer();
    assert_eq!(judged(&with_kid(r#""c""#), &nameless, &rules()), Ok(()), "an only key without an id");
}

#[test]
fn au08_au09_au18_header_members_that_demand_or_tempt() {
    let signer = Signer::new(Algorithm::Hs256);
    let issuer = signer.issuer();
    let refused = [
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""zip":"DEF""#,
        r#""enc":"A128GCM""#,
    ];
    for member in refused {
        let token = signer.sign(&format!(r#"{{"alg":"HS256",{member}}}"#), CLAIMS);
        assert_eq!(judged(&token, &issuer, &rules()), Err(Reason::TokenHeader), "{member}");
    }
    let ignored = [
        r#""jku":"http://127.0.0.1:1/jwks""#,
        r#""x5u":"http://127.0.0.1:1/""#,
        r#""x5c":["AAAA"]"#,
        r#""cty":"JWT""#,
        r#""jwk":{"kty":"oct","k":"AAAA"}"#,
    ];
    for member in ignored {
        let token = signer.sign(&format!(r#"{{"alg":"HS256",{member}}}"#), CLAIMS);
        assert_eq!(judged(&token, &issuer, &rules()), Ok(()), "{member}");
    }
}

#[test]
fn au10_the_type_is_the_policys() {
    let signer = Signer::new(Algorithm::Hs256);
    let typed = JwtRules { typ: Some(String::from("at+jwt")), ..rules() };
    let cases = [
        (r#","typ":"at+jwt""#, true),
        (r#","typ":"AT+JWT""#, true),
        (r#","typ":"application/at+jwt""#, true),
        (r#","typ":"JWT""#, false),
        (r#","typ":"id+jwt""#, false),
        (r#","typ":"text/at+jwt""#, false),
        (r#","typ":["at+jwt"]"#, false),
        ("", false),
    ];
    for (member, passes) in cases {
        let token = signer.sign(&format!(r#"{{"alg":"HS256"{member}}}"#), CLAIMS);
        let expected = if passes { Ok(()) } else { Err(Reason::TokenHeader) };
        assert_eq!(judged(&token, &signer.issuer(), &typed), expected, "{member}");
        assert_eq!(judged(&token, &signer.issuer(), &rules()), Ok(()), "{member}, no type demanded");
    }
}

#[test]
fn au11_to_au16_claims_are_judged_one_by_one() {
    use Reason::*;
    let exp = r#""exp":1800000600"#;
    let iat = r#""iat":1799999990"#;
    let iss = r#""iss":"https://login.example.com""#;
    let aud = r#""aud":"chat""#;
    let sub = r#""sub":"alice""#;
    let long_sub = format!(r#""sub":"{}""#, "s".repeat(257));
    let cases: &[(&str, &str, &str, Result<(), Reason>)] = &[
        ("AU11", exp, r#""x":0"#, Err(TokenClaimInvalid)),
        ("AU11", exp, r#""exp":"1800000600""#, Err(TokenClaimInvalid)),
        ("AU11", exp, r#""exp":-1"#, Err(TokenClaimInvalid)),
        ("AU11", exp, r#""exp":1e300"#, Err(TokenClaimInvalid)),
        ("AU11", exp, r#""exp":1800000600.0"#, Err(TokenClaimInvalid)),
        ("AU11", exp, r#""exp":18446744073709551615"#, Err(TokenClaimInvalid)),
        ("AU11", exp, r#""exp":99999999999999999999999"#, Err(TokenClaimInvalid)),
        ("AU11", exp, r#""exp":null"#, Err(TokenClaimInvalid)),
        ("AU11", exp, r#""exp":[1800000600]"#, Err(TokenClaimInvalid)),
        ("AU11", exp, r#""exp":0"#, Err(TokenExpired)),
        ("AU12", exp, r#""exp":1799999994"#, Err(TokenExpired)),
        ("AU12", exp, r#""exp":1799999995"#, Err(TokenExpired)),
        ("AU12", exp, r#""exp":1799999996"#, Ok(())),
        ("AU13", iat, r#""nbf":1800000006"#, Err(TokenNotYetValid)),
        ("AU13", iat, r#""nbf":1800000005"#, Ok(())),
        ("AU13", iat, r#""nbf":"soon""#, Err(TokenClaimInvalid)),
        ("AU13", iat, r#""nbf":1799999990.5"#, Err(TokenClaimInvalid)),
        ("AU13", iat, r#""iat":1800000006"#, Err(TokenNotYetValid)),
        ("AU13", iat, r#""iat":1800000005"#, Ok(())),
        ("AU13", iat, r#""iat":"now""#, Err(TokenClaimInvalid)),
        ("AU13", iat, r#""iat":1799996999"#, Err(TokenLifeTooLong)),
        ("AU13", iat, r#""iat":1799997000"#, Ok(())),
        ("AU13", &format!("{iat},{exp}"), r#""exp":1800003601"#, Err(TokenLifeTooLong)),
        ("AU13", &format!("{iat},{exp}"), r#""exp":1800003600"#, Ok(())),
        ("AU13", iat, r#""nbf":1799996999"#, Err(TokenLifeTooLong)),
        ("AU13", iat, r#""nbf":1799997000"#, Ok(())),
        ("AU13", iat, r#""iat":1799999990,"nbf":1799996999"#, Ok(())),
        ("AU14", iss, r#""x":0"#, Err(TokenClaimInvalid)),
        ("AU14", iss, r#""iss":7"#, Err(TokenClaimInvalid)),
        ("AU14", iss, r#""iss":["https://login.example.com"]"#, Err(TokenClaimInvalid)),
        ("AU14", iss, r#""iss":"https://login.example.com/""#, Err(TokenIssuer)),
        ("AU14", iss, r#""iss":"https://login.example""#, Err(TokenIssuer)),
        ("AU14", iss, r#""iss":"https://LOGIN.example.com""#, Err(TokenIssuer)),
        ("AU15", aud, r#""x":0"#, Err(TokenClaimInvalid)),
        ("AU15", aud, r#""aud":7"#, Err(TokenClaimInvalid)),
        ("AU15", aud, r#""aud":{"chat":1}"#, Err(TokenClaimInvalid)),
        ("AU15", aud, r#""aud":["chat",7]"#, Err(TokenClaimInvalid)),
        ("AU15", aud, r#""aud":[]"#, Err(TokenAudience)),
        ("AU15", aud, r#""aud":"mail""#, Err(TokenAudience)),
        ("AU15", aud, r#""aud":"chat mail""#, Err(TokenAudience)),
        ("AU15", aud, r#""aud":["mail","chat"]"#, Ok(())),
        ("AU16", sub, r#""x":0"#, Err(TokenClaimInvalid)),
        ("AU16", sub, r#""sub":"""#, Err(TokenClaimInvalid)),
        ("AU16", sub, r#""sub":7"#, Err(TokenClaimInvalid)),
        ("AU16", sub, r#""sub":"a\nb""#, Err(TokenClaimInvalid)),
        ("AU16", sub, r#""sub":"a\u0085b""#, Err(TokenClaimInvalid)),
        ("AU16", sub, &long_sub, Err(TokenClaimInvalid)),
        ("AU16", sub, &long_sub.replacen('s', "", 2).replacen("ub", "sub", 1), Ok(())),
        ("AU16", sub, r#""sub":"Zoë / 7""#, Ok(())),
        ("require", "chat:join ", "", Err(ClaimRequired)),
        ("require", "chat:join chat:read", "chat:join", Ok(())),
    ];
    let signer = Signer::new(Algorithm::Hs256);
    let issuer = signer.issuer();
    let mut ran = 0;
    for (id, from, to, expected) in cases {
        assert_eq!(judged(&signer.token(&claims(from, to)), &issuer, &rules()), *expected, "{id} {to}");
        ran += 1;
    }
    assert_eq!(ran, 51);
    assert_eq!(judged(&signer.token(CLAIMS), &issuer, &rules()), Ok(()));
}

#[test]
fn au30_no_clock_makes_it_panic() {
    let signer = Signer::new(Algorithm::Hs256);
    let token = signer.token(CLAIMS);
    let patient = JwtRules { leeway: std::time::Duration::MAX, max_life: std::time::Duration::MAX, ..rules() };
    for now in [0, 1, 2_147_483_648, u64::MAX] {
        assert!(verify(&token, &rules(), &signer.issuer(), UnixSeconds(now)).is_err(), "{now}");
    }
    assert!(verify(&token, &patient, &signer.issuer(), UnixSeconds(0)).is_ok());
}

#[test]
fn au17_header_and_claims_are_strict_json() {
    let signer = Signer::new(Algorithm::Hs256);
    let issuer = signer.issuer();
    let plain = r#"{"alg":"HS256"}"#;
    let nested = format!(r#""sub":"alice","x":{}{}"#, "[".repeat(40), "]".repeat(40));
    let bad = [
        (plain.to_owned(), claims(r#""sub":"alice""#, r#""sub":"alice","sub":"root""#)),
        (plain.to_owned(), claims(r#""sub":"alice""#, r#""sub":"alice","role":"user","role":"admin""#)),
        (plain.to_owned(), claims(r#""sub":"alice""#, r#""sub":"alice","x":{"role":"user","role":"admin"}"#)),
        (plain.to_owned(), claims(r#""sub":"alice""#, &nested)),
        (plain.to_owned(), format!("\u{feff}{CLAIMS}")),
        (plain.to_owned(), format!("{CLAIMS} {CLAIMS}")),
        (plain.to_owned(), String::from("[]")),
        (plain.to_owned(), String::new()),
        (String::from(r#"{"alg":"none","alg":"HS256"}"#), CLAIMS.to_owned()),
        (format!("\u{feff}{plain}"), CLAIMS.to_owned()),
        (String::from("\"HS256\""), CLAIMS.to_owned()),
    ];
    for (header, claims) in &bad {
        assert_eq!(
            judged(&signer.sign(header, claims), &issuer, &rules()),
            Err(Reason::TokenMalformed),
            "{header} {claims}"
        );
    }
    assert_eq!(bad.len(), 11);
    assert_eq!(judged(&signer.sign(plain, CLAIMS), &issuer, &rules()), Ok(()));
}

#[test]
fn au18_cheap_tests_come_before_the_signature() {
    let signer = Signer::new(Algorithm::Hs256);
    let issuer = signer.issuer();
    let filler = |length: usize| claims(r#""sub":"alice""#, &format!(r#""sub":"alice","x":"{}""#, "y".repeat(length)));
    assert_eq!(judged(&signer.token(&filler(6200)), &issuer, &rules()), Err(Reason::TokenTooLong));
    assert_eq!(judged(&signer.token(&filler(5000)), &issuer, &rules()), Ok(()));
    // Each of these has a wrong signature too; what is told is the cheaper fact.
    let forged = |header: &str| format!("{}.{}.AAAA", encode(header), encode(CLAIMS));
    assert_eq!(judged(&forged(r#"{"alg":"HS256","crit":["x"]}"#), &issuer, &rules()), Err(Reason::TokenHeader));
    assert_eq!(judged(&forged(r#"{"alg":"HS512"}"#), &issuer, &rules()), Err(Reason::TokenAlgorithm));
    // A wrong signature is told before anything that the claims say.
    let expired = format!("{}.{}.AAAA", encode(r#"{"alg":"HS256"}"#), encode("{}"));
    assert_eq!(judged(&expired, &issuer, &rules()), Err(Reason::TokenSignature));
    assert!(SECRET.len() >= Algorithm::Hs512.min_secret());
}

/// Times of a token as seconds from [`NOW`]: `exp`, `nbf` and `iat`.
type Times = (i64, Option<i64>, Option<i64>);

fn timed((exp, nbf, iat): Times) -> String {
    let at = |offset: i64| NOW.0.checked_add_signed(offset).unwrap();
    let mut claims =
        serde_json::json!({"iss": ISS, "aud": "chat", "sub": "alice", "scope": "chat:join", "exp": at(exp)});
    for (name, time) in [("nbf", nbf), ("iat", iat)] {
        if let Some(offset) = time {
            claims[name] = at(offset).into();
        }
    }
    claims.to_string()
}

#[test]
fn au12_au13_a_token_is_good_to_the_second() {
    let signer = Signer::new(Algorithm::Es256);
    let (issuer, rules) = (signer.issuer(), rules());
    let far = |time: u64| i64::try_from(time - NOW.0).unwrap();
    // Five seconds of leeway, an hour of life.
    let cases: [(&str, Times, Result<i64, Reason>); 13] = [
        ("AU12 the last second of the leeway", (-4, None, None), Ok(1)),
        ("AU12 exp plus leeway", (-5, None, None), Err(Reason::TokenExpired)),
        ("AU12 long expired", (-3600, None, None), Err(Reason::TokenExpired)),
        ("AU13 nbf within the leeway", (600, Some(5), None), Ok(605)),
        ("AU13 nbf beyond it", (600, Some(6), None), Err(Reason::TokenNotYetValid)),
        ("AU13 iat within the leeway", (600, None, Some(5)), Ok(605)),
        ("AU13 iat beyond it", (600, None, Some(6)), Err(Reason::TokenNotYetValid)),
        ("AU13 an hour", (3590, None, Some(-10)), Ok(3595)),
        ("AU13 an hour and a second", (3591, None, Some(-10)), Err(Reason::TokenLifeTooLong)),
        ("AU13 an hour from the moment it is read", (3600, None, None), Ok(3605)),
        ("AU13 a second more", (3601, None, None), Err(Reason::TokenLifeTooLong)),
        ("AU30 the last time that is read", (far(MAX_TIME), None, None), Err(Reason::TokenLifeTooLong)),
        ("AU30 a second beyond it", (far(MAX_TIME) + 1, None, None), Err(Reason::TokenClaimInvalid)),
    ];
    let mut ran = 0;
    for (name, times, expected) in cases {
        let proof = verify(&signer.token(&timed(times)), &rules, &issuer, NOW);
        let until = proof.map(|proof| proof.session_until).map_err(|refusal| refusal.reason);
        let expected = expected.map(|offset| UnixSeconds(NOW.0.checked_add_signed(offset).unwrap()));
        assert_eq!(until, expected, "{name}");
        ran += 1;
    }
    assert_eq!(ran, 13);
}
