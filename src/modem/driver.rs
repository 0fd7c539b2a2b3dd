//! Carries bytes between the port and the conversation, and facts from it to the board.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{MutexGuard, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::core::{ConsoleAnswer, Core};
use super::state::Fact;
use crate::board::{Board, ConsoleAsk, Tuning};
use crate::config;
use crate::daemon::rim::{LineParity, PortSettings, Rim, SerialStream};
use crate::daemon::supervisor::{LaneError, Progress};

/// A port that takes no byte for this long will not take the rest either: with flow control on, nobody is behind it.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// One life of the lane.
pub(super) async fn run(
    config: config::Modem,
    rim: Rim,
    board: Arc<Board>,
    stop: CancellationToken,
    progress: Progress,
) -> Result<(), LaneError> {
    let settings = PortSettings {
        path: config.port.clone(),
        baud: config.baud,
        parity: LineParity::None,
        stop_bits: 1,
        flow_control: config.flow_control,
    };
    let mut tuning = board.asks.tuning.subscribe();
    let poll = tuning.borrow_and_update().modem_poll.unwrap_or(config.poll);
    let mut core = Core::new(poll, config.port.display().to_string());
    // Held for as long as this life lasts: there is one console.
    let mut console = Asking { asked: board.asks.console.asked.lock().await, reply: None };
    loop {
        publish(&mut core, &rim, &board);
        match rim.ports.open(&settings) {
            Ok(port) => {
                core.port_opened(rim.now());
                let heard = Heard { console: &mut console, tuning: &mut tuning, poll: config.poll };
                match converse(&mut core, port, &rim, &board, &stop, &progress, heard).await {
                    Ended::Stopped => return Ok(()),
                    Ended::Closed => {}
                    Ended::Lost(why) => core.port_lost(rim.now(), &why),
                }
            }
            Err(error) => core.port_refused(rim.now(), &error),
        }
        publish(&mut core, &rim, &board);
        let longest = core.pause().unwrap_or_default();
        let pause = longest / 2 + rim.random.below(longest / 2);
        progress.waiting(&core.waiting_for(), pause);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            // Nobody is there to answer.
            Some(ask) = console.asked.recv() => drop(ask.reply.send(Err("the modem does not answer now".into()))),
            () = rim.sleep(pause) => {}
        }
    }
}

/// The console's end in this lane, and who waits for an answer.
struct Asking<'a> {
    asked: MutexGuard<'a, mpsc::Receiver<ConsoleAsk>>,
    reply: Option<oneshot::Sender<ConsoleAnswer>>,
}

/// What others ask of the lane.
struct Heard<'a, 'b> {
    console: &'a mut Asking<'b>,
    tuning: &'a mut watch::Receiver<Tuning>,
    /// The configuration's, where nothing else is in force.
    poll: Duration,
}

enum Ended {
    Stopped,
    /// The conversation wants the port closed.
    Closed,
    /// The port failed; the words continue `the modem's port …`.
    Lost(String),
}

async fn converse(
    core: &mut Core,
    port: Box<dyn SerialStream>,
    rim: &Rim,
    board: &Board,
    stop: &CancellationToken,
    progress: &Progress,
    heard: Heard<'_, '_>,
) -> Ended {
    let (mut reader, mut writer) = tokio::io::split(port);
    let mut incoming = [0; 1024];
    let mut outgoing: Vec<u8> = Vec::new();
    let mut write_by = None;
    loop {
        while let Some(bytes) = core.poll_transmit() {
            outgoing.extend(bytes);
        }
        publish(core, rim, board);
        if let Some(answer) = core.poll_console()
            && let Some(reply) = heard.console.reply.take()
        {
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        }
        if core.pause().is_some() {
            return Ended::Closed;
        }
        let now = rim.now();
        if outgoing.is_empty() {
            write_by = None;
        } else {
            write_by = write_by.or(Some(now.saturating_add(WRITE_DEADLINE)));
        }
        let wake = [core.poll_timeout(), write_by].into_iter().flatten().min().unwrap_or(now);
        progress.advanced();
        progress.waiting(&core.waiting_for(), wake.saturating_sub(now));
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ended::Stopped,
            read = reader.read(&mut incoming) => match read {
                Ok(0) => return Ended::Lost("is gone: check the modem's power and its cable".to_owned()),
                Ok(count) => core.handle_bytes(rim.now(), incoming.get(..count).unwrap_or_default()),
                Err(error) => return Ended::Lost(format!("failed: {error}; check the modem's power and its cable")),
            },
            written = writer.write(&outgoing), if !outgoing.is_empty() => match written {
                Ok(count) => {
                    outgoing.drain(..count.min(outgoing.len()));
                    write_by = None;
                }
                Err(error) => return Ended::Lost(format!("failed: {error}; check the modem's power and its cable")),
            },
            Some(ask) = heard.console.asked.recv(), if heard.console.reply.is_none() => {
                heard.console.reply = Some(ask.reply);
                core.console(rim.now(), &ask.command);
            }
            Ok(()) = heard.tuning.changed() => {
                let poll = heard.tuning.borrow_and_update().modem_poll.unwrap_or(heard.poll);
                core.set_poll(rim.now(), poll);
            }
            () = rim.sleep_until(wake) => {
                let now = rim.now();
                if write_by.is_some_and(|by| now >= by) {
                    return Ended::Lost(
                        "takes no bytes: check the modem's power, or switch flow_control off if RTS and CTS are not wired"
                            .to_owned(),
                    );
                }
                core.handle_timeout(now);
            }
        }
    }
}

/// Facts to the board, stamped now; notes to the log.
fn publish(core: &mut Core, rim: &Rim, board: &Board) {
    let at = rim.clock.mono();
    while let Some(fact) = core.poll_fact() {
        match fact {
            Fact::Identity(identity) => board.modem.set(at, identity),
            Fact::Registration(registration) => board.registration.set(at, registration),
            Fact::Signal(signal) => board.signal.set(at, signal),
            Fact::Voltage(Some(millivolts)) => board.modem_millivolts.set(at, millivolts),
            Fact::Voltage(None) => board.modem_millivolts.forget(),
            Fact::Temperature(Some(celsius)) => board.modem_celsius.set(at, celsius),
            Fact::Temperature(None) => board.modem_celsius.forget(),
            Fact::Counters(Some(counters)) => board.data_counters.set(at, counters),
            Fact::Counters(None) => board.data_counters.forget(),
            Fact::NetworkTime(time) => board.network_time.set(at, time),
            Fact::State(state) => board.modem_state.set(at, state),
        }
    }
    while let Some((level, text)) = core.poll_note() {
        match level {
            Level::ERROR => tracing::error!(lane = "modem", "{text}"),
            Level::WARN => tracing::warn!(lane = "modem", "{text}"),
            Level::INFO => tracing::info!(lane = "modem", "{text}"),
            _ => tracing::debug!(lane = "modem", "{text}"),
        }
    }
}
