//! What the kernel can do, found out by trying; and why a ring could not be had, said so that it helps.
//!
//! Abilities are probed at run time, never guessed from a version number or chosen when compiling: the
//! machine that builds is not the machine that runs, and distributions backport. Each has another path.

use std::fmt;
use std::io;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use executor::Seam;
use io_uring::{opcode, squeue, types};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::ring::{BufferRing, Completion, NAMES, Ring};

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
    /// The kernel picks a receive buffer when bytes arrive (5.19).
    BufferRing,
    /// One request receives again and again (6.0).
    MultishotRecv,
    /// One request accepts again and again (5.19).
    MultishotAccept,
    /// One request watches the wake-up descriptor for ever (5.13).
    MultishotPoll,
}

/// Name, kernel and fallback of each [`Feature`], in their order.
const TABLE: [(Feature, &str, &str, &str); 9] = [
    (Feature::DeferTaskrun, "single issuer, deferred task run", "6.1", "completions interrupt the thread"),
    (Feature::SubmitAll, "submit all", "5.18", "the rest of a batch goes with the next call"),
    (Feature::NoSqArray, "no submission array", "6.6", "submissions go through the array"),
    (Feature::RegisteredRing, "registered ring", "5.18", "the descriptor is looked up at each call"),
    (Feature::NoIowait, "no iowait", "6.15", "an idle runtime is shown as waiting for I/O"),
    (Feature::BufferRing, "buffer ring", "5.19", "each receive takes memory of its own along"),
    (Feature::MultishotRecv, "multishot receive", "6.0", "each receive is a request of its own"),
    (Feature::MultishotAccept, "multishot accept", "5.19", "each accept is a request of its own"),
    (
        Feature::MultishotPoll,
        "multishot poll",
        "5.13",
        "each wake from another thread costs a read and a new request",
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
            Gate::Sysctl => {
                ("kernel.io_uring_disabled forbids io_uring", "as root: sysctl kernel.io_uring_disabled=0")
            }
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
        write!(f, "{what} ({}); {remedy}", self.source)
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

/// A ring of which all that is in `features` was tried and works. What did not is taken out of it.
pub(crate) fn ring(
    submissions: u32,
    completions: u32,
    features: &mut Features,
) -> Result<(Ring, Option<BufferRing>), SetupError> {
    let give_up = Instant::now() + MEMORY_RETRY;
    let mut ring = loop {
        match Ring::new(submissions, completions, features) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => break other?,
        }
    };
    if !ring.has_ext_arg() {
        return Err(missing("io_uring lacks time-outs of io_uring_enter (5.11)"));
    }
    if !ring.has_nodrop() {
        return Err(missing("io_uring lacks lossless completion queues (5.5)"));
    }
    let probe = ring.probe()?;
    let needed = [
        ("io_uring lacks accept", opcode::Accept::CODE),
        ("io_uring lacks connect", opcode::Connect::CODE),
        ("io_uring lacks recv", opcode::Recv::CODE),
        ("io_uring lacks send", opcode::Send::CODE),
        ("io_uring lacks poll", opcode::PollAdd::CODE),
        ("io_uring lacks cancel", opcode::AsyncCancel::CODE),
    ];
    if let Some((name, _)) = needed.into_iter().find(|(_, code)| !probe.is_supported(*code)) {
        return Err(missing(name));
    }
    let mut buffers = features.has(Feature::BufferRing).then(BufferRing::new);
    if buffers.as_ref().is_some_and(|buffers| ring.register_buffers(buffers).is_err()) {
        buffers = None;
    }
    if buffers.is_none() {
        features.remove(Feature::BufferRing);
        features.remove(Feature::MultishotRecv);
    }
    if let Some(ring_of_buffers) = buffers.as_mut().filter(|_| features.has(Feature::MultishotRecv))
        && !Trial::new(&mut ring).receives_again(ring_of_buffers)?
    {
        features.remove(Feature::MultishotRecv);
    }
    if !features.has(Feature::MultishotRecv) && buffers.is_some() {
        // Nothing else picks from it.
        ring.unregister_buffers()?;
        buffers = None;
    }
    if features.has(Feature::MultishotAccept) && !Trial::new(&mut ring).accepts_again()? {
        features.remove(Feature::MultishotAccept);
    }
    if features.has(Feature::MultishotPoll) && !Trial::new(&mut ring).polls_again()? {
        features.remove(Feature::MultishotPoll);
    }
    Ok((ring, buffers))
}

/// The user data of a trial's cancel; what is tried has 0.
const CANCEL: u64 = 1;

/// Tries requests on sockets of its own. A flag the kernel doesn't know can't be asked for otherwise.
struct Trial<'a> {
    ring: &'a mut Ring,
    seam: Seam,
}

impl Trial<'_> {
    fn new(ring: &mut Ring) -> Trial<'_> {
        Trial { ring, seam: Seam::new(NAMES) }
    }

    fn start(&mut self, entry: squeue::Entry) {
        // SAFETY: none of the entries tried here points to memory. (Receives pick from the registered
        // buffers.)
        let pushed = unsafe { self.ring.push(&entry) };
        assert!(pushed, "the ring is empty but for this");
    }

    /// The next completion; there is one, because whatever was started is over or interrupted by now.
    fn next(&mut self) -> io::Result<Completion> {
        loop {
            if let Some(completion) = self.ring.pop() {
                return Ok(completion);
            }
            self.ring.enter(&self.seam, None)?;
        }
    }

    /// Whether a multishot receive takes what there is, stays, and sees the end.
    fn receives_again(&mut self, buffers: &mut BufferRing) -> io::Result<bool> {
        let (near, mut far) = UnixStream::pair()?;
        far.write_all(b"x")?;
        buffers.give(vec![0; 1]).expect("the ring of buffers is empty");
        self.start(opcode::RecvMulti::new(types::Fd(near.as_raw_fd()), BufferRing::GROUP).build());
        let first = self.next()?;
        let works = first.result == 1 && first.is_more();
        let mut last = first;
        drop(far);
        while last.is_more() {
            last = self.next()?;
        }
        first.buffer().and_then(|number| buffers.take(number));
        Ok(works)
    }

    /// Whether a multishot accept takes a connection and stays.
    fn accepts_again(&mut self) -> io::Result<bool> {
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // An empty address: the kernel makes one up, in no file system.
        listener.bind(&SockAddr::unix("")?)?;
        listener.listen(1)?;
        let client = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        client.connect(&listener.local_addr()?)?;
        self.start(opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd())).build());
        let first = self.next()?;
        if first.result >= 0 {
            // SAFETY: the result of an accept that was just reaped.
            let accepted: OwnedFd = unsafe { crate::ring::accepted(first.result) };
            drop(accepted);
        }
        self.cancel(first)?;
        Ok(first.result >= 0 && first.is_more())
    }

    /// Whether a multishot poll reports and stays.
    fn polls_again(&mut self) -> io::Result<bool> {
        let (near, mut far) = UnixStream::pair()?;
        far.write_all(b"x")?;
        let readable = u32::from(libc::POLLIN.unsigned_abs());
        self.start(opcode::PollAdd::new(types::Fd(near.as_raw_fd()), readable).multi(true).build());
        let first = self.next()?;
        self.cancel(first)?;
        Ok(first.result >= 0 && first.is_more())
    }

    /// Ends what completed with `last`, if it goes on.
    fn cancel(&mut self, mut last: Completion) -> io::Result<()> {
        if !last.is_more() {
            return Ok(());
        }
        self.start(opcode::AsyncCancel::new(last.user_data).build().user_data(CANCEL));
        let mut is_cancelled = false;
        while last.is_more() || !is_cancelled {
            match self.next()? {
                completion if completion.user_data == CANCEL => is_cancelled = true,
                completion => last = completion,
            }
        }
        Ok(())
    }
}
