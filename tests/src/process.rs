//! A case in a process of its own: started, waited for with a limit, and heard.

use std::io::{self, PipeReader, Read};
use std::ops::ControlFlow;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much longer than the child's own watchdog the parent waits.
const GRACE: Duration = Duration::from_secs(5);
/// How often the parent looks.
const STEP: Duration = Duration::from_millis(5);
/// How long the end of the output may take after the end of the child, whose own children may have it open, too.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Bytes of output that are kept: the last ones.
const KEPT: usize = 64 * 1024;

/// A child process that runs one case. Dropping it kills it.
#[derive(Debug)]
pub struct CaseProcess {
    child: Child,
    printed: Arc<Mutex<Vec<u8>>>,
    /// Reads what it prints, to the end.
    listener: JoinHandle<()>,
}

/// How a case ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` if it had to be killed.
    pub status: Option<ExitStatus>,
    /// What it said on stdout and stderr, unless that was shown.
    pub printed: String,
}

impl CaseProcess {
    /// Starts the program that runs now once more: `prepare` says for which case. What it prints is kept, or
    /// shown as it comes.
    ///
    /// # Errors
    /// Those of starting a process.
    pub fn start(show: bool, prepare: impl FnOnce(&mut Command)) -> io::Result<CaseProcess> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.stdin(Stdio::null());
        if !show {
            command.stdout(writer.try_clone()?).stderr(writer);
        }
        prepare(&mut command);
        let child = command.spawn()?;
        // Closes our ends of the pipe, so that it ends when the child does.
        drop(command);
        let printed = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&printed);
        let listener = std::thread::spawn(move || listen(reader, &heard));
        Ok(CaseProcess { child, printed, listener })
    }

    /// Waits for its end. `limit` is that of its own watchdog; should that hang, too, it is killed a little later.
    /// It is also killed when `meanwhile`, which is called all the time, breaks.
    ///
    /// # Errors
    /// Those of waiting for a process.
    pub fn wait(mut self, limit: Duration, mut meanwhile: impl FnMut() -> ControlFlow<()>) -> io::Result<Ended> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break Some(status);
            }
            if start.elapsed() > limit + GRACE || meanwhile().is_break() {
                self.child.kill()?;
                self.child.wait()?;
                break None;
            }
            std::thread::sleep(STEP);
        };
        let ended = Instant::now();
        while !self.listener.is_finished() && ended.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(1));
        }
        let is_whole = self.listener.is_finished();
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut printed = String::from_utf8_lossy(&printed).into_owned();
        if !is_whole {
            printed += &format!("\n(the end of what it printed did not come within {LAST_WORDS:?})\n");
        }
        Ok(Ended { status, printed })
    }
}

fn listen(mut reader: PipeReader, heard: &Mutex<Vec<u8>>) {
    let mut piece = [0; 4096];
    loop {
        let count = match reader.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => panic!("cannot hear what the case prints: {error}"),
        };
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend_from_slice(&piece[..count]);
        if heard.len() > 2 * KEPT {
            let old = heard.len() - KEPT;
            heard.drain(..old);
        }
    }
}

impl Drop for CaseProcess {
    fn drop(&mut self) {
        // Fails if it has ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
