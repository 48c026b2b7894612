//! Tags of topics.

use serde::{Deserialize, Serialize};

use super::topics::Tag;
use crate::{
    call::{Call, Nothing},
    error::{AwsError, Result, sns},
    model::{topic::Topic, world::World},
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct OnResource {
    resource_arn: Option<String>,
    tags: Vec<Tag>,
    tag_keys: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tags {
    tags: Vec<Tag>,
}

fn resource<'a>(world: &'a mut World, request: &OnResource) -> Result<&'a mut Topic> {
    let arn = request.resource_arn.as_deref().unwrap_or_default();
    let missing = || AwsError::new(404, "ResourceNotFound", "Resource does not exist");
    world.topics.get_mut(arn).ok_or_else(missing)
}

pub(crate) fn list(world: &mut World, _: &Call, request: OnResource) -> Result<Tags> {
    let topic = resource(world, &request)?;
    let tags = topic.tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() });
    Ok(Tags { tags: tags.collect() })
}

pub(crate) fn tag(world: &mut World, _: &Call, request: OnResource) -> Result<Nothing> {
    let topic = resource(world, &request)?;
    let keys: std::collections::BTreeSet<&str> = request.tags.iter().map(|tag| tag.key.as_str()).collect();
    if keys.len() < request.tags.len() {
        return Err(sns::invalid("Duplicated keys are not allowed."));
    }
    topic.tags.extend(request.tags.into_iter().map(|tag| (tag.key, tag.value)));
    Ok(Nothing {})
}

pub(crate) fn untag(world: &mut World, _: &Call, request: OnResource) -> Result<Nothing> {
    let topic = resource(world, &request)?;
    topic.tags.retain(|key, _| !request.tag_keys.contains(key));
    Ok(Nothing {})
}
