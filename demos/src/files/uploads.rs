//! The uploads under way, so that a new connection can take one over.
//!
//! A connection can die without a word, and its successor comes before anything has noticed. So the receiver does not send the
//! successor away: it asks the older one to leave, which it does as soon as it has nothing to read for a second, and goes on
//! where that ended. Only an offer of the same name and the same digest takes over: it brings the same bytes, whatever it is.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;

use async_channel::{Receiver, Sender, bounded};

use super::message::Offer;

/// Which connections are in the middle of which file.
#[derive(Debug, Default)]
pub struct Uploads(RefCell<HashMap<Key, Older>>);

/// A name and a digest.
type Key = (String, String);

/// How to talk to the connection that is in the middle of a file.
#[derive(Clone, Debug)]
struct Older {
    /// Closing it asks the connection to leave.
    ask: Sender<Infallible>,
    /// It closes when the connection has left.
    left: Receiver<Infallible>,
}

/// The right to write a file. Dropping it gives it back.
#[derive(Debug)]
pub struct Turn<'u> {
    uploads: &'u Uploads,
    key: Key,
    asked: Receiver<Infallible>,
    _left: Sender<Infallible>,
}

impl Uploads {
    /// Waits for the right to write what is offered, which another connection is asked to give up.
    ///
    /// # Cancel safety
    /// Dropping this future gives no right. The other connection leaves all the same.
    pub async fn take_over(&self, offer: &Offer) -> Turn<'_> {
        let key = (offer.name.clone(), offer.sha256.clone());
        loop {
            let older = self.0.borrow().get(&key).cloned();
            let Some(older) = older else { break };
            older.ask.close();
            let _ = older.left.recv().await;
        }
        let ((ask, asked), (left_sender, left)) = (bounded(1), bounded(1));
        self.0.borrow_mut().insert(key.clone(), Older { ask, left });
        Turn { uploads: self, key, asked, _left: left_sender }
    }
}

impl Turn<'_> {
    /// Waits until another connection takes over.
    pub async fn is_over(&self) {
        let _ = self.asked.recv().await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.uploads.0.borrow_mut().remove(&self.key);
    }
}
