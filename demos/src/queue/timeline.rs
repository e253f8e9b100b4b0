//! A record as a picture for a terminal: time goes from left to right, everybody has a line.

use std::time::Duration;

use super::{Actor, Plan, Record};

/// Characters from the beginning to the end.
const WIDTH: usize = 64;
/// From an empty queue to a full one.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const WORKS: char = '.';
const WAITS: char = '#';

/// The picture: who works and who waits, and how full the queue is.
#[must_use]
pub fn timeline(plan: &Plan, record: &Record) -> String {
    let line = |name: String, cells: String| format!("{name:<12} {}\n", cells.trim_end());
    let people = |side: fn(u16) -> Actor, name: &str, count: u16| -> String {
        (0..count).map(|number| line(format!("{name} {}", number + 1), activity(record, side(number)))).collect()
    };
    let end = format!("{} ms", record.ended.as_millis());
    let scale = format!("0{end:>width$}", width = WIDTH - 1);
    [
        line("time".to_owned(), scale),
        people(Actor::Producer, "producer", plan.producers),
        line("queue".to_owned(), depths(plan, record)),
        people(Actor::Consumer, "consumer", plan.consumers),
    ]
    .concat()
}

/// The column in which a moment lies.
fn column(record: &Record, at: Duration) -> usize {
    let column = at.as_nanos() * WIDTH as u128 / record.ended.as_nanos().max(1);
    (column as usize).min(WIDTH - 1)
}

/// When somebody worked and when the queue held it up, to its end.
fn activity(record: &Record, actor: Actor) -> String {
    let mut cells = [' '; WIDTH];
    let mut free_since = Duration::ZERO;
    for (at, waited) in record.waits(actor) {
        let blocked_since = at.saturating_sub(waited);
        cells[column(record, free_since)..=column(record, blocked_since)].fill(WORKS);
        // A wait shows if it takes a whole column.
        let (from, to) = (column(record, blocked_since) + 1, column(record, at));
        if from < to {
            cells[from..to].fill(WAITS);
        }
        free_since = at;
    }
    cells.iter().collect()
}

/// How full the queue was at most in each column.
fn depths(plan: &Plan, record: &Record) -> String {
    let mut deepest = [None; WIDTH];
    for event in &record.events {
        let cell = &mut deepest[column(record, event.at)];
        *cell = (*cell).max(Some(event.depth));
    }
    let mut depth = 0;
    let level = |depth: usize| LEVELS[(depth * (LEVELS.len() - 1)).div_ceil(plan.capacity as usize)];
    let mut cell = |seen: Option<usize>| {
        depth = seen.unwrap_or(depth);
        level(depth)
    };
    deepest.into_iter().map(&mut cell).collect()
}

#[cfg(test)]
mod tests {
    use sim::Sim;

    use super::*;
    use crate::queue::run;

    #[test]
    fn the_picture_shows_who_waits() {
        let sim = Sim::calm(0);
        let plan = Plan { producers: 1, consumers: 1, capacity: 2, items: 6, produce: 1, consume: 10 };
        let record = sim.block_on(run(&sim, &plan)).unwrap();
        let picture = timeline(&plan, &record);
        let lines: Vec<_> = picture.lines().collect();
        assert_eq!(lines.len(), 4, "{picture}");
        assert!(lines[0].starts_with("time         0") && lines[0].ends_with("61 ms"), "{picture}");
        assert!(lines[1].starts_with("producer 1   ...") && lines[1].matches(WAITS).count() > 15, "{picture}");
        assert!(lines[2].contains('█'), "{picture}");
        assert!(lines[3].starts_with("consumer 1   ..") && !lines[3].contains(WAITS), "{picture}");
        sim.finish();
    }
}
