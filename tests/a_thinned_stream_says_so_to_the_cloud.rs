//! The promise: what was thinned of a stream is told to the cloud, by stream and with the number of readings; the cloud needs
//! nothing else to tell a thinned stream from one that changed seldom.
//!
//! The whole daemon in virtual time against the simulated cloud and network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use fieldgate::reading::Value;
use fieldgate_sim::world::{self, World, WorldOptions};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MONTH: &str = "[budget]\nmonth = \"512KiB\"\n";

#[test]
fn the_cloud_reads_which_stream_was_thinned_and_by_how_many_readings() {
    world::in_virtual_time(async {
        let options = WorldOptions { bus: false, tables: MONTH.into(), ..WorldOptions::default() };
        let world = World::start(&options).await.unwrap();
        world.pass(MINUTE).await;
        world.interface_down(true);
        for hundred in 0..300 {
            world.take_all("q1", (hundred * 100..hundred * 100 + 100).map(Value::Steps)).await.unwrap();
            world.pass(Duration::from_secs(10)).await;
        }
        world.interface_down(false);
        world.pass(6 * HOUR).await;

        let [thinned] = &world.drops("golioth").unwrap()[..] else { panic!("{:?}", world.drops("golioth")) };
        assert_eq!((thinned.alias.as_str(), thinned.reason.as_str()), ("q1", "thinned"));
        let told: Vec<_> = world.cloud(|cloud, _| cloud.intake().losses("gw-1").cloned().collect());
        let told: Vec<_> = told.iter().filter(|loss| loss.why == "thinned").collect();
        assert!(
            told.iter().all(|loss| loss.of == "dropped" && loss.stream.as_deref() == Some("q1")),
            "{told:?}"
        );
        let count: u64 = told.iter().filter_map(|loss| loss.count).sum();
        assert_eq!(count, thinned.count, "the latest of each record is how many in all");
        let there = world.far_values("q1").len() as u64;
        assert!(there > 0 && count > there, "{there} sent, {count} given up");
        assert_eq!(world.finish().await.unwrap().problems, Vec::<String>::new());
    })
    .unwrap();
}
