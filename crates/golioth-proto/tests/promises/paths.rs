//! Paths: what becomes Uri-Path options, and what is refused before it does.

use fieldgate_golioth_proto::content_format::ContentFormat;
use fieldgate_golioth_proto::paths::{self, PathError, StatePath, StreamPath};

fn options(path: &str) -> Vec<&str> {
    paths::segments(path).collect()
}

#[test]
fn a_manifest_uri_becomes_three_segments_without_the_leading_empty_one() {
    let path = paths::artifact("/.u/c/main@1.2.4").expect("a uri as Golioth writes it");
    assert_eq!(path, ".u/c/main@1.2.4");
    assert_eq!(options(&path), [".u", "c", "main@1.2.4"]);
}

#[test]
fn doubled_and_trailing_slashes_vanish_from_a_uri() {
    assert_eq!(paths::artifact("//.u///c/main@1/").as_deref(), Ok(".u/c/main@1"));
    assert_eq!(options("/.rpc/"), [".rpc"]);
    assert_eq!(options("///").len(), 0);
}

#[test]
fn a_uri_that_leads_nowhere_is_refused() {
    assert_eq!(paths::artifact(""), Err(PathError::Empty));
    assert_eq!(paths::artifact("///"), Err(PathError::Empty));
    assert!(matches!(paths::artifact("/.u/../x"), Err(PathError::DotSegment { .. })));
    assert!(matches!(paths::artifact("/.u/c/a\nb"), Err(PathError::NotPrintable { .. })));
    assert!(matches!(paths::artifact(&"x".repeat(256)), Err(PathError::TooLong { bytes: 256, limit: 255 })));
}

#[test]
fn the_service_paths_have_the_segments_that_golioth_serves() {
    assert_eq!(options(paths::MANIFEST), [".u", "desired"]);
    assert_eq!(options(paths::RPC), [".rpc"]);
    assert_eq!(options(paths::RPC_STATUS), [".rpc", "status"]);
    assert_eq!(options(paths::SETTINGS), [".c"]);
    assert_eq!(options(paths::SETTINGS_STATUS), [".c", "status"]);
    assert_eq!(options(paths::LOGS), [".s", "logs"]);
    assert_eq!(paths::component("main").as_deref(), Ok(".u/c/main"));
}

#[test]
fn a_package_that_is_not_one_segment_is_refused() {
    assert_eq!(paths::component(""), Err(PathError::Empty));
    assert!(matches!(paths::component("a/b"), Err(PathError::NotOneSegment { .. })));
    assert!(matches!(paths::component(".."), Err(PathError::DotSegment { .. })));
}

#[test]
fn an_operators_stream_path_is_kept_and_prefixed() {
    let path = StreamPath::parse("sensors/boiler").expect("a plain path");
    assert_eq!(path.as_str(), "sensors/boiler");
    assert_eq!(path.to_string(), "sensors/boiler");
    assert_eq!(path.uri_path(), ".s/sensors/boiler");
}

#[test]
fn an_operators_path_has_39_visible_characters_and_no_empty_segment() {
    let refused = |path: &str| StreamPath::parse(path).expect_err(path);
    assert!(StreamPath::parse(&"a".repeat(39)).is_ok());
    assert_eq!(refused(&"a".repeat(40)), PathError::TooLong { bytes: 40, limit: 39 });
    assert_eq!(refused(""), PathError::Empty);
    for path in ["/a", "a/", "a//b", "/"] {
        assert_eq!(refused(path), PathError::EmptySegment { path: path.to_owned() });
    }
    for path in ["a b", "kühl", "a\0"] {
        assert_eq!(refused(path), PathError::NotPrintable { path: path.to_owned() });
    }
    for path in ["..", "a/./b"] {
        assert_eq!(refused(path), PathError::DotSegment { path: path.to_owned() });
    }
}

#[test]
fn the_empty_state_path_is_the_whole_document_and_the_empty_stream_path_is_refused() {
    assert_eq!(StatePath::parse("").map(|path| path.uri_path()).as_deref(), Ok(".d"));
    assert_eq!(StatePath::parse("desired/x").map(|path| path.uri_path()).as_deref(), Ok(".d/desired/x"));
    assert!(StatePath::parse("a//b").is_err());
    assert!(StreamPath::parse("").is_err());
}

#[test]
fn content_formats_are_the_registered_numbers_and_no_others() {
    let known: Vec<(u16, ContentFormat)> =
        (0..=u16::MAX).filter_map(|n| ContentFormat::from_number(n).map(|format| (n, format))).collect();
    assert_eq!(
        known,
        [(42, ContentFormat::OctetStream), (50, ContentFormat::Json), (60, ContentFormat::Cbor)]
    );
    assert!(known.iter().all(|(number, format)| format.number() == *number));
}
