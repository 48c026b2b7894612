use lifeline::{Batch, Failure, Json};

async fn handle(batch: Batch<Json<u64>>) -> Result<(), Failure> {
    println!("{}", batch.len());
    Ok(())
}

fn main() {
    lifeline::run(handle);
}
