//! Waiting for the answer to a question, when answers come in any order, twice, or never.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::message::Message;

/// The questions of a node that are open.
#[derive(Debug, Default)]
pub struct Replies {
    last: Cell<u64>,
    open: RefCell<BTreeMap<u64, Slot>>,
}

#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Here(Message),
}

/// An open question. Dropping it closes it: answers that come later are nobody's.
pub struct Question<'a> {
    replies: &'a Replies,
    pub token: u64,
}

impl Replies {
    /// A new question.
    pub fn ask(&self) -> Question<'_> {
        let token = self.last.get() + 1;
        self.last.set(token);
        self.open.borrow_mut().insert(token, Slot::Waiting(None));
        Question { replies: self, token }
    }

    /// Hands an answer over. `false`: nobody waits for it.
    pub fn deliver(&self, token: u64, answer: Message) -> bool {
        let mut open = self.open.borrow_mut();
        let Some(slot @ Slot::Waiting(_)) = open.get_mut(&token) else { return false };
        let Slot::Waiting(waker) = std::mem::replace(slot, Slot::Here(answer)) else { return false };
        drop(open);
        waker.into_iter().for_each(Waker::wake);
        true
    }
}

impl Question<'_> {
    /// The answer.
    pub async fn answer(&self) -> Message {
        poll_fn(|cx| match self.replies.open.borrow_mut().get_mut(&self.token) {
            Some(Slot::Here(answer)) => Poll::Ready(answer.clone()),
            Some(Slot::Waiting(waker)) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Pending,
        })
        .await
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.replies.open.borrow_mut().remove(&self.token);
    }
}
