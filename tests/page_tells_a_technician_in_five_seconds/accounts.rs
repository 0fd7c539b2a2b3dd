//! The books on the page close before the reader's eyes: each destination by itself, with its equation; what is no loss is told
//! apart from what is; and the disk says what it costs and what is at risk.

use std::sync::Arc;
use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::reading::Class;
use fieldgate::store::queue::{BallastState, DestinationId, Flash, Salvaging, Totals};

use super::assert_contains;
use super::http_gateway::{Gateway, link, seconds_ago};

/// golioth with drops of three kinds, and a second destination with an account of its own.
fn with_two_accounts() -> Gateway {
    let mut gateway = Gateway::fine();
    let (golioth, backup) = (DestinationId(0), DestinationId(1));
    let telemetry = Totals {
        accepted: 1000,
        acknowledged: 900,
        dropped: 80,
        set_aside: 5,
        queued: 15,
        ..Totals::default()
    };
    gateway.status.totals.insert((golioth, Class::Telemetry), telemetry);
    gateway.destinations.push((backup, "backup".into()));
    gateway.board.links.set("backup", seconds_ago(2), link(LinkPhase::Up, "connected", 3));
    let telemetry = Totals { accepted: 400, acknowledged: 100, queued: 300, ..Totals::default() };
    gateway.status.totals.insert((backup, Class::Telemetry), telemetry);
    gateway.status.given_up = Arc::new(
        [
            ((golioth, "superseded".into()), 50),
            ((golioth, "thinned".into()), 20),
            ((golioth, "age".into()), 7),
            ((golioth, "quota".into()), 3),
        ]
        .into(),
    );
    gateway
}

#[tokio::test]
async fn each_destination_shows_its_own_equation_and_nothing_is_added_up_over_them() {
    let page = with_two_accounts().serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "accepted 1\u{202f}000 = acknowledged 900 + dropped 80 + set aside 5 + queued 15",
            "accepted 400 = acknowledged 100 + dropped 0 + set aside 0 + queued 300",
            "<b>300</b> <span>for backup, kept on disk</span>",
        ],
    );
    for sum in [">1\u{202f}400<", ">315<", ">315 wait<", ">1\u{202f}000<"] {
        assert!(!page.contains(sum), "{sum} adds up what is one reading");
    }
}

#[tokio::test]
async fn what_a_newer_reading_replaced_and_what_was_thinned_stands_apart_from_what_was_lost() {
    let served = with_two_accounts().serve();
    let page = served.get("/").await.body;
    assert_contains(
        &page,
        &[
            "<dt>Lost</dt><dd><b class=\"look\">10</b> <span>of the dropped: 7 too old, 3 no room in the queue</span>",
            "<dt>Replaced by newer</dt><dd><b class=\"\">50</b>",
            "<dt>Thinned</dt><dd><b class=\"\">20</b> <span>of the dropped: left out for the data plan",
        ],
    );
    let status = served.get("/api/gateway/status").await.json();
    assert_eq!(status["destinations"][0]["lost"], 10);
    assert_eq!(status["destinations"][0]["givenUp"]["superseded"], 50);
    assert_eq!(status["queue"]["queued"], 300, "of one destination, not of both");
}

#[tokio::test]
async fn what_is_superseded_meanwhile_raises_no_attention_and_what_is_lost_does() {
    let gateway = with_two_accounts();
    let served = gateway.serve();
    assert!(served.get("/").await.body.contains("<h1 id=\"verdict\">Fine</h1>"));
    let more = |reason: &'static str, count: u64| {
        served.status.send_modify(|status| {
            let golioth = DestinationId(0);
            *Arc::make_mut(&mut status.given_up).entry((golioth, reason.into())).or_default() += count;
            if let Some(totals) = status.totals.get_mut(&(golioth, Class::Telemetry)) {
                totals.dropped += count;
            }
        });
    };
    more("superseded", 6);
    more("thinned", 4);
    assert!(served.get("/").await.body.contains("<h1 id=\"verdict\">Fine</h1>"));
    more("age", 1);
    let page = served.get("/").await.body;
    assert_contains(
        &page,
        &["<h1 id=\"verdict\">Attention</h1>", "1 reading was given up for golioth just now"],
    );
}

#[tokio::test]
async fn the_disk_says_what_it_costs_and_what_is_at_risk_and_why() {
    let mut gateway = Gateway::fine();
    gateway.status.commit_window = Duration::from_millis(3200);
    gateway.status.flash =
        Flash { written: 91_000_000, forecast_per_day: Some(39_500_000), budget_per_day: Some(40_000_000) };
    gateway.status.log_bytes = 700_000;
    gateway.status.commit_p50 = Duration::from_millis(9);
    gateway.status.commit_p99 = Duration::from_millis(140);
    gateway.status.slow_fsync = Some(Duration::from_millis(2500));
    gateway.status.ballast = BallastState { bytes: 4 << 20, held: true };
    let page = gateway.serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "<b class=\"look\">3.2 s</b>",
            "configured: 1 s; the commit window is widened from 1000 ms to 3200 ms: 39 MB a day",
            "39.5 MB a day",
            "of 40.0 MB allowed a day; 91.0 MB written since the start 1 d 2 h ago",
            "slow_fsync: 2.5 s",
            "9 ms (p50); 99 of 100 take at most 140 ms (p99)",
            "700.0 kB",
            "Held, 4.2 MB",
            "The disk is slow (slow_fsync)",
        ],
    );
}

#[tokio::test]
async fn what_nobody_can_know_of_a_damaged_file_is_shown_as_unknown() {
    let mut gateway = Gateway::fine();
    gateway.status.salvage =
        Some(Salvaging { file: "queue.db.damaged-2".into(), thousandths: 423, readings: 1200 });
    let done = r#"{"file":"queue.db.damaged-1","detail":"not a database","queued":null,"salvage":"done",
                   "salvaged":{"golioth":31},"lost":null}"#;
    gateway.status.damaged = Arc::new(vec![done.into()]);
    let page = gateway.serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "<b class=\"look\">42 % looked at</b>",
            "1\u{202f}200 saved so far from queue.db.damaged-2; lost: unknown until it ends",
            "<b class=\"look\">Lost: unknown</b>",
            "queue.db.damaged-1: not a database; unknown waited in it, 31 readings were saved",
        ],
    );
}
