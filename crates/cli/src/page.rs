//! The local web page of `lifeline up` and `lifeline aws`: what SNS and SQS hold, the pipeline, and switches that break it.
//!
//! It is served at the address of the embedded SNS and SQS, to this machine alone. The page polls `state` once a second;
//! every request but that for the page itself carries the token that is in the page's URL.

mod act;
mod guard;
mod pipeline;
mod server;
mod view;

use std::sync::Arc;

use lifeline_emulator::Emulator;

pub use pipeline::{Pipeline, Switch};

/// Serves the page at the emulator's address; `pipeline` makes what the page shows of the pipeline, if there is one. The
/// page's URL with its token, or `None` if the emulator has no socket.
///
/// # Errors
/// The system has no random numbers for the token.
pub fn serve(
    emulator: &Emulator,
    pipeline: impl FnOnce(&Emulator) -> Option<Arc<dyn Pipeline>>,
) -> anyhow::Result<Option<String>> {
    let token = guard::Token::random()?;
    let Some(endpoint) = emulator.endpoint_url() else { return Ok(None) };
    let url = format!("{endpoint}{}#{}", server::PAGE, token.text());
    emulator.serve_pages(|emulator| {
        let pipeline = pipeline(&emulator);
        server::Page::new(emulator, token, pipeline)
    });
    Ok(Some(url))
}
