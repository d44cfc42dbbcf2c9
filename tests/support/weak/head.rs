//! Heads: read as they come, mended where the fault does not look, and judged by the strict reader.

use std::borrow::Cow;

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};
use wsgate::policy::{Reason, Refusal};
use wsgate::ws::head::{HeadScanner, is_token};

use super::{Client, Fault, Gate};

/// A key for whoever brings none that is good.
const SOME_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request head as lines of text.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) start: String,
    pub(super) lines: Vec<String>,
}

impl Head {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n").map(String::from);
        Self { start: lines.next().unwrap_or_default(), lines: lines.collect() }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let lines = std::iter::once(&self.start).chain(&self.lines);
        let text: String = lines.flat_map(|line| [line.as_str(), "\r\n"]).collect();
        (text + "\r\n").into_bytes()
    }

    /// The value of the first field of this name, which is in lower case.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.lines.iter().find(|line| name_of(line) == name)?.split_once(':').map(|(_, value)| value.trim())
    }

    fn remove(&mut self, name: &str) {
        self.lines.retain(|line| name_of(line) != name);
    }

    fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.lines.push(format!("{name}: {value}"));
    }

    /// Leaves the first field of a name.
    fn keep_first(&mut self, name: &str) {
        let mut seen = false;
        self.lines.retain(|line| name_of(line) != name || !std::mem::replace(&mut seen, true));
    }

    pub(super) fn set_word(&mut self, index: usize, word: &str) {
        let mut words: Vec<&str> = self.start.split(' ').collect();
        if let Some(place) = words.get_mut(index) {
            *place = word;
        }
        self.start = words.join(" ");
    }

    pub(super) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// The name of a line's field, in lower case.
pub(super) fn name_of(line: &str) -> String {
    line.split_once(':').map_or(line, |(name, _)| name).trim().to_ascii_lowercase()
}

/// Reads a head; what comes behind it is kept.
pub(super) async fn read(gate: &Gate, client: &mut Client) -> Result<Vec<u8>, Refusal> {
    let mut scanner = HeadScanner::new(gate.admission.limits);
    loop {
        let mended = gate.fault.map_or(Cow::Borrowed(client.kept.as_slice()), |fault| readable(fault, &client.kept));
        if let Cow::Owned(_) = mended {
            scanner = HeadScanner::new(gate.admission.limits);
        }
        if let Some(end) = scanner.scan(&mended)? {
            let mut head = mended.into_owned();
            client.kept = head.split_off(end);
            return Ok(head);
        }
        if gate.has(Fault::HeadInOneRead) && !client.kept.is_empty() {
            return Err(Reason::HeadMalformed.into());
        }
        client.kept.reserve(32 << 10);
        if !matches!(client.stream.read_buf(&mut client.kept).await, Ok(1..)) {
            return Err(Reason::HeadIncomplete.into());
        }
    }
}

/// Bytes as a lenient reader takes them, before the strict one sees them.
fn readable(fault: Fault, bytes: &[u8]) -> Cow<'_, [u8]> {
    let text = || String::from_utf8_lossy(bytes);
    let mended = match fault {
        Fault::BareLf => text().replace("\r\n", "\n").replace('\n', "\r\n"),
        Fault::ObsFold => text().replace("\r\n ", " ").replace("\r\n\t", " "),
        Fault::OddBytesSkipped => {
            text().chars().filter(|letter| letter.is_ascii_graphic() || b" \r\n\t".contains(&(*letter as u8))).collect()
        }
        Fault::OriginFolded => text().chars().map(folded).collect(),
        _ => return Cow::Borrowed(bytes),
    };
    Cow::Owned(mended.into_bytes())
}

/// The Latin letter or sign that a letter looks like.
fn folded(letter: char) -> String {
    let latin = match letter {
        '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => ".",
        '\u{ff01}'..='\u{ff5e}' => return char::from_u32(u32::from(letter) - 0xfee0).unwrap_or(letter).to_string(),
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => "",
        'а' | 'à'..='å' | 'ɑ' | 'α' => "a",
        'е' | 'è'..='ë' | 'ė' => "e",
        'о' | 'ò'..='ö' | 'ο' => "o",
        'р' | 'ρ' => "p",
        'с' => "c",
        'т' | 'τ' => "t",
        'ѕ' | 'ſ' => "s",
        'і' | 'ı' | 'ì'..='ï' => "i",
        'ß' => "ss",
        other => return other.to_string(),
    };
    latin.to_string()
}

/// Takes the time that the fault takes.
pub(super) async fn wait(gate: &Gate, client: &mut Client, asked: &Head) {
    let length = |name: &str| asked.value(name).map_or(0, str::len) as u64;
    if gate.has(Fault::OffersReadSlowly) {
        let offered = length("sec-websocket-protocol") + length("sec-websocket-extensions");
        sleep(Duration::from_micros(offered * offered / 10)).await;
    }
    if gate.has(Fault::BodyAwaited) {
        let announced = asked.value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let is_coded = asked.value("transfer-encoding").is_some();
        while client.kept.len() < announced || is_coded && !client.kept.ends_with(b"\r\n\r\n") {
            if !matches!(client.stream.read_buf(&mut client.kept).await, Ok(1..)) {
                return;
            }
        }
    }
}

/// Whether the fault forwards what is refused.
pub(super) fn is_forwarded(gate: &Gate, asked: &Head) -> bool {
    match gate.fault {
        Some(Fault::LineForwarded) => asked.start.starts_with("GET /") && asked.start.split(' ').count() == 2,
        Some(Fault::PrefaceForwarded) => asked.start == "PRI * HTTP/2.0",
        Some(Fault::NoiseForwarded) => asked.start.chars().next().is_some_and(|first| !first.is_ascii()),
        _ => false,
    }
}

/// Reads to the end of a head, however far it is.
pub(super) async fn pass_over(client: &mut Client) {
    while !client.kept.ends_with(b"\r\n\r\n") {
        let most = client.kept.len().saturating_sub(4);
        client.kept.drain(..most);
        if !matches!(client.stream.read_buf(&mut client.kept).await, Ok(1..)) {
            return;
        }
    }
}

/// Whether far more comes behind a head than a head has.
pub(super) async fn still_sends(client: &mut Client) -> bool {
    while client.kept.len() < 32 << 10 {
        let read = timeout(Duration::from_millis(100), client.stream.read_buf(&mut client.kept)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return false;
        }
    }
    true
}

/// Puts right what the fault does not look at.
pub(super) fn mend(gate: &Gate, client: &mut Client, head: &mut Head) {
    let Some(fault) = gate.fault else { return };
    mend_target(fault, head);
    let served = gate.policy.route.hosts[0].to_string();
    match fault {
        Fault::VersionUnchecked => head.set("sec-websocket-version", "13"),
        Fault::KeyUnchecked => {
            head.remove("sec-websocket-key1");
            head.remove("sec-websocket-key2");
            head.set("sec-websocket-key", SOME_KEY);
        }
        Fault::MethodUnchecked => head.set_word(0, "GET"),
        Fault::HttpVersionUnchecked => head.set_word(2, "HTTP/1.1"),
        Fault::UpgradeUnchecked => head.set("upgrade", "websocket"),
        Fault::ConnectionUnchecked => head.set("connection", "Upgrade"),
        Fault::NominatedTakenOut => take_out_nominated(head),
        Fault::HostFirstField => head.keep_first("host"),
        Fault::HostUnchecked => {
            head.set("host", &served);
            client.transport.server_name = None;
        }
        Fault::BodySkipped => {
            head.remove("content-length");
            head.remove("transfer-encoding");
            client.kept.clear();
        }
        Fault::BodyFieldsUnchecked => {
            head.remove("content-length");
            head.remove("transfer-encoding");
        }
        Fault::ProxyTargetServed if !head.target().contains('/') => {
            head.set_word(1, &gate.policy.route.paths[0].to_string());
        }
        Fault::ExpectIgnored => head.remove("expect"),
        Fault::SpaceBeforeColon => {
            head.lines.iter_mut().for_each(|line| *line = line.replacen(" :", ":", 1).replacen("\t:", ":", 1));
        }
        Fault::OddNamesSkipped => {
            head.lines.retain(|line| line.split_once(':').is_some_and(|(name, _)| is_token(name)));
        }
        Fault::UnderscoresPassed => head.lines.retain(|line| !name_of(line).contains('_')),
        Fault::SubprotocolsUnchecked => {
            let offered = head.value("sec-websocket-protocol").map(str::to_owned);
            head.remove("sec-websocket-protocol");
            let mut names = Vec::new();
            for name in offered.iter().flat_map(|offered| offered.split(',')).map(str::trim) {
                if is_token(name) && !names.contains(&name) && names.len() < 8 {
                    names.push(name);
                }
            }
            if !names.is_empty() {
                head.set("sec-websocket-protocol", &names.join(", "));
            }
        }
        Fault::FetchModeUnchecked => head.remove("sec-fetch-mode"),
        Fault::OriginFirstField => head.keep_first("origin"),
        _ => {}
    }
}

fn mend_target(fault: Fault, head: &mut Head) {
    let target = head.target().to_owned();
    let (path, query) =
        target.split_once('?').map_or((target.as_str(), String::new()), |(path, query)| (path, format!("?{query}")));
    let path = match fault {
        Fault::AbsoluteTarget => match path.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]).to_owned(),
            None => return,
        },
        Fault::PathDecoded => decoded(path),
        Fault::BrokenCodesSkipped => without_broken_codes(path),
        Fault::PathNormalized => normalized(path),
        Fault::PathCut => path.split(['#', ';']).next().unwrap_or_default().to_owned(),
        _ => return,
    };
    let mut words: Vec<&str> = head.start.split(' ').collect();
    let target = path + &query;
    if let [_, place, _] = words.as_mut_slice() {
        *place = &target;
        head.start = words.join(" ");
    }
}

pub(super) fn decoded(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        match piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => bytes.extend([&[byte], &piece.as_bytes()[2..]].concat()),
            None => bytes.extend(["%", piece].concat().bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn without_broken_codes(path: &str) -> String {
    let mut pieces = path.split('%');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |whole, piece| {
        let is_code = piece.get(..2).is_some_and(|digits| u8::from_str_radix(digits, 16).is_ok());
        whole + if is_code { "%" } else { "" } + piece
    })
}

fn normalized(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

fn take_out_nominated(head: &mut Head) {
    let lines = head.lines.clone();
    let options = lines.iter().filter(|line| name_of(line) == "connection");
    let options: Vec<String> = options
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, value)| value.split(','))
        .map(|option| option.trim().to_ascii_lowercase())
        .collect();
    if options.iter().any(|option| option == "upgrade") {
        for option in options.iter().filter(|option| *option != "upgrade") {
            head.remove(option);
        }
        head.set("connection", "Upgrade");
    }
}
