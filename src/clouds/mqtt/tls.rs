//! Whom to trust, and until when.
//!
//! Chain and name are always verified. Dates are verified by the daemon's clock while that is trusted; before, a certificate
//! is taken if there is a time not before the release at which its whole chain is valid. A gateway without a battery-backed
//! clock could otherwise reach nobody who knows the time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::streak::Sick;
use crate::clock::{Clock, RELEASE_FLOOR_UNIX_MS};
use crate::clouds::https::system_roots;

/// No chain is longer; each turn of looking for a time at which all are valid settles at least one certificate.
const LONGEST_CHAIN: usize = 8;

/// The TLS client for one broker: `ca_file` (PEM) is trusted instead of the system's certificates.
pub(super) fn client(ca_file: Option<&Path>, clock: &Arc<dyn Clock>) -> Result<Arc<ClientConfig>, Sick> {
    let roots = Arc::new(roots(ca_file)?);
    let provider = Arc::new(ring::default_provider());
    let failed = |why: String| Sick {
        why: format!("TLS cannot be set up: {why}"),
        next_step: "Check ca_file, or the system's certificates (package ca-certificates)".into(),
    };
    let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let verifier = Dated { inner, clock: Arc::clone(clock) };
    Ok(Arc::new(
        ClientConfig::builder_with_details(
            Arc::<CryptoProvider>::clone(&provider),
            Arc::new(Now(Arc::clone(clock))),
        )
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth(),
    ))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Sick> {
    let Some(path) = ca_file else {
        let roots = system_roots();
        return if roots.is_empty() {
            Err(Sick {
                why: "this system has no certificates to trust".into(),
                next_step: "Install ca-certificates, or set ca_file".into(),
            })
        } else {
            Ok(roots)
        };
    };
    let unusable = |what: String| Sick {
        why: format!("ca_file {} {what}", path.display()),
        next_step: "Put the authority's certificate there, in PEM, readable by fieldgate".into(),
    };
    let mut roots = RootCertStore::empty();
    let text = std::fs::read(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        certificate.map_err(|_| unusable("is not a PEM file".into())).and_then(|der| {
            roots.add(der).map_err(|_| unusable("holds a certificate that cannot be used".into()))
        })?;
    }
    if roots.is_empty() { Err(unusable("holds no certificate".into())) } else { Ok(roots) }
}

/// The daemon's clock, for rustls.
#[derive(Debug)]
struct Now(Arc<dyn Clock>);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.wall().unix_ms))
    }
}

/// See the module head.
#[derive(Debug)]
struct Dated {
    inner: Arc<WebPkiServerVerifier>,
    clock: Arc<dyn Clock>,
}

impl ServerCertVerifier for Dated {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify =
            |at| self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at);
        if self.clock.wall().trusted {
            return verify(now);
        }
        let mut at = unix_time(RELEASE_FLOOR_UNIX_MS);
        let mut result = verify(at);
        for _ in 0..LONGEST_CHAIN {
            match &result {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before, ..
                })) if *not_before > at => {
                    at = *not_before;
                    result = verify(at);
                }
                _ => break,
            }
        }
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn unix_time(unix_ms: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
