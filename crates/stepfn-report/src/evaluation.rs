//! A self-contained page with the metrics of several methods: a table for each way of hiding tokens, and the curves of what is lost as more are hidden.
//!
//! It has no script and loads nothing; its content security policy allows only its own style.

use core::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use stepfn_evaluate::{FIRST, Interval, LAST, Metric, RANDOM, Row, SHARES};

use crate::label::number;
use crate::svg::escaped;

const STYLE: &str = include_str!("evaluation/page.css");

/// A table with its curves.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The function, and what becomes of hidden tokens.
    pub title: String,
    /// The metrics, in the order of the figures.
    pub metrics: Vec<Metric>,
    /// The methods and the orders beside them, the best first.
    pub rows: Vec<Row>,
}

/// Renders the page: its title, how the figures were made, what to know before trusting them, and the tables. The first one is open.
pub fn render(title: &str, made: &str, warnings: &[String], sections: &[Section]) -> String {
    let mut page = String::new();
    for warning in warnings {
        page += &format!("<p class=\"note\">{}</p>\n", escaped(warning));
    }
    for (number, section) in sections.iter().enumerate() {
        let open = if number == 0 { " open" } else { "" };
        page += &format!("<details{open}>\n<summary>{}</summary>\n", escaped(&section.title));
        page += &table(section);
        page += &curves(section);
        page += "</details>\n";
    }
    let title = escaped(title);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        STANDARD.encode(Sha256::digest(STYLE))
    );
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"stepfn {}\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p class=\"quiet\">{}</p>\n\
         <p class=\"quiet\">Means over texts, with intervals that hold the mean of 95 in 100 samples of texts. ↑ more is better, ↓ less is better; \
         * better than random orders in the same texts. A metric favours methods that hide tokens as it does: compare the tables.</p>\n\
         {page}</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        escaped(made),
    )
}

fn table(section: &Section) -> String {
    let mut table =
        "<div class=\"table\" tabindex=\"0\">\n<table>\n<thead><tr><th scope=\"col\">method</th>".to_owned();
    for metric in &section.metrics {
        let arrow = if metric.more_is_better() { '↑' } else { '↓' };
        table += &format!("<th scope=\"col\" title=\"{}\">{} {arrow}</th>", escaped(metric.summary()), metric.name());
    }
    table += "</tr></thead>\n<tbody>\n";
    let best: Vec<f64> = (0..section.metrics.len())
        .map(|at| section.rows.iter().map(|row| row.over_random[at].mean).fold(f64::NEG_INFINITY, f64::max))
        .collect();
    let sizes = |at: usize| section.rows.iter().map(move |row| row.figures[at].mean.abs());
    let most: Vec<f64> = (0..section.metrics.len()).map(|at| sizes(at).fold(0.0, f64::max)).collect();
    for row in &section.rows {
        let class = if beside(row).is_some() { " class=\"beside\"" } else { "" };
        table += &format!("<tr{class}><td>{}</td>", escaped(&row.name));
        for (at, (figure, over)) in row.figures.iter().zip(&row.over_random).enumerate() {
            let class = if over.mean == best[at] { " class=\"best\"" } else { "" };
            table += &format!("<td{class}>{}</td>", cell(figure, over, most[at]));
        }
        table += "</tr>\n";
    }
    table + "</tbody>\n</table>\n</div>\n"
}

/// A figure of a column whose greatest is `most`.
fn cell(figure: &Interval, over: &Interval, most: f64) -> String {
    let shown = |value: f64| if value.is_nan() { "–".to_owned() } else { number(value as f32, most as f32) };
    let star = if over.low > 0.0 { " *" } else { "" };
    let interval = match figure.low.is_nan() {
        true => String::new(),
        false => format!("<small>{} to {}</small>", shown(figure.low), shown(figure.high)),
    };
    format!("{}{star}{interval}", shown(figure.mean))
}

/// Of an order that is beside the methods, its place among them.
fn beside(row: &Row) -> Option<usize> {
    [RANDOM, FIRST, LAST].iter().position(|name| *name == row.name)
}

/// The colour and dashes of a curve: methods in the order of their names, so that they look alike in all tables.
fn classes(section: &Section, row: &Row) -> String {
    /// Colours that are told apart.
    const COLOURS: usize = 8;
    if let Some(order) = beside(row) {
        return format!("chance d{}", order + 1);
    }
    let mut names: Vec<&str> =
        section.rows.iter().filter(|row| beside(row).is_none()).map(|row| row.name.as_str()).collect();
    names.sort_unstable();
    let at = names.iter().position(|name| *name == row.name).unwrap_or(0);
    format!("c{} d{}", at % COLOURS, at / COLOURS % 4)
}

fn curves(section: &Section) -> String {
    type Of = fn(&Row) -> &Vec<f64>;
    let kinds: [(&str, Of); 2] = [
        ("Lost as the most important tokens are hidden first (MoRF): faithful curves rise early", |row| &row.most),
        ("Lost as the least important tokens are hidden first (LeRF): faithful curves stay low", |row| &row.least),
    ];
    let has = |of: Of| section.rows.iter().any(|row| of(row).iter().filter(|value| !value.is_nan()).count() > 2);
    let known: Vec<(&str, Of)> = kinds.into_iter().filter(|(_, of)| has(*of)).collect();
    if known.is_empty() {
        return String::new();
    }
    let all = || known.iter().flat_map(|(_, of)| section.rows.iter().flat_map(of)).filter(|x| x.is_finite());
    let (low, high) = (all().copied().fold(0.0, f64::min), all().copied().fold(0.0, f64::max));
    let mut figures = "<div class=\"curves\">\n".to_owned();
    for (name, of) in &known {
        let _ = writeln!(figures, "<div><h2>{name}</h2>\n{}</div>", drawing(section, *of, (low, high)));
    }
    figures += "</div>\n<ul class=\"legend\">\n";
    for row in &section.rows {
        let _ = writeln!(
            figures,
            "<li><svg viewBox=\"0 0 32 10\" aria-hidden=\"true\"><path class=\"curve {}\" d=\"M0 5H32\"/></svg>{}</li>",
            classes(section, row),
            escaped(&row.name)
        );
    }
    figures + "</ul>\n"
}

/// One set of axes: shares of hidden tokens to the right, what is lost upwards.
fn drawing(section: &Section, of: fn(&Row) -> &Vec<f64>, (low, high): (f64, f64)) -> String {
    const SIZE: [f64; 2] = [420.0, 260.0];
    const LEFT: f64 = 46.0;
    // Half of `100 %`.
    const RIGHT: f64 = 24.0;
    const BELOW: f64 = 30.0;
    const ABOVE: f64 = 10.0;
    let range = if high > low { high - low } else { 1.0 };
    let x = |share: f64| LEFT + share * (SIZE[0] - LEFT - RIGHT);
    let y = |value: f64| ABOVE + (high - value) / range * (SIZE[1] - ABOVE - BELOW);
    let mut drawing = format!("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"curves\">\n", SIZE[0], SIZE[1]);
    for share in [0.0, 0.2, 0.5, 0.8, 1.0] {
        let at = x(share);
        let _ = writeln!(
            drawing,
            "<path class=\"grid\" d=\"M{at:.1} {ABOVE}V{:.1}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0} %</text>",
            SIZE[1] - BELOW,
            SIZE[1] - BELOW + 16.0,
            100.0 * share
        );
    }
    for part in 0..=4 {
        let value = low + range * f64::from(part) / 4.0;
        let at = y(value);
        let _ = writeln!(
            drawing,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            x(1.0),
            LEFT - 6.0,
            at + 4.0,
            number(value as f32, low.abs().max(high.abs()) as f32)
        );
    }
    // Orders by chance are below the methods.
    let (chance, methods): (Vec<&Row>, Vec<&Row>) = section.rows.iter().partition(|row| beside(row).is_some());
    for row in chance.into_iter().chain(methods) {
        let points = SHARES.iter().zip(of(row)).filter(|(_, value)| value.is_finite());
        let points: Vec<String> = points.map(|(&share, &value)| format!("{:.1},{:.1}", x(share), y(value))).collect();
        let _ = writeln!(
            drawing,
            "<polyline class=\"curve {}\" points=\"{}\"><title>{}</title></polyline>",
            classes(section, row),
            points.join(" "),
            escaped(&row.name)
        );
    }
    drawing + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use stepfn_attribution::contexts::Operator;

    use super::*;

    fn interval(mean: f64, half: f64) -> Interval {
        Interval { mean, low: mean - half, high: mean + half }
    }

    fn row(name: &str, figure: f64, over: f64) -> Row {
        Row {
            name: name.to_owned(),
            operator: Operator::Remove,
            special: false,
            figures: vec![interval(figure, 0.5), interval(1.0, f64::NAN)],
            over_random: vec![interval(over, 0.5), interval(f64::NAN, 0.0)],
            most: SHARES.iter().map(|share| figure * share).collect(),
            least: vec![f64::NAN; SHARES.len()],
            texts: 3,
            columns: 9,
        }
    }

    fn page() -> String {
        let rows = vec![row("<lime>", 4.0, 2.0), row(RANDOM, 2.0, 0.0), row(FIRST, 1.0, -1.0)];
        let metrics = vec![Metric::Comprehensiveness, Metric::Infidelity];
        let section = Section { title: "a & b".to_owned(), metrics, rows };
        render("T & T", "3 texts", &["one <text>".to_owned()], &[section.clone(), section])
    }

    #[test]
    fn the_page_loads_nothing_and_has_no_script() {
        let page = page();
        assert!(
            page.contains("default-src 'none'")
                && page.contains("<h1>T &amp; T</h1>")
                && page.contains("one &lt;text&gt;")
        );
        for outside in ["http:", "https:", "url(", "@import", "<script", "src=", "style=", "<lime>"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!((page.matches("<details open>").count(), page.matches("<details>").count()), (1, 1));
    }

    #[test]
    fn figures_have_intervals_and_stars_where_chance_is_beaten() {
        let page = page();
        assert!(page.contains("<td class=\"best\">4.00 *<small>3.50 to 4.50</small></td>"), "{page}");
        assert!(page.contains("<tr class=\"beside\"><td>random</td><td>2.00<small>"), "{page}");
        // A curve for each row of the one kind that was computed.
        assert_eq!(page.matches("<polyline").count(), 2 * 3);
        assert!(page.contains("class=\"curve c0 d0\"") && page.contains("class=\"curve chance d2\""));
    }
}
