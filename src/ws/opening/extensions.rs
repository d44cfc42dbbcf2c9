//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), read in one pass.

use super::is_token;

/// How many extensions one field may name.
const MAX_EXTENSIONS: usize = 64;

/// The value is no list of extensions, or is longer than 64 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedExtensions;

/// The names of the extensions that a field's value lists, in order.
///
/// `extension-list = 1#( token *( ";" token [ "=" ( token / quoted-string ) ] ) )`; a quoted value must hold a token.
pub(super) fn names(value: &str) -> Result<Vec<&str>, MalformedExtensions> {
    let mut names = Vec::new();
    let mut rest = value;
    loop {
        let (name, after) = take_token(rest)?;
        if names.len() >= MAX_EXTENSIONS {
            return Err(MalformedExtensions);
        }
        names.push(name);
        rest = skip_parameters(after)?;
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(names),
            None => return Err(MalformedExtensions),
        }
    }
}

fn skip_parameters(mut rest: &str) -> Result<&str, MalformedExtensions> {
    while let Some(parameter) = rest.strip_prefix(';') {
        let (_name, after) = take_token(parameter)?;
        rest = match after.strip_prefix('=').map(skip_space) {
            Some(quoted) if quoted.starts_with('"') => skip_quoted(quoted)?,
            Some(bare) => take_token(bare)?.1,
            None => after,
        };
    }
    Ok(rest)
}

/// A token with the white space around it, and what follows.
fn take_token(text: &str) -> Result<(&str, &str), MalformedExtensions> {
    let text = skip_space(text);
    let end = text.find([',', ';', '=', ' ', '\t']).unwrap_or(text.len());
    let (token, rest) = text.split_at_checked(end).ok_or(MalformedExtensions)?;
    if is_token(token) { Ok((token, skip_space(rest))) } else { Err(MalformedExtensions) }
}

/// What follows a quoted string (RFC 9110 section 5.6.4) whose unescaped text is a token.
fn skip_quoted(text: &str) -> Result<&str, MalformedExtensions> {
    let mut unescaped = String::new();
    let mut characters = text.chars();
    characters.next();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_token(&unescaped) => return Ok(skip_space(characters.as_str())),
            '"' => return Err(MalformedExtensions),
            '\\' => unescaped.push(characters.next().ok_or(MalformedExtensions)?),
            _ => unescaped.push(character),
        }
    }
    Err(MalformedExtensions)
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hs13_extensions_are_read_in_one_pass() {
        let escapes = format!("a;b=\"{}\"", "\\c".repeat(8_000));
        let unbalanced = format!("a;b=\"{}", "\\c".repeat(8_000));
        let (full, over) = (["x"; 64].join(","), ["x"; 65].join(","));
        let cases: [(&str, Option<usize>); 24] = [
            ("permessage-deflate", Some(1)),
            ("permessage-deflate; client_max_window_bits", Some(1)),
            ("permessage-deflate; client_max_window_bits=15; server_no_context_takeover", Some(1)),
            ("permessage-deflate;a=\"15\" , x-webkit-deflate-frame", Some(2)),
            ("a ; b = c , d", Some(2)),
            ("a;b=\"\\c\"", Some(1)),
            (&escapes, Some(1)),
            (&full, Some(64)),
            (&over, None),
            (&unbalanced, None),
            ("", None),
            (",", None),
            ("a,", None),
            ("a,,b", None),
            ("a;", None),
            ("a;b=", None),
            ("a;=b", None),
            ("a=b", None),
            ("a b", None),
            ("a;b=\"c", None),
            ("a;b=\"\"", None),
            ("a;b=\"c d\"", None),
            ("a;b=\"c\"d", None),
            ("a;b=\"c\\", None),
        ];
        for (value, expected) in cases {
            assert_eq!(names(value).ok().map(|names| names.len()), expected, "{value:.60}");
        }
    }
}
