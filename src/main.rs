//! The server's binary.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut config = memkv::config::Config::default();
    let args: Vec<String> = std::env::args().collect();
    if let Some(i) = args.iter().position(|a| a == "--port") {
        config.port = args[i + 1].parse().unwrap();
    }
    if let Some(i) = args.iter().position(|a| a == "--threads") {
        config.threads = args[i + 1].parse().unwrap();
    }
    std::process::exit(memkv::boot::run(config).unwrap());
}
