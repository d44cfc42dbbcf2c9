//! Authentication: who brings no proof, a wrong one, or two at once stays outside, and no proof is ever seen again.
//!
//! Every wrong token is the good one with one thing changed; the good one comes in before and after.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::type_complexity, reason = "a table of cases is plainest with its columns in sight")]

mod support;

use serde_json::{Value, json};
use support::backend::{SWITCHING, Seen, Step};
use support::house::HEADER_ONLY;
use support::tokens::{ISSUER, Json, Signer, claims, decode, digest, encode, header, now};
use support::{Cases, House, Plan, Request, cases};
use wsgate::policy::Reason;

/// A wrong token, and why it is refused.
type Wrong = (&'static str, &'static str, fn(&Signer) -> String, Reason);

const HEADERS: [Wrong; 27] = [
    ("AU02", "alg none", |s| unsigned(s, "none"), Reason::TokenAlgorithm),
    ("AU02", "alg None", |s| unsigned(s, "None"), Reason::TokenAlgorithm),
    ("AU02", "alg nOnE", |s| unsigned(s, "nOnE"), Reason::TokenAlgorithm),
    ("AU02", "alg empty", |s| unsigned(s, ""), Reason::TokenAlgorithm),
    ("AU02", "no alg", |s| s.token_headed(|h| drop(h.remove("alg"))), Reason::TokenAlgorithm),
    ("AU02", "alg a number", |s| with(s, "alg", json!(256)), Reason::TokenAlgorithm),
    ("AU02", "alg a list", |s| with(s, "alg", json!(["ES256"])), Reason::TokenAlgorithm),
    ("AU03", "the public key as a secret", confused, Reason::TokenAlgorithm),
    ("AU04", "es256 in lower case", |s| with(s, "alg", json!("es256")), Reason::TokenAlgorithm),
    ("AU04", "ES384 with the same key", |s| with(s, "alg", json!("ES384")), Reason::TokenAlgorithm),
    ("AU04", "ES256K", |s| with(s, "alg", json!("ES256K")), Reason::TokenAlgorithm),
    ("AU04", "RS256", |s| with(s, "alg", json!("RS256")), Reason::TokenAlgorithm),
    ("AU07", "kid with a path", |s| with(s, "kid", json!("../../dev/null")), Reason::TokenKeyUnknown),
    ("AU07", "kid with SQL", |s| with(s, "kid", json!("x' UNION SELECT 'key")), Reason::TokenKeyUnknown),
    ("AU07", "kid with a NUL", |s| with(s, "kid", json!("login\u{0}")), Reason::TokenKeyUnknown),
    ("AU07", "kid of 4 KB", |s| with(s, "kid", json!("k".repeat(4096))), Reason::TokenKeyUnknown),
    ("AU07", "kid a list", |s| with(s, "kid", json!(["login"])), Reason::TokenKeyUnknown),
    ("AU07", "kid a number", |s| with(s, "kid", json!(1)), Reason::TokenKeyUnknown),
    ("AU09", "crit with an unknown name", |s| with(s, "crit", json!(["exp"])), Reason::TokenHeader),
    ("AU09", "crit empty", |s| with(s, "crit", json!([])), Reason::TokenHeader),
    ("AU09", "b64 false", |s| with(s, "b64", json!(false)), Reason::TokenHeader),
    ("AU18", "zip", |s| with(s, "zip", json!("DEF")), Reason::TokenHeader),
    ("AU18", "enc, as an encrypted token has", |s| with(s, "enc", json!("A256GCM")), Reason::TokenHeader),
    ("AU17", "alg twice", alg_twice, Reason::TokenMalformed),
    ("AU17", "a byte order mark", |s| headed(s, "\u{feff}{\"alg\":\"ES256\"}"), Reason::TokenMalformed),
    ("AU17", "a header that is a list", |s| headed(s, "[\"ES256\"]"), Reason::TokenMalformed),
    ("AU17", "a header with a tail", |s| headed(s, "{\"alg\":\"ES256\"} x"), Reason::TokenMalformed),
];

fn with(signer: &Signer, name: &str, value: Value) -> String {
    signer.token_headed(|header| drop(header.insert(name.to_owned(), value)))
}

fn headed(signer: &Signer, text: &str) -> String {
    signer.signed(text, &Value::Object(claims()).to_string())
}

fn unsigned(_: &Signer, algorithm: &str) -> String {
    let (header, claims) = (Value::Object(header(algorithm)).to_string(), Value::Object(claims()).to_string());
    format!("{}.{}.", encode(header), encode(claims))
}

fn confused(signer: &Signer) -> String {
    Signer::Hmac(signer.public_pem().into_bytes()).token()
}

fn alg_twice(signer: &Signer) -> String {
    headed(signer, "{\"alg\":\"none\",\"alg\":\"ES256\"}")
}

const SHAPES: [Wrong; 22] = [
    ("AU05", "no signature", |s| cut(s, |parts| parts[2].clear()), Reason::TokenSignature),
    ("AU05", "half a signature", |s| signature(s, |bytes| bytes.truncate(32)), Reason::TokenSignature),
    ("AU05", "a signature with more behind", |s| signature(s, |bytes| bytes.push(0)), Reason::TokenSignature),
    ("AU05", "one bit of the signature", |s| signature(s, |bytes| bytes[10] ^= 1), Reason::TokenSignature),
    ("AU05", "spare bits that are not zero", loose_bits, Reason::TokenMalformed),
    ("AU05", "padding", |s| format!("{}==", s.token()), Reason::TokenMalformed),
    ("AU05", "two parts", |s| cut(s, |parts| drop(parts.pop())), Reason::TokenMalformed),
    ("AU05", "four parts", |s| cut(s, |parts| parts.push(String::from("x"))), Reason::TokenMalformed),
    ("AU05", "five parts", |s| format!("{}.x.y", s.token()), Reason::TokenMalformed),
    ("AU05", "one part", |_| String::from("nonsense"), Reason::TokenMalformed),
    ("AU05", "dots alone", |_| String::from(".."), Reason::TokenMalformed),
    ("AU05", "the other base64", |s| format!("{}+/", s.token()), Reason::TokenMalformed),
    ("AU05", "other claims under the same signature", swapped_claims, Reason::TokenSignature),
    ("AU06", "r and s of zero", |s| signature(s, |bytes| bytes.fill(0)), Reason::TokenSignature),
    ("AU06", "r and s beyond the order", |s| signature(s, |bytes| bytes.fill(0xff)), Reason::TokenSignature),
    ("AU06", "r of zero", |s| signature(s, |bytes| bytes[..32].fill(0)), Reason::TokenSignature),
    ("AU06", "DER", |s| signature(s, der), Reason::TokenSignature),
    ("AU05", "somebody else's key", |_| Signer::es256().token(), Reason::TokenSignature),
    ("AU17", "claims twice", claims_twice, Reason::TokenMalformed),
    (
        "AU17",
        "claims that are no UTF-8",
        |s| s.signed_bytes(b"{\"alg\":\"ES256\"}", b"{\"sub\":\"\xff\"}"),
        Reason::TokenMalformed,
    ),
    ("AU17", "claims nested a thousand deep", nested, Reason::TokenMalformed),
    ("AU18", "9 KB", |s| s.token_with(|c| drop(c.insert("x".into(), json!("x".repeat(9000))))), Reason::TokenTooLong),
];

fn cut(signer: &Signer, change: impl FnOnce(&mut Vec<String>)) -> String {
    let token = signer.token();
    let mut parts: Vec<String> = token.split('.').map(String::from).collect();
    change(&mut parts);
    parts.join(".")
}

fn signature(signer: &Signer, change: impl FnOnce(&mut Vec<u8>)) -> String {
    cut(signer, |parts| {
        let mut bytes = decode(&parts[2]);
        change(&mut bytes);
        parts[2] = encode(bytes);
    })
}

/// The last symbol of 64 bytes in base64url carries four bits that must be zero.
fn loose_bits(signer: &Signer) -> String {
    let mut token = signer.token();
    let last = token.pop().unwrap();
    let looser = match last {
        'A' => 'B',
        'Q' => 'R',
        'g' => 'h',
        'w' => 'x',
        other => panic!("{other} cannot end 64 bytes"),
    };
    token.push(looser);
    token
}

fn der(bytes: &mut Vec<u8>) {
    let mut whole = vec![0x30, 0x46];
    for half in bytes.chunks(32) {
        whole.extend_from_slice(&[0x02, 0x21, 0x00]);
        whole.extend_from_slice(half);
    }
    *bytes = whole;
}

fn swapped_claims(signer: &Signer) -> String {
    cut(signer, |parts| {
        let mut claims = claims();
        claims.insert("sub".into(), json!("mallory"));
        parts[1] = encode(Value::Object(claims).to_string());
    })
}

fn claims_twice(signer: &Signer) -> String {
    let text = Value::Object(claims()).to_string();
    let text = format!("{{\"sub\":\"mallory\",{}", &text[1..]);
    signer.signed(&Value::Object(header("ES256")).to_string(), &text)
}

fn nested(signer: &Signer) -> String {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    signer.signed(&Value::Object(header("ES256")).to_string(), &deep)
}

/// A claim changed, and why the token is refused.
type Claim = (&'static str, &'static str, fn(&mut Json), Reason);

const CLAIMS: [Claim; 40] = [
    ("AU11", "no exp", |c| without(c, "exp"), Reason::TokenClaimInvalid),
    ("AU11", "exp a string", |c| set(c, "exp", json!("9999999999")), Reason::TokenClaimInvalid),
    ("AU11", "exp negative", |c| set(c, "exp", json!(-1)), Reason::TokenClaimInvalid),
    ("AU11", "exp 1e300", |c| set(c, "exp", json!(1e300)), Reason::TokenClaimInvalid),
    ("AU11", "exp a fraction", |c| set(c, "exp", json!(4_000_000_000.5)), Reason::TokenClaimInvalid),
    ("AU11", "exp null", |c| set(c, "exp", Value::Null), Reason::TokenClaimInvalid),
    ("AU30", "exp at the end of time", |c| set(c, "exp", json!(u64::MAX)), Reason::TokenClaimInvalid),
    ("AU11", "exp zero", |c| set(c, "exp", json!(0)), Reason::TokenExpired),
    ("AU12", "exp beyond the leeway", |c| set(c, "exp", json!(now() - 7)), Reason::TokenExpired),
    ("AU13", "nbf in a minute", |c| set(c, "nbf", json!(now() + 60)), Reason::TokenNotYetValid),
    ("AU13", "nbf a string", |c| set(c, "nbf", json!("0")), Reason::TokenClaimInvalid),
    ("AU13", "nbf negative", |c| set(c, "nbf", json!(-1)), Reason::TokenClaimInvalid),
    ("AU13", "iat in a minute", |c| set(c, "iat", json!(now() + 60)), Reason::TokenNotYetValid),
    ("AU13", "iat a string", |c| set(c, "iat", json!("now")), Reason::TokenClaimInvalid),
    ("AU13", "a life of two days", |c| set(c, "exp", json!(now() + 172_800)), Reason::TokenLifeTooLong),
    ("AU13", "a life of a year without iat", a_year, Reason::TokenLifeTooLong),
    ("AU14", "no iss", |c| without(c, "iss"), Reason::TokenClaimInvalid),
    ("AU14", "iss a number", |c| set(c, "iss", json!(1)), Reason::TokenClaimInvalid),
    ("AU14", "iss a list with ours", |c| set(c, "iss", json!([ISSUER])), Reason::TokenClaimInvalid),
    ("AU14", "a prefix of iss", |c| set(c, "iss", json!("https://login.tes")), Reason::TokenIssuer),
    ("AU14", "iss with a slash behind", |c| set(c, "iss", json!("https://login.test/")), Reason::TokenIssuer),
    ("AU14", "iss in upper case", |c| set(c, "iss", json!("https://LOGIN.test")), Reason::TokenIssuer),
    ("AU14", "iss empty", |c| set(c, "iss", json!("")), Reason::TokenIssuer),
    ("AU15", "no aud", |c| without(c, "aud"), Reason::TokenClaimInvalid),
    ("AU15", "aud a number", |c| set(c, "aud", json!(7)), Reason::TokenClaimInvalid),
    ("AU15", "another aud", |c| set(c, "aud", json!("billing")), Reason::TokenAudience),
    ("AU15", "aud in upper case", |c| set(c, "aud", json!("CHAT")), Reason::TokenAudience),
    ("AU15", "a list without ours", |c| set(c, "aud", json!(["billing", "chat2"])), Reason::TokenAudience),
    ("AU15", "an empty list", |c| set(c, "aud", json!([])), Reason::TokenAudience),
    ("AU15", "ours beside a number", |c| set(c, "aud", json!(["chat", 1])), Reason::TokenClaimInvalid),
    ("AU15", "an object", |c| set(c, "aud", json!({"chat": true})), Reason::TokenClaimInvalid),
    ("AU16", "no sub", |c| without(c, "sub"), Reason::TokenClaimInvalid),
    ("AU16", "sub empty", |c| set(c, "sub", json!("")), Reason::TokenClaimInvalid),
    ("AU16", "sub a number", |c| set(c, "sub", json!(42)), Reason::TokenClaimInvalid),
    ("AU16", "sub null", |c| set(c, "sub", Value::Null), Reason::TokenClaimInvalid),
    ("AU16", "sub of 257 bytes", |c| set(c, "sub", json!("s".repeat(257))), Reason::TokenClaimInvalid),
    ("AU16", "sub with a line end", |c| set(c, "sub", json!("alice\r\nX-Admin: 1")), Reason::TokenClaimInvalid),
    ("AU16", "sub with a NUL", |c| set(c, "sub", json!("alice\u{0}")), Reason::TokenClaimInvalid),
    ("AU16", "sub with an escape", |c| set(c, "sub", json!("\u{1b}[31malice")), Reason::TokenClaimInvalid),
    ("AU11", "exp true", |c| set(c, "exp", json!(true)), Reason::TokenClaimInvalid),
];

fn set(claims: &mut Json, name: &str, value: Value) {
    claims.insert(name.to_owned(), value);
}

fn without(claims: &mut Json, name: &str) {
    claims.remove(name);
}

fn a_year(claims: &mut Json) {
    claims.remove("iat");
    set(claims, "exp", json!(now() + 31_536_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_one_thing_wrong_is_refused() {
    let house = House::plain().await;
    house.admits(&house.request()).await;
    let mut cases = Cases::of("wrong tokens");
    for (id, name, make, reason) in HEADERS.iter().chain(&SHAPES) {
        let token = make(&house.signer);
        let answer = house.refuses(&house.request_as(&token), *reason).await.unwrap();
        assert!(answer.one("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "RFC 6750 section 3");
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    for (id, name, change, reason) in CLAIMS {
        let token = house.signer.token_with(change);
        house.refuses(&house.request_as(&token), reason).await;
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    cases.all(HEADERS.len() + SHAPES.len() + CLAIMS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_token_that_is_right_comes_in() {
    let house = House::plain().await;
    let odd: [(&str, &str, fn(&mut Json)); 8] = [
        ("AU15", "a list with ours", |c| set(c, "aud", json!(["billing", "chat"]))),
        ("AU12", "exp inside the leeway", |c| set(c, "exp", json!(now() - 1))),
        ("AU13", "no nbf and no iat", neither_nbf_nor_iat),
        ("AU13", "nbf inside the leeway", |c| set(c, "nbf", json!(now() + 2))),
        ("AU13", "a life of a day", |c| set(c, "exp", json!(now() + 86_390))),
        ("AU16", "sub of 256 bytes", |c| set(c, "sub", json!("s".repeat(256)))),
        ("AU16", "sub in another script", |c| set(c, "sub", json!("Ælfrēd"))),
        ("AU18", "6 KB", |c| set(c, "x", json!("x".repeat(4000)))),
    ];
    let mut cases = Cases::of("odd tokens");
    for (id, name, change) in odd {
        house.admits(&house.request_as(&house.signer.token_with(change))).await;
        cases.held(id, name);
    }
    cases.all(odd.len());
}

fn neither_nbf_nor_iat(claims: &mut Json) {
    claims.remove("nbf");
    claims.remove("iat");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_a_token_brings_along_are_never_looked_at() {
    let house = House::plain().await;
    let bait = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", bait.local_addr().unwrap());
    let mallory = Signer::es256();
    let brought: [(&str, Value); 4] = [
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("jwk", json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"})),
        ("x5c", json!(["MIIB"])),
    ];
    let mut cases = Cases::of("brought keys");
    for (name, value) in brought {
        house.refuses(&house.request_as(&with(&mallory, name, value.clone())), Reason::TokenSignature).await;
        house.admits(&house.request_as(&with(&house.signer, name, value))).await;
        cases.held("AU08", name);
    }
    let fetched = futures_util::FutureExt::now_or_never(bait.accept());
    assert!(fetched.is_none(), "nothing is fetched");
    cases.all(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_is_demanded_where_the_policy_sets_one() {
    let policy = HEADER_ONLY.replace("audience", "typ = \"at+jwt\"\naudience");
    let house = Plan::plain().policy(&policy).build().await;
    let typed = |typ: Value| house.request_as(&with(&house.signer, "typ", typ));
    let mut cases = Cases::of("types");
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        house.admits(&typed(json!(typ))).await;
        cases.held("AU10", typ);
    }
    for typ in [json!("JWT"), json!("id+jwt"), json!("at+jwt "), json!(1), Value::Null] {
        house.refuses(&typed(typ.clone()), Reason::TokenHeader).await;
        cases.held("AU10", &typ.to_string());
    }
    let untyped = house.signer.token_headed(|header| drop(header.remove("typ")));
    house.refuses(&house.request_as(&untyped), Reason::TokenHeader).await;
    cases.held("AU10", "none");
    cases.all(9);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_verifies_its_own_algorithm_alone() {
    let secret = "a secret of at least thirty-two bytes";
    let signers: [(fn() -> Signer, &str); 3] = [
        (Signer::rsa, "PS256"),
        (Signer::ed25519, "ES256"),
        (|| Signer::Hmac(b"a secret of at least thirty-two bytes".to_vec()), "HS384"),
    ];
    let mut cases = Cases::of("kinds of keys");
    for (make, other) in signers {
        let house = Plan::plain().variable("LOGIN_SECRET", secret).signer(make()).build().await;
        house.admits(&house.request()).await;
        let wrong = with(&house.signer, "alg", json!(other));
        house.refuses(&house.request_as(&wrong), Reason::TokenAlgorithm).await;
        house.admits(&house.request()).await;
        cases.held("AU04", house.signer.algorithm());
    }
    cases.all(signers.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_the_policy_wants_must_be_there() {
    let policy = HEADER_ONLY.replace(
        "audience",
        "require = { \"/scope\" = \"chat:join\", \"/realm/roles\" = [\"member\", \"admin\"] }\naudience",
    );
    let house = Plan::plain().policy(&policy).build().await;
    let token = |scope: &str, roles: Value| {
        house.signer.token_with(|claims| {
            set(claims, "scope", json!(scope));
            set(claims, "realm", json!({ "roles": roles }));
        })
    };
    let good = house.request_as(&token("chat:read chat:join", json!(["guest", "member"])));
    house.admits(&good).await;
    let wrong = [
        token("chat:joined", json!(["member"])),
        token("chat:read", json!(["member"])),
        token("", json!(["member"])),
        token("chat:join", json!(["guest"])),
        token("chat:join", json!([])),
        token("chat:join", Value::Null),
        house.signer.token(),
    ];
    let mut cases = Cases::of("wanted claims");
    for token in &wrong {
        house.refuses(&house.request_as(token), Reason::ClaimRequired).await;
        house.admits(&good).await;
        cases.held("AU15", "a scope or a role too few");
    }
    cases.all(wrong.len());
}

/// A handshake without its good credential, changed, and why it is refused.
type Spoilt = (&'static str, &'static str, fn(&mut Request, &str), Reason);

const CARRIERS: [Spoilt; 27] = [
    ("AU01", "no token", |_, _| (), Reason::CredentialMissing),
    ("AU20", "a token without Bearer", |r, t| r.set("Authorization", t), Reason::CredentialMalformed),
    ("AU20", "two spaces", |r, t| bearer(r, &format!(" {t}")), Reason::CredentialMalformed),
    ("AU20", "a tab", |r, t| r.set("Authorization", format!("Bearer\t{t}")), Reason::CredentialMalformed),
    ("AU20", "Basic", |r, _| r.set("Authorization", "Basic YWxpY2U6eA=="), Reason::CredentialMalformed),
    ("AU20", "Bearer and nothing", |r, _| r.set("Authorization", "Bearer"), Reason::CredentialMalformed),
    ("AU20", "two in one line", |r, t| bearer(r, &format!("{t}, Bearer {t}")), Reason::CredentialMalformed),
    ("AU20", "more behind it", |r, t| bearer(r, &format!("{t} x")), Reason::CredentialMalformed),
    ("AU20", "a comma behind it", |r, t| bearer(r, &format!("{t},")), Reason::CredentialMalformed),
    ("AU20", "in quotes", |r, t| bearer(r, &format!("\"{t}\"")), Reason::CredentialMalformed),
    ("AU19", "two Authorization lines", two_lines, Reason::CredentialAmbiguous),
    ("AU19", "header and query", header_and_query, Reason::CredentialAmbiguous),
    ("AU19", "header and subprotocol", header_and_subprotocol, Reason::CredentialAmbiguous),
    ("AU19", "subprotocol and query", subprotocol_and_query, Reason::CredentialAmbiguous),
    (
        "AU19",
        "twice in the query",
        |r, t| query(r, &format!("access_token={t}&access_token={t}")),
        Reason::CredentialAmbiguous,
    ),
    (
        "AU19",
        "twice, once with an encoded name",
        |r, t| query(r, &format!("access_token={t}&%61ccess_token=x")),
        Reason::CredentialAmbiguous,
    ),
    (
        "AU19",
        "two cookies that differ",
        |r, t| r.set("Cookie", format!("session={t}; session=x")),
        Reason::CredentialAmbiguous,
    ),
    ("AU21", "encoded twice", |r, t| query(r, &format!("access_token=%2525{t}")), Reason::CredentialMalformed),
    ("AU21", "a plus", |r, t| query(r, &format!("access_token={t}+")), Reason::CredentialMalformed),
    ("AU21", "empty", |r, _| query(r, "access_token="), Reason::CredentialMalformed),
    ("AU21", "no value", |r, _| query(r, "access_token"), Reason::CredentialMalformed),
    ("AU21", "another case", |r, t| query(r, &format!("Access_Token={t}")), Reason::CredentialMissing),
    ("AU21", "behind a semicolon", |r, t| query(r, &format!("a=b;access_token={t}")), Reason::CredentialMissing),
    ("AU21", "an encoded ampersand", |r, t| query(r, &format!("a=b%26access_token={t}")), Reason::CredentialMissing),
    ("AU21", "a broken triplet", |r, t| query(r, &format!("access_token={t}%zz")), Reason::CredentialMalformed),
    ("AU23", "a marker without a token", |r, _| r.set("Sec-WebSocket-Protocol", "bearer"), Reason::CredentialMalformed),
    ("OR25", "a cookie of another name", |r, t| r.set("Cookie", format!("sid={t}")), Reason::CredentialMissing),
];

fn bearer(request: &mut Request, word: &str) {
    request.set("Authorization", format!("Bearer {word}"));
}

fn query(request: &mut Request, query: &str) {
    request.target(format!("/chat?{query}"));
}

fn two_lines(request: &mut Request, token: &str) {
    bearer(request, token);
    request.append("Authorization", format!("Bearer {token}"));
}

fn header_and_query(request: &mut Request, token: &str) {
    bearer(request, token);
    query(request, &format!("access_token={token}"));
}

fn header_and_subprotocol(request: &mut Request, token: &str) {
    bearer(request, token);
    request.set("Sec-WebSocket-Protocol", format!("bearer, {token}"));
}

fn subprotocol_and_query(request: &mut Request, token: &str) {
    request.set("Sec-WebSocket-Protocol", format!("bearer, {token}"));
    query(request, &format!("access_token={token}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_travels_in_one_place_and_in_one_form() {
    let house = House::plain().await;
    let token = house.signer.token();
    let bare = house.request_with(|request| request.remove("Authorization"));
    house.admits(&house.request()).await;
    let mut cases = Cases::of("carriers");
    for (id, name, spoil, reason) in CARRIERS {
        let mut request = bare.clone();
        spoil(&mut request, &token);
        let answer = house.refuses(&request, reason).await.unwrap();
        house.keeps(&token);
        let challenged = answer.one("www-authenticate").is_some_and(|value| value.starts_with("Bearer"));
        assert_eq!(challenged, answer.status == 401, "{name}: {}", answer.head);
        house.admits(&house.request()).await;
        cases.held(id, name);
    }
    cases.all(CARRIERS.len());
}

/// Every place in which a token may travel.
const PLACES: [(&str, &str, fn(&mut Request, &str)); 8] = [
    ("AU20", "the header", bearer),
    ("AU20", "the header, bearer in lower case", |r, t| r.set("Authorization", format!("bearer {t}"))),
    ("AU23", "the subprotocols", |r, t| r.set("Sec-WebSocket-Protocol", format!("bearer, {t}, chat.v2"))),
    ("AU23", "the subprotocols, behind another", |r, t| {
        r.set("Sec-WebSocket-Protocol", format!("chat.v2, bearer, {t}"))
    }),
    ("OR25", "a cookie beside others", |r, t| r.set("Cookie", format!("theme=dark; session={t}; lang=en"))),
    ("AU22", "the query", |r, t| query(r, &format!("access_token={t}"))),
    ("AU22", "the query between others", |r, t| query(r, &format!("a=b&access_token={t}&c=%2e"))),
    ("AU21", "the query, its name encoded", |r, t| query(r, &format!("%61ccess%5Ftoken={t}&room=1"))),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_seen_by_nobody_behind_the_gate() {
    let house = House::plain().await;
    let token = house.signer.token();
    let mut cases = Cases::of("places");
    for (id, name, place) in PLACES {
        let mut request = house.request_with(|request| request.remove("Authorization"));
        place(&mut request, &token);
        let answer = house.admits(&request).await;
        assert!(!answer.head.contains(&token), "{name}: {}", answer.head);
        house.keeps(&token);
        let seen = house.backend.last().request();
        assert!(!seen.line.contains("access_token"), "{name}: {}", seen.line);
        assert_eq!(seen.one("cookie"), None, "{name}");
        cases.held(id, name);
    }
    cases.all(PLACES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_query_and_an_offer_is_untouched() {
    let house = House::plain().await;
    let token = house.signer.token();
    let bare = house.request_with(|request| request.remove("Authorization"));
    let queries = [
        ("a=b&access_token=T&c=%2e", "/chat?a=b&c=%2e"),
        ("access_token=T", "/chat"),
        ("access_token=T&&x", "/chat?&x"),
        ("q=1;2&access_token=T", "/chat?q=1;2"),
    ];
    let mut cases = Cases::of("what is left");
    for (sent, left) in queries {
        let mut request = bare.clone();
        query(&mut request, &sent.replace('T', &token));
        house.admits(&request).await;
        assert_eq!(house.backend.last().request().line, format!("GET {left} HTTP/1.1"));
        cases.held("AU22", sent);
    }
    let mut request = bare.clone();
    request.set("Sec-WebSocket-Protocol", format!("chat.v2, bearer, {token}, chat.v1"));
    let answer = house.admits(&request).await;
    assert_eq!(house.backend.last().request().one("sec-websocket-protocol"), Some("chat.v2, chat.v1"));
    assert_eq!(answer.one("sec-websocket-protocol"), Some("bearer"), "browsers fail where an offer is not answered");
    cases.held("AU23", "the marker, where the backend chose nothing");
    cases.all(queries.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_not_told_either() {
    let house = House::plain().await;
    let wrong = Signer::es256().token();
    let mut cases = Cases::of("refused tokens");
    for (_, name, place) in PLACES {
        let mut request = house.request_with(|request| request.remove("Authorization"));
        place(&mut request, &wrong);
        house.refuses(&request, Reason::TokenSignature).await;
        house.keeps(&wrong);
        cases.held("AU22", name);
    }
    cases.all(PLACES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_401_looks_the_same() {
    let house = House::plain().await;
    let tokens = [
        Signer::es256().token(),
        with(&house.signer, "kid", json!("unknown")),
        house.signer.token_with(|claims| set(claims, "exp", json!(1))),
        house.signer.token_with(|claims| set(claims, "aud", json!("other"))),
        String::from("nonsense"),
    ];
    let reasons = [
        Reason::TokenSignature,
        Reason::TokenKeyUnknown,
        Reason::TokenExpired,
        Reason::TokenAudience,
        Reason::TokenMalformed,
    ];
    let mut bodies = Vec::new();
    for (token, reason) in tokens.iter().zip(reasons) {
        let answer = house.refuses(&house.request_as(token), reason).await.unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        let names: Vec<String> = answer.headers.into_iter().map(|(name, _)| name).collect();
        bodies.push((text.split(|letter: char| !letter.is_ascii_hexdigit()).map(str::len).collect::<Vec<_>>(), names));
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "only the id differs: {bodies:?}");
    cases::held("AU25", "one answer for a bad key, a bad signature and an old token");
}

#[tokio::test(flavor = "multi_thread")]
async fn query_tokens_are_found_by_their_digest() {
    let (good, old, spent) = ("a-good-query-token-0001", "an-old-query-token-0002", "a-spent-query-token-003");
    let (later, before) = (now() + 600, now() - 600);
    let file = format!(
        "# who may come\n{} carol use_until={later} session_until={later}\n{} dave use_until={before}\n{} erin use_until={later} session_until={before}\n",
        digest(good),
        digest(old),
        digest(spent),
    );
    let auth = "[[auth]]\nby = \"token\"\ntokens = \"chat.tokens\"\nfrom = [\"query:token\"]";
    let plan = Plan::plain().policy(auth).file("policies/chat.tokens", file);
    let house = plan.build().await;
    let with_token = |token: &str| {
        house.request_with(|request| {
            request.remove("Authorization");
            query(request, &format!("room=1&token={token}"));
        })
    };
    house.admits(&with_token(good)).await;
    assert_eq!(house.backend.last().request().line, "GET /chat?room=1 HTTP/1.1");
    let wrong = [
        ("AU24", "a-good-query-token-0000", Reason::TokenUnknown),
        ("AU24", "a-good-query-token-000", Reason::TokenUnknown),
        ("AU24", "a-good-query-token-00011", Reason::TokenUnknown),
        ("AU24", "A-good-query-token-0001", Reason::TokenUnknown),
        ("AU12", old, Reason::TokenExpired),
        ("AU12", spent, Reason::TokenExpired),
    ];
    let mut cases = Cases::of("query tokens");
    for (id, token, reason) in wrong {
        house.refuses(&with_token(token), reason).await;
        house.admits(&with_token(good)).await;
        house.keeps(token);
        cases.held(id, token);
    }
    house.refuses(&with_token(&digest(good)), Reason::TokenUnknown).await;
    cases.held("AU24", "the digest itself");
    house.keeps(good);
    cases.all(wrong.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_credential() {
    let policy = HEADER_ONLY.replace("audience", "leeway = \"1s\"\naudience");
    let house = Plan::plain().policy(&policy).build().await;
    let mark = house.record.mark();
    let token = house.signer.token_with(|claims| set(claims, "exp", json!(now() + 1)));
    let (mut wire, _) = house.session_of(&house.request_as(&token)).await;
    wire.is_closed_with(4401).await;
    drop(wire);
    let closure = house.closure(mark).await;
    assert_eq!(closure.cause, wsgate::session::Cause::CredentialExpired);
    assert_eq!(closure.code, Some(4401));
    cases::held("AU28", "the credential runs out while the session lives");
}

/// Keys that no gateway may start with.
#[test]
fn a_weak_key_is_refused_at_load() {
    let secret = |text: &str| Plan::plain().signer(Signer::Hmac(text.as_bytes().to_vec()));
    secret("a secret of at least thirty-two bytes").loads();
    let mut cases = Cases::of("weak keys");
    let weak: [(&str, Plan, &str); 6] = [
        ("a secret of 31 bytes", secret("a secret of thirty-one bytes .."), "LOGIN_SECRET: a secret of 31 bytes"),
        ("an empty secret", secret("").variable("LOGIN_SECRET", ""), "LOGIN_SECRET: a sample secret"),
        ("no keys", Plan::plain().gateway("issuer.login.keys = []"), "code: MissingKey"),
        (
            "a key file that is missing",
            Plan::plain().gateway("issuer.login.keys = [\"certs/missing.pem\"]"),
            "certs/missing.pem: this file cannot be read",
        ),
        (
            "a key file that holds no key",
            Plan::plain().gateway("issuer.login.keys = [\"certs/empty.pem\"]").file("certs/empty.pem", ""),
            "certs/empty.pem: no public key in PEM",
        ),
        (
            "an algorithm that the key is not for",
            Plan::plain().gateway("issuer.login.algorithms = [\"RS256\"]"),
            "certs/login.pem: a key of kind P256",
        ),
    ];
    let count = weak.len();
    for (name, plan, why) in weak {
        let said = plan.refused_at_load();
        assert!(said.contains(why), "{name}: {said}");
        cases.held("AU29", name);
    }
    let said = Plan::plain().gateway("issuer.login.algorithms = [\"none\"]").refused_at_load();
    assert!(said.contains("`none` is not an algorithm"), "{said}");
    cases.held("AU02", "an operator who asks for none");
    let missing = Plan::plain()
        .policy("[[auth]]\nby = \"token\"\ntokens = \"missing.tokens\"\nfrom = [\"query:token\"]")
        .refused_at_load();
    assert!(missing.contains("missing.tokens") && missing.contains("this file of tokens is not there"), "{missing}");
    cases.held("AU27", "a token file that is missing");
    let said = Plan::plain().policy("[[auth]]\nby = \"none\"").refused_at_load();
    assert!(said.contains("everybody may come in"), "{said}");
    cases.held("OP07", "nobody is asked, and no reason is given");
    cases.all(count + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_replaced_while_running_and_bad_ones_are_not() {
    let house = House::plain().await;
    let file = house.folder.path().join("certs/login.pem");
    let other = Signer::es256();
    let rotated = house.request_as(&other.token_headed(|header| set(header, "kid", json!("login"))));
    house.refuses(&rotated, Reason::TokenSignature).await;
    let mark = house.record.mark();
    std::fs::write(&file, other.public_pem()).unwrap();
    house.record.notice(mark, "keys_replaced").await;
    house.admits(&rotated).await;
    house.refuses(&house.request(), Reason::TokenSignature).await;
    let mut cases = Cases::of("keys while running");
    cases.held("AU27", "another key");
    for (what, bytes) in [("no key", "key to follow"), ("nothing", "")] {
        let mark = house.record.mark();
        std::fs::write(&file, bytes).unwrap();
        house.record.notice(mark, "keys_kept").await;
        house.admits(&rotated).await;
        cases.held("AU27", what);
    }
    let mark = house.record.mark();
    std::fs::remove_file(&file).unwrap();
    house.record.notice(mark, "keys_kept").await;
    house.admits(&rotated).await;
    cases.held("AU27", "a file that is gone");
    cases.all(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_under_way_is_not_admitted_by_keys_that_are_gone() {
    let script = vec![Step::Head, Step::Gate, Step::Send(SWITCHING.into()), Step::Echo];
    let house = Plan::plain().script(script).build().await;
    let mut cases = Cases::of("keys under way");
    let other = Signer::es256();
    let keys = [
        ("another key during the dial", Some(other.public_pem()), 401),
        ("the same key, written anew", Some(house.signer.public_pem()), 101),
        ("none replaced", None, 101),
    ];
    for (name, replaced, expected) in &keys {
        let dialled = house.backend.connections() + 1;
        let mut wire = house.wire().await;
        wire.send(&house.request().bytes()).await;
        let asked = |seen: &[Seen]| seen.len() == dialled && seen.last().is_some_and(|last| !last.head.is_empty());
        house.backend.wait("the handshake is at the backend", asked).await;
        let mark = house.record.mark();
        if let Some(pem) = replaced {
            std::fs::write(house.folder.path().join("certs/login.pem"), pem).unwrap();
            house.record.notice(mark, "keys_replaced").await;
        }
        house.backend.release();
        assert_eq!(wire.answer_head().await.status, *expected, "{name}");
        if *expected == 401 {
            assert_eq!(house.record.refused(mark).await.reason, Reason::TokenSignature, "{name}");
            let back = house.record.mark();
            std::fs::write(house.folder.path().join("certs/login.pem"), house.signer.public_pem()).unwrap();
            house.record.notice(back, "keys_replaced").await;
        }
        drop(wire);
        house.is_at_rest().await;
        cases.held("AU27", name);
    }
    cases.all(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_by_the_backend_counts_as_a_failed_attempt() {
    let mut cases = Cases::of("denials");
    for (status, reason) in [("401 No", Reason::BackendUnauthorized), ("403 No", Reason::BackendForbidden)] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let plan = Plan::plain().policy("[[auth]]\nby = \"backend\"").gateway("[address]\nfailures = \"1/h burst 2\"");
        let house = plan.script(vec![Step::Head, Step::Send(answer.into())]).build().await;
        let bare = house.request_with(|request| request.remove("Authorization"));
        for _ in 0..2 {
            house.refuses_after_dial(house.wire().await, &bare, reason).await;
        }
        house.refuses(&bare, Reason::AddressFailures).await;
        cases.held("AU25", status);
    }
    cases.all(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_backend_judges_the_rest_still_holds() {
    let house = Plan::plain().policy("[[auth]]\nby = \"backend\"").build().await;
    let bare = house.request_with(|request| request.remove("Authorization"));
    house.admits(&bare).await;
    let mut evil = bare.clone();
    evil.set("Origin", "https://evil.example");
    house.refuses(&evil, Reason::OriginNotAllowed).await;
    house.admits(&bare).await;
    cases::held("OR25", "a page without a listed Origin, whoever judges the credential");
}
