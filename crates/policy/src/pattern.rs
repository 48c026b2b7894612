//! Patterns in policies: `*` and `?` in actions, resources and strings, and ARNs compared part by part.

use crate::truth::Truth;

/// A value of a policy, ready to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Many,
}

/// A policy variable other than `${*}`, `${?}` and `${$}`: its value is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable(pub(crate) String);

impl From<Variable> for Truth {
    fn from(Variable(name): Variable) -> Self {
        Self::unknown(format!("it depends on the policy variable {name}"))
    }
}

impl Pattern {
    /// A pattern with wildcards.
    pub(crate) fn glob(text: &str, variables: bool) -> Result<Self, Variable> {
        Self::read(text, variables, true)
    }

    /// A text in which `*` and `?` stand for themselves.
    pub(crate) fn literal(text: &str, variables: bool) -> Result<Self, Variable> {
        Self::read(text, variables, false)
    }

    fn read(text: &str, variables: bool, wildcards: bool) -> Result<Self, Variable> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let variable = rest.strip_prefix("${").filter(|_| variables).and_then(|r| r.split_once('}'));
            if let Some((name, after)) = variable {
                match name {
                    "*" | "?" | "$" => tokens.extend(name.chars().map(Token::Char)),
                    _ => return Err(Variable(format!("${{{name}}}"))),
                }
                rest = after;
                continue;
            }
            tokens.push(match c {
                '*' if wildcards => Token::Many,
                '?' if wildcards => Token::One,
                c => Token::Char(c),
            });
            rest = &rest[c.len_utf8()..];
        }
        Ok(Self(tokens))
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.compare(text, |a, b| a == b)
    }

    pub(crate) fn matches_ignoring_case(&self, text: &str) -> bool {
        self.compare(text, |a, b| a == b || a.to_lowercase().eq(b.to_lowercase()))
    }

    /// Linear for patterns with one `*`, at worst the product of both lengths: no pattern can stall the caller.
    fn compare(&self, text: &str, same: impl Fn(char, char) -> bool) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut next) = (0, 0);
        // the last `*`, and how far what it stands for reaches
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.0.get(next) {
                Some(Token::Many) => {
                    star = Some((next, at));
                    next += 1;
                }
                Some(Token::One) => (at, next) = (at + 1, next + 1),
                Some(&Token::Char(c)) if same(c, text[at]) => (at, next) = (at + 1, next + 1),
                _ => match star {
                    Some((many, reach)) => {
                        star = Some((many, reach + 1));
                        (at, next) = (reach + 1, many + 1);
                    }
                    None => return false,
                },
            }
        }
        self.0[next..].iter().all(|token| *token == Token::Many)
    }
}

/// `ArnEquals` and `ArnLike`: each of the six parts of the ARN is compared by itself, with wildcards.
pub(crate) fn arn_matches(pattern: &str, arn: &str, variables: bool) -> Truth {
    if let Err(variable) = Pattern::glob(pattern, variables) {
        return variable.into();
    }
    let parts: Vec<_> = pattern.splitn(6, ':').collect();
    let given: Vec<_> = arn.splitn(6, ':').collect();
    if parts.len() < 6 {
        return Truth::unknown(format!("{pattern} is not an ARN of six parts"));
    }
    Truth::all(parts.iter().enumerate().map(|(i, part)| match Pattern::glob(part, variables) {
        Ok(part) => given.get(i).is_some_and(|given| part.matches(given)).into(),
        Err(variable) => variable.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_documented() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("sqs:Send*", "sqs:SendMessage", true),
            ("s?s:*Message", "sqs:SendMessage", true),
            ("sqs:Send*", "sqs:ReceiveMessage", false),
            ("?", "", false),
            ("a*b*c", "a--b--b--c", true),
            ("a*b*c", "a--b--c--d", false),
            ("**", "x", true),
            ("é?", "éü", true),
        ] {
            assert_eq!(Pattern::glob(pattern, true).unwrap().matches(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn escapes_stand_for_themselves_and_other_variables_are_not_guessed() {
        assert!(Pattern::glob("a${*}b", true).unwrap().matches("a*b"));
        assert!(!Pattern::glob("a${*}b", true).unwrap().matches("axb"));
        assert_eq!(Pattern::glob("${aws:username}", true), Err(Variable("${aws:username}".to_owned())));
        assert!(Pattern::literal("${aws:username}", false).unwrap().matches("${aws:username}"));
        assert!(Pattern::glob("${open", true).unwrap().matches("${open"));
    }

    #[test]
    fn a_wildcard_does_not_reach_over_a_part_of_an_arn() {
        let topic = "arn:aws:sns:eu-west-1:111122223333:orders";
        assert_eq!(arn_matches("arn:aws:sns:*:*:orders", topic, true), Truth::Yes);
        assert_eq!(arn_matches("arn:*:*:*:*:*", topic, true), Truth::Yes);
        assert_eq!(arn_matches("arn:aws:s*:orders:*:*", topic, true), Truth::No);
        assert!(matches!(arn_matches("arn:aws:sns:*", topic, true), Truth::Unknown(_)));
    }
}
