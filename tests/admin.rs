//! The admin listener, asked over a socket: every page, every refusal, and its bounds.

use memkv::boot;
use memkv::clients::Client;
use memkv::command::call::call;
use memkv::command::session::Session;
use memkv::command::turn::Turn;
use memkv::config::Config;
use memkv::net::admin;
use memkv::node::Node;
use memkv::resp::Argv;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

fn server() -> (&'static Node, SocketAddr) {
    let (node, registry) = boot::offline(Config { stripes: 16, ..Config::default() }).unwrap();
    let mut session = Session::new(Client::new(1, String::new(), String::new(), false, 0), true);
    let (stats, mut out) = (node.observatory.worker(0), Vec::new());
    let mut turn = Turn::begin(node, &stats, registry, 0);
    for words in [["SET", "k", "v"].as_slice(), &["GET", "k"], &["GET", "none"], &["GET"]] {
        let argv = Argv::of(words);
        let request = turn.prepare(argv.view(), false);
        call(&mut turn, &mut session, request, &mut out);
    }
    drop(turn);
    let address = admin::serve(node, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    (node, address)
}

/// Sends bytes and reads until the other side closes.
fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A peer that refuses early may close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    request_as(address, method, path, "*/*")
}

fn request_as(address: SocketAddr, method: &str, path: &str, accept: &str) -> (u16, String) {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    let text = ask(address, head.as_bytes());
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {text}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn pages_tell_health_latency_and_metrics() {
    let (node, address) = server();
    assert_eq!(request(address, "GET", "/healthz"), (200, "ok\n".into()));
    assert_eq!(request(address, "GET", "/readyz"), (200, "ready\n".into()));
    node.life.set_loading(true);
    assert_eq!(request(address, "GET", "/readyz"), (503, "loading\n".into()));
    assert_eq!(request(address, "GET", "/healthz").0, 200);
    node.life.set_loading(false);
    let (status, json) = request(address, "GET", "/latency.json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status, 200);
    assert!(json["windows"]["5m"]["span_ms"].is_u64() && json["histogram"]["<1ms"].is_u64(), "{json}");
    let (status, metrics) = request(address, "GET", "/metrics?name=x");
    assert_eq!(status, 200);
    for line in [
        "redis_up 1",
        "redis_commands_total{cmd=\"get\"} 2",
        "redis_commands_total{cmd=\"set\"} 1",
        "redis_commands_latencies_usec_count{cmd=\"get\"} 2",
        "redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"+Inf\"} 2",
        "redis_keyspace_hits_total 1",
        "redis_keyspace_misses_total 1",
        "redis_errors_total{err=\"ERR\"} 1",
        "redis_db_keys{db=\"db0\"} 1",
        "memkv_aof_batches_total 0",
        "memkv_window_commands{window=\"1m\"} 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "no line {line:?} in\n{metrics}");
    }
    assert!(metrics.contains("redis_latency_percentiles_usec{quantile=\"50\",cmd=\"get\"} "), "{metrics}");
}

#[test]
fn metrics_keep_the_grammar_of_openmetrics() {
    let (_, address) = server();
    let (_, text) = request_as(address, "GET", "/metrics", "application/openmetrics-text; version=1.0.0");
    assert!(text.ends_with("\n# EOF\n"));
    let (mut families, mut samples) = (HashSet::new(), HashSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in text.lines().filter(|l| *l != "# EOF") {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "#" {
            if words[1] == "TYPE" {
                (family, kind) = (words[2].to_owned(), words[3].to_owned());
                assert!(families.insert(family.clone()), "twice: {line}");
            }
            assert_eq!(words[2], family, "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        assert!(suffixes.iter().any(|s| name == format!("{family}{s}")), "{line} under {kind} {family}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(samples.insert(series.to_owned()), "twice: {line}");
    }
    assert!(families.len() > 40);
}

/// Every series that the alert rules and the dashboard ask for is one that the server has.
#[test]
fn alerts_and_the_dashboard_ask_for_series_that_there_are() {
    let (_, address) = server();
    let (_, metrics) = request(address, "GET", "/metrics");
    let known: HashSet<&str> =
        metrics.lines().map(|line| line.trim_start_matches("# TYPE ").split([' ', '{']).next().unwrap()).collect();
    for file in ["dist/monitoring/alerts.yml", "dist/monitoring/grafana.json"] {
        let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: HashSet<&str> = words.filter(|w| w.starts_with("redis_") || w.starts_with("memkv_")).collect();
        assert!(asked.len() > 10, "{file}");
        for name in asked {
            let family = name.trim_end_matches("_bucket");
            assert!(known.contains(name) || known.contains(family), "{file}: there is no series {name}");
        }
    }
}

#[test]
fn other_methods_and_paths_are_refused() {
    let (_, address) = server();
    assert_eq!(request(address, "POST", "/metrics").0, 405);
    assert_eq!(request(address, "DELETE", "/").0, 405);
    assert_eq!(request(address, "GET", "/").0, 404);
    assert_eq!(request(address, "GET", "/../etc/passwd").0, 404);
    let (status, body) = request(address, "HEAD", "/healthz");
    assert_eq!((status, body.as_str()), (200, ""));
}

#[test]
fn figures_are_for_who_shows_the_token_and_health_for_everybody() {
    let (node, address) = server();
    node.config.rcu(|config| Config { admin_token: b"open sesame".to_vec(), ..Config::clone(config) });
    let with = |path: &str, header: &str| {
        ask(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n").as_bytes())
    };
    for path in ["/metrics", "/latency.json"] {
        for wrong in [
            "",
            "Authorization: Bearer open sesam\r\n",
            "Authorization: Basic open sesame\r\n",
            "Authorization: Bear\r\n",
        ] {
            let answer = with(path, wrong);
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path} {wrong:?}: {answer}");
            assert!(answer.contains("www-authenticate: Bearer\r\n") && !answer.contains("redis_up"), "{answer}");
        }
        for right in ["Authorization: Bearer open sesame\r\n", "authorization: bearer open sesame\r\n"] {
            assert!(with(path, right).starts_with("HTTP/1.1 200 "), "{path} {right:?}");
        }
    }
    assert_eq!((request(address, "GET", "/healthz").0, request(address, "GET", "/readyz").0), (200, 200));
}

#[test]
fn hostile_requests_are_refused_and_the_next_one_is_served() {
    let (_, address) = server();
    let long = [b"GET /".to_vec(), vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n".to_vec()].concat();
    let many = [b"GET / HTTP/1.1\r\n".to_vec(), b"X: y\r\n".repeat(5000), b"\r\n".to_vec()].concat();
    for bad in [&long[..], &many, b"*1\r\n$4\r\nPING\r\n", b"\0\0\0\0\r\n\r\n"] {
        let answer = ask(address, bad);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // More than there are places for: the later ones are closed, and places come back.
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ask(address, b"GET /healthz HTTP/1.1\r\n\r\n"), "");
    drop(crowd);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(request(address, "GET", "/healthz").0, 200);
}
