//! An opening handshake that is good until it is made wrong, byte by byte.
//!
//! Nothing here is shared with the gateway's own reader or builder: what measures does not share a mistake with what is
//! measured.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An opening handshake as bytes (RFC 6455 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method, target and version, without the line end.
    pub start: Vec<u8>,
    /// The header lines, without their line ends.
    pub lines: Vec<Vec<u8>>,
    /// What ends each line.
    pub line_end: &'static [u8],
    /// What follows the head in the same write.
    pub tail: Vec<u8>,
}

impl Request {
    /// A handshake without Origin and credential.
    pub fn new(authority: &str, target: &str, key: [u8; 16]) -> Self {
        let start = format!("GET {target} HTTP/1.1").into_bytes();
        let mut request = Self { start, lines: Vec::new(), line_end: b"\r\n", tail: Vec::new() };
        request.set("Host", authority);
        request.set("Upgrade", "websocket");
        request.set("Connection", "Upgrade");
        request.set("Sec-WebSocket-Key", STANDARD.encode(key));
        request.set("Sec-WebSocket-Version", "13");
        request
    }

    /// The same with another value of a header: in place where it stands, else behind the others.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.set(name, value);
        self
    }

    /// The same without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.lines.retain(|line| !is_named(line, name));
        self
    }

    /// The same with one more raw line at the end.
    #[must_use]
    pub fn and_line(mut self, line: impl AsRef<[u8]>) -> Self {
        self.lines.push(line.as_ref().to_vec());
        self
    }

    /// The same with another method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        self.word(0, method.as_bytes())
    }

    /// The same with another target.
    #[must_use]
    pub fn target(self, target: impl AsRef<[u8]>) -> Self {
        self.word(1, target.as_ref())
    }

    /// The same with another version.
    #[must_use]
    pub fn version(self, version: &str) -> Self {
        self.word(2, version.as_bytes())
    }

    /// The same with bytes behind the head.
    #[must_use]
    pub fn and_tail(mut self, tail: impl AsRef<[u8]>) -> Self {
        self.tail = tail.as_ref().to_vec();
        self
    }

    /// Sets the value of a header.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let line = [name.as_bytes(), b": ", value.as_ref()].concat();
        match self.lines.iter_mut().find(|line| is_named(line, name)) {
            Some(place) => *place = line,
            None => self.lines.push(line),
        }
    }

    /// The value of the first header of this name.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        let line = self.lines.iter().find(|line| is_named(line, name))?;
        line.get(name.len() + 1..).map(<[u8]>::trim_ascii)
    }

    /// The target of the request line.
    pub fn target_bytes(&self) -> &[u8] {
        self.start.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
    }

    /// Whether it announces a body of which nothing comes.
    pub fn withholds_body(&self) -> bool {
        let announces = |name: &&str| self.value(name).is_some();
        self.tail.is_empty() && ["Content-Length", "Transfer-Encoding"].iter().any(announces)
    }

    /// The bytes of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in std::iter::once(&self.start).chain(&self.lines) {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(self.line_end);
        }
        bytes.extend_from_slice(self.line_end);
        bytes.extend_from_slice(&self.tail);
        bytes
    }

    fn word(mut self, index: usize, word: &[u8]) -> Self {
        let mut words: Vec<&[u8]> = self.start.splitn(3, |byte| *byte == b' ').collect();
        if let Some(place) = words.get_mut(index) {
            *place = word;
        }
        self.start = words.join(&b' ');
        self
    }
}

fn is_named(line: &[u8], name: &str) -> bool {
    line.split_at_checked(name.len())
        .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_changed_in_one_place_at_a_time() {
        let good = Request::new("app.test:8443", "/chat", *b"0123456789abcdef");
        let text = |request: &Request| String::from_utf8(request.bytes()).unwrap();
        assert_eq!(
            text(&good),
            "GET /chat HTTP/1.1\r\nHost: app.test:8443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        assert!(text(&good.clone().method("POST").version("HTTP/1.0")).starts_with("POST /chat HTTP/1.0\r\n"));
        assert!(text(&good.clone().target("/a b")).starts_with("GET /a b HTTP/1.1\r\n"));
        assert!(!text(&good.clone().without("upgrade")).contains("Upgrade: "));
        assert_eq!(good.clone().with("host", "b").value("Host"), Some(b"b".as_slice()));
        assert!(text(&good.and_line("X: 1").and_tail("later")).ends_with("X: 1\r\n\r\nlater"));
    }
}
