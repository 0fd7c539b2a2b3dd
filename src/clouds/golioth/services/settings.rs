//! Settings: what the console says, device over blueprint over project, and what became of each.

use fieldgate_coap as coap;
use fieldgate_golioth_proto::content_format::ContentFormat;
use fieldgate_golioth_proto::paths;
use fieldgate_golioth_proto::settings::{self, ErrorCode, SettingFault as Wire, StatusReport};

use super::value;
use crate::uplink::link::{CloudEvent, SettingFault, Settings};

pub(super) fn get() -> coap::Request {
    coap::Request::get(paths::SETTINGS).accept(ContentFormat::Cbor.number())
}

/// All settings, or nothing for the greeting.
pub(super) fn read(payload: &[u8]) -> Result<Option<CloudEvent>, String> {
    match settings::decode(payload).map_err(|error| error.to_string())? {
        settings::Notification::Greeting => Ok(None),
        settings::Notification::Settings(settings::Settings { version, values, faults }) => {
            let values =
                values.map(|all| all.into_iter().map(|(key, scalar)| (key, value(scalar))).collect());
            let faults = faults.into_iter().map(|(key, code)| (key, fault(code))).collect();
            Ok(Some(CloudEvent::Settings(Settings { version, values, faults })))
        }
    }
}

/// What a report takes at most, bytes: beyond one datagram it goes up in blocks.
const MOST_BYTES: usize = 16 * 1024;
/// What a fault takes beside its key, at most.
const FAULT_BYTES: usize = 28;

/// What became of them. A setting that is not named counts as applied, so all are named.
pub(super) fn status(version: Option<i64>, faults: &[(String, SettingFault)]) -> coap::Request {
    let mut room = MOST_BYTES;
    let fits = |(key, _): &&(String, SettingFault)| {
        let takes = key.len() + FAULT_BYTES;
        room.checked_sub(takes).inspect(|left| room = *left).is_some()
    };
    let errors: Vec<Wire<'_>> =
        faults.iter().take_while(fits).map(|(key, fault)| Wire { key, code: code(*fault) }).collect();
    let body = StatusReport { version, errors: &errors }.encode();
    coap::Request::post(paths::SETTINGS_STATUS).payload(ContentFormat::Cbor.number(), body)
}

fn fault(code: ErrorCode) -> SettingFault {
    match code {
        ErrorCode::KeyNotRecognized => SettingFault::NotRecognized,
        ErrorCode::KeyNotValid => SettingFault::KeyNotValid,
        ErrorCode::ValueFormatNotValid => SettingFault::FormatNotValid,
        ErrorCode::ValueOutsideRange => SettingFault::OutsideRange,
        ErrorCode::ValueStringTooLong => SettingFault::TooLong,
        ErrorCode::General => SettingFault::General,
    }
}

fn code(fault: SettingFault) -> ErrorCode {
    match fault {
        SettingFault::NotRecognized => ErrorCode::KeyNotRecognized,
        SettingFault::KeyNotValid => ErrorCode::KeyNotValid,
        SettingFault::FormatNotValid => ErrorCode::ValueFormatNotValid,
        SettingFault::OutsideRange => ErrorCode::ValueOutsideRange,
        SettingFault::TooLong => ErrorCode::ValueStringTooLong,
        SettingFault::General => ErrorCode::General,
    }
}
