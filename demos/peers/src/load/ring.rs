//! The ring: everything the client asks of io_uring, and the only place where that needs `unsafe`.
//!
//! It is set up to cost the server nothing. Completions wait in the kernel (`DEFER_TASKRUN`) until the
//! client enters it, and a flag in shared memory (`TASKRUN_FLAG`) says that some do. A client that spins
//! on that flag never sleeps, so no packet of the server has to wake it: that takes longer than serving
//! the request, and with a network card between them it would not be the server's to pay.
//!
//! A process of one thread has nothing from registering the ring's own descriptor: the kernel looks it up
//! without counting references. The connections are registered, since a request holds its file for longer.
//!
//! What the kernel is shown is never freed: the receive buffers, the address, and the bytes that are
//! sent, which are `'static`. Closing a ring does not say when the kernel has let go of its memory, and a
//! process makes few rings.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use socket2::SockAddr;

/// Entries of the submission queue. If it is full it is submitted, so this is a matter of speed only.
const SUBMISSIONS: u32 = 2048;
/// Entries of the completion queue. The kernel keeps those that find it full.
const COMPLETIONS: u32 = 16 * 1024;
/// Receive buffers. An enter brings some 40 completions at most, each with one buffer.
const BUFFERS: u16 = 256;
/// The only group of receive buffers.
const GROUP: u16 = 0;
/// Bytes between two receive buffers, so that their beginnings don't fall into the same few sets of the
/// cache.
const GAP: usize = 192;
/// A send completes when everything was sent: the kernel itself goes on after a short one. Only if it fails
/// there is a completion to see.
const SEND: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
/// Looks at the shared flag before the caller may look at the clock: about half a microsecond.
const SPINS: u32 = 8;

/// What a completion belongs to: the low byte of its user data. The connection's number is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Receive = 1,
    ReceiveOnce,
    Send,
    Connect,
}

impl Operation {
    fn user_data(self, slot: usize) -> u64 {
        (slot as u64) << 8 | self as u64
    }

    fn from_user_data(user_data: u64) -> (Operation, usize) {
        const ALL: [Operation; 4] = [Operation::Receive, Operation::ReceiveOnce, Operation::Send, Operation::Connect];
        let operation = ALL.into_iter().find(|operation| *operation as u64 == user_data & 0xff);
        (operation.expect("no other user data was submitted"), (user_data >> 8) as usize)
    }
}

/// Bytes that arrived. They lie in a buffer of the ring they came from, and are for that ring only, until
/// they are given to [`Ring::recycle`].
#[derive(Debug)]
pub struct Received {
    /// The connection.
    pub slot: usize,
    buffer: u16,
    len: usize,
}

/// An io_uring instance with connections in its file table.
pub struct Ring {
    uring: IoUring,
    buffers: Buffers,
    server: &'static SockAddr,
    /// Whether it sleeps in the kernel while there is nothing to do.
    is_blocking: bool,
}

impl Ring {
    /// A ring with room for `connections`, and for batches of answers of about `batch` bytes.
    pub fn new(server: SocketAddr, connections: usize, batch: usize, is_blocking: bool) -> anyhow::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
        builder.setup_cqsize(COMPLETIONS).dontfork();
        let uring = builder.build(SUBMISSIONS).map_err(|error| {
            let remedy = match error.raw_os_error() {
                Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => {
                    "io_uring is not allowed here: see that `sysctl kernel.io_uring_disabled` is 0 and, in a \
                     container, that its seccomp profile has the io_uring calls"
                }
                Some(libc::EINVAL) => "this kernel's io_uring is too old: the load generator needs Linux 6.1",
                Some(libc::ENOMEM) => "too little memory may be locked: raise `ulimit -l`",
                Some(libc::EMFILE) => "too few files may be open: raise `ulimit -n`",
                _ => "cannot set io_uring up",
            };
            anyhow!("{remedy} ({error})")
        })?;
        let ring = Ring {
            uring,
            buffers: Buffers::new(batch.clamp(512, 16 * 1024)),
            server: Box::leak(Box::new(SockAddr::from(server))),
            is_blocking,
        };
        let submitter = ring.uring.submitter();
        let files = u32::try_from(connections).context("too many connections")?;
        submitter.register_files_sparse(files).with_context(|| {
            format!("cannot have a table of {connections} connections: raise `ulimit -n`, or give fewer")
        })?;
        let entries = ring.buffers.entries as u64;
        // SAFETY: `entries` are BUFFERS entries, page-aligned, and never freed.
        unsafe { submitter.register_buf_ring_with_flags(entries, BUFFERS, GROUP, 0) }
            .context("cannot register receive buffers: the load generator needs Linux 6.1")?;
        Ok(ring)
    }

    /// Puts a connection into the file table, where it stays open as long as the ring, and receives on it
    /// from now on.
    pub fn adopt(&mut self, slot: usize, connection: BorrowedFd<'_>) -> anyhow::Result<()> {
        let index = u32::try_from(slot).context("too many connections")?;
        let files = [connection.as_raw_fd()];
        self.uring.submitter().register_files_update(index, &files).context("cannot register a connection")?;
        self.receive(slot)
    }

    fn receive(&mut self, slot: usize) -> anyhow::Result<()> {
        let entry = opcode::RecvMulti::new(fixed(slot), GROUP).build();
        self.push(&[entry.user_data(Operation::Receive.user_data(slot))])
    }

    /// Sends all of `bytes` on a connection of the file table.
    pub fn send(&mut self, slot: usize, bytes: &'static [u8]) -> anyhow::Result<()> {
        let entry = opcode::Send::new(fixed(slot), bytes.as_ptr(), length(bytes)?).flags(SEND).build();
        self.push(&[entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(Operation::Send.user_data(slot))])
    }

    /// Connects a new socket to the server, sends `bytes`, and receives once.
    pub fn connect(&mut self, slot: usize, socket: BorrowedFd<'_>, bytes: &'static [u8]) -> anyhow::Result<()> {
        let fd = types::Fd(socket.as_raw_fd());
        let connect = opcode::Connect::new(fd, self.server.as_ptr().cast(), self.server.len()).build();
        let send = opcode::Send::new(fd, bytes.as_ptr(), length(bytes)?).flags(SEND).build();
        let linked = squeue::Flags::SKIP_SUCCESS | squeue::Flags::IO_LINK;
        self.push(&[
            connect.flags(linked).user_data(Operation::Connect.user_data(slot)),
            send.flags(linked).user_data(Operation::Send.user_data(slot)),
            receive_once(fd, slot),
        ])
    }

    /// Receives once on a socket that is not in the file table.
    pub fn receive_once(&mut self, slot: usize, socket: BorrowedFd<'_>) -> anyhow::Result<()> {
        self.push(&[receive_once(types::Fd(socket.as_raw_fd()), slot)])
    }

    /// Queues entries, all of them in one submission.
    fn push(&mut self, entries: &[squeue::Entry]) -> anyhow::Result<()> {
        // SAFETY: all an entry made here points to is never freed, nor changed while the kernel has it:
        // bytes to send and the address are constant, and a receive buffer is looked at only between
        // the completion that names it and `recycle`.
        if unsafe { self.uring.submission().push_multiple(entries) }.is_ok() {
            return Ok(());
        }
        self.submit()?;
        // SAFETY: as above.
        let pushed = unsafe { self.uring.submission().push_multiple(entries) };
        pushed.map_err(|_| anyhow!("the kernel takes no submissions"))
    }

    /// Submits what is queued and fetches completions. If there is nothing to do it spins for a short
    /// while, or sleeps for `longest` at most if it is to block. Returns whether it entered the kernel:
    /// only then there may be completions.
    pub fn turn(&mut self, longest: Duration) -> anyhow::Result<bool> {
        if self.is_blocking {
            let timeout = types::Timespec::from(longest);
            let arguments = types::SubmitArgs::new().timespec(&timeout);
            return entered(self.uring.submitter().submit_with_args(1, &arguments)).map(|()| true);
        }
        let has_business = self.spin();
        if has_business {
            self.submit()?;
        }
        Ok(has_business)
    }

    /// Waits a little for something to do.
    fn spin(&mut self) -> bool {
        let queue = self.uring.submission();
        let is_idle = |queue: &squeue::SubmissionQueue<'_>| !queue.taskrun() && !queue.cq_overflow();
        let mut spins = 0;
        while queue.is_empty() && is_idle(&queue) && spins < SPINS {
            std::hint::spin_loop();
            spins += 1;
        }
        let has_business = spins < SPINS;
        // All that dropping it would do is to store the tail, which has not changed, next to the flag. The
        // line of the cache would be the client's, and the server would have to fetch it to set the flag.
        std::mem::forget(queue);
        has_business
    }

    /// Submits what is queued, and runs the completions that wait in the kernel.
    fn submit(&mut self) -> anyhow::Result<()> {
        entered(self.uring.submit())
    }

    /// The next bytes that arrived. A connection that ended, and an operation that failed, is an error.
    pub fn next(&mut self) -> anyhow::Result<Option<Received>> {
        while let Some(entry) = self.next_completion() {
            let (operation, slot) = Operation::from_user_data(entry.user_data());
            let is_receive = matches!(operation, Operation::Receive | Operation::ReceiveOnce);
            let has_no_buffer = operation == Operation::Receive && -entry.result() == libc::ENOBUFS;
            if entry.result() < 0 && !has_no_buffer {
                let error = std::io::Error::from_raw_os_error(-entry.result());
                let action = match operation {
                    Operation::Receive | Operation::ReceiveOnce => "receive",
                    Operation::Send => "send",
                    Operation::Connect => "connect",
                };
                return Err(error).with_context(|| format!("connection {slot}: cannot {action}"));
            }
            if operation == Operation::Receive && entry.result() != 0 && !cqueue::more(entry.flags()) {
                self.receive(slot)?;
            }
            if !is_receive || has_no_buffer {
                continue;
            }
            let Some(buffer) = cqueue::buffer_select(entry.flags()).filter(|_| entry.result() > 0) else {
                bail!("connection {slot}: the server ended it too early");
            };
            return Ok(Some(Received { slot, buffer, len: entry.result().unsigned_abs() as usize }));
        }
        Ok(None)
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.uring.completion().next()
    }

    /// The bytes that arrived.
    pub fn bytes<'a>(&self, received: &'a Received) -> &'a [u8] {
        self.buffers.bytes(received)
    }

    /// Gives the buffer back to the kernel.
    pub fn recycle(&mut self, received: Received) {
        self.buffers.give(received.buffer);
    }
}

fn fixed(slot: usize) -> types::Fixed {
    types::Fixed(u32::try_from(slot).expect("as many as the table has places"))
}

fn length(bytes: &[u8]) -> anyhow::Result<u32> {
    u32::try_from(bytes.len()).context("too many bytes in a batch")
}

fn receive_once(fd: types::Fd, slot: usize) -> squeue::Entry {
    let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(GROUP).build();
    entry.flags(squeue::Flags::BUFFER_SELECT).user_data(Operation::ReceiveOnce.user_data(slot))
}

/// What came of entering the kernel. A signal, a time-out, and a kernel that is short of something for now
/// are no errors: the next turn tries again.
fn entered(result: std::io::Result<usize>) -> anyhow::Result<()> {
    match result {
        Err(error)
            if !matches!(
                error.raw_os_error(),
                Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY | libc::ENOMEM)
            ) =>
        {
            Err(error).context("io_uring_enter failed")
        }
        _ => Ok(()),
    }
}

#[repr(C, align(4096))]
struct Entries([types::BufRingEntry; BUFFERS as usize]);

/// The receive buffers, and the ring through which the kernel is given them.
struct Buffers {
    entries: *mut types::BufRingEntry,
    memory: *mut u8,
    /// Bytes of each.
    len: usize,
    tail: u16,
}

impl Buffers {
    /// Buffers of `len` bytes, all of them given to the kernel.
    fn new(len: usize) -> Buffers {
        // SAFETY: an entry is plain numbers, for which all zeros are valid.
        let entries: Box<Entries> = Box::new(unsafe { std::mem::zeroed() });
        let memory = vec![0; usize::from(BUFFERS) * (len + GAP)];
        let mut buffers =
            Buffers { entries: Box::into_raw(entries).cast(), memory: Vec::leak(memory).as_mut_ptr(), len, tail: 0 };
        (0..BUFFERS).for_each(|number| buffers.give(number));
        buffers
    }

    fn address(&self, number: u16) -> *mut u8 {
        assert!(number < BUFFERS, "there is no receive buffer {number}");
        self.memory.wrapping_add(usize::from(number) * (self.len + GAP))
    }

    fn give(&mut self, number: u16) {
        let address = self.address(number) as u64;
        let place = usize::from(self.tail % BUFFERS);
        // SAFETY: `place` is below BUFFERS, and free: there are no more buffers than places. The kernel
        // looks at it only after the store below.
        let entry = unsafe { &mut *self.entries.wrapping_add(place) };
        entry.set_addr(address);
        entry.set_len(u32::try_from(self.len).expect("at most 16 KiB"));
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: this is the ring's first entry, page-aligned and initialised.
        let tail = unsafe { types::BufRingEntry::tail(self.entries) };
        // SAFETY: the tail is a u16 inside of that entry, aligned, and `entry` is no longer used.
        let tail = unsafe { &*tail.cast::<AtomicU16>() };
        // Release: the entry is written before the kernel sees the new tail.
        tail.store(self.tail, Ordering::Release);
    }

    fn bytes<'a>(&self, received: &'a Received) -> &'a [u8] {
        assert!(received.len <= self.len, "the kernel stays within the buffer");
        // SAFETY: the range lies within one buffer, initialised and never freed. A `Received` is made only
        // out of the completion that names the buffer, so the kernel has it no longer, and it cannot be
        // given back while the slice borrows it.
        unsafe { std::slice::from_raw_parts(self.address(received.buffer), received.len) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    /// Connections that all have bytes to receive, and those bytes' senders.
    fn connections(ring: &mut Ring, number: usize) -> Vec<UnixStream> {
        let open = |slot| {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(&[slot as u8]).unwrap();
            ring.adopt(slot, theirs.as_fd()).unwrap();
            ours
        };
        (0..number).map(open).collect()
    }

    /// Turns the ring until this many receives have completed, and no longer than a second.
    fn receive(ring: &mut Ring, number: usize) -> Vec<Received> {
        let (start, mut all) = (Instant::now(), Vec::new());
        while all.len() < number && start.elapsed() < Duration::from_secs(1) {
            ring.turn(Duration::from_millis(1)).unwrap();
            all.extend(std::iter::from_fn(|| ring.next().unwrap()));
        }
        all
    }

    #[test]
    fn a_receive_that_found_no_buffer_goes_on_when_there_is_one() {
        let buffers = usize::from(BUFFERS);
        let mut ring = Ring::new("127.0.0.1:1".parse().unwrap(), buffers + 40, 64, true).unwrap();
        let _senders = connections(&mut ring, buffers + 40);
        let first = receive(&mut ring, buffers);
        assert_eq!(first.len(), buffers);
        let mut slots: Vec<_> = first.iter().map(|received| received.slot).collect();
        first.into_iter().for_each(|received| ring.recycle(received));
        slots.extend(receive(&mut ring, 40).iter().map(|received| received.slot));
        slots.sort_unstable();
        assert_eq!(slots, (0..buffers + 40).collect::<Vec<_>>());
    }

    #[test]
    fn received_bytes_stay_as_they_are_until_the_buffer_is_given_back() {
        let mut ring = Ring::new("127.0.0.1:1".parse().unwrap(), 2, 64, false).unwrap();
        let mut senders = connections(&mut ring, 2);
        let first = receive(&mut ring, 2);
        senders.iter_mut().for_each(|sender| sender.write_all(b"later").unwrap());
        let second = receive(&mut ring, 2);
        for received in &first {
            assert_eq!(ring.bytes(received), [received.slot as u8]);
        }
        assert!(second.len() == 2 && second.iter().all(|received| ring.bytes(received) == b"later"));
    }

    #[test]
    fn more_entries_than_the_queue_has_are_submitted_in_between() {
        let mut ring = Ring::new("127.0.0.1:1".parse().unwrap(), 1, 64, true).unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ring.adopt(0, theirs.as_fd()).unwrap();
        drop(theirs);
        let number = SUBMISSIONS as usize + 100;
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; number];
            std::io::Read::read_exact(&mut ours, &mut bytes).map(|()| bytes)
        });
        (0..number).for_each(|_| ring.send(0, b"x").unwrap());
        // Those that find the socket's buffer full wait in the ring, and go on in its turns.
        let start = Instant::now();
        while !reader.is_finished() && start.elapsed() < Duration::from_secs(5) {
            ring.turn(Duration::from_millis(1)).unwrap();
        }
        drop(ring);
        assert_eq!(reader.join().unwrap().unwrap(), vec![b'x'; number]);
    }
}
