//! Why a download ended without the whole body.

use crate::code::Code;
use crate::event::SendError;

/// See the module head. What was delivered before stays right: the rest can be fetched by another download, unless the body
/// changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// More than 2^20 blocks of the size that is to be used.
    #[error("{size} bytes are more than block-wise transfer can number in blocks of {block} bytes")]
    TooLarge {
        /// The body's size, bytes.
        size: u64,
        /// The block's, bytes.
        block: usize,
    },
    /// The request cannot be sent at all.
    #[error("the download cannot be asked for: {0}")]
    Unsendable(SendError),
    /// The server says no, and asking again would not help.
    #[error("the server answers {0} to the download; check that the file is still there and may be read")]
    Refused(Code),
    /// The body is another one than at the first block: everything that was fetched is of no use.
    #[error("the file changed at the server while it was being fetched; fetch it anew")]
    Changed,
    /// The server says the body has another size than was announced.
    #[error(
        "the server's file has {served} bytes and {announced} were announced; it is not the file that is meant"
    )]
    SizeDiffers {
        /// As the download was told, bytes.
        announced: u64,
        /// As the server says, bytes.
        served: u64,
    },
    /// Answers that break the protocol, again and again, at this offset.
    #[error(
        "the server's answers for the bytes from {offset} on cannot be used; it does not follow RFC 7959"
    )]
    Nonsense {
        /// Where, bytes from the start of the body.
        offset: u64,
    },
    /// Requests rejected again and again, one at a time too.
    #[error("the server rejects the download's messages; it does not serve files in blocks")]
    Rejected,
    /// The server asked for patience too often, without a block in between.
    #[error("the server is too busy for the download ({0}); try again later")]
    Busy(Code),
    /// No answer, again and again, without a block in between.
    #[error("the server stopped answering the download; go on once it can be reached")]
    Silent,
    /// The session ended.
    #[error("the session ended during the download; go on over the next")]
    SessionLost,
}
