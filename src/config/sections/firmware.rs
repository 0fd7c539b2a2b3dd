//! `[[firmware.component]]`: whose firmware version is reported, and where it is known from.

use super::Context;
use super::gateway::DEVICE_REMEDY;
use crate::config::model::{Adapter, Component, VersionSource};
use crate::config::problem::{Taken, quote};
use crate::config::reader::Reader;
use crate::config::words;

/// Most components. Each is a row in the state report.
const MOST: usize = 32;

/// Where a version may come from, before `version` is looked at.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Daemon,
    Modem,
    Fixed,
}

const ORIGINS: [(&str, Origin); 3] =
    [("daemon", Origin::Daemon), ("modem", Origin::Modem), ("fixed", Origin::Fixed)];

/// What is reported when nothing is configured: the gateway itself.
pub(super) fn default_component(serial: &str) -> Component {
    Component {
        package: "main".to_owned(),
        device: serial.to_owned(),
        adapter: Adapter::None,
        version: VersionSource::Daemon,
    }
}

pub(super) fn components(mut reader: Reader<'_>, has_modem: bool, context: &Context<'_>) -> Vec<Component> {
    let tables = reader.tables("component");
    if tables.len() > MOST {
        let what = format!("{} components are too many.", tables.len());
        reader.problem("component", what, format!("Configure at most {MOST}."));
    }
    reader.finish();
    let mut taken = Taken::default();
    let mut components: Vec<_> =
        tables.into_iter().map(|table| component(table, has_modem, context, &mut taken)).collect();
    if components.is_empty() {
        components.push(default_component(&context.serial));
    }
    components
}

fn component(mut reader: Reader<'_>, has_modem: bool, context: &Context<'_>, taken: &mut Taken) -> Component {
    let package = reader
        .text("package", "\"main\"", words::is_name, "a package name", super::bus::NAME_REMEDY)
        .map_or("main", |found| found.value);
    let device = reader
        .text("device", "\"cell-0042\"", words::is_device, "a device name", DEVICE_REMEDY)
        .map_or(context.serial.as_str(), |found| found.value);
    reader.choice("adapter", "an adapter", &[("none", Adapter::None)]);
    taken.claim(
        context.findings,
        &format!("{package} of {device}"),
        reader.place("package"),
        &reader.path("package"),
        "A device has each package once: name another package or device.",
    );
    let version = version(&mut reader, has_modem);
    reader.finish();
    Component { package: package.to_owned(), device: device.to_owned(), adapter: Adapter::None, version }
}

fn version(reader: &mut Reader<'_>, has_modem: bool) -> VersionSource {
    let origin = reader.choice("version_from", "a source of versions", &ORIGINS).unwrap_or(Origin::Daemon);
    let fixed = reader.any_text("version", "\"1.2.3\"");
    match (origin, fixed) {
        (Origin::Fixed, Some(text)) => {
            if !is_version(text.value) {
                let what = format!("{} is not a version.", quote(text.value));
                reader.problem("version", what, "Write it as the cloud knows it, such as \"1.2.3\".");
            }
            return VersionSource::Fixed(text.value.to_owned());
        }
        (Origin::Fixed, None) if !reader.has("version") => reader.missing("version", "\"1.2.3\""),
        (Origin::Fixed, None) => {}
        (_, Some(_)) => reader.problem(
            "version",
            "a version is written, but it is not taken from here.",
            "Write version_from = \"fixed\" or remove version.",
        ),
        (Origin::Modem, None) if !has_modem => reader.problem(
            "version_from",
            "there is no [modem] to ask.",
            "Configure [modem] or choose another source.",
        ),
        (Origin::Modem, None) => return VersionSource::Modem,
        (Origin::Daemon, None) => {}
    }
    VersionSource::Daemon
}

fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
