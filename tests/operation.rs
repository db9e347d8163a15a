//! What an operator meets: start, refusals, signals, rotation of the log, crashes; the server as a process.

#![allow(unsafe_code)]

mod common;

use common::{Client, Server, wait_until};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Runs the server with arguments until it ends by itself.
fn run(args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_memkv-server"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{args:?}: the server does not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The log of a server that refuses to start.
fn refusal(dir: &std::path::Path, args: &[&str]) -> String {
    let log = dir.join("log");
    let common = ["--dir", dir.to_str().unwrap(), "--logfile", "log", "--save", "", "--bind", "127.0.0.1"];
    let output = run(&[&common, args].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    fs::read_to_string(log).unwrap_or_default()
}

fn signal(server: &Server, signal: i32) {
    // SAFETY: a signal to a process of our own.
    assert_eq!(unsafe { libc::kill(server.child.id() as i32, signal) }, 0);
}

#[test]
fn a_server_that_would_listen_nowhere_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = refusal(dir.path(), &["--port", "0"]);
    assert!(log.contains("Configured to not listen anywhere, exiting."), "{log}");
}

#[test]
fn why_a_server_does_not_start_is_in_its_log_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let log = refusal(dir.path(), &["--port", "0", "--unixsocket", "/nonexistent/socket"]);
    assert!(log.contains("/nonexistent/socket: No such file or directory"), "{log}");
    fs::create_dir(dir.path().join("appendonlydir")).unwrap();
    fs::write(dir.path().join("appendonlydir/appendonly.aof.manifest"), "junk\n").unwrap();
    let log = refusal(dir.path(), &["--port", "0", "--unixsocket", "socket", "--appendonly", "yes"]);
    assert!(log.contains("appendonlydir/appendonly.aof.manifest: Invalid AOF manifest file format"), "{log}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let log = refusal(dir.path(), &["--port", &port]);
    assert!(log.contains(&format!("listening socket 127.0.0.1:{port}: bind: Address already in use")), "{log}");
    assert!(log.contains(&format!("Failed listening on port {port} (TCP), aborting.")), "{log}");
}

#[test]
fn too_few_descriptors_are_refused_and_few_are_shared() {
    use std::os::unix::process::CommandExt;
    let limited = |files: u64| {
        move |command: &mut Command| {
            // SAFETY: one system call between fork and exec.
            unsafe {
                command.pre_exec(move || {
                    let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
                    // Root could raise it again.
                    libc::prctl(libc::PR_CAPBSET_DROP, 24, 0, 0, 0);
                    libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
                    Ok(())
                });
            }
        }
    };
    let server = Server::start_as(&[], limited(80));
    let mut client = Client::of(&server);
    let maxclients: usize = client.ask("CONFIG GET maxclients")[1].parse().unwrap();
    assert!(server.log().contains(&format!("maxclients has been reduced to {maxclients}")), "{}", server.log());
    // All that it promises it can serve, and one more is told so.
    let mut others: Vec<Client> = (1..maxclients).map(|_| Client::of(&server)).collect();
    assert!(others.iter_mut().all(|client| client.ask("PING") == ["PONG"]));
    assert_eq!(Client::of(&server).reply(), ["ERR max number of clients reached"]);
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_memkv-server"));
    command.args(["--port", "0", "--unixsocket", "s", "--save", "", "--logfile", "log", "--dir"]).arg(dir.path());
    limited(30)(&mut command);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("Your current 'ulimit -n' of 30 is not enough for the server to start."), "{log}");
}

#[test]
fn directives_without_effect_are_named_at_start_and_at_config_set() {
    let server = Server::start(&["--activerehashing", "no", "--list-compress-depth", "1"]);
    let line = "Directives that have no effect in this server: activerehashing, list-compress-depth";
    assert!(server.log().contains(line), "{}", server.log());
    assert_eq!(Client::of(&server).ask("CONFIG SET active-expire-effort 5"), ["OK"]);
    assert!(
        server.log().contains("The directive active-expire-effort has no effect in this server"),
        "{}",
        server.log()
    );
}

#[test]
fn a_rotated_log_goes_on_in_its_own_file() {
    let mut server = Server::start(&["--enable-debug-command", "yes"]);
    let mut client = Client::of(&server);
    client.ask("CONFIG SET loglevel warning");
    let (log, old) = (server.dir.path().join("log"), server.dir.path().join("log.1"));
    fs::rename(&log, &old).unwrap();
    client.ask("DEBUG LOG behind");
    assert!(server.log().contains("DEBUG LOG: behind"), "a line opens the log again");
    fs::remove_file(&log).unwrap();
    signal(&server, libc::SIGHUP);
    wait_until("SIGHUP opens the log again", || log.exists());
    // A crash is reported in the new file.
    client.send("DEBUG SEGFAULT");
    server.child.wait().unwrap();
    assert!(server.log().contains("crashed by signal: 11"), "{}", server.log());
    assert!(!fs::read_to_string(&old).unwrap().contains("behind"));
}

/// It ended the server, which Redis survives.
#[test]
fn sigalrm_is_told_in_the_log() {
    let mut server = Server::start(&[]);
    signal(&server, libc::SIGALRM);
    wait_until("it is told", || server.log().contains("Received SIGALRM"));
    server.is_well();
}

#[test]
fn the_service_manager_hears_of_every_stage() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let hear = || {
        let mut bytes = [0; 4096];
        let n = manager.recv(&mut bytes).expect("a message of the server");
        text(&bytes[..n])
    };
    // `daemonize` gives way.
    let options = ["--supervised", "auto", "--daemonize", "yes", "--pidfile", "pid"];
    let mut server = Server::start_as(&options, |command| {
        command.env("NOTIFY_SOCKET", &socket);
    });
    assert!(hear().contains("STATUS=memkv is loading..."));
    let ready = hear();
    assert!(ready.contains("READY=1") && ready.contains("STATUS=Ready to accept connections"), "{ready}");
    let pid = fs::read_to_string(server.dir.path().join("pid")).unwrap();
    assert_eq!(pid.trim(), server.child.id().to_string());
    let info = server.ask(&[b"INFO", b"server"]);
    assert!(info.contains("process_supervised:systemd\r\n"), "{info}");
    signal(&server, libc::SIGHUP);
    let reloading = hear();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(hear().contains("READY=1"));
    signal(&server, libc::SIGTERM);
    assert!(hear().contains("STOPPING=1"));
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(!server.dir.path().join("pid").exists(), "the pid file is gone");
}

#[test]
fn without_a_manager_nothing_is_supervised() {
    let server = Server::start_as(&["--supervised", "systemd"], |command| {
        command.env_remove("NOTIFY_SOCKET");
    });
    assert!(server.ask(&[b"INFO", b"server"]).contains("process_supervised:no\r\n"));
    assert!(server.log().contains("systemd supervision requested, but NOTIFY_SOCKET not found"), "{}", server.log());
}

#[test]
fn orderly_ends_close_the_port_remove_the_pid_file_and_answer_redis_codes() {
    for (how, code) in [("TERM", 0), ("INT", 0), ("SHUTDOWN", 0), ("SHUTDOWN NOSAVE", 0), ("SHUTDOWN NOW FORCE", 0)] {
        let mut server = Server::start(&["--pidfile", "pid", "--unixsocket", "socket"]);
        let pid = server.dir.path().join("pid");
        assert_eq!(fs::read_to_string(&pid).unwrap().trim(), server.child.id().to_string());
        // The directory may change; the pid file is found again.
        fs::create_dir(server.dir.path().join("other")).unwrap();
        match how {
            "TERM" => signal(&server, libc::SIGTERM),
            "INT" => signal(&server, libc::SIGINT),
            command => Client::of(&server).send(command),
        }
        assert_eq!(server.child.wait().unwrap().code(), Some(code), "{how}: {}", server.log());
        assert!(!pid.exists() && !server.dir.path().join("socket").exists(), "{how}");
        assert!(std::net::TcpStream::connect(server.address).is_err(), "{how}: the port is closed");
    }
}

#[test]
fn a_crash_leaves_a_report_to_act_on() {
    let options = ["--enable-debug-command", "yes", "--requirepass", "hidden", "--maxmemory", "100mb"];
    for (how, signal, needles) in [
        ("SEGFAULT", libc::SIGSEGV, &["crashed by signal: 11"][..]),
        ("PANIC", libc::SIGABRT, &["DEBUG PANIC", "crashed by signal: 6"]),
        ("ASSERT", libc::SIGABRT, &["=== ASSERTION FAILED ==="]),
        ("OOM", libc::SIGABRT, &["Out Of Memory allocating 4611686018427387903 bytes!"]),
        ("STACK-OVERFLOW", libc::SIGSEGV, &["the stack has overflowed", "Accessing address: 0x"]),
    ] {
        let mut server = Server::start(&options);
        let mut client = Client::of(&server);
        assert_eq!(client.ask("AUTH hidden"), ["OK"]);
        assert_eq!(client.ask("CLIENT SETNAME one"), ["OK"]);
        client.send(&format!("DEBUG {how}"));
        let status = server.child.wait().unwrap();
        let log = server.log();
        assert_eq!(status.signal(), Some(signal), "{how}: {log}");
        let common = [
            "=== MEMKV BUG REPORT START",
            "Build: commit=",
            "Thread: worker-",
            "------ REGISTERS ------",
            "------ STACK TRACE ------",
            "name=one",
            "cmd=debug",
            "maxmemory 104857600",
            "requirepass (redacted)",
            "redis_version:",
            "=== MEMKV BUG REPORT END.",
            "SECURITY.md",
        ];
        for needle in needles.iter().chain(&common) {
            assert!(log.contains(needle), "{how}: no {needle:?} in\n{log}");
        }
        assert!(!log.contains("hidden"), "a password is in the report of {how}");
        if cfg!(target_arch = "x86_64") {
            assert!(log.contains("RIP:") && log.contains("RSP:"), "{how}: {log}");
        }
    }
}

#[test]
fn a_crash_without_a_report_and_an_exit_on_panic_are_as_configured() {
    let mut server = Server::start(&["--enable-debug-command", "yes", "--crash-log-enabled", "no"]);
    Client::of(&server).send("DEBUG SEGFAULT");
    assert_eq!(server.child.wait().unwrap().signal(), Some(libc::SIGSEGV));
    assert!(!server.log().contains("BUG REPORT"), "{}", server.log());
    let mut server = Server::start(&["--enable-debug-command", "yes", "--use-exit-on-panic", "yes"]);
    Client::of(&server).send("DEBUG PANIC");
    assert_eq!(server.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_restart_keeps_the_data_and_a_crash_loses_what_was_not_saved() {
    let server = Server::start(&["--enable-debug-command", "yes", "--save", "3600 1"]);
    let run_id = |server: &Server| {
        let info = server.ask(&[b"INFO", b"server"]);
        info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().to_owned()
    };
    let again = |server: &Server, before: &str| {
        wait_until("the server is there again", || {
            std::net::TcpStream::connect(server.address).is_ok_and(|_| {
                let now = run_id(server);
                !now.is_empty() && now != before
            })
        });
    };
    assert_eq!(Client::of(&server).ask("SET kept 1"), ["OK"]);
    let before = run_id(&server);
    Client::of(&server).send("DEBUG RESTART 10");
    again(&server, &before);
    let mut client = Client::of(&server);
    assert_eq!(client.ask("GET kept"), ["1"]);
    assert_eq!(client.ask("SET lost 1"), ["OK"]);
    let before = run_id(&server);
    Client::of(&server).send("DEBUG CRASH-AND-RECOVER");
    again(&server, &before);
    assert_eq!(Client::of(&server).ask("MGET kept lost"), ["1"], "as after a crash");
}

/// A restart saves first, so it can fail as SHUTDOWN can; a later end is then an end.
#[test]
fn a_restart_that_failed_is_forgotten() {
    let mut server = Server::start(&["--enable-debug-command", "yes", "--save", "3600 1"]);
    let mut client = Client::of(&server);
    assert_eq!(client.ask("SET k v"), ["OK"]);
    // A directory in the place of the file cannot be replaced.
    let file = server.dir.path().join("dump.rdb");
    fs::create_dir_all(file.join("inside")).unwrap();
    assert!(client.ask("DEBUG RESTART")[0].starts_with("ERR Errors trying to SHUTDOWN"));
    fs::remove_dir_all(&file).unwrap();
    client.send("SHUTDOWN");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn the_allocators_thread_is_switched() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut client = Client::of(&server);
    let thread = |client: &mut Client| client.ask("DEBUG MALLCTL background_thread").concat();
    assert_eq!(thread(&mut client), "1");
    assert_eq!(client.ask("CONFIG SET jemalloc-bg-thread no"), ["OK"]);
    assert_eq!(thread(&mut client), "0");
}

#[test]
fn the_machine_is_tested_on_request() {
    let memory = run(&["--test-memory", "2"]);
    assert_eq!((memory.status.code(), text(&memory.stderr).as_str()), (Some(0), ""));
    assert!(text(&memory.stdout).contains("Your memory passed this test."));
    let none = run(&["--test-memory", "0"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("cannot be tested"));
    let system = run(&["--check-system"]);
    assert!(text(&system.stdout).contains("[descriptors]..."), "{system:?}");
}
