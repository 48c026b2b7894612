//! A connection, whatever it runs over.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The two ends of a TCP connection. With a proxy, the far end is the proxy's.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Ours.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

/// What TLS and proxies run over, and what they make.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection that hyper's client uses.
pub struct Stream {
    io: TokioIo<Box<dyn Bytes>>,
    addresses: Option<Addresses>,
    /// Requests go to a proxy, which needs the whole address in the request line.
    forwarded: bool,
}

impl Stream {
    pub(crate) fn tcp(tcp: TcpStream) -> Self {
        let ends = tcp.local_addr().and_then(|local| Ok(Addresses { local, remote: tcp.peer_addr()? }));
        Self { io: TokioIo::new(Box::new(tcp)), addresses: ends.ok(), forwarded: false }
    }

    pub(crate) fn forwarded(self) -> Self {
        Self { forwarded: true, ..self }
    }

    /// Speaks TLS over this connection.
    pub(crate) async fn secured(self, tls: TlsConnector, name: ServerName<'static>) -> io::Result<Self> {
        let Self { io, addresses, .. } = self;
        let io = tls.connect(name, io.into_inner()).await?;
        Ok(Self { io: TokioIo::new(Box::new(io)), addresses, forwarded: false })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.forwarded);
        match self.addresses {
            Some(addresses) => connected.extra(addresses),
            None => connected,
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
