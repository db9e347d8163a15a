//! Start and stop: from a configuration to a serving process and back.

use crate::clients::Clients;
use crate::clock;
use crate::command::Registry;
use crate::commands::FAMILIES;
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::net::{listen, worker};
use crate::node::{Life, Node, Reaper};
use crate::observe::WorkerStats;
use crate::persist::Journal;
use arc_swap::ArcSwap;
use std::io;
use std::sync::Arc;

/// Serves until told to stop; returns the exit code.
pub fn run(config: Config) -> io::Result<i32> {
    let threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n as usize,
    };
    let keyspace =
        Keyspace::new(config.databases as usize, config.stripes as usize, threads + SERVICE_SLOTS, clock::now_ms());
    let node: &'static Node = Box::leak(Box::new(Node {
        config: ArcSwap::from_pointee(config.clone()),
        keyspace,
        journal: Journal::default(),
        clients: Clients::default(),
        workers: (0..threads).map(|_| Arc::new(WorkerStats::default())).collect(),
        errors: Default::default(),
        slowlog: Default::default(),
        reaper: Reaper::start()?,
        life: Life::new(),
    }));
    let registry: &'static Registry = Box::leak(Box::new(Registry::new(FAMILIES)));
    let workers = (0..threads).map(|slot| worker::start(node, registry, slot)).collect::<io::Result<Vec<_>>>()?;
    let workers = Arc::new(workers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listeners = listen::tcp(&config)?;
        for listener in listeners {
            tokio::spawn(listen::accept_tcp(listener, node, workers.clone()));
        }
        if let Some(listener) = listen::unix(&config)? {
            tokio::spawn(listen::accept_unix(listener, config.unixsocket.clone(), node, workers.clone()));
        }
        tracing::info!("Ready to accept connections tcp");
        println!("Ready to accept connections tcp");
        node.life.shutdown_asked.notified().await;
        Ok(0)
    })
}

const SERVICE_SLOTS: usize = 4;
