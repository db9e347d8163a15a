//! What the VM does for scripts, against the answers of real servers (Redis 7.0.15 and 8.2.3, recorded under
//! `tests/golden/lua`), and what a hostile script cannot do.

use super::*;
use crate::resp::Proto;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

/// A server without data: GET answers `v`, ECHO its argument.
#[derive(Default)]
struct BareHost {
    ticks: Cell<usize>,
    /// The script is killed at this tick.
    kill_at: Option<usize>,
    /// It leaves its thread at every tick.
    suspends: bool,
}

impl Host for BareHost {
    fn call(&mut self, request: ArgvView<'_>, resp3: bool, reply: &mut Vec<u8>) -> Called {
        let mut out = crate::resp::Out::new(reply, if resp3 { Proto::Resp3 } else { Proto::Resp2 });
        match &request.get(0).to_ascii_uppercase()[..] {
            b"GET" => out.bulk(b"v"),
            b"ECHO" => out.bulk(request.get(1)),
            b"MAP" => {
                out.map(1);
                out.bulk(b"k");
                out.double(1.5);
            }
            b"ABANDON" => return Called::Abandon,
            _ => out.error(b"ERR Unknown Redis command called from script"),
        }
        Called::Replied
    }

    fn set_repl(&mut self, _: u8) {}

    fn may_run(&mut self, request: ArgvView<'_>) -> Option<bool> {
        (request.get(0) == b"GET").then_some(true)
    }

    fn log(&mut self, _: u8, _: &[u8]) {}

    fn tick(&mut self) -> Tick {
        let tick = self.ticks.replace(self.ticks.get() + 1);
        match self.kill_at {
            Some(at) if tick >= at => Tick::Kill("ERR Script killed by user with SCRIPT KILL..."),
            _ if self.suspends && tick.is_multiple_of(2) => Tick::Suspend,
            _ => Tick::GoOn,
        }
    }
}

fn options(kind: Environment) -> Options {
    Options {
        kind,
        version: Version { text: "7.0.15", number: 0x0007_000f },
        deprecated_api: false,
        memory_max: 64 << 20,
        used: Arc::default(),
    }
}

fn engine() -> Box<Engine> {
    Engine::open(&options(Environment::Eval)).expect("a state")
}

/// What a client would read, without what comes in front of an error's text.
fn eval(engine: &mut Engine, code: &str, host: &mut BareHost) -> Result<String, String> {
    eval_with(engine, code, &[b"a"], host)
}

fn eval_with(engine: &mut Engine, code: &str, keys: &[&[u8]], host: &mut BareHost) -> Result<String, String> {
    let function = engine.compile(code.as_bytes(), host).map_err(|text| text.escape_ascii().to_string())?;
    let start = Start { function, name: b"sha", keys, arguments: &[b"x", b"y"], proto: Proto::Resp2 };
    let mut ran = engine.start(&start, host);
    while ran == Ran::Suspended {
        ran = engine.resume(host);
    }
    engine.forget(function);
    let text = engine.output().escape_ascii().to_string();
    match ran {
        Ran::Reply => Ok(text),
        Ran::Error { .. } => Err(text),
        Ran::Abandoned => Err("abandoned".into()),
        Ran::Suspended => unreachable!("the loop ends otherwise"),
    }
}

/// Name and body of each snippet in a file of the golden folder.
fn snippets(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("#### ").skip(1).map(|part| {
        let (name, body) = part.split_once('\n').expect("a body");
        (name, body.strip_suffix('\n').unwrap_or(body))
    })
}

/// The answers of Redis 8.2.3, as `ok` or `err` with the escaped text.
fn answers(text: &str) -> HashMap<&str, (&str, &str)> {
    text.lines()
        .map(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            let newest = if columns.len() == 6 { 4 } else { 1 };
            (columns[0], (columns[newest], columns[newest + 1]))
        })
        .collect()
}

/// A reply as the golden files tell it: strings as they are, nested arrays in brackets.
fn shown(reply: &[u8]) -> String {
    fn one<'a>(rest: &mut &'a [u8], nested: bool) -> Vec<u8> {
        let line = |rest: &mut &'a [u8]| -> &'a [u8] {
            let end = rest.windows(2).position(|w| w == b"\r\n").expect("a line");
            let line = &rest[..end];
            *rest = &rest[end + 2..];
            line
        };
        let head = line(rest);
        match head[0] {
            b'$' if head == b"$-1" => b"<nil>".to_vec(),
            b'$' => {
                let len: usize = std::str::from_utf8(&head[1..]).unwrap().parse().unwrap();
                let text = rest[..len].to_vec();
                *rest = &rest[len + 2..];
                text
            }
            b'*' => {
                let len: usize = std::str::from_utf8(&head[1..]).unwrap().parse().unwrap();
                let items: Vec<_> = (0..len).map(|_| one(rest, true)).collect();
                if nested { [b"[", &items.join(&b","[..])[..], b"]"].concat() } else { items.join(&b","[..]) }
            }
            _ => head[1..].to_vec(),
        }
    }
    one(&mut &reply[..], false).escape_ascii().to_string()
}

fn without_addresses(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("0x") {
        let digits = rest[at + 2..].bytes().take_while(u8::is_ascii_hexdigit).count();
        out.push_str(&rest[..at]);
        out.push_str(if digits >= 6 { "0xADDR" } else { &rest[at..at + 2 + digits] });
        rest = &rest[at + 2 + digits..];
    }
    out + rest
}

fn check_golden(snippets_text: &str, answers_text: &str) {
    let answers = answers(answers_text);
    let mut wrong = Vec::new();
    let mut engine = Engine::open(&Options { memory_max: 2 << 30, ..options(Environment::Eval) }).expect("a state");
    for (name, body) in snippets(snippets_text) {
        let (kind, expected) = answers[name];
        let mut host = BareHost::default();
        let (got_kind, got) = match engine.compile(body.as_bytes(), &mut host) {
            Err(text) => ("err", text.escape_ascii().to_string()),
            Ok(function) => {
                let start = Start { function, name: b"sha", keys: &[], arguments: &[], proto: Proto::Resp2 };
                let ran = engine.start(&start, &mut host);
                engine.forget(function);
                match ran {
                    Ran::Reply => ("ok", shown(engine.output())),
                    _ => ("err", engine.output().escape_ascii().to_string()),
                }
            }
        };
        let got = got.strip_prefix("ERR ").unwrap_or(&got);
        let got = got.split(" script: sha, on ").next().unwrap_or_default();
        let same = |text: &str| without_addresses(&text.replace("\\n", " "));
        if kind != got_kind || same(expected) != same(got) {
            wrong.push(format!("{name}\n  expected {kind} {expected}\n  got      {got_kind} {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_dialect_is_that_of_redis() {
    let (text, golden) = (
        include_str!("../../tests/golden/lua/snippets.txt"),
        include_str!("../../tests/golden/lua/snippets.golden.tsv"),
    );
    check_golden(text, golden);
}

#[test]
fn the_libraries_are_those_of_redis() {
    let (text, golden) =
        (include_str!("../../tests/golden/lua/libs.txt"), include_str!("../../tests/golden/lua/libs.golden.tsv"));
    check_golden(text, golden);
}

/// Scripts that never end by themselves, wherever they are when they are to end.
const ENDLESS: &[&str] = &[
    "while true do end",
    "while true do pcall(string.rep,'x',1000) end",
    "while true do pcall(function() while true do end end) end",
    "local function f() pcall(f) pcall(f) end while true do pcall(f) end",
    "while true do pcall(string.rep,'x',2^30) end",
    "while true do xpcall(error, function() while true do end end) end",
    "xpcall(error, function() while true do end end)",
    "table.sort({3,2,1}, function() while true do end end)",
    "table.sort({3,2,1}, function() while true do pcall(error) end end)",
    "(('x'):rep(10)):gsub('.', function() while true do end end)",
    "local t=setmetatable({},{__index=function() while true do end end}) return t.x",
    "coroutine.wrap(function() while true do end end)()",
    "while true do local c=coroutine.create(function() while true do pcall(error) end end) coroutine.resume(c) end",
    "while true do redis.pcall('GET','x') end",
    "local function f() return f() end f()",
    "return string.find(('a'):rep(26), ('a?'):rep(26)..('a'):rep(26))",
    "return string.find(('a'):rep(3000), '.-.-.-.-b')",
    "table.insert({}, -2147483648, 1)",
    "loadstring('if a then '..('elseif a then '):rep(1e5)..' end') return 1",
    "while true do loadstring('while') end",
    "local t={} for i=1,1e5 do t[i]=i end while true do cjson.encode(t) end",
];

#[test]
fn every_endless_script_can_be_killed() {
    for code in ENDLESS {
        let mut host = BareHost { kill_at: Some(5), ..BareHost::default() };
        let mut engine = engine();
        let ended = eval(&mut engine, code, &mut host).expect_err(code);
        assert!(ended.starts_with("ERR Script killed by user with SCRIPT KILL..."), "{code}: {ended}");
        assert_eq!(
            eval(&mut engine, "return 'well'", &mut BareHost::default()),
            Ok("$4\\r\\nwell\\r\\n".into()),
            "after {code}"
        );
    }
}

/// Work that is suspended where no Lua 5.1 can yield, and its result.
const LONG: &[(&str, i64)] = &[
    ("local s=0 for i=1,300000 do s=s+i end return s", 45_000_150_000),
    ("local _,_,s=pcall(pcall,function() local s=0 for i=1,300000 do s=s+i end return s end) return s", 45_000_150_000),
    (
        "return setmetatable({},{__index=function() local s=0 for i=1,300000 do s=s+i end return s end}).x",
        45_000_150_000,
    ),
    (
        "local s=0 table.sort({2,1},function(a,b) if s==0 then for i=1,300000 do s=s+i end end return a<b end) return s",
        45_000_150_000,
    ),
    ("local s=0 (('x')):gsub('x',function() for i=1,300000 do s=s+i end end) return s", 45_000_150_000),
    ("return coroutine.wrap(function() local s=0 for i=1,300000 do s=s+i end return s end)()", 45_000_150_000),
    ("return (('a'):rep(1500)):find('.-.-b') and 1 or 2", 2),
    ("local s=0 for i=1,300000 do if i%100==0 then redis.call('GET',i) end s=s+i end return s", 45_000_150_000),
];

#[test]
fn a_suspended_script_goes_on_in_another_thread() {
    for (code, result) in LONG {
        let mut engine = engine();
        let mut host = BareHost { suspends: true, ..BareHost::default() };
        let function = engine.compile(code.as_bytes(), &mut host).expect("it compiles");
        let start = Start { function, name: b"sha", keys: &[], arguments: &[], proto: Proto::Resp2 };
        let (mut ran, mut hops) = (engine.start(&start, &mut host), 0);
        while ran == Ran::Suspended {
            hops += 1;
            let go_on = move || {
                let ran = engine.resume(&mut BareHost { suspends: true, ticks: Cell::new(1), ..BareHost::default() });
                (engine, ran)
            };
            (engine, ran) = std::thread::spawn(go_on).join().expect("it returns");
        }
        assert!(hops > 0, "never suspended: {code}");
        assert_eq!(engine.output(), format!(":{result}\r\n").as_bytes(), "{code}");
    }
}

#[test]
fn memory_is_bounded_and_its_end_is_an_error() {
    let mut engine = engine();
    for code in [
        "local s='x' while true do s=s..s end",
        "return #string.rep('x', 2^30)",
        "local t={} local i=0 while true do i=i+1 t[i]=i end",
        "local t={} while true do t[#t+1]=coroutine.create(function() end) end",
        "return #(('x'):rep(1e6):gsub('.', ('y'):rep(1e6)))",
        "local s=('1'):rep(2^20) local t={} for i=1,2000 do t[i]=s end return #table.concat(t)",
        "local t={} for i=1,1e9 do t[i]=redis.call('GET',i)..i end",
        "local t={} for i=1,1e6 do t[i]={i} end return t",
    ] {
        let ended = eval(&mut engine, code, &mut BareHost::default()).expect_err(code);
        assert!(ended.contains("not enough memory"), "{code}: {ended}");
    }
    let caught = eval(&mut engine, "return {pcall(string.rep, 'x', 2^30)}", &mut BareHost::default());
    assert_eq!(
        caught,
        Ok("*2\\r\\n$-1\\r\\n$17\\r\\nnot enough memory\\r\\n".into()),
        "an error that a script may catch"
    );
    assert_eq!(eval(&mut engine, "return #('x'):rep(1000)", &mut BareHost::default()), Ok(":1000\\r\\n".into()));
}

#[test]
fn an_abandoned_script_ends_without_a_reply() {
    let mut engine = engine();
    let code = "pcall(redis.call, 'ABANDON') return 1";
    assert_eq!(eval(&mut engine, code, &mut BareHost::default()), Err("abandoned".into()));
    assert_eq!(eval(&mut engine, "return 1", &mut BareHost::default()), Ok(":1\\r\\n".into()));
}

#[test]
fn replies_and_values_turn_into_each_other() {
    let mut engine = engine();
    let mut check = |code: &str, reply: &str| {
        let got = eval(&mut engine, code, &mut BareHost::default()).unwrap_or_else(|error| format!("-{error}"));
        assert_eq!(got.replace("\\r\\n", " "), reply, "{code}");
    };
    check("return {1,2.9,'x',true,false,nil,3}", "*5 :1 :2 $1 x :1 $-1 ");
    check("return {ok='fine'}", "+fine ");
    check("return redis.error_reply('MY error')", "-MY error");
    check("return redis.error_reply('word')", "-ERR word");
    check("redis.setresp(3) return redis.call('MAP').map.k.double", ":1 ");
    check("return redis.call('MAP')", "*2 $1 k $3 1.5 ");
    check("redis.setresp(3) return {map={a=true}}", "*2 $1 a :1 ");
    check("return {set={a=true}}", "*1 $1 a ");
    check("return {double=3.25}", "$4 3.25 ");
    check("return {KEYS[1], ARGV[2]}", "*2 $1 a $1 y ");
    check("return {1, {err='ERR x\\r\\n+OK'}}", "*2 :1 -ERR x  +OK ");
    check("error({})", "-ERR unknown error script: sha, on @user_script:1.");
    check("error(setmetatable({err={}}, {__tostring=error}))", "-ERR unknown error script: sha, on @user_script:1.");
    check("error({err=1})", "-1 script: sha, on @user_script:1.");
    check("error({err=''})", "- script: sha, on @user_script:1.");
    check("return redis.call('nope')", "-ERR Unknown Redis command called from script script: sha, on @user_script:1.");
    check("return redis.pcall('nope')['err']", "$44 ERR Unknown Redis command called from script ");
    check("return {pcall(redis.call,'nope')}", "*2 $-1 $44 ERR Unknown Redis command called from script ");
    check("return server.call('GET','x')", "$1 v ");
    check("return setmetatable({}, {__index=function() error('ran') end})", "*0 ");
}

#[test]
fn nobody_changes_what_others_see() {
    let mut engine = engine();
    for code in [
        "_G.x = 1",
        "x = 1",
        "rawset(_G, 'x', 1)",
        "setmetatable(_G, {})",
        "getmetatable(_G).__index = nil",
        "getmetatable('').__index = function() end",
        "redis.call = nil",
        "string.rep = nil",
        "table.insert(math, 1)",
        "cjson.encode = nil",
        "KEYS = {}",
    ] {
        let ended = eval(&mut engine, code, &mut BareHost::default()).expect_err(code);
        assert!(ended.contains("Attempt to modify a readonly table"), "{code}: {ended}");
    }
    for name in ["io", "package", "require", "debug", "print", "dofile", "loadfile", "getfenv", "setfenv", "newproxy"] {
        let ended = eval(&mut engine, &format!("return {name}"), &mut BareHost::default()).expect_err(name);
        assert!(ended.contains("Script attempted to access nonexistent global variable"), "{name}: {ended}");
    }
    assert_eq!(
        eval(&mut engine, "return os.execute == nil and 1 or 0", &mut BareHost::default()),
        Ok(":1\\r\\n".into())
    );
}

#[test]
fn libraries_register_their_functions() {
    let mut engine = Engine::open(&options(Environment::Functions)).expect("a state");
    let mut host = BareHost::default();
    let code = b"\nlocal function f(keys, args) return {keys[1], args[1], string.rep('x', 2)} end\n\
        redis.register_function('one', f)\n\
        redis.register_function{function_name='two', callback=f, flags={'no-writes'}, description='d'}";
    let loaded = engine.load_library(code, &mut host).expect("it loads");
    let told: Vec<_> = loaded.iter().map(|f| (&f.name[..], f.description.as_deref(), f.flags)).collect();
    assert_eq!(told, [(&b"one"[..], None, 0), (b"two", Some(&b"d"[..]), text::NO_WRITES)]);
    let (keys, arguments): (&[&[u8]], &[&[u8]]) = (&[b"k"], &[b"a"]);
    let start = Start { function: loaded[0].compiled, name: b"one", keys, arguments, proto: Proto::Resp2 };
    assert_eq!(engine.start(&start, &mut host), Ran::Reply);
    assert_eq!(engine.output(), b"*3\r\n$1\r\nk\r\n$1\r\na\r\n$2\r\nxx\r\n");
    for (code, text) in [
        ("redis.call('GET','x')", "Script attempted to access nonexistent global variable 'call'"),
        ("math.random()", "Script attempted to access nonexistent global variable 'math'"),
        ("redis.register_function('a b', 1)", "second argument to redis.register_function must be a function"),
        ("redis.register_function('a b', function() end)", "Library names can only contain letters"),
        ("redis.register_function{callback=function() end}", "must get a function name argument"),
        ("redis.register_function{function_name='x'}", "must get a callback argument"),
        ("redis.register_function{function_name='x', callback=function() end, flags={'bad'}}", "unknown flag given"),
        ("x x", "Error compiling function: user_function:1:"),
        ("y = 1", "Attempt to modify a readonly table"),
    ] {
        let failed = engine.load_library(code.as_bytes(), &mut host).expect_err(code);
        let failed = String::from_utf8_lossy(&failed);
        assert!(failed.contains(text), "{code}: {failed}");
    }
}

#[test]
fn a_table_within_itself_is_written_to_the_limit_of_the_lua_stack() {
    let mut engine = engine();
    let code = "local a = {} local b = {a} a[1] = b return a";
    let reply = eval(&mut engine, code, &mut BareHost::default()).expect("a reply");
    assert!(reply.ends_with("*1\\r\\n-ERR reached lua stack limit\\r\\n"), "{}", &reply[reply.len() - 60..]);
    assert!(reply.matches("*1").count() > 7_000);
}
