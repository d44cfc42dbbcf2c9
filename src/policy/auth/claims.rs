//! The bounds of a token, where a claim is found in it, and when it holds what a policy requires.

use serde_json::{Map, Value};

use super::ClaimRule;

/// The most bytes of a token, wherever it travels.
pub const MAX_TOKEN: usize = 8 * 1024;
/// The most bytes of a subject.
pub const MAX_SUBJECT: usize = 256;

/// The claim at a JSON pointer (RFC 6901); `None` where there is none, or where the pointer does not begin with `/`.
pub fn claim_at<'c>(claims: &'c Map<String, Value>, pointer: &str) -> Option<&'c Value> {
    let path = pointer.strip_prefix('/')?;
    let (first, rest) = match path.find('/') {
        Some(end) => path.split_at(end),
        None => (path, ""),
    };
    let name = first.replace("~1", "/").replace("~0", "~");
    claims.get(&name)?.pointer(rest)
}

impl ClaimRule {
    /// Whether the claims hold one of the words.
    pub fn holds(&self, claims: &Map<String, Value>) -> bool {
        let Some(claim) = claim_at(claims, &self.pointer) else { return false };
        self.any_of.iter().any(|word| match claim {
            Value::String(text) => text == word || text.split(' ').any(|part| part == word && !part.is_empty()),
            Value::Array(elements) => elements.iter().any(|element| element.as_str() == Some(word)),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_finds_its_claim() {
        let claims = serde_json::json!({"a": {"b/c": [1, {"~": 2}]}, "": 3, "x": 4});
        let claims = claims.as_object().unwrap();
        let found = [("/a/b~1c/1/~0", 2), ("/a/b~1c/0", 1), ("/", 3), ("/x", 4)];
        for (pointer, value) in found {
            assert_eq!(claim_at(claims, pointer).and_then(Value::as_i64), Some(value), "{pointer}");
        }
        for pointer in ["", "x", "/y", "/x/", "/a/b/c", "/a/b~1c/01", "/a/b~1c/2"] {
            assert_eq!(claim_at(claims, pointer), None, "{pointer}");
        }
    }

    #[test]
    fn a_rule_holds_for_words_and_elements_alone() {
        let claims = serde_json::json!({
            "scope": "chat:join chat:read", "roles": ["member", 7, "a b"], "flag": true, "empty": "", "n": {"x": ["y"]}
        });
        let claims = claims.as_object().unwrap();
        let cases = [
            ("/scope", vec!["chat:join"], true),
            ("/scope", vec!["chat:write", "chat:read"], true),
            ("/scope", vec!["chat:join chat:read"], true),
            ("/scope", vec!["chat"], false),
            ("/scope", vec!["CHAT:JOIN"], false),
            ("/roles", vec!["member"], true),
            ("/roles", vec!["a b"], true),
            ("/roles", vec!["a"], false),
            ("/roles", vec!["7"], false),
            ("/flag", vec!["true"], false),
            ("/empty", vec!["x"], false),
            ("/n/x", vec!["y"], true),
            ("/missing", vec!["x"], false),
            ("/scope", vec![], false),
        ];
        for (pointer, words, expected) in &cases {
            let rule = ClaimRule {
                pointer: String::from(*pointer),
                any_of: words.iter().copied().map(String::from).collect(),
            };
            assert_eq!(rule.holds(claims), *expected, "{rule:?}");
        }
        assert_eq!(cases.len(), 14);
    }
}
