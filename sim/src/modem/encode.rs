//! The modem's own spelling of its lines. Written from the vendor's syntax; no code is shared with the
//! daemon's decoders.

use super::profile::{ModemProfile, SimNetwork};
use super::radio::{Radio, Registration};

/// The part of `+CEREG` after the subscription level: what level `n` shows of the registration.
pub(super) fn registration(level: u8, radio: &Radio, network: &SimNetwork) -> String {
    let stat = radio.stat(network);
    let cell_known = matches!(radio.registration, Registration::Searching | Registration::Registered);
    if level < 2 || !cell_known {
        return stat.to_string();
    }
    let SimNetwork { tracking_area, cell, access_technology, .. } = network;
    let place = format!("{stat},\"{tracking_area:04X}\",\"{cell:08X}\",{access_technology}");
    if level >= 4 && radio.registration == Registration::Registered {
        format!("{place},,,\"{}\",\"{}\"", radio.active_time, radio.periodic_tau)
    } else {
        place
    }
}

/// `%XMONITOR`.
pub(super) fn monitor(radio: &Radio, network: &SimNetwork) -> String {
    let stat = radio.stat(network);
    if radio.registration != Registration::Registered {
        return format!("%XMONITOR: {stat}");
    }
    let SimNetwork {
        name, plmn, tracking_area, cell, physical_cell, earfcn, band, access_technology, ..
    } = network;
    let measured = match &radio.signal {
        Some(signal) => format!("{physical_cell},{earfcn},{},{}", signal.rsrp, signal.snr),
        None => ",,,".to_owned(),
    };
    let timers = format!("\"{}\",\"{}\",\"01001001\"", radio.active_time, radio.periodic_tau);
    format!(
        "%XMONITOR: {stat},\"{name}\",\"{name}\",\"{plmn}\",\"{tracking_area:04X}\",{access_technology},{band},\"{cell:08X}\",{measured},\"\",{timers}"
    )
}

/// An unsolicited `%CESQ`: RSRP first, each with the index of its range.
pub(super) fn signal_report(radio: &Radio) -> String {
    let range = |value: u8, bounds: [u8; 4]| bounds.iter().filter(|bound| value >= **bound).count();
    match &radio.signal {
        Some(signal) => format!(
            "%CESQ: {},{},{},{}",
            signal.rsrp,
            range(signal.rsrp, [20, 40, 60, 80]),
            signal.rsrq,
            range(signal.rsrq, [7, 14, 21, 28])
        ),
        None => "%CESQ: 255,255,255,255".to_owned(),
    }
}

/// The answer of `AT+CESQ`: RSRQ first.
pub(super) fn signal_answer(radio: &Radio) -> String {
    let (rsrq, rsrp) = radio.signal.as_ref().map_or((255, 255), |signal| (signal.rsrq, signal.rsrp));
    format!("+CESQ: 99,99,255,255,{rsrq},{rsrp}")
}

/// `%XICCID`: twenty characters.
pub(super) fn iccid(profile: &ModemProfile) -> String {
    format!("%XICCID: {:F<20}", profile.iccid)
}

/// `%XTIME` for `unix_seconds`: pairs of decimal digits with the low one first. The sign of the zone is bit 3 of its
/// octet.
pub(super) fn network_time(unix_seconds: u64, quarter_hours: i8) -> Option<String> {
    let second = i64::try_from(unix_seconds).ok()?;
    let time = jiff::Timestamp::from_second(second).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    let two_digits = |number: i8| {
        let number = number.unsigned_abs() % 100;
        format!("{}{}", number % 10, number / 10)
    };
    let year = i8::try_from(time.year().rem_euclid(100)).ok()?;
    let civil: String = [year, time.month(), time.day(), time.hour(), time.minute(), time.second()]
        .into_iter()
        .map(two_digits)
        .collect();
    let quarters = quarter_hours.unsigned_abs();
    let sign = if quarter_hours < 0 { 8 } else { 0 };
    let zone = format!("{}{:X}", quarters % 10, (quarters / 10) | sign);
    Some(format!("%XTIME: \"{zone}\",\"{civil}{zone}\",\"01\""))
}

/// `+CCLK` for `unix_seconds`: civil time, local or universal, with the zone behind it.
pub(super) fn clock(unix_seconds: u64, quarter_hours: i8, local: bool) -> Option<String> {
    let shift = if local { i64::from(quarter_hours) * 900 } else { 0 };
    let time = jiff::Timestamp::from_second(i64::try_from(unix_seconds).ok()?.checked_add(shift)?).ok()?;
    Some(format!("+CCLK: \"{}{quarter_hours:+03}\"", time.strftime("%y/%m/%d,%H:%M:%S")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modem::radio::SignalIndices;

    fn registered() -> Radio {
        Radio {
            registration: Registration::Registered,
            signal: Some(SignalIndices { rsrp: 53, rsrq: 17, snr: 22 }),
            ..Radio::default()
        }
    }

    #[test]
    fn lines_recorded_from_a_real_modem_come_out_the_same() {
        let profile = ModemProfile::serial_modem();
        let radio = registered();
        assert_eq!(
            monitor(&radio, &profile.network),
            "%XMONITOR: 5,\"Telia N@\",\"Telia N@\",\"24202\",\"0901\",7,20,\"02024720\",428,6300,53,22,\"\",\"11100000\",\"11100000\",\"01001001\""
        );
        assert_eq!(
            registration(5, &radio, &profile.network),
            "5,\"0901\",\"02024720\",7,,,\"11100000\",\"11100000\""
        );
        let searching = Radio { registration: Registration::Searching, ..registered() };
        assert_eq!(registration(5, &searching, &profile.network), "2,\"0901\",\"02024720\",7");
        assert_eq!(registration(1, &radio, &profile.network), "5");
        assert_eq!(iccid(&profile), "%XICCID: 8901234567012345678F");
        assert_eq!(network_time(1_665_058_975, 8).unwrap(), "%XTIME: \"80\",\"22016021225580\",\"01\"");
    }

    #[test]
    fn a_negative_zone_carries_its_sign_bit() {
        assert!(network_time(0, -20).unwrap().starts_with("%XTIME: \"0A\","));
        assert_eq!(clock(1_665_058_975, 8, false).unwrap(), "+CCLK: \"22/10/06,12:22:55+08\"");
        assert_eq!(clock(1_665_058_975, 8, true).unwrap(), "+CCLK: \"22/10/06,14:22:55+08\"");
        assert_eq!(clock(1_665_058_975, -20, true).unwrap(), "+CCLK: \"22/10/06,07:22:55-20\"");
    }

    #[test]
    fn signal_lines_have_opposite_orders() {
        let mut radio = registered();
        radio.signal = Some(SignalIndices { rsrp: 64, rsrq: 17, snr: 30 });
        assert_eq!(signal_report(&radio), "%CESQ: 64,3,17,2");
        assert_eq!(signal_answer(&radio), "+CESQ: 99,99,255,255,17,64");
        radio.signal = None;
        assert_eq!(signal_report(&radio), "%CESQ: 255,255,255,255");
        assert!(monitor(&radio, &ModemProfile::serial_modem().network).contains("\"02024720\",,,,,\"\""));
    }
}
