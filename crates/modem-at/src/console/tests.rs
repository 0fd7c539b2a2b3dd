//! The console's parser: every class, every refusal, and what is written again.

use proptest::prelude::*;

use super::ConsoleClass::{Credentials, DataMode, EndsPath, Identity, NonVolatile, Reads, Settings, Unknown};
use super::table::{ROWS, SEARCH};
use super::*;

fn class(text: &str) -> ConsoleClass {
    ConsoleCommand::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).class()
}

#[test]
fn every_kind_of_command_is_of_its_class() {
    for (text, expected) in [
        ("AT", Reads),
        ("ATE1", Settings),
        ("AT+CEREG?", Reads),
        ("AT+CFUN=?", Reads),
        ("AT%XMONITOR", Reads),
        ("AT%NCELLMEAS=1", Settings),
        ("AT+CPINR=\"SIM PIN\"", Reads),
        ("AT+CGPADDR=0", Reads),
        ("AT#XSMVER", Reads),
        ("AT#XFOTA=7", Reads),
        ("AT#XFOTA=1,\"http://x/y\"", NonVolatile),
        ("AT#XFOTA=7,1", NonVolatile),
        ("AT+CGSN=1", Identity),
        ("AT+CIMI", Identity),
        ("AT%XICCID", Identity),
        ("AT+CEREG=0", Settings),
        ("AT+CMEE=0", Settings),
        ("AT%XSYSTEMMODE=1,0,0,0", NonVolatile),
        ("AT%XBANDLOCK=2,\"1000\"", NonVolatile),
        ("AT+CPSMS=", NonVolatile),
        ("AT+CFUN=1", EndsPath),
        ("AT+CFUN=0", EndsPath),
        ("AT+COPS=?", EndsPath),
        ("AT+COPS=1,2,\"24407\"", EndsPath),
        ("AT+IPR=921600", EndsPath),
        ("AT#XRESET", EndsPath),
        ("AT#XSHUTDOWN", EndsPath),
        ("AT%CMNG=1", Credentials),
        ("AT%CMNG=0,16,3,\"c0ffee\"", Credentials),
        ("AT+CPIN=\"1234\"", Credentials),
        ("AT+CGAUTH?", Credentials),
        ("AT+CRSM=176,12258,0,0,10", Credentials),
        ("AT+CGDATA=\"PPP\",0", DataMode),
        ("AT+CMUX=0", DataMode),
        ("AT#XSEND=1,\"hello\"", DataMode),
        ("AT#XDFUWRITE=0,0,16", DataMode),
        ("AT+CFUN", Unknown),
        ("AT%XMONITOR?", Unknown),
        ("AT+NEW?", Unknown),
        ("AT+NEW=?", Unknown),
        ("AT+CEREGX=?", Unknown),
    ] {
        assert_eq!(class(text), expected, "{text}");
    }
}

#[test]
fn the_table_is_sorted_and_only_reading_forms_are_allowed_by_default() {
    assert!(ROWS.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted by name");
    for (name, read, action, set) in ROWS {
        assert_eq!(class(&format!("AT{name}?")), read, "{name}");
        assert_eq!(class(&format!("AT{name}")), action, "{name}");
        assert_eq!(class(&format!("AT{name}=1,2")), set, "{name}");
        assert_eq!(class(&format!("AT{name}=?")).is_default(), name != SEARCH, "{name}");
        // What reads with arguments is named here, one by one.
        let reads = ["#XBOOTINFO", "+CGPADDR", "+CPINR"].contains(&name);
        assert_eq!(set == Reads, reads, "{name}");
        assert!([read, action, set].iter().any(|class| *class != Unknown), "{name} has a form");
    }
}

/// Nothing the session would treat as the beginning of data may pass as anything else.
#[test]
fn what_opens_data_mode_is_of_that_class() {
    for (name, ..) in ROWS {
        for text in [format!("AT{name}"), format!("AT{name}=2"), format!("AT{name}=0,0,4")] {
            let command = ConsoleCommand::parse(&text).unwrap();
            let class = command.class();
            if command.into_command().afterwards() != crate::payload::Afterwards::Commands {
                assert!(matches!(class, DataMode | Unknown), "{text}: {class:?}");
            }
        }
    }
}

/// Nor may an identity or a credential pass as plain reading.
#[test]
fn what_is_sensitive_is_never_plain_reading() {
    for (name, read, action, set) in ROWS {
        if crate::command::is_sensitive_name(name) {
            // Whether a PIN is wanted is neither.
            assert!(read != Reads || name == "+CPIN", "{name}");
            assert!(action != Reads && set != Reads, "{name}");
        }
    }
}

#[test]
fn rights_follow_the_class() {
    let default = [Reads];
    let anybody = [Reads, Identity, Settings];
    for class in [Reads, Identity, Settings, NonVolatile, EndsPath, Credentials, DataMode, Unknown] {
        assert_eq!(class.is_default(), default.contains(&class), "{class:?}");
        assert_eq!(class.needs_admin(), !anybody.contains(&class), "{class:?}");
        assert!(class.to_string().starts_with("it "), "{class:?}");
    }
    assert!(Reads < Settings && Settings < EndsPath && EndsPath < DataMode && DataMode < Unknown);
}

#[test]
fn what_is_sent_is_written_again() {
    for (typed, sent) in [
        ("  at+cereg?  ", "AT+CEREG?"),
        ("at%xmonitor", "AT%XMONITOR"),
        ("ate0", "ATE0"),
        ("At+cPsMs=1,,,\"00000110\" , \"00000001\"", "AT+CPSMS=1,,,\"00000110\",\"00000001\""),
        ("AT+CGDCONT= 0 ,\"IPV4V6\",\" My apn, two \"", "AT+CGDCONT=0,\"IPV4V6\",\" My apn, two \""),
        ("AT+COPS=", "AT+COPS="),
        ("AT+COPS=,", "AT+COPS=,"),
    ] {
        assert_eq!(ConsoleCommand::parse(typed).unwrap().text(), sent, "{typed}");
    }
}

#[test]
fn what_could_hide_something_is_refused() {
    let refused = |text: &str| ConsoleCommand::parse(text).unwrap_err();
    for text in [
        "AT+CEREG?;+CFUN=0",
        "AT+CGDCONT=0,\"IP\",\"a;b\"",
        "AT+CEREG?\r\nAT+CFUN=0",
        "AT+CEREG?\r",
        "\nAT",
        "AT%CMNG=0,1,0,\"a\nb\"",
        "AT+X=\u{e9}",
        "AT+X=\u{0}",
        "AT+X=\t1",
        "AT+CEREG?\u{7f}",
    ] {
        assert_eq!(refused(text), ConsoleError::Character, "{text:?}");
    }
    for (text, number) in [
        ("AT+COPS= ?", 1),
        ("AT+COPS=1,?", 2),
        ("AT+COPS=(1)", 1),
        ("AT+COPS=1 2", 1),
        ("AT+COPS=1,=2", 2),
        ("AT+COPS=1,\"a\"b", 2),
        ("AT+COPS=a\"b\"", 1),
        ("AT+COPS=\"a\"\"b\"", 1),
    ] {
        assert_eq!(refused(text), ConsoleError::Argument { number }, "{text}");
    }
    for (text, error) in [
        ("", InvalidCommand::NotAt),
        ("hello", InvalidCommand::NotAt),
        ("ATI", InvalidCommand::Name),
        ("ATD*99#", InvalidCommand::Name),
        ("AT+CFUN!", InvalidCommand::Form),
        ("AT+COPS=\"a", InvalidCommand::OpenQuote),
    ] {
        assert_eq!(refused(text), ConsoleError::Command(error), "{text}");
    }
    assert_eq!(refused(&"A".repeat(TEXT_MAX + 1)), ConsoleError::TooLong);
    assert!(refused("AT+COPS=1,?").to_string().starts_with("argument 2"));
}

#[test]
fn a_credential_typed_does_not_show_in_debug_output() {
    let command = ConsoleCommand::parse("AT%CMNG=0,16,3,\"c0ffee\"").unwrap();
    assert!(!format!("{command:?}").contains("c0ffee"));
}

/// What Nordic's own tools ask of a modem that has just started.
#[test]
fn nothing_of_the_usual_start_is_unknown() {
    let start = [
        "AT",
        "AT+CMEE=1",
        "AT+CGMR",
        "AT%HWVERSION",
        "AT+CGSN=1",
        "AT+CEREG=5",
        "AT+CSCON=1",
        "AT%CESQ=1",
        "AT%MDMEV=2",
        "AT+CGEREP=1",
        "AT%XSIM=1",
        "AT%XTIME=1",
        "AT+CNEC=24",
        "AT+CFUN=1",
        "AT%XICCID",
        "AT+CIMI",
        "AT%XMONITOR",
    ];
    let class = |text| ConsoleCommand::parse(text).unwrap().class();
    assert_eq!(start.iter().filter(|text| class(text) == Unknown).count(), 0);
    assert_eq!(
        start.iter().filter(|text| class(text).needs_admin()).copied().collect::<Vec<_>>(),
        ["AT+CFUN=1"]
    );
}

/// Something a person might type, right or wrong.
fn typed() -> impl Strategy<Value = String> {
    let name = prop::sample::select(ROWS.map(|row| row.0).to_vec());
    let argument = prop_oneof![
        Just(String::new()),
        "[ ]{0,2}[0-9A-Za-z.+-]{1,6}[ ]{0,2}",
        "[ ]{0,2}\"[ !#-:<-~]{0,12}\"[ ]{0,2}",
        "[ -~]{0,6}",
    ];
    let arguments = prop::collection::vec(argument, 0..6).prop_map(|all| all.join(","));
    let ending = prop_oneof![
        Just(String::new()),
        Just("?".to_owned()),
        Just("=?".to_owned()),
        arguments.prop_map(|it| format!("={it}"))
    ];
    prop_oneof![
        (name, ending, any::<bool>(), "[ ]{0,2}").prop_map(|(name, ending, small, space)| {
            let text = format!("AT{name}");
            format!("{space}{}{ending}{space}", if small { text.to_ascii_lowercase() } else { text })
        }),
        "\\PC{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_is_written_again_means_the_same_and_stays_as_it_is(text in typed()) {
        if let Ok(command) = ConsoleCommand::parse(&text) {
            let sent = command.text().to_owned();
            prop_assert!(sent.bytes().all(|byte| (0x20..=0x7e).contains(&byte) && byte != b';'));
            prop_assert!(sent.len() <= text.len());
            prop_assert_eq!(ConsoleCommand::parse(&sent).unwrap(), command.clone());
            let typed = Command::new(&text).unwrap();
            prop_assert_eq!((typed.name(), typed.form()), (command.command.name(), command.command.form()));
        }
    }
}
