//! What came back for a handshake, read leniently: a target may be any server.

/// The head of an HTTP answer, and what came behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The bytes of the head, with the empty line.
    pub head: Vec<u8>,
}

/// The most header fields of an answer.
const MOST_FIELDS: usize = 128;

/// The most bytes of its head.
const MOST_HEAD: usize = 64 << 10;

impl Answer {
    /// Takes the head of an answer from the front of `bytes`; `None` while it is incomplete.
    ///
    /// # Errors
    /// With a sentence where the bytes are no HTTP answer.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, String> {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut read = httparse::Response::new(&mut fields);
        let length = match read.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() > MOST_HEAD => {
                return Err(format!("the head of the answer is longer than {MOST_HEAD} bytes"));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("the answer is no HTTP: {error}")),
        };
        let status = read.code.unwrap_or_default();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = read.headers.iter().map(|field| (field.name.to_ascii_lowercase(), text(field.value)));
        let headers = headers.collect();
        Ok(Some(Self { status, headers, head: bytes.drain(..length).collect() }))
    }

    /// The value of the first header of this name, which is in lower case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body in what came behind this head, without the marks of chunks, as far as it came; and whether it is whole.
    /// Of a body that only the end of its connection ends nobody knows before.
    pub fn body(&self, came: &[u8]) -> (Vec<u8>, bool) {
        if self.value("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked")) {
            return unchunked(came);
        }
        let length: Option<usize> = self.value("content-length").and_then(|length| length.trim().parse().ok());
        let length = length.unwrap_or(usize::MAX);
        (came.get(..length.min(came.len())).unwrap_or_default().to_vec(), came.len() >= length)
    }

    /// Whether it opens a socket.
    pub fn is_switching(&self) -> bool {
        self.status == 101
    }

    /// Whether the server says no: 4xx or 5xx.
    pub fn is_refusal(&self) -> bool {
        (400..600).contains(&self.status)
    }

    /// Whether it says no to everybody at this moment, so that nothing is proved: 429 or 503.
    pub fn is_busy(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
}

/// What stands in chunks (RFC 9112 section 7.1), and whether the last one came. What is no chunk is taken as it is.
fn unchunked(mut came: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = came.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = came.split_at(end + 1);
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let length = str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        match length {
            Some(0) => return (body, true),
            Some(length) => {
                let (chunk, rest) = rest.split_at(length.min(rest.len()));
                body.extend_from_slice(chunk);
                came = rest.strip_prefix(b"\r\n").unwrap_or(rest);
            }
            None => break,
        }
    }
    body.extend_from_slice(came);
    (body, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_by_its_length_its_chunks_or_the_end() {
        let cases: [(&str, &str, &str, bool); 9] = [
            ("", "all of it", "all of it", false),
            ("Content-Length: 3\r\n", "abcd", "abc", true),
            ("Content-Length: 5\r\n", "abcd", "abcd", false),
            ("Content-Length: 0\r\n", "", "", true),
            ("Transfer-Encoding: chunked\r\n", "2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", "abc", true),
            ("Transfer-Encoding: gzip, Chunked\r\n", "3\r\nab", "ab", false),
            ("Transfer-Encoding: chunked\r\n", "2\r\nab\r\n", "ab", false),
            ("Transfer-Encoding: chunked\r\n", "no chunk\r\n", "no chunk\r\n", false),
            ("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\nab", "ab", false),
        ];
        for (fields, came, body, is_whole) in cases {
            let head = format!("HTTP/1.1 403 Forbidden\r\n{fields}\r\n");
            let answer = Answer::take(&mut head.into_bytes()).unwrap().unwrap();
            assert_eq!(answer.body(came.as_bytes()), (body.into(), is_whole), "{fields} {came}");
        }
    }
}
