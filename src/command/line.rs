//! A client as one line of CLIENT LIST and CLIENT INFO.
//!
//! The fields up to `resp` are those of 7.0 in its order; newer servers' fields follow, unless `compatibility-level` says
//! 8.2, so that readers of either find theirs. Figures are the connection's own, relaxed: right for the client that asks, a moment old for others.

use super::{Ctx, Registry};
use crate::clients::Client;
use crate::clock::Millis;
use crate::config::choices::CompatibilityLevel;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

/// Who looks at the clients, and when.
pub struct Viewer {
    registry: &'static Registry,
    now: Millis,
    /// The client that asks, and the bytes of its arguments.
    me: Option<(u64, usize)>,
    /// In the order of 8.2, which put a field of its own into the midst.
    like_8_2: bool,
}

impl Viewer {
    pub fn of(ctx: &Ctx<'_, '_>) -> Self {
        let args_bytes = ctx.args.from(0).map(<[u8]>::len).sum();
        let like_8_2 = ctx.config.compatibility_level == CompatibilityLevel::Redis8;
        let me = Some((ctx.session.client.id, args_bytes));
        Self { me, like_8_2, ..Self::server(ctx.registry, ctx.db.now()) }
    }

    /// The server, for its log.
    pub fn server(registry: &'static Registry, now: Millis) -> Self {
        Self { registry, now, me: None, like_8_2: false }
    }

    /// The client's line, without its end.
    pub fn line(&self, client: &Client) -> String {
        let facts = &client.facts;
        let names = facts.names.lock().clone();
        let my_args = self.me.filter(|(id, _)| *id == client.id).map(|(_, args_bytes)| args_bytes);
        let seconds = |since: Millis| self.now.saturating_sub(since).max(0) / 1000;
        let idle = if my_args.is_some() { 0 } else { seconds(facts.last_active_ms.load(Relaxed)) };
        let command = facts.last_command.load(Relaxed).checked_sub(1).and_then(|id| self.registry.rows().get(id));
        let mut line = String::new();
        let _ = write!(line, "id={} addr={} laddr={}", client.id, client.address, client.local_address);
        let _ = write!(line, " fd={} name={}", facts.fd.load(Relaxed), String::from_utf8_lossy(&names.name));
        let _ = write!(line, " age={} idle={idle} flags={}", seconds(client.created_ms), flags(client));
        let [sub, psub, ssub] = [0, 1, 2].map(|kind| facts.subscribed[kind].load(Relaxed));
        let _ = write!(line, " db={} sub={sub} psub={psub} ssub={ssub}", facts.db.load(Relaxed));
        let _ = write!(line, " multi={}", facts.queued.load(Relaxed));
        let watch = format!(" watch={}", facts.watched.load(Relaxed));
        line.push_str(if self.like_8_2 { &watch } else { "" });
        write_memory(&mut line, client, my_args);
        let _ = write!(line, " cmd={}", command.map_or("NULL".to_owned(), |row| row.full_name()));
        let user = String::from_utf8_lossy(&names.user);
        let _ = write!(
            line,
            " user={user} redir={} resp={}",
            redirect(client),
            if facts.resp3.load(Relaxed) { 3 } else { 2 }
        );
        let _ = write!(line, " lib-name={}", String::from_utf8_lossy(&names.lib_name));
        let _ = write!(line, " lib-ver={}", String::from_utf8_lossy(&names.lib_version));
        line.push_str(if self.like_8_2 { "" } else { &watch });
        line.push_str(if facts.redirects.load(Relaxed) { " capa=r" } else { "" });
        let _ = write!(line, " io-thread={}", facts.worker.load(Relaxed));
        let (read, sent) = (facts.net_input_bytes.load(Relaxed), facts.net_output_bytes.load(Relaxed));
        let _ = write!(line, " tot-net-in={read} tot-net-out={sent} tot-cmds={}", facts.commands.load(Relaxed));
        line
    }
}

/// What it holds. Redis keeps the first 16 KiB of replies in a buffer (`rbs`, `obl`) and what is beyond in a list
/// (`oll`, `omem`). Here it is one buffer: an ordinary one is shown as the former, one that had to grow as a list of one.
fn write_memory(line: &mut String, client: &Client, my_args: Option<usize>) {
    let memory = &client.facts.memory;
    let (query, free) = (memory.query.load(Relaxed), memory.query_free.load(Relaxed));
    // The arguments of the command that asks lie in the read buffer, and count there.
    let args = my_args.unwrap_or_else(|| memory.args.load(Relaxed));
    let queue = memory.queue.load(Relaxed);
    let (output, unsent) = (memory.output.load(Relaxed), memory.unsent.load(Relaxed));
    let is_list = output > REPLY_BUFFER_BYTES;
    let (buffer, in_buffer, in_list) = if is_list { (0, 0, output) } else { (output, unsent, 0) };
    // What other threads have for it is behind that.
    let pushes = memory.outbox.load(Relaxed);
    let in_list = in_list + pushes;
    let _ = write!(line, " qbuf={query} qbuf-free={free} argv-mem={args} multi-mem={queue} rbs={buffer} rbp={buffer}");
    let _ = write!(line, " obl={in_buffer} oll={} omem={in_list} tot-mem={}", u8::from(in_list > 0), memory.total());
    let _ = write!(line, " events={}", if unsent + pushes > 0 { "rw" } else { "r" });
}

fn redirect(client: &Client) -> i64 {
    if client.facts.tracks.load(Relaxed) { client.facts.redirect.load(Relaxed) as i64 } else { -1 }
}

/// The letters of CLIENT LIST's `flags`.
pub fn flags(client: &Client) -> String {
    let facts = &client.facts;
    let letters = [
        ('S', facts.is_replica.load(Relaxed)),
        ('M', facts.is_primary.load(Relaxed)),
        ('O', facts.monitor.load(Relaxed)),
        ('P', facts.is_subscribed()),
        ('x', facts.queued.load(Relaxed) >= 0),
        ('b', facts.is_waiting()),
        ('t', facts.tracks.load(Relaxed)),
        ('B', facts.broadcasts.load(Relaxed)),
        ('A', facts.close_asap.load(Relaxed)),
        ('U', client.is_unix),
        ('e', facts.no_evict.load(Relaxed)),
        ('T', facts.no_touch.load(Relaxed)),
        ('I', facts.import_source.load(Relaxed)),
    ];
    let set: String = letters.into_iter().filter(|(_, on)| *on).map(|(letter, _)| letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

/// The largest reply buffer that goes back to its thread for others.
const REPLY_BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_wait_for_a_client_are_in_its_list_of_replies() {
        let registry: &'static Registry = Box::leak(Box::new(Registry::new(crate::commands::FAMILIES)));
        let client = Client::new(1, String::new(), String::new(), false, 0);
        let figures = |client: &Client| {
            let line = Viewer::server(registry, 0).line(client);
            let words =
                line.split(' ').filter(|word| ["obl=", "oll=", "omem=", "events="].iter().any(|n| word.starts_with(n)));
            words.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(figures(&client), "obl=0 oll=0 omem=0 events=r");
        client.facts.memory.show_output(1000, 10);
        assert_eq!(figures(&client), "obl=10 oll=0 omem=0 events=rw");
        client.facts.memory.show_output(1000, 0);
        client.facts.memory.outbox.store(5000, Relaxed);
        assert_eq!(figures(&client), "obl=0 oll=1 omem=5000 events=rw");
    }
}
