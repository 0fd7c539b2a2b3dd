//! The metrics follow the exposition grammar and say what the page says.

use std::collections::BTreeMap;

use fieldgate::board::LinkPhase;
use fieldgate::reading::Class;
use fieldgate::store::queue::{DestinationId, Totals};

use super::http_gateway::{Gateway, link, seconds_ago, slave_state};

#[tokio::test]
async fn metrics_follow_the_exposition_grammar_whatever_names_hold() {
    let mut gateway = Gateway::attention();
    let evil = "a\\b\"c\nd}{,=é";
    gateway.destinations.push((DestinationId(1), evil.into()));
    gateway.board.links.set(evil, seconds_ago(1), link(LinkPhase::Waiting, evil, 1));
    gateway.board.slaves.set(evil, seconds_ago(1), slave_state(false));
    gateway.status.totals.insert((DestinationId(1), Class::Event), Totals { queued: 3, ..Totals::default() });
    let answer = gateway.serve().get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let samples = parse_exposition(&answer.body);
    for (series, value) in [
        ("fieldgate_queue_readings{destination=\"golioth\",class=\"telemetry\"}", 14.0),
        ("fieldgate_queue_readings{destination=\"a\\\\b\\\"c\\nd}{,=é\",class=\"event\"}", 3.0),
        ("fieldgate_readings_accepted_total", 1_204_331.0),
        ("fieldgate_readings_missed_total", 12.0),
        ("fieldgate_readings_acknowledged_total{destination=\"golioth\",class=\"telemetry\"}", 1_204_317.0),
        ("fieldgate_link_up{destination=\"golioth\"}", 1.0),
        ("fieldgate_link_handshakes_total{destination=\"golioth\"}", 2.0),
        ("fieldgate_link_sent_bytes_total{destination=\"golioth\"}", 5_812_331.0),
        ("fieldgate_modem_rsrp_dbm", -121.0),
        ("fieldgate_slave_answering{bus=\"field\",slave=\"pump\"}", 0.0),
        ("fieldgate_lane_restarts_total{lane=\"modem\"}", 0.0),
        ("fieldgate_store_health{state=\"good\"}", 1.0),
        ("fieldgate_store_health{state=\"disk_full\"}", 0.0),
        ("fieldgate_verdict_level", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}\n{}", answer.body);
    }
}

/// Checks the text exposition format 0.0.4 and gives every series with its value.
fn parse_exposition(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut samples = BTreeMap::new();
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(is_metric_name(name) && !words.is_empty(), "{line}");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE follows its HELP");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} stands twice");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert_eq!(name, current, "samples follow their family");
            assert!(name.starts_with("fieldgate_") && families.contains_key(name), "{line}");
            if let Some(labels) = series.get(name.len()..).filter(|labels| !labels.is_empty()) {
                assert_labels(labels);
            }
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} stands twice");
        }
    }
    samples
}

fn is_metric_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `{a="b",c="d"}`, with `\\`, `\"` and `\n` the only escapes.
fn assert_labels(labels: &str) {
    let mut rest = labels.strip_prefix('{').unwrap_or_else(|| panic!("{labels}"));
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{labels}"));
        assert!(is_metric_name(name), "{labels}");
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next() {
                Some((_, '\\')) => assert!(matches!(letters.next(), Some((_, '\\' | '"' | 'n'))), "{labels}"),
                Some((at, '"')) => break at,
                Some(_) => {}
                None => panic!("{labels}"),
            }
        };
        rest = &after[end + 1..];
        match rest {
            "}" => return,
            _ => rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("{labels}")),
        }
    }
}
