//! The library of register maps, and what a map must not say.

use std::fs;
use std::path::Path;

use fieldgate_sensor_inputs::modbus::{Layout, Span, reads};

use super::*;

const HEAD: &str = r#"vendor = "Acme"
model = "TH-1"
source = "TH-1 manual"
"#;
const POINT: &str = r#"vendor = "Acme"
model = "TH-1"
source = "TH-1 manual"
[[point]]
stream = "t"
table = "input"
register = 1
"#;

fn refused(text: &str) -> Vec<String> {
    match device_map("th-1.toml", text) {
        Ok(_) => panic!("taken: {text}"),
        Err(refused) => lines(&refused.0),
    }
}

fn library() -> Vec<(String, DeviceMap)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("devices");
    let mut maps: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let map = device_map(&name, &fs::read_to_string(&path).unwrap());
            (name, map.unwrap_or_else(|refused| panic!("{refused}")))
        })
        .collect();
    maps.sort_by(|a, b| a.0.cmp(&b.0));
    maps
}

#[test]
fn every_map_of_the_library_is_taken_as_it_stands() {
    let maps = library();
    assert!(maps.len() >= 5, "{}", maps.len());
    for (name, map) in &maps {
        assert!(name.ends_with(".toml") && !map.source.is_empty(), "{name}");
        let spans: Vec<Span> = map.points.iter().map(DevicePoint::span).collect();
        let requests = reads(&spans, &map.limits).unwrap();
        assert!(requests.len() < map.points.len().max(2), "{name}: neighbours are read together");
        let same =
            maps.iter().filter(|(_, other)| (&other.vendor, &other.model) == (&map.vendor, &map.model));
        assert_eq!(same.count(), 1, "{name}: one map a kind of device");
    }
}

#[test]
fn a_map_of_the_library_says_where_each_value_is() {
    let maps = library();
    let map = |name: &str| &maps.iter().find(|(file, _)| file == name).unwrap().1;
    let point = |name: &str, stream: &str| {
        map(name).points.iter().find(|point| point.stream == stream).unwrap().clone()
    };
    let import = point("eastron-sdm630.toml", "energy_import");
    assert_eq!((import.table, import.register, import.unit.as_str()), (Table::Input, 72, "kW.h"));
    let charging = point("epever-tracer.toml", "charging_phase");
    let Layout::Field { bits, .. } = charging.layout else { panic!("no bits") };
    assert_eq!((charging.register, bits.range(), charging.class), (0x3201, 2..=3, Class::State));
    let name = point("schneider-iem3155.toml", "meter_name");
    assert_eq!((name.layout.addresses(), name.resolution), (20, None));
    let voltage = point("carlo-gavazzi-em340.toml", "voltage_l1");
    assert_eq!((voltage.scale, voltage.resolution, voltage.sentinels), (0.1, Some(0.1), vec![0x7fff_ffff]));
    assert_eq!(
        (map("epever-tracer.toml").baud, map("schneider-iem3155.toml").parity),
        (115_200, Parity::Even)
    );
}

#[test]
fn a_map_says_which_line_is_wrong_and_what_to_do() {
    let mut different = Vec::new();
    for (before, text, messages) in [
        (
            "",
            "[[point]\n",
            &[
                "th-1.toml:1: this is not TOML: unclosed array table, expected `]`. Correct the line; the rest is checked \
               when the file can be read.",
            ][..],
        ),
        (HEAD, "", &["th-1.toml:1: point: a device without points says nothing. Add [[point]]."]),
        (
            POINT,
            "type = \"int24\"\n",
            &[
                "th-1.toml:8: point.type: \"int24\" is not a value type. Did you mean \"int64\"? Use \"uint16\", \"int16\", \
                 \"uint32\", \"int32\", \"uint64\", \"int64\", \"float32\", \"float64\", \"bool\" or \"text\".",
            ],
        ),
        (
            POINT,
            "type = \"int16\"\nscale = 0\n",
            &["th-1.toml:9: point.scale: 0 makes every value the same. Write scale = 0.1, for example."],
        ),
        (
            POINT,
            "type = \"int16\"\nscale = 1e12\n",
            &[
                "th-1.toml:9: point.scale: 1e12 is no scale of a register. Write what one step of the raw value is worth, \
               such as scale = 0.1.",
            ],
        ),
        (
            POINT,
            "type = \"uint16\"\nscale = 0.1\nmin = 10000\n",
            &[
                "th-1.toml:10: point.min: no raw value gives a plausible one: the type and the scale give 0 to 6553.5. \
               Correct scale, offset, type, or the range.",
            ],
        ),
        (
            POINT,
            "type = \"float32\"\n[[point]]\nstream = \"h\"\ntable = \"input\"\nregister = 2\ntype = \"int16\"\n",
            &[
                "th-1.toml:12: point.register: address 2 is also read as \"t\" at th-1.toml:7. Correct register or \
               type; parts of one register are read with bits.",
            ],
        ),
        (
            POINT,
            "type = \"uint16\"\nbits = [0, 3]\n[[point]]\nstream = \"h\"\ntable = \"input\"\nregister = 1\ntype = \"uint16\"\nbits = [3]\n",
            &[
                "th-1.toml:13: point.register: address 1 is also read as \"t\" at th-1.toml:7. Correct register or \
               type; parts of one register are read with bits.",
            ],
        ),
        (
            POINT,
            "type = \"uint16\"\nbits = [0, 16]\n",
            &[
                "th-1.toml:9: point.bits: the value has only bits 0 to 15. Bits count from the least significant, 0.",
            ],
        ),
        (
            POINT,
            "type = \"uint16\"\nbits = []\n",
            &[
                "th-1.toml:9: point.bits: these are no bits. Write the first and the last, such as bits = [0, 3], or one, \
               such as bits = [5].",
            ],
        ),
        (
            POINT,
            "type = \"text\"\n",
            &["th-1.toml:4: point.registers: this key is required. Write registers = 8, for example."],
        ),
        (
            POINT,
            "type = \"text\"\nregisters = 4\nscale = 0.1\n",
            &["th-1.toml:10: point.scale: a bit and a text have no such thing. Remove scale."],
        ),
        (
            POINT,
            "type = \"bool\"\n",
            &[
                "th-1.toml:8: point.type: registers hold numbers; a flag is one bit of one. Write type = \"uint16\" and bits \
               = [0], with the bit's number.",
            ],
        ),
        (
            POINT,
            "type = \"uint16\"\n[[forbidden]]\ntable = \"input\"\nfirst = 0\nlast = 9\n",
            &[
                "th-1.toml:7: point.register: the value lies where the device must not be read. Correct register, or \
               [[forbidden]].",
            ],
        ),
        (
            POINT,
            "type = \"int16\"\n[[point]]\nstream = \"t\"\ntable = \"coil\"\nregister = 1\nscal = 2\n",
            &[
                "th-1.toml:10: point.stream: \"t\" is already taken at th-1.toml:5. Give each point of a device its own name.",
                "th-1.toml:13: point.scal: this key is unknown. Did you mean \"scale\"? Known here: stream, table, type, \
                 order, registers, bits, register, scale, offset, unit, resolution, sentinel, min, max, class, period.",
            ],
        ),
    ] {
        let found = refused(&format!("{before}{text}"));
        if found != messages {
            different.push(format!("{before}{text}\n{found:#?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn a_value_longer_than_a_request_of_the_device_is_refused() {
    let text = format!("most_registers = 1\n{POINT}type = \"uint32\"\n");
    assert_eq!(
        refused(&text),
        [
            "th-1.toml:8: point.register: the value is longer than what the device takes in one request. Raise \
          most_registers, if the device takes more."
        ]
    );
}

#[test]
fn what_is_only_a_warning_elsewhere_is_refused_in_a_map() {
    let text = POINT.replace("register = 1", "register = 30002\ntype = \"int16\"");
    let found = refused(&text);
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("If it is, write register = 1."), "{found:?}");
}

#[test]
fn parts_of_one_register_and_its_neighbours_do_not_collide() {
    let more = "type = \"uint16\"\nbits = [0, 3]\n[[point]]\nstream = \"b\"\ntable = \"input\"\nregister = 1\n\
                type = \"uint16\"\nbits = [4]\n[[point]]\nstream = \"c\"\ntable = \"input\"\nregister = 2\ntype = \"float32\"\n";
    let map = device_map("th-1.toml", &format!("{POINT}{more}")).unwrap();
    assert_eq!(map.points.len(), 3);
    assert_eq!((map.baud, map.parity, map.stop_bits, map.unit), (9_600, Parity::None, 1, 1));
    assert_eq!(map.limits, fieldgate_sensor_inputs::modbus::Limits::default());
}
