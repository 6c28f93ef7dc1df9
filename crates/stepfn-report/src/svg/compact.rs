//! A heat map without numbers, for tables too large to read them: small cells, every nth label, and where there are more rows or columns than
//! a page can show, the largest score of each block of cells.
//!
//! All cells of one colour are one path, so the file has at most a few hundred kilobytes.

use core::fmt::Write;
use std::collections::BTreeMap;

use super::{FONT, LABEL, LEAN, MARGIN, SMALL, SvgOptions, document, escaped, hex, room};
use crate::color::Scale;
use crate::grid::{Grid, Label, Section};
use crate::label::clip;

/// The most rows and the most columns.
const MOST: usize = 160;
/// The longer side of all cells together, if their size allows it.
const PAGE: f64 = 960.0;
/// The smallest width and height of a cell.
const SMALLEST: f64 = 6.0;
/// Where cells have less than this, labels would overlap, and some are left out.
const LINE: f64 = 13.0;
/// Levels of each sign that colours are rounded to.
const LEVELS: f32 = 48.0;

/// Draws a table, thinned if it has too many rows or columns.
pub(super) fn draw(grid: &Grid, title: &str, options: &SvgOptions) -> String {
    let rows = |grid: &Grid| grid.sections.iter().map(|section| section.rows.len()).sum::<usize>();
    let of = rows(grid).max(grid.columns.len()).div_ceil(MOST);
    let thinned = (of > 1).then(|| grid.thinned(of));
    let grid = thinned.as_ref().unwrap_or(grid);
    let labels = grid.sections.iter().flat_map(|section| &section.rows).map(|(label, _)| label.text.as_str());
    let leaning = room(grid.columns.iter().map(|column| column.text.as_str()));
    let (sine, cosine) = LEAN.to_radians().sin_cos();
    let longest = rows(grid).max(grid.columns.len()).max(1) as f64;
    let mut drawing = Drawing {
        grid,
        text: String::new(),
        paths: BTreeMap::new(),
        left: MARGIN + room(labels) + 8.0,
        side: (PAGE / longest).clamp(SMALLEST, LINE).floor(),
        y: MARGIN + leaning * sine + FONT,
    };
    drawing.header();
    grid.sections.iter().for_each(|section| drawing.section(section));
    drawing.finish_cells();
    drawing.legend(of);
    let right = drawing.left + drawing.side * grid.columns.len() as f64 + leaning * cosine;
    document((right.max(drawing.left + 300.0) + MARGIN, drawing.y + MARGIN), title, options, &drawing.text)
}

struct Drawing<'a> {
    grid: &'a Grid,
    text: String,
    /// The cells of each level of colour, as the path of an SVG.
    paths: BTreeMap<i32, String>,
    /// Left edge of the cells.
    left: f64,
    /// Width and height of a cell.
    side: f64,
    /// Top edge of the next row.
    y: f64,
}

impl Drawing<'_> {
    fn element(&mut self, element: core::fmt::Arguments<'_>) {
        writeln!(self.text, "{element}").expect("writing to a string can't fail");
    }

    /// One of how many labels there is room for.
    fn every(&self) -> usize {
        (LINE / self.side).ceil() as usize
    }

    fn header(&mut self) {
        let grid = self.grid;
        for (at, column) in grid.columns.iter().enumerate().step_by(self.every()) {
            let (x, y) = (self.left + self.side * (at as f64 + 0.5), self.y - 5.0);
            let label = escaped(&clip(&column.text, LABEL));
            self.element(format_args!(
                "<text transform=\"translate({x:.1} {y:.1}) rotate(-{LEAN})\" font-size=\"{SMALL}\">{label}</text>"
            ));
        }
    }

    fn section(&mut self, section: &Section) {
        for (at, (label, values)) in section.rows.iter().enumerate() {
            if at % self.every() == 0 {
                self.label(label);
            }
            for (column, &value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                if self.grid.color(label, column, value).is_some() {
                    self.cell(column, value);
                }
            }
            self.y += self.side;
        }
        self.y += 8.0;
    }

    fn label(&mut self, label: &Label) {
        let (x, y) = (self.left - 6.0, self.y + self.side / 2.0 + SMALL * 0.35);
        let text = escaped(&clip(&label.text, LABEL));
        self.element(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\" font-size=\"{SMALL}\">{text}</text>"
        ));
    }

    fn cell(&mut self, column: usize, value: f32) {
        let (x, y, side) = (self.left + self.side * column as f64, self.y, self.side);
        let path = self.paths.entry(level(self.grid.scale, self.grid.relative(column, value))).or_default();
        write!(path, "M{x:.0} {y:.0}h{side}v{side}h-{side}z").expect("writing to a string can't fail");
    }

    /// Writes the cells, a path for each colour.
    fn finish_cells(&mut self) {
        let scale = self.grid.scale;
        for (level, path) in core::mem::take(&mut self.paths) {
            let color = scale.color(level as f32 / LEVELS * scale.max).map_or_else(String::new, hex);
            self.element(format_args!("<path fill=\"{color}\" d=\"{path}\"/>"));
        }
    }

    /// What the colours mean, and how many tokens and steps a cell stands for.
    fn legend(&mut self, of: usize) {
        self.y += FONT;
        let [low, high] = self.grid.ends();
        let cell = if of > 1 { format!("each cell: the largest of {of} × {of}; ") } else { String::new() };
        let (x, y) = (self.left, self.y);
        self.element(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{SMALL}\">{cell}colours from {low} to {high}</text>"
        ));
    }
}

/// A score as one of a few levels.
fn level(scale: Scale, value: f32) -> i32 {
    let share = if scale.max > 0.0 { (value / scale.max).clamp(-1.0, 1.0) } else { 0.0 };
    (share * LEVELS).round() as i32
}
