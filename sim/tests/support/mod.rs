//! What the tests of the two programs share: where the programs are.

use std::path::PathBuf;

/// This package's own program.
pub(crate) const SIM: &str = env!("CARGO_BIN_EXE_fieldgate-sim");

/// The daemon, built beside it by any command that builds the whole workspace.
pub(crate) fn fieldgate() -> PathBuf {
    let path = PathBuf::from(SIM).with_file_name("fieldgate");
    assert!(path.is_file(), "{} is missing: run cargo test --workspace, which builds it", path.display());
    path
}
