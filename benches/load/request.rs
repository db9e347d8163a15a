//! Requests: templates of commands, and the pool of ready-made bytes that the generator sends from.
//!
//! A template is a line: `SET key:{key} {value}`. `{key}` is a key number of twelve digits, drawn anew at every place,
//! `{again}` the one drawn last, `{value}` the value, `{n}` the number of the repetition in `[…]*20`, which repeats words: `HMGET h:{key} [field{n}]*20`.
//! Requests are built before the clock starts and sent as they lie in memory, a whole pipeline with one call.

use crate::keys::Keys;
use memkv::resp::encode_request;
use std::ops::Range;

/// How requests and replies look on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Resp,
    /// memcached's text protocol; it knows GET and SET only.
    Memcached,
}

/// A command with places to fill in.
#[derive(Clone, Debug)]
pub struct Template {
    words: Vec<Vec<Piece>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Key,
    /// The number that was drawn last.
    Again,
    Value,
}

impl Template {
    pub fn parse(line: &str) -> Result<Self, String> {
        let (mut words, mut rest) = (Vec::new(), line.trim());
        while !rest.is_empty() {
            if let Some(group) = rest.strip_prefix('[') {
                let (inside, behind) = group.split_once("]*").ok_or_else(|| format!("no ]*COUNT in {line:?}"))?;
                let (count, left) = behind.split_once(' ').unwrap_or((behind, ""));
                let count: usize = count.parse().map_err(|e| format!("{count:?} in {line:?}: {e}"))?;
                for n in 0..count {
                    words.extend(inside.split_whitespace().map(|w| pieces(w, n)));
                }
                rest = left.trim_start();
            } else {
                let (word, left) = rest.split_once(' ').unwrap_or((rest, ""));
                words.push(pieces(word, 0));
                rest = left.trim_start();
            }
        }
        if words.is_empty() { Err("an empty command".into()) } else { Ok(Self { words }) }
    }

    fn fill(&self, keys: &mut Keys, random: &mut fastrand::Rng, value: &[u8]) -> Vec<Vec<u8>> {
        let mut last = 0;
        let mut fill = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Key => {
                last = keys.next(random);
                format!("{last:012}").into_bytes()
            }
            Piece::Again => format!("{last:012}").into_bytes(),
            Piece::Value => value.to_vec(),
        };
        self.words.iter().map(|pieces| pieces.iter().flat_map(&mut fill).collect()).collect()
    }

    /// Whether it can be said in a dialect.
    pub fn speaks(&self, dialect: Dialect) -> bool {
        let name = match self.words.first().map(Vec::as_slice) {
            Some([Piece::Text(name)]) => name.to_ascii_uppercase(),
            _ => return false,
        };
        match dialect {
            Dialect::Resp => true,
            Dialect::Memcached => matches!((&name[..], self.words.len()), (b"GET", 2) | (b"SET", 3)),
        }
    }
}

fn pieces(word: &str, n: usize) -> Vec<Piece> {
    let word = word.replace("{n}", &n.to_string());
    let (mut pieces, mut rest) = (Vec::new(), word.as_str());
    while let Some((at, mark, piece)) = [("{key}", Piece::Key), ("{again}", Piece::Again), ("{value}", Piece::Value)]
        .into_iter()
        .filter_map(|(mark, piece)| rest.find(mark).map(|at| (at, mark, piece)))
        .min_by_key(|(at, ..)| *at)
    {
        if at > 0 {
            pieces.push(Piece::Text(rest.as_bytes()[..at].to_vec()));
        }
        pieces.push(piece);
        rest = &rest[at + mark.len()..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.as_bytes().to_vec()));
    }
    pieces
}

/// Appends one request.
fn encode(out: &mut Vec<u8>, words: &[Vec<u8>], dialect: Dialect) {
    match (dialect, words) {
        (Dialect::Resp, _) => encode_request(out, words.iter().map(Vec::as_slice)),
        (Dialect::Memcached, [_, key]) => out.extend([b"get ", &key[..], b"\r\n"].concat()),
        (Dialect::Memcached, [_, key, value]) => {
            out.extend([b"set ", &key[..], format!(" 0 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat());
        }
        (Dialect::Memcached, _) => unreachable!("Template::speaks was asked"),
    }
}

/// What is asked: templates with their shares, where keys come from, and the value.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub templates: Vec<(f64, Template)>,
    pub keys: Keys,
    pub value: Vec<u8>,
}

impl Recipe {
    pub fn new<S: AsRef<str>>(lines: &[(f64, S)], keys: Keys, value_bytes: usize) -> Result<Self, String> {
        let parse = |(share, line): &(f64, S)| Ok((*share, Template::parse(line.as_ref())?));
        let templates = lines.iter().map(parse).collect::<Result<_, String>>()?;
        Ok(Self { templates, keys, value: vec![b'x'; value_bytes] })
    }

    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.templates.iter().all(|(_, template)| template.speaks(dialect))
    }

    /// One request at a time, without end.
    pub fn writer(&self, dialect: Dialect) -> impl FnMut(&mut Vec<u8>) -> u8 {
        let (recipe, mut keys, mut random) = (self.clone(), self.keys.clone(), fastrand::Rng::with_seed(SEED));
        let whole: f64 = recipe.templates.iter().map(|(share, _)| share).sum();
        move |out| {
            let mut drawn = if recipe.templates.len() == 1 { 0.0 } else { random.f64() * whole };
            let mut chosen = recipe.templates.len() - 1;
            for (i, (share, _)) in recipe.templates.iter().enumerate() {
                if drawn < *share {
                    chosen = i;
                    break;
                }
                drawn -= share;
            }
            let words = recipe.templates[chosen].1.fill(&mut keys, &mut random, &recipe.value);
            encode(out, &words, dialect);
            chosen as u8
        }
    }
}

/// Ready-made requests, one behind the other; sent in a circle.
pub struct Pool {
    bytes: Vec<u8>,
    /// Where each request begins, and behind the last one where it ends.
    starts: Vec<usize>,
    /// Which template each request is of.
    kinds: Vec<u8>,
    pub dialect: Dialect,
}

impl Pool {
    /// As many requests as the keys deserve, but no more than `wanted`, in a multiple of `pipeline`.
    pub fn build(recipe: &Recipe, dialect: Dialect, wanted: u64, pipeline: usize) -> Self {
        let enough = recipe.keys.count().saturating_mul(2).max(POOL_REQUESTS_MIN).min(wanted.max(1));
        let mut write = recipe.writer(dialect);
        let mut pool = Self { bytes: Vec::new(), starts: vec![0], kinds: Vec::new(), dialect };
        while (pool.len() as u64) < enough && pool.bytes.len() < POOL_BYTES_MAX || !pool.len().is_multiple_of(pipeline)
        {
            let kind = write(&mut pool.bytes);
            pool.kinds.push(kind);
            pool.starts.push(pool.bytes.len());
        }
        pool
    }

    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The bytes of the requests `from..to`.
    pub fn slice(&self, requests: Range<usize>) -> &[u8] {
        &self.bytes[self.starts[requests.start]..self.starts[requests.end]]
    }

    pub fn kind(&self, request: usize) -> u8 {
        self.kinds[request]
    }
}

/// Every run sends the same requests.
const SEED: u64 = 20_240_607;
const POOL_REQUESTS_MIN: u64 = 1 << 16;
/// The pool of one kind of work: larger, and the generator would be one of the machine's greatest memory users.
const POOL_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
#[allow(unused)] // A bench without a test runner sees them too.
mod tests {
    use super::*;

    fn text(line: &str, dialect: Dialect) -> String {
        let recipe = Recipe::new(&[(1.0, line)], Keys::sequence(), 3).unwrap();
        let mut out = Vec::new();
        recipe.writer(dialect)(&mut out);
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn places_are_filled_in_and_groups_repeated() {
        assert_eq!(text("SET key:{key} {value}", Dialect::Resp), "*3 $3 SET $16 key:000000000000 $3 xxx ");
        assert_eq!(text("HMGET h [f{n}]*2 z", Dialect::Resp), "*5 $5 HMGET $1 h $2 f0 $2 f1 $1 z ");
        assert_eq!(
            text("MSET [k{key} {value}]*2", Dialect::Resp),
            "*5 $4 MSET $13 k000000000000 $3 xxx $13 k000000000001 $3 xxx "
        );
        assert_eq!(
            text("ZADD z [{key} m{again}]*2", Dialect::Resp),
            "*6 $4 ZADD $1 z $12 000000000000 $13 m000000000000 $12 000000000001 $13 m000000000001 "
        );
        assert!(Template::parse("MGET [a").is_err());
        assert!(Template::parse("  ").is_err());
    }

    #[test]
    fn memcached_hears_its_own_words_and_only_get_and_set() {
        assert_eq!(text("SET k:{key} {value}", Dialect::Memcached), "set k:000000000000 0 0 3 xxx ");
        assert_eq!(text("GET k", Dialect::Memcached), "get k ");
        assert!(!Template::parse("MGET a").unwrap().speaks(Dialect::Memcached));
        assert!(!Template::parse("SET a b EX 1").unwrap().speaks(Dialect::Memcached));
    }

    #[test]
    fn a_mix_has_its_shares_and_a_pool_whole_pipelines() {
        let recipe = Recipe::new(&[(3.0, "GET k:{key}"), (1.0, "SET k:{key} {value}")], Keys::uniform(10), 3).unwrap();
        let pool = Pool::build(&recipe, Dialect::Resp, 40_001, 64);
        assert!(pool.len() >= 40_001 && pool.len().is_multiple_of(64));
        let writes = (0..pool.len()).filter(|i| pool.kind(*i) == 1).count() as f64 / pool.len() as f64;
        assert!((0.24..0.26).contains(&writes), "{writes}");
        assert!(pool.slice(0..1).starts_with(b"*"));
    }
}
