//! What recvmsg and sendmsg are told by: a header that points to an address and to the bytes.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;

use io_uring::{opcode, types};
use socket2::{SockAddr, SockAddrStorage};

use super::{BufferRing, Ring};

/// The header, and the vector it points to. It doesn't move, and is looked at only when the kernel is done. (`Rc`, because
/// moving a `Box` would promise the compiler that nobody else uses its memory.)
#[repr(C)]
pub(crate) struct Message {
    /// First, so that a pointer to this is one to the header.
    header: libc::msghdr,
    vector: libc::iovec,
}

/// Bytes for an address of any kind.
pub(crate) const NAME_SIZE: usize = size_of::<SockAddrStorage>();

impl Message {
    /// The name is the address of the other end, or where it is to be put.
    pub(crate) fn new((name, name_len): (*const u8, usize), (start, len): (*mut u8, usize)) -> Rc<Message> {
        // SAFETY: a msghdr is plain numbers and pointers, for which all zeros are valid.
        let header: libc::msghdr = unsafe { std::mem::zeroed() };
        let mut message = Rc::new(Message { header, vector: libc::iovec { iov_base: start.cast(), iov_len: len } });
        let Message { header, vector } = Rc::get_mut(&mut message).expect("just made");
        header.msg_name = name.cast_mut().cast();
        header.msg_namelen = name_len as libc::socklen_t;
        header.msg_iov = vector;
        header.msg_iovlen = (!start.is_null()).into();
        message
    }

    /// To receive into buffers that the kernel picks, the sender's address ahead of the bytes.
    pub(crate) fn picked() -> Rc<Message> {
        Message::new((std::ptr::null(), NAME_SIZE), (std::ptr::null_mut(), 0))
    }

    pub(crate) fn as_ptr(self: &Rc<Self>) -> *mut libc::msghdr {
        Rc::as_ptr(self).cast_mut().cast()
    }

    /// The length of the sender's address, after the receive.
    pub(crate) fn name_len(&self) -> u32 {
        self.header.msg_namelen
    }
}

/// An address, of which the kernel wrote these bytes.
pub(crate) fn sockaddr(bytes: &[u8]) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    let len = bytes.len().min(NAME_SIZE);
    // SAFETY: a storage is that long, and any bytes are valid in it.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut storage).cast(), len) };
    // SAFETY: all of it is initialised.
    unsafe { SockAddr::new(storage, len as libc::socklen_t) }
}

impl Ring {
    /// Receives datagrams again and again, into buffers of the registered ring.
    pub(crate) fn receive_messages_again(&mut self, fd: BorrowedFd<'_>, message: &Rc<Message>, name: u64) -> bool {
        let entry = opcode::RecvMsgMulti::new(types::Fd(fd.as_raw_fd()), message.as_ptr(), BufferRing::GROUP);
        self.push_plain(entry.build(), name)
    }
}
