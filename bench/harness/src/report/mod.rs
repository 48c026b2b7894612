//! Writes the tables of the results: `table.md`, and the same between markers in `bench/README.md`.

mod aims;
mod table;
mod trouble;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::results::Results;
pub use table::{tenths, whole};

const BEGIN: &str = "<!-- results: written by bench/run, not by hand -->";
const END: &str = "<!-- end of results -->";

/// Writes `table.md` into the directory `out`, and the tables into `page`.
pub fn write(results: &Results, out: &Path, page: Option<&Path>) -> Result<()> {
    let tables = table::markdown(results);
    fs::write(out.join("table.md"), &tables)?;
    if let Some(page) = page {
        let text = fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
        let fresh = between(&text, &tables).with_context(|| format!("{} lacks a marker", page.display()))?;
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
    fn the_text_around_the_results_stays() {
        let page = format!("# head\n{BEGIN}\nold\n{END}\ntail\n");
        let fresh = between(&page, "new\n").unwrap();
        assert_eq!(fresh, format!("# head\n{BEGIN}\n\nnew\n\n{END}\ntail\n"));
        assert_eq!(between(&fresh, "new\n"), Some(fresh));
        assert_eq!(between("no markers", "new"), None);
    }
}
