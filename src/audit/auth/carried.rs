//! Good tokens in the wrong place, twice, or spelled so that two readers may differ (RFC 6750 section 2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::audit::{Attempt, Exam, Request, Target};
use crate::policy::credential::Carrier;

/// A token that is none.
const WRONG: &str = "d3Nn.YXRl.YXVkaXQ";

/// How a good token is in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// It does not come at all.
    Absent,
    /// Two come in one place.
    Twice,
    /// Two come in two places.
    InTwoPlaces,
    /// It is spelled wrong in this place.
    Spelled(Carrier),
}

/// The places in which this target takes the credential, as far as they are known: those of the `[[auth]]` that judges
/// it, which is a jwt where the tokens are minted.
pub(super) fn carriers(target: &Target) -> Vec<Carrier> {
    let own = target.credential.as_ref().map(|credential| credential.carrier.clone());
    let known = target.meant(target.signing.is_some()).map(|auth| auth.from().to_vec());
    known.unwrap_or_else(|| own.into_iter().collect())
}

/// What every attempt is made of.
pub(super) struct Hand<'e> {
    exam: &'e Exam,
    token: String,
}

impl<'e> Hand<'e> {
    /// With one of the good tokens.
    pub(super) fn of(exam: &'e Exam) -> Self {
        let tokens = exam.target.credential.as_ref().and_then(|credential| credential.tokens.first());
        Self { exam, token: tokens.map(|token| token.expose().clone()).unwrap_or_default() }
    }

    /// The handshakes, each of which must be refused.
    pub(super) fn attempts(&self, misplaced: &Misplaced) -> Vec<Attempt> {
        let carriers = carriers(&self.exam.target);
        match misplaced {
            Misplaced::Absent => self.nothing(),
            Misplaced::Twice => self.twice(&carriers),
            Misplaced::InTwoPlaces => self.two_places(&carriers),
            Misplaced::Spelled(carrier) => self.spellings(carrier),
        }
    }

    fn attempt(&self, what: impl Into<String>, change: impl FnOnce(&mut Request)) -> Attempt {
        let mut request = self.exam.anonymous();
        change(&mut request);
        Attempt { what: what.into(), request }
    }

    /// A handshake with this value of a field.
    fn field(&self, what: &str, name: &str, value: &str) -> Attempt {
        self.attempt(format!("{name}: {what}"), |request| request.set(name, value))
    }

    /// No credential at all.
    fn nothing(&self) -> Vec<Attempt> {
        vec![self.attempt("no credential", |_| ())]
    }

    /// Two in one place: good and good, good and wrong, wrong and good.
    fn twice(&self, carriers: &[Carrier]) -> Vec<Attempt> {
        carriers.iter().flat_map(|carrier| self.twice_in(carrier)).collect()
    }

    fn twice_in(&self, carrier: &Carrier) -> Vec<Attempt> {
        let good = self.token.as_str();
        let pairs =
            [("the same token", good, good), ("a wrong one behind", good, WRONG), ("a wrong one before", WRONG, good)];
        // Two cookies of one value are one cookie to every reader.
        let pairs = pairs.iter().filter(|(_, first, second)| carrier.is_explicit() || first != second);
        let made = pairs.map(|(what, first, second)| {
            self.attempt(format!("{carrier} twice, {what}"), |request| match carrier {
                Carrier::Authorization => {
                    request.set("Authorization", format!("Bearer {first}"));
                    *request = request.clone().and_line(format!("Authorization: Bearer {second}"));
                }
                Carrier::Cookie(name) => request.set("Cookie", format!("{name}={first}; {name}={second}")),
                Carrier::Subprotocol(marker) => {
                    request.set("Sec-WebSocket-Protocol", format!("{marker}, {first}, {marker}, {second}"));
                }
                Carrier::Query(name) => add_query(request, &format!("{name}={first}&{name}={second}")),
            })
        });
        made.collect()
    }

    /// Two in two places into which a program puts them on purpose.
    fn two_places(&self, carriers: &[Carrier]) -> Vec<Attempt> {
        let explicit: Vec<&Carrier> = carriers.iter().filter(|carrier| carrier.is_explicit()).collect();
        let good = self.token.as_str();
        let mut made = Vec::new();
        for (index, first) in explicit.iter().enumerate() {
            for second in explicit.iter().skip(index + 1) {
                for (what, one, other) in [
                    ("the same", good, good),
                    ("wrong in the second", good, WRONG),
                    ("wrong in the first", WRONG, good),
                ] {
                    made.push(self.attempt(format!("{first} and {second}, {what}"), |request| {
                        self.exam.target.carry(request, first, one);
                        self.exam.target.carry(request, second, other);
                    }));
                }
            }
        }
        made
    }

    /// Spellings in this place that are not its grammar.
    fn spellings(&self, carrier: &Carrier) -> Vec<Attempt> {
        match carrier {
            Carrier::Authorization => self.authorization(),
            Carrier::Cookie(name) => self.cookie(name),
            Carrier::Subprotocol(marker) => self.subprotocol(marker),
            Carrier::Query(name) => self.query(name),
        }
    }

    /// Spellings of the field Authorization that are not `Bearer`, a space and a token.
    fn authorization(&self) -> Vec<Attempt> {
        let token = self.token.as_str();
        let encoded = STANDARD.encode(token);
        let values = [
            ("no scheme", String::from(token)),
            ("Basic", format!("Basic {token}")),
            ("Basic, encoded", format!("Basic {}", STANDARD.encode(format!("user:{token}")))),
            ("another scheme", format!("Token {token}")),
            ("the scheme without a space", format!("Bearer{token}")),
            ("two spaces", format!("Bearer  {token}")),
            ("a tab", format!("Bearer\t{token}")),
            ("a colon", format!("Bearer: {token}")),
            ("quoted", format!("Bearer \"{token}\"")),
            ("a word behind it", format!("Bearer {token} x")),
            ("a comma behind it", format!("Bearer {token},")),
            ("two by a comma", format!("Bearer {token}, Bearer {token}")),
            ("a wrong one by a comma", format!("Bearer {WRONG}, Bearer {token}")),
            ("a parameter", format!("Bearer token={token}")),
            ("a semicolon behind it", format!("Bearer {token};x=1")),
            ("percent-encoded", format!("Bearer {}", escaped_first(token))),
            ("encoded again", format!("Bearer {encoded}")),
            ("the scheme alone", String::from("Bearer")),
        ];
        values.iter().map(|(what, value)| self.field(what, "Authorization", value)).collect()
    }

    /// Spellings of cookies.
    fn cookie(&self, name: &str) -> Vec<Attempt> {
        let token = self.token.as_str();
        let values = [
            ("quoted", format!("{name}=\"{token}\"")),
            ("another name that ends so", format!("x{name}={token}")),
            ("another name that begins so", format!("{name}x={token}")),
            ("the name in capitals", format!("{}={token}", name.to_ascii_uppercase())),
            ("two equals signs", format!("{name}=={token}")),
            ("two by a comma", format!("{name}={WRONG},{name}={token}")),
            ("a word behind it", format!("{name}={token} x")),
            ("percent-encoded", format!("{name}={}", escaped_first(token))),
            ("empty", format!("{name}=")),
        ];
        let good = format!("{name}={token}");
        let values = values.iter().filter(|(_, value)| *value != good);
        values.map(|(what, value)| self.field(what, "Cookie", value)).collect()
    }

    /// Spellings among the subprotocols.
    fn subprotocol(&self, marker: &str) -> Vec<Attempt> {
        let token = self.token.as_str();
        let values = [
            ("the token alone", String::from(token)),
            ("the marker behind the token", format!("{token}, {marker}")),
            ("the marker alone", String::from(marker)),
            ("joined by a dot", format!("{marker}.{token}")),
            ("another word between", format!("{marker}, x, {token}")),
            ("another marker", format!("x{marker}, {token}")),
        ];
        values.iter().map(|(what, value)| self.field(what, "Sec-WebSocket-Protocol", value)).collect()
    }

    /// Queries that two readers split or decode differently.
    fn query(&self, name: &str) -> Vec<Attempt> {
        let token = self.token.as_str();
        let first = name.bytes().next().unwrap_or_default();
        let rest = name.get(1..).unwrap_or_default();
        let queries = [
            ("the token decoded twice", format!("{name}={}", escaped_first(token).replace('%', "%25"))),
            ("the name decoded twice", format!("%25{first:02x}{rest}={token}")),
            ("the name in capitals", format!("{}={token}", name.to_ascii_uppercase())),
            ("a list", format!("{name}[]={token}")),
            ("a member", format!("{name}[0]={token}")),
            ("an empty value", format!("{name}=")),
            ("no value", String::from(name)),
            ("a semicolon before it", format!("x=1;{name}={token}")),
            ("a semicolon behind it", format!("{name}={token};x=1")),
            ("a question mark before it", format!("x=1?{name}={token}")),
            ("a plus behind it", format!("{name}={token}+")),
            ("a plus before it", format!("{name}=+{token}")),
            ("a space behind it", format!("{name}={token}%20")),
            ("a NUL behind it", format!("{name}={token}%00")),
            ("a space behind the name", format!("{name}%20={token}")),
            ("quoted", format!("{name}=%22{token}%22")),
        ];
        let mut made: Vec<Attempt> = queries
            .iter()
            .filter(|(what, _)| *what != "the name in capitals" || name.to_ascii_uppercase() != name)
            .map(|(what, query)| self.attempt(format!("query: {what}"), |request| add_query(request, query)))
            .collect();
        made.push(self.attempt("query: in the fragment", |request| {
            let target = String::from_utf8_lossy(request.target_bytes()).into_owned();
            *request = request.clone().target(format!("{target}#{name}={token}"));
        }));
        made
    }
}

fn add_query(request: &mut Request, more: &str) {
    let target = String::from_utf8_lossy(request.target_bytes()).into_owned();
    let sign = if target.contains('?') { '&' } else { '?' };
    *request = request.clone().target(format!("{target}{sign}{more}"));
}

/// The token with its first character percent-encoded.
fn escaped_first(token: &str) -> String {
    let mut letters = token.bytes();
    letters.next().map_or_else(String::new, |first| format!("%{first:02x}{}", token.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Patience;
    use crate::audit::target::Credential;
    use crate::secret::Secret;

    const TOKEN: &str = "kJ3vPq8sLx0ZtYw2";

    fn exam(carrier: &Carrier) -> Exam {
        let tokens = vec![Secret::new(String::from(TOKEN))];
        let credential = Some(Credential { carrier: carrier.clone(), tokens, minted: None });
        let target = Target { credential, ..Target::for_tests(&[], None) };
        Exam::new(target, None, Patience::default())
    }

    /// What of a request can hold a credential.
    fn places(request: &Request) -> Vec<Vec<u8>> {
        let lines = request.lines.iter().filter(|line| !line.starts_with(b"Sec-WebSocket-Key"));
        std::iter::once(&request.start).chain(lines).cloned().collect()
    }

    #[test]
    fn nothing_that_is_wrong_is_the_good_handshake() {
        let of = |text: &str| text.parse::<Carrier>().unwrap();
        let all = ["authorization", "cookie:SESSION", "subprotocol:bearer", "query:token"].map(of);
        for (carrier, spellings, twice) in all.iter().zip([18, 8, 6, 17]).zip([3, 2, 3, 3]).map(|((a, b), c)| (a, b, c))
        {
            let exam = exam(carrier);
            let hand = Hand::of(&exam);
            assert_eq!(carriers(&exam.target), std::slice::from_ref(carrier));
            let good = places(&exam.target.good([0; 16], Some(TOKEN)));
            let own = std::slice::from_ref(carrier);
            let wrong = [hand.nothing(), hand.spellings(carrier), hand.twice(own), hand.two_places(&all)];
            assert_eq!(wrong.each_ref().map(Vec::len), [1, spellings, twice, 9], "{carrier}");
            for attempt in wrong.iter().flatten() {
                assert_ne!(places(&attempt.request), good, "{}", attempt.what);
            }
        }
    }
}
