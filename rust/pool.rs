//! The threads of this process.
//!
//! The pool belongs to the process that uses it: it is keyed by process id, so a forked child
//! leaves its parent's alone and builds its own. Nothing starts at import, one thread means that
//! none is created, and rayon's global pool is never touched.
//!
//! Help is asked for, not waited for: a caller that has finished goes on, whether or not a busy
//! thread ever got round to helping it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::elsewhere::Elsewhere;

/// Runs `lead` on the caller and, beside it, `help` on up to `helpers` threads of the pool, those
/// that are free before `lead` returns. Returns when all that began have ended. `lead` is told how
/// many were awake and come at once; the others have to be woken, which takes 20 to 100 us.
pub(crate) fn with_helpers(helpers: usize, lead: impl FnOnce(usize), help: impl Fn() + Sync) {
    if helpers == 0 {
        return lead(0); // before the operating system is asked which process this is
    }
    let owner = owner();
    let Some(pool) = owner.pool(helpers) else { return lead(0) };
    let door = Arc::new(Door::new());
    let help: *const (dyn Fn() + Sync + '_) = &help;
    // SAFETY: only the lifetime changes, of a pointer that is followed behind the door alone; and
    // `open` below is dropped, which closes the door and waits for those inside, before `help` is.
    let help: *const (dyn Fn() + Sync) = unsafe { std::mem::transmute(help) };
    let open = Open(&door);
    let job = || Job { door: Arc::clone(&door), help: Help(help) };
    let not_given: Vec<Job> = (0..helpers).filter_map(|_| owner.queue.give(job()).err()).collect();
    let awake = helpers - not_given.len();
    if !not_given.is_empty() {
        pool.elsewhere.wake();
    }
    for job in not_given {
        let elsewhere = Arc::clone(&pool.elsewhere);
        pool.threads.spawn(move || {
            elsewhere.set_awake(true);
            owner.queue.serve(job);
            elsewhere.set_awake(false);
        });
    }
    lead(awake);
    drop(open);
    let panic = door.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

struct Job {
    door: Arc<Door>,
    help: Help,
}

/// What a caller wants done: there for those whom the door lets in, and gone afterwards.
struct Help(*const (dyn Fn() + Sync));

// SAFETY: it points to what any thread may call; `Door::pass` says when.
unsafe impl Send for Help {}

/// Jobs for threads that are still awake, since waking one takes so long: a thread that has helped
/// lingers for the next call, which in a training loop follows at once.
#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    len: AtomicUsize,
    /// Threads that wait for a job and that nobody has claimed.
    lingering: AtomicUsize,
}

/// How long a thread lingers: at first it only looks, then it lets others run between looks.
const LINGER: Duration = Duration::from_micros(200);

impl Queue {
    /// Gives the job to a lingering thread, or back.
    fn give(&self, job: Job) -> Result<(), Job> {
        if !self.claim() {
            return Err(job);
        }
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.push_back(job);
        self.len.store(jobs.len(), Ordering::Release);
        Ok(())
    }

    /// One lingering thread less. Whoever claims one gives it a job; a thread that cannot claim
    /// itself has been claimed.
    fn claim(&self) -> bool {
        let less = |n: usize| n.checked_sub(1);
        self.lingering.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }

    fn take(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = jobs.pop_front();
        self.len.store(jobs.len(), Ordering::Release);
        job
    }

    /// What a thread of the pool does: one job, and those that come while it lingers.
    fn serve(&self, mut job: Job) {
        loop {
            job.door.pass(&job.help);
            drop(job);
            self.lingering.fetch_add(1, Ordering::AcqRel);
            match self.linger() {
                Some(next) => job = next,
                None => return,
            }
        }
    }

    fn linger(&self) -> Option<Job> {
        let (start, mut looks) = (Instant::now(), 0);
        loop {
            if self.len.load(Ordering::Acquire) > 0
                && let Some(job) = self.take()
            {
                return Some(job);
            }
            looks += 1;
            look_again(looks);
            if looks % 64 == 0 && start.elapsed() > LINGER && self.claim() {
                return None;
            }
        }
    }
}

/// Looks before a waiting thread lets others run: some tens of microseconds.
const SPINS: usize = 1000;

fn look_again(looks: usize) {
    if looks < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
}

/// Waits for something that another thread is about to do.
#[inline]
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) {
    let mut looks = 0;
    while !done() {
        looks += 1;
        look_again(looks);
    }
}

/// Counts who is inside.
struct Door {
    /// Helpers inside; `CLOSED` is added when no more are let in.
    inside: AtomicUsize,
    caller: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

const CLOSED: usize = 1 << (usize::BITS - 1);

/// Looks at the door, some of them with a yield, before the caller sleeps: about a millisecond.
const PATIENCE: usize = 3 * SPINS;

impl Door {
    fn new() -> Self {
        Self {
            inside: AtomicUsize::new(0),
            caller: std::thread::current(),
            panic: Mutex::default(),
        }
    }

    /// Runs `help` unless the door is closed.
    fn pass(&self, help: &Help) {
        let one_more = |n| (n & CLOSED == 0).then_some(n + 1);
        if self.inside.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_err() {
            return;
        }
        // SAFETY: this thread is inside, so the caller waits for it, and `help` is alive.
        let help = unsafe { &*help.0 };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(help)) {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        if self.inside.fetch_sub(1, Ordering::Release) == CLOSED + 1 {
            self.caller.unpark();
        }
    }
}

/// An open door; dropped, also by a panic, it is closed and empty.
struct Open<'a>(&'a Door);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let door = &self.0.inside;
        let mut inside = door.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED;
        let mut looks = 0;
        while inside > 0 {
            looks += 1;
            if looks < PATIENCE {
                look_again(looks)
            } else {
                std::thread::park()
            }
            inside = door.load(Ordering::Acquire) & !CLOSED;
        }
    }
}

/// The pool of one process.
struct Owner {
    process: u32,
    pool: Mutex<Option<Arc<Pool>>>,
    queue: Queue,
}

struct Pool {
    threads: rayon::ThreadPool,
    elsewhere: Arc<Elsewhere>,
}

/// The owner in use. A child finds its parent's here, sees another process id, and puts its own in
/// place; the parent's is leaked, since its threads do not exist in the child and its lock may be
/// held by one of them.
static OWNER: AtomicPtr<Owner> = AtomicPtr::new(std::ptr::null_mut());

fn owner() -> &'static Owner {
    let process = std::process::id();
    let current = OWNER.load(Ordering::Acquire);
    // SAFETY: what is stored is null or was leaked by the line below, and is never freed.
    if let Some(owner) = unsafe { current.as_ref() }
        && owner.process == process
    {
        return owner;
    }
    let own =
        Box::leak(Box::new(Owner { process, pool: Mutex::new(None), queue: Queue::default() }));
    match OWNER.compare_exchange(current, own, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => own,
        Err(_) => owner(),
    }
}

impl Owner {
    /// A pool of at least `workers` threads; it grows by being replaced. `None` where the operating
    /// system starts no more threads: the caller does the work alone then, with the same result.
    fn pool(&self, workers: usize) -> Option<Arc<Pool>> {
        let mut slot = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let is_enough = |pool: &&Arc<Pool>| pool.threads.current_num_threads() >= workers;
        if let Some(pool) = slot.as_ref().filter(is_enough) {
            return Some(Arc::clone(pool));
        }
        let elsewhere = Arc::new(Elsewhere::default());
        let starting = Arc::clone(&elsewhere);
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(|i| format!("recurra-{i}"))
            .start_handler(move |_| starting.add())
            .build()
            .ok()?;
        let built = Arc::new(Pool { threads, elsewhere });
        *slot = Some(Arc::clone(&built));
        Some(built)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn nobody_waits_for_help_that_did_not_come() {
        let (began, inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for i in 0..200 {
            let help = || {
                began.store(1, Ordering::Relaxed);
                inside.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(50));
                inside.fetch_sub(1, Ordering::Relaxed);
            };
            let lead = |_| {
                std::thread::sleep(Duration::from_micros(i % 3 * 100));
                // Once somebody is waited for, so that help is known to come at all.
                while i == 199 && began.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
            };
            with_helpers(2, lead, help);
            assert_eq!(inside.load(Ordering::Relaxed), 0, "somebody is still inside");
        }
    }

    /// Callers that come at once share the threads that linger; none of their jobs is lost.
    #[test]
    fn lingering_threads_help_whoever_comes() {
        let (threads, rounds) = (4, 300);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let next = AtomicUsize::new(0);
                        let work = || while next.fetch_add(1, Ordering::Relaxed) < 50 {};
                        with_helpers(2, |_| work(), work);
                        assert!(next.into_inner() >= 50);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_of_a_helper_reaches_the_caller() {
        let came = AtomicUsize::new(0);
        let help = || {
            came.store(1, Ordering::Release);
            panic!("in a helper");
        };
        let lead = |_| {
            while came.load(Ordering::Acquire) == 0 {
                std::hint::spin_loop();
            }
        };
        let caught = catch_unwind(AssertUnwindSafe(|| with_helpers(1, lead, help)));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"in a helper"));
        with_helpers(1, |_| (), || ());
    }
}
