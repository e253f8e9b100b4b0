//! Goal: the pages are pages to a browser, too.
//! Method: a real one without a window fetches them, and prints what it has made of them. Where none is installed that
//! runs here, there is nothing to see.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::process::{Demos, Ended, client, demos, engines, is_installed};

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with a profile of its own.
struct Browser {
    program: &'static str,
    profile: PathBuf,
}

impl Browser {
    /// The one that is installed, if it can show anything here: some can't without a desktop, or outside of a home.
    fn find() -> Option<Browser> {
        let program = NAMES.into_iter().find(|name| is_installed(name));
        let profile = std::env::temp_dir().join(format!("demos-browser-{:016x}", fastrand::u64(..)));
        let browser = Browser { program: program?, profile };
        let shown = browser.show("data:text/html,<p>seen</p>");
        if shown.stdout.contains("<p>seen</p>") {
            return Some(browser);
        }
        eprintln!("not tested against {}: it doesn't run here: {shown:?}", browser.program);
        None
    }

    /// What it makes of a page.
    fn show(&self, url: &str) -> Ended {
        let profile = format!("--user-data-dir={}", self.profile.display());
        let options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"];
        client(Command::new(self.program).args(options).args([&profile[..], url]), b"")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

#[test]
fn a_browser_shows_the_pages() {
    // It takes a second to start: one test for all.
    if let Some(browser) = Browser::find() {
        shows_the_page_of_every_engine(&browser);
        shows_a_report(&browser);
    }
}

fn shows_the_page_of_every_engine(browser: &Browser) {
    for engine in engines() {
        let server = Demos::start(&format!("web --on {engine} --listen 127.0.0.1:0"));
        let shown = browser.show(&format!("http://{}/", server.address()));
        assert!(shown.stdout.contains(&format!("<p>Served by: <b>{engine}</b></p>")), "{engine}: {shown:?}");
        server.signal(Signal::TERM);
        assert!(server.end().status.success(), "{engine}");
    }
}

fn shows_a_report(browser: &Browser) {
    let file = std::env::temp_dir().join(format!("demos-browser-{}.html", std::process::id()));
    let made = demos(&format!("tasks --tasks 100 --threads 2 --processes 1 --html {}", file.display()));
    assert!(made.status.success(), "{made:?}");
    let shown = browser.show(&format!("file://{}", file.display()));
    std::fs::remove_file(&file).unwrap();
    // What is not closed or not known to it, a browser mends or leaves out.
    assert_eq!(shown.stdout.matches("<svg ").count(), 3, "{shown:?}");
    assert_eq!(shown.stdout.matches("</svg>").count(), 3, "{shown:?}");
    assert!(shown.stdout.contains("<title>Tasks, threads, processes</title>"), "{shown:?}");
}
