//! The limit of open files, which bounds how many connections a process can hold.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors left for everything that is no connection: the engine's own, the standard streams,
/// files that are being served.
pub const RESERVED: usize = 64;
/// Descriptors of each further worker: what its runtime sleeps on and is woken by, its listener, the
/// directory it serves, and one connection for the limit that is rounded up.
const RESERVED_PER_WORKER: usize = 8;
/// Connections a demonstration needs at most. Each costs memory here and in the kernel.
pub const MOST_CONNECTIONS: usize = 10_000;

/// Raises the soft limit of open files to the hard one. Soft limits are low for the sake of programs
/// that use `select`, and none of ours do. Where it is not allowed, the old limit stays.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn reserved(workers: usize) -> usize {
    RESERVED + RESERVED_PER_WORKER * workers.saturating_sub(1)
}

/// Connections this process can hold at the same time with so many workers, at least one.
pub fn connections(workers: usize) -> usize {
    open_files().saturating_sub(reserved(workers)).clamp(1, MOST_CONNECTIONS)
}

/// What to say where more connections were asked for than can be had.
pub fn shortfall(wished: Option<u32>, most: usize) -> Option<String> {
    let wished = wished.filter(|wished| *wished as usize > most)?;
    let reason = if most < MOST_CONNECTIONS {
        format!("{} files may be open (ulimit -n)", open_files())
    } else {
        "that is the most".to_owned()
    };
    Some(format!("demos: {most} connections at the same time, and not {wished}: {reason}"))
}

/// Returns whether the workers' listeners may take all connections that wait for them, beside those that are served
/// with `descriptors` in all. Else the ones that wait would use up what is kept in reserve.
pub fn has_room_for(descriptors: usize, backlog: u32, workers: usize) -> bool {
    let ahead = workers.saturating_mul(backlog as usize);
    open_files() >= descriptors.saturating_add(ahead).saturating_add(reserved(workers))
}

/// Files this process may have open.
pub fn open_files() -> usize {
    let files = getrlimit(Resource::Nofile).current;
    files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}
