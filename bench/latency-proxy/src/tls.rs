//! Terminates TLS in front of the endpoint, with a certificate for 127.0.0.1 from a CA that is made for this run.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

/// Makes a CA, writes its certificate to `ca.pem` in `directory`, and returns an acceptor and that path.
///
/// # Errors
/// If the certificate cannot be made or written.
pub fn acceptor(directory: &Path) -> io::Result<(TlsAcceptor, PathBuf)> {
    let (ca_key, mut ca) = (key()?, CertificateParams::default());
    ca.distinguished_name.push(DnType::CommonName, "latency-proxy");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let path = directory.join("ca.pem");
    std::fs::write(&path, ca.self_signed(&ca_key).map_err(io::Error::other)?.pem())?;

    let (own_key, mut own) = (key()?, CertificateParams::default());
    own.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    own.use_authority_key_identifier_extension = true;
    let own = own.signed_by(&own_key, &Issuer::new(ca, ca_key)).map_err(io::Error::other)?;

    let key = PrivateKeyDer::try_from(own_key.serialize_der()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .map_err(io::Error::other)?;
    Ok((TlsAcceptor::from(Arc::new(config)), path))
}

fn key() -> io::Result<KeyPair> {
    KeyPair::generate().map_err(io::Error::other)
}
