//! `wsgate token`: development JWTs, query tokens and signing keys.
//!
//! A development aid: tokens for people come from an identity provider. Secrets are read from a file or from standard
//! input and never from an argument, which every process of the machine can see.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use jsonwebtoken::EncodingKey;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::file::{self, Mode};
use crate::policy::auth::algorithm::{Algorithm, KeyKind};
use crate::policy::auth::key_file::without_line_end;
use crate::policy::auth::token::{TokenTable, digest_hex};
use crate::units::{UnixSeconds, parse_duration};

/// The most bytes of a key file.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Mint development tokens and keys.
#[derive(Clone, Debug, Args)]
pub struct TokenArgs {
    /// What to mint.
    #[command(subcommand)]
    pub kind: TokenKind,
}

/// What to mint.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenKind {
    /// A JSON Web Token, signed with a key of yours.
    Jwt(JwtArgs),
    /// A random query token, with the line for the policy's token file.
    Query(QueryArgs),
    /// An ES256 key pair in PEM: the private half goes to a file, the public half to another or to standard output.
    Key(KeyArgs),
}

/// A JSON Web Token, signed with a key of yours.
#[derive(Clone, Debug, Args)]
pub struct JwtArgs {
    /// The signing key: a file with a private key in PEM (PKCS #8) or, for HS256, HS384 and HS512, the secret; `-` reads
    /// it from standard input. One line end behind a secret is not part of it.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The algorithm to which the issuer binds this key.
    #[arg(long, default_value = "ES256")]
    pub alg: Algorithm,
    /// The key's id, where the issuer has several keys.
    #[arg(long)]
    pub kid: Option<String>,
    /// The issuer, exactly as gateway.toml has it.
    #[arg(long)]
    pub iss: String,
    /// Who the token is for.
    #[arg(long)]
    pub sub: String,
    /// An audience of the policy; may be repeated.
    #[arg(long, required = true)]
    pub aud: Vec<String>,
    /// How long it is valid: 90s, 15m, 1h.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub life: Duration,
    /// A further claim, NAME=JSON or NAME=TEXT; may be repeated.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
}

/// A random query token.
#[derive(Clone, Debug, Args)]
pub struct QueryArgs {
    /// Whose token it is: one word.
    #[arg(long)]
    pub subject: String,
    /// How long it opens sessions.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub life: Duration,
    /// How long, from now, its sessions may live; without it their length is the policy's affair.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub session_life: Option<Duration>,
}

/// An ES256 key pair.
#[derive(Clone, Debug, Args)]
pub struct KeyArgs {
    /// Where the private half is written, readable by the owner only; one that is there is kept.
    #[arg(long, value_name = "FILE")]
    pub private: PathBuf,
    /// Where the public half is written; without it, it is printed.
    #[arg(long, value_name = "FILE")]
    pub public: Option<PathBuf>,
}

/// Does what was asked and returns what belongs on standard output; remarks go to `err`.
pub fn run(args: &TokenArgs, now: UnixSeconds, err: &mut dyn Write) -> Result<String, TokenError> {
    match &args.kind {
        TokenKind::Jwt(jwt) => {
            let key = read_key(&jwt.key)?;
            mint_jwt(&claims_of(jwt, now)?, &key, jwt.alg, jwt.kid.as_deref()).map(|token| token + "\n")
        }
        TokenKind::Query(query) => {
            let mut bytes = [0; 32];
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TokenError::Random)?;
            let session = query.session_life.map(|life| now.saturating_add(life));
            let minted = mint_query_token(&bytes, &query.subject, now.saturating_add(query.life), session)?;
            let QueryToken { token, line } = minted;
            Ok(format!("{token}\n\n# the line for the policy's token file:\n{line}\n"))
        }
        TokenKind::Key(key) => {
            if key.public.as_ref() == Some(&key.private) {
                return Err(TokenError::OtherFile(key.private.clone()));
            }
            let (pair, outcome) = ensure_private(&key.private)?;
            let private = key.private.display();
            let remark = match outcome {
                KeyOutcome::Made => format!("made {private}: readable by you alone"),
                KeyOutcome::Kept => format!("kept {private}: it is there already, this is its public half"),
            };
            let _ = writeln!(err, "{remark}");
            let Some(public) = &key.public else { return Ok(pair.public_key_pem()) };
            file::write_whole(public, Mode::Everybody, pair.public_key_pem().as_bytes())
                .map_err(|error| TokenError::Write(public.clone(), error.kind()))?;
            Ok(format!("wrote {}", public.display()))
        }
    }
}

/// What became of the private half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyOutcome {
    Made,
    Kept,
}

/// The key pair of a file; one is made where there is no file.
fn ensure_private(path: &Path) -> Result<(KeyPair, KeyOutcome), TokenError> {
    match file::read(path, MAX_KEY_FILE).map(Zeroizing::new) {
        Ok(pem) => {
            let other = || TokenError::OtherFile(path.to_owned());
            let pem = str::from_utf8(&pem).map_err(|_| other())?;
            let pair = KeyPair::from_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256).map_err(|_| other())?;
            Ok((pair, KeyOutcome::Kept))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| TokenError::Random)?;
            let pem = Zeroizing::new(pair.serialize_pem());
            file::write_whole(path, Mode::Owner, pem.as_bytes())
                .map_err(|error| TokenError::Write(path.to_owned(), error.kind()))?;
            Ok((pair, KeyOutcome::Made))
        }
        Err(error) => Err(TokenError::Read(path.to_owned(), error.kind())),
    }
}

/// Signs claims with a private key in PEM (PKCS #8), or with a secret for the HMAC algorithms.
pub fn mint_jwt(
    claims: &Map<String, Value>,
    key: &[u8],
    algorithm: Algorithm,
    kid: Option<&str>,
) -> Result<String, TokenError> {
    let mut header = Map::new();
    header.insert(String::from("alg"), Value::from(algorithm.as_str()));
    header.insert(String::from("typ"), Value::from("JWT"));
    if let Some(kid) = kid {
        header.insert(String::from("kid"), Value::from(kid));
    }
    let part = |members: &Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::from(members.clone()).to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &signing_key(key, algorithm)?, algorithm.jws())
        .map_err(|_| TokenError::Key(algorithm))?;
    Ok(format!("{message}.{signature}"))
}

/// A query token and its line in a token file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryToken {
    /// What the client sends.
    pub token: String,
    /// What the gateway's file holds.
    pub line: String,
}

/// Makes a query token from 32 random bytes.
pub fn mint_query_token(
    random: &[u8; 32],
    subject: &str,
    use_until: UnixSeconds,
    session_until: Option<UnixSeconds>,
) -> Result<QueryToken, TokenError> {
    let token = URL_SAFE_NO_PAD.encode(random);
    let session = session_until.map(|time| format!(" session_until={}", time.0)).unwrap_or_default();
    let line = format!("{} {subject} use_until={}{session}", digest_hex(&token), use_until.0);
    match TokenTable::parse(&line) {
        Ok(table) if table.len() == 1 => Ok(QueryToken { token, line }),
        _ => Err(TokenError::Subject(String::from(subject))),
    }
}

fn signing_key(key: &[u8], algorithm: Algorithm) -> Result<EncodingKey, TokenError> {
    let wrong = || TokenError::Key(algorithm);
    match algorithm.key_kind() {
        KeyKind::Secret => {
            let secret = without_line_end(key);
            if secret.len() < algorithm.min_secret() { Err(wrong()) } else { Ok(EncodingKey::from_secret(secret)) }
        }
        KeyKind::Rsa => EncodingKey::from_rsa_pem(key).map_err(|_| wrong()),
        KeyKind::P256 | KeyKind::P384 => {
            let der = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|_| wrong())?;
            Ok(EncodingKey::from_ec_der(der.secret_pkcs8_der()))
        }
        KeyKind::Ed25519 => {
            let der = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|_| wrong())?;
            Ok(EncodingKey::from_ed_der(der.secret_pkcs8_der()))
        }
    }
}

fn claims_of(args: &JwtArgs, now: UnixSeconds) -> Result<Map<String, Value>, TokenError> {
    let mut claims = Map::new();
    for claim in &args.claims {
        let (name, value) = claim.split_once('=').ok_or_else(|| TokenError::Claim(claim.clone()))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        claims.insert(String::from(name), value);
    }
    let audience = match args.aud.as_slice() {
        [only] => Value::from(only.as_str()),
        several => Value::from(several),
    };
    let registered = [
        ("iss", Value::from(args.iss.as_str())),
        ("sub", Value::from(args.sub.as_str())),
        ("aud", audience),
        ("iat", Value::from(now.0)),
        ("exp", Value::from(now.saturating_add(args.life).0)),
    ];
    for (name, value) in registered {
        if claims.insert(String::from(name), value).is_some() {
            return Err(TokenError::Claim(String::from(name)));
        }
    }
    Ok(claims)
}

pub(super) fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let read = if path == Path::new("-") {
        file::read_from(std::io::stdin().lock(), MAX_KEY_FILE)
    } else {
        file::read(path, MAX_KEY_FILE)
    };
    read.map(Zeroizing::new).map_err(|error| TokenError::Read(path.to_owned(), error.kind()))
}

/// Why nothing was minted; the text says what would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The key file could not be read.
    Read(PathBuf, ErrorKind),
    /// A half of a key pair could not be written.
    Write(PathBuf, ErrorKind),
    /// What is there already is no ES256 key.
    OtherFile(PathBuf),
    /// The key does not fit the algorithm.
    Key(Algorithm),
    /// A `--claim` has no `=`, or names a claim that has an option of its own.
    Claim(String),
    /// The subject is not one word of at most 256 bytes.
    Subject(String),
    /// The system gave no random bytes.
    Random,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, kind) => write!(f, "{}: cannot be read: {kind}", path.display()),
            Self::Write(path, kind) => write!(f, "{}: cannot be written: {kind}", path.display()),
            Self::OtherFile(path) => {
                write!(
                    f,
                    "{}: is there already and is no ES256 key in PEM (PKCS #8): name another file",
                    path.display()
                )
            }
            Self::Key(algorithm) => match algorithm.min_secret() {
                0 => write!(
                    f,
                    "not a private key in PEM (PKCS #8) for {algorithm}: `wsgate token key` makes one for ES256"
                ),
                least => {
                    write!(f, "a secret for {algorithm} must have at least {least} bytes: `openssl rand -hex {least}`")
                }
            },
            Self::Claim(claim) => {
                write!(f, "--claim {claim}: write NAME=VALUE; iss, sub, aud, iat and exp have options of their own")
            }
            Self::Subject(subject) => {
                write!(f, "--subject `{subject}`: write one word of at most 256 bytes, without `#`")
            }
            Self::Random => f.write_str("the system gave no random bytes"),
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::policy::auth::fixtures::{ISS, NOW, rules};
    use crate::policy::auth::keys::{Issuer, VerifyingKey};
    use crate::policy::auth::{jwt, key_file};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: TokenArgs,
    }

    fn asked(words: &[&str]) -> Result<String, TokenError> {
        run(&Command::try_parse_from([&["token"], words].concat()).unwrap().args, NOW, &mut Vec::new())
    }

    fn accepts(key: VerifyingKey, token: &str) -> bool {
        let issuer = Issuer::new(ISS, vec![key]).unwrap();
        jwt::verify(token.trim_end(), &rules(), &issuer, NOW).is_ok()
    }

    #[test]
    fn a_minted_jwt_passes_the_gate() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join("dev.key");
        let private = private.to_str().unwrap();
        let public = asked(&["key", "--private", private]).unwrap();
        let claims = ["--iss", ISS, "--sub", "alice", "--aud", "chat", "--claim", "scope=chat:join"];
        let token = asked(&[&["jwt", "--key", private, "--kid", "a"], &claims[..]].concat()).unwrap();
        let key = |id| key_file::from_pem(public.as_bytes(), &[Algorithm::Es256], Some(id)).unwrap();
        assert!(accepts(key("a"), &token));
        assert!(!accepts(key("b"), &token));

        let secret = folder.path().join("secret");
        std::fs::write(&secret, "0123456789abcdef0123456789ABCDEF\n").unwrap();
        let hs256 = [&["jwt", "--key", secret.to_str().unwrap(), "--alg", "HS256"], &claims[..]].concat();
        let key = key_file::from_secret(b"0123456789abcdef0123456789ABCDEF", &[Algorithm::Hs256], None).unwrap();
        assert!(accepts(key, &asked(&hs256).unwrap()));
        assert_eq!(asked(&[&hs256[..], &["--claim", "exp=1"]].concat()), Err(TokenError::Claim(String::from("exp"))));
        assert_eq!(
            asked(&[&["jwt", "--key", private, "--alg", "ES384"], &claims[..]].concat()),
            Err(TokenError::Key(Algorithm::Es384))
        );
    }

    #[test]
    fn a_private_key_stays_and_its_public_half_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (private, public) = (path("dev.key"), path("dev.pub.pem"));
        let words = ["key", "--private", &private, "--public", &public];
        let asked = |words: &[&str]| {
            let mut told = Vec::new();
            let args = Command::try_parse_from([&["token"], words].concat()).unwrap().args;
            let printed = run(&args, NOW, &mut told);
            (printed, String::from_utf8(told).unwrap())
        };
        let (printed, told) = asked(&words);
        assert!(told.starts_with("made ") && printed.unwrap().starts_with("wrote "), "{told}");
        let files = || [&private, &public].map(|path| std::fs::read_to_string(path).unwrap());
        let first = files();
        // A run that was interrupted, or a shell that emptied the file.
        let cases = [("all there", Some(first[1].as_str())), ("no public half", None), ("an empty one", Some(""))];
        for (what, left) in cases {
            match left {
                Some(text) => std::fs::write(&public, text).unwrap(),
                None => std::fs::remove_file(&public).unwrap(),
            }
            let (printed, told) = asked(&words);
            assert!(printed.is_ok() && told.starts_with("kept "), "{what}: {told}");
            assert_eq!(files(), first, "{what}");
        }
        assert_eq!(asked(&words[..3]).0.unwrap(), first[1]);

        std::fs::write(&private, "no key").unwrap();
        assert_eq!(asked(&words).0, Err(TokenError::OtherFile(private.clone().into())));
        let same = ["key", "--private", &public, "--public", &public];
        assert_eq!(asked(&same).0, Err(TokenError::OtherFile(public.clone().into())));
        assert_eq!(files(), ["no key", &first[1]], "and nothing was written");
    }

    #[test]
    fn a_minted_query_token_is_found_by_its_line() {
        let minted = mint_query_token(&[7; 32], "bob", UnixSeconds(NOW.0 + 1), Some(UnixSeconds(NOW.0 + 9))).unwrap();
        let table = TokenTable::parse(&minted.line).unwrap();
        let row = table.find(&minted.token, NOW).unwrap();
        assert_eq!((row.subject.as_str(), row.session_until), ("bob", Some(UnixSeconds(NOW.0 + 9))));
        assert!(!minted.line.contains(&minted.token));
        for subject in ["", "two words", "a#b", "a\nb"] {
            assert!(mint_query_token(&[7; 32], subject, NOW, None).is_err(), "{subject:?}");
        }
        let printed = asked(&["query", "--subject", "bob", "--life", "5m"]).unwrap();
        let token = printed.lines().next().unwrap();
        let table = TokenTable::parse(printed.lines().last().unwrap()).unwrap();
        assert!(table.find(token, NOW).is_ok());
    }
}
