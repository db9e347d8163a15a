//! TLS from outside: who is let in, what passes through, how certificates are exchanged, and what hostile peers can do.
//!
//! Certificates are made here, by an authority of the test's own.

#![allow(unsafe_code)]

mod common;

use common::{Client, PATIENCE, Server, request, wait_until};
use memkv::config::Config;
use pkcs8::PrivateKeyInfoRef;
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::pbes2::Parameters;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use redis::Commands;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

type Wire = StreamOwned<ClientConnection, TcpStream>;

/// An authority, its certificates on disk, and a server that trusts it.
struct Town {
    authority: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
struct Papers {
    certificate: String,
    key: String,
}

impl Town {
    fn found() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let town = Self { authority, dir: tempfile::tempdir().unwrap() };
        fs::write(town.path("ca.crt"), town.authority.pem()).unwrap();
        town.write("server", &town.papers("a server"));
        town
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn papers(&self, name: &str) -> Papers {
        self.papers_with(name, vec![])
    }

    fn papers_with(&self, name: &str, others: Vec<SanType>) -> Papers {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(name.to_owned()));
        params.subject_alt_names.extend(others);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap().pem();
        Papers { certificate, key: key.serialize_pem() }
    }

    /// Puts papers on disk, each file whole at once.
    fn write(&self, name: &str, papers: &Papers) {
        for (kind, text) in [("crt", &papers.certificate), ("key", &papers.key)] {
            let new = self.path("new");
            fs::write(&new, text).unwrap();
            fs::rename(&new, self.path(&format!("{name}.{kind}"))).unwrap();
        }
    }

    fn options(&self, port: u16) -> Vec<String> {
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", self.text("server.crt")),
            ("--tls-key-file", self.text("server.key")),
            ("--tls-ca-cert-file", self.text("ca.crt")),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    fn serve(&self, options: &[&str]) -> Guarded {
        let port = free_port();
        let mut all = self.options(port);
        all.extend(options.iter().map(|option| (*option).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        Guarded { server: Server::start(&all), port }
    }

    fn client(&self, papers: Option<&Papers>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_webpki_verifier(verifier);
        let Some(papers) = papers else { return builder.with_no_client_auth() };
        let chain = vec![CertificateDer::from_pem_slice(papers.certificate.as_bytes()).unwrap()];
        builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).unwrap()).unwrap()
    }
}

/// A server and its port for TLS.
struct Guarded {
    server: Server,
    port: u16,
}

impl Guarded {
    fn dial(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> Client<Wire> {
        let tls = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
        Client::over(StreamOwned::new(tls, self.dial()))
    }

    /// Whether a client with this configuration gets an answer.
    fn serves(&self, config: &Arc<ClientConfig>) -> bool {
        let mut client = self.connect(config);
        let mut answer = [0; 7];
        client.stream().write_all(b"PING\r\n").is_ok()
            && client.stream().read_exact(&mut answer).is_ok()
            && &answer == b"+PONG\r\n"
    }

    /// Sends bytes without TLS, says that nothing follows, and reads until the server closes.
    fn tell(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = self.dial();
        let mut answer = Vec::new();
        let _ = socket.write_all(bytes);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read_to_end(&mut answer);
        answer
    }

    /// By the port without TLS.
    fn set(&self, name: &str, value: &str) -> String {
        self.server.ask(&[b"CONFIG", b"SET", name.as_bytes(), value.as_bytes()])
    }

    fn set_pair(&self, town: &Town, name: &str) -> String {
        let (certificate, key) = (town.text(&format!("{name}.crt")), town.text(&format!("{name}.key")));
        self.server.ask(&[b"CONFIG", b"SET", b"tls-cert-file", certificate.as_bytes(), b"tls-key-file", key.as_bytes()])
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NOT_UPDATED: &str = "Unable to update TLS configuration. Check server logs.\r\n";

/// The server's certificate, as the client has seen it.
fn shown(client: &mut Client<Wire>) -> CertificateDer<'static> {
    assert_eq!(client.ask("PING"), ["PONG"]);
    client.stream().conn.peer_certificates().unwrap()[0].clone()
}

fn der(papers: &Papers) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(papers.certificate.as_bytes()).unwrap()
}

#[test]
fn who_must_show_a_certificate_is_the_directives_choice() {
    let (town, elsewhere) = (Town::found(), Town::found());
    let guarded = town.serve(&[]);
    for version in BOTH {
        let client = |papers| Arc::new(town.client(papers, &[*version]));
        let (own, foreign) = (town.papers("someone"), elsewhere.papers("someone"));
        let (known, unknown, nobody) = (client(Some(&own)), client(Some(&foreign)), client(None));
        for (choice, served) in [("yes", [true, false, false]), ("optional", [true, false, true]), ("no", [true; 3])] {
            assert_eq!(guarded.set("tls-auth-clients", choice), "+OK\r\n");
            let is = [&known, &unknown, &nobody].map(|config| guarded.serves(config));
            assert_eq!(is, served, "{choice} {version:?}");
        }
    }
}

#[test]
fn the_client_redis_shows_its_certificate() {
    let (town, elsewhere) = (Town::found(), Town::found());
    let guarded = town.serve(&["--tls-auth-clients", "yes"]);
    let client = |authority: &Town, papers: Option<Papers>, protocol: &str| {
        let client_tls = papers.map(|papers| redis::ClientTlsConfig {
            client_cert: papers.certificate.into_bytes(),
            client_key: papers.key.into_bytes(),
        });
        let root_cert = Some(authority.authority.pem().into_bytes());
        let url = format!("rediss://localhost:{}/?protocol={protocol}", guarded.port);
        redis::Client::build_with_tls(url, redis::TlsCertificates { client_tls, root_cert }).unwrap()
    };
    let ping = |client: redis::Client| redis::cmd("PING").query::<String>(&mut client.get_connection()?);
    let blob: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for protocol in ["resp2", "resp3"] {
        let known = client(&town, Some(town.papers("someone")), protocol);
        let mut connection = known.get_connection().unwrap();
        let () = connection.set("blob", &blob).unwrap();
        assert!(connection.get::<_, Vec<u8>>("blob").unwrap() == blob);
        runtime.block_on(async {
            let mut shared = known.get_multiplexed_async_connection().await.unwrap();
            let mut pipeline = redis::pipe();
            (0..1000).for_each(|i| _ = pipeline.set(i, i).ignore());
            let (last,): (i64,) = pipeline.get(999).query_async(&mut shared).await.unwrap();
            assert_eq!(last, 999);
        });
        assert!(ping(client(&town, None, protocol)).is_err());
        assert!(ping(client(&town, Some(elsewhere.papers("someone")), protocol)).is_err());
        assert!(ping(client(&elsewhere, Some(town.papers("someone")), protocol)).is_err());
        assert_eq!(ping(known).unwrap(), "PONG");
    }
}

#[test]
fn tls_can_be_the_only_way_in() {
    let town = Town::found();
    let port = free_port();
    let mut options = town.options(port);
    options.extend(["--port".to_owned(), "0".to_owned()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let guarded = Guarded { server: Server::start(&options), port };
    let config = Arc::new(town.client(Some(&town.papers("someone")), BOTH));
    let mut client = guarded.connect(&config);
    let info = client.ask("INFO server").concat();
    assert!(info.contains(&format!("tcp_port:{port}\r\n")), "{info}");
    assert!(info.contains(&format!("name=tls,bind=127.0.0.1,port={port}\r\n")), "{info}");
    let list = client.ask("CLIENT LIST").concat();
    assert!(list.contains(&format!("laddr=127.0.0.1:{port} ")) && list.contains(" flags=N "), "{list}");
    assert!(guarded.server.log().contains("Ready to accept connections tls"));
    assert!(TcpStream::connect(guarded.server.address).is_err());
    // The other way round, with the connection that stands.
    let plain = free_port();
    assert_eq!(client.ask(&format!("CONFIG SET tls-port 0 port {plain}")), ["OK"]);
    let mut by_plain = Client::over(TcpStream::connect(("127.0.0.1", plain)).unwrap());
    assert_eq!(by_plain.ask("PING"), ["PONG"]);
    wait_until("the TLS listener is gone", || TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(by_plain.ask(&format!("CONFIG SET port 0 tls-port {port}")), ["OK"]);
    wait_until("the TLS listener is back", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(guarded.serves(&config));
    assert_eq!(client.ask("PING"), ["PONG"]);
}

#[test]
fn the_admin_listener_speaks_tls_by_the_same_rules() {
    let (town, port) = (Town::found(), free_port());
    let text = port.to_string();
    let served = town.serve(&["--admin-port", &text, "--admin-tls", "yes", "--admin-token", "sesame"]);
    let admin = Guarded { port, ..served };
    let request = |path: &str, token: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    let ask = |config: &Arc<ClientConfig>, path: &str, token: &str| {
        let mut client = admin.connect(config);
        let mut answer = Vec::new();
        let _ = client.stream().write_all(request(path, token).as_bytes());
        let _ = client.stream().read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    let known = Arc::new(town.client(Some(&town.papers("someone")), BOTH));
    assert_eq!(ask(&known, "/metrics", "sesame"), "HTTP/1.1 200 OK");
    assert_eq!(ask(&known, "/metrics", "other"), "HTTP/1.1 401 Unauthorized");
    assert_eq!(ask(&known, "/healthz", ""), "HTTP/1.1 200 OK");
    let nobody = Arc::new(town.client(None, BOTH));
    assert_eq!(ask(&nobody, "/healthz", ""), "", "tls-auth-clients yes");
    assert_eq!(admin.set("tls-auth-clients", "no"), "+OK\r\n");
    assert_eq!(ask(&nobody, "/metrics", "sesame"), "HTTP/1.1 200 OK");
    let plain = String::from_utf8_lossy(&admin.tell(request("/healthz", "").as_bytes())).into_owned();
    assert!(!plain.contains("HTTP"), "{plain}");
}

#[test]
fn large_values_and_long_pipelines_pass_whole() {
    let town = Town::found();
    let guarded = town.serve(&["--tls-auth-clients", "no"]);
    let value: Vec<u8> = (0..10_000_000u32).map(|i| (i ^ (i >> 9)) as u8).collect();
    for version in BOTH {
        let config = Arc::new(town.client(None, &[*version]));
        let mut client = guarded.connect(&config);
        client.stream().write_all(&request(&[b"SET", b"big", &value])).unwrap();
        assert_eq!(client.reply(), ["OK"]);
        client.stream().write_all(&request(&[b"GET", b"big"])).unwrap();
        let mut head = [0; 11];
        let mut back = vec![0; value.len() + 2];
        client.stream().read_exact(&mut head).unwrap();
        client.stream().read_exact(&mut back).unwrap();
        assert_eq!(&head, b"$10000000\r\n");
        assert!(back[..value.len()] == value[..] && back.ends_with(b"\r\n"), "byte by byte");

        let mut client = guarded.connect(&config);
        let pipeline: Vec<u8> = (0..20_000).flat_map(|i| request(&[b"ECHO", format!("{i}").as_bytes()])).collect();
        client.stream().write_all(&pipeline).unwrap();
        (0..20_000).for_each(|i| assert_eq!(client.reply(), [i.to_string()]));
        // Answers that nobody reads wait here as they do without TLS.
        (0..10).for_each(|_| client.stream().write_all(&request(&[b"GET", b"big"])).unwrap());
        for _ in 0..10 {
            client.stream().read_exact(&mut head).unwrap();
            client.stream().read_exact(&mut back).unwrap();
            assert!(back[..value.len()] == value[..]);
        }
        assert_eq!(client.ask("PING"), ["PONG"]);
    }
}

#[test]
fn requests_that_came_in_one_record_are_all_answered() {
    let town = Town::found();
    let guarded = town.serve(&["--tls-auth-clients", "no"]);
    let config = Arc::new(town.client(None, BOTH));
    let mut client = guarded.connect(&config);
    // Decrypted all at once, more of it than one read takes, and the first request waits.
    let mut one = b"BLPOP list 0\r\n".to_vec();
    (0..1500).for_each(|i| one.extend(format!("ECHO {i}\r\n").bytes()));
    assert!(one.len() < 16 << 10);
    client.stream().write_all(&one).unwrap();
    let mut other = Client::of(&guarded.server);
    wait_until("it waits", || other.ask("INFO clients").concat().contains("blocked_clients:1"));
    assert_eq!(other.ask("RPUSH list x"), ["1"]);
    assert_eq!(client.reply(), ["list", "x"]);
    (0..1500).for_each(|i| assert_eq!(client.reply(), [i.to_string()]));
    // A pause holds back what is decrypted, and lets it go.
    assert_eq!(other.ask("CLIENT PAUSE 100000 WRITE"), ["OK"]);
    client.stream().write_all(b"SET a 1\r\nGET a\r\n").unwrap();
    wait_until("it is held back", || other.ask("INFO clients").concat().contains("blocked_clients:1"));
    assert_eq!(other.ask("CLIENT UNPAUSE"), ["OK"]);
    assert_eq!([client.reply(), client.reply()].concat(), ["OK", "1"]);
    assert_eq!(client.ask("SUBSCRIBE news").len(), 3);
    assert_eq!(other.ask("PUBLISH news hello"), ["1"]);
    assert_eq!(client.reply(), ["message", "news", "hello"]);
}

#[test]
fn certificates_are_exchanged_while_connections_stand() {
    let town = Town::found();
    let (first, second) = (town.papers("a server"), town.papers("its next certificate"));
    town.write("server", &first);
    town.write("next", &second);
    let guarded = town.serve(&["--tls-auth-clients", "no"]);
    let config = Arc::new(town.client(None, BOTH));
    let mut old = guarded.connect(&config);
    assert_eq!(shown(&mut old), der(&first));
    assert_eq!(guarded.set_pair(&town, "next"), "+OK\r\n");
    assert_eq!(shown(&mut guarded.connect(&config)), der(&second));
    // A key that belongs to another certificate, and files that are not there: nothing changes.
    let refused = guarded.set("tls-cert-file", &town.text("server.crt"));
    assert!(refused.ends_with(&format!("'tls-cert-file') - {NOT_UPDATED}")), "{refused}");
    assert!(guarded.server.log().contains("it does not belong to"), "{}", guarded.server.log());
    assert!(guarded.set("tls-key-file", "/nowhere").ends_with(NOT_UPDATED));
    assert!(guarded.server.log().contains("/nowhere: No such file or directory"), "{}", guarded.server.log());
    let path = town.text("next.crt");
    assert!(guarded.server.ask(&[b"CONFIG", b"GET", b"tls-cert-file"]).contains(&path));
    assert_eq!(shown(&mut guarded.connect(&config)), der(&second));
    assert_eq!(old.ask("PING"), ["PONG"]);
}

#[test]
fn files_that_change_are_read_again() {
    let town = Town::found();
    let guarded = town.serve(&["--tls-auth-clients", "no", "--tls-auto-reload-interval", "1"]);
    let config = Arc::new(town.client(None, BOTH));
    let mut old = guarded.connect(&config);
    shown(&mut old);
    let second = town.papers("its next certificate");
    town.write("server", &second);
    wait_until("the new certificate is shown", || shown(&mut guarded.connect(&config)) == der(&second));
    fs::write(town.path("server.crt"), "not a certificate").unwrap();
    wait_until("the fault is told", || guarded.server.log().contains("cannot be used: Failed to load certificate"));
    assert_eq!(shown(&mut guarded.connect(&config)), der(&second));
    town.write("server", &second);
    let third = town.papers("one more");
    town.write("server", &third);
    wait_until("it recovers", || shown(&mut guarded.connect(&config)) == der(&third));
    assert_eq!(old.ask("PING"), ["PONG"]);
}

#[test]
fn files_are_read_again_at_sighup() {
    let town = Town::found();
    let guarded = town.serve(&["--tls-auth-clients", "no"]);
    let config = Arc::new(town.client(None, BOTH));
    // SAFETY: a signal to a process of our own.
    let hang_up = || assert_eq!(unsafe { libc::kill(guarded.server.child.id() as i32, libc::SIGHUP) }, 0);
    let second = town.papers("its next certificate");
    town.write("server", &second);
    hang_up();
    wait_until("the new certificate is shown", || shown(&mut guarded.connect(&config)) == der(&second));
    fs::write(town.path("server.crt"), "not a certificate").unwrap();
    hang_up();
    wait_until("the fault is told", || guarded.server.log().contains("The TLS settings stay as they were"));
    assert_eq!(shown(&mut guarded.connect(&config)), der(&second));
}

#[test]
fn a_certificates_name_is_its_user() {
    let town = Town::found();
    let guarded = town.serve(&["--tls-auth-clients", "optional", "--tls-auth-clients-user", "CN"]);
    let mut plain = Client::of(&guarded.server);
    for user in ["alice on nopass +@all ~*", "off off nopass +@all", "ev on nopass +@all", "spiffe://a on nopass +@all"]
    {
        assert_eq!(plain.ask(&format!("ACL SETUSER {user}")), ["OK"]);
    }
    let who = |papers: Option<&Papers>, version| {
        let mut client = guarded.connect(&Arc::new(town.client(papers, &[version])));
        client.ask("ACL WHOAMI").concat()
    };
    let named = |name: &str| town.papers(name);
    for version in BOTH {
        assert_eq!(who(Some(&named("alice")), *version), "alice");
        for other in ["Alice", "alice ", "alic", "bob", "off", "ev\0il", "ev\0", "\0"] {
            assert_eq!(who(Some(&named(other)), *version), "default", "{other:?}");
        }
        assert_eq!(who(None, *version), "default");
    }
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    let papers = town.papers_with("alice", vec![uri("spiffe://nobody"), uri("spiffe://a")]);
    assert_eq!(guarded.set("tls-auth-clients-user", "URI"), "+OK\r\n");
    assert_eq!(who(Some(&papers), &TLS13), "spiffe://a");
    assert_eq!(guarded.set("tls-auth-clients-user", "off"), "+OK\r\n");
    assert_eq!(who(Some(&papers), &TLS13), "default");
    // With a password for the default user, a certificate is as good as AUTH.
    assert_eq!(guarded.set("tls-auth-clients-user", "CN"), "+OK\r\n");
    assert_eq!(plain.ask("CONFIG SET requirepass secret"), ["OK"]);
    assert_eq!(who(Some(&papers), &TLS13), "alice");
    assert!(who(Some(&named("bob")), &TLS13).starts_with("NOAUTH"));
    // The user's end is the connection's.
    let mut client = guarded.connect(&Arc::new(town.client(Some(&papers), BOTH)));
    assert_eq!(client.ask("PING"), ["PONG"]);
    assert_eq!(plain.ask("ACL DELUSER alice"), ["1"]);
    assert_eq!(client.stream().read(&mut [0; 1]).unwrap_or(0), 0, "closed");
}

#[test]
fn sessions_are_resumed_if_that_is_wished() {
    let town = Town::found();
    let guarded = town.serve(&["--tls-auth-clients-user", "CN"]);
    let papers = town.papers("alice");
    let mut plain = Client::of(&guarded.server);
    assert_eq!(plain.ask("ACL SETUSER alice on nopass +@all ~*"), ["OK"]);
    for version in BOTH {
        let kind = |wanted, config: &Arc<ClientConfig>| {
            let mut client = guarded.connect(config);
            assert_eq!(client.ask("ACL WHOAMI"), ["alice"], "a session keeps its certificate");
            assert_eq!(client.stream().conn.handshake_kind(), Some(wanted), "{version:?}");
        };
        assert_eq!(guarded.set("tls-session-caching", "yes"), "+OK\r\n");
        let mut config = town.client(Some(&papers), &[*version]);
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        kind(HandshakeKind::Full, &config);
        kind(HandshakeKind::Resumed, &config);
        // Other settings, other sessions: what was agreed under the old ones does not count.
        assert_eq!(guarded.set("tls-session-cache-size", if *version == &TLS13 { "100" } else { "200" }), "+OK\r\n");
        kind(HandshakeKind::Full, &config);
        assert_eq!(guarded.set("tls-session-caching", "no"), "+OK\r\n");
        kind(HandshakeKind::Full, &config);
        kind(HandshakeKind::Full, &config);
    }
}

#[test]
fn versions_and_suites_are_the_directives_choice() {
    let town = Town::found();
    let guarded = town.serve(&["--tls-auth-clients", "no"]);
    let agreed = |version| {
        let mut client = guarded.connect(&Arc::new(town.client(None, &[version])));
        assert_eq!(client.ask("PING"), ["PONG"]);
        format!("{:?}", client.stream().conn.negotiated_cipher_suite().unwrap().suite())
    };
    assert_eq!(guarded.set("tls-ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"), "+OK\r\n");
    assert_eq!(agreed(&TLS12), "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    assert_eq!(guarded.set("tls-ciphersuites", "TLS_AES_128_GCM_SHA256"), "+OK\r\n");
    assert_eq!(agreed(&TLS13), "TLS13_AES_128_GCM_SHA256");
    assert_eq!(guarded.set("tls-ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305:ALL"), "+OK\r\n");
    assert_ne!(agreed(&TLS12), "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "the client's order");
    assert_eq!(guarded.set("tls-prefer-server-ciphers", "yes"), "+OK\r\n");
    assert_eq!(agreed(&TLS12), "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    assert_eq!(guarded.set("tls-protocols", "TLSv1.2"), "+OK\r\n");
    assert!(!guarded.serves(&Arc::new(town.client(None, &[&TLS13]))));
    assert_eq!(guarded.set("tls-protocols", "TLSv1.3"), "+OK\r\n");
    assert!(!guarded.serves(&Arc::new(town.client(None, &[&TLS12]))));
    agreed(&TLS13);
}

#[test]
fn what_cannot_be_is_refused_by_name_at_start_and_later() {
    let town = Town::found();
    town.write("other", &town.papers("someone else"));
    let guarded = town.serve(&[]);
    assert_eq!(guarded.set("tls-dh-params-file", "/some/file"), "+OK\r\n", "not needed, and named in the log");
    assert!(guarded.server.log().contains("tls-dh-params-file has no effect"), "{}", guarded.server.log());
    let other = town.text("other.key");
    let cases: &[(&str, &str, &str)] = &[
        ("tls-protocols", "TLSv1.1 TLSv1.2", "TLSv1.1 is not supported"),
        ("tls-protocols", "SSLv9", "Invalid tls-protocols specified: 'SSLv9'"),
        ("tls-ciphers", "AES128-SHA", "there is no suite 'AES128-SHA'. There are ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("tls-ciphersuites", "TLS_AES_128_CCM_SHA256", "There are TLS_AES_256_GCM_SHA384"),
        ("tls-key-file", &other, "it does not belong to"),
        ("tls-cert-file", "", "No tls-cert-file configured!"),
        ("tls-cert-file", "/nowhere", "Failed to load certificate: /nowhere: No such file or directory"),
        ("tls-ca-cert-file", "", "Either tls-ca-cert-file or tls-ca-cert-dir must be specified"),
        ("tls-ca-cert-file", "/dev/null", "/dev/null: no certificate of an authority is in it"),
        ("tls-ca-cert-dir", "/nowhere", "/nowhere: No such file or directory"),
    ];
    for (name, value, told) in cases {
        let refused = guarded.set(name, value);
        assert!(refused.ends_with(NOT_UPDATED), "{name} {value}: {refused}");
        assert!(guarded.server.log().contains(told), "{told}\n{}", guarded.server.log());
        let mut options = town.options(free_port());
        options.extend([format!("--{name}"), (*value).to_owned()]);
        let ended = Command::new(env!("CARGO_BIN_EXE_memkv-server"))
            .args(["--port", "0", "--dir", town.dir.path().to_str().unwrap()])
            .args(&options)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{name} {value}: {log}");
        assert!(log.contains(told) && log.contains("Failed to configure TLS."), "{log}");
    }
}

#[test]
fn a_key_may_be_encrypted() {
    let town = Town::found();
    let papers = town.papers("a server");
    let guarded = town.serve(&["--tls-auth-clients", "no"]);
    let key = PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).unwrap();
    let info = PrivateKeyInfoRef::try_from(key.secret_der()).unwrap();
    let how = Parameters::generate_pbkdf2_sha256_aes256cbc(2048, b"saltsalt", [7; 16]).unwrap();
    let encrypted = info.encrypt_with_params(how, "open sesame").unwrap();
    let key = encrypted.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap().to_string();
    town.write("next", &Papers { key, ..papers.clone() });
    assert!(guarded.set_pair(&town, "next").ends_with(NOT_UPDATED));
    assert!(guarded.server.log().contains("no passphrase is configured"));
    assert_eq!(guarded.set("tls-key-file-pass", "open barley"), "+OK\r\n");
    assert!(guarded.set_pair(&town, "next").ends_with(NOT_UPDATED));
    assert!(guarded.server.log().contains("cannot be decrypted"));
    assert_eq!(guarded.set("tls-key-file-pass", "open sesame"), "+OK\r\n");
    assert_eq!(guarded.set_pair(&town, "next"), "+OK\r\n");
    let config = Arc::new(town.client(None, BOTH));
    assert_eq!(shown(&mut guarded.connect(&config)), der(&papers));
    let log = guarded.server.log() + &guarded.server.ask(&[b"SLOWLOG", b"GET", b"-1"]);
    assert!(!log.contains("sesame") && !log.contains("barley"), "{log}");
}

#[test]
fn authorities_may_stand_in_a_directory() {
    let (town, second) = (Town::found(), Town::found());
    let dir = town.path("authorities");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("readme"), "no certificate").unwrap();
    for (name, town) in [("a.pem", &town), ("b.pem", &second)] {
        fs::write(dir.join(name), town.authority.pem()).unwrap();
    }
    let guarded = town.serve(&["--tls-ca-cert-file", "", "--tls-ca-cert-dir", dir.to_str().unwrap()]);
    let third = Town::found();
    let is = [&town, &second, &third].map(|of| {
        let papers = of.papers("someone");
        guarded.serves(&Arc::new(town.client(Some(&papers), BOTH)))
    });
    assert_eq!(is, [true, true, false]);
}

#[test]
fn links_of_the_server_show_its_own_certificate() {
    let town = Town::found();
    town.write("client", &town.papers("replica"));
    let guarded = town.serve(&["--tls-auth-clients-user", "CN"]);
    let mut plain = Client::of(&guarded.server);
    assert_eq!(plain.ask("ACL SETUSER replica on nopass +@all"), ["OK"]);
    let mut config = Config {
        tls_cert_file: town.text("server.crt"),
        tls_key_file: town.text("server.key"),
        tls_ca_cert_file: town.text("ca.crt"),
        ..Config::default()
    };
    let name = |config: &Config| {
        let tls = ClientConnection::new(
            Arc::new(memkv::tls::client_config(config).unwrap()),
            // Redis does not compare the name it calls with the certificate's.
            "some.other.name".try_into().unwrap(),
        );
        let mut client = Client::over(StreamOwned::new(tls.unwrap(), guarded.dial()));
        client.ask("ACL WHOAMI").concat()
    };
    assert_eq!(name(&config), "default");
    config.tls_client_cert_file = town.text("client.crt");
    config.tls_client_key_file = town.text("client.key");
    assert_eq!(name(&config), "replica");
    config.tls_client_key_file = town.text("server.key");
    assert!(memkv::tls::client_config(&config).unwrap_err().contains("it does not belong to"));
    config.tls_ca_cert_file = String::new();
    assert!(memkv::tls::client_config(&config).unwrap_err().contains("tls-ca-cert-file"));
    // A server that another authority vouches for is none of ours.
    let elsewhere = Town::found();
    config.tls_ca_cert_file = elsewhere.text("ca.crt");
    config.tls_client_key_file = town.text("client.key");
    let tls = ClientConnection::new(
        Arc::new(memkv::tls::client_config(&config).unwrap()),
        "some.other.name".try_into().unwrap(),
    );
    let mut wire = StreamOwned::new(tls.unwrap(), guarded.dial());
    assert!(wire.write_all(b"PING\r\n").and_then(|()| wire.read_exact(&mut [0; 7])).is_err());
}

#[test]
fn garbage_is_closed_and_costs_nothing() {
    let town = Town::found();
    let mut guarded = town.serve(&["--tls-auth-clients", "no"]);
    let config = Arc::new(town.client(None, BOTH));
    let endless = {
        // A handshake message of 16 MB that begins well.
        let mut bytes = Vec::new();
        for i in 0..64u32 {
            bytes.extend([22, 3, 1, 0x40, 0]);
            let head: &[u8] = if i == 0 { &[1, 0xff, 0xff, 0xff] } else { &[0; 4] };
            bytes.extend(head);
            bytes.resize(bytes.len() + 0x4000 - 4, 0);
        }
        bytes
    };
    let hello = client_hello(&config);
    let mut hostile: Vec<Vec<u8>> = vec![
        b"PING\r\n".to_vec(),
        request(&[b"SET", b"a", b"b"]),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0; 100_000],
        vec![0xff; 100_000],
        endless,
        // Records of nothing, and an alert.
        [22, 3, 1, 0, 0].repeat(10_000),
        [21, 3, 1, 0, 2, 1, 90].repeat(10_000),
        [hello.clone(), hello.clone()].concat(),
        [hello.clone(), b"*1\r\n$4\r\nPING\r\n".to_vec()].concat(),
    ];
    hostile.extend((1..hello.len()).step_by(17).map(|cut| hello[..cut].to_vec()));
    hostile.extend((0..hello.len()).step_by(5).map(|at| {
        let mut bent = hello.clone();
        bent[at] ^= 0x5a;
        bent
    }));
    for bytes in &hostile {
        guarded.tell(bytes);
    }
    assert_eq!(guarded.tell(b"PING\r\n"), b"", "who does not speak TLS is not answered in it");
    assert!(guarded.serves(&config));
    let descriptors = guarded.server.descriptors();
    wait_until("all are closed", || guarded.server.descriptors() <= descriptors);
    guarded.server.is_well();
}

/// The first bytes of a handshake.
fn client_hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let mut tls = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut hello).unwrap();
    }
    hello
}

#[test]
fn a_peer_that_vanishes_in_the_middle_of_a_record_is_forgotten() {
    let town = Town::found();
    let mut guarded = town.serve(&["--tls-auth-clients", "no"]);
    let config = Arc::new(town.client(None, BOTH));
    assert!(guarded.serves(&config));
    let before = guarded.server.descriptors();
    for cut in [1, 3, 5, 6, 40, 1000] {
        let mut client = guarded.connect(&config);
        assert_eq!(client.ask("PING"), ["PONG"]);
        let Wire { conn, sock } = client.stream();
        conn.writer().write_all(&request(&[b"SET", b"half", &[b'x'; 4000]])).unwrap();
        let mut record = Vec::new();
        conn.write_tls(&mut record).unwrap();
        sock.write_all(&record[..cut]).unwrap();
    }
    for _ in 0..20 {
        let mut client = guarded.connect(&config);
        client.send("SET half y");
        socket_reset(&client.stream().sock);
    }
    wait_until("their connections are gone", || guarded.server.descriptors() <= before);
    assert_ne!(guarded.server.ask(&[b"STRLEN", b"half"]), ":4000\r\n");
    guarded.server.is_well();
}

/// The next close sends a reset.
fn socket_reset(socket: &TcpStream) {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn half_open_handshakes_are_bounded_and_hold_nobody_up() {
    let town = Town::found();
    let mut guarded = town.serve(&["--tls-auth-clients", "no", "--maxclients", "6000"]);
    let config = Arc::new(town.client(None, BOTH));
    let hello = client_hello(&config);
    let mut plain = Client::of(&guarded.server);
    let mut silent: Vec<TcpStream> = Vec::new();
    for i in 0..5500 {
        let mut socket = guarded.dial();
        match i % 6 {
            0 => {}
            1..=3 => socket.write_all(&hello[..hello.len() / 2]).unwrap(),
            _ => socket.write_all(&hello).unwrap(),
        }
        silent.push(socket);
        if i % 500 == 0 {
            assert_eq!(plain.ask("PING"), ["PONG"], "clients without TLS do not notice");
        }
    }
    // More have begun than are made at the same time: one that goes on gets its turn.
    assert!(guarded.serves(&config));
    assert_eq!(plain.ask("PING"), ["PONG"]);
    let list = plain.ask("CLIENT LIST").concat();
    assert!(list.lines().count() < 10, "they are no clients yet");
    wait_until("who began and did not go on is given up", || guarded.server.descriptors() < 1100);
    wait_until("and who says nothing at all", || guarded.server.descriptors() < 100);
    drop(silent);
    guarded.server.is_well();
}

#[test]
fn one_client_too_many_is_dropped_and_protected_mode_speaks_tls() {
    let town = Town::found();
    let guarded = town.serve(&["--tls-auth-clients", "no", "--maxclients", "5"]);
    let config = Arc::new(town.client(None, BOTH));
    let mut clients: Vec<Client<Wire>> = (0..5).map(|_| guarded.connect(&config)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("PING"), ["PONG"]));
    assert!(!guarded.serves(&config));
    clients.pop();
    wait_until("there is room again", || guarded.serves(&config));
    // Those that have just gone may still be counted.
    clients.truncate(1);

    let Some(address) = foreign_address() else { return };
    assert_eq!(clients[0].ask(&format!("CONFIG SET bind \"127.0.0.1 {address}\"")), ["OK"]);
    let dial = || {
        let tls = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(tls, TcpStream::connect((address.as_str(), guarded.port)).unwrap())
    };
    let mut told = String::new();
    // Nothing is sent: a socket that is closed over unread bytes may take back what it was to deliver.
    let _ = dial().read_to_string(&mut told);
    assert!(told.starts_with("-DENIED Redis is running in protected mode"), "{told}");
    assert_eq!(clients[0].ask("CONFIG SET protected-mode no"), ["OK"]);
    assert_eq!(Client::over(dial()).ask("PING"), ["PONG"]);
}

/// An address of this machine that is not the loopback's, if it has one.
fn foreign_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}

#[test]
fn killing_a_client_with_decrypted_requests_is_safe() {
    let town = Town::found();
    let mut guarded = town.serve(&["--tls-auth-clients", "no"]);
    let config = Arc::new(town.client(None, BOTH));
    let mut plain = Client::of(&guarded.server);
    for round in 0..50 {
        let mut victim = guarded.connect(&config);
        let id = victim.ask("CLIENT ID").concat();
        let pipeline: Vec<u8> = (0..2000).flat_map(|_| request(&[b"ECHO", &[b'x'; 50]])).collect();
        let _ = victim.stream().write_all(&pipeline);
        if round % 2 == 0 {
            victim.reply();
        }
        assert_eq!(plain.ask(&format!("CLIENT KILL ID {id}")), ["1"]);
        let mut rest = Vec::new();
        let _ = victim.stream().read_to_end(&mut rest);
    }
    guarded.server.is_well();
}
