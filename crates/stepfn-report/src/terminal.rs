//! A heat map for a terminal: input tokens as rows, predicted tokens as columns, step scores below.
//!
//! ```
//! use stepfn_attribution::{Attribution, Scores};
//! use stepfn_models::tokenizer::Token;
//! use stepfn_report::terminal::{Colors, TerminalOptions, render};
//!
//! let token = |surface: &str| Token { id: 0, surface: surface.to_owned(), span: 0..0, special: false };
//! let mut attribution = Attribution::new(Vec::new(), vec![token("An"), token(" old"), token(" man")], 1..3);
//! attribution.target_scores = Some(Scores::per_token(3, 2, vec![0.2, 0.3, f32::NAN, 0.1, f32::NAN, f32::NAN])?);
//! let options = TerminalOptions { colors: Colors::None, ..TerminalOptions::default() };
//! assert!(render(&attribution, &options).ends_with("
//!      old   man
//! An  1.00  0.75
//! old       0.25
//! "));
//! # Ok::<(), stepfn_attribution::AttributionError>(())
//! ```

use core::ops::Range;

use stepfn_attribution::Attribution;

use crate::color::{Rgb, Scale, ink, nearest_256};
use crate::grid::{Grid, Label, title};
use crate::label::{clip, number, step_value, width};

/// The colours that a terminal supports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Colors {
    /// None: plain text without escape sequences.
    None,
    /// 256 colours.
    Indexed,
    /// 24-bit colours.
    #[default]
    Full,
}

/// Drawing options.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TerminalOptions {
    /// Columns of the terminal; wider tables are split into blocks.
    pub width: usize,
    /// The colours to use.
    pub colors: Colors,
    /// Whether to show each step's scores as shares of their sum over source and target.
    pub normalize: bool,
}

impl Default for TerminalOptions {
    fn default() -> Self {
        Self { width: 80, colors: Colors::default(), normalize: true }
    }
}

/// The maximum width of row labels and of column labels.
const LABELS: [usize; 2] = [24, 14];

/// Draws the attribution of one text, ending in a line break. Special tokens are dimmed, and cells that a step can't see are blank. If not
/// even one column fits, lines are longer than `width`.
pub fn render(attribution: &Attribution, options: &TerminalOptions) -> String {
    let grid = Grid::new(attribution, options.normalize);
    let pen = Pen(options.colors);
    let labels = grid.sections.iter().flat_map(|section| &section.rows).map(|(label, _)| label.text.as_str());
    let names = grid.step_scores.iter().map(|(name, _)| name.as_str());
    let widest = labels.chain(names).map(width).max().unwrap_or(0);
    let table = Table {
        label_width: widest.min(LABELS[0]).min((options.width / 3).max(8)),
        widths: (0..grid.columns.len()).map(|at| column_width(&grid, at)).collect(),
        grid: &grid,
        pen,
    };
    let shares = if options.normalize && !grid.sections.is_empty() { "; shares of each step" } else { "" };
    let mut text =
        format!("{}\n→ predicted token, ↓ input token{shares}\n", pen.bold(&crate::label::plain(&title(attribution))));
    for block in table.blocks(options.width) {
        text.push('\n');
        table.block(&mut text, block);
    }
    if !attribution.measured.is_empty() {
        let measured = attribution.measured.iter().map(|(name, value)| format!("{name} {value:.2}"));
        text.push_str(&format!("measured: {}\n", measured.collect::<Vec<_>>().join(", ")));
    }
    if !grid.sections.is_empty() && pen.0 != Colors::None {
        text.push_str(&legend(&grid, pen));
    }
    text
}

/// Wide enough for the widest number of a column, and for its label up to the maximum.
fn column_width(grid: &Grid, at: usize) -> usize {
    let scores =
        grid.sections.iter().flat_map(|section| &section.rows).map(|(_, values)| number(values[at], grid.scale.max));
    let step_scores = grid.step_scores.iter().map(|(_, values)| step_value(values[at], largest(values)));
    let numbers = scores.chain(step_scores).map(|number| width(&number)).max().unwrap_or(0);
    numbers.max(width(&grid.columns[at].text).min(LABELS[1]))
}

fn largest(values: &[f32]) -> f32 {
    Scale::of(values.iter().copied()).max
}

struct Table<'a> {
    grid: &'a Grid,
    pen: Pen,
    label_width: usize,
    widths: Vec<usize>,
}

impl Table<'_> {
    /// Ranges of columns that fit on a line; at least one column each.
    fn blocks(&self, width: usize) -> Vec<Range<usize>> {
        let room = width.saturating_sub(self.label_width);
        let (mut blocks, mut start, mut used) = (Vec::new(), 0, 0);
        for (at, column) in self.widths.iter().enumerate() {
            if at > start && used + column + 2 > room {
                blocks.push(start..at);
                (start, used) = (at, 0);
            }
            used += column + 2;
        }
        if start < self.widths.len() {
            blocks.push(start..self.widths.len());
        }
        blocks
    }

    /// Draws the header, scores and step scores of some columns.
    fn block(&self, text: &mut String, columns: Range<usize>) {
        let mut header = " ".repeat(self.label_width);
        for at in columns.clone() {
            let label = clip(&self.grid.columns[at].text, self.widths[at]);
            header += &cell(&label, self.widths[at], &self.styled(&label, &self.grid.columns[at]));
        }
        line(text, &header);
        let several = self.grid.sections.len() > 1;
        for section in &self.grid.sections {
            if several {
                line(text, &self.pen.dim(&format!("── {}", section.name)));
            }
            let seen = |values: &[f32]| values[columns.clone()].iter().any(|value| !value.is_nan());
            for (label, values) in section.rows.iter().filter(|(_, values)| seen(values)) {
                let row: String = columns.clone().map(|at| self.cell(label, at, values[at])).collect();
                line(text, &(self.row_label(label) + &row));
            }
        }
        if !self.grid.step_scores.is_empty() && !self.grid.sections.is_empty() {
            line(text, &self.pen.dim("── steps"));
        }
        for (name, values) in &self.grid.step_scores {
            let max = largest(values);
            let label = Label { text: crate::label::plain(name), special: false };
            let number = |at: usize| {
                let number = step_value(values[at], max);
                cell(&number, self.widths[at], &number)
            };
            line(text, &(self.row_label(&label) + &columns.clone().map(number).collect::<String>()));
        }
    }

    fn row_label(&self, label: &Label) -> String {
        let text = clip(&label.text, self.label_width);
        self.styled(&text, label) + &" ".repeat(self.label_width.saturating_sub(width(&text)))
    }

    fn styled(&self, text: &str, label: &Label) -> String {
        if label.special { self.pen.dim(text) } else { text.to_owned() }
    }

    /// A score, with the spaces on both sides coloured too.
    fn cell(&self, label: &Label, step: usize, value: f32) -> String {
        let (text, width) = (number(value, self.grid.scale.max), self.widths[step]);
        match self.grid.color(label, step, value) {
            Some(color) => self.pen.on(color, &cell(&text, width, &text)),
            None => cell(&text, width, &text),
        }
    }
}

/// `text` right-aligned in a column with a space on both sides, printed as `styled`.
fn cell(text: &str, columns: usize, styled: &str) -> String {
    format!("{}{styled} ", " ".repeat((columns + 1).saturating_sub(width(text))))
}

/// Adds a line without trailing spaces.
fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// The colours and their values.
fn legend(grid: &Grid, pen: Pen) -> String {
    let scale = grid.scale;
    let from = if scale.signed { -12i8 } else { 0 };
    let bar = (from..=12).map(|step| {
        scale.color(f32::from(step) / 12.0 * scale.max).map_or_else(String::new, |color| pen.on(color, " "))
    });
    let [low, high] = grid.ends();
    format!("\n{low} {} {high}\n", bar.collect::<String>())
}

/// Writes escape sequences if colours are on.
#[derive(Clone, Copy)]
pub(crate) struct Pen(pub(crate) Colors);

impl Pen {
    pub(crate) fn style(self, codes: &str, text: &str) -> String {
        match self.0 {
            Colors::None => text.to_owned(),
            _ => format!("\x1b[{codes}m{text}\x1b[0m"),
        }
    }

    fn bold(self, text: &str) -> String {
        self.style("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.style("2", text)
    }

    fn on(self, background: Rgb, text: &str) -> String {
        let codes = |Rgb(r, g, b): Rgb| format!("2;{r};{g};{b}");
        match self.0 {
            Colors::None => text.to_owned(),
            Colors::Full => self.style(&format!("48;{};38;{}", codes(background), codes(ink(background))), text),
            Colors::Indexed => {
                let (index, shown) = nearest_256(background);
                self.style(&format!("48;5;{index};38;5;{}", nearest_256(ink(shown)).0), text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples;

    fn plain(width: usize) -> TerminalOptions {
        TerminalOptions { width, colors: Colors::None, normalize: true }
    }

    #[test]
    fn a_translation_in_plain_text() {
        let text = render(&samples::translation(), &plain(100));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "integrated_gradients of probability, opus-mt-en-de");
        assert!(lines[3].contains("Der") && lines[3].contains("eröffnet"), "{text}");
        assert!(lines.contains(&"── source") && lines.contains(&"── target") && lines.contains(&"── steps"), "{text}");
        let row = |name: &str| lines.iter().find(|line| line.starts_with(name)).copied().unwrap_or_default();
        assert!(row("probability").contains(" 0.97 "), "{text}");
        assert!(row("chair").split_whitespace().count() == 11, "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn wide_tables_are_broken_into_blocks() {
        let narrow = render(&samples::translation(), &plain(44));
        assert!(narrow.lines().skip(2).all(|line| width(line) <= 44), "{narrow}");
        let headers: Vec<&str> = narrow.split("\n\n").skip(1).filter_map(|block| block.lines().next()).collect();
        assert!(headers.len() >= 2, "{narrow}");
        let columns: Vec<&str> = headers.iter().flat_map(|header| header.split_whitespace()).collect();
        assert_eq!(columns, ["Der", "Vor", "sitz", "ende", "eröffnet", "e", "die", "Sitzung", ".", "</s>"]);
        let wide = render(&samples::translation(), &plain(200));
        assert_eq!(wide.matches("── source").count(), 1);
    }

    #[test]
    fn every_style_is_reset_on_its_line() {
        let full = render(&samples::translation(), &TerminalOptions { width: 100, ..TerminalOptions::default() });
        assert!(full.contains("\x1b[48;2;"));
        let indexed =
            render(&samples::translation(), &TerminalOptions { colors: Colors::Indexed, ..TerminalOptions::default() });
        assert!(indexed.contains("\x1b[48;5;") && !indexed.contains("48;2;"));
        // Every style is reset on the line that set it.
        for line in full.lines().chain(indexed.lines()) {
            assert_eq!(line.matches("\x1b[").count(), 2 * line.matches("\x1b[0m").count(), "{line:?}");
        }
    }

    #[test]
    fn unsigned_scores_have_no_blue() {
        let text = render(&samples::prompt(), &TerminalOptions::default());
        assert!(!text.contains("48;2;33;102;172") && text.contains("48;2;178;24;43"), "{text}");
        assert!(text.contains("she vs he"), "{text}");
    }

    #[test]
    fn escape_sequences_in_tokens_are_made_visible() {
        let text = render(&samples::hostile(), &plain(80));
        assert!(!text.contains('\x1b') && text.contains("\\u{1b}[31m"), "{text}");
        assert!(text.contains("日本語") && text.contains('⏎'), "{text}");
    }

    #[test]
    fn without_scores_step_scores_are_shown() {
        let mut dummy = samples::translation();
        (dummy.source_scores, dummy.target_scores) = (None, None);
        let text = render(&dummy, &plain(120));
        assert!(text.contains("probability") && !text.contains("── s"), "{text}");
        dummy.steps = 11..11;
        dummy.step_scores.clear();
        dummy.deltas = None;
        assert_eq!(render(&dummy, &plain(80)).lines().count(), 2);
    }

    proptest! {
        #[test]
        fn lines_fit_the_width(columns in 40usize..160) {
            for sample in [samples::translation(), samples::prompt(), samples::hostile()] {
                let text = render(&sample, &plain(columns));
                let widest = text.lines().skip(2).map(width).max().unwrap_or(0);
                prop_assert!(widest <= columns, "{widest} > {columns}\n{text}");
            }
        }
    }
}
