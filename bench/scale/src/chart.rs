//! Charts as SVG, in the style of those that `monitoring/tests` makes: one size, one palette, nothing that depends on the
//! machine but the figures.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 36.0;
const LEGEND_ROW: f64 = 16.0;
const COLOURS: [&str; 6] = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2"];

/// A line, or dots.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// Of the palette.
    pub(crate) colour: usize,
    pub(crate) dots: bool,
}

/// How an axis runs and how its steps are written.
pub(crate) struct Axis {
    pub(crate) steps: Vec<f64>,
    pub(crate) logarithmic: bool,
    pub(crate) label: fn(f64) -> String,
}

impl Axis {
    /// Where a value lies between the first step and the last.
    fn share(&self, value: f64) -> f64 {
        let (first, last) = (self.steps[0], self.steps[self.steps.len() - 1]);
        if self.logarithmic {
            (value / first).ln() / (last / first).ln()
        } else {
            (value - first) / (last - first)
        }
    }
}

/// `x` is in the unit of its axis, and so is `y`; what lies outside of it is left out.
pub(crate) fn svg(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let across = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * x.share(value);
    let up = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y.share(value);
    let rows = legend(series);
    let height = HEIGHT + LEGEND_ROW * rows.len() as f64;
    let mut out = String::new();
    // writing to a string does not fail
    let mut line = |text: String| writeln!(out, "{text}").unwrap_or_default();
    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"#44403c\">"
    ));
    line(format!("<title>{title}</title>"));
    line(format!(
        "<rect width=\"{WIDTH}\" height=\"{height}\" rx=\"6\" fill=\"#fafaf9\" stroke=\"#e7e5e4\"/>"
    ));
    line(format!(
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"13\" font-weight=\"600\" fill=\"#1c1917\">{title}</text>"
    ));
    for step in &y.steps {
        let at = up(*step);
        line(format!("<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#e7e5e4\"/>", WIDTH - RIGHT));
        let label = (y.label)(*step);
        line(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, at + 4.0));
    }
    for step in &x.steps {
        let label = (x.label)(*step);
        let base = HEIGHT - BOTTOM + 16.0;
        line(format!("<text x=\"{:.1}\" y=\"{base}\" text-anchor=\"middle\">{label}</text>", across(*step)));
    }
    for Series { points, colour, dots, .. } in series {
        let colour = COLOURS[colour % COLOURS.len()];
        let inside = points.iter().filter(|(_, value)| (-0.001..=1.001).contains(&y.share(*value)));
        let places: Vec<_> = inside.map(|(at, value)| (across(*at), up(*value))).collect();
        if *dots {
            for (x, y) in places {
                line(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"));
            }
        } else {
            let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let path = path.join("L");
            line(format!(
                "<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" stroke-linejoin=\"round\"/>"
            ));
        }
    }
    for (row, entries) in rows.iter().enumerate() {
        let base = HEIGHT + LEGEND_ROW * row as f64;
        for (at, index) in entries {
            let Series { name, colour, dots, .. } = &series[*index];
            let colour = COLOURS[colour % COLOURS.len()];
            line(match dots {
                true => {
                    format!("<circle cx=\"{}\" cy=\"{}\" r=\"3.5\" fill=\"{colour}\"/>", at + 5.0, base - 3.0)
                }
                false => format!(
                    "<rect x=\"{at}\" y=\"{}\" width=\"10\" height=\"3\" fill=\"{colour}\"/>",
                    base - 4.0
                ),
            });
            line(format!("<text x=\"{}\" y=\"{base}\">{name}</text>", at + 14.0));
        }
    }
    line("</svg>".to_owned());
    out
}

/// Where each series' name stands: the rows of the legend.
fn legend(series: &[Series]) -> Vec<Vec<(f64, usize)>> {
    let (mut rows, mut row, mut at) = (Vec::new(), Vec::new(), LEFT);
    for (index, Series { name, .. }) in series.iter().enumerate() {
        let width = 14.0 + 6.2 * name.chars().count() as f64 + 14.0;
        if !row.is_empty() && at + width > WIDTH - RIGHT {
            rows.push(std::mem::take(&mut row));
            at = LEFT;
        }
        row.push((at.round(), index));
        at += width;
    }
    rows.push(row);
    rows
}
