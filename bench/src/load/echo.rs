//! Messages in flight on many connections: CPU per message, throughput, latency.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::{BATCH_BYTES, Client, Received};
use super::{Common, GRACE, next, open_all};
use crate::fault::{During as _, Fault, Outcome};
use crate::frame::{self, BINARY, CLOSE, CONTINUATION, Ends, Frames, Header, LONGEST_CONTROL, PING, PONG, Piece};
use crate::latency::{Latencies, now};

/// The most bytes that all connections' messages may take together.
const MOST_BYTES: u64 = 4 << 30;

/// Messages, which come back.
#[derive(Clone, Debug, Args)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    common: Common,
    /// How many connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16_000))]
    connections: u32,
    /// How many messages of a connection are under way at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    in_flight: u64,
    /// Payload bytes of a message.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    size: u32,
}

/// Echoes on all connections, and measures a window of it.
pub(crate) async fn run(args: &EchoArgs) -> Outcome<Value> {
    let EchoArgs { common, connections, in_flight, size } = args;
    if u64::from(*connections) * u64::from(*size) > MOST_BYTES {
        return Err(Fault::new(format!("--connections times --size is more than {MOST_BYTES} bytes")));
    }
    let clients = open_all(common, *connections as usize).await?;
    let agreed = clients.first().and_then(Client::agreed).unzip();
    let content = content(*size as usize)?;
    let tally = Arc::new(Tally::default());
    let mut exchanges = JoinSet::new();
    for (number, client) in (0..).zip(clients) {
        let exchange = Exchange::new(number, *in_flight, content.clone())?;
        exchanges.spawn(echo(client, exchange, tally.clone()));
    }

    pass(&mut exchanges, common.warmup()).await?;
    let process = common.process();
    tally.begin();
    let (cpu_before, begun) = (process.cpu()?, now());
    pass(&mut exchanges, common.window()).await?;
    let (cpu, seconds) = (process.cpu()?.saturating_sub(cpu_before), begun.elapsed().as_secs_f64());
    let window = tally.end();
    timeout(GRACE, async {
        while next(&mut exchanges).await?.is_some() {}
        Ok(())
    })
    .await
    .during("waiting for the last messages")??;

    let messages = window.count();
    if messages == 0 {
        return Err(Fault::new("no message came back in the window"));
    }
    Ok(json!({
        "mode": "echo", "size": size, "in_flight": in_flight, "connections": connections, "messages": messages,
        "seconds": seconds, "cpu_us_per_message": cpu.as_secs_f64() * 1e6 / messages as f64,
        "messages_per_second": messages as f64 / seconds, "p50_us": window.percentile_us(50),
        "p99_us": window.percentile_us(99), "kx_group": agreed.0, "tls_version": agreed.1,
    }))
}

/// What messages carry behind their sequence number, the same in all.
pub(crate) fn content(size: usize) -> Outcome<Arc<[u8]>> {
    let mut content = vec![0; size];
    aws_lc_rs::rand::fill(&mut content).during("drawing the content")?;
    Ok(content.into())
}

/// Lets time pass; an exchange that ends meanwhile ends the run.
async fn pass(exchanges: &mut JoinSet<Outcome<()>>, time: Duration) -> Outcome<()> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        ended = next(exchanges) => ended.and(Err(Fault::new("a connection ended within the run"))),
    }
}

/// What came back on all connections.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    window: Mutex<Option<Latencies>>,
    stops: AtomicBool,
}

impl Tally {
    /// Counts from here on.
    fn begin(&self) {
        *self.window() = Some(Latencies::default());
    }

    /// Stops counting, and sending.
    fn end(&self) -> Latencies {
        self.stops.store(true, Ordering::Relaxed);
        self.window().take().unwrap_or_default()
    }

    fn window(&self) -> MutexGuard<'_, Option<Latencies>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Exchanges messages until the tally stops and the last has come back.
async fn echo(mut client: Client, mut exchange: Exchange, tally: Arc<Tally>) -> Outcome<()> {
    poll_fn(|cx| {
        loop {
            let asks = if tally.stops.load(Ordering::Relaxed) { Asks::Nothing } else { Asks::More };
            exchange.poll_send(cx, &mut client, asks)?;
            if matches!(asks, Asks::Nothing) && exchange.is_settled() {
                return Poll::Ready(Ok(()));
            }
            ready!(exchange.poll_receive(cx, &mut client, &mut |latency| {
                if let Some(window) = tally.window().as_mut() {
                    window.add(latency);
                }
            }))?;
        }
    })
    .await
}

/// Whether messages are begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    More,
    Nothing,
}

/// One connection's messages, on their way there and back.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Stands in the upper bits of the sequence number: no connection's messages are another's.
    number: u64,
    in_flight: u64,
    content: Arc<[u8]>,
    key: [u8; 4],
    /// The frame as it goes out. Only the sequence number changes.
    frame: Vec<u8>,
    /// Where its payload begins.
    payload_at: usize,
    begun: u64,
    /// How much of the frame has been handed to the connection; 0 between frames.
    handed: usize,
    /// Pongs that are to go out between frames.
    pongs: Vec<u8>,
    /// When the messages under way were begun.
    times: VecDeque<Instant>,
    frames: Frames,
    returned: u64,
    /// How much of the next message has come back.
    matched: usize,
    /// The payload of a Ping that has not come whole.
    ping: Vec<u8>,
    /// The payload of a Close.
    close: Option<Vec<u8>>,
    /// Something came back that was not sent.
    is_wrong: bool,
}

impl Exchange {
    pub(crate) fn new(number: u64, in_flight: u64, content: Arc<[u8]>) -> Outcome<Self> {
        let mut key = [0; 4];
        aws_lc_rs::rand::fill(&mut key).during("drawing a masking key")?;
        let frame = frame::masked(BINARY, key, &content);
        let payload_at = frame.len() - content.len();
        Ok(Self {
            number,
            in_flight,
            content,
            key,
            frame,
            payload_at,
            begun: 0,
            handed: 0,
            pongs: Vec::new(),
            times: VecDeque::new(),
            frames: Frames::default(),
            returned: 0,
            matched: 0,
            ping: Vec::new(),
            close: None,
            is_wrong: false,
        })
    }

    /// Whether every message that was begun has come back.
    pub(crate) fn is_settled(&self) -> bool {
        self.begun == self.returned && self.handed == 0
    }

    /// How many messages have come back whole.
    pub(crate) fn returned(&self) -> u64 {
        self.returned
    }

    /// Whether something came back that was not sent.
    pub(crate) fn is_wrong(&self) -> bool {
        self.is_wrong
    }

    /// The code of the Close that came (RFC 6455 section 7.4), 1005 where it has none; nothing where none came.
    pub(crate) fn close_code(&self) -> Option<u16> {
        let code = |body: &Vec<u8>| body.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
        self.close.as_ref().map(code)
    }

    /// Sends what may be sent until the kernel takes no more.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, client: &mut Client, asks: Asks) -> Outcome<()> {
        loop {
            match client.poll_send(cx, |out| self.fill(out, asks)) {
                Poll::Ready(Ok(0)) | Poll::Pending => return Ok(()),
                Poll::Ready(sent) => sent?,
            };
        }
    }

    /// Reads once, and hands the latencies of what has come back whole to `latency`.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        latency: &mut impl FnMut(Duration),
    ) -> Poll<Outcome<()>> {
        let verify = |bytes: &[u8]| self.verify(bytes, latency).inspect_err(|_| self.is_wrong = true);
        match ready!(client.poll_receive(cx, verify))? {
            Received::Bytes => Poll::Ready(Ok(())),
            Received::End => Poll::Ready(Err(Fault::new("a connection ended before its messages came back"))),
        }
    }

    /// Writes what may be sent to `out`.
    fn fill(&mut self, out: &mut Vec<u8>, asks: Asks) {
        let mut time = None;
        while out.len() < BATCH_BYTES {
            if self.handed == 0 {
                out.append(&mut self.pongs);
                if asks == Asks::Nothing || self.begun - self.returned >= self.in_flight {
                    return;
                }
                self.begin(*time.get_or_insert_with(now));
            }
            let rest = self.frame.get(self.handed..).unwrap_or_default();
            let piece = rest.get(..BATCH_BYTES.saturating_sub(out.len())).unwrap_or(rest);
            out.extend_from_slice(piece);
            self.handed += piece.len();
            if self.handed == self.frame.len() {
                self.handed = 0;
            }
        }
    }

    /// Puts the next sequence number into the frame.
    fn begin(&mut self, time: Instant) {
        let payload = self.frame.get_mut(self.payload_at..).unwrap_or_default();
        for ((place, byte), key) in
            payload.iter_mut().zip(sequence(self.number, self.begun)).zip(self.key.into_iter().cycle())
        {
            *place = byte ^ key;
        }
        self.begun += 1;
        self.times.push_back(time);
    }

    /// Compares what has come back with what was sent.
    fn verify(&mut self, mut bytes: &[u8], latency: &mut impl FnMut(Duration)) -> Outcome<()> {
        let mut time = None;
        while let Some(piece) = self.frames.next(&mut bytes) {
            match piece.header {
                Header { mask: Some(_), .. } => return Err(Fault::new("a masked frame from a server")),
                Header { opcode: BINARY | CONTINUATION, .. } => self.compare(piece)?,
                Header { opcode: PING, length: ..=LONGEST_CONTROL, .. } => {
                    self.answer(piece);
                    continue;
                }
                Header { opcode: CLOSE, length: ..=LONGEST_CONTROL, .. } => {
                    self.close.get_or_insert_default().extend_from_slice(piece.payload);
                    continue;
                }
                Header { opcode: PONG, .. } => continue,
                Header { opcode, .. } => return Err(Fault::new(format!("a frame of opcode {opcode:#x}"))),
            }
            if piece.ends == Ends::Message {
                let begun = self.times.pop_front().ok_or_else(|| Fault::new("a message that was not sent"))?;
                latency(time.get_or_insert_with(now).duration_since(begun));
                (self.matched, self.returned) = (0, self.returned + 1);
            }
        }
        Ok(())
    }

    /// Compares a piece of a message.
    fn compare(&mut self, piece: Piece<'_>) -> Outcome<()> {
        let differs =
            || Fault::new(format!("message {} of connection {} came back otherwise", self.returned, self.number));
        let end = self.matched + piece.payload.len();
        let expected = self.content.get(self.matched..end).ok_or_else(differs)?;
        let numbered = sequence(self.number, self.returned);
        let numbered = numbered.get(self.matched..).unwrap_or_default();
        let (front, back) = piece.payload.split_at(numbered.len().min(piece.payload.len()));
        let is_whole = piece.ends != Ends::Message || end == self.content.len();
        if numbered.starts_with(front) && expected.ends_with(back) && is_whole && self.begun > self.returned {
            self.matched = end;
            return Ok(());
        }
        Err(differs())
    }

    /// Answers a Ping once it has come whole.
    fn answer(&mut self, piece: Piece<'_>) {
        self.ping.extend_from_slice(piece.payload);
        if piece.ends != Ends::Nothing {
            self.pongs.extend(frame::masked(PONG, self.key, &self.ping));
            self.ping.clear();
        }
    }
}

/// The first bytes of a message.
fn sequence(connection: u64, message: u64) -> [u8; 8] {
    ((connection << 40) | message).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stream that an honest server sends back: the same frames without their masks.
    fn echoed(mut sent: &[u8]) -> Vec<u8> {
        let (mut out, mut frames, mut passed) = (Vec::new(), Frames::default(), 0);
        while let Some(Piece { header, payload, ends }) = frames.next(&mut sent) {
            if passed == 0 {
                Header { mask: None, ..header }.write(&mut out);
            }
            let start = out.len();
            out.extend_from_slice(payload);
            frame::mask(&mut out[start..], header.mask.unwrap(), passed);
            passed = if ends == Ends::Nothing { passed + payload.len() as u64 } else { 0 };
        }
        out
    }

    /// Messages of `size` bytes, `in_flight` at once: the exchange that sent them, and what is to come back.
    fn begun(size: usize, in_flight: u64) -> (Exchange, Vec<u8>) {
        let mut exchange = Exchange::new(3, in_flight, content(size).unwrap()).unwrap();
        let (mut sent, mut batch) = (Vec::new(), Vec::new());
        loop {
            exchange.fill(&mut batch, Asks::More);
            if batch.is_empty() {
                return (exchange, echoed(&sent));
            }
            assert!(batch.len() <= BATCH_BYTES);
            sent.append(&mut batch);
        }
    }

    #[test]
    fn messages_come_back_in_whatever_pieces() {
        for (size, in_flight) in [(1, 1), (5, 3), (8, 2), (128, 8), (4096, 1), (70_000, 5), (300_000, 2)] {
            for piece in [1, 7, 1000, 65_536] {
                let (mut exchange, back) = begun(size, in_flight);
                let mut count = 0;
                for bytes in back.chunks(piece) {
                    exchange.verify(bytes, &mut |_| count += 1).unwrap();
                }
                assert_eq!((count, exchange.returned), (in_flight, in_flight), "{size} bytes in pieces of {piece}");
                assert!(exchange.is_settled());
            }
        }
    }

    #[test]
    fn no_byte_may_differ_and_no_message_may_come_twice() {
        let (_, back) = begun(130, 2);
        for at in 0..back.len() {
            let (mut exchange, mut back) = begun(130, 2);
            back[at] ^= 0x40;
            let verified = exchange.verify(&back, &mut |_| ());
            assert!(verified.is_err() || exchange.returned < 2, "byte {at}");
        }
        assert_eq!(back.len(), 2 * (4 + 130));
        let (mut exchange, back) = begun(130, 2);
        exchange.verify(&back, &mut |_| ()).unwrap();
        assert!(exchange.verify(&back[..134], &mut |_| ()).is_err());
    }

    #[test]
    fn a_ping_is_answered_between_frames() {
        let (mut exchange, mut back) = begun(128, 1);
        let mut ping = Vec::new();
        Header { fin: true, opcode: PING, mask: None, length: 2 }.write(&mut ping);
        ping.extend_from_slice(b"hi");
        back.splice(0..0, ping);
        exchange.verify(&back, &mut |_| ()).unwrap();
        let mut out = Vec::new();
        exchange.fill(&mut out, Asks::Nothing);
        assert_eq!(out, frame::masked(PONG, exchange.key, b"hi"));
    }
}
