//! The argument of recvmsg and sendmsg: a header that points to an address and to the bytes.

use std::rc::Rc;

use socket2::{SockAddr, SockAddrStorage};

/// The most bytes that one submission names. The kernel counts in an `int`, and cuts lengths above
/// `INT_MAX` rounded down to a page (MAX_RW_COUNT in linux/fs.h). It never cuts this power of two,
/// which is smaller. So a send that completes whole has sent everything it named.
pub(crate) const MOST: usize = 1 << 30;

/// The header, and the vector it points to. It does not move, and we read it only when the kernel
/// is done. It is in an `Rc`, because moving a `Box` would promise the compiler that nothing else
/// uses its memory.
#[repr(C)]
pub(crate) struct Message<V = [libc::iovec; 1]> {
    /// The first field, so that a pointer to the message is a pointer to the header.
    header: libc::msghdr,
    vector: V,
}

/// Bytes for an address of any kind.
pub(crate) const NAME_SIZE: usize = size_of::<SockAddrStorage>();

impl<V: AsMut<[libc::iovec]>> Message<V> {
    fn of_parts((name, name_len): (*const u8, usize), vector: V) -> Rc<Self> {
        // SAFETY: a msghdr consists of plain numbers and pointers, for which all zeros are valid.
        let header: libc::msghdr = unsafe { std::mem::zeroed() };
        let mut message = Rc::new(Message { header, vector });
        let Message { header, vector } = Rc::get_mut(&mut message).expect("just made");
        let vector = vector.as_mut();
        header.msg_name = name.cast_mut().cast();
        header.msg_namelen = name_len as libc::socklen_t;
        header.msg_iov = vector.as_mut_ptr();
        header.msg_iovlen = vector.iter().filter(|part| !part.iov_base.is_null()).count();
        message
    }

    pub(crate) fn as_ptr(self: &Rc<Self>) -> *mut libc::msghdr {
        Rc::as_ptr(self).cast_mut().cast()
    }
}

impl Message {
    /// Makes a message. `name` is the address of the other end, or the place where the kernel
    /// writes it.
    pub(crate) fn new(name: (*const u8, usize), (start, len): (*mut u8, usize)) -> Rc<Message> {
        Message::of_parts(name, [libc::iovec { iov_base: start.cast(), iov_len: len }])
    }

    /// Makes a message to receive into buffers that the kernel picks. The kernel writes the
    /// sender's address before the bytes.
    pub(crate) fn picked() -> Rc<Message> {
        Message::new((std::ptr::null(), NAME_SIZE), (std::ptr::null_mut(), 0))
    }

    /// Returns the length of the sender's address, after the receive.
    pub(crate) fn name_len(&self) -> u32 {
        self.header.msg_namelen
    }
}

/// Several buffers that are sent one after the other.
pub(crate) struct Gather {
    parts: Vec<libc::iovec>,
    message: Option<Rc<Message<Vec<libc::iovec>>>>,
}

/// The part of several buffers that one submission names.
pub(crate) struct Part {
    pub(crate) header: *mut libc::msghdr,
    pub(crate) vector: *const libc::iovec,
    /// Entries of `vector`.
    pub(crate) count: u32,
    /// Bytes in all entries.
    pub(crate) bytes: usize,
}

impl Gather {
    /// Stores where the bytes of the buffers lie. The buffers must not move.
    pub(crate) fn new<'a>(bytes: impl Iterator<Item = &'a [u8]>) -> Gather {
        let part = |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        Gather { parts: bytes.map(part).collect(), message: None }
    }

    /// Returns the number of bytes in all buffers.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.iov_len).sum()
    }

    /// Returns what comes after the first `sent` bytes, or as much of it as one submission can
    /// name: at most UIO_MAXIOV (1,024) buffers, and at most [`MOST`] bytes.
    pub(crate) fn after(&mut self, mut sent: usize) -> Part {
        let mut bytes = 0;
        let rest = self.parts.iter().map(|part| {
            let gone = sent.min(part.iov_len);
            sent -= gone;
            let len = (part.iov_len - gone).min(MOST - bytes);
            bytes += len;
            libc::iovec { iov_base: part.iov_base.wrapping_byte_add(gone), iov_len: len }
        });
        let rest: Vec<_> = rest.filter(|part| part.iov_len > 0).take(libc::UIO_MAXIOV as usize).collect();
        let count = rest.len() as u32; // at most UIO_MAXIOV
        let message = self.message.insert(Message::of_parts((std::ptr::null(), 0), rest));
        let bytes = message.vector.iter().map(|part| part.iov_len).sum();
        Part { header: message.as_ptr(), vector: message.vector.as_ptr(), count, bytes }
    }
}

/// Makes an address from the bytes that the kernel wrote.
pub(crate) fn sockaddr(bytes: &[u8]) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    let len = bytes.len().min(NAME_SIZE);
    // SAFETY: a storage is that long, and any bytes are valid in it.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut storage).cast(), len) };
    // SAFETY: the kernel wrote an address of this length, which begins with its family. The bytes
    // behind it are zero, which is valid in an address of any family.
    unsafe { SockAddr::new(storage, len as libc::socklen_t) }
}
