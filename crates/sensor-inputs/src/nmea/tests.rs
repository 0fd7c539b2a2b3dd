use super::*;
use crate::datum::Datum;
use proptest::prelude::*;

fn checksummed(content: &str) -> String {
    format!("${content}*{:02X}", content.bytes().fold(0, |sum, byte| sum ^ byte))
}

fn read(content: &str) -> Message<'static> {
    let line: &'static str = Box::leak(checksummed(content).into_boxed_str());
    Message::read(Sentence::parse(line.as_bytes()).unwrap()).unwrap()
}

fn values(message: &Message<'static>) -> Vec<(String, String, Datum<'static>)> {
    let mut found = Vec::new();
    message.values(&mut |value| found.push((value.name.into_owned(), value.unit.into_owned(), value.datum)));
    found
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-9
}

#[test]
fn a_fix_of_the_textbook_is_read_with_its_units() {
    let line = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47";
    let sentence = Sentence::parse(line).unwrap();
    assert_eq!((sentence.talker(), sentence.kind(), sentence.is_checked()), ("GP", "GGA", true));
    let Message::Gga(gga) = Message::read(sentence).unwrap() else { panic!("no GGA") };
    let position = gga.position.unwrap();
    assert!(near(position.latitude_deg, 48.1173) && near(position.longitude_deg, 11.0 + 31.0 / 60.0));
    assert_eq!((gga.quality, gga.satellites), (FixQuality::Autonomous, Some(8)));
    assert_eq!(
        (gga.altitude_m, gga.geoid_separation_m, gga.correction_age_s),
        (Some(545.4), Some(46.9), None)
    );
    assert_eq!(gga.time, Some(TimeOfDay { hour: 12, minute: 35, second: 19, millisecond: 0 }));
}

#[test]
fn the_recommended_minimum_tells_speed_course_and_time() {
    let sentence =
        Sentence::parse(b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A").unwrap();
    let message = Message::read(sentence).unwrap();
    // 1994-03-23T12:35:19Z.
    assert_eq!(message.unix_ms(), Some(764_426_119_000));
    let Message::Rmc(rmc) = message else { panic!("no RMC") };
    assert!(near(rmc.speed_m_per_s.unwrap(), 22.4 * 1852.0 / 3600.0));
    assert_eq!((rmc.course_deg, rmc.magnetic_variation_deg, rmc.mode), (Some(84.4), Some(-3.1), None));
}

#[test]
fn south_and_west_are_negative() {
    let Message::Gll(gll) = read("GNGLL,3351.652,S,15112.498,W,092204.999,A,D") else { panic!("no GLL") };
    let position = gll.position.unwrap();
    assert!(near(position.latitude_deg, -(33.0 + 51.652 / 60.0)));
    assert!(near(position.longitude_deg, -(151.0 + 12.498 / 60.0)));
    assert_eq!(gll.time.unwrap().millisecond, 999);
    assert_eq!((gll.is_valid, gll.mode), (true, Some(Mode::Differential)));
}

#[test]
fn a_receiver_without_a_fix_gives_no_position_and_no_time() {
    let message = read("GNRMC,120000.00,V,4807.038,N,01131.000,E,0.1,,201126,,,N");
    assert_eq!(message.unix_ms(), None);
    let found = values(&message);
    assert!(found.iter().any(|(name, _, datum)| name == "latitude" && *datum == Datum::Absent));
    assert!(found.iter().any(|(name, _, datum)| name == "valid" && *datum == Datum::Bool(false)));

    let found = values(&read("GPGGA,120000,4807.038,N,01131.000,E,0,00,99.99,,M,,M,,"));
    assert!(found.contains(&("longitude".into(), "deg".into(), Datum::Absent)));
    assert!(found.contains(&("satellites".into(), String::new(), Datum::Integer(0))));
}

#[test]
fn the_other_sentences_are_read() {
    let Message::Gsa(gsa) = read("GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1") else { panic!("no GSA") };
    assert_eq!((gsa.dimension, gsa.satellites, gsa.vdop), (Dimension::Three, 5, Some(2.1)));
    let Message::Gsv(gsv) = read("GLGSV,3,1,11,03,03,111,00") else { panic!("no GSV") };
    assert_eq!((gsv.part, gsv.parts, gsv.in_view), (1, 3, 11));
    let Message::Vtg(vtg) = read("GPVTG,054.7,T,034.4,M,,N,036.0,K") else { panic!("no VTG") };
    assert!(near(vtg.speed_m_per_s.unwrap(), 10.0));
    let zda = read("GPZDA,201530.00,04,07,2002,00,00");
    assert_eq!(zda.unix_ms(), Some(1_025_813_730_000));
    let Message::Gns(gns) = read("GNGNS,014035.00,4332.69262,S,17235.48549,E,NRD,13,0.9,25.63,11.24,,")
    else {
        panic!("no GNS")
    };
    assert_eq!((gns.mode, gns.satellites, gns.altitude_m), (Mode::RtkFixed, Some(13), Some(25.63)));
}

#[test]
fn a_weather_station_gives_wind_in_metres_a_second_and_names_its_transducers() {
    let found = values(&read("WIMWV,214.8,R,36.0,K,A"));
    assert_eq!(found[0], ("wind_angle".into(), "deg".into(), Datum::Number(214.8)));
    assert!(
        matches!(&found[1], (name, unit, Datum::Number(speed)) if name == "wind_speed" && unit == "m/s" && near(*speed, 10.0))
    );
    let found = values(&read("WIXDR,C,19.5,C,TEMP,H,,P,RH,P,1.013,B,"));
    assert_eq!(found.len(), 2, "a transducer without a value says nothing: {found:?}");
    assert_eq!(found[0], ("TEMP".into(), "C".into(), Datum::Number(19.5)));
    assert_eq!(found[1], ("P".into(), "B".into(), Datum::Number(1.013)));
}

#[test]
fn what_is_not_understood_is_kept() {
    let Message::Proprietary(ublox) = read("PUBX,00,081350.00,4717.113210,N") else { panic!("not kept") };
    assert_eq!((ublox.kind(), ublox.talker(), ublox.field(0)), ("UBX", "", Some("00")));
    assert_eq!(values(&read("PUBX,00,1"))[0].2, Datum::Text("00,1".into()));
    assert!(matches!(read("GPTXT,01,01,02,ANTSTATUS=OK"), Message::Other(kept) if kept.kind() == "TXT"));
}

#[test]
fn a_damaged_sentence_is_refused_for_its_own_reason() {
    let refused = |line: &str| Sentence::parse(line.as_bytes()).unwrap_err();
    let line = "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*48";
    assert_eq!(refused(line), SentenceError::Checksum { found: 0x47, said: 0x48 });
    assert_eq!(refused("hello"), SentenceError::NoStart);
    assert_eq!(refused("$GPGGA,1*4"), SentenceError::NoChecksum);
    assert_eq!(refused("$GPGGA,1*+4"), SentenceError::NoChecksum);
    assert_eq!(refused("$"), SentenceError::Malformed);
    assert_eq!(refused("$gpgga,1"), SentenceError::Malformed);
    assert_eq!(refused(&format!("$GPTXT,{}", "x".repeat(600))), SentenceError::TooLong(606));
}

#[test]
fn a_sentence_without_a_checksum_says_so() {
    assert!(!Sentence::parse(b"$GPGLL,4807.038,N,01131.000,E").unwrap().is_checked());
}

#[test]
fn a_sentence_that_broke_off_does_not_take_the_next_with_it() {
    let line = format!("$GPGGA,1235{}", checksummed("GPZDA,201530.00,04,07,2002,00,00"));
    assert_eq!(Sentence::parse(line.as_bytes()).unwrap().kind(), "ZDA");
    let tagged = format!("\\s:1*55\\{}", checksummed("GPVTG,,T,,M,0.0,N,0.0,K,N"));
    assert_eq!(Sentence::parse(tagged.as_bytes()).unwrap().kind(), "VTG");
}

#[test]
fn a_field_that_is_something_else_is_named() {
    for (content, field, expected) in [
        ("GPGGA,256019,,,,,1,,,,M,,M,,", 1, "a time"),
        ("GPGGA,123519,9107.038,N,01131.000,E,1,,,,M,,M,,", 2, "a position"),
        ("GPGGA,123519,4860.038,N,01131.000,E,1,,,,M,,M,,", 2, "a position"),
        ("GPGGA,123519,4807.038,X,01131.000,E,1,,,,M,,M,,", 2, "a position"),
        ("GPGGA,123519,,,,,9,,,,M,,M,,", 6, "a quality from 0 to 8"),
        ("GPGGA,123519,,,,,1,,inf,,M,,M,,", 8, "a number"),
        ("GPRMC,123519,A,,,,,,,310226,,", 9, "a date"),
        ("GPZDA,201530.00,31,02,2002,00,00", 2, "a day there is"),
        ("WIMWV,214.8,R,36.0,Q,A", 4, "a unit of speed: K, M, N or S"),
    ] {
        let line = checksummed(content);
        let found = Message::read(Sentence::parse(line.as_bytes()).unwrap()).unwrap_err();
        assert_eq!((found.field, found.expected), (field, expected), "{content}");
    }
}

#[test]
fn days_are_counted_as_the_calendar_does() {
    let noon = TimeOfDay { hour: 12, minute: 0, second: 0, millisecond: 500 };
    for (year, month, day, seconds) in
        [(1980, 1, 6, 315_964_800), (2000, 2, 29, 951_782_400), (2026, 11, 20, 1_795_132_800)]
    {
        let date = Date { year, month, day };
        assert_eq!(date.unix_ms(noon), (seconds + 43_200) * 1_000 + 500, "{date:?}");
    }
}

proptest! {
    #[test]
    fn a_position_survives_its_way_through_a_sentence(latitude in -90.0f64..=90.0, longitude in -180.0f64..=180.0) {
        let part = |angle: f64, width: usize| {
            let (degrees, minutes) = (angle.abs().trunc(), angle.abs().fract() * 60.0);
            // 59.99999999 would be printed as 60.
            format!("{:0width$}{:011.8}", degrees, minutes.min(59.99999999))
        };
        let side = |angle: f64, positive, negative| if angle < 0.0 { negative } else { positive };
        let content = format!(
            "GPGLL,{},{},{},{},000000,A",
            part(latitude, 2), side(latitude, "N", "S"), part(longitude, 3), side(longitude, "E", "W")
        );
        let Message::Gll(gll) = read(&content) else { panic!("no GLL") };
        let position = gll.position.unwrap();
        prop_assert!((position.latitude_deg - latitude).abs() < 1e-8);
        prop_assert!((position.longitude_deg - longitude).abs() < 1e-8);
    }

    #[test]
    fn one_flipped_bit_never_passes(bit in 0usize..8, at in 1usize..60) {
        let mut line = *b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47";
        line[at] ^= 1 << bit;
        prop_assert!(Sentence::parse(&line).is_err());
    }

    #[test]
    fn any_line_is_taken_without_a_panic(line in prop::collection::vec(any::<u8>(), 0..200), fields in "[A-Z0-9.,-]{0,90}") {
        let _ = Sentence::parse(&line).map(Message::read);
        for kind in ["GGA", "RMC", "GSA", "GSV", "VTG", "GLL", "ZDA", "GNS", "MWV", "XDR"] {
            let line = format!("$GP{kind},{fields}");
            if let Ok(message) = Sentence::parse(line.as_bytes()).map(Message::read) {
                let _ = message.map(|message| (message.unix_ms(), message.values(&mut |_| {})));
            }
        }
    }
}
