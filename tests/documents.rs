//! The documents say what the code says: docs/reasons.md is made from the tables of reasons and causes, docs/notices.md
//! from that of notices, every
//! dependency has its line in docs/dependencies.md, and every configuration that a document shows loads.
//!
//! `WSGATE_WRITE_DOCUMENTS=1 cargo test --test documents` writes both pages anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "the names of the cases that ran are for the reader of the output")]

mod support;

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use support::certificates::Authority;
use support::tokens::{Signer, digest, now};
use toml::{Table, Value};
use wsgate::config;
use wsgate::event::Level;
use wsgate::policy::Reason;
use wsgate::policy::refusal::Answer;
use wsgate::session::Cause;
use wsgate::telemetry::notices;
use wsgate::units::UnixSeconds;

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn reasons_document() -> String {
    let mut text = String::from(
        "# Reasons\n\n\
         Every refusal and every closure has a code: the log field, the metric label, what an `[[example]]` expects,\n\
         and what `wsgate explain CODE` explains. This page is made from the tables in `src/policy/refusal.rs` and\n\
         `src/session/cause.rs`; a test compares them.\n\n\
         ## Refusals: before the 101\n\n\
         The client gets the status, one word, and an id; the code stands in the log beside that id.\n\n\
         | code | answer | why |\n|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let answer = match reason.answer() {
            Answer::Status(status) => status.to_string(),
            Answer::Drop => "closed unheard".into(),
        };
        let _ = writeln!(text, "| `{}` | {answer} | {} |", reason.code(), reason.explanation());
    }
    text.push_str("\n## Closures: after the 101\n\n| code | why |\n|---|---|\n");
    for cause in Cause::ALL {
        let _ = writeln!(text, "| `{}` | {} |", cause.code(), cause.explanation());
    }
    text
}

#[test]
fn the_page_of_reasons_is_that_of_the_tables() {
    let path = at_root("docs/reasons.md");
    if std::env::var_os("WSGATE_WRITE_DOCUMENTS").is_some() {
        fs::write(&path, reasons_document()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written == reasons_document(), "docs/reasons.md is out of date: see the head of tests/documents.rs");
}

fn notices_document() -> String {
    let mut text = String::from(
        "# Notices\n\n\
         What the gateway says of itself in its log: lines with `\"event\":\"notice\"` and one of these codes; `wsgate explain CODE`\n\
         explains them, too. This page is made from the table in `src/telemetry/notices.rs`; tests compare it with that, and that\n\
         with the code. Refusals and closures are in [reasons.md](reasons.md).\n\n\
         | code | level | what it means | what to do |\n|---|---|---|---|\n",
    );
    for one in notices::ALL {
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", one.code, one.level.as_str(), one.meaning, one.remedy);
    }
    text
}

#[test]
fn the_page_of_notices_is_that_of_the_table() {
    let path = at_root("docs/notices.md");
    if std::env::var_os("WSGATE_WRITE_DOCUMENTS").is_some() {
        fs::write(&path, notices_document()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written == notices_document(), "docs/notices.md is out of date: see the head of tests/documents.rs");
}

/// The notices that the product's code makes: level and code, as they stand beside each other.
fn notices_in_the_code(folder: &Path, found: &mut BTreeSet<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            notices_in_the_code(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text
                .split("\n#[cfg(test)]\nmod tests {")
                .next()
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            found.extend(text.split("Level::").skip(1).filter_map(level_and_code));
            let kept = text.split('"').skip(1).step_by(2).filter(|word| word.ends_with("_kept"));
            found.extend(kept.map(|code| (String::from("error"), code.to_owned())));
        }
    }
}

/// `Error, "state_lost", ...` or `Warning, code: "accept_paused", ...`
fn level_and_code(text: &str) -> Option<(String, String)> {
    let (level, rest) = text.split_once(", ")?;
    let rest = rest.strip_prefix("code: ").unwrap_or(rest).strip_prefix('"')?;
    let (code, _) = rest.split_once('"')?;
    let is_level = ["Info", "Warning", "Error"].contains(&level);
    is_level.then(|| (level.to_lowercase(), code.to_owned()))
}

#[test]
fn every_notice_of_the_code_is_explained_and_every_one_explained_is_in_the_code() {
    let mut found = BTreeSet::new();
    for room in ["cli", "gateway", "net"] {
        notices_in_the_code(&at_root("src").join(room), &mut found);
    }
    // Told twice: where a server goes down, and where its sessions are lost for that.
    assert!(found.remove(&(String::from(Level::Info.as_str()), String::from("server_down"))), "{found:?}");
    let table: BTreeSet<_> = notices::ALL.iter().map(|one| (one.level.as_str().into(), one.code.into())).collect();
    assert_eq!(found, table);
    assert_eq!((table.len(), notices::ALL.len() > 30), (notices::ALL.len(), true), "each once");
}

#[test]
fn no_code_stands_for_two_things() {
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let causes: Vec<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    assert!(reasons.len() > 50 && causes.len() > 20, "the tables were read");
    for table in [&reasons, &causes] {
        assert_eq!(table.iter().collect::<HashSet<_>>().len(), table.len(), "{table:?}");
    }
    let shared: Vec<_> = reasons.iter().filter(|code| causes.contains(code)).collect();
    assert_eq!(shared, [&"internal"], "a fault of the gateway is one thing before the 101 and after it");
}

#[test]
fn every_dependency_earns_a_line() {
    let manifest: Table = fs::read_to_string(at_root("Cargo.toml")).unwrap().parse().unwrap();
    let page = fs::read_to_string(at_root("docs/dependencies.md")).unwrap();
    let told: HashSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .flat_map(|(names, _)| names.split(", "))
        .collect();
    let mut used = 0;
    for table in ["dependencies", "dev-dependencies"] {
        for name in manifest[table].as_table().unwrap().keys() {
            used += 1;
            assert!(told.contains(name.as_str()), "{name} has no line in docs/dependencies.md");
        }
    }
    assert!(used > 30, "the manifest was read");
}

/// A configuration that a document shows: a gateway.toml, where there is one, and the policies that follow it.
#[derive(Debug, Default)]
struct Shown {
    gateway: Option<String>,
    policies: Vec<(String, String)>,
}

/// What stands beside a policy whose document shows no gateway.toml.
const GATEWAY_BESIDE: &str = r#"
[[listener]]
address      = "127.0.0.1:0"
certificates = [{ chain = "certs/server.pem", key = { file = "certs/server.key" } }]
"#;

/// What stands beside a gateway.toml whose document shows no policy.
const POLICY_BESIDE: &str = r#"
[route]
hosts = ["localhost"]
paths = ["/*"]
[upstream]
servers = ["ws://127.0.0.1:9001"]
[origin]
allow = ["https://localhost"]
[[auth]]
by = "backend"
"#;

/// The configurations of a document, in the order of their blocks: those marked `toml` whose first line names the file.
fn configurations(document: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    for block in document.split("\n```toml\n").skip(1) {
        let block = block.split("\n```").next().unwrap_or_default();
        let named = block.lines().next().and_then(|line| line.strip_prefix("# ")?.split([' ', ':', ',']).next());
        match named {
            Some("gateway.toml") => found.push(Shown { gateway: Some(block.to_owned()), ..Shown::default() }),
            Some(name) if name.starts_with("policies/") && name.ends_with(".toml") => {
                if found.is_empty() {
                    found.push(Shown::default());
                }
                let shown = found.last_mut().unwrap();
                if shown.policies.iter().any(|(other, _)| other == name) {
                    found.push(Shown::default());
                }
                found.last_mut().unwrap().policies.push((name.to_owned(), block.to_owned()));
            }
            _ => {}
        }
    }
    found
}

impl Shown {
    /// Writes it and every file that it names into a folder of its own, and loads it.
    fn loads(&self) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let place = |path: &str| folder.path().join(path);
        let mut policies = self.policies.clone();
        if policies.is_empty() {
            policies.push((String::from("policies/beside.toml"), POLICY_BESIDE.to_owned()));
        }
        let read = |text: &str| text.parse::<Table>().map_err(|error| format!("{error}\n{text}"));
        let tables = policies.iter().map(|(_, text)| read(text)).collect::<Result<Vec<_>, _>>()?;
        let gateway = self.gateway.clone().unwrap_or_else(|| beside(&tables));
        let material = Material { authority: Authority::throwaway(), hosts: hosts(&tables) };
        material.of_gateway(&read(&gateway)?, &place);
        for ((name, text), table) in policies.iter().zip(&tables) {
            material.of_policy(table, &|path| place(name).parent().unwrap().join(path));
            write(&place(name), text);
        }
        write(&place("gateway.toml"), &gateway);
        let variable = |_: &str| Some(SECRET.to_owned());
        match config::load(&place("gateway.toml"), &variable, UnixSeconds(now())) {
            Ok((config, _)) => judged(&config),
            Err(mistakes) => Err(mistakes.to_string()),
        }
    }
}

/// Whether every example of the policies came out as told.
fn judged(config: &config::Config) -> Result<(), String> {
    let mut wrong = config::example::run(config, UnixSeconds(now())).into_iter();
    let wrong = wrong.find(|outcome| outcome.got != outcome.example.expect.as_str());
    wrong.map_or(Ok(()), |outcome| Err(format!("the example {:?} gives {}", outcome.example.name, outcome.got)))
}

/// A gateway.toml with the issuers that the policies ask for.
fn beside(policies: &[Table]) -> String {
    let ways = policies.iter().flat_map(|policy| list(policy, "auth"));
    let issuers: BTreeSet<&str> = ways.filter_map(|way| way.get("issuer")?.as_str()).collect();
    let issuers = issuers.iter().map(|name| {
        let keys = format!("keys = [\"certs/{name}.pem\"]");
        format!("[issuer.{name}]\niss = \"https://{name}.example\"\nalgorithms = [\"ES256\"]\n{keys}\n")
    });
    format!("{GATEWAY_BESIDE}{}", issuers.collect::<String>())
}

fn hosts(policies: &[Table]) -> Vec<String> {
    let hosts = policies.iter().filter_map(|policy| policy.get("route")?.get("hosts")?.as_array());
    let hosts = hosts.flatten().filter_map(Value::as_str).map(String::from);
    std::iter::once(String::from("localhost")).chain(hosts).collect()
}

/// The value of every environment variable: a secret as text, and as base64.
const SECRET: &str = "c2l4dHktZm91ciBvY3RldHMgb2Ygc29tZXRoaW5nIHRoYXQgbm9ib2R5IHdvdWxkIGd1ZXNzIGF0IG9uY2Uh";

/// What the files that a configuration names are made of.
struct Material {
    authority: Authority,
    hosts: Vec<String>,
}

impl Material {
    /// Certificates for every host, and for each issuer a key of its algorithm.
    fn of_gateway(&self, gateway: &Table, place: &dyn Fn(&str) -> PathBuf) {
        for listener in list(gateway, "listener") {
            for certificate in list(listener, "certificates") {
                let leaf = self.authority.leaf(&self.hosts.iter().map(String::as_str).collect::<Vec<_>>());
                write(&place(certificate["chain"].as_str().unwrap()), leaf.chain_pem);
                if let Some(file) = file_of(&certificate["key"]) {
                    write(&place(file), leaf.key_pem);
                }
            }
        }
        let issuers = gateway.get("issuer").and_then(Value::as_table);
        for issuer in issuers.into_iter().flat_map(Table::values) {
            let algorithm = issuer["algorithms"][0].as_str().unwrap();
            for file in issuer["keys"].as_array().unwrap().iter().filter_map(file_of) {
                write(&place(file), key(algorithm, file));
            }
        }
    }

    /// A table of query tokens, and the authorities of `wss://` servers.
    fn of_policy(&self, policy: &Table, place: &dyn Fn(&str) -> PathBuf) {
        let tokens = list(policy, "auth").into_iter().filter_map(|way| way.get("tokens")?.as_str());
        for file in tokens {
            let line = format!("{} kiosk use_until={}\n", digest("0123456789abcdef0123456789"), now() + 3600);
            write(&place(file), line);
        }
        let authorities = policy.get("upstream").and_then(|upstream| upstream.get("authorities")?.as_str());
        if let Some(file) = authorities {
            write(&place(file), self.authority.pem());
        }
    }
}

/// A public key for the algorithm: PEM, or a key set where the file's name ends in `.json`.
fn key(algorithm: &str, file: &str) -> String {
    if file.ends_with(".json") {
        let Signer::Es256(pair) = Signer::es256() else { unreachable!() };
        let point = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref().to_vec();
        let [x, y] = [&point[1..33], &point[33..]].map(support::tokens::encode);
        let key =
            serde_json::json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "of the set", "x": x, "y": y });
        return serde_json::json!({ "keys": [key] }).to_string();
    }
    match algorithm {
        "ES256" => Signer::es256().public_pem(),
        "EdDSA" => Signer::ed25519().public_pem(),
        _ if algorithm.starts_with("HS") => SECRET.to_owned(),
        _ => Signer::rsa().public_pem(),
    }
}

fn list<'a>(table: &'a Table, key: &str) -> Vec<&'a Table> {
    table.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table).collect()
}

/// The file of a key: a path, or a table that names one.
fn file_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("file")?.as_str())
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn every_configuration_that_a_document_shows_loads() {
    let pages = fs::read_dir(at_root("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let mut ran = 0;
    for path in std::iter::once(at_root("README.md")).chain(pages) {
        for shown in configurations(&fs::read_to_string(&path).unwrap()) {
            shown.loads().unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            ran += 1;
        }
    }
    assert!(ran > 0, "no document shows a configuration");
}

#[test]
fn a_configuration_that_does_not_load_is_seen() {
    let gateway = |key: &str| format!("text\n```toml\n# gateway.toml\n{GATEWAY_BESIDE}\n{key}\n```\n");
    let policy = |key: &str| format!("text\n```toml\n# policies/a.toml\n{POLICY_BESIDE}\n{key}\n```\n");
    let issuer =
        "[issuer.a]\niss = \"https://a.example\"\nalgorithms = [\"ALGORITHM\"]\nkeys = [{ env = \"A\" }, \"b.json\"]";
    let cases = [
        (gateway(""), 1, true),
        (gateway("[capacity]\npending = 0"), 1, false),
        (policy(""), 1, true),
        (policy("[limits]\nconections = 1"), 1, false),
        (format!("{}{}", gateway(""), policy("")), 1, true),
        (format!("{}{}", policy(""), policy("")), 2, true),
        (gateway(&issuer.replace("ALGORITHM", "ES256").replace("{ env = \"A\" }", "\"a.pem\"")), 1, true),
        (gateway(&issuer.replace("ALGORITHM", "HS384")), 1, false),
        (policy("[[example]]\nname = \"x\"\nexpect = \"credential_missing\""), 1, false),
        (String::from("text\n```toml\n[limits]\n```\n"), 0, true),
    ];
    for (document, count, loads) in &cases {
        let shown = configurations(document);
        assert_eq!(shown.len(), *count, "{document}");
        for one in shown {
            assert_eq!(one.loads().is_ok(), *loads, "{document}\n{:?}", one.loads());
        }
    }
    assert_eq!(cases.len(), 10);
}
