//! SVG plots with logarithmic axes, on which a power law is a straight line whose slope is the exponent.

use core::fmt::Write;

/// Points of one curve, all coordinates positive.
#[derive(Debug, Clone)]
pub struct Curve {
    /// The label in the legend.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// Whether the line is dashed, for the other side of a comparison.
    pub dashed: bool,
}

/// Curves that share a pair of axes.
#[derive(Debug, Clone)]
pub struct Panel {
    /// The title, with units.
    pub title: String,
    /// The label of the x axis.
    pub across: String,
    /// The curves. Each pair, one solid and one dashed, has the same colour.
    pub curves: Vec<Curve>,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
/// Left, top, right, bottom.
const MARGINS: [f64; 4] = [52.0, 34.0, 14.0, 42.0];
/// Space for the legend.
const LEGEND: f64 = 140.0;
/// Distinguishable with colour blindness (Okabe & Ito 2008).
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// Panels in two columns, on a white background so that they work on pages of any colour.
pub fn svg(panels: &[Panel]) -> String {
    let (width, height) = (WIDTH * panels.len().min(2) as f64, HEIGHT * panels.len().div_ceil(2) as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let [x, y] = [(index % 2) as f64 * WIDTH, (index / 2) as f64 * HEIGHT];
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">{}</g>", drawn(panel));
    }
    svg + "</svg>\n"
}

fn drawn(panel: &Panel) -> String {
    let shown = |&(x, y): &(f64, f64)| x > 0.0 && y > 0.0 && x.is_finite() && y.is_finite();
    let points = || panel.curves.iter().flat_map(|curve| curve.points.iter().copied().filter(shown));
    let [left, top, right, bottom] = MARGINS;
    let across = Axis::over(points().map(|point| point.0), 2.0, left, WIDTH - right);
    let up = Axis::over(points().map(|point| point.1), 10.0, HEIGHT - bottom, top);
    let mut svg = format!("<text x=\"{left}\" y=\"18\" font-weight=\"bold\">{}</text>\n", escaped(&panel.title));
    for (value, x) in across.ticks() {
        let _ = writeln!(svg, "<path d=\"M{x:.1} {top}V{}\" stroke=\"#ddd\"/>", HEIGHT - bottom);
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>", HEIGHT - bottom + 14.0);
    }
    for (value, y) in up.ticks() {
        let _ = writeln!(svg, "<path d=\"M{left} {y:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - right);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>", left - 4.0, y + 4.0);
    }
    let middle = (left + WIDTH - right) / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        HEIGHT - 8.0,
        escaped(&panel.across)
    );
    for (index, curve) in panel.curves.iter().enumerate().filter(|(_, curve)| !curve.points.is_empty()) {
        let at = |&(x, y): &(f64, f64)| format!("{:.1},{:.1}", across.place(x), up.place(y));
        let line: Vec<String> = curve.points.iter().filter(|point| shown(point)).map(at).collect();
        let (colour, dashes) = (COLOURS[index / 2 % COLOURS.len()], if curve.dashed { "5 3" } else { "none" });
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
            line.join(" ")
        );
        // Rising curves leave the lower right corner free.
        let (x, y) = (WIDTH - right - LEGEND, HEIGHT - bottom - 8.0 - 14.0 * (panel.curves.len() - 1 - index) as f64);
        let _ = writeln!(
            svg,
            "<path d=\"M{} {}h18\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/><text x=\"{}\" y=\"{y}\">{}</text>",
            x,
            y - 4.0,
            x + 22.0,
            escaped(&curve.name)
        );
    }
    svg
}

/// A range between two powers of a base, and its position on the page.
struct Axis {
    base: f64,
    powers: [i32; 2],
    places: [f64; 2],
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, base: f64, first: f64, last: f64) -> Self {
        let logs: Vec<f64> = values.map(|value| value.ln() / base.ln()).collect();
        let low = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Allows for rounding errors in logarithms of exact powers.
        let powers = if logs.is_empty() { [0, 1] } else { [(low + 1e-9).floor() as i32, (high - 1e-9).ceil() as i32] };
        Self { base, powers: [powers[0], powers[1].max(powers[0] + 1)], places: [first, last] }
    }

    fn place(&self, value: f64) -> f64 {
        let [low, high] = self.powers.map(f64::from);
        let part = (value.ln() / self.base.ln() - low) / (high - low);
        self.places[0] + part * (self.places[1] - self.places[0])
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        (self.powers[0]..=self.powers[1]).map(|power| {
            // `powi` with a negative exponent differs slightly from the written value.
            let value = if power < 0 { 1.0 / self.base.powi(-power) } else { self.base.powi(power) };
            (value, self.place(value))
        })
    }
}

/// The exponent of the power law through the points, by least squares on logarithms.
pub fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let (x, y) = (logs.iter().map(|p| p.0).sum::<f64>() / count, logs.iter().map(|p| p.1).sum::<f64>() / count);
    let covariance: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    covariance / logs.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_has_its_exponent() {
        let points: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 8.0].map(|x: f64| (x, 3.0 * x.powf(1.5))).to_vec();
        assert!((exponent(&points) - 1.5).abs() < 1e-12);
    }

    #[test]
    fn points_lie_within_their_axes() {
        let curve = Curve { name: "a < b".to_owned(), points: vec![(32.0, 0.1), (64.0, 1.0)], dashed: true };
        let panel = Panel { title: "seconds".to_owned(), across: "tokens".to_owned(), curves: vec![curve] };
        let svg = svg(&[panel]);
        assert!(svg.contains("points=\"52.0,258.0 406.0,34.0\""), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains(">32<") && svg.contains(">0.1<"), "{svg}");
    }

    #[test]
    fn an_empty_plot_does_not_panic() {
        let curve = Curve { name: String::new(), points: vec![], dashed: false };
        assert!(
            svg(&[Panel { title: String::new(), across: String::new(), curves: vec![curve] }]).ends_with("</svg>\n")
        );
    }
}
