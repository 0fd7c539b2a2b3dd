//! No bytes, from noise to a sound document with a few bytes changed, make a decoder panic or say yes to a document
//! that is not whole.

use fieldgate_golioth_proto::columns::decode_columns;
use fieldgate_golioth_proto::rows::decode_rows;
use fieldgate_golioth_proto::{manifest, rpc, settings};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::common::widest;

fn golden_documents() -> Vec<Vec<u8>> {
    let definite = [
        crate::manifest::golden(),
        crate::services::golden_call(),
        crate::services::golden_settings(),
        crate::rows::golden(),
    ];
    // Columns come in one piece only.
    let widened = definite.iter().map(|document| widest(document));
    widened.chain(definite.clone()).chain([crate::columns::golden()]).collect()
}

/// Which of the five decoders take the document.
fn takers(document: &[u8]) -> [bool; 5] {
    [
        manifest::decode(document).is_ok(),
        rpc::decode(document).is_ok(),
        settings::decode(document).is_ok(),
        decode_rows(document).is_ok(),
        decode_columns(document).is_ok(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// What survives as sound must not become unsound by a byte more: a decoder reads one document and all of it.
    #[test]
    fn noise_is_an_error_or_a_document_without_a_remainder(noise in vec(any::<u8>(), 0..200)) {
        let mut longer = noise.clone();
        longer.push(0);
        let both = takers(&noise).iter().zip(takers(&longer)).any(|(short, long)| *short && long);
        prop_assert!(!both, "a document and the same with a byte behind it were both taken");
    }

    #[test]
    fn a_changed_document_is_an_error_or_a_document_without_a_remainder(
        document in select(golden_documents()), changes in vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut changed = document;
        for (place, byte) in changes {
            let place = place.index(changed.len());
            changed[place] = byte;
        }
        let mut longer = changed.clone();
        longer.push(0);
        let both = takers(&changed).iter().zip(takers(&longer)).any(|(short, long)| *short && long);
        prop_assert!(!both, "a document and the same with a byte behind it were both taken");
    }
}

#[test]
fn every_golden_document_is_taken_whole_and_by_no_cut_of_it() {
    for document in golden_documents() {
        assert!(takers(&document).contains(&true));
        for end in 0..document.len() {
            assert_eq!(takers(&document[..end]), [false; 5], "cut at {end} of {document:02x?}");
        }
    }
}

#[test]
fn lengths_beyond_any_memory_are_refused_without_reserving_any() {
    for head in [0x5b, 0x7b, 0x9b, 0xbb] {
        let mut document = vec![head];
        document.extend_from_slice(&[0xff; 8]);
        assert_eq!(takers(&document), [false; 5]);
        let mut nested = vec![0xa1, 0x63, b'x', b'y', b'z'];
        nested.extend_from_slice(&document);
        assert_eq!(takers(&nested), [false; 5]);
    }
}

#[test]
fn nesting_as_deep_as_a_datagram_is_passed_over_without_recursion() {
    for open in [0x81, 0x9f, 0xc1] {
        let mut document = vec![0xa1, 0x05];
        document.extend(std::iter::repeat_n(open, 60_000));
        assert_eq!(takers(&document), [false; 5]);
        document.push(0x00);
        document.extend(std::iter::repeat_n(0xff, if open == 0x9f { 60_000 } else { 0 }));
        assert_eq!(manifest::decode(&document), Ok(manifest::Desired::Nothing));
    }
}
