//! The list as an operator writes it, and what it allows: a judge of the suite's own, so that nothing is tried as an
//! attack that the target rightly lets in.

/// A listed origin, taken apart; of a wildcard one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// `https`
    pub(super) scheme: String,
    /// `app.example.com`, `[::1]`
    pub(super) host: String,
    /// `:8443`, or nothing.
    pub(super) port: String,
    /// Of `https://*.example.org` the `example.org`.
    pub(super) wild: Option<String>,
}

/// The label that stands for the star of a wildcard.
const LABEL: &str = "one";

impl Base {
    /// Takes a listed origin apart; `None` for `null` and whatever has no host.
    pub(super) fn of(listed: &str) -> Option<Self> {
        let (scheme, rest) = listed.split_once("://")?;
        let ported =
            rest.rsplit_once(':').filter(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let (host, port) = match ported {
            Some((host, port)) => (host, format!(":{port}")),
            None => (rest, String::new()),
        };
        if host.is_empty() || host == "*" {
            return None;
        }
        let wild = host.strip_prefix("*.").map(String::from);
        let host = wild.as_ref().map_or_else(|| host.to_owned(), |name| format!("{LABEL}.{name}"));
        Some(Self { scheme: scheme.to_owned(), host, port, wild })
    }

    /// The origin itself.
    pub(super) fn origin(&self) -> String {
        self.with_host(&self.host)
    }

    /// The origin with another host.
    pub(super) fn with_host(&self, host: &str) -> String {
        format!("{}://{host}{}", self.scheme, self.port)
    }

    /// The origin with something behind it.
    pub(super) fn and(&self, end: &str) -> String {
        self.origin() + end
    }

    /// Whether the host is an address.
    pub(super) fn is_address(&self) -> bool {
        self.host.starts_with('[') || self.host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    }
}

/// Whether a list allows the value of an Origin field: byte for byte, or by one label before a listed name.
pub(super) fn allows(listed: &[String], value: &[u8]) -> bool {
    // White space around a value is none of it (RFC 9110 section 5.5).
    let value = value.trim_ascii();
    listed.iter().any(|entry| entry == "*" || entry.as_bytes() == value || allows_by_label(entry, value))
}

fn allows_by_label(entry: &str, value: &[u8]) -> bool {
    let Some((scheme, name)) = entry.split_once("*") else { return false };
    let label = value.strip_prefix(scheme.as_bytes()).and_then(|rest| rest.strip_suffix(name.as_bytes()));
    let is_letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    label.is_some_and(|label| {
        let edges = [label.first(), label.last()];
        !edges.contains(&None) && !edges.contains(&Some(&b'-')) && label.len() < 64 && label.iter().all(is_letter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_origin_is_taken_apart() {
        let base = |scheme: &str, host: &str, port: &str, wild: Option<&str>| {
            let wild = wild.map(String::from);
            Some(Base { scheme: scheme.into(), host: host.into(), port: port.into(), wild })
        };
        let cases = [
            ("https://app.test", base("https", "app.test", "", None)),
            ("https://app.test:8443", base("https", "app.test", ":8443", None)),
            ("http://[::1]:3000", base("http", "[::1]", ":3000", None)),
            ("http://[::1]", base("http", "[::1]", "", None)),
            ("https://*.pages.test:8443", base("https", "one.pages.test", ":8443", Some("pages.test"))),
            ("capacitor://localhost", base("capacitor", "localhost", "", None)),
            ("null", None),
            ("file://", None),
            ("*", None),
        ];
        for (listed, apart) in cases {
            assert_eq!(Base::of(listed), apart, "{listed}");
            if let Some(base) = apart {
                assert!(allows(&[listed.to_owned()], base.origin().as_bytes()), "{listed}");
            }
        }
    }

    #[test]
    fn a_list_allows_what_stands_in_it() {
        let listed = ["https://app.test", "https://*.pages.test:8443", "null"].map(String::from);
        for allowed in ["https://app.test", " https://app.test\t", "https://a-1.pages.test:8443", "null"] {
            assert!(allows(&listed, allowed.as_bytes()), "{allowed}");
        }
        let refused = [
            "https://app.test:443",
            "https://App.test",
            "https://pages.test:8443",
            "https://.pages.test:8443",
            "https://a.b.pages.test:8443",
            "https://-a.pages.test:8443",
            "https://A.pages.test:8443",
            "https://a.pages.test",
            "",
        ];
        for refused in refused {
            assert!(!allows(&listed, refused.as_bytes()), "{refused}");
        }
    }
}
