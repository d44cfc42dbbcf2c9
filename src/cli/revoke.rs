//! `wsgate revoke` and `wsgate deny`: access that is taken away from live and later sessions, and given back.

use std::io::{self, Write};

use clap::{ArgGroup, Args};
use serde_json::{Map, Value};

use super::admin::{AdminArgs, Call, counted, told, word};
use super::exit::Exit;

/// `wsgate revoke`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("whom").required(true).args(["subject", "token_id", "session", "address", "policy", "list"]))]
pub struct RevokeArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Every token of this subject that was issued so far
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// The token with this id (`jti`)
    #[arg(long, value_name = "ID")]
    token_id: Option<String>,
    /// The session with this connection id, of 32 hexadecimal digits
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Whoever comes from this network; told so with a 403, where `wsgate deny` drops unheard
    #[arg(long, value_name = "NET")]
    address: Option<String>,
    /// Everybody on this policy
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Of a subject or a token: only this issuer's
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    #[command(flatten)]
    span: SpanArgs,
    /// Give the access back
    #[arg(long, conflicts_with_all = ["span", "until"])]
    lift: bool,
    /// Show what is revoked
    #[arg(long, conflicts_with_all = ["issuer", "span", "until", "lift"])]
    list: bool,
}

/// `wsgate deny`.
#[derive(Args, Debug)]
pub struct DenyArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The network, or one address
    #[arg(value_name = "NET", required_unless_present = "list", conflicts_with = "list")]
    address: Option<String>,
    #[command(flatten)]
    span: SpanArgs,
    /// Let it come again
    #[arg(long, conflicts_with_all = ["span", "until"])]
    lift: bool,
    /// Show which networks are denied
    #[arg(long, conflicts_with_all = ["span", "until", "lift"])]
    list: bool,
}

/// When it ends.
#[derive(Args, Debug)]
struct SpanArgs {
    /// For how long; without it and --until for the longest life that a token may have
    #[arg(long = "for", id = "span", value_name = "TIME", conflicts_with = "until")]
    span: Option<String>,
    /// Until when: 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl SpanArgs {
    fn members(&self) -> [(&'static str, &Option<String>); 2] {
        [("for", &self.span), ("until", &self.until)]
    }
}

/// `wsgate revoke`.
pub fn revoke(args: &RevokeArgs, out: &mut dyn Write) -> Exit {
    if args.list {
        return told(&args.admin, &Call::new("GET", "/api/revocations"), out, &listed);
    }
    let members = [
        ("subject", &args.subject),
        ("token_id", &args.token_id),
        ("session", &args.session),
        ("address", &args.address),
        ("policy", &args.policy),
        ("issuer", &args.issuer),
    ];
    change(&args.admin, "/api/revoke", args.lift, members.into_iter().chain(args.span.members()), out)
}

/// `wsgate deny`.
pub fn deny(args: &DenyArgs, out: &mut dyn Write) -> Exit {
    if args.list {
        return told(&args.admin, &Call::new("GET", "/api/deny"), out, &listed);
    }
    let members = [("address", &args.address)].into_iter().chain(args.span.members());
    change(&args.admin, "/api/deny", args.lift, members, out)
}

fn change<'a>(
    admin: &AdminArgs,
    path: &'static str,
    lift: bool,
    members: impl Iterator<Item = (&'static str, &'a Option<String>)>,
    out: &mut dyn Write,
) -> Exit {
    let given = members.filter_map(|(name, value)| Some((String::from(name), Value::from(value.as_deref()?))));
    let body = Value::Object(Map::from_iter(given));
    let call = Call { method: if lift { "DELETE" } else { "POST" }, path: path.into(), body: Some(body) };
    told(admin, &call, out, &|answer, out| {
        if lift {
            writeln!(out, "lifted: {}", entry(&answer["lifted"]))?;
        } else {
            writeln!(out, "revoked: {}; {} ended", entry(&answer["entry"]), counted(&answer["ended"]))?;
        }
        match answer["message"].as_str() {
            Some(_) => writeln!(out, "note: {}", word(&answer["message"])),
            None => Ok(()),
        }
    })
}

fn listed(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    for one in answer["revocations"].as_array().into_iter().flatten() {
        writeln!(out, "{}", entry(one))?;
    }
    match answer["total"].as_u64() {
        Some(1) => writeln!(out, "1 entry"),
        _ => writeln!(out, "{} entries", answer["total"]),
    }
}

/// An entry as a line: kind and value, then what else is said of it.
fn entry(members: &Value) -> String {
    let kinds = ["subject", "token_id", "session", "address", "policy", "deny"];
    let more = ["issuer", "since", "until", "from"];
    let members = members.as_object();
    let value = |name: &str| members.and_then(|members| members.get(name));
    let kind = kinds.iter().find_map(|kind| Some(format!("{kind} {}", word(value(kind)?))));
    let more = more.iter().filter_map(|name| Some(format!("{name}={}", word(value(name)?))));
    kind.into_iter().chain(more).collect::<Vec<_>>().join(" ")
}
