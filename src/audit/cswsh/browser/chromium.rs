//! Chromium: where it is, and one that runs without a screen until its case is judged.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_lc_rs::rand;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// What it is called, by distribution.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// How long it may take to end when it is asked to.
const PARTING: Duration = Duration::from_secs(5);

/// How often it is looked whether it ended.
const LOOK: Duration = Duration::from_millis(50);

/// The last bytes of its complaints that are told.
const COMPLAINT_BYTES: usize = 300;

/// Without a screen, of no account, and silent toward everybody but the pages of a case. Its own sandbox needs rights
/// that containers lack, and it sees no page but ours. Asking before a page reaches this machine, and trying https
/// where http is written, would come between the pages and the target.
const FLAGS: [&str; 15] = [
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedMode,LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
    "--password-store=basic",
];

/// Cookies that say SameSite=None go along with what other sites' pages ask for. A browser without a screen keeps them
/// back unless it is told otherwise; one with a screen sends them unless its user says otherwise.
const SETTINGS: &str = r#"{"profile":{"cookie_controls_mode":0,"block_third_party_cookies":false}}"#;

/// Finds a Chromium: the one that is asked for, else the first on PATH.
///
/// # Errors
/// With a sentence where there is none; it says how to get one.
pub fn find_chromium(asked: Option<&Path>) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &Path| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| runs(file));
    match asked {
        None => NAMES.iter().find_map(|name| on_path(Path::new(name))).ok_or_else(|| {
            format!("no Chromium on PATH ({}): apt-get install chromium, or --browser PATH", NAMES.join(", "))
        }),
        Some(asked) if asked.components().count() > 1 && runs(asked) => Ok(asked.to_owned()),
        Some(asked) if asked.components().count() > 1 => {
            Err(format!("{} is no program: --browser takes the path of Chromium", asked.display()))
        }
        Some(asked) => on_path(asked)
            .ok_or_else(|| format!("{} is not on PATH: apt-get install chromium, or --browser PATH", asked.display())),
    }
}

fn runs(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A browser that runs. It ends with this value, and its folder with it.
#[derive(Debug)]
pub(super) struct Chromium {
    child: Child,
    folder: Folder,
}

impl Chromium {
    /// Starts one in a folder of its own. Every name leads to `pages`, and the one key there is good for each of them.
    ///
    /// # Errors
    /// With a sentence where it does not start.
    pub(super) fn start(
        program: &Path,
        folder: Folder,
        pages: SocketAddr,
        pin: &str,
        ports: &[u16],
        url: &str,
    ) -> Result<Self, String> {
        let complaints = fs::File::create(folder.0.join("complaints")).map_err(|error| error.to_string())?;
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut command = Command::new(program);
        command.args(FLAGS).env("HOME", &folder.0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints);
        command.arg(format!("--user-data-dir={}", folder.0.join("profile").display()));
        command.arg(format!("--host-resolver-rules=MAP * {pages}"));
        command.arg(format!("--ignore-certificate-errors-spki-list={pin}"));
        command.arg(format!("--explicitly-allowed-ports={}", ports.join(",")));
        let settings = folder.0.join("profile/Default");
        let written = fs::create_dir_all(&settings).and_then(|()| fs::write(settings.join("Preferences"), SETTINGS));
        written.map_err(|error| error.to_string())?;
        let child = command.arg(url).spawn();
        let child = child.map_err(|error| format!("{} does not start: {error}", program.display()))?;
        Ok(Self { child, folder })
    }

    /// Waits until it ends by itself, which it should not, and gives its last complaint.
    pub(super) async fn ended(&mut self) -> String {
        while let Ok(None) = self.child.try_wait() {
            sleep(LOOK).await;
        }
        self.complaint()
    }

    /// The end of what it wrote to standard error.
    pub(super) fn complaint(&self) -> String {
        let text = fs::read(self.folder.0.join("complaints")).unwrap_or_default();
        let last = text.get(text.len().saturating_sub(COMPLAINT_BYTES)..).unwrap_or_default();
        String::from_utf8_lossy(last).trim().replace('\n', " / ")
    }

    /// Asks it to end, which takes its own children along, and waits for it.
    pub(super) async fn end(mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + PARTING;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            sleep(LOOK).await;
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that nobody else reads, for as long as this value.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// Makes one in the system's folder for such.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(super) fn temporary() -> io::Result<Self> {
        let mut word = [0; 8];
        rand::fill(&mut word).map_err(|_| io::Error::other("no randomness"))?;
        let path = std::env::temp_dir().join(format!("wsgate-browser-{:016x}", u64::from_be_bytes(word)));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A child of the browser's that is a moment late may still write.
        for _ in 0..3 {
            if fs::remove_dir_all(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn or27_a_browser_that_is_not_there_is_said_so() {
        let folder = Folder::temporary().unwrap();
        let text = folder.0.join("text");
        fs::write(&text, "no program").unwrap();
        fs::set_permissions(&text, fs::Permissions::from_mode(0o600)).unwrap();
        let text = text.to_str().unwrap();
        for asked in ["/nonexistent/chromium", "no-such-chromium", text, "/"] {
            let why = find_chromium(Some(Path::new(asked))).expect_err(asked);
            assert!(why.contains(asked) && why.contains("--browser"), "{why}");
        }
        assert_eq!(find_chromium(Some(Path::new("/bin/sh"))), Ok(PathBuf::from("/bin/sh")));
    }

    #[test]
    fn or27_a_folder_goes_with_its_value() {
        let folder = Folder::temporary().unwrap();
        let path = folder.0.clone();
        fs::write(path.join("file"), "").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }
}
