//! What a taken configuration holds: defaults, written values, secrets that do not show.

use core::num::NonZeroU16;
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::Path;

use super::*;

#[test]
fn a_serial_is_all_a_gateway_must_be_told() {
    let config = taken(&[("f.toml", "gateway.serial = \"gw\"")]).config;
    let expected = Config {
        gateway: Gateway {
            name: "host-1".into(),
            serial: "gw".into(),
            state_dir: "/var/lib/fieldgate".into(),
        },
        store: Store {
            commit_window: Duration::from_secs(1),
            queue_max_bytes: 512 << 20,
            max_rows: BTreeMap::new(),
            max_bytes: BTreeMap::new(),
            ballast_bytes: 4 << 20,
            flash_budget_per_day: None,
        },
        time: Time { trust_system_clock: false, hold_untrusted: Duration::from_secs(600) },
        uplink: Uplink {
            live_bound: Duration::from_secs(300),
            live_weight: NonZeroU16::new(3).unwrap(),
            backlog_weight: NonZeroU16::new(1).unwrap(),
            max_age: BTreeMap::new(),
            window: 8,
            linger: Duration::from_secs(2),
        },
        budget: Plan::unlimited(),
        http: Some(Http {
            listen: ([127, 0, 0, 1], 8080).into(),
            interface: None,
            hosts: Vec::new(),
            pullers: Vec::new(),
        }),
        modem: None,
        path: NetworkPath::System { interface: None },
        buses: Vec::new(),
        golioth: None,
        mqtt: Vec::new(),
        components: vec![Component {
            package: "main".into(),
            device: "gw".into(),
            adapter: Adapter::None,
            version: VersionSource::Daemon,
        }],
        log: Log { level: LogLevel::Info, cloud: Some(LogLevel::Error) },
    };
    assert_eq!(config, expected);
}

#[test]
fn the_example_is_taken_as_it_stands() {
    let Loaded { config, warnings } = taken(&[("example.toml", example())]);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.destinations().collect::<Vec<_>>(), ["golioth", "plant"]);
    let slave = &config.buses[0].slaves[0];
    assert_eq!((slave.name.as_str(), slave.unit, slave.device.as_str()), ("boiler", 1, "gw-0042"));
    assert_eq!(slave.period, Duration::from_secs(5));
    assert_eq!(
        slave.points[0],
        Point {
            stream: "boiler.flow_temperature".into(),
            alias: "ft".into(),
            table: Table::Input,
            register: 0,
            value_type: ValueType::Int16,
            order: WordOrder::Abcd,
            scale: 0.1,
            offset: 0.0,
            unit: "Cel".into(),
            resolution: Some(0.1),
            sentinels: vec![-32768],
            class: Class::Telemetry,
            latest_only: false,
            thin_band: Some(0.5),
            routes: vec!["golioth".into(), "plant".into()],
            min: Some(-40.0),
            max: Some(150.0),
        }
    );
    let fault = &slave.points[2];
    assert_eq!((fault.value_type, fault.resolution, fault.class), (ValueType::Bool, None, Class::Alarm));
    let mqtt = &config.mqtt[0];
    assert_eq!(mqtt.broker, Endpoint { host: "broker.example".into(), port: 8883 });
    assert!(mqtt.tls);
    assert_eq!(mqtt.topic.to_string(), "fieldgate/{gateway}/{device}/{class}");
    assert_eq!(config.components[2].version, VersionSource::Fixed("1.2.3".into()));
}

/// The example's commented-out keys, switched on.
fn example_in_full() -> String {
    let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    example()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn every_key_the_example_mentions_exists_and_its_value_is_right() {
    let config = taken(&[("example.toml", &example_in_full())]).config;
    assert_eq!(config.gateway.name, "pump house");
    assert_eq!(config.budget.roaming, Allowance { day: Some(64 << 10), month: Some(1 << 20) });
    assert_eq!(config.http.unwrap().hosts, ["gateway.example"]);
    assert_eq!(config.golioth.unwrap().rest.unwrap().project, "my-project");
    assert_eq!(config.mqtt[0].ca_file.as_deref(), Some(Path::new("/etc/fieldgate/plant-ca.pem")));
}

/// The values the example calls defaults are the defaults, except where it says "for example".
#[test]
fn what_the_example_calls_a_default_is_one() {
    let plain = taken(&[("example.toml", example())]).config;
    let full = taken(&[("example.toml", &example_in_full())]).config;
    let store = |config: &Config| Store {
        max_rows: BTreeMap::new(),
        max_bytes: BTreeMap::new(),
        flash_budget_per_day: None,
        ..config.store.clone()
    };
    let uplink = |config: &Config| Uplink { max_age: BTreeMap::new(), ..config.uplink.clone() };
    assert_eq!((store(&full), &full.time, uplink(&full)), (store(&plain), &plain.time, uplink(&plain)));
    assert_eq!((&full.modem, &full.log, &full.components), (&plain.modem, &plain.log, &plain.components));
    let unlimited = |config: &Config| Plan {
        home: Allowance::default(),
        roaming: Allowance::default(),
        ..config.budget.clone()
    };
    assert_eq!(unlimited(&full), unlimited(&plain));
    assert_eq!(full.gateway.state_dir, plain.gateway.state_dir);
    assert_eq!(full.buses[0].timeout, plain.buses[0].timeout);
    assert_eq!(full.buses[0].slaves[0].points, plain.buses[0].slaves[0].points);
    let golioth = |config: Config| Golioth { rest: None, ..config.golioth.unwrap() };
    let mqtt = |config: &Config| Mqtt { ca_file: None, ..config.mqtt[0].clone() };
    assert_eq!(mqtt(&full), mqtt(&plain));
    assert_eq!(golioth(full), golioth(plain));
}

#[test]
fn an_alias_is_made_from_the_stream_name_alone_and_streams_go_everywhere_by_default() {
    let bus = "gateway.serial = \"gw\"\n[[bus]]\nname = \"f\"\nkind = \"modbus-rtu\"\nport = \"/dev/a\"\n";
    let point = "[[bus.slave]]\nname = \"pump\"\nunit = 1\n[[bus.slave.point]]\nstream = \"speed\"\n\
                 table = \"holding\"\nregister = 1\ntype = \"float32\"\nscale = -0.5\n";
    let mqtt = "[[mqtt]]\nname = \"m\"\nbroker = \"mqtt://b\"\n";
    let config = taken(&[("f.toml", &format!("{bus}{point}{mqtt}"))]).config;
    let point = &config.buses[0].slaves[0].points[0];
    assert_eq!((point.stream.as_str(), point.alias.as_str()), ("pump.speed", "pump_speed"));
    assert_eq!(point.routes, ["m"]);
    assert_eq!((point.scale, point.resolution), (-0.5, None));
}

#[test]
fn the_resolution_of_an_integer_is_the_size_of_its_scale() {
    let text = "gateway.serial = \"gw\"\n[[bus]]\nname = \"f\"\nkind = \"modbus-rtu\"\nport = \"/dev/a\"\n\
                [[bus.slave]]\nname = \"pump\"\nunit = 1\n[[bus.slave.point]]\nstream = \"speed\"\n\
                table = \"holding\"\nregister = 1\ntype = \"int32\"\nscale = -0.5\n";
    let config = taken(&[("f.toml", text)]).config;
    assert_eq!(config.buses[0].slaves[0].points[0].resolution, Some(0.5));
}

#[test]
fn without_a_limit_for_roaming_that_of_home_holds_there_too_and_is_counted_apart() {
    let plan = |budget: &str| {
        taken(&[("f.toml", &format!("gateway.serial = \"g\"\n[budget]\n{budget}"))]).config.budget
    };
    let home = Allowance { day: None, month: Some(5 << 20) };
    assert_eq!((plan("month = \"5MiB\"").home, plan("month = \"5MiB\"").roaming), (home, home));
    let silent = plan("month = \"5MiB\"\nroaming_month = \"0B\"");
    assert_eq!((silent.home, silent.roaming.month), (home, Some(0)));
}

#[test]
fn the_page_can_be_off_or_open_to_one_interface() {
    let http =
        |text: &str| taken(&[("f.toml", &format!("gateway.serial = \"gw\"\n[http]\n{text}"))]).config.http;
    assert_eq!(http("listen = \"off\""), None);
    let open =
        http("listen = \"10.0.0.1:80\"\ninterface = \"eth0\"\nplaintext = \"I accept\"\nhosts = [\"GW\"]");
    assert_eq!(
        open,
        Some(Http {
            listen: ([10, 0, 0, 1], 80).into(),
            interface: Some("eth0".into()),
            hosts: vec!["gw".into()],
            pullers: Vec::new(),
        })
    );
}

#[test]
fn the_management_api_takes_its_project_from_the_psk_id_and_http_only_on_this_machine() {
    let text = "gateway.serial = \"gw\"\n[golioth]\npsk_id = \"id@proj\"\npsk_file = \"/s/good\"\n\
                [golioth.rest]\nurl = \"http://127.0.0.1:8443/\"\napi_key_file = \"/s/good\"\n";
    let rest = taken(&[("f.toml", text)]).config.golioth.unwrap().rest.unwrap();
    assert_eq!((rest.project.as_str(), rest.url.as_str()), ("proj", "http://127.0.0.1:8443"));
    assert_eq!(rest.poll, Duration::from_secs(24 * 3600));
}

#[test]
fn a_whole_configuration_can_be_printed_without_showing_a_secret() {
    let config = taken(&[("f.toml", &example_in_full())]).config;
    let shown = format!("{config:?}{config:#?}");
    assert!(!shown.contains("a credential of"), "{shown}");
    let Some(Golioth { credential: GoliothCredential::Psk { key, .. }, .. }) = &config.golioth else {
        panic!("no key")
    };
    assert_eq!(key.expose_str(), Some("a credential of 28 characters"));
    assert_eq!(shown.matches("Secret(..)").count(), 2 * 4, "psk, API key, password, token");
}

#[test]
fn no_message_shows_a_secret_wherever_it_was_pasted() {
    let golioth = "gateway.serial = \"gw\"\n[golioth]\npsk_id = \"a@p\"\n";
    let mqtt = "gateway.serial = \"gw\"\n[[mqtt]]\nname = \"m\"\nusername = \"u\"\n";
    for text in [
        format!("{golioth}psk = \"hunter2\""),
        format!("{golioth}psk_file = \"hunter2\""),
        format!("{golioth}psk_credential = \"hunter2/x\""),
        format!("{golioth}psk_file = [\"hunter2\"]"),
        format!("{golioth}pks = \"hunter2\""),
        format!("{golioth}psk = hunter2"),
        format!("{mqtt}broker = \"mqtt://u:hunter2@host\""),
        format!("{mqtt}broker = \"mqtt://b\"\npassword = \"hunter2\""),
        format!("{golioth}psk_file = \"/s/good\"\nrest.url = \"https://u:hunter2@host\""),
    ] {
        let messages = refused(&[("f.toml", &text)]);
        assert!(!messages.is_empty() && !messages.concat().contains("hunter2"), "{messages:?}");
    }
}

#[test]
fn a_liveness_profile_is_taken_and_what_is_written_beside_it_goes_before() {
    let of = |lines: &str| {
        let text =
            format!("gateway.serial = \"gw\"\n[golioth]\npsk_id = \"a@p\"\npsk_file = \"/s/good\"\n{lines}");
        let liveness = taken(&[("f.toml", &text)]).config.golioth.unwrap().liveness;
        (liveness.keepalive.as_secs(), liveness.dead_path.as_secs(), liveness.extra)
    };
    assert_eq!(of(""), (900, 180, 4));
    assert_eq!(of("liveness = \"standard\""), (900, 180, 4));
    assert_eq!(of("liveness = \"frugal\""), (3600, 600, 4));
    assert_eq!(of("liveness = \"prompt\""), (55, 60, 48));
    assert_eq!(of("liveness = \"frugal\"\nkeepalive = \"2h\"\ndead_path = \"5m\""), (7200, 300, 4));
}

#[test]
fn no_remote_setting_can_change_a_budget() {
    assert!(REMOTE_KEYS.iter().all(|key| !key.path.starts_with("budget")));
}

#[test]
fn every_remote_key_is_a_key() {
    for key in REMOTE_KEYS.iter().map(|key| key.path) {
        let (table, name) = key.rsplit_once('.').unwrap();
        let header = match table {
            "modem" => "[modem]\nport = \"/dev/m\"\n".to_owned(),
            "golioth" => "[golioth]\npsk_id = \"a@p\"\npsk_file = \"/s/good\"\n".to_owned(),
            other => format!("[{other}]\n"),
        };
        let messages =
            refused(&[("f.toml", &format!("gateway.serial = \"gw\"\n{header}{name} = 2020-01-01"))]);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].contains(&format!(": {key}: a date is not ")), "{messages:?}");
    }
}
