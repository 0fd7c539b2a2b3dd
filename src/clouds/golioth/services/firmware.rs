//! Updates: the manifest of what should run, and what became of each package.

use fieldgate_coap as coap;
use fieldgate_golioth_proto::content_format::ContentFormat;
use fieldgate_golioth_proto::{manifest, paths, state_report};

use crate::uplink::link::{CloudEvent, Manifest, ManifestComponent};

pub(super) fn get() -> coap::Request {
    coap::Request::get(paths::MANIFEST).accept(ContentFormat::Cbor.number())
}

/// What should run now. Nothing deployed is a manifest without components.
pub(super) fn read(payload: &[u8]) -> Result<CloudEvent, String> {
    let desired = manifest::decode(payload)
        .map_err(|error| format!("the cloud's manifest is not one; nothing is deployed from it: {error}"))?;
    Ok(CloudEvent::Manifest(match desired {
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
    }))
}

/// A component's state.
pub(super) fn report(
    package: &str,
    version: Option<&str>,
    target: Option<&str>,
    state: u8,
    reason: u8,
) -> Result<coap::Request, &'static str> {
    let path = paths::component(package).map_err(|_| "the package's name cannot be a path")?;
    let (Some(state), Some(reason)) =
        (state_report::State::from_code(state), state_report::Reason::from_code(reason))
    else {
        return Err("a state or reason that is none of Golioth's");
    };
    let body = state_report::StateReport { state, reason, package, version, target }.encode();
    Ok(coap::Request::post(&path).payload(ContentFormat::Cbor.number(), body))
}
