//! The files that a scorecard is written to.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::file;
use crate::audit::{Scorecard, report};

/// Where the findings go beside the screen.
#[derive(Args, Debug)]
#[command(next_help_heading = "Reports: what stands at the place of one is replaced, and only its owner may read it")]
pub(super) struct Files {
    /// A page for people
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
}

/// Makes a file of a scorecard.
type Render = fn(&Scorecard) -> String;

impl Files {
    fn wanted(&self) -> impl Iterator<Item = (&Path, Render)> {
        let all = [
            (&self.report, report::html as Render),
            (&self.json, report::json),
            (&self.junit, report::junit),
            (&self.sarif, report::sarif),
        ];
        all.into_iter().filter_map(|(path, render)| Some((path.as_deref()?, render)))
    }

    /// Tries every place before anything is found that could be lost.
    ///
    /// # Errors
    /// With the first place that cannot be written, or that two reports would have.
    pub(super) fn try_places(&self) -> Result<(), String> {
        for (at, (path, _)) in self.wanted().enumerate() {
            let canonical = whole(path);
            if self.wanted().take(at).any(|(other, _)| whole(other) == canonical) {
                return Err(format!("{}: two reports would replace each other: name a file for each", path.display()));
            }
        }
        self.wanted().try_for_each(|(path, _)| file::try_place(path).map_err(|error| at(path, &error)))
    }

    /// Writes all that are wanted, whichever of them cannot be.
    ///
    /// # Errors
    /// With every place that could not be written.
    pub(super) fn write(&self, card: &Scorecard) -> Result<(), String> {
        let written = self.wanted().map(|(path, render)| {
            file::write_whole(path, file::Mode::Owner, render(card).as_bytes()).map_err(|error| at(path, &error))
        });
        let failed: Vec<String> = written.filter_map(Result::err).collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }
}

/// A place as one path, however it is written; the file itself need not be there.
fn whole(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_reports_have_two_places() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        let files = |json: &str, junit: &str| Files {
            report: None,
            json: Some(folder.path().join(json)),
            junit: Some(folder.path().join(junit)),
            sarif: None,
        };
        for same in ["found", "in/../found"] {
            let told = files("found", same).try_places().unwrap_err();
            assert!(told.contains("two reports would replace each other"), "{told}");
        }
        assert_eq!(files("found", "in/found").try_places(), Ok(()), "the twin");
    }
}
