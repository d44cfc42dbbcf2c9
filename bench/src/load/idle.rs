//! Connections that have spoken once and are silent: what memory each keeps.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::echo::{Asks, Exchange, content};
use super::target::Target;
use super::{Common, OPENING, next, patience, quiet};
use crate::fault::{During as _, Fault, Outcome};
use crate::proc::Process;

/// How long memory may take to settle, in readings of one second.
const READINGS: u32 = 15;

/// Connections that have spoken once and are silent.
#[derive(Clone, Debug, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    common: Common,
    /// How many connections.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=16_000))]
    connections: u32,
    /// Payload bytes of the one message.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    size: u32,
}

/// Opens all connections, echoes one message on each, and reads what they have taken.
pub(crate) async fn run(args: &IdleArgs) -> Outcome<Value> {
    let IdleArgs { common, connections, size } = args;
    let count = *connections as usize;
    let target = Arc::new(Target::new(common)?);
    let mut tokens = common.tokens(count)?.map(Vec::into_iter);
    let content = content(*size as usize)?;
    let process = common.process();
    let cpu_before = quiet(process).await?;
    let pss_before = process.pss_bytes()?;

    let turns = Arc::new(Semaphore::new(OPENING));
    let (spoken, mut heard) = mpsc::channel(count);
    let mut held = JoinSet::new();
    for number in 0..count {
        let exchange = Exchange::new(number as u64, 1, content.clone())?;
        let token = tokens.as_mut().and_then(Iterator::next);
        let (target, turns, spoken) = (target.clone(), turns.clone(), spoken.clone());
        held.spawn(async move {
            let turn = turns.acquire().await.during("waiting for a turn")?;
            let client = Client::open(&target, number, token.as_deref()).await?;
            drop(turn);
            hold(client, exchange, spoken).await
        });
    }
    let all = async {
        for _ in 0..count {
            heard.recv().await;
        }
    };
    tokio::select! {
        spoke = timeout(patience(count), all) => spoke.during("opening the connections")?,
        ended = next(&mut held) => return Err(ended.err().unwrap_or_else(|| Fault::new("a connection ended"))),
    }
    let cpu = quiet(process).await?.saturating_sub(cpu_before);
    let pss_after = tokio::select! {
        settled = settled(process) => settled?,
        ended = next(&mut held) => return Err(ended.err().unwrap_or_else(|| Fault::new("a connection ended"))),
    };
    let each = f64::from(*connections);
    Ok(json!({
        "mode": "idle", "connections": connections, "size": size, "pss_bytes_before": pss_before,
        "pss_bytes_after": pss_after, "pss_bytes_per_connection": (pss_after as f64 - pss_before as f64) / each,
        "cpu_us_per_connection": cpu.as_secs_f64() * 1e6 / each,
    }))
}

/// Exchanges one message, says so, and answers Pings until the run ends.
async fn hold(mut client: Client, mut exchange: Exchange, spoken: mpsc::Sender<()>) -> Outcome<()> {
    let mut asks = Asks::More;
    poll_fn(|cx| {
        loop {
            exchange.poll_send(cx, &mut client, asks)?;
            asks = Asks::Nothing;
            ready!(exchange.poll_receive(cx, &mut client, &mut |_| {
                // There is room for every connection's word.
                let _ = spoken.try_send(());
            }))?;
        }
    })
    .await
}

/// The proportional set size, once two readings one second apart agree within half a percent.
async fn settled(process: Process) -> Outcome<u64> {
    let mut last = process.pss_bytes()?;
    for _ in 0..READINGS {
        sleep(Duration::from_secs(1)).await;
        let reading = process.pss_bytes()?;
        if reading.abs_diff(last) * 200 <= reading {
            return Ok(reading);
        }
        last = reading;
    }
    Ok(last)
}
