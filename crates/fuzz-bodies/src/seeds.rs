//! The committed seeds: what each target starts from. Payloads are the golden vectors of the crates' own tests; the rest are short
//! scripts in the target's own words, each for one way through it.

mod inputs;

/// One file of a corpus.
pub struct Seed {
    /// The target's name.
    pub target: &'static str,
    /// The file's name.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Every seed of every target.
#[must_use]
pub fn all() -> Vec<Seed> {
    let groups = [
        lines(),
        typed(),
        at_sessions(),
        endpoints(),
        bodies(),
        notifications(),
        handshakes(),
        certificates(),
        inbound(),
        outbound(),
        batches(),
        inputs::all(),
    ];
    groups.into_iter().flatten().collect()
}

fn seed(target: &'static str, name: &str, bytes: Vec<u8>) -> Seed {
    Seed { target, name: name.to_owned(), bytes }
}

/// Pairs of hexadecimal digits with spaces between; `'text'` stands for its characters.
fn hex(vector: &str) -> Vec<u8> {
    let parts = vector.split('\'').enumerate();
    parts
        .flat_map(|(index, part)| {
            if index % 2 == 1 {
                return part.as_bytes().to_vec();
            }
            let digits: Vec<u8> = part
                .chars()
                .filter_map(|c| c.to_digit(16))
                .filter_map(|digit| u8::try_from(digit).ok())
                .collect();
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
        })
        .collect()
}

/// Lines as the nRF91 series writes them.
const LINES: [(&str, &str); 48] = [
    ("cereg", "+CEREG: 5,1,\"002F\",\"0012BEEF\",7,,,\"11100000\",\"11100000\""),
    ("cereg_urc", "+CEREG: 1,\"002F\",\"0012BEEF\",7,,,\"00100001\",\"00101100\""),
    ("cereg_reject", "+CEREG: 3,\"FFFF\",\"FFFFFFFF\",7,0,15"),
    ("cesq", "%CESQ: 54,2,16,2"),
    ("cesq_answer", "+CESQ: 99,99,255,255,16,54"),
    ("cops", "+COPS: 0,2,\"26201\",7"),
    ("scan", "+COPS: (2,\"\",\"\",\"26201\",7),(1,\"\",\"\",\"26202\",9)"),
    (
        "xmonitor",
        "%XMONITOR: 1,\"EDAV\",\"EDAV\",\"26295\",\"00B7\",7,4,\"00011B07\",7,2300,63,39,\"\",\"11100000\",\"11100000\",\"00000000\"",
    ),
    ("cedrxp", "+CEDRXP: 4,\"1000\",\"0101\",\"1011\""),
    ("xtime", "%XTIME: \"08\",\"81109251714208\",\"01\""),
    ("cclk", "+CCLK: \"20/11/18,08:31:12+04\""),
    (
        "ncellmeas",
        "%NCELLMEAS: 0,\"0199F10A\",\"24202\",\"0762\",65535,3750,5300,449,50,15,10891,5300,194,46,8,0,11061",
    ),
    ("coneval", "%CONEVAL: 0,1,7,41,32,-115,\"0199F10A\",\"24202\",449,5300,20,0,0,-8,1,1,87"),
    ("xconnstat", "%XCONNSTAT: 0,0,14,16,180,22"),
    ("cscon", "+CSCON: 1,7,4"),
    ("cgev", "+CGEV: ME PDN ACT 0,0"),
    ("mdmev", "%MDMEV: SEARCH STATUS 2"),
    ("xvbat", "%XVBAT: 5113"),
    ("xtemp", "%XTEMP: 28"),
    ("xsim", "%XSIM: 1"),
    ("xsystemmode", "%XSYSTEMMODE: 1,1,1,0"),
    ("imei", "+CGSN: \"352656100367872\""),
    ("iccid", "%XICCID: 8931080520000000000F"),
    ("xmodem", "#XMODEM: FAULT,0x1,0x8002b3fe"),
    (
        "ncellmeas_global",
        "%NCELLMEAS: 0,\"021D140C\",\"24201\",\"0821\",77,8000,5300,449,50,15,10891,1,1,1650,292,60,27,-24,\"011B0780\",\"24201\",\"0821\",65535,0,5300,450,-3,46,10900,0,0",
    ),
    ("ncellmeas_failed", "%NCELLMEAS:1"),
    ("cgdcont", "+CGDCONT: 0,\"IPV4V6\",\"iot.example\",\"10.160.148.98 2001:db8::17\",0,0"),
    ("cgpaddr", "+CGPADDR: 0,\"10.0.0.7\",\"32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.23\""),
    ("cgact", "+CGACT: 0,1"),
    ("cnec", "+CNEC_ESM: 50,0"),
    ("cpin", "+CPIN: \"SIM PIN\""),
    ("cpinr", "+CPINR: \"SIM PIN\",3"),
    ("cfun", "+CFUN: 21"),
    ("xcband", "%XCBAND: (1,2-5,66)"),
    ("cmng", "%CMNG: 16,0,\"2C43952EE9E000FF2ACC4E2ED0897C0A72AD5FA72C3D934E81741CBD54F05BD1\",\"x\""),
    ("crsm", "+CRSM: 144,0,\"981032547698103254F7\""),
    ("shortswver", "%SHORTSWVER: nrf91x1_2.0.0"),
    (
        "uuids",
        "%XMODEMUUID: 25c95751-efa4-40d4-8b4a-1dcaab81fac9\r\n#XUUID: 25c95751-efa4-40d4-8b4a-1dcaab81fac9",
    ),
    ("own_clock", "%CCLK: \"22/10/06,14:22:55+08\",1"),
    ("invalid_bands", "%MDMEV: INVALID BAND CONFIGURATION 1 2 0"),
    (
        "position",
        "#XGNSSPOS: 35.457576,139.625090,121.473785,22.199919,0.442868,0.000000,\"2021-06-02 06:25:48\"",
    ),
    ("position_of_old", "#XGPS: -35.4,-139.6,1,2,3,4,\"2021-06-02 06:25:48\""),
    ("navigation", "#XGNSS: 1,4"),
    ("xfota", "#XFOTA: 1,0,40\r\n#XFOTA: 5,1,71303173\r\n#XFOTA: 2621440,0"),
    ("xdfu", "#XDFU: 0,1,-1"),
    ("xdatamode", "#XDATAMODE: -1"),
    ("xppp", "#XPPP: 1,0,0"),
    ("xmodemreset", "#XMODEMRESET: 2,-5"),
];

/// What people type.
const TYPED: [(&str, &str); 8] = [
    ("reads", "at+cereg?\nAT%XMONITOR\n AT+CGPADDR=0 "),
    ("settings", "AT+CPSMS=1,,,\"00000110\" , \"00000001\""),
    ("path", "AT+CFUN=0\nAT+COPS=?\nAT#XRESET"),
    ("secrets", "AT%CMNG=0,16,3,\"c0ffee\""),
    ("data", "AT#XSEND=1,\"a,b\"\nAT+CGDATA=\"PPP\",0"),
    ("two_in_one", "AT+CEREG?;+CFUN=0"),
    ("test_in_disguise", "AT+COPS= ?"),
    ("quotes", "AT+X=\"a\"\"b\"\nAT+X=\"a"),
];

fn typed() -> Vec<Seed> {
    TYPED.iter().map(|(name, text)| seed("at_console", name, text.as_bytes().to_vec())).collect()
}

fn lines() -> Vec<Seed> {
    let ended = |text: &str| [text.as_bytes(), b"\r\n"].concat();
    let all = LINES.iter().flat_map(|(_, line)| ended(line)).collect();
    let one = LINES.iter().map(|(name, line)| seed("at_decoders", name, ended(line)));
    let odd = [
        seed("at_decoders", "all", all),
        seed(
            "at_decoders",
            "quoted_lines",
            b"%CMNG: 1,0,\"AB\",\"-----BEGIN\r\nCERT\r\n-----END\"\r\nOK\r\n".to_vec(),
        ),
        seed("at_decoders", "bytes_lost", b"+CEREG: 5,1,\"00\r\n\x00\xff+CSCON: 0\n\n".to_vec()),
    ];
    one.chain(odd).collect()
}

/// A length and the bytes, as [`crate::feed`] reads a chunk.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

fn at_sessions() -> Vec<Seed> {
    let said = |text: &str| [vec![5], chunk(text.as_bytes())].concat();
    let (ask, wait, ok) = (|which: u8| vec![1 | which << 3], vec![0, 0x80, 0x10], vec![4]);
    let wait_a_moment = vec![0, 0x02, 0x00];
    let script = |name: &str, steps: &[Vec<u8>]| seed("at_session", name, [vec![1], steps.concat()].concat());
    vec![
        script("one_answer", &[ask(1), said("OK\r\n"), said("+CFUN: 1\r\nOK\r\n"), ok.clone()]),
        script(
            "late_answer",
            &[ask(1), ok.clone(), wait.clone(), said("+CFUN: 1\r\nOK\r\n"), ask(2), ok.clone(), ok.clone()],
        ),
        script("errors", &[ask(2), ok.clone(), said("+CME ERROR: 516\r\n"), ask(0), said("ERROR\r\n")]),
        script(
            "reports_between",
            &[ask(3), ok.clone(), said("+CEREG: 5\r\n%XMONITOR: 1\r\n"), said("+CSCON: 0\r\nOK\r\n")],
        ),
        script("restart", &[ask(4), ok.clone(), said("Ready\r\n"), ask(0), ok.clone(), said("READY\r\n")]),
        script("data_mode", &[ask(6), ok.clone(), said("CONNECT\r\n"), said("anything\r\n"), ask(1)]),
        script(
            "probe",
            &[said("#XSLMVER: \"1.2.0\",\"2.9.0\"\r\nOK\r\n"), said("OK\r\n"), wait.clone(), said("OK\r\n")],
        ),
        script("silence", &[ask(0), ask(1), wait.clone(), wait.clone(), wait.clone()]),
        script(
            "payload",
            &[
                [vec![3], chunk(b"AT#XSEND=1"), chunk(b"21.5")].concat(),
                ok.clone(),
                wait_a_moment.clone(),
                ok.clone(),
                ok.clone(),
                vec![0x14],
            ],
        ),
        script(
            "payload_lost",
            &[
                [vec![3], chunk(b"AT#XDFUWRITE=0,0,4"), chunk(b"+++a")].concat(),
                ok.clone(),
                wait_a_moment,
                ok.clone(),
                ok.clone(),
                wait.clone(),
                wait.clone(),
                ok.clone(),
            ],
        ),
        script(
            "own_command",
            &[[vec![3], chunk(b"AT%XVBAT"), chunk(b"")].concat(), ok, said("%XVBAT: 5113\r\nOK\r\n")],
        ),
    ]
}

fn endpoints() -> Vec<Seed> {
    // A reply to the newest datagram: kind, code, which, options and payload.
    let reply = |kind: u8, code: u8, rest: &[u8]| [vec![2, kind, code, 0], chunk(rest)].concat();
    let ask = |what: u8| vec![12, what];
    let request =
        |kind: u8, code: u8, id: u8, rest: &[u8]| [vec![6, kind, code, id, 1, 0xaa], chunk(rest)].concat();
    let script = |name: &str, steps: &[Vec<u8>]| seed("coap_endpoint", name, steps.concat());
    let timer = vec![11];
    vec![
        script("get", &[ask(0), reply(2, 0x45, &hex("ff 01"))]),
        script("separate_answer", &[ask(0), reply(2, 0, &[]), reply(0x81, 0x45, &hex("ff 01"))]),
        script(
            "upload",
            &[
                ask(1),
                reply(2, 0x5f, &hex("d1 0e 0e")),
                reply(2, 0x5f, &hex("d1 0e 1e")),
                reply(2, 0x44, &hex("d1 0e 26")),
            ],
        ),
        script(
            "assembled",
            &[
                ask(2),
                reply(2, 0x45, &hex("d1 0a 08 ff 00112233445566778899aabbccddeeff")),
                reply(2, 0x45, &hex("d1 0a 10 ff 00")),
            ],
        ),
        script("block", &[ask(3), reply(2, 0x45, &hex("d1 0a 18 ff 00112233445566778899aabbccddeeff"))]),
        script("ping", &[ask(4), reply(3, 0, &[])]),
        script(
            "observed",
            &[
                ask(5),
                reply(2, 0x45, &hex("61 01 ff 01")),
                reply(0x80, 0x45, &hex("61 02 ff 02")),
                ask(6),
                ask(7),
            ],
        ),
        script("non", &[ask(8), reply(0x81, 0x44, &[])]),
        script("lost", &[ask(0), timer.clone(), timer.clone(), timer.clone(), timer.clone(), timer.clone()]),
        script(
            "served",
            &[
                request(0, 1, 1, &hex("b1 61")),
                vec![4],
                vec![8],
                request(1, 2, 2, &hex("b1 61 ff 01")),
                vec![200],
            ],
        ),
        script(
            "observer",
            &[
                request(0, 1, 1, &hex("60 51 61")),
                vec![9],
                vec![14, 0, 0, 9],
                vec![2, 2, 0, 0, 0],
                vec![14, 1, 7, 9],
                timer,
                vec![2, 3, 0, 0, 0],
            ],
        ),
        script(
            "pieces",
            &[
                request(0, 2, 1, &hex("b1 61 d1 03 08 ff 00112233445566778899aabbccddeeff")),
                vec![1],
                request(0, 2, 2, &hex("b1 61 d1 03 10 ff 01")),
                vec![1],
            ],
        ),
        script("reset", &[ask(0), ask(5), vec![15, 0xff], ask(6)]),
        script("malformed", &[vec![0], chunk(&hex("40 01 1234 ff")), vec![1, 0x40, 0x07, 0xff]]),
    ]
}

fn bodies() -> Vec<Seed> {
    let download = |name: &str, size: u16, szx: u8, had: u8, acts: &[u8]| {
        let [high, low] = size.to_be_bytes();
        seed("coap_blockwise", name, [&[0, high, low, szx, had], acts].concat())
    };
    let other = |name: &str, bytes: &[u8]| seed("coap_blockwise", name, bytes.to_vec());
    vec![
        download("honest", 3000, 4, 0, &[8; 20]),
        download("resumed", 3000, 4, 40, &[8; 20]),
        download("smaller_blocks", 2000, 6, 0, &[[6; 3].as_slice(), &[8; 60]].concat()),
        download("loss", 3000, 5, 0, &[2, 8, 3, 8, 7, 2, 2, 2, 4, 0x80, 0x40, 8, 8, 8, 8, 8]),
        download("refusals", 1500, 5, 0, &[5, 0, 5, 2, 4, 0x80, 8, 5, 4, 8, 8, 8, 8]),
        download("lies", 1500, 5, 0, &[1, 2, 0, 3, 1, 2, 0, 8, 0, 2, 0x45, 2, 0xff, 1, 8, 8, 8, 8]),
        download("silence", 500, 2, 0, &[]),
        other("assembled", &[2, 4, 0, 1, 0, 5, 5, 5, 5, 5, 5, 5, 5]),
        other("upload_refused", &[2, 4, 0, 12, 0, 1, 0, 0x0e, 1, 0, 0x1e, 3, 0x80, 9, 0x11, 0, 0x2e]),
        other("pieces", &[3, 1 | 2 << 2, 0, 0, 9, 1 | 2 << 2, 1, 0, 9, 0, 1 | 2 << 2, 2, 0, 9]),
        other("pieces_of_two", &[3, 1, 0, 0, 2, 1, 0, 1, 2, 1, 1, 1, 2, 1, 1, 0, 2, 1, 2, 0, 3]),
        other(
            "pieces_out_of_order",
            &[3, 1, 1, 0, 3, 1, 0, 0, 3, 1, 2, 0, 3, 1, 1, 0, 3, 1, 2, 0, 3, 0xc4, 0x80, 0xff],
        ),
    ]
}

fn notifications() -> Vec<Seed> {
    let notify = |value: u32| {
        let [_, a, b, c] = value.to_be_bytes();
        vec![4, a, b, c, 1]
    };
    let registered = vec![3, 1, 1, 7];
    let late = vec![0, 0x81, 0x04];
    let script = |name: &str, steps: &[Vec<u8>]| seed("coap_observe", name, steps.concat());
    vec![
        script("in_order", &[registered.clone(), notify(2), notify(3), notify(4)]),
        script("overtaken", &[registered.clone(), notify(9), notify(8), notify(9), notify(10)]),
        script(
            "wraps",
            &[registered.clone(), notify(0x7f_fffe), notify(0xff_fffe), notify(1), notify(0xff_ffff)],
        ),
        script("after_a_while", &[registered.clone(), notify(100), late, notify(7)]),
        script("again", &[registered.clone(), notify(5), vec![1], notify(6), vec![3, 1, 2, 7], notify(3)]),
        script("cancelled", &[registered.clone(), notify(5), vec![0xf2], notify(6), vec![3, 0, 7]]),
        script("not_observable", &[vec![3, 0, 7], notify(5)]),
        script("a_copy", &[registered, notify(5), vec![0xe4, 0, 0, 5, 1], notify(6)]),
    ]
}

fn handshakes() -> Vec<Seed> {
    let through = [0; 14];
    let script = |target, name: &str, steps: &[&[u8]]| seed(target, name, steps.concat());
    let early = "dtls_handshake";
    let late = "dtls_connected";
    vec![
        script(early, "ccm8_with_connection_id", &[&[0x80], &through]),
        script(early, "gcm", &[&[1], &through]),
        script(early, "cbc", &[&[2], &through]),
        script(early, "lost_and_repeated", &[&[0x80, 5, 14, 4, 0, 0, 7, 0, 0, 5, 14, 8, 0, 0], &through]),
        script(early, "out_of_order", &[&[0x81, 0, 0, 0, 6, 0, 6, 0], &through]),
        script(early, "damaged", &[&[0x80, 0, 8, 0, 0, 0, 14, 7, 0, 40, 0, 3, 0x30, 1, 0, 13, 9], &through]),
        script(early, "alert", &[&[0x80, 0, 0, 0, 11 | 0x10, 21, 0, 9, 2, 2, 40, 14, 0x80, 0xff], &through]),
        script(early, "made_up", &[&[1, 11, 22, 0, 0, 4, 1, 0, 0, 0, 13, 3, 22, 254, 253], &through]),
        script(early, "another_address", &[&[0x80, 0, 0, 15, 3, 0, 0, 15, 0], &through]),
        script(late, "both_ways", &[&[0, 0xe0, 0xe1, 0, 0, 0xe0, 0xe1, 0, 0]]),
        script(late, "lost_and_repeated", &[&[1, 0xe0, 5, 0xe0, 7, 0, 0, 7, 0, 0xe1, 6, 0xe1, 0, 0]]),
        script(late, "damaged", &[&[0, 0xe0, 8, 0, 0, 0, 20, 9, 0xe1, 0x28, 0, 0, 0, 3, 1, 0, 12, 0, 0]]),
        script(late, "alerts", &[&[0, 11 | 0x10, 21, 0, 9, 2, 2, 40, 11, 21, 1, 9, 2, 1, 0, 0xe0, 0]]),
        script(late, "moved", &[&[0, 15, 4, 0xe0, 0, 0xe1, 0, 15, 1, 7, 0, 0xe0, 0]]),
        script(late, "hello_again", &[&[1, 7, 6, 7, 5, 7, 3, 0, 0, 14, 0x90, 0, 0xe0, 0]]),
        script(
            late,
            "noise",
            &[&[0, 13, 5, 1, 2, 3, 4, 5, 13 | 0x10, 3, 25, 254, 253, 12, 25, 1, 9, 4, 1, 2, 3, 4]],
        ),
    ]
}

fn certificates() -> Vec<Seed> {
    // More than a handshake in fragments has.
    let through = [0; 24];
    let script = |name: &str, steps: &[&[u8]]| {
        seed("dtls_certificates", name, [steps.concat(), through.to_vec()].concat())
    };
    // Bytes of the newest datagram and of those before it, each at some place of it.
    let damage = |which: u8, at: [u8; 2], byte: u8| [8, which, 0, at[0], at[1], byte];
    vec![
        script("ccm8_with_connection_id", &[&[0x80, 0]]),
        script("ccm", &[&[1, 0]]),
        script("gcm", &[&[2, 0]]),
        script("time_unknown", &[&[0x80, 0x10]]),
        script("late_and_unknown", &[&[0x80, 0x13]]),
        script("wrong_name", &[&[0, 1]]),
        script("stranger", &[&[0x80, 2]]),
        script("late", &[&[2, 3]]),
        script("out_of_order", &[&[0x80, 0, 0, 0, 6, 0, 6, 0, 0, 6]]),
        script("lost_and_repeated", &[&[0x80, 0, 0, 0, 5, 14, 8, 0, 0, 7, 1, 0, 5, 14, 8, 0]]),
        script(
            "damaged_certificate",
            &[&[0x80, 0, 0, 0, 0], &damage(0, [1, 0], 0x30), &damage(1, [0, 90], 6)],
        ),
        script("damaged_request", &[&[0x82, 0, 0, 0, 0], &damage(0, [0, 30], 0xff), &[14, 0x80, 4]]),
        script("cut_off", &[&[0x80, 0, 0, 0, 0, 0x28, 1, 0, 0, 9, 1, 0, 60]]),
        script(
            "chain_and_roots",
            &[&[0x80, 0x80], &chunk(b"-----BEGIN CERTIFICATE-----\nMIIBAA==\n-----END CERTIFICATE-----\n")],
        ),
        script("alert", &[&[0x80, 0, 0, 0, 11 | 0x10, 21, 0, 9, 2, 2, 42, 14, 0x80, 0xff]]),
    ]
}

fn inbound() -> Vec<Seed> {
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let manifest = format!(
        "a3 01 1a614266ca 02 7840 '{a}' 03 81 a6 01 64 'main' 02 65 '1.2.2' 03 7840 '{b}' 04 191388 05 71 '/.u/c/main@1.2.2x' 06 67 'default'"
    );
    let indefinite = "bf 03 9f ff 01 1b1122334455667788 ff";
    let settings = "a2 68 'settings' a5 68 'TEST_INT' 182a 69 'TEST_BOOL' f5 6a 'TEST_FLOAT' fb40091eb851eb851f \
        6b 'TEST_STRING' 63 'bar' 73 'TEST_NOT_REGISTERED' 181b 67 'version' 1b00000180a96af86f";
    let call = "a3 62 'id' 66 'abc/12' 66 'method' 71 'basic_return_type' 66 'params' 81 63 'int'";
    let many = "bf 62 'id' 7f 61 'a' 61 'b' ff 66 'method' 61 'm' 66 'params' 9f f6 f5 20 f97e00 fa7f800000 a0 80 41 00 1bffffffffffffffff ff ff";
    [
        ("manifest", manifest.as_str()),
        ("manifest_none", "a0"),
        ("manifest_indefinite", indefinite),
        ("settings", settings),
        ("settings_null", "a2 68 'settings' f6 67 'version' f6"),
        ("settings_twice", "a2 68 'settings' a2 61 'a' 01 61 'a' 02 67 'version' 01"),
        ("call", call),
        ("call_of_everything", many),
        ("greeting", "62 'OK'"),
        ("endless", "9b ffffffffffffffff"),
    ]
    .map(|(name, vector)| seed("golioth_inbound", name, hex(vector)))
    .into()
}

fn outbound() -> Vec<Seed> {
    let texts =
        |one: &str, two: &str, three: &str| [one, two, three].map(|text| chunk(text.as_bytes())).concat();
    vec![
        seed(
            "golioth_outbound",
            "short",
            [vec![0, 0], texts("main", "1.2.3", "1.2.4"), 7i64.to_be_bytes().to_vec()].concat(),
        ),
        seed("golioth_outbound", "long", [vec![0xff, 0x10], texts(&"ä".repeat(60), "module", "")].concat()),
        seed(
            "golioth_outbound",
            "not_a_number",
            [vec![1, 3], texts("id", "key", "value"), f64::NAN.to_be_bytes().to_vec()].concat(),
        ),
        seed("golioth_outbound", "errors", [vec![2, 0x42], texts("KEY", "OTHER", "€")].concat()),
    ]
}

fn batches() -> Vec<Seed> {
    let rows = [
        (
            "epoch_and_rows",
            "83 a4 61 'e' 44 deadbeef 62 'ep' 48 deadbeef01020304 62 'pe' 48 0a0b0c0d0e0f1011 \
             62 'ls' a2 65 'bus-0' 1903e8 65 'modem' 07 \
             a6 61 'e' 44 deadbeef 61 's' 190102 61 't' 1b0000019aa07df280 62 't1' f94a26 61 'p' f6 61 'q' a1 61 'p' 03 \
             a5 61 'e' 44 deadbeef 61 's' 190103 61 'b' 11 61 'm' 19ea60 62 'o1' f5",
        ),
        ("clock", "81 a5 61 'e' 44 deadbeef 61 'b' 11 61 'o' 1b0000019aa07df280 61 'u' 1901f4 61 't' 1b0000019aa07df000"),
        (
            "loss",
            "81 a3 61 'e' 44 deadbeef 61 't' 1b0000019aa07df280 64 'loss' a8 62 'of' 67 'dropped' 63 'why' 65 'quota' \
             61 'n' 05 66 'stream' 62 't1' 64 'from' 01 62 'to' 05 64 'file' 44 01020304 62 'id' 01",
        ),
        ("numbers", "81 a9 61 'e' 44 deadbeef 61 's' 01 61 't' 02 61 'u' 191388 61 'x' fb3ff199999999999a 61 'y' fa47c35000 61 'z' f93c00 61 'w' 3bffffffffffffff00 62 'tx' 64 'text'"),
        ("empty", "80"),
    ]
    .map(|(name, vector)| seed("golioth_rows", name, hex(vector)));
    let columns = [
        (
            "worked_example",
            "83 01 44 1f2e3d4c 58 29 10 7f 52 02 80 82f085e4be68 d00f bd00 02 02 'lv' 91 01 03 01 07 81 b003 02 4e80 \
             02 'pu' a6 01 01 01 00 7f 02 00",
        ),
        ("one_of_a_boot", "83 01 44 1f2e3d4c 4b 05 07 02 04 01 02 't1' 12 0a 00"),
        ("mixed", "83 01 44 1f2e3d4c 51 04 02 80 01 01 01 'x' 29 04 05 'texts' 00 00"),
        ("none", "83 01 44 1f2e3d4c 40"),
        ("of_another_version", "83 02 44 1f2e3d4c 40"),
    ]
    .map(|(name, vector)| seed("golioth_columns", name, hex(vector)));
    rows.into_iter().chain(columns).collect()
}
