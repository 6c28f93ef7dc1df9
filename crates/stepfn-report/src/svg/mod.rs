//! The heat map as SVG, for papers: scalable, with real text. A table that is too large for numbers is drawn without them.

mod compact;

use core::fmt::Write;

use stepfn_attribution::Attribution;

use crate::color::{BLACK, Rgb, Scale, ink};
use crate::grid::{Grid, Label, Section, title};
use crate::label::{clip, number, plain, step_value, width};

/// Drawing options.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SvgOptions {
    /// Whether to show each step's scores as shares of their sum over source and target.
    pub normalize: bool,
    /// Whether to print numbers in the cells.
    pub numbers: bool,
    /// Whether to show the values of step functions below the table.
    pub step_scores: bool,
    /// The font, a CSS `font-family`.
    pub font: String,
}

impl Default for SvgOptions {
    fn default() -> Self {
        Self { normalize: true, numbers: true, step_scores: true, font: "Helvetica, Arial, sans-serif".to_owned() }
    }
}

/// Sizes in drawing units, which are pixels at scale 1. Cells get wider if their numbers need it.
const CELL: (f64, f64) = (38.0, 22.0);
/// Width of a digit in the small font.
const DIGIT: f64 = 6.0;
const FONT: f64 = 12.0;
const SMALL: f64 = 10.0;
const MARGIN: f64 = 10.0;
/// Width of a terminal column in the font above, used to estimate the space for labels. Fonts differ, so it errs on the large side.
const COLUMN: f64 = 7.0;
/// The longest label, in terminal columns.
const LABEL: usize = 24;
/// Column labels are rotated by this angle, which saves space and keeps them readable.
const LEAN: f64 = 50.0;

/// The most cells that are drawn with numbers: about a megabyte.
const MOST_CELLS: usize = 5_000;

/// Draws the attribution of one text.
pub fn render(attribution: &Attribution, options: &SvgOptions) -> String {
    let grid = Grid::new(attribution, options.normalize);
    let title = plain(&title(attribution));
    if grid.cells() > MOST_CELLS { compact::draw(&grid, &title, options) } else { draw(&grid, &title, options) }
}

/// Draws a table with a number in each cell.
fn draw(grid: &Grid, title: &str, options: &SvgOptions) -> String {
    let steps = if options.step_scores { grid.step_scores.as_slice() } else { &[] };
    let row_labels = grid.sections.iter().flat_map(|section| &section.rows).map(|(label, _)| label.text.as_str());
    let left = MARGIN + room(row_labels.chain(steps.iter().map(|(name, _)| name.as_str()))) + 8.0;
    let leaning = room(grid.columns.iter().map(|column| column.text.as_str()));
    let (sine, cosine) = LEAN.to_radians().sin_cos();
    let top = MARGIN + leaning * sine + FONT;
    let cell = cell_width(grid, steps, options.numbers);
    let right = left + cell * grid.columns.len() as f64;

    let mut drawing = Drawing { text: String::new(), left, cell, y: top };
    drawing.header(&grid.columns);
    for section in &grid.sections {
        drawing.section(section, grid, options.numbers);
    }
    for (name, values) in steps {
        drawing.step_score(name, values);
    }
    if !grid.sections.is_empty() {
        drawing.legend(grid);
    }
    // The last label extends past the table.
    let (wide, high) = ((right + leaning * cosine).max(left + 120.0) + MARGIN, drawing.y + MARGIN);
    document((wide, high), title, options, &drawing.text)
}

/// A file of that size, on white.
fn document((wide, high): (f64, f64), title: &str, options: &SvgOptions, content: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.0} {high:.0}\" width=\"{wide:.0}\" \
         height=\"{high:.0}\" font-family=\"{}\" font-size=\"{FONT}\" role=\"img\" aria-label=\"{title}\">\n\
         <title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{content}</svg>\n",
        escaped(&options.font)
    )
}

/// The width of the widest label.
fn room<'a>(labels: impl Iterator<Item = &'a str>) -> f64 {
    labels.map(|label| width(label).min(LABEL)).max().unwrap_or(0) as f64 * COLUMN
}

/// A cell width that fits the widest number.
fn cell_width(grid: &Grid, steps: &[(String, Vec<f32>)], numbers: bool) -> f64 {
    let cells = grid.sections.iter().flat_map(|section| &section.rows).filter(|_| numbers);
    let cells = cells.flat_map(|(_, values)| values).map(|&value| number(value, grid.scale.max).len());
    let steps = steps.iter().map(|(_, values)| (values, Scale::of(values.iter().copied()).max));
    let steps = steps.flat_map(|(values, max)| values.iter().map(move |&value| step_value(value, max).len()));
    CELL.0.max(cells.chain(steps).max().unwrap_or(0) as f64 * DIGIT + 6.0)
}

struct Drawing {
    text: String,
    /// Left edge of the cells.
    left: f64,
    /// Width of a cell.
    cell: f64,
    /// Top edge of the next element.
    y: f64,
}

impl Drawing {
    fn element(&mut self, element: core::fmt::Arguments<'_>) {
        writeln!(self.text, "{element}").expect("writing to a string can't fail");
    }

    /// The centre of a column.
    fn column(&self, at: usize) -> f64 {
        self.left + self.cell * (at as f64 + 0.5)
    }

    fn header(&mut self, columns: &[Label]) {
        for (at, column) in columns.iter().enumerate() {
            let (x, y) = (self.column(at) + 3.0, self.y - 5.0);
            let (label, style) = (escaped(&clip(&column.text, LABEL)), style(column));
            self.element(format_args!(
                "<text transform=\"translate({x:.1} {y:.1}) rotate(-{LEAN})\"{style}>{label}</text>"
            ));
        }
    }

    fn label(&mut self, label: &Label) {
        let (x, y) = (self.left - 6.0, self.y + CELL.1 / 2.0 + FONT * 0.35);
        let (text, style) = (escaped(&clip(&label.text, LABEL)), style(label));
        self.element(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\"{style}>{text}</text>"));
    }

    fn section(&mut self, section: &Section, grid: &Grid, numbers: bool) {
        for (label, values) in &section.rows {
            self.label(label);
            for (at, &value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                let color = grid.color(label, at, value);
                let (x, y) = (self.left + self.cell * at as f64, self.y);
                let (wide, high) = (self.cell, CELL.1);
                if let Some(color) = color.map(hex) {
                    self.element(format_args!(
                        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide}\" height=\"{high}\" fill=\"{color}\" stroke=\"#fff\"/>"
                    ));
                }
                if numbers {
                    self.number(at, &number(value, grid.scale.max), color.map_or(BLACK, ink));
                }
            }
            self.y += CELL.1;
        }
        self.y += 8.0;
    }

    fn number(&mut self, at: usize, number: &str, color: Rgb) {
        let (x, y) = (self.column(at), self.y + CELL.1 / 2.0 + SMALL * 0.35);
        self.element(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{SMALL}\" text-anchor=\"middle\" fill=\"{}\">{number}</text>",
            hex(color)
        ));
    }

    fn step_score(&mut self, name: &str, values: &[f32]) {
        self.label(&Label { text: plain(name), special: true });
        let max = Scale::of(values.iter().copied()).max;
        for (at, &value) in values.iter().enumerate() {
            self.number(at, &step_value(value, max), Rgb(68, 68, 68));
        }
        self.y += CELL.1;
    }

    fn legend(&mut self, grid: &Grid) {
        let scale = grid.scale;
        self.y += 6.0;
        let (wide, high) = (120.0, 8.0);
        let (x, y) = (self.left, self.y);
        let low = if scale.signed { -scale.max } else { 0.0 };
        let color = |value| scale.color(value).map_or_else(String::new, hex);
        let stops = [(0, low), (50, (low + scale.max) / 2.0), (100, scale.max)];
        let stops: String = stops
            .iter()
            .map(|(at, value)| format!("<stop offset=\"{at}%\" stop-color=\"{}\"/>", color(*value)))
            .collect();
        self.element(format_args!("<linearGradient id=\"scale\">{stops}</linearGradient>"));
        self.element(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide}\" height=\"{high}\" fill=\"url(#scale)\" stroke=\"#999\" stroke-width=\"0.5\"/>"
        ));
        let [first, last] = grid.ends();
        for (x, anchor, end) in [(x, "start", first), (x + wide, "end", last)] {
            let y = y + high + SMALL + 2.0;
            self.element(format_args!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{SMALL}\" text-anchor=\"{anchor}\">{end}</text>"
            ));
        }
        self.y += high + SMALL + 4.0;
    }
}

fn style(label: &Label) -> &'static str {
    if label.special { " fill=\"#666\" font-style=\"italic\"" } else { "" }
}

fn hex(Rgb(red, green, blue): Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Escapes text for XML. Labels contain no control characters, which XML can't express.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    /// The names of all elements, after checking that every tag is closed.
    fn elements(svg: &str) -> Vec<String> {
        let (mut open, mut seen) = (Vec::new(), Vec::new());
        for tag in svg.split('<').skip(1) {
            let (inside, _) = tag.split_once('>').unwrap_or_else(|| panic!("unclosed tag: {tag}"));
            assert_eq!(inside.matches('"').count() % 2, 0, "{inside}");
            let name = inside.split([' ', '/']).find(|name| !name.is_empty()).unwrap_or_default();
            if inside.starts_with('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "{svg}");
            } else {
                seen.push(name.to_owned());
                if !inside.ends_with('/') {
                    open.push(name.to_owned());
                }
            }
        }
        assert!(open.is_empty(), "{open:?}");
        seen
    }

    #[test]
    fn a_cell_for_every_score() {
        let svg = render(&samples::translation(), &SvgOptions::default());
        let rects = elements(&svg).iter().filter(|name| *name == "rect").count();
        // 7 source tokens at 10 steps; 0 to 9 target tokens; the background and the legend. Special tokens have no colour.
        assert_eq!(rects, 70 + 45 + 2);
        assert!(svg.contains(">eröffnet</text>") && svg.contains(">0.97</text>"), "{svg}");
        let bare = SvgOptions { numbers: false, step_scores: false, ..SvgOptions::default() };
        let bare = render(&samples::translation(), &bare);
        assert_eq!(elements(&bare).iter().filter(|name| *name == "rect").count(), rects);
        assert!(!bare.contains(">0.97</text>") && bare.len() < svg.len());
    }

    #[test]
    fn markup_in_tokens_is_text() {
        let svg = render(&samples::hostile(), &SvgOptions::default());
        let names = elements(&svg);
        assert!(names.iter().all(|name| name != "script" && name != "b"), "{names:?}");
        assert!(svg.contains("&lt;script&gt;alert(1)") && !svg.contains('\x1b'), "{svg}");
    }

    #[test]
    fn a_large_table_is_thinned() {
        let mut long = samples::prompt();
        let tokens = 2_000;
        long.target = samples::words(tokens);
        (long.steps, long.contrast) = (1..tokens, Vec::new());
        long.step_scores.clear();
        let score = |at: usize| if at / (tokens - 1) <= at % (tokens - 1) { (at % 7) as f32 } else { f32::NAN };
        let values = (0..tokens * (tokens - 1)).map(score).collect();
        long.target_scores = stepfn_attribution::Scores::per_token(tokens, tokens - 1, values).ok();
        let svg = render(&long, &SvgOptions::default());
        elements(&svg);
        assert!(svg.len() < 1_000_000, "{}", svg.len());
        assert!(svg.contains("the largest of 13 × 13"), "{svg}");
    }

    #[test]
    fn an_empty_attribution_is_a_valid_drawing() {
        let mut empty = samples::prompt();
        empty.target_scores = None;
        empty.step_scores.clear();
        assert!(!elements(&render(&empty, &SvgOptions::default())).contains(&"linearGradient".to_owned()));
    }
}
