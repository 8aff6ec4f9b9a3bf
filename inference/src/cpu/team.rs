//! Threads that share out the tasks of one op after another. An op of a language model takes some tens of microseconds when one
//! token is written, as long as it takes to wake a thread that sleeps; so helpers look out for the next op for a while before they
//! go to sleep, and the thread that wants the work done takes its share.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;

/// How long a helper looks out for more to do.
const WATCH: Duration = Duration::from_micros(200);
/// Looks between two readings of the clock.
const LOOKS: usize = 64;

/// Set in [`Team::joined`] while nobody may join.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// A task, by its number. The lifetime is a lie that [`Team::run`] keeps from being found out.
type Task = &'static (dyn Fn(usize) + Sync);

struct Team {
    /// Held by the thread whose work is being done.
    owner: Mutex<()>,
    /// Written while closed and nobody has joined; read by those who have.
    work: UnsafeCell<Option<(Task, usize)>>,
    /// Helpers at work, and [`CLOSED`].
    joined: AtomicUsize,
    /// The next task.
    next: AtomicUsize,
    /// Counts pieces of work.
    round: AtomicU64,
    /// Helpers that sleep.
    sleepers: Mutex<usize>,
    any_sleeper: AtomicBool,
    wake: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    helpers: usize,
}

// SAFETY: `work` is only written by the owner while nobody has joined and nobody can, and only read after joining; what it
// holds can be shared between threads.
unsafe impl Sync for Team {}
// SAFETY: as above; nothing in it belongs to one thread.
unsafe impl Send for Team {}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one team, with a helper for each thread of rayon's pool but one; none where helpers could not be started.
fn team() -> Option<&'static Team> {
    static TEAM: OnceLock<Option<Arc<Team>>> = OnceLock::new();
    TEAM.get_or_init(|| {
        let helpers = rayon::current_num_threads().max(1) - 1;
        let team = Arc::new(Team {
            owner: Mutex::new(()),
            work: UnsafeCell::new(None),
            joined: AtomicUsize::new(CLOSED),
            next: AtomicUsize::new(0),
            round: AtomicU64::new(0),
            sleepers: Mutex::new(0),
            any_sleeper: AtomicBool::new(false),
            wake: Condvar::new(),
            panic: Mutex::new(None),
            helpers,
        });
        for index in 0..helpers {
            let team = Arc::clone(&team);
            let started = std::thread::Builder::new()
                .name(format!("cpu-{index}"))
                .spawn(move || team.help());
            if let Err(error) = started {
                tracing::warn!(%error, "a thread for the processor could not be started");
                break;
            }
        }
        Some(team)
    })
    .as_deref()
}

/// Runs `task(0..count)`, each once, on all cores. A panic of a task goes on here when all have ended.
pub(super) fn share(count: usize, task: &(dyn Fn(usize) + Sync)) {
    if count <= 1 {
        (0..count).for_each(task);
        return;
    }
    let Some(team) = team() else {
        (0..count).for_each(task);
        return;
    };
    // Two executors may run at once; the second takes rayon's threads. So does a task that shares out tasks of its own.
    match team.owner.try_lock() {
        Ok(_owner) => team.run(count, task),
        Err(std::sync::TryLockError::Poisoned(owner)) => {
            let _owner = owner.into_inner();
            team.run(count, task);
        }
        Err(std::sync::TryLockError::WouldBlock) => {
            (0..count).into_par_iter().for_each(task);
        }
    }
}

impl Team {
    /// Only for the owner.
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.helpers == 0 {
            (0..count).for_each(task);
            return;
        }
        // SAFETY: only the lifetime changes. The task is used by helpers that have joined, and by this function; it is not left before the
        // gate is closed and all helpers have gone, whatever panics.
        let task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Task>(task) };
        // SAFETY: the gate is closed and nobody has joined: so it was left, or made.
        unsafe { *self.work.get() = Some((task, count)) };
        self.next.store(0, Ordering::Relaxed);
        self.joined.store(0, Ordering::Release);
        self.round.fetch_add(1, Ordering::SeqCst);
        if self.any_sleeper.load(Ordering::SeqCst) {
            let _sleepers = lock(&self.sleepers);
            self.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| self.take(task, count)));
        if own.is_err() {
            self.next.store(count, Ordering::Relaxed);
        }
        self.joined.fetch_or(CLOSED, Ordering::AcqRel);
        let mut looks = 0usize;
        while self.joined.load(Ordering::Acquire) != CLOSED {
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                // The helper's core may be wanted by another program.
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        // SAFETY: the gate is closed and all have gone.
        unsafe { *self.work.get() = None };
        let theirs = lock(&self.panic).take();
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        if let Some(panic) = theirs {
            resume_unwind(panic);
        }
    }

    /// Takes tasks until there are no more.
    fn take(&self, task: Task, count: usize) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            task(index);
        }
    }

    /// Joins if the gate is open.
    fn join(&self) -> bool {
        let mut joined = self.joined.load(Ordering::Relaxed);
        while joined & CLOSED == 0 {
            match self.joined.compare_exchange_weak(
                joined,
                joined + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => joined = now,
            }
        }
        false
    }

    /// A helper's life.
    fn help(&self) {
        let mut seen = 0;
        loop {
            seen = self.await_round(seen);
            if !self.join() {
                continue;
            }
            // SAFETY: joined, so the owner waits, and has written it before it opened the gate.
            let work = unsafe { *self.work.get() };
            if let Some((task, count)) = work {
                let result = catch_unwind(AssertUnwindSafe(|| self.take(task, count)));
                if let Err(panic) = result {
                    // No more tasks; what this one had to do is lost anyway.
                    self.next.store(count, Ordering::Relaxed);
                    lock(&self.panic).get_or_insert(panic);
                }
            }
            self.joined.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for a round after `seen`; its number.
    fn await_round(&self, seen: u64) -> u64 {
        let started = Instant::now();
        let mut looks = 0usize;
        loop {
            let round = self.round.load(Ordering::Acquire);
            if round != seen {
                return round;
            }
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                if started.elapsed() > WATCH {
                    break;
                }
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        let mut sleepers = lock(&self.sleepers);
        *sleepers += 1;
        self.any_sleeper.store(true, Ordering::SeqCst);
        // The owner first counts the round and then looks for sleepers, a helper the other way round: one of them sees the other.
        let round = loop {
            let round = self.round.load(Ordering::SeqCst);
            if round != seen {
                break round;
            }
            sleepers = self
                .wake
                .wait(sleepers)
                .unwrap_or_else(PoisonError::into_inner);
        };
        *sleepers -= 1;
        if *sleepers == 0 {
            self.any_sleeper.store(false, Ordering::SeqCst);
        }
        round
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_however_many_ask() {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for count in (0..300).chain([5000]) {
                        let done: Vec<AtomicUsize> =
                            (0..count).map(|_| AtomicUsize::new(0)).collect();
                        share(count, &|index| {
                            done[index].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
                        if count % 50 == 0 {
                            // Long enough for helpers to fall asleep.
                            std::thread::sleep(3 * WATCH);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_comes_back_and_the_team_works_on() {
        for _ in 0..20 {
            let result = catch_unwind(|| {
                share(50, &|index| {
                    std::thread::sleep(Duration::from_micros(20));
                    assert!(index != 17, "the seventeenth");
                });
            });
            assert!(result.is_err());
            let sum = AtomicUsize::new(0);
            share(100, &|index| {
                sum.fetch_add(index, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 4950);
        }
    }

    #[test]
    fn tasks_may_share_out_tasks() {
        let sum = AtomicUsize::new(0);
        share(10, &|_| {
            share(10, &|_| {
                sum.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.into_inner(), 100);
    }
}
