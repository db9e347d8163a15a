//! The admin listener, asked over a socket: every page, every refusal, and its bounds.

use memkv::boot;
use memkv::clients::Client;
use memkv::command::call::call;
use memkv::command::session::Session;
use memkv::command::turn::Turn;
use memkv::config::Config;
use memkv::net::admin;
use memkv::net::figures::Board;
use memkv::net::history::SAMPLES_MAX;
use memkv::node::{Loads, Node};
use memkv::observe::{ServiceTime, Totals, Wanted};
use memkv::resp::Argv;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn server() -> (&'static Node, SocketAddr) {
    let node = after(&[&["SET", "k", "v"], &["GET", "k"], &["GET", "none"], &["GET"]]);
    let address = admin::serve(node, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    (node, address)
}

/// A server to which these commands were sent.
fn after(commands: &[&[&str]]) -> &'static Node {
    let (node, registry) = boot::offline(Config { stripes: 16, ..Config::default() }).unwrap();
    let mut session = Session::new(Client::new(1, String::new(), String::new(), false, 0), true);
    let (stats, mut out) = (node.observatory.worker(0), Vec::new());
    let mut turn = Turn::begin(node, &stats, registry, 0);
    for &words in commands {
        let argv = Argv::of(words);
        let request = turn.prepare(argv.view(), false);
        call(&mut turn, &mut session, request, &mut out);
    }
    drop(turn);
    node
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
    node.life.set_loads(Loads::Data);
    assert_eq!(request(address, "GET", "/readyz"), (503, "loading\n".into()));
    assert_eq!(request(address, "GET", "/healthz").0, 200);
    node.life.set_loads(Loads::Nothing);
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
    assert_eq!(request(address, "GET", "/page.html").0, 404);
    assert_eq!(request(address, "GET", "//").0, 404);
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
    for path in ["/metrics", "/latency.json", "/figures.json", "/figures.json?after=1"] {
        for wrong in [
            "",
            "Authorization: Bearer open sesam\r\n",
            "Authorization: Basic open sesame\r\n",
            "Authorization: Bear\r\n",
        ] {
            let answer = with(path, wrong);
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path} {wrong:?}: {answer}");
            assert!(answer.contains("www-authenticate: Bearer\r\n") && !answer.contains("redis_up"), "{answer}");
            assert!(!answer.contains("run_id"), "{answer}");
        }
        for right in ["Authorization: Bearer open sesame\r\n", "authorization: bearer open sesame\r\n"] {
            assert!(with(path, right).starts_with("HTTP/1.1 200 "), "{path} {right:?}");
        }
    }
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(request(address, "GET", path).0, 200, "{path}");
    }
}

#[test]
fn the_page_may_run_its_own_script_and_nothing_else() {
    let (_, address) = server();
    let answer = ask(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    let allowed: Vec<&str> = policy.split("; ").collect();
    assert_eq!(allowed[0], "default-src 'none'");
    for wide in ["unsafe-inline", "unsafe-eval", "*", "http"] {
        assert!(!policy.contains(wide), "{policy}");
    }
    assert!(allowed.contains(&"connect-src 'self'") && allowed.contains(&"frame-ancestors 'none'"), "{policy}");
    assert!(body.starts_with("<!DOCTYPE html>") && body.ends_with("</html>\n") && !body.contains("://"));
}

#[test]
fn a_sample_comes_every_two_seconds_and_is_told_once() {
    let (node, address) = server();
    let figures = |path: &str| {
        let (status, json) = request(address, "GET", path);
        assert_eq!(status, 200);
        serde_json::from_str::<serde_json::Value>(&json).unwrap()
    };
    let first = figures("/figures.json");
    assert_eq!((&first["run_id"], &first["keys"]), (&node.life.run_id.as_str().into(), &1.into()));
    assert_eq!((&first["info"]["role"], &first["info"]["loading"]), (&"master".into(), &"0".into()));
    assert_eq!((first["hotkeys"].is_null(), &first["slowlog"]["length"]), (true, &0.into()));
    let deadline = Instant::now() + Duration::from_secs(20);
    let told = loop {
        let now = figures("/figures.json?after=0");
        if now["samples"].as_array().is_some_and(|samples| !samples.is_empty()) || Instant::now() > deadline {
            break now;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(told["samples"][0]["number"], 1);
    assert_eq!(figures("/figures.json?after=1000")["samples"], serde_json::json!([]));
    assert_eq!(figures("/figures.json?after=x")["samples"][0]["number"], 1, "what is no number asks for all");
}

/// An incident is on the page of who comes later, and the history has an end.
#[test]
fn the_history_tells_of_each_time_what_happened_in_it_for_five_minutes() {
    let node = after(&[]);
    let (board, worker) = (Board::new(node), node.observatory.worker(0));
    let samples = |after: u64| board.json(Some(&format!("after={after}")))["samples"].as_array().unwrap().clone();
    assert!(samples(0).is_empty());
    let incident = ServiceTime { total_ns: 3_000_000, by_cause_ns: [2_000_000, 0, 1_000_000, 0, 0, 0, 0] };
    worker.service(0, 7, &incident);
    worker.counters.keyspace_hits.add(5);
    board.sample();
    node.observatory.reset(memkv::clock::now_ms());
    board.sample();
    let told = samples(0);
    assert_eq!((told.len(), &told[0]["all"][0], &told[0]["hits"]), (2, &7.into(), &5.into()));
    assert_eq!(told[0]["causes_ns"], serde_json::json!([14_000_000, 0, 7_000_000, 0, 0, 0, 0]));
    assert_eq!(told[0]["commands"].as_object().unwrap().len(), 1);
    let (buckets, bounds) = (told[0]["buckets"].as_array().unwrap(), board.json(None)["bounds_ns"].clone());
    let filled = buckets.iter().position(|count| *count == 7).unwrap();
    assert!(bounds[filled - 1].as_u64().unwrap() <= 3_000_000 && 3_000_000 < bounds[filled].as_u64().unwrap());
    assert_eq!(buckets.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 7);
    assert_eq!((&told[1]["all"][0], &told[1]["hits"]), (&0.into(), &0.into()), "a reset is no event");
    for _ in 0..2 * SAMPLES_MAX {
        board.sample();
    }
    let told = samples(0);
    assert_eq!(told.len(), SAMPLES_MAX);
    let numbers: Vec<u64> = told.iter().map(|sample| sample["number"].as_u64().unwrap()).collect();
    let last = 2 + 2 * SAMPLES_MAX as u64;
    assert_eq!(numbers, (last + 1 - SAMPLES_MAX as u64..=last).collect::<Vec<_>>());
    assert_eq!(samples(last - 3).len(), 3);
}

#[test]
fn hostile_names_are_told_as_text_of_bounded_length() {
    let tag = "<script>alert(1)</script>:1";
    let node = after(&[&["SET", tag, "v"], &["SET", "user:1", "v"], &["SET", "user:2", "v"], &["SET", "plain", "v"]]);
    let stats = node.observatory.worker(0);
    let wanted = Wanted { cpu: true, net: false, count: 64, ratio: 1, slots: [].into() };
    assert!(node.observatory.hotkeys.start(wanted, 0, None, Totals::default(), &[]));
    for n in 0..100u8 {
        let key = [tag.as_bytes(), &[0xff, n]].concat();
        node.observatory.hotkeys.record(&stats, 0, (1000, 1), |visit| visit(&key));
    }
    let long = vec![b'x'; 10_000];
    for n in 0..100 {
        let argv = [b"GET".as_slice(), tag.as_bytes(), b"\xc3\x28\0", &long, &long];
        node.observatory.slowlog.push(n, 5, argv.into_iter(), "127.0.0.1:1".into(), b"\x1b[2J\xe2\x80\xae");
    }
    let figures = Board::new(node).json(None);
    let parsed: serde_json::Value = serde_json::from_str(&figures.to_string()).unwrap();
    assert_eq!(parsed, figures);
    let (slow, hot) = (&figures["slowlog"]["entries"], &figures["hotkeys"]["by_time"]);
    assert_eq!((slow.as_array().unwrap().len(), hot.as_array().unwrap().len()), (20, 12));
    let command = slow[0]["command"].as_str().unwrap();
    assert!(
        command.starts_with("GET <script>alert(1)</script>:1 \\xc3(\\u{0} xxx") && command.ends_with('…'),
        "{command}"
    );
    assert!(command.len() < 300);
    assert_eq!(slow[0]["name"], "\\u{1b}[2J\\u{202e}");
    assert!(hot[0]["key"].as_str().unwrap().starts_with("<script>alert(1)</script>:1\\xff"), "{hot}");
    assert_eq!(figures["hotkeys"]["by_bytes"], serde_json::Value::Null);
    let rows = figures["prefixes"]["rows"].as_array().unwrap();
    let named = |name: &str| rows.iter().find(|row| row["name"] == name).map(|row| row["keys"].clone());
    assert_eq!(
        (named("user:"), named("<script>alert(1)</script>:"), named("")),
        (Some(2.into()), Some(1.into()), Some(1.into()))
    );
    assert!(figures.to_string().len() < 64 << 10);
}

#[test]
fn of_many_keys_a_sample_tells_the_prefixes() {
    let keys: Vec<String> = (0..20_000)
        .map(|n| match n % 4 {
            0 => format!("order/{n}"),
            _ => format!("{}user:{n}", "{tag}"),
        })
        .collect();
    let commands: Vec<[&str; 3]> = keys.iter().map(|key| ["SET", key, "v"]).collect();
    let commands: Vec<&[&str]> = commands.iter().map(|words| words.as_slice()).collect();
    let found = after(&commands).keyspace.prefixes(2000);
    let keys = |name: &[u8]| found.iter().find(|prefix| *prefix.name == *name).map_or(0, |prefix| prefix.keys);
    assert!((13_000..17_000).contains(&keys(b"{tag}user:")), "{found:?}");
    assert!((3_000..7_000).contains(&keys(b"order/")), "{found:?}");
    assert!(found[0].bytes > found[1].bytes && found.len() == 2, "{found:?}");
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
