//! A second reader of HTTP/1.1 heads (RFC 9112) and of what stands in them: no state, no bounds, no speed.

/// The words of the first line, and the fields with their names in lower case.
#[derive(Debug, PartialEq, Eq)]
pub struct NaiveHead {
    pub first: Vec<String>,
    pub fields: Vec<(String, String)>,
}

/// Reads a head that ends where `head` ends; `None` where the strict grammar is broken.
///
/// The first line is split at its first two spaces.
pub fn read(head: &[u8]) -> Option<NaiveHead> {
    let lines = lines(head)?;
    let first = lines.first()?.splitn(3, ' ').map(String::from).collect();
    let fields = lines.iter().skip(1).map(|line| field(line)).collect::<Option<_>>()?;
    Some(NaiveHead { first, fields })
}

/// The lines of a head; `None` where one is empty or holds more than text.
pub fn lines(head: &[u8]) -> Option<Vec<&str>> {
    let lines: Vec<&str> = str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?.split("\r\n").collect();
    let is_text = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    lines.iter().all(|line| !line.is_empty() && line.bytes().all(is_text)).then_some(lines)
}

impl NaiveHead {
    /// The values of the fields called `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether the one field called `name` says `value`, in any case.
    pub fn says(&self, name: &str, value: &str) -> bool {
        matches!(self.all(name)[..], [only] if only.eq_ignore_ascii_case(value))
    }

    /// The options of Connection (RFC 9110 section 7.6.1), in lower case.
    pub fn connection(&self) -> Vec<String> {
        let lists = self.all("connection");
        lists.iter().flat_map(|list| list.split(',')).map(|option| trimmed(option).to_ascii_lowercase()).collect()
    }
}

/// Whether `text` is a token (RFC 9110 section 5.6.2).
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|letter| ('!'..='~').contains(&letter) && !"\"(),/:;<=>?@[\\]{}".contains(letter))
}

/// Without the optional white space (RFC 9110 section 5.6.3) at both ends.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|letter| letter == ' ' || letter == '\t')
}

/// With every whole triplet decoded once (RFC 3986 section 2.1); what is none stays.
pub fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).and_then(|pair| str::from_utf8(pair).ok());
        let digits = digits.filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| text[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

fn field(line: &str) -> Option<(String, String)> {
    let colon = line.find(':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    is_token(name).then(|| (name.to_lowercase(), trimmed(value).to_owned()))
}
