//! What must not outlive this program although the kernel would let it: folders, names, programs of others. Each is
//! removed with the value that stands for it, and also if a signal ends the program before. SIGKILL leaves them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::signals;

type Removal = Box<dyn FnMut() + Send>;

/// In the order in which they came: programs that use a folder came after it, and go before it.
static LEFTOVERS: Mutex<BTreeMap<u64, Removal>> = Mutex::new(BTreeMap::new());
/// Whether signals are watched.
static WATCH: OnceLock<Result<(), io::ErrorKind>> = OnceLock::new();

/// Something that has to be removed. Dropping this removes it.
pub struct Leftover(u64);

impl Leftover {
    /// What `remove` removes. Say so before it is there: to remove what is not there does no harm.
    ///
    /// # Errors
    /// There is no thread to watch for signals.
    pub fn removed_by(remove: impl FnMut() + Send + 'static) -> io::Result<Leftover> {
        let watch = || signals::clean_up_on_signals(remove_all).map_err(|error| error.kind());
        (*WATCH.get_or_init(watch))?;
        let mut leftovers = all();
        let number = leftovers.last_key_value().map_or(0, |(last, _)| last + 1);
        leftovers.insert(number, Box::new(remove));
        Ok(Leftover(number))
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        // It is in the list until it is gone.
        let mut leftovers = all();
        if let Some(remove) = leftovers.get_mut(&self.0) {
            remove();
        }
        leftovers.remove(&self.0);
    }
}

fn all() -> MutexGuard<'static, BTreeMap<u64, Removal>> {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove_all() {
    let mut leftovers = all();
    leftovers.values_mut().rev().for_each(|remove| remove());
    // Nothing is added any more: whatever wants to has to wait, and the program ends.
    std::mem::forget(leftovers);
}
