//! Runs the built binary. Everything that waits here gives up after [`PATIENCE`], so no test can hang,
//! and every process that is left at the end of a test is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigHandler;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that should happen soon.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running `demos`. Dropping it kills it.
pub struct Demos {
    process: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// What a `demos` that has ended left behind.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Demos {
    /// Starts it with these arguments, separated by spaces, and nothing on stdin.
    pub fn start(arguments: &str) -> Demos {
        Demos::feed(arguments, b"")
    }

    /// Starts it, and writes `input` to its stdin.
    pub fn feed(arguments: &str, input: &[u8]) -> Demos {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demos"));
        Demos::spawn(command.args(arguments.split_whitespace()), input)
    }

    /// Starts it with a lower limit of open files.
    pub fn start_with_files(files: u32, arguments: &str) -> Demos {
        Demos::start_after(&format!("ulimit -n {files}"), arguments)
    }

    /// Starts it by another program, which is given with its own arguments.
    pub fn start_with(program: &str, arguments: &str) -> Demos {
        let mut words = program.split_whitespace().chain(arguments.split_whitespace());
        let mut command = Command::new(words.next().expect("a program"));
        Demos::spawn(command.args(words), b"")
    }

    /// Starts it after what a shell has done to the process.
    pub fn start_after(preparation: &str, arguments: &str) -> Demos {
        let script = format!("{preparation} && exec \"$0\" {arguments}");
        Demos::spawn(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_demos")]), b"")
    }

    fn spawn(command: &mut Command, input: &[u8]) -> Demos {
        hear_signals();
        // Room for the lines of every table, whatever terminal the tests run in.
        if !command.get_envs().any(|(name, _)| name == "COLUMNS") {
            command.env("COLUMNS", "200");
        }
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the binary starts");
        let (mut stdin, input) = (process.stdin.take().expect("piped"), input.to_vec());
        thread::spawn(move || stdin.write_all(&input));
        let stdout = lines_of(process.stdout.take().expect("piped"));
        let stderr = lines_of(process.stderr.take().expect("piped"));
        Demos { process, stdout, stderr }
    }

    /// Starts a program that nobody here wrote, such as a server. It ends when this is dropped.
    pub fn run(command: &mut Command) -> Demos {
        Demos::spawn(command, b"")
    }

    /// Starts it from a thread of a caller who has prepared that, such as by a filter that is handed down.
    pub fn start_by(prepare: impl FnOnce() + Send, arguments: &str) -> Demos {
        thread::scope(|scope| {
            let start = || {
                prepare();
                Demos::start(arguments)
            };
            scope.spawn(start).join().expect("the thread does not panic")
        })
    }

    /// What the kernel calls it.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The address of a server that has just been started.
    pub fn address(&self) -> SocketAddr {
        let line = self.stdout.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let errors: String = self.stderr.recv_timeout(PATIENCE).into_iter().collect();
            panic!("the server did not start: {errors}")
        });
        let rest = line.strip_prefix("listening on ").expect("the line that says where");
        rest.split(' ').next().and_then(|address| address.parse().ok()).expect("an address")
    }

    /// The next line on stdout.
    pub fn first_line(&self) -> String {
        self.stdout.recv_timeout(PATIENCE).expect("a line on stdout")
    }

    /// The next line on stderr.
    pub fn complaint(&self) -> String {
        self.stderr.recv_timeout(PATIENCE).expect("a line on stderr")
    }

    /// Whether it prints a line, rather than ending without one.
    pub fn says_something(&self) -> bool {
        self.stdout.recv_timeout(PATIENCE).is_ok()
    }

    /// Sends SIGTERM when it has printed a line or ended.
    pub fn signal_when_started(&self) {
        if self.says_something() {
            self.signal(Signal::TERM);
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the process exists");
    }

    /// Whether it is still running after this time.
    pub fn runs_for(&mut self, time: Duration) -> bool {
        thread::sleep(time);
        self.process.try_wait().expect("it can be waited for").is_none()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            thread::sleep(Duration::from_millis(1));
        };
        let text = |lines: &Receiver<String>| -> String {
            let rest = std::iter::from_fn(|| lines.recv_timeout(PATIENCE).ok());
            rest.map(|line| line + "\n").collect()
        };
        Ended { status, stdout: text(&self.stdout), stderr: text(&self.stderr) }
    }
}

impl Drop for Demos {
    fn drop(&mut self) {
        if thread::panicking() {
            let state = self.process.try_wait();
            let lines: Vec<_> = self.stdout.try_iter().chain(self.stderr.try_iter()).collect();
            eprintln!("meanwhile the process was {state:?} (None: running) and had said {lines:?}");
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether a program that nobody here wrote is there to test against, such as `nc`. A test goes without those that
/// are missing, and says so; with DEMOS_TESTS_NEED_CLIENTS in the environment, as `.ci/run` sets it, it fails.
pub fn has_client(program: &str) -> bool {
    let is_there = is_installed(program);
    if !is_there {
        assert!(std::env::var_os("DEMOS_TESTS_NEED_CLIENTS").is_none(), "{program} is missing: install it");
        eprintln!("not tested against {program}: it is not installed");
    }
    is_there
}

/// Whether there is a program of this name.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs such a program to its end, with this on its stdin.
pub fn client(command: &mut Command, input: &[u8]) -> Ended {
    Demos::spawn(command, input).end()
}

/// The lines of a pipe, read by a thread, so that they can be waited for with a limit.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
    });
    receiver
}

/// Runs to its end.
pub fn demos(arguments: &str) -> Ended {
    Demos::start(arguments).end()
}

/// Lets what is started from now on get the signals that end it. A background job of a script ignores SIGINT, and one of
/// nohup SIGHUP. A program inherits that, and `demos` leaves it so.
fn hear_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for ending in [nix::sys::signal::SIGINT, nix::sys::signal::SIGHUP, nix::sys::signal::SIGTERM] {
            // SAFETY: no function of this process is put in the place of a handler, and no other code here sets one.
            unsafe { nix::sys::signal::signal(ending, SigHandler::SigDfl) }.expect("these can be handled");
        }
    });
}

/// Figures of a debug build mean little: a command that measures says so, and only then.
pub fn admits_its_build(shown: &str) {
    // A line may end between the two words.
    let words: Vec<_> = shown.split_whitespace().collect();
    let admits = words.windows(2).any(|pair| pair[0] == "debug" && pair[1].starts_with("build"));
    assert_eq!(admits, cfg!(debug_assertions), "{shown}");
}

/// Asks an HTTP server to echo [`BODY`], and returns when the server is in the middle of that: it waits for the body.
pub fn ask_for_long(stream: &mut TcpStream) {
    let head =
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n", BODY.len());
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut interim = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut interim).expect("the server asks for the body");
    assert!(interim.starts_with(b"HTTP/1.1 100 "), "{}", interim.escape_ascii());
}

/// Returns when the server that got a signal accepts no more connections.
pub fn wait_until_closed(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "it still accepts");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What is to be echoed.
pub const BODY: &str = "at last";

/// A connection on which nothing takes longer than [`PATIENCE`].
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// The engines that run on this machine, according to `demos doctor`.
pub fn engines() -> Vec<String> {
    let report: serde_json::Value = serde_json::from_str(&demos("doctor --json").stdout).expect("doctor prints JSON");
    let engines = report["engines"].as_array().expect("a list").iter();
    let available = engines.filter(|engine| engine["verdict"] == "yes");
    available.map(|engine| engine["name"].as_str().expect("a name").to_owned()).collect()
}
