//! Whether a server is well, asked again and again.

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use super::connector::Connector;
use super::{Changed, Watched};
use crate::policy::Refusal;
use crate::policy::balance::condition::Change;
use crate::policy::balance::{Check, HealthRules, Orphans};
use crate::policy::forward::{HostHeader, build_check};
use crate::session::ShortFrame;
use crate::ws::frame::Opcode;
use crate::ws::opening::WebSocketKey;

/// What a check says when it leaves.
const NORMAL: u16 = 1000;

/// Asks a server in the pace of its rules.
pub(super) async fn check_regularly(watched: Watched, connector: Connector, rules: HealthRules, host: HostHeader) {
    loop {
        let is_well = matches!(timeout(rules.timeout, check(&watched, &connector, &rules, &host)).await, Ok(Ok(())));
        note(&watched, &rules, is_well);
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

async fn check(
    watched: &Watched,
    connector: &Connector,
    rules: &HealthRules,
    host: &HostHeader,
) -> Result<(), Refusal> {
    let target = &watched.target;
    let stream = connector.connect(target).await.map_err(|failed| failed.refusal)?;
    let Check::WebSocket(path) = &rules.check else { return Ok(()) };
    let key = WebSocketKey::generate(random(watched));
    let request = build_check(host, &target.server, path, &key)?;
    let (mut stream, ..) = connector.open(stream, &key, &request).await.map_err(|failed| failed.refusal)?;
    let close = ShortFrame::control(Opcode::Close, &NORMAL.to_be_bytes(), Some(random(watched)));
    // It has answered; whether it hears the farewell says nothing more.
    let _ = stream.write_all(close.as_slice()).await;
    let _ = stream.flush().await;
    Ok(())
}

fn random<const N: usize>(watched: &Watched) -> [u8; N] {
    let mut bytes = [0; N];
    (watched.ground.random)(&mut bytes);
    bytes
}
