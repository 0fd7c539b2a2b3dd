//! `fieldgate queue snapshot`.

use std::path::Path;

use super::{Trouble, say};
use crate::store::queue::snapshot;

pub(super) fn snapshot(source: &Path, target: &Path, ballast_bytes: u64) -> Result<bool, Trouble> {
    let made = snapshot::snapshot(source, target, ballast_bytes)?;
    let target = target.display();
    say(&format!(
        "{target}: {} bytes, the whole queue at one moment. Look at it anywhere: fieldgate queue verify --file {target}\n",
        made.bytes
    ))?;
    Ok(true)
}
