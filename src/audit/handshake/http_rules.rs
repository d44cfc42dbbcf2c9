//! What the cases of the HTTP around the handshake stand for, and what to do where they fall.

use crate::audit::rule::Rule;

/// The rules.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "SM01",
        must: "A tunnel never opens behind a refused handshake",
        means: "The gateway believes in a socket that the backend refused, and passes on requests to it unjudged: \
                internal addresses are open to everybody (websocket-smuggle)",
        remedy: "Open the tunnel on the backend's verified 101 alone, refuse wrong versions yourself, and end the \
                 connection with the refusal",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM02",
        must: "Another status than 101 opens nothing",
        means: "Whoever gets the backend to answer 200 has a tunnel past all rules (CVE-2024-23326)",
        remedy: "Switch to a tunnel on status 101 alone, and answer 502 otherwise",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM03",
        must: "A 101 counts only from something that knows WebSocket",
        means: "A page of the backend that can be made to answer 101 opens a tunnel into your network",
        remedy: "Verify Sec-WebSocket-Accept at the gateway before the tunnel opens",
        asvs: &["4.2.1"],
        cwe: &[444, 918],
    },
    Rule {
        id: "SM04",
        must: "A 101 is verified whole: Accept, Upgrade, Connection",
        means: "A broken or taken-over service opens tunnels in which gateway and backend mean different protocols",
        remedy: "Verify the 101 as a client must (RFC 6455 section 4.1) and answer 502 where it does not fit",
        asvs: &["4.2.1"],
        cwe: &[444, 20],
    },
    Rule {
        id: "SM05",
        must: "No byte of a client passes before the backend's 101",
        means: "What stands behind the handshake is taken for a request of its own by a backend that refuses: requests \
                that nobody judged (CVE-2026-2833)",
        remedy: "Refuse a handshake with bytes behind it, and read the client only when the 101 was sent",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM06",
        must: "Behind a refusal nothing is answered",
        means: "A second request in the same connection passes by the rules that refused the first, or is answered to \
                somebody else",
        remedy: "End the connection with every refusal (`Connection: close`), and read nothing behind it",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM07",
        must: "A handshake has no body: Content-Length is refused",
        means: "The gateway takes the body for frames and the backend for a request, or the other way round",
        remedy: "Refuse handshakes with a Content-Length above 0; in nginx `if ($content_length) { return 400; }`",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM08",
        must: "A handshake has no body: Transfer-Encoding is refused",
        means: "The gateway takes the body for frames and the backend for a request, or the other way round",
        remedy: "Refuse handshakes with Transfer-Encoding; in nginx `if ($http_transfer_encoding) { return 400; }`",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM09",
        must: "Content-Length and Transfer-Encoding together are refused",
        means: "Two readers cut the message in two places, and the rest is a request that nobody judged",
        remedy: "Refuse messages with both (RFC 9112 section 6.1)",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM10",
        must: "Odd spellings of Transfer-Encoding are refused",
        means: "One reader sees a coded body and the next does not: the rest is a request that nobody judged",
        remedy: "Refuse any Transfer-Encoding on a handshake",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM11",
        must: "Odd spellings of Content-Length are refused",
        means: "Two readers see two lengths: the rest is a request that nobody judged",
        remedy: "Refuse repeated lengths and lengths that are no plain number (RFC 9110 section 8.6)",
        asvs: &["4.2.1"],
        cwe: &[444, 1284],
    },
    Rule {
        id: "SM12",
        must: "Lines against the grammar of HTTP are refused",
        means: "What one reader takes for a value is a field to the next: checks at the gateway can be walked around",
        remedy: "Refuse folded lines, white space before a colon, control bytes and names that are no tokens with 400, \
                 never mend them (RFC 9112 section 5); in nginx `ignore_invalid_headers` only drops the line",
        asvs: &["4.2.1"],
        cwe: &[444, 93],
    },
    Rule {
        id: "SM13",
        must: "Lines that end in a bare LF are refused",
        means: "What one reader takes for one line is two to the next: checks at the gateway can be walked around",
        remedy: "Put a reader in front that demands CRLF, or let the gateway write each line of the backend's request anew",
        asvs: &["4.2.1"],
        cwe: &[444, 93],
    },
    Rule {
        id: "SM14",
        must: "A handshake expects nothing: Expect is refused",
        means: "Gateways and backends that treat `100-continue` differently are brought out of step, and answers go to \
                the wrong request",
        remedy: "Refuse handshakes with Expect with 417; in nginx `if ($http_expect) { return 417; }`",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM15",
        must: "HTTP/2 cannot be had through the back door",
        means: "An upgrade to h2c is a tunnel to the backend past all rules of the gateway (h2c smuggling)",
        remedy: "Never pass on `Upgrade: h2c`, HTTP2-Settings or an HTTP/2 preface; in nginx `if ($http_upgrade !~* \
                 ^websocket$) { return 400; }`",
        asvs: &["4.2.1"],
        cwe: &[444, 441],
    },
    Rule {
        id: "SM16",
        must: "A connection to the backend serves one handshake",
        means: "What one client left in a connection is read as the beginning of the next client's request",
        remedy: "Use a connection of its own for each handshake, and end it on any answer but a 101: no `keepalive` \
                 upstream for sockets",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "SM17",
        must: "A backend's second answer, and endless interim ones, go nowhere",
        means: "The second answer is taken for somebody else's; endless interim ones hold memory and connections",
        remedy: "Take the first answer, end the connection behind it, and bound interim answers in number and time",
        asvs: &["4.2.1"],
        cwe: &[444, 770],
    },
    Rule {
        id: "SM18",
        must: "No line end of a client becomes a line at the backend",
        means: "An attacker writes fields of his own into the request that the gateway sends: user names, addresses, \
                hosts",
        remedy: "Build the backend's request from values that cannot hold a line end, and never decode a target before \
                 passing it on: in nginx `proxy_pass` without a path",
        asvs: &["4.2.4", "1.2.1"],
        cwe: &[113, 93],
    },
    Rule {
        id: "SM19",
        must: "The backend gets what its policy names, and no more",
        means: "Cookies of other services, credentials for proxies and fields of the connection travel to a service \
                that has no business with them",
        remedy: "Pass on an allow-list of fields and cookies, and never those of RFC 9110 section 7.6.1; in nginx \
                 `proxy_set_header Proxy-Authorization \"\";` and the like",
        asvs: &["4.1.3"],
        cwe: &[200, 444],
    },
    Rule {
        id: "SM20",
        must: "A redirect of the backend is not followed",
        means: "A taken-over service sends the gateway anywhere in your network: to a metadata service, say",
        remedy: "Never follow redirects for a handshake: answer 502",
        asvs: &["15.3.2"],
        cwe: &[918],
    },
    Rule {
        id: "BE03",
        must: "A backend that ends is an error, never an end in order",
        means: "Clients take a crash for a proper end and do not come again, or wait for ever",
        remedy: "Answer 502 before the 101; behind it end with Close 1011 or cut the connection, never with 1000",
        asvs: &["16.5.2"],
        cwe: &[755],
    },
    Rule {
        id: "BE13",
        must: "What a backend says in a refusal stays inside",
        means: "Attackers read software, versions, inner names and traces of errors from answers that were meant for \
                operators",
        remedy: "Replace a backend's refusal by your own; in nginx `proxy_intercept_errors on; proxy_hide_header \
                 X-Powered-By;`",
        asvs: &["13.4.6", "16.5.1"],
        cwe: &[200, 209],
    },
    Rule {
        id: "TL17",
        must: "Refusals over TLS keep browsers with TLS, and no answer tells a version",
        means: "A browser that was here can be brought to speak without TLS; an attacker looks up the faults of \
                exactly your version",
        remedy: "Send `Strict-Transport-Security: max-age=63072000` with every answer, refusals too (in nginx \
                 `add_header ... always`), and hide versions (`server_tokens off`)",
        asvs: &["3.4.1", "13.4.6"],
        cwe: &[319, 200],
    },
    Rule {
        id: "H102",
        must: "A refused connection ends",
        means: "Refused clients hold connections, memory and descriptors as long as they like",
        remedy: "End a connection with its refusal, or within seconds: in nginx `keepalive_timeout 5s` or less on \
                 routes of sockets",
        asvs: &["13.1.2"],
        cwe: &[400, 772],
    },
    Rule {
        id: "H103",
        must: "A body that never comes is not waited for",
        means: "Whoever announces a body and sends none holds a connection for a minute or more",
        remedy: "Refuse requests with bodies on routes of sockets by their head alone",
        asvs: &["13.1.2"],
        cwe: &[400],
    },
    Rule {
        id: "H104",
        must: "A head is bounded, in bytes and in fields",
        means: "A few connections with endless heads fill the memory, or crash the service behind (CVE-2024-37890)",
        remedy: "Bound heads at 16 to 32 KiB and a hundred fields; in nginx `large_client_header_buffers 4 8k`, in \
                 HAProxy `tune.bufsize` and `tune.http.maxhdr`",
        asvs: &["4.2.5", "15.2.2"],
        cwe: &[770, 400],
    },
    Rule {
        id: "H105",
        must: "A head may come byte by byte",
        means: "Clients behind slow or odd networks do not come in; a reader that begins anew with each byte costs \
                time that grows with the square",
        remedy: "Read heads incrementally, with one total deadline",
        asvs: &["15.2.2"],
        cwe: &[400, 407],
    },
    Rule {
        id: "H107",
        must: "A refusal arrives although the client still sends",
        means: "Clients see a connection that breaks instead of the reason, and come again at once",
        remedy: "Read on for a moment behind a refusal before closing (lingering close); nginx: `lingering_close on`",
        asvs: &["16.5.2"],
        cwe: &[755],
    },
    Rule {
        id: "H108",
        must: "A client that ends gives its place free",
        means: "Connections of clients that are gone pile up until no more can come",
        remedy: "Watch clients while the backend is asked, and end both sides when one ends; bound half-closed \
                 connections in time",
        asvs: &["13.1.2"],
        cwe: &[772, 400],
    },
    Rule {
        id: "H109",
        must: "TRACE and OPTIONS reach nobody",
        means: "TRACE gives back fields that pages must not read; OPTIONS tells what is behind the gateway",
        remedy: "Refuse both with 405 on routes of sockets",
        asvs: &["13.4.4", "4.1.4"],
        cwe: &[650],
    },
    Rule {
        id: "H110",
        must: "Noise opens nothing",
        means: "What is no request is taken for one: the reader can be brought out of step with whatever stands before \
                it",
        remedy: "Refuse or drop a connection at its first byte that cannot begin a request",
        asvs: &["4.2.1"],
        cwe: &[444],
    },
    Rule {
        id: "H111",
        must: "Bytes above ASCII where tokens stand are refused",
        means: "Readers decode them differently, or crash",
        remedy: "Refuse names and tokens that are not ASCII with 400 (RFC 9110 section 5.6.2)",
        asvs: &["4.2.1", "2.2.1"],
        cwe: &[20, 248],
    },
];
