//! The library's return codes this crate tells apart.

use mbedtls_rs_sys as sys;

pub(crate) const WANT_READ: i32 = sys::MBEDTLS_ERR_SSL_WANT_READ;
pub(crate) const WANT_WRITE: i32 = sys::MBEDTLS_ERR_SSL_WANT_WRITE;
pub(crate) const HELLO_VERIFY_REQUIRED: i32 = sys::MBEDTLS_ERR_SSL_HELLO_VERIFY_REQUIRED;
pub(crate) const FATAL_ALERT: i32 = sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE;
pub(crate) const CLOSE_NOTIFY: i32 = sys::MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY;
pub(crate) const BUFFER_TOO_SMALL: i32 = sys::MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
pub(crate) const INVALID_MAC: i32 = sys::MBEDTLS_ERR_SSL_INVALID_MAC;
pub(crate) const UNKNOWN_IDENTITY: i32 = sys::MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
pub(crate) const HANDSHAKE_FAILURE: i32 = sys::MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE;
pub(crate) const BAD_PROTOCOL_VERSION: i32 = sys::MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION;
pub(crate) const ILLEGAL_PARAMETER: i32 = sys::MBEDTLS_ERR_SSL_ILLEGAL_PARAMETER;
pub(crate) const UNSUPPORTED_EXTENSION: i32 = sys::MBEDTLS_ERR_SSL_UNSUPPORTED_EXTENSION;
pub(crate) const DECODE_ERROR: i32 = sys::MBEDTLS_ERR_SSL_DECODE_ERROR;
pub(crate) const UNEXPECTED_MESSAGE: i32 = sys::MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE;
pub(crate) const TIMEOUT: i32 = sys::MBEDTLS_ERR_SSL_TIMEOUT;
pub(crate) const ALLOC_FAILED: i32 = sys::MBEDTLS_ERR_SSL_ALLOC_FAILED;
pub(crate) const MPI_ALLOC_FAILED: i32 = sys::MBEDTLS_ERR_MPI_ALLOC_FAILED;
pub(crate) const COUNTER_WRAPPING: i32 = sys::MBEDTLS_ERR_SSL_COUNTER_WRAPPING;
pub(crate) const NO_RNG: i32 = sys::MBEDTLS_ERR_SSL_NO_RNG;
pub(crate) const INTERNAL_ERROR: i32 = sys::MBEDTLS_ERR_SSL_INTERNAL_ERROR;
pub(crate) const BAD_CERTIFICATE: i32 = sys::MBEDTLS_ERR_SSL_BAD_CERTIFICATE;
pub(crate) const CERT_VERIFY_FAILED: i32 = sys::MBEDTLS_ERR_X509_CERT_VERIFY_FAILED;
/// A certificate check that could not be made, for want of a clock above all.
pub(crate) const CHECK_IMPOSSIBLE: i32 = sys::MBEDTLS_ERR_X509_FATAL_ERROR;
pub(crate) const NO_CLIENT_CERTIFICATE: i32 = sys::MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE;

/// The bits of a certificate check.
pub(crate) mod bad {
    use mbedtls_rs_sys as sys;

    pub(crate) const EXPIRED: u32 = sys::MBEDTLS_X509_BADCERT_EXPIRED;
    pub(crate) const NOT_YET_VALID: u32 = sys::MBEDTLS_X509_BADCERT_FUTURE;
    pub(crate) const WRONG_NAME: u32 = sys::MBEDTLS_X509_BADCERT_CN_MISMATCH;
    pub(crate) const NOT_TRUSTED: u32 = sys::MBEDTLS_X509_BADCERT_NOT_TRUSTED;
    pub(crate) const MISSING: u32 = sys::MBEDTLS_X509_BADCERT_MISSING;
}
