//! Debian's Prometheus, 2.x and 3.x, scrapes a real agent under traffic, while its lanes are rekeyed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use xtask::demo::stage::warm_up;
use xtask::lab::agent::Agent;
use xtask::lab::certificates;
use xtask::lab::gateways::Gateways;
use xtask::lab::metrics::{LISTEN, Metrics};
use xtask::lab::prometheus::{Asker, JOB, Prometheus};
use xtask::lab::scenario::{Keying, Scenario};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};
use xtask::setup::prometheus::{Release, find};
use xtask::workspace::Workspace;

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// A port of each class.
const FLOWS: [(&str, u16, u8); 4] = [("voice", 5060, 46), ("video", 5004, 0), ("bulk", 9000, 0), ("default", 7000, 0)];

/// The one value that a query answers.
fn one(asker: &Asker, query: &str) -> f64 {
    let answer = asker.now(query).unwrap();
    assert_eq!(answer.len(), 1, "{query}: {answer:?}");
    answer[0].values[0]
}

#[test]
fn see_prometheus_scrapes_a_real_agent_under_traffic_and_over_rekeys() {
    let workspace = Workspace::find().unwrap();
    let mut gateways = Gateways::start("scrape", Scenario::four_classes(Keying::Psk), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let agent = gateways.agent_of(Side::A);
    let rules = workspace.root().join("dashboards/rules.yml");
    let scraped = "count_over_time(lanekeeper_generation[10m])";
    // Both at once: what an emulated CPU takes for one rekey after the other is taken once.
    let mut started = Vec::new();
    for release in Release::ALL {
        let programs = find(&workspace, release).expect("`cargo xtask setup` brings Prometheus");
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            let mut prometheus = Prometheus::start(&programs, folder.path(), LISTEN.parse()?, &rules)?;
            prometheus.wait_until("a scrape", |asker| !asker.now(scraped).unwrap_or_default().is_empty())?;
            Ok(prometheus)
        };
        started.push((release, agent.ns().run(start).unwrap(), folder));
    }

    let flow = |(name, port, dscp)| Flow { dscp, rate: 50, ..gateways.lab().flow(name, Side::A, Family::V4, port) };
    let before = agent.metrics().unwrap();
    let traffic = Traffic::start(&FLOWS.map(flow)).unwrap();
    for (class, index) in gateways.scenario().lanes() {
        gateways.charon(Side::A).unwrap().swanctl(&format!("--rekey --child {class}.{index}")).unwrap();
        thread::sleep(Duration::from_secs(1));
    }
    // As a rule that the dashboards read has it.
    let rate = "instance_class:lanekeeper_class_bits:rate5m{class=\"voice\",direction=\"out\"}";
    for (_, prometheus, _) in &mut started {
        let moves = |asker: &Asker| asker.now(rate).is_ok_and(|answer| answer.iter().any(|one| one.values[0] > 0.0));
        agent.ns().run(|| prometheus.wait_until("a rate", moves)).unwrap();
    }
    let tallies = traffic.stop().unwrap();
    assert!(tallies.iter().all(|tally| tally.sent > 0 && tally.lost() == 0), "{tallies:?}");

    let after = agent.metrics().unwrap();
    for (class, ..) in FLOWS {
        let used = after.sum("lanekeeper_lane_sequence_used_ratio", &[("class", class)]);
        // Thousands of packets, of four thousand million.
        assert!(used > 0.0 && used < 1e-4, "{class}: {used}");
    }
    let names: BTreeSet<&str> = after.0.keys().map(|series| series.name.as_str()).collect();
    let counters: Vec<&str> =
        names.into_iter().filter(|name| name.starts_with("lanekeeper_") && name.ends_with("_total")).collect();
    assert!(counters.len() > 10, "{counters:?}");
    for (release, prometheus, _) in &mut started {
        let asker = prometheus.asker();
        let ask = || {
            // What is scraped after the end is what the agent says, to the packet.
            let now = one(&asker, scraped);
            prometheus.wait_until("two scrapes more", |asker| one(asker, scraped) >= now + 2.0)?;
            for ((class, ..), tally) in FLOWS.iter().zip(&tallies) {
                let of = |metrics: &Metrics| {
                    metrics.sum("lanekeeper_class_packets_total", &[("class", *class), ("direction", "out")])
                };
                assert_eq!(of(&after) - of(&before), tally.sent as f64, "{class}");
                let said = format!("sum(lanekeeper_class_packets_total{{class=\"{class}\",direction=\"out\"}})");
                assert_eq!(one(&asker, &said), of(&after), "{release:?}: {class}");
            }
            assert_eq!(one(&asker, &format!("up{{job=\"{JOB}\"}}")), 1.0);
            assert!(one(&asker, "sum(increase(lanekeeper_lane_rekeys_total[10m]))") > 0.0, "{release:?}");
            // No counter fell and no series came or went.
            for counter in &counters {
                let answer = asker.now(&format!("sum(resets({counter}[10m]))"))?;
                assert!(answer.iter().all(|one| one.values == [0.0]), "{release:?}: {counter}: {answer:?}");
            }
            let series = format!("count({{__name__=~\"lanekeeper_.*\",job=\"{JOB}\"}})[10m:1s]");
            let count = |what: &str| one(&asker, &format!("{what}_over_time({series})"));
            assert!(count("min") > 50.0, "{release:?}");
            assert_eq!(count("min"), count("max"), "{release:?}");
            Ok(())
        };
        agent.ns().run(ask).unwrap();
    }
    drop(started);
    over_tls(gateways.agent(Side::A), &workspace);
}

/// Each with a way of its own to prove who it is: by a password, and by a certificate.
const IDENTITIES: [(Release, &str); 2] = [
    (
        Release::Two,
        "scheme: https\nbasic_auth: { username: scraper, password: right }\n\
         tls_config: { ca_file: CERTS/ca.pem, server_name: gw }",
    ),
    (
        Release::Three,
        "scheme: https\n\
         tls_config: { ca_file: CERTS/ca.pem, server_name: gw, cert_file: CERTS/scraper.pem, key_file: CERTS/scraper.key }",
    ),
];

/// The same agent under a web-config file that first wants certificates and then, without a reload, passwords.
fn over_tls(agent: &mut Agent, workspace: &Workspace) {
    let certs = agent.runtime().join("web");
    certificates::make(&certs, &["gw", "scraper"]).unwrap();
    let tls = "tls_server_config:\n  cert_file: gw.pem\n  key_file: gw.key\n";
    let mutual = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
    fs::write(certs.join("web.yml"), tls.to_owned() + mutual).unwrap();
    let config = fs::read_to_string(agent.config()).unwrap();
    let web = format!("[metrics]\nweb-config = \"{}\"\n", certs.join("web.yml").display());
    fs::write(agent.config(), config.replace("[metrics]\n", &web)).unwrap();
    agent.must(&["reload"]).unwrap();
    agent.metrics().expect_err("it speaks TLS");

    let rules = workspace.root().join("dashboards/rules.yml");
    let mut started: Vec<_> = IDENTITIES
        .iter()
        .map(|(release, identity)| {
            let programs = find(workspace, *release).expect("`cargo xtask setup` brings Prometheus");
            let folder = tempfile::tempdir().unwrap();
            let identity = identity.replace("CERTS", &certs.display().to_string());
            let start = || Prometheus::start_as(&programs, folder.path(), LISTEN.parse()?, &rules, &identity);
            (agent.ns().run(start).unwrap(), folder)
        })
        .collect();
    let up = format!("up{{job=\"{JOB}\"}}");
    let says = |value: f64| {
        let up = up.clone();
        move |asker: &Asker| asker.now(&up).is_ok_and(|answer| answer.iter().any(|one| one.values == [value]))
    };
    let mut wait = |[with_password, with_certificate]: [f64; 2]| {
        for ((prometheus, _), value) in started.iter_mut().zip([with_password, with_certificate]) {
            agent.ns().run(|| prometheus.wait_until("it is let in or not", says(value))).unwrap();
        }
    };
    wait([0.0, 1.0]);
    let hash = bcrypt::hash("right", 8).unwrap();
    fs::write(certs.join("web.yml"), format!("{tls}basic_auth_users: {{ scraper: \"{hash}\" }}\n")).unwrap();
    wait([1.0, 0.0]);
    let (prometheus, _) = &started[0];
    let asker = prometheus.asker();
    let ask = || {
        for reason in ["certificate", "password"] {
            let refused = one(&asker, &format!("lanekeeper_metrics_refused_total{{reason=\"{reason}\"}}"));
            assert!(refused > 0.0, "{reason}");
        }
        Ok(())
    };
    // What was refused while this was written may be in the next scrape only.
    thread::sleep(Duration::from_secs(3));
    agent.ns().run(ask).unwrap();
    let log = agent.log();
    assert!(!log.contains(&hash) && !log.contains("c2NyYXBlcjpyaWdodA"), "{log}");
}
