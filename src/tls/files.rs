//! The files of TLS: certificates, private keys and authorities in PEM.
//!
//! A key may be encrypted (PKCS #8 with a passphrase). A certificate and a key that do not belong together are refused
//! when they are read, not at the first handshake. Bounds: bytes of a file, files of a directory.

use super::identity;
use crate::config::Config;
use crate::log::cause;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::SecretDocument;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directives that name a certificate and its key.
pub struct KeyPair<'a> {
    certificate: &'a str,
    key: &'a str,
    passphrase: &'a str,
}

impl<'a> KeyPair<'a> {
    pub fn of_server(config: &'a Config) -> Self {
        let (certificate, key) = (&config.tls_cert_file, &config.tls_key_file);
        Self { certificate, key, passphrase: &config.tls_key_file_pass }
    }

    /// The server's own where the client has none.
    pub fn of_client(config: &'a Config) -> Self {
        let (certificate, key) = (&config.tls_client_cert_file, &config.tls_client_key_file);
        if certificate.is_empty() || key.is_empty() {
            return Self::of_server(config);
        }
        Self { certificate, key, passphrase: &config.tls_client_key_file_pass }
    }
}

/// Reads a certificate, the ones that lead to its authority, and its key.
pub fn certified_key(provider: &CryptoProvider, pair: &KeyPair<'_>) -> Result<CertifiedKey, String> {
    let failed = |what: &str, file: &str, cause: String| format!("Failed to load {what}: {file}: {cause}");
    let text = read(Path::new(pair.certificate)).map_err(|e| failed("certificate", pair.certificate, cause(&e)))?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| failed("certificate", pair.certificate, e.to_string()))?;
    let Some(certificate) = chain.first() else {
        return Err(failed("certificate", pair.certificate, "no certificate in PEM is in it".into()));
    };
    let public = identity::public_key(certificate);
    let public = public.ok_or_else(|| failed("certificate", pair.certificate, "it is malformed".into()))?;
    let key = private_key(pair).map_err(|cause| failed("private key", pair.key, cause))?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|e| failed("private key", pair.key, e.to_string()))?;
    let of_key = key.public_key().and_then(|info| identity::key_of_info(&info));
    if of_key.is_some_and(|of_key| of_key != public) {
        return Err(failed("private key", pair.key, format!("it does not belong to {}", pair.certificate)));
    }
    Ok(CertifiedKey::new(chain, key))
}

fn private_key(pair: &KeyPair<'_>) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(Path::new(pair.key)).map_err(|e| cause(&e))?;
    let text = String::from_utf8_lossy(&text);
    if text.contains(OLD_ENCRYPTION) {
        return Err("it is encrypted in the way of old; write it anew with `openssl pkcs8 -topk8`".into());
    }
    let Some(encrypted) = block(&text, ENCRYPTED_KEY) else {
        return PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|e| e.to_string());
    };
    if pair.passphrase.is_empty() {
        return Err("it is encrypted, and no passphrase is configured".into());
    }
    let decrypted = || {
        let (_, document) = SecretDocument::from_pem(encrypted).map_err(|e| e.to_string())?;
        let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|e| e.to_string())?;
        info.decrypt(pair.passphrase).map_err(|e| e.to_string())
    };
    let key = decrypted().map_err(|e| format!("it cannot be decrypted with the passphrase: {e}"))?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// The first PEM block with this label.
fn block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let begin = text.find(&format!("-----BEGIN {label}-----"))?;
    let end = format!("-----END {label}-----");
    let len = text[begin..].find(&end)? + end.len();
    Some(&text[begin..begin + len])
}

/// The authorities of `tls-ca-cert-file` and all files of `tls-ca-cert-dir`.
pub fn authorities(config: &Config) -> Result<RootCertStore, String> {
    let failed = |path: &Path, cause: String| {
        format!("Failed to configure CA certificate(s) file/directory: {}: {cause}", path.display())
    };
    let mut roots = RootCertStore::empty();
    let file = Path::new(&config.tls_ca_cert_file);
    if !config.tls_ca_cert_file.is_empty() {
        let text = read(file).map_err(|e| failed(file, cause(&e)))?;
        if add_authorities(&mut roots, &text) == 0 {
            return Err(failed(file, "no certificate of an authority is in it".into()));
        }
    }
    if !config.tls_ca_cert_dir.is_empty() {
        let dir = Path::new(&config.tls_ca_cert_dir);
        for path in directory(dir).map_err(|e| failed(dir, cause(&e)))? {
            let text = read(&path).map_err(|e| failed(&path, cause(&e)))?;
            add_authorities(&mut roots, &text);
        }
    }
    if roots.is_empty() {
        return Err(failed(Path::new(&config.tls_ca_cert_dir), "no certificate of an authority is in it".into()));
    }
    Ok(roots)
}

/// Adds those that are good; how many.
fn add_authorities(roots: &mut RootCertStore, text: &[u8]) -> usize {
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(text).flatten()).0
}

/// The plain files of a directory.
fn directory(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            paths.push(path);
        }
        if paths.len() > AUTHORITY_FILES_MAX {
            return Err(io::Error::other(format!("more than {AUTHORITY_FILES_MAX} files")));
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// By what it is seen that files have changed: for each its place on the disk, length and time of change.
#[derive(Default, PartialEq, Eq)]
pub struct State(Vec<(PathBuf, Option<[i64; 5]>)>);

impl State {
    pub fn of(config: &Config) -> Self {
        let named = [
            &config.tls_cert_file,
            &config.tls_key_file,
            &config.tls_client_cert_file,
            &config.tls_client_key_file,
            &config.tls_ca_cert_file,
        ];
        let mut paths: Vec<PathBuf> = named.iter().filter(|path| !path.is_empty()).map(PathBuf::from).collect();
        if !config.tls_ca_cert_dir.is_empty() {
            paths.extend(directory(Path::new(&config.tls_ca_cert_dir)).unwrap_or_default());
        }
        let mark = |m: fs::Metadata| [m.dev() as i64, m.ino() as i64, m.size() as i64, m.mtime(), m.mtime_nsec()];
        Self(paths.into_iter().map(|path| (path.clone(), fs::metadata(&path).ok().map(mark))).collect())
    }
}

const ENCRYPTED_KEY: &str = "ENCRYPTED PRIVATE KEY";
const OLD_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";
/// The bundle of all public authorities is a quarter of this.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The directory of all public authorities has less than 500, links included.
const AUTHORITY_FILES_MAX: usize = 2048;
