//! The way from a blocking thread into a runtime: a bounded queue, blocking where it is filled and
//! awaited where it is emptied.
//!
//! Reading stdin blocks, so a thread does it and posts what it reads. The receiver leaves its task's
//! waker in the mailbox; `post` takes it and wakes the task from the other thread, which is all that a
//! runtime needs to be reached from outside.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A mailbox for at most `capacity` letters, both ends.
///
/// # Panics
/// If `capacity` is zero.
#[must_use]
pub fn mailbox<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a mailbox needs room for a letter");
    let state = State { letters: VecDeque::new(), capacity, open: true, reader: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), room: Condvar::new() });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

/// The blocking end. Dropping it closes the mailbox; what is in it can still be received.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The awaiting end. Dropping it closes the mailbox.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// Signalled when there is room, or nobody left to read.
    room: Condvar,
}

#[derive(Debug)]
struct State<T> {
    letters: VecDeque<T>,
    capacity: usize,
    open: bool,
    reader: Option<Waker>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let reader = {
            let mut state = self.lock();
            state.open = false;
            state.reader.take()
        };
        self.room.notify_all();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<T> Sender<T> {
    /// Puts a letter in, and blocks while the mailbox is full.
    ///
    /// # Errors
    /// The letter, if the receiver is gone.
    pub fn post(&self, letter: T) -> Result<(), T> {
        let reader = {
            let state = self.shared.lock();
            let full = |state: &mut State<T>| state.open && state.letters.len() >= state.capacity;
            let mut state = self.shared.room.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
            if !state.open {
                return Err(letter);
            }
            state.letters.push_back(letter);
            state.reader.take()
        };
        // Outside the lock: a waker is foreign code.
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// The next letter; `None` when the sender is gone and all letters are taken.
    ///
    /// # Cancel safety
    /// Dropping this future loses no letter.
    pub async fn receive(&mut self) -> Option<T> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if let Some(letter) = state.letters.pop_front() {
                self.shared.room.notify_one();
                return Poll::Ready(Some(letter));
            }
            if !state.open {
                return Poll::Ready(None);
            }
            let replaced = state.reader.replace(cx.waker().clone());
            drop(state);
            drop(replaced);
            Poll::Pending
        })
        .await
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_lite::future::block_on;

    #[test]
    fn letters_arrive_in_order_and_the_end_after_them() {
        let (sender, mut receiver) = mailbox(2);
        let posting = std::thread::spawn(move || (0..1000).all(|letter| sender.post(letter).is_ok()));
        let received: Vec<_> = std::iter::from_fn(|| block_on(receiver.receive())).collect();
        assert!(posting.join().unwrap());
        assert_eq!(received, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_mailbox_gives_the_letter_back_when_its_reader_goes() {
        let (sender, receiver) = mailbox(1);
        sender.post(1).unwrap();
        let blocked = std::thread::spawn(move || sender.post(2));
        drop(receiver);
        assert_eq!(blocked.join().unwrap(), Err(2));
    }
}
