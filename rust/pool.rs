//! The threads of this process.
//!
//! The pool belongs to the process that uses it: it is keyed by process id, so a forked child
//! leaves its parent's alone and builds its own. Nothing starts at import, one thread means that
//! none is created, and rayon's global pool is never touched.
//!
//! Help is asked for, not waited for: a caller that has finished goes on, whether or not a busy
//! thread ever got round to helping it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

/// Runs `lead` on the caller and, beside it, `help` on up to `helpers` threads of the pool, those
/// that are free before `lead` returns. Returns when all that began have ended.
pub(crate) fn with_helpers(helpers: usize, lead: impl FnOnce(), help: impl Fn() + Sync) {
    let Some(pool) = Some(helpers).filter(|&n| n > 0).and_then(pool) else { return lead() };
    let door = Arc::new(Door::new());
    let help: &(dyn Fn() + Sync) = &help;
    // SAFETY: only the lifetime changes. `help` is called by who is let in by the door, and `open`
    // below is dropped, which closes the door and waits for those inside, before `help` is.
    let help: &'static (dyn Fn() + Sync) = unsafe { std::mem::transmute(help) };
    let open = Open(&door);
    for _ in 0..helpers {
        let door = Arc::clone(&door);
        pool.spawn(move || door.pass(help));
    }
    lead();
    drop(open);
    let panic = door.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
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

/// Looks at the door before the caller sleeps: a few tens of microseconds.
const SPINS: usize = 1000;

impl Door {
    fn new() -> Self {
        Self {
            inside: AtomicUsize::new(0),
            caller: std::thread::current(),
            panic: Mutex::default(),
        }
    }

    /// Runs `help` unless the door is closed.
    fn pass(&self, help: &(dyn Fn() + Sync)) {
        let one_more = |n| (n & CLOSED == 0).then_some(n + 1);
        if self.inside.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_err() {
            return;
        }
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
            if looks < SPINS {
                std::hint::spin_loop()
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
    pool: Mutex<Option<Arc<rayon::ThreadPool>>>,
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
    let own = Box::leak(Box::new(Owner { process, pool: Mutex::new(None) }));
    match OWNER.compare_exchange(current, own, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => own,
        Err(_) => owner(),
    }
}

/// A pool of at least `workers` threads; it grows by being replaced. `None` where the operating
/// system starts no more threads: the caller does the work alone then, with the same result.
fn pool(workers: usize) -> Option<Arc<rayon::ThreadPool>> {
    let mut slot = owner().pool.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = slot.as_ref().filter(|pool| pool.current_num_threads() >= workers) {
        return Some(Arc::clone(pool));
    }
    let built = rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|i| format!("recurra-{i}"))
        .build()
        .ok()?;
    let built = Arc::new(built);
    *slot = Some(Arc::clone(&built));
    Some(built)
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
                began.fetch_add(1, Ordering::Relaxed);
                inside.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(50));
                inside.fetch_sub(1, Ordering::Relaxed);
            };
            let lead = || std::thread::sleep(Duration::from_micros(i % 3 * 100));
            with_helpers(2, lead, help);
            assert_eq!(inside.load(Ordering::Relaxed), 0, "somebody is still inside");
        }
        assert!(began.into_inner() > 0);
    }

    #[test]
    fn a_panic_of_a_helper_reaches_the_caller() {
        let came = AtomicUsize::new(0);
        let help = || {
            came.store(1, Ordering::Release);
            panic!("in a helper");
        };
        let lead = || {
            while came.load(Ordering::Acquire) == 0 {
                std::hint::spin_loop();
            }
        };
        let caught = catch_unwind(AssertUnwindSafe(|| with_helpers(1, lead, help)));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"in a helper"));
        with_helpers(1, || (), || ());
    }
}
