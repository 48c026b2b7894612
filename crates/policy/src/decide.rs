//! The decision: which statements apply to a request, and what follows from them. An explicit Deny wins.

use std::fmt;

use crate::condition;
use crate::document::{Effect, Element, Malformed, Policy, Principals, Statement};
use crate::pattern::Pattern;
use crate::request::{Principal, Request};
use crate::truth::Truth;

/// What a policy says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed by this statement, and denied by none.
    Allowed(StatementId),
    /// Denied: by this statement, or implicitly because no statement allows it.
    Denied(Option<StatementId>),
    /// It depends on something that is not known.
    CannotTell {
        /// The statement that could not be decided; none if the whole policy could not be read.
        statement: Option<StatementId>,
        /// What is not known.
        reason: String,
    },
}

/// A statement, by its place in the policy (from 1) and its Sid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementId {
    /// Place in the policy, from 1.
    pub number: usize,
    /// `Sid`.
    pub sid: Option<String>,
}

impl Decision {
    /// Whether the policy allows the request for certain.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Whether the policy denies the request for certain.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(statement) => write!(f, "allowed by {statement}"),
            Self::Denied(Some(statement)) => write!(f, "denied by {statement}"),
            Self::Denied(None) => f.write_str("denied: no statement allows it"),
            Self::CannotTell { statement: Some(statement), reason } => {
                write!(f, "cannot tell: {reason} ({statement})")
            }
            Self::CannotTell { statement: None, reason } => write!(f, "cannot tell: {reason}"),
        }
    }
}

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sid {
            Some(sid) => write!(f, "statement {} ({sid})", self.number),
            None => write!(f, "statement {}", self.number),
        }
    }
}

impl From<Malformed> for Decision {
    fn from(malformed: Malformed) -> Self {
        Self::CannotTell { statement: None, reason: malformed.to_string() }
    }
}

impl Policy {
    /// Decides on a request.
    pub fn evaluate(&self, request: &Request) -> Decision {
        let of = |effect| {
            self.statements
                .iter()
                .enumerate()
                .filter(move |(_, statement)| statement.effect == effect)
                .map(|(i, statement)| (id(i, statement), statement.applies(request, self.variables)))
        };
        let mut undecided = None;
        for (statement, applies) in of(Effect::Deny) {
            match applies {
                Truth::Yes => return Decision::Denied(Some(statement)),
                Truth::Unknown(reason) => {
                    undecided.get_or_insert((statement, reason));
                }
                Truth::No => {}
            }
        }
        let mut allowed = None;
        let mut perhaps = None;
        for (statement, applies) in of(Effect::Allow) {
            match applies {
                Truth::Yes => {
                    allowed.get_or_insert(statement);
                }
                Truth::Unknown(reason) => {
                    perhaps.get_or_insert((statement, reason));
                }
                Truth::No => {}
            }
        }
        // a Deny that may apply matters only to what may be allowed
        match (allowed, undecided, perhaps) {
            (None, _, None) => Decision::Denied(None),
            (Some(statement), None, _) => Decision::Allowed(statement),
            (_, Some((statement, reason)), _) | (_, None, Some((statement, reason))) => {
                Decision::CannotTell { statement: Some(statement), reason }
            }
        }
    }
}

fn id(index: usize, statement: &Statement) -> StatementId {
    StatementId { number: index + 1, sid: statement.sid.clone() }
}

impl Statement {
    fn applies(&self, request: &Request, variables: bool) -> Truth {
        let action = |actions: &Vec<String>| {
            Truth::any(actions.iter().map(|action| match Pattern::glob(action, variables) {
                Ok(action) => action.matches_ignoring_case(&request.action).into(),
                Err(variable) => variable.into(),
            }))
        };
        let resource = |resources: &Vec<String>| {
            Truth::any(resources.iter().map(|resource| match Pattern::glob(resource, variables) {
                Ok(resource) => resource.matches(&request.resource).into(),
                Err(variable) => variable.into(),
            }))
        };
        let resource = match &self.resource {
            Some(element) => element.test(resource),
            None => Truth::unknown("the statement names no Resource"),
        };
        let conditions =
            self.conditions.iter().map(|condition| condition::holds(condition, request, variables));
        Truth::all(
            [self.principal(&request.principal), self.action.test(action), resource]
                .into_iter()
                .chain(conditions),
        )
    }

    fn principal(&self, principal: &Principal) -> Truth {
        match (&self.principal, self.effect) {
            (Element::IsNot(_), Effect::Allow) => {
                Truth::unknown("NotPrincipal with Allow is not supported by AWS")
            }
            (element, _) => element.test(|principals| match principals {
                Principals::Everyone => Truth::Yes,
                Principals::Listed(listed) => {
                    Truth::any(listed.iter().map(|(kind, name)| names(kind, name, principal)))
                }
            }),
        }
    }
}

impl<T> Element<T> {
    fn test(&self, matches: impl FnOnce(&T) -> Truth) -> Truth {
        match self {
            Self::Is(value) => matches(value),
            Self::IsNot(value) => matches(value).not(),
        }
    }
}

/// Whether an entry of `Principal` names the principal of the request.
fn names(kind: &str, name: &str, principal: &Principal) -> Truth {
    match (kind, principal) {
        // for services too: the statement that AWS's SDKs write for a topic has it
        ("AWS", _) if name == "*" => Truth::Yes,
        ("Service", Principal::Service(_)) if name == "*" => {
            Truth::unknown("whether \"Service\": \"*\" names every service is not documented")
        }
        ("Service", Principal::Service(service)) if name == service => Truth::Yes,
        ("Service", Principal::Service(service)) if is_regional_form(name, service) => {
            Truth::unknown(format!("{name} is the principal of deliveries from or to an opt-in Region only"))
        }
        ("AWS", Principal::Aws(arn)) => names_arn(name, arn).into(),
        ("CanonicalUser" | "Federated", Principal::Aws(_)) => {
            Truth::unknown(format!("whether {kind} {name} is the caller is not known"))
        }
        _ => Truth::No,
    }
}

/// `sns.eu-south-1.amazonaws.com` or `sns.amazonaws.com.cn` for `sns.amazonaws.com`.
fn is_regional_form(name: &str, service: &str) -> bool {
    service.split_once('.').is_some_and(|(short, domain)| {
        name.strip_prefix(short).is_some_and(|rest| rest.starts_with('.') && rest.contains(domain))
    })
}

/// An account (by number or by its root's ARN) stands for all of its principals, a role for its sessions.
fn names_arn(name: &str, arn: &str) -> bool {
    let account_of = |arn: &str| arn.split(':').nth(4).map(str::to_owned).filter(|a| !a.is_empty());
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    let account = account_of(arn);
    if name == arn {
        return true;
    }
    if is_account(name) {
        return account.as_deref() == Some(name);
    }
    if name.ends_with(":root") {
        return account.is_some() && account_of(name) == account;
    }
    let session = arn.split_once(":assumed-role/").and_then(|(_, rest)| rest.split('/').next());
    let role = name.split_once(":role/").and_then(|(_, path)| path.rsplit('/').next());
    session.is_some() && session == role && account_of(name) == account
}
