//! For tests: what the kernel was asked to do, in words.

use std::fmt::Write;
use std::os::fd::AsRawFd;

use super::{Kind, Operations};

impl Operations {
    /// Each operation: what it is, on which descriptor, its state, and whether somebody waits for it.
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        for (key, operation) in self.table.iter() {
            let (name, fd) = match &operation.kind {
                Kind::RecvMultishot { socket } => ("receives again and again", socket.fd.as_raw_fd()),
                Kind::RecvOnce { socket, .. } => ("receives", socket.fd.as_raw_fd()),
                Kind::Accept { socket, .. } => ("accepts", socket.fd.as_raw_fd()),
                Kind::Read { socket, .. } => ("reads", socket.fd.as_raw_fd()),
                Kind::Send { socket, .. } => ("sends", socket.fd.as_raw_fd()),
                Kind::Connect { socket, .. } => ("connects", socket.fd.as_raw_fd()),
                Kind::Datagrams(receive) => ("receives datagrams", receive.socket.fd.as_raw_fd()),
                Kind::SendMessage(send) => ("sends a datagram", send.socket.fd.as_raw_fd()),
                Kind::Poll(fd) => ("waits until it is readable", fd.as_raw_fd()),
                Kind::File(request) => (request.name(), request.fd()),
            };
            let waiter = if operation.waker.is_some() { "a task waits for it" } else { "no task waits for it itself" };
            let _ = writeln!(text, "operation {key:?} {name} on fd {fd}: {:?}, {waiter}", operation.state);
        }
        let _ = writeln!(text, "in the kernel: {}, to be pushed: {}", self.in_kernel, self.backlog.len());
        text
    }
}
