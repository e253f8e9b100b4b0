//! Goal: `demos` names the mistake in a wrong command line, and gives shells and man(1) what they need.
//! Method: the built binary; bash reads its completions.

use std::process::{Command, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::process::{Demos, client, demos, has_client};

#[test]
fn a_near_miss_leads_to_the_engine_or_the_command() {
    for (command, tip) in [
        ("echo --on epoll", "tip: reactor-level and reactor-edge run on epoll"),
        ("http --on uring", "tip: the proactor runs on io_uring"),
        ("compare --on io_uring", "tip: the proactor runs on io_uring"),
        ("--seconds 3", "tip: --seconds comes after the command, such as `demos compare`"),
        ("--on=proactor", "tip: --on comes after the command, such as `demos compare`"),
    ] {
        let ended = demos(command);
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.contains(tip), "{ended:?}");
    }
}

/// A pipe that is full and that no program reads.
#[test]
fn an_error_of_usage_that_cannot_be_said_ends_the_program_all_the_same() {
    let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::empty()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_demos"));
    let mut process = command.args(["echo", "--nope"]).stderr(Stdio::from(writer)).spawn().unwrap();
    let deadline = std::time::Instant::now() + crate::process::PATIENCE;
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        if std::time::Instant::now() > deadline {
            process.kill().unwrap();
            panic!("it waits for room on stderr: {:?}", process.wait());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(2));
    drop(reader);
}

#[test]
fn a_terminal_shows_no_progress_bar_if_it_is_to_be_quiet() {
    for quiet in [false, true] {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&terminal).unwrap();
        let stderr = ioctl_tiocgptpeer(&terminal, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let arguments = ["compare", "--only", "echo", "--on", "reactor-edge", "--connections", "1", "--seconds", "0.2"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_demos"));
        let command = command.args(arguments).args(quiet.then_some("--quiet")).env("TERM", "xterm");
        let mut process = command.stderr(Stdio::from(stderr)).stdout(Stdio::null()).spawn().unwrap();
        assert!(process.wait().unwrap().success());
        rustix::io::ioctl_fionbio(&terminal, true).unwrap();
        let mut shown = [0; 4096];
        // The other end is closed: an error of reading is the end.
        let count = rustix::io::read(&terminal, &mut shown).unwrap_or(0);
        assert_eq!(count == 0, quiet, "{}", shown[..count].escape_ascii());
    }
}

#[test]
fn a_help_that_cannot_be_written_is_an_error() {
    for asked in ["--help", "--version", "echo --help"] {
        let ended = Demos::start_after("exec >/dev/full", asked).end();
        assert!(
            ended.status.code() == Some(1) && ended.stderr.contains("cannot write to stdout"),
            "{asked}: {ended:?}"
        );
    }
}

#[test]
fn shells_understand_the_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = demos(&format!("completions {shell}"));
        assert!(script.status.success() && script.stdout.contains("connections"), "{shell}: {}", script.stderr);
    }
    if !has_client("bash") {
        return;
    }
    let script = demos("completions bash").stdout;
    let question = "COMP_WORDS=(demos ec) COMP_CWORD=1; _demos demos ec demos; echo \"${COMPREPLY[*]}\"";
    let answer = client(Command::new("bash").args(["-c", &format!("{script}\n{question}")]), b"");
    assert_eq!(answer.stdout.trim(), "echo", "{answer:?}");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    for (command, title) in [("", "demos 1"), ("http", "demos-http 1"), ("files send", "demos-files-send 1")] {
        let page = demos(&format!("man {command}"));
        assert!(page.status.success() && page.stdout.contains(&format!(".TH {title}")), "{page:?}");
        assert!(page.stdout.contains("\n.SH SYNOPSIS"), "{page:?}");
    }
    let ended = demos("man nope");
    assert!(ended.status.code() == Some(1) && ended.stderr.contains("there is no command nope"), "{ended:?}");
}

#[test]
fn the_version_names_the_commit() {
    let version = demos("--version").stdout;
    let words: Vec<_> = version.split_whitespace().collect();
    let [name, number, "(commit", commit] = words[..] else { panic!("{version}") };
    assert_eq!((name, number), ("demos", env!("CARGO_PKG_VERSION")));
    let commit = commit.strip_suffix(')').unwrap();
    assert!(commit == "unknown" || commit.bytes().all(|digit| digit.is_ascii_hexdigit()), "{version}");
}
