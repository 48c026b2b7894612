use lifeline::{FailureKind, Worker};

struct DbError;

fn main() {
    let _worker = Worker::on("orders").classify(|_: &DbError| FailureKind::Unavailable);
}
