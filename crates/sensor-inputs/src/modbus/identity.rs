//! Who a device says it is: Read Device Identification (function 43/14; Modbus Application Protocol V1.1b3, 6.21).
//!
//! A state machine without time: [`Identification::request`] says what to ask next, [`Identification::take`] takes the
//! answer. A device spreads its objects over as many answers as it needs. Invariants: at most [`MOST_ROUNDS`] requests
//! and [`MOST_OBJECTS`] objects, each asked for once, whatever the device says comes next.

use std::collections::BTreeMap;

/// Most requests for one identification.
const MOST_ROUNDS: u8 = 8;
/// Most objects kept.
const MOST_OBJECTS: usize = 32;

/// How much a device is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityLevel {
    /// Vendor, product code, revision: every device that knows the function has them.
    Basic = 1,
    /// As well address, product name, model, name of the application.
    Regular = 2,
    /// As well what the vendor adds.
    Extended = 3,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more: send the next request.
    Ask,
    /// That was all.
    Done,
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFault {
    /// Not an answer to this function, or cut short.
    #[error("the answer is no identification")]
    Malformed,
    /// It says that more follows, and begins at an object that was told already, or does not end.
    #[error("the device never ends its identification")]
    Endless,
}

/// See the module head.
#[derive(Clone, Debug)]
pub struct Identification {
    level: IdentityLevel,
    next: u8,
    rounds: u8,
    objects: BTreeMap<u8, String>,
}

impl Identification {
    /// Begins.
    #[must_use]
    pub fn new(level: IdentityLevel) -> Self {
        Self { level, next: 0, rounds: 0, objects: BTreeMap::new() }
    }

    /// Function and data of the next request.
    #[must_use]
    pub fn request(&self) -> [u8; 4] {
        [0x2b, 0x0e, self.level as u8, self.next]
    }

    /// Takes function and data of an answer. What it told stays, also when the rest of it is faulty.
    ///
    /// # Errors
    /// See [`IdentityFault`].
    pub fn take(&mut self, answer: &[u8]) -> Result<Step, IdentityFault> {
        let [0x2b, 0x0e, _code, _conformity, more, next, count, objects @ ..] = answer else {
            return Err(IdentityFault::Malformed);
        };
        let mut rest = objects;
        for _ in 0..*count {
            let [id, len, behind @ ..] = rest else { return Err(IdentityFault::Malformed) };
            let Some((text, behind)) = behind.split_at_checked(usize::from(*len)) else {
                return Err(IdentityFault::Malformed);
            };
            rest = behind;
            if self.objects.len() < MOST_OBJECTS {
                self.objects.insert(*id, readable(text));
            }
        }
        self.rounds += 1;
        // Some devices say FF and begin anew, some say 01 for yes.
        if *more == 0 {
            return Ok(Step::Done);
        }
        if *next <= self.next || self.rounds >= MOST_ROUNDS {
            return Err(IdentityFault::Endless);
        }
        self.next = *next;
        Ok(Step::Ask)
    }

    /// What it told: vendor (0), product code (1), revision (2), address (3), product name (4), model (5), name of the
    /// application (6), the vendor's own from 128 on.
    #[must_use]
    pub fn objects(&self) -> &BTreeMap<u8, String> {
        &self.objects
    }
}

/// Text for people: what is no printable ASCII is a question mark.
fn readable(text: &[u8]) -> String {
    text.iter().map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(more: u8, next: u8, objects: &[(u8, &str)]) -> Vec<u8> {
        let mut bytes = vec![0x2b, 0x0e, 1, 0x83, more, next, objects.len() as u8];
        for (id, text) in objects {
            bytes.extend([*id, text.len() as u8]);
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    #[test]
    fn one_answer_tells_all() {
        let mut identity = Identification::new(IdentityLevel::Basic);
        assert_eq!(identity.request(), [0x2b, 0x0e, 1, 0]);
        let told = [(0, "Acme"), (1, "TH-1"), (2, "1.2.3")];
        assert_eq!(identity.take(&answer(0, 0, &told)), Ok(Step::Done));
        let found: Vec<_> = identity.objects().iter().map(|(id, text)| (*id, text.as_str())).collect();
        assert_eq!(found, told);
    }

    #[test]
    fn what_does_not_fit_into_one_answer_is_asked_for() {
        let mut identity = Identification::new(IdentityLevel::Regular);
        assert_eq!(identity.take(&answer(0xff, 2, &[(0, "Acme"), (1, "TH-1")])), Ok(Step::Ask));
        assert_eq!(identity.request(), [0x2b, 0x0e, 2, 2]);
        assert_eq!(identity.take(&answer(0, 0, &[(2, "1\x00é")])), Ok(Step::Done));
        assert_eq!(identity.objects().get(&2).map(String::as_str), Some("1???"));
    }

    #[test]
    fn a_device_that_never_ends_is_left() {
        let mut identity = Identification::new(IdentityLevel::Basic);
        assert_eq!(identity.take(&answer(0xff, 0, &[(0, "Acme")])), Err(IdentityFault::Endless));
        assert_eq!(identity.objects().len(), 1, "what it told stays");
    }

    #[test]
    fn what_is_no_identification_is_refused() {
        let mut identity = Identification::new(IdentityLevel::Basic);
        for bytes in [&[][..], &[0x2b, 0x0d, 1, 0x83, 0, 0, 0], &answer(0, 0, &[(0, "Acme")])[..10]] {
            assert_eq!(identity.take(bytes), Err(IdentityFault::Malformed));
        }
    }

    proptest! {
        #[test]
        fn it_ends_whatever_the_device_says(answers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 12)) {
            let mut identity = Identification::new(IdentityLevel::Extended);
            let mut asked = 0;
            for mut bytes in answers {
                bytes.splice(..0, [0x2b, 0x0e]);
                asked += 1;
                match identity.take(&bytes) {
                    Ok(Step::Ask) => {}
                    _ => break,
                }
            }
            prop_assert!(asked <= MOST_ROUNDS);
            prop_assert!(identity.objects().len() <= MOST_OBJECTS);
        }
    }
}
