use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_tungstenite::accept_async;

use super::*;

async fn listener() -> (TcpListener, ConnectOptions) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/chat", listener.local_addr().unwrap());
    (listener, ConnectOptions { url, ..ConnectOptions::default() })
}

/// A server that echoes until the client closes, or that closes with this code after the first message.
async fn echo(listener: TcpListener, close_after_first: Option<u16>) {
    let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            socket.send(message).await.unwrap();
            if let Some(code) = close_after_first {
                socket.close(Some(CloseFrame { code: code.into(), reason: "so \u{1b}[2J".into() })).await.unwrap();
            }
        }
    }
}

/// What a person sees who types this, and the exit code.
async fn typed(input: &[u8], close_after_first: Option<u16>) -> (String, Exit) {
    let (listener, options) = listener().await;
    let mut out = Vec::new();
    let talks = async { talk(connect(&options).await.unwrap(), input, &mut out).await.unwrap() };
    let (code, ()) = tokio::join!(talks, echo(listener, close_after_first));
    (String::from_utf8(out).unwrap(), code)
}

#[tokio::test]
async fn lines_are_sent_and_answers_shown() {
    let cases: [(&[u8], &str); 5] = [
        (b"hello\nthere\n", "< hello\n< there\nclosed: 1000 \n"),
        (b"no line end", "< no line end\nclosed: 1000 \n"),
        (b"\n", "< \nclosed: 1000 \n"),
        (b"", "closed: 1000 \n"),
        (b"\xff\nx\x1b[31m\n", "that line is not UTF-8: it was not sent\n< x\\u{1b}[31m\nclosed: 1000 \n"),
    ];
    for (input, seen) in cases {
        assert_eq!(typed(input, None).await, (seen.to_owned(), Exit::Well), "{input:?}");
    }
    assert_eq!(cases.len(), 5);
}

#[tokio::test]
async fn an_abnormal_close_is_told_by_the_exit_code() {
    for (close, exit) in [(1000, Exit::Well), (1008, Exit::Findings), (4401, Exit::Findings)] {
        let (listener, options) = listener().await;
        let mut out = Vec::new();
        let (near, far) = tokio::io::duplex(64);
        let talks = async {
            let (mut typing, input) = (far, tokio::io::BufReader::new(near));
            tokio::io::AsyncWriteExt::write_all(&mut typing, b"x\n").await.unwrap();
            let code = talk(connect(&options).await.unwrap(), input, &mut out).await.unwrap();
            drop(typing);
            code
        };
        let (code, ()) = tokio::join!(talks, echo(listener, Some(close)));
        assert_eq!(code, exit);
        assert_eq!(String::from_utf8(out).unwrap(), format!("< x\nclosed: {close} so \\u{{1b}}[2J\n"));
    }
}

/// What the client sends before it is refused with these words, and the error.
async fn refused(options: &mut ConnectOptions, answer: &str) -> (String, ConnectError) {
    let (listener, ConnectOptions { url, .. }) = listener().await;
    options.url = url;
    let refuses = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let count = tokio::io::AsyncReadExt::read(&mut tcp, &mut head).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut tcp, answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&head[..count]).into_owned()
    };
    let (result, head) = tokio::join!(connect(options), refuses);
    (head, result.map(drop).unwrap_err())
}

#[tokio::test]
async fn a_refusal_is_shown_with_its_status_and_words() {
    let mut options = ConnectOptions {
        origin: Some("https://app.example.com".into()),
        token: Some(Secret::new("t0ken".into())),
        headers: vec![("Sec-WebSocket-Version".into(), "12".into()), ("X-Name".into(), "value".into())],
        subprotocols: vec!["chat.v2".into(), "chat.v1".into()],
        ..ConnectOptions::default()
    };
    let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 20\r\n\r\nforbidden id=\u{1b}[2J12\n";
    let (head, error) = refused(&mut options, answer).await;
    let expected = ["Authorization: Bearer t0ken", "Origin: https://app.example.com", "Sec-WebSocket-Version: 12"];
    for field in expected.into_iter().chain(["X-Name: value", "Sec-WebSocket-Protocol: chat.v2, chat.v1"]) {
        assert!(head.to_lowercase().contains(&format!("\r\n{}\r\n", field.to_lowercase())), "{field}: {head}");
    }
    assert_eq!(error.to_string(), "refused: 403 Forbidden\nforbidden id=\\u{1b}[2J12");
    assert_eq!(error.exit(), Exit::Findings);
    assert!(!format!("{options:?}").contains("t0ken"));

    let (_, error) = refused(&mut options, "HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
    assert!(matches!(error, ConnectError::Handshake(_)), "{error}");
}

#[test]
fn the_id_of_a_refusal_is_its_second_word() {
    let id = "0123456789abcdef0123456789abcdef";
    let cases = [
        (format!("forbidden {id}\n"), Some(id)),
        (format!("forbidden {id}; more\n"), None),
        (format!("<p>forbidden {id}</p>"), None),
        (id.to_owned(), None),
        ("forbidden 0123".into(), None),
        (String::new(), None),
    ];
    for (body, expected) in &cases {
        let refused = Refused { status: StatusCode::FORBIDDEN, headers: HeaderMap::new(), body: body.clone() };
        assert_eq!(refused.id(), *expected, "{body:?}");
    }
    assert_eq!(cases.len(), 6);
}

#[test]
fn urls_are_ws_or_wss() {
    let read = |url: &str| Target::read(url).ok().map(|target| (target.tls, target.host, target.port));
    let cases = [
        ("wss://localhost:8443/echo?x=1", Some((true, "localhost", 8443))),
        ("ws://[::1]:80/", Some((false, "::1", 80))),
        ("wss://chat.example.com/chat", Some((true, "chat.example.com", 443))),
        ("ws://127.0.0.1", Some((false, "127.0.0.1", 80))),
        ("https://localhost/", None),
        ("localhost:8443", None),
        ("wss:///chat", None),
        ("wss://user:pass@localhost/", None),
        ("wss://localhost:/", None),
        ("", None),
    ];
    for (url, target) in cases {
        assert_eq!(read(url), target.map(|(tls, host, port)| (tls, host.to_owned(), port)), "{url}");
    }
    assert_eq!(cases.len(), 10);
}

#[tokio::test]
async fn what_cannot_be_asked_could_not_run() {
    let (listener, mut options) = listener().await;
    drop(listener);
    assert_eq!(connect(&options).await.unwrap_err().exit(), Exit::CouldNotRun, "nobody listens");
    options.headers = vec![("X-A".into(), "a\r\nb".into())];
    assert!(matches!(connect(&options).await, Err(ConnectError::Header(name)) if name == "X-A"));
    options.headers = vec![("a b".into(), "c".into())];
    assert!(matches!(connect(&options).await, Err(ConnectError::Header(_))));
    options.url = "http://localhost".into();
    assert!(matches!(connect(&options).await, Err(ConnectError::Url(_))));
}

#[test]
fn files_and_headers_of_the_arguments_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "abc\n").unwrap();
    let args = |token_file: &Path, header: &str| ConnectArgs {
        url: "ws://localhost/".into(),
        origin: None,
        token_file: Some(token_file.to_owned()),
        ca: None,
        headers: vec![header.to_owned()],
        subprotocols: Vec::new(),
    };
    let options = ConnectOptions::try_from(args(&token, "X-A: b:c")).unwrap();
    assert_eq!(options.token.unwrap().expose(), "abc");
    assert_eq!(options.headers, [("X-A".to_owned(), "b:c".to_owned())]);
    assert!(matches!(ConnectOptions::try_from(args(&token, "X-A")), Err(ConnectError::Header(_))));
    let absent = folder.path().join("absent");
    let error = ConnectOptions::try_from(args(&absent, "a:b")).unwrap_err().to_string();
    assert!(error.starts_with(&absent.display().to_string()), "{error}");
    std::fs::write(&token, "x".repeat(20_000)).unwrap();
    assert!(matches!(ConnectOptions::try_from(args(&token, "a:b")), Err(ConnectError::File(..))));
}

#[tokio::test]
async fn made_certificates_carry_a_session_over_tls() {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};

    use crate::cli::certs::{self, Existing};
    use crate::config::{Certificate, CertificateSource, SecretSource, TlsConfig, UnknownName};
    use crate::net::tls::ServerTls;
    use crate::units::UnixSeconds;

    let folder = tempfile::tempdir().unwrap();
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    certs::ensure(folder.path(), &["chat.test".into()], Existing::Keep, UnixSeconds(now)).unwrap();
    let chain = CertificateDer::pem_file_iter(folder.path().join("server.pem")).unwrap().map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_file(folder.path().join("server.key")).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = rustls::sign::CertifiedKey::from_der(chain.collect(), key, &provider).unwrap().into();
    let loaded =
        Certificate { certified, names: vec!["localhost".into()], not_after: 0, not_before: 0, authority: false }
            .into();
    let (chain, key) = ("server.pem".into(), SecretSource::File("server.key".into()));
    let source = CertificateSource { chain, key, loaded };
    let config = TlsConfig { certificates: vec![source], tls13_only: false, unknown_name: UnknownName::Refuse };
    let tls = ServerTls::new(&config).unwrap();

    let (listener, mut options) = listener().await;
    let authorities = std::fs::read(folder.path().join("ca.pem")).unwrap();
    for (host, pem) in [("localhost", Some(&authorities)), ("127.0.0.1", Some(&authorities)), ("localhost", None)] {
        options.url = format!("wss://{host}:{}/", listener.local_addr().unwrap().port());
        options.authorities_pem = pem.cloned();
        let serves = async {
            let stream = tls.accept(listener.accept().await.unwrap().0, &Semaphore::const_new(1)).await;
            assert_eq!(stream.is_ok(), pem.is_some());
            if let Ok(stream) = stream {
                let mut socket = accept_async(stream).await.unwrap();
                assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "hello");
                while socket.next().await.is_some() {}
            }
        };
        let talks = async {
            let mut out = Vec::new();
            let exit = match connect(&options).await {
                Ok(socket) => talk(socket, &b"hello\n"[..], &mut out).await.unwrap(),
                Err(error) => error.exit(),
            };
            assert_eq!(exit == Exit::Well, pem.is_some());
        };
        tokio::join!(serves, talks);
    }
}
