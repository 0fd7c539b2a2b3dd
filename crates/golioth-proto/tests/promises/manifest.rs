//! The firmware manifest: bytes as the cloud was seen to send them, and every way a field can be wrong.

use fieldgate_golioth_proto::Fault;
use fieldgate_golioth_proto::manifest::{Component, Desired, Field, Manifest, ManifestError, decode};

use crate::common::{bytes, widest};

/// One component, accepted by Golioth's own SDK.
pub(crate) fn golden() -> Vec<u8> {
    bytes(&format!(
        "a3 01 1a614266ca 02 7840 '{}' 03 81 a6 01 64 'main' 02 65 '1.2.2' 03 7840 '{}' 04 191388 05 71 '{}' 06 67 'default'",
        "a".repeat(64),
        "b".repeat(64),
        "/.u/c/main@1.2.2x"
    ))
}

fn golden_manifest() -> Desired {
    Desired::Deployment(Manifest {
        sequence_number: 1_631_741_642,
        components: vec![Component {
            package: "main".to_owned(),
            version: "1.2.2".to_owned(),
            sha256: [0xbb; 32],
            size_bytes: 5000,
            uri: "/.u/c/main@1.2.2x".to_owned(),
        }],
    })
}

/// A component with one field's encoding (key included) put in place of the sound one.
fn component_with(key: u8, field: &str) -> Vec<u8> {
    let fields = [
        (1, "01 64 'main'".to_owned()),
        (2, "02 65 '1.2.4'".to_owned()),
        (3, format!("03 7840 '{}'", "0f".repeat(32))),
        (4, "04 1864".to_owned()),
        (5, "05 70 '/.u/c/main@1.2.4'".to_owned()),
    ];
    let body: String = fields
        .iter()
        .map(|(k, sound)| if *k == key { field.to_owned() } else { sound.clone() })
        .collect::<Vec<_>>()
        .join(" ");
    bytes(&format!("a2 01 07 03 81 bf {body} ff"))
}

fn refused(document: &[u8]) -> ManifestError {
    decode(document).expect_err("refused")
}

#[test]
fn the_golden_manifest_is_read_and_its_unknown_keys_are_passed_over() {
    assert_eq!(decode(&golden()), Ok(golden_manifest()));
}

#[test]
fn the_same_manifest_in_indefinite_lengths_is_the_same_manifest() {
    assert_eq!(decode(&widest(&golden())), Ok(golden_manifest()));
}

#[test]
fn the_empty_map_means_that_nothing_is_deployed() {
    assert_eq!(decode(&[0xa0]), Ok(Desired::Nothing));
    assert_eq!(decode(&[0xbf, 0xff]), Ok(Desired::Nothing));
}

#[test]
fn a_sequence_number_without_components_is_incomplete() {
    assert_eq!(refused(&bytes("a1 01 00")), ManifestError::Incomplete { missing: Field::Components });
    assert_eq!(refused(&bytes("a1 03 80")), ManifestError::Incomplete { missing: Field::SequenceNumber });
}

#[test]
fn a_deployment_of_no_components_is_a_deployment() {
    let empty = Manifest { sequence_number: 0, components: Vec::new() };
    assert_eq!(decode(&bytes("a2 01 00 03 80")), Ok(Desired::Deployment(empty)));
}

#[test]
fn a_sequence_number_of_nineteen_digits_is_kept_whole() {
    let document = bytes("a2 03 80 01 1b 16ae1152d77b5b29");
    let Ok(Desired::Deployment(manifest)) = decode(&document) else { panic!("a deployment") };
    assert_eq!(manifest.sequence_number, 0x16ae_1152_d77b_5b29);
    assert_eq!(manifest.sequence_number.to_string().len(), 19);
}

#[test]
fn digits_of_either_case_make_the_digest() {
    let mixed = format!("03 7840 '{}'", "aB".repeat(32));
    let Ok(Desired::Deployment(manifest)) = decode(&component_with(3, &mixed)) else {
        panic!("a deployment")
    };
    assert_eq!(manifest.components[0].sha256, [0xab; 32]);
}

#[test]
fn every_bad_field_is_named() {
    let sha = Fault::Invalid { expected: "SHA-256 digest of 64 hexadecimal digits" };
    let wrong = |expected| Fault::WrongType { expected };
    let long = |limit| Fault::TooLong { limit };
    let of_129 = format!("78 81 '{}'", "x".repeat(129));
    let cases: Vec<(u8, String, Field, Fault)> = vec![
        (1, "01 00".into(), Field::Package, wrong("text")),
        (1, "01 60".into(), Field::Package, Fault::Empty),
        (1, format!("01 {of_129}"), Field::Package, long(128)),
        (
            1,
            "01 63 'a/b'".into(),
            Field::Package,
            Fault::Invalid { expected: "name without slashes and control characters" },
        ),
        (2, "02 f6".into(), Field::Version, wrong("text")),
        (2, "02 60".into(), Field::Version, Fault::Empty),
        (2, format!("02 {of_129}"), Field::Version, long(128)),
        (3, format!("03 783f '{}'", "0".repeat(63)), Field::Hash, sha),
        (3, format!("03 7841 '{}'", "0".repeat(65)), Field::Hash, sha),
        (3, format!("03 7840 '{}g'", "0".repeat(63)), Field::Hash, sha),
        (3, "03 41 00".into(), Field::Hash, wrong("text")),
        (4, "04 20".into(), Field::Size, Fault::OutOfRange),
        (4, "04 61 '1'".into(), Field::Size, wrong("an integer")),
        (4, "04 01 04 01".into(), Field::Size, Fault::Twice),
        (5, "05 61 '/'".into(), Field::Uri, Fault::Invalid { expected: "path such as /.u/c/main@1.2.4" }),
        (5, format!("05 {of_129}"), Field::Uri, long(128)),
    ];
    for (key, encoding, field, fault) in cases {
        let error = refused(&component_with(key, &encoding));
        assert_eq!(error, ManifestError::BadComponent { index: 0, field, fault }, "{encoding}");
        assert!(error.to_string().contains(&field.to_string()), "{error}");
    }
}

#[test]
fn text_in_chunks_is_bounded_as_a_whole() {
    let chunks = |count: usize| {
        format!(
            "02 7f {} ff",
            "78 20 20202020202020202020202020202020 20202020202020202020202020202020".repeat(count)
        )
    };
    assert!(decode(&component_with(2, &chunks(4))).is_ok());
    let fault = Fault::TooLong { limit: 128 };
    assert_eq!(
        refused(&component_with(2, &chunks(5))),
        ManifestError::BadComponent { index: 0, field: Field::Version, fault }
    );
}

#[test]
fn a_break_where_a_value_belongs_is_damage() {
    let damage = ManifestError::Bad { field: Field::Document, fault: Fault::Malformed };
    assert_eq!(refused(&bytes("a1 05 ff")), damage);
    assert_eq!(refused(&bytes("a1 ff")), damage);
    assert_eq!(refused(&bytes("bf 05 ff")), damage);
}

#[test]
fn a_bad_sequence_number_or_list_is_named() {
    let bad = |field, fault| ManifestError::Bad { field, fault };
    let wrong = |expected| Fault::WrongType { expected };
    assert_eq!(refused(&bytes("a2 01 20 03 80")), bad(Field::SequenceNumber, Fault::OutOfRange));
    assert_eq!(refused(&bytes("a2 01 f6 03 80")), bad(Field::SequenceNumber, wrong("an integer")));
    assert_eq!(refused(&bytes("a3 01 00 01 00 03 80")), bad(Field::SequenceNumber, Fault::Twice));
    assert_eq!(refused(&bytes("a2 01 00 03 a0")), bad(Field::Components, wrong("an array")));
    assert_eq!(refused(&bytes("80")), bad(Field::Document, wrong("a map")));
    assert_eq!(refused(&bytes("")), bad(Field::Document, Fault::Truncated));
    assert_eq!(refused(&bytes("a0 00")), bad(Field::Document, Fault::Trailing));
}

#[test]
fn each_missing_field_of_a_component_is_named() {
    let fields =
        [(1, Field::Package), (2, Field::Version), (3, Field::Hash), (4, Field::Size), (5, Field::Uri)];
    for (key, missing) in fields {
        assert_eq!(
            refused(&component_with(key, "")),
            ManifestError::IncompleteComponent { index: 0, missing },
            "without key {key}"
        );
    }
}

#[test]
fn sixteen_components_are_read_and_a_seventeenth_is_refused() {
    let document = |count: u8| {
        let component =
            |i| format!("a5 01 62 '{i:02}' 02 61 '1' 03 7840 '{}' 04 00 05 64 '/a/b'", "0".repeat(64));
        let components: Vec<String> = (0..count).map(component).collect();
        bytes(&format!("a2 01 01 03 9f {} ff", components.join(" ")))
    };
    let Ok(Desired::Deployment(manifest)) = decode(&document(16)) else { panic!("a deployment") };
    let packages: Vec<String> = (0..16).map(|i| format!("{i:02}")).collect();
    assert!(manifest.components.iter().map(|c| &c.package).eq(&packages));
    assert_eq!(
        refused(&document(17)),
        ManifestError::Bad { field: Field::Components, fault: Fault::TooLong { limit: 16 } }
    );
}

#[test]
fn one_package_twice_is_refused() {
    let component = format!("a5 01 61 'a' 02 61 '1' 03 7840 '{}' 04 00 05 64 '/a/b'", "0".repeat(64));
    assert_eq!(
        refused(&bytes(&format!("a2 01 01 03 82 {component} {component}"))),
        ManifestError::BadComponent { index: 1, field: Field::Package, fault: Fault::Twice }
    );
}

#[test]
fn keys_of_other_kinds_and_nested_values_are_passed_over() {
    let document = bytes("a5 01 05 61 'x' bf 81 01 9f 02 ff ff 20 c1 00 1bffffffffffffffff f7 03 80");
    let empty = Manifest { sequence_number: 5, components: Vec::new() };
    assert_eq!(decode(&document), Ok(Desired::Deployment(empty)));
}

#[test]
fn a_manifest_cut_anywhere_is_never_taken_for_a_whole_one() {
    let whole = golden();
    for end in 0..whole.len() {
        assert!(decode(&whole[..end]).is_err(), "cut at {end}");
    }
}
