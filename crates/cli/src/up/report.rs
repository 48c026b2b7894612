//! The beginning and the end of the compact view: what is running and what to try, and what became of every message.

use std::net::SocketAddr;

use console::{Style, measure_text_width};
use lifeline_consumer::Drained;
use lifeline_consumer::service::HandlerKind;
use lifeline_messaging::topology;
use lifeline_producer::Summary as Published;
use lifeline_producer::service::Ended;
use lifeline_producer::service::Input;

use super::left::{Count, Left};
use super::picture::Names;
use crate::args::Up;
use crate::output::Output;
use crate::screen::Screen;

/// Shows what is running.
pub(super) fn banner(
    screen: &Screen,
    settings: &Up,
    endpoint: &str,
    page: Option<&str>,
    [producer, consumer]: [SocketAddr; 2],
) {
    let Names { input, handler, topic, queue, .. } = names(settings);
    let (topic, queue) = (format!("topic {topic}"), format!("queue {queue}"));
    let bold = |text: &str| screen.paint(&Style::new().bold(), text);
    let mut lines =
        vec![String::new(), bold(&format!("lifeline {}", env!("CARGO_PKG_VERSION"))), String::new()];
    let paths = "/health /ready /metrics".to_owned();
    let rows = [
        ("SNS and SQS", endpoint.to_owned(), [topic, queue].to_vec()),
        ("producer", format!("http://{producer}"), [paths.clone(), input].to_vec()),
        ("consumer", format!("http://{consumer}"), [paths, handler].to_vec()),
    ];
    for (name, url, more) in rows {
        let mut line = format!("  {name:12} {}", screen.paint(&Style::new().cyan(), format!("{url:22}")));
        for part in more {
            if measure_text_width(&line) + 3 + measure_text_width(&part) <= screen.width() {
                line = format!("{line}   {part}");
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    if let Some(page) = page {
        lines.push(format!("  {:12} {}", "page", screen.paint(&Style::new().cyan(), page)));
    }
    lines.push(String::new());
    if !settings.demo {
        // `cargo run` sets it, and the binary is in nobody's path then
        let lifeline = if std::env::var_os("CARGO").is_some() { "cargo run --" } else { "lifeline" };
        lines.extend([
            "Try in another terminal:".to_owned(),
            format!("  curl http://{consumer}/health"),
            format!("  export AWS_ENDPOINT_URL={endpoint} AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"),
            format!("  {lifeline} send '{{\"id\": 7}}'"),
            format!("  {lifeline} doctor"),
            String::new(),
            "Ctrl-C stops it. --demo shows failures, --log the log.".to_owned(),
            String::new(),
        ]);
    }
    screen.print(&lines.join("\n"));
}

/// What the services read, handle and use, in words.
pub(super) fn names(settings: &Up) -> Names {
    let (publish, worker) = (&settings.producer.publish, &settings.consumer);
    let rate = match publish.rate {
        rate if rate.is_finite() => format!("{rate} per second"),
        _ => "as fast as it goes".to_owned(),
    };
    let input = match &publish.input {
        Input::Generate => format!("sample orders, {rate}"),
        Input::Stdin => format!("standard input, {rate}"),
        Input::File(path) => format!("{}, {rate}", path.display()),
    };
    let handler = match (&settings.output, &worker.handler) {
        (Some(Output::Stdout), _) => "writes each message to standard output".to_owned(),
        (_, HandlerKind::File { path, .. }) => format!("writes each message to {}", path.display()),
        (_, HandlerKind::Http { url, .. }) => format!("posts each message to {}", without_user(url)),
        _ => "shows each message here".to_owned(),
    };
    let queue = worker.consumer.queue.queue.name();
    Names {
        input,
        handler,
        topic: settings.producer.topic.name().to_owned(),
        queue: queue.to_owned(),
        dead_letters: topology::dead_letter_name(queue),
    }
}

/// A URL as anybody may see it: without the user and the password.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => url.to_owned(),
    }
}

/// Shows what became of every message.
pub(super) fn table(screen: &Screen, produced: &Published, consumed: &Drained, left: &Left, code: u8) {
    let Left { dead_letters, queued, kept } = left;
    let still = if *kept { "still queued, and kept" } else { "still queued, and lost" };
    let (good, bad) = (Style::new().green(), Style::new().red());
    let number = |count: &Count| count.as_ref().map_or_else(|_| "unknown".to_owned(), ToString::to_string);
    let known = |count: u64| Ok(count);
    let account = &consumed.account;
    // the first two in any case, the others if there are any
    let rows = [
        ("published", known(produced.published), &good),
        ("handled and deleted", known(account.deleted), &good),
        ("dead letters", dead_letters.clone(), &bad),
        (still, queued.clone(), if *kept { &good } else { &bad }),
        ("rejected, not published", known(produced.rejected), &bad),
        ("blank lines", known(produced.blank), &good),
        ("redelivered after a failure", known(account.retried), &Style::new().yellow()),
        ("returned unhandled", known(account.released), &Style::new().yellow()),
        ("lease lost", known(account.lost_lease), &Style::new().yellow()),
    ];
    let mut lines = vec![String::new(), screen.paint(&Style::new().bold(), "What became of the messages")];
    for (at, (name, count, style)) in rows.iter().enumerate() {
        if at < 2 || *count != Ok(0) {
            lines.push(format!("  {name:28} {}", screen.paint(style, format!("{:>9}", number(count)))));
        }
    }
    lines.push(String::new());
    if produced.ended == Ended::Interrupted {
        lines.push(format!("The input was not read to its end: --from {} continues.", produced.from));
    }
    for reason in [dead_letters, queued].into_iter().filter_map(|count| count.as_ref().err()) {
        lines.push(screen.paint(&bad, format!("A count is unknown: {reason}")));
    }
    if *queued != Ok(0) {
        let text = if *kept {
            "The next run with this --data handles what is queued."
        } else {
            "The queue was in this process. --data FILE keeps it."
        };
        lines.push(text.to_owned());
    }
    lines.push(match code {
        0 => screen.paint(&good, "✓ Nothing was lost."),
        code => screen.paint(&bad, format!("✗ Exit code {code}: something was left undone.")),
    });
    screen.print(&lines.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::without_user;

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(without_user("http://me:se@cret@host:8080/a@b?c"), "http://***@host:8080/a@b?c");
        assert_eq!(without_user("https://host?user=a@b"), "https://host?user=a@b");
    }
}
