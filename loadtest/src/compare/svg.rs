//! A line diagram as SVG, with axes that begin and end where the values do.
//!
//! Pure text from numbers. Points that a scale cannot show (not positive on one of powers) are left out; a diagram without
//! any point is no diagram, and is empty text.

use crate::compare::html::escaped;

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 28.0;
/// Colours that differ for most eyes, on light and dark (Okabe and Ito's).
const COLORS: &[&str] = &[
    "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8b9099",
];

/// How values are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Evenly from 0.
    Even,
    /// By powers of ten.
    Powers,
}

/// A line.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Number of its colour.
    pub(crate) color: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A diagram.
pub(crate) struct Chart<'c> {
    pub(crate) title: &'c str,
    pub(crate) x: Scale,
    pub(crate) x_label: &'c dyn Fn(f64) -> String,
    pub(crate) y: Scale,
    pub(crate) y_label: &'c dyn Fn(f64) -> String,
    pub(crate) lines: Vec<Line>,
}

/// An axis: what it begins and ends with, and where lines across are drawn.
#[derive(Debug, PartialEq)]
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// The axis that shows all of `values`; none if there are none.
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            (least, most) = (least.min(value), most.max(value));
        }
        if !least.is_finite() || !most.is_finite() {
            return None;
        }
        Some(match scale {
            Scale::Powers => {
                let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
                let last = last.max(first + 1);
                Self {
                    scale,
                    from: 10_f64.powi(first),
                    to: 10_f64.powi(last),
                    ticks: (first..=last).map(|power| 10_f64.powi(power)).collect(),
                }
            }
            Scale::Even => {
                let step = step(most.max(f64::MIN_POSITIVE));
                let count = (most / step).ceil().max(1.0) as usize;
                Self {
                    scale,
                    from: 0.0,
                    to: step * count as f64,
                    ticks: (0..=count).map(|tick| step * tick as f64).collect(),
                }
            }
        })
    }

    /// Where a value is, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Even => (value - self.from) / (self.to - self.from),
            Scale::Powers => (value / self.from).log10() / (self.to / self.from).log10(),
        }
    }
}

/// A round distance that divides `most` into four to ten.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 4.0).log10().floor());
    [5.0, 2.0, 1.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| most / step >= 4.0)
        .unwrap_or(power)
}

impl Chart<'_> {
    /// The diagram.
    pub(crate) fn svg(&self) -> String {
        let shown =
            |(x, y): &&(f64, f64)| (self.x == Scale::Even || *x > 0.0) && (self.y == Scale::Even || *y > 0.0);
        let points = || {
            self.lines
                .iter()
                .flat_map(|line| line.points.iter().filter(shown))
        };
        let (Some(x), Some(y)) = (
            Axis::of(self.x, points().map(|point| point.0)),
            Axis::of(self.y, points().map(|point| point.1)),
        ) else {
            return String::new();
        };
        let across = |value| LEFT + x.at(value) * (WIDTH - LEFT - RIGHT);
        let down = |value| HEIGHT - BOTTOM - y.at(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{0}\">\
             <text class=\"title\" x=\"{LEFT}\" y=\"14\">{0}</text>",
            escaped(self.title)
        );
        for tick in &y.ticks {
            let (at, label) = (down(*tick), escaped(&(self.y_label)(*tick)));
            svg += &format!(
                "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
            );
        }
        for tick in &x.ticks {
            let (at, label) = (across(*tick), escaped(&(self.x_label)(*tick)));
            svg += &format!(
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                HEIGHT - BOTTOM + 16.0
            );
        }
        let mut legend = LEFT;
        for line in &self.lines {
            let color = COLORS[line.color % COLORS.len()];
            let path: Vec<String> = line
                .points
                .iter()
                .filter(shown)
                .map(|(x, y)| format!("{:.1},{:.1}", across(*x), down(*y)))
                .collect();
            svg += &format!(
                "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.8\" points=\"{}\"/>\
                 <circle cx=\"{legend:.1}\" cy=\"30\" r=\"4\" fill=\"{color}\"/>\
                 <text x=\"{:.1}\" y=\"34\">{}</text>",
                path.join(" "),
                legend + 8.0,
                escaped(&line.name),
            );
            legend += 22.0 + 7.0 * line.name.chars().count() as f64;
        }
        svg + "</svg>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_values() {
        for (scale, values, from, to, ticks) in [
            (Scale::Even, [0.0, 7.0], 0.0, 7.0, 8),
            (Scale::Even, [3.0, 4_100_000.0], 0.0, 5_000_000.0, 6),
            (Scale::Even, [0.0, 0.0], 0.0, f64::NAN, 0),
            (Scale::Powers, [0.2, 30.0], 0.1, 100.0, 4),
            (Scale::Powers, [10.0, 10.0], 10.0, 100.0, 2),
        ] {
            let axis = Axis::of(scale, values.into_iter()).expect("an axis");
            if !to.is_nan() {
                assert_eq!(
                    (axis.from, axis.to, axis.ticks.len()),
                    (from, to, ticks),
                    "{values:?}"
                );
                assert!((axis.at(axis.to) - 1.0).abs() < 1e-9);
            }
            assert!(axis.at(axis.from).abs() < 1e-9);
        }
        assert_eq!(Axis::of(Scale::Even, std::iter::empty()), None);
    }

    fn chart(points: Vec<(f64, f64)>) -> String {
        Chart {
            title: "a < b",
            x: Scale::Powers,
            x_label: &|value| format!("{value}"),
            y: Scale::Even,
            y_label: &|value| format!("{value}"),
            lines: vec![Line {
                name: "one".to_owned(),
                color: 9,
                points,
            }],
        }
        .svg()
    }

    #[test]
    fn a_diagram_has_its_lines() {
        let svg = chart(vec![(0.0, 5.0), (1.0, 0.0), (10.0, 5.0)]);
        assert!(svg.contains("points=\"56.0,252.0 484.0,48.0\""), "{svg}");
        assert!(svg.contains(">a &lt; b</text>") && svg.ends_with("</svg>"));
        assert_eq!(chart(vec![(0.0, 1.0)]), "");
    }
}
