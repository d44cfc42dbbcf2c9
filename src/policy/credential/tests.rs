use super::*;
use crate::ws::opening::{Authority, WebSocketKey};

/// A handshake with these fields; the subprotocols are split as the parser splits them.
pub(in crate::policy) fn handshake(query: Option<&str>, fields: &[(&str, &str)]) -> OpeningHandshake {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.push(String::from(*name), String::from(*value));
    }
    let offered = headers.all("sec-websocket-protocol").flat_map(|line| line.split(','));
    OpeningHandshake {
        authority: Authority {
            raw: String::from("Chat.example.com:8443"),
            host: String::from("chat.example.com"),
            port: Some(8443),
        },
        path: String::from("/chat/room"),
        query: query.map(String::from),
        key: WebSocketKey::parse("dGhlIHNhbXBsZSBub25jZQ==").unwrap(),
        origin: headers.all("origin").next().map(String::from),
        subprotocols: offered.map(|item| String::from(item.trim())).collect(),
        headers: headers.clone(),
    }
}

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn carriers(words: &[&str]) -> Vec<Carrier> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

const ALL: [&str; 4] = ["authorization", "subprotocol:bearer", "cookie:session", "query:token"];

/// What was found: `carrier token`, or nothing, or the reason.
fn found(query: Option<&str>, fields: &[(&str, &str)]) -> Result<Option<String>, Reason> {
    find(&handshake(query, fields), &carriers(&ALL))
        .map(|found| found.map(|found| format!("{} {}", found.carrier, found.token.expose())))
        .map_err(|refusal| refusal.reason)
}

fn ok(text: &str) -> Result<Option<String>, Reason> {
    Ok(Some(String::from(text)))
}

#[test]
fn carriers_read_and_print() {
    for word in ALL {
        assert_eq!(word.parse::<Carrier>().unwrap().to_string(), word);
    }
    let wrong = [
        "",
        "Authorization",
        "cookie",
        "cookie:",
        "query:a b",
        "query:a=b",
        "header:x",
        "subprotocol:a,b",
        "query:%74",
    ];
    for word in wrong {
        let error = word.parse::<Carrier>().unwrap_err().to_string();
        assert!(error.contains("query:token"), "{error}");
    }
}

#[test]
fn au20_the_authorization_grammar_is_exact() {
    let malformed = Err(Reason::CredentialMalformed);
    let cases = [
        ("Bearer abc.DEF-1_2~3+4/5==", ok("authorization abc.DEF-1_2~3+4/5==")),
        ("bearer abc", ok("authorization abc")),
        ("BEARER abc", ok("authorization abc")),
        ("Bearer  abc", malformed.clone()),
        ("Bearer\tabc", malformed.clone()),
        ("Bearer", malformed.clone()),
        ("Bearerabc", malformed.clone()),
        ("Bearer a=b", malformed.clone()),
        ("Bearer ==", malformed.clone()),
        ("Bearer abc,def", malformed.clone()),
        ("Bearer abc, Bearer abc", malformed.clone()),
        ("Bearer abc def", malformed.clone()),
        ("Bearer \"abc\"", malformed.clone()),
        ("Basic YTpi", malformed.clone()),
        ("abc", malformed.clone()),
        ("", malformed),
    ];
    for (value, expected) in &cases {
        assert_eq!(found(None, &[("authorization", value)]), *expected, "{value}");
    }
    assert_eq!(cases.len(), 16);
    let twice = [("authorization", "Bearer abc"), ("authorization", "Bearer abc")];
    let nowhere = find(&handshake(None, &twice), &[]).unwrap_err();
    assert_eq!(nowhere.reason, Reason::CredentialAmbiguous, "AU19: even where the service behind judges");
    assert!(find(&handshake(None, &twice[..1]), &[]).unwrap().is_none());
    let elsewhere = find(&handshake(None, &[("authorization", "Basic YTpi")]), &carriers(&["query:token"]));
    assert!(elsewhere.unwrap().is_none(), "where the policy does not look, nothing is malformed");
}

#[test]
fn au21_the_query_is_decoded_once() {
    let malformed = Err(Reason::CredentialMalformed);
    let twice = Err(Reason::CredentialAmbiguous);
    let cases = [
        ("token=abc", ok("query:token abc")),
        ("a=1&token=abc&b=2", ok("query:token abc")),
        ("%74oken=%61bc", ok("query:token abc")),
        ("token=a%2Bb%3D", ok("query:token a+b=")),
        ("token=abc=", ok("query:token abc=")),
        ("token=%2561bc", malformed.clone()),
        ("token=a+b", malformed.clone()),
        ("token=a%20b", malformed.clone()),
        ("token=a%00b", malformed.clone()),
        ("token=a%0d%0ab", malformed.clone()),
        ("token=a%", malformed.clone()),
        ("token=a%zz", malformed.clone()),
        ("token=%c3%28", malformed.clone()),
        ("token=abc;b=2", malformed.clone()),
        ("token=", malformed.clone()),
        ("token", malformed),
        ("Token=abc", Ok(None)),
        ("TOKEN=abc", Ok(None)),
        ("%2574oken=abc", Ok(None)),
        ("xtoken=abc", Ok(None)),
        ("token%20=abc", Ok(None)),
        ("a=token=abc", Ok(None)),
        ("a=1;token=abc", Ok(None)),
        ("", Ok(None)),
        ("token=abc&token=abc", twice.clone()),
        ("token=abc&%74oken=def", twice.clone()),
        ("token=abc&token", twice),
    ];
    for (query, expected) in &cases {
        assert_eq!(found(Some(query), &[]), *expected, "{query}");
    }
    assert_eq!(cases.len(), 27);
}

#[test]
fn au19_one_credential_and_no_more() {
    let header = ("authorization", "Bearer abc");
    let offer = ("sec-websocket-protocol", "bearer, def, chat");
    let cookie = ("cookie", "a=b; session=ghi; c");
    let query = Some("token=jkl");
    let twice = Err(Reason::CredentialAmbiguous);
    let cases: Vec<(Option<&str>, Fields<'_>, _)> = vec![
        (query, vec![header], twice.clone()),
        (query, vec![offer], twice.clone()),
        (None, vec![header, offer], twice.clone()),
        (None, vec![header, header], twice.clone()),
        (None, vec![("sec-websocket-protocol", "bearer, a, bearer, b")], twice.clone()),
        (None, vec![cookie, ("cookie", "session=other")], twice),
        (None, vec![cookie, ("cookie", "session=ghi")], ok("cookie:session ghi")),
        (query, vec![cookie], ok("query:token jkl")),
        (None, vec![cookie, header], ok("authorization abc")),
        (None, vec![cookie, offer], ok("subprotocol:bearer def")),
        (None, vec![cookie], ok("cookie:session ghi")),
        (None, vec![("cookie", "Session=ghi; session2=x")], Ok(None)),
        (None, vec![("sec-websocket-protocol", "chat, bearer")], Err(Reason::CredentialMalformed)),
        (None, vec![("cookie", "session=\"ghi\"")], Err(Reason::CredentialMalformed)),
        (None, vec![("cookie", "session=")], Err(Reason::CredentialMalformed)),
        (None, vec![], Ok(None)),
    ];
    for (query, fields, expected) in &cases {
        assert_eq!(found(*query, fields), *expected, "{query:?} {fields:?}");
    }
    assert_eq!(cases.len(), 16);
}

#[test]
fn au18_a_long_token_is_not_looked_at() {
    for (length, expected) in [(8192, None), (8193, Some(Reason::TokenTooLong))] {
        let word = "a".repeat(length);
        let places = [
            (Some(format!("token={word}")), None),
            (None, Some(("authorization", format!("Bearer {word}")))),
            (None, Some(("sec-websocket-protocol", format!("bearer, {word}")))),
            (None, Some(("cookie", format!("session={word}")))),
        ];
        for (query, fields) in &places {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(found(query.as_deref(), &fields).err(), expected);
        }
    }
}

#[test]
fn au22_au23_what_is_ours_is_taken_out_and_nothing_else() {
    let queries = [
        (Some("token=abc"), None),
        (Some("a=%20+;&token=abc&&b"), Some("a=%20+;&&b")),
        (Some("a&%74oken=abc"), Some("a")),
        (Some("Token=abc"), Some("Token=abc")),
        (Some(""), Some("")),
        (None, None),
    ];
    for (query, left) in queries {
        let mut opening = handshake(query, &[]);
        strip(&mut opening, &carriers(&ALL));
        assert_eq!(opening.query.as_deref(), left, "{query:?}");
    }
    let fields = [
        ("authorization", "Bearer abc"),
        ("cookie", "session=s; a=b"),
        ("sec-websocket-protocol", "chat.v2, bearer, t0k3n"),
        ("cookie", "session=s"),
        ("sec-websocket-protocol", "chat.v1"),
        ("user-agent", "x"),
    ];
    let mut opening = handshake(None, &fields);
    strip(&mut opening, &carriers(&ALL));
    let left: Vec<(&str, &str)> = opening.headers.iter().map(|f| (f.name.as_str(), f.value.as_str())).collect();
    assert_eq!(left, [("cookie", "a=b"), ("sec-websocket-protocol", "chat.v2, chat.v1"), ("user-agent", "x")]);
    assert_eq!(opening.subprotocols, ["chat.v2", "chat.v1"]);
    let mut untouched = handshake(None, &fields);
    strip(&mut untouched, &[]);
    assert_eq!(untouched.headers.iter().count(), fields.len());
}

#[test]
fn nothing_found_is_printed() {
    let presented = find(&handshake(Some("token=canary"), &[]), &carriers(&ALL)).unwrap().unwrap();
    assert!(!format!("{presented:?}").contains("canary"));
}
