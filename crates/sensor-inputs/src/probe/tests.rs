use super::*;
use crate::wire::misread;
use proptest::prelude::*;

const FIX: &[u8] = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n";
const FRAME: [u8; 17] = [0x08, 0xa2, 0x61, 0x74, 0xfb, 0x40, 0x37, 0x80, 1, 1, 1, 1, 3, 0x61, 0x68, 0x01, 0];

/// Lets a probe run on a line where `said` answers each step; the steps it took.
fn run(units: &[u8], mut said: impl FnMut(Step) -> Vec<u8>) -> (Probe, Vec<Step>) {
    let (mut now, mut steps) = (Duration::ZERO, Vec::new());
    let mut probe = Probe::new(now, units.to_vec());
    while let Some(due) = probe.poll_timeout() {
        let step = probe.step();
        steps.push(step);
        probe.handle_bytes(now, &said(step));
        now = due;
        probe.handle_timeout(now);
        assert!(steps.len() < 10_000);
    }
    assert_eq!(probe.step(), Step::Done);
    (probe, steps)
}

/// A device that sends these bytes at a rate, whoever listens.
fn speaker(bytes: Vec<u8>, baud: u32) -> impl FnMut(Step) -> Vec<u8> {
    move |step| match step {
        Step::Listen(line) => misread(&bytes, u64::from(baud), u64::from(line.baud)),
        _ => Vec::new(),
    }
}

#[test]
fn a_device_that_speaks_is_found_at_its_own_rate() {
    for baud in BAUDS {
        for (bytes, tongue) in [
            (FIX.repeat(6), Tongue::Nmea),
            (b"{\"t\":21.5,\"h\":40}\r\n".repeat(6), Tongue::Json),
            (b"[{\"n\":\"a\",\"v\":1}]\r\n".repeat(6), Tongue::Senml),
            (FRAME.repeat(6), Tongue::Cobs(Check::None)),
            (b"\r\n+CEREG: 1,\"002F\"\r\n\r\nOK\r\n".to_vec(), Tongue::At),
        ] {
            let (probe, _) = run(&[], speaker(bytes, baud));
            let found = probe.answer().map(|finding| (finding.line.baud, finding.tongue));
            assert_eq!(found, Some((baud, Some(tongue))), "{:?}", probe.findings());
        }
    }
}

#[test]
fn what_was_heard_at_the_wrong_rates_says_so() {
    let (probe, _) = run(&[], speaker(FIX.repeat(12), 38_400));
    let (found, before) = probe.findings().split_last().unwrap();
    assert_eq!(found.line.baud, 38_400);
    assert_eq!(before.len(), 4);
    assert!(before.iter().all(|finding| finding.verdict == Verdict::WrongSpeed), "{before:?}");
}

#[test]
fn a_slave_is_found_by_asking_and_an_exception_is_an_answer() {
    let at = Line { baud: 19_200, parity: Parity::Even };
    let (probe, steps) = run(&[1, 17], |step| match step {
        Step::Ask(line, [17, ..]) if line == at => vec![0, 0x11, 0x83, 0x02, 0xc1, 0x34],
        _ => Vec::new(),
    });
    let found = probe.answer().unwrap();
    assert_eq!((found.line, found.tongue), (at, Some(Tongue::Modbus(17))));
    assert_eq!(steps.iter().filter(|step| matches!(step, Step::Listen(_))).count(), BAUDS.len());
}

#[test]
fn the_question_is_a_read_of_one_register_with_its_checksum() {
    assert_eq!(read_request(1), [1, 3, 0, 0, 0, 1, 0x84, 0x0a]);
    let (_, steps) = run(&[1], |_| Vec::new());
    let asked: Vec<_> = steps.iter().filter(|step| matches!(step, Step::Ask(..))).collect();
    assert_eq!(asked.len(), BAUDS.len() * PARITIES.len());
    for baud in BAUDS {
        for parity in PARITIES {
            assert!(asked.contains(&&Step::Ask(Line { baud, parity }, read_request(1))), "{baud} {parity:?}");
        }
    }
}

#[test]
fn with_no_units_nothing_is_ever_sent_and_silence_ends_in_nothing() {
    let (probe, steps) = run(&[], |_| Vec::new());
    assert_eq!(steps.len(), BAUDS.len());
    assert_eq!((probe.findings(), probe.answer()), (&[][..], None));
}

proptest! {
    #[test]
    fn noise_is_understood_as_nothing_and_the_probe_ends(
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 40), units in prop::collection::vec(1u8..=247, 0..2),
    ) {
        let mut noise = noise.into_iter();
        let (probe, _) = run(&units, |_| noise.next().unwrap_or_default());
        prop_assert_eq!(probe.answer(), None);
    }
}
