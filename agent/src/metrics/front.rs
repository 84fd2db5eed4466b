//! The page at `/`, for sites without Grafana: one file, which reads `/metrics` and changes nothing.

/// The whole of it.
pub const PAGE: &str = include_str!("front.html");

/// What a browser lets the page do: run its own style and script, known by their hashes, and ask where it came from. Text
/// never becomes markup: with `trusted-types 'none'` a browser refuses to parse any.
pub const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-nn/EreSrFuYTXZLuXU0vlymKqh+FgLtxAyUNCaFI1ak='; \
    script-src 'sha256-3V0gjnQG6Txufq0h/j4PBCO8de0mTsc2jFYd01wsWFc='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::metrics::METRICS;

    /// Base64 of the SHA-256 of what stands between two tags of the page, by programs of every Linux.
    fn hash(element: &str) -> String {
        let (_, rest) = PAGE.split_once(&format!("<{element}>")).unwrap();
        let (inside, rest) = rest.split_once(&format!("</{element}>")).unwrap();
        assert!(!rest.contains(&format!("<{element}")), "two of {element}");
        let script = "sha256sum | head -c 64 | tr a-f A-F | basenc --base16 --decode | base64";
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(inside.as_bytes()).unwrap();
        String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn the_policy_has_the_hashes_of_the_pages_style_and_script() {
        for element in ["style", "script"] {
            let hash = hash(element);
            assert!(POLICY.contains(&format!("{element}-src 'sha256-{hash}';")), "{element}: sha256-{hash}");
        }
    }

    #[test]
    fn the_page_asks_for_metrics_that_there_are() {
        let (_, script) = PAGE.split_once("<script>").unwrap();
        let calls = ["of('", "one('"].into_iter().flat_map(|call| script.split(call).skip(1));
        let asked: Vec<&str> = calls.map(|rest| rest.split_once('\'').unwrap().0).collect();
        assert!(asked.len() > 10, "{asked:?}");
        for name in asked {
            // A histogram is asked for by its buckets.
            let metric_name = format!("lanekeeper_{}", name.strip_suffix("_bucket").unwrap_or(name));
            assert!(METRICS.iter().any(|metric| metric.name == metric_name), "{name}");
        }
    }

    #[test]
    fn the_page_is_small_and_takes_nothing_from_elsewhere() {
        assert!(PAGE.len() < 25 * 1024, "{}", PAGE.len());
        // Names of namespaces, which nobody fetches.
        let bare = PAGE.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "//", "src=", "@import", "url(", "style=", "onclick", "innerHTML"] {
            let found = bare.lines().find(|line| line.contains(outside) && !line.contains("// "));
            assert_eq!(found, None, "{outside}");
        }
    }
}
