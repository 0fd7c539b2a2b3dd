//! Which places in a document are which streams.
//!
//! A [`Mapping`] is made once from the configuration and then applied to every document, JSON or CBOR, without
//! allocating. Places are JSON pointers (RFC 6901): `/sensors/0/t`. Invariant: a mapping has at most [`MOST_PATHS`]
//! pointers of bounded depth, each once.

use std::borrow::Cow;

use serde_json::Value;

use crate::datum::Datum;

/// Most places in one mapping.
pub const MOST_PATHS: usize = 256;
/// Most steps from the root of a document to a value.
const MOST_STEPS: usize = 8;
/// Longest pointer, in bytes.
const MOST_POINTER: usize = 256;

/// A place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(String);

/// Why a text is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerRefused {
    /// A pointer begins with a slash; the empty one is the whole document, which is no value.
    #[error("a path begins with /: /temperature, or /sensors/0/t")]
    NoSlash,
    /// More than a document of a sensor has.
    #[error("a path has at most {MOST_STEPS} steps and {MOST_POINTER} bytes")]
    TooLong,
    /// A `~` that is neither `~0` nor `~1`.
    #[error("in a path ~ is written ~0 and a slash within a name ~1")]
    Escape,
}

impl Pointer {
    /// Takes a pointer as RFC 6901 writes it.
    ///
    /// # Errors
    /// See [`PointerRefused`].
    pub fn new(text: &str) -> Result<Self, PointerRefused> {
        let steps = text.strip_prefix('/').ok_or(PointerRefused::NoSlash)?;
        if text.len() > MOST_POINTER || steps.split('/').count() > MOST_STEPS {
            return Err(PointerRefused::TooLong);
        }
        if text.split('~').skip(1).any(|behind| !behind.starts_with(['0', '1'])) {
            return Err(PointerRefused::Escape);
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The places of a document that are streams, in the order they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping(Vec<Pointer>);

/// Why places are no mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingRefused {
    /// More than [`MOST_PATHS`].
    #[error("{0} paths are too many; at most {MOST_PATHS} of one device are read")]
    TooMany(usize),
    /// Two places are the same; their positions.
    #[error("two streams are read from the same path")]
    Twice(usize, usize),
}

impl Mapping {
    /// Stream `n` is at `pointers[n]`.
    ///
    /// # Errors
    /// See [`MappingRefused`].
    pub fn new(pointers: Vec<Pointer>) -> Result<Self, MappingRefused> {
        if pointers.len() > MOST_PATHS {
            return Err(MappingRefused::TooMany(pointers.len()));
        }
        for (second, pointer) in pointers.iter().enumerate() {
            if let Some(first) = pointers.iter().take(second).position(|other| other == pointer) {
                return Err(MappingRefused::Twice(first, second));
            }
        }
        Ok(Self(pointers))
    }

    /// Hands over the value of each stream that the document speaks of, by the stream's number. A document need not speak
    /// of all: a board that sends what changed sends parts. `null` is [`Datum::Absent`]. Returns how many streams have
    /// an object or a list in their place instead of a value, which the configuration cannot have meant.
    pub fn apply<'d>(&self, document: &'d Value, put: &mut dyn FnMut(usize, Datum<'d>)) -> usize {
        let mut no_values = 0;
        for (stream, pointer) in self.0.iter().enumerate() {
            match document.pointer(&pointer.0) {
                None => {}
                Some(Value::Object(_) | Value::Array(_)) => no_values += 1,
                Some(Value::Null) => put(stream, Datum::Absent),
                Some(Value::Bool(flag)) => put(stream, Datum::Bool(*flag)),
                Some(Value::String(text)) => put(stream, Datum::Text(Cow::Borrowed(text))),
                Some(Value::Number(number)) => {
                    let real = || number.as_f64().map_or(Datum::Absent, Datum::finite);
                    put(stream, number.as_i64().map_or_else(real, Datum::Integer));
                }
            }
        }
        no_values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn mapping(paths: &[&str]) -> Mapping {
        Mapping::new(paths.iter().map(|path| Pointer::new(path).unwrap()).collect()).unwrap()
    }

    fn applied<'d>(mapping: &Mapping, document: &'d Value) -> (Vec<(usize, Datum<'d>)>, usize) {
        let mut found = Vec::new();
        let wrong = mapping.apply(document, &mut |stream, datum| found.push((stream, datum)));
        (found, wrong)
    }

    #[test]
    fn values_are_found_at_their_places_and_keep_their_kind() {
        let document =
            json!({"t": 21.5, "n": [{"c": 7}], "on": true, "a/b": "x", "m~n": null, "big": u64::MAX});
        let mapping = mapping(&["/t", "/n/0/c", "/on", "/a~1b", "/m~0n", "/big"]);
        let (found, wrong) = applied(&mapping, &document);
        assert_eq!(
            found,
            [
                (0, Datum::Number(21.5)),
                (1, Datum::Integer(7)),
                (2, Datum::Bool(true)),
                (3, Datum::Text("x".into())),
                (4, Datum::Absent),
                (5, Datum::Number(u64::MAX as f64)),
            ]
        );
        assert_eq!(wrong, 0);
    }

    #[test]
    fn a_document_need_not_speak_of_every_stream() {
        assert_eq!(applied(&mapping(&["/t", "/h"]), &json!({"h": 40})).0, [(1, Datum::Integer(40))]);
    }

    #[test]
    fn an_object_where_a_value_should_be_is_counted() {
        assert_eq!(applied(&mapping(&["/t", "/h"]), &json!({"t": {"v": 1}, "h": []})), (vec![], 2));
    }

    #[test]
    fn what_is_no_path_is_refused_with_what_to_write() {
        assert_eq!(Pointer::new("t"), Err(PointerRefused::NoSlash));
        assert_eq!(Pointer::new(""), Err(PointerRefused::NoSlash));
        assert_eq!(Pointer::new("/a~2"), Err(PointerRefused::Escape));
        assert_eq!(Pointer::new("/a~"), Err(PointerRefused::Escape));
        assert_eq!(Pointer::new(&"/a".repeat(9)), Err(PointerRefused::TooLong));
        assert_eq!(Pointer::new(&format!("/{}", "a".repeat(300))), Err(PointerRefused::TooLong));
        assert_eq!(Pointer::new("/a/0").map(|pointer| pointer.as_str().to_owned()), Ok("/a/0".to_owned()));
        let twice = ["/a", "/b", "/a"].map(|path| Pointer::new(path).unwrap());
        assert_eq!(Mapping::new(twice.to_vec()), Err(MappingRefused::Twice(0, 2)));
    }

    proptest! {
        #[test]
        fn what_is_put_at_a_path_is_found_there(steps in prop::collection::vec("[a-z~/]{1,4}", 1..8), value in any::<i64>()) {
            let mut document = json!(value);
            for step in steps.iter().rev() {
                document = json!({ step.as_str(): document });
            }
            let escaped: String = steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
            let mapping = mapping(&[&escaped]);
            prop_assert_eq!(applied(&mapping, &document).0, [(0, Datum::Integer(value))]);
        }
    }
}
