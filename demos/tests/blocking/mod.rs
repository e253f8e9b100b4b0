//! `demos blocking`: no tick while the thread is blocked, and ticks while it is not.

use crate::process::{demos, engines};

#[test]
fn a_blocked_thread_ticks_never_and_the_cures_tick_on() {
    for engine in engines() {
        let shown = demos(&format!("blocking --on {engine} --tasks 3 --tick 4 --work 80"));
        assert!(shown.status.success(), "{shown:?}");
        let ticks = |code: &str| -> usize {
            let row = shown.stdout.lines().find(|line| line.starts_with(&format!("│ {code}")));
            let cells: Vec<_> = row.expect("a row for each way").split(['│', '┆']).map(str::trim).collect();
            cells[3].parse().unwrap()
        };
        // All is on one thread, so this is no matter of time.
        assert_eq!(ticks("std::thread::sleep"), 0, "{engine}: {}", shown.stdout);
        // Some 57, but for a machine that is busy.
        assert!(ticks("rt.sleep") > 3 && ticks("rt.spawn_blocking") > 3, "{engine}: {}", shown.stdout);
    }
}
