//! Classifiers: what the errors of a foreign type mean, said once for a worker.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::failure::{Failure, FailureKind};

type Classifier = dyn Fn(&(dyn Error + 'static)) -> Option<FailureKind> + Send + Sync;

/// In the order in which they were added. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Classifiers(Vec<Arc<Classifier>>);

impl Classifiers {
    pub(crate) fn add<E: Error + 'static>(
        &mut self,
        classify: impl Fn(&E) -> FailureKind + Send + Sync + 'static,
    ) {
        self.0.push(Arc::new(move |error| error.downcast_ref().map(&classify)));
    }

    /// The failure with the kind of the first error in its chain whose type is known here. One that states its kind keeps it.
    pub(crate) fn apply(&self, failure: Failure) -> Failure {
        if self.0.is_empty() {
            return failure;
        }
        failure.classified(|error| self.0.iter().find_map(|classify| classify(error)))
    }
}

impl fmt::Debug for Classifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} classifiers", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;
    use std::io;

    use super::*;
    use crate::failure::{BoxError, OrFailure};

    #[derive(Debug)]
    struct DbError {
        is_transient: bool,
    }

    impl Display for DbError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the database")
        }
    }

    impl Error for DbError {}

    const TRANSIENT: DbError = DbError { is_transient: true };

    fn classified(failure: impl Into<Failure>) -> Option<FailureKind> {
        let mut classifiers = Classifiers::default();
        classifiers.add(
            |error: &DbError| {
                if error.is_transient { FailureKind::Unavailable } else { FailureKind::Rejected }
            },
        );
        classifiers.add(|_: &io::Error| FailureKind::Failed);
        classifiers.apply(failure.into()).kind()
    }

    #[test]
    fn a_foreign_type_means_what_was_said_wherever_it_is_in_the_chain() {
        let boxed: BoxError = Box::new(DbError { is_transient: false });
        assert_eq!(classified(boxed), Some(FailureKind::Rejected));
        assert_eq!(classified(io::Error::other(TRANSIENT)), Some(FailureKind::Failed), "the first one");
        let text: BoxError = "text".into();
        assert_eq!(classified(text), None);
    }

    #[test]
    fn it_comes_before_what_follows_from_the_type_and_after_what_is_stated() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(Failure::from(refused()).kind(), Some(FailureKind::Unavailable));
        assert_eq!(classified(refused()), Some(FailureKind::Failed));
        let through_a_failure: BoxError = Box::new(Failure::from(refused()));
        assert_eq!(classified(through_a_failure), Some(FailureKind::Failed));
        let stated = Err::<(), _>(TRANSIENT).or_rejected().unwrap_err();
        assert_eq!(classified(stated), Some(FailureKind::Rejected));
    }

    #[cfg(feature = "anyhow")]
    #[test]
    fn the_outermost_error_within_anyhow_is_seen_with_a_context_and_without() {
        use anyhow::Context as _;
        assert_eq!(classified(anyhow::Error::from(TRANSIENT)), Some(FailureKind::Unavailable));
        let with_context = Err::<(), _>(TRANSIENT).context("inserting").unwrap_err();
        assert_eq!(classified(with_context), Some(FailureKind::Unavailable));
        let failure = Failure::from(Err::<(), _>(TRANSIENT).context("inserting").unwrap_err());
        assert_eq!(failure.to_string(), "inserting: the database");
    }
}
