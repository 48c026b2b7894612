//! Condition operators: what `StringEquals`, `ForAnyValue:ArnLike`, `BoolIfExists` and their like compare, and what
//! they say of a key that is absent.

use crate::document::Condition;
use crate::pattern::{Pattern, arn_matches};
use crate::request::{Known, Request};
use crate::truth::Truth;
use crate::value::{date, in_range, number};

struct Operator {
    set: Option<Set>,
    kind: Kind,
    negated: bool,
    if_exists: bool,
}

#[derive(Clone, Copy)]
enum Set {
    All,
    Any,
}

#[derive(Clone, Copy)]
enum Kind {
    Text { wildcards: bool, ignore_case: bool },
    Number(Order),
    Date(Order),
    Bool,
    Ip,
    Arn,
    Null,
}

#[derive(Clone, Copy)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Whether one key of one operator is satisfied by the request.
pub(crate) fn holds(condition: &Condition, request: &Request, variables: bool) -> Truth {
    let Some(operator) = Operator::read(&condition.operator) else {
        return Truth::unknown(format!("the condition operator {} is not supported", condition.operator));
    };
    if condition.values.is_empty() {
        return Truth::unknown(format!("{} of {} has no values", condition.operator, condition.key));
    }
    let known = request.key(&condition.key);
    if let Known::Unknown = known {
        return Truth::unknown(format!("the value of the condition key {} is not known", condition.key));
    }
    if let Kind::Null = operator.kind {
        return null(condition, matches!(known, Known::Absent));
    }
    let Known::Values(given) = known else {
        return operator.without_key();
    };
    let one = |given: &str| operator.compare(given, condition, variables);
    match (operator.set, given) {
        (Some(Set::Any), given) => Truth::any(given.iter().map(|given| one(given))),
        (Some(Set::All), given) => Truth::all(given.iter().map(|given| one(given))),
        (None, [given]) => one(given),
        (None, _) => Truth::unknown(format!(
            "{} has several values, and {} is not a set operator",
            condition.key, condition.operator
        )),
    }
}

/// `Null` with `true` is satisfied by an absent key, with `false` by a present one.
fn null(condition: &Condition, absent: bool) -> Truth {
    Truth::any(condition.values.iter().map(|value| match value.to_ascii_lowercase().as_str() {
        "true" => absent.into(),
        "false" => (!absent).into(),
        _ => Truth::unknown(format!("Null of {} is neither true nor false", condition.key)),
    }))
}

impl Operator {
    fn read(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let (set, name) = match name.split_once(':') {
            Some(("foranyvalue", name)) => (Some(Set::Any), name),
            Some(("forallvalues", name)) => (Some(Set::All), name),
            Some(_) => return None,
            None => (None, name.as_str()),
        };
        let (name, if_exists) = match name.strip_suffix("ifexists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let text = |wildcards, ignore_case| Kind::Text { wildcards, ignore_case };
        let (kind, negated) = match name {
            "stringequals" => (text(false, false), false),
            "stringnotequals" => (text(false, false), true),
            "stringequalsignorecase" => (text(false, true), false),
            "stringnotequalsignorecase" => (text(false, true), true),
            "stringlike" => (text(true, false), false),
            "stringnotlike" => (text(true, false), true),
            "arnequals" | "arnlike" => (Kind::Arn, false),
            "arnnotequals" | "arnnotlike" => (Kind::Arn, true),
            "bool" => (Kind::Bool, false),
            "ipaddress" => (Kind::Ip, false),
            "notipaddress" => (Kind::Ip, true),
            "null" if set.is_none() && !if_exists => (Kind::Null, false),
            name => {
                let (kind, order): (fn(Order) -> Kind, _) = match name.strip_prefix("numeric") {
                    Some(order) => (Kind::Number, order),
                    None => (Kind::Date, name.strip_prefix("date")?),
                };
                match order {
                    "equals" => (kind(Order::Equal), false),
                    "notequals" => (kind(Order::Equal), true),
                    "lessthan" => (kind(Order::Less), false),
                    "lessthanequals" => (kind(Order::LessOrEqual), false),
                    "greaterthan" => (kind(Order::Greater), false),
                    "greaterthanequals" => (kind(Order::GreaterOrEqual), false),
                    _ => return None,
                }
            }
        };
        Some(Self { set, kind, negated, if_exists })
    }

    /// An absent key satisfies `ForAllValues`, `IfExists` and negated operators, and no other. `ForAnyValue` wins over
    /// `IfExists` and over a negation.
    fn without_key(&self) -> Truth {
        match self.set {
            Some(Set::Any) => Truth::No,
            Some(Set::All) => Truth::Yes,
            None => (self.if_exists || self.negated).into(),
        }
    }

    /// One value of the request against all of the policy: any may match, or with a negated operator none.
    fn compare(&self, given: &str, condition: &Condition, variables: bool) -> Truth {
        let any = Truth::any(condition.values.iter().map(|wanted| {
            let undecided = |what| Truth::unknown(format!("{}: {what}", condition.key));
            match self.kind {
                Kind::Text { wildcards, ignore_case } => {
                    text(wanted, given, wildcards, ignore_case, variables)
                }
                Kind::Arn => arn_matches(wanted, given, variables),
                Kind::Bool => wanted.eq_ignore_ascii_case(given).into(),
                Kind::Ip => in_range(given, wanted)
                    .map_or_else(|| undecided(format!("{wanted} is not an IP range")), Truth::from),
                Kind::Number(order) => ordered(order, number(given), number(wanted))
                    .unwrap_or_else(|| undecided(format!("{given} or {wanted} is not a number"))),
                Kind::Date(order) => ordered(order, date(given), date(wanted))
                    .unwrap_or_else(|| undecided(format!("{given} or {wanted} is not a date"))),
                Kind::Null => Truth::No,
            }
        }));
        if self.negated { any.not() } else { any }
    }
}

fn text(wanted: &str, given: &str, wildcards: bool, ignore_case: bool, variables: bool) -> Truth {
    let pattern =
        if wildcards { Pattern::glob(wanted, variables) } else { Pattern::literal(wanted, variables) };
    match pattern {
        Ok(pattern) if ignore_case => pattern.matches_ignoring_case(given).into(),
        Ok(pattern) => pattern.matches(given).into(),
        Err(variable) => variable.into(),
    }
}

fn ordered(order: Order, given: Option<f64>, wanted: Option<f64>) -> Option<Truth> {
    let (given, wanted) = (given?, wanted?);
    let holds = match order {
        Order::Equal => given == wanted,
        Order::Less => given < wanted,
        Order::LessOrEqual => given <= wanted,
        Order::Greater => given > wanted,
        Order::GreaterOrEqual => given >= wanted,
    };
    Some(holds.into())
}
