//! Access technology and operator (`+COPS`).

use std::fmt;

use crate::fields::{DecodeError, Fields, Tail, Value};

/// Access technology, the `<AcT>` of 3GPP TS 27.007.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessTechnology {
    /// LTE-M, 7.
    LteM,
    /// NB-IoT, 9.
    NbIot,
}

impl AccessTechnology {
    pub(crate) fn decode(text: &str) -> Option<Self> {
        match text {
            "7" => Some(Self::LteM),
            "9" => Some(Self::NbIot),
            _ => None,
        }
    }
}

impl fmt::Display for AccessTechnology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LteM => "LTE-M",
            Self::NbIot => "NB-IoT",
        })
    }
}

/// Name of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorName {
    /// Country and network code, 5 or 6 digits: the length is significant, so it stays text.
    Plmn(String),
    /// A name in words.
    Name(String),
}

/// `+COPS: <mode>[,<format>,"<oper>"[,<AcT>]]`, the answer of `AT+COPS?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// 0 automatic, 1 manual, 2 deregister.
    pub mode: u8,
    /// The operator, while registered.
    pub name: Option<OperatorName>,
    /// The access technology, while registered.
    pub access_technology: Value<AccessTechnology>,
    /// Fields beyond these.
    pub tail: Tail,
}

impl Operator {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or no mode.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "+COPS")?;
        let mode = fields.number(0, "mode")?;
        let name = fields.string(2).map(|text| match fields.get(1).map(|field| field.text) {
            Some("2") => OperatorName::Plmn(text),
            _ => OperatorName::Name(text),
        });
        Ok(Self {
            mode,
            name,
            access_technology: Value::read(fields.get(3), AccessTechnology::decode),
            tail: fields.tail(4),
        })
    }
}

/// One operator of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedOperator {
    /// 1 available, 2 current, 3 forbidden; others as they come.
    pub status: u8,
    /// Country and network code.
    pub plmn: String,
    /// The access technology.
    pub access_technology: Value<AccessTechnology>,
}

/// `+COPS: (<stat>,"","","<plmn>",<AcT>),...`, the answer of `AT+COPS=?`. An empty list means nothing was found; groups
/// of another shape (the lists of supported modes) are skipped.
///
/// # Errors
/// Another line.
pub fn parse_scan(line: &str) -> Result<Vec<ScannedOperator>, DecodeError> {
    let fields = Fields::of(line, "+COPS")?;
    Ok(fields.from(0).iter().filter_map(|group| scanned(group.text)).collect())
}

fn scanned(group: &str) -> Option<ScannedOperator> {
    let inner = group.strip_prefix('(')?.strip_suffix(')')?;
    let line = format!("+COPS: {inner}");
    let fields = Fields::of(&line, "+COPS").ok()?;
    Some(ScannedOperator {
        status: fields.number(0, "stat").ok()?,
        plmn: fields.string(3)?,
        access_technology: Value::read(fields.get(4), AccessTechnology::decode),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_keeps_the_length_of_its_code() {
        let operator = Operator::parse("+COPS: 0,2,\"26201\",7").unwrap();
        assert_eq!(operator.mode, 0);
        assert_eq!(operator.name, Some(OperatorName::Plmn("26201".to_owned())));
        assert_eq!(operator.access_technology, Value::Known(AccessTechnology::LteM));
        assert_eq!(
            Operator::parse("+COPS: 0,2,\"026201\",9").unwrap().name,
            Some(OperatorName::Plmn("026201".to_owned()))
        );
    }

    #[test]
    fn no_operator_while_not_registered() {
        let operator = Operator::parse("+COPS: 0").unwrap();
        assert_eq!((operator.name, operator.access_technology), (None, Value::Absent));
    }

    #[test]
    fn an_unknown_access_technology_is_kept_as_text() {
        let operator = Operator::parse("+COPS: 0,0,\"Sky\",14").unwrap();
        assert_eq!(operator.name, Some(OperatorName::Name("Sky".to_owned())));
        assert_eq!(operator.access_technology, Value::Text("14".to_owned()));
    }

    #[test]
    fn a_scan_lists_operators_or_none() {
        let found = parse_scan("+COPS: (2,\"\",\"\",\"26201\",7),(1,\"\",\"\",\"26202\",7)").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].status, found[0].plmn.as_str()), (2, "26201"));
        assert_eq!((found[1].status, found[1].plmn.as_str()), (1, "26202"));
        assert_eq!(parse_scan("+COPS: ").unwrap(), []);
        assert_eq!(parse_scan("+COPS: (2,\"\",\"\",\"26201\",7),,(0,1,2),(0-2)").unwrap().len(), 1);
    }
}
