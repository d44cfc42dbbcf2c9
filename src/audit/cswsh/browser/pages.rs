//! The pages of a case, and which of them stands where.

use std::fmt;

use aws_lc_rs::rand;

use crate::audit::target::Target;
use crate::policy::credential::Carrier;
use crate::secret::Secret;

/// The cookie that stands for what a browser sends by itself, where the credential is none.
const AMBIENT: &str = "wsgate-audit";

/// The cookie that a browser sends to its own site alone.
const STRICT: &str = "wsgate-audit-strict";

/// What a page says and does: it opens the socket, and reports once what came of it.
const SCRIPT: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>a page of wsgate audit</title>
<script>
(async () => {
    const { socket, protocols, report, before } = CASE;
    if (before) await fetch(before, { mode: "no-cors", credentials: "include" }).catch(() => {});
    let told = false;
    const tell = (word) => {
        if (told) return;
        told = true;
        fetch(report, { method: "POST", mode: "no-cors", body: word });
    };
    const opening = new WebSocket(socket, protocols);
    opening.onopen = () => { tell("opened"); opening.close(1000); };
    opening.onerror = opening.onclose = () => tell("refused");
})();
</script>
"#;

/// Where a page stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// At an allowed origin.
    Allowed,
    /// On another site.
    Hostile,
    /// On a subdomain of the target's name.
    Sibling,
    /// In a sandboxed frame, whose origin is `null`.
    Sandboxed,
    /// In a file of the machine on which the browser runs.
    File,
}

/// What a page may carry: everything but a header, which no page can set.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) carrier: Carrier,
    pub(super) token: Secret<String>,
}

/// What is answered to a path.
pub(super) enum Document {
    /// Markup.
    Html(String),
    /// The victim's cookies as header fields, and where it goes on.
    Cookies(String, Option<String>),
    /// The page's word.
    Report,
}

/// The pages of one case.
pub(super) struct Pages {
    /// The path below which they stand, which no page of somebody else's knows.
    root: String,
    page: Page,
    /// Scheme, host and port at which the page stands; of a file, where its reports go.
    origin: String,
    target: String,
    socket: String,
    protocols: Vec<String>,
    cookies: Vec<(String, Secret<String>)>,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("page", &self.page).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Pages {
    /// The pages of a case; `origin` is where the page stands.
    pub(super) fn new(target: &Target, page: Page, origin: &str, carried: Option<&Carried>) -> Self {
        let mut word = [0; 8];
        // Without randomness the path is the same each time, which only the browser's own pages could use.
        let _ = rand::fill(&mut word);
        let mut pages = Self {
            root: format!("/wsgate-audit-{:016x}", u64::from_be_bytes(word)),
            page,
            origin: String::from(origin),
            target: format!("https://{}", target.authority),
            socket: format!("wss://{}{}", target.authority, target.path),
            protocols: target.subprotocols.clone(),
            cookies: Vec::new(),
        };
        match carried {
            Some(Carried { carrier: Carrier::Query(name), token }) => {
                let sign = if pages.socket.contains('?') { '&' } else { '?' };
                pages.socket = format!("{}{sign}{name}={}", pages.socket, token.expose());
            }
            Some(Carried { carrier: Carrier::Subprotocol(marker), token }) => {
                pages.protocols.splice(0..0, [marker.clone(), token.expose().clone()]);
            }
            Some(Carried { carrier: Carrier::Cookie(name), token }) => {
                pages.cookies.push((name.clone(), token.clone()));
            }
            Some(Carried { carrier: Carrier::Authorization, .. }) | None => {}
        }
        pages
    }

    /// The names of the victim's cookies: one that goes along with every site's pages, and the one that does not.
    pub(super) fn cookie_names(&self) -> [String; 2] {
        let loose = self.cookies.first().map_or(AMBIENT, |(name, _)| name);
        [loose, STRICT].map(String::from)
    }

    /// Where the browser begins: under the target's name, where the victim has its cookies.
    pub(super) fn first_url(&self) -> String {
        format!("{}{}/victim", self.target, self.root)
    }

    /// What stands at a path.
    pub(super) fn at(&self, path: &str) -> Option<Document> {
        match path.strip_prefix(&self.root)? {
            "/victim" => Some(Document::Cookies(self.cookie_fields(), self.next_url())),
            "/frame" => Some(Document::Html(format!(
                "<!doctype html><iframe sandbox=\"allow-scripts\" src=\"{}/page\"></iframe>",
                self.root
            ))),
            "/page" => Some(Document::Html(self.html())),
            "/report" => Some(Document::Report),
            _ => None,
        }
    }

    /// The page itself.
    pub(super) fn html(&self) -> String {
        let before = (self.page == Page::File).then(|| self.first_url());
        let report = format!("{}{}/report", self.origin, self.root);
        let case = serde_json::json!({
            "socket": self.socket, "protocols": self.protocols, "report": report, "before": before,
        });
        // Nothing in a string ends the script.
        SCRIPT.replace("CASE", &case.to_string().replace('<', "\\u003c"))
    }

    fn cookie_fields(&self) -> String {
        let cookie = |name: &str, value: &str, site: &str| {
            format!("Set-Cookie: {name}={value}; Path=/; Secure; HttpOnly; SameSite={site}\r\n")
        };
        let mut fields = cookie(AMBIENT, "1", "None") + &cookie(STRICT, "1", "Strict");
        for (name, value) in &self.cookies {
            fields += &cookie(name, value.expose(), "None");
        }
        fields
    }

    /// Where the page stands; a file is there already.
    fn next_url(&self) -> Option<String> {
        let page = if self.page == Page::Sandboxed { "frame" } else { "page" };
        (self.page != Page::File).then(|| format!("{}{}/{page}", self.origin, self.root))
    }
}
