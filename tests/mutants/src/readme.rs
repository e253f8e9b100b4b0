//! The part of README.md that is made of the patches.

use std::fmt::Write;

use crate::exhibit::{Exhibit, LIB, LOOM, Test};

/// Where it begins.
pub const MARK: &str = "<!-- From here on: cargo run -p mutants -- --readme -->";

/// A table, and the story of each bug.
pub fn generated(exhibits: &[Exhibit]) -> String {
    let mut text = format!("{MARK}\n\n## The bugs, and the tests that find them\n\n| bug | test |\n|---|---|\n");
    for exhibit in exhibits {
        let tests: Vec<_> = exhibit.killers.iter().map(in_markdown).collect();
        let Exhibit { name, subject, .. } = exhibit;
        writeln!(text, "| [{name}](#{name}): {subject} | {} |", tests.join("<br>")).expect("memory");
    }
    text += "\n## Their stories\n";
    for Exhibit { name, subject, seen_in, not_simulated, story, .. } in exhibits {
        write!(text, "\n### {name}\n\n**{subject}.** Seen in: {seen_in}.\n\n{story}\n").expect("memory");
        if let Some(why) = not_simulated {
            write!(text, "\nNo seed of the simulation finds it: {why}.\n").expect("memory");
        }
    }
    text
}

fn in_markdown(test: &Test) -> String {
    let folder = test.binary.folder();
    let place = match test.binary.target.as_str() {
        LIB => format!("{folder}/src"),
        LOOM => format!("{folder}/src, under loom"),
        name => format!("{folder}/tests/{name}.rs"),
    };
    format!("`{place}`: `{}`", test.name)
}
