//! The same with processes.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{Figures, RUNS};
use crate::memory;

/// Bytes there and back in a run; each is two turns.
const ROUND_TRIPS: u32 = 2_000;

/// The figures of processes, with so many of them, or as many as the system gives. `command` starts a program that
/// [`answer`]s.
///
/// # Errors
/// A process that ends early.
pub fn measure(number: u32, command: impl Fn() -> Command) -> io::Result<Figures> {
    let (before, start) = (memory::kernel_stacks(), Instant::now());
    let (mut processes, mut shortage) = (Processes(Vec::new()), None);
    for _ in 0..number {
        match command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Ok(process) => processes.0.push(process),
            Err(error) => {
                shortage = Some(format!("{} processes, not {number}: {error}", processes.0.len()));
                break;
            }
        }
    }
    let Some((first, _)) = processes.0.split_first_mut() else {
        return Err(io::Error::other(shortage.unwrap_or_default()));
    };
    // Each is there when it has answered once.
    exchange(first)?;
    processes.0.iter_mut().skip(1).try_for_each(exchange)?;
    let created = start.elapsed();
    let own = |process: &Child| {
        memory::proportional(process.id()).unwrap_or(0) + memory::page_tables(process.id()).unwrap_or(0)
    };
    let stacks = memory::kernel_stacks().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
    let bytes = processes.0.iter().map(own).sum::<u64>() + stacks;
    let mut switch_ns = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        (0..ROUND_TRIPS).try_for_each(|_| exchange(&mut processes.0[0]))?;
        switch_ns = switch_ns.min(start.elapsed().as_nanos() as f64 / f64::from(2 * ROUND_TRIPS));
    }
    let many = processes.0.len() as f64;
    Ok(Figures {
        number: processes.0.len() as u64,
        create_ns: created.as_nanos() as f64 / many,
        bytes: bytes as f64 / many,
        address_space: None,
        switch_ns,
        crowd_switch_ns: None,
        shortage,
    })
}

/// What each of the processes does: gives each byte of its stdin back, until that ends.
///
/// # Errors
/// Those of stdin and stdout.
pub fn answer() -> io::Result<()> {
    let (mut stdin, mut stdout, mut byte) = (io::stdin().lock(), io::stdout().lock(), [0]);
    while stdin.read(&mut byte)? == 1 {
        stdout.write_all(&byte)?;
        stdout.flush()?;
    }
    Ok(())
}

/// A byte there and back.
fn exchange(process: &mut Child) -> io::Result<()> {
    let (Some(stdin), Some(stdout)) = (&mut process.stdin, &mut process.stdout) else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    stdin.write_all(b"x")?;
    stdout.read_exact(&mut [0])
}

/// Processes that end with this.
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        // All first, so that they end side by side.
        self.0.iter_mut().for_each(|process| drop(process.stdin.take()));
        for process in &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
