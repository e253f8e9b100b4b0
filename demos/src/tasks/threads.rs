//! The same with threads.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Instant;

use super::{Figures, RUNS, TURNS};
use crate::memory;

/// Threads that are started before they are waited for.
const ON_THE_WAY: usize = 64;
/// What is left to them. A thread that has been started needs memory of its own before it runs, and without it ends the
/// process. So the last of the memory is not taken by starting one more.
const RESERVE: usize = 4 << 20;

/// The figures of threads, with so many of them, or as many as the system gives.
///
/// # Errors
/// It gives none at all.
pub fn measure(number: u32) -> io::Result<Figures> {
    let before = (memory_in_use(), memory::address_space());
    let start = Instant::now();
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let (here, arrivals) = channel();
    let (mut threads, mut shortage) = (Vec::new(), None);
    while threads.len() < number as usize && shortage.is_none() {
        let (before, most) = (threads.len(), ON_THE_WAY.min(number as usize - threads.len()));
        let mut reserve = Vec::<u8>::new();
        let reserved = reserve.try_reserve_exact(RESERVE).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
        let spawn = |_| {
            let (here, gate) = (here.clone(), Arc::clone(&gate));
            thread::Builder::new().spawn(move || {
                let _ = here.send(());
                drop(gate.lock());
            })
        };
        match reserved.and_then(|()| (0..most).map(spawn).try_for_each(|thread| thread.map(|new| threads.push(new)))) {
            Ok(()) => {}
            Err(error) => shortage = Some(format!("{} threads, not {number}: {error}", threads.len())),
        }
        drop(reserve);
        arrivals.iter().take(threads.len() - before).for_each(drop);
    }
    let created = start.elapsed();
    let after = (memory_in_use(), memory::address_space());
    drop(closed);
    let many = threads.len().max(1) as f64;
    // They do nothing that could panic. Once they are gone there is room for the two that take turns.
    let number = threads.len() as u64;
    threads.into_iter().for_each(|thread| drop(thread.join()));
    let mut switch_ns = f64::INFINITY;
    for _ in 0..RUNS {
        switch_ns = switch_ns.min(take_turns()?);
    }
    Ok(Figures {
        number,
        create_ns: created.as_nanos() as f64 / many,
        bytes: after.0.saturating_sub(before.0) as f64 / many,
        address_space: after.1.zip(before.1).map(|(after, before)| after.saturating_sub(before) as f64 / many),
        switch_ns,
        crowd_switch_ns: None,
        shortage,
    })
}

/// What this process uses, with what the kernel uses for its threads.
fn memory_in_use() -> u64 {
    let parts = [memory::resident(), memory::page_tables(std::process::id()), memory::kernel_stacks()];
    parts.into_iter().flatten().sum()
}

/// Two threads take turns: nanoseconds for each turn.
fn take_turns() -> io::Result<f64> {
    let next = Arc::new(AtomicU32::new(0));
    let start = Instant::now();
    let (others_next, first) = (Arc::clone(&next), thread::current());
    let second = thread::Builder::new().spawn(move || play(&others_next, 1, &first))?;
    play(&next, 0, second.thread());
    let _ = second.join();
    Ok(start.elapsed().as_nanos() as f64 / f64::from(TURNS))
}

fn play(next: &AtomicU32, first: u32, other: &Thread) {
    for own in (first..TURNS).step_by(2) {
        while next.load(Ordering::Acquire) != own {
            thread::park();
        }
        next.store(own + 1, Ordering::Release);
        other.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_is_there_and_each_turn_is_taken() {
        let figures = measure(20).unwrap();
        assert_eq!((figures.number, &figures.shortage), (20, &None));
        assert!(figures.switch_ns > 0.0 && figures.create_ns > 0.0 && figures.switch_ns.is_finite());
    }
}
