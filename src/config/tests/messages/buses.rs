//! Ports, buses, slaves and points.

use super::{BUS, GATEWAY, POINT, SLAVE, assert_refused};

#[test]
fn ports_buses_and_slaves_that_cannot_work_are_refused() {
    assert_refused(&[
        (
            GATEWAY,
            "[modem]",
            &[
                r#"f.toml:2: modem.port: this key is required. Write port = "/dev/serial/by-id/usb-FTDI_FT232R_A1-if00-port0", for example."#,
            ],
        ),
        (
            GATEWAY,
            r#"[modem]
port = "ttyS0""#,
            &[
                r#"f.toml:3: modem.port: "ttyS0" is not an absolute path. Write the whole path, such as "/dev/serial/by-id/usb-FTDI_FT232R_A1-if00-port0"."#,
            ],
        ),
        (
            GATEWAY,
            r#"[modem]
port = "/dev/m"
baud = 12345"#,
            &[
                "f.toml:4: modem.baud: 12345 is not a rate serial ports know. Use one of 300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600, 1000000.",
            ],
        ),
        (
            GATEWAY,
            r#"[modem]
port = "/dev/m"
baud = 1"#,
            &["f.toml:4: modem.baud: 1 is not a baud rate. Use 300 to 1000000."],
        ),
        (
            GATEWAY,
            r#"[modem]
port = "/dev/a"
[[bus]]
name = "f"
kind = "modbus-rtu"
port = "/dev/a""#,
            &[
                r#"f.toml:7: bus.port: "/dev/a" is already taken at f.toml:3. A serial port serves one bus or one modem: name another port."#,
            ],
        ),
        (
            BUS,
            r#"[[bus]]
name = "field"
kind = "modbus-rtu"
port = "/dev/b""#,
            &[r#"f.toml:7: bus.name: "field" is already taken at f.toml:3. Give each bus its own name."#],
        ),
        (
            GATEWAY,
            r#"[[bus]]
name = "a b"
port = "/dev/a""#,
            &[
                r#"f.toml:2: bus.kind: this key is required. Write kind = "modbus-rtu", for example."#,
                r#"f.toml:3: bus.name: "a b" is not a name. Use 1 to 64 letters, digits, _ and -, beginning with a letter or a digit."#,
            ],
        ),
        (
            GATEWAY,
            r#"[[bus]]
name = "a"
kind = "modbus"
port = "/dev/a""#,
            &[r#"f.toml:4: bus.kind: "modbus" is not a kind of bus. Use "modbus-rtu"."#],
        ),
        (
            BUS,
            r#"parity = "evn""#,
            &[
                r#"f.toml:6: bus.parity: "evn" is not a parity. Did you mean "even"? Use "none", "even" or "odd"."#,
            ],
        ),
        (BUS, "stop_bits = 3", &["f.toml:6: bus.stop_bits: 3 is not a number of stop bits. Use 1 to 2."]),
        (
            BUS,
            r#"timeout = "1ms""#,
            &[r#"f.toml:6: bus.timeout: "1ms" is out of range. Use "10ms" to "10s"."#],
        ),
        (
            BUS,
            r#"[[bus.slave]]
name = "pump"
unit = 300"#,
            &["f.toml:8: bus.slave.unit: 300 is not a Modbus unit. Use 1 to 247."],
        ),
        (
            BUS,
            r#"[[bus.slave]]
name = "modem"
unit = 1"#,
            &[
                r#"f.toml:7: bus.slave.name: "modem" is the name of the gateway's own streams. Choose another name."#,
            ],
        ),
        (
            BUS,
            "[[bus.slave]]",
            &[
                r#"f.toml:6: bus.slave.name: this key is required. Write name = "boiler", for example."#,
                "f.toml:6: bus.slave.unit: this key is required. Write unit = 1, for example.",
            ],
        ),
        (
            SLAVE,
            r#"[[bus.slave]]
name = "pump"
unit = 2"#,
            &[
                r#"f.toml:10: bus.slave.name: "pump" is already taken at f.toml:7. Give each slave of the gateway its own name: its streams are named after it."#,
            ],
        ),
        (
            SLAVE,
            r#"[[bus.slave]]
name = "fan"
unit = 1"#,
            &[
                r#"f.toml:11: bus.slave.unit: "unit 1" is already taken at f.toml:8. Give each slave of a bus its own unit."#,
            ],
        ),
        (
            SLAVE,
            r#"device = "a#""#,
            &[
                r#"f.toml:9: bus.slave.device: "a#" is not a device name. Use the device's name in the registry: at most 128 bytes, without / + # and without spaces at its ends."#,
            ],
        ),
        (
            SLAVE,
            r#"period = "10ms""#,
            &[r#"f.toml:9: bus.slave.period: "10ms" is out of range. Use "50ms" to "24h"."#],
        ),
    ]);
}

#[test]
fn points_that_cannot_be_read_or_told_apart_are_refused() {
    assert_refused(&[
        (
            SLAVE,
            "[[bus.slave.point]]",
            &[
                r#"f.toml:9: bus.slave.point.stream: this key is required. Write stream = "temperature", for example."#,
                r#"f.toml:9: bus.slave.point.table: this key is required. Write table = "holding", for example."#,
                "f.toml:9: bus.slave.point.register: this key is required. Write register = 0, for example.",
            ],
        ),
        (
            SLAVE,
            r#"[[bus.slave.point]]
stream = "x"
table = "hold"
register = 0
type = "uint16""#,
            &[
                r#"f.toml:11: bus.slave.point.table: "hold" is not a Modbus table. Use "input", "holding", "coil" or "discrete"."#,
            ],
        ),
        (
            SLAVE,
            r#"[[bus.slave.point]]
stream = "x"
table = "holding"
register = 0"#,
            &[r#"f.toml:9: bus.slave.point.type: this key is required. Write type = "uint16", for example."#],
        ),
        (
            SLAVE,
            r#"[[bus.slave.point]]
stream = "x"
table = "holding"
register = 0
type = "bool""#,
            &[
                r#"f.toml:13: bus.slave.point.type: registers hold numbers, not a bit. Use table = "coil" or "discrete", or a type such as "uint16"."#,
            ],
        ),
        (
            SLAVE,
            r#"[[bus.slave.point]]
stream = "x"
table = "coil"
register = 0
type = "uint16""#,
            &[
                r#"f.toml:13: bus.slave.point.type: coils and discrete inputs hold bits. Write type = "bool" or leave it out."#,
            ],
        ),
        (
            SLAVE,
            r#"[[bus.slave.point]]
stream = "x"
table = "coil"
register = 0
scale = 2"#,
            &["f.toml:13: bus.slave.point.scale: a bit has no such thing. Remove scale."],
        ),
        (
            SLAVE,
            r#"[[bus.slave.point]]
stream = "x"
table = "holding"
register = 70000
type = "uint16""#,
            &["f.toml:12: bus.slave.point.register: 70000 is not an address counted from 0. Use 0 to 65535."],
        ),
        (
            SLAVE,
            r#"[[bus.slave.point]]
stream = "x"
table = "holding"
register = 65535
type = "uint32""#,
            &[
                "f.toml:12: bus.slave.point.register: a value of 2 registers does not fit at 65535. Use 0 to 65534.",
            ],
        ),
        (
            SLAVE,
            r#"[[bus.slave.point]]
stream = "x"
table = "holding"
register = -1
type = "uint16""#,
            &["f.toml:12: bus.slave.point.register: -1 is not an address counted from 0. Use 0 to 65535."],
        ),
        (
            POINT,
            r#"order = "word""#,
            &[
                r#"f.toml:14: bus.slave.point.order: "word" is not a byte order. Use "abcd", "cdab", "badc" or "dcba"."#,
            ],
        ),
        (
            POINT,
            "scale = 0",
            &[
                "f.toml:14: bus.slave.point.scale: 0 makes every value the same. Write scale = 0.1, for example.",
            ],
        ),
        (
            POINT,
            "scale = nan",
            &[
                "f.toml:14: bus.slave.point.scale: NaN is not a finite number. Write scale = 0.1, for example.",
            ],
        ),
        (
            POINT,
            r#"scale = "2""#,
            &[r#"f.toml:14: bus.slave.point.scale: "2" is not a number. Write scale = 0.1, for example."#],
        ),
        (
            POINT,
            r#"unit = "°C""#,
            &[
                r#"f.toml:14: bus.slave.point.unit: "°C" is not a UCUM unit. UCUM is written in ASCII without spaces: Cel for °C, % for percent, kPa, m3/h."#,
            ],
        ),
        (
            POINT,
            "resolution = 0",
            &["f.toml:14: bus.slave.point.resolution: 0 is not a step. Write resolution = 0.1, for example."],
        ),
        (
            POINT,
            "sentinel = [65536]",
            &["f.toml:14: bus.slave.point.sentinel: 65536 is not a raw value of this type. Use 0 to 65535."],
        ),
        (
            POINT,
            "sentinel = [1.5]",
            &[
                "f.toml:14: bus.slave.point.sentinel: 1.5 is not a whole number. Write sentinel = [65535], for example.",
            ],
        ),
        (
            POINT,
            "sentinel = 5",
            &["f.toml:14: bus.slave.point.sentinel: 5 is not a list. Write sentinel = [65535], for example."],
        ),
        (
            POINT,
            r#"class = "alarms""#,
            &[
                r#"f.toml:14: bus.slave.point.class: "alarms" is not a class. Did you mean "alarm"? Use "telemetry", "alarm", "event", "state" or "diagnostics"."#,
            ],
        ),
        (
            POINT,
            "class = \"alarm\"\ncoalesce = \"latest\"",
            &[
                "f.toml:15: bus.slave.point.coalesce: each alarm counts. Remove coalesce, or give the point another class.",
            ],
        ),
        (
            POINT,
            "class = \"event\"\nthin_band = 0.5",
            &["f.toml:15: bus.slave.point.thin_band: event is never thinned. Remove thin_band."],
        ),
        (
            POINT,
            "thin_band = -0.5",
            &[
                "f.toml:14: bus.slave.point.thin_band: -0.5 is not a distance. Write thin_band = 0.5, for example.",
            ],
        ),
        (
            POINT,
            r#"coalesce = "newest""#,
            &[r#"f.toml:14: bus.slave.point.coalesce: "newest" is not a way to coalesce. Use "latest"."#],
        ),
        (
            POINT,
            r#"alias = "t""#,
            &[
                r#"f.toml:14: bus.slave.point.alias: "t" has a meaning of its own in the message. Use a name that is not one of b e ep loss ls m o pe q s t time timestamp ts u."#,
            ],
        ),
        (
            POINT,
            r#"alias = "a.b""#,
            &[
                r#"f.toml:14: bus.slave.point.alias: "a.b" is not an alias. Use 1 to 32 letters, digits, _ and -, beginning with a letter or a digit."#,
            ],
        ),
        (
            POINT,
            "min = 5
max = 5.0",
            &["f.toml:15: bus.slave.point.max: 5 is not above min = 5. Write the higher bound as max."],
        ),
        (
            POINT,
            r#"route = ["golioth"]"#,
            &[
                r#"f.toml:14: bus.slave.point.route: "golioth" is not a destination. There is none: configure [golioth] or [[mqtt]]."#,
            ],
        ),
        (
            POINT,
            "route = []",
            &[
                "f.toml:14: bus.slave.point.route: this list is empty. Name a destination, or leave route out for all.",
            ],
        ),
        (
            POINT,
            r#"route = ["goliath"]
[golioth]
psk_id = "a@p"
psk_file = "/s/good""#,
            &[
                r#"f.toml:14: bus.slave.point.route: "goliath" is not a destination. Did you mean "golioth"? Destinations are: golioth."#,
            ],
        ),
        (
            POINT,
            r#"route = ["golioth", "golioth"]
[golioth]
psk_id = "a@p"
psk_file = "/s/good""#,
            &[r#"f.toml:14: bus.slave.point.route: "golioth" is named twice. Destinations are: golioth."#],
        ),
        (
            POINT,
            r#"[[bus.slave.point]]
stream = "x"
table = "input"
register = 0
type = "int16""#,
            &[
                r#"f.toml:15: bus.slave.point.stream: "pump.x" is already taken at f.toml:10. Give each stream of a slave its own name."#,
            ],
        ),
        (
            POINT,
            r#"[[bus.slave.point]]
stream = "y"
alias = "pump_x"
table = "input"
register = 0
type = "int16""#,
            &[
                r#"f.toml:16: bus.slave.point.alias: "pump_x" is already taken at f.toml:10. Give each stream its own alias."#,
            ],
        ),
        (
            BUS,
            r#"[[bus.slave]]
name = "p"
unit = 1
[[bus.slave.point]]
stream = "a_b"
table = "holding"
register = 0
type = "uint16"
[[bus.slave]]
name = "p_a"
unit = 2
[[bus.slave.point]]
stream = "b"
table = "coil"
register = 0"#,
            &[
                r#"f.toml:18: bus.slave.point.alias: "p_a_b" is already taken at f.toml:10. Write another alias: this one was made from the stream's name."#,
            ],
        ),
    ]);
}
