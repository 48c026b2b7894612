//! The real process while what it depends on is gone: the service behind its handler, or the way to AWS.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::binary::Process;
use crate::support::*;
use crate::suspects::serve;

/// The proxy of a service mesh: once it has left, every connection is refused.
struct Proxy {
    address: SocketAddr,
    leaves: tokio::sync::oneshot::Sender<()>,
    left: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn to(url: &str) -> Self {
        let target = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (leaves, mut asked) = tokio::sync::oneshot::channel();
        let left = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    _ = &mut asked => break,
                };
                let target = target.clone();
                connections.spawn(async move {
                    let mut to = TcpStream::connect(target).await.unwrap();
                    tokio::io::copy_bidirectional(&mut stream, &mut to).await.ok();
                });
            }
            drop(listener);
            connections.shutdown().await;
        });
        Self { address, leaves, left }
    }

    async fn leave(self) {
        self.leaves.send(()).unwrap();
        self.left.await.unwrap();
    }
}

/// A service that takes `time` for each request.
async fn service(time: Duration) -> (String, Seen<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let handled = Seen::default();
    let seen = handled.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, "none", seen.clone(), std::sync::Arc::default(), time));
        }
    });
    (url, handled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_behind_a_proxy_that_has_left_loses_nothing_and_says_what_it_could_not_confirm() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").visibility_timeout(12).dead_letters_to("dead", 5);
    queue.send_all((0..20).map(|n| n.to_string()));
    let proxy = Proxy::to(&aws.url()).await;
    let (url, handled) = service(SECOND).await;
    let endpoint = format!("http://{}", proxy.address);
    let settings = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("HANDLER", "http"),
        ("HANDLER_URL", url.as_str()),
        ("SHUTDOWN_GRACE", "6s"),
    ];
    let mut process = Process::start(&aws, &settings);
    aws.wait_for(|_| process.times_said("received message_id") == 20, SOON).await;
    proxy.leave().await;
    process.signal("TERM");
    let (code, lines) = process.end(9 * SECOND).await;
    // its handlers have all succeeded, and no delete was confirmed
    assert_eq!(handled.len(), 20, "{lines:#?}");
    let unconfirmed = "handled, but its delete was not confirmed in time";
    assert_eq!(lines.iter().filter(|line| line.contains(unconfirmed)).count(), 20);
    assert!(
        lines.last().unwrap().ends_with("drained received=20 deleted=0 retried=0 released=0 lost_lease=20")
    );
    assert_eq!(code, 0, "no handler was cancelled");
    assert!(queue.deleted().is_empty());
    // another pod gets them all when their leases end
    let mut process = Process::start(&aws, &[("HANDLER", "http"), ("HANDLER_URL", url.as_str())]);
    aws.wait_for(|_| queue.is_empty(), 4 * SOON).await;
    assert_eq!((queue.deleted().len(), dead.len()), (20, 0));
    process.signal("TERM");
    assert_eq!(process.end(SOON).await.0, 0);
}

/// Takes a minute and a half.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "real processes and a real minute of outage: run by hand, with the figures in docs/testing.md"]
async fn ten_thousand_messages_survive_a_minute_without_the_service_behind() {
    let aws = emulator_on_own_thread();
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 3);
    queue.send_all((0..10_000).map(|n| n.to_string()));
    // nothing listens there yet
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{address}/in");
    let mut process = Process::start(&aws, &[("HANDLER", "http"), ("HANDLER_URL", url.as_str())]);
    let begun = Instant::now();
    while begun.elapsed() < MINUTE {
        tokio::time::sleep(SECOND).await;
        assert!(queue.counts().in_flight <= 64, "no more than it keeps");
    }
    let handled = Seen::<String>::default();
    let listener = TcpListener::bind(address).await.unwrap();
    let seen = handled.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, "none", seen.clone(), std::sync::Arc::default(), Duration::ZERO));
        }
    });
    let back = Instant::now();
    while !queue.is_empty() {
        tokio::time::sleep(SECOND / 10).await;
        assert!(back.elapsed() < 2 * MINUTE, "{:?}", queue.counts());
    }
    println!("all done {:?} after the return", back.elapsed());
    assert_eq!((dead.len(), handled.len()), (0, 10_000), "none dead-lettered, none handled twice");
    assert!(queue.histories().iter().all(|history| history.received.len() == 1), "no receive was used up");
    process.signal("TERM");
    assert_eq!(process.end(SOON).await.0, 0);
}
