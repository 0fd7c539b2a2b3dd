//! The daemon's page and API over real HTTP. The daemon runs in virtual time on this thread, which waits meanwhile, so time stands
//! still; they are served by another thread, from what the daemon knows.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use fieldgate::clock::{BootId, Clock, Mono, Wall};
use fieldgate::config::Http;
use fieldgate::http;
use tokio_util::sync::CancellationToken;

use super::{World, WorldError};
use crate::gateway::http::get;

/// The daemon's clock at one moment: on another thread the virtual one does not run.
#[derive(Debug)]
struct Stopped {
    mono: Mono,
    wall: Wall,
    boot: BootId,
}

impl Clock for Stopped {
    fn mono(&self) -> Mono {
        self.mono
    }

    fn wall(&self) -> Wall {
        self.wall
    }

    fn boot_id(&self) -> BootId {
        self.boot
    }
}

impl World {
    /// The body of `GET path`.
    ///
    /// # Errors
    /// [`WorldError::System`] without a socket or a thread, [`WorldError::Page`] when it is not answered with 200.
    pub fn get(&self, path: &str) -> Result<String, WorldError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let clock = &self.rim.clock;
        let mut sources = self.sources();
        let silent = (sources.silent_lanes)();
        sources.silent_lanes = Arc::new(move || silent.clone());
        sources.clock = Arc::new(Stopped { mono: clock.mono(), wall: clock.wall(), boot: clock.boot_id() });
        let config = Http {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            interface: None,
            hosts: Vec::new(),
            pullers: Vec::new(),
        };
        let answered = std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    tokio::select! {
                        ended = http::serve(listener, &config, sources, CancellationToken::new()) => {
                            ended?;
                            Err(WorldError::Page("the page is no longer served".to_owned()))
                        }
                        answer = get(address, path) => answer.map_err(|error| WorldError::Page(error.to_string())),
                    }
                })
            });
            serving.join().unwrap_or_else(|_| Err(WorldError::Page("serving it ended in a panic".to_owned())))
        });
        Ok(String::from_utf8_lossy(&answered?).into_owned())
    }
}
