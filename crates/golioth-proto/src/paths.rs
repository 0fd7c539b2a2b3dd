//! Where on Golioth's device plane things live, and which paths an operator or a manifest may name.
//!
//! A path is text with `/` between segments and none in front, as the constants show; [`segments`] turns it into one
//! item per Uri-Path option (RFC 7252 §5.10.1). Paths from outside are checked once, where they become a
//! [`StreamPath`], a [`StatePath`] or the answer of [`artifact`] and [`component`], and never again.

use core::fmt;

/// The firmware manifest: GET and observe, `Accept: application/cbor`.
pub const MANIFEST: &str = ".u/desired";
/// Remote procedure calls: observe.
pub const RPC: &str = ".rpc";
/// Answers to remote procedure calls: POST.
pub const RPC_STATUS: &str = ".rpc/status";
/// Settings: GET and observe.
pub const SETTINGS: &str = ".c";
/// What became of the settings: POST.
pub const SETTINGS_STATUS: &str = ".c/status";
/// Log records: POST. The path Golioth's default pipeline for logs filters on.
pub const LOGS: &str = ".s/logs";

/// Certificates: POST of a certification request.
pub const CERTIFICATE: &str = "v1/csr";

/// What is wanted of the gateway: the part of its LightDB State that operators write. GET and observe.
pub const DESIRED: &str = ".d/desired";

const STREAM_PREFIX: &str = ".s";
const STATE_PREFIX: &str = ".d";
const COMPONENT_PREFIX: &str = ".u/c";

/// Longest path an operator may give below `.s` or `.d`, in bytes: the limit of Golioth's own firmware SDK, kept so
/// that a pipeline written for this gateway serves their devices too.
pub const MAX_USER_PATH_BYTES: usize = 39;

/// Longest segment and longest manifest uri, in bytes (RFC 7252 §5.10: a Uri-Path option carries at most 255).
const MAX_URI_BYTES: usize = 255;

/// The Uri-Path options of a path, in order. Empty segments are dropped, as CoAP clients of Golioth do: `/a//b` is
/// `a`, `b`, and a path of slashes has none.
pub fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// The path of a manifest's artifact: `/.u/c/main@1.2.4` gives `.u/c/main@1.2.4`.
///
/// The uri is taken as the cloud wrote it, without percent-decoding: Golioth's artifacts are found under the very
/// characters of `package@version`.
pub fn artifact(uri: &str) -> Result<String, PathError> {
    limit(uri, MAX_URI_BYTES)?;
    let mut path = String::with_capacity(uri.len());
    for segment in segments(uri) {
        check_segment(uri, segment)?;
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(segment);
    }
    if path.is_empty() { Err(PathError::Empty) } else { Ok(path) }
}

/// Where the state of a package is reported (POST): `main` gives `.u/c/main`.
pub fn component(package: &str) -> Result<String, PathError> {
    limit(package, MAX_URI_BYTES)?;
    if package.is_empty() {
        return Err(PathError::Empty);
    }
    if package.contains('/') {
        return Err(PathError::NotOneSegment { path: package.to_owned() });
    }
    check_segment(package, package)?;
    Ok(format!("{COMPONENT_PREFIX}/{package}"))
}

/// A path of Golioth's Stream service, as an operator names it: 1 to [`MAX_USER_PATH_BYTES`] visible ASCII
/// characters, segments neither empty nor `.` nor `..`. Pipelines filter on it with a `/` in front.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamPath(String);

impl StreamPath {
    /// Checks a path such as `sensors/boiler`.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        check_user_path(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The path as the operator wrote it, without the service's prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path to send to: `.s/sensors/boiler`.
    pub fn uri_path(&self) -> String {
        format!("{STREAM_PREFIX}/{}", self.0)
    }
}

impl fmt::Display for StreamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path of LightDB State: as [`StreamPath`], and the empty path is the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatePath(String);

impl StatePath {
    /// Checks a path such as `desired/interval`.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if !path.is_empty() {
            check_user_path(path)?;
        }
        Ok(Self(path.to_owned()))
    }

    /// The path as it was given, without the service's prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path to ask: `.d/desired/interval`, or `.d` for the whole document.
    pub fn uri_path(&self) -> String {
        if self.0.is_empty() { STATE_PREFIX.to_owned() } else { format!("{STATE_PREFIX}/{}", self.0) }
    }
}

impl fmt::Display for StatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a path was refused. The texts end with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing is left after the slashes.
    #[error("the path is empty: name at least one segment, such as sensors/boiler")]
    Empty,
    /// Two slashes in a row, or one at either end.
    #[error("{path:?} has a slash at an end or two in a row: write a/b")]
    EmptySegment {
        /// The path as given.
        path: String,
    },
    /// A package's name with a slash in it.
    #[error("package {path:?} has a slash in its name, which would make it two: rename the package")]
    NotOneSegment {
        /// The name as given.
        path: String,
    },
    /// The path does not fit.
    #[error("the path has {bytes} bytes and may have {limit}: shorten it")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// A character that cannot be seen, or in an operator's path one outside ASCII.
    #[error("{path:?} has a character that is not visible ASCII: use letters, digits and punctuation")]
    NotPrintable {
        /// The path as given.
        path: String,
    },
    /// A segment `.` or `..`, which CoAP forbids (RFC 7252 §5.10.1).
    #[error("{path:?} has a segment that is only dots, which CoAP forbids: give it a name")]
    DotSegment {
        /// The path as given.
        path: String,
    },
}

fn limit(path: &str, limit: usize) -> Result<(), PathError> {
    let bytes = path.len();
    if bytes > limit { Err(PathError::TooLong { bytes, limit }) } else { Ok(()) }
}

fn check_user_path(path: &str) -> Result<(), PathError> {
    limit(path, MAX_USER_PATH_BYTES)?;
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(PathError::NotPrintable { path: path.to_owned() });
    }
    for segment in path.split('/') {
        if segment.is_empty() {
            return Err(PathError::EmptySegment { path: path.to_owned() });
        }
        check_segment(path, segment)?;
    }
    Ok(())
}

/// What holds for every segment, whoever named it.
fn check_segment(path: &str, segment: &str) -> Result<(), PathError> {
    if segment == "." || segment == ".." {
        return Err(PathError::DotSegment { path: path.to_owned() });
    }
    if segment.chars().any(char::is_control) {
        return Err(PathError::NotPrintable { path: path.to_owned() });
    }
    Ok(())
}
