//! Whether a server is well, asked again and again. What the gateway itself lacks for a check says nothing of the server.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use super::connector::{Connector, Failed};
use super::target::Target;
use super::{Changed, Watched};
use crate::policy::balance::condition::{Change, Met};
use crate::policy::balance::{Check, HealthRules, Orphans};
use crate::policy::forward::{HostHeader, build_check};
use crate::session::{Random, ShortFrame};
use crate::ws::frame::Opcode;
use crate::ws::opening::WebSocketKey;

/// What a check says when it leaves.
const NORMAL: u16 = 1000;

/// What a server is asked, and how it is reached.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) target: Arc<Target>,
    pub(super) connector: Connector,
    pub(super) check: Check,
    pub(super) host: HostHeader,
    pub(super) random: Random,
}

/// Asks a server in the pace of its rules. That it cannot be asked is told once, until it can.
pub(super) async fn check_regularly<A>(watched: Watched, rules: HealthRules, ask: impl Fn() -> A + Send)
where
    A: Future<Output = Result<(), Failed>> + Send,
{
    let mut is_blind = false;
    loop {
        match timeout(rules.timeout, ask()).await {
            Ok(Err(Failed { refusal, met: Met::Nothing })) => {
                if !std::mem::replace(&mut is_blind, true) {
                    let why = refusal.detail.unwrap_or_else(|| refusal.reason.explanation().to_owned());
                    watched.tell(Changed::Unchecked(why));
                }
            }
            asked => {
                is_blind = false;
                note(&watched, &rules, matches!(asked, Ok(Ok(()))));
            }
        }
        sleep(watched.shortened(rules.interval)).await;
    }
}

/// Takes note of a check. A server is down before its sessions are ended: a handshake registers before it looks whether
/// it is, so it sees that, or is found among the sessions.
pub(super) fn note(watched: &Watched, rules: &HealthRules, is_well: bool) {
    let change = watched.target.condition().checked(is_well, rules, Instant::now().into_std());
    let Some(change) = change else { return };
    let is_lost = change == Change::Down && rules.down == Orphans::Close;
    watched.tell(Changed::Condition(change));
    if is_lost {
        watched.tell(Changed::SessionsLost);
    }
}

impl Question {
    pub(super) async fn ask(self) -> Result<(), Failed> {
        let Self { target, connector, check, host, random } = self;
        let stream = connector.connect(&target).await?;
        let Check::WebSocket(path) = &check else { return Ok(()) };
        let key = WebSocketKey::generate(bytes(random));
        let request = build_check(&host, &target.server, path, &key);
        let request = request.map_err(|refusal| Failed { refusal, met: Met::Nothing })?;
        let (mut stream, ..) = connector.open(stream, &key, &request).await?;
        let close = ShortFrame::control(Opcode::Close, &NORMAL.to_be_bytes(), Some(bytes(random)));
        // It has answered; whether it hears the farewell says nothing more.
        let _ = stream.write_all(close.as_slice()).await;
        let _ = stream.flush().await;
        Ok(())
    }
}

fn bytes<const N: usize>(random: Random) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;
    use crate::net::upstream::tests::yard;
    use crate::policy::Reason;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> HealthRules {
        let (interval, timeout) = (10 * SECOND, 5 * SECOND);
        HealthRules { check: Check::Tcp, interval, timeout, rise: 1, fall: 1, down: Orphans::Keep }
    }

    /// One check after the other comes to this: `None` is well.
    async fn checked(outcomes: Vec<Option<(Reason, Met)>>) -> (Vec<String>, bool) {
        let yard = yard(crate::policy::forward::ServerHost::Address(([192, 0, 2, 1], 80).into()));
        let (all, left) = (outcomes.len(), Mutex::new(VecDeque::from(outcomes)));
        let ask = move || {
            let outcome = left.lock().unwrap().pop_front();
            async move {
                match outcome {
                    None => std::future::pending().await,
                    Some(None) => Ok(()),
                    Some(Some((reason, met))) => Err(Failed { refusal: reason.into(), met }),
                }
            }
        };
        let mut task = JoinSet::new();
        task.spawn(check_regularly(yard.watched(), rules(), ask));
        // No interval is longer, and the check behind the last one is not over by then.
        sleep(rules().interval * u32::try_from(all).unwrap() - SECOND).await;
        (yard.told(), yard.target.condition().is_open())
    }

    #[tokio::test(start_paused = true)]
    async fn be12_what_the_gateway_lacks_takes_no_server_down() {
        let (well, lack) = (None, Some((Reason::BackendNoSocket, Met::Nothing)));
        let fails = Some((Reason::BackendUnreachable, Met::NoConnection));
        let unchecked = format!("Unchecked({:?})", Reason::BackendNoSocket.explanation());
        let (told, is_open) = checked(vec![well, lack, lack, lack, well, lack]).await;
        assert_eq!((told, is_open), (vec![unchecked.clone(), unchecked.clone()], true), "told once, until it is over");
        let (told, is_open) = checked(vec![lack, fails, lack]).await;
        let down = String::from("Condition(Down)");
        assert_eq!((told, is_open), (vec![unchecked.clone(), down, unchecked], false), "its own failure does");
    }
}
