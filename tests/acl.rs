//! Users over sockets: what holds for whom, from when on, and for how long. The words are those of 7.0.15, asked by hand;
//! where a test says so, those of 8.2.3.

mod common;

use common::{Client, Server, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

const NO_KEY: &str = "NOPERM this user has no permissions to access one of the keys used as arguments";
const NO_CHANNEL: &str = "NOPERM this user has no permissions to access one of the channels used as arguments";

fn no_command(name: &str) -> String {
    format!("NOPERM this user has no permissions to run the '{name}' command")
}

/// A connection of a user without password.
fn user(server: &Server, name: &str) -> Client {
    let mut client = Client::of(server);
    assert_eq!(client.ask(&format!("AUTH {name} x")).concat(), "OK");
    client
}

/// The server has closed it.
fn is_closed(mut client: Client) -> bool {
    client.send("PING");
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.reply())).is_err()
}

#[test]
fn commands_keys_and_channels_are_each_refused_in_redis_s_words() {
    let server = Server::start(&[]);
    let mut admin = Client::of(&server);
    admin.ask("ACL SETUSER p on nopass resetchannels ~k* %R~r* %W~w* &ch* +@all -config|set");
    let mut p = user(&server, "p");
    assert_eq!(p.ask("ACL WHOAMI").concat(), "p");
    assert_eq!(p.ask("CONFIG SET maxmemory 1").concat(), no_command("config|set"));
    assert_eq!(p.ask("CONFIG GET maxmemory").join(" "), "maxmemory 0");
    for refused in
        ["GET x", "MGET k1 x", "COPY k1 x", "COPY w1 k1", "SET r1 v", "SET w1 v GET", "GET w1", "LMPOP 2 k1 x LEFT"]
    {
        assert_eq!(p.ask(refused).concat(), NO_KEY, "{refused}");
    }
    for allowed in ["SET k1 v", "SET w1 v", "COPY k1 k2", "COPY r1 w2", "STRLEN k1", "EXISTS r1", "EXISTS w1"] {
        assert!(!p.ask(allowed).concat().starts_with("NOPERM"), "{allowed}");
    }
    for refused in ["PUBLISH z m", "SPUBLISH z m", "SUBSCRIBE ch1 z", "SSUBSCRIBE z", "PSUBSCRIBE ch1*"] {
        assert_eq!(p.ask(refused).concat(), NO_CHANNEL, "{refused}");
    }
    assert_eq!(p.ask("PUBLISH ch1 m").concat(), "0");
    assert_eq!(p.ask("SORT k9 BY w*").concat(), "ERR BY option of SORT denied due to insufficient ACL permissions.");
    assert_eq!(p.ask("SORT k9 GET #").concat(), "ERR GET option of SORT denied due to insufficient ACL permissions.");
    assert_eq!(p.ask("SORT k9 BY nosort").join(" "), "");
    assert_eq!(p.ask("SORT k9 STORE r1").concat(), NO_KEY);
    let list = admin.ask("CLIENT LIST").concat();
    assert!(list.contains("user=p ") && list.contains("user=default "), "{list}");
    let stats = admin.ask("INFO stats").concat();
    for count in ["acl_access_denied_cmd:1", "acl_access_denied_key:9", "acl_access_denied_channel:5"] {
        assert!(stats.contains(count), "{count}: {stats}");
    }
    admin.ask("CONFIG SET compatibility-level 8.2");
    admin.ask("ACL SETUSER p -get");
    assert_eq!(
        p.ask("GET x").concat(),
        "NOPERM User p has no permissions to run the 'get' command",
        "as 8.2.3 says it"
    );
    assert_eq!(p.ask("STRLEN x").concat(), "NOPERM No permissions to access a key");
}

#[test]
fn a_change_holds_at_once_for_who_is_connected_in_a_transaction_or_waiting() {
    let server = Server::start(&[]);
    let mut admin = Client::of(&server);
    admin.ask("ACL SETUSER z on nopass ~* &* +@all");
    let (mut queued, mut waits) = (user(&server, "z"), user(&server, "z"));
    for line in ["MULTI", "GET a", "SET a b", "PUBLISH c d"] {
        queued.ask(line);
    }
    waits.send("BLPOP list 0");
    wait_until("BLPOP waits", || admin.ask("INFO clients").concat().contains("blocked_clients:1"));
    assert_eq!(admin.ask("ACL SETUSER z -get -blpop resetkeys resetchannels").concat(), "OK");
    let changed = "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to";
    let expected = [
        "execute the command or subcommand",
        "touch the specified keys",
        "access one of the channels used as arguments",
    ];
    assert_eq!(queued.ask("EXEC"), expected.map(|reason| format!("{changed} {reason}")));
    assert_eq!(admin.ask("EXISTS a").concat(), "0");
    assert_eq!(queued.ask("GET x").concat(), no_command("get"));
    // As 8.2.3, which asks again when it serves; 7.0.15 does not.
    assert_eq!(admin.ask("RPUSH list 1").concat(), "1");
    assert_eq!(waits.reply().concat(), no_command("blpop"));
    assert_eq!(admin.ask("LLEN list").concat(), "1");
    assert_eq!(waits.ask("PING").concat(), "PONG");
    queued.ask("MULTI");
    assert_eq!(queued.ask("GET x").concat(), no_command("get"));
    assert_eq!(queued.ask("EXEC").concat(), "EXECABORT Transaction discarded because of previous errors.");
}

#[test]
fn a_deleted_user_s_connections_end_and_so_do_subscriptions_that_are_not_allowed_any_more() {
    let server = Server::start(&[]);
    let mut admin = Client::of(&server);
    for name in ["a", "b", "c"] {
        admin.ask(&format!("ACL SETUSER {name} on nopass ~* &x* &y +@all"));
    }
    let (idle, mut waits, mut hears) = (user(&server, "a"), user(&server, "a"), user(&server, "b"));
    waits.send("BLPOP list 0");
    hears.ask("SUBSCRIBE x1");
    hears.ask("SSUBSCRIBE y");
    assert_eq!(admin.ask("ACL SETUSER b &z").concat(), "OK");
    assert_eq!(admin.ask("PUBLISH x1 m").concat(), "1");
    assert_eq!(hears.reply().join(" "), "message x1 m");
    assert_eq!(admin.ask("ACL SETUSER b resetchannels &x*").concat(), "OK");
    assert_eq!(admin.ask("ACL DELUSER a nobody").concat(), "1");
    let list = admin.ask("CLIENT LIST").concat();
    assert!(!list.contains("user=a ") && !list.contains("user=b "), "{list}");
    assert!(is_closed(idle) && is_closed(waits) && is_closed(hears));
    wait_until("no one waits", || admin.ask("INFO clients").concat().contains("blocked_clients:0"));
    // Its own connection gets the reply first.
    let mut own = user(&server, "c");
    assert_eq!(own.ask("ACL DELUSER c").concat(), "1");
    assert!(is_closed(own));
    let mut own = Client::of(&server);
    admin.ask("ACL SETUSER d on nopass +@all");
    own.ask("AUTH d x");
    assert_eq!(own.ask("CLIENT KILL USER d SKIPME yes").concat(), "0");
    assert_eq!(admin.ask("CLIENT KILL USER d").concat(), "1");
    assert_eq!(admin.ask("CLIENT KILL USER nobody").concat(), "ERR No such user 'nobody'");
}

#[test]
fn passwords_open_and_are_never_shown() {
    let server = Server::start(&["--slowlog-log-slower-than", "0"]);
    let (mut admin, mut monitor) = (Client::of(&server), Client::of(&server));
    monitor.ask("MONITOR");
    admin.ask("ACL SETUSER bob on >hush1 >hush2 +@all");
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    let mut c = Client::of(&server);
    assert_eq!(c.ask("AUTH bob hush3").concat(), wrong);
    assert_eq!(c.ask("HELLO 3 AUTH bob hush3").concat(), wrong);
    assert_eq!(c.ask("HELLO 2 AUTH bob hush2").len(), 13);
    assert_eq!(c.ask("ACL WHOAMI").concat(), "bob");
    assert_eq!(c.ask("RESET").concat(), "RESET");
    assert_eq!(c.ask("ACL WHOAMI").concat(), "default");
    admin.ask("ACL SETUSER bob off");
    assert_eq!(c.ask("AUTH bob hush1").concat(), wrong);
    assert_eq!(admin.ask("CONFIG SET requirepass hush4").concat(), "OK");
    let mut new = Client::of(&server);
    assert_eq!(new.ask("GET x").concat(), "NOAUTH Authentication required.");
    assert_eq!(new.ask("AUTH hush4").concat(), "OK");
    assert_eq!(admin.ask("ACL SETUSER default off").concat(), "OK");
    assert_eq!(Client::of(&server).ask("PING").concat(), "NOAUTH Authentication required.");
    assert_eq!(admin.ask("GET x").concat(), "", "who is in stays in");
    admin.ask("ACL SETUSER default on");
    let log = admin.ask("ACL LOG").join(" ");
    assert!(log.starts_with("count 2 reason auth context toplevel object AUTH username bob age-seconds "), "{log}");
    assert!(log.contains("object HELLO username bob") && log.contains(" entry-id 0 timestamp-created "), "{log}");
    admin.send("GET marker");
    admin.reply();
    let mut shown = vec![log, admin.ask("SLOWLOG GET 100").join(" "), admin.ask("CLIENT LIST").concat(), server.log()];
    loop {
        let line = monitor.reply().concat();
        let last = line.contains("marker");
        shown.push(line);
        if last {
            break;
        }
    }
    for text in shown {
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn the_log_tells_where_it_happened_and_how_often() {
    let server = Server::start(&["--acllog-max-len", "3"]);
    let mut admin = Client::of(&server);
    admin.ask("ACL SETUSER p on nopass ~k* +@all -get");
    let mut p = user(&server, "p");
    for line in ["GET a", "GET b", "SET x 1", "MULTI", "SET x 1", "DISCARD", "PUBLISH c m"] {
        p.ask(line);
    }
    let entries = admin.ask("ACL LOG 9").join(" ");
    let seen: Vec<&str> = entries.split(" age-seconds ").map(|e| e.rsplit("count ").next().unwrap()).collect();
    let expected = [
        "1 reason channel context toplevel object c username p",
        "1 reason key context multi object x username p",
        "1 reason key context toplevel object x username p",
    ];
    assert_eq!(seen[..3], expected);
    assert!(entries.contains(" user=p ") && entries.contains(" cmd=publish "), "{entries}");
    p.ask("SET x 1");
    assert!(admin.ask("ACL LOG 1").join(" ").starts_with("count 2 reason key context toplevel object x"));
    assert_eq!(admin.ask("ACL LOG RESET").concat(), "OK");
    assert_eq!(admin.ask("ACL LOG").len(), 0);
}

#[test]
fn files_are_loaded_and_saved_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.acl");
    let file = path.to_str().unwrap();
    fs::write(&path, "user alice on nopass ~* &* +@all\nuser bob on nopass ~* &* +@all\n").unwrap();
    let server = Server::start(&["--aclfile", file, "--requirepass", "secret"]);
    let mut admin = user(&server, "alice");
    let mut bob = user(&server, "bob");
    assert_eq!(Client::of(&server).ask("PING").concat(), "NOAUTH Authentication required.", "the password holds");
    admin.ask("ACL SETUSER eve on nopass ~e +get");
    assert_eq!(admin.ask("ACL SAVE").concat(), "OK");
    let saved = fs::read_to_string(&path).unwrap();
    assert!(
        saved.starts_with("user alice on nopass ~* &* +@all\nuser bob on nopass ~* &* +@all\nuser default on #"),
        "{saved}"
    );
    assert!(saved.ends_with("user eve on nopass ~e resetchannels -@all +get\n"), "{saved}");
    fs::write(&path, "user alice on\nuser bob on +nosuch\nuser bob on\n").unwrap();
    let refused = admin.ask("ACL LOAD").concat();
    let expected = format!(
        "ERR {file}:2: Error in applying operation '+nosuch': Unknown command or category name in ACL. WARNING: Duplicate user 'bob' found on line 3. WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    );
    assert_eq!(refused, expected);
    assert_eq!(bob.ask("SET k v").concat(), "OK");
    // As since 7.2: who is still there stays connected, with the rules of the file.
    fs::write(&path, "user alice on nopass ~* &* +@all\nuser bob on nopass ~k +get\n").unwrap();
    let eve = user(&server, "eve");
    assert_eq!(admin.ask("ACL LOAD").concat(), "OK");
    assert!(is_closed(eve));
    assert_eq!(bob.ask("GET k").concat(), "v");
    assert_eq!(bob.ask("SET k v").concat(), no_command("set"));
    assert_eq!(admin.ask("ACL USERS").join(" "), "alice bob default");
    assert_eq!(Client::of(&server).ask("PING").concat(), "NOAUTH Authentication required.");
    fs::remove_file(&path).unwrap();
    let expected = format!("ERR Error loading ACLs, opening file '{file}': No such file or directory");
    assert_eq!(admin.ask("ACL LOAD").concat(), expected);
}

/// What a server that cannot start says, on its standard error and in its log.
fn complaint(options: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_memkv-server"))
        .args(["--port", "0", "--save", ""])
        .args(options)
        .output()
        .unwrap();
    assert!(!output.status.success());
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

/// A server with a configuration file, which gets a free port and works beside the file.
fn with_file(path: &Path) -> Server {
    let (dir, log) = (path.parent().unwrap(), path.with_extension("log"));
    for _ in 0..5 {
        let _ = fs::remove_file(&log);
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_memkv-server"))
            .args([path.to_str().unwrap(), "--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--dir", dir.to_str().unwrap(), "--logfile", log.to_str().unwrap()])
            .spawn()
            .unwrap();
        let is_ready = || fs::read_to_string(&log).is_ok_and(|text| text.contains("Ready to accept connections"));
        wait_until("the server starts or ends", || is_ready() || child.try_wait().unwrap().is_some());
        if child.try_wait().unwrap().is_none() {
            return Server { child, address, dir: tempfile::tempdir().unwrap() };
        }
    }
    panic!("the server does not start");
}

#[test]
fn user_lines_are_read_and_written_and_wrong_ones_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.conf");
    fs::write(&path, "# mine\nuser bob on nopass \"~\\\"q\" +get\nuser default on >secret ~* &* +@all -flushdb\n")
        .unwrap();
    {
        let server = with_file(&path);
        let mut admin = Client::of(&server);
        assert_eq!(admin.ask("PING").concat(), "NOAUTH Authentication required.");
        assert_eq!(admin.ask("AUTH secret").concat(), "OK");
        assert_eq!(admin.ask("FLUSHDB").concat(), no_command("flushdb"));
        assert_eq!(admin.ask("ACL SETUSER eve on ~e &c +@read").concat(), "OK");
        assert_eq!(admin.ask("CONFIG REWRITE").concat(), "OK");
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.starts_with("# mine\nuser bob on nopass "), "{written}");
    assert!(written.contains("user eve on ~e resetchannels &c -@all +@read\n"), "{written}");
    let server = with_file(&path);
    let mut admin = Client::of(&server);
    assert_eq!(admin.ask("AUTH secret").concat(), "OK");
    assert_eq!(admin.ask("FLUSHDB").concat(), no_command("flushdb"));
    assert!(admin.ask("ACL LIST").join("|").contains("user bob on nopass ~\"q resetchannels -@all +get"), "{written}");
    let told = |options: &[&str], text: &str| {
        let said = complaint(options);
        assert!(said.contains(text), "{said}");
    };
    told(&["--user", "a", "nosuch"], "Error in user declaration 'nosuch' of 'a': Syntax error");
    told(
        &["--user", "a", "on", "--user", "a", "off"],
        "Duplicate user found. A user can only be defined once in config files",
    );
    told(&["--user", "a", "(+get"], "Unmatched parenthesis");
    told(
        &["--aclfile", "/nonexistent", "--user", "a", "on"],
        "please define either an ACL file or declare users directly",
    );
    told(
        &["--aclfile", "/nonexistent"],
        "Aborting Redis startup because of ACL errors: Error loading ACLs, opening file",
    );
}

#[test]
fn a_broadcast_hides_names_that_its_user_may_not_read() {
    let server = Server::start(&[]);
    let mut admin = Client::of(&server);
    admin.ask("ACL SETUSER t on nopass %R~open:* %W~shut:* +@all");
    let mut t = user(&server, "t");
    t.ask("HELLO 3");
    assert_eq!(t.ask("CLIENT TRACKING ON BCAST").concat(), "OK");
    admin.ask("MSET open:1 a shut:1 b other 1");
    admin.ask("SET shut:2 1");
    admin.ask("SET open:2 1");
    assert_eq!(t.heard(), ["invalidate open:1", "invalidate open:2"]);
    admin.ask("ACL SETUSER t %R~shut:*");
    admin.ask("SET shut:3 1");
    assert_eq!(t.heard(), ["invalidate shut:3"]);
}

#[test]
fn rules_change_under_load_and_no_one_keeps_a_right() {
    let server = Server::start(&[]);
    let mut admin = Client::of(&server);
    admin.ask("SET k v");
    admin.ask("ACL SETUSER r on nopass ~* +@all");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let server = &server;
            scope.spawn(move || {
                let mut c = user(server, "r");
                for _ in 0..60 {
                    c.send("GET k\r\n".repeat(40).trim_end());
                    for _ in 0..40 {
                        let said = c.reply().concat();
                        assert!(said == "v" || said == no_command("get"), "{said}");
                    }
                }
            });
        }
        let mut probe = user(&server, "r");
        for round in 0..60 {
            let (word, expected) = if round % 2 == 0 { ("-get", no_command("get")) } else { ("+get", "v".to_owned()) };
            assert_eq!(admin.ask(&format!("ACL SETUSER r {word}")).concat(), "OK");
            assert_eq!(probe.ask("GET k").concat(), expected);
        }
    });
}

#[test]
fn hostile_words_cost_nothing() {
    let mut server = Server::start(&[]);
    let mut stream = server.connect();
    let long = "*[".repeat(500_000);
    for word in ["(", "(%R~", "%R~", "%", "+|", "+config|", "-@", "&", ")", "()", "(())", "#", "!", "<", ">", &long] {
        let request = common::request(&[b"ACL", b"SETUSER", b"h", word.as_bytes()]);
        stream.write_all(&request).unwrap();
    }
    let pattern = format!("~{long}x");
    stream
        .write_all(&common::request(&[b"ACL", b"SETUSER", b"h", b"on", b"nopass", b"+get", pattern.as_bytes()]))
        .unwrap();
    stream.write_all(&common::request(&[b"AUTH", b"h", &vec![b'x'; 1 << 20]])).unwrap();
    stream.write_all(&common::request(&[b"GET", long.as_bytes()])).unwrap();
    stream.write_all(b"QUIT\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.ends_with("+OK\r\n") && answer.contains("Unmatched parenthesis"),
        "{}",
        &answer[..200.min(answer.len())]
    );
    let keys: Vec<String> = (0..10_000).map(|i| format!("k{i}")).collect();
    let mut words: Vec<&[u8]> = vec![b"ACL", b"DRYRUN", b"default", b"MGET"];
    words.extend(keys.iter().map(|key| key.as_bytes()));
    assert_eq!(server.ask(&words), "+OK\r\n");
    server.is_well();
}

#[test]
fn a_script_runs_with_its_caller_s_rights_to_its_end() {
    let server = Server::start(&[]);
    let mut admin = Client::of(&server);
    admin.ask("ACL SETUSER s on nopass ~k* +eval +set +get +@scripting");
    admin.ask("SET x secret");
    let mut s = user(&server, "s");
    let denied = "ERR The user executing the script can't ";
    let said = s.ask("EVAL \"return redis.call('get','x')\" 0").concat();
    assert!(
        said.starts_with(&format!("{denied}access at least one of the keys mentioned in the command arguments")),
        "{said}"
    );
    let said = s.ask("EVAL \"redis.call('set','k1','v') return redis.pcall('del','k1')\" 0").concat();
    assert!(said.starts_with(&format!("{denied}run this command or subcommand")), "{said}");
    assert!(!s.ask("EVAL \"redis.call('set','k2','v') return redis.pcall('get','x')\" 0").concat().contains("secret"));
    assert_eq!(s.ask("EVAL \"return redis.call('get','k2')\" 1 k2").concat(), "v");
    assert_eq!(s.ask("EVAL \"return 1\" 1 x").concat(), NO_KEY);
    let asks =
        "local may = redis.acl_check_cmd return {may('set','k1','v'), may('set','x','v') or 0, may('del','k1') or 0}";
    assert_eq!(s.ask(&format!("EVAL \"{asks}\" 0")), ["1", "0", "0"]);
    // Too many or too few arguments are no matter of rights.
    let asks = "local may = redis.acl_check_cmd return {may('set','k1'), may('set'), may('get','x','y') or 0, may('del') or 0}";
    assert_eq!(s.ask(&format!("EVAL \"{asks}\" 0")), ["1", "1", "0", "0"]);
    let entries = admin.ask("ACL LOG").join(" ");
    assert!(entries.contains("reason command context lua object del username s"), "{entries}");
}
