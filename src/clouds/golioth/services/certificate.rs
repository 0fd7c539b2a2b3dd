//! Certificates: the gateway's wish for the next one (`v1/csr`), and whether what comes is one to use. Pure.

use fieldgate_coap as coap;
use fieldgate_dtls::{
    self as dtls, CertificateError, CertificateProblem, Identity, Roots, Subject, WallTime,
};
use fieldgate_golioth_proto::content_format::ContentFormat;
use fieldgate_golioth_proto::paths;

use super::REPORT_DEADLINE;
use crate::clouds::golioth::renewal::Pair;
use crate::spend::wire;

/// A longer answer is no certificate of a device.
const MOST_BYTES: usize = 4096;
/// What asking once costs, bytes: a request, an answer in as many blocks as the longest chain we have seen, and their headers.
pub(in crate::clouds::golioth) const EXPECTED_BYTES: u64 = 2048 + 4 * wire::UDP_OVER_IPV4;

/// The request that asks for a certificate: a certification request in DER (RFC 2986).
pub(in crate::clouds::golioth) fn ask(request: Vec<u8>) -> coap::Request {
    coap::Request::post(paths::CERTIFICATE)
        .payload(ContentFormat::OctetStream.number(), request)
        .deadline(REPORT_DEADLINE)
}

/// Why what came is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::clouds::golioth) enum NotUsable {
    /// Neither DER nor PEM of a certificate, or too much of it.
    #[error("what came is no certificate")]
    NoCertificate,
    /// Of another device, or of another question.
    #[error("what came is a certificate for another key")]
    OtherKey,
    /// The cloud would take us for somebody else.
    #[error("what came is a certificate for {}", named(.0))]
    OtherSubject(Box<Subject>),
    /// Their clock, or ours, is wrong.
    #[error("what came is not valid yet: check this clock, then theirs")]
    NotYetValid,
    /// It would be of no use.
    #[error("what came ends no later than the certificate in use")]
    EndsNoLater,
    /// The operator says who may sign.
    #[error("what came does not do for golioth.renew_ca_file: {0}")]
    NotVouchedFor(CertificateProblem),
}

fn named(subject: &Subject) -> String {
    let part = |part: &Option<String>| -> String {
        let text = part.as_deref().unwrap_or("nobody");
        text.chars().filter(|c| !c.is_control()).take(64).collect()
    };
    format!("{} of {}", part(&subject.common_name), part(&subject.organization))
}

/// Makes of an answer, DER or PEM, the successor of `current` with the key that it was asked for. A certificate that comes alone
/// and was signed as the one before takes over what led from there to a root.
///
/// # Errors
/// [`NotUsable`].
pub(in crate::clouds::golioth) fn examine(
    current: &Identity,
    key: &[u8],
    answer: &[u8],
    signers: Option<&Roots>,
    now: WallTime,
) -> Result<Pair, NotUsable> {
    if answer.len() > MOST_BYTES {
        return Err(NotUsable::NoCertificate);
    }
    let alone = dtls::Identity::from_parts(&[answer], key).map_err(|error| match error {
        CertificateError::Mismatch => NotUsable::OtherKey,
        _ => NotUsable::NoCertificate,
    })?;
    if alone.subject() != current.subject() {
        return Err(NotUsable::OtherSubject(Box::new(alone.subject())));
    }
    let (from, until) = alone.validity();
    if from > now.unix_s {
        return Err(NotUsable::NotYetValid);
    }
    if until <= current.validity().1 || until <= now.unix_s {
        return Err(NotUsable::EndsNoLater);
    }
    let mut certificates = alone.certificates();
    if certificates.len() == 1
        && let [_, above @ ..] = current.certificates().as_slice()
        && let [signer, ..] = above
        && Roots::from_parts(&[signer]).is_ok_and(|signer| alone.leads_to(&signer, now).is_ok())
    {
        certificates.extend_from_slice(above);
    }
    let next = Pair::new(certificates, key);
    if let Some(signers) = signers {
        let whole = next.identity().map_err(|_| NotUsable::NoCertificate)?;
        whole.leads_to(signers, now).map_err(NotUsable::NotVouchedFor)?;
    }
    Ok(next)
}
