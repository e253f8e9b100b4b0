//! A buffer that stops the kernel in the middle of a copy: its pages are missing, and whoever touches them waits
//! until they are let through. Made with userfaultfd(2).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use executor::{IoBuf, IoBufMut};

use crate::pages::{PAGE, map};

/// A buffer the kernel can't get done with as long as its [`Stall`] lives. It stays mapped for ever.
///
/// The program must not look at its bytes before that either: it would wait, too.
#[derive(Debug)]
pub struct StalledBuffer {
    start: NonNull<u8>,
    len: usize,
}

/// What holds everybody up who touches the buffer. Dropping it lets all of them go on, with zeros.
#[derive(Debug)]
pub struct Stall(OwnedFd);

// From linux/userfaultfd.h. The numbers are those of the machines with the generic layout of ioctl numbers (x86, arm,
// risc-v); elsewhere the kernel refuses them.
const API: u64 = 0xaa;
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00;
const MODE_MISSING: u64 = 1;

/// `struct uffdio_api`.
#[repr(C)]
struct Handshake {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Registration {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

impl Stall {
    /// A buffer of at least `len` bytes (whole pages), and what holds it up.
    ///
    /// # Errors
    /// Those of userfaultfd(2): mostly EPERM, because faults of the kernel's may be held up only with
    /// CAP_SYS_PTRACE, or where `vm.unprivileged_userfaultfd` is 1.
    pub fn new(len: usize) -> io::Result<(StalledBuffer, Stall)> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel just made this descriptor, and nobody else knows it.
        let stall = Stall(unsafe { OwnedFd::from_raw_fd(fd) });
        stall.ask(UFFDIO_API, &mut Handshake { api: API, features: 0, ioctls: 0 })?;
        let len = len.next_multiple_of(PAGE);
        let start = map(len)?;
        let (from, bytes) = (start.as_ptr() as u64, len as u64);
        let mut registration = Registration { start: from, len: bytes, mode: MODE_MISSING, ioctls: 0 };
        stall.ask(UFFDIO_REGISTER, &mut registration)?;
        Ok((StalledBuffer { start, len }, stall))
    }

    /// Whether somebody has touched the buffer, and waits.
    ///
    /// # Panics
    /// If the kernel doesn't say.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd that lives through the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        assert!(ready >= 0, "poll: {}", io::Error::last_os_error());
        poll.revents & libc::POLLIN != 0
    }

    fn ask<T>(&self, request: libc::Ioctl, argument: &mut T) -> io::Result<()> {
        // SAFETY: the argument is the structure the request takes, and lives through the call. What is
        // registered is a fresh mapping without pages, of which nobody has looked at a byte.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw mut *argument) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

// SAFETY: the bytes are the buffer's alone, whatever the thread.
unsafe impl Send for StalledBuffer {}

impl IoBuf for StalledBuffer {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` on are mapped and this buffer's alone, for ever. Who looks at them
        // waits until there are pages, with zeros.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl IoBufMut for StalledBuffer {
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; and it is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}
