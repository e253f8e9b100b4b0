//! Rung 11, `sigio`: the kernel sends a signal when something happens to a socket.
//!
//! Shows: signal-driven I/O, on TCP and on UDP. A plain SIGIO says neither which socket it is about nor how many times it
//! came, so each socket is told to send a real-time signal instead, which queues and carries the descriptor. The queue is
//! bounded: when it is full the kernel sends a plain SIGIO, and all sockets have to be looked at. The signals are read
//! from a signalfd, for a handler may do next to nothing. On UDP one signal means one datagram. On TCP signals also come
//! for what nobody asked about, such as acknowledgements, which is why nobody does it that way.
//!
//! See it: `demos models serve sigio --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000` and `nc -u 127.0.0.1 7000`, and
//! `strace -p $(pgrep -n demos)`: reads of signals.
//!
//! What is next: the kernel could do the waiting and the work. `uring-polls` starts with the waiting.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use demos::udp::Echoes;
use libc::signalfd_siginfo;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::SocketFlags;

use super::connection::{Connection, Scratch, Step};
use super::counters::Call;
use super::hall::{Guest, Hall};
use super::service::{BUFFER, Service};
use crate::log;

/// Signals taken at a time.
const SIGNALS: usize = 64;
/// Steps of one connection in a row, and datagrams.
const STEPS: usize = 16;

// From asm-generic/fcntl.h; the libc crate does not have them for every C library.
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const F_OWNER_TID: libc::c_int = 0;

/// `struct f_owner_ex`.
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    id: libc::pid_t,
}

pub fn run(hall: &Hall) -> io::Result<()> {
    Server::new(hall)?.run()
}

struct Server<'a> {
    hall: &'a Hall,
    /// The real-time signal.
    signal: libc::c_int,
    signals: OwnedFd,
    udp: Option<UdpSocket>,
    echoes: Echoes,
    connections: BTreeMap<RawFd, Connection>,
    /// Descriptors that have more to do. No signal will name them.
    unfinished: Vec<RawFd>,
    scratch: Scratch,
}

impl<'a> Server<'a> {
    fn new(hall: &'a Hall) -> io::Result<Server<'a>> {
        hall.listener.set_nonblocking(true)?;
        let signal = libc::SIGRTMIN() + 1;
        let signals = open_signals(&[libc::SIGIO, signal])?;
        let udp = open_udp(hall)?;
        let (connections, unfinished) = (BTreeMap::new(), Vec::new());
        let server = Server {
            hall,
            signal,
            signals,
            udp,
            echoes: Echoes::default(),
            connections,
            unfinished,
            scratch: Scratch::new(),
        };
        server.arm(&hall.listener)?;
        server.arm(&*hall.stop)?;
        if let Some(udp) = &server.udp {
            server.arm(udp)?;
        }
        Ok(server)
    }

    /// Has a socket send our signal to this thread, from now on.
    fn arm(&self, socket: &impl AsFd) -> io::Result<()> {
        let fd = socket.as_fd().as_raw_fd();
        for _ in 0..4 {
            self.hall.counters.call(Call::Fcntl);
        }
        // SAFETY: this command takes a number.
        result(unsafe { libc::fcntl(fd, F_SETSIG, self.signal) })?;
        let owner = Owner { kind: F_OWNER_TID, id: rustix::thread::gettid().as_raw_nonzero().get() };
        // SAFETY: this command reads one `f_owner_ex`, and is done with it when it returns.
        result(unsafe { libc::fcntl(fd, F_SETOWN_EX, &raw const owner) })?;
        Ok(fcntl_setfl(socket, fcntl_getfl(socket)? | OFlags::from_bits_retain(libc::O_ASYNC.cast_unsigned()))?)
    }

    fn run(mut self) -> io::Result<()> {
        self.hall.ready()?;
        // What came before the sockets were armed was not announced.
        let mut due = self.all();
        while !self.hall.stop.is_asked() {
            due.sort_unstable();
            due.dedup();
            for fd in due {
                self.serve(fd)?;
            }
            due = std::mem::take(&mut self.unfinished);
            if due.is_empty() {
                due = self.wait()?;
            }
        }
        Ok(())
    }

    fn all(&self) -> Vec<RawFd> {
        let udp = self.udp.as_ref().map(AsRawFd::as_raw_fd);
        self.connections.keys().copied().chain(udp).chain([self.hall.listener.as_raw_fd()]).collect()
    }

    /// Sleeps until there are signals; returns the descriptors they name. Some may be closed meanwhile, or be other
    /// sockets by now: then there is nothing to do for them, and no harm in looking.
    fn wait(&self) -> io::Result<Vec<RawFd>> {
        const SIZE: usize = size_of::<signalfd_siginfo>();
        let mut bytes = [0; SIGNALS * SIZE];
        self.hall.counters.call(Call::Read);
        let count = match rustix::io::read(&self.signals, &mut bytes) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut due = Vec::new();
        for bytes in bytes[..count].chunks_exact(SIZE) {
            // SAFETY: so many bytes have a valid value of this type, which is made of numbers only.
            let signal = unsafe { bytes.as_ptr().cast::<signalfd_siginfo>().read_unaligned() };
            if signal.ssi_signo.cast_signed() == self.signal {
                due.push(signal.ssi_fd);
            } else {
                // SIGIO itself: the queue was full, and signals were lost.
                due.extend(self.all());
            }
        }
        Ok(due)
    }

    fn serve(&mut self, fd: RawFd) -> io::Result<()> {
        if fd == self.hall.listener.as_raw_fd() {
            return self.welcome();
        }
        let moved_on = match (&self.udp, self.connections.get_mut(&fd)) {
            (Some(udp), _) if udp.as_raw_fd() == fd => {
                let mut datagrams =
                    std::iter::repeat_with(|| echo_datagram(self.hall, udp, &mut self.echoes)).take(STEPS);
                datagrams.any(|was_there| !was_there)
            }
            (_, Some(connection)) => {
                let steps = std::iter::repeat_with(|| connection.step(self.hall, &mut self.scratch));
                let stuck = steps.take(STEPS).find(|step| *step != Step::Moved);
                if stuck == Some(Step::Over) {
                    self.connections.remove(&fd);
                }
                stuck.is_some()
            }
            _ => true,
        };
        if !moved_on {
            self.unfinished.push(fd);
        }
        Ok(())
    }

    /// Lets in all who wait, for the next one is announced only when it comes.
    fn welcome(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.hall.accept(self.connections.len(), SocketFlags::NONBLOCK)? {
                Guest::Welcome(stream) => stream,
                Guest::Refused => continue,
                Guest::Nobody => return Ok(()),
            };
            self.arm(&stream)?;
            let fd = stream.as_raw_fd();
            self.connections.insert(fd, Connection::new(stream));
            // It may have spoken before it was armed.
            self.unfinished.push(fd);
        }
    }
}

/// A socket for datagrams on the same port, for the echo. If another program has that port, there is none.
fn open_udp(hall: &Hall) -> io::Result<Option<UdpSocket>> {
    if hall.service != Service::Echo {
        return Ok(None);
    }
    match UdpSocket::bind(hall.listener.local_addr()?) {
        Ok(udp) => {
            udp.set_nonblocking(true)?;
            Ok(Some(udp))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            log::say("demos: another program has that UDP port, so this serves TCP only");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Sends a datagram back to where it came from. Returns whether there was one.
fn echo_datagram(hall: &Hall, udp: &UdpSocket, echoes: &mut Echoes) -> bool {
    let mut buffer = [0; BUFFER];
    hall.counters.call(Call::Recv);
    match udp.recv_from(&mut buffer) {
        // Another server like this one, it seems.
        Ok((count, peer)) if echoes.is_echo(peer, &buffer[..count], &buffer[..count]) => true,
        Ok((count, peer)) => {
            hall.counters.call(Call::Send);
            // Datagrams may get lost, this one, too.
            let _ = udp.send_to(&buffer[..count], peer);
            true
        }
        // An error that an earlier datagram met is reported here, and is over with that.
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Has these signals wait in a queue, to be read. Only this thread is sent any.
fn open_signals(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: it writes an empty set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: it was just written.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: it changes a set that is valid.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    // SAFETY: it reads the set, and the old one is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    // SAFETY: it reads the set; -1 asks for a new descriptor.
    let fd = result(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) })?;
    // SAFETY: it is new, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn result(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}
