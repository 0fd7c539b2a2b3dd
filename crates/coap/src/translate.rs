//! Requests and responses to options and back.
//!
//! An option that is unknown, of a wrong length, or repeated where it may not be is skipped when elective and condemns
//! the message when critical (RFC 7252 §5.4.1, §5.4.3, §5.4.5).

use crate::block::{BadBlock, Block};
use crate::code::{Code, Method};
use crate::event::SendError;
use crate::message::Message;
use crate::option::{Options, decode_uint, is_critical, number};
use crate::request::{ObserveRequest, Request, Response};

/// Longest Uri-Path segment, Uri-Query item or Location-Path segment, in bytes.
const MAX_TEXT: usize = 255;
/// Longest ETag, in bytes.
const MAX_ETAG: usize = 8;

/// The options of a request as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestOptions {
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<String>,
    pub(crate) content_format: Option<u16>,
    pub(crate) accept: Option<u16>,
    pub(crate) observe: Option<ObserveRequest>,
    pub(crate) block1: Option<Block>,
    pub(crate) block2: Option<Block>,
}

/// Refuses values that no option can hold.
pub(crate) fn check_request(request: &Request) -> Result<(), SendError> {
    check_text(number::URI_PATH, &request.path)?;
    check_text(number::URI_QUERY, &request.query)
}

/// Refuses values that no option can hold.
pub(crate) fn check_response(response: &Response) -> Result<(), SendError> {
    if !response.code.is_response() {
        return Err(SendError::NotAResponse(response.code));
    }
    check_text(number::LOCATION_PATH, &response.location_path)?;
    match &response.etag {
        Some(etag) if etag.len() > MAX_ETAG => {
            Err(SendError::OptionTooLong { number: number::ETAG, len: etag.len(), limit: MAX_ETAG })
        }
        _ => Ok(()),
    }
}

/// The options of a request to send, blocks and Observe apart. Content-Format describes a payload, so it goes only
/// where one goes.
pub(crate) fn write_request(request: &Request, with_payload: bool) -> Options {
    let mut options = Options::default();
    request.path.iter().for_each(|segment| options.add(number::URI_PATH, segment.as_bytes()));
    request.query.iter().for_each(|item| options.add(number::URI_QUERY, item.as_bytes()));
    if let (Some(format), true) = (request.content_format, with_payload) {
        options.add_uint(number::CONTENT_FORMAT, u32::from(format));
    }
    if let Some(format) = request.accept {
        options.add_uint(number::ACCEPT, u32::from(format));
    }
    options
}

/// The options of a response to send, as its fields say.
pub(crate) fn write_response(response: &Response) -> Options {
    let mut options = Options::default();
    if let Some(etag) = &response.etag {
        options.add(number::ETAG, etag.as_slice());
    }
    response.location_path.iter().for_each(|segment| options.add(number::LOCATION_PATH, segment.as_bytes()));
    let numbers = [
        (number::OBSERVE, response.observe),
        (number::CONTENT_FORMAT, response.content_format.map(u32::from)),
        (number::MAX_AGE, response.max_age),
        (number::SIZE1, response.size1),
        (number::SIZE2, response.size2),
    ];
    for (number, value) in numbers {
        if let Some(value) = value {
            options.add_uint(number, value);
        }
    }
    for (number, block) in [(number::BLOCK1, response.block1), (number::BLOCK2, response.block2)] {
        if let Some(block) = block {
            options.add(number, block.encode());
        }
    }
    options
}

/// Reads a request's options, or says with which code it is refused.
pub(crate) fn read_request(message: &Message) -> Result<RequestOptions, Code> {
    let mut read = RequestOptions::default();
    let mut observe = None;
    for (option, value) in message.options.iter() {
        let understood = match option {
            number::URI_PATH => push_text(&mut read.path, value),
            number::URI_QUERY => push_text(&mut read.query, value),
            number::CONTENT_FORMAT => put_u16(&mut read.content_format, value),
            number::ACCEPT => put_u16(&mut read.accept, value),
            number::OBSERVE => put_uint(&mut observe, value, 3),
            number::BLOCK1 => put_block(&mut read.block1, value).map_err(|_| Code::BAD_REQUEST)?,
            number::BLOCK2 => put_block(&mut read.block2, value).map_err(|_| Code::BAD_REQUEST)?,
            number::URI_HOST | number::URI_PORT => true,
            number::PROXY_URI | number::PROXY_SCHEME => return Err(Code::PROXYING_NOT_SUPPORTED),
            _ => false,
        };
        if !understood && is_critical(option) {
            return Err(Code::BAD_OPTION);
        }
    }
    read.observe = match (Method::from_code(message.code), observe) {
        (Some(Method::Get | Method::Fetch), Some(0)) => Some(ObserveRequest::Register),
        (Some(Method::Get | Method::Fetch), Some(1)) => Some(ObserveRequest::Deregister),
        _ => None,
    };
    Ok(read)
}

/// Reads a response; `None` when it must be rejected.
pub(crate) fn read_response(message: &Message) -> Option<Response> {
    let mut response = Response::new(message.code);
    for (option, value) in message.options.iter() {
        let understood = match option {
            number::ETAG if (1..=MAX_ETAG).contains(&value.len()) && response.etag.is_none() => {
                response.etag = Some(value.to_vec());
                true
            }
            number::LOCATION_PATH => push_text(&mut response.location_path, value),
            number::OBSERVE => put_uint(&mut response.observe, value, 3),
            number::CONTENT_FORMAT => put_u16(&mut response.content_format, value),
            number::MAX_AGE => put_uint(&mut response.max_age, value, 4),
            number::SIZE1 => put_uint(&mut response.size1, value, 4),
            number::SIZE2 => put_uint(&mut response.size2, value, 4),
            number::BLOCK1 => put_block(&mut response.block1, value).ok()?,
            number::BLOCK2 => put_block(&mut response.block2, value).ok()?,
            _ => false,
        };
        if !understood && is_critical(option) {
            return None;
        }
    }
    response.payload.clone_from(&message.payload);
    Some(response)
}

fn check_text(number: u16, values: &[String]) -> Result<(), SendError> {
    match values.iter().find(|value| value.len() > MAX_TEXT) {
        Some(value) => Err(SendError::OptionTooLong { number, len: value.len(), limit: MAX_TEXT }),
        None => Ok(()),
    }
}

fn push_text(list: &mut Vec<String>, value: &[u8]) -> bool {
    match core::str::from_utf8(value) {
        Ok(text) if text.len() <= MAX_TEXT => {
            list.push(text.to_owned());
            true
        }
        _ => false,
    }
}

fn put_uint(slot: &mut Option<u32>, value: &[u8], max_len: usize) -> bool {
    match decode_uint(value, max_len) {
        Some(value) if slot.is_none() => {
            *slot = Some(value);
            true
        }
        _ => false,
    }
}

fn put_u16(slot: &mut Option<u16>, value: &[u8]) -> bool {
    let mut wide = slot.map(u32::from);
    let understood = put_uint(&mut wide, value, 2);
    *slot = wide.and_then(|value| u16::try_from(value).ok());
    understood
}

/// A wrong length makes the option unknown (`Ok(false)`); a reserved size makes the message wrong.
fn put_block(slot: &mut Option<Block>, value: &[u8]) -> Result<bool, BadBlock> {
    match Block::decode(value) {
        Ok(block) if slot.is_none() => {
            *slot = Some(block);
            Ok(true)
        }
        Ok(_) | Err(BadBlock::Length) => Ok(false),
        Err(BadBlock::ReservedSize) => Err(BadBlock::ReservedSize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Szx;
    use crate::message::Kind;
    use crate::wire::blank;

    fn request_with(number: u16, values: &[&[u8]]) -> Result<RequestOptions, Code> {
        let mut message = blank(Kind::Confirmable, Method::Get.code());
        values.iter().for_each(|value| message.options.add(number, *value));
        read_request(&message)
    }

    fn response_with(number: u16, values: &[&[u8]]) -> Option<Response> {
        let mut message = blank(Kind::Acknowledgement, Code::CONTENT);
        values.iter().for_each(|value| message.options.add(number, *value));
        read_response(&message)
    }

    #[test]
    fn unknown_critical_options_refuse_a_request_and_unknown_elective_ones_do_not() {
        assert_eq!(request_with(9, &[b""]), Err(Code::BAD_OPTION));
        assert_eq!(request_with(1, &[b"e"]), Err(Code::BAD_OPTION));
        assert_eq!(request_with(65_001, &[b""]), Err(Code::BAD_OPTION));
        assert_eq!(request_with(65_000, &[b"?"]), Ok(RequestOptions::default()));
        assert_eq!(request_with(number::PROXY_URI, &[b"coap://x"]), Err(Code::PROXYING_NOT_SUPPORTED));
    }

    #[test]
    fn unknown_critical_options_reject_a_response_and_unknown_elective_ones_do_not() {
        assert_eq!(response_with(9, &[b""]), None);
        assert_eq!(response_with(number::URI_PATH, &[b"a"]), None);
        assert_eq!(response_with(2048, &[b"?"]), Some(Response::new(Code::CONTENT)));
    }

    #[test]
    fn a_wrong_length_makes_an_option_unknown() {
        assert_eq!(request_with(number::ACCEPT, &[&[1, 2, 3]]), Err(Code::BAD_OPTION));
        assert_eq!(request_with(number::CONTENT_FORMAT, &[&[1, 2, 3]]).unwrap().content_format, None);
        assert_eq!(request_with(number::OBSERVE, &[&[0, 0, 0, 0]]).unwrap().observe, None);
        assert_eq!(request_with(number::BLOCK2, &[&[0, 0, 0, 6]]), Err(Code::BAD_OPTION));
        assert_eq!(request_with(number::URI_PATH, &[&[b'a'; 256]]), Err(Code::BAD_OPTION));
        assert_eq!(request_with(number::URI_PATH, &[&[0xff]]), Err(Code::BAD_OPTION));
    }

    #[test]
    fn the_reserved_block_size_is_a_bad_request_and_spoils_a_response() {
        assert_eq!(request_with(number::BLOCK1, &[&[7]]), Err(Code::BAD_REQUEST));
        assert_eq!(response_with(number::BLOCK2, &[&[7]]), None);
    }

    #[test]
    fn a_second_critical_value_is_refused_and_a_second_elective_one_skipped() {
        assert_eq!(request_with(number::ACCEPT, &[&[50], &[60]]), Err(Code::BAD_OPTION));
        assert_eq!(request_with(number::CONTENT_FORMAT, &[&[50], &[60]]).unwrap().content_format, Some(50));
        assert_eq!(request_with(number::URI_PATH, &[b"a", b"", b"b"]).unwrap().path, ["a", "", "b"]);
    }

    #[test]
    fn observe_means_something_only_as_0_or_1_in_a_get() {
        assert_eq!(request_with(number::OBSERVE, &[b""]).unwrap().observe, Some(ObserveRequest::Register));
        assert_eq!(request_with(number::OBSERVE, &[&[1]]).unwrap().observe, Some(ObserveRequest::Deregister));
        assert_eq!(request_with(number::OBSERVE, &[&[2]]).unwrap().observe, None);
        let mut post = blank(Kind::Confirmable, Method::Post.code());
        post.options.add_uint(number::OBSERVE, 0);
        assert_eq!(read_request(&post).unwrap().observe, None);
    }

    #[test]
    fn a_response_survives_the_way_over_the_wire() {
        let response = Response {
            max_age: Some(0),
            observe: Some(0xff_ffff),
            block1: Block::new(3, false, Szx::B64),
            block2: Block::new(5000, true, Szx::B1024),
            size1: Some(1024),
            size2: Some(5_120_001),
            location_path: vec!["a".into(), "b".into()],
            ..Response::content(60, *b"\xa0").etag(*b"tag")
        };
        let mut message = blank(Kind::Acknowledgement, response.code);
        message.options = write_response(&response);
        message.payload.clone_from(&response.payload);
        let parsed = Message::parse(&message.to_bytes()).unwrap();
        assert_eq!(read_response(&parsed), Some(response));
    }

    #[test]
    fn values_no_option_can_hold_are_refused_before_sending() {
        let long = "x".repeat(256);
        assert!(check_request(&Request::get(&long)).is_err());
        assert!(check_request(&Request::get("a").query(&long)).is_err());
        assert!(check_request(&Request::get(&"y".repeat(255))).is_ok());
        assert!(check_response(&Response::new(Code::CONTENT).etag([0; 9])).is_err());
    }
}
