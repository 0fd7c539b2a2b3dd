//! Driving a writer: a state machine that owns a connection, on its own thread or inline.
//!
//! The machine never reads a clock and never waits; it is told the time and says when it wants to be woken. Two drivers:
//! [`Worker::on_thread`] gives it an OS thread (a slow sync then stalls nobody else); [`Worker::inline`] runs it on the
//! caller's thread under a lock, so that a whole daemon can run on one thread in virtual time.
//!
//! Invariant: at most [`QUEUE`] commands wait; a sender waits for room, so memory is bounded however slow the disk is.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::clock::{Clock, Mono};

/// How many commands may wait for a writer.
pub const QUEUE: usize = 256;

/// A writer as a state machine.
pub trait Machine: Send + 'static {
    /// What it can be asked to do; replies travel inside.
    type Command: Send + 'static;
    /// Takes one command.
    fn handle(&mut self, now: Mono, command: Self::Command);
    /// When it wants [`Machine::handle_timeout`].
    fn poll_timeout(&self) -> Option<Mono>;
    /// Its time has come.
    fn handle_timeout(&mut self, now: Mono);
    /// How long the call before this one took, by the driver's clock: the machine has none of its own.
    fn took(&mut self, time: std::time::Duration) {
        let _ = time;
    }
    /// The last call: finish what was promised.
    fn close(&mut self, now: Mono);
}

/// The writer is gone; its thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store's writer has stopped; the daemon must be restarted")]
pub struct WriterGone;

/// A handle by which commands reach a writer.
pub struct Worker<M: Machine> {
    driver: Driver<M>,
    room: Arc<Semaphore>,
    busy: Arc<Busy>,
}

/// A command and the room it takes up until it is handled.
type Sent<M> = (<M as Machine>::Command, OwnedSemaphorePermit);

enum Driver<M: Machine> {
    Thread {
        commands: Mutex<Option<mpsc::Sender<Sent<M>>>>,
        thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    },
    Inline {
        machine: Arc<Mutex<Option<M>>>,
        wake: Arc<Notify>,
        clock: Arc<dyn Clock>,
    },
}

/// Stands in [`Busy`] for a thread that is no more.
const GONE: u64 = u64::MAX;

/// Says on its way out of a thread, by a panic too, that the thread is no more.
struct LastWord<'a>(&'a Busy);

impl Drop for LastWord<'_> {
    fn drop(&mut self) {
        self.0.0.store(GONE, Ordering::Relaxed);
    }
}

/// Since when the writer has been inside one call, for whoever watches it.
#[derive(Debug, Default)]
pub struct Busy(AtomicU64);

impl Busy {
    /// The monotonic time at which the call under way began, if one is.
    #[must_use]
    pub fn since(&self) -> Option<Mono> {
        match self.0.load(Ordering::Relaxed) {
            0 | GONE => None,
            at => Some(Mono(at)),
        }
    }

    /// Whether the writer's thread ended by itself: it panicked, and nothing will be written any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == GONE
    }

    fn during<T>(&self, now: Mono, work: impl FnOnce() -> T) -> T {
        self.0.store(now.0.max(1), Ordering::Relaxed);
        let result = work();
        self.0.store(0, Ordering::Relaxed);
        result
    }
}

impl<M: Machine> fmt::Debug for Worker<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("busy", &self.busy).finish_non_exhaustive()
    }
}

impl<M: Machine> Worker<M> {
    /// Gives the machine a thread of its own.
    ///
    /// # Errors
    /// When the system makes no thread.
    pub fn on_thread(mut machine: M, clock: Arc<dyn Clock>, name: &str) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let busy = Arc::new(Busy::default());
        let watched = Arc::clone(&busy);
        let thread =
            std::thread::Builder::new().name(name.to_owned()).stack_size(512 * 1024).spawn(move || {
                let _last_word = LastWord(&watched);
                run(&mut machine, &*clock, &receiver, &watched);
            })?;
        let driver = Driver::Thread { commands: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) };
        Ok(Self { driver, room: Arc::new(Semaphore::new(QUEUE)), busy })
    }

    /// Runs the machine on whichever thread calls. The returned future wakes it at its times and must be spawned.
    pub fn inline(machine: M, clock: Arc<dyn Clock>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let machine = Arc::new(Mutex::new(Some(machine)));
        let wake = Arc::new(Notify::new());
        let pump = pump(Arc::clone(&machine), Arc::clone(&wake), Arc::clone(&clock));
        let driver = Driver::Inline { machine, wake, clock };
        (Self { driver, room: Arc::new(Semaphore::new(QUEUE)), busy: Arc::new(Busy::default()) }, pump)
    }

    /// Hands over a command, waiting for room.
    ///
    /// # Errors
    /// [`WriterGone`] after [`Worker::stop`] or when the writer's thread died.
    pub async fn send(&self, command: M::Command) -> Result<(), WriterGone> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| WriterGone)?;
        self.hand_over(command, permit)
    }

    /// Hands over a command if there is room for it at once; tells whether there was.
    ///
    /// # Errors
    /// As [`Worker::send`].
    pub fn try_send(&self, command: M::Command) -> Result<bool, WriterGone> {
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => self.hand_over(command, permit).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    fn hand_over(&self, command: M::Command, permit: OwnedSemaphorePermit) -> Result<(), WriterGone> {
        match &self.driver {
            Driver::Thread { commands, .. } => {
                let commands = commands.lock().map_err(|_| WriterGone)?;
                commands.as_ref().ok_or(WriterGone)?.send((command, permit)).map_err(|_| WriterGone)
            }
            Driver::Inline { machine, wake, clock } => {
                let now = clock.mono();
                machine.lock().map_err(|_| WriterGone)?.as_mut().ok_or(WriterGone)?.handle(now, command);
                wake.notify_one();
                Ok(())
            }
        }
    }

    /// Lets the writer finish what was promised and ends it. Commands sent later are refused.
    pub fn stop(&self) {
        match &self.driver {
            Driver::Thread { commands, thread } => {
                if let Ok(mut commands) = commands.lock() {
                    commands.take();
                }
                let thread = thread.lock().ok().and_then(|mut t| t.take());
                // A writer that panicked has nothing left to finish; the supervisor has seen it already.
                let _ = thread.map(std::thread::JoinHandle::join);
            }
            Driver::Inline { machine, clock, wake } => {
                if let Some(mut machine) = machine.lock().ok().and_then(|mut m| m.take()) {
                    machine.close(clock.mono());
                }
                wake.notify_one();
            }
        }
    }

    /// Tells whether, and since when, the writer is inside one call.
    #[must_use]
    pub fn busy(&self) -> Arc<Busy> {
        Arc::clone(&self.busy)
    }
}

impl<M: Machine> Drop for Worker<M> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run<M: Machine>(machine: &mut M, clock: &dyn Clock, commands: &mpsc::Receiver<Sent<M>>, busy: &Busy) {
    loop {
        let received = match machine.poll_timeout() {
            None => commands.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            Some(at) => commands.recv_timeout(at.since(clock.mono())),
        };
        let now = clock.mono();
        match received {
            Ok((command, permit)) => {
                busy.during(now, || machine.handle(now, command));
                drop(permit);
                machine.took(clock.mono().since(now));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                busy.during(now, || machine.close(now));
                return;
            }
        }
        // Checked after commands too: a steady stream of them must not hold a commit back beyond its window.
        let now = clock.mono();
        if machine.poll_timeout().is_some_and(|at| at <= now) {
            busy.during(now, || machine.handle_timeout(now));
            machine.took(clock.mono().since(now));
        }
    }
}

async fn pump<M: Machine>(machine: Arc<Mutex<Option<M>>>, wake: Arc<Notify>, clock: Arc<dyn Clock>) {
    loop {
        let at = match machine.lock() {
            Ok(guard) => match guard.as_ref() {
                Some(machine) => machine.poll_timeout(),
                None => return,
            },
            Err(_) => return,
        };
        match at {
            None => wake.notified().await,
            Some(at) => {
                tokio::select! {
                    biased;
                    () = wake.notified() => {}
                    () = tokio::time::sleep(at.since(clock.mono())) => {
                        if let Ok(mut guard) = machine.lock()
                            && let Some(machine) = guard.as_mut() {
                                machine.handle_timeout(clock.mono());
                            }
                    }
                }
            }
        }
    }
}
