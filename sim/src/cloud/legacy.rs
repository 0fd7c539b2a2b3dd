//! Releases as there were before cohorts: artifacts for every device that bears their tags, while they are rolled out.
//!
//! Which release a device gets: of those rolled out, whose device tags it bears all, and of whose artifacts none is for another blueprint
//! than its own, the one with the greatest sequence number. That the newest counts is documented, the rest is chosen.

use super::config::CloudError;
use super::releases::{Releases, Target};

const MOST_RELEASES: usize = 256;

/// One release.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub(super) id: String,
    pub(super) release_tags: Vec<String>,
    pub(super) device_tag_ids: Vec<String>,
    pub(super) artifact_ids: Vec<String>,
    pub(super) rollout: bool,
    pub(super) sequence: i64,
    pub(super) created_ns: i128,
    pub(super) updated_ns: i128,
}

impl Releases {
    /// Makes a release of artifacts there are.
    pub(super) fn add_release(&mut self, mut release: Release) -> Result<Release, CloudError> {
        if release.artifact_ids.is_empty() {
            return Err(CloudError::Invalid { what: "artifactIds is required".to_owned() });
        }
        self.check_artifacts(&release.artifact_ids)?;
        self.check_tags(&release.id, &release.release_tags)?;
        if self.legacy.len() >= MOST_RELEASES {
            return Err(CloudError::Full { what: "releases", limit: MOST_RELEASES });
        }
        release.sequence = self.next_sequence(release.created_ns);
        self.legacy.push(release.clone());
        Ok(release)
    }

    pub(super) fn release(&self, id: &str) -> Result<&Release, CloudError> {
        self.legacy.iter().find(|release| release.id == id).ok_or(CloudError::NotFound { what: "release" })
    }

    /// Puts another in the place of the release of its id. Artifacts and sequence number stay.
    pub(super) fn change_release(&mut self, new: Release) -> Result<Release, CloudError> {
        self.check_tags(&new.id, &new.release_tags)?;
        let known = self.legacy.iter_mut().find(|release| release.id == new.id);
        let known = known.ok_or(CloudError::NotFound { what: "release" })?;
        let (artifact_ids, sequence) = (known.artifact_ids.clone(), known.sequence);
        *known = Release { artifact_ids, sequence, ..new };
        Ok(known.clone())
    }

    pub(super) fn remove_release(&mut self, id: &str) -> Result<(), CloudError> {
        self.release(id)?;
        self.legacy.retain(|release| release.id != id);
        Ok(())
    }

    /// The blueprint a release is for: that of its artifacts, if one of them has one.
    pub(super) fn blueprint_of(&self, release: &Release) -> Option<&str> {
        release.artifact_ids.iter().filter_map(|id| self.artifact(id)?.blueprint.as_deref()).next()
    }

    /// The release a device outside of cohorts gets.
    pub(super) fn rolled_out(&self, target: Target<'_>) -> Option<&Release> {
        let fits = |release: &&Release| {
            let own = |id: &String| {
                let blueprint = self.artifact(id).and_then(|artifact| artifact.blueprint.as_deref());
                blueprint.is_none() || blueprint == target.blueprint
            };
            release.rollout
                && release.device_tag_ids.iter().all(|tag| target.tag_ids.contains(tag))
                && release.artifact_ids.iter().all(own)
        };
        self.legacy.iter().filter(fits).max_by_key(|release| release.sequence)
    }

    /// No two releases bear one release tag.
    fn check_tags(&self, id: &str, tags: &[String]) -> Result<(), CloudError> {
        let mut others = self.legacy.iter().filter(|release| release.id != id);
        if others.any(|other| other.release_tags.iter().any(|tag| tags.contains(tag))) {
            return Err(CloudError::ReleaseTagTaken);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(id: &str, tags: &[&str], rollout: bool) -> Release {
        Release {
            id: id.to_owned(),
            release_tags: vec![format!("v-{id}")],
            device_tag_ids: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            artifact_ids: vec!["a1".to_owned()],
            rollout,
            sequence: 0,
            created_ns: 5,
            updated_ns: 5,
        }
    }

    fn releases() -> Releases {
        let mut releases = Releases::default();
        releases.add_artifact("a1".to_owned(), "main", "1", b"x".to_vec(), 1).unwrap();
        releases
    }

    #[test]
    fn a_device_gets_the_newest_release_that_is_rolled_out_and_whose_tags_it_bears() {
        let mut releases = releases();
        for (id, tags, rollout) in [("1", &[][..], true), ("2", &["red"], true), ("3", &["red"], false)] {
            releases.add_release(release(id, tags, rollout)).unwrap();
        }
        let bearing = ["red".to_owned(), "big".to_owned()];
        let gets = |releases: &Releases, tag_ids| {
            releases.rolled_out(Target { tag_ids, ..Target::default() }).map(|release| release.id.clone())
        };
        assert_eq!(gets(&releases, &[]).as_deref(), Some("1"));
        assert_eq!(gets(&releases, &bearing).as_deref(), Some("2"));
        releases.change_release(release("3", &["red"], true)).unwrap();
        assert_eq!(gets(&releases, &bearing).as_deref(), Some("3"));
        releases.change_release(release("3", &["red"], false)).unwrap();
        assert_eq!(gets(&releases, &bearing).as_deref(), Some("2"), "what was rolled out before it");
    }

    #[test]
    fn artifacts_of_another_blueprint_are_for_other_devices() {
        let mut releases = releases();
        releases.artifacts[0].blueprint = Some("pump".to_owned());
        releases.add_release(release("1", &[], true)).unwrap();
        assert!(releases.rolled_out(Target::default()).is_none());
        assert!(releases.rolled_out(Target { blueprint: Some("fan"), ..Target::default() }).is_none());
        assert!(releases.rolled_out(Target { blueprint: Some("pump"), ..Target::default() }).is_some());
    }

    #[test]
    fn a_release_tag_is_borne_by_one_release_and_its_artifacts_are_in_use() {
        let mut releases = releases();
        releases.add_release(release("1", &[], false)).unwrap();
        let again = Release { release_tags: vec!["v-1".to_owned()], ..release("2", &[], false) };
        assert_eq!(releases.add_release(again).unwrap_err(), CloudError::ReleaseTagTaken);
        assert!(releases.is_used("a1"));
        releases.remove_release("1").unwrap();
        assert!(!releases.is_used("a1") && releases.remove_release("1").is_err());
    }
}
