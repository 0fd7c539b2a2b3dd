//! The modem's lane under its supervisor, on a wire in memory, with the simulated modem at the other end, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod modem_lane;

use std::time::Duration;

use fieldgate::board::{ModemPhase, SignalGrade};
use fieldgate_sim::modem::{Fault, ModemProfile};
use modem_lane::{Bench, Facts, POLL, UNIX_AT_ORIGIN};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn profiles() -> [(&'static str, ModemProfile); 3] {
    [
        ("Serial Modem v1.99.0", ModemProfile::serial_modem()),
        ("Serial LTE Modem 2.6.0", ModemProfile::serial_lte_modem()),
        ("plain AT firmware", ModemProfile::plain_at()),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_modem_is_identified_registered_and_measured() {
    for (application, profile) in profiles() {
        let bench = Bench::start(profile, 7);
        bench.power_on();
        bench
            .until("registered", MINUTE, |board| board.registered() && board.modem_celsius.get().is_some())
            .await;
        bench.until("band", 10 * SECOND, |board| board.registration().band.is_some()).await;
        let identity = bench.board.modem.get().unwrap().value;
        assert!(identity.application.starts_with(application), "{}", identity.application);
        assert_eq!(identity.hardware.as_deref(), Some("nRF9151 LACA A1A"));
        assert_eq!(identity.firmware.as_deref(), Some("mfw_nrf91x1_2.0.4"));
        assert_eq!(identity.imei.unwrap().masked(), "•••••••••••7673");
        assert_eq!(identity.iccid.unwrap().masked(), "•••••••••••••••5678");
        assert_eq!(identity.imsi.unwrap().masked(), "•••••••••••0037");
        let registration = bench.registration();
        assert!(registration.roaming);
        assert_eq!(registration.words, "registered, roaming");
        assert_eq!(registration.operator.as_deref(), Some("Telia N@"));
        assert_eq!(registration.access.as_deref(), Some("LTE-M"));
        assert_eq!(registration.cell.as_deref(), Some("02024720"));
        assert_eq!(registration.band, Some(20));
        let millivolts = bench.board.modem_millivolts.get().unwrap().value;
        assert!((5030..=5070).contains(&millivolts), "{millivolts}");
        let celsius = bench.board.modem_celsius.get().unwrap().value;
        assert!((24..=31).contains(&celsius), "{celsius}");
        let state = bench.state();
        assert_eq!((state.phase, state.fine), (ModemPhase::Up, true), "{}", state.words);
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_signal_on_the_board_follows_what_the_modem_reports_between_polls() {
    let bench = Bench::start(ModemProfile::serial_modem(), 3);
    bench.power_on();
    bench.until("registered", MINUTE, |board| board.registered()).await;
    bench.settle().await;
    let mut seen = Vec::new();
    for _ in 0..30 {
        bench.pass(2 * SECOND).await;
        let (truth, board) = (bench.modem(|modem, _| modem.signal()), bench.signal());
        assert_eq!(board.rsrp_dbm, truth.rsrp_dbm.map(f32::from), "a report is on the board at once");
        assert_eq!(board.rsrq_db, truth.rsrq_db);
        assert_ne!(board.grade, SignalGrade::Unknown);
        seen.push(board.rsrp_dbm);
    }
    seen.dedup();
    assert!(seen.len() > 5, "the signal moved: {seen:?}");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_networks_time_is_on_the_board_as_it_was_when_it_came() {
    let bench = Bench::start(ModemProfile::serial_lte_modem(), 11);
    bench.pass(100 * SECOND).await;
    bench.power_on();
    bench.until("time", MINUTE, |board| board.network_time.get().is_some()).await;
    let time = bench.board.network_time.get().unwrap();
    let truth = UNIX_AT_ORIGIN * 1000 + time.at.ms();
    let off = truth.abs_diff(u64::try_from(time.value.unix_ms).unwrap());
    assert!(off <= 1000, "the network tells whole seconds: {off} ms off");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn where_the_network_sends_no_time_the_modems_clock_is_asked_and_may_mean_either_time() {
    for clock_is_local in [true, false] {
        for unset in [None, Some("80/01/06,00:00:19+00".to_owned())] {
            let mut profile = ModemProfile::serial_modem();
            (profile.sends_time, profile.clock_is_local, profile.unset_clock) =
                (false, clock_is_local, unset);
            let bench = Bench::start(profile, 13);
            let known_from = 10 * MINUTE;
            bench.modem(|modem, _| modem.tell_time_from(known_from));
            bench.power_on();
            bench.pass(known_from - SECOND).await;
            assert_eq!(bench.board.network_time.get(), None, "a clock that was never set says no time");
            bench.until("time", 2 * POLL, |board| board.network_time.get().is_some()).await;
            let time = bench.board.network_time.get().unwrap();
            let truth = UNIX_AT_ORIGIN * 1000 + time.at.ms();
            let off = truth.abs_diff(u64::try_from(time.value.unix_ms).unwrap());
            assert!(off <= u64::from(time.value.uncertainty_ms), "{off} ms off: {time:?}");
            bench.end().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_at_boot_and_an_echo_cost_nothing_but_time() {
    for fault in [Fault::GarbageAtBoot, Fault::Echo, Fault::Noise { lasts: 20 * SECOND }] {
        for (_, profile) in profiles() {
            let bench = Bench::start(profile, 5);
            bench.modem(|modem, now| modem.set_fault(fault, now));
            bench.power_on();
            bench.until("registered", 3 * MINUTE, |board| board.registered()).await;
            bench.until("set up", MINUTE, |board| board.phase() == Some(ModemPhase::Up)).await;
            let identity = bench.board.modem.get().unwrap().value;
            assert!(identity.imei.is_some() && identity.imsi.is_some(), "{fault:?}: {identity:?}");
            bench.end().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_modem_is_told_as_unknown_with_the_reason_and_followed_again_when_it_speaks() {
    for (_, profile) in profiles() {
        let bench = Bench::start(profile, 9);
        bench.power_on();
        bench.until("registered", MINUTE, |board| board.registered()).await;
        let identity = bench.board.modem.get().unwrap();
        bench.modem(|modem, now| modem.set_fault(Fault::Silence { lasts: 10 * MINUTE }, now));
        bench.until("doubt", POLL + 10 * SECOND, |board| board.phase() == Some(ModemPhase::Doubtful)).await;
        bench.until("known as lost", MINUTE, |board| !board.registered()).await;
        let words = bench.registration().words;
        assert_eq!(words, "not known: the modem does not answer any more");
        assert_eq!(bench.signal().grade, SignalGrade::Unknown);
        assert_eq!(bench.signal().rsrp_dbm, None);
        assert_eq!(bench.board.modem_millivolts.get(), None);
        assert_eq!(bench.board.modem_celsius.get(), None);
        bench
            .until("advice", 2 * MINUTE, |board| board.registration().words.contains("nothing answers"))
            .await;
        assert!(bench.state().words.contains("check the modem's power"), "{}", bench.state().words);
        assert!(!bench.state().fine);
        assert_eq!(
            bench.board.modem.get().unwrap(),
            identity,
            "who it was is still known, with its old stamp"
        );
        bench.until("back", 15 * MINUTE, |board| board.registered()).await;
        bench.until("up", MINUTE, |board| board.phase() == Some(ModemPhase::Up)).await;
        assert!(bench.opens() > 2, "re-opening is part of the recovery");
        assert!(bench.opens() < 15, "the pauses grow: {} times opened", bench.opens());
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_modem_is_not_taken_for_a_dead_one() {
    let bench = Bench::start(ModemProfile::serial_modem(), 21);
    bench.power_on();
    bench.until("registered", MINUTE, |board| board.registered()).await;
    bench.next_look().await;
    // From shortly before a look until well after its answer is overdue.
    bench.pass(POLL - 5 * SECOND).await;
    bench.modem(|modem, now| modem.set_fault(Fault::Stall { lasts: 25 * SECOND }, now));
    bench.until("doubt", POLL, |board| board.phase() == Some(ModemPhase::Doubtful)).await;
    assert!(bench.board.registered(), "a late answer does not unmake the network");
    bench.until("up", MINUTE, |board| board.phase() == Some(ModemPhase::Up)).await;
    assert_eq!(bench.opens(), 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_middle_of_a_command_leads_to_a_modem_set_up_again() {
    for (_, profile) in profiles() {
        let bench = Bench::start(profile, 13);
        bench.power_on();
        bench.until("registered", MINUTE, |board| board.registered()).await;
        bench.modem(|modem, now| modem.set_fault(Fault::ResetInCommand, now));
        bench.until("restart", 2 * POLL, |board| board.phase() == Some(ModemPhase::Restarted)).await;
        assert!(!bench.registration().registered);
        assert!(
            bench.registration().words.starts_with("not known: the modem"),
            "{}",
            bench.registration().words
        );
        bench.until("registered again", 2 * MINUTE, |board| board.registered()).await;
        bench.until("up", MINUTE, |board| board.phase() == Some(ModemPhase::Up)).await;
        assert_eq!(bench.opens(), 1, "the port itself was never lost");
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crashed_core_is_noticed_and_set_up_again_even_where_nothing_announces_it() {
    for (application, profile) in profiles() {
        let bench = Bench::start(profile, 17);
        bench.power_on();
        bench.until("registered", MINUTE, |board| board.registered()).await;
        bench.settle().await;
        bench.modem(|modem, now| modem.set_fault(Fault::CoreFault, now));
        // Plain AT firmware says nothing: the next look finds the subscription gone.
        bench.until("noticed", POLL + 10 * SECOND, |board| !board.registered()).await;
        bench.until("registered again", MINUTE, |board| board.registered()).await;
        let log = bench.log();
        let told =
            if application.starts_with("plain") { "it restarted without saying so" } else { "core crashed" };
        assert!(log.contains(told), "{log}");
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_between_two_looks_is_noticed_by_its_banner() {
    let bench = Bench::start(ModemProfile::serial_modem(), 19);
    bench.power_on();
    bench.until("registered", MINUTE, |board| board.registered()).await;
    bench.settle().await;
    bench.modem(|modem, now| modem.set_fault(Fault::Restart, now));
    bench.until("noticed", 3 * SECOND, |board| board.phase() == Some(ModemPhase::Restarted)).await;
    bench.until("registered again", MINUTE, |board| board.registered()).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_network_is_told_at_once_and_its_return_too() {
    for (_, profile) in profiles() {
        let bench = Bench::start(profile, 23);
        bench.power_on();
        bench.until("registered", MINUTE, |board| board.registered()).await;
        bench.settle().await;
        bench.modem(|modem, now| modem.set_fault(Fault::NetworkLost { lasts: 2 * MINUTE }, now));
        bench.until("told", SECOND, |board| !board.registered()).await;
        let registration = bench.registration();
        assert_eq!(registration.words, "no coverage: check the antenna and its cable, or move the gateway");
        assert_eq!((registration.operator, registration.band), (None, None));
        bench.until("signal", SECOND, |board| board.signal().grade == SignalGrade::Unknown).await;
        assert_eq!(bench.state().phase, ModemPhase::Up, "the modem itself is well");
        bench
            .until("searching", 3 * MINUTE, |board| board.registration().words == "searching for a network")
            .await;
        bench.until("back", MINUTE, |board| board.registered()).await;
        bench.until("band", 10 * SECOND, |board| board.registration().band == Some(20)).await;
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_sim_the_words_say_what_to_do() {
    for (_, profile) in profiles() {
        let bench = Bench::start(profile, 29);
        bench.modem(|modem, now| modem.set_fault(Fault::NoSim, now));
        bench.power_on();
        bench.until("told", MINUTE, |board| board.registration().words.starts_with("no working SIM")).await;
        bench.until("up", MINUTE, |board| board.phase() == Some(ModemPhase::Up)).await;
        let words = bench.registration().words;
        assert!(words.contains("insert one") && words.contains("eSIM"), "{words}");
        let identity = bench.board.modem.get().unwrap().value;
        assert!(identity.imei.is_some() && identity.iccid.is_none() && identity.imsi.is_none());
        bench.modem(|modem, now| {
            modem.clear_faults(now);
            modem.set_fault(Fault::Restart, now);
        });
        bench.until("registered", MINUTE, |board| board.registered()).await;
        bench
            .until("card", MINUTE, |board| {
                board.modem.get().is_some_and(|it| it.value.iccid.is_some() && it.value.imsi.is_some())
            })
            .await;
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_disappears_is_missed_at_once_and_found_again_when_it_returns() {
    let bench = Bench::start(ModemProfile::serial_modem(), 31);
    bench.unplug();
    bench.power_on();
    bench.until("missing", 10 * SECOND, |board| board.phase() == Some(ModemPhase::NoPort)).await;
    bench.pass(MINUTE).await;
    assert!(
        bench.state().words.contains("/dev/test-modem is not there: check its power"),
        "{}",
        bench.state().words
    );
    bench.plug();
    bench.until("registered", MINUTE, |board| board.registered()).await;
    for _ in 0..3 {
        bench.settle().await;
        bench.unplug();
        bench.until("missed", SECOND, |board| !board.registered()).await;
        assert!(
            bench.registration().words.contains("/dev/test-modem is gone"),
            "{}",
            bench.registration().words
        );
        assert_eq!(bench.signal().grade, SignalGrade::Unknown);
        bench.pass(5 * MINUTE).await;
        assert!(!bench.state().fine);
        bench.plug();
        bench.until("found", 30 * SECOND, |board| board.registered()).await;
    }
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_port_that_takes_no_bytes_is_given_up_with_the_likely_reason() {
    let bench = Bench::start(ModemProfile::serial_modem(), 37);
    bench.block_writes();
    bench.until("given up", MINUTE, |board| board.registration().words.contains("takes no bytes")).await;
    assert!(bench.state().words.contains("flow_control"), "{}", bench.state().words);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_radio_that_is_up_stays_up_when_the_daemon_starts_anew() {
    let bench = Bench::start(ModemProfile::serial_modem(), 41);
    bench.power_on();
    bench.until("registered", MINUTE, |board| board.registered()).await;
    bench.settle().await;
    let before = bench.commands("AT+CFUN=1");
    assert_eq!(before, 1);
    bench.unplug();
    bench.pass(MINUTE).await;
    bench.plug();
    bench.until("registered", MINUTE, |board| board.registered()).await;
    bench.settle().await;
    assert_eq!(bench.commands("AT+CFUN=1"), before, "the radio was not touched");
    assert!(bench.commands("AT+CFUN?") >= 2);
    assert_eq!(
        bench.commands("AT+CFUN=0") + bench.commands("AT#XRESET") + bench.commands("AT#XMODEMRESET"),
        0
    );
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_settled_modem_is_asked_no_more_often_than_configured() {
    let bench = Bench::start(ModemProfile::serial_modem(), 43);
    bench.power_on();
    bench.until("registered", MINUTE, |board| board.registered()).await;
    bench.settle().await;
    let before = (bench.commands("AT%XVBAT"), bench.commands("AT"), bench.commands("AT%XCONNSTAT?"));
    bench.pass(20 * POLL).await;
    let asked = bench.commands("AT%XVBAT") - before.0;
    assert!((19..=20).contains(&asked), "{asked} looks in 20 intervals");
    let counted = bench.commands("AT%XCONNSTAT?") - before.2;
    assert!((1..=2).contains(&counted), "the data counters every ten minutes: {counted}");
    assert!(bench.board.data_counters.get().is_some());
    // Nothing but these and the five questions of a look, whatever begins with AT.
    assert_eq!(bench.commands("AT") - before.1, asked * 5 + counted);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn no_subscribers_number_is_ever_logged_or_printed() {
    for (_, profile) in profiles() {
        let (imei, iccid, imsi) = (profile.imei.clone(), profile.iccid.clone(), profile.imsi.clone());
        let bench = Bench::start(profile, 47);
        bench.modem(|modem, now| modem.set_fault(Fault::Echo, now));
        bench.power_on();
        bench.until("registered", MINUTE, |board| board.registered()).await;
        bench.settle().await;
        for fault in [
            Fault::Noise { lasts: 30 * SECOND },
            Fault::CoreFault,
            Fault::NoSim,
            Fault::ResetInCommand,
            Fault::Silence { lasts: MINUTE },
        ] {
            bench.modem(|modem, now| modem.set_fault(fault, now));
            bench.pass(3 * MINUTE).await;
            bench.modem(|modem, now| modem.clear_faults(now));
        }
        let log = bench.log();
        assert!(log.contains("registered, roaming") && log.contains("mfw_nrf91x1_2.0.4"), "{log}");
        assert!(log.contains("DEBUG"), "everything is captured");
        let printed = format!("{:?}", bench.board);
        assert!(printed.contains("7673"), "the number is on the board, masked: {printed}");
        for number in [imei, iccid, imsi] {
            assert!(!log.contains(&number) && !printed.contains(&number));
            // Nor its telling part.
            let part = &number[3..11];
            assert!(!log.contains(part), "{part} in {log}");
        }
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_history() {
    let mut logs = Vec::new();
    for _ in 0..2 {
        let bench = Bench::start(ModemProfile::serial_modem(), 53);
        bench.modem(|modem, now| modem.set_fault(Fault::GarbageAtBoot, now));
        bench.power_on();
        bench.pass(5 * MINUTE).await;
        bench.modem(|modem, now| modem.set_fault(Fault::ResetInCommand, now));
        bench.pass(5 * MINUTE).await;
        logs.push(bench.log());
        bench.end().await;
    }
    assert!(logs[0].lines().count() > 20);
    assert_eq!(logs[0], logs[1]);
}

#[tokio::test(start_paused = true)]
async fn after_any_mix_of_faults_the_modem_is_followed_again() {
    let faults = [
        Fault::GarbageAtBoot,
        Fault::Noise { lasts: 20 * SECOND },
        Fault::Echo,
        Fault::Silence { lasts: 90 * SECOND },
        Fault::Silence { lasts: 3 * SECOND },
        Fault::Stall { lasts: 40 * SECOND },
        Fault::ResetInCommand,
        Fault::CoreFault,
        Fault::Restart,
        Fault::NetworkLost { lasts: 30 * SECOND },
        Fault::NoSim,
    ];
    for seed in 0..30 {
        let profile = profiles().into_iter().nth(seed % 3).unwrap().1;
        let mut draw = u64::try_from(seed).unwrap();
        let mut below = |limit: u64| {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (draw >> 33) % limit
        };
        let bench = Bench::start(profile, below(1000));
        bench.power_on();
        for _ in 0..8 {
            bench.pass(Duration::from_millis(below(90_000))).await;
            if below(6) == 0 {
                bench.unplug();
                bench.pass(Duration::from_millis(below(20_000))).await;
                bench.plug();
            } else {
                let fault = faults[usize::try_from(below(faults.len() as u64)).unwrap()];
                bench.modem(|modem, now| modem.set_fault(fault, now));
            }
        }
        bench.modem(|modem, now| {
            modem.clear_faults(now);
            modem.set_fault(Fault::Restart, now);
        });
        bench
            .until("followed", 5 * MINUTE, |board| {
                board.registered() && board.phase() == Some(ModemPhase::Up)
            })
            .await;
        bench.settle().await;
        let (truth, identity) =
            (bench.modem(|modem, _| modem.signal()), bench.board.modem.get().unwrap().value);
        assert_eq!(bench.signal().rsrp_dbm, truth.rsrp_dbm.map(f32::from), "seed {seed}");
        assert!(
            identity.imei.is_some() && identity.firmware.as_deref() == Some("mfw_nrf91x1_2.0.4"),
            "{identity:?}"
        );
        bench.end().await;
    }
}
