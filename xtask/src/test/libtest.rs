//! What a test binary of Rust's libtest prints, read back.

use super::tally::Tally;

/// Names in the answer to `--list --format terse`.
pub fn names(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_string).collect()
}

/// Counts the results in `output`.
///
/// With `expected` names, one without a result has failed: its process died or was stopped before. Without, a test
/// that was begun and has no result has failed.
pub fn count(output: &str, expected: Option<&[String]>) -> Tally {
    let results = results(output);
    let mut tally = Tally::default();
    for (name, passed) in &results {
        match passed {
            Some(true) => tally.pass(),
            Some(false) => tally.fail(name, ""),
            None => tally.fail(name, "no result"),
        }
    }
    for name in expected.unwrap_or_default() {
        if !results.iter().any(|(other, _)| other == name) {
            tally.fail(name, "it was never begun");
        }
    }
    tally
}

/// Every test that was begun, in order, with its result if there is one.
///
/// A test with one thread prints its name first and its result later, and a process that it started may have written
/// between the two: a line that ends in a result and begins nothing closes the open test.
fn results(output: &str) -> Vec<(String, Option<bool>)> {
    let mut results: Vec<(String, Option<bool>)> = Vec::new();
    for line in output.lines() {
        if let Some((name, rest)) = begun(line) {
            results.push((name, verdict(rest)));
        } else if let Some(open) = results.last_mut().filter(|(_, result)| result.is_none()) {
            open.1 = verdict(line);
        }
    }
    results
}

/// `test module::name ... rest`; the name loses ` - should panic`.
fn begun(line: &str) -> Option<(String, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ...")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    Some((name.to_string(), rest))
}

fn verdict(text: &str) -> Option<bool> {
    // An ignored test has not run, and here nothing is skipped.
    let ends = |word: &str| text.trim_end().ends_with(word);
    if ends("ok") {
        Some(true)
    } else if ends("FAILED") || text.trim_start().starts_with("ignored") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(output: &str, expected: Option<&[&str]>) -> String {
        let expected = expected.map(|names| names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        let tally = count(output, expected.as_deref());
        format!("{tally}; {}", tally.failures().join("; "))
    }

    #[test]
    fn results_are_counted() {
        let output = "\nrunning 3 tests\ntest a::one ... ok\ntest two - should panic ... ok\ntest three ... FAILED\n\
                      \nfailures:\n\n---- three stdout ----\n\ntest result: FAILED. 2 passed; 1 failed; 0 ignored;\n";
        assert_eq!(said(output, Some(&["a::one", "two", "three"])), "2 passed, 1 failed; three");
    }

    #[test]
    fn output_of_a_child_does_not_hide_a_result() {
        assert_eq!(said("test one ... noise\nmore\nok\ntest two ... ok\n", None), "2 passed, 0 failed; ");
    }

    #[test]
    fn a_test_without_a_result_has_failed() {
        assert_eq!(said("test one ... ok\ntest two ... ", None), "1 passed, 1 failed; two: no result");
        let died = said("test one ... ok\n", Some(&["one", "two"]));
        assert_eq!(died, "1 passed, 1 failed; two: it was never begun");
    }

    #[test]
    fn an_ignored_test_has_failed() {
        assert_eq!(said("test one ... ignored, no reason\n", None), "0 passed, 1 failed; one");
    }

    #[test]
    fn a_list_gives_the_names_of_tests_only() {
        assert_eq!(names("a::one: test\nspeed: benchmark\n\n"), ["a::one"]);
    }
}
