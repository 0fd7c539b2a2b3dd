//! Packages, artifacts, cohorts and deployments, and the manifest that follows from them.
//!
//! A device is in at most one cohort; a cohort's newest deployment is the active one; deployments do not change. A device in no
//! cohort may have something from a legacy release ([`super::legacy`]).
//! Invariant: sequence numbers grow over the whole project, whatever the clock says.

use super::config::CloudError;
use super::device::Device;
use super::legacy::Release;
use minicbor::Encoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

const MOST_PACKAGES: usize = 256;
const MOST_ARTIFACTS: usize = 256;
const MOST_ARTIFACT_BYTES: usize = 64 << 20;
const MOST_COHORTS: usize = 256;
const MOST_DEPLOYMENTS: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Releases {
    /// Description by package name.
    pub(super) packages: BTreeMap<String, Package>,
    pub(super) artifacts: Vec<Artifact>,
    pub(super) cohorts: Vec<Cohort>,
    /// Oldest first.
    pub(super) legacy: Vec<Release>,
    last_sequence: i64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Package {
    pub(super) description: String,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) created_ns: i128,
    pub(super) updated_ns: i128,
}

/// Whose manifest is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Target<'d> {
    pub(super) cohort: Option<&'d str>,
    pub(super) tag_ids: &'d [String],
    pub(super) blueprint: Option<&'d str>,
}

impl<'d> Target<'d> {
    pub(super) fn of(device: &'d Device) -> Self {
        let (cohort, blueprint) = (device.cohort.as_deref(), device.blueprint.as_deref());
        Self { cohort, tag_ids: &device.tag_ids, blueprint }
    }
}

/// A binary of a package in one version.
#[derive(Clone)]
pub(super) struct Artifact {
    pub(super) id: String,
    pub(super) package: String,
    pub(super) version: String,
    pub(super) content: Arc<[u8]>,
    /// SHA-256, 64 hexadecimal digits.
    pub(super) sha256: String,
    pub(super) blueprint: Option<String>,
    pub(super) created_ns: i128,
    pub(super) updated_ns: i128,
}

impl Artifact {
    /// `mcuboot` for an image with MCUboot's header (its magic number is the first word), else `default`.
    pub(super) fn kind(&self) -> &'static str {
        const MAGIC: [u8; 4] = 0x96F3_B83D_u32.to_le_bytes();
        if self.content.starts_with(&MAGIC) { "mcuboot" } else { "default" }
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artifact({}@{}, {} bytes)", self.package, self.version, self.content.len())
    }
}

#[derive(Debug, Clone)]
pub(super) struct Cohort {
    pub(super) id: String,
    pub(super) name: String,
    /// Oldest first; the last is active.
    pub(super) deployments: Vec<Deployment>,
    pub(super) created_ns: i128,
    pub(super) updated_ns: i128,
}

#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) artifact_ids: Vec<String>,
    pub(super) sequence: i64,
    pub(super) created_ns: i128,
}

impl Releases {
    /// Makes a package known.
    pub(super) fn add_package(&mut self, name: &str, package: Package) -> Result<(), CloudError> {
        check_word(name)?;
        if self.packages.contains_key(name) {
            return Err(CloudError::Exists { what: "package" });
        }
        if self.packages.len() >= MOST_PACKAGES {
            return Err(CloudError::Full { what: "packages", limit: MOST_PACKAGES });
        }
        self.packages.insert(name.to_owned(), package);
        Ok(())
    }

    /// Takes a binary in; its package becomes known.
    pub(super) fn add_artifact(
        &mut self,
        id: String,
        package: &str,
        version: &str,
        content: Vec<u8>,
        unix_ns: i128,
    ) -> Result<&mut Artifact, CloudError> {
        check_word(package)?;
        check_word(version)?;
        if self.artifact_named(package, version).is_some() {
            let (package, version) = (package.to_owned(), version.to_owned());
            return Err(CloudError::ArtifactExists { package, version });
        }
        if content.len() > MOST_ARTIFACT_BYTES {
            let what =
                format!("an artifact of {} bytes is too large; at most {MOST_ARTIFACT_BYTES}", content.len());
            return Err(CloudError::Invalid { what });
        }
        if self.artifacts.len() >= MOST_ARTIFACTS {
            return Err(CloudError::Full { what: "artifacts", limit: MOST_ARTIFACTS });
        }
        if !self.packages.contains_key(package) {
            let (created_ns, updated_ns) = (unix_ns, unix_ns);
            self.add_package(package, Package { created_ns, updated_ns, ..Package::default() })?;
        }
        self.artifacts.push(Artifact {
            id,
            package: package.to_owned(),
            version: version.to_owned(),
            sha256: hex(&Sha256::digest(&content)),
            content: content.into(),
            blueprint: None,
            created_ns: unix_ns,
            updated_ns: unix_ns,
        });
        self.artifacts.last_mut().ok_or(CloudError::NotFound { what: "artifact" })
    }

    pub(super) fn add_cohort(
        &mut self,
        id: String,
        name: &str,
        unix_ns: i128,
    ) -> Result<&Cohort, CloudError> {
        if name.is_empty() {
            return Err(CloudError::Invalid { what: "a cohort needs a name".to_owned() });
        }
        if self.cohorts.iter().any(|cohort| cohort.name == name) {
            return Err(CloudError::Exists { what: "cohort" });
        }
        if self.cohorts.len() >= MOST_COHORTS {
            return Err(CloudError::Full { what: "cohorts", limit: MOST_COHORTS });
        }
        let (name, deployments) = (name.to_owned(), Vec::new());
        self.cohorts.push(Cohort { id, name, deployments, created_ns: unix_ns, updated_ns: unix_ns });
        self.cohorts.last().ok_or(CloudError::NotFound { what: "cohort" })
    }

    /// Deploys artifacts to a cohort: from now on they are its manifest.
    pub(super) fn deploy(
        &mut self,
        cohort: &str,
        id: String,
        name: &str,
        artifact_ids: Vec<String>,
        unix_ns: i128,
    ) -> Result<&Deployment, CloudError> {
        self.check_artifacts(&artifact_ids)?;
        let known = self.cohort(cohort).ok_or(CloudError::NotFound { what: "cohort" })?;
        if known.deployments.len() >= MOST_DEPLOYMENTS {
            return Err(CloudError::Full { what: "deployments of this cohort", limit: MOST_DEPLOYMENTS });
        }
        let sequence = self.next_sequence(unix_ns);
        let cohort = self.cohorts.iter_mut().find(|known| known.id == cohort);
        let cohort = cohort.ok_or(CloudError::NotFound { what: "cohort" })?;
        let name = name.to_owned();
        cohort.deployments.push(Deployment { id, name, artifact_ids, sequence, created_ns: unix_ns });
        cohort.deployments.last().ok_or(CloudError::NotFound { what: "deployment" })
    }

    /// Refuses artifacts that there are none of, and two of one package.
    pub(super) fn check_artifacts(&self, ids: &[String]) -> Result<(), CloudError> {
        let mut packages = Vec::new();
        for wanted in ids {
            let artifact = self.artifact(wanted).ok_or(CloudError::NotFound { what: "artifact" })?;
            if packages.contains(&&artifact.package) {
                let what = format!("a deployment may name package {} once", artifact.package);
                return Err(CloudError::Invalid { what });
            }
            packages.push(&artifact.package);
        }
        Ok(())
    }

    /// The time in nanoseconds, or one more than the last.
    pub(super) fn next_sequence(&mut self, unix_ns: i128) -> i64 {
        let now = i64::try_from(unix_ns).unwrap_or(i64::MAX);
        self.last_sequence = now.max(self.last_sequence.saturating_add(1));
        self.last_sequence
    }

    /// Whether an artifact is deployed to a cohort, or part of a legacy release.
    pub(super) fn is_used(&self, artifact: &str) -> bool {
        let names = |ids: &[String]| ids.iter().any(|id| id == artifact);
        let deployed =
            |cohort: &Cohort| cohort.deployments.last().is_some_and(|active| names(&active.artifact_ids));
        self.cohorts.iter().any(deployed) || self.legacy.iter().any(|release| names(&release.artifact_ids))
    }

    pub(super) fn artifact(&self, id: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.id == id)
    }

    pub(super) fn artifact_named(&self, package: &str, version: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.package == package && artifact.version == version)
    }

    pub(super) fn cohort(&self, id: &str) -> Option<&Cohort> {
        self.cohorts.iter().find(|cohort| cohort.id == id)
    }

    /// The sequence number of what a device has.
    pub(super) fn sequence(&self, target: Target<'_>) -> Option<i64> {
        Some(self.active(target)?.0)
    }

    /// What a device has: the sequence number and the artifacts of its cohort's deployment, or of the release that is for it.
    fn active(&self, target: Target<'_>) -> Option<(i64, Vec<&Artifact>)> {
        let (sequence, ids) = match target.cohort {
            Some(cohort) => {
                let deployment = self.cohort(cohort)?.deployments.last()?;
                (deployment.sequence, &deployment.artifact_ids)
            }
            None => {
                let release = self.rolled_out(target)?;
                (release.sequence, &release.artifact_ids)
            }
        };
        Some((sequence, ids.iter().filter_map(|id| self.artifact(id)).collect()))
    }

    /// A device's manifest in CBOR; the empty map where nothing is deployed.
    pub(super) fn manifest_cbor(&self, target: Target<'_>) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        // Writing to memory cannot fail.
        let _infallible = match self.active(target) {
            None => encoder.map(0).map(|_| ()),
            Some((sequence, artifacts)) => write(&mut encoder, sequence, &artifacts),
        };
        encoder.into_writer()
    }

    /// The same in JSON, with the long names.
    pub(super) fn manifest_json(&self, target: Target<'_>) -> Value {
        let Some((sequence, artifacts)) = self.active(target) else { return json!({}) };
        let component = |artifact: &&Artifact| {
            json!({
                "package": artifact.package,
                "version": artifact.version,
                "hash": artifact.sha256,
                "size": artifact.content.len(),
                "uri": uri(artifact),
                "type": artifact.kind(),
            })
        };
        json!({
            "sequenceNumber": sequence,
            "hash": manifest_hash(&artifacts),
            "components": artifacts.iter().map(component).collect::<Vec<_>>(),
        })
    }
}

fn write(
    encoder: &mut Encoder<Vec<u8>>,
    sequence: i64,
    artifacts: &[&Artifact],
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    encoder.map(3)?.u8(1)?.i64(sequence)?.u8(2)?.str(&manifest_hash(artifacts))?;
    encoder.u8(3)?.array(artifacts.len() as u64)?;
    for artifact in artifacts {
        encoder.map(6)?;
        encoder.u8(1)?.str(&artifact.package)?.u8(2)?.str(&artifact.version)?;
        encoder.u8(3)?.str(&artifact.sha256)?.u8(4)?.u64(artifact.content.len() as u64)?;
        encoder.u8(5)?.str(&uri(artifact))?.u8(6)?.str(artifact.kind())?;
    }
    Ok(())
}

fn uri(artifact: &Artifact) -> String {
    format!("/.u/c/{}@{}", artifact.package, artifact.version)
}

/// 64 hexadecimal digits that follow from the components; clients do not look at it.
fn manifest_hash(artifacts: &[&Artifact]) -> String {
    let mut hash = Sha256::new();
    for artifact in artifacts {
        hash.update(uri(artifact));
        hash.update(&artifact.sha256);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn check_word(word: &str) -> Result<(), CloudError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
    if word.is_empty() || word.len() > 64 || !word.bytes().all(legal) {
        return Err(CloudError::BadPackage { what: word.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i128 = 1_634_238_628_474_218_987;

    fn of_cohort(cohort: &str) -> Target<'_> {
        Target { cohort: Some(cohort), ..Target::default() }
    }

    fn deployed() -> Releases {
        let mut releases = Releases::default();
        releases.add_artifact("a1".to_owned(), "main", "1.2.2", b"firmware".to_vec(), AT).unwrap();
        releases.add_cohort("c1".to_owned(), "pilot", AT).unwrap();
        releases.deploy("c1", "d1".to_owned(), "first", vec!["a1".to_owned()], AT).unwrap();
        releases
    }

    #[test]
    fn nothing_deployed_is_the_single_byte_a0() {
        let releases = deployed();
        assert_eq!(releases.manifest_cbor(Target::default()), [0xA0]);
        assert_eq!(releases.manifest_cbor(of_cohort("c2")), [0xA0]);
        assert_eq!(releases.manifest_json(Target::default()), json!({}));
        assert_eq!(Releases::default().manifest_cbor(of_cohort("c1")), [0xA0]);
    }

    #[test]
    fn the_manifest_has_integer_keys_hex_digests_and_a_uri_with_its_slash() {
        let manifest = deployed().manifest_cbor(of_cohort("c1"));
        let digest = hex(&Sha256::digest(b"firmware"));
        assert_eq!(digest.len(), 64);
        let mut component = b"\x81\xA6\x01\x64main\x02\x651.2.2\x03\x78\x40".to_vec();
        component.extend(digest.as_bytes());
        component.extend(b"\x04\x08\x05\x70/.u/c/main@1.2.2\x06\x67default");
        assert!(
            manifest.starts_with(b"\xA3\x01\x1B\x16\xAD\xFB\x5F\xC0\x6D\x69\xEB\x02\x78\x40"),
            "{manifest:02x?}"
        );
        assert_eq!(&manifest[manifest.len() - component.len() - 1..], [&[3][..], &component].concat());
        let json = deployed().manifest_json(of_cohort("c1"));
        assert_eq!(
            (&json["sequenceNumber"], &json["components"][0]["hash"]),
            (&json!(AT as i64), &json!(digest))
        );
    }

    #[test]
    fn sequence_numbers_grow_even_when_the_clock_does_not() {
        let mut releases = deployed();
        let artifacts = vec!["a1".to_owned()];
        let second = releases.deploy("c1", "d2".to_owned(), "again", artifacts, AT - 5).unwrap().sequence;
        assert_eq!(i128::from(second), AT + 1);
    }

    #[test]
    fn what_cannot_be_deployed_is_refused() {
        let mut releases = deployed();
        let exists = releases.add_artifact("a2".to_owned(), "main", "1.2.2", vec![], AT);
        assert!(matches!(exists, Err(CloudError::ArtifactExists { .. })));
        assert!(releases.add_artifact("a2".to_owned(), "a/b", "1", vec![], AT).is_err());
        assert!(releases.deploy("c1", "d".to_owned(), "", vec!["a9".to_owned()], AT).is_err());
        assert!(releases.deploy("c9", "d".to_owned(), "", vec!["a1".to_owned()], AT).is_err());
        let twice = releases.deploy("c1", "d".to_owned(), "", vec!["a1".to_owned(), "a1".to_owned()], AT);
        assert!(matches!(twice, Err(CloudError::Invalid { .. })));
        assert!(matches!(releases.add_cohort("c2".to_owned(), "pilot", AT), Err(CloudError::Exists { .. })));
    }
}
