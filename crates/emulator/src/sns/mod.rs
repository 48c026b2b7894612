//! The actions of SNS: a request, the model, an answer.

pub(crate) mod permissions;
pub(crate) mod publish;
pub(crate) mod subscriptions;
pub(crate) mod tags;
pub(crate) mod topics;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    call::Call,
    error::{Result, sns},
    model::{arn::Arn, topic::Topic, world::World},
};

/// Entries of one page of a list.
const PAGE: usize = 100;

/// Checks that this is the ARN of something in the caller's region.
pub(crate) fn check_arn(call: &Call, arn: Option<&str>) -> Result<String> {
    let arn = arn.unwrap_or_default();
    let Some(parsed) = Arn::parse(arn) else {
        let elements = arn.split(':').count();
        return Err(sns::invalid(format!(
            "TopicArn Reason: An ARN must have at least 6 elements, not {elements}"
        )));
    };
    if parsed.service != "sns" || parsed.region != &*call.scope.region {
        return Err(sns::invalid("TopicArn"));
    }
    Ok(arn.into())
}

pub(crate) fn topic<'a>(world: &'a mut World, call: &Call, arn: Option<&str>) -> Result<&'a mut Topic> {
    let arn = check_arn(call, arn)?;
    world.topics.get_mut(&arn).ok_or_else(|| sns::not_found("Topic"))
}

/// One page of ARNs in their order, and the token of the next.
pub(crate) fn page(mut all: Vec<String>, token: Option<&str>) -> Result<(Vec<String>, Option<String>)> {
    if let Some(token) = token.filter(|token| !token.is_empty()) {
        let after = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let place = after.and_then(|after| all.iter().position(|arn| *arn == after));
        let place = place.ok_or_else(|| sns::invalid("NextToken"))?;
        all.drain(..=place);
    }
    let next = (all.len() > PAGE).then(|| STANDARD.encode(&all[PAGE - 1]));
    all.truncate(PAGE);
    Ok((all, next))
}
