//! `fieldgate-sim cloud`

use super::{Ended, fresh_seed, say};
use crate::clock::{Clock, unix_ms};
use crate::cloud::{Cloud, CloudConfig, CloudHandle, CloudServer, DeviceConfig};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A device and its pre-shared key, NAME:KEY; its identity is NAME@PROJECT. May be given several times.
    #[arg(long = "device", value_name = "NAME:KEY", required = true, value_parser = device)]
    devices: Vec<NameAndKey>,
    /// Project id.
    #[arg(long, default_value = "demo")]
    project: String,
    /// What REST requests must carry in x-api-key.
    #[arg(long, value_name = "KEY", default_value = "demo-key")]
    api_key: String,
    /// UDP address for devices, on this machine; port 0 for any.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5684")]
    listen: SocketAddr,
    /// TCP address of the management API, on this machine; port 0 for any.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    http: SocketAddr,
    /// A pipeline in YAML. With one, stream messages go only where pipelines lead; without any, all are stored. May be given several
    /// times.
    #[arg(long = "pipeline", value_name = "FILE")]
    pipelines: Vec<std::path::PathBuf>,
    /// Gives no device a Connection ID.
    #[arg(long)]
    no_connection_id: bool,
    /// Requests a device may make in a second; 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 20)]
    rate: u32,
}

#[derive(Clone)]
struct NameAndKey {
    name: String,
    key: zeroize::Zeroizing<String>,
}

impl std::fmt::Debug for NameAndKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

fn device(text: &str) -> Result<NameAndKey, String> {
    match text.split_once(':') {
        Some((name, key)) if !name.is_empty() && !key.is_empty() => {
            Ok(NameAndKey { name: name.to_owned(), key: key.to_owned().into() })
        }
        _ => Err("give a name, a colon and a key, such as gw:0123456789abcdef".to_owned()),
    }
}

/// Says who connects; never ends.
async fn announce(handle: &CloudHandle) {
    let mut seen = 0;
    loop {
        handle.until(|cloud| cloud.counters().handshakes != seen).await;
        let device = handle.read(|cloud| {
            seen = cloud.counters().handshakes;
            cloud.newest_device()
        });
        // Nobody reads the lines any more: the cloud runs on.
        let _unread = say(&format!("connected: {}", device.as_deref().unwrap_or("somebody, for a moment")));
    }
}

pub(super) async fn run(arguments: Arguments, stop: CancellationToken) -> Ended {
    let project = &arguments.project;
    let devices: Vec<_> = arguments
        .devices
        .iter()
        .map(|device| DeviceConfig::new(&device.name, project, &device.key))
        .collect();
    let identities: Vec<String> = devices.iter().map(|device| device.psk_id.clone()).collect();
    let mut config = CloudConfig::new(project, &arguments.api_key, devices);
    config.connection_id = !arguments.no_connection_id;
    config.requests_per_second = Some(arguments.rate).filter(|rate| *rate > 0);

    if !arguments.pipelines.is_empty() {
        config.routes.clear();
    }

    let clock = Clock::start();
    let mut cloud = Cloud::new(config, fresh_seed()?, unix_ms())?;
    for file in &arguments.pipelines {
        let yaml = std::fs::read_to_string(file)?;
        cloud.add_pipeline(std::time::Duration::ZERO, &file.display().to_string(), &yaml)?;
    }
    let handle = CloudHandle::new(cloud, clock);
    let server = CloudServer::bind(handle.clone(), arguments.listen, Some(arguments.http)).await?;
    say(&format!("devices: coaps://{}", server.udp_addr()))?;
    for identity in identities {
        say(&format!("device: {identity}"))?;
    }
    if let Some(http) = server.http_addr() {
        say(&format!("api: http://{http}/v1/projects/{project}"))?;
    }
    tokio::select! {
        ended = server.run(stop) => ended?,
        () = announce(&handle) => {}
    }

    let (counters, intake) = handle.read(|cloud| (cloud.counters(), cloud.intake().counts()));
    say(&serde_json::json!({"cloud": counters, "intake": intake}).to_string())
}
