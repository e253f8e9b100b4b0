//! Shared memory: the same pages in two processes. What one writes the other has, without the kernel copying anything;
//! but nothing tells it that there is something new. For that there is an eventfd: a counter in the kernel; a write adds
//! to it, a read waits until it isn't zero.
//!
//! See it: `demos ipc --way shared-memory`.
//!
//! The message lies in words that are read and written one by one as atomics: two processes on the same plain memory
//! would be a data race, which the language doesn't allow, whatever the eventfd says about the order. The first half
//! is for messages there, the second for those back.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{Mode, fstat, ftruncate};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::shm;

use super::channel::{Channel, Descriptors, End, Far, MESSAGE, Message, Names, Shelf, given};

const WORD: usize = size_of::<u64>();
/// Words of a message.
const WORDS: usize = MESSAGE / WORD;
/// One message in each direction.
const BYTES: usize = 2 * MESSAGE;
/// What an eventfd is written: how much is added to it.
pub const NEWS: [u8; 8] = 1u64.to_ne_bytes();

pub fn open() -> io::Result<Channel> {
    let name = format!("/demos-ipc-{:016x}", fastrand::u64(..));
    let flags = shm::OFlags::RDWR | shm::OFlags::CREATE | shm::OFlags::EXCL;
    let remove = name.clone();
    let names = Names::removed_by(move || {
        let _ = shm::unlink(&remove);
    })?;
    let memory = shm::open(&name, flags, Mode::RUSR | Mode::WUSR)?;
    ftruncate(&memory, BYTES as u64)?;
    let (there, back) = (event()?, event()?);
    let far = Far { stdin: Some(there.try_clone()?), stdout: Some(back.try_clone()?), name };
    let near = Shared { halves: Halves { memory: Memory::map(&memory)?, sends_at: 0 }, wakes: there, awaits: back };
    Ok(Channel { near: Box::new(near), far, names })
}

pub fn join(far: Far) -> io::Result<Box<dyn End>> {
    let memory = shm::open(&far.name, shm::OFlags::RDWR, Mode::empty())?;
    if fstat(&memory)?.st_size < BYTES as i64 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} has less than {BYTES} bytes", far.name)));
    }
    let (awaits, wakes) = (given(far.stdin)?, given(far.stdout)?);
    Ok(Box::new(Shared { halves: Halves { memory: Memory::map(&memory)?, sends_at: WORDS }, wakes, awaits }))
}

fn event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC)?)
}

struct Shared {
    halves: Halves,
    wakes: OwnedFd,
    awaits: OwnedFd,
}

impl End for Shared {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        self.halves.put(message);
        rustix::io::write(&self.wakes, &NEWS)?;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Option<Message>> {
        // An eventfd is one open file, whoever has it: if the other end is a task of a reactor, which needs it not to
        // block, it doesn't block here either.
        while let Err(error) = rustix::io::read(&self.awaits, &mut [0; 8]) {
            match error {
                Errno::AGAIN => {
                    poll(&mut [PollFd::new(&self.awaits, PollFlags::IN)], None)?;
                }
                Errno::INTR => {}
                error => return Err(error.into()),
            }
        }
        Ok(Some(self.halves.take()))
    }

    fn into_descriptors(self: Box<Self>) -> Option<Descriptors> {
        let Shared { halves, wakes, awaits } = *self;
        Some(Descriptors::Memory { shelf: Box::new(halves), reads: awaits, writes: wakes })
    }
}

/// The shared memory as one end sees it: a half to write to, and one to read from.
struct Halves {
    memory: Memory,
    /// The first word of the half this end writes to.
    sends_at: usize,
}

impl Shelf for Halves {
    fn put(&self, message: &Message) {
        for (word, bytes) in self.memory.words()[self.sends_at..].iter().zip(message.as_chunks::<WORD>().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Release);
        }
    }

    fn take(&self) -> Message {
        let mut message = [0; MESSAGE];
        let words = &self.memory.words()[WORDS - self.sends_at..];
        for (word, bytes) in words.iter().zip(message.as_chunks_mut::<WORD>().0) {
            *bytes = word.load(Ordering::Acquire).to_ne_bytes();
        }
        message
    }
}

/// Pages that another process may have, too.
struct Memory(ptr::NonNull<AtomicU64>);

impl Memory {
    fn map(file: impl AsFd) -> io::Result<Memory> {
        // SAFETY: a new mapping, at a place of the kernel's choice, takes nothing from anybody.
        let place = unsafe {
            mmap(ptr::null_mut(), BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file.as_fd(), 0)
        }?;
        let place = ptr::NonNull::new(place.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Memory(place))
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins on a page, so it is aligned, and has BYTES bytes of which any value is a word.
        // They are atomics, for whoever else has the pages may change them at any time. It lives as long as `self`.
        // (Whoever has the file may make it shorter: then the kernel ends this process with SIGBUS.)
        unsafe { slice::from_raw_parts(self.0.as_ptr(), BYTES / WORD) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `map` made it, of this length, and no reference to it outlives `self`.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), BYTES) };
    }
}
