//! `wsgate init`: a commented gateway.toml and policy for a kind of service.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::exit::Exit;

/// Writes a commented gateway.toml and a policy for a kind of service.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// What speaks WebSocket behind the gateway.
    pub kind: Kind,
    /// The folder that gets gateway.toml and policies/; a file that is there is never touched.
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Any service behind JSON Web Tokens
    Plain,
    /// Socket.IO
    Socketio,
    /// ASP.NET Core SignalR
    Signalr,
    /// GraphQL over WebSocket (graphql-ws)
    Graphql,
    /// MQTT over WebSocket
    Mqtt,
    /// Phoenix channels
    Phoenix,
    /// Rails ActionCable
    Actioncable,
}

impl Kind {
    /// The policy's file name, without `.toml`.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Socketio => "socketio",
            Self::Signalr => "signalr",
            Self::Graphql => "graphql",
            Self::Mqtt => "mqtt",
            Self::Phoenix => "phoenix",
            Self::Actioncable => "actioncable",
        }
    }

    fn policy(self) -> &'static str {
        match self {
            Self::Plain => include_str!("init/plain.toml"),
            Self::Socketio => include_str!("init/socketio.toml"),
            Self::Signalr => include_str!("init/signalr.toml"),
            Self::Graphql => include_str!("init/graphql.toml"),
            Self::Mqtt => include_str!("init/mqtt.toml"),
            Self::Phoenix => include_str!("init/phoenix.toml"),
            Self::Actioncable => include_str!("init/actioncable.toml"),
        }
    }

    /// gateway.toml, with an issuer where the policy asks for its tokens.
    fn gateway(self) -> String {
        let listener = include_str!("init/gateway.toml");
        self.issuer().map_or_else(|| String::from(listener), |issuer| format!("{listener}\n{issuer}"))
    }

    /// The issuer of the tokens that the policy asks for; `None` where the service judges for itself.
    fn issuer(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Signalr | Self::Phoenix => Some(include_str!("init/issuer.toml")),
            Self::Socketio | Self::Graphql | Self::Mqtt | Self::Actioncable => None,
        }
    }
}

/// Writes the files; one that is there already is never touched, and then nothing is written.
pub fn run(args: &InitArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let gateway = args.folder.join("gateway.toml");
    let policy = args.folder.join("policies").join(format!("{}.toml", args.kind.name()));
    for path in [&gateway, &policy] {
        if path.try_exists()? {
            writeln!(err, "{} is there already: move it away, or name another folder", path.display())?;
            return Ok(Exit::CouldNotRun);
        }
    }
    let written = write(&gateway, &args.kind.gateway()).and_then(|()| write(&policy, args.kind.policy()));
    if let Err(error) = written {
        writeln!(err, "cannot write to {}: {error}", args.folder.display())?;
        return Ok(Exit::CouldNotRun);
    }
    writeln!(out, "wrote {}\nwrote {}", gateway.display(), policy.display())?;
    writeln!(out, "\nThen, in {} (production names certificates and keys of its own):\n", args.folder.display())?;
    writeln!(out, "  wsgate certs                                        # a development CA and a server certificate")?;
    if args.kind.issuer().is_some() {
        writeln!(out, "  wsgate token key --private certs/login.key --public certs/login.pub.pem")?;
    }
    writeln!(out, "  wsgate check                                        # every mistake, with file, line and remedy")?;
    writeln!(out, "  wsgate run\n\nand put your own hosts, servers and origins into the two files.")?;
    Ok(Exit::Well)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::example;
    use crate::config::fixture::{Ground, NOW};

    /// A folder with certificates and keys and no configuration.
    fn ground() -> Ground {
        let ground = Ground::new();
        ground.certificate("server", &["localhost"]);
        for file in ["gateway.toml", "policies/chat.toml"] {
            std::fs::remove_file(ground.path(file)).unwrap();
        }
        ground
    }

    #[test]
    fn what_each_kind_writes_loads_and_its_examples_come_out_as_told() {
        let mut ran = 0;
        for kind in Kind::value_variants() {
            let ground = ground();
            let args = InitArgs { kind: *kind, folder: ground.folder().to_owned() };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            assert_eq!(run(&args, &mut out, &mut err).unwrap(), Exit::Well, "{kind:?}");
            assert_eq!(err, b"", "{kind:?}");

            let (config, warnings) = ground.load().unwrap_or_else(|mistakes| panic!("{kind:?}: {mistakes}"));
            assert_eq!(warnings, [], "{kind:?}");
            assert!(config.gateway.admin.is_some() && config.gateway.state.is_some(), "{kind:?}: commands reach it");
            let outcomes = example::run(&config, NOW);
            assert!(outcomes.len() >= 2, "{kind:?}: {} examples", outcomes.len());
            for outcome in outcomes {
                assert_eq!(outcome.got, outcome.example.expect.as_str(), "{kind:?}: {}", outcome.example.name);
            }
            ran += 1;
        }
        assert_eq!(ran, 7);
    }

    #[test]
    fn a_file_that_is_there_stays_and_nothing_is_written_beside_it() {
        let mut ran = 0;
        for (there, other) in
            [("gateway.toml", "policies/mqtt.toml"), ("policies/mqtt.toml", "gateway.toml"), ("", "gateway.toml")]
        {
            let ground = ground();
            if !there.is_empty() {
                ground.write(there, "mine");
            }
            let args = InitArgs { kind: Kind::Mqtt, folder: ground.folder().to_owned() };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let exit = run(&args, &mut out, &mut err).unwrap();
            assert_eq!(exit, if there.is_empty() { Exit::Well } else { Exit::CouldNotRun }, "{there}");
            assert_eq!(ground.path(other).exists(), there.is_empty(), "{there}");
            if !there.is_empty() {
                assert_eq!(std::fs::read_to_string(ground.path(there)).unwrap(), "mine");
                assert!(String::from_utf8(err).unwrap().contains(&format!("{there} is there already")));
            }
            ran += 1;
        }
        assert_eq!(ran, 3);
    }
}
