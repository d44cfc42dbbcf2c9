//! What the cases of the handshake itself stand for, and what to do where they fall.

use crate::audit::rule::Rule;

/// The rules.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "HS01",
        must: "A handshake is a GET: any other method is refused",
        means: "Requests that are no handshakes are let through as if they were, so rules that were written for GET, \
                and what forms can send across sites, reach the sockets",
        remedy: "Open sockets for GET alone: in nginx `if ($request_method != GET) { return 405; }` in the location, \
                 in HAProxy `http-request deny unless METH_GET`",
        asvs: &["4.1.4"],
        cwe: &[444, 650],
    },
    Rule {
        id: "HS02",
        must: "A handshake is HTTP/1.1: older, newer and misspelt versions are refused",
        means: "Old versions know no upgrade and no Host; a proxy and a service that read them differently can be \
                brought to disagree on where a request ends",
        remedy: "Refuse what is not HTTP/1.1 on the routes of sockets with 400 or 505",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "HS03",
        must: "Without Upgrade there is no handshake: refused before the backend hears of it",
        means: "Plain requests reach a service that expects sockets alone; whoever wrote it never thought of them",
        remedy: "Answer 426 where Upgrade is missing; in nginx `if ($http_upgrade !~* ^websocket$) { return 426; }`",
        asvs: &["4.1.4"],
        cwe: &[20],
    },
    Rule {
        id: "HS04",
        must: "Upgrade names websocket and nothing else",
        means: "The client talks the backend into another protocol (h2c, say), and the gateway carries bytes that it \
                cannot judge: rules on paths and headers end there",
        remedy: "Compare Upgrade with the one word websocket; in nginx `if ($http_upgrade !~* ^websocket$) { return \
                 400; }`, never pass `$http_upgrade` on unseen",
        asvs: &["4.2.1"],
        cwe: &[444, 441],
    },
    Rule {
        id: "HS05",
        must: "Connection names the token upgrade",
        means: "Gateway and backend disagree on whether this is a handshake: one of them takes the bytes that follow \
                for frames, the other for requests",
        remedy: "Compare the tokens of Connection, not a substring, and refuse where upgrade is not among them",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "HS06",
        must: "No client can have fields taken out by naming them in Connection",
        means: "A client removes what the gateway adds or checks (its address, the Origin, the Host), and the service \
                takes the gap for somebody it trusts",
        remedy: "Refuse a Connection that names more than upgrade and keep-alive, and write your own fields after the \
                 client's hop-by-hop fields were removed",
        asvs: &["4.1.3"],
        cwe: &[444, 348],
    },
    Rule {
        id: "HS07",
        must: "Only version 13 opens a socket",
        means: "A gateway that tunnels a handshake which its backend refuses passes on whatever the client sends next, \
                past all its rules",
        remedy: "Answer 426 with `Sec-WebSocket-Version: 13` to anything else; in nginx `if \
                 ($http_sec_websocket_version != 13) { return 426; }`",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "HS08",
        must: "No handshake without a key",
        means: "Requests that no WebSocket client makes open sockets, among them what a form or a fetch of another \
                site can send",
        remedy: "Refuse a handshake without Sec-WebSocket-Key with 400; in nginx `if ($http_sec_websocket_key = \
                 \"\") { return 400; }`",
        asvs: &["4.2.1"],
        cwe: &[20],
    },
    Rule {
        id: "HS09",
        must: "A key is 16 bytes in base64",
        means: "Bytes that nobody judged travel to the backend, or come back in the answer, in a field of any length",
        remedy: "Refuse keys that are not 24 characters of base64 ending in `==`; in nginx a `map` on \
                 `$http_sec_websocket_key` with such a pattern",
        asvs: &["2.2.1"],
        cwe: &[20],
    },
    Rule {
        id: "HS10",
        must: "One key, not two",
        means: "Gateway and backend may each take another of the two: what one judged is not what the other answers",
        remedy: "Refuse a repeated Sec-WebSocket-Key with 400 (RFC 6455 section 11.3.1)",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "HS11",
        must: "Sec-WebSocket-Accept of a client is not passed on",
        means: "A field that only servers send travels with the request, and a service that echoes it confirms what \
                the client made up",
        remedy: "Pass on an allow-list of fields; in nginx `proxy_set_header Sec-WebSocket-Accept \"\";`",
        asvs: &["4.1.3"],
        cwe: &[20],
    },
    Rule {
        id: "HS12",
        must: "A list of subprotocols is read strictly, bounded, and in time that grows with its length alone",
        means: "One short handshake keeps a processor busy, or names that nobody could mean reach the service",
        remedy: "Refuse lists that are no tokens, name one twice or are very long, and read them without patterns that \
                 backtrack",
        asvs: &["2.2.1", "15.2.2"],
        cwe: &[1333, 400],
    },
    Rule {
        id: "HS13",
        must: "A list of extensions is read in time that grows with its length alone",
        means: "One short handshake keeps a processor busy for seconds (CVE-2020-7662)",
        remedy: "Read the list from left to right without patterns that backtrack, or drop the field",
        asvs: &["15.2.2"],
        cwe: &[1333, 400],
    },
    Rule {
        id: "HS14",
        must: "The backend's choice of subprotocol and extension is one that was offered",
        means: "A broken or taken-over service talks the browser into a protocol that the page never asked for",
        remedy: "Compare the backend's answer with the offer and answer 502 where they do not fit",
        asvs: &["4.2.1"],
        cwe: &[20, 444],
    },
    Rule {
        id: "HS15",
        must: "One Host, well formed",
        means: "Gateway, backend and cache each take another host for the meant one: rules of one site are applied to \
                another",
        remedy: "Refuse a missing, repeated or malformed Host with 400 (RFC 9112 section 3.2)",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "HS16",
        must: "A Host that nobody serves is refused",
        means: "A page that points its own name at this server (DNS rebinding) reaches the service, and services that \
                build links or tenants from Host believe the attacker",
        remedy: "List the hosts, and let a default server refuse the rest; in nginx `server { listen 443 ssl \
                 default_server; ssl_reject_handshake on; }`",
        asvs: &["4.1.3"],
        cwe: &[350, 444],
    },
    Rule {
        id: "HS17",
        must: "A target is a path: no proxy's form and no other authority",
        means: "The gateway judges one host and path, and the backend serves another",
        remedy: "Refuse targets that do not begin with `/`, and CONNECT, on routes of sockets",
        asvs: &["4.2.1"],
        cwe: &[444, 441],
    },
    Rule {
        id: "HS18",
        must: "A path has one spelling",
        means: "The gateway checks one path and the service serves another: rules for `/admin` do not hold for \
                `/chat/%2e%2e/admin`",
        remedy: "Refuse paths with dot segments, empty segments, backslashes, parameters and needless codes with 400 \
                 instead of mending them, and pass on the bytes that were judged",
        asvs: &["1.1.1", "4.2.1"],
        cwe: &[22, 436, 180],
    },
    Rule {
        id: "HS19",
        must: "Handshakes of drafts are refused",
        means: "Drafts before RFC 6455 know no masking and no versions: caches between can be poisoned with them",
        remedy: "Speak RFC 6455 alone: version 13 and Sec-WebSocket-Key",
        asvs: &["4.2.1"],
        cwe: &[444, 757],
    },
    Rule {
        id: "HS20",
        must: "The 101 is whole: the right Accept, Upgrade, Connection, and no body",
        means: "Browsers refuse the socket, or something between takes frames for a body",
        remedy: "Let the server that speaks WebSocket build the 101, and pass it on unchanged",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "ID01",
        must: "What a client says of its user, its certificate and its way in does not reach the backend",
        means: "Anybody signs in as anybody: a service that trusts `X-User-Id` from its gateway gets it from the \
                attacker",
        remedy: "Overwrite or clear every such field at the gateway; in nginx `proxy_set_header X-User-Id \"\";` for \
                 each, better an allow-list",
        asvs: &["4.1.3", "15.3.4"],
        cwe: &[290, 348],
    },
    Rule {
        id: "ID02",
        must: "Names that a service may take for others do not pass",
        means: "`X_Forwarded_For` is `X-Forwarded-For` to CGI, WSGI and many frameworks: a gateway that guards one \
                spelling lets the other in",
        remedy: "Refuse or drop names with underscores: nginx drops them unless `underscores_in_headers on`",
        asvs: &["4.1.3"],
        cwe: &[290, 444],
    },
    Rule {
        id: "ID04",
        must: "A client has no say in which address it is",
        means: "Limits, bans and logs go by an address that the attacker chose; he is never counted, or somebody else \
                is",
        remedy: "Set X-Forwarded-For anew instead of appending where the client is no trusted proxy: in nginx \
                 `proxy_set_header X-Forwarded-For $remote_addr;`",
        asvs: &["4.1.3", "15.3.4"],
        cwe: &[290, 348],
    },
    Rule {
        id: "ID05",
        must: "A PROXY header of a stranger is not believed",
        means: "Anybody writes any address into the first line, and limits, bans and logs go by it",
        remedy: "Take PROXY headers only on a listener for your balancer alone, and require them there; in nginx \
                 `set_real_ip_from` your balancer",
        asvs: &["4.1.3", "15.3.4"],
        cwe: &[290, 348],
    },
    Rule {
        id: "ID11",
        must: "The request's id is the gateway's own",
        means: "An attacker chooses the name under which his requests are logged, and hides them among somebody else's",
        remedy: "Write X-Request-Id anew; in nginx `proxy_set_header X-Request-Id $request_id;`",
        asvs: &["16.4.1"],
        cwe: &[117, 290],
    },
];
