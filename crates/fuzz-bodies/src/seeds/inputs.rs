//! Seeds of what sensors send: sentences of real receivers, packs and frames of independent encoders, and frames seen on lines.

use super::{Seed, chunk, hex, seed};

pub(super) fn all() -> Vec<Seed> {
    [sentences(), packs(), frames(), documents(), answers(), devices()].into_iter().flatten().collect()
}

const SENTENCES: [(&str, &str); 12] = [
    ("gga", "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47"),
    ("rmc", "$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A"),
    ("gsa", "$GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*39"),
    ("gsv", "$GPGSV,2,1,08,01,40,083,46,02,17,308,41,12,07,344,39,14,22,228,45*75"),
    ("vtg", "$GPVTG,054.7,T,034.4,M,005.5,N,010.2,K*48"),
    ("gll", "$GPGLL,4916.45,N,12311.12,W,225444,A,*1D"),
    ("zda", "$GPZDA,201530.00,04,07,2002,00,00*60"),
    ("gns", "$GNGNS,014035.00,4332.69262,S,17235.48549,E,RR,13,0.9,25.63,11.24,,*70"),
    ("mwv", "$WIMWV,214.8,R,0.1,K,A*28"),
    ("xdr", "$WIXDR,C,19.5,C,TEMP,P,1.013,B,BARO"),
    ("proprietary", "$PUBX,00,081350.00,4717.113210,N,00833.915187,E"),
    ("no_fix", "$GPRMC,,V,,,,,,,,,,N*53"),
];

fn sentences() -> Vec<Seed> {
    let ended = |text: &str| [text.as_bytes(), b"\r\n"].concat();
    let all = SENTENCES.iter().flat_map(|(_, line)| ended(line)).collect();
    let one = SENTENCES.iter().map(|(name, line)| seed("nmea", name, ended(line)));
    let torn =
        [ended("$GPGGA,12$GPVTG,054.7,T,034.4,M,005.5,N,010.2,K*48"), vec![0xff; 300], ended("")].concat();
    one.chain([seed("nmea", "all", all), seed("nmea", "torn", torn)]).collect()
}

fn packs() -> Vec<Seed> {
    let json = [
        (
            "room",
            r#"[{"bn":"urn:dev:mac:0024befffe804ff1:","bt":1700000000,"bu":"Cel","n":"temp","v":23.5},{"n":"hum","u":"%RH","v":48.3}]"#,
        ),
        (
            "relative",
            r#"[{"bn":"a","bt":-10,"n":"1","t":2,"v":1,"s":5,"ut":60},{"n":"2","vb":true},{"n":"3","vs":"x"}]"#,
        ),
        ("base_value", r#"[{"bver":10,"bv":20,"bs":1,"n":"a","v":1.5},{"n":"b","vd":"gmNm"}]"#),
    ];
    let cbor = [
        (
            "room_cbor",
            "82 a5 21 781d 'urn:dev:mac:0024befffe804ff1:' 22 1a6553f100 23 63 'Cel' 00 64 'temp' 02 fb4037800000000000 \
             a3 00 63 'hum' 01 63 '%RH' 02 fb4048266666666666",
        ),
        ("indefinite", "9f bf 00 61 'a' 02 f93e00 ff bf 00 61 'b' 03 61 'x' ff ff"),
        ("decimal", "81 a3 00 61 'a' 02 c4 82 20 18d7 08 41 01"),
        ("data", "81 a2 00 63 'nfc' 08 43 010203"),
    ];
    let json = json.map(|(name, text)| seed("senml", name, text.as_bytes().to_vec()));
    json.into_iter().chain(cbor.map(|(name, vector)| seed("senml", name, hex(vector)))).collect()
}

fn frames() -> Vec<Seed> {
    [
        ("cbor_body", "0a 08 a26174fb403780 01 01 01 01 03 6168 01 00"),
        ("zeros", "0a 01 01 01 01 01 01 00"),
        ("crc16", "33 0c '123456789' 31c3 00"),
        ("crc32_little", "36 0e '123456789' 2639f4cb 00"),
        ("two_and_damage", "0a 03 1122 02 33 00 09 0102 00 00 02 07 00"),
        ("overlong", "00 10 0102030405060708090a0b0c0d0e0f 00 02 07 00"),
    ]
    .map(|(name, vector)| seed("cobs", name, hex(vector)))
    .into()
}

fn documents() -> Vec<Seed> {
    let mapped = |paths: &str, document: &[u8]| [chunk(paths.as_bytes()), document.to_vec()].concat();
    vec![
        seed("json_mapping", "flat", mapped("/t\n/h", br#"{"t":21.5,"h":40}"#)),
        seed(
            "json_mapping",
            "deep",
            mapped("/s/0/v\n/a~1b\n/m~0", br#"boot {"s":[{"v":null}],"a/b":true,"m~":"x"}"#),
        ),
        seed("json_mapping", "no_values", mapped("/s\n/n", br#"{"s":{},"n":18446744073709551615}"#)),
        seed("json_mapping", "cbor", mapped("/t\n/1/0", &hex("a2 61 't' fb4037800000000000 01 81 f6"))),
    ]
}

fn answers() -> Vec<Seed> {
    [
        ("input_registers", "05 04 0000 0003", "11 04 06 00d7 01e3 ffc9 a8ed"),
        ("float", "05 03 000a 0002", "ff 11 03 04 41bc 0000 3e2a"),
        ("exception", "05 03 1388 0001", "11 83 02 c134"),
        ("write", "05 06 0001 00ff", "11 06 0001 00ff 9ada"),
        ("write_many", "0a 10 0000 0002 04 000a 0102", "11 10 0000 0002 4358"),
        ("coils", "05 01 0000 0008", "11 01 01 dd 9511"),
        ("identity", "04 2b0e 01 00", "11 2b0e 01 83 00 00 03 00 04 'Acme' 01 04 'TH-1' 02 05 '1.2.3' b193"),
        ("diagnostics", "05 08 0000 a537", "11 08 0000 a537 d81d"),
        ("of_another", "05 04 0000 0003", "12 04 06 00d7 01e3 ffc9 0000 11 04 06 00d7 01e3 ffc9 a8ed"),
    ]
    .map(|(name, request, heard)| seed("modbus_answers", name, hex(&format!("11 {request} {heard}"))))
    .into()
}

fn devices() -> Vec<Seed> {
    let device = |speech: u8, places: &str, wire: &[u8]| {
        [vec![speech], chunk(places.as_bytes()), wire.to_vec()].concat()
    };
    let fix = "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n$GPZDA,201530.00,04,07,2002,00,00*60\r\n";
    let mixed =
        b"OK\r\n{\"t\":1}\r\n[00:00:01.234,000] <inf> app: x\r\n[{\"n\":\"dev:t\",\"v\":2}]\r\n+CEREG: 1\r\n";
    [
        ("json", device(0, "/t\n/h", b"{\"t\":21.5,\"h\":40}\r\n{\"t\":null}\n")),
        ("senml", device(1, "a:t", b"[{\"bn\":\"a:\",\"n\":\"t\",\"u\":\"Cel\",\"v\":21}]\n")),
        ("nmea", device(2, "GGA.altitude\nGPGGA.hdop", fix.as_bytes())),
        ("cobs", device(3, "/t", &hex("08 a26174fb403780 01 01 01 01 03 6168 01 00 05 01 00"))),
        ("application", device(5, "/t\ndev:t\nGGA.hdop", mixed)),
        ("marked", device(6, "/t", b"#APP {\"t\":4}\r\n{\"t\":5}\r\n")),
    ]
    .map(|(name, bytes)| seed("sensor_input", name, bytes))
    .into()
}
