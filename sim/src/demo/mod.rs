//! `fieldgate-sim demo`: the main job, shown. The real daemon on a simulated installation whose link is cut and comes back,
//! and at the end the account of both sides.
//!
//! [`timeline`] says when the link is cut; [`live`] shows what happens; [`closing`] ends everything in order and compares;
//! [`report`] is the result. It passes only if nothing is lost or corrupted and both equations hold.

mod closing;
mod live;
mod report;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::duration;
use crate::gateway::child::{Daemon, Memory, Start};
use crate::gateway::config::GOLIOTH;
use crate::gateway::signals::Signals;
use crate::gateway::status::{self, Status};
use crate::gateway::surroundings::{Surroundings, Wanted};
use crate::gateway::{Trouble, child, program, run_with_signals};
use crate::modem::{SimModem, SimSignal};
use crate::relay::{PathProfile, RelayProfile};
use live::{Screen, View};
use timeline::Timeline;

/// How long the daemon may take to be ready, on a machine that does other things too.
const READY: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What the demonstration is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's program; default: the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub fieldgate: Option<PathBuf>,
    /// End by itself after this time, such as 60s; default: run until Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    pub run_for: Option<Duration>,
    /// How long the link is cut: once in the middle of a bounded run, every two minutes otherwise.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "20s")]
    pub outage: Duration,
    /// Write the account as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Chance begins here; the same seed gives the same devices and the same network.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Leave the daemon's state, configuration and log behind and say where.
    #[arg(long)]
    pub keep_dir: bool,
}

/// The installation that is shown: a slow line, a cellular link with some loss.
#[must_use]
pub fn installation(seed: u64) -> Wanted {
    let path = PathProfile {
        delay: Duration::from_millis(120),
        jitter: Duration::from_millis(60),
        loss: 0.01,
        ..PathProfile::default()
    };
    Wanted {
        seed,
        network: RelayProfile::symmetric(path),
        baud: 19_200,
        period: Duration::from_secs(1),
        commit_window: Duration::from_secs(1),
        linger: Duration::from_secs(2),
        window: 8,
        whole: true,
    }
}

/// Runs it. 0 if the account closes, 1 if not, or if it cannot be shown.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match run_with_signals(async |signals| show(args, signals).await) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

/// A signal ends the show itself with its account. Before there is anything to account for, and once it is being made,
/// a signal ends everything at once.
async fn show(args: &Args, mut signals: Signals) -> Result<bool, Trouble> {
    let program = program(args.fieldgate.as_deref())?;
    let version = child::version(&program).await?;
    let folder = tempfile::Builder::new()
        .prefix("fieldgate-demo-")
        .tempdir()
        .map_err(Trouble::system("make a temporary folder"))?;
    let path = folder.path().to_owned();
    // Kept until the end if wanted; otherwise it goes with its handle, however this ends.
    let folder = if args.keep_dir {
        println!("files: {}", folder.keep().display());
        None
    } else {
        Some(folder)
    };
    let mut around = Surroundings::make(&installation(args.seed), &path).await?;
    let start = Start {
        program: program.clone(),
        config: around.config.clone(),
        folder: path.clone(),
        sabotage: None,
        clock: around.clock,
    };
    let mut daemon = start.start()?;
    let ready = signals.or(daemon.ready(READY)).await?;
    let played = play(args, &mut around, &mut daemon, &mut signals).await?;
    let shown = report::Shown {
        ready,
        memory: played.memory,
        seed: args.seed,
        lasted: played.lasted,
        version,
        program,
    };
    println!("\nThe devices fall silent; what is queued still goes out.");
    let report = signals.or(closing::close(&around, daemon, &start, shown)).await?;
    print!("{}", report.in_words());
    if let Some(file) = &args.report {
        report.write(file)?;
        println!("report: {}", file.display());
    }
    drop(folder);
    Ok(report.closes())
}

struct Played {
    lasted: Duration,
    memory: Memory,
}

/// The show itself: until its time is over or a signal ends it.
async fn play(
    args: &Args,
    around: &mut Surroundings,
    daemon: &mut Daemon,
    signals: &mut Signals,
) -> Result<Played, Trouble> {
    let clock = around.clock;
    let begun = clock.now();
    let timeline = Timeline::new(args.run_for, args.outage);
    let mut screen = Screen::new(clock);
    let mut memory = Memory::default();
    let mut counted = (0, 0);
    loop {
        let at = clock.now().saturating_sub(begun);
        if timeline.is_over(at) {
            break;
        }
        if timeline.is_cut(at) == around.network.with(|relay| relay.is_cut()) {
            // As it should be.
        } else if timeline.is_cut(at) {
            around.network.cut();
        } else {
            around.network.heal();
        }
        let status = status::ask(around.page).await.unwrap_or_default();
        if status.phase(GOLIOTH) == "up" {
            memory = daemon.memory();
        }
        screen.show(&view(args, around, &status, at, &timeline));
        count_traffic(around, &mut counted);
        if !around.are_whole() {
            return Err(Trouble::Surroundings("a port or a socket broke while running".into()));
        }
        tokio::select! {
            biased;
            _ = signals.next() => break,
            trouble = daemon.dies() => return Err(trouble),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let lasted = clock.now().saturating_sub(begun);
    around.network.heal();
    if memory.pss == 0 {
        memory = daemon.memory();
    }
    Ok(Played { lasted, memory })
}

fn view(args: &Args, around: &Surroundings, status: &Status, at: Duration, timeline: &Timeline) -> View {
    let signal: Option<SimSignal> = around.modem.as_ref().map(|modem| modem.read(SimModem::signal));
    let wire = around.network.counters();
    let account = status.destination(GOLIOTH).map(|d| d.account).unwrap_or_default();
    View {
        at,
        of: args.run_for,
        headline: status.verdict.headline.clone(),
        grade: status.radio.as_ref().and_then(|radio| radio.grade.clone()),
        heard_dbm: status.radio.as_ref().and_then(|radio| radio.rsrp_dbm),
        sent_dbm: signal.and_then(|signal| signal.rsrp_dbm),
        produced: around.ledger().slaves.iter().flat_map(|s| &s.points).map(|p| p.produced).sum(),
        accepted: status.queue.accepted,
        acknowledged: account.acknowledged,
        queued: account.queued,
        link: status.phase(GOLIOTH).to_owned(),
        cut: timeline.is_cut(at),
        up: wire.up.wire_bytes,
        down: wire.down.delivered_wire_bytes,
        page: around.page,
    }
}

/// The modem's own counters show the traffic that the relay carried.
fn count_traffic(around: &Surroundings, counted: &mut (u64, u64)) {
    let wire = around.network.counters();
    let now = (wire.up.delivered_wire_bytes, wire.down.delivered_wire_bytes);
    if let Some(modem) = around.modem.as_ref().filter(|_| now != *counted) {
        let (up, down) = (now.0 - counted.0, now.1 - counted.1);
        modem.with(|modem, at| modem.count_traffic(at, up, down));
        *counted = now;
    }
}
