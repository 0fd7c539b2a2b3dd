//! What a deployment wants against what runs. Pure.

use crate::store::gateway::{Component, ComponentKey, Phase};
use crate::uplink::link::Manifest;

/// Why a component is in its state: the numbers a cloud is told, in Golioth's numbering.
pub mod reason {
    /// Nothing to say.
    pub const READY: u8 = 0;
    /// Nothing here installs such a package.
    pub const UNSUPPORTED_PACKAGE: u8 = 6;
}

/// What a deployment changes about a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentChange {
    /// The component; `None` when no component of this gateway has the package.
    pub key: Option<ComponentKey>,
    /// The package.
    pub package: String,
    /// The version wanted, if one is.
    pub target: Option<String>,
    /// How far.
    pub phase: Phase,
    /// Why, of [`reason`].
    pub reason: u8,
    /// The same for people.
    pub words: String,
}

/// Compares a deployment with the components. The result has an element for each component whose target, state, reason or
/// words change, in the order of `components`, and then one for each package that no component has, in the manifest's.
///
/// A package is that of the gateway's own device, or else of the one other device that has it: a deployment is addressed to
/// the gateway and names packages only.
#[must_use]
pub fn compare(manifest: &Manifest, components: &[Component], own_serial: &str) -> Vec<ComponentChange> {
    let wanted = |component: &Component| {
        manifest
            .components
            .iter()
            .find(|c| addressed(&c.package, components, own_serial) == Some(component))
            .map(|c| c.version.as_str())
    };
    let mut changes: Vec<ComponentChange> = components
        .iter()
        .filter_map(|component| {
            let change = judge(component, wanted(component));
            let same = change.target == component.target
                && (change.phase, change.reason) == (component.phase, component.reason)
                && change.words == component.words;
            (!same).then_some(change)
        })
        .collect();
    for (n, unknown) in manifest.components.iter().enumerate() {
        let repeated = manifest.components.iter().take(n).any(|c| c.package == unknown.package);
        if addressed(&unknown.package, components, own_serial).is_none() && !repeated {
            changes.push(ComponentChange {
                key: None,
                package: unknown.package.clone(),
                target: Some(unknown.version.clone()),
                phase: Phase::Idle,
                reason: reason::UNSUPPORTED_PACKAGE,
                words: format!(
                    "{} is deployed, and no [[firmware.component]] of this gateway has the package {}",
                    unknown.version, unknown.package
                ),
            });
        }
    }
    changes
}

/// Which component a deployment means by a package.
pub(super) fn addressed<'a>(
    package: &str,
    components: &'a [Component],
    own_serial: &str,
) -> Option<&'a Component> {
    let mut of_package = components.iter().filter(|c| c.key.package == package);
    let own = of_package.clone().find(|c| c.key.device == own_serial);
    own.or_else(|| {
        let first = of_package.next();
        if of_package.next().is_some() { None } else { first }
    })
}

/// What is to be said of a component of which a deployment wants `wanted`.
pub(super) fn judge(component: &Component, wanted: Option<&str>) -> ComponentChange {
    let (reason, words) = match (wanted, component.version.as_deref()) {
        (None, _) => (reason::READY, "nothing is deployed".to_owned()),
        (Some(wanted), Some(running)) if wanted == running => {
            (reason::READY, format!("{wanted} is deployed and runs"))
        }
        (Some(wanted), None) => {
            (reason::READY, format!("{wanted} is deployed; which version runs is not known yet"))
        }
        (Some(wanted), Some(running)) => (
            reason::UNSUPPORTED_PACKAGE,
            format!(
                "{wanted} is deployed and {running} runs: this release shows deployments, and does not download or \
                 install them yet"
            ),
        ),
    };
    ComponentChange {
        key: Some(component.key.clone()),
        package: component.key.package.clone(),
        target: wanted.map(str::to_owned),
        phase: Phase::Idle,
        reason,
        words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::gateway::Stamp;
    use crate::uplink::link::ManifestComponent;

    fn component(device: &str, package: &str, version: Option<&str>) -> Component {
        Component {
            key: ComponentKey { device: device.into(), package: package.into() },
            version: version.map(str::to_owned),
            target: None,
            phase: Phase::Idle,
            reason: 0,
            words: String::new(),
            progress: 0,
            attempts: 0,
            changed: Stamp { boot: 1, mono_ms: 0, wall_unix_ms: None, wall_uncertainty_ms: None },
        }
    }

    fn manifest(packages: &[(&str, &str)]) -> Manifest {
        let components = packages.iter().map(|(package, version)| ManifestComponent {
            package: (*package).into(),
            version: (*version).into(),
            sha256: [0; 32],
            size_bytes: 1,
            uri: String::new(),
        });
        Manifest { sequence_number: 1, components: components.collect() }
    }

    #[test]
    fn a_version_that_is_deployed_and_does_not_run_is_wanted_and_not_promised() {
        let changes = compare(&manifest(&[("main", "2.0")]), &[component("gw", "main", Some("1.0"))], "gw");
        let [change] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(change.target.as_deref(), Some("2.0"));
        assert_eq!((change.phase, change.reason), (Phase::Idle, 6));
        assert!(change.words.contains("does not download or install them yet"), "{}", change.words);
    }

    #[test]
    fn a_version_that_runs_already_asks_for_nothing() {
        let changes = compare(&manifest(&[("main", "1.0")]), &[component("gw", "main", Some("1.0"))], "gw");
        assert_eq!((changes[0].reason, changes[0].target.as_deref()), (0, Some("1.0")));
    }

    #[test]
    fn an_empty_deployment_takes_the_target_back() {
        let mut main = component("gw", "main", Some("1.0"));
        main.target = Some("2.0".into());
        main.reason = 6;
        let changes = compare(&manifest(&[]), &[main], "gw");
        assert_eq!((changes[0].reason, &changes[0].target), (0, &None));
    }

    #[test]
    fn comparing_again_changes_nothing() {
        let mut main = component("gw", "main", Some("1.0"));
        let wanted = manifest(&[("main", "2.0")]);
        let change = compare(&wanted, &[main.clone()], "gw").remove(0);
        main.target = change.target;
        main.reason = change.reason;
        main.words = change.words;
        assert_eq!(compare(&wanted, &[main], "gw"), []);
    }

    #[test]
    fn a_package_nobody_has_is_reported_once_and_by_name() {
        let changes = compare(
            &manifest(&[("other", "9"), ("other", "9")]),
            &[component("gw", "main", Some("1.0"))],
            "gw",
        );
        let unknown: Vec<_> = changes.iter().filter(|c| c.key.is_none()).collect();
        assert_eq!(unknown.len(), 1);
        assert_eq!((unknown[0].package.as_str(), unknown[0].reason), ("other", 6));
    }

    #[test]
    fn a_package_is_the_gateways_own_before_it_is_anothers() {
        let components =
            [component("a", "app", Some("1")), component("gw", "app", Some("1")), component("b", "x", None)];
        assert_eq!(addressed("app", &components, "gw").map(|c| c.key.device.as_str()), Some("gw"));
        assert_eq!(addressed("x", &components, "gw").map(|c| c.key.device.as_str()), Some("b"));
        let two = [component("a", "app", None), component("b", "app", None)];
        assert_eq!(addressed("app", &two, "gw"), None);
    }

    #[test]
    fn the_numbers_are_the_clouds() {
        use fieldgate_golioth_proto::state_report::{Reason, State};
        assert_eq!(reason::READY, Reason::Ready.code());
        assert_eq!(reason::UNSUPPORTED_PACKAGE, Reason::UnsupportedPackageType.code());
        for (phase, state) in [
            (Phase::Idle, State::Idle),
            (Phase::Downloading, State::Downloading),
            (Phase::Downloaded, State::Downloaded),
            (Phase::Updating, State::Updating),
        ] {
            assert_eq!((phase.number(), phase.word()), (state.code(), state.event_type()));
        }
    }
}
