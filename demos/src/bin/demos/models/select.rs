//! Rung 6, `select`: one call asks about all sockets, and sleeps until one is ready.
//!
//! Shows: the first demultiplexer. The sets go into the kernel as 1,024 bits each and come back changed, so they are made
//! anew for each call, and read in full after it: the work grows with the number of connections, not with what happens.
//! And a descriptor above 1,023 has no bit. Programs that set it all the same write over their own memory; this one
//! refuses such a client and says why.
//!
//! See it: `demos models serve select --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`. And
//! `python3 -c 'import socket; s=[socket.create_connection(("127.0.0.1",7000)) for _ in range(1025)]; print(s[-1].recv(99))'`
//! (after `ulimit -n 4096`).
//!
//! What is next: `poll`, which has no such limit.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use rustix::net::SocketFlags;

use super::connection::{Connection, Scratch, Step};
use super::counters::Call;
use super::hall::{Guest, Hall};

pub fn run(hall: &Hall) -> io::Result<()> {
    hall.listener.set_nonblocking(true)?;
    check(hall)?;
    hall.ready()?;
    let mut scratch = Scratch::new();
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let (mut read, mut write) = (FdSet::new(), FdSet::new());
        read.insert(hall.stop.as_fd());
        read.insert(hall.listener.as_fd());
        for connection in &connections {
            let set = if connection.wants_to_send() { &mut write } else { &mut read };
            set.insert(connection.as_fd());
        }
        hall.counters.call(Call::Select);
        match select(None, &mut read, &mut write, None, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if read.contains(hall.stop.as_fd()) {
            return Ok(());
        }
        let has_guest = read.contains(hall.listener.as_fd());
        // The sets borrow the sockets, so that none is closed while its bit is in use.
        let is_ready = |connection: &Connection| {
            let socket = connection.as_fd();
            read.contains(socket) || write.contains(socket)
        };
        let ready: Vec<bool> = connections.iter().map(is_ready).collect();
        let mut ready = ready.into_iter();
        connections
            .retain_mut(|connection| ready.next() != Some(true) || connection.step(hall, &mut scratch) != Step::Over);
        if has_guest {
            welcome(hall, &mut connections)?;
        }
    }
}

/// Refuses to start where select cannot see what belongs to the server itself.
fn check(hall: &Hall) -> io::Result<()> {
    let own = [hall.stop.as_fd().as_raw_fd(), hall.listener.as_raw_fd()];
    match own.into_iter().find(|number| !is_visible(number)) {
        Some(number) => Err(io::Error::other(format!(
            "{}, and one of the server's own is {number}: start it with fewer files open, or choose another rung, such as \
             poll",
            what_is_seen()
        ))),
        None => Ok(()),
    }
}

/// Lets in all who wait, if select can see them.
fn welcome(hall: &Hall, connections: &mut Vec<Connection>) -> io::Result<()> {
    while let Guest::Welcome(stream) = hall.accept(connections.len(), SocketFlags::NONBLOCK)? {
        if is_visible(&stream) {
            connections.push(Connection::new(stream));
            continue;
        }
        let number = stream.as_raw_fd();
        hall.refuse(&stream, &format!("{}, and this one would be {number}", what_is_seen()));
    }
    Ok(())
}

fn what_is_seen() -> String {
    format!("select(2) sees descriptors 0 to {} only", FD_SETSIZE - 1)
}

fn is_visible(file: &impl AsRawFd) -> bool {
    usize::try_from(file.as_raw_fd()).is_ok_and(|number| number < FD_SETSIZE)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::Arc;

    use super::super::counters::Counters;
    use super::super::service::Service;
    use super::super::stop::Stop;
    use super::*;

    #[test]
    fn a_server_that_select_cannot_see_does_not_start() {
        crate::descriptors::raise_open_files();
        if crate::descriptors::open_files() <= FD_SETSIZE {
            eprintln!("not tested: so many files may not be open here");
            return;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let hidden = rustix::io::fcntl_dupfd_cloexec(&listener, FD_SETSIZE as i32).unwrap();
        let hall = Hall {
            name: "select",
            service: Service::Echo,
            listener: Arc::new(hidden.into()),
            limit: 1,
            counters: Counters::new().unwrap(),
            stop: Arc::new(Stop::new().unwrap()),
        };
        let error = run(&hall).unwrap_err().to_string();
        assert!(error.contains("select(2) sees descriptors 0 to 1023 only"), "{error}");
    }
}
