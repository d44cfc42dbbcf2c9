//! A course of values that stays small however long it lasts.

use crate::audit::finding::Course;

/// The most points of a course.
const MOST_POINTS: usize = 1000;

/// Points, of which every second one is dropped whenever there are too many.
#[derive(Debug)]
pub(super) struct Points {
    points: Vec<(f64, f64)>,
    stride: usize,
    skipped: usize,
}

impl Default for Points {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, skipped: 0 }
    }
}

impl Points {
    /// One more value, at so many seconds.
    pub(super) fn push(&mut self, at: f64, value: f64) {
        self.skipped += 1;
        if self.skipped < self.stride {
            return;
        }
        self.skipped = 0;
        if self.points.len() == MOST_POINTS {
            let mut index = 0_usize;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride = self.stride.saturating_mul(2);
        }
        self.points.push((at, value));
    }

    /// The course of this name; `None` where nothing was measured.
    pub(super) fn named(self, name: &'static str, unit: &'static str) -> Option<Course> {
        (!self.points.is_empty()).then_some(Course { name, unit, points: self.points })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_course_keeps_its_shape_in_few_points() {
        let mut points = Points::default();
        for at in 0..100_000_u32 {
            points.push(f64::from(at), f64::from(at));
        }
        let course = points.named("round trip", "ms").unwrap();
        assert!(course.points.len() <= MOST_POINTS && course.points.len() > MOST_POINTS / 3, "{}", course.points.len());
        assert!(course.points.is_sorted());
        assert!(course.points.first().unwrap().0 < 1.0 && course.points.last().unwrap().0 > 99_000.0);
        assert_eq!(Points::default().named("nothing", "ms"), None);
    }
}
