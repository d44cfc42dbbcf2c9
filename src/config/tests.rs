//! One table of mistakes: each row changes one fact of files that load, and says what must be told.

use super::diagnostic::{Code, Severity, Style};
use super::fixture::{GATEWAY, Ground, NOW, POLICY};
use super::*;
use crate::policy::auth::Auth;
use crate::policy::origin::MissingOrigin;
use crate::units::{ByteSize, UnixSeconds};

mod forms;
mod material;

/// A file, what is replaced in it by what, and the code and a phrase that must come, at the line of the second text.
type Row = (&'static str, &'static str, &'static str, Code, &'static str);

const GATEWAY_ROWS: &[Row] = &[
    ("OP04 syntax", "drain    = \"25s\"", "drain = = 3", Code::Syntax, ""),
    ("OP04 unknown key", "drain    =", "drian    =", Code::UnknownKey, "did you mean `drain`?"),
    ("OP04 unknown key in a list", "proxy        =", "proxxy       =", Code::UnknownKey, "did you mean `proxy`?"),
    ("OP04 unknown table", "[capacity]", "[kapacity]", Code::UnknownKey, "did you mean `capacity`?"),
    ("OP04 wrong type", "drain    = \"25s\"", "drain    = 25", Code::WrongValue, "such as \"30s\""),
    ("OP04 wrong unit", "drain    = \"25s\"", "drain    = \"25 parsecs\"", Code::WrongValue, "\"1m 30s\""),
    ("OP04 zero", "drain    = \"25s\"", "drain    = \"0s\"", Code::WrongValue, "above zero"),
    ("OP04 negative", "pending    = 2048", "pending    = -1", Code::WrongValue, "from 1 to"),
    ("OP07 limit 0", "pending    = 2048", "pending    = 0", Code::WrongValue, "from 1 to"),
    ("OP04 rate", "\"500/s burst 2000\"", "\"500 a second\"", Code::WrongValue, "100/s burst 500"),
    ("OP04 word", "proxy        = \"none\"", "proxy        = \"maybe\"", Code::WrongValue, "proxy_protocol"),
    ("OP04 truth for a word", "drain    =", "reload = true\ndrain    =", Code::WrongValue, "\"on_change\""),
    ("OP04 table for a list", "[[listener]]", "[listener]", Code::WrongValue, "[[listener]]"),
    (
        "OP04 missing file",
        "chain = \"certs/server.pem\"",
        "chain = \"certs/absent.pem\"",
        Code::Certificate,
        "absent.pem",
    ),
    ("TL15 key of another", "certs/server.key", "certs/other.key", Code::Certificate, "does not belong"),
    ("TL15 key is a certificate", "certs/server.key", "certs/server.pem", Code::Certificate, "no private key"),
    ("TL15 empty chain", "certs/server.pem", "certs/empty.pem", Code::Certificate, "no certificate"),
    ("address", "[::]:8443", "localhost:8443", Code::WrongValue, "127.0.0.1:8443"),
    ("no listener", "[[listener]]\naddress ", "[[listener]]\n#address ", Code::MissingKey, "[::]:8443"),
    (
        "proxy without trust",
        "proxy        = \"none\"",
        "proxy        = \"proxy_protocol\"",
        Code::MissingKey,
        "anybody else",
    ),
    ("trust without proxy", "proxy        = \"none\"", "trusted = [\"10.0.0.0/8\"]", Code::OutOfPlace, "which proxy"),
    (
        "ID04 everybody a proxy",
        "proxy        = \"none\"",
        "proxy = \"proxy_protocol\"\ntrusted = [\"0.0.0.0/0\"]",
        Code::WrongValue,
        "name his own address",
    ),
    (
        "ID04 half of the world a proxy",
        "proxy        = \"none\"",
        "proxy = \"proxy_protocol\"\ntrusted = [\"10.0.0.0/8\", \"2000::/3\"]",
        Code::WrongValue,
        "name his own address",
    ),
    ("host bits", "203.0.113.7/32", "203.0.113.7/24", Code::WrongValue, "203.0.113.0/24"),
    ("mapped network", "203.0.113.7/32", "::ffff:203.0.113.0/120", Code::WrongValue, "203.0.113.0/24"),
    ("NAT64 network", "203.0.113.7/32", "64:ff9b::cb00:7107/128", Code::WrongValue, "203.0.113.7/32"),
    ("OP07 plain listener", "certificates = [", "#[", Code::Danger, "danger_plaintext"),
    (
        "a lead beyond the drain",
        "drain    = \"25s\"",
        "drain = \"5s\"\ndrain_lead = \"6s\"",
        Code::Contradiction,
        "raise `drain`",
    ),
    ("not built: admin", "drain    = \"25s\"", "admin = { address = \"x\" }", Code::NotBuilt, "not built yet"),
    ("not built: cluster", "drain    = \"25s\"", "cluster = \"peers\"", Code::NotBuilt, "not built yet"),
    ("AU29 no keys", "[\"certs/login-a.pem\", \"certs/login-b.pem\"]", "[]", Code::MissingKey, "without a key"),
    ("AU29 no algorithm", "[\"ES256\"]", "[]", Code::MissingKey, "ES256"),
    ("algorithm none", "[\"ES256\"]", "[\"none\"]", Code::WrongValue, "ES256"),
    ("issuer like a token file", "[issuer.login]", "[issuer.\"tokens:chat\"]", Code::WrongValue, "without `/` and `:`"),
    ("issuer with a slash", "[issuer.login]", "[issuer.\"a/b\"]", Code::WrongValue, "without `/` and `:`"),
    (
        "AU29 short secret",
        "[\"ES256\"]\nkeys       = [",
        "[\"HS256\"]\nkeys = [{ env = \"SHORT_SECRET\" }] #",
        Code::Credential,
        "openssl rand",
    ),
    ("variable not set", "keys       = [", "keys = [{ env = \"ABSENT\" }, ", Code::Credential, "not set"),
    ("key missing", "certs/login-a.pem", "certs/absent.pem", Code::Credential, "wsgate token key"),
    ("key malformed", "certs/login-a.pem", "certs/empty.pem", Code::Credential, "BEGIN PUBLIC KEY"),
    ("no policies", "policies/*.toml", "policies/*.yaml", Code::Unreadable, "wsgate init"),
    ("total below a part", "total = \"30s\"", "total = \"5s\"", Code::Contradiction, "raise `total`"),
    ("head too large", "total = \"30s\"", "head_size = \"1MiB\"", Code::WrongValue, "64KiB"),
    ("target above head", "total = \"30s\"", "target_size = \"16KiB\"", Code::Contradiction, "head_size"),
    ("known network unnamed", "name = \"Berlin office NAT\", ", "", Code::MissingKey, "whose network"),
];

const POLICY_ROWS: &[Row] = &[
    ("OP04 unknown key", "allow   =", "alow    =", Code::UnknownKey, "did you mean `allow`?"),
    ("OP04 unknown key inside", "over = \"slow\"", "ovr = \"slow\"", Code::UnknownKey, "did you mean `over`?"),
    ("OP07 no hosts", "[\"chat.example.com\"]", "[]", Code::MissingKey, "chat.example.com"),
    ("no paths", "paths        =", "#", Code::MissingKey, "[\"/chat\"]"),
    ("no servers", "servers    =", "#", Code::MissingKey, "ws://"),
    (
        "OR26 empty list",
        "[\"https://app.example.com\", \"capacitor://localhost\"]",
        "[]",
        Code::MissingKey,
        "https://app.example.com",
    ),
    ("OR26 wildcard", "[\"https://app.example.com\", ", "[\"*\", ", Code::Danger, "danger_wildcard_origin"),
    ("OR26 regex", "https://app.example.com", "^https://.*$", Code::WrongValue, "no regex"),
    ("OR26 path in an origin", "https://app.example.com", "https://app.example.com/", Code::WrongValue, "no path"),
    (
        "ambient one-label wildcard",
        "https://app.example.com",
        "https://*.example.com",
        Code::Danger,
        "danger_ambient_wildcard",
    ),
    ("OR02 shared by files", "https://app.example.com", "file://", Code::Danger, "danger_ambient_wildcard"),
    ("reason too short", "missing = \"cookieless\"", "danger_wildcard_origin = \"ok\"", Code::WrongValue, "at least 8"),
    (
        "danger for nothing",
        "missing = \"cookieless\"",
        "danger_wildcard_origin = \"partners host pages\"",
        Code::OutOfPlace,
        "take",
    ),
    ("host with port", "chat.example.com", "chat.example.com:8443", Code::WrongValue, "without scheme and port"),
    ("path regex", "\"/chat/*\"", "\"/chat/[0-9]+\"", Code::WrongValue, "no regex"),
    ("path twice", "\"/chat/*\"", "\"/chat\"", Code::Duplicate, "once"),
    ("BE16 metadata", "ws://10.0.0.11:9001", "ws://169.254.169.254:80", Code::Danger, "credentials"),
    ("BE16 metadata, IPv6", "ws://10.0.0.11:9001", "ws://[fd00:ec2::254]:80", Code::Danger, "credentials"),
    ("server with path", "ws://10.0.0.11:9001", "ws://10.0.0.11:9001/chat", Code::WrongValue, "without path"),
    ("server twice", "ws://10.0.0.12:9001", "ws://10.0.0.11:9001", Code::Duplicate, "one server"),
    ("tell aloud", "missing = \"cookieless\"", "tell = \"aloud\"", Code::WrongValue, "one of"),
    ("balance of others", "round_robin", "least_connections", Code::WrongValue, "least_sessions"),
    ("hash on nothing", "\"round_robin\"", "{ hash = \"ip\" }", Code::WrongValue, "cookie:NAME"),
    ("hash on a bad name", "\"round_robin\"", "{ hash = \"header:a b\" }", Code::WrongValue, "header:NAME"),
    ("hash on a token", "\"round_robin\"", "{ hash = \"cookie:session\" }", Code::Contradiction, "subject"),
    ("hash on a bearer", "\"round_robin\"", "{ hash = \"header:Authorization\" }", Code::Contradiction, "subject"),
    ("eject", "host       = \"client\"", "eject = \"always\"", Code::WrongValue, "never"),
    (
        "eject for longer",
        "host       = \"client\"",
        "eject = { longest = \"5s\" }",
        Code::Contradiction,
        "lower `time`",
    ),
    ("check", "host       = \"client\"", "health = { check = \"udp\" }", Code::WrongValue, "tcp"),
    (
        "check without a path",
        "host       = \"client\"",
        "health = { check = { websocket = \"up\" } }",
        Code::WrongValue,
        "a path",
    ),
    ("check too often", "host       = \"client\"", "health = { interval = \"99ms\" }", Code::WrongValue, "100 ms"),
    ("orphans", "host       = \"client\"", "removed = \"move\"", Code::WrongValue, "keep"),
    ("reserved header", "[\"user-agent\"]", "[\"X-Forwarded-For\"]", Code::WrongValue, "writes it itself"),
    ("a header's twin", "[\"user-agent\"]", "[\"x_user_id\"]", Code::WrongValue, "read `_` as `-`"),
    ("reserved client address", "[\"user-agent\"]", "[\"x-client-ip\"]", Code::WrongValue, "writes it itself"),
    ("header of answers", "[\"user-agent\"]", "[\"set-cookie\"]", Code::WrongValue, "writes it itself"),
    ("handshake header", "[\"user-agent\"]", "[\"sec-websocket-key\"]", Code::WrongValue, "writes it itself"),
    ("authorization is ours", "[\"user-agent\"]", "[\"authorization\"]", Code::Contradiction, "credential"),
    ("identity in cookie", "\"x-org\" =", "cookie =", Code::WrongValue, "x-user-id"),
    ("identity of the gateway's", "\"x-org\" =", "true-client-ip =", Code::WrongValue, "writes it itself"),
    ("identity twice", "\"x-org\" =", "\"X-User-Id\" =", Code::Duplicate, "once is enough"),
    ("identity pointer", "\"/org\"", "\"org\"", Code::WrongValue, "\"/org\""),
    (
        "strip that does not fit",
        "path       = \"as_sent\"",
        "path = { strip = \"/api\" }",
        Code::Contradiction,
        "begin with it",
    ),
    ("unknown issuer", "issuer   = \"login\"", "issuer   = \"logon\"", Code::UnknownName, "login"),
    ("no audience", "audience = [\"chat\"]", "", Code::MissingKey, "any other service"),
    ("carrier", "cookie:session", "cookies:session", Code::WrongValue, "subprotocol:bearer"),
    ("carrier's name", "query:token", "query:a&b", Code::WrongValue, "letters, digits"),
    (
        "carrier of an example",
        "credential = \"cookie:session\"",
        "credential = \"cookie:a!b\"",
        Code::WrongValue,
        "letters",
    ),
    (
        "long tokens",
        "audience = [\"chat\"]",
        "audience = [\"chat\"]\nmax_life = \"48h\"",
        Code::Danger,
        "danger_long_tokens",
    ),
    ("leeway", "audience = [\"chat\"]", "audience = [\"chat\"]\nleeway = \"1h\"", Code::WrongValue, "5 minutes"),
    ("pointer", "\"/scope\"", "\"scope\"", Code::WrongValue, "/scope"),
    (
        "OP07 no auth",
        "by     = \"token\"\ntokens = \"chat.tokens\"\nfrom   = [\"query:token\"]",
        "by = \"none\"",
        Code::Danger,
        "danger_no_auth",
    ),
    (
        "a way that voids others",
        "by     = \"token\"\ntokens = \"chat.tokens\"\nfrom   = [\"query:token\"]",
        "by = \"backend\"",
        Code::Contradiction,
        "void",
    ),
    (
        "key of another way",
        "tokens = \"chat.tokens\"",
        "tokens = \"chat.tokens\"\nissuer = \"login\"",
        Code::OutOfPlace,
        "take it out",
    ),
    ("token file", "tokens = \"chat.tokens\"", "tokens = \"absent.tokens\"", Code::Credential, "wsgate token query"),
    (
        "query token as sent",
        "credential = \"strip\"",
        "credential = \"as_sent\"",
        Code::Danger,
        "danger_query_token_as_sent",
    ),
    ("idle above age", "idle_timeout  = \"1h\"", "idle_timeout  = \"13h\"", Code::Contradiction, "raise `max_age`"),
    ("close code", "expired = 4401", "expired = 1005", Code::WrongValue, "3000 to 4999"),
    ("browsers' frames", "from_backend  = { ", "from_backend  = { fragments = 8, ", Code::Contradiction, "`fragments`"),
    ("ceiling", "[limits]", "[limits]\nconnections = 5001", Code::Ceiling, "at most 5000"),
    ("ceiling of a subject", "subject = 20", "subject = 101", Code::Ceiling, "at most 100"),
    ("ceiling of a message", "\"64KiB\"", "\"2MiB\"", Code::Ceiling, "at most \"1MiB\""),
    ("ceiling of age", "\"12h\"", "\"13h\"", Code::Ceiling, "at most \"12h\""),
    ("unknown reason", "origin_not_allowed", "origin_denied", Code::UnknownName, "did you mean"),
    ("size without unit", "message_size = \"64KiB\"", "message_size = \"64\"", Code::WrongValue, "64KiB"),
];

#[test]
fn designs_examples_load() {
    let ground = Ground::new();
    let (config, warnings) = ground.load().unwrap();
    assert_eq!(warnings, []);
    let [policy] = config.policies.as_slice() else { panic!("one policy") };
    assert_eq!(policy.name.as_str(), "chat");
    assert_eq!(policy.auth.len(), 2);
    assert!(matches!(&policy.auth[0], Auth::Jwt(rules) if rules.from.len() == 3 && rules.require.len() == 2));
    assert_eq!(policy.origin.missing, MissingOrigin::Cookieless);
    assert_eq!(policy.quotas.connections, Some(5000), "what a policy does not set, the ceiling sets");
    assert_eq!(policy.session.from_client.message_size, ByteSize::kib(64));
    assert_eq!(config.keys.issuers.len(), 1);
    assert_eq!(config.keys.token_tables.len(), 1);
    assert_eq!(config.gateway.listeners[0].tls.as_ref().unwrap().certificates[0].loaded.names, ["chat.example.com"]);
}

#[test]
fn op04_op07_every_mistake_is_told_with_its_line_and_remedy() {
    let mut ran = 0;
    for (file, text, rows) in [("gateway.toml", GATEWAY, GATEWAY_ROWS), ("policies/chat.toml", POLICY, POLICY_ROWS)] {
        let ground = Ground::new();
        ground.certificate("other", &["chat.example.com"]);
        ground.write("certs/empty.pem", "");
        for (name, from, to, code, phrase) in rows {
            assert!(text.contains(from), "{name}: nothing to change");
            ground.write(file, text);
            assert!(ground.load().is_ok(), "{name}: the twin must load");
            ground.write(file, text.replacen(from, to, 1));
            let told = ground.load().expect_err(name);
            let place = text.find(from).unwrap();
            let first = text[..place].lines().count().max(1);
            let last = first + to.lines().count() + 1;
            let fits = |one: &&Diagnostic| {
                let text = format!("{} {}", one.message, one.help.clone().unwrap_or_default());
                one.code == *code && text.contains(phrase)
            };
            let found = told.iter().find(fits).unwrap_or_else(|| panic!("{name}: {told}"));
            assert_eq!(found.severity, Severity::Error, "{name}");
            if let Some(line) =
                found.place.line().filter(|_| !matches!(code, Code::MissingKey | Code::Danger | Code::Credential))
            {
                assert!((first..=last).contains(&line), "{name}: line {line}, not {first} to {last}\n{told}");
            }
            ran += 1;
        }
    }
    assert_eq!(ran, GATEWAY_ROWS.len() + POLICY_ROWS.len());
}

#[test]
fn op07_a_danger_with_its_reason_loads_and_is_kept() {
    let rows = [
        (
            "https://app.example.com\", ",
            "*\", ",
            "missing = ",
            "danger_wildcard_origin = \"partners host their own pages\"\ndanger_ambient_wildcard = \"cookies are partitioned\"\nmissing = ",
            2,
        ),
        (
            "audience = ",
            "max_life = \"48h\"\naudience = ",
            "issuer   =",
            "danger_long_tokens = \"devices in the field\"\nissuer   =",
            1,
        ),
        (
            "credential = \"strip\"",
            "credential = \"as_sent\"",
            "balance ",
            "danger_query_token_as_sent = \"a backend nobody can change\"\nbalance ",
            1,
        ),
    ];
    let ground = Ground::new();
    for (from, to, beside, key, dangers) in rows {
        let policy = POLICY.replacen(from, to, 1);
        ground.write("policies/chat.toml", &policy);
        assert!(ground.load().is_err(), "{key}");
        ground.write("policies/chat.toml", policy.replacen(beside, key, 1));
        let (config, _) = ground.load().unwrap_or_else(|told| panic!("{key}: {told}"));
        assert_eq!(config.policies[0].dangers.len(), dangers, "{key}");
    }
    ground.write("policies/chat.toml", POLICY);
    let plain = GATEWAY.replace("certificates = [", "danger_plaintext = \"TLS ends at the balancer\" #");
    ground.write("gateway.toml", plain);
    let (config, _) = ground.load().unwrap();
    assert_eq!(config.gateway.dangers["listener[0].danger_plaintext"], "TLS ends at the balancer");
}

#[test]
fn every_mistake_of_every_file_is_told_at_once() {
    let ground = Ground::new();
    let gateway = GATEWAY
        .replace("drain    = \"25s\"", "drain    = 25")
        .replace("2048", "\"many\"")
        .replace("[admission]", "[admision]");
    ground.write("gateway.toml", gateway);
    ground.write("policies/chat.toml", POLICY.replace("[\"chat.example.com\"]", "[]").replace("/sub", "sub"));
    ground.write("policies/syntax.toml", "a = \nb = [\n[c\n");
    let told = ground.load().unwrap_err();
    let codes: Vec<Code> = told.iter().map(|one| one.code).collect();
    let of = |code| codes.iter().filter(|one| **one == code).count();
    assert!(of(Code::WrongValue) >= 3 && of(Code::UnknownKey) == 1 && of(Code::MissingKey) >= 1, "{told}");
    assert!(of(Code::Syntax) >= 2, "{told}");
    let text = told.to_string();
    assert!(text.trim_end().lines().last().unwrap().contains(" errors, 0 warnings"), "{text}");
}

#[test]
fn a_mistake_is_shown_as_rustc_shows_its_own() {
    let ground = Ground::new();
    ground.write("gateway.toml", GATEWAY.replace("drain    =", "drian    ="));
    let told = ground.load().unwrap_err().render(Style::Plain);
    let told = told.replace(&*ground.folder().to_string_lossy(), "");
    let expected = "\
error[unknown_key]: there is no key `drian`
 --> /gateway.toml:2:1
  |
2 | drian    = \"25s\"
  | ^^^^^
  |
  = help: did you mean `drain`?

1 error, 0 warnings
";
    assert_eq!(told, expected);
}

#[test]
fn a_token_file_is_told_by_line_and_not_shown() {
    let ground = Ground::new();
    ground.write("policies/chat.tokens", "# a comment\nnonsense kiosk use_until=2030-01-01T00:00:00Z\n");
    let told = ground.load().unwrap_err().to_string();
    assert!(told.contains("chat.tokens:2"), "{told}");
    assert!(!told.contains("nonsense"), "{told}");
}

#[test]
fn tl15_certificates_are_judged_by_the_time_that_is_given() {
    let ground = Ground::new();
    let day = 86_400;
    let end = ground.load().unwrap().0.gateway.listeners[0].tls.as_ref().unwrap().certificates[0].loaded.not_after;
    assert!(ground.load_at(UnixSeconds(end - 15 * day)).unwrap().1.is_empty());
    let (_, warnings) = ground.load_at(UnixSeconds(end - 10 * day)).unwrap();
    assert!(warnings[0].message.contains("ends in 10 days"));
    for (now, phrase) in [(end, "has expired"), (end - 3000 * day, "not valid yet")] {
        assert!(ground.load_at(UnixSeconds(now)).unwrap_err().to_string().contains(phrase), "{phrase}");
    }
}

#[test]
fn a_host_without_certificate_is_warned_of() {
    let ground = Ground::new();
    for (names, warned) in [(["chat.example.com"], 0), (["*.example.com"], 0), (["example.com"], 1)] {
        ground.certificate("server", &names);
        assert_eq!(ground.load().unwrap().1.len(), warned, "{names:?}");
    }
}

#[test]
fn two_policies_may_not_claim_one_path() {
    let ground = Ground::new();
    ground.write("policies/other.toml", POLICY.replace("[\"/chat\", \"/chat/*\"]", "[\"/chat\"]"));
    let told = ground.load().unwrap_err().to_string();
    assert!(told.contains("the policy `chat` serves this path"), "{told}");
    ground.write("policies/other.toml", POLICY.replace("[\"/chat\", \"/chat/*\"]", "[\"/other\"]"));
    ground.load().unwrap();
}

#[test]
fn rx21_files_and_lists_are_bounded() {
    let ground = Ground::new();
    let origins = |count: usize| {
        let list: Vec<String> = (0..count).map(|index| format!("\"https://a{index}.example\"")).collect();
        POLICY.replace("\"capacitor://localhost\"", &list.join(", "))
    };
    ground.write("policies/chat.toml", origins(9_999));
    ground.load().unwrap();
    ground.write("policies/chat.toml", origins(10_000));
    assert!(ground.load().unwrap_err().to_string().contains("at most 10000"));
    ground.write("policies/chat.toml", format!("{POLICY}#{}", "x".repeat(1 << 20)));
    assert!(ground.load().unwrap_err().iter().any(|one| one.code == Code::TooLarge));
    let strays: String = (0..5_000).map(|index| format!("stray{index} = 1\n")).collect();
    ground.write("policies/chat.toml", format!("{strays}{POLICY}"));
    assert_eq!(ground.load().unwrap_err().iter().count(), Diagnostics::BOUND);
}

#[test]
fn every_value_knows_where_it_came_from() {
    let ground = Ground::new();
    let (config, _) = ground.load().unwrap();
    let shown = |key: &str| {
        let setting = config.settings.iter().find(|setting| setting.key == key);
        setting.map(|setting| (setting.value.clone(), setting.line)).unwrap_or_else(|| panic!("{key}"))
    };
    assert_eq!(shown("drain"), (String::from("\"25s\""), Some(2)));
    assert_eq!(shown("capacity.tls_handshakes"), (String::from("\"auto\""), None));
    assert_eq!(shown("session.from_client.over"), (String::from("\"slow\""), Some(41)));
    assert_eq!(shown("session.pong_timeout"), (String::from("\"20s\""), None));
    assert_eq!(shown("limits.connections"), (String::from("5000"), None));
}

#[test]
fn a_default_above_the_ceiling_is_lowered_to_it() {
    let ground = Ground::new();
    ground.write("gateway.toml", GATEWAY.replace("subject = 100", "address = 10"));
    ground.write("policies/chat.toml", POLICY.replace("connections_per_address = 256", ""));
    let (config, _) = ground.load().unwrap();
    assert_eq!(config.policies[0].quotas.connections_per_address, 10);
}

#[test]
fn sessions_follow_the_file_limit_unless_they_are_written() {
    let capacity = |sessions| Capacity { sessions, ..Ground::new().load().unwrap().0.gateway.capacity };
    let cases = [(None, 1024, 352), (None, 1 << 20, 523_232), (None, 10, 1), (Some(7), 1024, 7)];
    for (written, files, bound) in cases {
        assert_eq!(capacity(written).session_bound(files), bound, "{written:?} {files}");
    }
}

#[test]
fn examples_go_through_the_gate() {
    let ground = Ground::new();
    let more = r#"
[[example]]
name       = "our page with a good token"
origin     = "https://app.example.com"
credential = "cookie:session"
expect     = "admitted"

[[example]]
name       = "a kiosk"
credential = "query:token"
expect     = "admitted"

[[example]]
name       = "a role too low"
origin     = "https://app.example.com"
credential = "authorization"
claims     = { realm_access = { roles = ["guest"] } }
expect     = "claim_required"
"#;
    ground.write("policies/chat.toml", format!("{POLICY}{more}"));
    let (config, _) = ground.load().unwrap();
    let outcomes = example::run(&config, NOW);
    assert_eq!(outcomes.len(), 4);
    for outcome in outcomes {
        assert_eq!(outcome.got, outcome.example.expect.as_str(), "{}", outcome.example.name);
    }
}
