//! Goal: waiting until a descriptor is readable makes the call until it no longer would block, on every engine.
//!
//! Method: an eventfd that another reader empties first.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::rc::Rc;

use executor::Net as _;
use rustix::event::{EventfdFlags, eventfd};
use tests::{Engine, Suite, ms, on_every_fallback, run};

fn read(fd: impl AsFd) -> io::Result<u64> {
    let mut count = [0; 8];
    rustix::io::read(fd, &mut count)?;
    Ok(u64::from_ne_bytes(count))
}

/// Another reader is faster, three times. Then the wait goes on.
fn a_call_that_would_block_is_waited_for_again<E: Engine>() {
    run::<E>(async |rt| {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let (own, other, writer) = (fd.try_clone().unwrap(), fd.try_clone().unwrap(), fd.try_clone().unwrap());
        let (stolen, handle) = (Rc::new(Cell::new(0)), rt.clone());
        let counter = Rc::clone(&stolen);
        let waiting = rt.spawn(async move {
            let call = || {
                // At most three times what there is goes to the other reader.
                if counter.get() < 3 && read(&other).is_ok() {
                    counter.set(counter.get() + 1);
                }
                read(&own)
            };
            handle.when_readable(fd, call).await
        });
        while !waiting.is_finished() {
            rustix::io::write(&writer, &7u64.to_ne_bytes()).unwrap();
            rt.sleep(ms(2)).await;
        }
        assert_eq!(waiting.await.unwrap().unwrap() % 7, 0);
        assert_eq!(stolen.get(), 3);
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, a_call_that_would_block_is_waited_for_again);
    suite.run()
}
