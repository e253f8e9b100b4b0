//! Sets up a ring with what the kernel can do, and asks the kernel what that is.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use executor::Seam;
use io_uring::{IoUring, Probe, opcode, types};

use super::buffers::Group;
use super::message::Message;
use super::{ENTER_EXT_ARG, ENTER_NO_IOWAIT, ENTER_REGISTERED_RING, Ring};
use crate::calls::Call;
use crate::features::{Feature, Features};

// From linux/io_uring.h; the io-uring crate does not export them.
const REGISTER_RING_FDS: libc::c_long = 20;
pub(super) const UNREGISTER_RING_FDS: libc::c_long = 21;

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// The number of entries in the queues.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) submissions: u32,
    pub(crate) completions: u32,
}

impl Ring {
    /// Sets up a ring with everything `features` allows, and takes out what the kernel refuses. If
    /// it `is_disabled`, the ring runs nothing before it is restricted.
    pub(crate) fn new(seam: &Seam, size: Size, is_disabled: bool, features: &mut Features) -> io::Result<Ring> {
        let uring = loop {
            let mut builder = IoUring::builder();
            builder.setup_clamp().setup_cqsize(size.completions).dontfork();
            if is_disabled {
                builder.setup_r_disabled();
            }
            if features.has(Feature::DeferTaskrun) {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
            }
            if features.has(Feature::SubmitAll) {
                builder.setup_submit_all();
            }
            if features.has(Feature::NoSqArray) {
                builder.setup_no_sqarray();
            }
            match seam.pass(Call::Setup as usize).and_then(|_| builder.build(size.submissions)) {
                // For an unknown flag, an older kernel only says EINVAL: leave out the newest, and
                // try again.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    let newest_first = [Feature::NoSqArray, Feature::DeferTaskrun, Feature::SubmitAll];
                    let Some(newest) = newest_first.into_iter().find(|feature| features.has(*feature)) else {
                        return Err(error);
                    };
                    features.remove(newest);
                }
                other => break other?,
            }
        };
        let mut ring = Ring {
            enter_fd: uring.as_raw_fd(),
            enter_flags: ENTER_EXT_ARG,
            trial: None,
            uring,
            #[cfg(feature = "faults")]
            faults: super::faults::Faults::default(),
        };
        if !ring.uring.params().is_feature_no_iowait() {
            features.remove(Feature::NoIowait);
        }
        if !ring.uring.params().is_feature_skip_cqe_on_success() {
            features.remove(Feature::QuietSend);
        }
        if features.has(Feature::NoIowait) {
            ring.enter_flags |= ENTER_NO_IOWAIT;
        }
        if features.has(Feature::RegisteredRing) && ring.register_itself(seam).is_err() {
            features.remove(Feature::RegisteredRing);
        }
        Ok(ring)
    }

    /// Registers the ring, so that the kernel need not look up the descriptor at each enter. The
    /// index belongs to the thread, which has sixteen of them, and keeps the ring alive until it is
    /// given back.
    fn register_itself(&mut self, seam: &Seam) -> io::Result<()> {
        seam.pass(Call::Register as usize)?;
        let index = self.change_registration(REGISTER_RING_FDS, u32::MAX)?;
        self.enter_fd = RawFd::try_from(index).expect("a small index");
        self.enter_flags |= ENTER_REGISTERED_RING;
        Ok(())
    }

    fn change_registration(&self, change: libc::c_long, index: u32) -> io::Result<u32> {
        let fd = self.uring.as_raw_fd();
        let data = if change == REGISTER_RING_FDS { u64::try_from(fd).expect("a descriptor") } else { 0 };
        let mut update = ResourceUpdate { offset: index, reserved: 0, data };
        // SAFETY: `update` is one io_uring_rsrc_update that lives through the call.
        let done = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, change, &raw mut update, 1) };
        if done == 1 { Ok(update.offset) } else { Err(io::Error::last_os_error()) }
    }

    /// Asks the kernel which operations it knows.
    pub(crate) fn probe(&self, seam: &Seam) -> io::Result<Probe> {
        seam.pass(Call::Register as usize)?;
        let mut probe = Probe::new();
        self.uring.submitter().register_probe(&mut probe)?;
        Ok(probe)
    }

    /// Returns whether an enter can have a time-out. Nothing works without it.
    pub(crate) fn has_ext_arg(&self) -> bool {
        self.uring.params().is_feature_ext_arg()
    }

    /// Returns whether the kernel keeps completions that find the queue full. Nothing is safe
    /// without it.
    pub(crate) fn has_nodrop(&self) -> bool {
        self.uring.params().is_feature_nodrop()
    }

    /// Accepts again and again.
    pub(crate) fn accept_again(&mut self, fd: BorrowedFd<'_>, name: u64) -> bool {
        let entry = opcode::AcceptMulti::new(types::Fd(fd.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
        self.push_plain(entry.build(), name)
    }

    /// Receives again and again, into buffers of the registered ring.
    pub(crate) fn receive_again(&mut self, fd: BorrowedFd<'_>, name: u64) -> bool {
        let entry = opcode::RecvMulti::new(types::Fd(fd.as_raw_fd()), Group::Streams as u16);
        self.push_plain(entry.build(), name)
    }

    /// Starts to receive datagrams again and again, into buffers of the registered ring, as a
    /// trial. The ring keeps the header until [`end_trial`](Self::end_trial), because the kernel
    /// may read it until then.
    pub(crate) fn try_receiving_messages(&mut self, fd: BorrowedFd<'_>, name: u64) -> bool {
        let message = self.trial.insert(Message::picked());
        let entry = opcode::RecvMsgMulti::new(types::Fd(fd.as_raw_fd()), message.as_ptr(), Group::Datagrams as u16);
        // SAFETY: the header stays where it is until `end_trial`. If the ring is dropped before
        // that, the header is leaked.
        unsafe { self.push(&entry.build().user_data(name)) }
    }

    /// Ends the trial: what was tried has had its final completion.
    pub(crate) fn end_trial(&mut self) {
        self.trial = None;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Closing the ring does not end operations in flight.
        std::mem::forget(self.trial.take());
        if self.enter_flags & ENTER_REGISTERED_RING != 0 {
            let index = self.enter_fd.unsigned_abs();
            // Give the index back; otherwise the thread would run out of them. If this fails, later
            // rings do without one.
            let _ = self.change_registration(UNREGISTER_RING_FDS, index);
        }
    }
}
