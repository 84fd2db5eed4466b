//! What rustls wants, of what the file says and of the files that it names.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use zeroize::Zeroize;

use super::file::{Tls, Versions};
use super::problem::Problem;

/// The contents of the files that [`Tls`] names.
pub struct Contents<'c> {
    pub certificate: &'c [u8],
    pub key: &'c [u8],
    /// And whether a client may come without a certificate of it.
    pub ca: Option<(&'c [u8], Optional)>,
}

/// Whether a client's certificate may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optional {
    Yes,
    No,
}

/// Everything that new connections need.
pub fn build(tls: &Tls, paths: Paths<'_>, contents: &Contents<'_>) -> Result<ServerConfig, Problem> {
    let provider = Arc::new(provider(tls));
    let certified = certified(paths, contents)?;
    let verifier = verifier(paths, contents, &provider)?;
    let versions: &[&SupportedProtocolVersion] = match tls.versions {
        Versions::Both => &[&TLS13, &TLS12],
        Versions::Tls12 => &[&TLS12],
        Versions::Tls13 => &[&TLS13],
    };
    let unfit = |error: rustls::Error| unfit("cert_file", paths.certificate, &error);
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(unfit)?;
    let builder = builder.with_client_cert_verifier(verifier);
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = tls.our_order;
    Ok(config)
}

/// Where the files are, for messages.
#[derive(Clone, Copy)]
pub struct Paths<'p> {
    pub certificate: &'p Path,
    pub key: &'p Path,
    pub ca: &'p Path,
}

/// What it speaks.
fn provider(tls: &Tls) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if let Some(wanted) = &tls.suites {
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || wanted.contains(&suite.suite()));
        // In the order of the file, behind those of TLS 1.3.
        provider.cipher_suites.sort_by_key(|suite| wanted.iter().position(|one| *one == suite.suite()));
    }
    if let Some(wanted) = &tls.groups {
        provider.kx_groups.retain(|group| wanted.contains(&group.name()));
        provider.kx_groups.sort_by_key(|group| wanted.iter().position(|one| *one == group.name()));
    }
    provider
}

fn certified(paths: Paths<'_>, contents: &Contents<'_>) -> Result<CertifiedKey, Problem> {
    let chain = certificates("cert_file", paths.certificate, contents.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(contents.key);
    let no_key = |_| Problem::Pem { what: "key_file", path: paths.key.to_owned(), wanted: "private key" };
    let mut key = key.map_err(no_key)?;
    let signer = ring::sign::any_supported_type(&key);
    key.zeroize();
    let signer = signer.map_err(|error| unfit("key_file", paths.key, &error))?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Problem::OtherKey { path: paths.key.to_owned() }),
        Err(error) => Err(unfit("cert_file", paths.certificate, &error)),
    }
}

fn verifier(
    paths: Paths<'_>,
    contents: &Contents<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let Some((ca, optional)) = contents.ca else { return Ok(Arc::new(NoClientAuth)) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca_file", paths.ca, ca)? {
        roots.add(certificate).map_err(|error| unfit("client_ca_file", paths.ca, &error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match optional {
        Optional::Yes => builder.allow_unauthenticated(),
        Optional::No => builder,
    };
    builder.build().map_err(|error| Problem::Unfit {
        what: "client_ca_file",
        path: paths.ca.to_owned(),
        reason: error.to_string(),
    })
}

fn certificates(what: &'static str, path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(_) => Err(Problem::Pem { what, path: path.to_owned(), wanted: "certificate" }),
    }
}

fn unfit(what: &'static str, path: &Path, error: &rustls::Error) -> Problem {
    Problem::Unfit { what, path: path.to_owned(), reason: error.to_string() }
}

/// Whether a handshake failed for want of a certificate that we take.
pub fn is_about_the_certificate(error: &std::io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|error| error.downcast_ref()),
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
    )
}

/// Whether what a caller sends first is TLS: the number of a handshake's record (RFC 8446 section 5.1).
pub fn is_hello(first: u8) -> bool {
    first == 22
}
