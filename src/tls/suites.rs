//! Protocol versions and cipher suites, by OpenSSL's names.
//!
//! `tls-ciphers` is OpenSSL's little language for suites up to TLS 1.2: words between colons, each a suite or a group of
//! suites, added, taken out (`-`), taken out for good (`!`) or moved to the end (`+`). The words known here are those that
//! tell rustls's suites apart. A word that adds nothing is refused, with the names of what exists; one that takes out what
//! was never there is no harm, unless it looks like a misspelt suite of ours.
//!
//! `tls-ciphersuites` is a plain list of TLS 1.3's suites.

use super::provider;
use crate::config::Config;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::*;
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

/// What both sides of a handshake may agree on.
pub struct Choice {
    pub provider: Arc<CryptoProvider>,
    pub versions: Vec<&'static SupportedProtocolVersion>,
}

impl Choice {
    /// What the configuration leaves of what there is.
    pub fn of(config: &Config) -> Result<Self, String> {
        let mut suites: Vec<SupportedCipherSuite> = suites_13(&config.tls_ciphersuites)?;
        suites.extend(suites_12(&config.tls_ciphers)?.iter().map(|suite| suite.suite));
        let versions = versions(&config.tls_protocols)?;
        Ok(Self { provider: Arc::new(CryptoProvider { cipher_suites: suites, ..provider() }), versions })
    }
}

fn versions(words: &str) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    for word in words.split_ascii_whitespace() {
        let version = match word.to_ascii_lowercase().as_str() {
            "tlsv1.2" => &TLS12,
            "tlsv1.3" => &TLS13,
            "tlsv1" | "tlsv1.1" => {
                return Err(format!(
                    "tls-protocols: {word} is not supported: it is insecure. There are TLSv1.2 and TLSv1.3."
                ));
            }
            _ => {
                return Err(format!(
                    "Invalid tls-protocols specified: '{word}'. Use a combination of 'TLSv1.2' and 'TLSv1.3'."
                ));
            }
        };
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    Ok(if versions.is_empty() { vec![&TLS13, &TLS12] } else { versions })
}

fn suites_13(words: &str) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut suites = Vec::new();
    for word in list(words) {
        let Some((_, suite)) = SUITES_13.iter().find(|(name, _)| *name == word) else {
            let known: Vec<&str> = SUITES_13.iter().map(|(name, _)| *name).collect();
            return Err(format!("tls-ciphersuites: there is no suite '{word}'. There are {}.", known.join(", ")));
        };
        if !suites.contains(suite) {
            suites.push(*suite);
        }
    }
    Ok(if suites.is_empty() { SUITES_13.iter().map(|(_, suite)| *suite).collect() } else { suites })
}

/// The suites that a list in OpenSSL's language leaves, in its order; all for none.
fn suites_12(words: &str) -> Result<Vec<&'static Suite>, String> {
    let all: Vec<&Suite> = SUITES_12.iter().collect();
    if words.trim().is_empty() {
        return Ok(all);
    }
    let (mut chosen, mut killed): (Vec<&Suite>, Vec<&Suite>) = (Vec::new(), Vec::new());
    for word in list(words) {
        let (operator, name) = match word.as_bytes().first() {
            Some(b'!' | b'-' | b'+') => word.split_at(1),
            _ => ("", word),
        };
        let mut named = matching(name);
        if named.is_empty() && (operator.is_empty() || operator == "+" || name.starts_with("ECDHE-")) {
            let known: Vec<&str> = SUITES_12.iter().map(|suite| suite.name).collect();
            return Err(format!("tls-ciphers: there is no suite '{name}'. There are {}.", known.join(", ")));
        }
        match operator {
            "" => chosen.extend(named.into_iter().filter(|s| !killed.contains(s)).collect::<Vec<_>>()),
            "+" => {
                named.retain(|suite| chosen.contains(suite));
                chosen.retain(|suite| !named.contains(suite));
                chosen.extend(named);
            }
            _ => {
                chosen.retain(|suite| !named.contains(suite));
                if operator == "!" {
                    killed.extend(named);
                }
            }
        }
        let mut seen = Vec::new();
        chosen.retain(|suite| {
            !seen.contains(suite) && {
                seen.push(*suite);
                true
            }
        });
    }
    if chosen.is_empty() {
        return Err(format!("tls-ciphers: '{words}' leaves no suite."));
    }
    Ok(chosen)
}

/// The suites that a word names, or all the words joined by `+`.
fn matching(word: &str) -> Vec<&'static Suite> {
    let is_named = |suite: &Suite| {
        word.split('+').all(|word| suite.name == word || suite.groups.contains(&word) || EVERY.contains(&word))
    };
    SUITES_12.iter().filter(|suite| is_named(suite)).collect()
}

fn list(words: &str) -> impl Iterator<Item = &str> {
    words.split([':', ',', ';', ' ']).filter(|word| !word.is_empty())
}

/// A suite of TLS 1.2.
#[derive(PartialEq)]
struct Suite {
    name: &'static str,
    /// OpenSSL's words for the groups it is in.
    groups: &'static [&'static str],
    suite: SupportedCipherSuite,
}

/// Groups that all suites are in.
const EVERY: &[&str] = &["DEFAULT", "ALL", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2"];

/// In the order in which they are preferred.
#[rustfmt::skip]
static SUITES_12: [Suite; 6] = [
    Suite {
        name: "ECDHE-ECDSA-AES256-GCM-SHA384", groups: &["aECDSA", "ECDSA", "AESGCM", "AES256", "AES"],
        suite: TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    },
    Suite {
        name: "ECDHE-ECDSA-AES128-GCM-SHA256", groups: &["aECDSA", "ECDSA", "AESGCM", "AES128", "AES"],
        suite: TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    },
    Suite {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305", groups: &["aECDSA", "ECDSA", "CHACHA20"],
        suite: TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    },
    Suite {
        name: "ECDHE-RSA-AES256-GCM-SHA384", groups: &["aRSA", "AESGCM", "AES256", "AES"],
        suite: TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    },
    Suite {
        name: "ECDHE-RSA-AES128-GCM-SHA256", groups: &["aRSA", "AESGCM", "AES128", "AES"],
        suite: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    },
    Suite {
        name: "ECDHE-RSA-CHACHA20-POLY1305", groups: &["aRSA", "CHACHA20"],
        suite: TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    },
];

static SUITES_13: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", TLS13_CHACHA20_POLY1305_SHA256),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &str) -> Vec<&'static str> {
        suites_12(words).unwrap().iter().map(|suite| suite.name).collect()
    }

    #[test]
    fn ciphers_are_chosen_by_openssls_words() {
        let all = names("");
        assert_eq!(all.len(), 6);
        for everything in
            ["DEFAULT", "ALL", "HIGH:!aNULL:!MD5", "DEFAULT:!MEDIUM", "EECDH+AESGCM:ALL", "ALL:!RSA:!SHA256"]
        {
            let mut chosen = names(everything);
            chosen.sort_unstable();
            let mut all = all.clone();
            all.sort_unstable();
            assert_eq!(chosen, all, "{everything}");
        }
        assert_eq!(names("ECDHE-RSA-AES128-GCM-SHA256"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(names("EECDH+AESGCM+aRSA"), ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(names("CHACHA20:-ECDSA"), ["ECDHE-RSA-CHACHA20-POLY1305"]);
        assert_eq!(names("aRSA:+AES256").last(), Some(&"ECDHE-RSA-AES256-GCM-SHA384"));
        assert!(!names("!CHACHA20:ALL").iter().any(|name| name.contains("CHACHA20")), "taken out for good");
        assert!(names("-CHACHA20:ALL").iter().any(|name| name.contains("CHACHA20")), "until it is asked for again");
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        for unknown in [
            "AES128-SHA",
            "ECDHE-RSA-AES128-SHA256",
            "nonsense",
            "ALL:+nonsense",
            "DEFAULT:!ECDHE-RSA-AES128-GCM-SHA265",
        ] {
            let refused = suites_12(unknown).err().unwrap();
            assert!(refused.contains("ECDHE-ECDSA-CHACHA20-POLY1305"), "{unknown}: {refused}");
        }
        assert!(suites_12("ALL:!ALL").err().unwrap().contains("leaves no suite"));
        assert!(suites_13("TLS_AES_128_CCM_SHA256").err().unwrap().contains("TLS_CHACHA20_POLY1305_SHA256"));
        assert_eq!(suites_13("TLS_AES_128_GCM_SHA256:TLS_AES_128_GCM_SHA256").unwrap(), [TLS13_AES_128_GCM_SHA256]);
    }

    #[test]
    fn old_protocols_are_refused_by_name() {
        assert_eq!(versions("").unwrap(), [&TLS13, &TLS12]);
        assert_eq!(versions("tlsv1.2").unwrap(), [&TLS12]);
        assert_eq!(versions("TLSv1.2 TLSv1.3 TLSv1.2").unwrap(), [&TLS12, &TLS13]);
        assert!(versions("TLSv1.1 TLSv1.2").err().unwrap().contains("TLSv1.1 is not supported"));
        assert!(versions("SSLv3").err().unwrap().contains("'SSLv3'"));
    }
}
