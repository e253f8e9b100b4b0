//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use ::tests::scenarios::Scenario;
use anyhow::bail;
use clap::Parser;

/// The least that is worth calling a soak, for each scenario on each engine.
const WORTHWHILE: Duration = Duration::from_secs(1);

/// Runs every scenario on every engine, one after the other, for as long as you like.
///
/// Each runs in a process of its own and gets an equal part of the duration, but one round at least. At the end
/// there is a table of what was done. The exit code is 0 if all went as it has to, 1 if a scenario failed, and 130
/// after Ctrl-C.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  soak                                      everything, 20 minutes in all
  soak --duration 8h --json night.json      a night
  soak --duration 10m --engine proactor     one engine
  soak K1 K1-http --duration 1h             two scenarios, on each of their engines
  soak P18 --engine proactor --seed 7       one run again, from the same seed"
)]
pub struct Cli {
    /// What to run, such as K1. Default: all.
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,

    /// Run on this engine only; can be given several times. Default: all that a scenario is for.
    #[arg(long = "engine", value_name = "NAME")]
    pub engines: Vec<String>,

    /// How long to go on, all together, such as 30s, 5m or 8h.
    #[arg(long, value_name = "TIME", default_value = "20m", value_parser = duration)]
    pub duration: Duration,

    /// Where all random numbers begin. Default: a new one each time, which is printed.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Say what there is, and run nothing.
    #[arg(long)]
    pub list: bool,

    /// Also write everything to FILE.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Run the one scenario in this very process, and print a report for the parent.
    #[arg(long, hide = true)]
    pub child: bool,
}

impl Cli {
    /// The scenarios asked for.
    pub fn select(&self) -> anyhow::Result<Vec<Scenario>> {
        let all = ::tests::scenarios::all();
        for id in &self.scenarios {
            if !all.iter().any(|scenario| scenario.id.eq_ignore_ascii_case(id)) {
                bail!("there is no scenario {id}: --list names all there are");
            }
        }
        for engine in &self.engines {
            if !all.iter().any(|scenario| scenario.engine == *engine) {
                let mut known: Vec<_> = all.iter().map(|scenario| scenario.engine).collect();
                known.sort_unstable();
                known.dedup();
                bail!("there is no engine {engine}: give one of {}", known.join(", "));
            }
        }
        let is_meant = |scenario: &Scenario| {
            let by_id = self.scenarios.iter().any(|id| scenario.id.eq_ignore_ascii_case(id));
            let by_engine = self.engines.iter().any(|engine| scenario.engine == *engine);
            (self.scenarios.is_empty() || by_id) && (self.engines.is_empty() || by_engine)
        };
        let chosen: Vec<_> = all.into_iter().filter(is_meant).collect();
        if chosen.is_empty() {
            bail!("none of these scenarios is for {}: --list says which engines each is for", self.engines.join(", "));
        }
        Ok(chosen)
    }

    /// What to say if the duration is too short for so many runs.
    pub fn warning(&self, runs: usize) -> Option<String> {
        let enough = WORTHWHILE * u32::try_from(runs).unwrap_or(u32::MAX);
        (self.duration < enough).then(|| {
            format!(
                "{} is short for {runs} runs: each does one round at least, so it may take longer; \
                 give --duration {} or more, or fewer scenarios",
                humantime::format_duration(self.duration),
                humantime::format_duration(enough)
            )
        })
    }
}

/// Parses a time such as `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text);
    parsed.map_err(|error| format!("{error}: give a number with its unit, such as 30s, 5m or 8h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::CommandFactory;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("5").is_err_and(|error| error.contains("such as 30s")));
    }

    #[test]
    fn what_is_not_there_is_refused_with_the_remedy() {
        let refusal = |line| parse(line).select().unwrap_err().to_string();
        assert!(refusal("soak Z99").contains("--list"));
        assert!(refusal("soak --engine tokio").contains("reactor-level"));
        assert!(refusal("soak K1 --engine proactor-oneshot").contains("--list"));
    }

    #[test]
    fn scenarios_and_engines_narrow_the_choice() {
        let chosen = parse("soak p18 K1 --engine proactor").select().unwrap();
        let mut names: Vec<_> = chosen.iter().map(|scenario| (scenario.id, scenario.engine)).collect();
        names.sort_unstable();
        assert_eq!(names, [("K1", "proactor"), ("P18", "proactor")]);
        assert_eq!(parse("soak").select().unwrap().len(), ::tests::scenarios::all().len());
    }

    #[test]
    fn a_short_duration_is_said_to_be_one() {
        assert!(parse("soak --duration 5s").warning(20).unwrap().contains("--duration 20s"));
        assert_eq!(parse("soak --duration 5m").warning(20), None);
    }
}
