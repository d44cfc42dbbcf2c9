//! The findings as they come: a table with a bar below it on a terminal, plain lines in a pipe.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::audit::rule::rule;
use crate::audit::{Case, Finding, Outcome, Progress, Scorecard, Suite};

/// Where a stream leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Terminal,
    Elsewhere,
}

impl Place {
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        if stream.is_terminal() { Self::Terminal } else { Self::Elsewhere }
    }
}

/// Tells a run on `out`; the bar stands on standard error.
pub(super) struct Told<'a> {
    out: &'a mut dyn Write,
    bar: ProgressBar,
    colour: bool,
}

impl<'a> Told<'a> {
    /// With a bar where a person sees standard error, with colours where one sees `out`.
    pub(super) fn new(out: &'a mut dyn Write, out_is: Place, err_is: Place) -> Self {
        let target =
            if err_is == Place::Terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        Self { out, bar, colour: out_is == Place::Terminal }
    }

    /// What is attacked, and what weakens it by its operator's word.
    pub(super) fn heads(&mut self, card: &Scorecard) {
        self.line(&format!("Auditing {}", card.url));
        for (key, reason) in &card.dangers {
            self.line(&format!("  {key} = {reason:?}"));
        }
    }

    /// What fell and what it means, and the count of all.
    pub(super) fn sums_up(&mut self, card: &Scorecard) {
        self.bar.finish_and_clear();
        self.explain(&card.that(Outcome::Fell).collect::<Vec<_>>());
        if let Some(why) = &card.cut_short {
            self.line(&format!("\nnot all was tried: {why}"));
        }
        for (suite, count, first) in card.left_by_suite() {
            self.line(&format!("  left of {suite}: {count} cases, from {first} on"));
        }
        if let Some(why) = why_nothing(card) {
            self.line(&format!("\nnothing could be tried: {why}"));
        }
        let count = |outcome| format!("{} {outcome}", card.count(outcome));
        let counts = [Outcome::Held, Outcome::Fell, Outcome::Undecided, Outcome::NotApplicable].map(count).join(", ");
        self.line(&format!("\n{counts}"));
        for (what, cases) in card.needs() {
            self.line(&format!("{cases} more with {what}"));
        }
    }

    /// What was seen of each, and what it means, once for each id.
    fn explain(&mut self, fell: &[&Finding]) {
        for (at, first) in fell.iter().enumerate() {
            let of_id = |finding: &&&Finding| finding.id == first.id;
            if fell.iter().take(at).any(|finding| of_id(&finding)) {
                continue;
            }
            self.line("");
            for finding in fell.iter().filter(of_id) {
                self.line(&format!("{} {}: {}", finding.id, finding.name, finding.verdict.said));
            }
            let Some(rule) = rule(first.id) else { continue };
            self.line(&format!("  must:   {}", rule.must));
            self.line(&format!("  means:  {}", rule.means));
            self.line(&format!("  remedy: {}", rule.remedy));
        }
    }

    fn line(&mut self, text: &str) {
        let out = &mut self.out;
        // A reader that went away is no failure of the audit: the exit code still tells.
        self.bar.suspend(|| {
            let _ = writeln!(out, "{text}").and_then(|()| out.flush());
        });
    }

    fn painted(&self, outcome: Outcome) -> String {
        let word = format!("{outcome:<14}");
        let colour = match outcome {
            Outcome::Held => "32",
            Outcome::Fell => "1;31",
            Outcome::Undecided => "33",
            Outcome::NotApplicable | Outcome::NotRun => "2",
        };
        if self.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word }
    }
}

impl Progress for Told<'_> {
    fn begins(&mut self, suite: Suite, cases: usize) {
        self.line(&format!("\n{suite}: {cases} cases"));
        self.bar.set_length(cases as u64);
        self.bar.set_position(0);
        self.bar.reset_elapsed();
    }

    fn tries(&mut self, case: &Case) {
        self.bar.set_message(format!("{} {}", case.id, case.name));
    }

    fn found(&mut self, finding: &Finding) {
        self.bar.inc(1);
        if finding.outcome() == Outcome::NotRun {
            return;
        }
        let said = match finding.outcome() {
            Outcome::Held => String::new(),
            _ => format!(": {}", finding.verdict.said),
        };
        let outcome = self.painted(finding.outcome());
        self.line(&format!("{outcome} {} {}{said}", finding.id, finding.name));
    }
}

/// Why not one case could be tried of a run that came to its end; `None` where one was.
fn why_nothing(card: &Scorecard) -> Option<&str> {
    let untried = |finding: &Finding| matches!(finding.outcome(), Outcome::NotApplicable | Outcome::NotRun);
    if card.cut_short.is_some() || !card.findings.iter().all(untried) {
        return None;
    }
    if card.count(Outcome::NotRun) > 0 {
        return Some("what the cases need was not given");
    }
    card.that(Outcome::NotApplicable).next().map(|finding| finding.verdict.said.as_str())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::Verdict;

    #[test]
    fn what_kept_every_case_from_being_tried_is_told_as_it_is() {
        let of = |said: &[(Outcome, &str)], cut_short: Option<&str>| {
            let finding = |(outcome, said): &(Outcome, &str)| Finding {
                suite: Suite::Tls,
                id: "TL01",
                name: "a case",
                verdict: Verdict::new(*outcome, *said),
                took: Duration::ZERO,
            };
            let findings = said.iter().map(finding).collect();
            let card = Scorecard { findings, cut_short: cut_short.map(String::from), ..Scorecard::default() };
            why_nothing(&card).map(String::from)
        };
        let plain = (Outcome::NotApplicable, "the target has no TLS");
        assert_eq!(of(&[plain], None).as_deref(), Some("the target has no TLS"));
        let needs = (Outcome::NotRun, "needs --signing-key");
        assert_eq!(of(&[plain, needs], None).as_deref(), Some("what the cases need was not given"));
        assert_eq!(of(&[plain, (Outcome::Held, "426")], None), None);
        assert_eq!(of(&[], Some("the time of 10ms is up")), None, "that is told of itself");
    }
}
