//! What passes with a word of warning, and the limits beyond which nothing passes.

use core::fmt::Write as _;

use super::*;

const GOLIOTH: &str = "[golioth]\npsk_id = \"a@p\"\npsk_file = \"/s/good\"\n";

fn warnings(text: &str) -> Vec<String> {
    lines(&taken(&[("f.toml", &format!("gateway.serial = \"gw\"\n{text}"))]).warnings)
}

#[test]
fn a_gateway_without_a_destination_is_warned_of() {
    assert_eq!(
        warnings(""),
        ["f.toml: No destination is configured: readings stay on this gateway until the queue is full. \
          Add [golioth] or [[mqtt]]."]
    );
    assert!(warnings(GOLIOTH).is_empty());
}

#[test]
fn what_is_probably_not_meant_is_warned_of_at_its_line() {
    let bus = "[[bus]]\nname = \"field\"\nkind = \"modbus-rtu\"\nport = \"/dev/a\"\n";
    let slave = format!("{bus}[[bus.slave]]\nname = \"pump\"\nunit = 1\n");
    let point = "[[bus.slave.point]]\nstream = \"x\"\ntable = \"holding\"\nregister = 0\ntype = \"uint16\"\n";
    for (text, expected) in [
        (
            "[http]\nlisten = \"off\"\n[[http.puller]]\nname = \"cloud\"\ntoken_file = \"/s/good\"\n"
                .to_owned(),
            "f.toml:7: http.puller: The page is off, so nobody can pull anything. \
             Set http.listen or remove [[http.puller]].",
        ),
        (
            "[modem]\nport = \"/dev/ttyUSB0\"\n".to_owned(),
            "f.toml:6: modem.port: \"/dev/ttyUSB0\" may name another device after a restart. \
             Use its name below /dev/serial/by-id or /dev/serial/by-path.",
        ),
        (bus.to_owned(), "f.toml:6: bus.name: This bus has no slaves. Add [[bus.slave]] or remove the bus."),
        (
            slave.clone(),
            "f.toml:10: bus.slave.name: This slave has no points. \
             Add [[bus.slave.point]] or remove the slave.",
        ),
        (
            format!("{slave}period = \"50ms\"\n{point}").replace("port = ", "baud = 1200\nport = "),
            "f.toml:6: bus.name: The polls need 366 % of this bus's time at 1200 baud, even if every slave \
             answers at once: periods will not be kept. \
             Lengthen the slaves' period, raise baud, or place points in adjacent registers.",
        ),
        (
            format!("{slave}{}", point.replace("= 0", "= 40010")),
            "f.toml:15: bus.slave.point.register: 40010 looks like a number from a manual that counts from \
             40001. If it is, write register = 9.",
        ),
        (
            "[[mqtt]]\nname = \"m\"\nbroker = \"mqtt://b\"\nusername = \"u\"\npassword_file = \"/s/good\"\n"
                .to_owned(),
            "f.toml:7: mqtt.broker: The password crosses the network in clear text. \
             Use mqtts:// if the broker offers it.",
        ),
        (
            "[[mqtt]]\nname = \"m\"\nbroker = \"mqtt://b\"\ntopic = \"$aws/x\"\n".to_owned(),
            "f.toml:8: mqtt.topic: Topics that begin with $ are the broker's own; many brokers drop what \
             others publish there. Begin with another letter unless the broker's documentation names this topic.",
        ),
    ] {
        assert_eq!(warnings(&format!("{GOLIOTH}{text}")), [expected], "{text}");
    }
}

#[test]
fn limits_hold() {
    let mut buses = String::new();
    for at in 0..33 {
        let _ = write!(buses, "[[bus]]\nname = \"b{at}\"\nkind = \"modbus-rtu\"\nport = \"/dev/{at}\"\n");
    }
    let mut mqtt = String::new();
    for at in 0..8 {
        let _ = write!(mqtt, "[[mqtt]]\nname = \"m{at}\"\nbroker = \"mqtt://h{at}\"\n");
    }
    let mut points = "[[bus]]\nname = \"b\"\nkind = \"modbus-rtu\"\nport = \"/dev/a\"\n".to_owned();
    points.push_str("[[bus.slave]]\nname = \"s\"\nunit = 1\n");
    for at in 0..4097 {
        let _ =
            write!(points, "[[bus.slave.point]]\nstream = \"p{at}\"\ntable = \"coil\"\nregister = {at}\n");
    }
    let components = "[[firmware.component]]\n".repeat(33);
    let components: String =
        components.lines().enumerate().map(|(at, line)| format!("{line}\npackage = \"p{at}\"\n")).collect();
    let hosts = format!("[http]\nhosts = [{}]\n", "\"a\",".repeat(33));
    for (text, expected) in [
        (buses, "f.toml:130: bus: 33 buses are too many. Configure at most 32."),
        (
            format!("{GOLIOTH}{mqtt}"),
            "f.toml:5: mqtt: 9 destinations are too many. Configure at most 8, Golioth included.",
        ),
        (
            points,
            "f.toml:16394: bus.slave.point.stream: this is point 4097 of the gateway. Configure at most 4096.",
        ),
        (components, "f.toml:2: firmware.component: 33 components are too many. Configure at most 32."),
        (hosts, "f.toml:3: http.hosts: 33 names are too many. Use at most 32."),
    ] {
        let text = format!("gateway.serial = \"gw\"\n{text}");
        assert_eq!(refused(&[("f.toml", &text)]), [expected]);
    }
}

#[test]
fn a_commit_that_would_fill_the_queue_is_refused() {
    let mut text =
        "gateway.serial = \"gw\"\n[store]\nqueue_max = \"8MiB\"\ncommit_window = \"60s\"\n".to_owned();
    text.push_str("[[bus]]\nname = \"b\"\nkind = \"modbus-rtu\"\nport = \"/dev/a\"\n");
    text.push_str("[[bus.slave]]\nname = \"s\"\nunit = 1\nperiod = \"50ms\"\n");
    for at in 0..100 {
        let _ = write!(text, "[[bus.slave.point]]\nstream = \"p{at}\"\ntable = \"coil\"\nregister = {at}\n");
    }
    assert_eq!(
        refused(&[("f.toml", &text)]),
        [
            "f.toml:4: store.commit_window: 120000 readings in one commit are more than a quarter of the queue. \
          Shorten commit_window, raise store.queue_max or poll less often."
        ]
    );
}
