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
    /// With the first place that cannot be written.
    pub(super) fn try_places(&self) -> Result<(), String> {
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

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
