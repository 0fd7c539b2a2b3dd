//! `/`: the page that tells a technician on a phone in five seconds whether this gateway is fine and, if not, why.
//!
//! One request, no script, nothing from elsewhere: HTML rendered here, its style inline and named by hash in the content
//! policy. Every text is escaped by the template. The page never exceeds [`MOST_BYTES`]: lists show their most important
//! rows and say how many they leave out; the API has them all.

mod books;
mod sections;
mod tiles;

use askama::Template;
use axum::http::HeaderValue;
use sha2::{Digest, Sha256};

use self::books::{accounts, store};
use self::sections::{cloud, daemon, data_plan, firmware, radio, settings, slaves, streams};
use self::tiles::tiles;
use super::snapshot::Snapshot;
use super::verdict::{Level, Verdict, verdict};
use crate::gather::in_front;

/// No page is longer.
const MOST_BYTES: usize = 48 * 1024;
const STYLE: &str = include_str!("../../../templates/page.css");

/// The page as HTML; `refreshes` lets it reload itself.
///
/// # Errors
/// When the template does not render.
pub(super) fn render(snapshot: &Snapshot, refreshes: bool) -> Result<String, askama::Error> {
    let mut html = Page::new(snapshot, refreshes, 1).render()?;
    // Names of any length and lists of any length: shown shorter until it fits.
    for share in [2, 4, 8, 16] {
        if html.len() <= MOST_BYTES {
            break;
        }
        html = Page::new(snapshot, refreshes, share).render()?;
    }
    Ok(html)
}

/// What a browser may do with anything from here: show it, with the page's own style.
pub(super) fn content_policy() -> HeaderValue {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        base64(&Sha256::digest(STYLE.as_bytes())),
    );
    // Base64 and the words above are all visible ASCII.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().enumerate().fold(0u32, |sum, (n, byte)| sum | (u32::from(*byte) << (16 - 8 * n)));
        for n in 0..4 {
            let letter = LETTERS.get((group >> (18 - 6 * n)) as usize & 63).copied().unwrap_or(b'=');
            text.push(if n > chunk.len() { '=' } else { letter.into() });
        }
    }
    text
}

/// How something does, shown as a colour and always as a word too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Fine,
    Look,
    Bad,
    Plain,
}

impl Mark {
    fn class(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Look => "look",
            Self::Bad => "bad",
            Self::Plain => "",
        }
    }
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    style: &'static str,
    refreshes: bool,
    name: String,
    serial: String,
    verdict: Verdict,
    class: &'static str,
    sign: &'static str,
    more_reasons: usize,
    tiles: Vec<Tile>,
    sections: Vec<Section>,
    streams: Vec<Stream>,
    more_streams: usize,
    as_of: String,
}

/// One of the facts under the verdict.
struct Tile {
    label: String,
    value: String,
    note: String,
    mark: Mark,
}

struct Section {
    id: &'static str,
    title: &'static str,
    rows: Vec<Row>,
    more: usize,
}

struct Row {
    label: String,
    value: String,
    note: String,
    mark: Mark,
}

struct Stream {
    name: String,
    value: String,
    unit: String,
    age: String,
    doubt: &'static str,
}

impl Page {
    /// `share` divides what lists and texts may take.
    fn new(s: &Snapshot, refreshes: bool, share: usize) -> Self {
        let bounds = Bounds { share };
        let mut verdict = verdict(s);
        let (class, sign) = match verdict.level {
            Level::Fine => ("ok", "✓"),
            Level::Attention => ("look", "!"),
            Level::Broken => ("bad", "✕"),
        };
        let more_reasons = verdict.reasons.len().saturating_sub(bounds.rows(12));
        verdict.reasons.truncate(bounds.rows(12));
        verdict.headline = bounds.text(&verdict.headline, 160);
        for reason in &mut verdict.reasons {
            reason.what = bounds.text(&reason.what, 160);
            reason.meaning = bounds.text(&reason.meaning, 400);
            reason.next_step = bounds.text(&reason.next_step, 200);
        }
        let (streams, more_streams) = streams(s, bounds);
        let mut sections = vec![
            bounds.section("cloud", "Cloud", cloud(s, bounds)),
            bounds.section("plan", "Data plan", data_plan(s, bounds)),
            bounds.section("radio", "Radio", radio(s, bounds)),
            bounds.section("accounts", "Accounts", accounts(s, bounds)),
            bounds.section("store", "Disk", store(s, bounds)),
            bounds.section("sensors", "Sensors", slaves(s, bounds)),
            bounds.section("firmware", "Firmware", firmware(s, bounds)),
            bounds.section("settings", "Set from afar", settings(s, bounds)),
            bounds.section("daemon", "Daemon", daemon(s, bounds)),
        ];
        sections.retain(|section| !section.rows.is_empty() || section.id == "sensors");
        Self {
            style: STYLE,
            refreshes,
            name: bounds.text(&s.gateway.name, 80),
            serial: bounds.text(&s.gateway.serial, 128),
            verdict,
            class,
            sign,
            more_reasons,
            tiles: tiles(s),
            sections,
            streams,
            more_streams,
            as_of: as_of(s),
        }
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    share: usize,
}

impl Bounds {
    fn rows(self, usual: usize) -> usize {
        (usual / self.share).max(2)
    }

    fn text(self, text: &str, usual: usize) -> String {
        let most = (usual / self.share).max(24);
        if text.chars().count() <= most {
            return text.to_owned();
        }
        text.chars().take(most - 1).chain(['…']).collect()
    }

    fn section(self, id: &'static str, title: &'static str, mut rows: Vec<Row>) -> Section {
        let most = self.rows(32);
        if rows.len() > most {
            rows = in_front(rows, |row| row.mark != Mark::Fine);
        }
        let more = rows.len().saturating_sub(most);
        rows.truncate(most);
        Section { id, title, rows, more }
    }

    fn row(self, label: &str, value: &str, note: &str, mark: Mark) -> Row {
        Row { label: self.text(label, 96), value: self.text(value, 96), note: self.text(note, 240), mark }
    }
}

fn as_of(s: &Snapshot) -> String {
    match jiff::Timestamp::from_millisecond(s.wall.unix_ms) {
        Ok(at) if s.wall.trusted => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Ok(_) | Err(_) => "clock not set".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        // RFC 4648, section 10.
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        let bounds = Bounds { share: 1 };
        assert_eq!(bounds.text("äöü", 3), "äöü");
        assert_eq!(bounds.text(&"ä".repeat(200), 30), "ä".repeat(29) + "…");
    }
}
