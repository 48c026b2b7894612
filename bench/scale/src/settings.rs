//! The defaults and limits of the services' settings, read from `docs/settings.md`, which the programs' own definitions generate.

use std::path::Path;

use anyhow::{Context, Result};

/// A setting that is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) default: usize,
    pub(crate) most: usize,
}

/// The settings that limit a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) pollers: Setting,
    pub(crate) max_in_flight: Setting,
    pub(crate) threads: Setting,
    pub(crate) publish_concurrency: Setting,
}

impl Settings {
    pub(crate) fn read() -> Result<Self> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
        let page = std::fs::read_to_string(page).context("docs/settings.md")?;
        let setting = |name| setting(&page, name).with_context(|| format!("docs/settings.md: {name}"));
        Ok(Self {
            pollers: setting("POLLERS")?,
            max_in_flight: setting("MAX_IN_FLIGHT")?,
            threads: setting("THREADS")?,
            publish_concurrency: setting("PUBLISH_CONCURRENCY")?,
        })
    }
}

/// A row of the page: `` | `POLLERS` | `4` | Maximum number of concurrent receives, 1 to 256 … | ``.
fn setting(page: &str, name: &str) -> Option<Setting> {
    let row = page.lines().find_map(|line| line.strip_prefix(&format!("| `{name}` | `")))?;
    let (default, text) = row.split_once("` | ")?;
    let (_, most) = text.split_once(", 1 to ")?;
    let most = most.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(Setting { default: default.parse().ok()?, most: most.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_default_and_a_limit() {
        let page = "| `POLLERS` | `4` | Receives, 1 to 256 (one while idle) |\n| `NAME` | `x` | A name |\n";
        assert_eq!(setting(page, "POLLERS"), Some(Setting { default: 4, most: 256 }));
        assert_eq!((setting(page, "NAME"), setting(page, "OTHER")), (None, None));
        Settings::read().unwrap();
    }
}
