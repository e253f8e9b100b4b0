//! A file, or a part of it, to a client.
//!
//! The first bytes are read before the head is written. So a file that cannot be read is answered with a status, and a
//! file that has fewer bytes than it says, as those below `/sys`, or more, as those below `/proc`, with its true length.

use std::borrow::Cow;
use std::io;
use std::ops::ControlFlow;
use std::pin::pin;

use executor::Files;

use super::conditions::Verdict;
use super::connection::{Connection, Exchange};
use super::files::{self, Content, OpenFile, Wanted};
use super::patience::{Until, Waited};
use super::requests::End;
use super::response::{FileFields, Response, Status};

/// How much of a file is in memory at once.
const FILE_CHUNK: u64 = 16 * 1024;

/// How much of a file is kept in memory if it does not say its size. More is answered 500.
const UNKNOWN_SIZE: usize = 256 * 1024;

/// What is to be sent.
struct Part<R: Files> {
    content: Content<R>,
    /// The first bytes.
    begin: Vec<u8>,
    /// Where the rest lies in the file.
    rest: std::ops::Range<u64>,
}

impl<R: Files> Connection<'_, R> {
    /// Answers with the file, or with the status that follows from its state and the request's conditions.
    pub(super) async fn send_file(&mut self, exchange: Exchange, wanted: Wanted) -> ControlFlow<End> {
        // What was answered before must not wait for a disk.
        self.write_out().await?;
        let (response, part) = match self.prepare_file(wanted).await {
            Ok((response, part)) => (response, Some(part)),
            Err(response) => (response, None),
        };
        let length = match &part {
            Some(part) => part.begin.len() as u64 + (part.rest.end - part.rest.start),
            None => response.body.len() as u64,
        };
        let is_stopping = self.requests.patience.is_stopping().await;
        let flow = self.write_head(exchange, &response, length, is_stopping);
        if !exchange.is_head {
            match part {
                Some(part) => self.send_part(part).await?,
                None => self.out.extend_from_slice(&response.body),
            }
        }
        self.end_after(flow).await
    }

    /// Opens the file, decides what to send, and reads the first bytes. The error is the answer without the file.
    async fn prepare_file(&mut self, wanted: Wanted) -> Result<(Response, Part<R>), Response> {
        let Wanted { root, path, method, conditions } = wanted;
        let max_size = self.site.limits.file_size;
        let rt = self.rt.clone();
        let opened = rt.unblock_io(move || Ok(files::open(&root, &path, max_size)));
        let opened = self.read_in_turn(opened).await.and_then(|opened| opened).map_err(Response::plain)?;
        let OpenFile { file, len, validators, content_type } = opened;
        let verdict = conditions.map_or(Verdict::Whole, |conditions| conditions.decide(method, &validators, len));
        let mut fields = Box::new(FileFields { validators, len, part: None });
        let (first, end) = match verdict {
            Verdict::Whole => (0, len),
            Verdict::Part { first, last } => {
                fields.part = Some((first, last));
                (first, last + 1)
            }
            Verdict::Failed => return Err(Response::plain(Status::PreconditionFailed)),
            Verdict::NotModified => {
                return Err(Response { file: Some(fields), ..Response::plain(Status::NotModified) });
            }
            Verdict::Unsatisfiable => {
                return Err(Response { file: Some(fields), ..Response::plain(Status::RangeNotSatisfiable) });
            }
        };
        let failed = |_| Response::plain(Status::InternalError);
        // A file that says it is empty may be one that waits for its next line. The ring would wait, too.
        let in_threads = self.site.reads_in_threads || len == 0;
        let content = Content::new(self.rt, file, in_threads).map_err(failed)?;
        let count = (end - first).min(FILE_CHUNK);
        let begin = if len == 0 { self.read_unknown(&content).await } else { self.read(&content, first, count).await };
        let begin = begin.map_err(Response::plain)?;
        let is_as_it_says = begin.len() as u64 == count;
        let status = match fields.part {
            None => Status::Ok,
            Some(_) if is_as_it_says => Status::PartialContent,
            // There is no such part, and no telling which parts there are.
            Some(_) => return Err(Response::plain(Status::InternalError)),
        };
        // The time of a file whose size is wrong says nothing about its content.
        let file = is_as_it_says.then_some(fields);
        let rest = if is_as_it_says { first + count..end } else { end..end };
        let response = Response::new(content_type, Cow::Borrowed(&[][..]));
        Ok((Response { status, nosniff: true, file, ..response }, Part { content, begin, rest }))
    }

    async fn read(&mut self, content: &Content<R>, offset: u64, count: u64) -> Result<Vec<u8>, Status> {
        let out = self.site.take_buffer();
        self.read_in_turn(content.append(offset, count as usize, out)).await
    }

    /// Reads all of a file that says it is empty.
    async fn read_unknown(&mut self, content: &Content<R>) -> Result<Vec<u8>, Status> {
        let mut all = Vec::new();
        while all.len() <= UNKNOWN_SIZE {
            let (before, count) = (all.len(), FILE_CHUNK as usize);
            all = self.read_in_turn(content.append(before as u64, count, all)).await?;
            if all.len() < before + count {
                return Ok(all);
            }
        }
        Err(Status::InternalError)
    }

    async fn send_part(&mut self, part: Part<R>) -> ControlFlow<End> {
        let Part { content, begin, mut rest } = part;
        self.out.extend_from_slice(&begin);
        self.site.give_buffer(begin);
        self.write_out().await?;
        while !rest.is_empty() {
            self.requests.patience.yield_now().await;
            let count = (rest.end - rest.start).min(FILE_CHUNK);
            match self.read(&content, rest.start, count).await {
                Ok(out) if out.len() as u64 == count => self.out = out,
                // It has become shorter, or can't be read: the promised length can't be kept.
                _ => return ControlFlow::Break(End::Now),
            }
            rest.start += count;
            self.write_out().await?;
        }
        ControlFlow::Continue(())
    }

    /// Waits for a turn and for the disk.
    async fn read_in_turn<T>(&mut self, read: impl Future<Output = io::Result<T>>) -> Result<T, Status> {
        let site = self.site;
        let read = pin!(async move {
            let _turn = site.reads.acquire().await;
            read.await
        });
        match self.requests.patience.wait(Until::After(site.limits.stall_timeout), false, read).await {
            Waited::Done(Ok(read)) => Ok(read),
            Waited::Done(Err(error)) if error.kind() == io::ErrorKind::ResourceBusy => Err(Status::Unavailable),
            Waited::Done(Err(_)) => Err(Status::InternalError),
            _ => Err(Status::Unavailable),
        }
    }
}
