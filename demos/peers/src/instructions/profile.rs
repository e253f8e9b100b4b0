//! What callgrind has written down.

use anyhow::{Context, ensure};

/// The functions that take memory from the heap.
const ALLOCATORS: &[&str] = &["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"];

/// What a process has cost in user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub instructions: u64,
    pub system_calls: u64,
    pub allocations: u64,
}

impl Cost {
    /// Reads a profile: the sums from its `totals` line, the allocations from its calls.
    pub fn parse(profile: &str) -> anyhow::Result<Cost> {
        let line = |key: &str| profile.lines().rev().find_map(|line| line.strip_prefix(key));
        let events: Vec<_> = line("events:").context("the profile names no events")?.split_ascii_whitespace().collect();
        let totals = line("totals:").context("the profile has no totals: it is not complete")?;
        let totals: Vec<u64> = totals.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let total = |name: &str| {
            let place = events.iter().position(|event| *event == name);
            let place = place.with_context(|| format!("the profile does not count {name}"))?;
            // Zeros at the end of a line are left out.
            anyhow::Ok(totals.get(place).copied().unwrap_or(0))
        };
        let (instructions, system_calls) = (total("Ir")?, total("sysCount")?);
        ensure!(instructions > 0, "the profile is empty");
        Ok(Cost { instructions, system_calls, allocations: allocations(profile)? })
    }
}

/// Sums up the calls of allocators. A called function stands in a line before that of the calls. Its name
/// comes with its number the first time, and is left out later.
fn allocations(profile: &str) -> anyhow::Result<u64> {
    let (mut allocators, mut called, mut sum) = (Vec::new(), "", 0);
    for line in profile.lines() {
        if let Some(function) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            // What calls itself has a mark behind its name.
            if ALLOCATORS.contains(&name.split('\'').next().unwrap_or_default()) {
                allocators.push(number);
            }
            called = number;
        } else if let Some(calls) = line.strip_prefix("calls=")
            && allocators.contains(&called)
        {
            let count = calls.split(' ').next().unwrap_or_default();
            sum += count.parse::<u64>().with_context(|| format!("the profile has a line {line:?}"))?;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "# callgrind format\nversion: 1\npositions: line\nevents: Ir sysCount sysTime\n\
        summary: 900 4 7\n\nfn=(1) main\n12 30\ncfn=(2) malloc\ncalls=5 0\n12 100\ncfn=(3) free\ncalls=6 0\n12 50\n\
        fn=(2)\n3 100\ncfn=(4) _int_malloc\ncalls=5 0\n3 60\n\nfn=(5) other\n4 1 1\ncfi=(2) malloc.c\ncfn=(2)\n\
        calls=7 +3\n* 80\ncfn=(6) realloc'2\ncalls=1 0\n\ntotals: 1000 5 9\n";

    #[test]
    fn totals_and_allocations_are_found() {
        let cost = Cost { instructions: 1000, system_calls: 5, allocations: 13 };
        assert_eq!(Cost::parse(PROFILE).unwrap(), cost);
    }

    #[test]
    fn zeros_at_the_end_are_left_out() {
        let profile = PROFILE.replace("totals: 1000 5 9", "totals: 1000");
        assert_eq!(Cost::parse(&profile).unwrap().system_calls, 0);
    }

    #[test]
    fn what_is_no_profile_is_an_error() {
        for (profile, complaint) in [
            (String::new(), "names no events"),
            (PROFILE.replace("totals:", "total:"), "not complete"),
            (PROFILE.replace("sysCount", "Dr"), "does not count sysCount"),
            (PROFILE.replace("totals: 1000", "totals: 0"), "is empty"),
            (PROFILE.replace("totals: 1000", "totals: many"), "invalid digit"),
        ] {
            let error = Cost::parse(&profile).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
