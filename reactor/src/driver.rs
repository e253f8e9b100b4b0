//! The dispatcher: turns what epoll reports into wakes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{Driver, DriverStats, Fired, Unpark, WakeFd, closed};

use crate::calls::Call;
use crate::context::{Context, WAKE};
use crate::epoll::{Epoll, Events, Mask};

/// The driver over epoll. It is public only because it names the type behind
/// [`Reactor`](crate::Reactor). Only the runtime uses it.
pub struct EpollDriver {
    epoll: Rc<Epoll>,
    batch: Events,
    wake_fd: Arc<WakeFd>,
    context: Rc<Context>,
    events: u64,
    stale_events: u64,
}

impl EpollDriver {
    pub(crate) fn new(context: Rc<Context>) -> io::Result<EpollDriver> {
        context.sys.seam().pass(Call::Eventfd2 as usize)?;
        let wake_fd = Arc::new(WakeFd::new()?);
        let epoll = Rc::clone(&context.sources.borrow().as_ref().ok_or_else(closed)?.epoll);
        // Edge-triggered: each write is a new edge, so no read is needed. (The counter would be
        // full after 2^64 writes.)
        epoll.add(&context.sys, wake_fd.as_fd(), WAKE, Mask::READ.and(Mask::EDGE))?;
        Ok(EpollDriver { epoll, batch: Events::new(), wake_fd, context, events: 0, stale_events: 0 })
    }
}

impl Driver for EpollDriver {
    fn turn(&mut self, timeout: Option<Duration>, fired: &mut Fired) -> io::Result<()> {
        let EpollDriver { epoll, batch, context, events, stale_events, .. } = self;
        let sys = &context.sys;
        let mut sources = context.sources.borrow_mut();
        let sources = sources.as_mut().ok_or_else(closed)?;
        sources.flush(sys, fired);
        // A failed `epoll_ctl` woke its task: do not sleep.
        let timeout = if fired.is_empty() { timeout } else { Some(Duration::ZERO) };
        #[cfg(debug_assertions)]
        sources.table.iter().for_each(|(_, source)| source.assert_ready_to_sleep());
        epoll.wait(sys, timeout, batch)?;
        for (key, mask) in batch.iter() {
            if key == WAKE {
                continue;
            }
            *events += 1;
            match sources.table.get(key) {
                Some(source) => source.event(mask, epoll, sys, fired),
                None => *stale_events += 1,
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        self.context.closed.set(true);
    }

    /// Takes every source out of epoll, and wakes its tasks; streams that outlive the runtime then
    /// return [`closed`]. With readiness, the kernel holds nothing else of ours.
    fn drain(&mut self, _deadline: Option<Instant>, fired: &mut Fired) -> io::Result<()> {
        let sources = self.context.sources.take();
        for source in sources.into_iter().flat_map(|sources| sources.table.into_values()) {
            source.deregister(&self.epoll, &self.context.sys);
            source.wake_all(fired);
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.wake_fd) as Arc<dyn Unpark>
    }

    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.epoll.fd.as_fd())
    }

    fn stats(&self) -> DriverStats {
        DriverStats {
            system_calls: self.context.sys.seam().counts(("write", self.wake_fd.writes())),
            events: self.events,
            chunks_lent_now: self.context.pool.lent(),
            pool_bytes_now: self.context.pool.bytes(),
            sources_now: Some(self.context.sources.borrow().as_ref().map_or(0, |sources| sources.table.len()) as u64),
            stale_events: Some(self.stale_events),
            ..DriverStats::default()
        }
    }
}
