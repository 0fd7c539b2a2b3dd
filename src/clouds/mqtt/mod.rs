//! A generic MQTT 3.1.1 broker as a destination (requirement D7): QoS 1, the broker's PUBACK is the acknowledgement.
//!
//! [`MqttLink`] is the handle the drain holds; `lane` keeps the connection and owns everything of rumqttc's. `pack`,
//! `owed` and `decimal` make message bodies, `answers` matches acknowledgements to messages, `streak` reads what a row of connections
//! tells, `explain` puts errors into words: these are pure. `tls` says whom to trust.
//!
//! The queue is the truth. What rumqttc remembers of a connection ends with it: after any error every unanswered message is
//! given back as unknown and the next attempt begins with a new client, a new event loop and a clean session under the same
//! client id. So no packet id outlives its connection, and nothing is repeated that the drain does not repeat.
//!
//! # A message
//! The topic is the configured template; all readings of a message render the same one. The body is JSON without spaces:
//!
//! ```json
//! {"g":"gw-0042","e":"0102030405060708","r":[
//!   {"t":1795000001000,"s":17,"v":{"tank.level":21.5,"tank.pump":true}},
//!   {"t":1795000002000,"s":18,"v":{"tank.level":null,"tank.pump":false},"q":{"tank.level":2}}]}
//! ```
//!
//! | key | value |
//! |---|---|
//! | `g` | the gateway's serial |
//! | `e` | the store epoch, 16 hexadecimal digits |
//! | `prev` | once in an epoch, see below |
//! | `r` | records, each one instant of one group of streams |
//! | `t` | Unix milliseconds of capture |
//! | `u` | uncertainty of `t` in milliseconds; left out up to 1000 |
//! | `b`, `m` | instead of `t` while the time is not trusted: boot id, 32 hexadecimal digits, and milliseconds since that boot |
//! | `s` | sequence, shared by all readings of the instant |
//! | `v` | full stream name → value: a number, true or false, a text, or null where the stream has no value |
//! | `q` | full stream name → quality, for readings whose quality is not 0 (good): 1 out of range, 2 invalid by the device's own word, 3 late |
//!
//! (`g`, `e`, the stream, `s`) identifies a reading; a message may come twice, a reading under the same identity is the same
//! reading. A value counted in steps of a resolution is written as the exact decimal, `0.3` and never `0.30000000000000004`; only
//! where the step itself has no finite decimal (a third) it is the nearest floating point number.
//!
//! `"prev":{"of":E,"e":P,"s":{group:n}}` says that epoch `of` has begun, that `e` went before it and which sequence each
//! group had reached there. `e` is absent for a first epoch; `s` is absent when it would take more than 2 KiB.
//!
//! # What was lost, and times that were not known
//! To `fieldgate/{gateway}/losses`, before readings: `{"g":…,"losses":[…],"clocks":[…]}`, either left out when empty.
//! A loss is `{"of":"dropped","why":"quota","n":12,"stream":"tank.level","e":…,"t":…,"from":5,"to":90,"file":…,"id":3}`: what
//! became of the readings (`dropped`, `missed`, `refused`), why, how many in all (null where nobody knows), of which stream
//! (left out: of every stream), in which epoch and when it last grew, and which record of which queue file it is. A record
//! that has grown is sent again; the latest replaces those before. A clock is `{"b":…,"o":…,"u":…}`: readings that carry
//! boot `b` and `m` were captured at `o` + `m` Unix milliseconds, give or take `u`.
//!
//! # What is reported of firmware
//! A component's state is published with QoS 1 and retained, to `fieldgate/{gateway}/firmware/{package}`:
//! `{"package":…,"version":…,"target":…,"state":0,"reason":0}`, in Golioth's numbering. A broker deploys nothing, so there
//! are no manifests. The firmware log is published with QoS 1, a page a message, oldest first, to
//! `fieldgate/{gateway}/firmware_log`; [`crate::store::gateway::pages`] has its shape. A page may come twice.

mod answers;
mod decimal;
mod explain;
mod lane;
mod link;
mod owed;
mod pack;
mod streak;
mod tls;

pub use link::{MAX_MESSAGE_BYTES, MqttLink};

#[cfg(test)]
mod tests {
    //! What the tests of this folder share.

    use crate::config::{Mqtt, Secret, SecretRefused, SecretSource, Surroundings, parse};

    struct Nowhere;

    impl Surroundings for Nowhere {
        fn host_name(&self) -> &str {
            "host"
        }

        fn secret(&self, _: &SecretSource) -> Result<Secret, SecretRefused> {
            Ok(Secret::new(b"hunter2".to_vec()))
        }
    }

    /// The configuration of a broker with these further keys.
    pub(super) fn config(keys: &str) -> Mqtt {
        let text = format!(
            "[gateway]\nserial = \"gw-1\"\n[[mqtt]]\nname = \"plant\"\nbroker = \"mqtt://broker.example\"\n{keys}\n"
        );
        let loaded =
            parse(&[("fieldgate.toml", &text)], &Nowhere).unwrap_or_else(|refused| panic!("{refused}"));
        loaded.config.mqtt.into_iter().next().unwrap()
    }
}
