//! What sensors on a serial line may send: frames, sentences, packs, documents, and answers to Modbus requests.

use core::time::Duration;

use fieldgate_sensor_inputs::modbus::{
    Expected, Identification, IdentityLevel, Layout, MOST_FRAME, Step, ValueType, WordOrder, is_of_others,
    without_echo,
};
use fieldgate_sensor_inputs::nmea::{Message, Sentence};
use fieldgate_sensor_inputs::senml::{self, MOST_NAME, MOST_RECORDS, Record, Time};
use fieldgate_sensor_inputs::{
    Carries, Check, CobsFrames, CobsPiece, Datum, Fault, Input, LineHealth, LinePiece, Lines, Mapping, Place,
    Pointer, Probe, Said, Speech, cbor_document, json_document,
};
use minicbor::Encoder;

use crate::feed::Feed;

/// Longest line taken here.
const MOST_LINE: usize = 256;

/// Lines through the splitter, whole and in pieces; each to the sentence reader.
pub(crate) fn nmea(data: &[u8]) -> bool {
    let now = Duration::from_secs(1);
    let mut health = LineHealth::new(Carries::Text, Duration::from_secs(60));
    let mut any = false;
    let cut = lines(data, data.len().max(1));
    assert_eq!(cut, lines(data, 3), "where the bytes are cut does not matter");
    health.heard(now, data);
    for line in &cut {
        let Some(line) = line else {
            health.fault(Fault::Overlong);
            continue;
        };
        assert!(!line.is_empty() && line.len() <= MOST_LINE);
        match Sentence::parse(line) {
            Ok(sentence) => {
                health.good();
                any |= sentence.is_checked();
                sentence_keeps_its_promises(sentence);
            }
            Err(_) => health.fault(Fault::Malformed),
        }
    }
    assert_eq!(health.tally().bytes, data.len() as u64);
    assert!(!health.verdict(now).words().is_empty());
    any
}

/// Every line; `None` stands for an overlong one.
fn lines(data: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    let (mut lines, mut found) = (Lines::new(MOST_LINE), Vec::new());
    for mut rest in data.chunks(piece) {
        while let Some(piece) = lines.next(&mut rest) {
            found.push(match piece {
                LinePiece::Line(line) => Some(line.to_vec()),
                LinePiece::Overlong => None,
            });
        }
    }
    found
}

fn sentence_keeps_its_promises(sentence: Sentence<'_>) {
    let content = if sentence.fields() == 0 && sentence.body().is_empty() {
        sentence.address().to_owned()
    } else {
        format!("{},{}", sentence.address(), sentence.body())
    };
    let sum = content.bytes().fold(0, |sum, byte| sum ^ byte);
    let again = format!("${content}*{sum:02X}");
    let again = Sentence::parse(again.as_bytes());
    assert_eq!(
        again.map(|again| (again.address(), again.body())),
        Ok((sentence.address(), sentence.body())),
        "what was read reads as the same again"
    );
    let Ok(message) = Message::read(sentence) else { return };
    // From 1980 to the last date four digits can write.
    assert!(message.unix_ms().is_none_or(|ms| (315_532_800_000..2_005_949_145_600_000).contains(&ms)));
    message.values(&mut |value| {
        let number = value.datum.number();
        assert!(number.is_none_or(f64::is_finite), "{value:?}");
        match &*value.name {
            "latitude" if value.unit == "deg" => assert!(number.is_none_or(|n| n.abs() <= 90.0)),
            "longitude" if value.unit == "deg" => assert!(number.is_none_or(|n| n.abs() <= 180.0)),
            _ => {}
        }
    });
}

/// A pack in either encoding; what it resolves to is a pack that resolves to the same.
pub(crate) fn senml(data: &[u8]) -> bool {
    let mut any = false;
    for pack in [senml::json(data), senml::cbor(data)] {
        let Ok(records) = pack else { continue };
        any |= !records.is_empty();
        assert!(records.len() <= MOST_RECORDS);
        for record in &records {
            assert!((1..=MOST_NAME).contains(&record.name.len()));
            assert_ne!(senml::ucum(&record.unit), "%RH");
            let numbers = [record.value.number(), record.sum, record.update_s];
            assert!(numbers.into_iter().flatten().all(f64::is_finite));
        }
        assert_eq!(senml::cbor(&resolved(&records)), Ok(records));
    }
    any
}

/// A pack without base fields.
fn resolved(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    let mut written = encoder.array(records.len() as u64).map(|_| ());
    for record in records {
        let (Time::Relative(seconds) | Time::Absolute(seconds)) = record.time;
        let has_value = record.value != Datum::Absent;
        let fields =
            3 + u64::from(has_value) + u64::from(record.sum.is_some()) + u64::from(record.update_s.is_some());
        written = written.and_then(|()| {
            encoder.map(fields)?.i8(0)?.str(&record.name)?.i8(1)?.str(&record.unit)?.i8(6)?.f64(seconds)?;
            match &record.value {
                Datum::Integer(whole) => encoder.i8(2)?.i64(*whole)?,
                Datum::Number(number) => encoder.i8(2)?.f64(*number)?,
                Datum::Text(text) => encoder.i8(3)?.str(text)?,
                Datum::Bool(flag) => encoder.i8(4)?.bool(*flag)?,
                Datum::Absent => &mut encoder,
            };
            if let Some(sum) = record.sum {
                encoder.i8(5)?.f64(sum)?;
            }
            if let Some(update) = record.update_s {
                encoder.i8(7)?.f64(update)?;
            }
            Ok(())
        });
    }
    assert!(written.is_ok());
    bytes
}

/// The first byte chooses the checksum and the longest frame, the rest is what the wire carries.
pub(crate) fn cobs(data: &[u8]) -> bool {
    let Some((choice, wire)) = data.split_first() else { return false };
    let checks = [Check::None, Check::Crc16, Check::Crc16Little, Check::Crc32, Check::Crc32Little];
    let check = checks[usize::from(choice % 5)];
    let most = 8 + usize::from(choice / 5) * 12;
    let heard = frames(wire, wire.len().max(1), most, check);
    assert_eq!(heard, frames(wire, 2, most, check), "where the bytes are cut does not matter");
    for frame in heard.iter().flatten() {
        assert!(!frame.is_empty() && frame.len() <= most);
        let again = stuffed(frame);
        assert_eq!(frames(&again, again.len(), most, Check::None), [Some(frame.clone())]);
    }
    let then = [wire, &[0], &stuffed(b"whole")].concat();
    assert_eq!(frames(&then, then.len(), most, Check::None).last(), Some(&Some(b"whole".to_vec())));
    heard.iter().any(Option::is_some)
}

/// Every frame; `None` stands for one that is none.
fn frames(wire: &[u8], piece: usize, most: usize, check: Check) -> Vec<Option<Vec<u8>>> {
    let (mut decoder, mut heard) = (CobsFrames::new(most, check), Vec::new());
    for mut rest in wire.chunks(piece) {
        while let Some(piece) = decoder.next(&mut rest) {
            heard.push(match piece {
                CobsPiece::Frame(content) => Some(content.to_vec()),
                _ => None,
            });
        }
    }
    heard
}

/// As the paper has it, with an empty block behind a last one of 254 bytes.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for block in content.split(|byte| *byte == 0) {
        let (full, rest) = block.as_chunks::<254>();
        for full in full {
            wire.push(0xff);
            wire.extend(full);
        }
        wire.push(u8::try_from(rest.len() + 1).unwrap_or(0xff));
        wire.extend(rest);
    }
    wire.push(0);
    wire
}

/// Paths, one a line, as a chunk; then a document in JSON or CBOR.
pub(crate) fn mapping(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let paths = feed.text();
    let rest = feed.take(usize::MAX);
    let pointers: Vec<Pointer> = paths.lines().filter_map(|path| Pointer::new(path).ok()).collect();
    let Ok(mapping) = Mapping::new(pointers.clone()) else { return false };
    let mut any = false;
    for document in [json_document(rest).ok(), cbor_document(rest).ok()].into_iter().flatten() {
        let mut last = None;
        let wrong = mapping.apply(&document, &mut |stream, datum| {
            assert!(stream < pointers.len() && last < Some(stream), "each stream once, in order");
            assert!(datum.number().is_none_or(f64::is_finite));
            last = Some(stream);
            any = true;
        });
        assert!(wrong <= pointers.len());
    }
    any
}

/// The first byte chooses what is spoken; places, one a line, as a chunk; then the wire. Every message is closed and counted once,
/// wherever the bytes are cut. A probe on the same line ends.
pub(crate) fn sensor_input(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let speeches = [
        Speech::Json,
        Speech::Senml,
        Speech::Nmea { unchecked: true },
        Speech::CobsCbor(Check::None),
        Speech::CobsSenml(Check::Crc16),
        Speech::Application { mark: String::new() },
        Speech::Application { mark: "#APP".to_owned() },
    ];
    let speech = &speeches[usize::from(feed.byte()) % speeches.len()];
    let places = feed.text();
    let wire = feed.take(usize::MAX);
    let places: Vec<Place> = places.lines().filter_map(|place| Place::new(speech, place).ok()).collect();
    let count = places.len();
    let hear = |piece: usize| {
        let mut input = Input::new(speech.clone(), places.clone(), Duration::from_secs(60)).ok()?;
        let mut said = Vec::new();
        for bytes in wire.chunks(piece) {
            input.handle_bytes(Duration::ZERO, bytes, &mut |thing| {
                assert!(!matches!(thing, Said::Value { stream, .. } if stream >= count), "{thing:?}");
                said.push(format!("{thing:?}"));
            });
        }
        Some((said, input.health().tally()))
    };
    let Some((said, tally)) = hear(wire.len().max(1)) else { return false };
    let in_pieces = hear(5).map(|(said, tally)| (said, tally.good, tally.damaged(), tally.foreign));
    // Which bytes are odd depends on where a character is cut.
    assert_eq!(in_pieces, Some((said.clone(), tally.good, tally.damaged(), tally.foreign)));
    assert_eq!(said.iter().filter(|thing| *thing == "End").count() as u64, tally.good);
    let mut probe = Probe::new(Duration::ZERO, vec![1]);
    let mut steps = 0;
    while let Some(due) = probe.poll_timeout() {
        probe.handle_bytes(due, wire);
        probe.handle_timeout(due);
        steps += 1;
        assert!(steps < 100, "the probe does not end");
    }
    tally.good > 0
}

/// Unit, request, what the wire carries. What passes is a frame of that unit and function with a right checksum.
pub(crate) fn modbus_answers(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let unit = feed.byte();
    let request = feed.chunk();
    let heard = feed.take(usize::MAX);
    let _ = is_of_others(heard, request, unit);
    let heard = without_echo(heard, request);
    let Some(expected) = Expected::to(unit, request) else { return false };
    let Some(found) = expected.find(heard) else { return false };
    // A line is looked at whenever bytes come: what passes early is what passes late, or lies before it.
    let early = (0..=heard.len()).find_map(|len| expected.find(heard.get(..len)?));
    assert!(early.is_some_and(|early| early.end <= found.end));
    let frame = heard.get(found).unwrap_or_default();
    assert!((4..=MOST_FRAME).contains(&frame.len()));
    let function = request.first().copied().unwrap_or(0);
    assert!(
        frame.first() == Some(&unit) && frame.get(1).is_some_and(|found| found & 0x7f == function & 0x7f)
    );
    assert_eq!(crc16(frame), 0, "a frame with its checksum has none");
    if function == 0x2b {
        let mut identity = Identification::new(IdentityLevel::Regular);
        let told = identity.take(frame.get(1..frame.len() - 2).unwrap_or_default());
        assert!(told != Ok(Step::Ask) || identity.request()[3] > 0);
    }
    let words: Vec<u16> = frame
        .get(3..)
        .unwrap_or_default()
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    for order in [WordOrder::Abcd, WordOrder::Cdab, WordOrder::Badc, WordOrder::Dcba] {
        for value_type in [ValueType::Int16, ValueType::Uint32, ValueType::Float32, ValueType::Int64] {
            let layout = Layout::Number { value_type, order };
            let words = words.get(..usize::from(layout.addresses()));
            assert_eq!(words.is_some(), words.and_then(|words| layout.read(words)).is_some());
        }
        let registers = u8::try_from(words.len()).unwrap_or(u8::MAX);
        let _ = Layout::Text { registers, order }.read(&words);
    }
    true
}

/// CRC-16/MODBUS, bit by bit.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |mut crc, byte| {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 };
        }
        crc
    })
}
