//! The keys of the node: those of the configuration, those of a file, those of a URL. When several have the same id, the configuration
//! wins over the file and the file over the URL, so that no server can put its key in the place of the operator's.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::jwks::{self, Keys, Origin, SET_MAX};
use super::keys::Key;
use super::remote::KeysUrl;
use crate::Secret;

/// Keys that the configuration names; they stay as long as the node runs.
#[derive(Debug, Clone, Default)]
pub struct FixedKeys(Keys);

impl FixedKeys {
    /// Adds a secret for HS256, at least 32 bytes.
    ///
    /// # Errors
    /// It is too short, or another key has this id.
    pub fn add_secret(&mut self, id: &str, secret: &Secret) -> Result<(), &'static str> {
        self.add(id, Key::secret(secret.reveal().as_bytes())?)
    }

    /// Adds a public key in PEM: Ed25519, RSA with 2048 to 8192 bits, or ECDSA with P-256.
    ///
    /// # Errors
    /// It is no such key, or another key has this id.
    pub fn add_public(&mut self, id: &str, pem: &str) -> Result<(), &'static str> {
        self.add(id, Key::pem(pem.as_bytes())?)
    }

    fn add(&mut self, id: &str, key: Key) -> Result<(), &'static str> {
        // A token names its key by the id alone. With two keys of one id, one of them could never be used.
        if self.0.contains_key(id) {
            return Err("another key has the same id");
        }
        self.0.insert(id.to_owned(), Arc::new(key));
        Ok(())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A file with a set of keys (JWKS), which is read again when it changes.
#[derive(Debug)]
pub struct KeysFile {
    path: PathBuf,
    keys: ArcSwap<Keys>,
    seen: Mutex<Option<Stamp>>,
}

/// How often the file is checked, as certificates are.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Tells versions of a file apart: inode, time of change, size.
type Stamp = (u64, i64, i64, u64);

impl KeysFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or is no set with a key that can be used.
    pub fn load(path: PathBuf) -> io::Result<Self> {
        let seen = Mutex::new(stamp(&path));
        let keys = ArcSwap::from_pointee(read(&path)?);
        Ok(Self { path, keys, seen })
    }

    /// Reads the file if it changed since the last time. `true` when it did.
    ///
    /// # Errors
    /// Those of [`KeysFile::load`]; the keys in use stay.
    pub(super) fn refresh(&self) -> io::Result<bool> {
        let now = stamp(&self.path);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(false);
        }
        // Stored even if the file turns out to be invalid: the error is then logged once.
        *seen = now;
        self.keys.store(Arc::new(read(&self.path)?));
        Ok(true)
    }
}

impl KeysFile {
    /// Checks the file again and again; never returns.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let file = self.clone();
            match tokio::task::spawn_blocking(move || file.refresh()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => tracing::info!("the file of token keys was read anew"),
                Ok(Err(error)) => {
                    tracing::error!(%error, "the new file of token keys is no good, the old keys stay");
                }
                Err(error) => tracing::error!(%error, "looking at the file of token keys failed"),
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

fn read(path: &Path) -> io::Result<Keys> {
    let explain = |why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
    };
    let size = std::fs::metadata(path).map_err(|error| explain(&error))?.len();
    if size > SET_MAX as u64 {
        return Err(explain(&format_args!("the set has more than {SET_MAX} bytes")));
    }
    let text = std::fs::read(path).map_err(|error| explain(&error))?;
    let set = jwks::parse(&text, Origin::File).map_err(|why| explain(&why))?;
    for (number, why) in &set.left_out {
        tracing::warn!(path = %path.display(), number, why, "a key of the file is not used");
    }
    Ok(set.keys)
}

/// All keys of the node.
#[derive(Debug)]
pub(super) struct Keyring {
    pub(super) fixed: FixedKeys,
    pub(super) file: Option<Arc<KeysFile>>,
    pub(super) url: Option<Arc<KeysUrl>>,
}

impl Keyring {
    /// The key that a token names, with its id. A token without a name has the only key, if there is only one.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<(String, Arc<Key>)> {
        let file = self.file.as_ref().map(|file| file.keys.load());
        let url = self.url.as_ref().map(|url| url.keys.load());
        let sources = [
            Some(&self.fixed.0),
            file.as_ref().map(|keys| &***keys),
            url.as_ref().map(|keys| &***keys),
        ];
        let mut sources = sources.into_iter().flatten();
        match kid {
            Some(kid) => {
                let key = sources.find_map(|keys| keys.get(kid))?;
                Some((kid.to_owned(), key.clone()))
            }
            None => {
                let mut all = sources.flat_map(|keys| keys.iter());
                let (id, only) = all.next()?;
                all.next().is_none().then(|| (id.clone(), only.clone()))
            }
        }
    }
}
