//! Several cores: `executor`'s `run_on_each_core`, with the system calls that keep a thread on its core.

use std::io;
use std::num::NonZeroUsize;

use executor::Worker;

/// Runs `main` on so many threads at once, each kept on one of the cores this process may use, in turn
/// (more workers than cores: it starts over). Each builds a runtime of its own. What it returns, how
/// to stop all, and the limits of a server that listens on every core: see
/// [`executor::run_on_each_core`].
///
/// ```no_run
/// use proactor::{ListenOptions, Listener, Proactor as Rt, Reader, TcpListener, TcpStream, Writer};
///
/// async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
///     loop {
///         let chunk = stream.recv().await?;
///         if chunk.is_empty() {
///             return Ok(());
///         }
///         stream.write_all(chunk).await.0?;
///     }
/// }
///
/// fn main() -> std::io::Result<()> {
///     proactor::run_on_each_core(std::thread::available_parallelism()?, |worker| -> std::io::Result<()> {
///         let rt = Rt::new()?;
///         worker.block_on(&rt, async {
///             let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
///             let mut listener = TcpListener::bind_with(&rt, ([127, 0, 0, 1], 7000).into(), &options)?;
///             loop {
///                 let stream = listener.accept().await?;
///                 rt.spawn(echo(stream)).detach();
///             }
///         })
///     })?;
///     Ok(())
/// }
/// ```
///
/// # Errors
/// As [`executor::run_on_each_core`], and those of sched_setaffinity(2). Where that is forbidden, call
/// the executor's own, with a `pin` that does nothing.
///
/// # Panics
/// As [`executor::run_on_each_core`].
pub fn run_on_each_core<T, E, M>(workers: NonZeroUsize, main: M) -> Result<Vec<T>, E>
where
    T: Send,
    E: From<io::Error> + Send,
    M: Fn(&Worker) -> Result<T, E> + Sync,
{
    executor::run_on_each_core(workers, pin, main)
}

/// Cores the kernel can have at most, on any architecture; it refuses a mask that is too short for its own.
const MOST_CORES: usize = 8192;
const CORES_PER_WORD: usize = libc::c_ulong::BITS as usize;

/// Keeps this thread on one of the cores it may use now, and says on which: the one at place `number`,
/// counting round.
fn pin(number: usize) -> io::Result<usize> {
    let mut mask = [0 as libc::c_ulong; MOST_CORES / CORES_PER_WORD];
    // SAFETY: the kernel writes at most as many bytes as said, all of which are the mask's. 0 is this thread.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) })?;
    let is_allowed = |core: &usize| mask[core / CORES_PER_WORD] >> (core % CORES_PER_WORD) & 1 == 1;
    let allowed: Vec<_> = (0..MOST_CORES).filter(is_allowed).collect();
    let core = allowed[number % allowed.len()];
    mask.fill(0);
    mask[core / CORES_PER_WORD] = 1 << (core % CORES_PER_WORD);
    // SAFETY: the kernel reads at most as many bytes as said, all of which are the mask's.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) })?;
    Ok(core)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
