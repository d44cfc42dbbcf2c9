//! The id by which a client renews its session: chosen by the client as `wsgate_session` in the query of its handshake, or
//! told to it with its ticket.

use super::credential::{query_values, query_without};
use super::{Reason, Refusal};
use crate::peer::SessionId;
use crate::ws::opening::OpeningHandshake;

/// The query parameter of a handshake in which a client says how it will call its session. No backend sees it.
pub const PARAMETER: &str = "wsgate_session";

/// Takes the id that a client chose out of its handshake.
pub fn take_session_id(opening: &mut OpeningHandshake) -> Result<Option<SessionId>, Refusal> {
    let malformed = |what: &str| Refusal::new(Reason::SessionIdMalformed).with_detail(what);
    let values = query_values(opening.query.as_deref(), PARAMETER);
    let id = match values.as_slice() {
        [] => return Ok(None),
        [id] => id.parse().map_err(|_| malformed("it is no UUID"))?,
        _ => return Err(malformed("it came twice")),
    };
    opening.query = opening.query.take().and_then(|query| query_without(&query, PARAMETER));
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::credential::tests::handshake;

    const ID: &str = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6";

    #[test]
    fn au28_an_id_is_taken_out_of_the_query() {
        let cases = [
            (format!("{PARAMETER}={ID}"), None),
            (format!("a=1&{PARAMETER}={ID}&b=%20"), Some("a=1&b=%20")),
            (format!("wsgate%5Fsession={}&b", ID.to_uppercase()), Some("b")),
        ];
        for (query, rest) in &cases {
            let mut opening = handshake(Some(query), &[]);
            assert_eq!(take_session_id(&mut opening).unwrap().unwrap().to_string(), ID);
            assert_eq!(opening.query.as_deref(), *rest);
        }
        let mut opening = handshake(Some("wsgate_sessions=x&a"), &[]);
        assert_eq!(take_session_id(&mut opening).unwrap(), None);
        assert_eq!(opening.query.as_deref(), Some("wsgate_sessions=x&a"));
        let wrong = [
            String::from(PARAMETER),
            format!("{PARAMETER}="),
            format!("{PARAMETER}={}", &ID[1..]),
            format!("{PARAMETER}={ID}&{PARAMETER}={ID}"),
            format!("{PARAMETER}={ID}&wsgate%5Fsession={ID}"),
        ];
        for query in &wrong {
            let refusal = take_session_id(&mut handshake(Some(query), &[])).unwrap_err();
            assert_eq!(refusal.reason, Reason::SessionIdMalformed, "{query}");
        }
        assert_eq!((cases.len(), wrong.len()), (3, 5));
    }
}
