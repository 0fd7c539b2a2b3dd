//! What the configuration says of credential and suites, as DTLS takes it.

use std::path::Path;

use fieldgate_dtls as dtls;

use crate::config::{Golioth, GoliothCredential, Secret, Suite};

/// What there must be room for before a handshake is begun, headers included: the question for the name before it, the handshake with a
/// cookie, and the first look at the manifest after it.
const PSK_HANDSHAKE_BYTES: u64 = 2100;
/// The same with certificates: two chains of two.
const CERTIFICATE_HANDSHAKE_BYTES: u64 = 5000;

/// What is offered and asked for in every handshake; `identity` is what is shown where there is a certificate. Roots are read from
/// their file each time, which is small.
///
/// # Errors
/// In words, with what to do.
pub(super) fn client(
    config: &Golioth,
    identity: Option<dtls::Identity>,
) -> Result<dtls::ClientConfig, String> {
    let mut client = match &config.credential {
        GoliothCredential::Psk { id, key } => {
            let psk = dtls::Psk::new(id.as_bytes(), key.expose()).map_err(|error| error.to_string())?;
            dtls::ClientConfig::new(psk)
        }
        GoliothCredential::Certificate { certificate_file, key, ca_file, server_name, .. } => {
            let identity = match identity {
                Some(identity) => identity,
                None => configured(certificate_file, key)?,
            };
            let roots = dtls::Roots::from_pem(&read(ca_file, "ca_file")?)
                .map_err(|error| format!("the roots in {}: {error}", ca_file.display()))?;
            dtls::ClientConfig::with_certificate(identity, roots, server_name)
        }
    };
    client.suites = config.suites.iter().map(|suite| dtls_suite(*suite)).collect();
    client.connection_id = config.connection_id && !crate::sabotage::on("no-connection-id");
    Ok(client)
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
