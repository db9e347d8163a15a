//! Rules against a naive model, descriptions against what they describe, and texts of any kind against the parser.

use super::*;
use crate::resp::Argv;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const COMMANDS: [(&str, Categories); 8] = [
    ("config", 1),
    ("config|get", 1 | 4),
    ("config|set", 1 | 4),
    ("get", 2),
    ("ping", 1 | 8),
    ("select", 8),
    ("set", 2 | 16),
    ("xadd", 16),
];

fn catalog() -> Catalog {
    let commands = COMMANDS.iter().map(|(name, categories)| ((*name).to_owned(), *categories));
    Catalog::new(vec!["slow", "string", "admin", "connection", "write"], commands)
}

fn grammar(catalog: &Catalog) -> Grammar<'_> {
    Grammar { catalog, all_channels: false }
}

fn made(words: &[&str]) -> Result<Rules, String> {
    let catalog = catalog();
    let grammar = grammar(&catalog);
    grammar.change(&grammar.new_user(), words).map_err(|text| String::from_utf8_lossy(&text).into_owned())
}

fn described(words: &[&str]) -> String {
    let line = line(b"u", &made(words).unwrap());
    String::from_utf8_lossy(&line).trim_start_matches("user u ").to_owned()
}

/// What rules say of a command with keys and channels.
fn verdict(rules: &Rules, words: &[&str], keys: &[(usize, Access)], channels: Channels) -> Result<(), Denied> {
    let catalog = catalog();
    let argv = Argv::of(words);
    let name = |n: usize| words[..n].join("|");
    let command = catalog.find(name(2.min(words.len())).as_bytes()).or_else(|| catalog.find(words[0].as_bytes()));
    let visit = |visit: &mut dyn FnMut(usize, Access)| keys.iter().for_each(|(i, access)| visit(*i, *access));
    let (command, argv) = (command.unwrap(), argv.view());
    rules.check(&Attempt { command, free: false, first_argument: 1, argv, keys: &visit, channels })
}

// Asked of 8.2.3.
#[test]
fn rules_are_described_by_the_words_that_still_mean_something() {
    let cases: [(&[&str], &str); 8] = [
        (&[], "off resetchannels -@all"),
        (&["on", "nopass", "allkeys", "allchannels", "allcommands"], "on nopass ~* &* +@all"),
        (
            &["+@all", "-@admin", "+GET", "-set", "+config|get", "-@string"],
            "off resetchannels +@all -@admin +get -set +config|get -@string",
        ),
        (&["+config|get", "+config"], "off resetchannels -@all +config"),
        (&["+config", "+config|get", "-config|set"], "off resetchannels -@all +config +config|get -config|set"),
        (&["+select|0", "+select|1", "-select"], "off resetchannels -@all -select"),
        (&["+get", "-@all", "+set"], "off resetchannels -@all +set"),
        (
            &["~a", "%R~b", "%w~b", "%W~c", "&x", "&x", "(~k", "+get", ")"],
            "off ~a ~b %W~c resetchannels &x -@all (~k resetchannels -@all +get)",
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(described(words), expected, "{words:?}");
    }
    let again = made(&["on", "+get", "reset"]).unwrap();
    assert_eq!(line(b"u", &again), b"user u off sanitize-payload resetchannels -@all");
}

// Asked of 7.0.15 and 8.2.3, which agree.
#[test]
fn errors_are_redis_s() {
    let all = "is not valid and does not have any effect. Try";
    let fault = |word: &str, text: &str| format!("Error in ACL SETUSER modifier '{word}': {text}");
    let unknown = "Unknown command or category name in ACL";
    let hash = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
    let cases: Vec<(&[&str], String)> = vec![
        (&["nosuch"], fault("nosuch", "Syntax error")),
        (&["+nosuch"], fault("+nosuch", unknown)),
        (&["-@nosuch"], fault("-@nosuch", unknown)),
        (&["+config|nosuch"], fault("+config|nosuch", unknown)),
        (&["-get|x"], fault("-get|x", unknown)),
        (&["+config|get|x"], fault("+config|get|x", "Allowing first-arg of a subcommand is not supported")),
        (&["+get|"], fault("+get|", "Syntax error")),
        (&["%~x"], fault("%~x", "Syntax error")),
        (&["%RR~x"], fault("%RR~x", "Syntax error")),
        (&["%"], fault("%", "Syntax error")),
        (&["~a b"], fault("~a b", "Syntax error")),
        (&["#abc"], fault("#abc", hash)),
        (&["<x"], fault("<x", "The password you are trying to remove from the user does not exist")),
        (&["(%R~"], "Unmatched parenthesis in acl selector starting at '(%R~'.".to_owned()),
        (&["on", "(", "+get"], "Unmatched parenthesis in acl selector starting at '('.".to_owned()),
        (
            &["(&*", "&x)"],
            fault(
                "(&* &x)",
                &format!(
                    "Adding a pattern after the * pattern (or the 'allchannels' flag) {all} 'resetchannels' to start with an empty list of channels"
                ),
            ),
        ),
        (
            &["~*", "~x"],
            fault(
                "~x",
                &format!(
                    "Adding a pattern after the * pattern (or the 'allkeys' flag) {all} 'resetkeys' to start with an empty list of patterns"
                ),
            ),
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(made(words).unwrap_err(), expected, "{words:?}");
    }
}

#[test]
fn one_selector_must_allow_all_of_a_request() {
    let rules = made(&["-@all", "(+get %R~r*)", "(+set %W~w* +ping)"]).unwrap();
    assert_eq!(verdict(&rules, &["get", "r1"], &[(1, READ)], Channels::None), Ok(()));
    assert_eq!(verdict(&rules, &["set", "w1", "v"], &[(1, WRITE)], Channels::None), Ok(()));
    assert_eq!(verdict(&rules, &["set", "w1", "v"], &[(1, READ | WRITE)], Channels::None), Err(Denied::Key(1)));
    assert_eq!(verdict(&rules, &["get", "w1"], &[(1, READ)], Channels::None), Err(Denied::Key(1)));
    assert_eq!(verdict(&rules, &["xadd", "w1"], &[(1, WRITE)], Channels::None), Err(Denied::Command));
    let rules = made(&["+select|0", "+config|get", "&news.*"]).unwrap();
    assert_eq!(verdict(&rules, &["select", "0"], &[], Channels::None), Ok(()));
    assert_eq!(verdict(&rules, &["select", "1"], &[], Channels::None), Err(Denied::Command));
    assert_eq!(verdict(&rules, &["config", "get", "x"], &[], Channels::None), Ok(()));
    assert_eq!(verdict(&rules, &["config", "set", "x"], &[], Channels::None), Err(Denied::Command));
    let rules = made(&["+ping", "&news.*"]).unwrap();
    assert_eq!(verdict(&rules, &["ping", "news.a"], &[], Channels::First), Ok(()));
    assert_eq!(verdict(&rules, &["ping", "news.a", "x"], &[], Channels::Names), Err(Denied::Channel(2)));
    assert_eq!(verdict(&rules, &["ping", "news.*"], &[], Channels::Patterns), Ok(()));
    assert_eq!(verdict(&rules, &["ping", "news.a*"], &[], Channels::Patterns), Err(Denied::Channel(1)));
}

#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let catalog = catalog();
    let good = parse_file(grammar(&catalog), "f", b"\nuser bob on >x +get ~a (+set ~b)\r\n  user al off\n").unwrap();
    assert_eq!(good.len(), 2);
    let text = render_file(good.iter().map(|(name, rules)| (&**name, rules)));
    assert_eq!(parse_file(grammar(&catalog), "f", &text).unwrap(), good);
    let bad = b"user a +nosuch +get\nwho\nuser a\nuser b (+get\n# x\nuser c\td\nuser e bad worse <secret\n";
    let errors = String::from_utf8(parse_file(grammar(&catalog), "f", bad).unwrap_err()).unwrap();
    let expected = "f:1: Error in applying operation '+nosuch': Unknown command or category name in ACL. \
        f:2 should start with user keyword followed by the username. \
        WARNING: Duplicate user 'a' found on line 3. f:4: Unmatched parenthesis in selector definition. \
        f:5 should start with user keyword followed by the username. \
        'f:6: username 'c\td' contains invalid characters. f:7: Syntax error. \
        WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
    assert_eq!(errors, expected);
}

#[test]
fn the_log_counts_what_repeats_and_forgets_the_oldest() {
    let mut log = Log::default();
    let mut add = |object: &[u8], now| {
        let (reason, context, client_info) = (Reason::Key, Context::TopLevel, format!("at {now}"));
        log.add(Incident { reason, context, object, user: b"u", client_info }, now, 2);
    };
    add(b"a", 0);
    add(b"b", 1);
    add(b"a", 60_000);
    add(b"b", 60_002);
    add(&[b'x'; 5000], 60_003);
    let seen: Vec<_> = log.entries().map(|e| (e.id, e.count, e.object.len(), e.created_ms, e.updated_ms)).collect();
    assert_eq!(seen, [(3, 1, 1024, 60_003, 60_003), (2, 1, 1, 60_002, 60_002)]);
    log.reset();
    assert_eq!(log.entries().len(), 0);
}

#[test]
fn a_user_s_rules_change_under_those_who_hold_it() {
    let users = Users::new(catalog(), b"secret");
    assert!(users.authenticate(DEFAULT, b"x").is_none() && users.authenticate(DEFAULT, b"secret").is_some());
    assert!(users.default_user().is_unrestricted() && !users.default_user().rules().is_open());
    users.set_default_password(b"");
    assert!(users.default_user().rules().is_open());
    let grammar = grammar(users.catalog());
    let set = |words: &[&str]| users.change(b"bob", &grammar.new_user(), |rules| grammar.change(rules, words));
    assert!(set(&["on", ">a", ">b", "+@all", "~*", "&*"]).unwrap().is_none());
    let bob = users.authenticate(b"bob", b"b").unwrap();
    assert!(bob.is_unrestricted() && users.authenticate(b"bob", b"c").is_none());
    assert!(set(&["-get", "nosuch"]).is_err() && bob.is_unrestricted(), "all words or none");
    set(&["-get", "off"]).unwrap();
    assert!(!bob.is_unrestricted() && users.authenticate(b"bob", b"b").is_none());
    let file = parse_file(grammar, "f", b"user eve on").unwrap();
    let replaced = users.replace(file, Rules::unrestricted);
    assert_eq!(replaced.gone.iter().map(|user| user.name()).collect::<Vec<_>>(), [b"bob"]);
    assert!(replaced.changed.is_empty() && users.get(b"bob").is_none() && users.get(b"eve").is_some());
    assert_eq!(verdict(&bob.rules(), &["ping"], &[], Channels::None), Err(Denied::Command));
}

/// A selector's commands as one would write them down: names, and first arguments.
#[derive(Clone, Default)]
struct Model {
    commands: BTreeSet<&'static str>,
    firsts: BTreeMap<&'static str, BTreeSet<String>>,
    keys: Option<Vec<(Access, String)>>,
    all_keys: bool,
}

impl Model {
    fn change(&mut self, name: &'static str, allow: bool) {
        for (known, _) in COMMANDS.iter().filter(|(known, _)| *known == name || known.starts_with(&format!("{name}|")))
        {
            if allow {
                self.commands.insert(known)
            } else {
                self.commands.remove(known)
            };
        }
        self.firsts.remove(name);
    }

    fn apply(&mut self, word: &str) {
        let (sign, rest) = word.split_at(1);
        let categories = ["slow", "string", "admin", "connection", "write"];
        match (sign, rest) {
            ("~", "*") => (self.all_keys, self.keys) = (true, None),
            ("~", glob) if !self.all_keys => self.keys.get_or_insert_default().push((READ | WRITE, glob.to_owned())),
            ("%", glob) if !self.all_keys => {
                let access = if glob.starts_with("R~") { READ } else { WRITE };
                self.keys.get_or_insert_default().push((access, glob[2..].to_owned()));
            }
            ("r", _) => (self.all_keys, self.keys) = (false, None),
            (_, "@all") => {
                *self = Self { keys: self.keys.clone(), all_keys: self.all_keys, ..Self::default() };
                if sign == "+" {
                    self.commands = COMMANDS.iter().map(|(name, _)| *name).collect();
                }
            }
            (_, category) if category.starts_with('@') => {
                let bit = 1 << categories.iter().position(|known| *known == &category[1..]).unwrap();
                for (name, _) in COMMANDS.iter().filter(|(_, bits)| bits & bit != 0) {
                    self.change(name, sign == "+");
                }
            }
            (_, name) => match COMMANDS.iter().find(|(known, _)| *known == name) {
                Some((known, _)) => self.change(known, sign == "+"),
                None => {
                    let (name, first) = name.split_once('|').unwrap();
                    let known = COMMANDS.iter().find(|(known, _)| *known == name).unwrap().0;
                    self.firsts.entry(known).or_default().insert(first.to_owned());
                }
            },
        }
    }

    fn allows(&self, name: &str, first: &str, key: &str, access: Access) -> bool {
        let first_allows = self.firsts.get(name).is_some_and(|firsts| firsts.contains(first));
        let has = |(granted, glob): &(Access, String)| {
            let prefix = glob.trim_end_matches('*');
            key.starts_with(prefix) && (glob.ends_with('*') || key == prefix) && granted & access == access
        };
        // Two words about one glob add up.
        let mut merged: Vec<(Access, String)> = Vec::new();
        for (access, glob) in self.keys.iter().flatten() {
            match merged.iter_mut().find(|(_, known)| known == glob) {
                Some((granted, _)) => *granted |= access,
                None => merged.push((*access, glob.clone())),
            }
        }
        (self.commands.contains(name) || first_allows) && (self.all_keys || merged.iter().any(has))
    }
}

fn word() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "config",
        "config|get",
        "config|set",
        "get",
        "ping",
        "select",
        "set",
        "xadd",
        "@all",
        "@slow",
        "@string",
        "@admin",
        "@connection",
        "@write",
    ]);
    let glob = prop::sample::select(vec!["a*", "ab*", "b", "*"]);
    prop_oneof![
        6 => (prop::sample::select(vec!["+", "-"]), name).prop_map(|(sign, name)| format!("{sign}{name}")),
        1 => prop::sample::select(vec!["+select|0", "+select|1", "+get|a"]).prop_map(str::to_owned),
        3 => (prop::sample::select(vec!["~", "%R~", "%W~"]), glob).prop_map(|(head, glob)| format!("{head}{glob}")),
        1 => Just("resetkeys".to_owned()),
    ]
}

proptest! {
    #[test]
    fn rules_allow_what_a_model_allows_and_their_description_makes_the_same(words in prop::collection::vec(word(), 0..14)) {
        let catalog = catalog();
        let grammar = grammar(&catalog);
        let (mut rules, mut model) = (grammar.new_user(), Model::default());
        for word in &words {
            // `%R~*` is a pattern like others, `~*` behind it is not.
            if let Ok(changed) = grammar.change(&rules, &[word]) {
                rules = changed;
                model.apply(word);
            }
        }
        let again = grammar.change(&grammar.new_user(), &rules.words()).unwrap();
        prop_assert_eq!(rules.words(), again.words());
        for (name, _) in COMMANDS {
            for (first, key) in [("0", "a"), ("1", "ab"), ("a", "abc"), ("x", "b"), ("y", "c")] {
                for access in [0, READ, WRITE, READ | WRITE] {
                    let words: Vec<&str> = name.split('|').chain([first, key]).collect();
                    let verdict = |rules: &Rules| verdict(rules, &words, &[(words.len() - 1, access)], Channels::None);
                    let expected = if name.contains('|') { model.allows(name, "", key, access) } else { model.allows(name, first, key, access) };
                    prop_assert_eq!(verdict(&rules).is_ok(), expected, "{} {} {} {}: {:?}", name, first, key, access, &words);
                    prop_assert_eq!(verdict(&again), verdict(&rules));
                }
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_what_it_takes_is_read_again(words in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        "[()%~&+<>!#@RW|* \"']{0,12}".prop_map(String::into_bytes),
        "[(][()%~&+|RW a-z]{0,10}[)]".prop_map(String::into_bytes),
        "[(](([~&]|%R~|[+]get[|])[()'\"\\\\a*]{0,3} ){0,3}[~&][()'\"\\\\a*]{0,3}[)]{1,2}".prop_map(String::into_bytes),
        "([~&]|%R~|[+]get[|]|>)[()'\"\\\\a*#]{0,4}".prop_map(String::into_bytes),
    ], 0..6)) {
        let catalog = catalog();
        let grammar = grammar(&catalog);
        if let Ok(rules) = grammar.change(&grammar.new_user(), &words) {
            let text = line(b"u", &rules);
            let read = parse_file(grammar, "f", &text);
            prop_assert!(read.is_ok(), "{:?}", String::from_utf8_lossy(&text));
            prop_assert_eq!(read.unwrap().get(b"u".as_slice()).map(Rules::words), Some(rules.words()));
        }
        let _ = parse_file(grammar, "f", &[b"user u ".as_slice(), &words.join(&b' ')].concat());
        let _ = parse_file(grammar, "f", &words.join(&b'\n'));
    }
}
