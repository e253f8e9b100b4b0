//! `demos proxy --compare` and what it starts of others.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Demos, PATIENCE};

/// Programs called nginx and haproxy, which do nothing but be there.
#[test]
fn a_comparison_that_is_ended_leaves_nothing_behind() {
    let folder = std::env::temp_dir().join(format!("demos-rivals-{:016x}", fastrand::u64(..)));
    let (programs, temporary) = (folder.join("programs"), folder.join("temporary"));
    std::fs::create_dir_all(&programs).unwrap();
    for rival in ["nginx", "haproxy"] {
        let program = programs.join(rival);
        let own = folder.join(rival);
        std::fs::write(&program, format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", own.display())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        std::fs::create_dir(&temporary).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_demos"));
        let command = command.args(["proxy", "--compare"]).env("PATH", &path).env("TMPDIR", &temporary);
        let comparing = Demos::run(command);
        let deadline = Instant::now() + PATIENCE;
        let rival = loop {
            let number = std::fs::read_to_string(folder.join("nginx")).unwrap_or_default();
            match number.trim().parse::<u32>() {
                Ok(number) => break number,
                Err(_) => assert!(Instant::now() < deadline, "no nginx is started"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 1);
        comparing.signal(signal);
        let ended = comparing.end();
        assert_eq!(ended.status.signal(), Some(signal.as_raw()), "{ended:?}");
        assert!(!std::path::Path::new(&format!("/proc/{rival}")).exists(), "nginx is still there");
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "a folder is left");
        std::fs::remove_dir(&temporary).unwrap();
        std::fs::remove_file(folder.join("nginx")).unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
