//! Old versions and weak suites: hellos that a server must not answer.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::hello::{self, Hello, STRONG, version};
use super::reply::{self, Reply, ServerHello, hex, version_name};
use crate::audit::finding::Exchange;
use crate::audit::wire::Wire;
use crate::audit::{Exam, Verdict};

/// How often a hello is repeated that is dropped.
const TRIES: u32 = 4;

/// How often it must be dropped while a sound one is answered: once may be chance, or a rate of connections.
const DROPS: u32 = 2;

/// The time between two tries.
const APART: Duration = Duration::from_millis(500);

/// What a hello offers, and nothing better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weak {
    /// SSL 2.0.
    Ssl2,
    /// At most this version, with every suite that it has.
    Version(u16),
    /// TLS 1.2 with these suites.
    Suites(&'static [u16]),
    /// TLS 1.2 with sound suites and DEFLATE before no compression.
    Compression,
}

/// Every weakness, by the name of its case.
pub(super) const WEAK: [(&str, Weak); 12] = [
    ("SSL 2.0", Weak::Ssl2),
    ("SSL 3.0", Weak::Version(version::SSL3)),
    ("TLS 1.0", Weak::Version(version::TLS10)),
    ("TLS 1.1", Weak::Version(version::TLS11)),
    ("RSA key exchange", Weak::Suites(RSA)),
    ("CBC suites", Weak::Suites(CBC)),
    ("3DES suites", Weak::Suites(TRIPLE_DES)),
    ("RC4 suites", Weak::Suites(RC4)),
    ("export suites", Weak::Suites(EXPORT)),
    ("anonymous suites", Weak::Suites(ANONYMOUS)),
    ("suites without encryption", Weak::Suites(NULL)),
    ("compression", Weak::Compression),
];

/// Keys under the server's RSA key: no forward secrecy. With authenticated encryption, so that nothing else is wrong.
const RSA: &[u16] = &[0x009c, 0x009d, 0xc09c, 0xc09d, 0xc0a0, 0xc0a1];
/// MAC, then encrypt.
const CBC: &[u16] = &[
    0xc009, 0xc00a, 0xc013, 0xc014, 0xc023, 0xc024, 0xc027, 0xc028, 0x0033, 0x0039, 0x0067, 0x006b, 0x002f, 0x0035,
    0x003c, 0x003d, 0x0041, 0x0084,
];
const TRIPLE_DES: &[u16] = &[0xc008, 0xc012, 0x0016, 0x0013, 0x000a, 0x0015, 0x0009];
const RC4: &[u16] = &[0xc007, 0xc011, 0x0005, 0x0004];
const EXPORT: &[u16] =
    &[0x0003, 0x0006, 0x0008, 0x000b, 0x000e, 0x0011, 0x0014, 0x0017, 0x0019, 0x0060, 0x0061, 0x0062, 0x0063, 0x0064];
const ANONYMOUS: &[u16] =
    &[0xc016, 0xc017, 0xc018, 0xc019, 0x0018, 0x001a, 0x001b, 0x0034, 0x003a, 0x006c, 0x006d, 0x00a6, 0x00a7];
const NULL: &[u16] = &[0xc006, 0xc010, 0xc001, 0xc00b, 0xc015, 0x0001, 0x0002, 0x003b];

impl Weak {
    fn hello(self, name: &str) -> Vec<u8> {
        match self {
            Self::Ssl2 => hello::ssl2(),
            Self::Version(version) => {
                let mut hello = Hello::before_13(version, &[CBC, TRIPLE_DES, RC4].concat(), name);
                if version == version::SSL3 {
                    hello.extensions = None;
                }
                hello.bytes()
            }
            Self::Suites(suites) => Hello::before_13(version::TLS12, suites, name).bytes(),
            Self::Compression => {
                let mut hello = Hello::before_13(version::TLS12, STRONG, name);
                hello.compressions = vec![1, 0];
                hello.bytes()
            }
        }
    }

    /// Whether the server took what it must not.
    fn is_met_by(self, chosen: ServerHello) -> bool {
        match self {
            Self::Ssl2 => chosen.version == version::SSL2,
            Self::Version(version) => chosen.version <= version,
            Self::Suites(suites) => suites.contains(&chosen.suite),
            Self::Compression => chosen.compression != 0,
        }
    }
}

/// Judges that a weak hello is not answered. An alert is a refusal; so is a drop where a sound hello is answered.
pub(super) async fn judge(weak: Weak, exam: &Exam) -> Verdict {
    let bytes = weak.hello(&exam.target.name);
    let mut reply = Reply::Silence;
    let mut drops = 0;
    for _ in 0..TRIES {
        reply = said_to(exam, &bytes).await;
        let verdict = match &reply {
            Reply::Hello(chosen) if weak.is_met_by(*chosen) => Verdict::fell(reply.told()),
            Reply::Hello(_) => Verdict::held(format!("{}, which was not what must not be taken", reply.told())),
            Reply::Alert(_) => Verdict::held(reply.told()),
            Reply::Ended(_) => {
                drops += u32::from(matches!(sound(exam).await, Reply::Hello(_)));
                if drops < DROPS {
                    sleep(APART).await;
                    continue;
                }
                Verdict::held(format!("{}, again and again, while a sound hello is answered", reply.told()))
            }
            Reply::Other(_) | Reply::Silence => Verdict::undecided(format!("{}, which is no refusal", reply.told())),
        };
        return verdict.with(exchange(&bytes, &reply));
    }
    Verdict::undecided("it was dropped, and so was a sound hello").with(exchange(&bytes, &reply))
}

/// Judges that TLS 1.2 binds renegotiation to its connection. Whether it renegotiates at all is behind the keys of a
/// client that can: rustls cannot.
pub(super) async fn renegotiation(exam: &Exam) -> Verdict {
    let bytes = Hello::before_13(version::TLS12, STRONG, &exam.target.name).bytes();
    let reply = said_to(exam, &bytes).await;
    let verdict = match &reply {
        Reply::Hello(hello) if hello.version != version::TLS12 => Verdict::undecided(reply.told()),
        Reply::Hello(hello) if hello.binds_renegotiation => {
            Verdict::held("TLS 1.2 announces renegotiation_info (RFC 5746)")
        }
        Reply::Hello(_) => Verdict::fell("TLS 1.2 is answered without renegotiation_info (RFC 5746)"),
        Reply::Alert(_) if matches!(sound(exam).await, Reply::Hello(hello) if hello.version == version::TLS13) => {
            Verdict::held(format!("{} is all that is spoken, which has none", version_name(version::TLS13)))
        }
        _ => Verdict::undecided(format!("a sound hello of TLS 1.2: {}", reply.told())),
    };
    verdict.with(exchange(&bytes, &reply))
}

/// What a sound hello is answered.
pub(super) async fn sound(exam: &Exam) -> Reply {
    said_to(exam, &Hello::sound(&exam.target.name).bytes()).await
}

/// What the target says to these bytes.
pub(super) async fn said_to(exam: &Exam, bytes: &[u8]) -> Reply {
    let Ok(mut tcp) = Wire::tcp(&exam.target, None).await else {
        return Reply::Ended(crate::audit::wire::End::Cut);
    };
    // It may hang up before it took everything: what it said is read in any case.
    let _ = tcp.write_all(bytes).await;
    reply::read(&mut tcp, exam.patience.answer).await
}

/// Bytes of a hello and what came, fit to be shown: there is no secret in them.
pub(super) fn exchange(sent: &[u8], reply: &Reply) -> Exchange {
    Exchange { sent: hex(sent), received: reply.told() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tl07_no_weak_suite_is_sound_and_none_is_tried_twice() {
        let mut seen = BTreeSet::new();
        for (name, weak) in WEAK {
            if let Weak::Suites(suites) = weak {
                for suite in suites {
                    assert!(!STRONG.contains(suite), "{name}: {suite:04x}");
                    assert!(seen.insert(*suite), "{name}: {suite:04x} stands in two cases");
                }
            }
        }
        assert_eq!(seen.len(), 70);
    }

    #[test]
    fn tl07_a_choice_is_weak_where_it_was_offered_as_such() {
        let sound = ServerHello { version: version::TLS12, suite: 0xc02f, compression: 0, binds_renegotiation: true };
        let met = [
            ServerHello { version: version::SSL2, ..sound },
            ServerHello { version: version::SSL3, ..sound },
            ServerHello { version: version::TLS10, ..sound },
            ServerHello { version: version::TLS11, ..sound },
            ServerHello { suite: 0x009c, ..sound },
            ServerHello { suite: 0x002f, ..sound },
            ServerHello { suite: 0x000a, ..sound },
            ServerHello { suite: 0x0005, ..sound },
            ServerHello { suite: 0x0003, ..sound },
            ServerHello { suite: 0x0034, ..sound },
            ServerHello { suite: 0x003b, ..sound },
            ServerHello { compression: 1, ..sound },
        ];
        for ((name, weak), met) in WEAK.into_iter().zip(met) {
            assert!(weak.is_met_by(met), "{name}");
            assert!(!weak.is_met_by(sound), "{name}");
        }
    }
}
