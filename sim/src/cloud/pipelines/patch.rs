//! JSON Patch (RFC 6902) with the liberties Golioth documents: removing what is not there is passed over, and adding makes the objects on
//! the way. A `test` that fails leaves the document as it was, and is no error: so a patch is made for some messages only.

use serde_json::{Map, Value};

const MOST_OPERATIONS: usize = 256;
/// Parts of a pointer: deeper documents are none that could be written out.
const MOST_PARTS: usize = 64;
/// Longest document that a copy may leave, bytes: each doubles it at most.
const LONGEST: usize = 1 << 20;

/// A patch, read once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Patch(Vec<Operation>);

#[derive(Debug, Clone, PartialEq)]
enum Operation {
    Add(Pointer, Value),
    Remove(Pointer),
    Replace(Pointer, Value),
    Move(Pointer, Pointer),
    Copy(Pointer, Pointer),
    Test(Pointer, Value),
}

/// A JSON Pointer (RFC 6901) in its parts.
type Pointer = Vec<String>;

impl Patch {
    /// Reads a patch as JSON writes it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| format!("patch: {error}"))?;
        let operations = document.as_array().ok_or("patch: it must be an array of operations")?;
        if operations.len() > MOST_OPERATIONS {
            return Err(format!("patch: more than {MOST_OPERATIONS} operations"));
        }
        operations.iter().map(operation).collect::<Result<_, _>>().map(Self)
    }

    /// The document as the patch leaves it.
    pub(super) fn apply(&self, document: &Value) -> Result<Value, String> {
        let mut changed = document.clone();
        for operation in &self.0 {
            match operation {
                Operation::Add(path, value) => add(&mut changed, path, value.clone())?,
                Operation::Remove(path) => {
                    let _absent = remove(&mut changed, path);
                }
                Operation::Replace(path, value) => {
                    *find_mut(&mut changed, path).ok_or_else(|| nothing_at(path))? = value.clone();
                }
                Operation::Move(from, path) => {
                    if path.len() > from.len() && path.starts_with(from) {
                        return Err(format!("json-patch: {} cannot move into itself", shown(from)));
                    }
                    let value = remove(&mut changed, from).ok_or_else(|| nothing_at(from))?;
                    add(&mut changed, path, value)?;
                }
                Operation::Copy(from, path) => {
                    let value = find(&changed, from).ok_or_else(|| nothing_at(from))?.clone();
                    add(&mut changed, path, value)?;
                    if changed.to_string().len() > LONGEST {
                        return Err("json-patch: the message grows too long".to_owned());
                    }
                }
                Operation::Test(path, value) => {
                    if find(&changed, path).is_none_or(|found| !same(found, value)) {
                        return Ok(document.clone());
                    }
                }
            }
        }
        Ok(changed)
    }
}

fn operation(said: &Value) -> Result<Operation, String> {
    let name = said.get("op").and_then(Value::as_str).ok_or("patch: an operation needs its op")?;
    let pointer = |field: &str| {
        let text = said.get(field).and_then(Value::as_str);
        text.and_then(parts).ok_or_else(|| format!("patch: {name} needs its {field}, a JSON pointer"))
    };
    let value = || said.get("value").cloned().ok_or_else(|| format!("patch: {name} needs its value"));
    Ok(match name {
        "add" => Operation::Add(pointer("path")?, value()?),
        "remove" => Operation::Remove(pointer("path")?),
        "replace" => Operation::Replace(pointer("path")?, value()?),
        "move" => Operation::Move(pointer("from")?, pointer("path")?),
        "copy" => Operation::Copy(pointer("from")?, pointer("path")?),
        "test" => Operation::Test(pointer("path")?, value()?),
        other => return Err(format!("patch: there is no operation {other}")),
    })
}

fn parts(pointer: &str) -> Option<Pointer> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let plain = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let parts: Pointer = pointer.strip_prefix('/')?.split('/').map(plain).collect();
    (parts.len() <= MOST_PARTS).then_some(parts)
}

/// The place an array gives a part of a pointer: digits without a leading zero.
fn place(part: &str) -> Option<usize> {
    let plain = part == "0" || !part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit());
    part.parse().ok().filter(|_| plain)
}

fn find<'a>(root: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(root, |value, part| match value {
        Value::Object(entries) => entries.get(part),
        Value::Array(items) => items.get(place(part)?),
        _ => None,
    })
}

fn find_mut<'a>(root: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |value, part| match value {
        Value::Object(entries) => entries.get_mut(part),
        Value::Array(items) => items.get_mut(place(part)?),
        _ => None,
    })
}

fn add(root: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let Some((part, below)) = path.split_first() else {
        *root = value;
        return Ok(());
    };
    match root {
        Value::Object(entries) => {
            let missing = || Value::Object(Map::new());
            add(entries.entry(part.clone()).or_insert_with(missing), below, value)
        }
        Value::Array(items) if below.is_empty() => {
            let at = if part == "-" { Some(items.len()) } else { place(part) };
            let at = at.filter(|at| *at <= items.len()).ok_or_else(|| nothing_at(path))?;
            items.insert(at, value);
            Ok(())
        }
        Value::Array(items) => {
            let item = place(part).and_then(|at| items.get_mut(at)).ok_or_else(|| nothing_at(path))?;
            add(item, below, value)
        }
        _ => Err(nothing_at(path)),
    }
}

fn remove(root: &mut Value, path: &[String]) -> Option<Value> {
    let Some((last, parents)) = path.split_last() else { return Some(std::mem::take(root)) };
    match find_mut(root, parents)? {
        Value::Object(entries) => entries.remove(last),
        Value::Array(items) => {
            let at = place(last).filter(|at| *at < items.len())?;
            Some(items.remove(at))
        }
        _ => None,
    }
}

/// Equal as JSON: numbers by their value (RFC 6902 section 4.6).
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, a)| y.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn nothing_at(path: &[String]) -> String {
    format!("json-patch: there is nothing at {}", shown(path))
}

fn shown(path: &[String]) -> String {
    path.iter().map(|part| format!("/{part}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(document: Value, patch: Value) -> Result<Value, String> {
        Patch::read(&patch.to_string()).unwrap().apply(&document)
    }

    #[test]
    fn fields_are_replaced_added_and_removed_in_turn() {
        let patch = json!([
            {"op": "replace", "path": "/level", "value": 2.5},
            {"op": "add", "path": "/seen", "value": ["by", "us"]},
            {"op": "remove", "path": "/spare"}
        ]);
        let document = json!({"level": 7.25, "spare": 0, "unit": "m"});
        assert_eq!(patched(document, patch), Ok(json!({"level": 2.5, "unit": "m", "seen": ["by", "us"]})));
    }

    #[test]
    fn examples_of_the_rfc_hold() {
        for (document, operation, expected) in [
            (
                json!({"foo": ["bar", "baz"]}),
                json!({"op": "add", "path": "/foo/1", "value": "qux"}),
                json!({"foo": ["bar", "qux", "baz"]}),
            ),
            (
                json!({"foo": ["bar"]}),
                json!({"op": "add", "path": "/foo/-", "value": ["abc"]}),
                json!({"foo": ["bar", ["abc"]]}),
            ),
            (
                json!({"foo": ["bar", "qux"]}),
                json!({"op": "remove", "path": "/foo/1"}),
                json!({"foo": ["bar"]}),
            ),
            (
                json!({"a": {"b": 1}, "c": {}}),
                json!({"op": "move", "from": "/a/b", "path": "/c/d"}),
                json!({"a": {}, "c": {"d": 1}}),
            ),
            (
                json!({"foo": [1, 2, 3]}),
                json!({"op": "move", "from": "/foo/0", "path": "/foo/2"}),
                json!({"foo": [2, 3, 1]}),
            ),
            (json!({"a": 1}), json!({"op": "copy", "from": "/a", "path": "/b"}), json!({"a": 1, "b": 1})),
            (
                json!({"/": 9, "~1": 10}),
                json!({"op": "replace", "path": "/~01", "value": 11}),
                json!({"/": 9, "~1": 11}),
            ),
            (json!({"/": 9}), json!({"op": "remove", "path": "/~1"}), json!({})),
            (json!(1), json!({"op": "add", "path": "", "value": 2}), json!(2)),
        ] {
            assert_eq!(patched(document.clone(), json!([operation])), Ok(expected), "{document} {operation}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_missed_by_remove_and_made_by_add() {
        assert_eq!(patched(json!({"a": 1}), json!([{"op": "remove", "path": "/x/y"}])), Ok(json!({"a": 1})));
        let made = patched(json!({}), json!([{"op": "add", "path": "/x/y", "value": 1}]));
        assert_eq!(made, Ok(json!({"x": {"y": 1}})));
        for operation in [
            json!({"op": "replace", "path": "/x", "value": 1}),
            json!({"op": "copy", "from": "/x", "path": "/y"}),
            json!({"op": "add", "path": "/list/5", "value": 1}),
            json!({"op": "add", "path": "/list/01", "value": 1}),
            json!({"op": "move", "from": "/list", "path": "/list/0"}),
        ] {
            let refused = patched(json!({"list": [0]}), json!([operation]));
            assert!(
                refused.as_ref().is_err_and(|why| why.starts_with("json-patch: ")),
                "{operation} {refused:?}"
            );
        }
    }

    #[test]
    fn copies_of_copies_end_before_they_fill_the_memory() {
        let into = |path: &str| json!({"op": "copy", "from": "", "path": path});
        let doubling = (0..60).flat_map(|_| [into("/a"), into("/b")]).collect();
        let refused = patched(json!({"text": "x".repeat(100)}), Value::Array(doubling));
        assert!(refused.is_err_and(|why| why.contains("too long")));
    }

    #[test]
    fn a_test_that_fails_undoes_what_came_before_it() {
        let patch = json!([
            {"op": "add", "path": "/demo", "value": true},
            {"op": "test", "path": "/device_id", "value": "a"},
            {"op": "remove", "path": "/device_id"}
        ]);
        let other = json!({"device_id": "b"});
        assert_eq!(patched(other.clone(), patch.clone()), Ok(other));
        assert_eq!(patched(json!({"device_id": "a"}), patch), Ok(json!({"demo": true})));
        let numbers = json!([{"op": "test", "path": "/n", "value": [1]}, {"op": "remove", "path": "/n"}]);
        assert_eq!(patched(json!({"n": [1.0]}), numbers), Ok(json!({})), "by value, not by spelling");
    }

    #[test]
    fn what_is_no_patch_is_refused_when_it_is_read() {
        let deep = format!(r#"[{{"op":"add","path":"{}","value":1}}]"#, "/a".repeat(65));
        assert!(Patch::read(&deep).is_err());
        for text in [
            "",
            "{}",
            r#"[{"op":"add"}]"#,
            r#"[{"op":"add","path":"a","value":1}]"#,
            r#"[{"op":"cut","path":""}]"#,
        ] {
            assert!(Patch::read(text).is_err(), "{text}");
        }
    }
}
