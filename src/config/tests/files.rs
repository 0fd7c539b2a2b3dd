//! Several files as one configuration, and the order in which problems are told.

use super::*;

#[test]
fn every_problem_of_every_file_is_told_in_the_order_of_files_and_lines() {
    let main = "[uplink]\nwindow = 0\nspeed = 1\n[store]\nqueue_max = 5\n[log]\nlevel = \"x\"\n";
    let extra = "[[bus]]\nname = \"a\"\nkind = \"can\"\nport = \"b\"\nbaud = true\n";
    assert_eq!(
        refused(&[("f.toml", main), ("conf.d/1.toml", extra)]),
        [
            "f.toml: gateway.serial: this key is required. Write serial = \"gw-0042\", for example.",
            "f.toml:2: uplink.window: 0 is not a number of messages in flight. Use 1 to 32.",
            "f.toml:3: uplink.speed: this key is unknown. Known here: live_bound, window, linger, live_weight, backlog_weight, max_age.",
            "f.toml:5: store.queue_max: 5 is not a text. Write queue_max = \"512MiB\", for example.",
            "f.toml:7: log.level: \"x\" is not a log level. \
             Use \"error\", \"warn\", \"info\", \"debug\" or \"trace\".",
            "conf.d/1.toml:3: bus.kind: \"can\" is not a kind of bus. Use \"modbus-rtu\".",
            "conf.d/1.toml:4: bus.port: \"b\" is not an absolute path. \
             Write the whole path, such as \"/dev/serial/by-id/usb-FTDI_FT232R_A1-if00-port0\".",
            "conf.d/1.toml:5: bus.baud: true is not a whole number. Write baud = 19200, for example.",
        ]
    );
}

#[test]
fn syntax_problems_of_all_files_are_told_together() {
    assert_eq!(
        refused(&[("f.toml", "a =\n\nb ="), ("conf.d/1.toml", "[x")]).len(),
        3,
        "two in the first file, one in the second"
    );
}

#[test]
fn a_refusal_is_displayed_with_its_number_and_a_line_each() {
    let refused = parse(&[("f.toml", "[uplink]\nwindow = 0")], &Fake).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the configuration is refused, 2 problems:\n\
         f.toml: gateway.serial: this key is required. Write serial = \"gw-0042\", for example.\n\
         f.toml:2: uplink.window: 0 is not a number of messages in flight. Use 1 to 32."
    );
}

#[test]
fn tables_merge_and_lists_of_tables_append_in_the_order_of_files() {
    let bus =
        |name: &str| format!("[[bus]]\nname = \"{name}\"\nkind = \"modbus-rtu\"\nport = \"/dev/{name}\"\n");
    let main = format!("[gateway]\nserial = \"gw\"\n{}", bus("one"));
    let second = format!("[gateway]\nname = \"Pump\"\n[uplink]\nwindow = 2\n{}{}", bus("two"), bus("three"));
    let loaded = taken(&[("f.toml", &main), ("1.toml", &second), ("2.toml", "uplink.linger = \"3s\"")]);
    let config = loaded.config;
    assert_eq!((config.gateway.serial.as_str(), config.gateway.name.as_str()), ("gw", "Pump"));
    assert_eq!((config.uplink.window, config.uplink.linger.as_secs()), (2, 3));
    let names: Vec<_> = config.buses.iter().map(|bus| bus.name.as_str()).collect();
    assert_eq!(names, ["one", "two", "three"]);
}

#[test]
fn a_key_set_in_two_files_is_refused_naming_both_places() {
    let main = "[gateway]\nserial = \"gw\"\n[uplink]\nwindow = 2\n[http]\nhosts = [\"a\"]\n";
    let second = "[uplink]\n\nwindow = 2\n[http]\nhosts = [\"b\"]\n[[gateway]]\n";
    assert_eq!(
        refused(&[("f.toml", main), ("conf.d/1.toml", second)]),
        [
            "conf.d/1.toml:3: uplink.window: this is already set at f.toml:4. Keep one of the two.",
            "conf.d/1.toml:5: http.hosts: this is already set at f.toml:6. Keep one of the two.",
            "conf.d/1.toml:6: gateway: this is already set at f.toml:1. Keep one of the two.",
        ]
    );
}

#[test]
fn a_name_taken_in_another_file_is_refused_naming_both_places() {
    let bus = |port: &str| format!("[[bus]]\nname = \"field\"\nkind = \"modbus-rtu\"\nport = \"{port}\"\n");
    let main = format!("gateway.serial = \"gw\"\n{}", bus("/dev/a"));
    assert_eq!(
        refused(&[("f.toml", &main), ("conf.d/1.toml", &bus("/dev/b"))]),
        ["conf.d/1.toml:2: bus.name: \"field\" is already taken at f.toml:3. Give each bus its own name."]
    );
}

#[test]
fn an_unknown_key_is_refused_in_every_table() {
    let headers: Vec<_> = example().lines().map(|line| line.trim_start_matches('#')).collect();
    let tables = headers.iter().filter_map(|line| line.split_whitespace().next()).filter(|word| {
        word.starts_with('[') && word.ends_with(']') && word.bytes().all(|byte| !byte.is_ascii_digit())
    });
    let mut seen = 0;
    for table in tables {
        let header = table.trim_matches(['[', ']']);
        let text = format!("{table}\nzzzzzzzz = 1\n");
        // Below a list that is not there, TOML makes one plain table of the parent: give it its parent.
        let parent = match header {
            "bus.slave" => "[[bus]]\n",
            "bus.slave.point" => "[[bus]]\n[[bus.slave]]\n",
            _ => "",
        };
        let messages = refused(&[("f.toml", &format!("{parent}{text}"))]);
        let expected = format!(": {header}.zzzzzzzz: this key is unknown. Known here: ");
        assert_eq!(messages.iter().filter(|message| message.contains(&expected)).count(), 1, "{messages:?}");
        seen += 1;
    }
    assert!(seen >= 16, "{seen} tables in the example");
}
