//! Wrong configuration as an operator meets it: through the built binary.
//!
//! The address that the configuration names is held by the test, and so is that of the service behind it: a gateway
//! that touched the network before it had judged its files would end with 2, not with 78.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "the names of the cases that ran are for the reader of the output")]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use support::Cases;
use support::cases::held;
use support::certificates::Authority;
use support::process::{Ran, ran};
use support::tokens::{Signer, digest, now};
use tempfile::TempDir;

const GATEWAY: &str = r#"policies = ["policies/*.toml"]
drain    = "25s"
health   = { address = "off" }

[[listener]]
address      = "LISTENER"
certificates = [{ chain = "certs/server.pem", key = { file = "certs/server.key" } }]

[capacity]
pending = 2048

[issuer.login]
iss        = "https://login.test"
algorithms = ["ES256"]
keys       = ["certs/login.pem"]
"#;

const POLICY: &str = r#"[route]
hosts = ["chat.test"]
paths = ["/chat"]

[upstream]
servers = ["ws://SERVER"]

[origin]
allow = ["https://app.test"]

[[auth]]
by       = "jwt"
issuer   = "login"
from     = ["authorization"]
audience = ["chat"]

[[auth]]
by     = "token"
tokens = "chat.tokens"
from   = ["query:token"]

[limits]
connections_per_address = 256
"#;

const GATEWAY_FILE: &str = "gateway.toml";
const POLICY_FILE: &str = "policies/chat.toml";

/// What is wrong.
enum Wrong {
    /// In a file, the first text stands as the second.
    Text(&'static str, &'static str, &'static str),
    /// A file is not there.
    Absent(&'static str),
    /// A folder stands in a file's place.
    Folder(&'static str),
    /// A link that leads to itself stands in a file's place: nobody can read it, not even root.
    Loop(&'static str),
    /// A file holds these bytes.
    Bytes(&'static str, &'static [u8]),
    /// A file holds what another one holds.
    Copy(&'static str, &'static str),
    /// A file has 100 MB.
    Huge(&'static str),
}

use Wrong::{Absent, Bytes, Copy, Folder, Huge, Loop, Text};

/// Id, name, what is wrong, and the code, the place and a phrase that must be told.
type Row = (&'static str, &'static str, Wrong, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("OP04", "no TOML", Text(GATEWAY_FILE, "\"25s\"", "\"25s"), "syntax", "gateway.toml:2:", ""),
    ("OP04", "unknown key", Text(GATEWAY_FILE, "drain ", "drian "), "unknown_key", "gateway.toml:2:1", "did you mean `drain`?"),
    ("OP04", "unknown key of a table", Text(GATEWAY_FILE, "pending", "pendign"), "unknown_key", "gateway.toml:10:1", "did you mean `pending`?"),
    ("OP04", "unknown key of a policy", Text(POLICY_FILE, "allow", "alow"), "unknown_key", "policies/chat.toml:9:1", "did you mean `allow`?"),
    ("OP04", "wrong type", Text(GATEWAY_FILE, "\"25s\"", "25"), "wrong_value", "gateway.toml:2:12", "such as \"30s\""),
    ("OP04", "wrong unit", Text(GATEWAY_FILE, "25s", "25 parsecs"), "wrong_value", "gateway.toml:2:12", "1m 30s"),
    ("OP04", "out of range", Text(GATEWAY_FILE, "2048", "-1"), "wrong_value", "gateway.toml:10:11", "from 1 to"),
    ("OP04", "no address", Text(GATEWAY_FILE, "LISTENER", "localhost:8443"), "wrong_value", "gateway.toml:6:16", "127.0.0.1:8443"),
    ("OP04", "unknown issuer", Text(POLICY_FILE, "\"login\"", "\"logon\""), "unknown_name", "policies/chat.toml:13:12", "login"),
    ("OP04", "no policies", Text(GATEWAY_FILE, "*.toml", "*.yaml"), "unreadable", "gateway.toml:1:13", "wsgate init"),
    ("OP04", "gateway.toml absent", Absent(GATEWAY_FILE), "unreadable", "gateway.toml", "No such file"),
    ("OP04", "gateway.toml a folder", Folder(GATEWAY_FILE), "unreadable", "gateway.toml", "directory"),
    ("OP04", "gateway.toml unreadable", Loop(GATEWAY_FILE), "unreadable", "gateway.toml", "symbolic links"),
    ("OP04", "gateway.toml of 100 MB", Huge(GATEWAY_FILE), "too_large", "gateway.toml", "longer than 1048576 bytes"),
    ("OP04", "gateway.toml no text", Bytes(GATEWAY_FILE, b"\xff\xfe"), "syntax", "gateway.toml", "not UTF-8"),
    ("OP04", "policy a folder", Folder(POLICY_FILE), "unreadable", "policies/chat.toml", "directory"),
    ("OP04", "policy unreadable", Loop(POLICY_FILE), "unreadable", "policies/chat.toml", "symbolic links"),
    ("OP04", "policy of 100 MB", Huge(POLICY_FILE), "too_large", "policies/chat.toml", "longer than 1048576 bytes"),
    ("OP04", "not built: admin", Text(GATEWAY_FILE, "health ", "admin = { address = \"[::]:1\" }\nhealth "), "not_built", "gateway.toml:3:11", "`admin.address` is not built yet"),
    ("OP04", "not built: cluster", Text(GATEWAY_FILE, "health ", "cluster = \"peers\"\nhealth "), "not_built", "gateway.toml:3:1", "`cluster` is not built yet"),
    ("OP04", "not built: acme", Text(GATEWAY_FILE, "health ", "acme = true\nhealth "), "not_built", "gateway.toml:3:1", "`acme` is not built yet"),
    ("OP04", "not built: cluster", Text(GATEWAY_FILE, "health ", "cluster = true\nhealth "), "not_built", "gateway.toml:3:1", "`cluster` is not built yet"),
    ("OP04", "not built: client certificates", Text(POLICY_FILE, "[upstream]", "client_certificates = true\n[upstream]"), "not_built", "policies/chat.toml:5:1", "`route.client_certificates` is not built yet"),
    ("OP07", "no authentication", Text(POLICY_FILE, "by     = \"token\"\ntokens = \"chat.tokens\"\nfrom   = [\"query:token\"]", "by = \"none\""), "danger", "policies/chat.toml:", "danger_no_auth"),
    ("OP07", "no TLS", Text(GATEWAY_FILE, "LISTENER\"\ncertificates = [", "0.0.0.0:1\"\n#"), "danger", "gateway.toml:5:", "danger_plaintext"),
    ("OP07", "a limit of 0", Text(POLICY_FILE, "256", "0"), "wrong_value", "policies/chat.toml:23:27", "from 1 to"),
    ("OP07", "no host", Text(POLICY_FILE, "[\"chat.test\"]", "[]"), "missing_key", "policies/chat.toml:2:9", "chat.example.com"),
    ("OR26", "everybody", Text(POLICY_FILE, "https://app.test", "*"), "danger", "policies/chat.toml:9:10", "danger_wildcard_origin"),
    ("OR26", "nobody", Text(POLICY_FILE, "[\"https://app.test\"]", "[]"), "missing_key", "policies/chat.toml:9:9", "https://app.example.com"),
    ("OR26", "a pattern", Text(POLICY_FILE, "https://app.test", "https://.*"), "wrong_value", "policies/chat.toml:9:10", "no regex"),
    ("OR26", "any sandboxed page beside a cookie", Text(POLICY_FILE, "allow = [\"https://app.test\"]\n\n[[auth]]\nby       = \"jwt\"\nissuer   = \"login\"\nfrom     = [\"authorization\"]", "allow = [\"null\"]\n\n[[auth]]\nby       = \"jwt\"\nissuer   = \"login\"\nfrom     = [\"cookie:session\"]"), "danger", "policies/chat.toml:9:10", "danger_ambient_wildcard"),
    ("BE16", "metadata address", Text(POLICY_FILE, "ws://SERVER", "ws://169.254.169.254:80"), "danger", "policies/chat.toml:6:12", "credentials"),
    ("BE16", "metadata address, IPv6", Text(POLICY_FILE, "ws://SERVER", "ws://[fd00:ec2::254]:80"), "danger", "policies/chat.toml:6:12", "credentials"),
    ("BE16", "a server with a path", Text(POLICY_FILE, "ws://SERVER", "ws://SERVER/x"), "wrong_value", "policies/chat.toml:6:12", "without path"),
    ("TL15", "certificate absent", Absent("certs/server.pem"), "certificate", "gateway.toml:7:", "certs/server.pem"),
    ("TL15", "certificate a folder", Folder("certs/server.pem"), "certificate", "gateway.toml:7:", "certs/server.pem"),
    ("TL15", "certificate unreadable", Loop("certs/server.pem"), "certificate", "gateway.toml:7:", "certs/server.pem"),
    ("TL15", "certificate empty", Bytes("certs/server.pem", b""), "certificate", "gateway.toml:7:", "no certificate"),
    ("TL15", "certificate half written", Bytes("certs/server.pem", b"-----BEGIN CERTIFICATE-----\nMIIB"), "certificate", "gateway.toml:7:", "certs/server.pem"),
    ("TL15", "certificate of 100 MB", Huge("certs/server.pem"), "certificate", "gateway.toml:7:", "certs/server.pem"),
    ("TL15", "key absent", Absent("certs/server.key"), "certificate", "gateway.toml:7:", "certs/server.key"),
    ("TL15", "key a folder", Folder("certs/server.key"), "certificate", "gateway.toml:7:", "certs/server.key"),
    ("TL15", "key unreadable", Loop("certs/server.key"), "certificate", "gateway.toml:7:", "certs/server.key"),
    ("TL15", "key empty", Bytes("certs/server.key", b""), "certificate", "gateway.toml:7:", "no private key"),
    ("TL15", "key of another certificate", Copy("certs/other.key", "certs/server.key"), "certificate", "gateway.toml:7:", "does not belong"),
    ("TL15", "certificate for a key", Copy("certs/server.pem", "certs/server.key"), "certificate", "gateway.toml:7:", "no private key"),
    ("AU27", "issuer's key absent", Absent("certs/login.pem"), "credential", "gateway.toml:15:", "certs/login.pem"),
    ("AU27", "issuer's key a folder", Folder("certs/login.pem"), "credential", "gateway.toml:15:", "certs/login.pem"),
    ("AU27", "issuer's key unreadable", Loop("certs/login.pem"), "credential", "gateway.toml:15:", "certs/login.pem"),
    ("AU27", "issuer's key malformed", Bytes("certs/login.pem", b"{ not a key set"), "credential", "gateway.toml:15:", "certs/login.pem"),
    ("AU27", "issuer's key of 100 MB", Huge("certs/login.pem"), "credential", "gateway.toml:15:", "certs/login.pem"),
    ("AU27", "token file absent", Absent("policies/chat.tokens"), "credential", "policies/chat.toml", "is not there"),
    ("AU27", "token file a folder", Folder("policies/chat.tokens"), "credential", "policies/chat.tokens", "directory"),
    ("AU27", "token file unreadable", Loop("policies/chat.tokens"), "credential", "policies/chat.tokens", "symbolic links"),
    ("AU27", "token file malformed", Bytes("policies/chat.tokens", b"# kiosks\nnonsense kiosk use_until=1\n"), "credential", "policies/chat.tokens:2", ""),
    ("AU29", "no key", Text(GATEWAY_FILE, "[\"certs/login.pem\"]", "[]"), "missing_key", "gateway.toml:12:", "without a key"),
    ("AU29", "an empty key set", Bytes("certs/login.pem", b"{\"keys\":[]}"), "credential", "gateway.toml:15:", "certs/login.pem"),
    ("AU29", "a short secret", Text(GATEWAY_FILE, "[\"ES256\"]\nkeys       = [\"certs/login.pem\"]", "[\"HS256\"]\nkeys = [{ file = \"certs/short.secret\" }]"), "credential", "gateway.toml:15:", "openssl rand"),
    ("AU29", "a secret from a tutorial", Text(GATEWAY_FILE, "[\"ES256\"]\nkeys       = [\"certs/login.pem\"]", "[\"HS256\"]\nkeys = [{ file = \"certs/sample.secret\" }]"), "credential", "gateway.toml:15:", "certs/sample.secret"),
    ("AU29", "a private key", Copy("certs/server.key", "certs/login.pem"), "credential", "gateway.toml:15:", "private"),
    ("AU29", "no algorithm", Text(GATEWAY_FILE, "\"ES256\"", "\"none\""), "wrong_value", "gateway.toml:14:15", "ES256"),
];

/// A folder with a configuration that is right until it is spoilt, and the ports that it names.
struct Ground {
    folder: TempDir,
    listener: TcpListener,
    server: TcpListener,
}

impl Ground {
    fn new() -> Self {
        let port = || TcpListener::bind("127.0.0.1:0").unwrap();
        let ground = Self { folder: tempfile::tempdir().unwrap(), listener: port(), server: port() };
        ground.server.set_nonblocking(true).unwrap();
        let authority = Authority::throwaway();
        let [leaf, other] = [(); 2].map(|()| authority.leaf(&["chat.test"]));
        let line = format!("{} kiosk use_until={}\n", digest("0123456789abcdef"), now() + 3600);
        for (file, text) in [
            ("certs/server.pem", leaf.chain_pem),
            ("certs/server.key", leaf.key_pem),
            ("certs/other.key", other.key_pem),
            ("certs/login.pem", Signer::es256().public_pem()),
            ("certs/short.secret", String::from("31 octets are not yet a secret.")),
            ("certs/sample.secret", String::from("a-string-secret-at-least-256-bits-long")),
            ("policies/chat.tokens", line),
            (GATEWAY_FILE, ground.filled(GATEWAY)),
            (POLICY_FILE, ground.filled(POLICY)),
        ] {
            ground.write(file, text.as_bytes());
        }
        ground
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        fs::write(self.path(file), bytes).unwrap();
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn filled(&self, text: &str) -> String {
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        text.replace("LISTENER", &address(&self.listener)).replace("SERVER", &address(&self.server))
    }

    fn spoil(&self, wrong: &Wrong) {
        let (Text(file, ..) | Absent(file) | Folder(file) | Loop(file) | Bytes(file, _) | Copy(_, file) | Huge(file)) =
            wrong;
        let path = self.path(file);
        match wrong {
            Text(_, from, to) => {
                let text = if *file == GATEWAY_FILE { GATEWAY } else { POLICY };
                assert!(text.contains(from), "{from:?} is in {file}");
                return self.write(file, self.filled(&text.replacen(from, to, 1)).as_bytes());
            }
            Bytes(_, bytes) => return self.write(file, bytes),
            Copy(from, _) => return self.write(file, &fs::read(self.path(from)).unwrap()),
            Huge(_) => return fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100 << 20).unwrap(),
            Absent(_) | Folder(_) | Loop(_) => fs::remove_file(&path).unwrap(),
        }
        match wrong {
            Folder(_) => fs::create_dir(path).unwrap(),
            Loop(_) => symlink(&path, &path).unwrap(),
            _ => {}
        }
    }

    /// Undoes [`Ground::spoil`]: whatever stood there before stands there again.
    fn mend(&self, before: &[(PathBuf, Vec<u8>)]) {
        for (path, bytes) in before {
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
            self.write(path.to_str().unwrap(), bytes);
        }
    }

    /// Every file as it is.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = ["", "certs", "policies"].into_iter().flat_map(|folder| fs::read_dir(self.path(folder)).unwrap());
        let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    async fn wsgate(&self, arguments: &[&str]) -> Ran {
        ran(self.folder.path(), arguments, "").await
    }

    /// Both commands refuse the configuration with the same words, and nobody was called.
    async fn refused(&self) -> String {
        let [check, run] = [self.wsgate(&["check"]).await, self.wsgate(&["run"]).await];
        assert_eq!([check.code, run.code], [Some(78); 2], "{check:?}");
        check.ended(78);
        run.ended(78);
        assert_eq!((check.out.as_str(), run.out.as_str()), ("", ""), "nothing is served and nothing is well");
        assert_eq!(run.err.trim_end(), format!("wsgate: {}", check.err.trim_end()), "both say the same");
        self.is_left_alone();
        check.err
    }

    /// `check` finds nothing, and `run` gets as far as the port that the test holds.
    async fn accepted(&self) {
        let check = self.wsgate(&["check"]).await;
        check.ended(0).told(&["configuration ok: 1 listener, 1 policy, 1 issuer (gateway.toml)"]);
        assert_eq!(check.err, "");
        self.is_left_alone();
    }

    fn is_left_alone(&self) {
        let called = self.server.accept().expect_err("nobody calls the service");
        assert_eq!(called.kind(), std::io::ErrorKind::WouldBlock);
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}

#[tokio::test]
async fn every_mistake_is_told_with_its_place_and_nothing_is_served() {
    let mut cases = Cases::of("mistakes");
    let ground = Ground::new();
    let right = ground.files();
    ground.accepted().await;
    for (id, name, wrong, code, place, phrase) in ROWS {
        ground.spoil(wrong);
        let told = ground.refused().await;
        let found = told.split("\n\n").find(|mistake| {
            let at = mistake.lines().find_map(|line| line.trim_start().strip_prefix("--> ")).unwrap_or_default();
            mistake.starts_with(&format!("error[{code}")) && at.starts_with(place) && mistake.contains(phrase)
        });
        assert!(found.is_some(), "{id} {name}: not {code} at {place} with {phrase:?}:\n{told}");
        assert!(told.trim_end().lines().last().unwrap().contains(" error"), "{told}");
        ground.mend(&right);
        ground.accepted().await;
        cases.held(id, name);
    }
    cases.all(ROWS.len());
}

#[tokio::test]
async fn all_mistakes_of_all_files_come_at_once() {
    let ground = Ground::new();
    ground.write(GATEWAY_FILE, ground.filled(GATEWAY).replace("25s", "25").replace("2048", "\"many\"").as_bytes());
    ground.write(POLICY_FILE, ground.filled(POLICY).replace("https://app.test", "*").replace("256", "0").as_bytes());
    ground.write("policies/other.toml", b"a = \n");
    ground.write("certs/login.pem", b"");
    let told = ground.refused().await;
    let places =
        ["gateway.toml:2:", "gateway.toml:10:", "gateway.toml:15:", "chat.toml:9:", "chat.toml:23:", "other.toml:1:"];
    for place in places {
        assert!(told.contains(place), "{place}: {told}");
    }
    let count = told.matches("error[").count();
    assert!(count >= places.len(), "{told}");
    assert!(told.trim_end().ends_with(&format!("\n{count} errors, 0 warnings")), "{told}");
    held("OP04", "all mistakes of all files come at once");
}

#[tokio::test]
async fn a_danger_with_its_reason_is_repeated_at_every_check() {
    let ground = Ground::new();
    let text = ground.filled(POLICY).replace("[\"https://app.test\"]", "[\"*\"]");
    ground.write(POLICY_FILE, text.as_bytes());
    ground.refused().await;
    let reason = "danger_wildcard_origin = \"partners host their own pages\"";
    ground.write(POLICY_FILE, text.replace("allow =", &format!("{reason}\nallow =")).as_bytes());
    let check = ground.wsgate(&["check"]).await;
    check.ended(0).told(&["danger: ", reason, "configuration ok"]);
    held("OP07", "a danger with its reason is repeated at every check");
}

#[tokio::test]
async fn a_port_in_use_is_one_line() {
    let ground = Ground::new();
    let run = ground.wsgate(&["run"]).await;
    run.ended(2);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    run.complained(&["wsgate: cannot listen on ", &ground.address().to_string(), "the address is in use"]);
    assert!(!run.out.contains("listening on"), "{}", run.out);
    held("OP04", "a port in use is one line");
}

#[tokio::test]
async fn without_a_file_the_remedy_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["run"], &["check"], &["run", "--config", "absent.toml"], &["check", "absent.toml"]] {
        let ran = ran(folder.path(), arguments, "").await;
        ran.ended(78).complained(&["this file cannot be read", ".toml"]);
    }
    held("OP04", "a configuration that is not there");
}
