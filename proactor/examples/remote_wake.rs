//! Another thread spawns onto the runtime, wakes a task, and stops the program.
//!
//! cargo run -p proactor --example proactor-remote-wake

use std::time::Duration;

use proactor::Proactor as Rt;

fn main() -> std::io::Result<()> {
    let rt = Rt::new()?;
    let remote = rt.remote();
    let thread = std::thread::spawn(move || {
        for n in 1..=3 {
            std::thread::sleep(Duration::from_millis(100));
            // The closure crosses the threads; the future it makes is born and stays over there.
            let sent = remote.spawn(move || async move { println!("task {n} of another thread") });
            if sent.is_err() {
                return;
            }
        }
        remote.stop();
    });
    rt.block_on(rt.stopped());
    println!("stopped; {}", rt.stats());
    thread.join().expect("the thread panicked");
    Ok(())
}
