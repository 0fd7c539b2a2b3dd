//! What is on record of damaged queue files, in words. Numbers that nobody can know are called unknown.

use serde_json::Value as Json;

use super::words::{count, grouped};

/// A damaged file, for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// `12 lost`, `lost: unknown`.
    pub(super) lost: String,
    /// Which file, what happened to it, what was saved.
    pub(super) words: String,
}

/// Those whose salvage has ended, newest first; one that goes on is told as such elsewhere. `statements` as the store has them.
pub(super) fn told(statements: &[String]) -> Vec<Told> {
    let parsed = statements.iter().filter_map(|statement| serde_json::from_str::<Json>(statement).ok());
    parsed.filter(|statement| statement["salvage"] != "under way").map(|statement| one(&statement)).collect()
}

fn one(statement: &Json) -> Told {
    let text = |key: &str| statement[key].as_str().unwrap_or("unknown").to_owned();
    let lost = match number(&statement["lost"]) {
        Some(lost) => format!("{} lost", grouped(lost)),
        None => "Lost: unknown".to_owned(),
    };
    let saved = number(&statement["salvaged"]).map_or_else(
        || "how many were saved is unknown".to_owned(),
        |saved| format!("{} saved", count(saved, "reading was", "readings were")),
    );
    let queued = number(&statement["queued"]).map_or_else(|| "unknown".to_owned(), grouped);
    Told { lost, words: format!("{}: {}; {queued} waited in it, {saved}", text("file"), text("detail")) }
}

/// A number, or a map of them by destination or stream: then the largest, because one reading may stand in several.
fn number(value: &Json) -> Option<u64> {
    match value {
        Json::Object(map) => {
            map.values().map(number).collect::<Option<Vec<_>>>()?.into_iter().max().or(Some(0))
        }
        other => other.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_know_of_a_damaged_file_is_called_unknown() {
        let under_way = r#"{"file":"a","detail":"b","salvage":"under way"}"#.to_owned();
        let unknown = r#"{"file":"queue.db.damaged-1","detail":"not a database","queued":null,"salvage":"done",
                          "salvaged":{"golioth":3},"lost":null}"#;
        let known = r#"{"file":"f","detail":"d","queued":{"a":20,"b":7},"salvage":"done","salvaged":{"a":8},"lost":{"a":12}}"#;
        let told = told(&[under_way, unknown.to_owned(), known.to_owned(), "not JSON".to_owned()]);
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].lost, "Lost: unknown");
        assert_eq!(
            told[0].words,
            "queue.db.damaged-1: not a database; unknown waited in it, 3 readings were saved"
        );
        assert_eq!((told[1].lost.as_str(), told[1].words.contains("20 waited")), ("12 lost", true));
    }
}
