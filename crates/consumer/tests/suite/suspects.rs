//! A message that kills the service behind the handler: it goes alone, and takes no message beside it along.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::handlers::Service;
use crate::support::*;

/// A service that dies of one body, with all its connections, and is started again by a supervisor after a while.
struct Mortal {
    url: String,
    handled: Seen<String>,
    deaths: Count,
}

impl Mortal {
    async fn start(poison: &'static str) -> Self {
        let mut listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mortal =
            Self { url: format!("http://{address}/in"), handled: Seen::default(), deaths: Count::default() };
        let (handled, deaths) = (mortal.handled.clone(), mortal.deaths.clone());
        tokio::spawn(async move {
            loop {
                let died = Arc::new(tokio::sync::Notify::new());
                let mut connections = JoinSet::new();
                loop {
                    tokio::select! {
                        biased;
                        () = died.notified() => break,
                        Ok((stream, _)) = listener.accept() => {
                            let died = Arc::clone(&died);
                            // all that came together are at work when it dies
                            connections.spawn(serve(stream, poison, handled.clone(), died, TOGETHER));
                        }
                    }
                }
                deaths.add();
                drop(listener);
                connections.shutdown().await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                listener = TcpListener::bind(address).await.unwrap();
            }
        });
        mortal
    }
}

/// How long the service takes for a request.
const TOGETHER: Duration = Duration::from_millis(20);

pub(crate) async fn serve(
    mut stream: tokio::net::TcpStream,
    poison: &str,
    handled: Seen<String>,
    died: Arc<tokio::sync::Notify>,
    time: Duration,
) {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
        if body.len() < length.parse().unwrap() {
            continue;
        }
        tokio::time::sleep(time).await;
        if body == poison {
            died.notify_one();
            return std::future::pending().await;
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
        handled.push(body.to_owned());
        text.clear();
    }
}

#[tokio::test]
async fn a_body_that_kills_its_service_is_dead_lettered_and_no_other() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 2);
    queue.send_all((0..100).map(|n| if n == 7 { "poison".to_owned() } else { n.to_string() }));
    let mortal = Mortal::start("poison").await;
    let settings = [("HANDLER", "http"), ("HANDLER_URL", mortal.url.as_str()), ("WAIT_TIME", "1s")];
    let service = Service::start(&aws, &settings);
    // on a queue that is otherwise empty, nothing would tell whose fault it is
    for late in 100.. {
        queue.send(late.to_string());
        tokio::time::sleep(Duration::from_millis(500)).await;
        if !dead.bodies().is_empty() {
            break;
        }
        assert!(late < 200, "the poison was not dead-lettered");
    }
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(dead.bodies(), ["poison"]);
    let good: Vec<_> = queue.histories().into_iter().filter(|h| h.body != "poison").collect();
    assert!(good.iter().all(|h| h.received.len() == 1), "receives were spent on good messages");
    let handled = mortal.handled.all();
    assert!(good.iter().all(|h| handled.contains(&h.body)), "good messages were deleted unhandled");
    assert!(mortal.deaths.get() <= 12, "it died {} times", mortal.deaths.get());
    service.drain().await;
}

#[tokio::test]
async fn a_body_that_kills_its_service_is_dead_lettered_on_a_quiet_queue_too() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 1);
    queue.send("poison");
    let mortal = Mortal::start("poison").await;
    let settings = [("HANDLER", "http"), ("HANDLER_URL", mortal.url.as_str()), ("WAIT_TIME", "1s")];
    let service = Service::start(&aws, &settings);
    aws.wait_for(|_| dead.bodies() == ["poison"], 2 * SOON).await;
    let deaths = mortal.deaths.get();
    assert!((2..=4).contains(&deaths), "once beside others, perhaps, and three times alone: {deaths}");
    queue.send("good");
    aws.wait_for(|_| mortal.handled.all() == ["good"], 2 * SOON).await;
    service.drain().await;
}

#[tokio::test]
async fn a_proxy_that_closes_every_connection_costs_a_lone_message_no_receive() {
    let aws = emulator().await;
    let queue = aws.queue("events").dead_letters_to("dead", 1);
    let dead = aws.queue("dead");
    queue.send("good");
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", proxy.local_addr().unwrap());
    let settings = [("HANDLER", "http"), ("HANDLER_URL", url.as_str()), ("WAIT_TIME", "1s")];
    let service = Service::start(&aws, &settings);
    // the service behind it is down: accepted, and closed without a response
    for _ in 0..8 {
        drop(proxy.accept().await.unwrap());
    }
    let handled = Seen::<String>::default();
    let (stream, _) = proxy.accept().await.unwrap();
    tokio::spawn(serve(stream, "none", handled.clone(), Arc::default(), TOGETHER));
    aws.wait_for(|_| queue.is_empty(), 2 * SOON).await;
    assert_eq!((handled.all(), queue.receives("good")), (vec!["good".to_owned()], 1));
    assert!(dead.is_empty());
    service.drain().await;
}
