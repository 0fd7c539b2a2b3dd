//! Data counters (`%XCONNSTAT`) and the modem's own evaluation of the link (`%CONEVAL`).

use std::fmt;

use crate::fields::{DecodeError, Fields, Tail, Value};
use crate::registration::CellId;
use crate::signal::{Grade, Rsrp, Rsrq, Snr};

/// `%XCONNSTAT: <sms_tx>,<sms_rx>,<data_tx>,<data_rx>,<packet_max>,<packet_average>` since the counting was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStatistics {
    /// Messages sent.
    pub sms_sent: u32,
    /// Messages received.
    pub sms_received: u32,
    /// Data sent, in kilobytes as the modem counts them.
    pub sent_kb: u32,
    /// Data received, in kilobytes as the modem counts them.
    pub received_kb: u32,
    /// Largest packet, bytes.
    pub packet_max_bytes: u32,
    /// Average packet, bytes.
    pub packet_average_bytes: u32,
    /// Fields beyond these.
    pub tail: Tail,
}

impl ConnectionStatistics {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or fewer than six numbers.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "%XCONNSTAT")?;
        Ok(Self {
            sms_sent: fields.number(0, "SMS Tx")?,
            sms_received: fields.number(1, "SMS Rx")?,
            sent_kb: fields.number(2, "Data Tx")?,
            received_kb: fields.number(3, "Data Rx")?,
            packet_max_bytes: fields.number(4, "Packet max")?,
            packet_average_bytes: fields.number(5, "Packet average")?,
            tail: fields.tail(6),
        })
    }
}

/// The answer of `AT%CONEVAL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionEvaluation {
    /// Result 0.
    Evaluated(Box<Evaluation>),
    /// Results 1 to 7 and any later one: no evaluation was possible.
    Refused(EvaluationRefused),
}

/// The reason number of a refused evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvaluationRefused(pub u8);

impl EvaluationRefused {
    /// The reason in words (the vendor's link library), where it is known.
    #[must_use]
    pub fn meaning(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "no cell in reach",
            2 => "no working SIM",
            3 => "every cell in reach is barred",
            4 => "the radio is busy, for instance with satellite navigation",
            5 => "something more important came in between",
            6 => "not registered with a network",
            7 => "for an unknown reason",
            _ => return None,
        })
    }
}

/// What a transfer costs in energy, compared with the usual. The vendor calls it the best single indicator while the radio is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Energy {
    /// 5: connections are hard to set up, most data is repeated.
    Excessive,
    /// 6: attempts and data may be repeated.
    Increased,
    /// 7: little is repeated.
    Normal,
    /// 8: good, above all for little data.
    Reduced,
    /// 9: good for much data too.
    Efficient,
}

impl Energy {
    fn decode(text: &str) -> Option<Self> {
        Some(match text {
            "5" => Self::Excessive,
            "6" => Self::Increased,
            "7" => Self::Normal,
            "8" => Self::Reduced,
            "9" => Self::Efficient,
            _ => return None,
        })
    }

    /// The same as a grade of the signal.
    #[must_use]
    pub fn grade(self) -> Grade {
        match self {
            Self::Excessive => Grade::VeryPoor,
            Self::Increased => Grade::Poor,
            Self::Normal => Grade::Fair,
            Self::Reduced => Grade::Good,
            Self::Efficient => Grade::Excellent,
        }
    }
}

impl fmt::Display for Energy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Excessive => "excessive",
            Self::Increased => "increased",
            Self::Normal => "normal",
            Self::Reduced => "reduced",
            Self::Efficient => "efficient",
        })
    }
}

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The radio was connected.
    pub connected: Value<bool>,
    /// Energy a transfer would cost.
    pub energy: Value<Energy>,
    /// Power.
    pub rsrp: Value<Rsrp>,
    /// Quality.
    pub rsrq: Value<Rsrq>,
    /// Signal to noise ratio.
    pub snr: Value<Snr>,
    /// The cell.
    pub cell: Value<CellId>,
    /// Country and network code.
    pub plmn: Option<String>,
    /// Physical cell id.
    pub physical_cell: Value<u16>,
    /// EARFCN.
    pub earfcn: Value<u32>,
    /// Band; 0 (unknown) is absent.
    pub band: Value<u16>,
    /// A transfer would bring a tracking area update with it; 255 (unknown) is absent.
    pub tau_triggered: Value<bool>,
    /// Coverage enhancement level 0 to 3; 255 (unknown) is absent.
    pub ce_level: Value<u8>,
    /// Transmit power, dBm.
    pub tx_power_dbm: Value<i16>,
    /// Transmit repetitions.
    pub tx_repetitions: Value<u16>,
    /// Receive repetitions.
    pub rx_repetitions: Value<u16>,
    /// Downlink path loss, dB.
    pub path_loss_db: Value<u16>,
    /// Fields beyond these.
    pub tail: Tail,
}

impl ConnectionEvaluation {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or no result.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "%CONEVAL")?;
        let result: u8 = fields.number(0, "result")?;
        if result != 0 {
            return Ok(Self::Refused(EvaluationRefused(result)));
        }
        // With result 0 the measurements must follow; without them there is nothing to tell.
        fields.text(3, "rsrp")?;
        Ok(Self::Evaluated(Box::new(Evaluation {
            connected: Value::read(fields.get(1), flag),
            energy: Value::read(fields.get(2), Energy::decode),
            rsrp: Rsrp::field(fields.get(3)),
            rsrq: Rsrq::field(fields.get(4)),
            snr: Snr::field(fields.get(5)),
            cell: Value::read(fields.get(6), CellId::decode),
            plmn: fields.string(7),
            physical_cell: fields.value(8),
            earfcn: fields.value(9),
            band: without(0, fields.value(10)),
            tau_triggered: match fields.get(11) {
                Some(field) if field.text == "255" => Value::Absent,
                field => Value::read(field, flag),
            },
            ce_level: without(255, fields.value(12)),
            tx_power_dbm: fields.value(13),
            tx_repetitions: fields.value(14),
            rx_repetitions: fields.value(15),
            path_loss_db: fields.value(16),
            tail: fields.tail(17),
        })))
    }
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// The modem's own mark for "not known" is absent.
fn without<T: PartialEq>(unknown: T, value: Value<T>) -> Value<T> {
    if value == Value::Known(unknown) { Value::Absent } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Value::{Absent, Known};

    #[test]
    fn counters() {
        assert_eq!(
            ConnectionStatistics::parse("%XCONNSTAT: 2,3,45,60,708,650").unwrap(),
            ConnectionStatistics {
                sms_sent: 2,
                sms_received: 3,
                sent_kb: 45,
                received_kb: 60,
                packet_max_bytes: 708,
                packet_average_bytes: 650,
                tail: Tail::default(),
            }
        );
        assert!(ConnectionStatistics::parse("%XCONNSTAT: 2,3,45,60,708").is_err());
    }

    #[test]
    fn an_evaluation_decodes_in_full() {
        let line = "%CONEVAL: 0,1,5,8,2,14,\"011B0780\",\"26295\",7,1575,3,1,1,23,16,32,130";
        let ConnectionEvaluation::Evaluated(evaluation) = ConnectionEvaluation::parse(line).unwrap() else {
            panic!("refused");
        };
        assert_eq!(
            *evaluation,
            Evaluation {
                connected: Known(true),
                energy: Known(Energy::Excessive),
                rsrp: Known(Rsrp { dbm: -132 }),
                rsrq: Known(Rsrq { half_db: -37 }),
                snr: Known(Snr { db: -10 }),
                cell: Known(CellId(0x011b_0780)),
                plmn: Some("26295".to_owned()),
                physical_cell: Known(7),
                earfcn: Known(1575),
                band: Known(3),
                tau_triggered: Known(true),
                ce_level: Known(1),
                tx_power_dbm: Known(23),
                tx_repetitions: Known(16),
                rx_repetitions: Known(32),
                path_loss_db: Known(130),
                tail: Tail::default(),
            }
        );
    }

    #[test]
    fn a_refusal_and_unknown_levels() {
        assert_eq!(
            ConnectionEvaluation::parse("%CONEVAL: 5").unwrap(),
            ConnectionEvaluation::Refused(EvaluationRefused(5))
        );
        assert_eq!(EvaluationRefused(5).meaning(), Some("something more important came in between"));
        assert_eq!(EvaluationRefused(9).meaning(), None);
        let line = "%CONEVAL: 0,0,7,255,255,127,\"011B0780\",\"26295\",7,1575,3,255,255,0,0,0,0";
        let ConnectionEvaluation::Evaluated(evaluation) = ConnectionEvaluation::parse(line).unwrap() else {
            panic!("refused");
        };
        assert_eq!((evaluation.rsrp, evaluation.rsrq, evaluation.snr), (Absent, Absent, Absent));
        assert_eq!((evaluation.tau_triggered, evaluation.ce_level), (Absent, Absent));
        assert_eq!(evaluation.energy.known().map(|energy| energy.grade()), Some(Grade::Fair));
        assert!(ConnectionEvaluation::parse("%CONEVAL: 0").is_err());
    }
}
