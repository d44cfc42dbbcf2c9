//! `wsgate check`: reads everything, reports every mistake at once, and runs the policies' examples.

use std::io::{self, Write};
use std::path::PathBuf;

use super::exit::Exit;
use super::run::file_limit;
use crate::config::diagnostic::{Style, counted, render};
use crate::config::material::Environment;
use crate::config::{Config, example};
use crate::units::UnixSeconds;

/// Reads the configuration, reports every mistake, and runs the policies' examples.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration.
    #[arg(default_value = "gateway.toml", env = "WSGATE_CONFIG")]
    pub file: PathBuf,
    /// Print every value and where it came from.
    #[arg(long)]
    pub effective: bool,
}

/// What the command needs of its surroundings.
pub struct Surroundings<'a> {
    /// Environment variables.
    pub env: Environment<'a>,
    /// The time.
    pub now: UnixSeconds,
    /// Whether standard error takes colours.
    pub style: Style,
}

/// Checks a configuration: results go to `out`, mistakes to `err`.
pub fn run(args: &CheckArgs, around: &Surroundings<'_>, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let (config, warnings) = match crate::config::load(&args.file, around.env, around.now) {
        Ok(read) => read,
        Err(mistakes) => {
            err.write_all(mistakes.render(around.style).as_bytes())?;
            return Ok(Exit::Configuration);
        }
    };
    err.write_all(render(&warnings, around.style).as_bytes())?;
    if args.effective {
        effective(&config, out)?;
    }
    facts(&config, around.now, out)?;
    dangers(&config, out)?;
    let failed = examples(&config, around.now, out, err)?;
    let listeners = counted(config.gateway.listeners.len(), "listener");
    let policies = match config.policies.len() {
        1 => String::from("1 policy"),
        count => format!("{count} policies"),
    };
    let issuers = counted(config.gateway.issuers.len(), "issuer");
    let (verdict, exit) = match failed {
        0 => (String::from("configuration ok"), Exit::Well),
        _ => (format!("the configuration loads, and {} failed", counted(failed, "example")), Exit::Findings),
    };
    writeln!(out, "{verdict}: {listeners}, {policies}, {issuers} ({})", args.file.display())?;
    Ok(exit)
}

fn effective(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let mut file = None;
    for setting in &config.settings {
        if file != Some(&setting.file) {
            writeln!(out, "# {}", setting.file.display())?;
            file = Some(&setting.file);
        }
        writeln!(out, "{setting}")?;
    }
    writeln!(out)
}

fn facts(config: &Config, now: UnixSeconds, out: &mut dyn Write) -> io::Result<()> {
    for listener in &config.gateway.listeners {
        for source in listener.tls.iter().flat_map(|tls| &tls.certificates) {
            let days = source.loaded.left(now).unwrap_or_default().as_secs() / 86_400;
            let names = source.loaded.names.join(", ");
            let chain = source.chain.display();
            writeln!(out, "certificate {chain} on {}: {names}; the key matches; {days} days left", listener.address)?;
        }
    }
    let capacity = &config.gateway.capacity;
    let sessions = capacity.session_bound(file_limit());
    match capacity.sessions {
        Some(_) => writeln!(out, "sessions: at most {sessions}"),
        None => writeln!(out, "sessions: at most {sessions} (\"auto\", from a limit of {} open files)", file_limit()),
    }
}

fn dangers(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    for (key, reason) in &config.gateway.dangers {
        writeln!(out, "danger: {key} = {reason:?} (gateway)")?;
    }
    for policy in &config.policies {
        for (key, reason) in &policy.dangers {
            writeln!(out, "danger: {key} = {reason:?} (policy {})", policy.name)?;
        }
    }
    Ok(())
}

fn examples(config: &Config, now: UnixSeconds, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<usize> {
    let results = example::run(config, now);
    let ran = results.len();
    let mut failed: usize = 0;
    for result in results {
        if result.got != result.example.expect.as_str() {
            failed = failed.saturating_add(1);
            let example::Outcome { policy, example, got } = result;
            let expected = example.expect.as_str();
            writeln!(
                err,
                "example failed: {} ({}, policy {policy}): expected {expected}, got {got}",
                example.name, example.place
            )?;
        }
    }
    if ran > 0 {
        writeln!(out, "examples: {} of {ran} came out as told", ran.saturating_sub(failed))?;
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::{Ground, NOW, POLICY};

    fn check(ground: &Ground, effective: bool) -> (Exit, String, String) {
        let args = CheckArgs { file: ground.path("gateway.toml"), effective };
        let around = Surroundings { env: &|_| None, now: NOW, style: Style::Plain };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = run(&args, &around, &mut out, &mut err).unwrap();
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_good_configuration_ends_with_one_line() {
        let (exit, out, err) = check(&Ground::new(), false);
        assert_eq!((exit, err.as_str()), (Exit::Well, ""));
        let last = out.lines().last().unwrap();
        assert!(last.starts_with("configuration ok: 1 listener, 1 policy, 1 issuer ("), "{last}");
        assert!(out.contains("the key matches; 365 days left"), "{out}");
        assert!(out.contains("examples: 1 of 1 came out as told"), "{out}");
        assert!(out.contains("(\"auto\", from a limit of"), "{out}");
    }

    #[test]
    fn mistakes_dangers_and_examples_have_their_exit_codes() {
        let ground = Ground::new();
        ground.write("policies/chat.toml", POLICY.replace("origin_not_allowed", "admitted"));
        let (exit, out, err) = check(&ground, false);
        assert_eq!(exit, Exit::Findings);
        assert!(out.contains("the configuration loads, and 1 example failed: ") && !out.contains("ok"), "{out}");
        assert!(err.contains("expected admitted, got origin_not_allowed"), "{err}");
        ground.write("policies/chat.toml", POLICY.replace("[route]", "[rout]"));
        let (exit, out, err) = check(&ground, false);
        assert_eq!((exit.code(), out.as_str()), (78, ""));
        assert!(err.contains("did you mean `route`?"), "{err}");
        let long = "max_life = \"48h\"\ndanger_long_tokens = \"devices in the field\"\naudience = ";
        ground.write("policies/chat.toml", POLICY.replace("audience = ", long));
        let (exit, out, _) = check(&ground, true);
        assert_eq!(exit, Exit::Well);
        assert!(out.contains("danger: auth[0].danger_long_tokens = \"devices in the field\" (policy chat)"), "{out}");
        assert!(out.contains("session.pong_timeout = \"20s\"  # default"), "{out}");
        assert!(out.contains("gateway.toml:2\n"), "{out}");
    }

    #[test]
    fn the_shipped_files_load() {
        let ground = Ground::new();
        std::fs::remove_file(ground.path("policies/chat.toml")).unwrap();
        ground.certificate("server", &["localhost"]);
        ground.write("gateway.toml", include_str!("../../gateway.toml"));
        ground.write("policies/demo.toml", include_str!("../../policies/demo.toml"));
        let (exit, out, err) = check(&ground, false);
        assert_eq!((exit, err.as_str()), (Exit::Well, ""), "{out}");
        assert!(out.contains("examples: 5 of 5 came out as told"), "{out}");
    }
}
