//! Plots as SVG.

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

/// A plot is as wide as a phone's screen; wide pages show several beside one another.
const WIDTH: u32 = 340;
const HEIGHT: u32 = 200;
/// More points than pixels show nothing more.
const POINTS_MAX: usize = 680;
/// Colours that stand for those of the page.
const INK: RGBColor = RGBColor(1, 2, 3);
const ACCENT: RGBColor = RGBColor(4, 5, 6);
const GRID: RGBColor = RGBColor(7, 8, 9);

/// How the points are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// By straight lines.
    Line,
    /// A value holds until the next point.
    Steps,
}

/// One curve.
#[derive(Debug, Clone, Copy)]
pub struct Plot<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What stands below the x axis.
    pub x: &'a str,
    /// The points, in the order of x. What is no number is left out.
    pub points: &'a [(f64, f64)],
    /// How they are joined.
    pub shape: Shape,
    /// The words for y values 0, 1, 2...; without any, y is a number.
    pub words: &'a [&'a str],
}

impl Plot<'_> {
    /// The plot with its title; what it shows is told in words too.
    pub fn figure(&self) -> Markup {
        let told = self.told();
        html! {
            figure.plot {
                figcaption { (self.title) }
                @match self.svg(&told) {
                    Some(svg) => (PreEscaped(svg)),
                    None => p.muted { "Nothing yet." },
                }
                p.muted { (told) }
            }
        }
    }

    fn told(&self) -> String {
        let points = self.curve();
        let Some((_, last)) = points.last() else { return String::new() };
        let (low, high) = range(points.iter().map(|(_, y)| *y));
        if self.words.is_empty() {
            format!("Now {}, lowest {}, highest {}.", number(*last), number(low), number(high))
        } else {
            format!("At the end: {}.", self.word(*last))
        }
    }

    fn word(&self, y: f64) -> String {
        let mut numbered = (0u32..).zip(self.words);
        let named = numbered.find(|(index, _)| (f64::from(*index) - y).abs() < 0.01);
        named.map_or_else(String::new, |(_, word)| (*word).to_owned())
    }

    /// The points that are drawn.
    fn curve(&self) -> Vec<(f64, f64)> {
        let points: Vec<_> =
            self.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        let step = points.len().div_ceil(POINTS_MAX).max(1);
        let mut thin: Vec<_> = points.iter().copied().step_by(step).collect();
        if let Some(last) = points.last().filter(|last| thin.last() != Some(last)) {
            thin.push(*last);
        }
        if self.shape == Shape::Line {
            return thin;
        }
        let corners = thin.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
        corners.chain(thin.last().copied()).collect()
    }

    fn svg(&self, told: &str) -> Option<String> {
        let points = self.curve();
        let (left, right) = range(points.iter().map(|(x, _)| *x));
        let (_, high) = range(points.iter().map(|(_, y)| *y));
        if points.is_empty() {
            return None;
        }
        let right = if right > left { right } else { left + 1.0 };
        let words = f64::from(u8::try_from(self.words.len()).unwrap_or(u8::MAX));
        let top = if self.words.is_empty() { (high * 1.1).max(1.0) } else { words - 0.8 };
        let bottom = if self.words.is_empty() { 0.0 } else { -0.2 };
        let mut svg = String::new();
        self.draw(&mut svg, &points, (left..right, bottom..top)).ok()?;
        Some(self.dressed(&svg, told))
    }

    fn draw(
        &self,
        svg: &mut String,
        points: &[(f64, f64)],
        (x, y): (std::ops::Range<f64>, std::ops::Range<f64>),
    ) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
        let labels = if self.words.is_empty() { 52 } else { 104 };
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(38)
            .y_label_area_size(labels)
            .build_cartesian_2d(x, y)?;
        let font = ("sans-serif", 12).into_font().color(&INK);
        let tick = |y: &f64| self.word(*y);
        let plain = |y: &f64| number(*y);
        let y_labels: &dyn Fn(&f64) -> String = if self.words.is_empty() { &plain } else { &tick };
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_labels(if self.words.is_empty() { 5 } else { points.len().div_ceil(2).clamp(2, 6) })
            .y_labels(if self.words.is_empty() { 5 } else { self.words.len() + 1 })
            .x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| y_labels(y))
            .x_desc(self.x)
            .label_style(font.clone())
            .axis_desc_style(font)
            .draw()?;
        let line = ShapeStyle { color: ACCENT.into(), filled: false, stroke_width: 2 };
        chart.draw_series(LineSeries::new(points.iter().copied(), line))?;
        root.present()?;
        drop(chart);
        Ok(())
    }

    /// In the colours of the page, as wide as there is room, and with a name.
    fn dressed(&self, svg: &str, told: &str) -> String {
        let name = html! { (self.title) ": " (told) }.into_string().replace('"', "&quot;");
        let start = format!(
            "<svg role=\"img\" aria-label=\"{name}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">"
        );
        let inside =
            svg.split_once("<svg").and_then(|(_, rest)| rest.split_once('>')).map_or("", |(_, rest)| rest);
        let inside = inside.trim_end();
        let colours = [("#010203", "currentColor"), ("#040506", "var(--accent)"), ("#070809", "var(--line)")];
        colours.iter().fold(start + inside, |svg, (stand_in, colour)| svg.replace(stand_in, colour))
    }
}

/// The lowest and the highest; 0 for none.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .fold(None, |range: Option<(f64, f64)>, value| {
            Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        })
        .unwrap_or_default()
}

/// A number in few characters.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e9 => format!("{:.1}G", value / 1e9),
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.0}k", value / 1e3),
        size if size >= 100.0 || (value - value.round()).abs() < 1e-9 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot<'a>(points: &'a [(f64, f64)], words: &'a [&'a str]) -> Plot<'a> {
        Plot { title: "a \"<b>\"", x: "<seconds>", points, shape: Shape::Steps, words }
    }

    #[test]
    fn a_plot_is_svg_in_the_colours_of_the_page() {
        let text = plot(&[(0.0, 1.0), (1.0, 20_000.0), (f64::NAN, 3.0)], &[]).figure().into_string();
        assert!(text.contains("<polyline") && text.contains("var(--accent)"), "{text}");
        assert!(text.contains("currentColor") && text.contains("highest 20k"), "{text}");
        for wrong in ["http", "#0", "#F", "<b>", "<seconds>", "NaN"] {
            assert!(!text.contains(wrong), "{wrong} in {text}");
        }
    }

    #[test]
    fn nothing_and_one_point_are_no_trouble_and_many_are_thinned_out() {
        assert!(plot(&[], &[]).figure().into_string().contains("Nothing yet"));
        assert!(plot(&[(5.0, 0.0)], &["no", "yes"]).figure().into_string().contains("At the end: no."));
        let many: Vec<(f64, f64)> = (0..1_000_000).map(|x| (f64::from(x), 1.0)).collect();
        assert!(plot(&many, &[]).figure().into_string().len() < 64 << 10);
    }
}
