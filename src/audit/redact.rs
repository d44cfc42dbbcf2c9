//! Tokens taken out of what is shown, and found in what others show, however they are written there.
//!
//! A text is looked through by its letters and digits alone, in one case, with percent codes, escapes and character
//! references undone, one in the other: what stands between letters, the zeros of UTF-16 too, and where a token was cut,
//! makes no difference. A token is known as it is, backwards, in hexadecimal, base32 and base64, by any sixteen letters.

use std::collections::HashSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// The fewest letters that two texts share by more than chance.
const WINDOW: usize = 16;

/// What stands for a token.
const SHOWN: &str = "<token>";

/// What the suites show nobody.
#[derive(Clone, Default)]
pub struct Redactor {
    windows: HashSet<[u8; WINDOW]>,
    /// Whole tokens, for those that are too short to have a window.
    whole: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// One that knows these tokens.
    pub fn new(tokens: &[&str]) -> Self {
        let mut known = Self::default();
        known.learn(tokens);
        known
    }

    /// Knows these tokens too.
    pub fn learn(&mut self, tokens: &[&str]) {
        for token in tokens.iter().filter(|token| !token.is_empty()) {
            for form in forms(token) {
                self.windows.extend(form.windows(WINDOW).filter_map(|window| window.first_chunk().copied()));
            }
            self.whole.extend(disguises(token));
        }
        // The longest first: one may hold another.
        self.whole.sort_by_key(|word| std::cmp::Reverse(word.len()));
        self.whole.dedup();
    }

    /// Whether a token, or a piece of it that is long enough, is in these bytes.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        !self.places(&text).is_empty() || self.whole.iter().any(|word| text.contains(word))
    }

    /// The text with `<token>` for every word that is a JWT or in which a token is found, and for all words over which
    /// one is spread.
    pub fn redacted(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut behind = 0;
        for word in words(text, self.places(text)) {
            shown.push_str(text.get(behind..word.start).unwrap_or_default());
            shown.push_str(SHOWN);
            behind = word.end;
        }
        shown.push_str(text.get(behind..).unwrap_or_default());
        self.whole.iter().fold(shown, |text, word| text.replace(word, SHOWN))
    }

    /// Where tokens are found: in order, each apart from the next.
    fn places(&self, text: &str) -> Vec<Range<usize>> {
        let (letters, at): (Vec<u8>, Vec<Range<usize>>) = letters(text).into_iter().unzip();
        let mut places: Vec<Range<usize>> = Vec::new();
        for (window, at) in letters.windows(WINDOW).zip(at.windows(WINDOW)) {
            let (true, [first, .., last]) = (self.windows.contains(window), at) else { continue };
            match places.last_mut() {
                Some(place) if place.end >= first.start => place.end = last.end,
                _ => places.push(first.start..last.end),
            }
        }
        places
    }
}

/// How often what is encoded is taken to be encoded again.
const ENCODINGS: usize = 4;

/// The letters and digits of a text in lower case, and where each stands: a code is longer than what it stands for.
fn letters(text: &str) -> Vec<(u8, Range<usize>)> {
    let mut bytes = text.as_bytes().to_vec();
    // Where what stands for each byte ends, which is where the next begins.
    let mut ends: Vec<usize> = (1..=bytes.len()).collect();
    for _ in 0..ENCODINGS {
        let (undone, at) = undone(&bytes, &ends);
        let is_plain = undone.len() == bytes.len();
        (bytes, ends) = (undone, at);
        if is_plain {
            break;
        }
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let places = starts.zip(ends.iter().copied()).map(|(start, end)| start..end);
    let letters = bytes.iter().zip(places).filter(|(byte, _)| byte.is_ascii_alphanumeric());
    letters.map(|(byte, place)| (byte.to_ascii_lowercase(), place)).collect()
}

/// The same bytes with every code undone that stands in them, and where what stands for each of those ends.
fn undone(bytes: &[u8], ends: &[usize]) -> (Vec<u8>, Vec<usize>) {
    let (mut undone, mut undone_ends) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (is, length) = decoded(rest);
        at += length;
        undone.push(is);
        undone_ends.extend(at.checked_sub(1).and_then(|last| ends.get(last)));
    }
    (undone, undone_ends)
}

/// What stands first in these bytes, and how many of them stand for it: `%41`, `%2541`, `%u0041`, `\u0041`, `\u{41}`,
/// `\x41`, `&#65;`, `&#x41;` and a full-width A are all an A.
fn decoded(bytes: &[u8]) -> (u8, usize) {
    let hex = |from: usize, digits: usize| {
        let digits = str::from_utf8(bytes.get(from..from + digits)?).ok()?;
        u8::try_from(u32::from_str_radix(digits, 16).ok()?).ok()
    };
    let closed = |from: usize, radix: u32, by: u8| {
        let length = bytes.iter().take(from + 8).position(|byte| *byte == by)?;
        let digits = str::from_utf8(bytes.get(from..length)?).ok()?;
        Some((u8::try_from(u32::from_str_radix(digits, radix).ok()?).ok()?, length + 1))
    };
    let code = match bytes {
        [b'%', b'u', ..] => hex(2, 4).map(|is| (is, 6)),
        [b'%', ..] => {
            // A code may itself be encoded, again and again.
            let nested = bytes.get(1..).unwrap_or_default().chunks(2).take_while(|pair| *pair == b"25").count();
            hex(1 + 2 * nested, 2).map(|is| (is, 3 + 2 * nested))
        }
        [b'\\', b'u', b'{', ..] => closed(3, 16, b'}'),
        [b'\\', b'u', ..] => hex(2, 4).map(|is| (is, 6)),
        [b'\\', b'x', ..] => hex(2, 2).map(|is| (is, 4)),
        [b'&', b'#', b'x' | b'X', ..] => closed(3, 16, b';'),
        [b'&', b'#', ..] => closed(2, 10, b';'),
        // The forms of U+FF01 to U+FF5E are as far apart as those of ASCII.
        [0xef, 0xbc, last @ 0x81..=0xbf, ..] => Some((last - 0x60, 3)),
        [0xef, 0xbd, last @ 0x80..=0x9e, ..] => Some((last - 0x20, 3)),
        _ => None,
    };
    code.unwrap_or((bytes.first().copied().unwrap_or_default(), 1))
}

/// The words around these places, and every word that is a JWT.
fn words(text: &str, places: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let ends_word = |letter: char| letter.is_whitespace() || letter.is_control() || "\"'<>(),;:=&?".contains(letter);
    let around = |place: Range<usize>| {
        let before = text.get(..place.start).unwrap_or_default();
        let behind = text.get(place.end..).unwrap_or_default();
        let start = before.rfind(ends_word).map_or(0, |at| at + before.get(at..).map_or(0, first_length));
        start..place.end + behind.find(ends_word).unwrap_or(behind.len())
    };
    let mut at = 0;
    let jwts = text.split_inclusive(ends_word).filter_map(|part| {
        let word = part.trim_end_matches(ends_word);
        let place = at..at + word.len();
        at += part.len();
        (word.len() >= 2 * WINDOW && word.contains("eyJ")).then_some(place)
    });
    let mut words: Vec<Range<usize>> = places.into_iter().map(around).chain(jwts).collect();
    words.sort_by_key(|word| (word.start, word.end));
    words.into_iter().fold(Vec::new(), |mut apart: Vec<Range<usize>>, word| {
        match apart.last_mut() {
            Some(last) if last.end >= word.start => last.end = last.end.max(word.end),
            _ => apart.push(word),
        }
        apart
    })
}

/// The bytes of the first character.
fn first_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// The letters of a token in everything that it may be written in. Of base64 there are three, of base32 five, by where in
/// a text it stands; what its neighbours have a part in is left out.
fn forms(token: &str) -> Vec<Vec<u8>> {
    let only = |text: &str| -> Vec<u8> {
        text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase()).collect()
    };
    let plain = only(token);
    let backwards = plain.iter().rev().copied().collect();
    let undone = letters(token).into_iter().map(|(letter, _)| letter).collect();
    let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![plain, backwards, undone, only(&hex)];
    for before in 0..3 {
        let encoded = STANDARD.encode([&[0; 2][..before], token.as_bytes()].concat());
        let inner = encoded.get(if before == 0 { 0 } else { 4 }..encoded.len().saturating_sub(4)).unwrap_or_default();
        forms.push(only(inner));
    }
    for before in 0..5 {
        let encoded = base32(&[&[0; 4][..before], token.as_bytes()].concat());
        let inner = encoded.get(if before == 0 { 0 } else { 8 }..encoded.len().saturating_sub(8)).unwrap_or_default();
        forms.push(only(inner));
    }
    forms
}

/// Base32 (RFC 4648 section 6) in whole groups: the last is filled up with zeros.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: [char; 32] = [
        'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v',
        'w', 'x', 'y', 'z', '2', '3', '4', '5', '6', '7',
    ];
    let group =
        |five: &[u8]| five.iter().chain(&[0; 5]).take(5).fold(0_usize, |group, byte| group << 8 | usize::from(*byte));
    let letters = |group: usize| (0..8).rev().filter_map(move |at| ALPHABET.get(group >> (5 * at) & 31).copied());
    bytes.chunks(5).map(group).flat_map(letters).collect()
}

/// A token as the suites send it: whole, in one case, backwards, or encoded once more, alone or behind a user's name.
fn disguises(token: &str) -> Vec<String> {
    let backwards = token.chars().rev().collect();
    let plain = [String::from(token), token.to_ascii_uppercase(), token.to_ascii_lowercase(), backwards];
    let encoded = [String::from(token), format!("user:{token}")];
    let encoded = encoded.iter().flat_map(|word| [STANDARD.encode(word), URL_SAFE_NO_PAD.encode(word)]);
    plain.into_iter().chain(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPAQUE: &str = "kJ3vPq8sLx0ZtYw2NbRf5HdGm7CaUe1Q";

    fn written(letter: fn(u8) -> String) -> String {
        OPAQUE.bytes().map(letter).collect()
    }

    fn percent(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        assert_eq!((base32(b"fooba"), base32(b"f")), (String::from("mzxw6ytb"), String::from("myaaaaaa")));
        let known = Redactor::new(&[OPAQUE]);
        for before in 0..9 {
            let text = base32(&[&[b'x'; 9][..before], OPAQUE.as_bytes(), b"behind"].concat());
            assert!(known.finds(text.to_ascii_uppercase().as_bytes()), "{before}");
        }
        assert!(known.finds(&written(|byte| format!("{}\0", char::from(byte))).into_bytes()), "UTF-16");
    }

    #[test]
    fn no_token_is_shown_whole_or_in_part() {
        let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
        let words = [
            String::from(OPAQUE),
            format!("{OPAQUE}A"),
            OPAQUE.get(3..).unwrap().to_owned(),
            OPAQUE.get(5..21).unwrap().to_owned(),
            format!("%6b{}", OPAQUE.get(1..).unwrap()),
            String::from(jwt),
            written(|byte| format!("%{byte:02x}")),
            written(|byte| format!("%2525{byte:02X}")),
            written(|byte| format!("\\u00{byte:02x}")),
            percent(&percent(OPAQUE)),
            percent(&percent(&percent(OPAQUE))),
            written(|byte| format!("%u00{byte:02X}")),
            written(|byte| format!("\\u{{{byte:x}}}")),
            written(|byte| char::from_u32(0xfee0 + u32::from(byte)).unwrap().to_string()),
            base32(format!("a{OPAQUE}").as_bytes()),
            written(|byte| format!("{byte:02x}")),
            written(|byte| format!("{}-", char::from(byte))),
            STANDARD.encode(format!("a{OPAQUE}")),
            URL_SAFE_NO_PAD.encode(format!("no{OPAQUE}")),
        ];
        for word in &words {
            let text = format!("GET /chat?token={word}&a=b HTTP/1.1\nCookie: s={word}; t=u\nX: {word}");
            let shown = Redactor::new(&[OPAQUE, "tiny"]).redacted(&text);
            let expected = "GET /chat?token=<token>&a=b HTTP/1.1\nCookie: s=<token>; t=u\nX: <token>";
            assert_eq!(shown, expected, "{word}");
            let is_found = Redactor::new(&[OPAQUE, jwt]).finds(text.as_bytes());
            assert!(is_found, "{word}");
        }
        assert_eq!(words.len(), 19);
    }

    #[test]
    fn a_token_that_is_spread_over_words_is_taken_out_with_them() {
        let (first, second) = OPAQUE.split_at(16);
        let references: String = OPAQUE.bytes().map(|byte| format!("&#{byte};")).collect();
        let texts = [format!("{first} {second}"), format!("{first}\",\"{second}"), references];
        for text in &texts {
            let shown = Redactor::new(&[OPAQUE]).redacted(&format!("a: \u{e9}{text} end"));
            assert_eq!(shown, "a: <token> end", "{text}");
        }
    }

    #[test]
    fn a_short_token_is_taken_out_in_what_the_suites_send() {
        for token in [OPAQUE, "c2VjcmV0MTIzNA==", "a:b=c&d", "deadbeefcafe1234"] {
            for disguise in disguises(token) {
                let shown = Redactor::new(&[token]).redacted(&format!("Authorization: Bearer {disguise}\r\n"));
                assert!(!shown.contains(&disguise), "{shown}");
                assert!(shown.contains("<token>"), "{shown}");
            }
        }
        assert_eq!(Redactor::new(&["tiny"]).redacted("a tiny one"), "a <token> one");
    }

    #[test]
    fn what_is_no_token_stays() {
        let plain = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n% %4 %zz \\u00 &#; &#x; &#999999; \u{fffd}\r\n";
        assert_eq!(Redactor::new(&[OPAQUE, ""]).redacted(plain), plain);
        assert!(!Redactor::new(&[OPAQUE]).finds(OPAQUE.get(..15).unwrap().as_bytes()));
        assert!(!Redactor::new(&[]).finds(plain.as_bytes()));
    }

    #[test]
    fn a_token_that_is_learned_later_is_taken_out_beside_the_first() {
        let mut known = Redactor::new(&["tiny"]);
        known.learn(&[OPAQUE]);
        assert_eq!(known.redacted(&format!("tiny {OPAQUE}")), "<token> <token>");
    }
}
