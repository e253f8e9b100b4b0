//! Files are no part of the simulated world: these are real ones, and all that is done to them happens at once. A program
//! that keeps something in files can be run here all the same, while its sockets and its time are simulated.

use std::io;
use std::os::unix::fs::FileExt;

use executor::{BufResult, Files, IoBuf, IoBufMut, RandomAccess};

use crate::Sim;

/// A file of the real world.
#[derive(Debug)]
pub struct File(std::fs::File);

impl Files for Sim {
    type File = File;

    fn file_from_std(&self, file: std::fs::File) -> io::Result<File> {
        Ok(File(file))
    }
}

impl RandomAccess for File {
    async fn read_at<B: IoBufMut>(&self, mut buf: B, offset: u64) -> BufResult<usize, B> {
        (self.0.read_at(buf.bytes_mut(), offset), buf)
    }

    async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> BufResult<usize, B> {
        (self.0.write_at(buf.bytes(), offset), buf)
    }

    async fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn size(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }
}
