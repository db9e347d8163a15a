//! A client as one line of CLIENT LIST and CLIENT INFO.
//!
//! The fields up to `resp` are those of 7.0 in its order; newer servers' fields follow, so that readers of either find
//! theirs. Figures are the connection's own, relaxed: right for the client that asks, a moment old for others.

use crate::clients::Client;
use crate::clock::Millis;
use crate::command::Ctx;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

/// Appends the line, without its end.
pub fn write(ctx: &Ctx<'_, '_>, client: &Client, text: &mut Vec<u8>) {
    let facts = &client.facts;
    let names = facts.names.lock().clone();
    let is_me = client.id == ctx.session.client.id;
    let argv_bytes = if is_me { ctx.args.from(0).map(<[u8]>::len).sum() } else { facts.argv_bytes.load(Relaxed) };
    let seconds = |since: Millis| ctx.db.now().saturating_sub(since).max(0) / 1000;
    let idle = if is_me { 0 } else { seconds(facts.last_active_ms.load(Relaxed)) };
    let (query, free) = (facts.query_bytes.load(Relaxed), facts.query_free_bytes.load(Relaxed));
    let (output, buffer) = (facts.output_bytes.load(Relaxed), facts.output_buffer_bytes.load(Relaxed));
    let queued_bytes = facts.queue_bytes.load(Relaxed);
    let total = client.memory_bytes() + if is_me { argv_bytes } else { 0 };
    let command = facts.last_command.load(Relaxed).checked_sub(1).and_then(|id| ctx.registry.rows().get(id));
    let mut line = String::new();
    let _ = write!(line, "id={} addr={} laddr={}", client.id, client.address, client.local_address);
    let _ = write!(line, " fd={} name={}", facts.fd.load(Relaxed), String::from_utf8_lossy(&names.name));
    let _ = write!(line, " age={} idle={idle} flags={}", seconds(client.created_ms), flags(client));
    let _ = write!(line, " db={} sub=0 psub=0 ssub=0", facts.db.load(Relaxed));
    let _ = write!(line, " multi={} qbuf={query} qbuf-free={free}", facts.queued.load(Relaxed));
    let _ = write!(line, " argv-mem={argv_bytes} multi-mem={queued_bytes} rbs={buffer} rbp={buffer}");
    let _ = write!(line, " obl=0 oll=0 omem={output} tot-mem={total}");
    let _ = write!(line, " events={}", if output > 0 { "rw" } else { "r" });
    let _ = write!(line, " cmd={}", command.map_or("NULL".to_owned(), |row| row.full_name()));
    let user = if names.user.is_empty() { "default".into() } else { String::from_utf8_lossy(&names.user) };
    let _ = write!(line, " user={user} redir=-1 resp={}", if facts.resp3.load(Relaxed) { 3 } else { 2 });
    let _ = write!(line, " lib-name={}", String::from_utf8_lossy(&names.lib_name));
    let _ = write!(line, " lib-ver={}", String::from_utf8_lossy(&names.lib_version));
    let _ = write!(line, " watch={} io-thread={}", facts.watched.load(Relaxed), facts.worker.load(Relaxed));
    let (read, sent) = (facts.net_input_bytes.load(Relaxed), facts.net_output_bytes.load(Relaxed));
    let _ = write!(line, " tot-net-in={read} tot-net-out={sent} tot-cmds={}", facts.commands.load(Relaxed));
    text.extend_from_slice(line.as_bytes());
}

fn flags(client: &Client) -> String {
    let facts = &client.facts;
    let letters = [
        ('O', facts.monitor.load(Relaxed)),
        ('x', facts.queued.load(Relaxed) >= 0),
        ('b', facts.is_waiting()),
        ('A', facts.close_asap.load(Relaxed)),
        ('U', client.is_unix),
        ('e', facts.no_evict.load(Relaxed)),
        ('T', facts.no_touch.load(Relaxed)),
    ];
    let set: String = letters.into_iter().filter(|(_, on)| *on).map(|(letter, _)| letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}
