//! What the configuration says of credential and suites, as DTLS takes it.

use std::path::Path;

use fieldgate_dtls as dtls;
use sha2::{Digest, Sha256};

use crate::config::{Golioth, GoliothCredential, Secret, Suite};

/// What there must be room for before a handshake is begun, headers included: the question for the name before it, the handshake with a
/// cookie, and the first look at the manifest after it.
const PSK_HANDSHAKE_BYTES: u64 = 2100;
/// The same with certificates: two chains of two.
const CERTIFICATE_HANDSHAKE_BYTES: u64 = 5000;

/// Who we are and whom we trust, as it was when it was read.
pub(super) struct Loaded {
    /// What is offered and asked for in every handshake.
    pub(super) client: dtls::ClientConfig,
    /// All of it but the key, contents of files included: a session is bound to this. (The key seals what is kept of one.)
    pub(super) digest: [u8; 32],
}

/// Reads it; `identity` is what is shown where there is a certificate. Roots are read from their file each time, which is small.
///
/// # Errors
/// In words, with what to do.
pub(super) fn load(config: &Golioth, identity: Option<dtls::Identity>) -> Result<Loaded, String> {
    let mut digest = Sha256::new();
    let mut bind = |part: &[u8]| {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    };
    let mut client = match &config.credential {
        GoliothCredential::Psk { id, key } => {
            bind(b"psk");
            bind(id.as_bytes());
            let psk = dtls::Psk::new(id.as_bytes(), key.expose()).map_err(|error| error.to_string())?;
            dtls::ClientConfig::new(psk)
        }
        GoliothCredential::Certificate { certificate_file, key, ca_file, server_name, .. } => {
            let identity = match identity {
                Some(identity) => identity,
                None => configured(certificate_file, key)?,
            };
            let roots = read(ca_file, "ca_file")?;
            bind(b"certificate");
            // Those that are shown, the operator's or renewed ones.
            for certificate in identity.certificates() {
                bind(&certificate);
            }
            bind(&roots);
            bind(server_name.as_bytes());
            let roots = dtls::Roots::from_pem(&roots)
                .map_err(|error| format!("the roots in {}: {error}", ca_file.display()))?;
            dtls::ClientConfig::with_certificate(identity, roots, server_name)
        }
    };
    client.suites = config.suites.iter().map(|suite| dtls_suite(*suite)).collect();
    client.connection_id = config.connection_id && !crate::sabotage::on("no-connection-id");
    for suite in &client.suites {
        bind(&suite.id().to_be_bytes());
    }
    bind(&[u8::from(client.connection_id)]);
    Ok(Loaded { client, digest: digest.finalize().into() })
}

/// The operator's certificate, read from its file: one that was replaced by hand needs no restart, and one that cannot be read
/// keeps nothing from being accepted meanwhile.
///
/// # Errors
/// In words, with what to do.
pub(super) fn configured(certificate_file: &Path, key: &Secret) -> Result<dtls::Identity, String> {
    let certificate = read(certificate_file, "certificate_file")?;
    dtls::Identity::from_pem(&certificate, key.expose())
        .map_err(|error| format!("the certificate in {} with its key: {error}", certificate_file.display()))
}

/// What only this gateway and the operator have: the key, whichever kind it is.
pub(super) fn secret(credential: &GoliothCredential) -> &Secret {
    match credential {
        GoliothCredential::Psk { key, .. } | GoliothCredential::Certificate { key, .. } => key,
    }
}

pub(super) fn handshake_bytes(credential: &GoliothCredential) -> u64 {
    match credential {
        GoliothCredential::Psk { .. } => PSK_HANDSHAKE_BYTES,
        GoliothCredential::Certificate { .. } => CERTIFICATE_HANDSHAKE_BYTES,
    }
}

pub(super) fn read(path: &Path, key: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| {
        format!("{} cannot be read: {error}. Put it there, or correct golioth.{key}", path.display())
    })
}

fn dtls_suite(suite: Suite) -> dtls::CipherSuite {
    match suite {
        Suite::PskCcm8 => dtls::CipherSuite::PskAes128Ccm8,
        Suite::PskCcm => dtls::CipherSuite::PskAes128Ccm,
        Suite::PskGcm => dtls::CipherSuite::PskAes128Gcm,
        Suite::PskCbc => dtls::CipherSuite::PskAes128Cbc,
        Suite::EcdsaCcm8 => dtls::CipherSuite::EcdheEcdsaAes128Ccm8,
        Suite::EcdsaCcm => dtls::CipherSuite::EcdheEcdsaAes128Ccm,
        Suite::EcdsaGcm => dtls::CipherSuite::EcdheEcdsaAes128Gcm,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Encoding, Endpoint, Liveness};

    fn config(id: &str, suites: &[Suite], connection_id: bool) -> Golioth {
        let second = Duration::from_secs(1);
        Golioth {
            endpoint: Endpoint { host: "cloud".into(), port: 5684 },
            credential: GoliothCredential::Psk { id: id.into(), key: Secret::new(b"key".to_vec()) },
            stream_path: "up".into(),
            location_path: None,
            encoding: Encoding::Rows,
            connection_id,
            suites: suites.to_vec(),
            liveness: Liveness { keepalive: second, seldom: second, extra: 0, dead_path: second },
            requests_per_second: 1,
            rest: None,
        }
    }

    #[test]
    fn a_session_is_bound_to_identity_suites_and_connection_id() {
        let digest = |config: Golioth| load(&config, None).map(|loaded| loaded.digest).unwrap();
        let as_it_is = digest(config("gw@p", &[Suite::PskCcm8, Suite::PskGcm], true));
        assert_eq!(digest(config("gw@p", &[Suite::PskCcm8, Suite::PskGcm], true)), as_it_is);
        for other in [
            config("gx@p", &[Suite::PskCcm8, Suite::PskGcm], true),
            config("gw@p", &[Suite::PskGcm, Suite::PskCcm8], true),
            config("gw@p", &[Suite::PskCcm8], true),
            config("gw@p", &[Suite::PskCcm8, Suite::PskGcm], false),
        ] {
            assert_ne!(digest(other), as_it_is);
        }
    }
}
