//! Goal: the command ends quietly when nobody reads what it says any more.
//!
//! Method: the built binary, with a pipe whose other end is closed.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

#[test]
fn it_ends_quietly_when_nobody_reads() {
    for option in ["--list", "--readme"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mutants"));
        let output = command.arg(option).stdout(writer).stderr(Stdio::piped()).output().expect("the binary starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.signal(), &*stderr), (Some(Signal::PIPE.as_raw()), ""), "{option}");
    }
}
