//! Who is here, and the way of a line to all of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use async_channel::{Receiver, Sender, TrySendError};
use async_lock::OnceCell;
use executor::Runtime;

use super::{ChatArgs, PATIENCE, WhenFull};

/// A line as it is sent, its end included. All queues share its bytes.
pub(super) type Line = Rc<[u8]>;

/// The room.
#[derive(Debug)]
pub struct Room {
    pub(super) args: ChatArgs,
    members: RefCell<BTreeMap<String, Rc<Member>>>,
}

/// Somebody in the room, as the others see it.
#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    queue: Sender<Line>,
    /// It has let somebody wait in vain; nobody waits for it until it has caught up.
    is_slow: Cell<bool>,
    /// Lines it has lost and was not told of.
    lost: Cell<u64>,
    /// Set when it has to go.
    closed: OnceCell<()>,
}

/// Somebody in the room, for its connection. Dropping it leaves the room.
#[derive(Debug)]
pub(super) struct Seat {
    room: Rc<Room>,
    pub member: Rc<Member>,
}

impl Room {
    /// An empty room.
    #[must_use]
    pub fn new(args: ChatArgs) -> Rc<Room> {
        Rc::new(Room { args, members: RefCell::default() })
    }

    /// Who is here, in the order of the alphabet.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.borrow().keys().cloned().collect()
    }

    /// Lets somebody in, unless there is one of that name. The lines that are said from now on come out of the receiver.
    pub(super) fn enter(self: &Rc<Self>, name: &str) -> Option<(Seat, Receiver<Line>)> {
        if self.members.borrow().contains_key(name) {
            return None;
        }
        let (queue, lines) = async_channel::bounded(self.args.queue.into());
        let member = Rc::new(Member {
            name: name.to_owned(),
            queue,
            is_slow: Cell::default(),
            lost: Cell::default(),
            closed: OnceCell::new(),
        });
        self.members.borrow_mut().insert(name.to_owned(), Rc::clone(&member));
        Some((Seat { room: Rc::clone(self), member }, lines))
    }

    /// Sends a line to all but the one it is about.
    ///
    /// # Cancel safety
    /// Dropping this future in the middle leaves some without the line.
    pub(super) async fn tell<R: Runtime>(&self, rt: &R, from: &Member, line: &str) {
        let line: Line = format!("{line}\n").into_bytes().into();
        // Those who are here now; nothing is borrowed while it waits.
        let others: Vec<_> = {
            let members = self.members.borrow();
            members.values().filter(|member| member.name != from.name).cloned().collect()
        };
        // One for all: while it waits for one queue, the others are emptied as well.
        let deadline = rt.now() + PATIENCE;
        for member in others {
            let Err(TrySendError::Full(line)) = member.queue.try_send(Rc::clone(&line)) else { continue };
            let patience = deadline.saturating_duration_since(rt.now());
            if !member.is_slow.get() && rt.timeout(patience, member.queue.send(Rc::clone(&line))).await.is_ok() {
                continue;
            }
            member.is_slow.set(true);
            self.overflow(&member, line);
        }
    }

    /// What becomes of a line for which there is no room.
    fn overflow(&self, member: &Member, line: Line) {
        match self.args.when_full {
            WhenFull::DropOldest => {
                if let Ok(Some(_oldest)) = member.queue.force_send(line) {
                    member.lost.set(member.lost.get() + 1);
                }
            }
            WhenFull::Close => {
                // It is set already if others have found the same.
                let _ = member.closed.set_blocking(());
            }
        }
    }
}

impl Member {
    /// Whether its connection has to be closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_initialized()
    }

    /// Completes when its connection has to be closed.
    ///
    /// # Cancel safety
    /// Dropping this future does no harm.
    pub(super) async fn closed(&self) {
        self.closed.wait().await;
    }

    /// It takes lines: those that were lost since the last time.
    pub(super) fn catches_up(&self) -> u64 {
        if self.queue.is_empty() {
            self.is_slow.set(false);
        }
        self.lost.take()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.members.borrow_mut().remove(&self.member.name);
        // What is in the queue can still be taken; then its receiver learns of the end.
        self.member.queue.close();
    }
}
