//! Syntax, keys, types, and the sections a gateway has once.

use super::{GATEWAY, assert_refused};

#[test]
fn what_is_not_toml_is_refused_at_its_line() {
    assert_refused(&[
        (
            GATEWAY,
            "[store",
            &[
                "f.toml:2: this is not TOML: unclosed table, expected `]`. Correct the line; the rest is checked when the file can be read.",
            ],
        ),
        (
            "",
            r#"gateway.serial = "a"#,
            &[
                r#"f.toml:1: this is not TOML: invalid basic string, expected `"`. Correct the line; the rest is checked when the file can be read."#,
            ],
        ),
        (
            "",
            "a = 1
a = 2",
            &[
                "f.toml:2: this is not TOML: duplicate key. Correct the line; the rest is checked when the file can be read.",
            ],
        ),
        (
            "",
            r#"[gateway]
serial = "x"
[gateway]"#,
            &[
                "f.toml:3: this is not TOML: duplicate key. Correct the line; the rest is checked when the file can be read.",
            ],
        ),
    ]);
}

#[test]
fn unknown_keys_wrong_types_and_impossible_values_are_refused() {
    assert_refused(&[
        (
            "",
            "",
            &[r#"f.toml: gateway.serial: this key is required. Write serial = "gw-0042", for example."#],
        ),
        (
            "",
            r#"[gateway]
name = "x""#,
            &[r#"f.toml:1: gateway.serial: this key is required. Write serial = "gw-0042", for example."#],
        ),
        (
            "",
            r#"[gateway]
serail = "x""#,
            &[
                r#"f.toml:1: gateway.serial: this key is required. Write serial = "gw-0042", for example."#,
                r#"f.toml:2: gateway.serail: this key is unknown. Did you mean "serial"? Known here: name, serial, state_dir."#,
            ],
        ),
        (
            GATEWAY,
            "[stores]",
            &[
                r#"f.toml:2: stores: this key is unknown. Did you mean "store"? Known here: gateway, store, time, uplink, log, path, http, budget, modem, golioth, mqtt, bus, firmware."#,
            ],
        ),
        (
            GATEWAY,
            "[store]
speed = 1",
            &[
                "f.toml:3: store.speed: this key is unknown. Known here: commit_window, queue_max, ballast, flash_budget_per_day, \
                 max_rows, max_bytes.",
            ],
        ),
        (
            GATEWAY,
            r#""a\nb" = 1"#,
            &[
                r#"f.toml:2: a\nb: this key is unknown. Known here: gateway, store, time, uplink, log, path, http, budget, modem, golioth, mqtt, bus, firmware."#,
            ],
        ),
        (
            "",
            "[gateway]
serial = 5",
            &[r#"f.toml:2: gateway.serial: 5 is not a text. Write serial = "gw-0042", for example."#],
        ),
        (
            "",
            r#"[gateway]
serial = """#,
            &[
                r#"f.toml:2: gateway.serial: "" is not a device name. Use the device's name in the registry: at most 128 bytes, without / + # and without spaces at its ends."#,
            ],
        ),
        (
            "",
            r#"[gateway]
serial = "a/b""#,
            &[
                r#"f.toml:2: gateway.serial: "a/b" is not a device name. Use the device's name in the registry: at most 128 bytes, without / + # and without spaces at its ends."#,
            ],
        ),
        (
            "",
            "gateway = 1",
            &["f.toml:1: gateway: 1 stands where one table is expected. Write [gateway], once."],
        ),
        (
            "",
            r#"[[gateway]]
serial = "x""#,
            &[
                "f.toml:1: gateway: a list of tables stands where one table is expected. Write [gateway], once.",
            ],
        ),
        (
            GATEWAY,
            "bus = 3",
            &["f.toml:2: bus: 3 stands where a list of tables is expected. Write [[bus]], once for each."],
        ),
        (
            GATEWAY,
            r#"[bus]
name = "x""#,
            &[
                "f.toml:2: bus: a table stands where a list of tables is expected. Write [[bus]], once for each.",
            ],
        ),
        (
            GATEWAY,
            "bus = [1]",
            &["f.toml:2: bus: 1 stands where a table is expected. Write [[bus]], once for each."],
        ),
        (
            "",
            r#"[gateway]
serial = "g"
name = "a\nb""#,
            &[r#"f.toml:3: gateway.name: "a\nb" is not a name. Write 1 to 128 bytes on one line."#],
        ),
        (
            "",
            r#"[gateway]
serial = "g"
state_dir = "var""#,
            &[
                r#"f.toml:3: gateway.state_dir: "var" is not an absolute path. Write the whole path, such as "/var/lib/fieldgate"."#,
            ],
        ),
        (
            GATEWAY,
            r#"[time]
trust_system_clock = "yes""#,
            &[
                r#"f.toml:3: time.trust_system_clock: "yes" is not true or false. Write trust_system_clock = true, for example."#,
            ],
        ),
        (
            GATEWAY,
            "[time]
hold_untrusted = 10",
            &[
                r#"f.toml:3: time.hold_untrusted: 10 is not a text. Write hold_untrusted = "10m", for example."#,
            ],
        ),
        (
            GATEWAY,
            r#"[time]
hold_untrusted = "10 min""#,
            &[
                r#"f.toml:3: time.hold_untrusted: "10 min" is not a duration. Write a whole number and ms, s, m, h or d, such as "10m"."#,
            ],
        ),
        (
            GATEWAY,
            r#"[time]
hold_untrusted = "2d""#,
            &[r#"f.toml:3: time.hold_untrusted: "2d" is out of range. Use "0s" to "24h"."#],
        ),
        (
            GATEWAY,
            r#"[store]
queue_max = "1MB""#,
            &[
                r#"f.toml:3: store.queue_max: "1MB" is not a size. Write a whole number and B, KiB, MiB, GiB or TiB, such as "512MiB"."#,
            ],
        ),
        (
            GATEWAY,
            r#"[store]
queue_max = "1MiB""#,
            &[r#"f.toml:3: store.queue_max: "1MiB" is out of range. Use "8MiB" to "1TiB"."#],
        ),
        (
            GATEWAY,
            "[store]
ballast = 2020-01-01",
            &[r#"f.toml:3: store.ballast: a date is not a text. Write ballast = "4MiB", for example."#],
        ),
        (
            GATEWAY,
            r#"[store]
flash_budget_per_day = "1MiB""#,
            &[r#"f.toml:3: store.flash_budget_per_day: "1MiB" is out of range. Use "16MiB" to "1TiB"."#],
        ),
        (
            GATEWAY,
            r#"[store]
queue_max = "8MiB"
ballast = "5MiB""#,
            &[r#"f.toml:4: store.ballast: "5MiB" is out of range. Use "1MiB" to "4MiB"."#],
        ),
        (
            GATEWAY,
            "[store.max_rows]
telemetry = 10
[store.max_bytes]
alarm = \"1MiB\"
state = \"1KiB\"",
            &[
                "f.toml:3: store.max_rows.telemetry: 10 is not a number of readings. Use 1000 to 4294967295.",
                "f.toml:5: store.max_bytes.alarm: alarms are not given up for want of room. Remove alarm.",
                "f.toml:6: store.max_bytes.state: \"1KiB\" is out of range. Use \"64KiB\" to \"512MiB\".",
            ],
        ),
        (
            GATEWAY,
            "[uplink]
live_weight = 0
[uplink.max_age]
telemetry = \"30s\"
alarm = \"30d\"",
            &[
                "f.toml:3: uplink.live_weight: 0 is not a weight. Use 1 to 100.",
                "f.toml:5: uplink.max_age.telemetry: \"30s\" is out of range. Use \"1m\" to \"3650d\".",
                "f.toml:6: uplink.max_age.alarm: alarms are not given up for their age. Remove alarm.",
            ],
        ),
        (
            GATEWAY,
            "[uplink]
window = 33",
            &["f.toml:3: uplink.window: 33 is not a number of messages in flight. Use 1 to 32."],
        ),
        (
            GATEWAY,
            "[uplink]
window = 1.5",
            &["f.toml:3: uplink.window: 1.5 is not a whole number. Write window = 8, for example."],
        ),
        (
            GATEWAY,
            "[uplink]
window = 99999999999999999999999999999999999999999999",
            &["f.toml:3: uplink.window: this number is not a number of messages in flight. Use 1 to 32."],
        ),
        (
            GATEWAY,
            r#"[log]
level = "inof""#,
            &[
                r#"f.toml:3: log.level: "inof" is not a log level. Did you mean "info"? Use "error", "warn", "info", "debug" or "trace"."#,
            ],
        ),
        (
            GATEWAY,
            r#"[log]
level = "loud""#,
            &[
                r#"f.toml:3: log.level: "loud" is not a log level. Use "error", "warn", "info", "debug" or "trace"."#,
            ],
        ),
        (
            GATEWAY,
            r#"[path]
kind = "ppp""#,
            &[r#"f.toml:3: path.kind: "ppp" is not a kind of path. Use "system"."#],
        ),
        (
            GATEWAY,
            r#"[path]
interface = "a b""#,
            &[
                r#"f.toml:3: path.interface: "a b" is not an interface name. Use a name that "ip link" shows, such as "wwan0"."#,
            ],
        ),
    ]);
}

#[test]
fn an_unsafe_or_unclear_page_address_is_refused() {
    assert_refused(&[
        (
            GATEWAY,
            r#"[http]
listen = "8080""#,
            &[
                r#"f.toml:3: http.listen: "8080" is not an address with a port. Write listen = "127.0.0.1:8080", for example, or "off"."#,
            ],
        ),
        (
            GATEWAY,
            r#"[http]
listen = "0.0.0.0:80""#,
            &[
                r#"f.toml:3: http.listen: 0.0.0.0:80 is not a loopback address and no interface is named. Write interface = "eth0", for example, or listen on 127.0.0.1."#,
                r#"f.toml:3: http.listen: 0.0.0.0:80 is not a loopback address and there is no TLS yet. Write plaintext = "I accept" if that network may see it, or listen on 127.0.0.1."#,
            ],
        ),
        (
            GATEWAY,
            r#"[http]
listen = "0.0.0.0:80"
interface = "eth0"
plaintext = "yes""#,
            &[
                r#"f.toml:5: http.plaintext: "yes" is not the acceptance. Write plaintext = "I accept" to let anyone on that network read and alter what the page shows."#,
            ],
        ),
        (
            GATEWAY,
            r#"[http]
hosts = "a""#,
            &[r#"f.toml:3: http.hosts: "a" is not a list. Write hosts = ["gateway.example"], for example."#],
        ),
        (
            GATEWAY,
            r#"[http]
hosts = ["a:80"]"#,
            &[
                r#"f.toml:3: http.hosts: "a:80" is not a host name. Write the name or address alone, without a port; IPv6 in brackets."#,
            ],
        ),
        (
            GATEWAY,
            "[http]
hosts = [1]",
            &[r#"f.toml:3: http.hosts: 1 is not a text. Write hosts = ["gateway.example"], for example."#],
        ),
        (
            GATEWAY,
            "[[http.puller]]
name = \"cloud\"",
            &[
                r#"f.toml:2: http.puller.token: this secret is required. Write token_file = "/etc/fieldgate/secrets/token" or token_credential = "token", for example."#,
            ],
        ),
        (
            GATEWAY,
            r#"[[http.puller]]
name = "cloud"
token_file = "/s/short""#,
            &["f.toml:4: http.puller.token_file: the secret has 4 bytes. Use 16 to 256 bytes."],
        ),
        (
            GATEWAY,
            r#"[[http.puller]]
name = "cloud"
token_file = "/s/good"
[[http.puller]]
name = "cloud"
token_file = "/s/good""#,
            &[
                r#"f.toml:6: http.puller.name: "cloud" is another puller's name. Give each its own name: its acknowledgements are kept under it."#,
            ],
        ),
    ]);
}

#[test]
fn components_whose_version_is_unknown_are_refused() {
    assert_refused(&[
        (
            GATEWAY,
            r#"[[firmware.component]]
version_from = "modem""#,
            &[
                "f.toml:3: firmware.component.version_from: there is no [modem] to ask. Configure [modem] or choose another source.",
            ],
        ),
        (
            GATEWAY,
            r#"[[firmware.component]]
version_from = "fixed""#,
            &[
                r#"f.toml:2: firmware.component.version: this key is required. Write version = "1.2.3", for example."#,
            ],
        ),
        (
            GATEWAY,
            r#"[[firmware.component]]
version_from = "fixed"
version = "a b""#,
            &[
                r#"f.toml:4: firmware.component.version: "a b" is not a version. Write it as the cloud knows it, such as "1.2.3"."#,
            ],
        ),
        (
            GATEWAY,
            r#"[[firmware.component]]
version = "1""#,
            &[
                r#"f.toml:3: firmware.component.version: a version is written, but it is not taken from here. Write version_from = "fixed" or remove version."#,
            ],
        ),
        (
            GATEWAY,
            "[[firmware.component]]
[[firmware.component]]",
            &[
                r#"f.toml:3: firmware.component.package: "main of gw" is already taken at f.toml:2. A device has each package once: name another package or device."#,
            ],
        ),
        (
            GATEWAY,
            r#"[[firmware.component]]
adapter = "smp""#,
            &[r#"f.toml:3: firmware.component.adapter: "smp" is not an adapter. Use "none"."#],
        ),
        (
            GATEWAY,
            r#"[[firmware.component]]
package = "a b""#,
            &[
                r#"f.toml:3: firmware.component.package: "a b" is not a package name. Use 1 to 64 letters, digits, _ and -, beginning with a letter or a digit."#,
            ],
        ),
        (
            GATEWAY,
            "[firmware]
components = 1",
            &[
                r#"f.toml:3: firmware.components: this key is unknown. Did you mean "component"? Known here: component."#,
            ],
        ),
        (
            GATEWAY,
            r#"[[firmware.component]]
version_from = "modm""#,
            &[
                r#"f.toml:3: firmware.component.version_from: "modm" is not a source of versions. Did you mean "modem"? Use "daemon", "modem" or "fixed"."#,
            ],
        ),
    ]);
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused() {
    assert_refused(&[
        (
            GATEWAY,
            "[budget]\nmonth = \"5MB\"",
            &[
                r#"f.toml:3: budget.month: "5MB" is not a size. Write a whole number and B, KiB, MiB, GiB or TiB, such as "5MiB"."#,
            ],
        ),
        (
            GATEWAY,
            "[budget]\nmonth = \"5KiB\"",
            &[r#"f.toml:3: budget.month: "5KiB" is out of range. Use "256KiB" to "1024TiB"."#],
        ),
        (
            GATEWAY,
            "[budget]\nmonth = \"1MiB\"\nday = \"2MiB\"",
            &[r#"f.toml:4: budget.day: 2MiB a day are more than 1MiB a month. Lower day or raise month."#],
        ),
        (
            GATEWAY,
            "[budget]\nmonth = \"5MiB\"\nreset_day = 31",
            &[r#"f.toml:4: budget.reset_day: 31 is not a day that every month has. Use 1 to 28."#],
        ),
        (
            GATEWAY,
            "[budget]\nmonth = \"5MiB\"\n[budget.reserves]\nalarm = \"60%\"\nmanagement = \"50%\"",
            &[
                r#"f.toml:5: budget.reserves.alarm: alarm 60%, management 50% are 110% of the plan: too little is left for everything else. Let all reserves together be at most "90%"."#,
            ],
        ),
        (
            GATEWAY,
            "[budget]\nmonth = \"5MiB\"\n[budget.reserves]\nevent = \"30%\"\nlive = \"50%\"",
            &[
                r#"f.toml:6: budget.reserves.live: alarm 10%, management 10%, event 30%, live 50% are 100% of the plan: too little is left for everything else. Let all reserves together be at most "90%"."#,
            ],
        ),
        (
            GATEWAY,
            "[budget]\nmonth = \"5MiB\"\n[budget.reserves]\nsession = \"10%\"",
            &[
                "f.toml:5: budget.reserves.session: this key is unknown. Known here: alarm, management, event, state, live, backlog, diagnostics, firmware_log, firmware.",
            ],
        ),
        (
            GATEWAY,
            "[budget]\nmonth = \"5MiB\"\n[budget.reserves]\nalarm = \"ten\"",
            &[
                r#"f.toml:5: budget.reserves.alarm: "ten" is not a share. Write a whole number from 0 to 90 and %, such as "10%"."#,
            ],
        ),
    ]);
}
