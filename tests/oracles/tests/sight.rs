//! Goal: the oracles see: a kernel write into memory that was given back is found, whoever owned it, and nothing
//! else is taken for one.
//!
//! Method: a bare ring, without a runtime that would keep the buffers alive, receives into buffers that are
//! dropped before the bytes come. The same with buffers that live long enough, which is no finding.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use executor::{IoBuf, IoBufMut};
use io_uring::{IoUring, opcode, types};
use oracles::{Corruption, PageBuffer, Quarantine, Report, Stall, inspect, touched};

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

/// The oracles look at the whole process, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A receive under way; `None` where there is no io_uring, and no kernel that could write anything.
struct Planted {
    ring: IoUring,
    _socket: UnixStream,
    peer: UnixStream,
}

impl Planted {
    fn new(buffer: &mut impl IoBufMut) -> Option<Planted> {
        let mut ring = match IoUring::new(8) {
            Ok(ring) => ring,
            Err(error) => {
                println!("SKIPPED: no io_uring here: {error}");
                return None;
            }
        };
        let (socket, peer) = UnixStream::pair().unwrap();
        let bytes = buffer.bytes_mut();
        let len = u32::try_from(bytes.len()).unwrap();
        let entry = opcode::Recv::new(types::Fd(socket.as_raw_fd()), bytes.as_mut_ptr(), len).build();
        // SAFETY: this is the crime these tests are about: the buffer may be gone before the operation is over.
        // Its memory is then in quarantine, or mapped for ever, so nobody but the oracles is harmed.
        unsafe { ring.submission().push(&entry) }.unwrap();
        ring.submit().unwrap();
        Some(Planted { ring, _socket: socket, peer })
    }

    /// Has the kernel write, and returns how much.
    fn fire(mut self, bytes: &[u8]) -> i32 {
        self.peer.write_all(bytes).unwrap();
        self.ring.submit_and_wait(1).unwrap();
        self.ring.completion().next().unwrap().result()
    }
}

#[test]
fn a_write_into_freed_heap_is_found_once() {
    let _alone = alone();
    let before = inspect().corrupted;
    for size in [3000, 100, 64, 7, 1 << 20] {
        let mut buffer = vec![0u8; size];
        let Some(planted) = Planted::new(&mut buffer) else { return };
        drop(buffer);
        let found = inspect().corrupted;
        assert_eq!(planted.fire(b"evil"), 4);
        let report = inspect();
        assert_eq!(report.corrupted, found + 1);
        assert_eq!(report.last, Some(Corruption { size, offset: 0, byte: b'e' }));
        assert_eq!(inspect().corrupted, found + 1, "once");
    }
    assert_eq!(inspect().corrupted, before + 5);
}

#[test]
fn a_write_is_found_when_the_block_leaves_the_quarantine() {
    let _alone = alone();
    let before = inspect().corrupted;
    let mut buffer = vec![0u8; 3000];
    let Some(planted) = Planted::new(&mut buffer) else { return };
    drop(buffer);
    assert_eq!(planted.fire(b"\xdd\xddevil"), 6);
    // As many others as it takes to push it out; the quarantine stays within its bounds.
    for _ in 0..1 << 16 {
        drop(vec![0u8; 100]);
    }
    let report = inspect();
    assert_eq!(report.corrupted, before + 1);
    assert_eq!(report.last, Some(Corruption { size: 3000, offset: 2, byte: b'e' }));
    for _ in 0..6 {
        drop(vec![0u8; 100 << 20]);
    }
    let Report { blocks, bytes, .. } = inspect();
    assert!(blocks <= 1 << 16 && bytes <= 512 << 20, "{blocks} blocks, {bytes} bytes");
}

#[test]
fn a_buffer_that_lives_long_enough_is_no_finding() {
    let _alone = alone();
    let (heap, pages) = (inspect().corrupted, touched());
    let (mut vec, mut page) = (vec![0u8; 3000], PageBuffer::new(3000));
    let Some(planted) = Planted::new(&mut vec) else { return };
    assert_eq!(planted.fire(b"good"), 4);
    assert_eq!(&vec[..5], b"good\0");
    let planted = Planted::new(&mut page).unwrap();
    assert_eq!(planted.fire(b"good"), 4);
    assert_eq!(&page.bytes()[..5], b"good\0");
    drop((vec, page));
    assert_eq!((inspect().corrupted, touched()), (heap, pages));
}

#[test]
fn a_write_into_a_dropped_page_buffer_is_found_once() {
    let _alone = alone();
    let before = touched();
    let mut buffer = PageBuffer::new(3 * 4096);
    buffer.bytes_mut().fill(1);
    let address = buffer.bytes().as_ptr();
    let Some(planted) = Planted::new(&mut buffer) else { return };
    drop(buffer);
    assert_eq!(touched(), before, "dropped, but not touched");
    // Its addresses are nobody else's from now on, however many buffers there are.
    let others: Vec<_> = (0..1000).map(|_| PageBuffer::new(4096)).collect();
    assert!(others.iter().all(|other| other.bytes().as_ptr() > address));
    assert_eq!(planted.fire(&[7; 5000]), 5000);
    assert_eq!(touched(), before + 2, "two pages of three");
    assert_eq!(touched(), 0, "once");
}

#[test]
fn pages_are_watched_until_many_others_were_dropped() {
    let _alone = alone();
    let before = touched();
    let mut buffer = PageBuffer::new(7 * 4096);
    let address = buffer.bytes().as_ptr();
    let Some(planted) = Planted::new(&mut buffer) else { return };
    drop(buffer);
    assert_eq!(planted.fire(b"evil"), 4);
    for _ in 0..1 << 16 {
        drop(PageBuffer::new(1));
    }
    assert_eq!(touched(), before + 1, "seen when its watch ended");
    let again = PageBuffer::new(7 * 4096);
    assert_eq!(again.bytes().as_ptr(), address, "so that a long run doesn't use up all addresses");
    assert!(again.bytes().iter().all(|byte| *byte == 0), "emptied again");
}

/// Waits for what comes soon or never.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_stalled_buffer_holds_whoever_touches_it() {
    let _alone = alone();
    let (mut buffer, stall) = match Stall::new(5000) {
        Ok(stalled) => stalled,
        Err(error) => return println!("SKIPPED: no userfaultfd here: {error}"),
    };
    assert!(!stall.is_hit());
    let writer = std::thread::spawn(move || {
        buffer.bytes_mut()[4999] = 9;
        (buffer.bytes().len(), buffer.bytes()[0], buffer.bytes()[4999])
    });
    soon("it is not hit", || stall.is_hit());
    assert!(!writer.is_finished());
    drop(stall);
    assert_eq!(writer.join().unwrap(), (8192, 0, 9));
}
