//! The simulated modem, spoken to by hand.

use core::time::Duration;

use super::*;

struct Bench {
    modem: SimModem,
    now: Duration,
    heard: String,
}

impl Bench {
    fn new(profile: ModemProfile) -> Self {
        Self { modem: SimModem::new(profile, 7, 1_665_058_955), now: Duration::ZERO, heard: String::new() }
    }

    fn started(profile: ModemProfile) -> Self {
        let mut bench = Self::new(profile);
        bench.modem.power_on(bench.now);
        assert_eq!(bench.wait(2000), "Ready\r\n");
        bench
    }

    fn collect(&mut self) {
        while let Some(bytes) = self.modem.poll_transmit() {
            self.heard.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Lets time pass and returns what was heard meanwhile.
    fn wait(&mut self, millis: u64) -> String {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.modem.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.modem.handle_timeout(self.now);
        }
        self.now = end;
        self.collect();
        std::mem::take(&mut self.heard)
    }

    fn say(&mut self, text: &str) {
        self.modem.handle_bytes(self.now, text.as_bytes());
    }

    fn ask(&mut self, command: &str) -> String {
        self.say(&format!("{command}\r\n"));
        self.wait(50)
    }

    fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        for _ in 0..200 {
            all.push_str(&self.wait(100));
            if all.contains(text) {
                return all;
            }
        }
        panic!("never heard {text:?} in {all:?}");
    }
}

fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("{part:?} missing or out of order in {text:?}") };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn nothing_is_said_or_heard_before_ready() {
    let mut bench = Bench::new(ModemProfile::serial_modem());
    bench.modem.power_on(bench.now);
    bench.say("AT\r");
    assert_eq!(bench.wait(1999), "");
    assert_eq!(bench.wait(1), "Ready\r\n");
    assert_eq!(bench.wait(500), "");
}

#[test]
fn each_application_frames_its_own_way() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    assert_eq!(bench.ask("AT"), "\r\nOK\r\n");
    assert_eq!(bench.ask("AT+CFUN?"), "\r\n+CFUN: 0\r\n\r\nOK\r\n");
    assert_eq!(bench.ask("AT#XSMVER"), "\r\n#XSMVER: \"v1.99.0-67-ga9e396bc3d58\",\"3.3.99\"\r\n\r\nOK\r\n");
    assert_eq!(bench.ask("AT#XSLMVER"), "\r\nERROR\r\n");
    assert_eq!(bench.ask("ATI"), "\r\nERROR\r\n");

    let mut bench = Bench::started(ModemProfile::serial_lte_modem());
    assert_eq!(bench.ask("AT+CFUN?"), "+CFUN: 0\r\nOK\r\n");
    assert_eq!(bench.ask("AT#XSMVER"), "ERROR\r\n");
    assert_eq!(bench.ask("AT#XSLMVER"), "#XSLMVER: \"2.6.0\",\"2.6.0-lib\"\r\nOK\r\n");
    bench.say("AT\r");
    assert_eq!(bench.wait(100), "");

    let mut bench = Bench::started(ModemProfile::plain_at());
    assert_eq!(bench.ask("AT#XSMVER"), "ERROR\r\n");
    assert_eq!(bench.ask("AT+CGSN"), "352656106647673\r\nOK\r\n");
}

#[test]
fn registration_is_walked_and_told_as_subscribed() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    for command in [
        "AT+CEREG=5",
        "AT+CSCON=1",
        "AT%CESQ=1",
        "AT%MDMEV=2",
        "AT+CGEREP=1",
        "AT%XSIM=1",
        "AT%XTIME=1",
        "AT+CFUN=1",
    ] {
        assert_eq!(bench.ask(command), "\r\nOK\r\n", "{command}");
    }
    let heard = bench.until("+CGEV: ME PDN ACT");
    in_order(
        &heard,
        &[
            "%XSIM: 1\r\n",
            "%MDMEV: SEARCH STATUS 1\r\n",
            "%CESQ: ",
            "+CEREG: 2,\"0901\",\"02024720\",7\r\n",
            "+CSCON: 1\r\n",
            "%MDMEV: SEARCH STATUS 2\r\n",
            "+CEREG: 5,\"0901\",\"02024720\",7,,,\"11100000\",\"11100000\"\r\n",
            "%XTIME: \"80\",\"22016021",
            "+CGEV: ME PDN ACT 0,0\r\n",
        ],
    );
    assert_eq!(bench.modem.signal().registration, 5);
    assert!(bench.modem.signal().rsrp_dbm.is_some());
    assert!(bench.until("+CSCON: 0").contains("%CESQ: "));
    assert!(bench.ask("AT+COPS?").contains("+COPS: 0,2,\"24202\",7\r\n"));
    assert!(bench.ask("AT+CEREG?").contains("+CEREG: 5,5,\"0901\""));
    bench.say("AT+CFUN=4\r");
    let heard = bench.wait(3000);
    in_order(&heard, &["OK", "+CEREG: 0\r\n"]);
    assert_eq!(bench.modem.signal().rsrp_dbm, None);
}

#[test]
fn nothing_is_reported_without_a_subscription() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.ask("AT+CFUN=1");
    assert_eq!(bench.wait(30_000), "");
    assert_eq!(bench.modem.signal().registration, 5);
}

#[test]
fn the_serial_modem_holds_reports_back_while_a_command_is_typed() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.say("AT+CG");
    bench.modem.report(bench.now, "%XTEST: 1".to_owned());
    assert_eq!(bench.wait(99), "");
    in_order(&bench.wait(20), &["%XTEST: 1"]);
    bench.say("SN\r");
    bench.modem.report(bench.now, "%XTEST: 2".to_owned());
    assert_eq!(bench.wait(40), "\r\n352656106647673\r\n\r\nOK\r\n\r\n%XTEST: 2\r\n");
}

#[test]
fn error_numbers_come_only_when_asked_for() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.ask("AT+CFUN=1");
    assert_eq!(bench.ask("AT%XSYSTEMMODE=1,1,0,0"), "\r\nERROR\r\n");
    bench.ask("AT+CMEE=1");
    assert_eq!(bench.ask("AT%XSYSTEMMODE=1,1,0,0"), "\r\n+CME ERROR: 518\r\n");
    assert_eq!(bench.ask("AT+NOSUCH?"), "\r\nERROR\r\n");
}

#[test]
fn without_a_sim_the_signature_of_a_missing_one() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.modem.set_fault(Fault::NoSim, bench.now);
    bench.ask("AT%XSIM=1");
    bench.ask("AT+CEREG=5");
    assert_eq!(bench.ask("AT+CFUN=1"), "\r\nOK\r\n");
    assert_eq!(bench.wait(5000), "\r\n%XSIM: 0,9\r\n\r\n+CEREG: 90\r\n");
    assert_eq!(bench.ask("AT+CIMI"), "\r\nERROR\r\n");
    assert_eq!(bench.ask("AT%XICCID"), "\r\nERROR\r\n");
}

#[test]
fn a_lost_network_comes_back() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.ask("AT+CEREG=1");
    bench.ask("AT+CFUN=1");
    bench.until("+CEREG: 5");
    bench.modem.set_fault(Fault::NetworkLost { lasts: Duration::from_secs(20) }, bench.now);
    let heard = bench.wait(19_000);
    assert_eq!(heard, "\r\n+CEREG: 4\r\n");
    in_order(&bench.until("+CEREG: 5"), &["+CEREG: 2", "+CEREG: 5"]);
}

#[test]
fn a_reset_in_mid_command_answers_with_a_fault_and_a_banner() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.ask("AT+CEREG=5");
    bench.modem.set_fault(Fault::ResetInCommand, bench.now);
    assert_eq!(bench.ask("AT"), "\r\nOK\r\n");
    let heard = bench.ask("AT+CGMR");
    in_order(&heard, &["#XMODEM: FAULT,0x5,0x26D5C"]);
    assert!(!heard.contains("OK"));
    assert_eq!(bench.wait(2000), "Ready\r\n");
    assert!(bench.ask("AT+CEREG?").contains("+CEREG: 0,0\r\n"));
    assert!(bench.ask("AT+CGMR").contains("OK"));
}

#[test]
fn a_core_fault_loses_subscriptions_without_a_banner() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.ask("AT+CEREG=5");
    bench.modem.set_fault(Fault::CoreFault, bench.now);
    in_order(&bench.wait(200), &["#XMODEM: FAULT", "#XMODEM: SHUTDOWN,0", "#XMODEM: INIT,0"]);
    assert!(bench.ask("AT+CEREG?").contains("+CEREG: 0,0\r\n"));
}

#[test]
fn silence_loses_and_a_stall_delays() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.modem.set_fault(Fault::Silence { lasts: Duration::from_secs(3) }, bench.now);
    assert_eq!(bench.ask("AT+CFUN?"), "");
    assert_eq!(bench.wait(5000), "");
    bench.modem.set_fault(Fault::Stall { lasts: Duration::from_secs(3) }, bench.now);
    assert_eq!(bench.ask("AT+CFUN?"), "");
    assert_eq!(bench.ask("AT+CGSN"), "");
    in_order(&bench.wait(4000), &["+CFUN: 0", "OK", "352656106647673", "OK"]);
}

#[test]
fn echo_repeats_the_command_before_the_answer() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.modem.set_fault(Fault::Echo, bench.now);
    assert_eq!(bench.ask("AT+CFUN?"), "AT+CFUN?\r\r\n+CFUN: 0\r\n\r\nOK\r\n");
    bench.ask("ATE0");
    assert_eq!(bench.ask("AT"), "\r\nOK\r\n");
}

#[test]
fn garbage_stands_before_the_banner() {
    let mut bench = Bench::new(ModemProfile::serial_modem());
    bench.modem.set_fault(Fault::GarbageAtBoot, bench.now);
    bench.modem.power_on(bench.now);
    let heard = bench.wait(2500);
    assert!(heard.ends_with("Ready\r\n") && heard.len() > "Ready\r\n".len());
}

#[test]
fn a_restart_by_command_says_ok_first() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    assert_eq!(bench.ask("AT#XRESET"), "\r\nOK\r\n");
    assert_eq!(bench.wait(2500), "Ready\r\n");
    assert_eq!(bench.ask("AT#XSHUTDOWN"), "\r\nOK\r\n");
    assert_eq!(bench.ask("AT"), "");
}

#[test]
fn traffic_is_counted_while_counting_and_wakes_the_radio() {
    let mut bench = Bench::started(ModemProfile::serial_modem());
    bench.ask("AT+CFUN=1");
    bench.wait(40_000);
    bench.ask("AT%XCONNSTAT=1");
    bench.ask("AT+CSCON=1");
    bench.modem.count_traffic(bench.now, 45 * 1024, 60 * 1024);
    assert_eq!(bench.wait(50), "\r\n+CSCON: 1\r\n");
    assert!(bench.ask("AT%XCONNSTAT?").contains("%XCONNSTAT: 0,0,45,60,708,650"));
}

#[test]
fn the_same_seed_says_the_same() {
    let run = |seed| {
        let mut modem = SimModem::new(ModemProfile::serial_modem(), seed, 0);
        modem.power_on(Duration::ZERO);
        modem.handle_timeout(Duration::from_secs(2));
        for command in ["AT%CESQ=1\r", "AT+CEREG=5\r", "AT+CFUN=1\r"] {
            modem.handle_bytes(Duration::from_secs(2), command.as_bytes());
        }
        modem.handle_timeout(Duration::from_secs(300));
        std::iter::from_fn(|| modem.poll_transmit()).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn any_bytes_are_survived_in_bounded_memory() {
    let mut rng = Dice::new(99);
    for profile in [ModemProfile::serial_modem(), ModemProfile::serial_lte_modem(), ModemProfile::plain_at()]
    {
        let mut bench = Bench::started(profile);
        for _ in 0..3000 {
            let bytes: Vec<u8> = (0..rng.between(1, 60))
                .map(|_| match rng.between(0, 3) {
                    0 => b"AT+CFUN=1\r\n?\"%#"[rng.between(0, 14) as usize],
                    _ => rng.number() as u8,
                })
                .collect();
            bench.modem.handle_bytes(bench.now, &bytes);
            assert!(bench.modem.waiting.len() <= WAITING_MAX);
        }
        // A quote may be open or not: end the command both ways.
        bench.wait(300_000);
        bench.say("\r\nAT\r\n");
        let plain = bench.wait(100).contains("OK");
        bench.say("\"\r\nAT\r\n");
        assert!(plain || bench.wait(100).contains("OK"));
    }
}
