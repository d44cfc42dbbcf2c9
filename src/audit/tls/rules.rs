//! What the cases of TLS stand for. HS16 has its rule with the opening handshake.

use crate::audit::rule::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "HS21",
        must: "Where TLS is spoken, nothing opens without it, and nobody is redirected",
        means: "Whoever forgets the s in wss sends his token in the clear, and a redirect hides that from him",
        remedy: "Refuse plain HTTP on the port of TLS without a redirect (nginx does so by itself, with 400), and \
                 offer no port without TLS",
        asvs: &["4.4.1", "4.1.2", "12.2.1"],
        cwe: &[319],
    },
    Rule {
        id: "TL03",
        must: "A ClientHello works however it is cut into records and segments.",
        means: "Clients whose hello is long (post-quantum key shares) or whose network cuts it are locked out, by chance.",
        remedy: "Update the TLS library or the device in front that reads the hello for its name.",
        asvs: &["12.1.1"],
        cwe: &[20],
    },
    Rule {
        id: "TL04",
        must: "What is no handshake gets an alert at most, a handshake without end is ended, and others notice nothing.",
        means: "Somebody without any credential keeps memory and processor busy, or takes the endpoint down.",
        remedy: "Update the TLS library; bound the bytes and the time of a handshake, both in total.",
        asvs: &["2.4.1", "15.2.2"],
        cwe: &[20, 400, 770],
    },
    Rule {
        id: "TL06",
        must: "Renegotiation is absent or bound to its connection (RFC 5746); key updates without end hang no session.",
        means: "Somebody on the way puts a request of his own in front of the client's, in the client's name; or a client \
                makes the endpoint compute without end.",
        remedy: "Speak TLS 1.3 and 1.2 with a library that implements RFC 5746, and switch renegotiation off.",
        asvs: &["12.1.1"],
        cwe: &[310, 400],
    },
    Rule {
        id: "TL07",
        must: "TLS 1.2 and 1.3 alone, with ephemeral keys and authenticated encryption, without compression (RFC 9325).",
        means: "Somebody on the way can be let choose what is broken: read or change messages now (export, RC4, CBC with \
                oracles), or read what he recorded once the server's key leaks (RSA key exchange).",
        remedy: "Set TLS 1.2 as the least version and list ECDHE suites with AES-GCM or ChaCha20-Poly1305 alone.",
        asvs: &["12.1.1", "12.1.2"],
        cwe: &[326, 327, 757],
    },
    Rule {
        id: "TL08",
        must: "No handshake is taken from early data (0-RTT).",
        means: "Somebody who recorded a client's first flight sends it again and has the session opened again.",
        remedy: "Switch early data off on this endpoint (nginx: ssl_early_data off; HAProxy: no allow-0rtt).",
        asvs: &["12.1.1"],
        cwe: &[294],
    },
    Rule {
        id: "TL09",
        must: "The certificate is good for the name; other names, and what is none, end in a refusal or in a certificate.",
        means: "Clients cannot tell this endpoint from somebody who took its place; or an odd name takes it down.",
        remedy: "Renew the certificate in time, with every name that is served; update the TLS library.",
        asvs: &["12.2.2"],
        cwe: &[20, 295, 298],
    },
    Rule {
        id: "TL10",
        must: "A client that offers an unknown application protocol alone gets no such protocol, nor one it did not offer.",
        means: "A connection that was opened for another service is taken for one to this endpoint (ALPACA).",
        remedy: "Name the protocols in ALPN (http/1.1) and refuse what shares none of them (RFC 7301 section 3.2).",
        asvs: &["12.1.1"],
        cwe: &[436],
    },
    Rule {
        id: "TL11",
        must: "A resumed session skips no check of the handshake.",
        means: "Who came in once comes in again without a credential, for as long as a ticket lives.",
        remedy: "Judge every handshake by itself; keep nothing about who somebody is in a session of TLS.",
        asvs: &["12.1.1"],
        cwe: &[287, 613],
    },
    Rule {
        id: "TL12",
        must: "An end without close_notify ends the session, and the service does not hear of an end in order.",
        means: "Somebody on the way cuts a conversation short and the service takes it for whole; or sessions of clients \
                that are gone stay.",
        remedy: "Take the end of TCP without close_notify for an error (1006), and end the backend's connection with it.",
        asvs: &["12.1.1"],
        cwe: &[404, 755],
    },
];
