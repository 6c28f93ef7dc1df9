//! A heat map without numbers, for tables too large to read them: small cells, every nth label, and where there are more rows or columns than
//! a page can show, the largest score of each block of cells.
//!
//! All cells of one colour are one path, so the file has at most a few hundred kilobytes.

use core::fmt::Write;
use std::collections::BTreeMap;

use super::{FONT, LABEL, LEAN, MARGIN, SMALL, SvgOptions, document, escaped, hex, room};
use crate::color::Scale;
use crate::grid::Grid;
use crate::label::{clip, number};

/// The most rows and the most columns.
const MOST: usize = 160;
/// Where cells have less than this, labels would overlap, and some are left out.
const LINE: f64 = 13.0;
/// Levels of each sign that colours are rounded to.
const LEVELS: f32 = 48.0;

/// Draws a table, thinned if it has too many rows or columns.
pub(super) fn draw(grid: &Grid, title: &str, options: &SvgOptions) -> String {
    let rows = grid.sections.iter().map(|section| section.rows.len()).sum::<usize>();
    let of = rows.max(grid.columns.len()).div_ceil(MOST);
    let thinned = (of > 1).then(|| grid.thinned(of));
    let grid = thinned.as_ref().unwrap_or(grid);
    let side = (960.0 / rows.div_ceil(of).max(grid.columns.len()) as f64).clamp(6.0, LINE).floor();
    let every = (LINE / side).ceil() as usize;

    let labels = grid.sections.iter().flat_map(|section| &section.rows).map(|(label, _)| label.text.as_str());
    let (left, leaning) = (MARGIN + room(labels) + 8.0, room(grid.columns.iter().map(|column| column.text.as_str())));
    let (sine, cosine) = LEAN.to_radians().sin_cos();
    let top = MARGIN + leaning * sine + FONT;

    let mut content = String::new();
    for (at, column) in grid.columns.iter().enumerate().step_by(every) {
        let (x, y, label) = (left + side * (at as f64 + 0.5), top - 5.0, escaped(&clip(&column.text, LABEL)));
        add(
            &mut content,
            format_args!(
                "<text transform=\"translate({x:.1} {y:.1}) rotate(-{LEAN})\" font-size=\"{SMALL}\">{label}</text>"
            ),
        );
    }
    let mut paths: BTreeMap<i32, String> = BTreeMap::new();
    let mut y = top;
    for section in &grid.sections {
        for (at, (label, values)) in section.rows.iter().enumerate() {
            if at % every == 0 {
                let (x, y, text) = (left - 6.0, y + side / 2.0 + SMALL * 0.35, escaped(&clip(&label.text, LABEL)));
                add(
                    &mut content,
                    format_args!(
                        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\" font-size=\"{SMALL}\">{text}</text>"
                    ),
                );
            }
            for (column, &value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                if grid.color(label, value).is_none() {
                    continue;
                }
                let path = paths.entry(level(grid.scale, value)).or_default();
                add_cell(path, left + side * column as f64, y, side);
            }
            y += side;
        }
        y += 8.0;
    }
    for (level, path) in &paths {
        let color = grid.scale.color(*level as f32 / LEVELS * grid.scale.max).map_or_else(String::new, hex);
        add(&mut content, format_args!("<path fill=\"{color}\" d=\"{path}\"/>"));
    }
    y += FONT;
    let cell = if of > 1 { format!("each cell: the largest of {of} × {of}; ") } else { String::new() };
    let [low, high] = [if grid.scale.signed { -grid.scale.max } else { 0.0 }, grid.scale.max];
    let [low, high] = [low, high].map(|end| number(end, grid.scale.max));
    add(
        &mut content,
        format_args!(
            "<text x=\"{left:.1}\" y=\"{y:.1}\" font-size=\"{SMALL}\">{cell}colours from {low} to {high}</text>"
        ),
    );
    let right = left + side * grid.columns.len() as f64 + leaning * cosine;
    document((right.max(left + 300.0) + MARGIN, y + MARGIN), title, options, &content)
}

/// A score as one of a few levels.
fn level(scale: Scale, value: f32) -> i32 {
    let share = if scale.max > 0.0 { (value / scale.max).clamp(-1.0, 1.0) } else { 0.0 };
    (share * LEVELS).round() as i32
}

fn add(text: &mut String, element: core::fmt::Arguments<'_>) {
    writeln!(text, "{element}").expect("writing to a string can't fail");
}

fn add_cell(path: &mut String, x: f64, y: f64, side: f64) {
    write!(path, "M{x:.0} {y:.0}h{side}v{side}h-{side}z").expect("writing to a string can't fail");
}
