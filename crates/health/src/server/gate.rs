//! The gate: one thread that stands before tiny_http and cannot be kept busy by slow clients.
//!
//! tiny_http gives every connection a thread and waits for its bytes without a limit: 500 idle connections are 500
//! threads, and nothing ever ends them. So clients never reach it. The gate accepts them in one readiness loop (mio),
//! bounds their number, their bytes and their time ([`Limits`]), and passes whole requests on over the one
//! connection that tiny_http has. When all places are taken the longest idle one is closed for the new connection: a client
//! that sends its request immediately, as a probe does, is always served.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

use crate::metrics::IntCounter;
use crate::server::access_log::{Access, AccessQueue};
use crate::server::client::{Client, Step};
use crate::server::head::{HEAD_MAX, Refusal};
use crate::server::limits::Limits;
use crate::server::upstream::Upstream;

const LISTENER: Token = Token(usize::MAX);
const UPSTREAM: Token = Token(usize::MAX - 1);
const STOP: Token = Token(usize::MAX - 2);

/// Connections that the kernel keeps until they are accepted. When a crowd fills the 128 that std and mio ask for, it
/// drops the next one's first packet, and that client is back no sooner than after a second.
const BACKLOG: i32 = 1024;

/// How long to wait when the system has no file descriptor left.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// What one connection may fill in the kernel with answers that it does not read, and with requests that we do not
/// read; Linux takes twice that. Its autotuning would go to megabytes, and they count against a container's limit.
const SEND_BUFFER: usize = 16 * 1024;
const RECEIVE_BUFFER: usize = 8 * 1024;

/// Bytes of answers that wait for clients to read, over all of them; then the slowest goes.
const UNSENT_MAX: usize = 4 * 1024 * 1024;

/// The gate's thread; stops when dropped.
pub(crate) struct Gate {
    waker: Waker,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let any_v6 = addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let socket = match Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)) {
        // this kernel has no IPv6: all addresses there are are those of IPv4
        Err(_) if any_v6 => return bind((Ipv4Addr::UNSPECIFIED, addr.port()).into()),
        socket => socket?,
    };
    if any_v6 {
        // IPv4 clients too, which the system's default may exclude
        socket.set_only_v6(false)?;
    }
    // A restarted service gets its port while connections of the former are still being forgotten.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // Inherited by what it accepts.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Gate {
    pub(crate) fn start(
        mut listener: TcpListener,
        upstream: std::net::TcpStream,
        limits: Limits,
        log: AccessQueue,
        evicted: IntCounter,
    ) -> io::Result<Gate> {
        upstream.set_nonblocking(true)?;
        let mut upstream = Upstream::new(TcpStream::from_std(upstream));
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        registry.register(upstream.stream(), UPSTREAM, Interest::READABLE | Interest::WRITABLE)?;
        let waker = Waker::new(registry, STOP)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut gate = Loop {
            poll,
            listener,
            upstream,
            limits,
            clients: Vec::new(),
            free: Vec::new(),
            ids: 0,
            log,
            evicted,
            scratch: Box::new([0; HEAD_MAX]),
            pending_accepts: Accepts::None,
        };
        let thread = thread::Builder::new().name("health-gate".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || gate.run(&stop)
        })?;
        Ok(Gate { waker, stop, thread: Some(thread) })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

struct Loop {
    poll: Poll,
    listener: TcpListener,
    upstream: Upstream,
    limits: Limits,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    ids: u64,
    log: AccessQueue,
    evicted: IntCounter,
    scratch: Box<[u8; HEAD_MAX]>,
    pending_accepts: Accepts,
}

/// Whether connections wait to be accepted: the listener is edge-triggered and says so once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepts {
    None,
    Now,
    /// When file descriptors may be free again.
    After(Instant),
}

impl Loop {
    fn run(&mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(256);
        while !stop.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, self.timeout()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Not documented to happen on a valid poll; without it there is no server, and a probe sees that.
                Err(_) => return,
            }
            let now = Instant::now();
            let mut upstream_ready = false;
            for event in &events {
                match event.token() {
                    LISTENER => self.pending_accepts = Accepts::Now,
                    UPSTREAM => upstream_ready = true,
                    STOP => {}
                    Token(slot) => {
                        if let Some(Some(client)) = self.clients.get_mut(slot) {
                            client.readable |=
                                event.is_readable() || event.is_read_closed() || event.is_error();
                            self.drive(slot, now);
                        }
                    }
                }
            }
            if upstream_ready {
                self.take_answers(now);
            }
            self.accept(now);
            self.expire(now);
            self.upstream.flush();
            if self.upstream.is_broken() {
                self.break_off(now);
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let accepts = match self.pending_accepts {
            Accepts::None => None,
            Accepts::Now => Some(now),
            Accepts::After(at) => Some(at),
        };
        let clients = self.clients.iter().flatten().map(|client| client.deadline(&self.limits));
        let next = clients.chain(accepts).min()?;
        Some(next.saturating_duration_since(now))
    }

    fn accept(&mut self, now: Instant) {
        match self.pending_accepts {
            Accepts::None => return,
            Accepts::After(at) if at > now => return,
            Accepts::Now | Accepts::After(_) => {}
        }
        // Half of the places, before the others get their turn: a new connection is read again before
        // enough others have arrived to evict it.
        for _ in 0..self.limits.connections.div_ceil(2) {
            match self.listener.accept() {
                Ok((stream, peer)) => self.welcome(stream, peer, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.pending_accepts = Accepts::None;
                    return;
                }
                // A client that gave up while it waited.
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                // No descriptor left, here or in the system: one of ours will do.
                Err(_) => {
                    if !self.evict() {
                        self.pending_accepts = Accepts::After(now + NO_DESCRIPTOR);
                        return;
                    }
                }
            }
        }
        self.pending_accepts = Accepts::Now;
    }

    fn welcome(&mut self, mut stream: TcpStream, peer: SocketAddr, now: Instant) {
        if self.clients.len() - self.free.len() >= self.limits.connections.max(1) {
            self.evict();
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, Token(slot), interest).is_err() {
            self.free.push(slot);
            return;
        }
        self.ids += 1;
        self.clients[slot] = Some(Client::new(stream, peer.ip().to_canonical(), self.ids, now));
        self.drive(slot, now);
    }

    fn drive(&mut self, slot: usize, now: Instant) {
        while let Some(client) = &mut self.clients[slot] {
            match client.drive(now, &mut self.scratch) {
                Step::Wait => return,
                Step::Close => self.close(slot),
                Step::Refused(line, refusal) => self.log_refusal(slot, line, refusal),
                Step::Ask(..) if self.upstream.is_broken() => {
                    if let Step::Refused(line, refusal) = client.refuse(Refusal::Broken, now) {
                        self.log_refusal(slot, line, refusal);
                    }
                }
                Step::Ask(head, urgency) => {
                    return self.upstream.ask(&head, slot, client.id, urgency);
                }
            }
        }
    }

    fn take_answers(&mut self, now: Instant) {
        let mut more = true;
        while more {
            more = self.upstream.receive(&mut self.scratch[..]);
            while let Some((pending, status, answer)) = self.upstream.next_answer() {
                // Whoever left meanwhile has left its slot to another.
                let asker = self.clients[pending.slot].as_mut().filter(|client| client.id == pending.id);
                if let Some(client) = asker
                    && let Some(asked) = client.answer(&answer, now)
                {
                    self.log.push(Access {
                        at: SystemTime::now(),
                        peer: client.peer,
                        line: asked.line,
                        status,
                        on_health: asked.on_health,
                    });
                    self.drive(pending.slot, now);
                }
            }
        }
        self.bound_unsent();
    }

    /// Closes the slowest readers until the others' answers fit; one answer may be as large as it is.
    fn bound_unsent(&mut self) {
        loop {
            let unsent = |client: &&Client| client.unsent() > 0;
            let waiting: Vec<_> = self.clients.iter().flatten().filter(unsent).map(Client::unsent).collect();
            if waiting.len() <= 1 || waiting.iter().sum::<usize>() <= UNSENT_MAX {
                return;
            }
            self.evict_among(|client| client.unsent() > 0);
        }
    }

    fn expire(&mut self, now: Instant) {
        for slot in 0..self.clients.len() {
            if let Some(client) = &mut self.clients[slot]
                && client.deadline(&self.limits) <= now
            {
                self.upstream.forget(client.id);
                match client.expire(now) {
                    Step::Refused(line, refusal) => {
                        self.log_refusal(slot, line, refusal);
                        self.drive(slot, now);
                    }
                    _ => self.close(slot),
                }
            }
        }
    }

    /// tiny_http is gone: whoever still waits for it hears so.
    fn break_off(&mut self, now: Instant) {
        for slot in 0..self.clients.len() {
            if let Some(client) = &mut self.clients[slot]
                && client.is_asked()
            {
                if let Step::Refused(line, refusal) = client.refuse(Refusal::Broken, now) {
                    self.log_refusal(slot, line, refusal);
                }
                self.drive(slot, now);
            }
        }
    }

    fn log_refusal(&self, slot: usize, line: Vec<u8>, refusal: Refusal) {
        if let Some(client) = &self.clients[slot] {
            self.log.push(Access {
                at: SystemTime::now(),
                peer: client.peer,
                line,
                status: refusal.status().0,
                on_health: false,
            });
        }
    }

    /// Closes the connection that is missed least; false if there is none.
    fn evict(&mut self) -> bool {
        self.evict_among(|_| true)
    }

    fn evict_among(&mut self, which: impl Fn(&Client) -> bool) -> bool {
        let clients = self.clients.iter().enumerate();
        let among = clients
            .filter_map(|(slot, client)| Some((slot, client.as_ref().filter(|client| which(client))?)));
        let least = among.map(|(slot, client)| (client.claim(), slot)).min();
        if let Some((_, slot)) = least {
            self.close(slot);
            self.evicted.inc();
        }
        least.is_some()
    }

    fn close(&mut self, slot: usize) {
        if let Some(mut client) = self.clients[slot].take() {
            self.upstream.forget(client.id);
            // Closing the socket forgets it too, on every system but those that say so here.
            let _ = self.poll.registry().deregister(client.stream());
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_comes_at_once_is_not_sent_away() {
        let addr = bind(([127, 0, 0, 1], 0).into()).and_then(|listener| {
            let addr = listener.local_addr()?;
            // Never accepted from, as while the gate's thread waits for its turn on a busy machine.
            std::mem::forget(listener);
            Ok(addr)
        });
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
            .map_or(128, |number| number.trim().parse().unwrap());
        let crowd: Vec<_> = (0..allowed.min(600))
            .map(|_| std::net::TcpStream::connect_timeout(addr.as_ref().unwrap(), Duration::from_millis(900)))
            .collect();
        assert!(crowd.iter().all(Result::is_ok), "{:?}", crowd.iter().filter(|it| it.is_err()).count());
    }
}
