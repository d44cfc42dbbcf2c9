//! What the cases stand for, and what to do where they fall.

use crate::audit::rule::Rule;

/// How an Origin is compared.
const EXACT: &str = "Compare Origin byte for byte with a list: no substrings, no parsing; in nginx a `map $http_origin \
                     $listed` of whole entries (`~^https://app\\.example\\.com$`), in HAProxy `http-request deny unless { \
                     req.hdr(origin) -m str -f origins }`";

/// The rules.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "OR01",
        must: "A handshake with something ambient and without Origin is refused",
        means: "Whatever strips or omits Origin, an old web view or a broken proxy say, lets foreign pages in with the \
                user's cookie",
        remedy: "Refuse handshakes without Origin as soon as a cookie came with them; where programs without browser \
                 connect, let them use a token of their own",
        asvs: &["4.4.2", "3.5.1"],
        cwe: &[1385],
    },
    Rule {
        id: "OR02",
        must: "The origin `null` is refused unless it is listed",
        means: "Any page can put its script into a sandboxed frame, whose origin is `null`: any page that a user opens \
                talks to this socket as that user: reads his messages and acts in his name",
        remedy: "Take `null` out of the list; in nginx no default of a `map` that allows it",
        asvs: &["4.4.2"],
        cwe: &[1385, 346],
    },
    Rule {
        id: "OR03",
        must: "An empty Origin is refused",
        means: "An empty value counts as none at many a framework, and none as harmless",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385, 346],
    },
    Rule {
        id: "OR04",
        must: "Two Origins are refused",
        means: "Gateway and service each look at another of the two: what one checks is not what the other trusts",
        remedy: "Refuse repeated Origin fields with 400",
        asvs: &["4.4.2"],
        cwe: &[1385, 444],
    },
    Rule {
        id: "OR05",
        must: "Several origins in one field are refused",
        means: "A check that looks for a listed name anywhere in the field is walked around by naming it beside one's \
                own",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385, 625],
    },
    Rule {
        id: "OR06",
        must: "The same name by another scheme is refused",
        means: "Whoever can change one plain http page on the way (a café's network is enough) opens this socket as \
                your user",
        remedy: "List origins with their scheme, and only https",
        asvs: &["4.4.2"],
        cwe: &[1385, 346],
    },
    Rule {
        id: "OR07",
        must: "Another port is refused, and so is every spelling that browsers do not use",
        means: "Whatever else runs on that machine, a developer's server or a tool with a hole, opens this socket as \
                your user",
        remedy: "List origins with their port, and compare whole strings",
        asvs: &["4.4.2"],
        cwe: &[1385, 346],
    },
    Rule {
        id: "OR08",
        must: "Something before a listed name is refused",
        means: "An attacker registers a name that ends like yours (`evilgood.example`), and every user who visits it \
                is his",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385, 625],
    },
    Rule {
        id: "OR09",
        must: "Something behind a listed name is refused",
        means: "An attacker puts your name before his own (`good.example.evil.com`), and every user who visits it is \
                his",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385, 777],
    },
    Rule {
        id: "OR10",
        must: "A subdomain that is not listed is refused; a wildcard is one label",
        means: "A forgotten, foreign or taken-over subdomain opens this socket as your user, even where cookies are \
                SameSite=Strict",
        remedy: "List origins one by one; where a wildcard must be, let it stand for one label of letters, digits and \
                 hyphens",
        asvs: &["4.4.2"],
        cwe: &[1385, 183],
    },
    Rule {
        id: "OR11",
        must: "A dot in a listed name is a dot",
        means: "In a pattern a dot is any character: an attacker registers `goodAexample` and is let in",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385, 625],
    },
    Rule {
        id: "OR12",
        must: "User names and an @ do not make a listed origin",
        means: "A check that reads Origin as a URL takes the attacker's name for a user's, or the other way round",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385, 20],
    },
    Rule {
        id: "OR13",
        must: "Dots too many do not make a listed origin",
        means: "`good.example.` is another name to a browser and may be the same to a check: names that nobody listed \
                are let in",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385, 20],
    },
    Rule {
        id: "OR14",
        must: "Upper case does not make a listed origin",
        means: "Browsers send lower case alone; a check that folds letters is seldom the only one that is lenient, and \
                routes then differ in what they allow",
        remedy: "Compare byte for byte; in nginx the strings of a `map` ignore case, so write each as \
                 `~^https://app\\.example\\.com$`",
        asvs: &["4.4.2"],
        cwe: &[1385, 178],
    },
    Rule {
        id: "OR15",
        must: "Names that look alike in another script are refused",
        means: "An attacker registers a name that folds to yours in Unicode, and is let in",
        remedy: "List and compare A-labels (`xn--...`), refuse bytes above ASCII, and never normalize an Origin",
        asvs: &["4.4.2"],
        cwe: &[1385, 1007],
    },
    Rule {
        id: "OR16",
        must: "Hosts that only browsers accept are refused",
        means: "Browsers allow signs in hosts that patterns stop at: `good.example_.evil.com` is the attacker's",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385, 625],
    },
    Rule {
        id: "OR17",
        must: "More than an origin is refused",
        means: "A check that cuts off a path or a query cuts differently from the browser, and takes foreign names for \
                listed ones",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385, 20],
    },
    Rule {
        id: "OR18",
        must: "This machine's own names are refused unless listed",
        means: "Whatever runs on a user's or developer's machine, and any page that it serves, opens this socket as \
                your user",
        remedy: "Take localhost and loopback addresses out of the list of production",
        asvs: &["4.4.2"],
        cwe: &[1385, 346],
    },
    Rule {
        id: "OR19",
        must: "Extensions, files and other schemes are refused unless listed",
        means: "Any browser extension, local file or application opens this socket as your user",
        remedy: "List `chrome-extension://<id>` and the like byte for byte, and only your own",
        asvs: &["4.4.2"],
        cwe: &[1385, 346],
    },
    Rule {
        id: "OR20",
        must: "Control bytes and endless values are refused",
        means: "A check and a log that stop at different bytes see different origins; endless values hold memory",
        remedy: "Compare Origin byte for byte with a list, and refuse control bytes with 400 and long values with 431",
        asvs: &["4.4.2", "2.2.1"],
        cwe: &[1385, 158],
    },
    Rule {
        id: "OR21",
        must: "The length of the list changes no verdict",
        means: "Lists that grow are compared by other means (CVE-2026-27588), and names that nobody listed are let in",
        remedy: EXACT,
        asvs: &["4.4.2"],
        cwe: &[1385],
    },
    Rule {
        id: "OR22",
        must: "Nothing stands in for Origin, and Host is no proof",
        means: "Any page that can set or avoid another field, or gives its own name to this server (DNS rebinding), \
                opens this socket as your user",
        remedy: "Ask Origin alone, compare it with a list and not with Host, and list the hosts too",
        asvs: &["4.4.2"],
        cwe: &[1385, 350],
    },
    Rule {
        id: "OR23",
        must: "An Origin is no credential",
        means: "Any program sends any Origin it likes, and is let in as nobody in particular",
        remedy: "Ask for a credential at the gateway as well; Origin protects browsers' users alone",
        asvs: &["4.4.3"],
        cwe: &[306, 287],
    },
    Rule {
        id: "OR24",
        must: "What the browser calls no socket is refused",
        means: "A form, a frame or a fetch of another site is taken for a handshake",
        remedy: "Refuse handshakes with a Sec-Fetch-Mode other than `websocket`; in nginx `if ($http_sec_fetch_mode !~ \
                 ^(websocket)?$) { return 403; }`",
        asvs: &["3.5.3"],
        cwe: &[352, 1385],
    },
    Rule {
        id: "OR25",
        must: "A cookie opens nothing for a foreign page, and not just any cookie opens anything",
        means: "A page on any site can open this socket as your user: his browser adds the cookie by itself",
        remedy: "Compare Origin byte for byte with a list, and ask for a token that pages must put there themselves",
        asvs: &["4.4.2", "4.4.3", "3.5.1"],
        cwe: &[1385, 352],
    },
    Rule {
        id: "OR26",
        must: "A star is nobody's origin",
        means: "Any page that a user opens talks to this socket as that user: reads his messages and acts in his name",
        remedy: "List origins one by one; a star in a list must not match as a word",
        asvs: &["4.4.2", "3.4.2"],
        cwe: &[1385, 942],
    },
    Rule {
        id: "OR27",
        must: "In a real browser the pages of listed origins open the socket, and the pages of other sites do not.",
        means: "A page on any site, once your user looks at it, opens this socket as your user and reads and writes there.",
        remedy: "Compare the Origin of every handshake with a list, whole, before anything else counts; take no cookie alone \
                 for a credential.",
        asvs: &["4.4.2", "3.5.1"],
        cwe: &[346, 1385],
    },
    Rule {
        id: "OR28",
        must: "A refusal invites nobody: no CORS, nothing of what was asked for",
        means: "Pages of other sites read what a refusal says, or have their own words sent back by your name",
        remedy: "Send refusals of fixed words, and no Access-Control fields on routes of sockets",
        asvs: &["3.4.2", "16.5.1"],
        cwe: &[942, 79],
    },
];
