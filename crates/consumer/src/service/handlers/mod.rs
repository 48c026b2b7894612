//! The handlers of the binary, by `HANDLER`.

mod file;
mod hang;
mod http;

use std::io;

use crate::context::Context;
use crate::failure::Failure;
use crate::handler::Handler;
use crate::service::args::HandlerKind;
use lifeline_messaging::message::Message;

pub(crate) use hang::Drill;

/// What was configured.
#[derive(Debug)]
pub(crate) enum Configured {
    /// The worker's `received` line, which shows the whole body, is all that there is to do.
    Log,
    File(file::Lines),
    Http(Box<http::Post>),
}

impl Configured {
    /// Opens what the handler needs.
    ///
    /// # Errors
    /// The file cannot be opened, or the address is none.
    pub(crate) async fn open(kind: &HandlerKind, connections: usize) -> io::Result<Self> {
        Ok(match kind {
            HandlerKind::Log => Self::Log,
            HandlerKind::File { path, newlines } => Self::File(file::Lines::open(path, *newlines).await?),
            HandlerKind::Http { url, content_type } => {
                Self::Http(Box::new(http::Post::to(url, content_type.as_deref(), connections)?))
            }
        })
    }
}

impl Handler for Configured {
    async fn handle(&self, message: Message, _context: Context) -> Result<(), Failure> {
        match self {
            Self::Log => Ok(()),
            Self::File(lines) => lines.append(message.body).await,
            Self::Http(post) => post.send(message).await,
        }
    }
}
