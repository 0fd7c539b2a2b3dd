//! `fieldgate queue snapshot`.

use std::path::Path;

use super::{Trouble, say};
use crate::store::queue::snapshot;

pub(super) fn snapshot(source: &Path, target: &Path) -> Result<bool, Trouble> {
    let made = snapshot::snapshot(source, target)?;
    let target = target.display();
    say(&format!(
        "{target}: {} bytes, the whole queue at one moment. Look at it anywhere: fieldgate queue verify --file {target}\n",
        made.bytes
    ))?;
    Ok(true)
}
