//! SORT and SORT_RO: the elements of a list, set or sorted set, by themselves or by what other keys say of them.
//!
//! A `*` in BY or GET stands for the element and makes a key's name, behind `->` a field's. Such keys cannot be known
//! before, therefore a SORT with a pattern owns the world. What is stored is propagated as a DEL and RPUSHes.
//! Cost: O(N + M log M) for N elements sorted; texts lie in one block, an element takes 48 bytes beside its own.

use crate::command::error::{NOT_INT, SYNTAX, WRONG_TYPE};
use crate::command::*;
use crate::keyspace::{Db, Expiry};
use crate::num;
use crate::resp::ArgvView;
use crate::types::hash::Hash;
use crate::types::list::{End, List, NodeMax};
use crate::types::set::Set;
use crate::types::zset::Zset;
use crate::types::{Kind, Text, Value};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::Range;

pub const COMMANDS: &[Command] = &[SORT, SORT_RO];

const SORT: Command = Command {
    name: "SORT",
    args: "key [BY by-pattern#1=pattern] [LIMIT offset count] [GET get-pattern#1=pattern [GET get-pattern ...]] [ASC | DESC] [sorting: ALPHA] [STORE destination#2]",
    arity: -2,
    since: "1.0.0",
    group: Group::Generic,
    flags: WRITE | DENYOOM | MOVABLE_KEYS | DANGEROUS | PATTERNS,
    keys: Keys::read(1)
        .and(Keys::unknown(keys::RO | keys::ACCESS))
        .noted(PATTERN_NOTES)
        .and(Keys::unknown(keys::OW | keys::UPDATE))
        .noted(STORE_NOTES)
        .found_by(key_and_store),
    doc: "Sorts a list, set or sorted set, perhaps by what other keys hold, and answers or stores elements or what other keys hold. O(N log N).",
    examples: "> RPUSH l 3 1 2\n(integer) 3\n> SORT l\n1) \"1\"\n2) \"2\"\n3) \"3\"\n> SORT l DESC LIMIT 0 1\n1) \"3\"\n> MSET w1 c w2 b w3 a\nOK\n> SORT l BY w* ALPHA GET # GET w*\n1) \"3\"\n2) \"a\"\n3) \"2\"\n4) \"b\"\n5) \"1\"\n6) \"c\"\n> SORT l STORE to\n(integer) 3",
    run: |ctx| sort(ctx, true),
};

const SORT_RO: Command = Command {
    name: "SORT_RO",
    args: "key [BY by-pattern#1=pattern] [LIMIT offset count] [GET get-pattern#1=pattern [GET get-pattern ...]] [ASC | DESC] [sorting: ALPHA]",
    arity: -2,
    since: "7.0.0",
    group: Group::Generic,
    flags: READONLY | MOVABLE_KEYS | DANGEROUS | PATTERNS,
    keys: Keys::read(1).and(Keys::unknown(keys::RO | keys::ACCESS)).noted(PATTERN_NOTES).found_by(only_key),
    doc: "SORT without STORE. O(N log N).",
    examples: "> SADD s b a c\n(integer) 3\n> SORT_RO s ALPHA\n1) \"a\"\n2) \"b\"\n3) \"c\"\n> SORT_RO s STORE to\n(error) ERR syntax error",
    run: |ctx| sort(ctx, false),
};

fn only_key(_: ArgvView<'_>, visit: &mut dyn FnMut(usize, u16)) {
    visit(1, keys::RO | keys::ACCESS);
}

/// The options are skipped as [`Request::read`] reads them; the last STORE counts.
fn key_and_store(argv: ArgvView<'_>, visit: &mut dyn FnMut(usize, u16)) {
    visit(1, keys::RO | keys::ACCESS);
    let (mut i, mut store) = (2, None);
    while i < argv.len() {
        match &*args::Word::of(argv.get(i)) {
            b"LIMIT" => i += 2,
            b"BY" | b"GET" => i += 1,
            b"STORE" => {
                i += 1;
                store = Some(i).filter(|&i| i < argv.len());
            }
            _ => {}
        }
        i += 1;
    }
    if let Some(store) = store {
        visit(store, keys::OW | keys::UPDATE);
    }
}

fn sort(ctx: &mut Ctx<'_, '_>, may_store: bool) -> Outcome {
    let (may_read_all, in_cluster) = (permission::may_read_all(ctx), ctx.config.cluster_enabled);
    let mut request = Request::read(&mut ctx.args, may_store, may_read_all, in_cluster)?;
    let key = ctx.args.key(1);
    let kind = ctx.db.read_any(key).map(|entry| entry.kind());
    let for_script = ctx.session.origin == session::Origin::Script;
    if kind == Some(Kind::Set) && !request.sorts && (request.store.is_some() || for_script) {
        // A set has no order of its own, and what is stored must not be left to chance.
        (request.sorts, request.alpha, request.by) = (true, true, None);
    }
    let (mut elements, shown) = Elements::load(ctx.db, key, kind, &request)?;
    if request.sorts {
        elements.weigh(ctx.db, &request)?;
        elements.sort(&request);
    }
    match request.store {
        None => answer(ctx, &request, &elements, shown),
        Some(to) => store(ctx, &request, &elements, shown, to),
    }
}

/// What SORT was asked for.
struct Request<'a> {
    /// False for BY a name without `*`: elements come in the order they are stored in.
    sorts: bool,
    desc: bool,
    alpha: bool,
    by: Option<Pattern<'a>>,
    offset: i64,
    /// Negative for all.
    count: i64,
    get: SmallVec<[Pattern<'a>; 4]>,
    store: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// `may_read_all`: the user may read every key, which BY and GET may lead to. `in_cluster`: they would lead to other
    /// slots.
    fn read(args: &mut Args<'a>, may_store: bool, may_read_all: bool, in_cluster: bool) -> Result<Self, Error> {
        let (get, store) = (SmallVec::new(), None);
        let mut request = Self { sorts: true, desc: false, alpha: false, by: None, offset: 0, count: -1, get, store };
        args.skip_to(2);
        while let Some(word) = args.word() {
            match &*word {
                b"ASC" => request.desc = false,
                b"DESC" => request.desc = true,
                b"ALPHA" => request.alpha = true,
                b"LIMIT" if args.left() >= 2 => {
                    request.offset = num::parse_i64(args.required()?).ok_or(NOT_INT)?;
                    request.count = num::parse_i64(args.required()?).ok_or(NOT_INT)?;
                }
                b"STORE" if may_store => request.store = Some(args.required()?),
                b"BY" => {
                    let pattern = args.required()?;
                    let is_pattern = pattern.contains(&b'*');
                    if is_pattern && in_cluster {
                        return Err(BY_IN_CLUSTER);
                    }
                    if is_pattern && !may_read_all {
                        return Err(BY_DENIED);
                    }
                    request.sorts &= is_pattern;
                    request.by = Some(Pattern::of(pattern));
                }
                b"GET" => {
                    let pattern = args.required()?;
                    if in_cluster {
                        return Err(GET_IN_CLUSTER);
                    }
                    if !may_read_all {
                        return Err(GET_DENIED);
                    }
                    request.get.push(Pattern::of(pattern));
                }
                _ => return Err(SYNTAX),
            }
        }
        Ok(request)
    }

    /// LIMIT's part of the elements.
    fn window(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.offset.max(0)).unwrap_or(len).min(len);
        let count = usize::try_from(self.count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }
}

/// What an element leads to.
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// A name without `*`: to nothing.
    Nothing,
    /// A key, its name beginning and ending so, or a field in it.
    Key { before: &'a [u8], behind: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    fn of(text: &'a [u8]) -> Self {
        if text == b"#" {
            return Self::Element;
        }
        let Some(star) = memchr::memchr(b'*', text) else { return Self::Nothing };
        let (before, behind) = (&text[..star], &text[star + 1..]);
        match memchr::memmem::find(behind, b"->") {
            Some(arrow) if arrow + 2 < behind.len() => {
                Self::Key { before, behind: &behind[..arrow], field: Some(&behind[arrow + 2..]) }
            }
            _ => Self::Key { before, behind, field: None },
        }
    }

    fn value<'x>(&self, db: &'x mut Db<'_>, element: &'x [u8]) -> Option<Text<'x>> {
        match self {
            Self::Element => Some(Text::Bytes(element)),
            Self::Nothing => None,
            Self::Key { before, behind, field } => {
                let key: SmallVec<[u8; 64]> = [before, element, behind].into_iter().flatten().copied().collect();
                match field {
                    None => db.string(&key).ok()?,
                    Some(field) => db.read::<Hash>(&key).ok()??.get(field),
                }
            }
        }
    }
}

/// What is sorted: texts one behind the other, and the elements in their order.
#[derive(Default)]
struct Elements {
    texts: Vec<u8>,
    elements: Vec<Element>,
}

struct Element {
    text: Range<usize>,
    weight: Weight,
}

/// What an element is sorted by.
enum Weight {
    Number(f64),
    /// Its own text.
    Itself,
    /// Another key's text; an absent one comes before all others.
    Text(Option<Range<usize>>),
}

impl Elements {
    /// The elements of a key, and which of them are shown once they are in order. Of a list or sorted set that is not
    /// sorted, only those shown are loaded.
    fn load(
        db: &mut Db<'_>,
        key: &[u8],
        kind: Option<Kind>,
        request: &Request<'_>,
    ) -> Result<(Self, Range<usize>), Error> {
        let mut loaded = Self::default();
        match kind {
            None => {}
            Some(Kind::List) => {
                if let Some(list) = db.look::<List>(key)? {
                    let window = if request.sorts { 0..list.len() } else { request.window(list.len()) };
                    match !request.sorts && request.desc {
                        true => loaded
                            .extend(list.iter_back_from(list.len() - 1 - window.start.min(list.len() - 1)), &window),
                        false => loaded.extend(list.iter_from(window.start), &window),
                    }
                }
            }
            Some(Kind::Set) => {
                if let Some(set) = db.look::<Set>(key)? {
                    set.for_each(|member| loaded.push(member));
                }
                let shown = request.window(loaded.elements.len());
                return Ok((loaded, shown));
            }
            Some(Kind::Zset) => {
                if let Some(zset) = db.look::<Zset>(key)? {
                    let (len, reverse) = (zset.len(), !request.sorts && request.desc);
                    let window = if request.sorts { 0..len } else { request.window(len) };
                    let ranks = if reverse { len - window.end..len - window.start } else { window };
                    zset.walk(ranks, reverse).for_each(|(member, _)| loaded.push(member));
                }
            }
            Some(_) => return Err(WRONG_TYPE),
        }
        let len = loaded.elements.len();
        Ok((loaded, if request.sorts { request.window(len) } else { 0..len }))
    }

    fn extend<'t>(&mut self, texts: impl Iterator<Item = Text<'t>>, window: &Range<usize>) {
        texts.take(window.len()).for_each(|text| self.push(text));
    }

    fn push(&mut self, text: Text<'_>) {
        let text = append(&mut self.texts, text);
        self.elements.push(Element { text, weight: Weight::Itself });
    }

    /// Finds what each element is sorted by.
    fn weigh(&mut self, db: &mut Db<'_>, request: &Request<'_>) -> Result<(), Error> {
        let mut digits = itoa::Buffer::new();
        for i in 0..self.elements.len() {
            let text = self.elements[i].text.clone();
            let weight = match (&request.by, request.alpha) {
                (None, true) => Weight::Itself,
                (None, false) => Weight::Number(number(&self.texts[text])?),
                (Some(by), false) => match by.value(db, &self.texts[text]) {
                    Some(value) => Weight::Number(number(value.bytes(&mut digits))?),
                    None => Weight::Number(0.0),
                },
                (Some(by), true) => {
                    let value = by.value(db, &self.texts[text]).map(Text::to_vec);
                    Weight::Text(value.map(|value| append(&mut self.texts, Text::Bytes(&value))))
                }
            };
            self.elements[i].weight = weight;
        }
        Ok(())
    }

    fn sort(&mut self, request: &Request<'_>) {
        let texts = &self.texts;
        let text = |range: &Range<usize>| &texts[range.clone()];
        self.elements.sort_by(|a, b| {
            let order = match (&a.weight, &b.weight) {
                (Weight::Number(x), Weight::Number(y)) => {
                    x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(|| text(&a.text).cmp(text(&b.text)))
                }
                (Weight::Text(x), Weight::Text(y)) => x.as_ref().map(text).cmp(&y.as_ref().map(text)),
                _ => text(&a.text).cmp(text(&b.text)),
            };
            if request.desc { order.reverse() } else { order }
        });
    }

    fn texts(&self, shown: Range<usize>) -> impl ExactSizeIterator<Item = &[u8]> {
        self.elements[shown].iter().map(|element| &self.texts[element.text.clone()])
    }
}

fn append(texts: &mut Vec<u8>, text: Text<'_>) -> Range<usize> {
    let start = texts.len();
    texts.extend_from_slice(text.bytes(&mut itoa::Buffer::new()));
    start..texts.len()
}

/// A text as a number, read up to a zero byte; none at all is zero, what is too large or too small for a double becomes
/// infinite or zero.
fn number(text: &[u8]) -> Result<f64, Error> {
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    if text.is_empty() {
        return Ok(0.0);
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    number.filter(|number| !number.is_nan()).ok_or(NOT_A_NUMBER)
}

fn answer(ctx: &mut Ctx<'_, '_>, request: &Request<'_>, elements: &Elements, shown: Range<usize>) -> Outcome {
    let Ctx { db, out, .. } = ctx;
    out.array(shown.len() * request.get.len().max(1));
    for element in elements.texts(shown) {
        if request.get.is_empty() {
            out.bulk(element)?;
        }
        for pattern in &request.get {
            match pattern.value(db, element) {
                Some(value) => out.put(value),
                None => out.0.null(),
            }
        }
    }
    Ok(())
}

fn store(ctx: &mut Ctx<'_, '_>, request: &Request<'_>, elements: &Elements, shown: Range<usize>, to: &[u8]) -> Outcome {
    let (db, max) = (&mut *ctx.db, NodeMax::of_directive(ctx.config.list_max_listpack_size.into()));
    let mut list = List::default();
    for element in elements.texts(shown) {
        if request.get.is_empty() {
            list.push(End::Right, element, max);
        }
        for pattern in &request.get {
            let value = pattern.value(db, element).unwrap_or(Text::Bytes(b""));
            list.push(End::Right, value.bytes(&mut itoa::Buffer::new()), max);
        }
    }
    let len = list.len();
    if db.kind(to).is_some() {
        if len == 0 {
            db.remove(to);
        }
        ctx.propagate(&[b"DEL", to]);
    }
    if len > 0 {
        let values: Vec<Vec<u8>> = list.iter_from(0).map(Text::to_vec).collect();
        ctx.db.put_value(to, Value::List(Box::new(list)), Expiry::Clear, b'l', "sortstore");
        ctx.db.changes.dirty += len as u64 - 1;
        for some in values.chunks(ELEMENTS_PER_EFFECT) {
            let said: Vec<&[u8]> = [&b"RPUSH"[..], to].into_iter().chain(some.iter().map(|v| &v[..])).collect();
            ctx.propagate(&said);
        }
    }
    ctx.out.count(len)
}

/// Elements in one RPUSH of the log.
const ELEMENTS_PER_EFFECT: usize = 512;
const NOT_A_NUMBER: Error = Error::new("ERR One or more scores can't be converted into double");
/// As real servers say it of both commands.
const PATTERN_NOTES: &str = "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort";
const STORE_NOTES: &str = "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array";

const BY_IN_CLUSTER: Error = Error::new("ERR BY option of SORT denied in Cluster mode.");
const GET_IN_CLUSTER: Error = Error::new("ERR GET option of SORT denied in Cluster mode.");
const BY_DENIED: Error = Error::new("ERR BY option of SORT denied due to insufficient ACL permissions.");
const GET_DENIED: Error = Error::new("ERR GET option of SORT denied due to insufficient ACL permissions.");
