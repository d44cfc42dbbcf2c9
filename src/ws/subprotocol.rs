//! The subprotocols that a client offers (RFC 6455 section 11.3.4): a bounded list of different tokens.

use super::head::is_token;

/// How many subprotocols one handshake may offer.
pub const MAX_SUBPROTOCOLS: usize = 64;

/// The offer is no list of different tokens, or is longer than [`MAX_SUBPROTOCOLS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedOffer;

/// Reads the values of every `Sec-WebSocket-Protocol` field, in order, as one list.
///
/// Tokens are compared byte for byte. An empty element is refused, unlike in RFC 9110 section 5.6.1: no client that
/// opens WebSockets sends one.
pub fn parse_offer<'a>(values: impl Iterator<Item = &'a str>) -> Result<Vec<String>, MalformedOffer> {
    let mut offered: Vec<String> = Vec::new();
    for token in values.flat_map(|value| value.split(',')).map(|element| element.trim_matches([' ', '\t'])) {
        let repeated = offered.iter().any(|earlier| earlier == token);
        if !is_token(token) || repeated || offered.len() >= MAX_SUBPROTOCOLS {
            return Err(MalformedOffer);
        }
        offered.push(token.to_owned());
    }
    Ok(offered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> String {
        (0..count).map(|number| format!("p{number}")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn hs12_an_offer_is_a_bounded_list_of_different_tokens() {
        let spaces = format!("b{}x", " ".repeat(66_000));
        let (full, over, flood) = (numbered(64), numbered(65), numbered(1_000));
        let cases: [(&[&str], Option<usize>); 16] = [
            (&[], Some(0)),
            (&["chat.v2"], Some(1)),
            (&["chat.v2, chat.v1"], Some(2)),
            (&["chat.v2,\tchat.v1", "bearer , eyJ.a-b_c.d"], Some(4)),
            (&["chat", "Chat"], Some(2)),
            (&["chat, chat"], None),
            (&["chat", "chat"], None),
            (&["ch at"], None),
            (&["chat;q=1"], None),
            (&["\"chat\""], None),
            (&[""], None),
            (&["chat,"], None),
            (&[&spaces], None),
            (&[&full], Some(64)),
            (&[&over], None),
            (&[&flood], None),
        ];
        for (values, expected) in cases {
            let offered = parse_offer(values.iter().copied());
            assert_eq!(offered.ok().map(|list| list.len()), expected, "{:.60?}", values);
        }
    }
}
