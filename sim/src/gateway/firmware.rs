//! The firmware history as `fieldgate firmware history --json` prints it.

use std::path::Path;

use super::Trouble;

/// Every entry, oldest first, as printed.
///
/// # Errors
/// When it cannot be run or says nothing readable.
pub async fn history(program: &Path, config: &Path) -> Result<Vec<serde_json::Value>, Trouble> {
    let output = tokio::process::Command::new(program)
        .args(["firmware", "history", "--json", "--config"])
        .arg(config)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Trouble::system("run fieldgate firmware history"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| Trouble::Unreadable {
        what: "firmware history --json".into(),
        detail: format!("{error}; it said {:?}", String::from_utf8_lossy(&output.stderr)),
    })
}
