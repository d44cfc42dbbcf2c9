//! The list of origins, and what it admits.
//!
//! The input is text: lines that begin with `+` are listed as an operator would write them, the others are asked for.

use wsgate::policy::origin::{AmbientCredential, MissingOrigin, OriginRules, OriginSet};

use super::Verdict;

/// An origin comes in if a line of the list is that origin byte for byte, or is it with `*` in the place of its first
/// label; none without an Origin where a browser's credential came.
pub fn origin(bytes: &[u8]) -> Verdict {
    let Ok(text) = str::from_utf8(bytes) else { return Verdict::Refused };
    let mut allow = OriginSet::default();
    let (listed, asked): (Vec<&str>, Vec<&str>) = text.lines().take(32).partition(|line| line.starts_with('+'));
    let listed: Vec<&str> = listed.iter().map(|line| &line[1..]).filter(|line| allow.insert(line).is_ok()).collect();
    for line in &listed {
        judge_listed(line);
    }
    let rules = OriginRules { allow, missing: MissingOrigin::Cookieless };
    let mut verdict = Verdict::Refused;
    for asked in asked {
        for near in variants(asked, &listed) {
            let admitted = rules.judge(Some(&near), AmbientCredential::Carried);
            assert_eq!(admitted.is_ok(), listed.iter().any(|line| is_admitted(line, &near)), "{listed:?}: {near:?}");
            let Ok(witness) = admitted else { continue };
            assert_eq!(witness.value(), Some(near.as_str()));
            if near == asked {
                verdict = Verdict::Accepted;
            }
        }
    }
    assert!(rules.judge(None, AmbientCredential::None).is_ok());
    assert!(rules.judge(None, AmbientCredential::Carried).is_err());
    verdict
}

/// What is asked, and what stands near what is listed: joined to either end, and in the place of each star.
fn variants(asked: &str, listed: &[&str]) -> Vec<String> {
    let near = listed.iter().flat_map(|line| {
        [format!("{line}{asked}"), format!("{asked}{line}"), line.replace('*', asked), line.to_ascii_uppercase()]
    });
    near.chain([asked.to_owned()]).collect()
}

fn is_admitted(line: &str, origin: &str) -> bool {
    let Some((before, behind)) = line.split_once("://*.") else { return line == origin };
    let label = origin
        .strip_prefix(&format!("{before}://"))
        .and_then(|rest| rest.strip_suffix(behind))
        .and_then(|rest| rest.strip_suffix('.'));
    label.is_some_and(|label| {
        let letters: Vec<char> = label.chars().collect();
        let plain = |letter: &char| matches!(letter, 'a'..='z' | '0'..='9');
        let ends = letters.first().is_some_and(plain) && letters.last().is_some_and(plain);
        ends && letters.len() <= 63 && letters.iter().all(|letter| plain(letter) || *letter == '-')
    })
}

/// What may be listed: the one form in which a browser writes an origin, and no star that stands for more than a label.
fn judge_listed(line: &str) {
    if line == "null" || line == "file://" {
        return;
    }
    let (scheme, rest) = line.split_once("://").expect("a scheme and a host");
    assert!(scheme.starts_with(|letter: char| letter.is_ascii_lowercase()), "{line}");
    assert!(line.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{line}");
    assert!(!rest.contains(['/', '?', '#', '@', '%', '\\', ',', '"', '<', '>', ' ']), "{line}");
    let is_default = |(of, port)| scheme == of && rest.ends_with(port);
    assert!(![("https", ":443"), ("http", ":80")].into_iter().any(is_default), "{line}");
    let Some(name) = rest.strip_prefix("*.") else {
        assert!(!rest.contains('*'), "{line}");
        return;
    };
    let host = name.split(':').next().unwrap_or_default();
    assert!(!name.contains(['*', '[']), "{line}");
    assert!(host == "localhost" || host.contains('.'), "too wide: {line}");
    assert!(host.parse::<std::net::Ipv4Addr>().is_err(), "an address: {line}");
}
