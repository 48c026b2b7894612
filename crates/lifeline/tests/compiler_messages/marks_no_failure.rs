use lifeline::{Failure, Message};

#[derive(Debug)]
struct DbError;

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database is gone")
    }
}

impl std::error::Error for DbError {}

fn store(_: &Message) -> Result<(), DbError> {
    Err(DbError)
}

async fn handle(message: Message) -> Result<(), Failure> {
    store(&message)?;
    Ok(())
}

fn main() {
    lifeline::run(handle);
}
