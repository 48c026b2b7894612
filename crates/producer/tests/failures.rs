//! An environment's failure is never a message's: what SNS, or something in front of it, answers to a call decides whether
//! messages are kept, isolated or rejected. Time is paused, so that outages pass in a moment.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::HashSet;
use std::time::Duration;

use lifeline_emulator::{Action, Emulator, Fault};
use lifeline_health::Health;
use lifeline_messaging::client::{Access, Clients};
use lifeline_producer::{Pending, PublishErrorKind, Publisher, PublisherBuilder};
use tokio::time::{Instant, sleep, timeout};

const LONG: Duration = Duration::from_secs(600);

async fn builder(aws: &Emulator) -> PublisherBuilder {
    let clients = Clients::connect(&Access::local(aws.url())).await.unwrap();
    Publisher::to("t").clients(clients).deadline(None)
}

async fn enqueue(publisher: &Publisher, count: usize) -> Vec<Pending> {
    let mut pending = Vec::new();
    for n in 0..count {
        pending.push(publisher.enqueue(n.to_string()).await.unwrap());
    }
    pending
}

fn aws_reason(health: &Health) -> String {
    let reasons = health.readiness.reasons();
    reasons.iter().find(|(name, _)| *name == "aws").map(|(_, reason)| reason.to_string()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_for_a_while_loses_nothing_and_is_shown_by_ready() {
    for (status, code) in [
        (400, "NotAuthorized"),
        (403, "InvalidSignatureException"),
        (403, "RequestTimeTooSkewed"),
        (400, "RequestAbortedException"),
        (403, "MissingAuthenticationTokenException"),
        (400, "IncompleteSignatureException"),
        (403, "InvalidAccessKeyId"),
        (401, "AuthFailure"),
        (400, "MalformedHttpRequestException"),
        (400, "ValidationError"),
        (400, "ValidationException"),
        (404, "UnknownOperationException"),
        (400, "InvalidAction"),
        (400, "EndpointDisabled"),
        (400, "EC2ThrottledException"),
        (400, "PriorRequestNotComplete"),
        (400, "TransactionInProgressException"),
        (400, "KMS.ThrottlingException"),
        (413, "RequestEntityTooLarge"),
        (429, "TooManyRequests"),
        (400, "InvalidParameter"),
        (400, "OfTomorrow"),
    ] {
        let aws = Emulator::start().await.unwrap();
        let topic = aws.topic("t");
        let health = Health::new("test");
        let publisher = builder(&aws).await.health(&health).start().await.unwrap();
        let refusal = aws.inject(Fault::on(Action::PublishBatch).error(status, code));
        let mut pending = enqueue(&publisher, 50).await;
        let begun = Instant::now();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(publisher.buffered(), 50, "{code}: all are kept");
        assert!(refusal.hits() > 2 && refusal.hits() < 60, "{code}: {} calls in a minute", refusal.hits());
        let reason = aws_reason(&health);
        assert!(reason.contains(code) && reason.contains(&status.to_string()), "{code}: {reason}");
        refusal.remove();
        for pending in &mut pending {
            timeout(LONG, pending).await.unwrap().unwrap_or_else(|error| panic!("{code}: {error}"));
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{code}: {:?}", begun.elapsed());
        assert_eq!(topic.messages().into_iter().collect::<HashSet<_>>().len(), 50);
        assert_eq!(topic.messages().len(), 50, "{code}: none twice");
        assert_eq!(aws_reason(&health), "");
    }
}

#[tokio::test(start_paused = true)]
async fn an_arn_of_another_region_rejects_no_message() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let refusal = aws.inject(Fault::on(Action::PublishBatch).error_that_says(
        400,
        "InvalidParameter",
        "Invalid parameter: TopicArn",
    ));
    let health = Health::new("test");
    let publisher = builder(&aws).await.health(&health).start().await.unwrap();
    let pending = enqueue(&publisher, 20).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(publisher.buffered(), 20);
    assert!(aws_reason(&health).contains("Invalid parameter: TopicArn"), "{}", aws_reason(&health));
    refusal.remove();
    for pending in pending {
        timeout(LONG, pending).await.unwrap().unwrap();
    }
    assert_eq!(topic.messages().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn one_message_that_the_path_refuses_stands_alone_and_no_other_waits_for_it() {
    for status in [413, 403, 400, 404, 406, 431, 414] {
        let aws = Emulator::start().await.unwrap();
        let topic = aws.topic("t");
        aws.inject(Fault::on(Action::PublishBatch).when(|call| call.bodies().contains(&"25")).page(status));
        let publisher = builder(&aws).await.start().await.unwrap();
        let mut pending = enqueue(&publisher, 50).await;
        let failing = pending.remove(25);
        let begun = Instant::now();
        for pending in pending {
            timeout(LONG, pending).await.unwrap().unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{status}: {:?}", begun.elapsed());
        assert_eq!(publisher.buffered(), 1, "{status}: it is kept");
        timeout(LONG, publisher.close()).await.unwrap();
        let error = failing.await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Rejected);
        assert_eq!(error.code(), Some(&*format!("HTTP {status}")));
        assert!(error.to_string().contains("nginx") && !error.may_have_been_published(), "{error}");
        assert_eq!((error.into_message().unwrap().body(), topic.messages().len()), ("25", 49));
    }
}

#[tokio::test(start_paused = true)]
async fn while_messages_flow_one_that_is_refused_again_and_again_is_rejected() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    aws.inject(Fault::on(Action::PublishBatch).when(|call| call.bodies().contains(&"poison")).page(413));
    let health = Health::new("test");
    let publisher = builder(&aws).await.health(&health).start().await.unwrap();
    let poison = publisher.enqueue("poison").await.unwrap();
    let flow = async {
        for n in 0.. {
            publisher.publish(n.to_string()).await.unwrap();
            sleep(Duration::from_millis(200)).await;
        }
    };
    let error = tokio::select! { error = poison => error.unwrap_err(), () = flow => unreachable!() };
    assert_eq!(error.code(), Some("HTTP 413"));
    assert!(error.attempts() >= 8, "{} attempts", error.attempts());
    assert!(topic.messages().len() > 10 && aws_reason(&health).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_entry_with_a_code_that_nobody_knows_is_kept_while_others_pass() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let rule = aws.inject(
        Fault::on(Action::PublishBatch).for_entries(|e| e.body == "3").fail_entries("OfTomorrow", true),
    );
    let publisher = builder(&aws).await.start().await.unwrap();
    let mut pending = enqueue(&publisher, 10).await;
    let odd = pending.remove(3);
    for pending in pending {
        timeout(LONG, pending).await.unwrap().unwrap();
    }
    sleep(Duration::from_secs(30)).await;
    assert_eq!(publisher.buffered(), 1);
    rule.remove();
    timeout(LONG, odd).await.unwrap().unwrap();
    assert_eq!(topic.messages().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn whether_it_may_have_been_published_is_known() {
    let aws = Emulator::start().await.unwrap();
    let _topic = aws.topic("t");
    let deadline = Duration::from_secs(8);
    let publisher = builder(&aws).await.deadline(deadline).start().await.unwrap();
    publisher.publish("warm").await.unwrap();
    let denied = aws.inject(Fault::on(Action::PublishBatch).error(403, "AuthorizationError"));
    let error = publisher.publish("never").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_been_published()), (PublishErrorKind::TimedOut, false));
    denied.remove();
    // the backoff after the denials may last longer than a deadline, in which nothing would be sent
    while publisher.publish("again").await.is_err() {}
    aws.inject(Fault::on(Action::PublishBatch).after_effect().hang());
    let error = publisher.publish("perhaps").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_been_published()), (PublishErrorKind::TimedOut, true));
}

#[tokio::test(start_paused = true)]
async fn a_publisher_with_nothing_to_publish_is_ready() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let health = Health::new("test");
    let clients = Clients::connect(&Access::local(aws.url())).await.unwrap();
    let _by_name = builder(&aws).await.health(&health).start().await.unwrap();
    aws.wait_for(|_| health.readiness.reasons().is_empty(), LONG).await;
    let health = Health::new("test");
    // by its ARN, with a policy that allows sns:Publish alone
    aws.inject(Fault::on(Action::GetTopicAttributes).error(403, "AuthorizationError"));
    let _by_arn = Publisher::to(topic.arn()).clients(clients).health(&health).start().await.unwrap();
    aws.wait_for(|_| health.readiness.reasons().is_empty(), LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_provisioning_publisher_waits_for_a_confirmed_subscription_and_ready_says_so() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let health = Health::new("test");
    let subscription = |arn: &str| {
        format!(
            "<ListSubscriptionsByTopicResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><ListSubscriptionsByTopicResult>\
            <Subscriptions><member><SubscriptionArn>{arn}</SubscriptionArn><Protocol>email</Protocol><Emulator>a@b</Emulator></member></Subscriptions>\
            </ListSubscriptionsByTopicResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></ListSubscriptionsByTopicResponse>"
        )
    };
    let pending_one = aws.inject(
        Fault::on(Action::ListSubscriptionsByTopic).status(200, &subscription("PendingConfirmation")),
    );
    let publisher = builder(&aws).await.provision(true).health(&health).start().await.unwrap();
    let message = publisher.enqueue("x").await.unwrap();
    for _ in 0..10 {
        sleep(Duration::from_secs(60)).await;
        let reasons = health.readiness.reasons();
        assert!(
            reasons.iter().any(|(_, reason)| reason.contains("no confirmed subscription")),
            "{reasons:?}"
        );
        assert_eq!(topic.messages().len(), 0);
    }
    pending_one.remove();
    let deleted =
        aws.inject(Fault::on(Action::ListSubscriptionsByTopic).status(200, &subscription("Deleted")));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(topic.messages().len(), 0);
    deleted.remove();
    topic.subscribe(&aws.queue("q"), true);
    timeout(LONG, message).await.unwrap().unwrap();
    assert_eq!(health.readiness.reasons(), []);
    assert_eq!(aws.calls(Action::ListTopics), 0, "CreateTopic returns the ARN: no search");

    let aws = Emulator::start().await.unwrap();
    let publisher = builder(&aws).await.provision(true).wait_for_subscription(false).start().await.unwrap();
    timeout(LONG, publisher.publish("x")).await.unwrap().unwrap();
}

fn topics_page(arn: &str, token: &str) -> String {
    format!(
        "<ListTopicsResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><ListTopicsResult><Topics><member>\
        <TopicArn>{arn}</TopicArn></member></Topics><NextToken>{token}</NextToken></ListTopicsResult>\
        <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></ListTopicsResponse>"
    )
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_repeats_itself_is_an_error_and_not_an_endless_search() {
    let aws = Emulator::start().await.unwrap();
    aws.inject(Fault::on(Action::GetCallerIdentity).error(400, "InvalidAction"));
    let topic = aws.topic("t");
    let endless = aws.inject(
        Fault::on(Action::ListTopics).status(200, &topics_page("arn:aws:sns:us-east-1:0:other", "again")),
    );
    let health = Health::new("test");
    let publisher = builder(&aws).await.health(&health).start().await.unwrap();
    let pending = publisher.enqueue("x").await.unwrap();
    aws.wait_for(
        |_| health.readiness.reasons().iter().any(|(_, reason)| reason.contains("same NextToken twice")),
        LONG,
    )
    .await;
    assert!(endless.hits() < 10, "{} pages", endless.hits());
    endless.remove();
    timeout(LONG, pending).await.unwrap().unwrap();
    assert_eq!(topic.messages(), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_search_resumes_where_it_was() {
    let aws = Emulator::start().await.unwrap();
    aws.inject(Fault::on(Action::GetCallerIdentity).error(400, "InvalidAction"));
    let topic = aws.topic("t");
    aws.inject(
        Fault::on(Action::ListTopics)
            .nth(1)
            .status(200, &topics_page("arn:aws:sns:us-east-1:0:other", "page-2")),
    );
    aws.inject(Fault::on(Action::ListTopics).nth(2).throttle());
    let last = topics_page(topic.arn(), "").replace("<NextToken></NextToken>", "");
    aws.inject(Fault::on(Action::ListTopics).nth(3).status(200, &last));
    let publisher = builder(&aws).await.start().await.unwrap();
    timeout(LONG, publisher.publish("x")).await.unwrap().unwrap();
    let tokens: Vec<_> =
        aws.log(Action::ListTopics).iter().map(|call| call.request["NextToken"].clone()).collect();
    assert_eq!(tokens, [serde_json::Value::Null, "page-2".into(), "page-2".into()]);
}

#[tokio::test(start_paused = true)]
async fn a_maximum_that_was_raised_or_lowered_is_noticed() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let publisher = builder(&aws).await.start().await.unwrap();
    publisher.publish("small").await.unwrap();
    let large = || "x".repeat(300_000);
    let refused = publisher.publish(large()).await.unwrap_err();
    assert_eq!(refused.kind(), PublishErrorKind::Invalid);
    topic.set_attribute("MaximumMessageSize", "1048576");
    sleep(Duration::from_secs(60)).await;
    timeout(LONG, publisher.publish(large())).await.unwrap().unwrap();
    topic.set_attribute("MaximumMessageSize", "1024");
    sleep(Duration::from_secs(60)).await;
    let rejected = timeout(LONG, publisher.publish("x".repeat(2000))).await.unwrap().unwrap_err();
    assert_eq!(rejected.kind(), PublishErrorKind::Rejected, "{rejected}");
    sleep(Duration::from_secs(1)).await;
    let refused = publisher.publish("x".repeat(2000)).await.unwrap_err();
    assert_eq!(refused.kind(), PublishErrorKind::Invalid, "{refused}");
    publisher.publish("still small").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_rate_holds_after_an_outage() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let publisher = builder(&aws).await.rate(20.0).start().await.unwrap();
    publisher.publish("warm").await.unwrap();
    aws.down();
    let pending = enqueue(&publisher, 320).await;
    sleep(Duration::from_secs(60)).await;
    aws.up();
    let up = Instant::now();
    for pending in pending {
        timeout(LONG, pending).await.unwrap().unwrap();
    }
    let took = up.elapsed();
    assert!(
        took >= Duration::from_secs(15) && took < Duration::from_secs(25),
        "320 messages at 20/s in {took:?}"
    );
    let at: Vec<Instant> = topic.published().iter().skip(1).map(|published| published.at).collect();
    for window in at.windows(41) {
        assert!(window[40] - window[0] > Duration::from_secs(1), "more than 40 in a second");
    }
}
