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

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    body::{Pace, PacedBody},
    control, guard,
    pages::Slot,
    service::{Connection, Mode, Reply, Reset, Service},
};

/// Ten messages of 1 MiB, each byte percent-encoded to three, would be more: the batch limit of 1 MiB comes first.
const LARGEST_REQUEST: usize = 16 * 1024 * 1024;
/// From the end of the head, or of a part of the body, to the next part.
const SLOWEST_PART: Duration = Duration::from_secs(30);
/// For a request's head, and for the next one on a connection: longer than the clients' pools keep a connection.
const IDLE: Duration = Duration::from_secs(120);
/// Most connections at a time; others wait in the backlog.
const CONNECTIONS: usize = 2048;
/// What large bodies are counted in; smaller ones are free, so that receives and deletes never wait behind sends.
const UNIT: usize = 64 * 1024;
/// Most units of bodies that are read or being answered at a time: 256 MiB.
const UNITS: usize = 4096;

/// Where a connection came in.
struct Door {
    /// Whether the emulator listens for this machine alone.
    loopback: bool,
    peer: SocketAddr,
    pages: Slot,
}

/// Answers on `listener` until `shutdown` completes.
pub(crate) async fn serve(
    service: Arc<Service>,
    pages: Slot,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = Some(listener);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let room = Arc::new(Semaphore::new(UNITS));
    let mut full = false;
    let (mut connections, mut next) = (JoinSet::new(), 1);
    let mut mode = service.mode();
    tokio::pin!(shutdown);
    loop {
        if *mode.borrow_and_update() == Mode::Down {
            // Without a listener, connecting is refused.
            listener = None;
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                _ = mode.changed() => continue,
            }
        }
        let listening = match listener.take() {
            Some(listening) => listening,
            None => again(address).await,
        };
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listening.accept().await, permit)
        };
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            (accepted, permit) = accept => match accepted {
                Ok((stream, peer)) => {
                    let (service, number) = (Arc::clone(&service), Connection(next));
                    let room = Arc::clone(&room);
                    let door = Door { loopback: address.ip().is_loopback(), peer, pages: Arc::clone(&pages) };
                    next += 1;
                    if permits.available_permits() == 0 && !full {
                        full = true;
                        tracing::warn!("the emulator has {CONNECTIONS} connections: more wait until one ends");
                    }
                    connections.spawn(async move {
                        connection(stream, service, room, door, number).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already: neither ends the emulator.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            _ = mode.changed() => {}
            Some(_) = connections.join_next() => {}
        }
        listener = Some(listening);
    }
}

/// Listens again where it listened before: the port is its own, though another connection's end may linger there.
async fn again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => {
                tracing::debug!(%error, "could not listen again");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    service: Arc<Service>,
    room: Arc<Semaphore>,
    door: Door,
    number: Connection,
) {
    let door = Arc::new(door);
    stream.set_nodelay(true).ok();
    let mut mode = service.mode();
    let reset = Arc::new(AtomicBool::new(false));
    let stream = Stream { stream, reset: Arc::clone(&reset) };
    let cut = Arc::clone(&reset);
    let answer = service_fn(move |request| {
        let (service, room, reset) = (Arc::clone(&service), Arc::clone(&room), Arc::clone(&reset));
        let door = Arc::clone(&door);
        async move {
            let reply = answer(&service, &room, request, &door, number).await;
            reply.inspect_err(|_: &Reset| reset.store(true, Ordering::Relaxed))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
    let served = builder.serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        biased;
        served = served => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
        },
        _ = mode.wait_for(|mode| *mode == Mode::Down) => cut.store(true, Ordering::Relaxed),
    }
}

async fn answer(
    service: &Arc<Service>,
    room: &Semaphore,
    request: Request<Incoming>,
    door: &Door,
    number: Connection,
) -> Result<Response<PacedBody>, Reset> {
    let whole = |response: Response<Bytes>| Ok(response.map(|body| PacedBody::new(body, Pace::Whole)));
    let refuse = |status, text: &str| whole(control::page(status, &json!({"message": text})));
    if let Some(reason) = guard::refuses(request.uri(), request.headers(), door.loopback) {
        return refuse(StatusCode::FORBIDDEN, reason);
    }
    let (head, body) = request.into_parts();
    let _room = match units(&body) {
        0 => None,
        units => room.acquire_many(units).await.ok(),
    };
    let body = match read(body).await {
        Ok(body) => body,
        Err((status, reason)) => return refuse(status, &reason),
    };
    let mut request = Request::from_parts(head, body);
    if let Some(pages) = door.pages.get().filter(|pages| pages.has(request.uri().path())) {
        return match guard::refuses(request.uri(), request.headers(), true) {
            Some(reason) => refuse(StatusCode::FORBIDDEN, reason),
            None if !door.peer.ip().to_canonical().is_loopback() => {
                refuse(StatusCode::FORBIDDEN, "the page is served to this machine alone")
            }
            None => whole(pages.answer(&request).await),
        };
    }
    if let Some(response) = control::answer(service, &request) {
        return whole(response);
    }
    request.extensions_mut().insert(number);
    let Reply { response, pace } = service.answer(request).await?;
    Ok(response.map(|body| PacedBody::new(body, pace)))
}

/// How many units a body takes; one that does not tell its length is taken for the largest.
fn units(body: &Incoming) -> u32 {
    let bytes = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    u32::try_from(bytes.unwrap_or(LARGEST_REQUEST).min(LARGEST_REQUEST) / UNIT).unwrap_or(u32::MAX)
}

/// Reads a body that keeps arriving and has an end.
async fn read(body: Incoming) -> Result<Bytes, (StatusCode, String)> {
    let too_large = || {
        let text = format!("a request has at most {LARGEST_REQUEST} bytes; a message or a batch 1 MiB");
        (StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    // What says so is refused before it is sent.
    if usize::try_from(body.size_hint().lower()).is_ok_and(|size| size > LARGEST_REQUEST) {
        return Err(too_large());
    }
    let mut body = Limited::new(body, LARGEST_REQUEST);
    let mut whole = BytesMut::new();
    loop {
        match tokio::time::timeout(SLOWEST_PART, body.frame()).await {
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Ok(frame))) => {
                let part = frame.into_data().unwrap_or_default();
                if whole.is_empty() && body.is_end_stream() {
                    return Ok(part);
                }
                whole.extend_from_slice(&part);
            }
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Some(Err(error))) => return Err((StatusCode::BAD_REQUEST, error.to_string())),
            Err(_) => {
                let text = format!("no more of the body arrived within {SLOWEST_PART:?}");
                return Err((StatusCode::REQUEST_TIMEOUT, text));
            }
        }
    }
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
