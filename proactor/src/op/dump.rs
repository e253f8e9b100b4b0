//! For tests: what we asked the kernel to do, in words.

use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd};

use super::{Accept, Connect, Kind, Operation, Read, RecvMultishot, RecvOnce, Send, Slots, State};

impl Slots {
    /// Lists each operation: what it is, its descriptor, its state, and whether a task waits for
    /// it.
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        for (key, Operation { state, kind, waker }) in self.table.iter() {
            if let State::Over(result) = state {
                let _ = writeln!(text, "operation {key:?} is over ({result}), and its future has not come for it");
                continue;
            }
            if *state == State::Idle {
                continue;
            }
            let (name, fd) = match kind {
                Kind::RecvMultishot(RecvMultishot { socket }) => {
                    ("receives again and again", socket.as_fd().as_raw_fd())
                }
                Kind::RecvOnce(RecvOnce { socket, .. }) => ("receives", socket.as_fd().as_raw_fd()),
                Kind::Accept(Accept { socket, .. }) => ("accepts", socket.as_fd().as_raw_fd()),
                Kind::Read(Read { socket, .. }) => ("reads", socket.as_fd().as_raw_fd()),
                Kind::Send(Send { socket, .. }) => ("sends", socket.as_ref().map_or(-1, |it| it.as_fd().as_raw_fd())),
                Kind::Spent(_) => ("is over", -1),
                Kind::Connect(Connect { socket, .. }) => ("connects", socket.as_fd().as_raw_fd()),
                Kind::Datagrams(receive) => ("receives datagrams", receive.socket.as_fd().as_raw_fd()),
                Kind::SendMessage(send) => ("sends a datagram", send.socket.as_fd().as_raw_fd()),
                Kind::Poll(fd) => ("waits until it is readable", fd.as_raw_fd()),
                Kind::File(request) => (request.name(), request.fd()),
            };
            let waiter = if waker.is_some() { "a task waits for it" } else { "no task waits for it itself" };
            let _ = writeln!(text, "operation {key:?} {name} on fd {fd}: {state:?}, {waiter}");
        }
        let _ = writeln!(text, "in the kernel: {}", self.in_kernel);
        text
    }
}
