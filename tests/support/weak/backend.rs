//! The way to the backend: what it is told, and what of its answer is looked at.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wsgate::peer::ConnectionId;
use wsgate::policy::admission::Admission;
use wsgate::policy::forward::{ForwardFacts, UpstreamRequest, build_request};
use wsgate::policy::{Reason, Refusal};
use wsgate::ws::head::{HeadScanner, Headers, ResponseHead, parse_response};
use wsgate::ws::opening::{Accepted, WebSocketKey, accept_for, judge_response};

use super::head::{Head, decoded, name_of};
use super::{BACKEND_DEADLINE, Backend, Client, Fault, Gate, Refused};

/// Names that a gateway writes itself, and that a client may try to write before it.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-", "x-real-ip", "x-client-ip", "true-client-ip"];
const IDENTITY: [&str; 6] = ["x-user", "x-auth", "x-remote-user", "remote-user", "x-ssl-", "x-org"];

/// What stands for the answer of a backend whose end is not seen.
const UNSEEN_END: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nX-Unseen: 1\r\n\r\n";

/// Opens a session with the backend, while the client must be silent.
pub(super) async fn dial(
    gate: &Gate,
    client: &mut Client,
    asked: &Head,
    admission: &Admission,
    early: Vec<u8>,
) -> Result<(Backend, Accepted), Refused> {
    let refused = Refused::of(asked);
    let key = WebSocketKey::generate(random());
    let facts = ForwardFacts {
        client: client.transport.client,
        proto: "https",
        request_id: ConnectionId::from_bytes(random()),
        key: &key,
    };
    let request = build_request(admission, &admission.policy.upstream.servers[0], facts).map_err(&refused)?;
    let bytes = [written(gate, asked, &request), early].concat();
    let answered = timeout(BACKEND_DEADLINE, exchange(gate, client, &bytes)).await;
    let answered = answered.unwrap_or_else(|_| Err(Reason::BackendHandshakeTimeout.into()));
    let (backend, mut answer) = answered.map_err(&refused)?;
    if gate.has(Fault::AnswerVersionUnchecked) && answer.starts_with(b"HTTP/1.0 ") {
        answer[7] = b'1';
    }
    let said =
        parse_response(&answer, &gate.admission.limits).map_err(|_| refused(Reason::BackendHandshakeInvalid.into()))?;
    let refuses = said.status != 101;
    let keeps = said.headers.all("connection").any(|option| option == "keep-alive");
    let judged = judge(gate, &mended(gate, said, &key), &key, &request);
    if judged.is_err() && keeps && gate.has(Fault::BackendPooled) {
        *gate.pool.lock().unwrap() = Some(backend.stream);
        return Err(refused(Reason::BackendRefused.into()));
    }
    judged.map(|accepted| (backend, accepted)).map_err(|refusal| {
        let passed = if refuses && gate.has(Fault::BackendRefusalPassed) { answer } else { Vec::new() };
        Refused { passed, ..refused(refusal) }
    })
}

/// Forwards a handshake as it came, whatever the backend says of it, and then everything.
pub(super) async fn tunnel(gate: &Gate, mut client: Client, asked: &Head) {
    let Ok(mut stream) = TcpStream::connect(gate.backend).await else { return };
    let _ = stream.write_all(&[asked.bytes(), client.kept].concat()).await;
    let _ = timeout(BACKEND_DEADLINE, tokio::io::copy_bidirectional(&mut client.stream, &mut stream)).await;
}

/// The request, and what the fault lets the client add to it.
fn written(gate: &Gate, asked: &Head, request: &UpstreamRequest) -> Vec<u8> {
    let mut head = Head::of(&request.bytes);
    let asked_for: Vec<String> = head.lines.iter().map(|line| name_of(line)).collect();
    let begins = |names: &[&str], name: &str| names.iter().any(|one| name.starts_with(one));
    let passes = |line: &&String| match gate.fault {
        Some(Fault::ForwardedForPassed) => begins(&FORWARDED, &name_of(line)),
        Some(Fault::IdentityPassed) => begins(&IDENTITY, &name_of(line)),
        Some(Fault::UnderscoresPassed) => name_of(line).contains('_'),
        Some(Fault::RequestIdPassed) => name_of(line) == "x-request-id",
        Some(Fault::EveryFieldPassed) => {
            !asked_for.contains(&name_of(line)) && name_of(line) != "sec-websocket-protocol"
        }
        Some(Fault::CookiesPassed) => name_of(line) == "cookie",
        Some(Fault::HeaderTokenForwarded) => name_of(line) == "authorization",
        _ => false,
    };
    head.lines.extend(asked.lines.iter().filter(passes).cloned());
    if gate.has(Fault::QueryTokenForwarded) {
        head.set_word(1, asked.target());
    }
    if gate.has(Fault::TargetForwardedDecoded) {
        head.start = format!("GET {} HTTP/1.1", decoded(head.target()));
    }
    head.bytes()
}

/// Writes a request and reads the head of its answer, while the client must be silent.
async fn exchange(gate: &Gate, client: &mut Client, request: &[u8]) -> Result<(Backend, Vec<u8>), Refusal> {
    let pooled = gate.pool.lock().unwrap().take();
    let mut stream = match pooled {
        Some(stream) => stream,
        None => TcpStream::connect(gate.backend).await.map_err(|_| Reason::BackendUnreachable)?,
    };
    stream.write_all(request).await.map_err(|_| Reason::BackendClosed)?;
    let mut scanner = HeadScanner::new(gate.admission.limits);
    let mut answer = Vec::new();
    let mut is_gone = false;
    loop {
        if let Some(end) = scanner.scan(&answer).map_err(|_| Reason::BackendHandshakeInvalid)? {
            let glued = answer.split_off(end);
            return Ok((Backend { stream, glued }, answer));
        }
        tokio::select! {
            read = stream.read_buf(&mut answer) => if !matches!(read, Ok(1..)) {
                if gate.has(Fault::BackendEndUnseen) {
                    return Ok((Backend { stream, glued: Vec::new() }, UNSEEN_END.to_vec()));
                }
                return Err(Reason::BackendClosed.into());
            },
            read = client.stream.read_buf(&mut client.kept), if !is_gone => match read {
                Ok(0) if gate.has(Fault::ClientEndIgnored) => is_gone = true,
                Ok(1..) if gate.has(Fault::EarlyBytesForwarded) => {
                    let early = std::mem::take(&mut client.kept);
                    stream.write_all(&early).await.map_err(|_| Reason::BackendClosed)?;
                }
                Ok(1..) => return Err(Reason::EarlyBytes.into()),
                _ => return Err(Reason::HeadIncomplete.into()),
            },
        }
    }
}

/// The answer with what the fault does not look at put right.
fn mended(gate: &Gate, mut head: ResponseHead, key: &WebSocketKey) -> ResponseHead {
    let right = [
        ("upgrade", String::from("websocket")),
        ("connection", String::from("Upgrade")),
        ("sec-websocket-accept", accept_for(key)),
    ];
    let unseen: &[(&str, String)] = match gate.fault {
        Some(Fault::SwitchUnverified) if head.status == 101 => &right,
        Some(Fault::BackendEndUnseen) if head.headers.all("x-unseen").next().is_some() => &right,
        Some(Fault::AcceptUnverified) if head.status == 101 => &right[2..],
        Some(Fault::StatusUnverified) => {
            head.status = 101;
            &right
        }
        _ => return head,
    };
    let mut fields = Headers::default();
    for field in head.headers.iter().filter(|field| unseen.iter().all(|(name, _)| *name != field.name)) {
        fields.push(field.name.clone(), field.value.clone());
    }
    unseen.iter().for_each(|(name, value)| fields.push(String::from(*name), value.clone()));
    ResponseHead { status: head.status, headers: fields }
}

fn judge(gate: &Gate, head: &ResponseHead, key: &WebSocketKey, request: &UpstreamRequest) -> Result<Accepted, Refusal> {
    let chosen = |name: &str| head.headers.all(name).next().map(String::from);
    if gate.has(Fault::ChoiceUnverified) && head.status == 101 {
        let (subprotocol, extensions) = (chosen("sec-websocket-protocol"), chosen("sec-websocket-extensions"));
        return Ok(Accepted { subprotocol, extensions });
    }
    Ok(judge_response(head, key, &request.offered_subprotocols, &request.offered_extensions)?)
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}
