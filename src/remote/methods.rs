//! The methods that can be called, as a table, and the check of a call against it. Pure.

use serde_json::Value;

/// How a call ended, in gRPC's codes.
pub(super) mod code {
    pub(in crate::remote) const OK: u8 = 0;
    pub(in crate::remote) const INVALID_ARGUMENT: u8 = 3;
    /// Also for a method that does not exist, as Golioth's own SDK answers it.
    pub(in crate::remote) const NOT_FOUND: u8 = 5;
    pub(in crate::remote) const FAILED_PRECONDITION: u8 = 9;
    pub(in crate::remote) const ABORTED: u8 = 10;
    pub(in crate::remote) const UNAVAILABLE: u8 = 14;
}

/// One method.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    /// Those that need not be given are last.
    params: &'static [Param],
    /// What it is called in the audit; `None`: it changes nothing, and whoever may call at all may call it.
    pub(super) audited: Option<&'static str>,
    make: fn(&[Value]) -> Asked,
}

#[derive(Debug)]
struct Param {
    name: &'static str,
    kind: Kind,
    required: bool,
}

#[derive(Debug)]
enum Kind {
    /// So many bytes at most.
    Text(usize),
    Number(i64, i64),
    Flag,
    OneOf(&'static [&'static str]),
}

/// A call that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Reboot,
    Restart,
    Status,
    /// A page after a cursor, or after what was acknowledged; whether what is before the cursor is acknowledged.
    FirmwareLog {
        cursor: Option<String>,
        acknowledge: bool,
    },
    LogLevel {
        level: String,
        minutes: u32,
    },
    ModemAt {
        command: String,
    },
    Flush,
    NetworkInfo,
}

/// The levels that a log can be lifted to.
pub(super) const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];
/// For how long, if nothing is said, minutes.
const LIFTED_MINUTES: i64 = 15;

/// Costs are those of the answer, some 100 to 200 bytes on the wire, where nothing else is said.
const METHODS: [Method; 8] = [
    // The machine reboots: minutes without readings, and a handshake.
    Method { name: "reboot", params: &[], audited: Some("call.reboot"), make: |_| Asked::Reboot },
    // A second or two without readings.
    Method { name: "restart", params: &[], audited: Some("call.restart"), make: |_| Asked::Restart },
    // Up to 1 kB.
    Method { name: "get_status", params: &[], audited: None, make: |_| Asked::Status },
    // Up to 1 kB a page.
    Method {
        name: "get_firmware_log",
        params: &[
            Param { name: "cursor", kind: Kind::Text(100), required: false },
            Param { name: "acknowledge", kind: Kind::Flag, required: false },
        ],
        audited: None,
        make: |params| Asked::FirmwareLog {
            cursor: text(params, 0).filter(|text| !text.is_empty()),
            acknowledge: params.get(1).and_then(Value::as_bool).unwrap_or(false),
        },
    },
    // Its lines: at `debug` some kilobytes a minute, as far as the data plan has room for diagnostics.
    Method {
        name: "set_log_level",
        params: &[
            Param { name: "level", kind: Kind::OneOf(&LEVELS), required: true },
            Param { name: "minutes", kind: Kind::Number(1, 240), required: false },
        ],
        audited: Some("call.set_log_level"),
        make: |params| Asked::LogLevel {
            level: text(params, 0).unwrap_or_default(),
            minutes: number(params, 1).unwrap_or(LIFTED_MINUTES).try_into().unwrap_or(1),
        },
    },
    // Up to 1 kB.
    Method {
        name: "modem_at",
        params: &[Param { name: "command", kind: Kind::Text(64), required: true }],
        audited: Some("call.modem_at"),
        make: |params| Asked::ModemAt { command: text(params, 0).unwrap_or_default() },
    },
    // Messages that are not full.
    Method { name: "flush", params: &[], audited: None, make: |_| Asked::Flush },
    Method { name: "get_network_info", params: &[], audited: None, make: |_| Asked::NetworkInfo },
];

fn text(params: &[Value], at: usize) -> Option<String> {
    params.get(at).and_then(Value::as_str).map(str::to_owned)
}

fn number(params: &[Value], at: usize) -> Option<i64> {
    params.get(at).and_then(Value::as_i64)
}

/// What a call asks for, if it is in order.
///
/// # Errors
/// A status code, and why in words.
pub(super) fn check(name: &str, params: &[Value]) -> Result<(&'static Method, Asked), (u8, String)> {
    static TABLE: [Method; 8] = METHODS;
    let Some(method) = TABLE.iter().find(|method| method.name == name) else {
        let names: Vec<&str> = TABLE.iter().map(|method| method.name).collect();
        return Err((code::NOT_FOUND, format!("no such method; there are {}", names.join(", "))));
    };
    let wrong = |why: String| Err((code::INVALID_ARGUMENT, why));
    if params.len() > method.params.len() {
        return wrong(format!("{name} takes at most {} parameters", method.params.len()));
    }
    for (n, param) in method.params.iter().enumerate() {
        match params.get(n) {
            None | Some(Value::Null) if !param.required => {}
            None | Some(Value::Null) => {
                return wrong(format!("{name} needs {}: {}", param.name, param.kind.words()));
            }
            Some(value) if param.kind.takes(value) => {}
            Some(_) => return wrong(format!("{} is {}", param.name, param.kind.words())),
        }
    }
    Ok((method, (method.make)(params)))
}

impl Kind {
    fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Text(most) => value
                .as_str()
                .is_some_and(|text| text.len() <= *most && text.bytes().all(|b| (b' '..=b'~').contains(&b))),
            Self::Number(from, to) => value.as_i64().is_some_and(|number| (*from..=*to).contains(&number)),
            Self::Flag => value.is_boolean(),
            Self::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Text(most) => format!("a text of at most {most} printable ASCII characters"),
            Self::Number(from, to) => format!("a whole number from {from} to {to}"),
            Self::Flag => "true or false".into(),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(name: &str, params: &Value) -> Result<Asked, u8> {
        check(name, params.as_array().unwrap()).map(|(_, asked)| asked).map_err(|(code, _)| code)
    }

    #[test]
    fn a_call_in_order_is_what_it_says() {
        assert_eq!(asked("reboot", &json!([])), Ok(Asked::Reboot));
        let level = |minutes| Ok(Asked::LogLevel { level: "debug".into(), minutes });
        assert_eq!(asked("set_log_level", &json!(["debug", 5])), level(5));
        assert_eq!(asked("set_log_level", &json!(["debug"])), level(15));
        let page = |cursor: Option<&str>, acknowledge| {
            Ok(Asked::FirmwareLog { cursor: cursor.map(str::to_owned), acknowledge })
        };
        assert_eq!(asked("get_firmware_log", &json!([])), page(None, false));
        assert_eq!(asked("get_firmware_log", &json!(["", true])), page(None, true));
        assert_eq!(asked("get_firmware_log", &json!(["01ab", true])), page(Some("01ab"), true));
    }

    #[test]
    fn an_unknown_method_and_wrong_parameters_have_codes_of_their_own() {
        assert_eq!(asked("format_disk", &json!([])), Err(5));
        for (name, params) in [
            ("reboot", json!([1])),
            ("set_log_level", json!([])),
            ("set_log_level", json!(["loud"])),
            ("set_log_level", json!(["debug", 0])),
            ("set_log_level", json!(["debug", 241])),
            ("set_log_level", json!(["debug", 5.0])),
            ("set_log_level", json!(["debug", {}])),
            ("modem_at", json!([])),
            ("modem_at", json!([null])),
            ("modem_at", json!(["AT+CEREG?\r\nAT"])),
            ("get_firmware_log", json!(["x".repeat(101)])),
            ("get_firmware_log", json!(["", "yes"])),
        ] {
            assert_eq!(asked(name, &params), Err(3), "{name} {params}");
        }
    }
}
