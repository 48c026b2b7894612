//! Batches of up to ten: by count, when the first of them has waited long enough, or when no other can come.

use std::future::Future;
use std::time::Duration;

use lifeline_health::Pulse;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;

/// What SQS takes in one batch.
pub(crate) const LARGEST: usize = 10;

/// The next batch, of 1 to 10, which lingers no longer when `alone` completes; `None` when `over`, or when all senders are
/// gone. Beats while there is nothing to do.
///
/// # Cancel safety
/// Not safe: what was gathered would be lost.
pub(crate) async fn next<T>(
    inbox: &mut UnboundedReceiver<T>,
    linger: Duration,
    pulse: &Pulse,
    over: &CancellationToken,
    alone: impl Future<Output = ()>,
) -> Option<Vec<T>> {
    let mut batch = Vec::with_capacity(LARGEST);
    loop {
        pulse.beat();
        tokio::select! {
            biased;
            received = inbox.recv_many(&mut batch, LARGEST) => match received {
                0 => return None,
                _ => break,
            },
            () = over.cancelled() => return None,
            () = tokio::time::sleep(Shared::BEAT) => {}
        }
    }
    let flush_at = Instant::now() + linger;
    tokio::pin!(alone);
    while batch.len() < LARGEST {
        let room = LARGEST - batch.len();
        tokio::select! {
            biased;
            more = inbox.recv_many(&mut batch, room) => if more == 0 { break },
            () = &mut alone => break,
            () = tokio::time::sleep_until(flush_at) => break,
        }
    }
    pulse.beat();
    Some(batch)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn a_lone_item_waits_no_longer_than_the_linger_and_ten_do_not_wait() {
        let pulse = lifeline_health::Pulses::new().start("deletes", Duration::from_secs(30));
        let over = CancellationToken::new();
        let (sender, mut inbox) = mpsc::unbounded_channel();
        sender.send(0).unwrap();
        let begun = Instant::now();
        assert_eq!(next(&mut inbox, Duration::from_millis(3), &pulse, &over, pending()).await, Some(vec![0]));
        assert_eq!(begun.elapsed(), Duration::from_millis(3));
        (0..15).for_each(|i| sender.send(i).unwrap());
        assert_eq!(
            next(&mut inbox, Duration::from_millis(3), &pulse, &over, pending()).await,
            Some((0..10).collect())
        );
        assert_eq!(begun.elapsed(), Duration::from_millis(3));
        sender.send(15).unwrap();
        assert_eq!(
            next(&mut inbox, Duration::from_secs(3), &pulse, &over, ready(())).await,
            Some((10..16).collect())
        );
        assert_eq!(
            begun.elapsed(),
            Duration::from_millis(3),
            "alone, it takes what is there and does not wait"
        );
        (10..15).for_each(|i| sender.send(i).unwrap());
        drop(sender);
        assert_eq!(
            next(&mut inbox, Duration::from_millis(3), &pulse, &over, pending()).await,
            Some((10..15).collect())
        );
        assert_eq!(
            next(&mut inbox, Duration::from_millis(3), &pulse, &over, pending()).await,
            None::<Vec<i32>>
        );
    }
}
