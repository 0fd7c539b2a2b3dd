//! Deliberate defects, so that every proof can be shown to see what it claims to see.
//!
//! Only a build with the feature `sabotage` contains them, and only the one named in `FIELDGATE_SABOTAGE` is active. In
//! every other build [`on`] is a constant `false` and the defects are not compiled in. Nothing shipped has the feature.

/// Whether the defect `name` is wanted in this run.
#[cfg(feature = "sabotage")]
#[must_use]
pub fn on(name: &str) -> bool {
    use std::sync::OnceLock;
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    WANTED.get_or_init(|| std::env::var("FIELDGATE_SABOTAGE").ok()).as_deref() == Some(name)
}

/// Whether the defect `name` is wanted in this run: never, in this build.
#[cfg(not(feature = "sabotage"))]
#[must_use]
pub const fn on(_name: &str) -> bool {
    false
}
