//! The certificates of the HTTP port, and the TLS configuration made of them. Files that change are read again while
//! connections go on; files that are not valid change nothing.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are checked. Reading a file's metadata costs microseconds, and it also notices a renamed
/// directory or a change on a file system without notifications, which a watcher would miss.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The TLS configuration of a listener.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    seen: Mutex<Stamp>,
}

/// Tells versions of the two files apart: a renamed symbolic link (as Kubernetes uses it) leads to another inode, a
/// file that is written again has another time.
type Stamp = Option<[(u64, i64, i64, u64); 2]>;

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads a chain of certificates, the node's own first, and the key that belongs to it, both in PEM.
    ///
    /// # Errors
    /// A file cannot be read, contains no certificate or key, or the two do not belong together. The text names the
    /// file.
    pub fn load(certificate: PathBuf, key: PathBuf) -> io::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seen = Mutex::new(stamp(&certificate, &key));
        let first = read(&certificate, &key, &provider)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(first)));
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        // RFC 9113 section 3.2; in the order of preference.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { certificate, key, provider, current, config: Arc::new(config), seen })
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Checks the files again and again; never returns. Handshakes that begin after a change use the new certificate.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let files = self.clone();
            let looked = tokio::task::spawn_blocking(move || files.refresh()).await;
            match looked {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => tracing::info!("the TLS certificate was read anew"),
                Ok(Err(error)) => {
                    tracing::error!(%error, "the new TLS certificate is no good, the old one stays");
                }
                Err(error) => tracing::error!(%error, "looking at the TLS certificate failed"),
            }
        }
    }

    /// Reads the files if they changed since the last time. `true` when they did.
    ///
    /// # Errors
    /// Those of [`Certificates::load`]; the certificate in use stays.
    pub fn refresh(&self) -> io::Result<bool> {
        let now = stamp(&self.certificate, &self.key);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(false);
        }
        // Stored even if the files turn out to be invalid: the error is then logged once, and the files are read again
        // after their next change.
        *seen = now;
        let read = read(&self.certificate, &self.key, &self.provider)?;
        self.current.0.store(Arc::new(read));
        Ok(true)
    }
}

/// `None` when one of the files does not exist.
fn stamp(certificate: &PathBuf, key: &PathBuf) -> Stamp {
    let of = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
    };
    Some([of(certificate)?, of(key)?])
}

fn read(
    certificate: &PathBuf,
    key: &PathBuf,
    provider: &CryptoProvider,
) -> io::Result<CertifiedKey> {
    let explain = |path: &PathBuf, why: &dyn fmt::Display| {
        io::Error::other(format!("{}: {why}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| explain(certificate, &error))?;
    if chain.is_empty() {
        return Err(explain(certificate, &"there is no certificate in it"));
    }
    // The parser's error says what is wrong with the format, and repeats no bytes of the key.
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| explain(key, &error))?;
    CertifiedKey::from_der(chain, secret, provider)
        .map_err(|error| explain(key, &format_args!("with {}: {error}", certificate.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &std::path::Path, name: &str) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[test]
    fn files_that_change_are_read_anew_and_bad_ones_change_nothing() {
        let directory = std::env::temp_dir().join(format!("sfumato-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        let load = || Certificates::load(certificate.clone(), key.clone());
        let missing = load().unwrap_err().to_string();
        assert!(missing.contains("cert.pem"), "{missing}");

        let first = write(&directory, "first.example");
        let files = load().unwrap();
        let shown = || files.current.0.load().cert[0].to_vec();
        assert_eq!(shown(), first);
        assert!(!files.refresh().unwrap(), "nothing changed");

        let second = write(&directory, "second.example");
        assert!(files.refresh().unwrap());
        assert_eq!(shown(), second);

        // The certificate is new and the key is still the old one, as in the middle of an exchange of both files.
        let other = rcgen::generate_simple_self_signed(["third.example".to_owned()]).unwrap();
        std::fs::write(&certificate, other.cert.pem()).unwrap();
        assert!(files.refresh().unwrap_err().to_string().contains("key.pem"));
        assert_eq!(shown(), second);
        assert!(!files.refresh().unwrap(), "said once");
        std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
        assert!(files.refresh().unwrap());
        assert_eq!(shown(), other.cert.der().to_vec());

        for bad in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&certificate, bad).unwrap();
            assert!(files.refresh().is_err(), "{bad}");
        }
        std::fs::remove_file(&certificate).unwrap();
        assert!(files.refresh().is_err());
        assert_eq!(shown(), other.cert.der().to_vec());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
