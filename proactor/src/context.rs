//! The part of a runtime that its sockets share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use executor::{Fired, Key, Seam};

use crate::features::Features;
use crate::op::Kind;
use crate::pool::Pool;
use crate::socket::{Filler, NO_SLOT, Socket};
use crate::submit::Operations;

/// The part of a runtime that its sockets share, with or without its driver.
pub(crate) struct Context {
    pub(crate) operations: RefCell<Operations>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) seam: Seam,
    pub(crate) is_closed: Cell<bool>,
    pub(crate) features: Features,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("seam", &self.seam).finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn new(operations: Operations, pool: Rc<Pool>, seam: Seam, features: Features) -> Context {
        Context { operations: RefCell::new(operations), pool, seam, is_closed: Cell::new(false), features }
    }

    /// Starts an operation.
    pub(crate) fn begin(&self, kind: Kind) -> Key {
        self.operations.borrow_mut().start(&self.seam, kind)
    }

    /// Orphans an operation: its future is gone, or can't be polled any more.
    pub(crate) fn orphan(&self, key: Key) {
        let mut fired = Fired::default();
        self.operations.borrow_mut().orphan(key, &mut fired);
        fired.run();
    }

    /// Releases a socket, because no program will ask for what it brings: drops what has arrived,
    /// cancels the operation that brings more, and from now on drops what still arrives.
    pub(crate) fn release<T>(&self, socket: &Socket<T>) {
        if socket.incoming.release() {
            self.stop_filling(socket);
        }
    }

    /// Cancels the operation that brings what arrives.
    pub(crate) fn stop_filling<T>(&self, socket: &Socket<T>) {
        match socket.incoming.filler.get() {
            Filler::None => {}
            Filler::Own(key) => {
                if !self.operations.borrow_mut().cancel(key) {
                    socket.incoming.filler.set(Filler::None);
                }
            }
            Filler::Read(key) => self.orphan(key),
        }
    }

    /// Frees the slot of a stream's sends. If a send is left there, its future was leaked, and it is
    /// orphaned.
    pub(crate) fn give_up_sending<T>(&self, socket: &Socket<T>) {
        let mut fired = Fired::default();
        self.operations.borrow_mut().retire(socket.send_slot.replace(NO_SLOT), &mut fired);
        fired.run();
    }
}
