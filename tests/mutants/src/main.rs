//! Shows that the tests can fail: puts the classic bugs of async runtimes in, one after another, each into a copy
//! of the project, and runs the tests that must find it. See README.md.

mod exhibit;
mod lab;
mod readme;
mod scratch;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use signal_hook::consts::SIGPIPE;
use signal_hook::flag;

use exhibit::{Exhibit, Kit, Test};
use lab::{Built, How, Lab, Ran};
use scratch::Scratch;

/// Puts each bug of the museum into a copy of the project, and expects the tests that are named for it to fail.
///
/// The project itself is not touched, whatever happens. The exit code is 0 only if every test passed without
/// the bugs, and every bug was found.
#[derive(Parser)]
#[command(about, long_about)]
struct Arguments {
    /// Only the bugs whose names contain one of these
    names: Vec<String>,
    /// Says what there is, and runs nothing
    #[arg(long)]
    list: bool,
    /// Prints the part of README.md that is made of the patches, and runs nothing
    #[arg(long, conflicts_with = "list")]
    readme: bool,
    /// How long a test may take before it counts as hanging, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    limit: u64,
}

/// What became of a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Every test that is named for it failed; how the first one did, and what it said.
    Killed(How, String),
    /// This test passed.
    Survived(Test),
    /// The code is no longer as the patch expects.
    DoesNotApply(String),
    /// That proves nothing about the tests.
    DoesNotCompile(String),
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/mutants lies in the project")
}

/// The exhibits that were asked for.
fn chosen(names: &[String]) -> Result<Vec<Exhibit>> {
    let mut exhibits = exhibit::all(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    exhibits.retain(|exhibit| names.is_empty() || names.iter().any(|name| exhibit.name.contains(name)));
    ensure!(!exhibits.is_empty(), "no bug has a name like that: --list shows them all");
    Ok(exhibits)
}

/// Runs the tests without any bug: one that fails anyway proves nothing.
fn rehearse(lab: &Lab, exhibits: &[Exhibit], limit: Duration) -> Result<()> {
    // Built in the same company as later, so that what they share is there already.
    let mut kits = BTreeMap::<BTreeSet<(String, bool)>, Kit>::new();
    for kit in exhibits.iter().flat_map(Exhibit::kits) {
        let company = kit.iter().map(|binary| (binary.package.clone(), binary.is_loom())).collect();
        kits.entry(company).or_default().extend(kit);
    }
    let mut left: BTreeSet<&Test> = exhibits.iter().flat_map(|exhibit| &exhibit.killers).collect();
    for kit in kits.values() {
        let start = Instant::now();
        let binaries = match lab.build(kit)? {
            Built::Binaries(binaries) => binaries,
            Built::Refused(why) => bail!("without any bug this does not compile:\n{why}"),
        };
        let (tests, later) = left.into_iter().partition(|test| kit.contains(&test.binary));
        left = later;
        for test in &tests {
            match lab.run(&binaries[&test.binary], test)? {
                Ran::Passed => {}
                Ran::Missing => bail!("there is no test {test}: bring its `Killed-by` up to date"),
                Ran::Failed(How::Hang, printed) => {
                    bail!("without any bug {test} takes longer than --limit {limit:?}\n{printed}")
                }
                Ran::Failed(_, printed) => bail!("{test} fails without any bug; mend that first\n{printed}"),
            }
        }
        let packages: BTreeSet<_> = kit.iter().map(|binary| binary.package.as_str()).collect();
        let packages = packages.into_iter().collect::<Vec<_>>().join(" and ");
        println!("  {packages}: {} pass ({:.0} s)", tests.len(), start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn examine(lab: &Lab, exhibit: &Exhibit) -> Result<Verdict> {
    let changes = match exhibit.apply(lab.tree()) {
        Ok(changes) => changes,
        Err(why) => return Ok(Verdict::DoesNotApply(format!("{why:#}"))),
    };
    let _infected = Scratch::infect(changes)?;
    let mut binaries = BTreeMap::new();
    for kit in exhibit.kits() {
        match lab.build(&kit)? {
            Built::Binaries(built) => binaries.extend(built),
            Built::Refused(why) => return Ok(Verdict::DoesNotCompile(why)),
        }
    }
    let mut verdict = None;
    for test in &exhibit.killers {
        match lab.run(&binaries[&test.binary], test)? {
            Ran::Failed(how, printed) => verdict = verdict.or(Some(Verdict::Killed(how, lab::reason(&printed)))),
            Ran::Passed | Ran::Missing => return Ok(Verdict::Survived(test.clone())),
        }
    }
    Ok(verdict.expect("each exhibit has a test"))
}

impl Verdict {
    fn in_words(&self) -> String {
        match self {
            Verdict::Killed(How::Assertion, _) => "killed".to_owned(),
            Verdict::Killed(How::Hang, _) => "killed: hangs".to_owned(),
            Verdict::Killed(How::Crash, _) => "killed: crashes".to_owned(),
            Verdict::Survived(test) => format!("SURVIVED {test}"),
            Verdict::DoesNotApply(why) => format!("DOES NOT APPLY: {why}"),
            Verdict::DoesNotCompile(_) => "DOES NOT COMPILE".to_owned(),
        }
    }
}

fn run(exhibits: &[Exhibit], limit: Duration) -> Result<bool> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project().join("target"), PathBuf::from);
    // Relative to where the command was given.
    let scratch = Scratch::new(project(), &std::path::absolute(target)?)?;
    println!("a copy of the project lies in {}; the first time, all of it has to be built", scratch.tree.display());
    let lab = Lab::new(scratch, limit);
    let start = Instant::now();
    println!("without any bug:");
    rehearse(&lab, exhibits, limit)?;
    println!("with a bug:");
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["bug", "test", "verdict", "s"]);
    let mut killed = 0;
    for (number, exhibit) in exhibits.iter().enumerate() {
        let start = Instant::now();
        let verdict = examine(&lab, exhibit)?;
        let (words, seconds) = (verdict.in_words(), format!("{:.0}", start.elapsed().as_secs_f64()));
        println!("  {:>2}/{} {}: {words} ({seconds} s)", number + 1, exhibits.len(), exhibit.name);
        match &verdict {
            Verdict::DoesNotCompile(why) => println!("{why}"),
            Verdict::Killed(_, reason) if !reason.is_empty() => println!("        {reason}"),
            _ => {}
        }
        killed += usize::from(matches!(verdict, Verdict::Killed(..)));
        let tests: Vec<_> = exhibit.killers.iter().map(Test::to_string).collect();
        table.add_row([&exhibit.name, &tests.join("\n"), &words, &seconds]);
    }
    println!("{table}");
    let seconds = start.elapsed().as_secs();
    println!("{killed} of {} bugs were found, in {}:{:02} minutes", exhibits.len(), seconds / 60, seconds % 60);
    Ok(killed == exhibits.len())
}

fn list(exhibits: &[Exhibit]) {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["name", "bug", "test"]);
    if stdout().is_terminal() {
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    }
    for exhibit in exhibits {
        let tests: Vec<_> = exhibit.killers.iter().map(Test::to_string).collect();
        table.add_row([&exhibit.name, &exhibit.subject, &tests.join("\n")]);
    }
    println!("{table}");
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    // Who reads no more has seen enough: `--list | head -1`.
    flag::register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true)))?;
    let exhibits = chosen(&arguments.names)?;
    if arguments.list {
        list(&exhibits);
    } else if arguments.readme {
        print!("{}", readme::generated(&exhibits));
    } else if !run(&exhibits, Duration::from_secs(arguments.limit))? {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    use exhibit::Binary;

    #[test]
    fn every_patch_applies() {
        let exhibits = chosen(&[]).unwrap();
        assert!(exhibits.len() >= 24, "only {} bugs", exhibits.len());
        for exhibit in exhibits {
            let changes = exhibit.apply(project()).unwrap_or_else(|error| panic!("{}: {error:#}", exhibit.name));
            assert!(!changes.is_empty() && changes.iter().all(|change| change.before != change.after));
        }
    }

    #[test]
    fn every_test_that_is_named_exists() {
        for test in chosen(&[]).unwrap().iter().flat_map(|exhibit| &exhibit.killers) {
            let last = test.name.rsplit("::").next().unwrap();
            // A function, or the identifier of a scenario.
            let (function, scenario) = (format!("fn {last}"), format!("\"{last}\""));
            let package = project().join(test.binary.folder());
            let mut sources = scratch::files(&package).unwrap();
            sources.retain(|name| name.extension().is_some_and(|extension| extension == "rs"));
            let found = sources.into_iter().any(|name| {
                let source = fs::read_to_string(package.join(name)).unwrap();
                source.contains(&function) || source.contains(&scenario)
            });
            assert!(found, "there is no test {test}");
        }
    }

    /// Whether a test runs on seeds of the simulation.
    fn is_seeded(test: &Test) -> bool {
        let Binary { package, target } = &test.binary;
        let path = project().join(test.binary.folder()).join("tests").join(target).with_extension("rs");
        package == exhibit::SIM
            && fs::read_to_string(path)
                .unwrap()
                .split("#[test]")
                .any(|source| source.contains(&format!("fn {}()", test.name)) && source.contains("sim::for_each_seed("))
    }

    #[test]
    fn the_simulation_finds_what_is_simulated() {
        for exhibit in chosen(&[]).unwrap() {
            let simulated = [project().join("executor"), project().join("demos")];
            let changes = exhibit.apply(project()).unwrap();
            let is_simulated = changes.iter().any(|change| simulated.iter().any(|part| change.path.starts_with(part)));
            let is_found = exhibit.killers.iter().any(is_seeded);
            assert!(
                !is_simulated || is_found != exhibit.not_simulated.is_some(),
                "{}: name a test of tests/sim that uses for_each_seed, or say in `Not-simulated` why there is none",
                exhibit.name
            );
        }
    }

    #[test]
    fn the_readme_says_what_the_patches_say() {
        let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
        let expected = readme::generated(&chosen(&[]).unwrap());
        assert!(
            readme.ends_with(&expected),
            "replace everything from {:?} on by what `cargo run -p mutants -- --readme` prints",
            readme::MARK
        );
    }
}
