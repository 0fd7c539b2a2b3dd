//! Whatever arrives, at whatever stage: no panic, no undefined behaviour, and no harm to an established session.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod common;

use common::{Direction, Seeded, Wire, address, client_config, ms, rng, server};
use fieldgate_dtls::{CipherSuite, Event, SavedSession, Session};
use proptest::prelude::*;

/// Bytes that look like DTLS to differing depth.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let record = (
        prop::sample::select(vec![20u8, 21, 22, 23, 25, 0, 255]),
        prop::sample::select(vec![0u16, 1, 2, 0xFFFF]),
        any::<u32>(),
        prop::collection::vec(any::<u8>(), 0..80),
        -3i32..4,
    )
        .prop_map(|(kind, epoch, sequence, body, length_error)| {
            let mut record = vec![kind, 0xFE, 0xFD];
            record.extend(epoch.to_be_bytes());
            record.extend([0, 0]);
            record.extend(sequence.to_be_bytes());
            let length = i32::try_from(body.len()).unwrap().saturating_add(length_error).max(0);
            record.extend(u16::try_from(length).unwrap().to_be_bytes());
            record.extend(body);
            record
        });
    let handshake = (0u8..25, 0u16..5, prop::collection::vec(any::<u8>(), 0..200), 0u8..8).prop_map(
        |(message, sequence, body, cut)| {
            let length = u8::try_from(body.len()).unwrap();
            let fragment = length.saturating_sub(cut);
            let [s1, s0] = sequence.to_be_bytes();
            let record_length = u16::try_from(12 + body.len()).unwrap().to_be_bytes();
            let mut record = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, s0];
            record.extend(record_length);
            record.extend([message, 0, 0, length, s1, s0, 0, 0, 0, 0, 0, fragment]);
            record.extend(body);
            record
        },
    );
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        record.clone(),
        handshake,
        prop::collection::vec(record, 1..5).prop_map(|records| records.concat()),
        Just(vec![22; 20_000]),
    ]
}

/// A genuine datagram of the exchange so far, damaged.
fn damage(wire: &Wire, choice: u64) -> Option<Vec<u8>> {
    let mut dice = Seeded(choice);
    let index = usize::try_from(dice.below(u64::try_from(wire.seen.len()).unwrap().max(1))).unwrap();
    let mut datagram = wire.seen.get(index)?.2.clone();
    for _ in 0..dice.below(4) {
        let at = usize::try_from(dice.below(u64::try_from(datagram.len()).unwrap())).unwrap();
        datagram[at] = dice.next().to_le_bytes()[0];
    }
    if dice.below(3) == 0 {
        let keep = usize::try_from(dice.below(u64::try_from(datagram.len()).unwrap())).unwrap();
        datagram.truncate(keep);
    }
    Some(datagram)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// At each point of a handshake both sides are fed noise and damaged copies. The handshake may fail; a fresh one
    /// against the same server then succeeds.
    #[test]
    fn noise_during_a_handshake_never_panics_and_never_sticks(
        stage in 0u64..12,
        noise in prop::collection::vec((any::<bool>(), noise()), 1..8),
        choices in prop::collection::vec(any::<u64>(), 0..8),
        connection_id: bool,
    ) {
        let config = client_config(CipherSuite::PskAes128Gcm, connection_id);
        let mut wire = Wire::new(server());
        wire.add(address(1000), Session::client(&config, wire.now, rng(2)).unwrap());
        wire.run_for(ms(stage * 5));
        for (to_server, datagram) in noise {
            let direction = if to_server { Direction::ToServer } else { Direction::ToClient };
            wire.inject(direction, address(1000), &datagram);
        }
        for choice in choices {
            if let Some(datagram) = damage(&wire, choice) {
                wire.inject(Direction::ToServer, address(1000), &datagram);
                wire.inject(Direction::ToClient, address(1000), &datagram);
            }
        }
        wire.run_for(ms(90_000));
        wire.clients.clear();
        wire.add(address(1001), Session::client(&config, wire.now, rng(3)).unwrap());
        wire.run_for(ms(500));
        prop_assert!(wire.client(1001).connection().is_some(), "{:?}", wire.client_events);
    }

    /// An established session shrugs at anything: it neither closes nor invents data, and carries on.
    #[test]
    fn noise_on_an_established_session_changes_nothing(
        noise in prop::collection::vec((any::<bool>(), noise()), 1..12),
        choices in prop::collection::vec(any::<u64>(), 0..12),
        connection_id: bool,
        cbc: bool,
    ) {
        let suite = if cbc { CipherSuite::PskAes128Cbc } else { CipherSuite::PskAes128Ccm8 };
        let (mut wire, id) = Wire::connected(&client_config(suite, connection_id && !cbc), server());
        wire.client_send(1000, b"one");
        wire.server_send(id, b"two");
        wire.run_for(ms(50));
        for (to_server, datagram) in noise {
            let direction = if to_server { Direction::ToServer } else { Direction::ToClient };
            wire.inject(direction, address(1000), &datagram);
        }
        for choice in choices {
            if let Some(datagram) = damage(&wire, choice) {
                wire.inject(Direction::ToServer, address(1000), &datagram);
                wire.inject(Direction::ToClient, address(1000), &datagram);
            }
        }
        wire.run_for(ms(90_000));
        wire.client_send(1000, b"three");
        wire.server_send(id, b"four");
        wire.run_for(ms(50));
        let closed = |event: &Event| matches!(event, Event::Closed { .. });
        prop_assert!(!wire.client_events.iter().any(|(_, event)| closed(event)), "{:?}", wire.client_events);
        let of_this = |event: &&fieldgate_dtls::ServerEvent| event.id == id;
        let ended = wire.server_events.iter().filter(of_this).any(|event| closed(&event.event));
        prop_assert!(!ended, "{:?}", wire.server_events);
        prop_assert_eq!(wire.take_received_by_server(), vec![b"one".to_vec(), b"three".to_vec()]);
        prop_assert_eq!(wire.take_received_by_clients(), vec![b"two".to_vec(), b"four".to_vec()]);
    }

    /// A saved session is kept by the caller and may be damaged there.
    #[test]
    fn a_damaged_saved_session_never_panics(choice: u64, datagram in noise()) {
        let config = client_config(CipherSuite::PskAes128Gcm, true);
        let (mut wire, id) = Wire::connected(&config, server());
        let saved = wire.clients.remove(&address(1000)).unwrap().save().unwrap();
        let mut bytes = saved.as_bytes().to_vec();
        let mut dice = Seeded(choice);
        for _ in 0..=dice.below(3) {
            let at = usize::try_from(dice.below(u64::try_from(bytes.len()).unwrap())).unwrap();
            bytes[at] ^= 1 << dice.below(8);
        }
        if let Ok(mut session) = Session::restore(&config, SavedSession::from_bytes(bytes), wire.now, rng(4)) {
            let _ = session.send(wire.now, b"damaged");
            session.handle_datagram(wire.now, &datagram);
            wire.server_send(id, b"to whom");
            let record = wire.seen.last().unwrap().2.clone();
            session.handle_datagram(wire.now, &record);
        }
    }
}
