//! The driver: a turn of the loop is a step of the world.

use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{Driver, DriverStats, Fired, Unpark};

use crate::world::World;

/// The driver over the simulated world. It is public because it names the type behind [`Sim`](crate::Sim).
pub struct SimDriver {
    pub(crate) world: Rc<World>,
}

impl Driver for SimDriver {
    fn turn(&mut self, timeout: Option<Duration>, fired: &mut Fired) -> io::Result<()> {
        self.world.turn(timeout, fired)
    }

    fn close(&mut self) {
        self.world.close();
    }

    fn drain(&mut self, _deadline: Option<Instant>, fired: &mut Fired) -> io::Result<()> {
        self.world.drain(fired);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.world.now()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.world.bell) as Arc<dyn Unpark>
    }

    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "simulated time has no descriptor: use block_on or turn"))
    }

    fn stats(&self) -> DriverStats {
        self.world.stats()
    }
}
