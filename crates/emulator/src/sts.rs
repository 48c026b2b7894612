//! STS, as far as clients ask it who they are: GetCallerIdentity, and credentials that are renewed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{call::Call, clock::Time, error::Result, model::world::World};

#[derive(Debug, Deserialize)]
pub(crate) struct GetCallerIdentity {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Identity {
    arn: String,
    user_id: &'static str,
    account: String,
}

pub(crate) fn identity(_: &mut World, call: &Call, _: GetCallerIdentity) -> Result<Identity> {
    let account = call.scope.account.to_string();
    Ok(Identity { arn: format!("arn:aws:iam::{account}:user/emulator"), user_id: "AIDAEMULATOR", account })
}

/// Access keys as a container's credentials endpoint hands them out, a new one each time.
#[derive(Debug)]
pub(crate) struct Keys {
    issued: AtomicU64,
    lifetime_ms: AtomicU64,
}

impl Default for Keys {
    fn default() -> Self {
        Self { issued: AtomicU64::new(0), lifetime_ms: AtomicU64::new(3_600_000) }
    }
}

impl Keys {
    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        self.lifetime_ms.store(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn issue(&self, now: Time) -> Value {
        let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        let expiration = Time(now.0.saturating_add(self.lifetime_ms.load(Ordering::Relaxed)));
        json!({
            "AccessKeyId": format!("ASIAEMULATED{number:08}"),
            "SecretAccessKey": "emulated",
            "Token": "emulated",
            "Expiration": expiration.iso8601(),
            "RoleArn": "arn:aws:iam::000000000000:role/emulator",
        })
    }
}
