//! CLIENT KILL: closes other connections, or its own after the reply.
//!
//! A killed client is off the list at once; its worker closes the socket when it next looks at its mail.

use super::filter::Filter;
use crate::clients::Client;
use crate::command::session::Then;
use crate::command::*;

pub const KILL: Command = Command {
    name: "CLIENT KILL",
    args: "<filter: old-format!2.8.12=ip:port | <new-format: [ID@2.8.12 client-id] | [client-type@2.8.12: TYPE <NORMAL | MASTER@3.2.0 | SLAVE | REPLICA@5.0.0 | PUBSUB>] | [USER username] | [ADDR addr=ip:port] | [LADDR@6.2.0 laddr=ip:port] | [SKIPME <YES | NO>] | [MAXAGE@7.4.0 maxage] ...>>",
    arity: -3,
    since: "2.4.0",
    group: Group::Connection,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Closes the connections that match all filters; answers how many. Valkey's filters are taken too: several ids, FLAGS, NAME, IDLE, LIB-NAME, LIB-VER, DB, IP, CAPA, and NOT- in front of most. O(N) in the number of connections.",
    examples: "> CLIENT KILL 127.0.0.1:1\n(error) ERR No such client\n> CLIENT KILL ID 999999\n(integer) 0\n> CLIENT KILL TYPE nobody\n(error) ERR Unknown client type 'nobody'\n> CLIENT KILL NOT-DB 0 LIB-NAME none SKIPME no\n(integer) 0\n> CLIENT KILL FLAGS zz\n(error) ERR Unknown flags found in the provided filter: zz",
    run: kill,
};

fn kill(ctx: &mut Ctx<'_, '_>) -> Outcome {
    // The old form: one address, and one's own is allowed.
    if ctx.args.len() == 3 {
        let filter = Filter::address(ctx.args.get(2));
        return if kill_matching(ctx, &filter) > 0 { ctx.out.ok() } else { Err(NO_SUCH_CLIENT) };
    }
    let filter = Filter::for_kill(&mut ctx.args, ctx.node)?;
    let killed = kill_matching(ctx, &filter);
    ctx.out.count(killed)
}

fn kill_matching(ctx: &mut Ctx<'_, '_>, filter: &Filter<'_>) -> usize {
    let (me, now) = (ctx.session.client.id, ctx.db.now());
    let mut killed = 0;
    for client in ctx.node.clients.list() {
        if !filter.matches(&client, me, now) {
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

/// Whether the client is this user: `default` until it says otherwise.
pub fn is_user(client: &Client, user: &[u8]) -> bool {
    client.facts.names.lock().user == user
}

const NO_SUCH_CLIENT: Error = Error::new("ERR No such client");
