//! A status on one screen: pure, from the API's JSON to lines. The verdict and what to do next stand first; then the clouds
//! with their queues, the signal, losses, sensors, clock, firmware and disk. What the daemon does not tell (an older one, say) is
//! left out. Lists are cut and say so; `--all` and `--json` have everything.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::board::in_words;
use crate::gather::in_front;

/// No summary is longer.
const LINES: usize = 24;
/// So many reasons are told with their next steps: the worst stand first.
const REASONS: usize = 3;
/// So many clouds with their queues have lines: those that are not well first.
const CLOUDS: usize = 2;
/// So many troubles of a cloud have a line: what weighs most stands first.
const TROUBLES: usize = 2;
/// So many components have a place.
const COMPONENTS: usize = 3;
/// So many sensors that are not well have a line.
const UNWELL: usize = 2;
/// No text is longer.
const LETTERS: usize = 160;

/// See the module head.
pub(super) fn summary(status: &Json) -> String {
    let mut lines = Lines(Vec::new());
    verdict(&status["verdict"], &mut lines);
    clouds(list(&status["destinations"]), &mut lines);
    signal(&status["radio"], &mut lines);
    losses(&status["queue"], &mut lines);
    sensors(&status["sensors"], &mut lines);
    clock(&status["gateway"], &mut lines);
    firmware(&status["components"], &mut lines);
    disk(&status["queue"], &mut lines);
    flash(&status["queue"], &mut lines);
    lines.0.truncate(LINES - 1);
    lines.0.push("everything: fieldgate status --all".to_owned());
    lines.0.join("\n") + "\n"
}

struct Lines(Vec<String>);

impl Lines {
    fn plain(&mut self, text: &str) {
        // A name or a lane's words may hold anything; a terminal must not be steered by it.
        let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut line: String = shown.clone().take(LETTERS).collect();
        if shown.count() > LETTERS {
            line.pop();
            line.push('…');
        }
        self.0.push(line);
    }

    fn fact(&mut self, label: &str, text: &str) {
        self.plain(&format!("{label:<9} {text}"));
    }
}

fn verdict(verdict: &Json, lines: &mut Lines) {
    let level = match text(verdict, "level") {
        "fine" => "Fine",
        "attention" => "Attention",
        "broken" => "Broken",
        _ => "Unknown",
    };
    lines.plain(&format!("{level}: {}", text(verdict, "headline")));
    let reasons = list(&verdict["reasons"]);
    for (n, reason) in reasons.iter().take(REASONS).enumerate() {
        if n > 0 {
            lines.plain(text(reason, "what"));
        }
        lines.plain(&format!("  next: {}", text(reason, "nextStep")));
    }
    if let Some(more) = reasons.len().checked_sub(REASONS).filter(|more| *more > 0) {
        lines.plain(&format!("and {more} more"));
    }
}

fn clouds(destinations: &[Json], lines: &mut Lines) {
    let sorted = in_front(destinations.iter().collect(), |destination: &&Json| {
        text(&destination["link"], "phase") != "up"
    });
    for destination in sorted.iter().take(CLOUDS) {
        cloud(destination, lines);
    }
    if let Some(more) = sorted.len().checked_sub(CLOUDS).filter(|more| *more > 0) {
        lines.plain(&format!("          and {more} more"));
    }
}

fn cloud(destination: &Json, lines: &mut Lines) {
    let name = text(destination, "name");
    let link = &destination["link"];
    let heard = match seconds(link, "lastHeardAgeSeconds") {
        Some(age) => format!("heard {age} ago"),
        None => "never heard".to_owned(),
    };
    let how = match text(link, "phase") {
        "" => "not tried yet".to_owned(),
        "up" => format!("connected, {heard}"),
        _ => format!("{}; {heard}", text(link, "words")),
    };
    lines.fact("cloud", &format!("{name}: {how}"));
    for trouble in list(&destination["troubles"]).iter().take(TROUBLES) {
        let about = match text(trouble, "about") {
            "" => String::new(),
            about => format!(" ({about})"),
        };
        lines.plain(&format!("          {}{about}: {}", text(trouble, "state"), text(trouble, "words")));
    }
    let account = &destination["account"];
    let lost = match number(destination, "lost") {
        0 => String::new(),
        lost => format!("; {lost} of the dropped are lost"),
    };
    lines.fact(
        "queue",
        &format!(
            "{name}: {} wait; accepted {} = acknowledged {} + dropped {} + set aside {} + queued {}{lost}",
            number(account, "queued"),
            number(account, "accepted"),
            number(account, "acknowledged"),
            number(account, "dropped"),
            number(account, "setAside"),
            number(account, "queued"),
        ),
    );
}

fn signal(radio: &Json, lines: &mut Lines) {
    if radio.is_null() {
        return;
    }
    let mut said = match text(radio, "grade") {
        "" => "not measured".to_owned(),
        grade => grade.to_owned(),
    };
    if let Some(rsrp) = radio["rsrpDbm"].as_f64() {
        let _ = write!(said, ", RSRP {rsrp:.0} dBm");
    }
    if let Some(age) = seconds(radio, "signalAgeSeconds") {
        let _ = write!(said, ", measured {age} ago");
    }
    for key in ["registration", "operator"] {
        if !text(radio, key).is_empty() {
            let _ = write!(said, "; {}", text(radio, key));
        }
    }
    lines.fact("signal", &said);
}

/// What never came to be accepted; what a destination lost stands with its queue.
fn losses(queue: &Json, lines: &mut Lines) {
    let (refused, missed) = (number(queue, "refused"), number(queue, "missed"));
    let mut said = match (refused, missed) {
        (0, 0) => "none before acceptance".to_owned(),
        _ => {
            format!("{refused} refused by the disk, {missed} missed at the sensors, since the queue was made")
        }
    };
    let unknown = list(&queue["damaged"]).iter().filter(|statement| statement["lost"].is_null()).count();
    if unknown > 0 {
        let files = if unknown == 1 { "file" } else { "files" };
        let _ = write!(said, "; unknown from {unknown} damaged {files}");
    }
    lines.fact("lost", &said);
}

fn sensors(sensors: &Json, lines: &mut Lines) {
    let slaves = list(&sensors["slaves"]);
    let is_well = |slave: &&Json| slave["answering"] == true && slave["refusal"].is_null();
    let well = slaves.iter().filter(is_well).count();
    let said = match slaves.len() {
        0 => "none".to_owned(),
        all => format!("{well} of {all} answer as they should"),
    };
    lines.fact("sensors", &said);
    let unwell: Vec<_> = slaves.iter().filter(|slave| !is_well(slave)).collect();
    for slave in unwell.iter().take(UNWELL) {
        lines.plain(&format!("          {}: {}", text(slave, "name"), text(slave, "words")));
    }
    if unwell.len() > UNWELL {
        lines.plain(&format!("          and {} more", unwell.len() - UNWELL));
    }
}

fn clock(gateway: &Json, lines: &mut Lines) {
    let clock = &gateway["clock"];
    let said = if clock["trusted"] == true {
        let by = match text(clock, "source") {
            "" => String::new(),
            source => format!(" by {source}"),
        };
        format!("right within {} ms{by}", number(clock, "uncertaintyMilliseconds"))
    } else {
        "not set: nothing vouches for it yet".to_owned()
    };
    let up = in_words(std::time::Duration::from_secs(number(gateway, "uptimeSeconds")));
    lines.fact("clock", &format!("{said}; fieldgate {} runs for {up}", text(gateway, "version")));
}

fn firmware(components: &Json, lines: &mut Lines) {
    let told = list(components).iter().take(COMPONENTS).map(|component| {
        let version = match text(component, "version") {
            "" => "unknown",
            version => version,
        };
        match text(component, "target") {
            target if target.is_empty() || target == version => {
                format!("{} {version}", text(component, "package"))
            }
            target => format!("{} {version}, wanted {target}", text(component, "package")),
        }
    });
    let told: Vec<_> = told.collect();
    if !told.is_empty() {
        let more = list(components).len().saturating_sub(COMPONENTS);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        lines.fact("firmware", &(told.join("; ") + &more));
    }
}

fn disk(queue: &Json, lines: &mut Lines) {
    let percent = number(queue, "usedBytes").saturating_mul(100).checked_div(number(queue, "limitBytes"));
    let mut said = text(queue, "health").to_owned();
    if let Some(slow) = queue["slowFsyncMilliseconds"].as_f64() {
        let _ = write!(said, ", slow_fsync: {slow:.0} ms");
    }
    let _ = write!(said, ", queue {} % full", percent.unwrap_or(0));
    let reserve = &queue["ballast"];
    if number(reserve, "bytes") > 0 {
        said += if reserve["held"] == true { ", reserve held" } else { ", reserve not held" };
    }
    let _ = write!(said, ", log {} kB", number(queue, "logBytes").div_ceil(1000));
    let salvage = &queue["salvage"];
    if !salvage.is_null() {
        let percent = number(salvage, "thousandths") / 10;
        let _ =
            write!(said, "; salvaging {}: {percent} %, lost unknown until it ends", text(salvage, "file"));
    }
    lines.fact("disk", &said);
}

fn flash(queue: &Json, lines: &mut Lines) {
    let mut said = format!("at risk {} ms of readings", number(queue, "commitWindowMilliseconds"));
    if !text(queue, "whyWidened").is_empty() {
        let configured = number(queue, "configuredWindowMilliseconds");
        let _ = write!(said, " (configured {configured} ms, widened for the flash)");
    }
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    if let Some(day) = queue["flash"]["forecastBytesPerDay"].as_u64() {
        let _ = write!(said, "; {} MB a day written", megabytes(day));
        if let Some(budget) = queue["flash"]["budgetBytesPerDay"].as_u64() {
            let _ = write!(said, " of {} MB allowed", megabytes(budget));
        }
    }
    let milliseconds = |key: &str| queue[key].as_f64().unwrap_or(0.0);
    let (half, most) = (milliseconds("commitP50Milliseconds"), milliseconds("commitP99Milliseconds"));
    let _ = write!(said, "; commits take {half:.0} ms (p50), {most:.0} ms (p99)");
    lines.fact("flash", &said);
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn number(value: &Json, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

fn seconds(value: &Json, key: &str) -> Option<String> {
    let seconds = value[key].as_f64().filter(|s| s.is_finite() && *s >= 0.0)?;
    std::time::Duration::try_from_secs_f64(seconds).ok().map(in_words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn destination(name: &str, phase: &str) -> Json {
        json!({
            "name": name, "lost": 3,
            "link": { "phase": phase, "words": "no answer since 14 s", "lastHeardAgeSeconds": 14.2 },
            "account": { "accepted": 20, "acknowledged": 5, "dropped": 4, "setAside": 1, "queued": 10 },
        })
    }

    fn status() -> Json {
        json!({
            "verdict": { "level": "broken", "headline": "No answer from golioth, and 1 more", "reasons": [
                { "what": "No answer from golioth", "nextStep": "Check the data plan." },
                { "what": "The clock is not set", "nextStep": "Wait for the network's time." },
            ]},
            "gateway": { "version": "0.1.0", "uptimeSeconds": 7260, "clock": { "trusted": false } },
            "destinations": [destination("golioth", "silent"), destination("backup", "up")],
            "radio": { "grade": "good", "rsrpDbm": -92.0, "registration": "registered, home", "operator": "KPN" },
            "queue": {
                "health": "good", "usedBytes": 10, "limitBytes": 40, "refused": 2, "missed": 7,
                "commitWindowMilliseconds": 3200, "configuredWindowMilliseconds": 1000, "whyWidened": "flash",
                "flash": { "forecastBytesPerDay": 39_000_001, "budgetBytesPerDay": 40_000_000 },
                "ballast": { "bytes": 9, "held": true }, "logBytes": 11_500, "slowFsyncMilliseconds": 2500.4,
                "commitP50Milliseconds": 9.2, "commitP99Milliseconds": 140.0,
                "salvage": { "file": "q.damaged", "thousandths": 423 }, "damaged": [{ "file": "f", "lost": null }],
            },
            "sensors": { "slaves": [
                { "name": "boiler", "answering": true, "words": "answering", "refusal": null },
                { "name": "pump", "answering": true, "words": "answering, but refuses coil 1", "refusal": {} },
            ]},
            "components": [{ "package": "main", "version": "1.0.0", "target": "1.1.0" }],
        })
    }

    #[test]
    fn what_is_wrong_with_a_cloud_stands_by_its_name_below_it_and_no_more_than_two() {
        let mut status = status();
        let trouble = |state: &str, about| json!({ "state": state, "about": about, "words": "it was met" });
        status["destinations"][0]["troubles"] = json!([
            trouble("wrong_key", None),
            trouble("unreadable", Some("the settings")),
            trouble("x", None)
        ]);
        let said = summary(&status);
        let at = said.lines().position(|line| line.starts_with("cloud     golioth")).unwrap();
        let lines: Vec<_> = said.lines().skip(at + 1).take(2).collect();
        assert_eq!(
            lines,
            ["          wrong_key: it was met", "          unreadable (the settings): it was met"]
        );
        assert!(!said.contains("x: it was met"));
    }

    #[test]
    fn the_verdict_and_the_next_step_stand_before_everything_else() {
        let said = summary(&status());
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(
            lines,
            [
                "Broken: No answer from golioth, and 1 more",
                "  next: Check the data plan.",
                "The clock is not set",
                "  next: Wait for the network's time.",
                "cloud     golioth: no answer since 14 s; heard 14 s ago",
                "queue     golioth: 10 wait; accepted 20 = acknowledged 5 + dropped 4 + set aside 1 + queued 10; 3 of the \
                 dropped are lost",
                "cloud     backup: connected, heard 14 s ago",
                "queue     backup: 10 wait; accepted 20 = acknowledged 5 + dropped 4 + set aside 1 + queued 10; 3 of the \
                 dropped are lost",
                "signal    good, RSRP -92 dBm; registered, home; KPN",
                "lost      2 refused by the disk, 7 missed at the sensors, since the queue was made; unknown from 1 damaged \
                 file",
                "sensors   1 of 2 answer as they should",
                "          pump: answering, but refuses coil 1",
                "clock     not set: nothing vouches for it yet; fieldgate 0.1.0 runs for 2 h 1 min",
                "firmware  main 1.0.0, wanted 1.1.0",
                "disk      good, slow_fsync: 2500 ms, queue 25 % full, reserve held, log 12 kB; salvaging q.damaged: 42 %, lost unknown until it ends",
                "flash     at risk 3200 ms of readings (configured 1000 ms, widened for the flash); 40 MB a day written of \
                 40 MB allowed; commits take 9 ms (p50), 140 ms (p99)",
                "everything: fieldgate status --all",
            ]
        );
    }

    #[test]
    fn it_fits_a_screen_whatever_is_wrong_and_steers_no_terminal() {
        let mut status = status();
        let reason = json!({ "what": "\u{1b}[2Jx".repeat(90), "nextStep": "wait\nlong ".repeat(90) });
        status["verdict"]["reasons"] = vec![reason; 60].into();
        status["destinations"] = vec![destination("d", "waiting"); 40].into();
        let slave = json!({ "name": "s", "answering": false, "words": "silent" });
        status["sensors"]["slaves"] = vec![slave; 900].into();
        let component = json!({ "package": "p", "version": "1" });
        status["components"] = vec![component; 30].into();
        let said = summary(&status);
        assert!(said.lines().count() <= LINES, "{said}");
        assert!(said.lines().all(|line| line.chars().count() <= LETTERS), "{said}");
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()));
        for kept in ["and 57 more", "and 38 more", "and 898 more", "disk      good", "flash     at risk"] {
            assert!(said.contains(kept), "{kept}: {said}");
        }
    }

    #[test]
    fn an_answer_of_another_release_is_told_as_far_as_it_goes() {
        assert!(summary(&json!({})).starts_with("Unknown: \n"));
    }
}
