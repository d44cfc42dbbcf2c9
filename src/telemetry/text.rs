//! Text that strangers wrote, made fit for a log: bounded, and with every character escaped that could forge a line,
//! drive a terminal or change the order in which people read (CWE-117, CVE-2021-42574).

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

/// Bytes of a client's string that a line shows.
pub const CLIENT_TEXT: usize = 256;

/// Bytes of the gateway's own sentence, or of its operator's name, that a line shows.
pub const OWN_TEXT: usize = 1024;

/// A string that prints bounded and escaped, the same in every format.
///
/// A misleading character becomes `\u{202e}`, and what was cut off is told as `…(+17 bytes)`. Of what stands between
/// quotation marks a backslash is doubled and a quotation mark becomes `\"`; a sentence keeps both.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    shown: &'a str,
    cut_bytes: usize,
    is_quoted: bool,
}

impl<'a> Text<'a> {
    /// A string that a client made.
    pub fn client(text: &'a str) -> Self {
        Self::bounded(text, CLIENT_TEXT)
    }

    /// A name that the gateway's operator or issuer made.
    pub fn own(text: &'a str) -> Self {
        Self::bounded(text, OWN_TEXT)
    }

    /// A sentence that the gateway made, perhaps around something foreign, and that nothing quotes.
    pub fn sentence(text: &'a str) -> Self {
        Self { is_quoted: false, ..Self::bounded(text, OWN_TEXT) }
    }

    fn bounded(text: &'a str, limit: usize) -> Self {
        let shown = text.get(..text.floor_char_boundary(limit)).unwrap_or_default();
        Self { shown, cut_bytes: text.len().saturating_sub(shown.len()), is_quoted: true }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.shown.chars() {
            match character {
                '\\' if self.is_quoted => f.write_str("\\\\")?,
                '"' if self.is_quoted => f.write_str("\\\"")?,
                _ if misleads(character) => write!(f, "\\u{{{:x}}}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        if self.cut_bytes > 0 { write!(f, "…(+{} bytes)", self.cut_bytes) } else { Ok(()) }
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether a character controls rather than shows: C0, DEL, C1, bidirectional controls, line separators, interlinear
/// marks, and what is drawn without width (Unicode's Default_Ignorable_Code_Point).
pub fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn op09_nothing_foreign_drives_a_line() {
        let cases = [
            ("plain /chat?x", "plain /chat?x"),
            ("Jürgen 日本", "Jürgen 日本"),
            ("a\r\nb", "a\\u{d}\\u{a}b"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("line\u{2028}sep", "line\\u{2028}sep"),
            ("\u{3164}x", "\\u{3164}x"),
            ("\u{e0041}tag", "\\u{e0041}tag"),
            ("say \"hi\"", "say \\\"hi\\\""),
            ("\\u{202e}", "\\\\u{202e}"),
            ("\0", "\\u{0}"),
        ];
        for (text, shown) in cases {
            assert_eq!(Text::client(text).to_string(), shown, "{text:?}");
        }
        assert_eq!(cases.len(), 14);
    }

    #[test]
    fn op09_a_sentence_keeps_its_quotation_marks_and_nothing_that_misleads() {
        let sentence = "`danger_no_auth` = \"a\\b\": \u{1b}[31m\r\n\u{202e}";
        let shown = "`danger_no_auth` = \"a\\b\": \\u{1b}[31m\\u{d}\\u{a}\\u{202e}";
        assert_eq!(Text::sentence(sentence).to_string(), shown);
        assert!(Text::sentence(&"\u{1b}".repeat(1 << 20)).to_string().len() < OWN_TEXT * 8);
    }

    #[test]
    fn op09_length_is_bounded_at_a_character() {
        let exact = "x".repeat(CLIENT_TEXT);
        assert_eq!(Text::client(&exact).to_string(), exact);
        assert!(Text::client(&format!("{exact}y")).to_string().ends_with("x…(+1 bytes)"));
        let wide = "é".repeat(1 << 20);
        let shown = Text::client(&format!("a{wide}")).to_string();
        assert!(shown.ends_with("é…(+2096898 bytes)"), "{shown}");
        assert!(Text::own(&"\u{1b}".repeat(1 << 20)).to_string().len() < OWN_TEXT * 8);
    }
}
