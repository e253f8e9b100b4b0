//! Shows that the tests can fail: puts the classic bugs of async runtimes in, one after another, each into a copy
//! of the project, and runs the tests that must find it. See README.md.

mod exhibit;
mod lab;
mod readme;
mod scratch;

use std::collections::BTreeMap;
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

use exhibit::{Binary, Exhibit, Test};
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
    let mut tests = BTreeMap::<&Binary, Vec<&Test>>::new();
    for test in exhibits.iter().flat_map(|exhibit| &exhibit.killers) {
        let tests = tests.entry(&test.binary).or_default();
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    for (binary, tests) in tests {
        let start = Instant::now();
        let executable = match lab.build(binary)? {
            Built::Binary(executable) => executable,
            Built::Refused(why) => {
                bail!("without any bug {} {} does not compile:\n{why}", binary.package, binary.target)
            }
        };
        for test in &tests {
            match lab.run(&executable, test)? {
                Ran::Passed => {}
                Ran::Missing => bail!("there is no test {test}: bring its `Killed-by` up to date"),
                Ran::Failed(How::Hang, printed) => {
                    bail!("without any bug {test} takes longer than --limit {limit:?}\n{printed}")
                }
                Ran::Failed(_, printed) => bail!("{test} fails without any bug; mend that first\n{printed}"),
            }
        }
        let (package, target) = (&binary.package, &binary.target);
        println!("  {package} {target}: {} pass ({:.0} s)", tests.len(), start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn examine(lab: &Lab, exhibit: &Exhibit) -> Result<Verdict> {
    let changes = match exhibit.apply(lab.tree()) {
        Ok(changes) => changes,
        Err(why) => return Ok(Verdict::DoesNotApply(format!("{why:#}"))),
    };
    let _infected = Scratch::infect(changes)?;
    let mut verdict = None;
    for test in &exhibit.killers {
        let executable = match lab.build(&test.binary)? {
            Built::Binary(executable) => executable,
            Built::Refused(why) => return Ok(Verdict::DoesNotCompile(why)),
        };
        match lab.run(&executable, test)? {
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
            let package = project().join(&test.binary.package);
            let mut sources = scratch::files(&package).unwrap();
            sources.retain(|name| name.extension().is_some_and(|extension| extension == "rs"));
            let found = sources.into_iter().any(|name| {
                let source = fs::read_to_string(package.join(name)).unwrap();
                source.contains(&function) || source.contains(&scenario)
            });
            assert!(found, "there is no test {test}");
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
