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
