//! The suite of TLS against a strict house, and against a front that speaks what nobody should.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use support::endpoint::GENEROUS;
use support::{Cases, Plan, cases, examined};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wsgate::audit::{Outcome, Suite};

#[tokio::test(flavor = "multi_thread")]
async fn the_strict_house_holds() {
    let mut examined = examined(Plan::plain().policy(GENEROUS)).await;
    let findings = examined.holds(Suite::Tls).await;
    let mut cases = Cases::of("the suite of TLS");
    for finding in &findings {
        assert_eq!(finding.outcome(), Outcome::Held, "{finding:?}");
        cases.held(finding.id, finding.name);
    }
    cases.all(30);
    assert_eq!(findings.iter().map(|finding| (finding.id, finding.name)).collect::<BTreeSet<_>>().len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_there_is_nothing_to_try_but_that() {
    let mut examined = examined(Plan::plain().policy(GENEROUS).without_tls()).await;
    examined.exam.target.tls = None;
    let findings = examined.run(Suite::Tls).await;
    assert!(findings.iter().all(|finding| finding.outcome() == Outcome::NotApplicable), "{findings:#?}");
    examined.exam.target.address = SocketAddr::from(([192, 0, 2, 1], 80));
    let judged: Vec<_> = wsgate::audit::cases(Suite::Tls, &mut examined.exam);
    let tried =
        judged.iter().filter(|case| matches!(case.probe, wsgate::audit::Probe::Tls(wsgate::audit::tls::Probe::Absent)));
    assert_eq!(tried.map(|case| (case.id, case.name)).collect::<Vec<_>>(), [("HS21", "TLS at all")]);
    cases::held("HS21", "a socket without TLS that is not this machine's own falls");
}

/// Answers every hello that offers no TLS 1.3 as it is asked, hangs up on one in short records, swallows what has no end,
/// sends plain HTTP elsewhere, and gives the rest to the house.
async fn liar(house: SocketAddr) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut served = JoinSet::new();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            served.spawn(async move { lie(client, house).await.unwrap_or_default() });
        }
    });
    (address, tasks)
}

async fn lie(mut client: TcpStream, house: SocketAddr) -> std::io::Result<()> {
    let mut first = vec![0; 4096];
    let count = client.read(&mut first).await?;
    first.truncate(count);
    match first.as_slice() {
        [b'G', b'E', b'T', ..] => client.write_all(b"HTTP/1.1 301 Moved\r\nLocation: https://chat.test/\r\n\r\n").await,
        [0x80, ..] => client.write_all(&[0x80, 11, 4, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0]).await,
        [22, 3, 1, 0, 0, ..] => swallow(client).await,
        [22, 3, 1, _, _, 1, 0xff, 0xff, 0xff, ..] => swallow(client).await,
        [22, _, _, 0, 0..64, 1, ..] => Ok(()),
        [22, _, _, _, _, 1, _, _, _, high, low, rest @ ..] if !first.windows(7).any(|seven| seven == VERSIONS) => {
            let Some([suite_high, suite_low]) = rest.get(35..37) else { return Ok(()) };
            let compression = rest.windows(3).any(|three| three == [2, 1, 0]).into();
            let body = [&[*high, *low], [7; 32].as_slice(), &[0, *suite_high, *suite_low, compression]].concat();
            let length = u8::try_from(body.len()).unwrap();
            client.write_all(&[&[22, 3, *low, 0, length + 4, 2, 0, 0, length], body.as_slice()].concat()).await
        }
        [0, ..] => {
            client.write_all(&[&[22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3], [7; 32].as_slice(), &[0; 4]].concat()).await
        }
        _ => {
            let mut house = TcpStream::connect(house).await?;
            house.write_all(&first).await?;
            copy_bidirectional(&mut client, &mut house).await.map(drop)
        }
    }
}

/// `supported_versions` of the suite's own sound hello, and of rustls': the versions 1.3 and 1.2.
const VERSIONS: [u8; 7] = [0, 43, 0, 5, 4, 3, 4];

async fn swallow(mut client: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    while client.read(&mut buffer).await? > 0 {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_speaks_what_nobody_should_falls() {
    let mut examined = examined(Plan::plain().policy(GENEROUS)).await;
    let (address, _tasks) = liar(examined.house.address()).await;
    examined.exam.target.address = address;
    examined.exam.patience.close = Duration::from_secs(1);
    let fell = examined.fallen(Suite::Tls).await;
    let expected = [
        ("HS21", "plain HTTP on the port of TLS"),
        ("TL07", "SSL 2.0"),
        ("TL07", "SSL 3.0"),
        ("TL07", "TLS 1.0"),
        ("TL07", "TLS 1.1"),
        ("TL07", "RSA key exchange"),
        ("TL07", "CBC suites"),
        ("TL07", "3DES suites"),
        ("TL07", "RC4 suites"),
        ("TL07", "export suites"),
        ("TL07", "anonymous suites"),
        ("TL07", "suites without encryption"),
        ("TL07", "compression"),
        ("TL03", "a hello in pieces"),
        ("TL04", "what is no handshake"),
        ("TL04", "empty records without end"),
        ("TL04", "a handshake message without end"),
        ("TL06", "renegotiation bound to its connection"),
    ];
    assert_eq!(fell, expected);
    cases::held("TL07", "a front that takes old versions and weak suites falls");
}
