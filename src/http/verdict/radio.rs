//! What is wrong with the modem, the card or the network, in the modem lane's own words where it has them.

use super::{Findings, Level, Snapshot, all_links_down, sentence, starting};
use crate::board::{ModemPhase, ModemState, Registration, SignalGrade};
use crate::http::words::minus;

/// The modem first: what is known of the network is the modem's word.
pub(super) fn judge(snapshot: &Snapshot, found: &mut Findings) {
    let level = match all_links_down(snapshot) && !starting(snapshot) {
        true => Level::Broken,
        false => Level::Attention,
    };
    let state = snapshot.modem_state.as_ref().map(|stamped| &stamped.value);
    if let Some(state) = state.filter(|state| !state.fine) {
        modem(state, level, found);
    }
    if state.is_some_and(|state| state.phase != ModemPhase::Up) {
        return;
    }
    let Some(registration) = snapshot.registration.as_ref().map(|stamped| &stamped.value) else { return };
    if registration.registered {
        signal(snapshot, found);
    } else if state.is_none_or(|state| state.words != registration.words) {
        network(registration, level, found);
    }
}

fn modem(state: &ModemState, level: Level, found: &mut Findings) {
    let (what, otherwise) = match state.phase {
        ModemPhase::NoPort => ("The modem's port is not there", "Check the modem's cable and its power."),
        ModemPhase::Probing => {
            ("Nothing answers at the modem's port", "Check the modem's cable and its power.")
        }
        ModemPhase::Doubtful => {
            ("The modem does not answer", "Wait five minutes, then switch the modem off and on.")
        }
        ModemPhase::Starting | ModemPhase::Restarted => ("The modem restarted", "Wait two minutes."),
        ModemPhase::Bootloader => ("The modem waits for firmware", "Switch the modem off and on."),
        ModemPhase::Up => ("The modem has trouble", "Switch the modem off and on."),
    };
    let (fact, next) = fact_and_advice(&state.words, otherwise);
    found.add(level, what, sentence(fact), next);
}

fn network(registration: &Registration, level: Level, found: &mut Findings) {
    let words = registration.words.to_lowercase();
    let has = |any: &[&str]| any.iter().any(|part| words.contains(part));
    let (level, what, otherwise) = if has(&["refuse", "denied", "reject"]) {
        // A busy network takes the card later.
        let level = if has(&["busy"]) { level } else { Level::Broken };
        (
            level,
            "The network refuses the SIM card",
            "Ask its operator whether it is active and may use this network.",
        )
    } else if has(&["sim", "uicc"]) {
        (
            Level::Broken,
            "The SIM card does not work",
            "Check that the card is seated and active, then switch the modem off and on.",
        )
    } else {
        (level, "No mobile network", "Check the antenna and its cable. After moving it, wait five minutes.")
    };
    let (fact, next) = fact_and_advice(&registration.words, otherwise);
    found.add(level, what, format!("The modem says: {}", lower(&sentence(fact))), next);
}

fn signal(snapshot: &Snapshot, found: &mut Findings) {
    let Some(signal) = snapshot.signal.as_ref().map(|stamped| &stamped.value) else { return };
    let weak = match signal.grade {
        SignalGrade::VeryPoor => true,
        SignalGrade::Poor => all_links_down(snapshot),
        SignalGrade::Unknown | SignalGrade::Fair | SignalGrade::Good | SignalGrade::Excellent => false,
    };
    if weak {
        let measured = signal.rsrp_dbm.map_or_else(String::new, |dbm| format!(" ({} dBm)", minus(dbm)));
        found.add(
            Level::Attention,
            format!("The signal is weak{measured}"),
            "Sending takes longer and costs more; readings wait on disk meanwhile.",
            "Move the antenna higher, outside, or away from metal; aim for −100 dBm or better.",
        );
    }
}

/// The modem lane's words end in what to do, after a colon, where it knows.
fn fact_and_advice<'a>(words: &'a str, otherwise: &str) -> (&'a str, String) {
    const VERBS: [&str; 11] =
        ["ask", "check", "finish", "insert", "leave", "let", "replace", "switch", "unblock", "use", "wait"];
    words
        .rsplit_once(": ")
        .filter(|(_, advice)| VERBS.iter().any(|verb| advice.starts_with(verb)))
        .map_or_else(|| (words, otherwise.to_owned()), |(fact, advice)| (fact, sentence(advice)))
}

fn lower(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(char::to_lowercase).into_iter().flatten();
    first.chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_taken_from_the_words_where_they_end_in_it() {
        for (words, fact, advice) in [
            ("no coverage: check the antenna", "no coverage", "Check the antenna."),
            (
                "the network refuses: illegal UE (cause 3): ask the SIM's operator",
                "the network refuses: illegal UE (cause 3)",
                "Ask the SIM's operator.",
            ),
            (
                "the network refuses: cause 200 of kind 0",
                "the network refuses: cause 200 of kind 0",
                "Other.",
            ),
            ("searching", "searching", "Other."),
        ] {
            assert_eq!(fact_and_advice(words, "Other."), (fact, advice.to_owned()));
        }
    }
}
