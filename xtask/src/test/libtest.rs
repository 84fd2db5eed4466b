//! What a test binary of Rust's libtest prints, read back.

use super::tally::Tally;

/// Names in the answer to `--list --format terse`.
pub fn names(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_string).collect()
}

/// Counts the results in `output` of a process that exited with `exit`; a signal leaves no status.
///
/// With `expected` names, one without a result has failed: its process died or was stopped before. Without, a test
/// that was begun and has no result has failed. If the process exited with 0 and says that as many passed as are
/// expected, they have, whatever somebody else wrote into their lines.
pub fn count(output: &str, expected: Option<&[String]>, exit: Option<i32>) -> Tally {
    let mut tally = Tally::default();
    if let Some(expected) = expected.filter(|expected| exit == Some(0) && all_passed(output) == Some(expected.len())) {
        expected.iter().for_each(|_| tally.pass());
        return tally;
    }
    let results = results(output);
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
    // It did not build, or died beside its tests or after them.
    if tally.failed() == 0 && exit != Some(0) {
        let how = exit.map_or("it was killed".to_string(), |status| format!("it exited with {status}"));
        tally.fail("exit", &format!("no test failed, and {how}"));
    }
    tally
}

/// How many passed, if the last summary says that none failed and none was left out.
fn all_passed(output: &str) -> Option<usize> {
    let (_, summary) = output.rsplit_once("test result: ok. ")?;
    let (passed, rest) = summary.split_once(" passed; ")?;
    if rest.starts_with("0 failed; 0 ignored; ") { passed.parse().ok() } else { None }
}

/// Every test that was begun, in order, with its result if there is one.
///
/// A test with one thread prints its name first and its result later, and a process that it started may have written
/// lines between the two: one that is a result and no more closes the open test.
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
    match text.trim() {
        "ok" => Some(true),
        "FAILED" => Some(false),
        // It has not run, and here nothing is skipped.
        text if text == "ignored" || text.starts_with("ignored,") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(output: &str, expected: Option<&[&str]>) -> String {
        exited(output, expected, Some(0))
    }

    fn exited(output: &str, expected: Option<&[&str]>, exit: Option<i32>) -> String {
        let expected = expected.map(|names| names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        let tally = count(output, expected.as_deref(), exit);
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
    fn output_of_a_child_amid_the_lines_of_results_does_not_hide_that_all_passed() {
        let all = |summary: &str| {
            format!("test one ... oknoise\n\nnoisetest two ... ok\n\ntest result: {summary}; 0 measured;\n")
        };
        let names: Option<&[&str]> = Some(&["one", "two"]);
        assert_eq!(said(&all("ok. 2 passed; 0 failed; 0 ignored"), names), "2 passed, 0 failed; ");
        let left = "0 passed, 2 failed; one: no result; two: it was never begun";
        assert_eq!(said(&all("ok. 1 passed; 0 failed; 0 ignored"), names), left);
        assert_eq!(said(&all("ok. 2 passed; 0 failed; 1 ignored"), names), left);
        assert_eq!(said(&all("FAILED. 2 passed; 0 failed; 0 ignored"), names), left);
        assert_eq!(exited(&all("ok. 2 passed; 0 failed; 0 ignored"), names, Some(101)), left);
        assert_eq!(said(&all("ok. 2 passed; 0 failed; 0 ignored"), None), "0 passed, 1 failed; one: no result");
    }

    #[test]
    fn output_of_a_child_is_no_result() {
        let noise = "test one ... charon is ok\nignored: all is ok\nlink ok";
        assert_eq!(said(noise, None), "0 passed, 1 failed; one: no result");
        assert_eq!(said(&format!("{noise}\nFAILED\n"), None), "0 passed, 1 failed; one");
    }

    #[test]
    fn a_process_that_fails_without_a_failed_test_has_failed() {
        let passed = "test one ... ok\n";
        assert_eq!(exited(passed, None, Some(101)), "1 passed, 1 failed; exit: no test failed, and it exited with 101");
        assert_eq!(exited(passed, None, None), "1 passed, 1 failed; exit: no test failed, and it was killed");
        assert_eq!(exited("", None, Some(101)), "0 passed, 1 failed; exit: no test failed, and it exited with 101");
        assert_eq!(exited("test one ... FAILED\n", None, Some(101)), "0 passed, 1 failed; one");
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
