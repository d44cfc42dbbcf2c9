//! Programs that nobody here wrote: where they are found, and whether they did step by step what was expected.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Process;

/// A program that the machine may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Python with `websockets`.
    Python,
    /// Node with the packages of tests/node/package-lock.json.
    Node,
    /// Ruby with Rails' ActionCable and Puma.
    Ruby,
    /// Mosquitto.
    Mosquitto,
    /// Elixir with Phoenix, Bandit and Jason, built.
    Phoenix,
}

impl Tool {
    /// The variable that names it, and is set where it must be there.
    fn variable(self) -> &'static str {
        match self {
            Self::Python => "WSGATE_PYTHON",
            Self::Node => "WSGATE_NODE_MODULES",
            Self::Ruby => "WSGATE_RUBY",
            Self::Mosquitto => "WSGATE_MOSQUITTO",
            Self::Phoenix => "WSGATE_PHOENIX",
        }
    }

    /// A command that ends well where the program has what the tests use of it.
    fn probe(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["-c", "import websockets.asyncio.server, websockets.asyncio.client"],
            Self::Node => &["-e", "for (const name of ['ws', 'socket.io', 'graphql-ws', 'mqtt']) require(name)"],
            Self::Ruby => &["-e", "require 'rails'; require 'action_cable/engine'; require 'puma'"],
            Self::Mosquitto => &["-h"],
            Self::Phoenix => &["-e", "true = Enum.all?([Phoenix, Bandit, Jason], &Code.ensure_loaded?/1)"],
        }
    }

    fn command_at(self, named: Option<&str>) -> Command {
        let (program, path) = match self {
            Self::Python => (named.unwrap_or("python3"), None),
            Self::Ruby => (named.unwrap_or("ruby"), None),
            Self::Mosquitto => (named.unwrap_or("mosquitto"), None),
            Self::Node => ("node", named.map(|folder| ("NODE_PATH", folder))),
            Self::Phoenix => ("elixir", named.map(|folder| ("ERL_LIBS", folder))),
        };
        let mut command = Command::new(program);
        command.envs(path);
        command
    }

    /// How it is started; `None`: the machine has none, and none was asked for.
    pub fn command(self) -> Option<Command> {
        let named = std::env::var(self.variable()).ok();
        let output = self.command_at(named.as_deref()).args(self.probe()).output();
        // Mosquitto ends with 3 where it was asked for help.
        let runs = output.is_ok_and(|output| output.status.success() || self == Self::Mosquitto);
        assert!(runs || named.is_none(), "{} names no {self:?} that does {:?}", self.variable(), self.probe());
        runs.then(|| self.command_at(named.as_deref()))
    }

    /// The same with a line for the reader of the output where there is none.
    pub fn or_passed_over(self) -> Option<Command> {
        let command = self.command();
        if command.is_none() {
            println!("passed over: no {self:?} with what this test asks of it; {} names one", self.variable());
        }
        command
    }
}

/// A script below `tests`.
pub fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// Waits for as many lines as `expected` has, each in its own time.
pub async fn told_as_much(process: &Process, expected: &str) {
    for (index, step) in expected.lines().enumerate() {
        let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        process.bytes(step, |bytes| (lines(bytes) > index).then_some(())).await;
    }
}

/// The process tells these steps and nothing else, and ends well.
pub async fn takes_steps(process: Process, expected: &str) {
    told_as_much(&process, expected).await;
    let ran = process.ends().await;
    assert_eq!(ran.out, expected, "{}", ran.err);
    ran.ended(0);
}
