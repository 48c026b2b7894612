//! Policies, AWS's answer to each, and where AWS says so.
//!
//! Unless a row says otherwise, the request is SNS delivering from `TOPIC` to `QUEUE` on 27 November 2026.

use lifeline_policy::{Decision, Policy, Principal, Request};

const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:orders";
const QUEUE: &str = "arn:aws:sqs:eu-west-1:111122223333:billing";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ROLE_SESSION: &str = "arn:aws:sts::111122223333:assumed-role/producer/pod-7";

// https://docs.aws.amazon.com/IAM/latest/UserGuide/ unless they begin with another guide's name
const LOGIC: &str = "reference_policies_evaluation-logic_policy-eval-denyallow.html";
const EFFECT: &str = "reference_policies_elements_effect.html";
const PRINCIPAL: &str = "reference_policies_elements_principal.html";
const NOT_PRINCIPAL: &str = "reference_policies_elements_notprincipal.html";
const ACTION: &str = "reference_policies_elements_action.html";
const NOT_ACTION: &str = "reference_policies_elements_notaction.html";
const RESOURCE: &str = "reference_policies_elements_resource.html";
const NOT_RESOURCE: &str = "reference_policies_elements_notresource.html";
const CONDITION: &str = "reference_policies_elements_condition.html";
const MULTIPLE: &str = "reference_policies_condition-logic-multiple-context-keys-or-values.html";
const OPERATORS: &str = "reference_policies_elements_condition_operators.html";
const SETS: &str = "reference_policies_condition-single-vs-multi-valued-context-keys.html";
const KEYS: &str = "reference_policies_condition-keys.html";
const VARIABLES: &str = "reference_policies_variables.html";
const GRAMMAR: &str = "reference_policies_grammar.html";
const SNS_TO_SQS: &str = "SNS Developer Guide: subscribe-sqs-queue-to-sns-topic.html";
const SNS_CROSS_REGION: &str = "SNS Developer Guide: sns-cross-region-delivery.html";
const SNS_POLICIES: &str = "SNS Developer Guide: sns-access-policy-use-cases.html";
const SQS_POLICIES: &str = "SQS Developer Guide: sqs-basic-examples-of-sqs-policies.html";
const SQS_KEYS: &str = "SQS Developer Guide: sqs-key-management.html";
const SDK: &str = "SDK for .NET, AmazonSimpleNotificationServiceClient.SubscribeQueue";
const PERIMETER: &str = "aws-samples/data-perimeter-policy-examples";
const REPOST: &str = "repost.aws, ForAnyValue:StringEqualsIfExists behaving unexpectedly (accepted answer)";

enum Expected {
    Allowed,
    /// By the statement of this number, or by none.
    Denied(Option<usize>),
    /// The reason contains this.
    CannotTell(&'static str),
}
use Expected::{Allowed, CannotTell};
const IMPLICITLY: Expected = Expected::Denied(None);
const fn by(statement: usize) -> Expected {
    Expected::Denied(Some(statement))
}

/// Name, source, statements, answer.
type Row = (&'static str, &'static str, &'static str, Expected);

/// `TOPIC` and `QUEUE` stand for their ARNs.
fn check(rows: &[Row], request: &Request) {
    check_version("2012-10-17", rows, request);
}

fn check_version(version: &str, rows: &[Row], request: &Request) {
    for (name, source, statements, expected) in rows {
        let text = format!(r#"{{"Version":"{version}","Statement":[{statements}]}}"#);
        let text = text.replace("TOPIC", TOPIC).replace("QUEUE", QUEUE);
        let decision = Policy::parse(&text).map_or_else(Decision::from, |policy| policy.evaluate(request));
        let agrees = match (expected, &decision) {
            (Allowed, Decision::Allowed(_)) => true,
            (Expected::Denied(by), Decision::Denied(statement)) => {
                *by == statement.as_ref().map(|statement| statement.number)
            }
            (CannotTell(why), Decision::CannotTell { reason, .. }) => reason.contains(why),
            _ => false,
        };
        assert!(agrees, "{name} ({source}): {decision}\n{text}");
    }
}

fn delivery() -> Request {
    Request::sns_delivery(TOPIC, QUEUE).at(1_795_737_600)
}

/// An Allow for SNS with these further elements.
macro_rules! allow {
    ($more:literal) => {
        concat!(
            r#"{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"QUEUE""#,
            $more,
            "}"
        )
    };
}

/// An open Allow and a Deny with these elements.
macro_rules! deny {
    ($more:literal) => {
        concat!(
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"QUEUE"},{"Effect":"Deny","#,
            $more,
            "}"
        )
    };
}

/// An Allow with this condition.
macro_rules! when {
    ($condition:literal) => {
        concat!(
            r#"{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"QUEUE","Condition":{"#,
            $condition,
            "}}"
        )
    };
}

/// An open Allow, and a Deny of everything under this condition.
macro_rules! unless {
    ($condition:literal) => {
        concat!(
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"QUEUE"},{"Effect":"Deny","Principal":"*","Action":"sqs:*","Resource":"QUEUE","Condition":{"#,
            $condition,
            "}}"
        )
    };
}

#[test]
fn statements_and_principals() {
    let rows = [
        ("no statement", LOGIC, "", IMPLICITLY),
        (
            "what AWS documents for SNS to SQS",
            SNS_TO_SQS,
            when!(r#""ArnEquals":{"aws:SourceArn":"TOPIC"}"#),
            Allowed,
        ),
        ("no condition at all", EFFECT, allow!(""), Allowed),
        (
            "everyone",
            PRINCIPAL,
            r#"{"Effect":"Allow","Principal":"*","Action":"SQS:*","Resource":"*"}"#,
            Allowed,
        ),
        (
            "what the SDK's SubscribeQueue writes",
            SDK,
            r#"{"Sid":"topic","Effect":"Allow","Principal":{"AWS":["*"]},"Action":["sqs:SendMessage"],"Resource":["QUEUE"],"Condition":{"ArnLike":{"aws:SourceArn":["TOPIC"]}}}"#,
            Allowed,
        ),
        (
            "the queue's own account does not stand for a service",
            PRINCIPAL,
            r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sqs:*","Resource":"QUEUE"}"#,
            IMPLICITLY,
        ),
        (
            "another account",
            PRINCIPAL,
            r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},"Action":"sqs:*","Resource":"QUEUE"}"#,
            IMPLICITLY,
        ),
        (
            "another service",
            PRINCIPAL,
            r#"{"Effect":"Allow","Principal":{"Service":"events.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"QUEUE"}"#,
            IMPLICITLY,
        ),
        (
            "one of several services",
            PRINCIPAL,
            r#"{"Effect":"Allow","Principal":{"Service":["s3.amazonaws.com","sns.amazonaws.com"]},"Action":"sqs:SendMessage","Resource":"QUEUE"}"#,
            Allowed,
        ),
        (
            "an opt-in Region's principal",
            SNS_CROSS_REGION,
            r#"{"Effect":"Allow","Principal":{"Service":"sns.af-south-1.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"QUEUE"}"#,
            CannotTell("opt-in Region"),
        ),
        (
            "a part of a principal's name cannot be a wildcard",
            PRINCIPAL,
            r#"{"Effect":"Allow","Principal":{"Service":"sns.*"},"Action":"sqs:SendMessage","Resource":"QUEUE"}"#,
            IMPLICITLY,
        ),
        (
            "a user whose account was deleted is left as an id",
            PRINCIPAL,
            r#"{"Effect":"Allow","Principal":{"AWS":"AIDACKCEVSQ6C2EXAMPLE"},"Action":"sqs:*","Resource":"QUEUE"}"#,
            IMPLICITLY,
        ),
        (
            "everyone but an account is denied, SNS with them",
            NOT_PRINCIPAL,
            deny!(
                r#""NotPrincipal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sqs:*","Resource":"QUEUE""#
            ),
            by(2),
        ),
        (
            "everyone but SNS is denied",
            NOT_PRINCIPAL,
            deny!(r#""NotPrincipal":{"Service":"sns.amazonaws.com"},"Action":"sqs:*","Resource":"QUEUE""#),
            Allowed,
        ),
        (
            "NotPrincipal with Allow",
            NOT_PRINCIPAL,
            r#"{"Effect":"Allow","NotPrincipal":{"AWS":"444455556666"},"Action":"sqs:*","Resource":"QUEUE"}"#,
            CannotTell("NotPrincipal"),
        ),
        (
            "an explicit Deny beats an Allow, in any order",
            LOGIC,
            concat!(
                r#"{"Effect":"Deny","Principal":"*","Action":"sqs:SendMessage","Resource":"QUEUE"},"#,
                allow!("")
            ),
            by(1),
        ),
        (
            "a Deny of the service",
            LOGIC,
            deny!(r#""Principal":{"Service":"sns.amazonaws.com"},"Action":"*","Resource":"*""#),
            by(2),
        ),
        (
            "a Deny of others",
            LOGIC,
            deny!(r#""Principal":{"AWS":"444455556666"},"Action":"sqs:*","Resource":"QUEUE""#),
            Allowed,
        ),
        (
            "Effect is case-sensitive",
            EFFECT,
            r#"{"Effect":"allow","Principal":"*","Action":"*","Resource":"*"}"#,
            CannotTell("Effect"),
        ),
        ("a misspelt element", GRAMMAR, allow!(r#","Conditions":{}"#), CannotTell("Conditions")),
        (
            "no principal",
            GRAMMAR,
            r#"{"Effect":"Allow","Action":"sqs:*","Resource":"QUEUE"}"#,
            CannotTell("Principal"),
        ),
    ];
    check(&rows, &delivery());
}

#[test]
fn actions_and_resources() {
    let rows = [
        (
            "actions ignore case",
            ACTION,
            r#"{"Effect":"Allow","Principal":"*","Action":"SQS:sendmessage","Resource":"QUEUE"}"#,
            Allowed,
        ),
        (
            "a wildcard in an action",
            ACTION,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:Send*","Resource":"QUEUE"}"#,
            Allowed,
        ),
        (
            "a wildcard for a character",
            ACTION,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:SendM?ssage","Resource":"QUEUE"}"#,
            Allowed,
        ),
        (
            "another action",
            ACTION,
            r#"{"Effect":"Allow","Principal":"*","Action":["sqs:ReceiveMessage","sqs:DeleteMessage"],"Resource":"QUEUE"}"#,
            IMPLICITLY,
        ),
        (
            "another service's action",
            ACTION,
            r#"{"Effect":"Allow","Principal":"*","Action":"sns:*","Resource":"QUEUE"}"#,
            IMPLICITLY,
        ),
        (
            "every action but another",
            NOT_ACTION,
            r#"{"Effect":"Allow","Principal":"*","NotAction":"sqs:DeleteQueue","Resource":"QUEUE"}"#,
            Allowed,
        ),
        (
            "every action but this",
            NOT_ACTION,
            r#"{"Effect":"Allow","Principal":"*","NotAction":"sqs:Send*","Resource":"QUEUE"}"#,
            IMPLICITLY,
        ),
        (
            "a Deny of all but receiving",
            NOT_ACTION,
            deny!(r#""Principal":"*","NotAction":"sqs:ReceiveMessage","Resource":"QUEUE""#),
            by(2),
        ),
        (
            "both Action and NotAction",
            GRAMMAR,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","NotAction":"sqs:*","Resource":"QUEUE"}"#,
            CannotTell("both"),
        ),
        (
            "another queue",
            RESOURCE,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"arn:aws:sqs:eu-west-1:111122223333:invoices"}"#,
            IMPLICITLY,
        ),
        (
            "resources are case-sensitive",
            RESOURCE,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"arn:aws:sqs:eu-west-1:111122223333:Billing"}"#,
            IMPLICITLY,
        ),
        (
            "a wildcard for the name",
            RESOURCE,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"arn:aws:sqs:eu-west-1:111122223333:*"}"#,
            Allowed,
        ),
        (
            "a wildcard in the name",
            RESOURCE,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"arn:aws:sqs:*:*:bill*"}"#,
            Allowed,
        ),
        (
            "a wildcard over several parts",
            RESOURCE,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"arn:aws:sqs:*"}"#,
            Allowed,
        ),
        (
            "every resource but another",
            NOT_RESOURCE,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","NotResource":"arn:aws:sqs:eu-west-1:111122223333:invoices"}"#,
            Allowed,
        ),
        (
            "every resource but this",
            NOT_RESOURCE,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","NotResource":"QUEUE"}"#,
            IMPLICITLY,
        ),
        (
            "a Deny for another queue",
            LOGIC,
            deny!(
                r#""Principal":"*","Action":"sqs:*","Resource":"arn:aws:sqs:eu-west-1:111122223333:invoices""#
            ),
            Allowed,
        ),
        (
            "no resource",
            GRAMMAR,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*"}"#,
            CannotTell("Resource"),
        ),
        (
            "a variable in a resource",
            VARIABLES,
            r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"arn:aws:sqs:*:*:${aws:PrincipalTag/queue}"}"#,
            CannotTell("${aws:PrincipalTag/queue}"),
        ),
    ];
    check(&rows, &delivery());
}

#[test]
fn arn_and_string_conditions() {
    let rows = [
        (
            "ArnLike with wildcards",
            OPERATORS,
            when!(r#""ArnLike":{"aws:SourceArn":"arn:aws:sns:*:*:orders"}"#),
            Allowed,
        ),
        (
            "ArnEquals behaves as ArnLike",
            OPERATORS,
            when!(r#""ArnEquals":{"aws:SourceArn":"arn:aws:sns:eu-west-1:111122223333:*"}"#),
            Allowed,
        ),
        (
            "ARNs are compared part by part",
            OPERATORS,
            when!(r#""ArnLike":{"aws:SourceArn":"arn:aws:sns:*:orders:*:*"}"#),
            IMPLICITLY,
        ),
        (
            "an ARN is case-sensitive",
            OPERATORS,
            when!(r#""ArnLike":{"aws:SourceArn":"arn:aws:sns:eu-west-1:111122223333:Orders"}"#),
            IMPLICITLY,
        ),
        (
            "less than an ARN",
            OPERATORS,
            when!(r#""ArnLike":{"aws:SourceArn":"arn:aws:sns:*"}"#),
            CannotTell("six parts"),
        ),
        (
            "another topic",
            OPERATORS,
            when!(r#""ArnEquals":{"aws:SourceArn":"arn:aws:sns:eu-west-1:111122223333:payments"}"#),
            IMPLICITLY,
        ),
        (
            "one of several topics",
            MULTIPLE,
            when!(r#""ArnEquals":{"aws:SourceArn":["arn:aws:sns:eu-west-1:111122223333:payments","TOPIC"]}"#),
            Allowed,
        ),
        ("all but this topic", OPERATORS, when!(r#""ArnNotEquals":{"aws:SourceArn":"TOPIC"}"#), IMPLICITLY),
        (
            "all but another topic",
            OPERATORS,
            when!(r#""ArnNotLike":{"aws:SourceArn":"arn:aws:sns:*:*:payments"}"#),
            Allowed,
        ),
        (
            "a negated list is met by none of it",
            MULTIPLE,
            when!(r#""ArnNotLike":{"aws:SourceArn":["arn:aws:sns:*:*:payments","arn:aws:sns:*:*:ord*"]}"#),
            IMPLICITLY,
        ),
        (
            "a Deny of other topics",
            OPERATORS,
            unless!(r#""ArnNotEquals":{"aws:SourceArn":"TOPIC"}"#),
            Allowed,
        ),
        (
            "a Deny of this topic",
            OPERATORS,
            unless!(r#""ArnLike":{"aws:SourceArn":"arn:aws:sns:*:*:orders"}"#),
            by(2),
        ),
        ("an ARN as a string", OPERATORS, when!(r#""StringEquals":{"aws:SourceArn":"TOPIC"}"#), Allowed),
        (
            "StringEquals knows no wildcards",
            OPERATORS,
            when!(r#""StringEquals":{"aws:SourceArn":"arn:aws:sns:*:*:orders"}"#),
            IMPLICITLY,
        ),
        (
            "StringLike does, over parts",
            OPERATORS,
            when!(r#""StringLike":{"aws:SourceArn":"arn:*:orders"}"#),
            Allowed,
        ),
        (
            "StringNotLike",
            OPERATORS,
            when!(r#""StringNotLike":{"aws:SourceArn":"arn:aws:sns:*"}"#),
            IMPLICITLY,
        ),
        (
            "the topic's account",
            SNS_TO_SQS,
            when!(r#""StringEquals":{"aws:SourceAccount":"111122223333"}"#),
            Allowed,
        ),
        (
            "another account",
            KEYS,
            when!(r#""StringEquals":{"aws:SourceAccount":"444455556666"}"#),
            IMPLICITLY,
        ),
        (
            "an account as a number",
            GRAMMAR,
            when!(r#""StringEquals":{"aws:SourceAccount":111122223333}"#),
            Allowed,
        ),
        (
            "names of keys ignore case",
            CONDITION,
            when!(r#""StringEquals":{"AWS:sourceaccount":"111122223333"}"#),
            Allowed,
        ),
        (
            "two keys of one operator must both match",
            MULTIPLE,
            when!(
                r#""StringEquals":{"aws:SourceAccount":"111122223333","aws:PrincipalServiceName":"events.amazonaws.com"}"#
            ),
            IMPLICITLY,
        ),
        (
            "two operators must both match",
            MULTIPLE,
            when!(
                r#""ArnLike":{"aws:SourceArn":"TOPIC"},"StringEquals":{"aws:SourceAccount":"444455556666"}"#
            ),
            IMPLICITLY,
        ),
        (
            "both do",
            MULTIPLE,
            when!(
                r#""ArnLike":{"aws:SourceArn":"TOPIC"},"StringEquals":{"aws:SourceAccount":"111122223333"}"#
            ),
            Allowed,
        ),
        (
            "StringEqualsIgnoreCase",
            OPERATORS,
            when!(r#""StringEqualsIgnoreCase":{"aws:PrincipalServiceName":"SNS.amazonaws.com"}"#),
            Allowed,
        ),
        (
            "StringNotEqualsIgnoreCase",
            OPERATORS,
            when!(r#""StringNotEqualsIgnoreCase":{"aws:PrincipalServiceName":"SNS.amazonaws.com"}"#),
            IMPLICITLY,
        ),
        (
            "a wildcard as a character",
            VARIABLES,
            when!(r#""StringLike":{"aws:SourceAccount":"1${*}"}"#),
            IMPLICITLY,
        ),
        (
            "a policy variable",
            VARIABLES,
            when!(r#""StringEquals":{"aws:SourceAccount":"${aws:PrincipalAccount}"}"#),
            CannotTell("${aws:PrincipalAccount}"),
        ),
        (
            "a variable beside what fails anyway",
            MULTIPLE,
            when!(
                r#""ArnLike":{"aws:SourceArn":"arn:aws:sns:*:*:payments"},"StringEquals":{"aws:SourceAccount":"${aws:PrincipalAccount}"}"#
            ),
            IMPLICITLY,
        ),
        (
            "a variable in one of two statements",
            LOGIC,
            concat!(
                when!(r#""StringEquals":{"aws:SourceAccount":"${aws:PrincipalAccount}"}"#),
                ",",
                allow!("")
            ),
            Allowed,
        ),
        (
            "the organisation of the topic",
            KEYS,
            when!(r#""StringEquals":{"aws:SourceOrgID":"o-a1b2c3d4e5"}"#),
            CannotTell("aws:SourceOrgID"),
        ),
        (
            "a Deny that cannot be decided",
            LOGIC,
            unless!(r#""StringNotEquals":{"aws:SourceOrgID":"o-a1b2c3d4e5"}"#),
            CannotTell("aws:SourceOrgID"),
        ),
        (
            "a Deny that cannot be decided, and nothing that allows",
            LOGIC,
            r#"{"Effect":"Deny","Principal":"*","Action":"sqs:*","Resource":"QUEUE","Condition":{"StringNotEquals":{"aws:SourceOrgID":"o-a1b2c3d4e5"}}}"#,
            IMPLICITLY,
        ),
    ];
    check(&rows, &delivery());
}

#[test]
fn other_conditions() {
    let rows = [
        ("a Deny without TLS", SQS_POLICIES, unless!(r#""Bool":{"aws:SecureTransport":"false"}"#), Allowed),
        (
            "a Deny without TLS, as a boolean",
            GRAMMAR,
            unless!(r#""Bool":{"aws:SecureTransport":false}"#),
            Allowed,
        ),
        ("only with TLS", OPERATORS, when!(r#""Bool":{"aws:SecureTransport":"True"}"#), Allowed),
        (
            "services are let through",
            PERIMETER,
            unless!(
                r#""StringNotEqualsIfExists":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"},"BoolIfExists":{"aws:PrincipalIsAWSService":"false"}"#
            ),
            Allowed,
        ),
        (
            "services are not let through",
            PERIMETER,
            unless!(r#""StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}"#),
            by(2),
        ),
        (
            "only members of the organisation",
            KEYS,
            when!(r#""StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}"#),
            IMPLICITLY,
        ),
        (
            "only by the VPC endpoint",
            SQS_POLICIES,
            unless!(r#""StringNotEquals":{"aws:sourceVpce":"vpce-1a2b3c4d"}"#),
            by(2),
        ),
        (
            "IfExists, absent",
            OPERATORS,
            when!(r#""StringEqualsIfExists":{"aws:SourceVpce":"vpce-1a2b3c4d"}"#),
            Allowed,
        ),
        (
            "IfExists, present",
            OPERATORS,
            when!(r#""ArnLikeIfExists":{"aws:SourceArn":"arn:aws:sns:*:*:payments"}"#),
            IMPLICITLY,
        ),
        ("Null true, absent", OPERATORS, when!(r#""Null":{"aws:SourceVpce":"true"}"#), Allowed),
        ("Null false, present", OPERATORS, when!(r#""Null":{"aws:SourceArn":"false"}"#), Allowed),
        ("Null true, present", OPERATORS, when!(r#""Null":{"aws:SourceArn":true}"#), IMPLICITLY),
        (
            "Null of what is not known",
            OPERATORS,
            when!(r#""Null":{"aws:SourceOrgID":"true"}"#),
            CannotTell("aws:SourceOrgID"),
        ),
        (
            "before a date",
            SQS_POLICIES,
            when!(r#""DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}"#),
            Allowed,
        ),
        (
            "after a date that is over",
            OPERATORS,
            when!(r#""DateLessThanEquals":{"aws:CurrentTime":"2009-06-30T15:00Z"}"#),
            IMPLICITLY,
        ),
        (
            "a span of time",
            SQS_POLICIES,
            when!(
                r#""DateGreaterThan":{"aws:CurrentTime":"2026-11-27T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2026-11-27T00:00:01Z"}"#
            ),
            IMPLICITLY,
        ),
        (
            "a date in seconds",
            OPERATORS,
            when!(r#""DateGreaterThan":{"aws:EpochTime":"1577836800"}"#),
            Allowed,
        ),
        (
            "seconds as a number",
            OPERATORS,
            when!(r#""NumericGreaterThanEquals":{"aws:EpochTime":1577836800}"#),
            Allowed,
        ),
        (
            "NumericNotEquals",
            OPERATORS,
            when!(r#""NumericNotEquals":{"aws:EpochTime":"1795737600"}"#),
            IMPLICITLY,
        ),
        (
            "not a number",
            OPERATORS,
            when!(r#""NumericLessThan":{"aws:EpochTime":"soon"}"#),
            CannotTell("soon"),
        ),
        (
            "the caller's address",
            KEYS,
            when!(r#""IpAddress":{"aws:SourceIp":"203.0.113.0/24"}"#),
            CannotTell("aws:SourceIp"),
        ),
        (
            "an operator that does not exist",
            GRAMMAR,
            when!(r#""StringMatches":{"aws:SourceArn":"TOPIC"}"#),
            CannotTell("StringMatches"),
        ),
        (
            "BinaryEquals",
            OPERATORS,
            when!(r#""BinaryEquals":{"key":"QmluYXJ5"}"#),
            CannotTell("BinaryEquals"),
        ),
        (
            "ForAnyValue of one value",
            SETS,
            when!(r#""ForAnyValue:StringEquals":{"aws:SourceAccount":["111122223333","444455556666"]}"#),
            Allowed,
        ),
        (
            "ForAllValues without the key",
            SETS,
            when!(r#""ForAllValues:StringEquals":{"aws:SourceVpce":"vpce-1a2b3c4d"}"#),
            Allowed,
        ),
        (
            "ForAnyValue without the key",
            SETS,
            when!(r#""ForAnyValue:StringEquals":{"aws:SourceVpce":"vpce-1a2b3c4d"}"#),
            IMPLICITLY,
        ),
        (
            "ForAnyValue beats IfExists",
            REPOST,
            when!(r#""ForAnyValue:StringEqualsIfExists":{"aws:SourceVpce":"vpce-1a2b3c4d"}"#),
            IMPLICITLY,
        ),
    ];
    check(&rows, &delivery());
}

#[test]
fn keys_with_several_values() {
    let rows = [
        (
            "ForAnyValue, one matches",
            SETS,
            when!(r#""ForAnyValue:StringLike":{"aws:PrincipalServiceNamesList":"sns.eu-*"}"#),
            Allowed,
        ),
        (
            "ForAllValues, one does not",
            SETS,
            when!(r#""ForAllValues:StringLike":{"aws:PrincipalServiceNamesList":"sns.eu-*"}"#),
            IMPLICITLY,
        ),
        (
            "ForAllValues, all do",
            SETS,
            when!(
                r#""ForAllValues:StringLike":{"aws:PrincipalServiceNamesList":["sns.eu-*","sns.amazonaws.com"]}"#
            ),
            Allowed,
        ),
        (
            "ForAnyValue negated, one is not listed",
            SETS,
            when!(r#""ForAnyValue:StringNotEquals":{"aws:PrincipalServiceNamesList":"sns.amazonaws.com"}"#),
            Allowed,
        ),
        (
            "ForAllValues negated, one is listed",
            SETS,
            when!(r#""ForAllValues:StringNotEquals":{"aws:PrincipalServiceNamesList":"sns.amazonaws.com"}"#),
            IMPLICITLY,
        ),
        (
            "no set operator",
            SETS,
            when!(r#""StringEquals":{"aws:PrincipalServiceNamesList":"sns.amazonaws.com"}"#),
            CannotTell("several values"),
        ),
    ];
    let names = ["sns.eu-west-1.amazonaws.com", "sns.amazonaws.com"].map(str::to_owned);
    check(&rows, &delivery().with_values("aws:PrincipalServiceNamesList", names));
}

#[test]
fn the_older_version_knows_no_variables() {
    let rows = [
        (
            "a variable is a text",
            VARIABLES,
            when!(r#""StringEquals":{"aws:SourceAccount":"${aws:PrincipalAccount}"}"#),
            IMPLICITLY,
        ),
        (
            "wildcards work",
            VARIABLES,
            when!(r#""ArnLike":{"aws:SourceArn":"arn:aws:sns:*:*:orders"}"#),
            Allowed,
        ),
    ];
    check_version("2008-10-17", &rows, &delivery());
    check_version("2020-01-01", &[("no such version", GRAMMAR, "", CannotTell("Version"))], &delivery());
}

#[test]
fn key_policies() {
    let root = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}"#;
    let sns = r#"{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":["kms:GenerateDataKey*","kms:Decrypt"],"Resource":"*"}"#;
    let narrow = r#"{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"*","Condition":{"ArnEquals":{"aws:SourceArn":["TOPIC"]}}}"#;
    let by_sqs = r#"{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"sqs.eu-west-1.amazonaws.com"}}}"#;
    let rows = [
        ("the default key policy", SQS_KEYS, root, IMPLICITLY),
        ("what AWS documents for SNS", SNS_TO_SQS, sns, Allowed),
        ("for one topic", SQS_KEYS, narrow, Allowed),
        ("a key of the KMS service", KEYS, by_sqs, CannotTell("kms:ViaService")),
    ];
    for action in ["kms:GenerateDataKey", "kms:Decrypt"] {
        check(&rows, &Request::sns_key_use(TOPIC, action, KEY));
    }
    let encrypt_only = r#"{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"kms:GenerateDataKey*","Resource":"*"}"#;
    let row = [("SNS needs both actions", SQS_KEYS, encrypt_only, IMPLICITLY)];
    check(&row, &Request::sns_key_use(TOPIC, "kms:Decrypt", KEY));
}

#[test]
fn topic_policies() {
    let default = r#"{"Sid":"__default_statement_ID","Effect":"Allow","Principal":{"AWS":"*"},"Action":["SNS:Subscribe","SNS:Publish"],"Resource":"TOPIC","Condition":{"StringEquals":{"AWS:SourceOwner":"111122223333"}}}"#;
    let role = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/apps/producer"},"Action":"sns:Publish","Resource":"TOPIC"}"#;
    let other_role = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/consumer"},"Action":"sns:Publish","Resource":"TOPIC"}"#;
    let account =
        r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sns:Publish","Resource":"TOPIC"}"#;
    let deny_account = r#"{"Effect":"Allow","Principal":"*","Action":"sns:*","Resource":"TOPIC"},{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sns:Publish","Resource":"TOPIC"}"#;
    let service = r#"{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sns:Publish","Resource":"TOPIC"}"#;
    let federated = r#"{"Effect":"Allow","Principal":{"Federated":"accounts.google.com"},"Action":"sns:Publish","Resource":"TOPIC"}"#;
    let session = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/producer/pod-7"},"Action":"sns:Publish","Resource":"TOPIC"}"#;
    let rows = [
        ("the default topic policy", SNS_POLICIES, default, CannotTell("AWS:SourceOwner")),
        ("the role of a session", PRINCIPAL, role, Allowed),
        ("a session by name", PRINCIPAL, session, Allowed),
        ("another role", PRINCIPAL, other_role, IMPLICITLY),
        ("the account of a session", PRINCIPAL, account, Allowed),
        ("a Deny of the account", PRINCIPAL, deny_account, by(2)),
        ("a service", PRINCIPAL, service, IMPLICITLY),
        ("a web identity", PRINCIPAL, federated, CannotTell("accounts.google.com")),
    ];
    let publish = Request::new(Principal::Aws(ROLE_SESSION.to_owned()), "sns:Publish", TOPIC);
    check(&rows, &publish);
    let anonymous = Request::new(Principal::Anonymous, "sns:Publish", TOPIC).without_other_keys();
    let rows = [
        ("without the key", SNS_POLICIES, default, IMPLICITLY),
        (
            "everyone",
            PRINCIPAL,
            r#"{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sns:Publish","Resource":"TOPIC"}"#,
            Allowed,
        ),
        ("an account", PRINCIPAL, account, IMPLICITLY),
    ];
    check(&rows, &anonymous);
}

#[test]
fn an_address_that_is_known_is_compared() {
    let request = delivery().with("aws:SourceIp", "203.0.113.9");
    let rows = [
        (
            "in the range",
            OPERATORS,
            when!(r#""IpAddress":{"aws:SourceIp":["2001:DB8::/32","203.0.113.0/24"]}"#),
            Allowed,
        ),
        (
            "not in the range",
            OPERATORS,
            when!(r#""NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}"#),
            IMPLICITLY,
        ),
        (
            "a Deny outside of the range",
            SQS_POLICIES,
            unless!(r#""NotIpAddress":{"aws:SourceIp":"198.51.100.0/24"}"#),
            by(2),
        ),
        (
            "not a range",
            OPERATORS,
            when!(r#""IpAddress":{"aws:SourceIp":"203.0.113.0/99"}"#),
            CannotTell("/99"),
        ),
    ];
    check(&rows, &request);
}

#[test]
fn a_decision_names_its_statement() {
    let text = r#"{"Statement":{"Sid":"NoSns","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}"#;
    let decision = Policy::parse(text).unwrap().evaluate(&delivery());
    assert_eq!(decision.to_string(), "denied by statement 1 (NoSns)");
    assert_eq!(
        Policy::parse("").unwrap().evaluate(&delivery()).to_string(),
        "denied: no statement allows it"
    );
}
