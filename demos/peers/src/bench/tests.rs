//! Made-up figures go through medians, ratios, goals and both forms of the report.

use serde_json::json;

use super::goals::{self, Bound, GOALS};
use super::machine::Machine;
use super::plan::Scenario;
use super::results::{FORMAT, Failure, Measured, Missing, Results, Run, ServerRuns, Summary};
use super::{html, markdown, tables};

/// A name that would be markup, were it not escaped.
const ODD: &str = "<b>odd & |</b>";

/// A run with this processor time per request, in ns, and this part of the time in use.
fn run(round: usize, cpu: f64, busy: f64) -> Run {
    let elapsed = 500_000_000.0;
    let requests = (elapsed * busy / cpu).round();
    let outcome = json!({
        "requests": requests as u64,
        "elapsed_ns": elapsed as u64,
        "connections": 64,
        "latency_ns": {
            "min": 1_000, "p50": 200_000, "p90": 250_000, "p99": 300_000, "p99_9": 400_000, "max": 500_000, "mean": 2e5
        },
        "distribution": [[0.0, 1_000], [0.5, 200_000 + round], [0.9, 250_000]],
        "server_cpu_ns": (requests * cpu).round() as u64,
        "server_rss_bytes": 2 << 20,
        "server_voluntary_switches": 0,
        "idle_bytes_per_connection": null,
        "client_cpu_ns": 1,
        "overload": 0,
        "errors": 0,
    });
    Run { round, stolen: 0.0, waited: 0.01, outcome: serde_json::from_value(outcome).unwrap() }
}

/// Results of one scenario: for each server the processor time in each round.
fn results(scenario: &str, servers: &[(&str, &[f64])]) -> Results {
    let runs = |(server, cpu): &(&str, &[f64])| ServerRuns {
        server: (*server).to_owned(),
        runs: cpu.iter().enumerate().map(|(round, cpu)| run(round, *cpu, 1.0)).collect(),
    };
    let measured = Measured { scenario: scenario.to_owned(), servers: servers.iter().map(runs).collect() };
    Results {
        format: FORMAT,
        machine: Machine::new(),
        rounds: 3,
        is_pinned: true,
        scenarios: vec![measured],
        micro: Vec::new(),
        missing: Vec::new(),
        failures: Vec::new(),
    }
}

fn micro(results: &mut Results, runtime: &str, benchmark: &str, median: f64) {
    let row = json!({
        "runtime": runtime, "benchmark": benchmark, "unit": "ns",
        "median": median, "min": median * 0.9, "max": median * 1.2, "samples": 5,
    });
    results.micro.push(serde_json::from_value(row).unwrap());
}

#[track_caller]
fn assert_close(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-3 * expected.abs(), "{value} is not {expected}");
}

#[test]
fn the_median_is_in_the_middle_and_the_spread_around_it() {
    assert_eq!(Summary::new([f64::NAN]), None);
    let summary = Summary::new([9.0, f64::INFINITY, 1.0, 5.0]).unwrap();
    assert_eq!(summary, Summary { median: 5.0, least: 1.0, greatest: 9.0, count: 3 });
    assert_eq!(summary.spread(), 0.8);
    assert_eq!(Summary::new([4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
    assert_eq!(Summary::new([7.0]).unwrap().spread(), 0.0);
}

#[test]
fn ratios_are_taken_within_a_round() {
    // The machine slows down to a half in the second round, and the first server leads by 10 % throughout.
    let results = results("echo-64", &[("proactor", &[1000.0, 2000.0, 1100.0]), ("uring", &[1100.0, 2200.0, 1210.0])]);
    let ratio = results.ratio(("echo-64", "uring"), ("echo-64", "proactor"), Run::cpu).unwrap();
    assert_close(ratio.median, 1.1);
    assert!(ratio.spread() < 1e-3, "{ratio:?}");
    let cpu = results.summary("echo-64", "proactor", Run::cpu).unwrap();
    assert_close(cpu.median, 1100.0);
    assert_close(cpu.spread(), 500.0 / 1100.0);
    assert!(results.is_saturated("echo-64", "proactor"));
}

#[test]
fn a_round_that_one_of_both_missed_does_not_count() {
    let mut results = results("echo-64", &[("proactor", &[1000.0, 500.0]), ("uring", &[1000.0])]);
    let ratio = results.ratio(("echo-64", "uring"), ("echo-64", "proactor"), Run::cpu).unwrap();
    assert_eq!((ratio.median, ratio.spread()), (1.0, 0.0));
    results.scenarios[0].servers[1].runs.clear();
    assert_eq!(results.ratio(("echo-64", "uring"), ("echo-64", "proactor"), Run::cpu), None);
    assert_eq!(results.ratio(("nowhere", "uring"), ("echo-64", "proactor"), Run::cpu), None);
}

#[test]
fn requests_that_were_never_sent_are_a_problem() {
    let mut results = results("open-50k", &[("smol", &[1000.0, 1000.0])]);
    assert!(tables::problems(&results).is_empty());
    results.scenarios[0].servers[0].runs[1].outcome.overload = 1234;
    let problems = tables::problems(&results).concat();
    assert!(problems.contains("open-50k, smol") && problems.contains("1,234"), "{problems}");
}

#[test]
fn a_single_round_has_no_spread() {
    let of = |cpu: &[f64]| {
        tables::scenario(&results("echo-64", &[("uring", cpu)]), &results("echo-64", &[("uring", cpu)]).scenarios[0])
            .markdown()
    };
    assert!(!of(&[1000.0]).contains('%'), "{}", of(&[1000.0]));
    assert!(of(&[1000.0, 1100.0]).contains("4.8 %"), "{}", of(&[1000.0, 1100.0]));
}

#[test]
fn requests_that_the_client_limits_stand_in_brackets() {
    let mut results = results("echo-64", &[("uring", &[2000.0])]);
    assert_eq!(tables::requests_per_second(&results, "echo-64", "uring"), "500,000");
    results.scenarios[0].servers[0].runs = vec![run(0, 2000.0, 0.5)];
    assert_eq!(tables::requests_per_second(&results, "echo-64", "uring"), "(250,000)");
}

/// What became of the goal of this server over that one.
fn is_met(results: &Results, server: &str, other: &str, place: &str) -> Vec<Option<bool>> {
    let outcomes = GOALS.iter().flat_map(|family| family.outcomes(results));
    let wanted = outcomes.filter(|goal| (goal.server, goal.other, goal.place) == (server, other, place));
    wanted.map(|goal| goal.is_met).collect()
}

#[test]
fn goals_are_met_or_not_by_the_median_ratio() {
    let of = |cpu: &[f64]| {
        let results = results("echo-64", &[("epoll-edge", &[1000.0; 3]), ("reactor-edge", cpu)]);
        is_met(&results, "reactor-edge", "epoll-edge", "echo-64")
    };
    assert_eq!(of(&[1015.0, 1019.0, 3000.0]), [Some(true)]);
    assert_eq!(of(&[900.0, 1022.0, 1023.0]), [Some(false)]);
    assert_eq!(of(&[]), [None]);
}

#[test]
fn a_spread_excuses_only_where_the_goal_says_so() {
    let of = |server: &str, cpu: &[f64]| {
        is_met(&results("echo-64", &[("tokio", &[1000.0; 3]), (server, cpu)]), server, "tokio", "echo-64")
    };
    let close = [950.0, 1010.0, 1050.0];
    assert_eq!(of("reactor-level", &close), [Some(true)]);
    assert_eq!(of("reactor-edge", &close), [Some(false)]);
    assert_eq!(of("reactor-level", &[1010.0; 3]), [Some(false)]);
    assert_eq!(of("reactor-edge", &[1000.0; 3]), [Some(false)]);
    assert_eq!(of("reactor-edge", &[990.0; 3]), [Some(true)]);
}

#[test]
fn goals_of_every_kind_are_looked_up_where_they_are_measured() {
    let mut results = results("active-10k", &[("proactor", &[1100.0; 3]), ("reactor-edge", &[1200.0; 3])]);
    let small =
        |server: &str| ServerRuns { server: server.to_owned(), runs: (0..3).map(|n| run(n, 1000.0, 1.0)).collect() };
    let servers = ["proactor", "reactor-edge", "proactor-spin", "epoll-edge"].map(small);
    results.scenarios.push(Measured { scenario: "echo-64".to_owned(), servers: servers.clone().into() });
    results.scenarios.push(Measured { scenario: "echo-1".to_owned(), servers: servers.clone().into() });
    let mut idle = Measured { scenario: "idle-10k".to_owned(), servers: servers.into() };
    idle.servers[0].runs[0].outcome.idle_bytes_per_connection = Some(599.0);
    idle.servers[1].runs[0].outcome.idle_bytes_per_connection = Some(601.0);
    results.scenarios.push(idle);
    micro(&mut results, "proactor", "spawn", 75.0);
    micro(&mut results, "reactor", "spawn", 75.1);
    assert_eq!(is_met(&results, "proactor", "", "active-10k"), [Some(true)]);
    assert_eq!(is_met(&results, "reactor-edge", "", "active-10k"), [Some(false)]);
    assert_eq!(is_met(&results, "proactor", "", "idle-10k"), [Some(true)]);
    assert_eq!(is_met(&results, "reactor-edge", "", "idle-10k"), [Some(false)]);
    assert_eq!(is_met(&results, "proactor", "", "spawn"), [Some(true)]);
    assert_eq!(is_met(&results, "reactor", "", "spawn"), [Some(false)]);
    assert_eq!(is_met(&results, "proactor-spin", "epoll-edge", "echo-1"), [Some(false)]);
    // 200 µs, as made up above.
    assert_eq!(is_met(&results, "proactor-spin", "", "echo-1"), [Some(false)]);
    let (met, not_met, not_measured) = goals::count(&results);
    assert!(met >= 3 && not_met >= 5 && not_measured > 0, "{met} {not_met} {not_measured}");
}

#[test]
fn goals_name_scenarios_and_bounds_that_exist() {
    for family in GOALS {
        assert!(!family.pairs.is_empty() && !family.places.is_empty(), "{}", family.about);
        for place in family.places {
            let is_micro = matches!(family.measure, goals::Measure::Micro { .. });
            assert_eq!(Scenario::find(place).is_none(), is_micro, "{place}");
        }
    }
    assert_eq!(Bound::AtLeast(0.98).to_string(), "≥ 0.98");
}

/// Results in which everything has an odd name and something went wrong.
fn odd() -> Results {
    let mut results = results(ODD, &[(ODD, &[1000.0, 900.0])]);
    micro(&mut results, ODD, ODD, 5.0);
    results.missing.push(Missing { server: ODD.to_owned(), reason: ODD.to_owned() });
    let failure = Failure { scenario: ODD.to_owned(), server: ODD.to_owned(), round: 0, reason: ODD.to_owned() };
    results.failures.push(failure);
    results.machine.processor = ODD.to_owned();
    results
}

#[test]
fn reports_escape_whatever_they_show() {
    let page = html::report(&odd()).unwrap();
    assert!(!page.contains("<b>") && page.contains("&lt;b&gt;odd &amp; |&lt;/b&gt; cannot run here"), "{page}");
    let text = markdown::report(&odd());
    assert!(text.contains("<b>odd & \\|</b>"), "{text}");
}

#[test]
fn reports_of_nothing_and_of_a_single_round_can_be_written() {
    let mut nothing = results("echo-64", &[]);
    let single = results("echo-64", &[("epoll-edge", &[1000.0]), ("proactor", &[900.0])]);
    let failed = results("echo-64", &[("epoll-edge", &[]), ("proactor", &[])]);
    for results in [&nothing, &single, &failed] {
        let page = html::report(results).unwrap();
        assert!(page.contains("Echo, 64 connections, 64 B") && !page.contains("NaN"), "{page}");
        assert!(!markdown::report(results).contains("NaN"));
    }
    assert!(html::report(&single).unwrap().contains("1.111"));
    nothing.scenarios.clear();
    assert!(html::report(&nothing).unwrap().contains("No figures."));
}

#[test]
fn saved_figures_give_the_same_report() {
    let results = odd();
    let again: Results = serde_json::from_str(&serde_json::to_string(&results).unwrap()).unwrap();
    assert_eq!(html::report(&again).unwrap(), html::report(&results).unwrap());
}
