//! Setting a runtime up: what the kernel can do, found out by trying; and why a ring could not be had, said so that it
//! helps.
//!
//! Abilities are probed at run time, never guessed from a version number or chosen when compiling: the
//! machine that builds is not the machine that runs, and distributions backport. Each has another path.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use executor::{Config, Executor, Seam};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::calls::{self, NAMES};
use crate::pool::{Pool, Rings};
use crate::ring::buffers::{BufferRing, Group};
use crate::ring::{Ring, setup::Size};
use crate::submit::Operations;
use crate::{Context, Proactor, UringDriver};

/// An ability of the kernel that the runtime uses when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Completions run when we enter the kernel, not as interrupts (6.1).
    DeferTaskrun,
    /// One failing submission doesn't stop the rest of its batch (5.18).
    SubmitAll,
    /// No index array between us and the submissions (6.6).
    NoSqArray,
    /// The ring is entered by an index instead of a descriptor (5.18).
    RegisteredRing,
    /// Waiting isn't counted as waiting for a disk (6.15).
    NoIowait,
    /// A send that goes as usual needs no completion (5.17).
    QuietSend,
    /// The kernel picks a receive buffer when bytes arrive (5.19).
    BufferRing,
    /// One request receives again and again, bytes or datagrams (6.0).
    MultishotRecv,
    /// One request accepts again and again (5.19).
    MultishotAccept,
    /// One request watches the wake-up descriptor for ever (5.13).
    MultishotPoll,
    /// The kernel fills a receive buffer piece by piece (6.12).
    IncrementalBuffers,
}

/// Name, kernel and fallback of each [`Feature`], in their order.
const TABLE: [(Feature, &str, &str, &str); 11] = [
    (Feature::DeferTaskrun, "single issuer, deferred task run", "6.1", "completions interrupt the thread"),
    (Feature::SubmitAll, "submit all", "5.18", "the rest of a batch goes with the next call"),
    (Feature::NoSqArray, "no submission array", "6.6", "submissions go through the array"),
    (Feature::RegisteredRing, "registered ring", "5.18", "the descriptor is looked up at each call"),
    (Feature::NoIowait, "no iowait", "6.15", "an idle runtime is shown as waiting for I/O"),
    (Feature::QuietSend, "no completion of success", "5.17", "each send completes, and ends the loop's wait"),
    (Feature::BufferRing, "buffer ring", "5.19", "each receive takes memory of its own along"),
    (Feature::MultishotRecv, "multishot receive", "6.0", "each receive is a request of its own"),
    (Feature::MultishotAccept, "multishot accept", "5.19", "each accept is a request of its own"),
    (Feature::MultishotPoll, "multishot poll", "5.13", "each wake from another thread costs a read and a new request"),
    (
        Feature::IncrementalBuffers,
        "incremental buffers",
        "6.12",
        "each receive takes a whole buffer, however short it is",
    ),
];

impl Feature {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Feature> {
        TABLE.iter().map(|row| row.0)
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The kernel that brought it.
    pub fn since(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// What happens without it.
    pub fn fallback(self) -> &'static str {
        TABLE[self as usize].3
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of [`Feature`]s.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Features(u16);

impl Features {
    pub(crate) const ALL: Features = Features((1 << TABLE.len()) - 1);

    /// Whether it is in the set.
    pub fn has(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    pub(crate) fn remove(&mut self, feature: Feature) {
        self.0 &= !feature.bit();
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Feature::all().filter(|feature| self.has(*feature))).finish()
    }
}

/// Why io_uring can't be used here. Its text names the remedy.
#[derive(Debug)]
pub struct SetupError {
    gate: Gate,
    source: io::Error,
}

/// The gate that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gate {
    /// The kernel has no io_uring.
    NoSyscall,
    /// `kernel.io_uring_disabled` forbids it.
    Sysctl,
    /// A seccomp filter forbids it, as containers' default ones do.
    Seccomp,
    /// The limit of locked memory is too low.
    Memlock,
    /// No free descriptors.
    Descriptors,
    /// The kernel's io_uring is too old: the text names what is missing.
    Missing(&'static str),
    /// Something else.
    Other,
}

impl Gate {
    fn of(error: &io::Error) -> Gate {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Gate::NoSyscall,
            Some(libc::EPERM | libc::EACCES) => match std::fs::read_to_string(SYSCTL) {
                Ok(value) if matches!(value.trim(), "1" | "2") => Gate::Sysctl,
                _ => Gate::Seccomp,
            },
            Some(libc::ENOMEM) => Gate::Memlock,
            Some(libc::EMFILE | libc::ENFILE) => Gate::Descriptors,
            _ => Gate::Other,
        }
    }
}

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

impl SetupError {
    /// Which gate is closed.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// What is wrong, and what to do about it.
    fn text(&self) -> (&'static str, &'static str) {
        match self.gate {
            Gate::NoSyscall => (
                "the kernel has no io_uring",
                "it is older than 5.11, built without CONFIG_IO_URING, or a filter hides the call: use \
                 another kernel, or an engine on epoll",
            ),
            Gate::Sysctl => ("kernel.io_uring_disabled forbids io_uring", "as root: sysctl kernel.io_uring_disabled=0"),
            Gate::Seccomp => (
                "a seccomp filter forbids io_uring",
                "allow io_uring_setup, io_uring_enter and io_uring_register in the container's profile \
                 (docker run --security-opt seccomp=PROFILE)",
            ),
            Gate::Memlock => (
                "there is not enough lockable memory for a ring",
                "raise the limit (ulimit -l; LimitMEMLOCK= in systemd), or ask for a smaller ring with \
                 Builder::operations",
            ),
            Gate::Descriptors => {
                ("there are no free descriptors for a ring", "raise the limit (ulimit -n), or close some")
            }
            Gate::Missing(ability) => (ability, "use a kernel from 5.11 on, or an engine on epoll"),
            Gate::Other => ("io_uring can't be set up", "see the error's number in io_uring_setup(2)"),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        self.text().1
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, remedy) = self.text();
        let lacks = if matches!(self.gate, Gate::Missing(_)) { "io_uring lacks " } else { "" };
        write!(f, "{lacks}{what} ({}); {remedy}", self.source)
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<io::Error> for SetupError {
    fn from(source: io::Error) -> Self {
        SetupError { gate: Gate::of(&source), source }
    }
}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> Self {
        io::Error::new(error.source.kind(), error)
    }
}

fn missing(ability: &'static str) -> SetupError {
    SetupError { gate: Gate::Missing(ability), source: io::ErrorKind::Unsupported.into() }
}

/// How long to try again while the kernel takes down earlier rings: their memory stays charged to the
/// user for some 30 ms after they are closed.
const MEMORY_RETRY: Duration = Duration::from_millis(100);

/// Operations the kernel may hold at once, unless the builder is told otherwise: a receive and a send
/// on 8,000 streams. Their completions take 256 KiB.
const OPERATIONS: u32 = 16 * 1024;
/// Submissions that fit the queue; when it is full, the kernel takes them early. More would only spoil
/// the cache: the queue is used all around.
const SUBMISSIONS: u32 = 1024;

/// Sets a runtime up.
#[derive(Clone, Debug)]
pub struct Builder {
    config: Config,
    features: Features,
    operations: u32,
    sockets_only: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Builder { config: Config::default(), features: Features::ALL, operations: OPERATIONS, sockets_only: false }
    }
}

impl Builder {
    /// The defaults: everything the kernel can do, and those of [`Config`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Limits and hooks that every runtime has.
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Looks for work for so long before it sleeps: see [`Config::spin`].
    pub fn spin(mut self, spin: Duration) -> Builder {
        self.config.spin = spin;
        self
    }

    /// How many operations the kernel may hold at once; further ones wait. Rounded up to a power of two,
    /// and cut to what the kernel allows (65,536).
    pub fn operations(mut self, operations: u32) -> Builder {
        self.operations = operations.max(4);
        self
    }

    /// Does without an ability of the kernel, as on one that hasn't it.
    pub fn without(mut self, feature: Feature) -> Builder {
        self.features.remove(feature);
        self
    }

    /// Has the kernel refuse, for as long as the runtime lives, all requests but those of sockets, sleeps
    /// and wakes: whoever takes the program over cannot have this ring open, read or write files. The
    /// operations of a `File` and of pipes fail with `PermissionDenied`.
    ///
    /// This binds only the runtime's own ring. A program that is to make no other needs a seccomp filter.
    pub fn sockets_only(mut self) -> Builder {
        self.sockets_only = true;
        self
    }

    /// Makes the runtime, on the thread that will run it.
    ///
    /// # Errors
    /// [`SetupError`], which names the gate that is closed and the remedy.
    pub fn build(self) -> Result<Proactor, SetupError> {
        let mut features = self.features;
        let size = Size { submissions: SUBMISSIONS.min(self.operations), completions: self.operations };
        let seam = Seam::new(NAMES);
        let (ring, buffers) = ring(&seam, size, self.sockets_only, &mut features)?;
        let pool = Pool::new(buffers);
        let context = Rc::new(Context {
            operations: RefCell::new(Operations::new(ring, Rc::clone(&pool))),
            pool,
            seam,
            is_closed: Cell::new(false),
            features,
        });
        let driver = UringDriver::new(Rc::clone(&context))?;
        Ok(Proactor { executor: Executor::new(driver, self.config), context })
    }
}

/// A ring of which all that is in `features` was tried and works. What did not is taken out of it.
///
/// One that is for sockets only cannot be tried: until it is restricted it runs nothing, and then there is
/// no way back. So another is tried in its place.
pub(crate) fn ring(
    seam: &Seam,
    size: Size,
    sockets_only: bool,
    features: &mut Features,
) -> Result<(Ring, Option<Rings>), SetupError> {
    let mut ring = new_ring(seam, size, false, features)?;
    let mut buffers = try_out(seam, &mut ring, features)?;
    if sockets_only {
        drop(ring);
        ring = new_ring(seam, size, true, features)?;
        buffers = match buffers {
            Some(_) => Some(register_buffers(seam, &ring, features)?),
            None => None,
        };
        let no_restrictions = |source| SetupError { gate: Gate::Missing("restrictions (5.10)"), source };
        ring.restrict_to_sockets(seam).map_err(no_restrictions)?;
    }
    Ok((ring, buffers))
}

/// A ring that nobody has tried.
fn new_ring(seam: &Seam, size: Size, is_disabled: bool, features: &mut Features) -> Result<Ring, SetupError> {
    let give_up = Instant::now() + MEMORY_RETRY;
    loop {
        match Ring::new(seam, size, is_disabled, features) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return Ok(other?),
        }
    }
}

/// Tries all that is in `features`, and takes out of it what does not work. Returns the receive buffers, if
/// they do.
fn try_out(seam: &Seam, ring: &mut Ring, features: &mut Features) -> Result<Option<Rings>, SetupError> {
    if !ring.has_ext_arg() {
        return Err(missing("time-outs of io_uring_enter (5.11)"));
    }
    if !ring.has_nodrop() {
        return Err(missing("lossless completion queues (5.5)"));
    }
    let probe = ring.probe(seam)?;
    if let Some((_, name)) = calls::OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(missing(name));
    }
    let may_have_buffers = features.has(Feature::BufferRing);
    let mut buffers = if may_have_buffers { register_buffers(seam, ring, features).ok() } else { None };
    if buffers.is_none() {
        features.remove(Feature::BufferRing);
        features.remove(Feature::IncrementalBuffers);
        features.remove(Feature::MultishotRecv);
    }
    let (idle, _peer) = UnixStream::pair()?;
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // An empty address: the kernel makes one up, in no file system.
    listener.bind(&SockAddr::unix("")?)?;
    listener.listen(1)?;
    let mut check = |feature, start: &dyn Fn(&mut Ring, u64) -> bool| {
        if features.has(feature) && !is_known(seam, ring, start)? {
            features.remove(feature);
        }
        io::Result::Ok(())
    };
    check(Feature::MultishotRecv, &|ring, name| ring.receive_again(idle.as_fd(), name))?;
    check(Feature::MultishotRecv, &|ring, name| ring.try_receiving_messages(idle.as_fd(), name))?;
    check(Feature::MultishotAccept, &|ring, name| ring.accept_again(listener.as_fd(), name))?;
    check(Feature::MultishotPoll, &|ring, name| ring.poll(idle.as_fd(), true, name))?;
    ring.end_trial();
    if !features.has(Feature::MultishotRecv) {
        // Nothing else picks from them.
        features.remove(Feature::IncrementalBuffers);
        for buffers in buffers.take().into_iter().flatten() {
            ring.unregister_buffers(&buffers)?;
        }
    }
    Ok(buffers)
}

/// Registers the rings of receive buffers. Takes out of `features` what the kernel refuses.
fn register_buffers(seam: &Seam, ring: &Ring, features: &mut Features) -> io::Result<Rings> {
    let register = |group, is_incremental| {
        let buffers = BufferRing::new(group, is_incremental);
        ring.register_buffers(seam, &buffers).map(|()| buffers)
    };
    let mut streams = register(Group::Streams, features.has(Feature::IncrementalBuffers));
    if streams.is_err() && features.has(Feature::IncrementalBuffers) {
        features.remove(Feature::IncrementalBuffers);
        streams = register(Group::Streams, false);
    }
    Ok([streams?, register(Group::Datagrams, false)?])
}

/// Whether the kernel knows a request, which has nothing to do on its idle socket. If not, it is invalid at
/// once; else it stays until it is cancelled (or finds that there is no buffer). A flag can't be asked for
/// otherwise.
fn is_known(seam: &Seam, ring: &mut Ring, start: &dyn Fn(&mut Ring, u64) -> bool) -> io::Result<bool> {
    const REQUEST: u64 = 1;
    const CANCEL: u64 = 2;
    let started = start(ring, REQUEST) && ring.cancel(REQUEST, CANCEL, false);
    assert!(started, "the ring is empty but for this");
    let mut answers = [None; 2];
    while answers.contains(&None) {
        match ring.pop() {
            Some(completion) if completion.user_data == REQUEST => answers[0] = Some(completion.result),
            Some(completion) => answers[1] = Some(completion.result),
            None => drop(ring.enter(seam, None)?),
        }
    }
    Ok(answers[0] != Some(-libc::EINVAL))
}
