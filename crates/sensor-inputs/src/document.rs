//! One JSON object a line, as small boards print it, with what a serial line adds to it.

use serde_json::Value;

/// Noise before the object is looked through up to here, in bytes.
const MOST_NOISE: usize = 256;

/// Why a line is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentFault {
    /// There is no `{` in it: another format.
    #[error("no JSON object begins in this line")]
    NoObject,
    /// An object begins, but is damaged, broke off, holds what JSON has not (`NaN`), or is not alone.
    #[error("the JSON object in this line is damaged or not alone")]
    Malformed,
}

/// The object in a line. What stands before its `{`, such as the noise of a start-up or a log prefix, is passed over
/// unless it holds a quotation mark: then it is the torn beginning of an object, and what is left of it may mean
/// something else than the whole. Of two members with one name the last counts. Objects and arrays lie at most 127 deep
/// in each other.
///
/// # Errors
/// See [`DocumentFault`].
pub fn json_document(line: &[u8]) -> Result<Value, DocumentFault> {
    let start = line.iter().position(|byte| *byte == b'{').ok_or(DocumentFault::NoObject)?;
    let (noise, object) = line.split_at(start);
    if noise.len() > MOST_NOISE || noise.contains(&b'"') {
        return Err(DocumentFault::Malformed);
    }
    serde_json::from_slice(object).map_err(|_| DocumentFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn an_object_is_read_with_noise_before_it() {
        for line in
            ["{\"t\":21.5}", "\u{fffd}\u{fffd}ets Jun  8 {\"t\":21.5}", "I (321) app: {\"t\":21.5}\t "]
        {
            assert_eq!(json_document(line.as_bytes()), Ok(json!({"t": 21.5})), "{line}");
        }
    }

    #[test]
    fn of_two_members_with_one_name_the_last_counts() {
        assert_eq!(json_document(br#"{"t":1,"t":2}"#), Ok(json!({"t": 2})));
    }

    #[test]
    fn torn_objects_are_not_taken_for_smaller_ones() {
        for line in
            [r#""a":{"t":1}}"#, r#""a":{"t":1}"#, r#"{"a":{"t":1}"#, r#"{"t":1{"t":2}"#, r#"{"t":1} x"#]
        {
            assert_eq!(json_document(line.as_bytes()), Err(DocumentFault::Malformed), "{line}");
        }
    }

    #[test]
    fn what_json_has_not_is_refused() {
        for line in [r#"{"t":NaN}"#, r#"{"t":Infinity}"#, r#"{"t":1e999}"#, r#"{'t':1}"#, r#"{"t":01}"#] {
            assert_eq!(json_document(line.as_bytes()), Err(DocumentFault::Malformed), "{line}");
        }
        assert_eq!(json_document(b"hello"), Err(DocumentFault::NoObject));
        let deep = format!("{{\"a\":{}", "[".repeat(5_000));
        assert_eq!(json_document(deep.as_bytes()), Err(DocumentFault::Malformed));
    }

    proptest! {
        #[test]
        fn any_line_is_taken_without_a_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = json_document(&line);
        }
    }
}
