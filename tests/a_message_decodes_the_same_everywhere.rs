//! What the gateway sends is what everybody reads: `fieldgate decode` and the JavaScript of `docs/pipelines/decode.mjs` make the same
//! of the messages in `docs/pipelines/vectors.json`, and those are what the gateway's packers write.
//!
//! Without `node` its half is left out, and says so; with `CI=true` it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use fieldgate_golioth_proto::columns::{ColumnsPacker, Reading};
use fieldgate_golioth_proto::rows::{
    ClockStatement, EpochStatement, LossStatement, PreviousEpoch, Push, Resolution, Row, RowTime, RowValue,
    RowsPacker, Value,
};
use serde_json::Value as Json;

const EPOCH: [u8; 4] = [0x1f, 0x2e, 0x3d, 0x4c];
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pipelines/vectors.json");
const DECODER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pipelines/decode.mjs");

/// Reads a message a line in hexadecimal; writes its objects a line, as an array, or the word `refused`.
const SCRIPT: &str = r#"
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const { decode } = await import(pathToFileURL(process.argv[1]));
for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  let said = "refused";
  try {
    said = JSON.stringify(decode(Uint8Array.from(Buffer.from(line, "hex"))));
  } catch {}
  console.log(said);
}
"#;

/// Asks the webhook with and without its secret, and with what is no message; writes status and body of each answer.
const WEBHOOK: &str = r#"
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const webhook = (await import(pathToFileURL(process.argv[1]))).default;
const message = Buffer.from(readFileSync(0, "utf8").trim(), "hex");
const ask = async (body, headers, environment) => {
  const request = new Request("https://decode.example", { method: "POST", body, headers });
  const answer = await webhook.fetch(request, environment);
  console.log(answer.status, answer.headers.get("content-type"), await answer.text());
};
await ask(message, { "x-fieldgate-secret": "s" }, { SECRET: "s" });
await ask(message, { "x-fieldgate-secret": "t" }, { SECRET: "s" });
await ask(message, { "x-fieldgate-secret": "" }, {});
await ask(message.subarray(1), { "x-fieldgate-secret": "s" }, { SECRET: "s" });
"#;

fn wall(unix_ms: i64, uncertainty_ms: u32) -> RowTime {
    RowTime::Wall { unix_ms, uncertainty_ms }
}

fn steps(mantissa: i64, numerator: u32, denominator: u32) -> Value<'static> {
    Value::Scaled { mantissa, resolution: Resolution::rational(numerator, denominator).unwrap() }
}

fn columns(readings: &[Reading<'_>]) -> Vec<u8> {
    let mut packer = ColumnsPacker::new(1024);
    assert_eq!(packer.pack(EPOCH, readings), Ok(readings.len()));
    packer.message().to_vec()
}

fn reading<'a>(
    group: &'a str,
    sequence: u64,
    time: RowTime,
    alias: &'a str,
    value: Value<'a>,
) -> Reading<'a> {
    Reading { group, sequence, time, alias, value, quality: 0 }
}

/// Temperature, humidity and a switch, with jitter, a hole, a gap, and what is not good.
fn ordinary() -> Vec<u8> {
    let at = |i: i64| wall(1_795_132_800_000 + i * 1000 + i * 37 % 11 - 5, 50);
    let mut readings = Vec::new();
    for i in 0..40_i64 {
        let sequence = 1_000_000 + i.unsigned_abs() + if i < 25 { 0 } else { 700 };
        readings.push(reading("bus/a", sequence, at(i), "te", steps(215 + i * i % 7 - i % 3, 1, 10)));
        if i % 9 != 4 {
            readings.push(reading("bus/a", sequence, at(i), "hu", steps(4020 - i * 3, 1, 100)));
        }
        let on = Reading {
            quality: u8::from(i == 30),
            ..reading("bus/a", sequence, at(i), "on", Value::Bool(i > 17))
        };
        readings.push(on);
    }
    readings[20].value = Value::Missing;
    readings[20].quality = 2;
    columns(&readings)
}

/// Every kind of column and both ends of what a number can be, of two groups, one of them not dated.
fn unusual() -> Vec<u8> {
    let mut readings = Vec::new();
    let texts = ["", "Störung", "\u{1F6B1} \"x\"\n"];
    for i in 0..6_usize {
        let (n, time) = (i as i64, wall(-5_000_000 + 997 * i as i64, 900 + 200 * i as u32));
        let add = [
            ("single", Value::Float(n as f64 * 0.25 - 0.5)),
            ("double", Value::Float([0.1, -1.0e-7, 1_234_567.891, 1.0e21, -0.3, 2.5e-15][i])),
            ("text", Value::Text(texts[i % 3])),
            ("third", steps(n * 7 - 20, 1, 3)),
            ("grams", steps(n - 2, 1000, 1)),
            ("jump", steps(if i == 3 { 1 << 40 } else { n }, 1, 1)),
            ("none", Value::Missing),
        ];
        readings.extend(add.map(|(alias, value)| reading("g", 9 + i as u64, time, alias, value)));
        let time = RowTime::Boot { boot: 0xdead_beef, mono_ms: 10 + 3600 * i as u64 };
        let mixed = [
            Value::Bool(true),
            Value::Text("now text"),
            Value::Float(-0.5),
            steps(-77, 1, 10),
            Value::Integer(1 << 53),
            Value::Bool(false),
        ];
        readings.push(reading("h", 1 + 10 * i as u64, time, "mixed", mixed[i]));
        let extreme = [-(1 << 53), 1 << 53, 0, -1, 1, 12_345_678_901_234][i];
        readings.push(Reading {
            quality: 255,
            ..reading("h", 1 + 10 * i as u64, time, "extreme", Value::Integer(extreme))
        });
    }
    columns(&readings)
}

/// One map of each kind.
fn rows() -> Vec<u8> {
    let mut packer = RowsPacker::new(1024);
    let epoch = EpochStatement {
        epoch: [0x1f, 0x2e, 0x3d, 0x4c, 5, 6, 7, 8],
        previous: Some(PreviousEpoch { epoch: [9; 8], last_sequences: &[("bus", 41), ("modem", 1 << 40)] }),
    };
    assert_eq!(packer.push_epoch(&epoch), Ok(Push::Pushed));
    let value = |alias, value, quality| RowValue { alias, value, quality };
    let values = [
        value("te", steps(-123, 1, 10), 0),
        value("hu", steps(40_203, 1, 1000), 1),
        value("ok", Value::Bool(true), 0),
        value("say", Value::Text("läuft"), 0),
        value("far", Value::Float(1.0e300), 0),
        value("no", Value::Missing, 2),
    ];
    let time = wall(1_795_132_800_000, 2500);
    let row = Row { epoch_prefix: EPOCH, sequence: 70_000, time, values: &values };
    assert_eq!(packer.push(&row), Ok(Push::Pushed));
    let time = RowTime::Boot { boot: 7, mono_ms: 1 << 33 };
    assert_eq!(packer.push(&Row { time, ..row }), Ok(Push::Pushed));
    let clock = ClockStatement {
        epoch_prefix: EPOCH,
        boot: 7,
        unix_ms_at_mono_zero: 1_795_000_000_000,
        dated_with_unix_ms_at_mono_zero: Some(-7),
        uncertainty_ms: 5000,
    };
    assert_eq!(packer.push_clock(&clock), Ok(Push::Pushed));
    let loss = LossStatement {
        epoch_prefix: EPOCH,
        time: wall(1_795_132_900_000, 0),
        of: "missed",
        why: "silent",
        count: Some(12),
        stream: Some("te"),
        sequences: Some((3, 14)),
        file: [1, 2, 3, 4],
        id: 300,
        salvage: None,
    };
    assert_eq!(packer.push_loss(&loss), Ok(Push::Pushed));
    assert_eq!(
        packer.push_loss(&LossStatement { count: None, stream: None, sequences: None, ..loss }),
        Ok(Push::Pushed)
    );
    packer.finish().to_vec()
}

/// Name and message.
fn messages() -> [(&'static str, Vec<u8>); 3] {
    [("ordinary columns", ordinary()), ("unusual columns", unusual()), ("rows and statements", rows())]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn vectors() -> Vec<Json> {
    let file = std::fs::read_to_string(VECTORS).unwrap_or_else(|_| "[]".to_owned());
    serde_json::from_str(&file).unwrap()
}

fn fieldgate(arguments: &[&str], input: &[u8]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_fieldgate")).arg("decode").args(arguments), input).unwrap()
}

fn run(command: &mut Command, input: &[u8]) -> std::io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().unwrap().write_all(input)?;
    child.wait_with_output()
}

/// What a script prints; `None` where there is no node.
fn node(script: &str, input: &str) -> Option<String> {
    let arguments = ["--input-type=module", "-e", script, DECODER];
    let output = match run(Command::new("node").args(arguments), input.as_bytes()) {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "node: {error}");
            // Not by a macro, whose words cargo's own runner keeps to itself when a test passes.
            let _ = writeln!(std::io::stderr(), "left out: the decoder in JavaScript (no node: {error})");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn objects(output: &Output) -> Json {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()).collect::<Vec<_>>().into()
}

/// Numbers as a reader of JSON has them: doubles.
fn as_doubles(value: &Json) -> Json {
    match value {
        Json::Number(number) => number.as_f64().into(),
        Json::Array(items) => items.iter().map(as_doubles).collect::<Vec<_>>().into(),
        Json::Object(keys) => {
            Json::Object(keys.iter().map(|(key, v)| (key.clone(), as_doubles(v))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn the_vectors_are_what_the_gateway_writes_and_its_own_program_reads() {
    let told = messages().map(|(name, message)| {
        let read = objects(&fieldgate(&["--hex", &hex(&message)], &[]));
        serde_json::json!({ "name": name, "hex": hex(&message), "json": read })
    });
    let all = Json::from(told.to_vec());
    assert!(Json::from(vectors()) == all, "docs/pipelines/vectors.json should be:\n{all:#}");
}

#[allow(clippy::disallowed_methods, reason = "a test's file need not survive a power cut")]
#[test]
fn a_file_and_standard_input_read_as_digits_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message");
    for vector in vectors() {
        let digits = vector["hex"].as_str().unwrap();
        let bytes: Vec<u8> = (0..digits.len() / 2)
            .map(|place| u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).unwrap())
            .collect();
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(objects(&fieldgate(&[file.to_str().unwrap()], &[])), vector["json"]);
        assert_eq!(objects(&fieldgate(&["-"], &bytes)), vector["json"]);
    }
}

#[test]
fn what_is_no_message_is_refused_with_the_place_where_it_ends_to_be_one() {
    let whole = hex(&ordinary());
    let cut = fieldgate(&["--hex", &whole[..whole.len() - 40]], &[]);
    assert_eq!(cut.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&cut.stderr).contains("cut short"), "{cut:?}");
    let later = fieldgate(&["--hex", &whole.replacen("8301", "8302", 1)], &[]);
    assert!(String::from_utf8_lossy(&later.stderr).contains("version 2"), "{later:?}");
    let digits = fieldgate(&["--hex", "8x"], &[]);
    assert!(String::from_utf8_lossy(&digits.stderr).contains("hexadecimal"), "{digits:?}");
    let nowhere = fieldgate(&["/nowhere/message"], &[]);
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/nowhere/message"), "{nowhere:?}");
    assert_eq!(fieldgate(&[], &[]).status.code(), Some(2), "neither a file nor digits");
}

#[test]
fn javascript_reads_the_vectors_as_the_gateways_own_program_does() {
    let vectors = vectors();
    let mut lines: Vec<String> = vectors.iter().map(|v| v["hex"].as_str().unwrap().to_owned()).collect();
    // And refuses what is no message: cut short, of a later version, with more instants than there may be.
    lines.push(lines[0][..lines[0].len() - 20].to_owned());
    lines.push(lines[0].replacen("8301", "8302", 1));
    lines.push("8301440102030443ffff7f".to_owned());
    let Some(said) = node(SCRIPT, &lines.join("\n")) else { return };
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), lines.len());
    assert!(!vectors.is_empty());
    for (vector, said) in vectors.iter().zip(&said) {
        let read: Json =
            serde_json::from_str(said).unwrap_or_else(|e| panic!("{}: {e}: {said}", vector["name"]));
        assert_eq!(as_doubles(&read), as_doubles(&vector["json"]), "{}", vector["name"]);
    }
    assert_eq!(said[vectors.len()..], ["refused"; 3]);
}

#[test]
fn the_webhook_answers_whoever_knows_its_secret_and_nobody_where_none_is_set() {
    let vector = vectors().remove(0);
    let Some(said) = node(WEBHOOK, vector["hex"].as_str().unwrap()) else { return };
    let answers: Vec<&str> = said.lines().collect();
    let body = answers[0].strip_prefix("200 application/json ").unwrap_or_else(|| panic!("{said}"));
    assert_eq!(as_doubles(&serde_json::from_str(body).unwrap()), as_doubles(&vector["json"]));
    assert!(answers[1].starts_with("403 ") && answers[2].starts_with("403 "), "{said}");
    assert!(answers[3].starts_with("400 ") && answers.len() == 4, "{said}");
}
