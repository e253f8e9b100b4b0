//! Files: an operation that reads, writes or syncs.

use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use crate::buffer::{Buffer, clamp};

/// A request about a file, and everything that belongs to it meanwhile.
pub(crate) struct FileRequest {
    pub(crate) file: Rc<std::fs::File>,
    pub(crate) work: Work,
}

/// The work. A buffer comes with its offset in the file.
pub(crate) enum Work {
    Read(Buffer, u64),
    Write(Buffer, u64),
    Sync,
}

impl FileRequest {
    /// Makes the submission.
    pub(crate) fn entry(&mut self) -> squeue::Entry {
        let fd = types::Fd(self.fd());
        match &mut self.work {
            Work::Read(buffer, offset) => {
                let (start, len) = buffer.place();
                opcode::Read::new(fd, start, clamp(len)).offset(*offset).build()
            }
            Work::Write(buffer, offset) => {
                let (start, len) = buffer.place();
                opcode::Write::new(fd, start, clamp(len)).offset(*offset).build()
            }
            Work::Sync => opcode::Fsync::new(fd).build(),
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Says what it does, for a dump.
    #[cfg(feature = "faults")]
    pub(crate) fn name(&self) -> &'static str {
        match self.work {
            Work::Read(..) => "reads a file",
            Work::Write(..) => "writes a file",
            Work::Sync => "brings a file to the disk",
        }
    }

    /// Returns the buffer of a read or a write.
    pub(crate) fn into_buffer(self) -> Option<Buffer> {
        match self.work {
            Work::Read(buffer, _) | Work::Write(buffer, _) => Some(buffer),
            Work::Sync => None,
        }
    }
}
