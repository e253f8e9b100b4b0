//! Everything that passes the [`Seam`](executor::Seam): the system calls, by the names that strace
//! prints, and, for tests, each operation on its way to the kernel.

use io_uring::opcode;

/// The calls and operations, in the order of [`NAMES`].
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Setup,
    Register,
    Enter,
    Eventfd2,
    Socket,
    Bind,
    Listen,
    Shutdown,
    Close,
    Read,
}

/// The operations: first those of sockets, sleeps and wakes, then those of files. They pass the
/// seam only in builds for tests.
pub(crate) const OPERATIONS: [(u8, &str); 12] = [
    (opcode::Accept::CODE, "op_accept"),
    (opcode::Connect::CODE, "op_connect"),
    (opcode::Recv::CODE, "op_recv"),
    (opcode::Send::CODE, "op_send"),
    (opcode::RecvMsg::CODE, "op_recvmsg"),
    (opcode::SendMsg::CODE, "op_sendmsg"),
    (opcode::PollAdd::CODE, "op_poll"),
    (opcode::AsyncCancel::CODE, "op_cancel"),
    (opcode::Read::CODE, "op_read"),
    (opcode::Write::CODE, "op_write"),
    (opcode::Writev::CODE, "op_writev"),
    (opcode::Fsync::CODE, "op_fsync"),
];
/// The number of operations that are not for files.
pub(crate) const FOR_SOCKETS: usize = 8;
/// The system calls. Other threads make the last ones; they can't reach the seam.
const CALLS: [&str; 11] = [
    "io_uring_setup",
    "io_uring_register",
    "io_uring_enter",
    "eventfd2",
    "socket",
    "bind",
    "listen",
    "shutdown",
    "close",
    "read",
    "write",
];

pub(crate) const NAMES: &[&str] = &{
    let mut names = [""; CALLS.len() + OPERATIONS.len()];
    let mut place = 0;
    while place < names.len() {
        names[place] = if place < CALLS.len() { CALLS[place] } else { OPERATIONS[place - CALLS.len()].1 };
        place += 1;
    }
    names
};

/// Returns the place of an operation among the [`NAMES`].
#[cfg(feature = "faults")]
pub(crate) fn place_of_operation(code: u32) -> Option<usize> {
    OPERATIONS.iter().position(|(known, _)| u32::from(*known) == code).map(|place| CALLS.len() + place)
}
