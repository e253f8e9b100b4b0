//! The limits a user may want to change, as command-line arguments.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::limits::{BODY, HEADER_TIMEOUT, IDLE_TIMEOUT, Limits, REQUESTS, STALL_TIMEOUT};
use super::site::Site;

/// Arguments of the HTTP server, to be flattened into a command.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "HTTP server")]
pub struct HttpArgs {
    /// Serve the regular files below DIR under /files/ (no listings, no symbolic links)
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Largest request body in bytes; /echo keeps a whole body in memory for each connection
    #[arg(long, value_name = "BYTES", default_value_t = BODY)]
    pub max_body: u64,

    /// Requests served on one connection before it is closed
    #[arg(long, value_name = "N", default_value_t = REQUESTS, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_requests: u64,

    /// Seconds a client may take to send the whole header of a request
    #[arg(long, value_name = "SECONDS", default_value_t = HEADER_TIMEOUT.as_secs_f64(), value_parser = seconds)]
    pub header_timeout: f64,

    /// Seconds an idle keep-alive connection is kept open
    #[arg(long, value_name = "SECONDS", default_value_t = IDLE_TIMEOUT.as_secs_f64(), value_parser = seconds)]
    pub idle_timeout: f64,

    /// Seconds a request body or a response may make no progress before it is given up
    #[arg(long, value_name = "SECONDS", default_value_t = STALL_TIMEOUT.as_secs_f64(), value_parser = seconds)]
    pub stall_timeout: f64,
}

impl HttpArgs {
    /// The limits these arguments ask for; all others are the defaults.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            body: self.max_body,
            requests: self.max_requests,
            header_timeout: duration(self.header_timeout),
            idle_timeout: duration(self.idle_timeout),
            stall_timeout: duration(self.stall_timeout),
            ..Limits::default()
        }
    }

    /// The site these arguments describe.
    ///
    /// # Errors
    /// As [`Site::new`].
    pub fn site(&self) -> io::Result<Site> {
        Site::new(self.limits(), self.root.as_deref())
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 => Ok(seconds),
        _ => Err("a number of seconds above 0 is wanted, such as 10 or 0.5".to_owned()),
    }
}

/// What is too long for a `Duration` (infinity, too) stands for "never".
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        http: HttpArgs,
    }

    fn parse(args: &[&str]) -> Result<HttpArgs, clap::Error> {
        Command::try_parse_from([&["demo"], args].concat()).map(|command| command.http)
    }

    #[test]
    fn without_arguments_the_limits_are_the_defaults() {
        let args = parse(&[]).unwrap();
        assert_eq!((args.limits(), args.root), (Limits::default(), None));
    }

    #[test]
    fn arguments_become_limits_and_senseless_ones_are_refused() {
        let limits = parse(&["--idle-timeout", "0.5", "--max-body=0", "--stall-timeout", "inf"]).unwrap().limits();
        assert_eq!((limits.idle_timeout, limits.body), (Duration::from_millis(500), 0));
        assert_eq!(limits.stall_timeout, Duration::MAX);
        for senseless in ["--idle-timeout=0", "--header-timeout=-1", "--stall-timeout=NaN", "--max-requests=0"] {
            assert!(parse(&[senseless]).is_err(), "{senseless}");
        }
    }
}
