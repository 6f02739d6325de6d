//! Line plots as SVG, without scripts. Knows numbers and names, not what they mean.

use std::fmt::{self, Write};

/// One line of a plot.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// x and y; a `None` leaves a gap.
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// A plot over seconds.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) lines: Vec<Line>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// More points than pixels show nothing more: a soak of a day is thinned.
const MAX_POINTS: usize = 1_440;

impl Plot {
    /// Whether there is anything to see.
    pub(crate) fn has_points(&self) -> bool {
        self.lines.iter().any(|line| line.points.iter().any(|(_, y)| y.is_some()))
    }

    /// The figure.
    pub(crate) fn to_svg(&self) -> String {
        let mut out = String::new();
        // Writing to a string never fails.
        _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let until = points().map(|(x, _)| *x).fold(1.0, f64::max);
        let highest = points().filter_map(|(_, y)| *y).fold(0.0, f64::max);
        let (step, top) = scale(highest);
        let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * value / until;
        let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);

        write!(out, "<figure><figcaption>{}", self.title)?;
        if !self.unit.is_empty() {
            write!(out, " <span class=\"unit\">{}</span>", self.unit)?;
        }
        write!(out, "<span class=\"legend\">")?;
        for (number, line) in self.lines.iter().enumerate() {
            write!(out, "<span class=\"key k{number}\">{}</span>", line.name)?;
        }
        write!(
            out,
            "</span></figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title
        )?;
        let mut tick = 0.0;
        // Ends: at most a dozen steps, see `scale`.
        while tick <= top * 1.0001 {
            let at = y(tick);
            write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                WIDTH - RIGHT
            )?;
            write!(
                out,
                "<text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                at + 3.5,
                short(tick)
            )?;
            tick += step;
        }
        let (step, _) = scale(until);
        let mut tick = 0.0;
        while tick <= until {
            write!(
                out,
                "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{} s</text>",
                x(tick),
                HEIGHT - 8.0,
                short(tick)
            )?;
            tick += step;
        }
        for (number, line) in self.lines.iter().enumerate() {
            let path = path(&line.points, x, y);
            write!(
                out,
                "<path class=\"line k{number}\" d=\"{path}\"><title>{}</title></path>",
                line.name
            )?;
        }
        write!(out, "</svg></figure>")
    }
}

fn path(points: &[(f64, Option<f64>)], x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for chunk in points.chunks(points.len().div_ceil(MAX_POINTS).max(1)) {
        // The highest of a chunk: thinning must not hide a peak.
        let highest = chunk.iter().filter_map(|(at, y)| y.map(|y| (*at, y)));
        let Some((at, value)) = highest.max_by(|a, b| a.1.total_cmp(&b.1)) else {
            pen_down = false;
            continue;
        };
        let command = if pen_down { 'L' } else { 'M' };
        _ = write!(path, "{command}{:.1} {:.1}", x(at), y(value));
        if !pen_down {
            // A single point between gaps is a dot.
            _ = write!(path, "h0.1");
        }
        pen_down = true;
    }
    path
}

/// A round step, and the end of an axis that reaches `highest` in 3 to 8 of them.
fn scale(highest: f64) -> (f64, f64) {
    if !highest.is_finite() || highest <= 0.0 {
        return (1.0, 1.0);
    }
    let rough = highest / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(power * 10.0);
    (step, (highest / step).ceil() * step)
}

/// A number in few characters.
fn short(value: f64) -> String {
    let trimmed = |number: f64, unit: &str| {
        let text = format!("{number:.3}");
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match value {
        v if v >= 1e9 => trimmed(v / 1e9, "G"),
        v if v >= 1e6 => trimmed(v / 1e6, "M"),
        v if v >= 1e4 => trimmed(v / 1e3, "k"),
        v => trimmed(v, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps() {
        assert_eq!(scale(0.0), (1.0, 1.0));
        for highest in [0.003, 0.9, 1.0, 7.3, 48.0, 1_234.0, 9.9e8] {
            let (step, top) = scale(highest);
            assert!(top >= highest && top < highest + step * 1.001, "{highest}");
            assert!((2.9..=8.1).contains(&(top / step)), "{highest}: {step} {top}");
        }
        assert_eq!(
            (short(0.25), short(12_500.0), short(3e6)),
            ("0.25".into(), "12.5k".into(), "3M".into())
        );
    }

    #[test]
    fn lines_have_gaps_and_peaks_stay() {
        let points = vec![(1.0, Some(1.0)), (2.0, None), (3.0, Some(2.0)), (4.0, Some(1.0))];
        let text = path(&points, |x| x, |y| y);
        assert_eq!(text.matches('M').count(), 2);
        let mut many: Vec<(f64, Option<f64>)> =
            (0..100_000).map(|n| (f64::from(n), Some(1.0))).collect();
        many[50_001].1 = Some(99.0);
        let text = path(&many, |x| x, |y| y);
        assert!(text.contains("50001.0 99.0"));
        assert!(text.len() < 50_000);
    }

    #[test]
    fn a_plot_is_one_figure() {
        let line = Line { name: "p99", points: vec![(1.0, Some(5.0)), (2.0, Some(6.0))] };
        let plot = Plot { title: "Delay", unit: "ms", lines: vec![line] };
        assert!(plot.has_points());
        let svg = plot.to_svg();
        assert!(svg.starts_with("<figure>") && svg.ends_with("</figure>"));
        assert!(svg.contains("Delay") && svg.contains("p99"));
    }
}
