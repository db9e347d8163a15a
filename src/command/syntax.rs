//! A row's syntax, taken apart: the nested arguments that COMMAND DOCS tells and clients make hints of.
//!
//! The notation is the documentation's. Words in capitals are sent as they stand; `[…]` may be left out, one of `<a | b>`
//! must be there; `key [key ...]` is one argument that repeats, `field value [field value ...]` a block that does, and a
//! group that ends in `...` repeats as a whole. A word in capitals belongs to the argument behind it, or to all of them
//! where several plain ones follow. A sign (`=`, `~`, `*`, `$`) is sent as it stands too: `equal: =`.
//! What that cannot say is written at the word, in this order, and shown nowhere: `count:double` another type than the
//! name's usual one, `pattern#1` its key specification, `EX@2.6.12` since when, `!2.8.12` deprecated since when,
//! `storekey=key` what hints show. `[order: ASC | DESC]` names a choice or a block; usual names need no telling.
//! Invariant: every row can be read (`tests/tidy.rs`, which also holds its arity against it). Not here: replies.

/// One argument, with those inside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Argument {
    pub name: String,
    /// What a hint shows in place of the name.
    pub shown: Option<&'static str>,
    pub kind: ArgumentKind,
    pub token: Option<&'static str>,
    /// Which of the row's key specifications it belongs to.
    pub key_spec: Option<usize>,
    pub since: Option<&'static str>,
    pub deprecated_since: Option<&'static str>,
    pub optional: bool,
    pub multiple: bool,
    /// The token repeats with it.
    pub multiple_token: bool,
    /// Of a choice or a block.
    pub parts: Vec<Argument>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArgumentKind {
    #[default]
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl ArgumentKind {
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("string", |(_, name)| name)
    }
}

/// The arguments of a row's syntax.
pub fn arguments(syntax: &'static str) -> Vec<Argument> {
    let mut parser = Parser { words: words(syntax), at: 0, keys: 0 };
    let mut content = parser.content();
    if content.alternatives.len() == 1 { content.alternatives.remove(0).1 } else { vec![content.into_argument()] }
}

/// How many words a request has at least behind the command's name, and whether it may have more.
pub fn counts(arguments: &[Argument]) -> (usize, bool) {
    let mut sum = (0, false);
    for argument in arguments {
        let parts = || argument.parts.iter().map(|part| counts(std::slice::from_ref(part)));
        let (least, open) = match argument.kind {
            ArgumentKind::PureToken => (0, false),
            ArgumentKind::OneOf => {
                let least = parts().map(|(least, _)| least).min().unwrap_or(0);
                (least, parts().any(|(other, open)| open || other != least))
            }
            ArgumentKind::Block => counts(&argument.parts),
            _ => (1, false),
        };
        if !argument.optional {
            sum.0 += least + usize::from(argument.token.is_some());
        }
        sum.1 |= open || argument.optional || argument.multiple;
    }
    sum
}

struct Parser {
    words: Vec<&'static str>,
    at: usize,
    keys: usize,
}

/// What stands between brackets: one sequence, or several to choose from.
struct Content {
    label: Option<&'static str>,
    alternatives: Vec<(Option<&'static str>, Vec<Argument>)>,
    repeats: bool,
}

/// A piece of a sequence, before tokens have found what they belong to.
#[derive(Clone)]
enum Item {
    Token(&'static str),
    Argument(Argument),
    Repeated(Vec<Item>),
}

impl Parser {
    /// Up to the bracket that closes it, or to the end.
    fn content(&mut self) -> Content {
        let label = self.label();
        let (mut alternatives, mut repeats) = (Vec::new(), false);
        loop {
            let own_label = self.label();
            let (items, ends_in_dots) = self.sequence();
            repeats |= ends_in_dots;
            alternatives.push((own_label, joined(&items)));
            if self.peek() != Some("|") {
                self.at += 1;
                return Content { label, alternatives, repeats };
            }
            self.at += 1;
        }
    }

    fn sequence(&mut self) -> (Vec<Item>, bool) {
        let mut items = Vec::new();
        while let Some(word) = self.peek() {
            match word {
                "]" | ">" | "|" => break,
                "..." => {
                    self.at += 1;
                    return (items, true);
                }
                "[" => match self.repetition() {
                    Some(repeated) => {
                        let from = items.len().saturating_sub(repeated);
                        let repeated = items.split_off(from);
                        items.push(Item::Repeated(repeated));
                    }
                    None => {
                        self.at += 1;
                        items.push(Item::Argument(Argument { optional: true, ..self.content().into_argument() }));
                    }
                },
                "<" => {
                    self.at += 1;
                    items.push(Item::Argument(self.content().into_argument()));
                }
                word if word.starts_with(|c: char| c.is_ascii_uppercase() || SIGNS.contains(c)) => {
                    self.at += 1;
                    items.push(Item::Token(word));
                }
                word => {
                    self.at += 1;
                    items.push(Item::Argument(self.plain(word)));
                }
            }
        }
        (items, false)
    }

    /// Skips a `[x y ...]` that repeats the words in front of it and says how many they are.
    fn repetition(&mut self) -> Option<usize> {
        let rest = &self.words[self.at + 1..];
        let len = rest.iter().position(|word| *word == "...")?;
        let before = self.words[..self.at].iter().map(|word| bare(word)).rev();
        let closes = rest.get(len + 1) == Some(&"]");
        if len == 0 || !closes || !rest[..len].iter().rev().map(|word| bare(word)).eq(before.take(len)) {
            return None;
        }
        self.at += len + 3;
        Some(len)
    }

    fn peek(&self) -> Option<&'static str> {
        self.words.get(self.at).copied()
    }

    fn label(&mut self) -> Option<&'static str> {
        let label = self.peek()?.strip_suffix(':')?;
        self.at += 1;
        Some(label)
    }

    fn plain(&mut self, word: &'static str) -> Argument {
        let mut argument = noted(word);
        if argument.kind == ArgumentKind::Key && argument.key_spec.is_none() {
            argument.key_spec = Some(self.keys);
            self.keys += 1;
        }
        argument
    }
}

impl Content {
    fn into_argument(mut self) -> Argument {
        let mut argument = match self.alternatives.len() {
            1 => {
                let (own, arguments) = self.alternatives.remove(0);
                single(own, arguments)
            }
            _ => choice(self.alternatives),
        };
        rename(&mut argument, self.label);
        argument.multiple |= self.repeats;
        argument
    }
}

fn choice(alternatives: Vec<(Option<&'static str>, Vec<Argument>)>) -> Argument {
    let parts: Vec<Argument> = alternatives.into_iter().map(|(label, arguments)| single(label, arguments)).collect();
    let first = parts.first().and_then(|part| part.token).unwrap_or_default();
    let usual = USUAL_CHOICES.iter().find(|(token, _)| *token == first).map(|(_, name)| (*name).to_owned());
    Argument { name: usual.unwrap_or_default(), kind: ArgumentKind::OneOf, parts, ..Argument::default() }
}

/// Several arguments are a block.
fn single(label: Option<&'static str>, mut arguments: Vec<Argument>) -> Argument {
    let mut argument = match arguments.len() {
        1 => arguments.remove(0),
        _ => Argument { name: "data".into(), kind: ArgumentKind::Block, parts: arguments, ..Argument::default() },
    };
    rename(&mut argument, label);
    argument
}

fn rename(argument: &mut Argument, label: Option<&'static str>) {
    let Some(label) = label else { return };
    let named = noted(label);
    argument.name = named.name;
    argument.since = named.since.or(argument.since);
    argument.shown = named.shown.or(argument.shown);
}

/// Gives tokens what they belong to.
fn joined(items: &[Item]) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let mut at = 0;
    while let Some(item) = items.get(at) {
        at += 1;
        match item {
            Item::Argument(argument) => arguments.push(argument.clone()),
            Item::Repeated(list) => arguments.push(repeated(list)),
            Item::Token(token) => {
                let behind = &items[at..];
                if behind.len() > 1 && behind.iter().all(is_plain) {
                    let block = Argument { kind: ArgumentKind::Block, parts: joined(behind), ..Argument::default() };
                    arguments.push(with_token(token, block));
                    break;
                }
                let next = match behind.first() {
                    Some(Item::Argument(next)) if !next.optional => Some(next.clone()),
                    Some(Item::Repeated(list)) => Some(repeated(list)),
                    _ => None,
                };
                at += usize::from(next.is_some());
                arguments.push(with_token(token, next.unwrap_or_else(pure)));
            }
        }
    }
    arguments
}

fn repeated(list: &[Item]) -> Argument {
    let multiple_token = matches!(list, [Item::Token(_), ..]);
    Argument { multiple: true, multiple_token, ..single(None, joined(list)) }
}

fn is_plain(item: &Item) -> bool {
    match item {
        Item::Token(_) => false,
        Item::Argument(argument) => !argument.optional && argument.parts.is_empty(),
        Item::Repeated(_) => true,
    }
}

fn pure() -> Argument {
    Argument { kind: ArgumentKind::PureToken, ..Argument::default() }
}

/// What has no name takes the token's.
fn with_token(token: &'static str, argument: Argument) -> Argument {
    let noted = noted(token);
    let name = if argument.name.is_empty() { noted.name.to_ascii_lowercase() } else { argument.name };
    Argument { name, token: Some(bare(token)), since: noted.since.or(argument.since), ..argument }
}

/// A word with what is noted at it; keys are not numbered yet.
fn noted(word: &'static str) -> Argument {
    let mut rest = word;
    let mut note = |sign: char| {
        let (before, note) = rest.split_once(sign).filter(|(before, _)| !before.is_empty())?;
        rest = before;
        Some(note)
    };
    let (shown, deprecated_since, since, key_spec, kind) = (note('='), note('!'), note('@'), note('#'), note(':'));
    let usual = || USUAL_KINDS.iter().find(|(names, _)| names.contains(&rest)).map(|(_, kind)| *kind);
    let told = |name| KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind);
    Argument {
        name: rest.to_owned(),
        shown,
        kind: kind.and_then(told).or_else(usual).unwrap_or_default(),
        key_spec: key_spec.and_then(|number| number.parse().ok()),
        since,
        deprecated_since,
        ..Argument::default()
    }
}

fn bare(word: &'static str) -> &'static str {
    // What is but a sign has no notes.
    word.split(['=', '!', '@', '#', ':']).next().filter(|bare| !bare.is_empty()).unwrap_or(word)
}

/// Words, brackets and bars.
fn words(syntax: &'static str) -> Vec<&'static str> {
    let mut words = Vec::new();
    for piece in syntax.split(' ') {
        let inner = piece.trim_start_matches(['[', '<']);
        let opened = piece.len() - inner.len();
        let word = inner.trim_end_matches([']', '>']);
        words.extend((0..opened).map(|i| &piece[i..=i]));
        words.extend(Some(word).filter(|word| !word.is_empty()));
        words.extend((word.len()..inner.len()).map(|i| &inner[i..=i]));
    }
    words
}

/// Signs that are words of their own.
const SIGNS: &str = "=~*$";

const KINDS: [(ArgumentKind, &str); 9] = [
    (ArgumentKind::String, "string"),
    (ArgumentKind::Integer, "integer"),
    (ArgumentKind::Double, "double"),
    (ArgumentKind::Key, "key"),
    (ArgumentKind::Pattern, "pattern"),
    (ArgumentKind::UnixTime, "unix-time"),
    (ArgumentKind::PureToken, "pure-token"),
    (ArgumentKind::OneOf, "oneof"),
    (ArgumentKind::Block, "block"),
];

/// What words of these names are, unless it is noted at them.
const USUAL_KINDS: &[(&[&str], ArgumentKind)] = &[
    (
        &[
            "key",
            "key1",
            "key2",
            "newkey",
            "source",
            "sourcekey",
            "src",
            "destination",
            "destkey",
            "dst",
            "storekey",
            "storedistkey",
        ],
        ArgumentKind::Key,
    ),
    (
        &[
            "bit",
            "client-id",
            "count",
            "cursor",
            "db",
            "decrement",
            "destination-db",
            "end",
            "frequency",
            "increment",
            "index",
            "index1",
            "index2",
            "len",
            "limit",
            "maxage",
            "milliseconds",
            "min-match-len",
            "num-matches",
            "numfields",
            "numkeys",
            "offset",
            "port",
            "protover",
            "rank",
            "seconds",
            "start",
            "stop",
            "ttl",
            "version",
            "weight",
        ],
        ArgumentKind::Integer,
    ),
    (&["height", "latitude", "longitude", "max", "min", "radius", "score", "timeout", "width"], ArgumentKind::Double),
    (&["pattern", "by-pattern", "get-pattern"], ArgumentKind::Pattern),
    (&["unix-time-seconds", "unix-time-milliseconds"], ArgumentKind::UnixTime),
];

/// What choices are called whose first alternative has this token, unless a label says otherwise.
const USUAL_CHOICES: &[(&str, &str)] = &[
    ("ASC", "order"),
    ("ASYNC", "flush-type"),
    ("BEFORE", "where"),
    ("BYSCORE", "sortby"),
    ("BYTE", "unit"),
    ("EX", "expiration"),
    ("FNX", "condition"),
    ("FROMMEMBER", "from"),
    ("GT", "comparison"),
    ("IFEQ", "condition"),
    ("LEFT", "where"),
    ("M", "unit"),
    ("MIN", "where"),
    ("NX", "condition"),
    ("ON", "enabled"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// One line per argument, those inside indented.
    fn shown(arguments: &[Argument], depth: usize) -> String {
        let line = |a: &Argument| {
            let mut line = format!("{}{} {}", "  ".repeat(depth), a.name, a.kind.name());
            let mut note = |name: &str, value: Option<String>| {
                line.extend(value.map(|value| format!(" {name}={value}")));
            };
            note("token", a.token.map(str::to_owned));
            note("spec", a.key_spec.map(|spec| spec.to_string()));
            note("since", a.since.map(str::to_owned));
            note("deprecated", a.deprecated_since.map(str::to_owned));
            note("shown", a.shown.map(str::to_owned));
            for (flag, name) in
                [(a.optional, "optional"), (a.multiple, "multiple"), (a.multiple_token, "multiple_token")]
            {
                line.push_str(if flag { " " } else { "" });
                line.push_str(if flag { name } else { "" });
            }
            format!("{line}\n{}", shown(&a.parts, depth + 1))
        };
        arguments.iter().map(line).collect()
    }

    fn check(syntax: &'static str, expect: &str) {
        let lines: Vec<&str> = expect.lines().map(|line| line.strip_prefix("            ").unwrap_or(line)).collect();
        assert_eq!(shown(&arguments(syntax), 0).trim_end(), lines.join("\n").trim(), "{syntax}");
    }

    #[test]
    fn words_repetitions_and_choices_are_told_apart() {
        check("", "");
        check("key [key ...]", "key key spec=0 multiple");
        check("[event [event ...]]", "event string optional multiple");
        check(
            "numkeys key value [key value ...] [NX | XX]",
            "numkeys integer
            data block multiple
              key key spec=0
              value string
            condition oneof optional
              nx pure-token token=NX
              xx pure-token token=XX",
        );
        check(
            "key [EX@2.6.12 seconds | PERSIST]",
            "key key spec=0
            expiration oneof optional
              seconds integer token=EX since=2.6.12
              persist pure-token token=PERSIST",
        );
    }

    #[test]
    fn signs_are_words_too() {
        let choice = &arguments("[operator: equal: = | approximately: ~]")[0];
        let parts: Vec<_> = choice.parts.iter().map(|part| (part.name.as_str(), part.token)).collect();
        assert_eq!(
            (choice.name.as_str(), parts),
            ("operator", vec![("equal", Some("=")), ("approximately", Some("~"))])
        );
    }

    #[test]
    fn tokens_belong_to_one_argument_or_to_several() {
        check(
            "[LIMIT offset count] [count-block: COUNT count [ANY@6.2.0]] [WEIGHTS weight [weight ...]]",
            "limit block token=LIMIT optional
              offset integer
              count integer
            count-block block optional
              count integer token=COUNT
              any pure-token token=ANY since=6.2.0 optional
            weight integer token=WEIGHTS optional multiple",
        );
        check(
            "key FIELDS numfields field value [field value ...]",
            "key key spec=0
            fields block token=FIELDS
              numfields integer
              data block multiple
                field string
                value string",
        );
        check(
            "<by: circle: BYRADIUS radius <M | KM> | no-one: NO ONE>",
            "by oneof
              circle block
                radius double token=BYRADIUS
                unit oneof
                  m pure-token token=M
                  km pure-token token=KM
              no-one block
                no pure-token token=NO
                one pure-token token=ONE",
        );
        check(
            "[GET get-pattern#1=pattern [GET get-pattern ...]]",
            "get-pattern pattern token=GET spec=1 shown=pattern optional multiple multiple_token",
        );
    }

    #[test]
    fn labels_name_choices_and_blocks() {
        check(
            "args: host-port: host port | no-one: NO ONE",
            "args oneof
              host-port block
                host string
                port integer
              no-one block
                no pure-token token=NO
                one pure-token token=ONE",
        );
        check(
            "key [operation: get-block: GET encoding offset | set-block: SET encoding value:integer ...]",
            "key key spec=0
            operation oneof optional multiple
              get-block block token=GET
                encoding string
                offset integer
              set-block block token=SET
                encoding string
                value integer",
        );
        check("[change@3.0.2: CH]", "change pure-token token=CH since=3.0.2 optional");
        check("old-format!2.8.12=ip:port", "old-format string deprecated=2.8.12 shown=ip:port");
    }

    #[test]
    fn the_least_number_of_words_follows() {
        assert_eq!(counts(&arguments("key [key ...] timeout")), (2, true));
        assert_eq!(counts(&arguments("host port | NO ONE")), (2, false));
        assert_eq!(counts(&arguments("key FIELDS numfields field [field ...] [NX]")), (4, true));
        assert_eq!(counts(&arguments("<FROMMEMBER member | FROMLONLAT longitude latitude>")), (2, true));
        assert_eq!(counts(&arguments("key")), (1, false));
    }
}
