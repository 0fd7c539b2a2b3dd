//! The firmware manifest of `.u/desired`: which artifacts the cloud wants on this device.
//!
//! The document is a CBOR map with integer keys (Golioth device API, OTA): 1 sequence number, 3 components; in a
//! component 1 package, 2 version, 3 hash, 4 size, 5 uri. Other keys exist (2, the manifest's own hash; 6, the
//! artifact's type) and more may come: all are passed over.
//!
//! Nothing wanted is a value, [`Desired::Nothing`], not an error: the cloud says it with the empty map `a0`. Half a
//! manifest is an error: acting on it could leave components behind.

use core::fmt;

use crate::cbor::{Fault, Reader};
use crate::paths;

/// Most components a manifest may have. Golioth's own SDK takes one unless told otherwise.
pub const MAX_COMPONENTS: usize = 16;
/// Longest package, version or uri, in bytes.
pub const MAX_TEXT_BYTES: usize = 128;

const SEQUENCE_NUMBER: u64 = 1;
const COMPONENTS: u64 = 3;
const PACKAGE: u64 = 1;
const VERSION: u64 = 2;
const HASH: u64 = 3;
const SIZE: u64 = 4;
const URI: u64 = 5;

/// What the cloud wants on this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Desired {
    /// No deployment addresses this device.
    Nothing,
    /// These artifacts, and no others.
    Deployment(Manifest),
}

/// A deployment as the cloud describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Grows with every deployment. Up to 19 digits are in use: some are seconds, some nanoseconds since 1970.
    pub sequence_number: u64,
    /// At most [`MAX_COMPONENTS`], no package twice; may be empty.
    pub components: Vec<Component>,
}

/// One artifact of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The package's name, such as `main`; fit for [`paths::component`].
    pub package: String,
    /// Free text; equal text is the same version.
    pub version: String,
    /// SHA-256 of the artifact's bytes.
    pub sha256: [u8; 32],
    /// The artifact's length in bytes.
    pub size_bytes: u64,
    /// Where it is, as the cloud wrote it: `/.u/c/main@1.2.4`; fit for [`paths::artifact`].
    pub uri: String,
}

/// A field of the document, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The document as a whole.
    Document,
    /// Its sequence number.
    SequenceNumber,
    /// Its list of components.
    Components,
    /// A component's package.
    Package,
    /// A component's version.
    Version,
    /// A component's hash.
    Hash,
    /// A component's size.
    Size,
    /// A component's uri.
    Uri,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Document => "the document",
            Self::SequenceNumber => "the sequence number",
            Self::Components => "the list of components",
            Self::Package => "package",
            Self::Version => "version",
            Self::Hash => "hash",
            Self::Size => "size",
            Self::Uri => "uri",
        })
    }
}

/// Why a manifest is not acted on. What is installed stays as it is; the cloud sends the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The document has one of sequence number and components, and not the other.
    #[error("the firmware manifest lacks {missing}: nothing is installed from it; deploy again")]
    Incomplete {
        /// What is not there.
        missing: Field,
    },
    /// A component lacks a field.
    #[error(
        "component {index} of the firmware manifest lacks its {missing}: nothing is installed from it; deploy again"
    )]
    IncompleteComponent {
        /// Its place in the list, from 0.
        index: usize,
        /// What is not there.
        missing: Field,
    },
    /// A field of the document is wrong.
    #[error("in the firmware manifest, {field}: {fault}; nothing is installed from it; deploy again")]
    Bad {
        /// Which.
        field: Field,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A field of a component is wrong.
    #[error(
        "in component {index} of the firmware manifest, {field}: {fault}; nothing is installed from it; check the artifact and deploy again"
    )]
    BadComponent {
        /// Its place in the list, from 0.
        index: usize,
        /// Which.
        field: Field,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// Reads the payload of `.u/desired`.
pub fn decode(payload: &[u8]) -> Result<Desired, ManifestError> {
    let document = in_field(Field::Document);
    let mut reader = Reader::new(payload);
    let mut sequence_number = None;
    let mut components = None;
    let mut entries = reader.map().map_err(document)?;
    while entries.another(&mut reader).map_err(document)? {
        match key(&mut reader).map_err(document)? {
            Some(SEQUENCE_NUMBER) => {
                let number = reader.unsigned();
                set(&mut sequence_number, number).map_err(in_field(Field::SequenceNumber))?;
            }
            Some(COMPONENTS) => {
                let list = read_components(&mut reader)?;
                set(&mut components, Ok(list)).map_err(in_field(Field::Components))?;
            }
            _ => reader.skip().map_err(document)?,
        }
    }
    reader.end().map_err(document)?;
    match (sequence_number, components) {
        (None, None) => Ok(Desired::Nothing),
        (None, Some(_)) => Err(ManifestError::Incomplete { missing: Field::SequenceNumber }),
        (Some(_), None) => Err(ManifestError::Incomplete { missing: Field::Components }),
        (Some(sequence_number), Some(components)) => {
            Ok(Desired::Deployment(Manifest { sequence_number, components }))
        }
    }
}

fn read_components(reader: &mut Reader<'_>) -> Result<Vec<Component>, ManifestError> {
    let list = in_field(Field::Components);
    let mut components: Vec<Component> = Vec::new();
    let mut items = reader.array().map_err(list)?;
    while items.another(reader).map_err(list)? {
        let index = components.len();
        if index == MAX_COMPONENTS {
            return Err(list(Fault::TooLong { limit: MAX_COMPONENTS }));
        }
        let component = read_component(reader, index)?;
        if components.iter().any(|other| other.package == component.package) {
            return Err(ManifestError::BadComponent { index, field: Field::Package, fault: Fault::Twice });
        }
        components.push(component);
    }
    Ok(components)
}

fn read_component(reader: &mut Reader<'_>, index: usize) -> Result<Component, ManifestError> {
    let bad = |field| move |fault| ManifestError::BadComponent { index, field, fault };
    let mut package = None;
    let mut version = None;
    let mut sha256 = None;
    let mut size_bytes = None;
    let mut uri = None;
    let mut entries = reader.map().map_err(bad(Field::Components))?;
    while entries.another(reader).map_err(bad(Field::Components))? {
        match key(reader).map_err(bad(Field::Components))? {
            Some(PACKAGE) => set(&mut package, read_package(reader)).map_err(bad(Field::Package))?,
            Some(VERSION) => set(&mut version, read_text(reader)).map_err(bad(Field::Version))?,
            Some(HASH) => set(&mut sha256, read_sha256(reader)).map_err(bad(Field::Hash))?,
            Some(SIZE) => set(&mut size_bytes, reader.unsigned()).map_err(bad(Field::Size))?,
            Some(URI) => set(&mut uri, read_uri(reader)).map_err(bad(Field::Uri))?,
            _ => reader.skip().map_err(bad(Field::Components))?,
        }
    }
    let lacks = |missing| ManifestError::IncompleteComponent { index, missing };
    Ok(Component {
        package: package.ok_or(lacks(Field::Package))?,
        version: version.ok_or(lacks(Field::Version))?,
        sha256: sha256.ok_or(lacks(Field::Hash))?,
        size_bytes: size_bytes.ok_or(lacks(Field::Size))?,
        uri: uri.ok_or(lacks(Field::Uri))?,
    })
}

/// The next key, or `None` for one that cannot be ours: the caller then skips its value.
fn key(reader: &mut Reader<'_>) -> Result<Option<u64>, Fault> {
    if reader.is_integer()? {
        match reader.signed() {
            Ok(number) => Ok(u64::try_from(number).ok()),
            Err(Fault::OutOfRange) => Ok(None),
            Err(fault) => Err(fault),
        }
    } else {
        reader.skip()?;
        Ok(None)
    }
}

fn set<T>(slot: &mut Option<T>, value: Result<T, Fault>) -> Result<(), Fault> {
    if slot.is_some() {
        return Err(Fault::Twice);
    }
    *slot = Some(value?);
    Ok(())
}

fn in_field(field: Field) -> impl Fn(Fault) -> ManifestError + Copy {
    move |fault| ManifestError::Bad { field, fault }
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, Fault> {
    let text = reader.text(MAX_TEXT_BYTES)?;
    if text.is_empty() { Err(Fault::Empty) } else { Ok(text.into_owned()) }
}

/// A package names the path its state is reported to, so it has to fit one segment.
fn read_package(reader: &mut Reader<'_>) -> Result<String, Fault> {
    let package = read_text(reader)?;
    match paths::component(&package) {
        Ok(_) => Ok(package),
        Err(_) => Err(Fault::Invalid { expected: "name without slashes and control characters" }),
    }
}

fn read_uri(reader: &mut Reader<'_>) -> Result<String, Fault> {
    let uri = read_text(reader)?;
    match paths::artifact(&uri) {
        Ok(_) => Ok(uri),
        Err(_) => Err(Fault::Invalid { expected: "path such as /.u/c/main@1.2.4" }),
    }
}

fn read_sha256(reader: &mut Reader<'_>) -> Result<[u8; 32], Fault> {
    const WRONG: Fault = Fault::Invalid { expected: "SHA-256 digest of 64 hexadecimal digits" };
    let text = match reader.text(64) {
        Err(Fault::TooLong { .. }) => return Err(WRONG),
        other => other?,
    };
    let mut digest = [0u8; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return Err(WRONG);
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or(WRONG);
        *byte = (nibble(*high)? << 4 | nibble(*low)?) as u8;
    }
    Ok(digest)
}
