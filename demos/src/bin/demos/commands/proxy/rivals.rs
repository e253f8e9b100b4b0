//! Proxies that nobody here wrote, each with a configuration of its own in a temporary directory: what the system
//! has set up for them is neither read nor touched.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::leftovers::Leftover;

/// How long one may take to start.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one may take to end.
const TO_END: Duration = Duration::from_secs(2);

/// A proxy of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    Nginx,
    Haproxy,
}

impl Rival {
    /// The program.
    pub fn name(self) -> &'static str {
        match self {
            Rival::Nginx => "nginx",
            Rival::Haproxy => "haproxy",
        }
    }

    /// Whether it is installed. Both are at home where only administrators look.
    pub fn is_there(self) -> bool {
        self.program().is_some()
    }

    fn program(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
        folders.map(|folder| folder.join(self.name())).find(|file| file.is_file())
    }

    fn command(self, folder: &Path, file: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(self.program().with_context(|| format!("{} is not installed", self.name()))?);
        match self {
            Rival::Nginx => command.arg("-p").arg(folder).arg("-e").arg(folder.join("errors")).arg("-c").arg(file),
            Rival::Haproxy => command.arg("-db").arg("-f").arg(file),
        };
        Ok(command)
    }
}

/// A proxy of others at work. Dropping it ends it, and removes its directory.
pub struct Running {
    process: Child,
    address: SocketAddr,
    /// In this order: the process, and then its directory.
    _ended: Leftover,
    _folder: Leftover,
}

impl Running {
    /// Starts it in front of `servers`.
    pub fn start(rival: Rival, is_http: bool, servers: &[SocketAddr]) -> anyhow::Result<Running> {
        let folder = std::env::temp_dir().join(format!("demos-proxy-{:016x}", fastrand::u64(..)));
        let remove = folder.clone();
        let in_folder = Leftover::removed_by(move || {
            let _ = fs::remove_dir_all(&remove);
        })?;
        fs::create_dir(&folder).context("cannot make a temporary directory")?;
        // A port the kernel says is free. Somebody may be faster; then the start fails, and says so.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let text = match rival {
            Rival::Nginx => nginx(&folder, address, servers),
            Rival::Haproxy => haproxy(is_http, address, servers),
        };
        let file = folder.join("configuration");
        fs::write(&file, text).context("cannot write a configuration")?;
        let mut command = rival.command(&folder, &file)?;
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let id = Pid::from_child(&process);
        let ended = Leftover::removed_by(move || end(id))?;
        let mut running = Running { process, address, _ended: ended, _folder: in_folder };
        running.wait().with_context(|| format!("{} does not start", rival.name()))?;
        Ok(running)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time used so far by it and by its workers, in ns.
    pub fn cpu_ns(&self) -> anyhow::Result<u64> {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().map(str::to_owned);
        let times = children.chain([id.to_string()]).map(|id| {
            let schedstat = fs::read_to_string(format!("/proc/{id}/schedstat"))?;
            schedstat
                .split_whitespace()
                .next()
                .and_then(|time| time.parse::<u64>().ok())
                .context("no time in schedstat")
        });
        times.sum()
    }

    /// Waits until it accepts.
    fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.process.try_wait()? {
                bail!("it ended with {status}");
            }
            if Instant::now() > deadline {
                bail!("it does not accept within {PATIENCE:?}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Ends a child by the signal that lets it end its workers, and waits for it. All of this fails only if it is done
/// already.
fn end(process: Pid) {
    let deadline = Instant::now() + TO_END;
    // Its number is its own until it has been waited for.
    while matches!(waitpid(Some(process), WaitOptions::NOHANG), Ok(None)) {
        let signal = if Instant::now() < deadline { Signal::TERM } else { Signal::KILL };
        let _ = kill_process(process, signal);
        thread::sleep(Duration::from_millis(5));
    }
}

/// One worker, no log, connections to the servers kept: what `demos proxy --http` does.
fn nginx(folder: &Path, address: SocketAddr, servers: &[SocketAddr]) -> String {
    let folder = folder.display();
    let servers: String = servers.iter().map(|server| format!("server {server}; ")).collect();
    format!(
        "daemon off; worker_processes 1; pid {folder}/pid;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            keepalive_requests 1000000000;
            client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            upstream servers {{ {servers} keepalive 64; keepalive_requests 1000000000; }}
            server {{
                listen {address};
                location / {{
                    proxy_pass http://servers;
                    proxy_http_version 1.1;
                    proxy_set_header Connection \"\";
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                }}
            }}
        }}\n"
    )
}

/// The same for HAProxy, with one thread.
fn haproxy(is_http: bool, address: SocketAddr, servers: &[SocketAddr]) -> String {
    let mode = if is_http { "mode http\n option forwardfor\n http-reuse always" } else { "mode tcp" };
    let servers = servers.iter().enumerate();
    let servers: String = servers.map(|(number, server)| format!(" server s{number} {server} check\n")).collect();
    format!(
        "global
 nbthread 1
 maxconn 1024
defaults
 {mode}
 timeout connect 1s
 timeout client 30s
 timeout server 30s
frontend clients
 bind {address}
 default_backend servers
backend servers
 balance roundrobin
{servers}"
    )
}
