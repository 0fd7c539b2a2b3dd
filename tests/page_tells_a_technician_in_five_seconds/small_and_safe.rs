//! The page is one small request that shows whatever names hold and runs none of it; it can be used by thumb, keyboard and screen
//! reader, and a real browser finds nothing to complain of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fieldgate::board::{LaneState, LinkPhase};
use fieldgate::reading::Quality;
use fieldgate::store::queue::DestinationId;

use super::assert_contains;
use super::http_gateway::{Gateway, latest, link, seconds_ago, slave_state};

/// What one look at the page may cost on a slow link (the goal; the floor is 50 kB).
const PAGE_BYTES: usize = 30_000;

#[tokio::test]
async fn the_page_is_one_small_request_with_nothing_from_elsewhere() {
    for gateway in [
        Gateway::fine(),
        Gateway::attention(),
        Gateway::broken(),
        Gateway::dead_cloud(),
        Gateway::full_disk(),
    ] {
        let page = gateway.serve().get("/").await.body;
        assert!(page.len() < PAGE_BYTES, "{} bytes", page.len());
        assert_needs_nothing_else(&page);
    }
}

#[tokio::test]
async fn a_gateway_with_endless_lists_and_names_still_has_a_small_page() {
    let mut gateway = Gateway::fine();
    let evil = "<&\"'>".repeat(60);
    for n in 0..4096 {
        let quality = if n == 4000 { Quality::OutOfRange } else { Quality::Good };
        gateway.board.latest.set(&format!("{evil}{n}"), seconds_ago(1), latest(1.5, &evil, quality));
        gateway.board.slaves.set(&format!("{evil}{n}"), seconds_ago(1), slave_state(n % 2 == 0));
        let lane = LaneState {
            words: evil.clone(),
            fine: n % 2 == 0,
            excused: false,
            restarts: 1,
            last_progress: seconds_ago(1),
        };
        gateway.board.lanes.set(&format!("{evil}{n}"), seconds_ago(1), lane);
    }
    for n in 0..8 {
        let name = format!("{evil}{n}");
        gateway.board.links.set(&name, seconds_ago(1), link(LinkPhase::Sick, &evil, 1));
        gateway.destinations.push((DestinationId(n), name));
    }
    gateway.facts.name = evil.clone();
    let page = gateway.serve().get("/").await.body;
    assert!(page.len() <= 50_000, "{} bytes", page.len());
    assert!(
        page.contains("in <a href=\"/api/gateway/status\">the full status</a>"),
        "it says that there is more"
    );
    assert!(page.contains("out of range"), "the one value in doubt is among those shown");
    assert_needs_nothing_else(&page);
}

#[tokio::test]
async fn whatever_names_hold_they_are_shown_and_never_run() {
    let mut gateway = Gateway::fine();
    let evil = "</style><script>alert(1)</script><img src=x onerror=alert(2)>\"'";
    gateway.facts.name = evil.into();
    gateway.facts.serial = evil.into();
    gateway.board.links.set("golioth", seconds_ago(1), link(LinkPhase::Sick, evil, 1));
    gateway.board.latest.set(evil, seconds_ago(1), latest(1.0, evil, Quality::OutOfRange));
    gateway.board.slaves.set(evil, seconds_ago(1), slave_state(false));
    gateway.destinations.push((DestinationId(1), evil.into()));
    let page = gateway.serve().get("/").await.body;
    for tag in ["<script", "<img", "</style><", "onerror=alert(2)>"] {
        assert!(!page.contains(tag), "{tag} is in the page");
    }
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "it is shown as text");
}

#[tokio::test]
async fn the_page_refreshes_itself_unless_asked_not_to() {
    let gateway = Gateway::fine().serve();
    let refresh = "<meta http-equiv=\"refresh\" content=\"10\">";
    assert!(gateway.get("/").await.body.contains(refresh));
    assert!(!gateway.get("/?refresh=off").await.body.contains("http-equiv"));
}

#[tokio::test]
async fn the_page_is_built_for_screen_readers_and_small_screens() {
    let page = Gateway::attention().serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "<html lang=\"en\">",
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
            "<main>",
            "<a class=\"skip\" href=\"#details\">",
            "<div id=\"details\">",
            "<th scope=\"col\">",
            "<th scope=\"row\">",
            "<caption>",
        ],
    );
    assert_eq!(page.matches("<h1").count(), 1);
    // No heading skips a level.
    let levels: Vec<u32> =
        page.split("<h").skip(1).filter_map(|rest| rest.chars().next()?.to_digit(10)).collect();
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "{ids:?}");
}

#[test]
fn every_colour_of_text_stands_out_from_what_is_behind_it() {
    let style = include_str!("../../templates/page.css");
    let themes: Vec<BTreeMap<&str, [f64; 3]>> = style.split(":root{").skip(1).map(colours).collect();
    assert_eq!(themes.len(), 2, "light and dark");
    for theme in themes {
        for (text, behind) in [
            ("--ink", "--bg"),
            ("--ink", "--card"),
            ("--soft", "--bg"),
            ("--soft", "--card"),
            ("--link", "--bg"),
            ("--link", "--card"),
            ("--ok", "--card"),
            ("--look", "--card"),
            ("--bad", "--card"),
            ("white", "--okbg"),
            ("white", "--lookbg"),
            ("white", "--badbg"),
        ] {
            let behind_it = theme[behind];
            let text_colour = theme.get(text).copied().unwrap_or([1.0; 3]);
            let ratio = contrast(text_colour, behind_it);
            assert!(ratio >= 4.5, "{text} on {behind}: {ratio:.2}");
        }
    }
}

#[tokio::test]
async fn a_browser_shows_the_verdict_and_finds_nothing_to_complain_of() {
    for (name, gateway, headline) in [
        ("fine", Gateway::fine(), "Connected to golioth, nothing to do"),
        ("attention", Gateway::attention(), "pump does not answer"),
        ("broken", Gateway::broken(), "The disk is full"),
        ("dead-cloud", Gateway::dead_cloud(), "No answer from golioth"),
        ("full-disk", Gateway::full_disk(), "The disk is full"),
    ] {
        let gateway = gateway.serve();
        let url = format!("http://{}/", gateway.address);
        let (dom, said) = chromium(&["--dump-dom", &url]).await;
        assert!(dom.contains(headline), "{name}: {dom}\n{said}");
        assert!(!said.contains("CONSOLE"), "{name}: the browser complains:\n{said}");
        let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.png"));
        let screenshot = format!("--screenshot={}", picture.display());
        chromium(&[&screenshot, &url]).await;
        let bytes = std::fs::read(&picture).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 5_000, "{name}: {} bytes", bytes.len());
    }
}

#[tokio::test]
async fn a_browser_that_complains_would_be_heard() {
    let (_, said) = chromium(&["--dump-dom", "data:text/html,<script>console.error('heard')</script>"]).await;
    assert!(said.contains("CONSOLE") && said.contains("heard"), "{said}");
}

/// What the browser prints, and what it says of it.
async fn chromium(arguments: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let browser = tokio::process::Command::new("/usr/bin/chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--window-size=360,2600", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), browser)
        .await
        .expect("chromium ends within two minutes")
        .expect("chromium is installed: apt-get install --no-install-recommends chromium");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Nothing that a browser would fetch, run or send, and no address but this gateway's.
fn assert_needs_nothing_else(page: &str) {
    let page = page.to_ascii_lowercase();
    for part in
        ["<script", "<iframe", "<form", "<object", "<embed", "<img", " src=", "srcset", "url(", "@import"]
    {
        assert!(!page.contains(part), "{part}");
    }
    for target in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let here = target.starts_with('#') || target == "data:,";
        assert!(here || (target.starts_with('/') && !target.starts_with("//")), "{target}");
    }
}

fn colours(style: &str) -> BTreeMap<&str, [f64; 3]> {
    let block = style.split('}').next().unwrap();
    block
        .split(';')
        .filter_map(|line| line.trim().split_once(":#"))
        .map(|(name, hex)| (name, rgb(hex)))
        .collect()
}

fn rgb(hex: &str) -> [f64; 3] {
    let wide: String =
        if hex.len() == 3 { hex.chars().flat_map(|c| [c, c]).collect() } else { hex.to_owned() };
    let part = |at: usize| f64::from(u8::from_str_radix(&wide[at..at + 2], 16).unwrap()) / 255.0;
    [part(0), part(2), part(4)]
}

/// WCAG 2.2, contrast ratio.
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let luminance = |colour: [f64; 3]| {
        let linear = colour.map(|c| if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    };
    let (a, b) = (luminance(one), luminance(other));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}
