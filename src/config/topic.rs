//! MQTT topic templates: literal text and `{variables}`, taken apart once at load, so that rendering cannot fail.

use core::fmt;

/// A topic with variables in it, such as `plant/{gateway}/{stream}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(TopicVariable),
}

/// What may stand in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicVariable {
    /// `{gateway}`: the gateway's serial.
    Gateway,
    /// `{device}`: the registry device of the stream.
    Device,
    /// `{stream}`: the full stream name.
    Stream,
    /// `{class}`: the class word.
    Class,
}

/// The values for one message. Each is a single topic segment: configuration has refused `/`, `+` and `#` in all of them.
#[derive(Debug, Clone, Copy)]
pub struct TopicValues<'a> {
    /// The gateway's serial.
    pub gateway: &'a str,
    /// The registry device of the stream.
    pub device: &'a str,
    /// The full stream name.
    pub stream: &'a str,
    /// The class word.
    pub class: &'a str,
}

/// Why a text is no topic template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TopicError {
    /// Nothing at all, or longer than [`MAX_BYTES`].
    Length,
    /// `+` or `#`: those are for subscribing.
    Wildcard(char),
    /// A control character; MQTT 3.1.1 section 1.5.3 forbids NUL and lets a broker refuse the others.
    Control,
    /// `{word}` that is none of the variables.
    Unknown(String),
    /// A brace without its partner.
    Brace,
}

/// Longest template. Variables are at most 129 bytes each, so a rendered topic stays far below MQTT's 65535.
pub(super) const MAX_BYTES: usize = 256;

/// The names that may stand in braces, as written.
pub(super) const VARIABLES: [&str; 4] = ["gateway", "device", "stream", "class"];

impl TopicTemplate {
    /// Takes a template apart.
    pub(super) fn parse(text: &str) -> Result<Self, TopicError> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(TopicError::Length);
        }
        if let Some(wildcard) = text.chars().find(|c| matches!(c, '+' | '#')) {
            return Err(TopicError::Wildcard(wildcard));
        }
        if text.chars().any(char::is_control) {
            return Err(TopicError::Control);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            push_text(&mut pieces, before)?;
            let (word, tail) = after.split_once('}').ok_or(TopicError::Brace)?;
            pieces.push(Piece::Variable(variable(word)?));
            rest = tail;
        }
        push_text(&mut pieces, rest)?;
        Ok(Self { pieces })
    }

    /// Stands in while a refused configuration is read to its end; it is never handed out.
    pub(super) fn refused() -> Self {
        Self { pieces: Vec::new() }
    }

    /// Whether the variable occurs: a template with `{stream}` needs a message for each stream.
    pub fn uses(&self, variable: TopicVariable) -> bool {
        self.pieces.contains(&Piece::Variable(variable))
    }

    /// The topic for one message.
    pub fn render(&self, values: &TopicValues<'_>) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Variable(TopicVariable::Gateway) => values.gateway,
                Piece::Variable(TopicVariable::Device) => values.device,
                Piece::Variable(TopicVariable::Stream) => values.stream,
                Piece::Variable(TopicVariable::Class) => values.class,
            })
            .collect()
    }
}

impl fmt::Display for TopicTemplate {
    /// The template as it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Variable(TopicVariable::Gateway) => f.write_str("{gateway}")?,
                Piece::Variable(TopicVariable::Device) => f.write_str("{device}")?,
                Piece::Variable(TopicVariable::Stream) => f.write_str("{stream}")?,
                Piece::Variable(TopicVariable::Class) => f.write_str("{class}")?,
            }
        }
        Ok(())
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) -> Result<(), TopicError> {
    if text.contains('}') {
        return Err(TopicError::Brace);
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
    Ok(())
}

fn variable(word: &str) -> Result<TopicVariable, TopicError> {
    match word {
        "gateway" => Ok(TopicVariable::Gateway),
        "device" => Ok(TopicVariable::Device),
        "stream" => Ok(TopicVariable::Stream),
        "class" => Ok(TopicVariable::Class),
        other => Err(TopicError::Unknown(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: TopicValues<'_> =
        TopicValues { gateway: "gw-1", device: "pump", stream: "pump.temp", class: "telemetry" };

    #[test]
    fn every_variable_is_replaced_and_the_text_around_it_kept() {
        let template = TopicTemplate::parse("a/{gateway}-{device}/{stream}/x/{class}").unwrap();
        assert_eq!(template.render(&VALUES), "a/gw-1-pump/pump.temp/x/telemetry");
        assert_eq!(template.to_string(), "a/{gateway}-{device}/{stream}/x/{class}");
        assert!(template.uses(TopicVariable::Stream));
        assert!(!TopicTemplate::parse("a/{gateway}").unwrap().uses(TopicVariable::Stream));
    }

    #[test]
    fn what_no_broker_would_take_is_refused_when_taken_apart() {
        for (text, error) in [
            ("", TopicError::Length),
            (&"a".repeat(257), TopicError::Length),
            ("a/+/b", TopicError::Wildcard('+')),
            ("a/#", TopicError::Wildcard('#')),
            ("a\0b", TopicError::Control),
            ("a/{site}", TopicError::Unknown("site".into())),
            ("a/{gateway", TopicError::Brace),
            ("a/gateway}", TopicError::Brace),
            ("a/{{gateway}}", TopicError::Unknown("{gateway".into())),
        ] {
            assert_eq!(TopicTemplate::parse(text), Err(error), "{text:?}");
        }
    }
}
