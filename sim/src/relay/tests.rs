//! What the bad network promises: the core in virtual time, the driver on loopback.

use super::*;
use crate::clock::Clock;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn both(path: PathProfile) -> RelayProfile {
    RelayProfile::symmetric(path)
}

/// Everything that arrives from now on, with its time.
fn arrivals(relay: &mut Relay) -> Vec<(Duration, Delivery)> {
    let mut all = Vec::new();
    while let Some(at) = relay.poll_timeout() {
        while let Some(delivery) = relay.poll_deliver(at) {
            all.push((at, delivery));
        }
    }
    all
}

fn numbered(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn numbers(arrived: &[(Duration, Delivery)]) -> Vec<u32> {
    arrived.iter().map(|(_, d)| u32::from_be_bytes(d.bytes[..4].try_into().unwrap())).collect()
}

fn bad() -> PathProfile {
    PathProfile {
        delay: 80 * MS,
        jitter: 60 * MS,
        loss: 0.1,
        reorder: 0.1,
        reorder_hold: 50 * MS,
        duplicate: 0.1,
        rate: Some(RateLimit { bytes_per_second: 4000, buffer_bytes: 3000 }),
        mtu: Some(1280),
    }
}

#[test]
fn the_same_seed_gives_the_same_deliveries_and_another_gives_others() {
    let run = |seed| {
        let mut relay = Relay::new(both(bad()), seed);
        for n in 0..500 {
            let direction = if n % 3 == 0 { Direction::Down } else { Direction::Up };
            relay.handle(MS * 10 * n, direction, &numbered(n));
        }
        (arrivals(&mut relay), relay.counters())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn a_perfect_network_delivers_everything_at_once_in_order() {
    let mut relay = Relay::new(RelayProfile::default(), 1);
    relay.handle(SECOND, Direction::Up, b"one");
    relay.handle(SECOND, Direction::Down, b"two");
    let one = Delivery { direction: Direction::Up, flow: FlowId::default(), bytes: b"one".to_vec() };
    let two = Delivery { direction: Direction::Down, flow: FlowId::default(), bytes: b"two".to_vec() };
    assert_eq!(relay.poll_deliver(SECOND - MS), None, "nothing arrives before it was sent");
    assert_eq!(relay.poll_deliver(SECOND), Some(one));
    assert_eq!(relay.poll_deliver(SECOND), Some(two));
    assert_eq!(relay.poll_timeout(), None);
}

#[test]
fn loss_is_about_as_set() {
    let mut relay = Relay::new(both(PathProfile { loss: 0.2, ..PathProfile::default() }), 3);
    let mut arrived = 0;
    for n in 0..10_000 {
        relay.handle(MS * n, Direction::Up, &numbered(n));
        arrived += arrivals(&mut relay).len() as u64;
    }
    let lost = relay.counters().up.dropped.loss;
    // Five standard deviations of a binomial with p = 0.2.
    assert!((1800..=2200).contains(&lost), "{lost} of 10000");
    assert_eq!(arrived, 10_000 - lost);
    relay.set_loss(0.0);
    relay.handle(SECOND * 20, Direction::Up, b"sure");
    relay.set_loss(1.0);
    relay.handle(SECOND * 20, Direction::Up, b"gone");
    assert_eq!(arrivals(&mut relay).len(), 1);
}

#[test]
fn jitter_alone_keeps_the_order_and_its_bounds() {
    let mut relay =
        Relay::new(both(PathProfile { delay: 100 * MS, jitter: 50 * MS, ..PathProfile::default() }), 5);
    for n in 0..1000 {
        relay.handle(MS * n, Direction::Up, &numbered(n));
    }
    let arrived = arrivals(&mut relay);
    assert_eq!(numbers(&arrived), (0..1000).collect::<Vec<_>>());
    let delays: Vec<Duration> = (0..).zip(&arrived).map(|(n, (at, _))| *at - MS * n).collect();
    assert!(delays.iter().all(|d| (100 * MS..=150 * MS).contains(d)));
    assert!(delays.iter().any(|d| *d != delays[0]));
}

#[test]
fn a_datagram_held_back_is_overtaken() {
    let path = PathProfile { delay: 10 * MS, reorder: 0.1, reorder_hold: 30 * MS, ..PathProfile::default() };
    let mut relay = Relay::new(both(path), 5);
    for n in 0..1000 {
        relay.handle(MS * 5 * n, Direction::Up, &numbered(n));
    }
    let order = numbers(&arrivals(&mut relay));
    let overtaken = order.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(overtaken > 50, "{overtaken}");
    assert!((60..140).contains(&relay.counters().up.reordered));
    let mut sorted = order;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>(), "none is lost by it");
}

#[test]
fn a_duplicate_arrives_twice_and_is_counted_apart() {
    let mut relay = Relay::new(both(PathProfile { duplicate: 1.0, ..PathProfile::default() }), 5);
    relay.handle(SECOND, Direction::Up, b"twice");
    assert_eq!(arrivals(&mut relay).len(), 2);
    let up = relay.counters().up;
    assert_eq!((up.datagrams, up.duplicated, up.delivered), (1, 1, 2));
    assert_eq!((up.bytes, up.wire_bytes, up.delivered_wire_bytes), (5, 33, 66));
}

#[test]
fn a_cut_loses_what_comes_and_what_is_under_way_both_ways_until_healed() {
    let mut relay = Relay::new(both(PathProfile { delay: SECOND, ..PathProfile::default() }), 5);
    relay.handle(SECOND, Direction::Up, b"under way");
    relay.handle(SECOND, Direction::Down, b"under way");
    relay.cut();
    relay.cut();
    assert!(relay.is_cut());
    relay.handle(2 * SECOND, Direction::Up, b"during");
    relay.handle(2 * SECOND, Direction::Down, b"during");
    assert_eq!(relay.poll_timeout(), None);
    relay.heal();
    relay.handle(3 * SECOND, Direction::Up, b"after");
    let arrived = arrivals(&mut relay);
    assert_eq!(arrived.len(), 1);
    assert_eq!((arrived[0].0, arrived[0].1.bytes.as_slice()), (4 * SECOND, b"after".as_slice()));
    let counters = relay.counters();
    assert_eq!((counters.up.dropped.cut, counters.down.dropped.cut, counters.cuts), (2, 2, 1));
}

#[test]
fn the_rate_is_exact_over_headers_and_payload() {
    // 72 bytes of payload are 100 on the wire: ten a second, to the nanosecond, also where a single one is no whole
    // number of nanoseconds.
    for (rate, count, done) in [(1000, 100, 10 * SECOND), (3, 3, 100 * SECOND), (7_000, 70, SECOND)] {
        let limit = RateLimit { bytes_per_second: rate, buffer_bytes: u64::MAX };
        let mut relay = Relay::new(both(PathProfile { rate: Some(limit), ..PathProfile::default() }), 5);
        for _ in 0..count {
            relay.handle(SECOND, Direction::Up, &[0; 72]);
        }
        let arrived = arrivals(&mut relay);
        assert_eq!(arrived.len(), count);
        assert_eq!(arrived[count - 1].0, SECOND + done);
    }
}

#[test]
fn a_bottleneck_that_was_idle_saves_nothing_up() {
    let limit = RateLimit { bytes_per_second: 100, buffer_bytes: 1000 };
    let mut relay = Relay::new(both(PathProfile { rate: Some(limit), ..PathProfile::default() }), 5);
    relay.handle(SECOND, Direction::Up, &[0; 72]);
    relay.handle(100 * SECOND, Direction::Up, &[0; 72]);
    assert_eq!(arrivals(&mut relay).iter().map(|a| a.0).collect::<Vec<_>>(), [2 * SECOND, 101 * SECOND]);
}

#[test]
fn a_full_buffer_drops_the_newcomer_and_empties_at_the_rate() {
    let limit = RateLimit { bytes_per_second: 100, buffer_bytes: 300 };
    let mut relay = Relay::new(both(PathProfile { rate: Some(limit), ..PathProfile::default() }), 5);
    for _ in 0..5 {
        relay.handle(SECOND, Direction::Up, &[0; 72]);
    }
    assert_eq!(relay.counters().up.dropped.buffer, 2);
    relay.handle(2 * SECOND - Duration::from_nanos(1), Direction::Up, &[0; 72]);
    assert_eq!(relay.counters().up.dropped.buffer, 3, "the first is not quite out");
    relay.handle(2 * SECOND, Direction::Up, &[0; 72]);
    let times: Vec<Duration> = arrivals(&mut relay).iter().map(|a| a.0).collect();
    assert_eq!(times, [2 * SECOND, 3 * SECOND, 4 * SECOND, 5 * SECOND]);
    assert_eq!(relay.counters().down.dropped.buffer, 0, "the other direction has its own");
}

#[test]
fn another_rate_begins_where_the_old_one_ended() {
    let rate = |bytes_per_second| {
        both(PathProfile {
            rate: Some(RateLimit { bytes_per_second, buffer_bytes: 10_000 }),
            ..PathProfile::default()
        })
    };
    let mut relay = Relay::new(rate(100), 5);
    relay.handle(SECOND, Direction::Up, &[0; 72]);
    relay.set_profile(rate(50));
    relay.handle(SECOND, Direction::Up, &[0; 72]);
    assert_eq!(arrivals(&mut relay).iter().map(|a| a.0).collect::<Vec<_>>(), [2 * SECOND, 4 * SECOND]);
    relay.set_profile(rate(0));
    relay.handle(9 * SECOND, Direction::Up, &[0; 72]);
    assert_eq!(relay.counters().up.dropped.buffer, 1, "a rate of nothing lets nothing through");
}

#[test]
fn a_packet_larger_than_the_mtu_vanishes() {
    let mut relay = Relay::new(both(PathProfile { mtu: Some(128), ..PathProfile::default() }), 5);
    relay.handle(SECOND, Direction::Up, &[0; 100]);
    relay.handle(SECOND, Direction::Up, &[0; 101]);
    assert_eq!(arrivals(&mut relay).len(), 1);
    assert_eq!(relay.counters().up.dropped.mtu, 1);
}

#[test]
fn what_is_under_way_is_bounded() {
    let mut relay =
        Relay::new(both(PathProfile { delay: SECOND, duplicate: 0.5, ..PathProfile::default() }), 5);
    for n in 0..20_000 {
        relay.handle(SECOND, Direction::Up, &numbered(n));
    }
    let up = relay.counters().up;
    assert_eq!(up.in_flight, 4096);
    assert_eq!(up.datagrams + up.duplicated, up.in_flight + up.dropped.buffer);
}

#[derive(Debug, Clone)]
enum Step {
    Send(Direction, usize),
    Wait(u16),
    Cut,
    Heal,
    Profile(PathProfile),
}

fn step() -> impl Strategy<Value = Step> {
    let direction = prop_oneof![Just(Direction::Up), Just(Direction::Down)];
    let rate = proptest::option::of((0..5000_u64, 0..3000_u64))
        .prop_map(|r| r.map(|(bytes_per_second, buffer_bytes)| RateLimit { bytes_per_second, buffer_bytes }));
    let profile =
        (0..500_u32, 0..500_u32, 0.0..1.0_f64, 0.0..1.0_f64, rate, proptest::option::of(0..1500_u64))
            .prop_map(|(delay, jitter, p, q, rate, mtu)| PathProfile {
                delay: MS * delay,
                jitter: MS * jitter,
                loss: p / 2.0,
                reorder: q,
                reorder_hold: MS * jitter,
                duplicate: p,
                rate,
                mtu,
            });
    prop_oneof![
        8 => (direction, 0..1500_usize).prop_map(|(d, n)| Step::Send(d, n)),
        4 => (0..2000_u16).prop_map(Step::Wait),
        1 => Just(Step::Cut),
        2 => Just(Step::Heal),
        1 => profile.prop_map(Step::Profile),
    ]
}

proptest! {
    #[test]
    fn every_datagram_is_delivered_dropped_or_under_way(seed: u64, steps in proptest::collection::vec(step(), 0..120)) {
        let mut relay = Relay::new(both(bad()), seed);
        let mut now = Duration::ZERO;
        let (mut taken_up, mut taken_down) = (0_u64, 0_u64);
        for step in steps {
            match step {
                Step::Send(direction, n) => relay.handle(now, direction, &vec![0; n]),
                Step::Wait(ms) => now += MS * u32::from(ms),
                Step::Cut => relay.cut(),
                Step::Heal => relay.heal(),
                Step::Profile(profile) => relay.set_profile(both(profile)),
            }
            while let Some(delivery) = relay.poll_deliver(now) {
                prop_assert!(!relay.is_cut());
                match delivery.direction {
                    Direction::Up => taken_up += 1,
                    Direction::Down => taken_down += 1,
                }
            }
            prop_assert!(relay.poll_timeout().is_none_or(|at| at > now));
            let counters = relay.counters();
            for c in [counters.up, counters.down] {
                prop_assert_eq!(c.datagrams + c.duplicated, c.delivered + c.dropped.total() + c.in_flight);
                prop_assert_eq!(c.wire_bytes, c.bytes + 28 * c.datagrams);
                prop_assert_eq!(c.delivered_wire_bytes, c.delivered_bytes + 28 * c.delivered);
            }
            prop_assert_eq!((counters.up.delivered, counters.down.delivered), (taken_up, taken_down));
        }
    }
}

/// A relay that runs between a cloud socket and whoever sends to it.
struct Running {
    cloud: UdpSocket,
    local: SocketAddr,
    handle: RelayHandle,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), RelayError>>,
}

impl Running {
    async fn start() -> Self {
        let cloud = socket().await;
        let upstream = cloud.local_addr().unwrap();
        let relay =
            UdpRelay::bind(any_port(), upstream, RelayProfile::default(), 9, Clock::start()).await.unwrap();
        let (local, handle, stop) = (relay.local_addr(), relay.handle(), CancellationToken::new());
        let task = tokio::spawn(relay.run(stop.clone()));
        Self { cloud, local, handle, stop, task }
    }

    /// Sends up and gives the source the cloud saw.
    async fn up(&self, gateway: &UdpSocket, bytes: &[u8]) -> SocketAddr {
        gateway.send_to(bytes, self.local).await.unwrap();
        let (received, from) = receive(&self.cloud).await;
        assert_eq!(received, bytes);
        from
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn socket() -> UdpSocket {
    UdpSocket::bind(any_port()).await.unwrap()
}

/// Waits for a datagram; the limit only keeps a broken relay from hanging the run.
async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let received = tokio::time::timeout(Duration::from_secs(20), socket.recv_from(&mut buffer)).await;
    let (n, from) = received.expect("no datagram came").unwrap();
    (buffer[..n].to_vec(), from)
}

#[tokio::test]
async fn datagrams_cross_both_ways_and_a_rebinding_is_a_new_source_port() {
    let (running, gateway) = (Running::start().await, socket().await);
    let first = running.up(&gateway, b"hello").await;
    running.cloud.send_to(b"hi", first).await.unwrap();
    let (bytes, from) = receive(&gateway).await;
    assert_eq!((bytes.as_slice(), from), (b"hi".as_slice(), running.local));
    assert_eq!(running.up(&gateway, b"again").await, first, "a mapping is kept");

    running.handle.rebind();
    let second = running.up(&gateway, b"from elsewhere").await;
    assert_ne!(second, first);
    // What goes to the old port vanishes; what goes to the new one arrives.
    running.cloud.send_to(b"to the old", first).await.unwrap();
    running.cloud.send_to(b"to the new", second).await.unwrap();
    assert_eq!(receive(&gateway).await.0, b"to the new");
    let counters = running.handle.counters();
    assert_eq!((counters.up.delivered, counters.down.datagrams, counters.rebinds), (3, 2, 1));
    running.stop().await;
}

#[tokio::test]
async fn another_socket_of_the_gateway_is_another_flow() {
    let running = Running::start().await;
    let (one, two) = (socket().await, socket().await);
    let (port_one, port_two) = (running.up(&one, b"one").await, running.up(&two, b"two").await);
    assert_ne!(port_one, port_two);
    running.cloud.send_to(b"for one", port_one).await.unwrap();
    running.cloud.send_to(b"for two", port_two).await.unwrap();
    assert_eq!(receive(&one).await.0, b"for one");
    assert_eq!(receive(&two).await.0, b"for two");
    running.stop().await;
}

#[tokio::test]
async fn nobody_but_the_cloud_gets_through_a_mapping() {
    let (running, gateway, stranger) = (Running::start().await, socket().await, socket().await);
    let mapping = running.up(&gateway, b"hello").await;
    stranger.send_to(b"not for you", mapping).await.unwrap();
    running.cloud.send_to(b"for you", mapping).await.unwrap();
    assert_eq!(receive(&gateway).await.0, b"for you");
    assert_eq!(running.handle.counters().down.datagrams, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_cut_and_a_heal_reach_the_running_relay() {
    let (running, gateway) = (Running::start().await, socket().await);
    running.up(&gateway, b"before").await;
    running.handle.cut();
    gateway.send_to(b"during", running.local).await.unwrap();
    while running.handle.counters().up.dropped.cut == 0 {
        tokio::task::yield_now().await;
    }
    assert!(running.handle.cut_for() > Duration::ZERO, "a cut that lasts is counted");
    running.handle.heal();
    let cut_for = running.handle.cut_for();
    running.up(&gateway, b"after").await;
    assert_eq!(running.handle.cut_for(), cut_for, "nothing is added once it is healed");
    running.handle.set_loss(1.0);
    gateway.send_to(b"lost", running.local).await.unwrap();
    while running.handle.counters().up.dropped.loss == 0 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_delayed_datagram_arrives_without_anything_else_happening() {
    let (running, gateway) = (Running::start().await, socket().await);
    running.handle.set_profile(both(PathProfile { delay: 20 * MS, ..PathProfile::default() }));
    running.up(&gateway, b"late").await;
    running.stop().await;
}

#[tokio::test]
async fn the_relay_refuses_any_address_beyond_this_machine() {
    let bind = async |listen: &str, upstream: &str| {
        let (listen, upstream) = (listen.parse().unwrap(), upstream.parse().unwrap());
        UdpRelay::bind(listen, upstream, RelayProfile::default(), 0, Clock::start()).await.map(|_| ())
    };
    for (listen, upstream) in [
        ("127.0.0.1:0", "192.0.2.1:5684"),
        ("0.0.0.0:0", "127.0.0.1:5684"),
        ("[::]:0", "[::1]:5684"),
        ("127.0.0.1:0", "[::ffff:192.0.2.1]:5684"),
    ] {
        let refused = bind(listen, upstream).await;
        assert!(matches!(refused, Err(RelayError::NotLoopback { .. })), "{listen} {upstream}");
    }
    bind("127.0.0.1:0", "127.0.0.1:5684").await.unwrap();
}
