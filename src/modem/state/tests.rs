//! Lines in, facts out: what a technician would read after each of them.

use proptest::prelude::*;

use super::*;

const MONITOR: &str = "%XMONITOR: 5,\"Telia N@\",\"Telia N@\",\"24202\",\"0901\",7,20,\"02024720\",428,6300,53,22,\"\",\"11100000\",\"11100000\",\"01001001\"";
const NOW: Duration = Duration::from_secs(1000);

fn asked(known: &mut Known, ask: Ask, line: &str) -> Lesson {
    known.answer(NOW, ask, &[line.to_owned()]).unwrap()
}

fn reported(known: &mut Known, line: &str) -> Lesson {
    known.report(NOW, &Urc::parse(line))
}

fn standing(lesson: &Lesson) -> Registration {
    let found = lesson.facts.iter().find_map(|fact| match fact {
        Fact::Registration(registration) => Some(registration.clone()),
        _ => None,
    });
    found.expect("no registration was learned")
}

fn signal(lesson: &Lesson) -> Signal {
    let found = lesson.facts.iter().find_map(|fact| match fact {
        Fact::Signal(signal) => Some(signal.clone()),
        _ => None,
    });
    found.expect("no signal was learned")
}

#[test]
fn the_recorded_cell_reaches_the_board_in_full() {
    let mut known = Known::default();
    let lesson = asked(&mut known, Ask::Monitor, MONITOR);
    assert_eq!(
        standing(&lesson),
        Registration {
            registered: true,
            roaming: true,
            words: "registered, roaming".to_owned(),
            operator: Some("Telia N@".to_owned()),
            plmn: None,
            access: Some("LTE-M".to_owned()),
            band: Some(20),
            cell: Some("02024720".to_owned()),
        }
    );
    let signal = signal(&lesson);
    assert_eq!((signal.rsrp_dbm, signal.snr_db), (Some(-87.0), Some(-2.0)));
    assert_eq!(signal.grade, SignalGrade::Poor, "the worse of power and noise");
}

#[test]
fn a_refusal_is_told_with_its_meaning_and_stays_until_the_modem_is_registered() {
    let mut known = Known::default();
    let words = standing(&reported(&mut known, "+CEREG: 2,\"ABBA\",\"DEADBEEF\",7,0,13")).words;
    assert!(words.starts_with("searching; the last network refused: roaming not allowed"), "{words}");
    let words = standing(&reported(&mut known, "+CEREG: 2,\"ABBA\",\"DEADBEEF\",7")).words;
    assert!(words.contains("roaming not allowed"), "{words}");
    let words = standing(&reported(&mut known, "+CEREG: 3,\"ABBA\",\"DEADBEEF\",7,0,8")).words;
    assert!(words.starts_with("the network refuses: no services allowed (cause 8): ask"), "{words}");
    assert!(standing(&reported(&mut known, "+CEREG: 1,\"0901\",\"02024720\",7")).registered);
    let words = standing(&reported(&mut known, "+CEREG: 2")).words;
    assert_eq!(words, "searching for a network");
}

#[test]
fn a_card_that_does_not_work_outranks_what_follows_from_it() {
    let mut known = Known::default();
    reported(&mut known, "+CEREG: 2");
    let words = standing(&reported(&mut known, "%XSIM: 0,9")).words;
    assert!(words.starts_with("no working SIM: insert one"), "{words}");
    let lesson = reported(&mut known, "+CEREG: 90,,\"FFFFFFFF\",,,,,");
    assert_eq!(standing(&lesson).words, words);
    assert!(lesson.notes.is_empty(), "the same words are no news");
    let words = standing(&reported(&mut known, "%XSIM: 0,3")).words;
    assert!(words.contains("PUK"), "{words}");
}

#[test]
fn a_card_that_comes_back_is_asked_for_its_numbers_again() {
    let mut known = Known::default();
    assert_eq!(reported(&mut known, "%XSIM: 1").ask, [Ask::Iccid, Ask::Imsi]);
    asked(&mut known, Ask::Iccid, "%XICCID: 8901234567012345678F");
    asked(&mut known, Ask::Imsi, "204080813630037");
    assert!(known.missing().is_empty());
    let lesson = reported(&mut known, "%XSIM: 0,9");
    assert!(lesson.facts.iter().any(|fact| matches!(fact, Fact::Identity(who) if who.iccid.is_none())));
    assert_eq!(known.identity().imsi, None);
    assert_eq!(known.missing(), [Ask::Sim]);
    assert_eq!(reported(&mut known, "%XSIM: 1").ask, [Ask::Iccid, Ask::Imsi]);
}

#[test]
fn registered_on_no_valid_cell_is_not_registered() {
    let mut known = Known::default();
    let standing_now = standing(&reported(&mut known, "+CEREG: 5,\"FFFE\",\"FFFFFFFF\",7"));
    assert!(!standing_now.registered && !standing_now.roaming);
    assert!(standing_now.words.contains("on no cell"), "{}", standing_now.words);
    assert!(standing(&asked(&mut known, Ask::Monitor, MONITOR)).registered);
}

#[test]
fn losing_the_network_takes_operator_band_and_cell_with_it() {
    let mut known = Known::default();
    asked(&mut known, Ask::Monitor, MONITOR);
    let lost = standing(&reported(&mut known, "+CEREG: 4"));
    assert_eq!((lost.operator, lost.band, lost.cell, lost.access), (None, None, None, None));
    assert!(lost.words.starts_with("no coverage: check the antenna"), "{}", lost.words);
    let signal = signal(&reported(&mut known, "%CESQ: 255,255,255,255"));
    assert_eq!(signal.grade, SignalGrade::Unknown, "unknown is not poor");
}

#[test]
fn a_new_cell_is_looked_at_once() {
    let mut known = Known::default();
    assert_eq!(reported(&mut known, "+CEREG: 5,\"0901\",\"02024720\",7").ask, [Ask::Monitor]);
    assert!(reported(&mut known, "+CEREG: 5,\"0901\",\"02024720\",7").ask.is_empty());
    assert_eq!(reported(&mut known, "+CEREG: 5,\"0901\",\"02024721\",7").ask, [Ask::Monitor]);
}

#[test]
fn an_old_ratio_does_not_grade_a_new_power() {
    let mut known = Known::default();
    asked(&mut known, Ask::Monitor, MONITOR);
    let soon = known.report(NOW + SNR_LIFE, &Urc::parse("%CESQ: 64,3,17,2"));
    assert_eq!((signal(&soon).snr_db, signal(&soon).rsrp_dbm), (Some(-2.0), Some(-76.0)));
    assert_eq!(signal(&soon).rsrq_db, Some(-11.0));
    let late = known.report(NOW + SNR_LIFE + Duration::from_secs(1), &Urc::parse("%CESQ: 64,3,17,2"));
    assert_eq!((signal(&late).snr_db, signal(&late).grade), (None, SignalGrade::Excellent));
}

#[test]
fn the_radio_is_asked_for_only_where_a_restart_left_it_off() {
    for (mode, expected) in
        [(0, true), (4, true), (1, false), (2, false), (21, false), (31, false), (44, false)]
    {
        let lesson = asked(&mut Known::default(), Ask::FunctionalMode, &format!("+CFUN: {mode}"));
        assert_eq!(lesson.ask.contains(&Ask::RadioOn), expected, "mode {mode}");
    }
    let mut known = Known::default();
    asked(&mut known, Ask::FunctionalMode, "+CFUN: 44");
    let words = standing(&asked(&mut known, Ask::Registration, "+CEREG: 5,0")).words;
    assert_eq!(words, "the modem's radio is switched off (AT+CFUN=44)");
}

#[test]
fn heat_is_told_once_explains_the_lost_network_and_ends_with_the_next() {
    let mut known = Known::default();
    reported(&mut known, "+CEREG: 5,\"0901\",\"02024720\",7");
    let lesson = reported(&mut known, "%MDMEV: ME OVERHEATED");
    assert_eq!(lesson.notes.len(), 1);
    assert_eq!(lesson.notes[0].0, Level::WARN);
    let again = reported(&mut known, "+CGEV: ME OVERHEATED");
    assert!(again.notes.is_empty(), "the modem says it twice, we do not");
    assert!(standing(&reported(&mut known, "+CEREG: 0")).words.contains("let it cool"));
    reported(&mut known, "+CEREG: 5,\"0901\",\"02024720\",7");
    assert_eq!(known.trouble(), None);
}

#[test]
fn network_time_is_universal_time() {
    let lesson = reported(&mut Known::default(), "%XTIME: \"80\",\"22016021225580\",\"01\"");
    let second = NetworkTime { unix_ms: 1_665_058_975_500, uncertainty_ms: 2000 };
    assert_eq!(lesson.facts, [Fact::NetworkTime(second)]);
    assert!(reported(&mut Known::default(), "%XTIME: \"80\",,\"01\"").facts.is_empty());
}

#[test]
fn the_modems_clock_is_asked_while_registered_until_a_time_was_told() {
    let mut known = Known::default();
    let wanted = |known: &Known| known.missing().contains(&Ask::Clock);
    assert!(!wanted(&known), "unregistered, it has no time from the network");
    reported(&mut known, "+CEREG: 5,\"0901\",\"02024720\",7");
    assert!(wanted(&known));
    assert!(asked(&mut known, Ask::Clock, "+CCLK: \"80/01/06,00:00:19+00\"").facts.is_empty());
    reported(&mut known, "%XTIME: \"80\",,\"01\"");
    assert!(wanted(&known), "neither was a time");
    let lesson = asked(&mut known, Ask::Clock, "+CCLK: \"26/11/20,12:00:00+00\"");
    assert!(matches!(lesson.facts.as_slice(), [Fact::NetworkTime(time)] if time.uncertainty_ms == 10_000));
    assert!(!wanted(&known));
    known.restarted();
    reported(&mut known, "+CEREG: 5,\"0901\",\"02024720\",7");
    assert!(wanted(&known));
    reported(&mut known, "%XTIME: \"80\",\"22016021225580\",\"01\"");
    assert!(!wanted(&known));
}

#[test]
fn a_modem_that_forgot_its_subscription_is_found_out_unless_it_never_took_it() {
    let mut known = Known::default();
    assert!(!asked(&mut known, Ask::Registration, "+CEREG: 0,4").forgot_subscription);
    asked(&mut known, Ask::ReportRegistration, "");
    assert!(!asked(&mut known, Ask::Registration, "+CEREG: 5,4").forgot_subscription);
    assert!(asked(&mut known, Ask::Registration, "+CEREG: 0,0").forgot_subscription);
}

#[test]
fn noise_before_a_bare_answer_is_not_taken_for_it() {
    let mut known = Known::default();
    let lines = ["~!".to_owned(), "~mfw_nrf91x1_2.0.4".to_owned()];
    known.answer(NOW, Ask::Firmware, &lines).unwrap();
    assert_eq!(known.identity().firmware.as_deref(), Some("mfw_nrf91x1_2.0.4"));
    assert!(known.answer(NOW, Ask::Firmware, &[]).is_err());
    assert_eq!(known.identity().firmware.as_deref(), Some("mfw_nrf91x1_2.0.4"));
}

#[test]
fn data_counters_are_bytes_and_are_forgotten_with_the_modem() {
    let mut known = Known::default();
    let lesson = asked(&mut known, Ask::DataCounters, "%XCONNSTAT: 2,3,45,60,708,650");
    let counters = DataCounters { sent: 45 * 1024, received: 60 * 1024 };
    assert_eq!(lesson.facts, [Fact::Counters(Some(counters))]);
    assert!(known.unknown("it is gone").contains(&Fact::Counters(None)));
}

#[test]
fn another_modem_shares_nothing_with_the_last_one() {
    let mut known = Known::default();
    known.found("plain AT firmware".to_owned());
    asked(&mut known, Ask::Imei, "+CGSN: \"352656106647673\"");
    asked(&mut known, Ask::Monitor, MONITOR);
    known.found("Serial Modem v2.0.0".to_owned());
    assert_eq!(known.identity().imei, None);
    assert_eq!(known.identity().application, "Serial Modem v2.0.0");
    let [
        Fact::Registration(registration),
        Fact::Signal(signal),
        Fact::Voltage(None),
        Fact::Temperature(None),
        Fact::Counters(None),
    ] = known.unknown("the modem does not answer")
    else {
        panic!("nothing may be known")
    };
    assert_eq!(registration.words, "not known: the modem does not answer");
    assert!(!registration.registered && registration.operator.is_none());
    assert_eq!(signal.grade, SignalGrade::Unknown);
}

#[test]
fn a_report_that_holds_a_position_or_a_number_is_logged_by_name_only() {
    for line in
        ["#XGNSSPOS: 35.457576,139.625090,121.4", "+CNUM2: \"352656106647673\"", "%X: 204080813630037"]
    {
        for (_, text) in reported(&mut Known::default(), line).notes {
            assert!(!text.contains("35.4") && !text.contains("352656") && !text.contains("20408"), "{text}");
        }
    }
}

proptest! {
    #[test]
    fn no_line_panics_and_no_long_number_is_noted(line in "[+%#][A-Z]{2,6}: ?[ -~]{0,60}", ask in 0usize..27) {
        const ASKS: [Ask; 27] = [
            Ask::EchoOff, Ask::NumericErrors, Ask::Manufacturer, Ask::Model, Ask::Firmware, Ask::Hardware, Ask::Imei,
            Ask::ImeiBare, Ask::ReportRegistration, Ask::ReportSignalling, Ask::ReportSignal, Ask::ReportEvents,
            Ask::ReportWarnings, Ask::ReportPackets, Ask::ReportSim, Ask::ReportTime, Ask::ReportCauses,
            Ask::FunctionalMode, Ask::RadioOn, Ask::Sim, Ask::Iccid, Ask::Imsi, Ask::Monitor, Ask::SignalNow,
            Ask::Voltage, Ask::Temperature, Ask::Registration,
        ];
        let mut known = Known::default();
        let mut notes = reported(&mut known, &line).notes;
        if let Ok(lesson) = known.answer(NOW, ASKS[ask], std::slice::from_ref(&line)) {
            notes.extend(lesson.notes);
        }
        for (_, text) in notes {
            let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
            prop_assert!(longest < 8, "{}", text);
        }
    }
}
