//! Which stream messages the project takes, and a list of those it does not.
//!
//! As in Golioth's Pipelines, a filter names a path (the part behind `.s`, with its slash; exact, or a prefix that ends in `*`) and
//! a content type, either of them optional. A message no filter matches is acknowledged to the device and dropped.

use serde::Serialize;
use std::collections::VecDeque;

/// Different unmatched (device, path, format) kept; the oldest goes first.
const MOST_UNMATCHED: usize = 1_000;

/// One pipeline's filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `/sensor`, or `/sensor/*`, or `*` for all.
    pub path: String,
    /// Content-Format number; `None` for any.
    pub content_format: Option<u16>,
}

impl Route {
    /// Takes everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::path("*")
    }

    /// Takes a path, of any content.
    #[must_use]
    pub fn path(path: &str) -> Self {
        Self { path: path.to_owned(), content_format: None }
    }

    fn takes(&self, path: &str, content_format: Option<u16>) -> bool {
        let path_fits = match self.path.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path.trim_end_matches('/') == self.path.trim_end_matches('/'),
        };
        path_fits && (self.content_format.is_none() || self.content_format == content_format)
    }
}

/// Messages that no pipeline took, summed up by where they came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    /// Device name.
    pub device: String,
    /// Path behind `.s`, with its slash.
    pub path: String,
    /// Content-Format number as sent.
    pub content_format: Option<u16>,
    /// When the last one came, Unix nanoseconds.
    pub unix_ns: i128,
    /// How many came.
    pub count: u64,
}

/// The project's filters and what they let fall.
#[derive(Debug)]
pub(super) struct Pipelines {
    pub(super) routes: Vec<Route>,
    pub(super) unmatched: VecDeque<Unmatched>,
}

impl Pipelines {
    pub(super) fn new(routes: Vec<Route>) -> Self {
        Self { routes, unmatched: VecDeque::new() }
    }

    /// Whether a pipeline takes it; one that none takes is noted.
    pub(super) fn take(
        &mut self,
        device: &str,
        path: &str,
        content_format: Option<u16>,
        unix_ns: i128,
    ) -> bool {
        if self.routes.iter().any(|route| route.takes(path, content_format)) {
            return true;
        }
        let same = |known: &&mut Unmatched| {
            known.device == device && known.path == path && known.content_format == content_format
        };
        if let Some(known) = self.unmatched.iter_mut().find(same) {
            known.count += 1;
            known.unix_ns = unix_ns;
            return false;
        }
        if self.unmatched.len() >= MOST_UNMATCHED {
            self.unmatched.pop_front();
        }
        let (device, path) = (device.to_owned(), path.to_owned());
        self.unmatched.push_back(Unmatched { device, path, content_format, unix_ns, count: 1 });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_exact_or_a_prefix_with_a_star() {
        for (filter, path, fits) in [
            ("*", "/anything/at/all", true),
            ("/sensor", "/sensor", true),
            ("/sensor/", "/sensor", true),
            ("/sensor", "/sensor/", true),
            ("/sensor", "/sensors", false),
            ("/sensor", "/sensor/a", false),
            ("/sensor*", "/sensors", true),
            ("/sensor/*", "/sensor/a/b", true),
            ("/sensor/*", "/sensor", false),
        ] {
            assert_eq!(Route::path(filter).takes(path, None), fits, "{filter} {path}");
        }
    }

    #[test]
    fn a_filter_may_ask_for_one_content_format() {
        let cbor = Route { content_format: Some(60), ..Route::everything() };
        assert!(cbor.takes("/a", Some(60)));
        assert!(!cbor.takes("/a", Some(50)) && !cbor.takes("/a", None));
    }

    #[test]
    fn what_no_filter_takes_is_listed_once_with_a_count() {
        let mut pipelines = Pipelines::new(vec![Route::path("/a")]);
        assert!(pipelines.take("gw", "/a", None, 1));
        assert!(!pipelines.take("gw", "/b", Some(60), 2));
        assert!(!pipelines.take("gw", "/b", Some(60), 3));
        assert!(!pipelines.take("gw", "/b", Some(50), 4));
        let listed: Vec<_> =
            pipelines.unmatched.iter().map(|u| (u.content_format, u.count, u.unix_ns)).collect();
        assert_eq!(listed, [(Some(60), 2, 3), (Some(50), 1, 4)]);
    }
}
