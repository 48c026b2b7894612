//! Three-valued logic (Kleene's): a test holds, does not hold, or cannot be decided, with the reason.

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Truth {
    Yes,
    No,
    /// Why it cannot be decided.
    Unknown(String),
}

impl Truth {
    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown(reason.into())
    }

    pub(crate) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            unknown @ Self::Unknown(_) => unknown,
        }
    }

    /// Whether any test holds; no test at all is `No`.
    pub(crate) fn any(tests: impl IntoIterator<Item = Self>) -> Self {
        let mut result = Self::No;
        for test in tests {
            match test {
                Self::Yes => return Self::Yes,
                Self::Unknown(_) if result == Self::No => result = test,
                Self::Unknown(_) | Self::No => {}
            }
        }
        result
    }

    /// Whether every test holds; no test at all is `Yes`.
    pub(crate) fn all(tests: impl IntoIterator<Item = Self>) -> Self {
        Self::any(tests.into_iter().map(Self::not)).not()
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}
