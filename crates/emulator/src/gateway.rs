//! The socket: HTTP/1.1 with bounded connections, heads and bodies.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    body::PacedBody,
    control, guard,
    service::{Pace, Reply, Reset, Service},
};

/// Ten messages of 1 MiB, each byte percent-encoded to three, would be more: the batch limit of 1 MiB comes first.
const LARGEST_REQUEST: usize = 16 * 1024 * 1024;
/// From the end of the head to the end of the body.
const SLOWEST_BODY: Duration = Duration::from_secs(30);
/// For a request's head, and for the next one on a connection: longer than the clients' pools keep a connection.
const IDLE: Duration = Duration::from_secs(120);
/// Most connections at a time; others wait in the backlog.
const CONNECTIONS: usize = 2048;

/// Answers on `listener` until `shutdown` completes.
pub(crate) async fn serve(service: Arc<Service>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let loopback = listener.local_addr().is_ok_and(|address: SocketAddr| address.ip().is_loopback());
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            () = &mut shutdown => return,
            (accepted, permit) = accept => match accepted {
                Ok((stream, _)) => {
                    let service = Arc::clone(&service);
                    connections.spawn(async move {
                        connection(stream, service, loopback).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already: neither ends the emulator.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, service: Arc<Service>, loopback: bool) {
    stream.set_nodelay(true).ok();
    let reset = Arc::new(AtomicBool::new(false));
    let stream = Stream { stream, reset: Arc::clone(&reset) };
    let answer = service_fn(move |request| {
        let (service, reset) = (Arc::clone(&service), Arc::clone(&reset));
        async move {
            let reply = answer(&service, request, loopback).await;
            reply.inspect_err(|_: &Reset| reset.store(true, Ordering::Relaxed))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn answer(
    service: &Service,
    request: Request<Incoming>,
    loopback: bool,
) -> Result<Response<PacedBody>, Reset> {
    let refuse = |status, text: &str| {
        let response = control::page(status, &json!({"message": text}));
        Ok(response.map(|body| PacedBody::new(body, Pace::Whole)))
    };
    if let Some(reason) = guard::refuses(request.headers(), loopback) {
        return refuse(StatusCode::FORBIDDEN, reason);
    }
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(SLOWEST_BODY, Limited::new(body, LARGEST_REQUEST).collect()).await;
    let body: Bytes = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 30 s"),
    };
    let Reply { response, pace } = service.answer(Request::from_parts(head, body)).await?;
    Ok(response.map(|body| PacedBody::new(body, pace)))
}

/// A connection that a fault can reset.
struct Stream {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // With nothing to linger for, closing sends a reset.
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            // A shutdown would send an orderly end before the reset.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
