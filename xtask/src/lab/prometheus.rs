//! A Prometheus of its own: scrapes one target, keeps what it has in a folder, answers queries on loopback.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process::Process;
use crate::setup::prometheus::Programs;

/// The job of its target.
pub const JOB: &str = "lanekeeper";

/// Until it listens, and until it has scraped.
const PATIENCE: Duration = Duration::from_secs(60);

/// Running; ended at drop.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
}

/// One series of an answer: its labels and its values, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Name and labels, as JSON.
    pub labels: Value,
    /// Values alone.
    pub values: Vec<f64>,
}

impl Prometheus {
    /// Starts it in an empty folder; it scrapes `target` every second, and reads the rules of that file.
    pub fn start(programs: &Programs, folder: &Path, target: SocketAddr, rules: &Path) -> Result<Self> {
        Self::start_as(programs, folder, target, rules, "")
    }

    /// The same, with these lines of YAML in the job: how it proves who it is.
    pub fn start_as(
        programs: &Programs,
        folder: &Path,
        target: SocketAddr,
        rules: &Path,
        identity: &str,
    ) -> Result<Self> {
        let identity: String = identity.lines().map(|line| format!("    {line}\n")).collect();
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: ['{}']\nscrape_configs:\n  \
             - job_name: {JOB}\n{identity}    static_configs:\n      - targets: ['{target}']\n",
            rules.display()
        );
        Self::start_with(programs, folder, &config)
    }

    /// Starts it on what is in the folder's `tsdb`; it scrapes nothing.
    pub fn over(programs: &Programs, folder: &Path) -> Result<Self> {
        Self::start_with(programs, folder, "global:\n  scrape_interval: 1m\n")
    }

    fn start_with(programs: &Programs, folder: &Path, config: &str) -> Result<Self> {
        fs::write(folder.join("prometheus.yml"), config)?;
        // Free now; whoever takes it first has it, and then Prometheus ends and says so.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(&programs.prometheus);
        command.current_dir(folder).arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=tsdb");
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", &mut command, &folder.join("prometheus.log"))?;
        let mut prometheus = Self { process, address };
        prometheus.wait_until("it is ready", |prometheus| prometheus.get("/-/ready").is_ok())?;
        Ok(prometheus)
    }

    /// Waits until what is asked for holds.
    pub fn wait_until(&mut self, goal: &str, mut holds: impl FnMut(&Asker) -> bool) -> Result<()> {
        let asker = Asker(self.address);
        self.process.wait_until(PATIENCE, goal, || holds(&asker))
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// To be asked.
    pub fn asker(&self) -> Asker {
        Asker(self.address)
    }
}

/// Asks a Prometheus.
#[derive(Debug, Clone, Copy)]
pub struct Asker(SocketAddr);

impl Asker {
    /// What a query answers now.
    pub fn now(&self, query: &str) -> Result<Vec<Answer>> {
        let data = self.api("query", &[("query", query)])?;
        answers(&data["data"]["result"]).with_context(|| query.to_owned())
    }

    /// What it answers at each second from `start` to `end`, in seconds since 1970.
    pub fn range(&self, query: &str, start: u64, end: u64) -> Result<Vec<Answer>> {
        let (start, end) = (start.to_string(), end.to_string());
        let data = self.api("query_range", &[("query", query), ("start", &start), ("end", &end), ("step", "1")])?;
        answers(&data["data"]["result"]).with_context(|| query.to_owned())
    }

    /// Values of a label among the series of a selector.
    pub fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>> {
        let data = self.api(&format!("label/{label}/values"), &[("match[]", selector)])?;
        let values = data["data"].as_array().with_context(|| format!("{data}"))?;
        Ok(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The answer to a call of its API; an error with its words where it refuses.
    pub fn api(&self, call: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let parameters: Vec<String> =
            parameters.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
        let body = self.get(&format!("/api/v1/{call}?{}", parameters.join("&")))?;
        let answer: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
        if answer["status"] != "success" {
            bail!("{call}: {answer}");
        }
        Ok(answer)
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.0).with_context(|| format!("connect to {}", self.0))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: lab\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.lines().next().is_some_and(|line| line.contains(" 200 ")) => Ok(body.to_owned()),
            _ => bail!("{path} answered {answer:?}"),
        }
    }
}

fn answers(result: &Value) -> Result<Vec<Answer>> {
    let one = |series: &Value| {
        let points = series["values"].as_array().cloned().unwrap_or_else(|| vec![series["value"].clone()]);
        let values = points.iter().map(|point| point[1].as_str()?.parse().ok()).collect::<Option<_>>();
        Some(Answer { labels: series["metric"].clone(), values: values? })
    };
    result.as_array().and_then(|list| list.iter().map(one).collect()).with_context(|| format!("no series: {result}"))
}

/// For a URL's query: all but letters and digits by their numbers.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instants_and_ranges_are_read_alike() {
        let answer = answers(&json!([{ "metric": { "class": "voice" }, "value": [1.5, "7"] }])).unwrap();
        assert_eq!(answer, [Answer { labels: json!({ "class": "voice" }), values: vec![7.0] }]);
        let answer = answers(&json!([{ "metric": {}, "values": [[1, "7"], [2, "NaN"]] }])).unwrap();
        assert!(answer[0].values[1].is_nan());
        assert!(answers(&json!({ "scalar": 1 })).is_err());
    }

    #[test]
    fn queries_are_safe_in_a_url() {
        assert_eq!(encode("a{b=\"c\"}"), "a%7Bb%3D%22c%22%7D");
    }
}
