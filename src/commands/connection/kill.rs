//! CLIENT KILL: closes other connections, or its own after the reply.
//!
//! A killed client is off the list at once; its worker closes the socket when it next looks at its mail.

use super::client::{ClientType, client_type};
use crate::clients::Client;
use crate::command::session::Then;
use crate::command::*;
use crate::node::Node;

pub const KILL: Command = Command {
    name: "CLIENT KILL",
    args: "<filter: old-format!2.8.12=ip:port | <new-format: [ID@2.8.12 client-id] | [client-type@2.8.12: TYPE <NORMAL | MASTER@3.2.0 | SLAVE | REPLICA@5.0.0 | PUBSUB>] | [USER username] | [ADDR addr=ip:port] | [LADDR@6.2.0 laddr=ip:port] | [SKIPME <YES | NO>] | [MAXAGE@7.4.0 maxage] ...>>",
    arity: -3,
    since: "2.4.0",
    group: Group::Connection,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Closes the connections that match all filters; answers how many. O(N) in the number of connections.",
    examples: "> CLIENT KILL 127.0.0.1:1\n(error) ERR No such client\n> CLIENT KILL ID 999999\n(integer) 0\n> CLIENT KILL TYPE nobody\n(error) ERR Unknown client type 'nobody'",
    run: kill,
};

/// Whom to close: whoever matches everything that is given.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    client_type: Option<ClientType>,
    user: Option<&'a [u8]>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    age_seconds_min: Option<i64>,
    skip_me: bool,
}

fn kill(ctx: &mut Ctx<'_, '_>) -> Outcome {
    // The old form: one address, and one's own is allowed.
    if ctx.args.len() == 3 {
        let filter = Filter { address: Some(ctx.args.get(2)), ..Filter::default() };
        return if kill_matching(ctx, &filter) > 0 { ctx.out.ok() } else { Err(NO_SUCH_CLIENT) };
    }
    let filter = parse(&mut ctx.args, ctx.node)?;
    let killed = kill_matching(ctx, &filter);
    ctx.out.count(killed)
}

fn parse<'a>(args: &mut Args<'a>, node: &Node) -> Result<Filter<'a>, Error> {
    let mut filter = Filter { skip_me: true, ..Filter::default() };
    args.skip_to(2);
    while let Some(option) = args.word() {
        let value = args.required()?;
        match &*option {
            b"ID" => filter.id = Some(at_least_one(value).ok_or(BAD_ID)?.unsigned_abs()),
            b"TYPE" => filter.client_type = Some(client_type(value)?),
            b"USER" if node.acl.get(value).is_some() => filter.user = Some(value),
            b"USER" => return Err(Error::owned([b"ERR No such user '", value, b"'"].concat())),
            b"ADDR" => filter.address = Some(value),
            b"LADDR" => filter.local_address = Some(value),
            b"MAXAGE" => {
                let age = crate::num::parse_i64(value).ok_or(AGE_NOT_INT)?;
                filter.age_seconds_min = Some(if age > 0 { age } else { return Err(BAD_AGE) });
            }
            b"SKIPME" => match &*args::Word::of(value) {
                b"YES" => filter.skip_me = true,
                b"NO" => filter.skip_me = false,
                _ => return Err(error::SYNTAX),
            },
            _ => return Err(error::SYNTAX),
        }
    }
    Ok(filter)
}

fn at_least_one(value: &[u8]) -> Option<i64> {
    crate::num::parse_i64(value).filter(|&n| n > 0)
}

fn kill_matching(ctx: &mut Ctx<'_, '_>, filter: &Filter<'_>) -> usize {
    let (me, now) = (ctx.session.client.id, ctx.db.now());
    let mut killed = 0;
    for client in ctx.node.clients.list() {
        if !filter.matches(&client, now) || (filter.skip_me && client.id == me) {
            continue;
        }
        killed += 1;
        close(ctx, &client);
    }
    killed
}

/// Closes a connection; its own after the reply.
pub fn close(ctx: &mut Ctx<'_, '_>, client: &Client) {
    if client.id == ctx.session.client.id {
        ctx.session.then = Then::Close;
    } else {
        client.close();
        ctx.node.clients.remove(client);
    }
}

impl Filter<'_> {
    fn matches(&self, client: &Client, now: i64) -> bool {
        let age_seconds = now.saturating_sub(client.created_ms) / 1000;
        self.id.is_none_or(|id| client.id == id)
            && self.client_type.is_none_or(|t| t == ClientType::of(client))
            && self.user.is_none_or(|user| is_user(client, user))
            && self.address.is_none_or(|a| client.address.as_bytes() == a)
            && self.local_address.is_none_or(|a| client.local_address.as_bytes() == a)
            && self.age_seconds_min.is_none_or(|age| age_seconds >= age)
    }
}

/// Whether the client is this user: `default` until it says otherwise.
pub fn is_user(client: &Client, user: &[u8]) -> bool {
    client.facts.names.lock().user == user
}

const NO_SUCH_CLIENT: Error = Error::new("ERR No such client");
const BAD_ID: Error = Error::new("ERR client-id should be greater than 0");
const AGE_NOT_INT: Error = Error::new("ERR maxage is not an integer or out of range");
const BAD_AGE: Error = Error::new("ERR maxage should be greater than 0");
