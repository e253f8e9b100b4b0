//! An executor over a driver whose clock a test moves by hand.

use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{Config, Driver, DriverStats, Executor, Fired, Unpark};

/// A driver with no kernel, and a clock that others move.
#[derive(Debug)]
pub struct ByHand {
    now: Rc<Cell<Instant>>,
}

struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

impl Driver for ByHand {
    fn turn(&mut self, _timeout: Option<Duration>, _fired: &mut Fired) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self) {}

    fn drain(&mut self, _deadline: Option<Instant>, _fired: &mut Fired) -> io::Result<()> {
        Ok(())
    }

    fn now(&self) -> Instant {
        self.now.get()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Nobody)
    }

    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stats(&self) -> DriverStats {
        DriverStats::default()
    }
}

/// A runtime, and its clock.
#[must_use]
pub fn by_hand(config: Config) -> (Executor<ByHand>, Rc<Cell<Instant>>) {
    let now = Rc::new(Cell::new(Instant::now()));
    (Executor::new(ByHand { now: Rc::clone(&now) }, config), now)
}
