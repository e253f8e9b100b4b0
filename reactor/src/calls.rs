//! The system calls that pass the [`Seam`](executor::Seam), by the names that strace prints.

/// The calls, in the order of [`NAMES`].
#[derive(Clone, Copy)]
pub(crate) enum Call {
    EpollCreate1,
    EpollCtl,
    EpollPwait2,
    EpollWait,
    Eventfd2,
    Socket,
    Bind,
    Listen,
    Recv,
    Send,
    Sendmsg,
    Accept,
    Connect,
    Shutdown,
    Close,
    Read,
    /// Other threads make this call too; they can't reach the seam.
    Write,
    Writev,
}

pub(crate) const NAMES: &[&str] = &[
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd2",
    "socket",
    "bind",
    "listen",
    "recvfrom",
    "sendto",
    "sendmsg",
    "accept4",
    "connect",
    "shutdown",
    "close",
    "read",
    "write",
    "writev",
];
