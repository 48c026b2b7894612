//! The binary `producer`; see `producer --help`.

#[cfg(feature = "allocator")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // the arguments must be named: a `Config` does not say which `Program` it came from
    lifeline_service::main::<lifeline_producer::service::Args, _, _>(lifeline_producer::service::run)
}
