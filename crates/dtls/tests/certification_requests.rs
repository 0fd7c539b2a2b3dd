//! The promise: a request made here is one that others understand, for the same subject and a new key, and what comes of it is
//! this side's new identity; a certificate that is another's, or that nobody stated vouches for, is told apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod common;

use std::process::Command;

use common::pki::{Kind, Pki};
use common::rng;
use fieldgate_dtls::{CertificateError, CertificateProblem, CertificationRequest, Identity, WallTime};

fn openssl(pki: &Pki, arguments: &[&str]) -> String {
    let done = Command::new("openssl").args(arguments).current_dir(pki.folder()).output().unwrap();
    let text = [done.stdout, done.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(done.status.success(), "openssl {arguments:?}: {text}");
    text
}

/// The certificate in DER that `by` gives for the request.
fn signed(pki: &Pki, request: &[u8], by: &str) -> Vec<u8> {
    pki.write("asked", "csr", request);
    let (ca, key) = (format!("{by}.pem"), format!("{by}.key"));
    let arguments = [
        "x509",
        "-req",
        "-inform",
        "DER",
        "-in",
        "asked.csr",
        "-CA",
        &ca,
        "-CAkey",
        &key,
        "-CAcreateserial",
        "-days",
        "90",
        "-sha256",
        "-outform",
        "DER",
        "-out",
        "given.der",
    ];
    openssl(pki, &arguments);
    pki.read("given", "der")
}

#[test]
fn a_request_verifies_elsewhere_and_has_the_subject_byte_for_byte_on_either_curve() {
    let pki = Pki::make();
    // Two string types in one name: read as text and written again, one of them would change.
    pki.signed("mixed", Kind::P256, "/O=my_project/C=FI/CN=gw-7", "ec-root", "basicConstraints=CA:FALSE\n");
    for (name, curve) in [("client", "secp384r1"), ("client-256", "prime256v1"), ("mixed", "prime256v1")] {
        let identity = pki.identity(name);
        let made = CertificationRequest::new(&identity, &mut rng(7)).unwrap();
        pki.write("asked", "csr", &made.request);
        let arguments = ["req", "-inform", "DER", "-in", "asked.csr", "-noout", "-verify", "-text"];
        let text = openssl(&pki, &arguments);
        assert!(text.contains("verify OK") && text.contains(curve), "{text}");
        let subject = |what: &str, file: &str| {
            openssl(&pki, &[what, "-in", file, "-noout", "-subject", "-nameopt", "RFC2253,show_type"])
        };
        openssl(&pki, &["req", "-inform", "DER", "-in", "asked.csr", "-out", "asked.pem"]);
        assert_eq!(subject("req", "asked.pem"), subject("x509", &format!("{name}.pem")));
    }
}

#[test]
fn what_is_signed_for_a_request_is_an_identity_with_its_key_and_with_no_other() {
    let pki = Pki::make();
    let identity = pki.identity("client-256");
    let asked = CertificationRequest::new(&identity, &mut rng(1)).unwrap();
    let another = CertificationRequest::new(&identity, &mut rng(2)).unwrap();
    assert_ne!(asked.key, another.key);
    let given = signed(&pki, &asked.request, "between");
    let renewed = Identity::from_parts(&[&given, &pki.read("between", "pem")], &asked.key).unwrap();
    assert_eq!(renewed.subject(), identity.subject());
    assert_eq!(renewed.certificates().len(), 2);
    assert_eq!(renewed.certificates()[0], given);
    let other = Identity::from_parts(&[&given], &another.key).unwrap_err();
    assert_eq!(other, CertificateError::Mismatch);
    assert!(Identity::from_parts(&[], &asked.key).is_err());
}

#[test]
fn an_identity_leads_to_whoever_signed_it_or_its_signer_and_to_nobody_else() {
    let pki = Pki::make();
    let asked = CertificationRequest::new(&pki.identity("client-256"), &mut rng(1)).unwrap();
    let given = signed(&pki, &asked.request, "between");
    let alone = Identity::from_parts(&[&given], &asked.key).unwrap();
    let chain = Identity::from_parts(&[&given, &pki.read("between", "pem")], &asked.key).unwrap();
    let now = WallTime { unix_s: alone.validity().0 + 60, trusted: true };
    let (root, between, other) =
        (pki.roots(&["ec-root"]), pki.roots(&["between"]), pki.roots(&["other-root"]));
    assert_eq!(chain.leads_to(&root, now), Ok(()));
    assert_eq!(alone.leads_to(&between, now), Ok(()));
    assert_eq!(alone.leads_to(&root, now), Err(CertificateProblem::UnknownRoot));
    assert_eq!(chain.leads_to(&other, now), Err(CertificateProblem::UnknownRoot));
    let late = WallTime { unix_s: alone.validity().1 + 60, trusted: true };
    assert_eq!(chain.leads_to(&root, late), Err(CertificateProblem::Expired));
}

#[test]
fn a_key_never_shows_in_debug() {
    let pki = Pki::make();
    let asked = CertificationRequest::new(&pki.identity("client-256"), &mut rng(1)).unwrap();
    assert_eq!(format!("{asked:?}"), format!("CertificationRequest({} bytes)", asked.request.len()));
}
