//! What a project keeps beside its devices: tags, blueprints, certificates of authorities, and management keys.

use super::config::{ApiKey, CloudError};
use serde_json::Value;
use std::fmt;
use zeroize::Zeroizing;

const MOST_LABELS: usize = 1_000;

/// A tag or a blueprint.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) id: String,
    pub(super) name: String,
    /// Of a blueprint, if it was said.
    pub(super) board: Option<String>,
    /// Of a blueprint, if it was said.
    pub(super) platform: Option<String>,
    pub(super) created_ns: i128,
    pub(super) updated_ns: i128,
}

/// All tags, or all blueprints. No two have the same name.
#[derive(Debug)]
pub(super) struct Labels {
    pub(super) what: &'static str,
    pub(super) all: Vec<Label>,
}

impl Labels {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, all: Vec::new() }
    }

    pub(super) fn get(&self, id: &str) -> Result<&Label, CloudError> {
        self.all.iter().find(|label| label.id == id).ok_or(CloudError::NotFound { what: self.what })
    }

    /// By its id, or by its name.
    pub(super) fn named_or_id(&self, text: &str) -> Result<&Label, CloudError> {
        let named = self.all.iter().find(|label| label.name == text);
        named.map_or_else(|| self.get(text), Ok)
    }

    pub(super) fn add(&mut self, id: String, name: &str, unix_ns: i128) -> Result<&mut Label, CloudError> {
        self.check(name, &id)?;
        if self.all.len() >= MOST_LABELS {
            return Err(CloudError::Full { what: "tags or blueprints", limit: MOST_LABELS });
        }
        let (name, created_ns, updated_ns) = (name.to_owned(), unix_ns, unix_ns);
        self.all.push(Label { id, name, board: None, platform: None, created_ns, updated_ns });
        self.all.last_mut().ok_or(CloudError::NotFound { what: self.what })
    }

    /// With another name, where one is given.
    pub(super) fn rename(
        &mut self,
        id: &str,
        name: Option<&str>,
        unix_ns: i128,
    ) -> Result<&mut Label, CloudError> {
        self.get(id)?;
        if let Some(name) = name {
            self.check(name, id)?;
        }
        let label = self.all.iter_mut().find(|label| label.id == id);
        let label = label.ok_or(CloudError::NotFound { what: self.what })?;
        if let Some(name) = name {
            name.clone_into(&mut label.name);
        }
        label.updated_ns = unix_ns;
        Ok(label)
    }

    pub(super) fn remove(&mut self, id: &str) -> Result<(), CloudError> {
        self.get(id)?;
        self.all.retain(|label| label.id != id);
        Ok(())
    }

    fn check(&self, name: &str, id: &str) -> Result<(), CloudError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._- ".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(legal) {
            let what = format!(
                "{} name {name:?}: can use only use characters a-z, A-Z, 0-9, . _ - and space",
                self.what
            );
            return Err(CloudError::Invalid { what });
        }
        if self.all.iter().any(|other| other.name == name && other.id != id) {
            return Err(CloudError::NameTaken { what: self.what });
        }
        Ok(())
    }
}

/// A certificate of an authority that an operator uploaded. It is listed; whom the DTLS side lets in is configured.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub(super) id: String,
    /// `root` or `intermediate`.
    pub(super) kind: String,
    /// What it says, as the API shows it.
    pub(super) content: Value,
    pub(super) created_ns: i128,
}

/// A further management key of the project.
#[derive(Clone)]
pub(super) struct ProjectKey {
    pub(super) id: String,
    pub(super) name: String,
    /// `API_KEY`, or `API_KEY_V2`, which is shown when it is made and never again.
    pub(super) kind: String,
    pub(super) key: ApiKey,
    pub(super) text: Zeroizing<String>,
    pub(super) created_ns: i128,
}

impl fmt::Debug for ProjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectKey").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}
