//! Goal: with `--sandbox` a server serves as it does without, and can do nothing of what the sandbox is to
//! prevent.
//! Method: the built binary, whose every thread the kernel shows to be confined; and a process that enters
//! the sandbox as the binary does, serves itself, and then tries what is forbidden from the inside.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use demos::http::{Limits, Site};
use executor::{DriverStats, Files, IoBuf, ListenOptions, Listener, Reader, Writer};
use proactor::{File, Gate, RandomAccess};
use reactor::Trigger;
use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use socket2::{Domain, Socket, Type};

use crate::process::{Demos, connect, engines};

const CONTENT: &str = "what lies in the file";
const GET_FILE: &str = "GET /files/a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const NOT_PERMITTED: Option<i32> = Some(libc::EPERM);

/// A directory with one file, gone afterwards.
struct Root(PathBuf);

impl Root {
    fn new() -> Root {
        let root = std::env::temp_dir().join(format!("demos-sandbox-{:016x}", fastrand::u64(..)));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a.txt"), CONTENT).unwrap();
        Root(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the kernel says of a thread: whether it can gain privileges, and its seccomp mode.
fn confinement(status: &str) -> (&str, &str) {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells").trim();
    (field("NoNewPrivs:"), field("Seccomp:"))
}

/// The same for all threads of a process; more than one entry means that they differ.
fn confinements(process: u32) -> BTreeSet<(String, String)> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let statuses = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
    let owned = |(privileges, mode): (&str, &str)| (privileges.to_owned(), mode.to_owned());
    statuses.map(|status| owned(confinement(&status))).collect()
}

fn confined() -> BTreeSet<(String, String)> {
    BTreeSet::from([("1".to_owned(), "2".to_owned())])
}

fn assert_echoes(address: SocketAddr) {
    let mut client = connect(address);
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut client = connect(address);
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_servers_serve_and_every_thread_is_confined() {
    let root = Root::new();
    for engine in engines() {
        for workers in [1, 3] {
            let options = format!("--on {engine} --workers {workers} --listen 127.0.0.1:0 --sandbox");
            let echo = Demos::start(&format!("echo {options}"));
            let http = Demos::start(&format!("http {options} --root {}", root.0.display()));
            let (echo_address, http_address) = (echo.address(), http.address());
            for server in [&echo, &http] {
                assert_eq!(confinements(server.id()), confined(), "{engine}, {workers} workers");
            }
            for _ in 0..10 {
                assert_echoes(echo_address);
                let answer = ask(http_address, GET_FILE);
                assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(CONTENT), "{engine}: {answer}");
            }
            for server in [echo, http] {
                server.signal(Signal::TERM);
                let ended = server.end();
                assert!(ended.status.success() && ended.stderr.is_empty(), "{engine}: {ended:?}");
                assert!(ended.stdout.contains("served connections=10 cut=0 "), "{engine}: {ended:?}");
            }
        }
    }
}

#[test]
fn without_the_option_nothing_is_given_up() {
    let server = Demos::start("echo --on reactor-edge --listen 127.0.0.1:0");
    server.address();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let (privileges, mode) = confinement(&own);
    assert_eq!(confinements(server.id()), BTreeSet::from([(privileges.to_owned(), mode.to_owned())]));
}

#[test]
fn where_there_is_no_seccomp_the_server_says_what_to_do() {
    let hide_seccomp = || {
        let rules = [(libc::SYS_seccomp, Vec::new())].into_iter().collect();
        let hidden = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, hidden, arch).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    };
    for workers in [1, 3] {
        let options = format!("echo --on reactor-edge --workers {workers} --listen 127.0.0.1:0 --sandbox");
        let ended = Demos::start_by(hide_seccomp, &options).end();
        assert_eq!((ended.status.code(), &ended.stdout[..]), (Some(1), ""), "{ended:?}");
        for word in ["CONFIG_SECCOMP_FILTER", "without --sandbox"] {
            assert!(ended.stderr.contains(word), "{word} is missing: {ended:?}");
        }
    }
    let doctor = Demos::start_by(hide_seccomp, "doctor").end();
    assert!(doctor.stdout.contains("system call filter") && doctor.stdout.contains("CONFIG_SECCOMP_FILTER"));
}

/// Names the engine on which the process is to try what is forbidden.
const INSIDE: &str = "TRY_FROM_THE_INSIDE";

#[test]
fn what_is_forbidden_fails_inside() {
    for engine in engines() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let case = "sandbox::what_the_child_does";
        let ended = child.args(["--exact", case, "--nocapture"]).env(INSIDE, &engine).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(ended.status.success() && out.contains("all was refused"), "{engine}: {out}\n{err}");
    }
}

/// Does nothing unless it is the child of the above, which has to be a process of its own: there is no way
/// back out of a sandbox.
#[test]
fn what_the_child_does() {
    let Ok(engine) = std::env::var(INSIDE) else { return };
    let root = Root::new();
    match &engine[..] {
        "proactor" => {
            let owner = proactor::Builder::new().sockets_only().build().unwrap();
            owner.block_on(serve_and_try(owner.clone(), &root.0));
            // A request that is not for sockets, with a file that has been opened otherwise.
            let file = File::from_std(&owner, fs::File::open(root.0.join("a.txt")).unwrap()).unwrap();
            let (read, _) = owner.block_on(file.read_at(vec![0; 8], 0));
            assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EACCES));
            drop(file);
            // What the ring would have to be told through a system call that is refused.
            assert_eq!(owner.as_fd().unwrap_err().raw_os_error(), NOT_PERMITTED);
            let handle = owner.clone();
            drop(owner);
            let stats = handle.stats();
            let DriverStats { operations_now, ops_leaked, ops_abandoned, .. } = stats.driver;
            assert_eq!((operations_now, ops_leaked, ops_abandoned), (Some(0), Some(0), Some(0)), "{stats}");
        }
        _ => {
            let trigger = if engine == "reactor-level" { Trigger::Level } else { Trigger::Edge };
            let owner = reactor::Builder::new().trigger(trigger).build().unwrap();
            owner.block_on(serve_and_try(owner.clone(), &root.0));
        }
    }
    println!("all was refused");
}

async fn serve_and_try<R: Files>(rt: R, root: &Path) {
    let site = Rc::new(Site::new(Limits::default(), Some(root)).unwrap().reading_in_threads());
    let mut listener = rt.listen(SocketAddr::from(([127, 0, 0, 1], 0)), &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let (go, tried) = thread_from_before();
    try_program().expect("programs can be started before");
    demos::sandbox::enter().unwrap();
    let server = rt.spawn({
        let rt = rt.clone();
        async move {
            let stream = listener.accept().await.unwrap();
            demos::http::connection(rt, stream, site).await;
        }
    });
    let mut client = rt.connect(address).await.unwrap();
    client.write_all(GET_FILE).await.0.unwrap();
    let mut answer = Vec::new();
    loop {
        let chunk = client.recv().await.unwrap();
        if chunk.bytes().is_empty() {
            break;
        }
        answer.extend_from_slice(chunk.bytes());
    }
    drop(client);
    server.await.unwrap();
    assert!(answer.ends_with(CONTENT.as_bytes()), "{}", String::from_utf8_lossy(&answer));
    try_all();
    go.send(()).unwrap();
    tried.join().expect("refused to threads from before, too");
    thread::spawn(try_all).join().expect("refused to threads from after, too");
}

/// A thread that has been there before the sandbox, and tries everything when it is told to.
fn thread_from_before() -> (Sender<()>, thread::JoinHandle<()>) {
    let (go, told) = channel();
    let thread = thread::spawn(move || {
        told.recv().unwrap();
        try_all();
    });
    (go, thread)
}

fn try_program() -> io::Result<()> {
    Command::new("/bin/true").status().map(drop)
}

fn try_all() {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    assert_eq!(confinement(&status), ("1", "2"));
    assert_eq!(try_program().unwrap_err().raw_os_error(), NOT_PERMITTED);
    // Without the filter the answer would be that there is no such process.
    let nobody = nix::unistd::Pid::from_raw(i32::MAX);
    assert_eq!(nix::sys::ptrace::attach(nobody), Err(nix::errno::Errno::EPERM));
    assert_eq!(io_uring::IoUring::new(8).map(drop).unwrap_err().raw_os_error(), NOT_PERMITTED);
    let ring = proactor::Builder::new().build().expect_err("no further ring");
    assert_eq!(ring.gate(), Gate::Seccomp);
    assert_eq!(io::Error::from(ring).kind(), io::ErrorKind::PermissionDenied);
    for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_BLUETOOTH] {
        let refused = Socket::new(Domain::from(family), Type::RAW, None).unwrap_err();
        assert_eq!(refused.raw_os_error(), NOT_PERMITTED, "family {family}");
    }
    for family in [Domain::UNIX, Domain::IPV4, Domain::IPV6] {
        Socket::new(family, Type::STREAM, None).unwrap();
    }
}
