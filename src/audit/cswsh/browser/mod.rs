//! A real browser, whose pages open the socket: what every other case of this suite claims about browsers is seen here.
//!
//! Chromium is led to sites of the suite's own under their true names (`stage`), so that they are different sites to
//! it. The victim has cookies at the target's name: one that every site's pages send along (SameSite=None) and one that
//! only its own site's do (Strict); where the credential is a cookie, it is of the first kind. Where it is a word that a
//! page can say (a subprotocol, a query parameter), the hostile pages say it too: only their origin can refuse them.

use std::time::Duration;

use tokio::time::timeout;

mod chromium;
mod pages;
mod stage;

pub use chromium::find_chromium;
pub use pages::Page;

use chromium::{Chromium, Folder};
use pages::{Carried, Pages};
use stage::{Seen, Stage};

use crate::audit::answer::Answer;
use crate::audit::finding::Exchange;
use crate::audit::target::Target;
use crate::audit::{Case, Exam, Verdict};
use crate::policy::credential::Carrier;

/// How long a browser may take to start, to show its page, and to report.
const DEADLINE: Duration = Duration::from_secs(60);

/// A site that nobody has (RFC 6761 section 6.2).
const HOSTILE: &str = "https://hostile-page.test";

/// The cases against this target.
pub(super) fn cases(exam: &Exam) -> Vec<Case> {
    const PAGES: [(&str, &str, Page); 5] = [
        ("OR27", "in a browser, a page of a listed origin", Page::Allowed),
        ("OR27", "in a browser, a page of another site with the user's cookie", Page::Hostile),
        ("OR25", "in a browser, a page of a sibling subdomain with the user's cookies", Page::Sibling),
        ("OR02", "in a browser, a sandboxed frame", Page::Sandboxed),
        ("OR19", "in a browser, a page from a file", Page::File),
    ];
    let probe = |page| match (origin_of(page, &exam.target), &exam.target.browser) {
        (Err(why), _) => crate::audit::Probe::NotApplicable(why),
        (Ok(_), None) => crate::audit::Probe::NotRun("--browser"),
        (Ok(_), Some(_)) => crate::audit::Probe::Cswsh(super::Probe::Browser(page)),
    };
    PAGES.map(|(id, name, page)| Case { id, name, probe: probe(page) }).into()
}

/// The origin at which a page stands.
///
/// # Errors
/// With a sentence where there is no such page for this target.
fn origin_of(page: Page, target: &Target) -> Result<String, String> {
    let is_listed = |origin: &str| target.listed.iter().any(|listed| stands_for(listed, origin));
    match page {
        Page::Allowed => match &target.origin {
            None => Err(String::from("no origin is listed")),
            Some(origin) if !origin.starts_with("https://") && !origin.starts_with("http://") => {
                Err(format!("no site has the origin {origin}"))
            }
            Some(_) if carried(target).is_none() && target.credential.is_some() => {
                Err(String::from("the credential travels in a header that no page can set"))
            }
            Some(origin) => Ok(origin.clone()),
        },
        Page::Sibling if target.name.parse::<std::net::IpAddr>().is_ok() => {
            Err(String::from("an address has no subdomains"))
        }
        Page::Sibling => {
            let sibling = |labels: &str| format!("https://{labels}.{}", target.name);
            ["sibling", "a.sibling"]
                .map(sibling)
                .into_iter()
                .find(|origin| !is_listed(origin))
                .ok_or_else(|| String::from("every subdomain of the target is listed"))
        }
        Page::Sandboxed | Page::File if is_listed("null") => Err(String::from("the origin null is listed")),
        Page::Hostile | Page::Sandboxed | Page::File => Ok(String::from(HOSTILE)),
    }
}

/// Whether an entry of the list stands for an origin: byte for byte, or for one label.
fn stands_for(listed: &str, origin: &str) -> bool {
    match listed.split_once("*.") {
        None => listed == origin,
        Some((scheme, rest)) => origin
            .strip_prefix(scheme)
            .and_then(|host| host.split_once('.'))
            .is_some_and(|(label, parent)| !label.is_empty() && parent == rest),
    }
}

/// What a page can carry of the credential: it itself, or the same token where the policy takes it elsewhere too.
fn carried(target: &Target) -> Option<Carried> {
    let credential = target.credential.as_ref()?;
    let own = [&credential.carrier];
    let rules = target.policy.iter().flat_map(|policy| &policy.auth);
    let same = rules.map(|auth| auth.from()).find(|from| from.contains(&credential.carrier)).unwrap_or_default();
    let carrier = own.into_iter().chain(same).find(|carrier| **carrier != Carrier::Authorization)?;
    Some(Carried { carrier: carrier.clone(), token: credential.tokens.first()?.clone() })
}

/// Judges what a page came to.
pub(super) async fn judge(page: Page, exam: &mut Exam) -> Verdict {
    let carried = carried(&exam.target);
    let mark = exam.mark();
    let (seen, [loose, strict]) = match visited(page, exam, carried.as_ref()).await {
        Ok(visited) => visited,
        Err(why) => return Verdict::undecided(why),
    };
    let reached = exam.reached(mark, exam.target.path.as_bytes()).await;
    let Some(handshake) = &seen.handshake else {
        return Verdict::undecided("the page reported, and the browser asked for no socket");
    };
    let origin = handshake.value("Origin").unwrap_or_else(|| String::from("none"));
    let cookies = handshake.value("Cookie").unwrap_or_default();
    let has = |name: &str| cookies.split("; ").any(|cookie| cookie.split('=').next() == Some(name));
    let (has_cookie, with) = match (has(&loose), has(&strict)) {
        (false, _) => (false, "without the user's cookie"),
        (true, false) => (true, "with the user's cookie"),
        (true, true) => (true, "with the user's cookies, SameSite=Strict among them"),
    };
    let came = handshake.answer.as_ref().map_or_else(|| String::from("no answer"), |answer| answer.status.to_string());
    let said = format!("Origin {origin}, {with}: {came}");
    let needs_cookie = matches!(&carried, Some(Carried { carrier: Carrier::Cookie(_), .. }));
    let is_open = handshake.answer.as_ref().is_some_and(Answer::is_switching);
    let is_busy = handshake.answer.as_ref().is_none_or(Answer::is_busy);
    let verdict = match page {
        Page::Allowed if seen.report.as_deref() == Some("opened") => Verdict::held(said),
        Page::Allowed if is_open => Verdict::fell(format!("{said}, which the browser does not take")),
        _ if is_open => Verdict::fell(format!("{said}: the page has the socket")),
        _ if reached && page != Page::Allowed => Verdict::fell(format!("{said}, and it reached the backend")),
        _ if is_busy => Verdict::undecided(said),
        Page::Allowed => Verdict::fell(format!("{said}: the page does not come in")),
        _ if needs_cookie && !has_cookie => Verdict::undecided(format!("{said}: the browser kept the cookie back")),
        _ if carried.is_none() && exam.target.credential.is_some() => {
            Verdict::held(format!("{said}; no page can carry the credential"))
        }
        _ => Verdict::held(said),
    };
    let received = handshake.answer.as_ref().map_or_else(String::new, |answer| exam.shown(&answer.head));
    verdict.with(Exchange { sent: exam.shown(&handshake.head), received })
}

/// Shows a page to a browser: what was seen of it, and the names of the victim's cookies.
async fn visited(page: Page, exam: &Exam, carried: Option<&Carried>) -> Result<(Seen, [String; 2]), String> {
    let program = find_chromium(exam.target.browser.as_deref())?;
    let folder = Folder::temporary().map_err(|error| format!("no folder for the browser: {error}"))?;
    let pages = Pages::new(&exam.target, page, &origin_of(page, &exam.target)?, carried);
    let cookies = pages.cookie_names();
    let url = match page {
        Page::File => {
            let file = folder.0.join("page.html");
            std::fs::write(&file, pages.html()).map_err(|error| error.to_string())?;
            format!("file://{}", file.display())
        }
        _ => pages.first_url(),
    };
    let mut stage = Stage::open(&exam.target, pages).await?;
    let ports = [Some(exam.target.authority.as_str()), exam.target.origin.as_deref()];
    let ports: Vec<u16> =
        ports.into_iter().flatten().filter_map(|place| place.rsplit_once(':')?.1.parse().ok()).collect();
    let mut chromium = Chromium::start(&program, folder, stage.address, &stage.pin, &ports, &url)?;
    let reported = async {
        tokio::select! {
            seen = stage.seen.wait_for(|seen| seen.report.is_some()) => {
                seen.map(|seen| seen.clone()).map_err(|_| String::from("the pages ended"))
            }
            complaint = chromium.ended() => Err(format!("the browser ended: {complaint}")),
        }
    };
    let seen = timeout(DEADLINE, reported).await;
    let seen = seen.unwrap_or_else(|_| Err(format!("no page reported within 60 s: {}", chromium.complaint())));
    chromium.end().await;
    seen.map(|seen| (seen, cookies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn or10_a_sibling_is_never_a_listed_origin() {
        for (listed, origin, expected) in [
            ("https://app.test", "https://app.test", true),
            ("https://app.test", "https://app.test:8443", false),
            ("https://*.app.test", "https://sibling.app.test", true),
            ("https://*.app.test", "https://a.sibling.app.test", false),
            ("https://*.app.test", "https://app.test", false),
            ("https://*.app.test:8443", "https://sibling.app.test", false),
            ("null", "null", true),
        ] {
            assert_eq!(stands_for(listed, origin), expected, "{listed} {origin}");
        }
    }
}
