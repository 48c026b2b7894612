//! Prints what a URL returns: `get URL`. For `.ci/musl-dns`, which runs it against DNS servers that misbehave.
//! With `--system`, the name is looked up once as the system does it, without this crate.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::error::Error;
use std::net::ToSocketAddrs;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use lifeline_http::Client;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().ok_or("a URL is missing")?;
    if first == "--system" {
        let uri: Uri = arguments.next().ok_or("a URL is missing")?.parse()?;
        let host = uri.host().ok_or("no host")?;
        let addresses: Vec<_> = (host, 80).to_socket_addrs()?.collect();
        println!("{addresses:?}");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = runtime.block_on(get(first));
    // a look-up that hangs is not waited for
    runtime.shutdown_background();
    println!("{}", body?);
    Ok(())
}

async fn get(url: String) -> Result<String, Box<dyn Error>> {
    // as long as the services take to connect
    let client: Client<Empty<Bytes>> = Client::builder(Duration::from_millis(3100)).build();
    let response = client.request(Request::get(url).body(Empty::new())?).await?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}
