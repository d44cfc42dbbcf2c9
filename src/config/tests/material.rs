//! Certificates, keys and secrets as a configuration names them: what is refused, and what is warned of.

use super::super::diagnostic::Code;
use super::super::fixture::{GATEWAY, Ground, POLICY};

#[test]
fn a_secret_that_others_may_read_is_warned_of() {
    let ground = Ground::new();
    let warned = |of: &str| {
        let (_, warnings) = ground.load().unwrap();
        assert!(warnings.iter().all(|one| one.code == Code::Permissions), "{of}: {warnings:?}");
        warnings.len()
    };
    for (mode, count) in [(0o640, 1), (0o600, 0)] {
        ground.chmod("certs/server.key", mode);
        assert_eq!(warned("a certificate's key"), count);
    }
    ground.write("certs/hs.secret", "0123456789abcdef0123456789abcdef0123456789ABCDEF");
    let issuer = |algorithm: &str, key: &str| {
        let keys = GATEWAY.replace("[\"certs/login-a.pem\", \"certs/login-b.pem\"]", &format!("[{key}]"));
        ground.write("gateway.toml", keys.replace("ES256", algorithm));
    };
    for (key, algorithm, file, count) in [
        ("\"certs/hs.secret\"", "HS256", "certs/hs.secret", 1),
        ("{ file = \"certs/hs.secret\" }", "HS256", "certs/hs.secret", 1),
        ("\"certs/login-a.pem\"", "ES256", "certs/login-a.pem", 0),
        ("{ file = \"certs/login-a.pem\" }", "ES256", "certs/login-a.pem", 0),
    ] {
        issuer(algorithm, key);
        ground.chmod(file, 0o644);
        assert_eq!(warned(key), count, "{key}");
        ground.chmod(file, 0o600);
        assert_eq!(warned(key), 0, "{key}");
    }
}

#[test]
fn tl15_every_authority_of_a_server_is_a_certificate() {
    let ground = Ground::new();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let good = std::fs::read_to_string(ground.path("certs/server.pem")).unwrap();
    let servers = "[\"wss://chat.internal\"]\nauthorities = \"../certs/authorities.pem\"";
    ground.write("policies/chat.toml", POLICY.replace("[\"ws://10.0.0.11:9001\", \"ws://10.0.0.12:9001\"]", servers));
    for (pem, loads) in [(good.clone(), true), (String::from(garbage), false), (good + garbage, false)] {
        ground.write("certs/authorities.pem", pem);
        let told = ground.load().err().map(|told| told.to_string());
        assert_eq!(told.is_none(), loads, "{told:?}");
        assert!(told.is_none_or(|told| told.contains("authorities.pem")));
    }
}

#[test]
fn a_certificate_that_is_never_shown_is_warned_of() {
    let ground = Ground::new();
    let both = "certificates = [{ chain = \"certs/later.pem\", key = { file = \"certs/later.key\" } }, ";
    ground.certificate("later", &["chat.example.com", "other.example.com"]);
    ground.write("gateway.toml", GATEWAY.replace("certificates = [", both));
    let (_, warnings) = ground.load().unwrap();
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.message.contains("server.pem") && warning.message.contains("`chat.example.com`"), "{warning:?}");
    ground.certificate("later", &["other.example.com"]);
    assert_eq!(ground.load().unwrap().1, []);
}
