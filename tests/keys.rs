//! A command touches only keys that its row declares, however oddly it is written.
//!
//! Rows are run in-process with arguments made from their own examples: options repeated, in odd orders, with words of the
//! syntax and keys put in anywhere, with counts that do not fit. Each key has, nearly always, a stripe of its own, so that
//! a handler which reaches for one that the row does not declare is caught by the keyspace, and answers `INTERNAL`.

use memkv::boot;
use memkv::clients::Client;
use memkv::command::call::call;
use memkv::command::keys;
use memkv::command::session::Session;
use memkv::command::turn::{Called, Turn};
use memkv::command::waiting::give_up;
use memkv::command::{CONTAINER, Command, HIDDEN, RUNS_QUEUE, WORLD};
use memkv::config::choices::ProtectedAction;
use memkv::config::{Config, split_args};
use memkv::resp::Argv;

/// Variants of each command's examples.
const VARIANTS: usize = 400;
const STRIPES: u32 = 1 << 12;
/// Present with a value of each type, or absent.
const KEYS: [&str; 9] = ["text", "number", "list", "hash", "ints", "words", "zset", "absent", "other"];
const NUMBERS: [&str; 8] = ["0", "1", "2", "3", "-1", "10", "1.5", "99999999999999999999"];

type Words = Vec<Vec<u8>>;

#[test]
fn a_command_touches_only_keys_that_its_row_declares() {
    let rows = memkv::commands::FAMILIES.iter().copied().flatten();
    let rows: Vec<&Command> = rows.filter(|row| !row.has(HIDDEN | CONTAINER | WORLD | RUNS_QUEUE)).collect();
    let (mut bench, mut never) = (Bench::new(), Vec::new());
    for row in rows.iter().filter(|row| row.keys.specs().any(|spec| spec.flags & keys::NOT_KEY == 0)) {
        let examples = examples_of(row);
        // Each row has dice of its own: a new row changes nothing for the others.
        bench.random.seed(row.name.bytes().fold(SEED, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into())));
        let mut succeeded = false;
        for variant in 0..VARIANTS {
            if variant % 100 == 0 {
                bench.fill(row);
            }
            let words = bench.varied(row, &examples, variant);
            let reply = bench.run(&words);
            let shown = || words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
            assert!(!reply.starts_with(b"-INTERNAL"), "{}", shown());
            succeeded |= !reply.starts_with(b"-");
        }
        if !succeeded {
            never.push(row.name);
        }
    }
    assert!(never.is_empty(), "no variant succeeds of {never:?}");
}

#[test]
fn the_last_word_that_stores_counts() {
    let mut bench = Bench::new();
    let mut ask = |line: &str| String::from_utf8(bench.run(&split_args(line.as_bytes()).unwrap())).unwrap();
    assert_eq!(ask("GEOADD g 1 1 x"), ":1\r\n");
    for words in ["GEORADIUS g 1 1 10 km", "GEORADIUSBYMEMBER g x 10 km"] {
        for store in ["STORE a1 STORE b1", "STOREDIST a1 STORE b1", "STORE a1 STOREDIST b1", "STORE STORE STORE b1"] {
            assert_eq!(ask(&format!("{words} {store}")), ":1\r\n", "{words} {store}");
            assert_eq!(ask("EXISTS a1 b1 STORE"), ":1\r\n", "{words} {store}");
            assert_eq!(ask("DEL b1"), ":1\r\n", "{words} {store}");
        }
    }
}

/// What an example runs of this row, subcommands included.
fn examples_of(row: &Command) -> Vec<Words> {
    let lines = row.examples.lines().filter_map(|line| line.strip_prefix("> "));
    let commands = lines.filter_map(|line| split_args(line.as_bytes()).ok());
    let name: Vec<&str> = row.name.split(' ').collect();
    let is_row = |words: &Words| {
        words.len() > name.len()
            && name.iter().zip(words).all(|(name, word)| name.as_bytes().eq_ignore_ascii_case(word))
    };
    let found: Vec<Words> = commands.filter(is_row).collect();
    assert!(!found.is_empty(), "{} has no example with arguments", row.name);
    found
}

struct Bench {
    node: &'static memkv::node::Node,
    registry: &'static memkv::command::Registry,
    session: Session,
    random: fastrand::Rng,
}

impl Bench {
    fn new() -> Self {
        let config = Config { stripes: STRIPES, enable_debug_command: ProtectedAction::Yes, ..Config::default() };
        let (node, registry) = boot::offline(config).unwrap();
        let client = Client::new(1, "127.0.0.1:50000".into(), "127.0.0.1:6379".into(), false, memkv::clock::now_ms());
        node.clients.add(&client);
        Self { node, registry, session: Session::new(client, true), random: fastrand::Rng::with_seed(SEED) }
    }

    fn run(&mut self, words: &Words) -> Vec<u8> {
        let stats = self.node.observatory.worker(0);
        let (argv, mut out) = (Argv::of(words), Vec::new());
        let mut turn = Turn::begin(self.node, &stats, self.registry, 0);
        let request = turn.prepare(argv.view(), false);
        if call(&mut turn, &mut self.session, request, &mut out) == Called::Waits {
            let waiting = self.session.waiting.take().unwrap();
            assert!(give_up(&turn, &self.session.client, &waiting.waiter));
        }
        out
    }

    /// A key of each type, and what the row's own examples leave behind.
    fn fill(&mut self, row: &Command) {
        for line in [
            "FLUSHALL",
            "FUNCTION FLUSH",
            "SET text hello",
            "SET number 3",
            "RPUSH list c a b 3 1",
            "HSET hash a 1 b 2",
            "SADD ints 1 2 3",
            "SADD words a b",
            "ZADD zset 1 a 2 b 3479099956230698 Palermo",
            "SET other x",
        ] {
            self.run(&split_args(line.as_bytes()).unwrap());
        }
        for line in row.examples.lines().filter_map(|line| line.strip_prefix("> ")) {
            self.run(&split_args(line.as_bytes()).unwrap());
        }
    }

    /// One of the examples, the first variants as it stands, later ones with some changes.
    fn varied(&mut self, row: &Command, examples: &[Words], variant: usize) -> Words {
        let mut words = examples[variant % examples.len()].clone();
        let name = row.name.split(' ').count();
        let syntax: Vec<&str> =
            row.args.split(|c: char| !c.is_ascii_uppercase()).filter(|word| word.len() > 1).collect();
        if variant < examples.len() {
            return words;
        }
        for _ in 0..self.random.usize(1..5) {
            let at = self.random.usize(name..=words.len());
            let word = match self.random.usize(..10) {
                0..4 if !syntax.is_empty() => syntax[self.random.usize(..syntax.len())],
                4..6 => NUMBERS[self.random.usize(..NUMBERS.len())],
                _ => KEYS[self.random.usize(..KEYS.len())],
            };
            match self.random.usize(..6) {
                0 => words.push(word.into()),
                1 => words.extend([word.into(), KEYS[self.random.usize(..KEYS.len())].into()]),
                2 => words.insert(at, word.into()),
                3 if at < words.len() => words[at] = word.into(),
                4 if at < words.len() => {
                    let again = words[at..(at + self.random.usize(1..4)).min(words.len())].to_vec();
                    words.extend(again);
                }
                5 if words.len() > name + 1 => {
                    let other = self.random.usize(name..words.len());
                    let at = at.min(words.len() - 1);
                    words.swap(at, other);
                }
                _ => {}
            }
        }
        words
    }
}

const SEED: u64 = 16;
