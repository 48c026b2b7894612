//! Charts as SVG, in the form of those of the dashboard (`monitoring/tests/charts.py`): one size, one palette, a light card
//! that reads in a light and in a dark page.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 46.0;
const ROW: f64 = 24.0;
const FOOT: f64 = 14.0;

const COLOURS: [&str; 8] =
    ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f"];
/// Of those that are not ours.
const OTHERS: &str = "#a8a29e";

/// One bar.
#[derive(Debug)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Least and most of its runs.
    pub spread: Option<(f64, f64)>,
    /// Ours stands out.
    pub ours: bool,
}

/// Horizontal bars on a logarithmic scale, for they differ by two orders.
pub fn bars(title: &str, bars: &[Bar], number: impl Fn(f64) -> String) -> String {
    let height = TOP + ROW * bars.len() as f64 + FOOT;
    let mut out = card(title, height);
    let least = bars.iter().map(|bar| bar.value).fold(f64::INFINITY, f64::min);
    let most = bars.iter().map(|bar| bar.spread.map_or(bar.value, |s| s.1)).fold(0.0, f64::max);
    // a decade begins below the least, so that it still has a bar
    let (low, high) = (10_f64.powf((least / 2.0).log10().floor()), most);
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * ((value / low).ln() / (high / low).ln()).max(0.0);
    let mut tick = low;
    while tick <= high * 1.001 {
        let at = x(tick);
        let _ = writeln!(
            out,
            r##"<path d="M{at:.1} {TOP}V{:.1}" stroke="#e7e5e4"/><text x="{at:.1}" y="{:.1}" text-anchor="middle" fill="#78716c">{}</text>"##,
            height - FOOT,
            TOP - 6.0,
            number(tick)
        );
        tick *= 10.0;
    }
    for (row, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * row as f64 + 5.0;
        let end = x(bar.value);
        let colour = if bar.ours { COLOURS[0] } else { OTHERS };
        let _ = writeln!(
            out,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect x="{LEFT}" y="{y:.1}" width="{:.1}" height="{:.1}" fill="{colour}"/>"##,
            LEFT - 8.0,
            y + 11.0,
            escape(&bar.name),
            end - LEFT,
            ROW - 10.0
        );
        let mut label = end;
        if let Some((least, most)) = bar.spread {
            let middle = y + (ROW - 10.0) / 2.0;
            label = x(most).max(end);
            let _ = writeln!(
                out,
                r##"<path d="M{:.1} {middle:.1}H{:.1}" stroke="#1c1917"/>"##,
                x(least),
                x(most)
            );
        }
        let _ =
            writeln!(out, r#"<text x="{:.1}" y="{:.1}">{}</text>"#, label + 6.0, y + 11.0, number(bar.value));
    }
    out.push_str("</svg>\n");
    out
}

/// One line: its name, and its points.
pub type Line = (String, Vec<(f64, f64)>);

/// Lines over a logarithmic axis, from nothing upwards.
pub fn lines(
    title: &str,
    lines: &[Line],
    across: impl Fn(f64) -> String,
    up: impl Fn(f64) -> String,
) -> String {
    let (left, bottom, body) = (70.0, 36.0, 260.0);
    let height = body + 16.0;
    let mut out = card(title, height);
    let points = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let low = points().map(|p| p.0).fold(f64::INFINITY, f64::min);
    let high = points().map(|p| p.0).fold(0.0, f64::max);
    let top = nice(points().map(|p| p.1).fold(0.0, f64::max));
    let x = |value: f64| left + (WIDTH - left - 24.0) * (value / low).ln() / (high / low).ln().max(1e-9);
    let y = |value: f64| body - bottom - (body - TOP - bottom) * value / top;
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let at = y(value);
        let _ = writeln!(
            out,
            r##"<path d="M{left} {at:.1}H{:.1}" stroke="#e7e5e4"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"##,
            WIDTH - 24.0,
            left - 6.0,
            at + 4.0,
            up(value)
        );
    }
    let mut marks: Vec<f64> = points().map(|p| p.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for mark in marks {
        let _ = writeln!(
            out,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            x(mark),
            body - bottom + 16.0,
            across(mark)
        );
    }
    let mut at = left;
    for (number, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let mut path = String::new();
        for (n, point) in points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if n == 0 { 'M' } else { 'L' }, x(point.0), y(point.1));
        }
        let _ = writeln!(
            out,
            r##"<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/><rect x="{at:.0}" y="{:.1}" width="10" height="3" fill="{colour}"/><text x="{:.0}" y="{:.1}">{}</text>"##,
            body,
            at + 14.0,
            body + 4.0,
            escape(name)
        );
        at += 28.0 + 6.2 * name.len() as f64;
    }
    out.push_str("</svg>\n");
    out
}

fn card(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="11" fill="#44403c">
<title>{title}</title>
<rect width="{WIDTH}" height="{height}" rx="6" fill="#fafaf9" stroke="#e7e5e4"/>
<text x="16" y="20" font-size="13" font-weight="600" fill="#1c1917">{title}</text>
"##
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The next 1, 2, 4 or 8 times a power of ten, which four steps divide well.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0].map(|factor| factor * power).into_iter().find(|n| *n >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_number_that_divides_well() {
        assert_eq!([0.0, 0.7, 1.0, 3.0, 41.0, 900.0].map(nice), [1.0, 0.8, 1.0, 4.0, 80.0, 1000.0]);
    }

    #[test]
    fn a_longer_bar_is_a_larger_figure() {
        let bar = |value| Bar { name: "a & b".into(), value, spread: Some((value, value)), ours: false };
        let svg = bars("x", &[bar(10.0), bar(1000.0)], |v| format!("{v}"));
        let widths: Vec<f64> = svg
            .lines()
            .filter_map(|line| line.split_once("<rect x=\"150\"")?.1.split('"').nth(3)?.parse().ok())
            .collect();
        assert_eq!(widths.len(), 2, "{svg}");
        assert!(widths[0] < widths[1]);
        assert!(svg.contains("a &amp; b"));
    }
}
