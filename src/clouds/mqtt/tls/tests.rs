//! Dates against clocks. The certificates below were made for this; their keys are gone.

use super::*;
use crate::clock::{BootId, Mono, Wall};

/// `CN=Plant`, an authority from 2000 to 2100.
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBUjCB+aADAgECAgEBMAoGCCqGSM49BAMCMBAxDjAMBgNVBAMMBVBsYW50MCAX
DTAwMDEwMTAwMDAwMFoYDzIxMDAwMTAxMDAwMDAwWjAQMQ4wDAYDVQQDDAVQbGFu
dDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBM2/N2zZqYA0VBf33uwv1f8gWAW
Pz0cL9WORXB6BQO+D8rUjtfWNtq/HewRi6fAKIdfN2nSBgUpd+qYR8PJxZGjQjBA
MA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgIEMB0GA1UdDgQWBBQiekZR
9BahZtmJ9iPHqouUJq5okDAKBggqhkjOPQQDAgNIADBFAiBdmQovv+hrexIdAGEL
OnAQpJ6g5q4k5BusmRwj+msHOwIhAKhEcRDY80m2YfB9dTTZ34z6qDmZ818pDhIR
xPUm/aq3
-----END CERTIFICATE-----
";

/// For `broker.example`, signed by it, valid in 2020: over before the release.
const PAST: &str = "\
-----BEGIN CERTIFICATE-----
MIIBbTCCAROgAwIBAgIBAjAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVQbGFudDAe
Fw0yMDAxMDEwMDAwMDBaFw0yMTAxMDEwMDAwMDBaMBExDzANBgNVBAMMBmJyb2tl
cjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABI+UwCR0HMTrR/Pz2EGIAiysoY57
EHMTyx/zT98k+S8s1yyBnd3W0Tqt5fdhLdzF/t3uJTR7Xjh3EXESNwCAzFSjXTBb
MBkGA1UdEQQSMBCCDmJyb2tlci5leGFtcGxlMB0GA1UdDgQWBBQYSUBE3v9H6WGZ
e+Tk9SN7/fjrHTAfBgNVHSMEGDAWgBQiekZR9BahZtmJ9iPHqouUJq5okDAKBggq
hkjOPQQDAgNIADBFAiBfzlIQUe2J+ulBvoZEmYDNvJLKDcze3t6vO4/opotyuwIh
AK1PBlqmK2xletefu4hUQZ0fAZaAcJw56dhrYu6JAGTR
-----END CERTIFICATE-----
";

/// The same, valid in 2030: not yet begun at the release.
const FUTURE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBbjCCAROgAwIBAgIBAzAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVQbGFudDAe
Fw0zMDAxMDEwMDAwMDBaFw0zMTAxMDEwMDAwMDBaMBExDzANBgNVBAMMBmJyb2tl
cjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABI+UwCR0HMTrR/Pz2EGIAiysoY57
EHMTyx/zT98k+S8s1yyBnd3W0Tqt5fdhLdzF/t3uJTR7Xjh3EXESNwCAzFSjXTBb
MBkGA1UdEQQSMBCCDmJyb2tlci5leGFtcGxlMB0GA1UdDgQWBBQYSUBE3v9H6WGZ
e+Tk9SN7/fjrHTAfBgNVHSMEGDAWgBQiekZR9BahZtmJ9iPHqouUJq5okDAKBggq
hkjOPQQDAgNJADBGAiEAn5S1QmnvoVqe3ypqfO7l1EhNU47Fx4y1mJrB05zvjkcC
IQChN2F+GMI0mJGrEX7X8gZfvS+gSorYwMEPwz+esp/3DA==
-----END CERTIFICATE-----
";

const IN_2029: i64 = 1_861_920_000_000;
const IN_2030: i64 = 1_893_456_000_000 + 86_400_000;

#[derive(Debug)]
struct At {
    unix_ms: i64,
    trusted: bool,
}

impl Clock for At {
    fn mono(&self) -> Mono {
        Mono(0)
    }

    fn wall(&self) -> Wall {
        Wall { unix_ms: self.unix_ms, uncertainty_ms: 0, trusted: self.trusted }
    }

    fn boot_id(&self) -> BootId {
        BootId([0; 16])
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// What a gateway thinks of the certificate whose clock says `unix_ms` and may be trusted or not.
fn verified(certificate: &str, name: &'static str, unix_ms: i64, trusted: bool) -> Result<(), Error> {
    verified_der(&der(certificate), name, unix_ms, trusted)
}

fn verified_der(
    certificate: &CertificateDer<'_>,
    name: &'static str,
    unix_ms: i64,
    trusted: bool,
) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add(der(AUTHORITY)).unwrap();
    let provider = Arc::new(ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let verifier = Dated { inner, clock: Arc::new(At { unix_ms, trusted }) };
    let name = ServerName::try_from(name).unwrap();
    verifier.verify_server_cert(certificate, &[], &name, &[], unix_time(unix_ms)).map(|_| ())
}

fn refusal(result: Result<(), Error>) -> CertificateError {
    match result {
        Err(Error::InvalidCertificate(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn with_a_trusted_clock_dates_hold_to_the_letter() {
    assert_eq!(verified(FUTURE, "broker.example", IN_2030, true), Ok(()));
    let early = refusal(verified(FUTURE, "broker.example", IN_2029, true));
    assert!(matches!(early, CertificateError::NotValidYetContext { .. }), "{early:?}");
}

#[test]
fn without_a_trusted_clock_a_certificate_may_begin_later_but_must_not_have_ended_before_the_release() {
    for unix_ms in [0, IN_2029, i64::MAX] {
        assert_eq!(verified(FUTURE, "broker.example", unix_ms, false), Ok(()), "{unix_ms}");
        let ended = refusal(verified(PAST, "broker.example", unix_ms, false));
        assert!(matches!(ended, CertificateError::ExpiredContext { .. }), "{ended:?}");
    }
}

#[test]
fn without_a_trusted_clock_name_and_chain_are_verified_as_always() {
    let other = refusal(verified(FUTURE, "other.example", 0, false));
    assert!(matches!(other, CertificateError::NotValidForNameContext { .. }), "{other:?}");
    // One bit of the signature.
    let mut forged = der(FUTURE).to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(verified_der(&forged.into(), "broker.example", 0, false).is_err());
}
