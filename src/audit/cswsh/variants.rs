//! Origins that look like a listed one, by what they try. Each kind is of one idea, so that one careless comparison
//! makes few of them fall.

use super::listed::Base;

/// Values of an Origin field, made of a listed origin.
type Make = fn(&Base) -> Vec<Vec<u8>>;

/// Id, name, and how the values are made.
pub(super) type Kind = (&'static str, &'static str, Make);

/// The site of an attacker.
pub(super) const EVIL: &str = "evil.invalid";

/// Every kind that takes a listed origin for its model.
pub(super) const KINDS: &[Kind] = &[
    ("OR05", "several origins in one field", several),
    ("OR06", "another scheme of the web", other_scheme),
    ("OR07", "another port", other_port),
    ("OR07", "a port that browsers leave out or write otherwise", odd_port),
    ("OR08", "something before the listed name", before),
    ("OR09", "something behind the listed name", behind),
    ("OR10", "a subdomain of a listed name", subdomain),
    ("OR10", "what a wildcard of one label must not match", beside_wildcard),
    ("OR11", "any character for a dot", any_for_dot),
    ("OR12", "the listed name before an @", before_at),
    ("OR12", "the listed name behind an @", behind_at),
    ("OR13", "a dot at the end", |base| texts([base.with_host(&format!("{}.", base.host))])),
    ("OR13", "a dot too many", dots),
    ("OR14", "upper case", upper_case),
    ("OR15", "letters that look alike", look_alikes),
    ("OR15", "names in punycode", punycode),
    ("OR16", "characters that browsers allow in hosts", odd_hosts),
    ("OR17", "a path, a query or a fragment", more_than_origin),
    ("OR17", "white space and words behind it", words_behind),
    ("OR19", "the listed name by another scheme", foreign_schemes),
    ("OR19", "the listed name without its scheme", |base| {
        texts([base.host.clone(), format!("//{}", base.host), format!("{}:{}", base.scheme, base.host)])
    }),
    ("OR20", "control bytes", controls),
    ("OR20", "a value of 8 KB", |base| {
        texts([base.with_host(&format!("{}.{}", "a".repeat(8192), base.host)), base.and(&"/".repeat(8192))])
    }),
];

/// Every kind that is made of nothing.
pub(super) const ALONE: &[Kind] = &[
    ("OR02", "null, as from a sandboxed frame", |_| texts(["null"])),
    ("OR02", "null in other spellings", |_| texts(["Null", "NULL", "\"null\"", "undefined"])),
    ("OR03", "an empty Origin", |_| texts(["", " ", "-"])),
    ("OR18", "this machine by its names", |_| {
        texts([
            "http://localhost",
            "http://localhost:3000",
            "https://localhost",
            "http://127.0.0.1",
            "http://127.0.0.1:8080",
            "http://[::1]",
        ])
    }),
    ("OR18", "this machine by odd names", |_| {
        texts([
            "http://127.1",
            "http://2130706433",
            "http://0x7f.1",
            "http://0.0.0.0",
            "http://[::ffff:127.0.0.1]",
            "http://localhost.",
            "http://localhost.evil.invalid",
        ])
    }),
    ("OR19", "extensions, files and applications", |_| {
        texts([
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://0b1c2d3e-0000-4000-8000-000000000000",
            "file://",
            "capacitor://localhost",
            "ionic://localhost",
            "app://.",
            "vscode-webview://0a1b2c",
        ])
    }),
    ("OR25", "another site's page with the user's cookie", |_| texts(["https://evil.invalid", "http://evil.invalid"])),
    ("OR26", "a star for an origin", |_| texts(["*", "https://*", "*://*"])),
];

fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    texts.into_iter().map(|text| text.into().into_bytes()).collect()
}

fn several(base: &Base) -> Vec<Vec<u8>> {
    let good = base.origin();
    texts([
        format!("{good} https://{EVIL}"),
        format!("https://{EVIL} {good}"),
        format!("{good},https://{EVIL}"),
        format!("https://{EVIL}, {good}"),
        format!("{good}, {good}"),
        format!("{good} {good}"),
    ])
}

fn other_scheme(base: &Base) -> Vec<Vec<u8>> {
    let others = ["http", "https"].into_iter().filter(|scheme| *scheme != base.scheme);
    texts(others.map(|scheme| format!("{scheme}://{}{}", base.host, base.port)))
}

fn other_port(base: &Base) -> Vec<Vec<u8>> {
    let Base { scheme, host, port, .. } = base;
    let mut found =
        vec![format!("{scheme}://{host}:8444"), format!("{scheme}://{host}:1"), format!("{scheme}://{host}:65535")];
    if !port.is_empty() {
        found.push(format!("{scheme}://{host}"));
        found.push(format!("{scheme}://{host}{port}0"));
    }
    texts(found)
}

fn odd_port(base: &Base) -> Vec<Vec<u8>> {
    let Base { scheme, host, port, .. } = base;
    let number = match (port.strip_prefix(':'), scheme.as_str()) {
        (Some(number), _) => number,
        (None, "http") => "80",
        (None, _) => "443",
    };
    let written =
        if port.is_empty() { format!("{scheme}://{host}:{number}") } else { format!("{scheme}://{host}:+{number}") };
    texts([written, format!("{scheme}://{host}:0{number}"), format!("{scheme}://{host}{port}:")])
}

fn before(base: &Base) -> Vec<Vec<u8>> {
    let name = base.wild.as_deref().unwrap_or(&base.host);
    texts([
        base.with_host(&format!("evil{name}")),
        base.with_host(&format!("evil-{name}")),
        base.with_host(&format!("evil_{name}")),
        base.with_host(&format!("{EVIL}/{name}")),
        base.with_host(&format!("{EVIL}?{name}")),
    ])
}

fn behind(base: &Base) -> Vec<Vec<u8>> {
    texts([
        base.with_host(&format!("{}.{EVIL}", base.host)),
        base.with_host(&format!("{}{EVIL}", base.host)),
        base.with_host(&format!("{}-{EVIL}", base.host)),
        base.and(&format!("{}.{EVIL}", if base.port.is_empty() { ":443" } else { "" })),
    ])
}

fn subdomain(base: &Base) -> Vec<Vec<u8>> {
    if base.is_address() {
        return Vec::new();
    }
    let labels = ["www", "evil", "a.b", "xn--a"];
    let mut found: Vec<String> = labels.iter().map(|label| base.with_host(&format!("{label}.{}", base.host))).collect();
    // A neighbour, and the name above: other pages of the same site carry even its strictest cookies.
    if let (None, Some((_, above))) = (&base.wild, base.host.split_once('.')) {
        found.push(base.with_host(above));
        if above.contains('.') {
            found.push(base.with_host(&format!("evil.{above}")));
        }
    }
    texts(found)
}

fn beside_wildcard(base: &Base) -> Vec<Vec<u8>> {
    let Some(name) = &base.wild else { return Vec::new() };
    let hosts = [
        name.clone(),
        format!(".{name}"),
        format!("a.b.{name}"),
        format!("a..{name}"),
        format!("*.{name}"),
        format!("-a.{name}"),
        format!("_.{name}"),
        format!("{}.{name}", "a".repeat(64)),
        format!("{EVIL}/.{name}"),
        format!("{EVIL}:80.{name}"),
        format!("{EVIL}@one.{name}"),
        format!("{EVIL}#.{name}"),
        format!("{EVIL}\\.{name}"),
        format!("ev%69l.{name}"),
    ];
    texts(hosts.map(|host| base.with_host(&host)))
}

fn any_for_dot(base: &Base) -> Vec<Vec<u8>> {
    let dots = base.host.match_indices('.');
    texts(dots.flat_map(|(at, _)| {
        let (left, right) = base.host.split_at_checked(at).unwrap_or_default();
        let right = right.strip_prefix('.').unwrap_or_default();
        ["a", "-"].map(|stranger| base.with_host(&format!("{left}{stranger}{right}")))
    }))
}

fn before_at(base: &Base) -> Vec<Vec<u8>> {
    let host = &base.host;
    texts([
        base.with_host(&format!("{host}@{EVIL}")),
        base.with_host(&format!("{host}:@{EVIL}")),
        base.with_host(&format!("{host}:443@{EVIL}")),
        base.with_host(&format!("{host}\\@{EVIL}")),
        base.with_host(&format!("{host}%40{EVIL}")),
    ])
}

fn behind_at(base: &Base) -> Vec<Vec<u8>> {
    let host = &base.host;
    texts([
        base.with_host(&format!("{EVIL}@{host}")),
        base.with_host(&format!("user:pass@{host}")),
        base.with_host(&format!("@{host}")),
        base.with_host(&format!("{EVIL}#@{host}")),
        base.with_host(&format!("{EVIL}?@{host}")),
        base.with_host(&format!("{EVIL}\\@{host}")),
    ])
}

fn dots(base: &Base) -> Vec<Vec<u8>> {
    let doubled = base.host.split_once('.').map(|(label, rest)| format!("{label}..{rest}"));
    texts([Some(format!(".{}", base.host)), doubled].into_iter().flatten().map(|host| base.with_host(&host)))
}

fn upper_case(base: &Base) -> Vec<Vec<u8>> {
    let mut letters = base.host.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let capital: String = first.into_iter().chain(letters).collect();
    let origin = base.origin();
    let found = [
        base.with_host(&base.host.to_ascii_uppercase()),
        base.with_host(&capital),
        format!("{}://{}{}", base.scheme.to_ascii_uppercase(), base.host, base.port),
    ];
    texts(found.into_iter().filter(|found| *found != origin))
}

/// Latin letters, and letters of other scripts that look the same.
const TWINS: [(char, char); 8] =
    [('a', 'а'), ('e', 'е'), ('o', 'о'), ('p', 'р'), ('c', 'с'), ('s', 'ѕ'), ('i', 'і'), ('x', 'х')];

/// The host with the first letter that has a twin written by it, and where that letter stands in its label.
fn with_twin(base: &Base) -> Option<(String, String)> {
    let found = base.host.char_indices().find_map(|(at, letter)| {
        let (_, twin) = TWINS.iter().find(|(latin, _)| *latin == letter)?;
        Some((at, letter, *twin))
    });
    let (at, letter, twin) = found?;
    let (before, rest) = base.host.split_at_checked(at)?;
    let behind = rest.strip_prefix(letter)?;
    let plain = format!("{before}{twin}{behind}");
    let coded: Vec<String> = plain.split('.').map(a_label).collect();
    Some((plain, coded.join(".")))
}

fn look_alikes(base: &Base) -> Vec<Vec<u8>> {
    let mut hosts: Vec<String> = with_twin(base).map(|(plain, _)| plain).into_iter().collect();
    let wide = |letter: char| char::from_u32(u32::from(letter) + 0xfee0).unwrap_or(letter);
    let mut letters = base.host.chars();
    if let Some(first) = letters.next().filter(char::is_ascii_lowercase) {
        hosts.push(std::iter::once(wide(first)).chain(letters.clone()).collect());
        hosts.push(format!("{first}\u{200d}{}", letters.as_str()));
        hosts.push(format!("{first}\u{ad}{}", letters.as_str()));
    }
    for dot in ['\u{3002}', '\u{ff0e}'] {
        hosts.extend(base.host.contains('.').then(|| base.host.replacen('.', &dot.to_string(), 1)));
    }
    if base.host.contains("ss") {
        hosts.push(base.host.replacen("ss", "ß", 1));
    }
    texts(hosts.into_iter().map(|host| base.with_host(&host)))
}

fn punycode(base: &Base) -> Vec<Vec<u8>> {
    if base.is_address() {
        return Vec::new();
    }
    let (label, rest) = base
        .host
        .split_once('.')
        .map_or((base.host.as_str(), String::new()), |(label, rest)| (label, format!(".{rest}")));
    let mut hosts = vec![format!("xn--{label}-{rest}"), format!("xn--{label}{rest}")];
    hosts.extend(with_twin(base).map(|(_, coded)| coded));
    texts(hosts.into_iter().map(|host| base.with_host(&host)))
}

/// The A-label of a label with one letter that is not ASCII (RFC 3492 section 6.3, for that one letter).
fn a_label(label: &str) -> String {
    let Some((at, letter)) = label.chars().enumerate().find(|(_, letter)| !letter.is_ascii()) else {
        return label.to_owned();
    };
    let basic: String = label.chars().filter(char::is_ascii).collect();
    let count = u32::try_from(basic.len()).unwrap_or(u32::MAX);
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    let mut delta = (u32::from(letter) - 128).saturating_mul(count.saturating_add(1)).saturating_add(at);
    let mut digits = String::new();
    // The bias at the beginning is 72, so the thresholds of the digits are 1, 1, then 26.
    for threshold in [1_u32, 1, 26, 26, 26] {
        if delta < threshold {
            break;
        }
        digits.push(digit(threshold + (delta - threshold) % (36 - threshold)));
        delta = (delta - threshold) / (36 - threshold);
    }
    digits.push(digit(delta));
    if basic.is_empty() { format!("xn--{digits}") } else { format!("xn--{basic}-{digits}") }
}

fn digit(value: u32) -> char {
    char::from_digit((value + 10) % 36, 36).filter(|_| value < 36).unwrap_or('a')
}

/// What one browser or another takes in a host.
const ODD: &str = "_-,;!'\"(){}*&+=~$`^|%[]<>";

fn odd_hosts(base: &Base) -> Vec<Vec<u8>> {
    texts(ODD.chars().map(|odd| base.with_host(&format!("{}{odd}.{EVIL}", base.host))))
}

fn more_than_origin(base: &Base) -> Vec<Vec<u8>> {
    texts(["/", "/path", "?query", "#fragment", "\\", "/..", "//"].map(|end| base.and(end)))
}

fn words_behind(base: &Base) -> Vec<Vec<u8>> {
    texts([" x", "\tx", "%20", ";x", "%00", "%0d%0a"].map(|end| base.and(end)))
}

fn foreign_schemes(base: &Base) -> Vec<Vec<u8>> {
    let schemes = ["ws", "wss", "ftp", "file", "chrome-extension", "capacitor", "javascript", "blob:https"];
    let others = schemes.into_iter().filter(|scheme| *scheme != base.scheme);
    texts(others.map(|scheme| format!("{scheme}://{}{}", base.host, base.port)))
}

fn controls(base: &Base) -> Vec<Vec<u8>> {
    let good = base.origin().into_bytes();
    let ends: [&[u8]; 6] = [b"\0", b"\x0b", b"\x7f", b"\rx", b"\xa0", b"\r\n x"];
    let mut found: Vec<Vec<u8>> = ends.iter().map(|end| [good.as_slice(), end].concat()).collect();
    found.push([b"\0".as_slice(), &good].concat());
    found.push(base.with_host(&format!("\t{}", base.host)).into_bytes());
    found
}

#[cfg(test)]
mod tests {
    use super::super::listed::allows;
    use super::*;

    const LISTS: [&[&str]; 7] = [
        &["https://app.test"],
        &["https://good.example:8443", "http://good.example"],
        &["https://*.pages.example", "https://pages.example"],
        &["https://*.example.org:8443"],
        &["http://localhost:3000", "http://127.0.0.1", "http://[::1]:3000"],
        &["capacitor://localhost", "null"],
        &["https://classic.example.co.uk", "https://www.classic.example.co.uk"],
    ];

    #[test]
    fn no_variant_is_listed_itself_but_by_another_entry() {
        let mut tried = 0;
        for listed in LISTS {
            for base in listed.iter().filter_map(|listed| Base::of(listed)) {
                let own = match &base.wild {
                    Some(name) => format!("{}://*.{name}{}", base.scheme, base.port),
                    None => base.origin(),
                };
                for (id, name, make) in KINDS {
                    for value in make(&base) {
                        let text = String::from_utf8_lossy(&value).into_owned();
                        // One kind may make what a wildcard allows, and the suite leaves that out.
                        let by_wildcard = base.wild.is_some() && ["OR10", "OR15"].contains(id);
                        assert!(by_wildcard || !allows(std::slice::from_ref(&own), &value), "{id} {name}: {text}");
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 1000, "{tried} variants");
    }

    #[test]
    fn every_kind_makes_something_of_a_name() {
        let base = Base::of("https://app.example.test").unwrap();
        let wild = Base::of("https://*.wild.test").unwrap();
        let mut seen = std::collections::BTreeMap::new();
        for (id, name, make) in KINDS.iter().chain(ALONE) {
            let made = make(if *name == "what a wildcard of one label must not match" { &wild } else { &base });
            assert!(!made.is_empty(), "{id} {name}");
            for value in made {
                let text = String::from_utf8_lossy(&value).into_owned();
                let twin = seen.insert(value, name);
                assert_eq!(twin, None, "{id} {name}: {text}");
            }
        }
        assert!(seen.len() > 150, "{} variants", seen.len());
        let origins =
            |make: Make| make(&base).into_iter().map(|value| String::from_utf8(value).unwrap()).collect::<Vec<_>>();
        assert_eq!(origins(any_for_dot).len(), 4, "two letters for each of two dots");
        assert!(origins(subdomain).contains(&String::from("https://evil.example.test")), "a neighbour");
        assert!(origins(other_scheme).contains(&String::from("http://app.example.test")));
        assert_eq!(origins(odd_hosts).len(), ODD.len());
    }

    #[test]
    fn a_label_of_another_script_is_coded_as_browsers_do() {
        // As the `idna` codec of Python writes them.
        for (label, coded) in
            [("bücher", "xn--bcher-kva"), ("ü", "xn--tda"), ("аpple", "xn--pple-43d"), ("plain", "plain")]
        {
            assert_eq!(a_label(label), coded);
        }
    }
}
