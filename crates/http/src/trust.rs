//! The certificates that TLS trusts: the system's (`SSL_CERT_FILE` and `SSL_CERT_DIR` respected) and those of
//! `AWS_CA_BUNDLE`.
//!
//! They are read for the first `https` address, since a machine may have none and may not need them, and again when a
//! handshake fails for its certificate: an authority is rotated while a service runs, and only a restart would help.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::CertificateResult;
use tokio::time::Instant;

/// How often certificates are read again at most.
const EVERY: Duration = Duration::from_secs(1);

/// The variables that name the system's certificates.
const SYSTEM: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The trusted certificates. Cheap to clone; clones share what was read.
#[derive(Debug, Clone)]
pub struct Trust(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bundle: Option<PathBuf>,
    only_bundle: bool,
    read: Mutex<Option<(Arc<ClientConfig>, Instant)>>,
}

impl Trust {
    /// The system's certificates and those of `AWS_CA_BUNDLE`, read once for the process.
    pub fn system() -> Self {
        static SHARED: LazyLock<Trust> = LazyLock::new(|| Trust::of(set("AWS_CA_BUNDLE"), false));
        SHARED.clone()
    }

    /// The certificates of one PEM file alone.
    pub fn file(bundle: impl Into<PathBuf>) -> Self {
        Self::of(Some(bundle.into()), true)
    }

    fn of(bundle: Option<PathBuf>, only_bundle: bool) -> Self {
        Self(Arc::new(Shared { bundle, only_bundle, read: Mutex::default() }))
    }

    /// What to begin a handshake with.
    ///
    /// # Errors
    /// A file cannot be read, or nobody is trusted.
    pub(crate) fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let mut read = self.lock();
        if let Some((config, _)) = &*read {
            return Ok(Arc::clone(config));
        }
        let config = self.0.load()?;
        *read = Some((Arc::clone(&config), Instant::now()));
        Ok(config)
    }

    /// Reads the certificates again after a handshake with `failed` failed; `None` if that was done a moment ago, or if
    /// they cannot be read, so that those at hand stay.
    pub(crate) fn renewed(&self, failed: &Arc<ClientConfig>) -> Option<Arc<ClientConfig>> {
        let mut read = self.lock();
        match &*read {
            // another connection has read them since
            Some((config, _)) if !Arc::ptr_eq(config, failed) => return Some(Arc::clone(config)),
            Some((_, at)) if at.elapsed() < EVERY => return None,
            _ => {}
        }
        let config = self.0.load().ok()?;
        *read = Some((Arc::clone(&config), Instant::now()));
        Some(config)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Arc<ClientConfig>, Instant)>> {
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system's certificates. An empty variable counts as unset, which the crate does not know.
fn system() -> CertificateResult {
    if SYSTEM.iter().all(|name| set(name).is_some() == std::env::var_os(name).is_some()) {
        return rustls_native_certs::load_native_certs();
    }
    let [mut file, mut folder] = SYSTEM.map(set);
    if file.is_none() && folder.is_none() {
        let found = openssl_probe::probe();
        (file, folder) = (found.cert_file, found.cert_dir.into_iter().next());
    }
    rustls_native_certs::load_certs_from_paths(file.as_deref(), folder.as_deref())
}

/// A variable's path, unless it is empty.
fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

impl Shared {
    fn load(&self) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        let mut first_error = None;
        if !self.only_bundle {
            let system = system();
            roots.add_parsable_certificates(system.certs);
            first_error = system.errors.into_iter().next().map(|error| error.to_string());
        }
        if let Some(bundle) = &self.bundle {
            let bad = |error: &dyn std::fmt::Display| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("AWS_CA_BUNDLE={}: {error}", bundle.display()),
                )
            };
            let certificates = CertificateDer::pem_file_iter(bundle).map_err(|error| bad(&error))?;
            let before = roots.len();
            for certificate in certificates {
                roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
            }
            if roots.len() == before {
                return Err(bad(&"no certificate in PEM form"));
            }
        }
        if roots.is_empty() {
            let set = SYSTEM.iter().find_map(|name| Some(format!(" in {name}={}", set(name)?.display())));
            let (set, why) = (set.unwrap_or_default(), first_error.map(|error| format!(" ({error})")));
            let why = why.unwrap_or_default();
            let text = format!("no certificate to trust{set}{why}; set SSL_CERT_FILE or AWS_CA_BUNDLE");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_a_certificate_is_an_error_that_names_it() {
        let path = std::env::temp_dir().join(format!("lifeline-bundle-{}", std::process::id()));
        for text in ["", "rubbish", "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            let error = Trust::of(Some(path.clone()), false).config().unwrap_err().to_string();
            assert!(error.starts_with(&format!("AWS_CA_BUNDLE={}: ", path.display())), "{error}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
