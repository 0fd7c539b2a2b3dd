//! The cloud's own reader of the gateway's `rows` batches: a CBOR array of maps, read with the cloud's words only.
//!
//! | key | value |
//! |---|---|
//! | `e` | first 4 bytes of the store epoch, a byte string |
//! | `s` | sequence |
//! | `t` | Unix milliseconds of capture, or instead `b` and `m`: boot id and milliseconds since that boot |
//! | `u` | uncertainty of the time in milliseconds |
//! | `q` | map of alias to quality, where it is not 0 |
//! | `ep`, `pe`, `ls` | an epoch statement: this epoch in 8 bytes, the one before, its last sequence by group |
//! | `o` | a clock statement: Unix milliseconds when the clock of boot `b` stood at zero; with `t`, what rows were dated with |
//! | `loss` | a loss statement, a map: `of`, `why`, `n` or null, `stream`, `from`, `to`, `held`, `kept`, `file`, `id`; with its time |
//! | other | a stream's alias, with its value |

use super::{Loss, PreviousEpoch, Stated};
use crate::cloud::cbor::{Rest, Undecodable, text};
use minicbor::Decoder;
use minicbor::data::Type;
use std::borrow::Cow;

/// One map of a batch.
#[derive(Debug, PartialEq)]
pub(super) enum Element<'b> {
    Row {
        epoch: [u8; 4],
        sequence: u64,
        stated: Stated,
        values: Vec<RowValue<'b>>,
    },
    Epoch {
        prefix: [u8; 4],
        epoch: [u8; 8],
        previous: Option<PreviousEpoch>,
    },
    Clock {
        epoch: [u8; 4],
        boot: u64,
        unix_ms_at_mono_zero: i64,
        dated_with_ms: Option<i64>,
        uncertainty_ms: Option<u64>,
    },
    Loss(Loss),
}

#[derive(Debug, PartialEq)]
pub(super) struct RowValue<'b> {
    pub(super) alias: Cow<'b, str>,
    pub(super) value: Scalar<'b>,
    pub(super) quality: u8,
}

/// A value as it was sent; a float that is whole is an integer, as it is for whoever reads the JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'b> {
    Missing,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Cow<'b, str>),
}

/// Why a body is no batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotRows {
    /// Not an array of maps with an `e`: somebody else's message.
    #[error("not a batch of rows")]
    Foreign,
    /// It set out to be one.
    #[error("element {index}: {what}")]
    Broken { index: usize, what: String },
}

/// Reads a whole batch, or says what is wrong with it. A broken element makes the whole batch broken.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Element<'_>>, NotRows> {
    let mut decoder = Decoder::new(body);
    let length = match decoder.datatype() {
        Ok(Type::Array | Type::ArrayIndef) => decoder.array().map_err(|_| NotRows::Foreign)?,
        _ => return Err(NotRows::Foreign),
    };
    let mut rest = Rest::new(length);
    let mut elements = Vec::new();
    loop {
        let index = elements.len();
        let broken = |what: String| {
            // Whether it was ours is known once the first map was read.
            if index == 0 { NotRows::Foreign } else { NotRows::Broken { index, what } }
        };
        if !rest.another(&mut decoder).map_err(|e| broken(e.to_string()))? {
            break;
        }
        let keys = Keys::read(&mut decoder).map_err(|problem| match problem {
            Problem::Undecodable(error) => broken(error.to_string()),
            Problem::Wrong { ours: false, .. } if index == 0 => NotRows::Foreign,
            Problem::Wrong { what, .. } => NotRows::Broken { index, what },
        })?;
        elements.push(keys.element().map_err(|what| NotRows::Broken { index, what: what.to_owned() })?);
    }
    if decoder.position() != body.len() {
        return Err(NotRows::Broken { index: elements.len(), what: "bytes follow the batch".to_owned() });
    }
    if elements.is_empty() { Err(NotRows::Foreign) } else { Ok(elements) }
}

#[derive(Default)]
struct Keys<'b> {
    e: Option<[u8; 4]>,
    s: Option<u64>,
    t: Option<i64>,
    u: Option<u64>,
    b: Option<u64>,
    m: Option<u64>,
    o: Option<i64>,
    ep: Option<[u8; 8]>,
    pe: Option<[u8; 8]>,
    ls: Option<Vec<(String, u64)>>,
    loss: Option<Loss>,
    q: Vec<(String, u64)>,
    values: Vec<RowValue<'b>>,
}

enum Problem {
    Undecodable(Undecodable),
    /// `ours`: an `e` of 4 bytes stood before it.
    Wrong {
        ours: bool,
        what: String,
    },
}

impl From<Undecodable> for Problem {
    fn from(error: Undecodable) -> Self {
        Self::Undecodable(error)
    }
}

impl From<minicbor::decode::Error> for Problem {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Undecodable(error.into())
    }
}

impl<'b> Keys<'b> {
    fn read(decoder: &mut Decoder<'b>) -> Result<Self, Problem> {
        let mut keys = Self::default();
        if !matches!(decoder.datatype()?, Type::Map | Type::MapIndef) {
            return Err(Problem::Wrong { ours: false, what: "not a map".to_owned() });
        }
        let mut rest = Rest::new(decoder.map()?);
        while rest.another(decoder)? {
            if !matches!(decoder.datatype()?, Type::String | Type::StringIndef) {
                return Err(keys.wrong("a key is no text"));
            }
            let key = text(decoder)?;
            keys.entry(decoder, key)?;
        }
        if keys.e.is_none() {
            return Err(keys.wrong("no epoch"));
        }
        Ok(keys)
    }

    fn entry(&mut self, decoder: &mut Decoder<'b>, key: Cow<'b, str>) -> Result<(), Problem> {
        let before = decoder.position();
        let read = match key.as_ref() {
            "e" => put(&mut self.e, bytes(decoder)),
            "s" => put(&mut self.s, decoder.u64().ok()),
            "t" => put(&mut self.t, decoder.i64().ok()),
            "u" => put(&mut self.u, decoder.u64().ok()),
            "b" => put(&mut self.b, decoder.u64().ok()),
            "m" => put(&mut self.m, decoder.u64().ok()),
            "o" => put(&mut self.o, decoder.i64().ok()),
            "ep" => put(&mut self.ep, bytes(decoder)),
            "pe" => put(&mut self.pe, bytes(decoder)),
            "ls" => {
                let named = named(decoder)?;
                put(&mut self.ls, Some(named))
            }
            "loss" => {
                let stated = loss(decoder)?;
                put(&mut self.loss, stated)
            }
            "q" => {
                self.q.append(&mut named(decoder)?);
                true
            }
            _ => {
                let Some(value) = scalar(decoder)? else {
                    return Err(self.wrong(&format!("{key:?} is no scalar")));
                };
                if self.values.iter().any(|other| other.alias == key) {
                    return Err(self.wrong(&format!("{key:?} stands twice")));
                }
                self.values.push(RowValue { alias: key, value, quality: 0 });
                return Ok(());
            }
        };
        if read {
            Ok(())
        } else {
            Err(self.wrong(&format!("{key:?} at byte {before} is not as it should be")))
        }
    }

    fn wrong(&self, what: &str) -> Problem {
        Problem::Wrong { ours: self.e.is_some(), what: what.to_owned() }
    }

    fn element(mut self) -> Result<Element<'b>, &'static str> {
        let prefix = self.e.ok_or("no epoch")?;
        if let Some(epoch) = self.ep {
            if !epoch.starts_with(&prefix) {
                return Err("the epoch does not begin with its prefix");
            }
            if self.s.is_some() || !self.values.is_empty() {
                return Err("an epoch statement with readings");
            }
            let previous = match (self.pe, self.ls) {
                (Some(epoch), Some(last_sequences)) => Some(PreviousEpoch { epoch, last_sequences }),
                (None, None) => None,
                _ => return Err("a previous epoch and its last sequences belong together"),
            };
            return Ok(Element::Epoch { prefix, epoch, previous });
        }
        if let Some(loss) = self.loss {
            if self.s.is_some() || !self.values.is_empty() {
                return Err("a loss statement with readings");
            }
            return Ok(Element::Loss(loss));
        }
        if let Some(unix_ms_at_mono_zero) = self.o {
            let boot = self.b.ok_or("a clock statement without its boot")?;
            let (dated_with_ms, uncertainty_ms) = (self.t, self.u);
            return Ok(Element::Clock {
                epoch: prefix,
                boot,
                unix_ms_at_mono_zero,
                dated_with_ms,
                uncertainty_ms,
            });
        }
        let sequence = self.s.ok_or("no sequence")?;
        let stated = match (self.t, self.b, self.m) {
            (Some(unix_ms), None, None) => Stated::Wall { unix_ms, uncertainty_ms: self.u },
            (None, Some(boot), Some(mono_ms)) => Stated::Boot { boot, mono_ms },
            _ => return Err("neither wall time nor boot time, or both"),
        };
        if self.values.is_empty() {
            return Err("no value");
        }
        for (alias, quality) in self.q {
            let value = self.values.iter_mut().find(|value| value.alias == alias.as_str());
            value.ok_or("a quality without its value")?.quality =
                u8::try_from(quality).map_err(|_| "a quality above 255")?;
        }
        Ok(Element::Row { epoch: prefix, sequence, stated, values: self.values })
    }
}

fn put<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let good = slot.is_none() && value.is_some();
    *slot = value;
    good
}

fn bytes<const N: usize>(decoder: &mut Decoder<'_>) -> Option<[u8; N]> {
    decoder.bytes().ok()?.try_into().ok()
}

fn named(decoder: &mut Decoder<'_>) -> Result<Vec<(String, u64)>, Undecodable> {
    let mut rest = Rest::new(decoder.map()?);
    let mut all = Vec::new();
    while rest.another(decoder)? {
        all.push((text(decoder)?.into_owned(), decoder.u64()?));
    }
    Ok(all)
}

/// `None` where a key is unknown or one that is needed is not there.
fn loss(decoder: &mut Decoder<'_>) -> Result<Option<Loss>, Undecodable> {
    let mut rest = Rest::new(decoder.map()?);
    let (mut of, mut why, mut stream, mut file, mut id) = (None, None, None, None, None);
    let mut count = None;
    while rest.another(decoder)? {
        match text(decoder)?.as_ref() {
            "of" => of = Some(text(decoder)?.into_owned()),
            "why" => why = Some(text(decoder)?.into_owned()),
            "stream" => stream = Some(text(decoder)?.into_owned()),
            "n" if decoder.datatype()? == Type::Null => {
                decoder.null()?;
                count = Some(None);
            }
            "n" => count = Some(Some(decoder.u64()?)),
            "from" | "to" | "kept" => {
                decoder.u64()?;
            }
            "held" if decoder.datatype()? == Type::Null => decoder.null()?,
            "held" => {
                decoder.u64()?;
            }
            "file" => file = bytes(decoder),
            "id" => id = Some(decoder.u64()?),
            _ => return Ok(None),
        }
    }
    let (Some(of), Some(why), Some(count), Some(file), Some(id)) = (of, why, count, file, id) else {
        return Ok(None);
    };
    Ok(Some(Loss { of, why, stream, count, file, id }))
}

/// `None` for an array, a map, bytes, or a number no double stands for.
fn scalar<'b>(decoder: &mut Decoder<'b>) -> Result<Option<Scalar<'b>>, Undecodable> {
    Ok(Some(match decoder.datatype()? {
        Type::Null => {
            decoder.null()?;
            Scalar::Missing
        }
        Type::Bool => Scalar::Bool(decoder.bool()?),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 => {
            Scalar::Integer(decoder.i64()?)
        }
        Type::F16 => whole_or_not(f64::from(decoder.f16()?)),
        Type::F32 => whole_or_not(f64::from(decoder.f32()?)),
        Type::F64 => whole_or_not(decoder.f64()?),
        Type::String | Type::StringIndef => Scalar::Text(text(decoder)?),
        _ => return Ok(None),
    }))
}

fn whole_or_not<'b>(number: f64) -> Scalar<'b> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        Scalar::Integer(number as i64)
    } else {
        Scalar::Float(number)
    }
}
