//! TLS as the configuration asks for it: certificates, keys, authorities and cipher suites, made into what rustls takes.
//!
//! [`Tls`] is the service: it holds the [`Settings`] that the next handshake begins with. CONFIG SET and a change of the
//! files put others in their place, whole or not at all; connections that stand keep what they began with.
//! [`client_config`] gives the same for links on which this server is the client.
//!
//! What rustls has not is refused by name: TLS 1.0 and 1.1, suites without forward secrecy. A file of Diffie-Hellman
//! parameters is named in the log and left alone: key exchange is by elliptic curves, which needs none.
//! Errors are texts for the log, each with its file and cause; clients hear Redis's one sentence.
//!
//! Not here: sockets and handshakes (`net`).

mod files;
mod identity;
mod sessions;
mod suites;
mod verify;

pub use identity::{common_name, uris};

use crate::clock::Millis;
use crate::config::Config;
use crate::config::choices::TlsAuthClients;
use arc_swap::ArcSwapOption;
use files::{KeyPair, State};
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sessions::Sessions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use suites::Choice;
use tokio_rustls::TlsConnector;
use verify::SignedByAuthority;

/// What TLS does at present.
#[derive(Default)]
pub struct Tls {
    present: ArcSwapOption<Settings>,
    files: Mutex<Files>,
    half_open: AtomicUsize,
}

/// What a handshake begins with.
pub struct Settings {
    pub server: Arc<ServerConfig>,
    /// For links to others; none without authorities, whom such a link must trust.
    pub client: Option<Arc<ClientConfig>>,
}

/// The files as they were when they were last read, well or not.
#[derive(Default)]
struct Files {
    state: State,
    looked_at_ms: Millis,
}

impl Tls {
    /// Reads the files and puts the new settings in the place of the present ones, if the configuration wants TLS at all.
    pub fn configure(&self, config: &Config) -> Result<(), String> {
        if !is_wanted(config) {
            return Ok(());
        }
        let mut files = self.files.lock();
        // Taken before they are read: what changes meanwhile is read again.
        files.state = State::of(config);
        self.present.store(Some(Arc::new(settings(config)?)));
        Ok(())
    }

    /// Reads the files again if they have changed, looking every `tls-auto-reload-interval` seconds. Files that do not fit
    /// together, or cannot be read, leave things as they are until they change again.
    pub fn reload_if_changed(&self, config: &Config, now: Millis) {
        let interval_ms = i64::from(config.tls_auto_reload_interval) * 1000;
        if interval_ms == 0 || !is_wanted(config) || self.present.load().is_none() {
            return;
        }
        let mut files = self.files.lock();
        if now.saturating_sub(files.looked_at_ms).abs() < interval_ms {
            return;
        }
        files.looked_at_ms = now;
        let state = State::of(config);
        if state == files.state {
            return;
        }
        files.state = state;
        match settings(config) {
            Ok(settings) => {
                self.present.store(Some(Arc::new(settings)));
                crate::log::notice!("TLS certificates have changed and were read again.");
            }
            Err(cause) => crate::log::warning!("TLS certificates have changed and cannot be used: {cause}"),
        }
    }

    /// None while TLS was never wanted.
    pub fn settings(&self) -> Option<Arc<Settings>> {
        self.present.load_full()
    }

    /// Connections whose handshake is not finished.
    pub fn half_open(&self) -> usize {
        self.half_open.load(Relaxed)
    }

    pub fn handshake_begins(&self) {
        self.half_open.fetch_add(1, Relaxed);
    }

    pub fn handshake_ends(&self) {
        self.half_open.fetch_sub(1, Relaxed);
    }
}

/// Whether any directive asks for TLS. Without one nothing is read and nothing is judged, as in Redis.
pub fn is_wanted(config: &Config) -> bool {
    let admin = config.admin_tls && config.admin_port != 0;
    config.tls_port != 0 || config.tls_replication || config.tls_cluster || admin
}

fn settings(config: &Config) -> Result<Settings, String> {
    for (name, file) in [("tls-cert-file", &config.tls_cert_file), ("tls-key-file", &config.tls_key_file)] {
        if file.is_empty() {
            return Err(format!("No {name} configured!"));
        }
    }
    let has_authorities = !config.tls_ca_cert_file.is_empty() || !config.tls_ca_cert_dir.is_empty();
    let needs_authorities =
        config.tls_auth_clients != TlsAuthClients::No || config.tls_cluster || config.tls_replication;
    if needs_authorities && !has_authorities {
        return Err(NO_AUTHORITIES.into());
    }
    let roots = if has_authorities { Some(Arc::new(files::authorities(config)?)) } else { None };
    let client = roots.clone().map(|roots| client_with(config, roots)).transpose()?;
    Ok(Settings { server: Arc::new(server_config(config, roots)?), client: client.map(Arc::new) })
}

fn server_config(config: &Config, roots: Option<Arc<RootCertStore>>) -> Result<ServerConfig, String> {
    let Choice { provider, versions } = Choice::of(config)?;
    let key = files::certified_key(&provider, &KeyPair::of_server(config))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|e| format!("tls-protocols, tls-ciphers and tls-ciphersuites leave nothing to agree on: {e}"))?;
    let builder = match (config.tls_auth_clients, roots) {
        (TlsAuthClients::No, _) | (_, None) => builder.with_no_client_auth(),
        (wanted, Some(roots)) => {
            // As with Redis, clients are not told whom the server trusts.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).clear_root_hint_subjects();
            let verifier = if wanted == TlsAuthClients::Optional { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(|e| e.to_string())?)
        }
    };
    let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    server.ignore_client_order = config.tls_prefer_server_ciphers;
    server.session_storage = if config.tls_session_caching {
        let lifetime = Duration::from_secs(u64::from(config.tls_session_cache_timeout));
        Arc::new(Sessions::new(config.tls_session_cache_size as usize, lifetime))
    } else {
        Arc::new(NoServerSessionStorage {})
    };
    Ok(server)
}

/// What a link to another server begins with: `tls-client-cert-file` and its key, or the server's own, shown to a peer
/// that any of the authorities vouches for. As in Redis, the peer's certificate need not bear the name that it was called
/// by. The error is a text for the log.
pub fn client_config(config: &Config) -> Result<ClientConfig, String> {
    if config.tls_ca_cert_file.is_empty() && config.tls_ca_cert_dir.is_empty() {
        return Err(NO_AUTHORITIES.into());
    }
    client_with(config, Arc::new(files::authorities(config)?))
}

/// What connects to another server over TLS, and the name to call it by: any, if `host` is none that a certificate could
/// bear. The error is a text for the log.
pub fn connector(config: &Config, host: &str) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = ServerName::try_from(host.to_owned()).or_else(|_| ServerName::try_from("server"));
    let name = name.map_err(|e| format!("The server's name cannot be used with TLS: {e}"))?;
    Ok((TlsConnector::from(Arc::new(client_config(config)?)), name))
}

fn client_with(config: &Config, roots: Arc<RootCertStore>) -> Result<ClientConfig, String> {
    let Choice { provider, versions } = Choice::of(config)?;
    let key = files::certified_key(&provider, &KeyPair::of_client(config))?;
    let verifier = SignedByAuthority::new(roots, provider.clone());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|e| format!("tls-protocols, tls-ciphers and tls-ciphersuites leave nothing to agree on: {e}"))?;
    // "Dangerous" is rustls's word for verifiers of one's own.
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))))
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

const NO_AUTHORITIES: &str = "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or tls-auth-clients are enabled!";
