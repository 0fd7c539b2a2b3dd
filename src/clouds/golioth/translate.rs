//! Between the link's words and Golioth's paths and bodies. Pure.

use std::time::Duration;

use fieldgate_coap as coap;
use fieldgate_golioth_proto::{content_format::ContentFormat, manifest, paths, state_report};

use crate::uplink::link::{Manifest, ManifestComponent, Message, Report};

/// A report nobody answers is given up after this; its owner offers it again.
const REPORT_DEADLINE: Duration = Duration::from_secs(120);

/// The request that posts a batch. What does not wait for a commit window does not wait for a congestion window either.
pub(super) fn post(message: Message) -> coap::Request {
    let path = format!(".s/{}", message.address);
    let urgent = !message.class.waits_for_window();
    coap::Request::post(&path).payload(ContentFormat::Cbor.number(), message.body).urgent(urgent)
}

/// Where the firmware log goes: a stream of its own, which a pipeline must take as it takes the readings'.
const FIRMWARE_LOG: &str = ".s/firmware_log";

/// The request that posts a component's state or a page of the firmware log; `None` when the package's name cannot be a
/// path or a number is none of Golioth's.
pub(super) fn report(report: &Report) -> Option<coap::Request> {
    let (package, version, target, state, reason) = match report {
        Report::Component { package, version, target, state, reason } => {
            (package, version, target, state, reason)
        }
        Report::FirmwareLog { page } => {
            let post = coap::Request::post(FIRMWARE_LOG).payload(ContentFormat::Json.number(), page.clone());
            return Some(post.deadline(REPORT_DEADLINE));
        }
    };
    let path = paths::component(package).ok()?;
    let body = state_report::StateReport {
        state: state_report::State::from_code(*state)?,
        reason: state_report::Reason::from_code(*reason)?,
        package,
        version: version.as_deref(),
        target: target.as_deref(),
    }
    .encode();
    Some(coap::Request::post(&path).payload(ContentFormat::Cbor.number(), body).deadline(REPORT_DEADLINE))
}

/// What the cloud wants deployed. Nothing deployed is a manifest without components.
pub(super) fn manifest(desired: manifest::Desired) -> Manifest {
    match desired {
        manifest::Desired::Nothing => Manifest { sequence_number: 0, components: Vec::new() },
        manifest::Desired::Deployment(deployment) => Manifest {
            sequence_number: deployment.sequence_number,
            components: deployment
                .components
                .into_iter()
                .map(|c| ManifestComponent {
                    package: c.package,
                    version: c.version,
                    sha256: c.sha256,
                    size_bytes: c.size_bytes,
                    uri: c.uri,
                })
                .collect(),
        },
    }
}
