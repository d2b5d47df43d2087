//! A journal on its own thread: the replica hands records over and goes on, and hears of it when they are durable.
//!
//! The replica's thread encodes records into an open group; the journal's thread takes the whole group, adds checksums, writes
//! and syncs it. While it does, the next group fills up: group commit without a timer. Two buffers go back and forth, so
//! a record is encoded once and copied no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use qlab_kernel::{Lsn, Wire};

use crate::group::Group;
use crate::options::Durability;
use crate::{Disk, Journal, JournalError};

/// Whether the journal keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a host that ignores pressure will be made to wait"]
pub enum Pressure {
    /// There is room for more.
    Room,
    /// More than half of a group is waiting: take no more requests for now. Once a group is full, `submit` waits.
    High,
}

/// What the journal's thread has done, readable at any time. Nanoseconds are wall time around a whole commit: write, sync,
/// and the delay asked for.
#[derive(Debug, Default)]
pub struct Counters {
    /// Commits.
    pub commits: AtomicU64,
    /// Syncs that commits waited for.
    pub syncs: AtomicU64,
    /// Records committed.
    pub records: AtomicU64,
    /// Bytes of frames written, padding included.
    pub bytes: AtomicU64,
    /// Nanoseconds of all commits together.
    pub commit_ns_total: AtomicU64,
    /// Nanoseconds of the slowest commit.
    pub commit_ns_max: AtomicU64,
}

/// The handle of a journal that runs elsewhere. Dropping it commits what was submitted and ends the thread.
pub struct JournalThread {
    counters: Arc<Counters>,
    place: Place,
}

/// Where submissions go. In memory there is nothing to wait for, hence no thread.
enum Place {
    Memory { next: Lsn, on_durable: Box<dyn FnMut(Lsn) + Send> },
    Thread { shared: Arc<Shared>, thread: Option<JoinHandle<()>> },
}

impl JournalThread {
    /// Starts the thread of `journal`, which must have nothing pending. `on_durable` hears the last durable record's number after every commit, in
    /// order; `on_failure` hears of the first error, after which nothing becomes durable any more. Both run on the
    /// journal's thread and must be quick. A journal in memory has no thread: `submit` itself calls `on_durable`.
    pub fn spawn<D: Disk + Send + 'static>(
        journal: Journal<D>,
        on_durable: impl FnMut(Lsn) + Send + 'static,
        on_failure: impl FnOnce(JournalError) + Send + 'static,
    ) -> std::io::Result<Self> {
        let counters = Arc::<Counters>::default();
        if journal.options().durability == Durability::Memory {
            let next = journal.durable().next();
            return Ok(Self { counters, place: Place::Memory { next, on_durable: Box::new(on_durable) } });
        }
        let shared = Arc::new(Shared::new(journal.group(), counters.clone()));
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || theirs.run(journal, on_durable, on_failure))?;
        Ok(Self { counters, place: Place::Thread { shared, thread: Some(thread) } })
    }

    /// Hands records over, in order, and lets go of those below `needed_from` (zero: of none). Those up to `awaited` are committed
    /// without delay; what follows may wait for company until the group is half full. Waits only while a whole group is pending.
    /// Panics unless the records follow those submitted before.
    pub fn submit<'a, R: Wire + 'a>(
        &mut self,
        records: impl IntoIterator<Item = (Lsn, &'a R)>,
        needed_from: Lsn,
        awaited: Lsn,
    ) -> Result<Pressure, JournalError> {
        match &mut self.place {
            Place::Thread { shared, .. } => shared.submit(records, needed_from, awaited),
            Place::Memory { next, on_durable } => {
                let before = *next;
                for (lsn, _) in records {
                    assert_eq!(lsn, *next, "records are submitted in order, once");
                    *next = lsn.next();
                }
                if *next > before {
                    on_durable(next.previous());
                }
                Ok(Pressure::Room)
            }
        }
    }

    /// Whether the journal keeps up, without submitting anything.
    pub fn pressure(&self) -> Pressure {
        match &self.place {
            Place::Thread { shared, .. } => shared.lock().pressure(),
            Place::Memory { .. } => Pressure::Room,
        }
    }

    /// The counters; all zero in memory.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Makes every commit from now on take that much longer, as a slow disk would. For experiments.
    pub fn set_sync_delay(&self, delay: Duration) {
        if let Place::Thread { shared, .. } = &self.place {
            shared.delay_ns.store(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Commits what was submitted and waits for the thread to end. Passes its panic on, if it had one.
    pub fn shutdown(mut self) {
        if let Some(Err(panic)) = self.stop() {
            std::panic::resume_unwind(panic);
        }
    }

    fn stop(&mut self) -> Option<std::thread::Result<()>> {
        let Place::Thread { shared, thread } = &mut self.place else { return None };
        let thread = thread.take()?;
        shared.stop();
        Some(thread.join())
    }
}

impl Drop for JournalThread {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the two threads have in common.
struct Shared {
    queue: Mutex<Queue>,
    /// Told when there is something to commit, or nothing more will come.
    work: Condvar,
    /// Told when the group was taken.
    room: Condvar,
    delay_ns: AtomicU64,
    counters: Arc<Counters>,
}

struct Queue {
    group: Group,
    /// Whether the group is to be committed now: somebody waits for it, or for room.
    is_due: bool,
    phase: Phase,
}

#[derive(Clone, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
    Failed { because: String },
}

impl Queue {
    fn pressure(&self) -> Pressure {
        if self.group.is_half_full() { Pressure::High } else { Pressure::Room }
    }

    fn check(&self) -> Result<(), JournalError> {
        match &self.phase {
            Phase::Failed { because } => Err(JournalError::Poisoned { because: because.clone() }),
            _ => Ok(()),
        }
    }
}

impl Shared {
    fn new(group: Group, counters: Arc<Counters>) -> Self {
        let queue = Mutex::new(Queue { group, is_due: false, phase: Phase::Running });
        Self { queue, work: Condvar::new(), room: Condvar::new(), delay_ns: AtomicU64::new(0), counters }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("whoever panicked with this lock gave records out of order")
    }

    fn submit<'a, R: Wire + 'a>(
        &self,
        records: impl IntoIterator<Item = (Lsn, &'a R)>,
        needed_from: Lsn,
        awaited: Lsn,
    ) -> Result<Pressure, JournalError> {
        let mut queue = self.lock();
        queue.check()?;
        for (lsn, record) in records {
            queue = self.push(queue, lsn, record)?;
        }
        queue.group.release_below(needed_from);
        queue.is_due |= awaited >= queue.group.first() || queue.group.is_half_full();
        if queue.is_due {
            self.work.notify_one();
        }
        Ok(queue.pressure())
    }

    /// Adds one record, as soon as there is room.
    fn push<'q>(
        &self,
        mut queue: MutexGuard<'q, Queue>,
        lsn: Lsn,
        record: &impl Wire,
    ) -> Result<MutexGuard<'q, Queue>, JournalError> {
        loop {
            match queue.group.push(lsn, record) {
                Err(JournalError::Full { .. }) => {
                    queue.is_due = true;
                    self.work.notify_one();
                    queue =
                        self.room.wait(queue).expect("the journal's thread does not panic with this lock");
                    queue.check()?;
                }
                outcome => return outcome.map(|()| queue),
            }
        }
    }

    fn stop(&self) {
        // The lock is poisoned if records came out of order; the thread has panicked over it, or will.
        if let Ok(mut queue) = self.queue.lock()
            && queue.phase == Phase::Running
        {
            queue.phase = Phase::Stopping;
        }
        self.work.notify_one();
    }

    /// The journal's thread.
    fn run<D: Disk>(
        &self,
        mut journal: Journal<D>,
        mut on_durable: impl FnMut(Lsn),
        on_failure: impl FnOnce(JournalError),
    ) {
        let _guard = PanicGuard(self);
        while self.take_group(&mut journal) {
            #[cfg(feature = "mutants")]
            if qlab_kernel::mutants::active("journal: acknowledges before it commits") {
                on_durable(journal.group().next().previous());
            }
            match self.commit(&mut journal) {
                Ok(durable) => on_durable(durable),
                Err(error) => {
                    self.fail(error.to_string());
                    return on_failure(error);
                }
            }
        }
    }

    /// Nothing will become durable any more: whoever waits for room must hear of it, even while the host shuts down.
    fn fail(&self, because: String) {
        if let Ok(mut queue) = self.queue.lock() {
            queue.phase = Phase::Failed { because };
        }
        self.room.notify_one();
    }

    /// Waits for records and gives them to the journal; false once there will be none.
    fn take_group<D: Disk>(&self, journal: &mut Journal<D>) -> bool {
        let idle = |queue: &mut Queue| !queue.is_due && queue.phase == Phase::Running;
        let mut queue = self.work.wait_while(self.lock(), idle).expect("records come in order");
        if queue.group.is_empty() {
            return false;
        }
        queue.is_due = false;
        journal.take(&mut queue.group);
        self.room.notify_one();
        true
    }

    fn commit<D: Disk>(&self, journal: &mut Journal<D>) -> Result<Lsn, JournalError> {
        let start = clock();
        wait(Duration::from_nanos(self.delay_ns.load(Ordering::Relaxed)));
        let outcome = journal.commit();
        let took_ns = u64::try_from((clock() - start).as_nanos()).unwrap_or(u64::MAX);
        let (counters, done) = (&self.counters, journal.statistics());
        counters.commit_ns_total.fetch_add(took_ns, Ordering::Relaxed);
        counters.commit_ns_max.fetch_max(took_ns, Ordering::Relaxed);
        counters.commits.store(done.commits, Ordering::Relaxed);
        counters.syncs.store(done.syncs, Ordering::Relaxed);
        counters.records.store(done.records, Ordering::Relaxed);
        counters.bytes.store(done.bytes, Ordering::Relaxed);
        outcome
    }
}

/// Lets nobody wait for a thread that a callback's panic has ended.
struct PanicGuard<'a>(&'a Shared);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("its thread panicked".into());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the only clock here; it feeds counters and decides nothing")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a slow disk is what is asked for")]
fn wait(delay: Duration) {
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
}
