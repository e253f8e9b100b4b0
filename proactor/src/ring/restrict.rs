//! A ring for sockets and nothing else.

use std::io;

use executor::Seam;
use io_uring::register::Restriction;
use io_uring::squeue;

use super::Ring;
use super::setup::UNREGISTER_RING_FDS;
use crate::calls::{Call, FOR_SOCKETS, OPERATIONS};

impl Ring {
    /// Enables a disabled ring, and restricts it to what sockets need, for as long as it lives.
    pub(crate) fn restrict_to_sockets(&self, seam: &Seam) -> io::Result<()> {
        seam.pass(Call::Register as usize)?;
        self.uring.submitter().register_restrictions(&mut for_sockets())?;
        seam.pass(Call::Register as usize)?;
        self.uring.submitter().register_enable_rings()
    }
}

/// Lists what is allowed: requests, their flags, and three registrations that give no power over
/// anything. A runtime that is driven from a foreign loop registers its eventfd late, and every
/// runtime gives its registered ring back at its end.
fn for_sockets() -> Vec<Restriction> {
    // From linux/io_uring.h; the io-uring crate does not export them.
    const REGISTER_EVENTFD: u8 = 4;
    const UNREGISTER_EVENTFD: u8 = 5;
    let flags = squeue::Flags::SKIP_SUCCESS | squeue::Flags::BUFFER_SELECT;
    let changes = [REGISTER_EVENTFD, UNREGISTER_EVENTFD, UNREGISTER_RING_FDS as u8];
    let requests = OPERATIONS[..FOR_SOCKETS].iter().map(|(code, _)| Restriction::sqe_op(*code));
    let flags = Restriction::sqe_flags_allowed(flags.bits());
    requests.chain([flags]).chain(changes.map(Restriction::register_op)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use io_uring::{opcode, squeue, types};

    use super::super::setup::Size;
    use super::*;
    use crate::calls::NAMES;
    use crate::features::Features;
    use crate::ring::probe;

    #[test]
    fn a_restricted_ring_refuses_what_sockets_do_not_need() {
        let mut features = Features::ALL;
        let seam = Seam::new(NAMES);
        // Where io_uring is closed, there is nothing to restrict.
        let Ok((mut ring, buffers)) =
            probe::ring::<()>(&seam, Size { submissions: 8, completions: 8 }, true, &mut features)
        else {
            return;
        };
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let mut byte = [0u8];
        let fd = types::Fd(file.as_raw_fd());
        let linked = opcode::PollAdd::new(fd, 1).build().flags(squeue::Flags::IO_LINK);
        let forbidden = [
            opcode::Nop::new().build(),
            opcode::Read::new(fd, byte.as_mut_ptr(), 1).build(),
            opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), c"/".as_ptr()).build(),
            opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build(),
            opcode::Close::new(fd).build(),
            linked,
        ];
        for (name, entry) in (1..).zip(forbidden) {
            // SAFETY: everything the entries point to lives until the end of the test, and each
            // completes in this round.
            assert!(unsafe { ring.push(&entry.user_data(name)) });
            while !ring.has_completions() {
                ring.enter(&seam, None).unwrap();
            }
            let completion = ring.pop().unwrap();
            assert_eq!((completion.user_data, completion.result), (name, -libc::EACCES));
        }
        assert_eq!(byte, [0]);
        let error = ring.probe(&seam).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES), "nothing can be registered any more");
        assert!(ring.poll(file.as_fd(), false, 9), "what is allowed still goes");
        while !ring.has_completions() {
            ring.enter(&seam, None).unwrap();
        }
        // A file can't be polled, or is always ready.
        assert_ne!(ring.pop().unwrap().result, -libc::EACCES);
        drop(ring);
        drop(buffers);
    }
}
