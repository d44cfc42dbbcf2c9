//! A service and a client that nobody here wrote: Python's `websockets` on both sides of the gateway.
//!
//! `WSGATE_PYTHON` names the Python, else `python3`. Where that has no `websockets` the test says that it was passed
//! over; where `WSGATE_PYTHON` is set the package must be there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its premise is broken")]
#![allow(clippy::print_stdout, reason = "the names of the cases that ran are for the reader of the output")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::Plan;
use support::house::ORIGIN;
use support::process::Process;

/// What the client prints when everything came out as it should.
const STEPS: &str = "admitted\nechoed\nfragmented\nponged\nclosed by the service\ntoo big\nforeign origin\nno token\n";

const POLICY: &str = r#"
[route]
hosts = ["localhost"]
paths = ["/chat/*"]
subprotocols = ["chat.v2"]
[upstream]
identity = { "x-user-id" = "/sub" }
[session]
from_client = { message_size = "64KiB" }
"#;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

/// A Python that has `websockets`; `None`: there is none, and none was asked for.
fn python() -> Option<String> {
    let asked = std::env::var("WSGATE_PYTHON").ok();
    let python = asked.clone().unwrap_or_else(|| String::from("python3"));
    let mut probe = Command::new(&python);
    probe.args(["-c", "import websockets.asyncio.server, websockets.asyncio.client"]);
    let has_package = probe.output().is_ok_and(|output| output.status.success());
    assert!(has_package || asked.is_none(), "WSGATE_PYTHON={python} has no `websockets`");
    has_package.then_some(python)
}

fn start(python: &str, name: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(python);
    command.arg("-u").arg(script(name)).args(arguments);
    Process::start(command)
}

#[tokio::test]
async fn a_service_and_a_client_that_nobody_here_wrote() {
    let Some(python) = python() else {
        println!("passed over: python3 has no `websockets`; WSGATE_PYTHON names one that has");
        return;
    };
    let mut service = start(&python, "server.py", &[]);
    let port: u16 = service.line("the port of the service", |line| line.parse().ok()).await;

    let plan = Plan::plain().policy(POLICY);
    let server = format!("[upstream]\nservers = [\"ws://127.0.0.1:{port}\"]");
    let house = plan.policy(&server).build().await;
    let token = house.folder.path().join("token");
    std::fs::write(&token, house.signer.token()).unwrap();
    let url = format!("wss://localhost:{}/chat/room?lang=en", house.address().port());
    let authority = house.folder.path().join("certs/authority.pem");
    let arguments = [url.as_str(), authority.to_str().unwrap(), ORIGIN, token.to_str().unwrap()];

    let client = start(&python, "client.py", &arguments).ends().await;
    assert_eq!(client.code, Some(0), "{}\n{}", client.out, client.err);
    assert_eq!(client.out, STEPS);
    house.is_at_rest().await;

    service.input("");
    assert_eq!(service.ends().await.code, Some(0), "the service ends when its input does");
}
