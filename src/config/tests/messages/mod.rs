//! Every kind of refusal with its complete message, as tables of (the text before, the text that is wrong, the
//! messages).

mod buses;
mod clouds;
mod sections;

use super::refused;

const GATEWAY: &str = r#"gateway.serial = "gw"
"#;
const MQTT: &str = r#"gateway.serial = "gw"
[[mqtt]]
name = "m"
broker = "mqtt://b"
"#;
const GOLIOTH: &str = r#"gateway.serial = "gw"
[golioth]
psk_id = "a@p"
psk_file = "/s/good"
"#;
const BUS: &str = r#"gateway.serial = "gw"
[[bus]]
name = "field"
kind = "modbus-rtu"
port = "/dev/a"
"#;
const SLAVE: &str = r#"gateway.serial = "gw"
[[bus]]
name = "field"
kind = "modbus-rtu"
port = "/dev/a"
[[bus.slave]]
name = "pump"
unit = 1
"#;
const POINT: &str = r#"gateway.serial = "gw"
[[bus]]
name = "field"
kind = "modbus-rtu"
port = "/dev/a"
[[bus.slave]]
name = "pump"
unit = 1
[[bus.slave.point]]
stream = "x"
table = "holding"
register = 0
type = "uint16"
"#;

type Case = (&'static str, &'static str, &'static [&'static str]);

fn assert_refused(cases: &[Case]) {
    for (before, text, messages) in cases {
        assert_eq!(refused(&[("f.toml", &format!("{before}{text}"))]), *messages, "{before}{text}");
    }
}
