//! Goal: what an older kernel does not know, or an old filter of a container refuses, has a fallback. And an error of
//! accept(2) that is about one connection ends no server.
//! Method: the built binary under a filter of the kernel that refuses the calls, with each error that says "not to be
//! had"; an accept that strace lets fail once.

use std::fs;
use std::io::Write;

use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::process::{Demos, connect, demos, engines, has_client};
use crate::{end_of, exchange};

/// Errors that say that a call is not to be had: of older kernels, and of filters.
const ABSENT: [i32; 3] = [libc::ENOSYS, libc::EPERM, libc::EOPNOTSUPP];

/// Starts it where each of these calls fails.
fn start_without(calls: &[i64], errno: i32, arguments: &str) -> Demos {
    let prepare = || {
        let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
        let refused = SeccompAction::Errno(errno.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    };
    Demos::start_by(prepare, arguments)
}

fn end(server: Demos) {
    server.signal(Signal::TERM);
    let ended = server.end();
    assert!(ended.status.success(), "{ended:?}");
}

/// A folder of its own, gone afterwards.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("demos-filters-{:016x}", fastrand::u64(..)));
        fs::create_dir_all(path.join("in")).unwrap();
        fs::write(path.join("a"), "some text").unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_web_server_without_newer_calls_serves() {
    let folder = Folder::new();
    let calls = [libc::SYS_epoll_pwait2, libc::SYS_openat2];
    for (engine, errno) in engines().iter().flat_map(|engine| ABSENT.map(|errno| (engine, errno))) {
        let options = format!("http --on {engine} --listen 127.0.0.1:0 --root {}", folder.0.display());
        let server = start_without(&calls, errno, &options);
        let mut stream = connect(server.address());
        for path in ["/sleep?ms=2", "/files/in", "/files/a"] {
            write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n").unwrap();
            let last = if path == "/files/a" { "Connection: close\r\n\r\n" } else { "\r\n" };
            stream.write_all(last.as_bytes()).unwrap();
        }
        let answers = String::from_utf8(end_of(&mut stream)).unwrap();
        let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, ["200", "404", "200"], "{engine}, errno {errno}: {answers}");
        assert!(answers.ends_with("some text"), "{engine}, errno {errno}: {answers}");
        end(server);
    }
}

/// What closes io_uring is named: here it is a filter, and not the switch of the kernel.
#[test]
fn a_rung_on_io_uring_names_what_closes_it() {
    let expected = start_without(&[libc::SYS_io_uring_setup], libc::EPERM, "echo --on proactor").end();
    for rung in ["uring-polls", "uring-oneshot", "uring-multishot"] {
        let ended = start_without(&[libc::SYS_io_uring_setup], libc::EPERM, &format!("web --on {rung}")).end();
        assert_eq!(ended.status.code(), Some(1), "{rung}: {ended:?}");
        let reason = ended.stderr.split_once("set up: ").unwrap().1.split_once(';').unwrap().0;
        assert!(reason.contains("seccomp") && expected.stderr.contains(reason), "{rung}: {ended:?}, {expected:?}");
    }
}

#[test]
fn rungs_on_epoll_need_no_newer_call() {
    for (rung, errno) in ["epoll-level", "epoll-edge", "epoll-oneshot"].into_iter().zip(ABSENT) {
        let options = format!("models serve {rung} --listen 127.0.0.1:0");
        let server = start_without(&[libc::SYS_epoll_pwait2], errno, &options);
        exchange(&mut connect(server.address()));
        end(server);
    }
}

#[test]
fn the_doctor_and_the_reactor_agree() {
    for errno in ABSENT {
        let report = start_without(&[libc::SYS_epoll_pwait2], errno, "doctor --json").end().stdout;
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["epoll"][0]["verdict"], "fallback", "errno {errno}: {report}");
    }
    let report: serde_json::Value = serde_json::from_str(&demos("doctor --json").stdout).unwrap();
    assert_eq!(report["epoll"][0]["verdict"], "yes", "{report}");
}

/// A file system that does not know the flag answers EINVAL.
#[test]
fn a_receiver_without_a_rename_that_refuses_names_the_file_all_the_same() {
    for (engine, errno) in engines().iter().flat_map(|engine| [libc::EINVAL, libc::EPERM].map(|errno| (engine, errno)))
    {
        let folder = Folder::new();
        let place = folder.0.display();
        let options = format!("files receive --on {engine} --listen 127.0.0.1:0 --folder {place}/in");
        let server = start_without(&[libc::SYS_renameat2], errno, &options);
        let address = server.address();
        let send = || demos(&format!("files send {place}/a --to {address} --retries 0 --on {engine}"));
        let sent = send();
        assert!(sent.status.success(), "{engine}, errno {errno}: {sent:?}");
        assert_eq!(fs::read_to_string(folder.0.join("in/a")).unwrap(), "some text");
        fs::write(folder.0.join("a"), "other text").unwrap();
        let sent = send();
        assert_eq!(sent.status.code(), Some(1), "{engine}, errno {errno}: {sent:?}");
        assert_eq!(fs::read_to_string(folder.0.join("in/a")).unwrap(), "some text");
        end(server);
    }
}

/// Each rung that accepts by itself, with another error. strace is no parent of the server.
#[test]
fn an_accept_that_fails_ends_no_server() {
    if !has_client("strace") {
        return;
    }
    let rungs = [
        ("blocking", "ENETUNREACH"),
        ("processes", "ENOPROTOOPT"),
        ("threads", "EHOSTDOWN"),
        ("pool", "ENONET"),
        ("busy", "EOPNOTSUPP"),
        ("select", "EPERM"),
        ("poll", "EPROTO"),
        ("epoll-level", "ENETDOWN"),
        ("epoll-edge", "ENETUNREACH"),
        ("epoll-oneshot", "EHOSTUNREACH"),
        ("sigio", "ETIMEDOUT"),
    ];
    for (rung, error) in rungs {
        let inject = format!("strace -D -f -qq -o /dev/null -e trace=accept4 -e inject=accept4:error={error}:when=1");
        let program = format!("{inject} {}", env!("CARGO_BIN_EXE_demos"));
        let server = Demos::start_with(&program, &format!("models serve {rung} --listen 127.0.0.1:0"));
        let address = server.address();
        exchange(&mut connect(address));
        exchange(&mut connect(address));
        end(server);
    }
}

#[test]
fn a_client_without_io_uring_takes_another_engine_and_says_so() {
    let ring = [libc::SYS_io_uring_setup];
    let server = Demos::start("udp serve --on reactor-edge --listen 127.0.0.1:0");
    let address = server.address();
    let asked = start_without(&ring, libc::EPERM, &format!("udp ask {address}")).end();
    assert!(asked.status.success(), "{asked:?}");
    assert!(asked.stderr.contains("io_uring is closed here, so this runs on reactor-edge"), "{asked:?}");
    // What a user asks for is not replaced, and a server is not chosen for.
    for insisting in [format!("udp ask {address} --on proactor"), "echo --listen 127.0.0.1:0".to_owned()] {
        let refused = start_without(&ring, libc::EPERM, &insisting).end();
        assert!(refused.status.code() == Some(1) && refused.stderr.contains("--on reactor-edge"), "{refused:?}");
    }
    let report = start_without(&ring, libc::EPERM, "doctor --json").end();
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    let proactor = &report["engines"][2];
    assert!(proactor["remedy"].as_str().unwrap().contains("io_uring_setup"), "{proactor}");
    assert!(!proactor["text"].as_str().unwrap().contains("allow "), "{proactor}");
}
