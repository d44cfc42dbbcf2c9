//! Tokens taken out of what is shown, and found in what others show.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// The fewest characters that two words share by more than chance.
const PIECE: usize = 16;

/// What stands for a token.
const SHOWN: &str = "<token>";

/// The text with `<token>` for every one of these tokens, as it is or as the suites disguise it, and for every word that
/// is a JWT or has a piece of one of these in it.
pub fn without_tokens(text: &str, tokens: &[&str]) -> String {
    let pieces: Vec<String> = tokens.iter().flat_map(|token| pieces(token)).collect();
    let ends_word = |letter: char| letter.is_whitespace() || letter.is_control() || "\"'<>(),;:=&?".contains(letter);
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(ends_word) {
        let word = part.trim_end_matches(ends_word);
        let is_jwt = word.len() >= 2 * PIECE && word.contains("eyJ");
        if is_jwt || pieces.iter().any(|piece| word.contains(piece.as_str())) {
            shown.push_str(SHOWN);
            shown.push_str(part.get(word.len()..).unwrap_or_default());
        } else {
            shown.push_str(part);
        }
    }
    // A token that holds what ends words is no word.
    let disguises = tokens.iter().flat_map(|token| disguises(token)).filter(|disguise| !disguise.is_empty());
    disguises.fold(shown, |text, disguise| text.replace(&disguise, SHOWN))
}

/// A token as the suites send it: whole, in one case, backwards, or encoded once more, alone or behind a user's name.
fn disguises(token: &str) -> Vec<String> {
    let backwards = token.chars().rev().collect();
    let plain = [String::from(token), token.to_ascii_uppercase(), token.to_ascii_lowercase(), backwards];
    let encoded = [String::from(token), format!("user:{token}")];
    let encoded = encoded.iter().flat_map(|word| [STANDARD.encode(word), URL_SAFE_NO_PAD.encode(word)]);
    plain.into_iter().chain(encoded).collect()
}

/// Pieces of a token, of which each longer part of it holds one; a short token is one piece.
pub fn pieces(token: &str) -> Vec<String> {
    let letters: Vec<char> = token.chars().collect();
    if letters.len() <= PIECE {
        return (!token.is_empty()).then(|| String::from(token)).into_iter().collect();
    }
    letters.windows(PIECE).step_by(PIECE / 2).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_shown_whole_or_in_part() {
        let opaque = "kJ3vPq8sLx0ZtYw2NbRf5HdGm7CaUe1Q";
        let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
        let words = [
            String::from(opaque),
            format!("{opaque}A"),
            opaque.get(3..).unwrap().to_owned(),
            format!("%6b{}", opaque.get(1..).unwrap()),
            String::from(jwt),
        ];
        for word in &words {
            let text = format!("GET /chat?token={word}&a=b HTTP/1.1\nCookie: s={word}; t=u\nX: {word}");
            let shown = without_tokens(&text, &[opaque, "tiny"]);
            let expected = "GET /chat?token=<token>&a=b HTTP/1.1\nCookie: s=<token>; t=u\nX: <token>";
            assert_eq!(shown, expected, "{word}");
        }
        for token in [opaque, "c2VjcmV0MTIzNA==", "a:b=c&d", "deadbeefcafe1234"] {
            for disguise in disguises(token) {
                let shown = without_tokens(&format!("Authorization: Bearer {disguise}\r\n"), &[token]);
                assert!(!shown.contains(&disguise), "{shown}");
                assert!(shown.contains("<token>"), "{shown}");
            }
        }
        let plain = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n";
        assert_eq!(without_tokens(plain, &[opaque]), plain);
        assert_eq!(without_tokens("a tiny one", &["tiny"]), "a <token> one");
    }
}
