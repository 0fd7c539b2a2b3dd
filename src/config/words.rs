//! Small words in values: durations, sizes, names, hosts; and the nearest known word to a mistyped one.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use super::model::Endpoint;

/// `500ms`, `1s`, `10m`, `3h`, `2d`: a whole number and its unit, nothing else.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// `4MiB`: a whole number and `B`, `KiB`, `MiB`, `GiB` or `TiB`, as bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// The shortest text [`size`] reads back.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// A name people choose for a bus, slave, stream or destination: safe in a topic, a URL and a column.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A device's name in the registry: the cloud decides its grammar, a topic segment what it must not hold.
pub(super) fn is_device(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.trim() == text
        && !text.chars().any(|c| c.is_control() || matches!(c, '/' | '+' | '#'))
}

/// A Linux network interface name (`IFNAMSIZ` is 16 with the final NUL).
pub(super) fn is_interface(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !matches!(text, "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'))
}

/// Text a person can read on one line.
pub(super) fn is_line(text: &str, most_bytes: usize) -> bool {
    !text.trim().is_empty() && text.len() <= most_bytes && !text.chars().any(char::is_control)
}

/// A host name or an IPv4 address.
pub(super) fn is_host(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn endpoint(text: &str, default_port: u16) -> Option<Endpoint> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            if !is_host(host) {
                return None;
            }
            (host, port)
        }
    };
    let port = match port {
        None => default_port,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    (port != 0).then(|| Endpoint { host: host.to_owned(), port })
}

/// Whether the host can only be this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The known word the operator most likely meant: at most two slips away, one for short words.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let allowed = if word.len() <= 4 { 1 } else { 2 };
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|(slips, _)| *slips <= allowed)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, drop, replace or swap with their neighbour (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let cost = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut best = (cost(&last, column + 1) + 1).min(cost(&current, column) + 1);
            best = best.min(cost(&last, column) + usize::from(letter != other));
            let swapped = row > 0
                && column > 0
                && from.get(row - 1) == Some(other)
                && to.get(column - 1) == Some(letter);
            if swapped {
                best = best.min(cost(&before_last, column - 1) + 1);
            }
            current.push(best);
        }
        before_last = core::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("1s", 1_000),
            ("10m", 600_000),
            ("3h", 10_800_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "1.5s", "-1s", "1 s", "1S", "5min", "99999999999999999d", "é"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn shown_sizes_read_back_as_the_same() {
        for (bytes, text) in [(0, "0B"), (1_000, "1000B"), (4 << 20, "4MiB"), (1 << 40, "1TiB")] {
            assert_eq!(show_size(bytes), text);
            assert_eq!(size(text), Some(bytes));
        }
        for text in ["4MB", "4", "MiB", "4 MiB", "99999999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_a_host_with_or_without_a_port() {
        let found = |text| endpoint(text, 5684).map(|endpoint| (endpoint.host, endpoint.port));
        assert_eq!(found("coap.golioth.io"), Some(("coap.golioth.io".into(), 5684)));
        assert_eq!(found("127.0.0.1:1"), Some(("127.0.0.1".into(), 1)));
        assert_eq!(found("[::1]"), Some(("::1".into(), 5684)));
        assert_eq!(found("[::1]:99"), Some(("::1".into(), 99)));
        for text in
            ["", ":1", "a:", "a:0", "a:65536", "a:+1", "::1", "[x]:1", "[::1]1", "coaps://a", "a b", "a..b"]
        {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn the_nearest_word_is_found_for_a_slip_and_not_for_another_word() {
        let known = ["serial", "name", "state_dir", "port"];
        assert_eq!(nearest("serail", known), Some("serial"));
        assert_eq!(nearest("Name", known), Some("name"));
        assert_eq!(nearest("statedir", known), Some("state_dir"));
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("host", known), None);
        assert_eq!(nearest("", known), None);
    }
}
