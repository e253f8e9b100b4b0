//! The writing end of a pipe, as programs see it. (The reading end is a stream's reading half.)
//!
//! A pipe has no shutdown(2). Its reader sees the end when no process holds the writing end any
//! more. So closing the writing end is the way to end a pipe.

use std::io;

use crate::io::buf::{BufResult, IoBuf};
use crate::io::runtime::Writer;

/// A pipe's writing end: see [`Net::pipe_writer`](crate::Net::pipe_writer). Dropping it closes it,
/// as [`shutdown`](Writer::shutdown) does. A write after that fails with `BrokenPipe`.
///
/// # Examples
///
/// ```
/// use executor::{PipeWriter, Writer};
///
/// async fn feed<W: Writer>(mut input: PipeWriter<W>, lines: String) -> std::io::Result<()> {
///     input.write_all(lines).await.0 // the drop then ends it
/// }
/// ```
#[derive(Debug)]
pub struct PipeWriter<W>(pub(crate) Option<W>);

impl<W: Writer> Writer for PipeWriter<W> {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        let Some(end) = &mut self.0 else { return (Err(io::ErrorKind::BrokenPipe.into()), buf) };
        end.write(buf).await
    }

    async fn write_all<B: IoBuf>(&mut self, buf: B) -> BufResult<(), B> {
        let Some(end) = &mut self.0 else { return (Err(io::ErrorKind::BrokenPipe.into()), buf) };
        end.write_all(buf).await
    }

    async fn write_all_vectored<B: IoBuf>(&mut self, bufs: Vec<B>) -> BufResult<(), Vec<B>> {
        let Some(end) = &mut self.0 else { return (Err(io::ErrorKind::BrokenPipe.into()), bufs) };
        end.write_all_vectored(bufs).await
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.0 = None;
        Ok(())
    }
}
