//! A record as a picture for a terminal: time goes from left to right, each task has a line.

use std::time::Duration;

use super::Record;

/// Characters from the beginning to the end.
const WIDTH: usize = 64;
const TICKS: char = '|';
const IDLE: char = '.';
const WORKS: char = '#';

/// The picture: when each task ticked, and when the work was done.
#[must_use]
pub fn timeline(record: &Record) -> String {
    let mut lines =
        vec![format!("time     0{:>width$}", format!("{} ms", record.ended.as_millis()), width = WIDTH - 1)];
    for (number, ticks) in record.ticks.iter().enumerate() {
        let mut cells = [IDLE; WIDTH];
        ticks.iter().for_each(|tick| cells[column(record, *tick)] = TICKS);
        lines.push(format!("task {:<3} {}", number + 1, String::from_iter(cells)));
    }
    let mut cells = [' '; WIDTH];
    cells[column(record, record.work.0)..=column(record, record.work.1)].fill(WORKS);
    lines.push(format!("work     {}", String::from_iter(cells).trim_end()));
    lines.join("\n")
}

/// The column in which a moment lies.
fn column(record: &Record, at: Duration) -> usize {
    let column = at.as_nanos() * WIDTH as u128 / record.ended.as_nanos().max(1);
    (column as usize).min(WIDTH - 1)
}

#[cfg(test)]
mod tests {
    use sim::Sim;

    use super::*;
    use crate::blocking::{Plan, Way, run};

    #[test]
    fn work_that_is_awaited_costs_no_tick() {
        let sim = Sim::calm(0);
        let plan = Plan { tasks: 2, tick: 10, work: 100 };
        let record = sim.block_on(run(&sim, Way::Awaiting, &plan)).unwrap();
        let ms = Duration::from_millis;
        assert_eq!(record.ticks, vec![(0..20).map(|tick| ms(tick * 10)).collect::<Vec<_>>(); 2]);
        assert_eq!((record.work, record.ended), ((ms(50), ms(150)), ms(200)));
        // Those in between: at 60, 70 and so on until 140.
        assert_eq!((record.during_work(), record.longest_gap()), (18, ms(10)));
        let picture = timeline(&record);
        let lines: Vec<_> = picture.lines().collect();
        assert_eq!(lines.len(), 4, "{picture}");
        assert!(lines[0].ends_with(" 200 ms") && lines[1].matches(TICKS).count() == 20, "{picture}");
        assert!(lines[3].matches(WORKS).count() == 33 && lines[3].starts_with("work              "), "{picture}");
        sim.finish();
    }

    #[test]
    fn a_gap_shows_in_every_line() {
        let ms = Duration::from_millis;
        let ticks: Vec<_> = [0, 10, 20, 90].map(ms).to_vec();
        let record = Record { ticks: vec![ticks; 2], work: (ms(25), ms(85)), ended: ms(100) };
        assert_eq!((record.during_work(), record.longest_gap()), (0, ms(70)));
        let picture = timeline(&record);
        assert!(picture.lines().skip(1).take(2).all(|line| line.matches(TICKS).count() == 4), "{picture}");
    }
}
