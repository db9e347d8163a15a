//! Start and stop: from a command line to a serving process, and back to an exit code.
//!
//! Order at start: configuration, background, log, services, data, listeners, the ready line. Order at the end: walks
//! in progress leave, the gate is closed for good, the log is written and synced, the final snapshot saved, the pid
//! file removed. SHUTDOWN and signals only ask; [`shut_down`] is the one place that ends the process in order, and no
//! command runs behind what it saved.

use crate::acl::{self, Catalog, Declared, Grammar, Users};
use crate::clients::{Clients, Pause};
use crate::clock;
use crate::cluster::Cluster;
use crate::command::line::Viewer;
use crate::command::registry::RenameError;
use crate::command::{Command, Registry, error, permission, waiting};
use crate::commands::server::info;
use crate::commands::{FAMILIES, acl as acl_commands, replication};
use crate::config::cli::{self, Startup};
use crate::config::file::{self, Host, LoadError};
use crate::config::param::SENSITIVE;
use crate::config::{Config, PARAMS, choices};
use crate::cron::{self, ServiceThreads};
use crate::defrag::Defrag;
use crate::keyspace::{AccessMode, Db, Keyspace, LONG_THREADS};
use crate::link;
use crate::listeners::{self, Doors};
use crate::loading::load_data;
use crate::log::{self, cause, notice, warning};
use crate::migrations::Migrations;
use crate::migrator;
use crate::net::{admin, listen, worker};
use crate::node::{Life, Loads, Node, Reaper};
use crate::observe::Observatory;
use crate::persist::batcher::{self, Pace};
use crate::persist::progress::Loading;
use crate::persist::walks::Job;
use crate::persist::{Aof, Journal, Rdb, Storage, Walks, rewrite, save};
use crate::process::logfile::Output;
use crate::process::supervisor::{self, Supervisor};
use crate::process::{self, OomScore, Title, crash};
use crate::pubsub::PubSub;
use crate::replication::{Primary, Replica, Replication};
use crate::script::Scripts;
use crate::tls::Tls;
use arc_swap::ArcSwap;
use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Reads the configuration that a command line asks for, the commands as it names them, and its users. The error's text
/// is for stderr.
pub fn configure(startup: &Startup) -> Result<(Config, Registry, UserLines), LoadError> {
    let mut config = Config::default();
    let registry = Registry::new(FAMILIES);
    let mut world = World { catalog: permission::catalog(&registry), registry, users: UserLines::new() };
    let file = match &startup.file {
        Some(path) => file::read(&String::from_utf8_lossy(path), &mut world)?,
        None => Vec::new(),
    };
    let mut stdin = Vec::new();
    if startup.stdin {
        let read = io::stdin().read_to_end(&mut stdin);
        read.map_err(|e| LoadError::Whole { reason: format!("Can't read the configuration from stdin: {e}") })?;
    }
    file::load(&mut config, &startup.text(&file, &stdin), &mut world)?;
    Ok((config, world.registry, world.users))
}

/// What the configuration may ask of the system.
struct World {
    /// The commands under the names that the configuration gives them.
    registry: Registry,
    catalog: Catalog,
    users: UserLines,
}

impl Host for World {
    fn include(&mut self, path: &str) -> Result<Vec<Vec<u8>>, String> {
        let read = |p: &str| std::fs::read(p).map_err(|e| cause(&e));
        if !path.contains(['*', '?', '[']) {
            return Ok(vec![read(path)?]);
        }
        let (dir, pattern) = path.rsplit_once('/').unwrap_or((".", path));
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .map_err(|e| cause(&e))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| crate::glob::matches(pattern.as_bytes(), name.as_bytes(), false))
            .collect();
        names.sort();
        names.iter().map(|name| read(&format!("{dir}/{name}"))).collect()
    }

    fn enter(&mut self, dir: &str) -> Result<(), String> {
        std::env::set_current_dir(dir).map_err(|e| cause(&e))
    }

    fn try_log(&mut self, path: &str) -> Result<(), String> {
        OpenOptions::new().append(true).create(true).open(path).map(drop).map_err(|e| cause(&e))
    }

    fn rename_command(&mut self, from: &[u8], to: &[u8]) -> Result<(), String> {
        self.registry.rename(from, to).map_err(|error| match error {
            RenameError::NoSuchCommand => file::NO_SUCH_COMMAND.to_owned(),
            RenameError::Exists => file::COMMAND_EXISTS.to_owned(),
        })
    }

    /// Looks whether the words are rules. What they mean depends on lines that may follow.
    fn user(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let Some((name, rules)) = words.split_first() else { return Err("a user needs a name".to_owned()) };
        let shown = String::from_utf8_lossy(name);
        if !acl::is_name(name) {
            return Err("Spaces not allowed in ACL usernames".to_owned());
        }
        if self.users.iter().any(|(known, _)| known == name) {
            return Err(format!("Error in user declaration '{shown}': {DUPLICATE_USER}"));
        }
        let grammar = Grammar { catalog: &self.catalog, all_channels: false };
        grammar.declare(rules).map_err(|(word, fault)| {
            format!("Error in user declaration '{}' of '{shown}': {fault}", String::from_utf8_lossy(&word))
        })?;
        self.users.push((name.clone(), rules.to_vec()));
        Ok(())
    }
}

/// The users that a configuration declares: names and rules.
pub type UserLines = Vec<(Vec<u8>, Vec<Vec<u8>>)>;

/// Gives the server the users of its configuration, or of its ACL file. What is wrong with them goes to the log.
fn load_users(node: &Node, config: &Config, lines: UserLines) -> io::Result<()> {
    let fail = |text: String| {
        warning!("{text}");
        Err(io::Error::other("the users cannot be loaded"))
    };
    if !config.aclfile.is_empty() {
        if !lines.is_empty() {
            return fail(FILE_AND_LINES.to_owned());
        }
        return match acl_commands::read_file(node, config, &config.aclfile) {
            Ok(declared) => {
                acl_commands::put_in_place(node, config, declared);
                Ok(())
            }
            Err(text) => {
                fail(format!("Aborting Redis startup because of ACL errors: {}", String::from_utf8_lossy(&text)))
            }
        };
    }
    let grammar = node.acl.grammar(config.acl_pubsub_default == choices::AclPubsubDefault::Allchannels);
    let mut declared = Declared::new();
    for (name, words) in lines {
        let shown = String::from_utf8_lossy(&name).into_owned();
        let rules = match grammar.declare(&words) {
            Ok(rules) => rules,
            Err((word, fault)) => {
                let word = String::from_utf8_lossy(&word).into_owned();
                return fail(format!("Error loading ACL rule '{word}' for the user named '{shown}': {fault}"));
            }
        };
        if !rules.enabled {
            notice!(
                "The user '{shown}' is disabled (there is no 'on' modifier in the user description). Make sure this is not a configuration error."
            );
        }
        declared.insert(name.into(), rules);
    }
    acl_commands::put_in_place(node, config, declared);
    Ok(())
}

/// Serves until told to stop; returns the exit code. Why it does not start goes to the log, and is the error's text if
/// the log is a file.
pub fn run(startup: &Startup, config: Config, registry: Registry, users: UserLines) -> io::Result<i32> {
    let log_is_file = !config.logfile.is_empty();
    start(startup, config, registry, users).or_else(|e| {
        if log::running().is_none() {
            return Err(e);
        }
        warning!("{COULD_NOT_START}: {e}");
        if log_is_file { Err(e) } else { Ok(1) }
    })
}

fn start(startup: &Startup, mut config: Config, registry: Registry, users: UserLines) -> io::Result<i32> {
    let supervised = supervisor::find(config.supervised) != Supervisor::None;
    let background = config.daemonize && !supervised;
    if background {
        process::daemonize()?;
    }
    let title = if config.set_proc_title { Title::take() } else { Title::default() };
    clock::init();
    start_log(&config)?;
    notice!("oO0OoO0OoO0Oo memkv is starting oO0OoO0OoO0Oo");
    notice!("{}, pid={}, just started", cli::version_line(), std::process::id());
    if supervised && config.daemonize {
        notice!("daemonize has no effect under {}", supervisor::present().name());
    }
    supervisor::greet(config.supervised);
    match &startup.file {
        Some(path) => notice!("Configuration loaded from {}", String::from_utf8_lossy(path)),
        None if startup.options.is_none() => {
            warning!(
                "Warning: no config file specified, using the default config. In order to specify a config file use memkv-server /path/to/redis.conf"
            );
        }
        None => notice!("Configuration loaded"),
    }
    let idle: Vec<&str> = config.without_effect().map(|param| param.name).collect();
    if !idle.is_empty() {
        warning!("Directives that have no effect in this server: {}", idle.join(", "));
    }
    let threads = process::worker_threads(&config);
    config.maxclients = process::adjust_open_files(config.maxclients, threads).map_err(io::Error::other)?;
    process::write_pid_file(&config, background);
    show_logo(&config);
    log::set_role(log::Role::Primary);
    let services = ServiceThreads::after(threads);
    let registry: &'static Registry = Box::leak(Box::new(registry));
    if let Ok(dir) = std::env::current_dir() {
        config.dir = dir.to_string_lossy().into_owned();
    }
    let node = build_node(config.clone(), registry, threads, Storage::default(), title)?;
    if let Some(path) = &startup.file {
        let _ = node.life.config_file.set(PathBuf::from(OsStr::from_bytes(path)));
    }
    node.show_title(&config);
    load_users(node, &config, users)?;
    if let Err(cause) = node.tls.configure(&config) {
        warning!("{cause}");
        warning!("Failed to configure TLS. Check logs for more info.");
        return Ok(1);
    }
    if config.cluster_enabled
        && let Err(cause) = node.cluster.open(&config)
    {
        warning!("{cause}");
        return Ok(1);
    }
    if let Err(e) = node.oom_score.apply(&config, config.replicaof.is_some()) {
        warning!("Unable to apply oom-score-adj: {e}");
    }
    notice!("Server initialized");
    crate::memory::mark_startup();
    report_crashes(node, registry);
    serve(node, registry, &config, threads, services)
}

/// Has crash reports tell what this server knows.
fn report_crashes(node: &'static Node, registry: &'static Registry) {
    static SERVER: OnceLock<(&'static Node, &'static Registry)> = OnceLock::new();
    let _ = SERVER.set((node, registry));
    crash::describe_with(|text| {
        let Some((node, registry)) = SERVER.get() else { return };
        describe(node, registry, text);
    });
}

/// Who was served, the configuration and INFO, without anything that clients sent.
fn describe(node: &Node, registry: &'static Registry, text: &mut String) {
    let (config, now) = (node.config.load(), clock::now_ms());
    let viewer = Viewer::server(registry, now);
    text.push_str("\n------ CLIENTS THAT WERE SERVED ------\n");
    for (thread, client) in node.observatory.served() {
        let line = node.clients.get(client).map_or_else(|| format!("id={client} (gone)"), |c| viewer.line(&c));
        text.push_str(&format!("worker-{thread}: {line}\n"));
    }
    text.push_str("\n------ CONFIGURATION, WHERE IT IS NOT THE DEFAULT ------\n");
    for param in PARAMS.iter().filter(|param| param.get(&config) != param.default.as_bytes()) {
        let value = if param.has(SENSITIVE) { "(redacted)".into() } else { param.get(&config) };
        text.push_str(&format!("{} {}\n", param.name, String::from_utf8_lossy(&value)));
    }
    text.push_str("\n------ INFO OUTPUT ------\n");
    text.push_str(&info::everything(node, &config, now));
}

/// A server without threads that serve, sockets and files, for tests: its commands run through a turn of thread 0.
pub fn offline(config: Config) -> io::Result<(&'static Node, &'static Registry)> {
    offline_on(Storage::default(), config)
}

/// The same on another disk. [`load_data`] gives it files.
pub fn offline_on(storage: Storage, config: Config) -> io::Result<(&'static Node, &'static Registry)> {
    clock::init();
    let registry: &'static Registry = Box::leak(Box::new(Registry::new(FAMILIES)));
    Ok((build_node(config, registry, 1, storage, Title::default())?, registry))
}

fn build_node(
    config: Config,
    registry: &'static Registry,
    threads: usize,
    storage: Storage,
    title: Title,
) -> io::Result<&'static Node> {
    let names = registry.rows().iter().map(|c: &&Command| c.full_name()).collect();
    let threads_counting = threads + ServiceThreads::COUNT;
    let now = clock::now_ms();
    let keyspace = Keyspace::new(config.databases as usize, config.stripes as usize, threads_counting, now);
    let node = Node {
        keyspace,
        journal: Journal::default(),
        aof: Aof::on(storage.clone()),
        rdb: Rdb::on(storage),
        walks: Walks::default(),
        replication: Replication::default(),
        migrations: Migrations::default(),
        cluster: Cluster::default(),
        acl: Users::new(permission::catalog(registry), &config.requirepass),
        clients: Clients::default(),
        pubsub: PubSub::default(),
        doors: Doors::default(),
        tls: Tls::default(),
        observatory: Observatory::new(names, threads_counting + LONG_THREADS, config.slowlog_max_len, now),
        scripts: Scripts::default(),
        defrag: Defrag::default(),
        reaper: Reaper::start()?,
        life: Life::new(),
        oom_score: OomScore::default(),
        title,
        config: ArcSwap::from_pointee(config),
    };
    node.apply_settings();
    Ok(Box::leak(Box::new(node)))
}

fn serve(
    node: &'static Node,
    registry: &'static Registry,
    config: &Config,
    threads: usize,
    services: ServiceThreads,
) -> io::Result<i32> {
    let pace: &'static Pace = Box::leak(Box::default());
    pace.interval_ms.store(u64::from(config.aof_batch_interval_ms), Relaxed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let workers = (0..threads).map(|thread| worker::start(node, registry, thread)).collect::<io::Result<Vec<_>>>()?;
    let workers = Arc::new(workers);
    let code = runtime.block_on(async {
        let stop = watch_signals(node)?;
        let mut ending = tokio::spawn(end_when_asked(node));
        let tcp = listeners::tcp(config, &[])?;
        let unix = listeners::unix(config)?;
        if tcp.is_empty() && unix.is_none() {
            return Err(io::Error::other("Configured to not listen anywhere, exiting."));
        }
        admin::start(node, config)?;
        let stats = node.observatory.worker(services.main);
        let (doors, arrivals) = tokio::sync::mpsc::unbounded_channel();
        node.doors.connect(doors, &tcp)?;
        if let Some((host, port)) = config.replicaof.clone() {
            node.demote(Primary { host, port });
        }
        let mut loading = begin_loading(node, registry, config.clone(), services);
        let soon = tokio::time::timeout(LOADING_GRACE, &mut loading).await;
        if let Ok(loaded) = soon {
            loaded.map_err(io::Error::other)??;
            node.life.set_loads(Loads::Nothing);
        }
        let doorkeeper = tokio::spawn(listen::doorkeeper(tcp, arrivals, node, stats.clone(), workers.clone()));
        // Clients that come meanwhile hear that the data is being loaded.
        while node.life.is_loading() {
            tokio::select! {
                loaded = &mut loading => {
                    loaded.map_err(io::Error::other)??;
                    node.life.set_loads(Loads::Nothing);
                }
                code = &mut ending => return code.map_err(io::Error::other),
                () = tokio::time::sleep(LOADING_TOLD_EACH) => tell_progress(&node.rdb.loading),
            }
        }
        batcher::start(&node.journal, pace)?;
        cron::start(node, registry, services, pace)?;
        link::start(node, registry, services.linker)?;
        migrator::start(node, registry, services.migrator)?;
        for (_, kind) in [(config.port, "tcp"), (config.tls_port, "tls")].into_iter().filter(|(port, _)| *port != 0) {
            notice!("Ready to accept connections {kind}");
        }
        if let Some(listener) = unix {
            let path = config.unixsocket.clone();
            let listener = tokio::net::UnixListener::from_std(listener)?;
            tokio::spawn(listen::accept_unix(listener, path, node, stats.clone(), workers.clone()));
            notice!("The server is now ready to accept connections at {}", config.unixsocket);
        }
        supervisor::ready(readiness(node));
        let code = ending.await.map_err(io::Error::other);
        // No client is let in that would then not be served: the doors close before the connections do.
        node.doors.close();
        let _ = doorkeeper.await;
        drop(stop);
        code
    });
    // A load in progress is not waited for.
    runtime.shutdown_background();
    code
}

fn begin_loading(
    node: &'static Node,
    registry: &'static Registry,
    config: Config,
    services: ServiceThreads,
) -> tokio::task::JoinHandle<io::Result<()>> {
    node.life.set_loads(Loads::Data);
    tokio::task::spawn_blocking(move || load_data(node, registry, &config, services))
}

/// Ends the process in order when that is asked for; returns the exit code.
async fn end_when_asked(node: &'static Node) -> i32 {
    loop {
        node.life.shutdown_asked.notified().await;
        while node.life.is_shutdown_held() && node.life.shutdown_flags().is_some() {
            tokio::time::sleep(SHUTDOWN_LOOK).await;
        }
        // On another thread: a signal must be heard meanwhile.
        if let Ok(Ok(())) = tokio::task::spawn_blocking(move || shut_down(node)).await {
            return 0;
        }
    }
}

/// SIGTERM and SIGINT ask for a shutdown; a second SIGINT exits at once, and so does either while the data is loaded. SIGALRM
/// is told in the log.
fn watch_signals(node: &'static Node) -> io::Result<tokio::task::JoinHandle<()>> {
    let (mut term, mut int, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let mut alarm = signal(SignalKind::alarm())?;
    Ok(tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
                _ = hup.recv() => {
                    reload(node);
                    continue;
                }
                _ = alarm.recv() => {
                    warning!("Received SIGALRM");
                    continue;
                }
            };
            let config = node.config.load();
            let is_asked = node.life.shutdown_flags().is_some() && !node.life.is_shutdown_held();
            if is_asked && name == "SIGINT" {
                warning!("You insist... exiting now.");
                for temp in [save::temp_path(), save::background_path(), rewrite::temp_path()] {
                    let _ = std::fs::remove_file(temp);
                }
                std::process::exit(1);
            }
            if node.life.is_loading() {
                warning!("Received shutdown signal during loading, exiting now.");
                leave(&config);
                std::process::exit(0);
            }
            warning!("Received {name} scheduling shutdown...");
            let flags = if name == "SIGTERM" { config.shutdown_on_sigterm } else { config.shutdown_on_sigint };
            node.life.ask_shutdown(flags, None);
        }
    }))
}

/// SIGHUP: what lies in files and may have been replaced is read again: the log's file and those of TLS.
fn reload(node: &Node) {
    supervisor::reloading();
    // The line itself opens the log anew if its file was moved away.
    warning!("Received SIGHUP: the log file is opened again if it was moved, the files of TLS are read again");
    if let Err(cause) = node.tls.configure(&node.config.load()) {
        warning!("{cause}");
        warning!("The TLS settings stay as they were");
    }
    supervisor::ready(readiness(node));
}

fn readiness(node: &Node) -> &'static str {
    if node.replication.is_replica() {
        "Ready to accept connections in read-only mode."
    } else {
        "Ready to accept connections"
    }
}

/// A service manager waits as long as the data gets on.
fn tell_progress(loading: &Loading) {
    let (bytes, total) = (loading.loaded_bytes(), loading.total_bytes());
    let status = format!("Loading the data: {bytes} of {total} bytes");
    supervisor::tell(&[NotifyState::Status(&status), NotifyState::ExtendTimeoutUsec(LOADING_EXTENSION_US)]);
}

/// The data cannot be saved as it must be: the server goes on.
struct CannotExit;

/// Makes everything durable that the configuration promises. On success no command runs any more, and the caller ends
/// the process; on failure the server goes on, and the clients that asked hear of it. The caller is outside the gate.
fn shut_down(node: &Node) -> Result<(), CannotExit> {
    let Some(flags) = node.life.shutdown_flags() else { return Err(CannotExit) };
    let config = node.config.load_full();
    warning!("User requested shutdown...");
    supervisor::tell(&[NotifyState::Stopping]);
    if !flags.now {
        wait_for_replicas(node, &config);
    }
    // What is loaded so far is less than the files hold.
    let done = if node.life.is_loading() { Ok(()) } else { save_all(node, &config, flags) };
    if done.is_err() {
        node.clients.unpause();
        warning!("Errors trying to shut down the server. Check the logs for more information.");
        supervisor::ready(readiness(node));
        let waiters = node.life.forget_shutdown().unwrap_or_default();
        waiting::fail_all(waiters, &error::CANNOT_EXIT);
        return done;
    }
    leave(&config);
    warning!("Redis is now ready to exit, bye bye...");
    Ok(())
}

/// Pauses writes until the replicas have everything, for `shutdown-timeout` seconds at most, or until SHUTDOWN ABORT. Who
/// waits for a full sync is waited for too.
fn wait_for_replicas(node: &Node, config: &Config) {
    let replicas = node.replication.replicas();
    let end = || node.journal.stream.end();
    let lags = |replica: &Replica| {
        let acknowledges = !replica.is_silent && !replica.offered.rdb_only;
        acknowledges && (!replica.is_online() || replica.acked() < end())
    };
    if config.shutdown_timeout == 0 || node.replication.is_replica() || !replicas.iter().any(|replica| lags(replica)) {
        return;
    }
    notice!("Waiting for replicas before shutting down.");
    let now = clock::now_ms();
    let deadline = now + i64::from(config.shutdown_timeout) * 1000;
    node.clients.pause(Pause::Write, deadline, now);
    node.life.set_shutdown_deadline(Some(deadline));
    replication::ask_for_acknowledgements(node);
    while clock::now_ms() < deadline && node.life.shutdown_flags().is_some() {
        let gone = |replica: &Replica| replica.client.facts.gone.load(Relaxed);
        if !replicas.iter().any(|replica| lags(replica) && !gone(replica)) {
            break;
        }
        std::thread::sleep(SHUTDOWN_LOOK);
    }
    node.life.set_shutdown_deadline(None);
    for replica in replicas.iter().filter(|replica| lags(replica)) {
        let (address, behind) = (&replica.client.address, end().saturating_sub(replica.acked()));
        warning!("Lagging replica {address} reported offset {behind} behind master, state={}.", replica.stage().name());
    }
    let in_sync = replicas.iter().filter(|replica| replica.is_online() && !lags(replica)).count();
    notice!("{in_sync} of {} replicas are in sync when shutting down.", replicas.len());
}

/// Tells the walks to leave, closes the gate, and writes the log and, if it is wanted, the final snapshot.
fn save_all(node: &Node, config: &Config, flags: choices::ShutdownFlags) -> Result<(), CannotExit> {
    if node.is_first_log_in_the_making() {
        // A script that has lasted too long may have a stripe that the log's base needs, and only the end ends it.
        let goes_anyway = flags.force || flags.nosave && node.scripts.runs.any_busy();
        if !goes_anyway {
            warning!("Writing initial AOF, can't exit.");
            return Err(CannotExit);
        }
        warning!("Writing initial AOF. Exit anyway.");
    }
    if node.walks.is_running(Job::Save) {
        warning!("There is a child saving an .rdb. Killing it!");
    }
    if node.walks.is_running(Job::Rewrite) {
        warning!("There is a child rewriting the AOF. Killing it!");
    }
    // A walk may wait for what a script has, so these end first.
    node.scripts.runs.set_ending(true);
    node.walks.close();
    let goes_on = || {
        node.walks.open();
        node.scripts.runs.set_ending(false);
        Err(CannotExit)
    };
    let everything = node.keyspace.gate.exclusive();
    if node.life.shutdown_flags().is_none() {
        // SHUTDOWN ABORT was the last command.
        return goes_on();
    }
    if node.journal.is_on() {
        notice!("Calling fsync() on the AOF file.");
        node.journal.note_history();
        if !node.journal.finish() && !flags.force {
            warning!("Errors writing the append-only file at shutdown: what was not acknowledged may be lost.");
        }
    }
    if flags.save || (!config.save.is_empty() && !flags.nosave) {
        notice!("Saving the final RDB snapshot before exiting.");
        let mut db = Db::new(node.keyspace.own_world(&everything), 0, clock::now_ms(), AccessMode::default());
        let saved = save::save_now(
            &mut db,
            &node.rdb,
            &node.scripts.libraries.current(),
            config,
            (node.observatory.counts().changes, node.journal.stream.history()),
        );
        drop(db);
        if saved.is_err() && !flags.force {
            warning!("Error trying to save the DB, can't exit.");
            node.walks.open();
            return Err(CannotExit);
        }
        if saved.is_err() {
            warning!("Error trying to save the DB. Exit anyway.");
        }
    }
    // Closed for good: what would be answered from here on is in no file.
    std::mem::forget(everything);
    Ok(())
}

/// Removes what tells others that the process is there.
fn leave(config: &Config) {
    process::remove_pid_file();
    if !config.unixsocket.is_empty() {
        notice!("Removing the unix socket file.");
        let _ = std::fs::remove_file(&config.unixsocket);
    }
}

/// The log goes to standard output or to a file, and crashes go where the log goes.
fn start_log(config: &Config) -> io::Result<()> {
    let level = crate::commands::config::log_level(config.loglevel);
    let output = Output::open(config)?;
    crash::apply(config);
    crash::install(output.fd());
    let (subscriber, handle) = log::subscriber(level, std::sync::Mutex::new(output));
    // A second server in one process (tests) keeps the first one's log.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        log::keep(handle);
    }
    Ok(())
}

/// The banner with the pid, which test harnesses read.
fn show_logo(config: &Config) {
    use std::io::IsTerminal;
    let on_terminal = config.logfile.is_empty() && io::stdout().is_terminal();
    if !on_terminal && !config.always_show_logo {
        notice!("Running mode=standalone, port={}.", config.main_port());
        return;
    }
    let version = env!("CARGO_PKG_VERSION");
    notice!(
        "\n\n    memkv {version} (Redis {} compatible), 64 bit\n\n    Running in standalone mode\n    Port: {}\n    PID: {}\n\n",
        crate::config::REDIS_VERSION,
        config.main_port(),
        std::process::id()
    );
}

const COULD_NOT_START: &str = "memkv could not start";
/// How often a service manager hears how far the load is, and for how long it is to wait for more.
const LOADING_TOLD_EACH: Duration = Duration::from_secs(1);
const LOADING_EXTENSION_US: u32 = 30_000_000;
const DUPLICATE_USER: &str = "Duplicate user found. A user can only be defined once in config files";
const FILE_AND_LINES: &str = "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This setup is very likely to lead to configuration errors and security holes, please define either an ACL file or declare users directly in your redis.conf, but not both.";
/// How often a shutdown that is held back is looked at.
const SHUTDOWN_LOOK: Duration = Duration::from_millis(10);
/// Connections wait for a load that ends within this, as Redis lets them; only a longer one answers -LOADING.
const LOADING_GRACE: Duration = Duration::from_millis(200);
