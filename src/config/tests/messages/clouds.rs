//! Destinations and their secrets.

use super::{GATEWAY, GOLIOTH, MQTT, assert_refused};

#[test]
fn destinations_that_cannot_be_reached_or_told_apart_are_refused() {
    assert_refused(&[
        (
            GATEWAY,
            "[golioth]",
            &[
                r#"f.toml:2: golioth.psk_id: this key is required. Write psk_id = "gw-0042-id@my-project", for example."#,
                r#"f.toml:2: golioth.psk: this secret is required. Write psk_file = "/etc/fieldgate/secrets/psk" or psk_credential = "psk", for example."#,
            ],
        ),
        (
            GOLIOTH,
            r#"endpoint = "coaps://x""#,
            &[
                r#"f.toml:5: golioth.endpoint: "coaps://x" is not a host or host:port. Write it without coaps://, such as "coap.golioth.io:5684"; IPv6 in brackets."#,
            ],
        ),
        (
            GATEWAY,
            r#"[golioth]
psk_id = "a"
psk_file = "/s/good""#,
            &[
                r#"f.toml:3: golioth.psk_id: "a" is not a PSK identity. Write the whole identity with its project, such as "gw-0042-id@my-project"."#,
            ],
        ),
        (
            GOLIOTH,
            r#"stream_path = "/a""#,
            &[
                r#"f.toml:5: golioth.stream_path: "/a" is not a stream path. Write 1 to 39 letters, digits, _ - . and single / between them, such as "sensor"."#,
            ],
        ),
        (
            GOLIOTH,
            r#"liveness = "prompted""#,
            &[
                r#"f.toml:5: golioth.liveness: "prompted" is not a liveness profile. Did you mean "prompt"? Use "standard", "frugal" or "prompt"."#,
            ],
        ),
        (
            GOLIOTH,
            r#"dead_path = "5s""#,
            &[r#"f.toml:5: golioth.dead_path: "5s" is out of range. Use "30s" to "1h"."#],
        ),
        (
            GOLIOTH,
            r#"encoding = "column""#,
            &[
                r#"f.toml:5: golioth.encoding: "column" is not an encoding. Did you mean "columns"? Use "rows" or "columns"."#,
            ],
        ),
        (
            GOLIOTH,
            "suites = []",
            &[
                r#"f.toml:5: golioth.suites: this list is empty. Write suites = ["psk-ccm8", "psk-gcm"] or leave it out."#,
            ],
        ),
        (
            GOLIOTH,
            r#"suites = ["psk-gmc"]"#,
            &[
                r#"f.toml:5: golioth.suites: "psk-gmc" is not a cipher suite known here. Did you mean "psk-gcm"? Use "psk-ccm8", "psk-ccm", "psk-gcm", "psk-cbc", "ecdsa-ccm8", "ecdsa-ccm" or "ecdsa-gcm"."#,
            ],
        ),
        (
            GOLIOTH,
            r#"suites = ["psk-gcm", "psk-gcm"]"#,
            &[r#"f.toml:5: golioth.suites: "psk-gcm" is named twice. Name each suite once, best first."#],
        ),
        (
            GOLIOTH,
            r#"suites = ["psk-cbc", "ecdsa-gcm"]"#,
            &[
                r#"f.toml:5: golioth.suites: "psk-cbc" does not go with a Connection ID. Leave it out, or write connection_id = false."#,
                r#"f.toml:5: golioth.suites: "ecdsa-gcm" does not go with the credential. Use those that begin with psk- for a key, with ecdsa- for a certificate."#,
            ],
        ),
        (
            GOLIOTH,
            r#"certificate_file = "/etc/c.pem""#,
            &[
                r#"f.toml:2: golioth.ca_file: this key is required. Write ca_file = "/etc/fieldgate/golioth-ca.pem", for example."#,
                r#"f.toml:2: golioth.key: this secret is required. Write key_file = "/etc/fieldgate/secrets/key" or key_credential = "key", for example."#,
                "f.toml:3: golioth.psk_id: the gateway cannot be known by a key and by a certificate. Keep either the key or the certificate.",
            ],
        ),
        (
            GATEWAY,
            r#"[golioth]
certificate_file = "golioth.pem"
ca_file = "/etc/ca.pem"
key_file = "/s/lines"
server_name = "coaps://x"
[golioth.rest]
api_key_file = "/s/good""#,
            &[
                r#"f.toml:3: golioth.certificate_file: "golioth.pem" is not an absolute path. Write the whole path, such as "/etc/fieldgate/golioth.pem"."#,
                r#"f.toml:6: golioth.server_name: "coaps://x" is not a host name or an address. Write the name that the server's certificate has."#,
                r#"f.toml:7: golioth.rest.project: this key is required. Write project = "my-project", for example."#,
            ],
        ),
        (
            GATEWAY,
            r#"[golioth]
certificate_file = "/etc/golioth.pem"
ca_file = "/etc/ca.pem"
key_file = "/s/lines"
renew = false
renew_ca_file = "/etc/device-ca.pem""#,
            &[
                "f.toml:7: golioth.renew_ca_file: nothing is renewed with renew = false. Remove it, or renew = false.",
            ],
        ),
        (
            GOLIOTH,
            "renew = true",
            &[
                r#"f.toml:2: golioth.certificate_file: this key is required. Write certificate_file = "/etc/fieldgate/golioth.pem", for example."#,
                r#"f.toml:2: golioth.ca_file: this key is required. Write ca_file = "/etc/fieldgate/golioth-ca.pem", for example."#,
                r#"f.toml:2: golioth.key: this secret is required. Write key_file = "/etc/fieldgate/secrets/key" or key_credential = "key", for example."#,
                "f.toml:3: golioth.psk_id: the gateway cannot be known by a key and by a certificate. Keep either the key or the certificate.",
            ],
        ),
        (
            GOLIOTH,
            "requests_per_second = 21",
            &["f.toml:5: golioth.requests_per_second: 21 is not a rate Golioth takes. Use 1 to 20."],
        ),
        (
            GATEWAY,
            r#"[golioth]
psk_id = "a@p"
psk_file = "/s/long""#,
            &["f.toml:4: golioth.psk_file: the secret has 33 bytes. Use 1 to 32 bytes."],
        ),
        (
            GOLIOTH,
            r#"[golioth.rest]
url = "http://api.golioth.io"
api_key_file = "/s/good""#,
            &[
                "f.toml:6: golioth.rest.url: this is not an address the API key may be sent to. Write https://host or, on this machine only, http://127.0.0.1:port; no user, no ? and no #.",
            ],
        ),
        (
            GOLIOTH,
            r#"[golioth.rest]
url = 5
api_key_file = "/s/good""#,
            &[
                r#"f.toml:6: golioth.rest.url: this is not a text. Write url = "https://api.golioth.io", for example."#,
            ],
        ),
        (
            GOLIOTH,
            r#"[golioth.rest]
project = """#,
            &[
                r#"f.toml:5: golioth.rest.api_key: this secret is required. Write api_key_file = "/etc/fieldgate/secrets/api_key" or api_key_credential = "api_key", for example."#,
                r#"f.toml:6: golioth.rest.project: "" is not a project id. Write the project's id."#,
            ],
        ),
        (
            GATEWAY,
            "[[mqtt]]",
            &[
                r#"f.toml:2: mqtt.name: this key is required. Write name = "plant", for example."#,
                r#"f.toml:2: mqtt.broker: this key is required. Write broker = "mqtts://broker.example:8883", for example."#,
            ],
        ),
        (
            GATEWAY,
            r#"[[mqtt]]
name = "golioth"
broker = "mqtt://b""#,
            &[r#"f.toml:3: mqtt.name: "golioth" is the name of [golioth]. Choose another name."#],
        ),
        (
            GATEWAY,
            r#"[[mqtt]]
name = "m"
broker = "b:1883""#,
            &[
                "f.toml:4: mqtt.broker: this is not a broker's address. Write mqtt://host:1883 or mqtts://host:8883; user name and password have their own keys.",
            ],
        ),
        (
            MQTT,
            r#"[[mqtt]]
name = "m"
broker = "mqtt://c""#,
            &[
                r#"f.toml:6: mqtt.name: "m" is already taken at f.toml:3. Give each destination its own name."#,
            ],
        ),
        (
            MQTT,
            r#"[[mqtt]]
name = "n"
broker = "mqtt://b:1883""#,
            &[
                r#"f.toml:5: mqtt.client_id: "gw" is already used on this broker at f.toml:2: each connection would end the other. Give each its own client_id."#,
            ],
        ),
        (
            MQTT,
            r#"client_id = """#,
            &[r#"f.toml:5: mqtt.client_id: "" is not a client id. Write 1 to 128 bytes on one line."#],
        ),
        (
            MQTT,
            r#"username = """#,
            &[r#"f.toml:5: mqtt.username: "" is not a user name. Write 1 to 256 bytes on one line."#],
        ),
        (
            MQTT,
            r#"password_file = "/s/good""#,
            &[
                r#"f.toml:2: mqtt.username: a password needs a user name. Write username = "gw-0042", for example."#,
            ],
        ),
        (MQTT, "qos = 0", &["f.toml:5: mqtt.qos: 0 is not a quality of service that loses nothing. Use 1."]),
        (
            MQTT,
            r#"ca_file = "/ca.pem""#,
            &[
                r#"f.toml:5: mqtt.ca_file: the broker is not spoken to over TLS. Write broker = "mqtts://…" or remove ca_file."#,
            ],
        ),
        (
            MQTT,
            r#"topic = "a/{sit}""#,
            &[
                r#"f.toml:5: mqtt.topic: "{sit}" is not a variable. Known are {gateway}, {device}, {stream}, {class}."#,
            ],
        ),
        (
            MQTT,
            r#"topic = "a/{devise}""#,
            &[
                r#"f.toml:5: mqtt.topic: "{devise}" is not a variable. Did you mean {device}? Known are {gateway}, {device}, {stream}, {class}."#,
            ],
        ),
        (
            MQTT,
            r#"topic = "a/#""#,
            &[
                "f.toml:5: mqtt.topic: # is for subscribing and cannot be published to. Remove it; variables are {gateway}, {device}, {stream}, {class}.",
            ],
        ),
        (
            MQTT,
            r#"topic = """#,
            &["f.toml:5: mqtt.topic: the topic is empty or too long. Write 1 to 256 bytes."],
        ),
        (
            MQTT,
            r#"topic = "a\u0000""#,
            &["f.toml:5: mqtt.topic: the topic holds a control character. Remove it."],
        ),
        (
            MQTT,
            r#"topic = "{gateway""#,
            &[
                "f.toml:5: mqtt.topic: a brace has no partner. Write variables as {gateway}, {device}, {stream}, {class}.",
            ],
        ),
    ]);
}

#[test]
fn secrets_out_of_place_are_refused_without_being_shown() {
    assert_refused(&[
        (
            GATEWAY,
            r#"[golioth]
psk_id = "a@p"
psk = "hunter2""#,
            &[
                r#"f.toml:4: golioth.psk: a secret must not stand in the configuration. Put it alone into a file only fieldgate can read and write psk_file = "/path", or pass it by systemd and write psk_credential = "name". Change it if others could read it here."#,
            ],
        ),
        (
            GOLIOTH,
            r#"psk_credential = "c""#,
            &["f.toml:4: golioth.psk_file: psk_credential is set as well. Keep one of the two."],
        ),
        (
            GATEWAY,
            r#"[golioth]
psk_id = "a@p"
psk_file = "hunter2""#,
            &[
                r#"f.toml:4: golioth.psk_file: this is not an absolute path. Write the path of the file that holds the secret, such as "/etc/fieldgate/secrets/name"."#,
            ],
        ),
        (
            GATEWAY,
            r#"[golioth]
psk_id = "a@p"
psk_file = [5]"#,
            &[
                r#"f.toml:4: golioth.psk_file: this is not a text. Write psk_file = "/etc/fieldgate/secrets/name", for example."#,
            ],
        ),
        (
            GATEWAY,
            r#"[golioth]
psk_id = "a@p"
psk_credential = "../x""#,
            &[
                "f.toml:4: golioth.psk_credential: this is not a credential's name. Write the name given in the unit's LoadCredential=, without a path.",
            ],
        ),
        (
            GATEWAY,
            r#"[golioth]
psk_id = "a@p"
psk_file = "/s/open""#,
            &["f.toml:4: golioth.psk_file: the secret is gone. Bring it."],
        ),
        (
            GATEWAY,
            r#"[golioth]
psk_id = "a@p"
psk_file = "/s/empty""#,
            &["f.toml:4: golioth.psk_file: the secret is empty. Put the secret alone on the first line."],
        ),
        (
            GATEWAY,
            r#"[golioth]
psk_id = "a@p"
psk_file = "/s/lines""#,
            &[
                "f.toml:4: golioth.psk_file: the secret is not one line of text. Put the secret alone on one line, as text.",
            ],
        ),
        (
            MQTT,
            r#"password = "hunter2""#,
            &[
                r#"f.toml:5: mqtt.password: a secret must not stand in the configuration. Put it alone into a file only fieldgate can read and write password_file = "/path", or pass it by systemd and write password_credential = "name". Change it if others could read it here."#,
            ],
        ),
        (
            GATEWAY,
            "[[http.puller]]
name = \"cloud\"
token = 5",
            &[
                r#"f.toml:4: http.puller.token: a secret must not stand in the configuration. Put it alone into a file only fieldgate can read and write token_file = "/path", or pass it by systemd and write token_credential = "name". Change it if others could read it here."#,
            ],
        ),
        (
            GOLIOTH,
            r#"[golioth.rest]
api_key = "hunter2""#,
            &[
                r#"f.toml:6: golioth.rest.api_key: a secret must not stand in the configuration. Put it alone into a file only fieldgate can read and write api_key_file = "/path", or pass it by systemd and write api_key_credential = "name". Change it if others could read it here."#,
            ],
        ),
    ]);
}
