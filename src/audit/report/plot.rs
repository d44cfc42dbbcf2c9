//! A course of values as a small line, for the page.

use maud::{Markup, html};

use crate::audit::finding::Course;

/// The room of a plot, in the units of its own view box.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 90.0;

/// A line over time, from zero to its highest value; both ends of the axes are written out.
pub(super) fn plot(course: &Course) -> Markup {
    let finite = || course.points.iter().filter(|(at, value)| at.is_finite() && value.is_finite());
    let last = finite().map(|(at, _)| *at).fold(0.0, f64::max);
    let highest = finite().map(|(_, value)| *value).fold(0.0, f64::max);
    let place = |(at, value): &(f64, f64)| {
        let x = if last > 0.0 { at / last * WIDTH } else { 0.0 };
        let y = if highest > 0.0 { HEIGHT - value / highest * HEIGHT } else { HEIGHT };
        format!("{x:.1},{y:.1}")
    };
    let points = finite().map(place).collect::<Vec<_>>().join(" ");
    html! {
        figure {
            figcaption { (course.name) " up to " (format!("{highest:.1} {}", course.unit)) " in " (format!("{last:.1} s")) }
            svg viewBox=(format!("0 -2 {WIDTH} {}", HEIGHT + 4.0)) preserveAspectRatio="none" role="img" aria-label=(course.name) {
                polyline points=(points) {}
            }
        }
    }
}
