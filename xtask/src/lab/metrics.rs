//! `/metrics` of an agent, fetched inside its namespace.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::netns::Ns;

/// Where every agent of the lab listens.
pub const LISTEN: &str = "127.0.0.1:9738";

/// One reading of every series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(pub BTreeMap<Series, f64>);

/// A name and its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// `lanekeeper_...`.
    pub name: String,
    /// Sorted by name.
    pub labels: BTreeMap<String, String>,
}

impl Metrics {
    /// Fetches them.
    pub fn scrape(ns: &Ns) -> Result<Self> {
        Self::parse(&Self::text(ns)?)
    }

    /// Fetches them as they are served.
    pub fn text(ns: &Ns) -> Result<String> {
        ns.run(fetch)
    }

    /// Sum over the series of `name` that carry all of `labels`; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|(_, value)| value).sum()
    }

    /// As [`Metrics::sum`], for counters.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels) as u64
    }

    /// The series of `name` that carry all of `labels`.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a Series, f64)> {
        self.0
            .iter()
            .filter(move |(series, _)| {
                series.name == name
                    && labels.iter().all(|(key, value)| series.labels.get(*key).is_some_and(|v| v == value))
            })
            .map(|(series, value)| (series, *value))
    }

    /// Series whose name ends in `_total` that are lower here than in `earlier`, or gone.
    pub fn fallen_since(&self, earlier: &Self) -> Vec<Series> {
        let counters = earlier.0.iter().filter(|(series, _)| series.name.ends_with("_total"));
        counters
            .filter(|(series, before)| self.0.get(*series).is_none_or(|now| now < *before))
            .map(|(series, _)| series.clone())
            .collect()
    }

    /// Reads the text format.
    pub fn parse(text: &str) -> Result<Self> {
        let mut metrics = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (series, value) = sample(line).with_context(|| format!("metrics line {line:?}"))?;
            metrics.insert(series, value);
        }
        Ok(Self(metrics))
    }
}

fn sample(line: &str) -> Option<(Series, f64)> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (head, ""),
    };
    let labels = labels
        .split_terminator("\",")
        .filter_map(|label| {
            let (key, value) = label.split_once("=\"")?;
            Some((key.to_owned(), value.trim_end_matches('"').to_owned()))
        })
        .collect();
    Some((Series { name: name.to_owned(), labels }, value.parse().ok()?))
}

fn fetch() -> Result<String> {
    let mut stream = TcpStream::connect(LISTEN).with_context(|| format!("connect to {LISTEN}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: lab\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => bail!("{LISTEN}/metrics answered {:?}", answer.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_takes_the_series_that_carry_the_labels() {
        let text = "# TYPE a_total counter\na_total{class=\"voice\",lane=\"0\"} 3\na_total{class=\"bulk\",lane=\"0\"} 4\nup 1\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.count("a_total", &[]), 7);
        assert_eq!(metrics.count("a_total", &[("class", "voice")]), 3);
        assert_eq!(metrics.count("up", &[]), 1);
    }

    #[test]
    fn lost_and_falling_counters_are_named() {
        let earlier = Metrics::parse("a_total 3\nb_total 1\ng 9\n").unwrap();
        let later = Metrics::parse("a_total 2\ng 1\n").unwrap();
        let names: Vec<String> = later.fallen_since(&earlier).into_iter().map(|series| series.name).collect();
        assert_eq!(names, ["a_total", "b_total"]);
    }
}
