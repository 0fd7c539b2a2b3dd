//! One device's LightDB State: a JSON document, read, merged and deleted by path.
//!
//! It has no arrays. One that is written becomes an object whose keys are the places, `["a", "b"]` becomes `{"0": "a", "1": "b"}`.

use serde_json::{Map, Value};

/// The value at a path; `None` where there is nothing. The empty path is the whole document.
pub(super) fn get<'a>(root: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(root, |value, segment| value.get(segment))
}

/// Writes at a path. Objects merge into objects, key by key and all the way down; anything else replaces. What stands
/// in the way of the path is replaced by objects.
pub(super) fn merge(root: &mut Value, path: &[String], new: Value) {
    match path.split_first() {
        None => merge_value(root, new),
        Some((first, below)) => {
            if let Value::Object(entries) = root {
                merge(entries.entry(first.clone()).or_insert(Value::Null), below, new);
            } else {
                let mut child = Value::Null;
                merge(&mut child, below, new);
                *root = Value::Object(Map::from_iter([(first.clone(), child)]));
            }
        }
    }
}

/// Deletes what is at a path; its parent stays, empty if need be. Whether there was anything.
pub(super) fn delete(root: &mut Value, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return !std::mem::take(root).is_null();
    };
    let parent = parents.iter().try_fold(root, |value, segment| value.get_mut(segment));
    parent.and_then(Value::as_object_mut).is_some_and(|parent| parent.remove(last).is_some())
}

/// Whether a write at `changed` is seen by who watches `watched`.
pub(super) fn concerns(watched: &[String], changed: &[String]) -> bool {
    watched.iter().zip(changed).all(|(a, b)| a == b)
}

fn merge_value(place: &mut Value, new: Value) {
    let new = match new {
        Value::Array(items) => {
            Value::Object(items.into_iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect())
        }
        other => other,
    };
    match (place, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge_value(old.entry(key).or_insert(Value::Null), value);
            }
        }
        // What is inside may hold arrays as well.
        (place, new @ Value::Object(_)) => {
            *place = Value::Object(Map::new());
            merge_value(place, new);
        }
        (place, new) => *place = new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> Vec<String> {
        text.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn objects_merge_all_the_way_down_and_siblings_stay() {
        let mut root = json!({"alert": {"humidity": false}, "env": {"temp": {"unit": "C"}}, "led": 1});
        merge(&mut root, &path(""), json!({"alert": {"temp": true}, "env": {"temp": {"value": 45}}}));
        let expected = json!({
            "alert": {"humidity": false, "temp": true},
            "env": {"temp": {"unit": "C", "value": 45}},
            "led": 1
        });
        assert_eq!(root, expected);
    }

    #[test]
    fn a_scalar_replaces_and_gives_way_to_a_path_below_it() {
        let mut root = json!(null);
        merge(&mut root, &path("a/b"), json!(1));
        assert_eq!(root, json!({"a": {"b": 1}}));
        merge(&mut root, &path("a/b/c"), json!(2));
        assert_eq!(root, json!({"a": {"b": {"c": 2}}}));
        merge(&mut root, &path("a"), json!("x"));
        assert_eq!(root, json!({"a": "x"}));
    }

    #[test]
    fn an_array_is_kept_as_an_object_of_its_places_wherever_it_stands() {
        let mut root = json!(null);
        merge(&mut root, &path("a"), json!({"list": ["x", [true]], "none": []}));
        assert_eq!(root, json!({"a": {"list": {"0": "x", "1": {"0": true}}, "none": {}}}));
        merge(&mut root, &path("a/list"), json!(["y"]));
        assert_eq!(get(&root, &path("a/list/0")), Some(&json!("y")));
        assert_eq!(get(&root, &path("a/list/1/0")), Some(&json!(true)), "what is longer stays");
    }

    #[test]
    fn deleting_the_last_child_leaves_an_empty_object() {
        let mut root = json!({"a": {"b": 1}});
        assert!(delete(&mut root, &path("a/b")));
        assert_eq!(root, json!({"a": {}}));
        assert!(!delete(&mut root, &path("a/b")));
        assert!(!delete(&mut root, &path("x/y")));
        assert!(delete(&mut root, &path("")));
        assert_eq!(root, json!(null));
    }

    #[test]
    fn a_watcher_sees_writes_above_at_and_below_its_path() {
        for (watched, changed, seen) in [
            ("", "a", true),
            ("a", "", true),
            ("a", "a", true),
            ("a", "a/b", true),
            ("a/b", "a", true),
            ("a/b", "a/c", false),
            ("a", "b", false),
        ] {
            assert_eq!(concerns(&path(watched), &path(changed)), seen, "{watched:?} {changed:?}");
        }
    }

    #[test]
    fn what_is_not_there_reads_as_nothing() {
        let root = json!({"a": {"b": 0}});
        assert_eq!(get(&root, &path("a/b")), Some(&json!(0)));
        assert_eq!(get(&root, &path("a/c")), None);
        assert_eq!(get(&root, &path("a/b/c")), None);
        assert_eq!(get(&root, &path("")), Some(&root));
    }
}
