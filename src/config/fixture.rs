//! Files for tests: DESIGN's two examples, with certificates and keys made on the spot.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use tempfile::TempDir;

use super::{Config, Diagnostic, Diagnostics};
use crate::policy::auth::token::digest_hex;
use crate::units::UnixSeconds;

/// 2026-01-01, at which the certificates of a [`Ground`] are valid.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_767_225_600);

/// A gateway.toml that loads.
pub(crate) const GATEWAY: &str = r#"policies = ["policies/*.toml"]
drain    = "25s"
health   = { address = "127.0.0.1:9090" }

[[listener]]
address      = "[::]:8443"
proxy        = "none"
certificates = [{ chain = "certs/server.pem", key = { file = "certs/server.key" } }]

[capacity]
sessions   = "auto"
pending    = 2048
admissions = "500/s burst 2000"

[address]
pending  = 128
sessions = 1024
connects = "20/s burst 400"
failures = "1/s burst 60"
networks = [{ name = "Berlin office NAT", nets = ["203.0.113.7/32"], times = 10 }]

[admission]
total = "30s"

[issuer.login]
iss        = "https://login.example.com"
algorithms = ["ES256"]
keys       = ["certs/login-a.pem", "certs/login-b.pem"]

[ceiling.limits]
connections             = 5000
connections_per_subject = 100

[ceiling.session]
max_age      = "12h"
message_size = "1MiB"
"#;

/// A policies/chat.toml that loads.
pub(crate) const POLICY: &str = r#"[route]
hosts        = ["chat.example.com"]
paths        = ["/chat", "/chat/*"]
subprotocols = ["chat.v2", "chat.v1"]

[upstream]
servers    = ["ws://10.0.0.11:9001", "ws://10.0.0.12:9001"]
balance    = "round_robin"
host       = "client"
path       = "as_sent"
headers    = ["user-agent"]
cookies    = []
credential = "strip"
identity   = { "x-user-id" = "/sub", "x-org" = "/org" }

[origin]
allow   = ["https://app.example.com", "capacitor://localhost"]
missing = "cookieless"

[[auth]]
by       = "jwt"
issuer   = "login"
from     = ["authorization", "subprotocol:bearer", "cookie:session"]
audience = ["chat"]
require  = { "/scope" = "chat:join", "/realm_access/roles" = ["member", "admin"] }

[[auth]]
by     = "token"
tokens = "chat.tokens"
from   = ["query:token"]

[limits]
connections_per_address = 256
connections_per_subject = 20
handshakes_per_subject  = "1/s burst 40"

[session]
idle_timeout  = "1h"
max_age       = "12h"
ping_interval = "30s"
from_client   = { message_size = "64KiB", messages = "100/s burst 500", bytes = "256KiB/s burst 1MiB", control = "10/s burst 20", over = "slow" }
from_backend  = { message_size = "16MiB" }
close         = { expired = 4401, revoked = 4403, backend_lost = 1012, drain = 1001 }

[[example]]
name       = "another site's page with our user's cookie"
origin     = "https://evil.example"
credential = "cookie:session"
expect     = "origin_not_allowed"
"#;

/// A folder with everything that the files above name.
pub(crate) struct Ground(TempDir);

impl Ground {
    pub(crate) fn new() -> Self {
        let ground = Self(tempfile::tempdir().unwrap());
        ground.certificate("server", &["chat.example.com"]);
        for name in ["login-a", "login-b", "login.pub", "demo-issuer.pub"] {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            ground.write(&format!("certs/{name}.pem"), pair.public_key_pem());
        }
        let line = format!("{} kiosk use_until=2030-01-31T12:00:00Z\n", digest_hex("0123456789abcdef"));
        ground.write("policies/chat.tokens", line);
        ground.write("gateway.toml", GATEWAY);
        ground.write("policies/chat.toml", POLICY);
        ground
    }

    /// A certificate for `names` in certs/, valid from 2025 to 2027.
    pub(crate) fn certificate(&self, file: &str, names: &[&str]) {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let names: Vec<String> = names.iter().map(|name| String::from(*name)).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        self.write(&format!("certs/{file}.pem"), params.self_signed(&pair).unwrap().pem());
        self.write(&format!("certs/{file}.key"), pair.serialize_pem());
        self.chmod(&format!("certs/{file}.key"), 0o600);
    }

    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(self.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn load(&self) -> Result<(Config, Vec<Diagnostic>), Diagnostics> {
        self.load_at(NOW)
    }

    pub(crate) fn load_at(&self, now: UnixSeconds) -> Result<(Config, Vec<Diagnostic>), Diagnostics> {
        let env = |name: &str| (name == "SHORT_SECRET").then(|| String::from("too short"));
        super::load(&self.path("gateway.toml"), &env, now)
    }
}
