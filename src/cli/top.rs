//! `wsgate top`: which sessions of a running gateway send how much, and how many each policy has.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use rustix::termios::tcgetwinsize;
use serde_json::Value;

use super::admin::{AdminArgs, Call, counted, told, word};
use super::exit::Exit;
use crate::units::ByteSize;

/// Lines that are shown where nobody says how many, and no terminal does.
const LINES: usize = 20;

/// `wsgate top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Sort by messages in a second, not by bytes
    #[arg(long)]
    messages: bool,
    /// How many sessions are shown; at most 100. Default: as many as fit
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=100))]
    lines: Option<u8>,
    /// Show it once, as in a pipe
    #[arg(long)]
    once: bool,
}

/// Shows it every second on a terminal, until it is interrupted or the gateway is gone; once elsewhere.
pub fn run(args: &TopArgs, out: &mut dyn Write) -> Exit {
    let refreshes = !args.once && io::stdout().is_terminal();
    let call = Call::new("GET", if args.messages { "/api/top/messages" } else { "/api/top/bytes" });
    loop {
        let exit = told(&args.admin, &call, out, &|answer, out| {
            let lines = args.lines.map_or_else(|| fitting(answer, refreshes), usize::from);
            let page = page(answer, lines);
            // Home, then each line up to its end, then what is below: nothing flickers.
            if refreshes {
                write!(out, "\x1b[H{}\x1b[J", page.replace('\n', "\x1b[K\n"))?
            } else {
                write!(out, "{page}")?
            }
            out.flush()
        });
        if !refreshes || exit != Exit::Well {
            return exit;
        }
    }
}

/// How many sessions fit below the lines of the policies.
fn fitting(answer: &Value, refreshes: bool) -> usize {
    let rows = tcgetwinsize(io::stdout()).ok().filter(|_| refreshes).map(|size| usize::from(size.ws_row));
    let above = answer["policies"].as_array().map_or(0, Vec::len).saturating_add(4);
    rows.map_or(LINES, |rows| rows.saturating_sub(above).max(1))
}

fn page(answer: &Value, lines: usize) -> String {
    let mut page = format!("{}; a second's worth each way\n", counted(&answer["total"]));
    for one in answer["policies"].as_array().into_iter().flatten() {
        page.push_str(&format!("policy {}: {}, {}\n", word(&one["policy"]), counted(&one["sessions"]), rates(one)));
    }
    let sessions = answer["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    for one in sessions.iter().take(lines) {
        let [id, client, policy, subject] = ["id", "client", "policy", "subject"].map(|name| word(&one[name]));
        page.push_str(&format!("{id} {} {client} {policy} {subject} {}s\n", rates(one), one["age_s"]));
    }
    page
}

/// `up 12/s 3KiB/s down 12/s 3KiB/s`
fn rates(one: &Value) -> String {
    let of = |name: &str| {
        let (messages, bytes) = (whole(&one[name]["messages_per_s"]), whole(&one[name]["bytes_per_s"]));
        format!("{messages}/s {}/s", rounded(bytes))
    };
    format!("up {} down {}", of("from_client"), of("from_backend"))
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Three digits or so.
fn rounded(bytes: u64) -> ByteSize {
    let unit = [1_u64 << 20, 1 << 10].into_iter().find(|unit| bytes >= unit.saturating_mul(10)).unwrap_or(1);
    ByteSize::bytes(bytes.checked_div(unit).unwrap_or(bytes).saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_has_the_policies_and_as_many_sessions_as_fit() {
        let rate = |bytes: u64| json!({ "messages_per_s": 3, "bytes_per_s": bytes });
        let session = |id: &str| {
            json!({ "id": id, "client": "192.0.2.1", "policy": "chat", "subject": "login/a\u{1b}", "age_s": 7,
                    "from_client": rate(2047), "from_backend": rate(1_000_000) })
        };
        let policy = json!({ "policy": "chat", "sessions": 2, "from_client": rate(0), "from_backend": rate(11 << 20) });
        let answer = json!({ "total": 2, "policies": [policy], "sessions": [session("one"), session("two")] });
        let expected = "2 sessions; a second's worth each way\n\
                        policy chat: 2 sessions, up 3/s 0B/s down 3/s 11MiB/s\n\
                        one up 3/s 2047B/s down 3/s 976KiB/s 192.0.2.1 chat login/a\\u{1b} 7s\n";
        assert_eq!(page(&answer, 1), expected);
        assert_eq!(page(&answer, 5).lines().count(), 4);
    }
}
