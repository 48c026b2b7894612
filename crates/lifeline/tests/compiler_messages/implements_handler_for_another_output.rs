use lifeline::{Context, Failure, Handler, Json};

struct Orders;

impl Handler<Json<u64>> for Orders {
    async fn handle(&self, _: Json<u64>, _: Context) -> Result<u64, Failure> {
        Ok(1)
    }
}

fn main() {
    lifeline::run(Orders);
}
