//! What is made of the results: `table.md`, the charts, and their place in `bench/README.md`.

mod aims;
mod chart;
mod drawn;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::results::Results;
pub use table::{tenths, whole};

const BEGIN: &str = "<!-- results: written by bench/run, not by hand -->";
const END: &str = "<!-- end of results -->";

/// Writes them.
pub fn write(results: &Results, out: &Path, page: Option<&Path>) -> Result<()> {
    let charts = drawn::all(results);
    let directory = out.join("charts");
    fs::create_dir_all(&directory)?;
    for (name, chart) in &charts {
        fs::write(directory.join(name), chart)?;
    }
    let names: Vec<&str> = charts.iter().map(|(name, _)| *name).collect();
    fs::write(out.join("table.md"), table::markdown(results, &names, "charts"))?;
    if let Some(page) = page {
        let text = fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
        // as a reader of the page finds them
        let beside = page.parent().unwrap_or(page);
        let charts = directory.strip_prefix(beside).unwrap_or(&directory).to_string_lossy().into_owned();
        let fresh = between(&text, &table::markdown(results, &names, &charts))
            .with_context(|| format!("{} has not both markers", page.display()))?;
        fs::write(page, fresh)?;
    }
    Ok(())
}

fn between(page: &str, fresh: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", fresh.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_is_around_the_results() {
        let page = format!("# head\n{BEGIN}\nold\n{END}\ntail\n");
        let fresh = between(&page, "new\n").unwrap();
        assert_eq!(fresh, format!("# head\n{BEGIN}\n\nnew\n\n{END}\ntail\n"));
        assert_eq!(between(&fresh, "new\n"), Some(fresh));
        assert_eq!(between("no markers", "new"), None);
    }
}
