use super::*;
use crate::audit::{Patience, Probe as Any};
use crate::policy::credential::Carrier;

fn exam(listed: &[&str], carrier: Option<Carrier>) -> Exam {
    Exam::new(Target::for_tests(listed, carrier), None, Patience::default())
}

fn attempted(cases: &[Case]) -> Vec<(&'static str, &Request)> {
    cases
        .iter()
        .flat_map(|case| match &case.probe {
            Any::Refused(attempts) => attempts.iter().map(|attempt| (case.id, &attempt.request)).collect(),
            _ => Vec::new(),
        })
        .collect()
}

const LISTS: [&[&str]; 6] = [
    &["https://app.test"],
    &["https://app.test", "https://*.pages.test", "capacitor://localhost", "null", "http://localhost:3000"],
    &["https://*.app.test:8443"],
    &["http://127.0.0.1:3000", "http://localhost"],
    &["https://chat.test", "https://app.test:8444"],
    &["https://one.app.test", "https://two.app.test", "https://app.test", "http://app.test"],
];

#[test]
fn nothing_is_tried_that_the_list_allows() {
    for listed in LISTS {
        let mut exam = exam(listed, Some(Carrier::Authorization));
        let cases = cases(&mut exam);
        let mut tried = 0;
        for (id, request) in attempted(&cases) {
            let fields = request.lines.iter().filter(|line| line.to_ascii_lowercase().starts_with(b"origin:")).count();
            let value = request.value("Origin").unwrap_or_default();
            // Two Origins, another word of the browser's and no credential are wrong with a listed one too.
            let is_other = ["OR04", "OR23", "OR24", "OR25"].contains(&id) || fields != 1;
            assert!(
                is_other || !allows(&exam.target.listed, value),
                "{listed:?} {id}: {}",
                String::from_utf8_lossy(value)
            );
            tried += 1;
        }
        assert!(tried > 150, "{listed:?}: {tried} attempts");
    }
}

#[test]
fn a_cookie_comes_with_every_origin_and_the_credential_where_it_is_one() {
    let cookie = Some(Carrier::Cookie(String::from("session")));
    for (carrier, words) in [(Some(Carrier::Authorization), "wsgate_audit=1"), (cookie, "session=good-token")] {
        let mut exam = exam(&["https://app.test"], carrier.clone());
        let cases = cases(&mut exam);
        let of_variants: Vec<&Request> =
            attempted(&cases).into_iter().filter(|(id, _)| *id == "OR08").map(|(_, request)| request).collect();
        let with = of_variants.iter().filter(|request| request.value("Cookie") == Some(words.as_bytes())).count();
        let bare = of_variants.iter().filter(|request| request.value("Cookie").is_none()).count();
        assert_ne!(with, 0);
        // Without its cookie the request would be refused for that.
        assert_eq!(bare, if carrier == Some(Carrier::Authorization) { with } else { 0 });
    }
}

#[test]
fn a_missing_origin_is_judged_with_a_cookie() {
    let mut exam = exam(&["https://app.test"], Some(Carrier::Authorization));
    let cases = cases(&mut exam);
    let missing: Vec<_> = attempted(&cases).into_iter().filter(|(id, _)| *id == "OR01").collect();
    assert!(matches!(missing.as_slice(), [(_, request)] if request.value("Cookie").is_some()), "{missing:?}");
}

#[test]
fn a_target_that_claims_nothing_is_not_judged() {
    let refused = |listed: &[&str]| {
        let mut exam = exam(listed, None);
        let cases = cases(&mut exam);
        cases.iter().filter(|case| matches!(case.probe, Any::Refused(_))).count()
    };
    assert_eq!(refused(&[]), 0);
    let all = refused(&["https://app.test"]);
    let mut wildcard = exam(&["https://app.test"], None);
    wildcard.target.listed.push(String::from("*"));
    let left: Vec<&str> =
        cases(&mut wildcard).iter().filter(|case| matches!(case.probe, Any::Refused(_))).map(|case| case.id).collect();
    assert_eq!(left, ["OR01", "OR04", "OR22", "OR24"], "what a list has no part in, of {all}");
}
