//! What rumqttc and rustls say, in words a person can act on. Pure. No word here can hold a credential.

use std::io;

use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError, mqttbytes};
use rustls::{AlertDescription, CertificateError, Error as Tls};

use super::streak::{End, Sick};
use crate::config::Mqtt;

/// What a listener for TLS does to a plain client, and what a broker does that is about to end.
const UNANSWERED: &str = "closes the connection without answering CONNECT; if that stays so, check the port and mqtt:// or mqtts://";

/// Why a connection did not come up.
pub(super) fn before_up(error: &ConnectionError, config: &Mqtt) -> End {
    let broker = address(config);
    let unreachable = |why: String| End::Unreachable(format!("the broker {broker} {why}"));
    match error {
        ConnectionError::ConnectionRefused(code) => refused_with(*code as u8, config),
        ConnectionError::MqttState(StateError::Deserialization(
            mqttbytes::Error::InvalidConnectReturnCode(code),
        )) => refused_with(*code, config),
        ConnectionError::Io(error) if error.kind() == io::ErrorKind::InvalidInput => {
            unreachable("cannot be reached: its name has no address".into())
        }
        ConnectionError::Io(error) => unreachable(format!("cannot be reached: {}", cleaned(error))),
        ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => match tls_error(error) {
            // With TLS 1.3 a server's refusal arrives after the client's part of the handshake.
            Some(error) => tls(error, config),
            None => unreachable(format!("{UNANSWERED}: {}", cleaned(error))),
        },
        ConnectionError::Tls(TlsError::Io(error)) => match tls_error(error) {
            Some(error) => tls(error, config),
            None => unreachable(format!("ended the TLS handshake: {}", cleaned(error))),
        },
        ConnectionError::Tls(TlsError::TLS(error)) => tls(error, config),
        ConnectionError::Tls(other) => End::Refused(Sick {
            why: format!("a TLS session with {broker} is not possible: {}", cleaned(other)),
            next_step: "Check broker and ca_file in the configuration".into(),
        }),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            unreachable("does not answer".into())
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => unreachable(UNANSWERED.into()),
        ConnectionError::NotConnAck(_) | ConnectionError::MqttState(StateError::Deserialization(_)) => {
            not_mqtt(config)
        }
        other => unreachable(format!("cannot be used: {}", cleaned(other))),
    }
}

/// Why a connection that was up ended, and whether the other side ended it.
pub(super) fn once_up(error: &ConnectionError, config: &Mqtt) -> (String, bool) {
    let broker = address(config);
    match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            (format!("the broker {broker} closed the connection"), true)
        }
        ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        )
        | ConnectionError::Io(error) => {
            let by_peer = matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            );
            (format!("the connection to {broker} broke: {}", cleaned(error)), by_peer)
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            (format!("the broker {broker} does not answer the keepalive"), false)
        }
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            (format!("the broker {broker} takes nothing more"), false)
        }
        other => (format!("the broker {broker} broke the protocol: {}", cleaned(other)), false),
    }
}

/// CONNACK's return code (MQTT 3.1.1, table 3.1).
fn refused_with(code: u8, config: &Mqtt) -> End {
    let broker = address(config);
    let (why, next_step): (String, &str) = match code {
        code if code == ConnectReturnCode::ServiceUnavailable as u8 => {
            return End::Unreachable(format!("the broker {broker} says that its service is unavailable"));
        }
        code if code == ConnectReturnCode::RefusedProtocolVersion as u8 => (
            format!("the broker {broker} does not speak MQTT 3.1.1"),
            "Use a broker or a listener that does; only version 3.1.1 is spoken here",
        ),
        code if code == ConnectReturnCode::BadClientId as u8 => (
            format!("the broker {broker} refuses the client id \"{}\"", config.client_id),
            "Set client_id to one that the broker takes",
        ),
        code if code == ConnectReturnCode::BadUserNamePassword as u8 => (
            format!("the broker {broker} refuses the user name or the password"),
            "Check username and the password's file or credential",
        ),
        code if code == ConnectReturnCode::NotAuthorized as u8 => (
            format!("the broker {broker} does not let this client in"),
            "Check username and the password's file or credential, and at the broker that this client may connect",
        ),
        code => (
            format!("the broker {broker} refuses the connection with return code {code}"),
            "Check at the broker that this client may connect; its log says more",
        ),
    };
    End::Refused(Sick { why, next_step: next_step.into() })
}

fn not_mqtt(config: &Mqtt) -> End {
    End::Refused(Sick {
        why: format!("what answers at {} is not an MQTT 3.1.1 broker", address(config)),
        next_step: "Check host and port of broker, and mqtt:// or mqtts://".into(),
    })
}

fn tls(error: &Tls, config: &Mqtt) -> End {
    let broker = address(config);
    let trust = if config.ca_file.is_some() { "ca_file" } else { "the system's certificates" };
    let (why, next_step) = match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => (
            format!("the certificate of {broker} is not signed by anyone in {trust}"),
            "Set ca_file to the certificate of the authority that signs the broker's",
        ),
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            format!("the certificate of {broker} is not made for the name {}", config.broker.host),
            "Write the name that stands in the certificate as broker",
        ),
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => (
            format!("the certificate of {broker} has expired"),
            "Renew it at the broker; if it is valid, check this gateway's clock",
        ),
        Tls::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => (format!("the certificate of {broker} is not valid yet"), "Check this gateway's clock"),
        Tls::InvalidCertificate(other) => (
            format!("the certificate of {broker} is not accepted: {}", cleaned(other)),
            "Have the broker's certificate looked at",
        ),
        Tls::InvalidMessage(_) => (
            format!("what answers at {broker} is not TLS"),
            "Check the port, or write mqtt:// for a plain one",
        ),
        Tls::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => (
            format!("the broker {broker} ends the TLS handshake: it may want a client certificate"),
            "Use a listener that takes a user name and password instead",
        ),
        Tls::AlertReceived(alert) => (
            format!("the broker {broker} ends the TLS handshake: {alert:?}"),
            "Check the broker's TLS settings; its log says more",
        ),
        Tls::PeerIncompatible(what) => (
            format!("the broker {broker} speaks no TLS that this gateway does: {what:?}"),
            "Allow TLS 1.2 or 1.3 at the broker",
        ),
        other => (
            format!("the TLS handshake with {broker} fails: {}", cleaned(other)),
            "Check the broker's TLS settings; its log says more",
        ),
    };
    End::Refused(Sick { why, next_step: next_step.into() })
}

/// rustls hides its own errors in those of the stream.
fn tls_error(error: &io::Error) -> Option<&Tls> {
    error.get_ref()?.downcast_ref()
}

fn address(config: &Mqtt) -> String {
    let host = &config.broker.host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    format!("{host}:{}", config.broker.port)
}

/// Whatever a peer may have put into it, on one line and short.
fn cleaned(error: &impl std::fmt::Display) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clouds::mqtt::tests::config;

    fn code(code: ConnectReturnCode) -> End {
        before_up(&ConnectionError::ConnectionRefused(code), &config(""))
    }

    fn sick(end: &End) -> (&str, &str) {
        match end {
            End::Refused(Sick { why, next_step }) => (why, next_step),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refused_connect_says_which_setting_to_look_at() {
        let (why, next) = (
            "the broker broker.example:1883 refuses the user name or the password",
            "Check username and the password's file or credential",
        );
        assert_eq!(sick(&code(ConnectReturnCode::BadUserNamePassword)), (why, next));
        assert!(sick(&code(ConnectReturnCode::NotAuthorized)).1.contains("password"));
        let end = code(ConnectReturnCode::BadClientId);
        assert!(sick(&end).0.contains("client id \"gw-1\"") && sick(&end).1.contains("client_id"));
        assert!(sick(&code(ConnectReturnCode::RefusedProtocolVersion)).0.contains("3.1.1"));
        // AWS IoT Core refuses a policy with a code of its own.
        let own = StateError::Deserialization(mqttbytes::Error::InvalidConnectReturnCode(7));
        assert!(
            sick(&before_up(&ConnectionError::MqttState(own), &config(""))).0.contains("return code 7"),
            "unlisted codes too"
        );
    }

    #[test]
    fn an_unavailable_service_is_waited_for() {
        assert!(matches!(code(ConnectReturnCode::ServiceUnavailable), End::Unreachable(_)));
    }

    #[test]
    fn a_certificate_nobody_vouches_for_names_the_file_to_give() {
        let inner = Tls::InvalidCertificate(CertificateError::UnknownIssuer);
        let error = TlsError::Io(io::Error::new(io::ErrorKind::InvalidData, inner));
        let end = before_up(&ConnectionError::Tls(error), &config(""));
        assert!(sick(&end).0.contains("the system's certificates") && sick(&end).1.contains("ca_file"));
    }

    #[test]
    fn only_the_other_sides_closing_is_blamed_on_it() {
        let io = |kind| ConnectionError::Io(io::Error::from(kind));
        let by_peer = |error| once_up(&error, &config("")).1;
        assert!(by_peer(ConnectionError::MqttState(StateError::ConnectionAborted)));
        assert!(by_peer(io(io::ErrorKind::ConnectionReset)));
        assert!(!by_peer(io(io::ErrorKind::TimedOut)));
        assert!(!by_peer(ConnectionError::MqttState(StateError::AwaitPingResp)));
        assert!(!by_peer(ConnectionError::FlushTimeout));
    }

    #[test]
    fn what_a_peer_says_stays_on_one_line() {
        let error = ConnectionError::Io(io::Error::other("a\nb\u{1b}[31m".repeat(200)));
        let (why, _) = once_up(&error, &config(""));
        assert!(!why.chars().any(char::is_control) && why.len() < 400, "{why}");
    }
}
