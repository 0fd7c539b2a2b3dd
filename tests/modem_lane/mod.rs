//! A bench: the lane under its supervisor, a wire in memory, the simulated modem at the far end, one virtual clock.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fieldgate::board::{Board, ModemPhase, ModemState, Registration, Signal};
use fieldgate::clock::{BootId, VirtualClock, Wall};
use fieldgate::config;
use fieldgate::daemon::rim::{Datagrams, Entropy, Net, PortSettings, Ports, Rim, SerialStream, UdpTarget};
use fieldgate::daemon::supervisor::Supervisor;
use fieldgate_sim::clock::Clock;
use fieldgate_sim::modem::{ModemProfile, SimModem};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Between two looks at the modem.
pub(crate) const POLL: Duration = Duration::from_secs(60);
/// The true time when virtual time begins.
pub(crate) const UNIX_AT_ORIGIN: u64 = 1_800_000_000;
const STEP: Duration = Duration::from_millis(100);

/// What a test asks of the board.
pub(crate) trait Facts {
    fn registered(&self) -> bool;
    fn registration(&self) -> Registration;
    fn signal(&self) -> Signal;
    fn phase(&self) -> Option<ModemPhase>;
}

impl Facts for Board {
    fn registered(&self) -> bool {
        self.registration.get().is_some_and(|it| it.value.registered)
    }

    fn registration(&self) -> Registration {
        self.registration.get().map_or_else(nothing_yet, |it| it.value)
    }

    fn signal(&self) -> Signal {
        self.signal.get().expect("no signal on the board").value
    }

    fn phase(&self) -> Option<ModemPhase> {
        self.modem_state.get().map(|it| it.value.phase)
    }
}

/// What the board holds before the lane has said anything.
fn nothing_yet() -> Registration {
    Registration {
        registered: false,
        roaming: false,
        words: String::new(),
        operator: None,
        plmn: None,
        access: None,
        band: None,
        cell: None,
    }
}

/// Everything around one lane.
pub(crate) struct Bench {
    pub(crate) board: Arc<Board>,
    far: Arc<Far>,
    rim: Rim,
    supervisor: Supervisor,
    stop: CancellationToken,
    log: Log,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl Bench {
    /// Starts the lane on a port that is there, with a modem without power behind it.
    pub(crate) fn start(profile: ModemProfile, seed: u64) -> Self {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_max_level(tracing::Level::TRACE)
            .with_writer({
                let log = log.clone();
                move || log.clone()
            })
            .finish();
        let subscriber = tracing::subscriber::set_default(subscriber);
        let wall = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };
        let far = Arc::new(Far::new(SimModem::new(profile, seed, UNIX_AT_ORIGIN)));
        let rim = Rim {
            clock: Arc::new(VirtualClock::starting_at(BootId([1; 16]), wall)),
            random: Arc::new(Dice(AtomicU64::new(seed | 1))),
            net: Arc::new(NoNet),
            ports: Arc::new(TestPorts(Arc::clone(&far))),
            hardware: None,
        };
        let (board, stop) = (Board::shared(), CancellationToken::new());
        tokio::spawn(run_far(Arc::clone(&far), stop.clone()));
        let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
        let config = config::Modem {
            port: PathBuf::from("/dev/test-modem"),
            baud: 115_200,
            poll: POLL,
            flow_control: true,
        };
        supervisor.spawn(fieldgate::modem::lane(config, rim.clone(), Arc::clone(&board), stop.clone()));
        Self { board, far, rim, supervisor, stop, log, _subscriber: subscriber }
    }

    pub(crate) fn power_on(&self) {
        self.modem(SimModem::power_on);
    }

    /// Does something to the modem now.
    pub(crate) fn modem<R>(&self, f: impl FnOnce(&mut SimModem, Duration) -> R) -> R {
        let result = f(&mut self.far.lock().modem, self.far.clock.now());
        self.far.changed.notify_one();
        result
    }

    /// Takes the port away, under the lane's hands if it is open.
    pub(crate) fn unplug(&self) {
        let mut state = self.far.lock();
        state.present = false;
        state.cut = true;
        drop(state);
        self.far.changed.notify_one();
    }

    /// Puts the port back.
    pub(crate) fn plug(&self) {
        self.far.lock().present = true;
    }

    /// From the next opening on, the port takes no bytes.
    pub(crate) fn block_writes(&self) {
        self.far.lock().blocked = true;
    }

    /// How often the port was opened.
    pub(crate) fn opens(&self) -> usize {
        self.far.lock().opens
    }

    /// How many commands beginning like this the modem was sent.
    pub(crate) fn commands(&self, beginning: &str) -> usize {
        let state = self.far.lock();
        let heard = String::from_utf8_lossy(&state.heard);
        heard.split(['\r', '\n']).filter(|line| line.starts_with(beginning)).count()
    }

    pub(crate) fn registration(&self) -> Registration {
        self.board.registration()
    }

    pub(crate) fn signal(&self) -> Signal {
        self.board.signal()
    }

    pub(crate) fn state(&self) -> ModemState {
        self.board.modem_state.get().expect("no modem state on the board").value
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Lets virtual time pass, watching all the while that the lane lives and is never silent.
    pub(crate) async fn pass(&self, span: Duration) {
        let end = self.rim.now() + span;
        while self.rim.now() < end {
            tokio::time::sleep(STEP.min(end - self.rim.now())).await;
            self.check();
        }
    }

    /// Lets virtual time pass until the board says what is expected, no longer than `limit`.
    pub(crate) async fn until(&self, what: &str, limit: Duration, expected: impl Fn(&Board) -> bool) {
        let end = self.rim.now() + limit;
        while !expected(&self.board) {
            assert!(
                self.rim.now() < end,
                "not within {limit:?}: {what}\n{:?}\n{:?}\n{}",
                self.board.modem_state.get(),
                self.board.registration.get(),
                self.log()
            );
            tokio::time::sleep(STEP).await;
            self.check();
        }
    }

    /// Waits for the end of the next look at the modem.
    pub(crate) async fn next_look(&self) {
        let last = self.board.modem_millivolts.get();
        self.until("a look", POLL + STEP * 10, |board| board.modem_millivolts.get() != last).await;
        self.pass(Duration::from_secs(1)).await;
    }

    /// Waits until the modem is set up and its network is at rest.
    pub(crate) async fn settle(&self) {
        self.until("set up", POLL, |board| board.phase() == Some(ModemPhase::Up)).await;
        self.pass(Duration::from_secs(15)).await;
    }

    /// Stops the lane, which must end by itself.
    pub(crate) async fn end(self) {
        self.check();
        let before = self.rim.now();
        self.stop.cancel();
        self.supervisor.stopped(Duration::from_secs(60)).await;
        assert!(self.rim.now() - before < Duration::from_secs(1), "the lane obeys the stop at once");
    }

    fn check(&self) {
        assert_eq!(self.supervisor.silent(), [], "the lane said nothing beyond what it announced");
        if let Some(lane) = self.board.lanes.get("modem") {
            assert_eq!(lane.value.restarts, 0, "the lane ended: {}\n{}", lane.value.words, self.log());
        }
    }
}

/// The far end of the wire.
struct Far {
    state: Mutex<FarState>,
    changed: Notify,
    clock: Clock,
}

struct FarState {
    modem: SimModem,
    heard: Vec<u8>,
    /// A wire just made, to be taken over by [`run_far`].
    fresh: Option<DuplexStream>,
    present: bool,
    cut: bool,
    blocked: bool,
    opens: usize,
}

impl Far {
    fn new(modem: SimModem) -> Self {
        let state = FarState {
            modem,
            heard: Vec::new(),
            fresh: None,
            present: true,
            cut: false,
            blocked: false,
            opens: 0,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), clock: Clock::start() }
    }

    fn lock(&self) -> MutexGuard<'_, FarState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the modem; what it says while no wire is there is lost.
async fn run_far(far: Arc<Far>, stop: CancellationToken) {
    let mut wire: Option<DuplexStream> = None;
    let mut buffer = [0; 256];
    loop {
        let (said, wake, blocked) = {
            let mut state = far.lock();
            let now = far.clock.now();
            if std::mem::take(&mut state.cut) {
                wire = None;
            }
            wire = state.fresh.take().or(wire);
            state.modem.handle_timeout(now);
            let said: Vec<u8> = std::iter::from_fn(|| state.modem.poll_transmit()).flatten().collect();
            (said, state.modem.poll_timeout(), state.blocked)
        };
        if let Some(open) = &mut wire
            && !said.is_empty()
            && open.write_all(&said).await.is_err()
        {
            wire = None;
        }
        let wake = far.clock.instant(wake.unwrap_or(Duration::MAX));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = far.changed.notified() => {}
            read = read(&mut wire, &mut buffer), if wire.is_some() && !blocked => match read {
                0 => wire = None,
                count => {
                    let mut state = far.lock();
                    state.heard.extend_from_slice(&buffer[..count]);
                    state.modem.handle_bytes(far.clock.now(), &buffer[..count]);
                }
            },
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

async fn read(wire: &mut Option<DuplexStream>, buffer: &mut [u8]) -> usize {
    match wire {
        Some(open) => open.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

struct TestPorts(Arc<Far>);

impl std::fmt::Debug for TestPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestPorts")
    }
}

impl Ports for TestPorts {
    fn open(&self, settings: &PortSettings) -> io::Result<Box<dyn SerialStream>> {
        let mut state = self.0.lock();
        if !state.present {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        assert_eq!((settings.baud, settings.stop_bits, settings.flow_control), (115_200, 1, true));
        let (near, far) = tokio::io::duplex(if state.blocked { 1 } else { 64 * 1024 });
        state.fresh = Some(far);
        state.cut = false;
        state.opens += 1;
        self.0.changed.notify_one();
        Ok(Box::new(near))
    }
}

#[derive(Debug)]
struct Dice(AtomicU64);

impl Entropy for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let state = self.0.load(Ordering::Relaxed);
            let next = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.0.store(next, Ordering::Relaxed);
            *byte = (next >> 56) as u8;
        }
    }
}

#[derive(Debug)]
struct NoNet;

#[async_trait::async_trait]
impl Net for NoNet {
    async fn udp(&self, _: &UdpTarget) -> io::Result<Box<dyn Datagrams>> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
