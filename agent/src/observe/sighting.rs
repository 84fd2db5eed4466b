//! One packet and what is decided on it, as a line of JSON and as one for eyes.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::dscp;

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Into the tunnel.
    Out,
    /// Out of it.
    In,
}

/// What was seen. Tenant, rule, class, mark, tunnel, lane, unparsed and blocked are what they are to `explain --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Microseconds since 1970.
    #[serde(rename = "time", serialize_with = "seconds", deserialize_with = "microseconds")]
    pub at: u64,
    /// The tunnel's device; of a tunnel without one, that by which the packet came in.
    pub device: String,
    /// Which way.
    pub direction: Direction,
    /// The interface that it came in by; `null` for the host's own and for one that is gone.
    pub interface: Option<String>,
    /// IP protocol by its name, or its number.
    pub protocol: Option<String>,
    /// Inner source.
    pub source: Option<IpAddr>,
    /// Its port.
    pub source_port: Option<u16>,
    /// Inner destination.
    pub destination: Option<IpAddr>,
    /// Its port.
    pub destination_port: Option<u16>,
    /// 0..=63.
    pub dscp: Option<u8>,
    /// Bytes from the IP header on; of a packet that is yet to be cut into segments, of all of it.
    pub length: u32,
    /// Whose it is; `null` for nobody's.
    pub tenant: Option<String>,
    /// What decided: a rule's name, or its place in the file where it has none; `null` where the default applied, and for what
    /// came out of a tunnel.
    pub rule: Option<String>,
    /// Its class; `null` where no tables are loaded for the device.
    pub class: Option<String>,
    /// What it leaves with; `null` where it does not leave by the tunnel.
    pub mark: Option<u32>,
    /// Its tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// `CLASS.INDEX`, of its own class or of one that this falls back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Why it takes another class's lane: `no_lane` where none of its own class is up, `not_carried` where the tunnel has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Why it was not wholly read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unparsed: Option<String>,
    /// Why it is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Its first bytes in hexadecimal, from the IP header on, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

fn seconds<S: serde::Serializer>(at: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    // A double has room for microseconds until the year 2255.
    serializer.serialize_f64(*at as f64 / 1e6)
}

fn microseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok((f64::deserialize(deserializer)? * 1e6).round() as u64)
}

impl Sighting {
    /// When it was seen, since 1970.
    pub fn time(&self) -> Duration {
        Duration::from_micros(self.at)
    }

    /// One JSON object, without its newline and without bytes.
    pub fn json(&self) -> String {
        serde_json::to_string(&Self { bytes: None, ..self.clone() }).expect("our own types serialise")
    }

    /// One line, without its newline.
    pub fn text(&self) -> String {
        let time = self.time();
        let (seconds, direction) =
            (time.as_secs() % 86_400, if self.direction == Direction::Out { "out" } else { "in" });
        let mut text = format!(
            "{:02}:{:02}:{:02}.{:06} {} {direction} ",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            time.subsec_micros(),
            self.device
        );
        let end = |address: IpAddr, port: Option<u16>| match (address, port) {
            (address, None) => address.to_string(),
            (address, Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        };
        if let (Some(protocol), Some(source), Some(destination)) = (&self.protocol, self.source, self.destination) {
            let (from, to) = (end(source, self.source_port), end(destination, self.destination_port));
            let _ = write!(text, "{protocol} {from} > {to} dscp {} ", dscp::show(self.dscp.unwrap_or(0)));
        }
        let _ = write!(text, "length {}: ", self.length);
        if let Some(tenant) = &self.tenant {
            let _ = write!(text, "tenant {tenant}, ");
        }
        if let Some(class) = &self.class {
            let _ = write!(text, "{class}");
            match (self.direction, &self.rule) {
                (Direction::Out, Some(rule)) => drop(write!(text, " by {rule}")),
                (Direction::Out, None) => text += " by default",
                (Direction::In, _) => {}
            }
            text += ", ";
        }
        if let Some(unparsed) = &self.unparsed {
            let _ = write!(text, "unread: {unparsed}, ");
        }
        match (&self.lane, &self.blocked, &self.fallback) {
            (_, Some(reason), _) => drop(write!(text, "blocked: {reason}")),
            (Some(lane), None, Some(reason)) => drop(write!(text, "falls back to lane {lane}: {reason}")),
            (Some(lane), None, None) => drop(write!(text, "lane {lane}")),
            (None, None, _) => text += "no lane",
        }
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn sighting() -> Sighting {
        Sighting {
            at: 1_764_214_633_123_456,
            device: "lk-branch7".into(),
            direction: Direction::Out,
            interface: Some("lan0".into()),
            protocol: Some("udp".into()),
            source: Some("10.1.0.5".parse().unwrap()),
            source_port: Some(4000),
            destination: Some("10.2.0.9".parse().unwrap()),
            destination_port: Some(5060),
            dscp: Some(46),
            length: 200,
            tenant: None,
            rule: Some("sip".into()),
            class: Some("voice".into()),
            mark: Some(1),
            tunnel: Some("branch-7".into()),
            lane: Some("voice.0".into()),
            fallback: None,
            unparsed: None,
            blocked: None,
            bytes: Some("4500".into()),
        }
    }

    #[test]
    fn json_has_the_names_of_explain_and_comes_back_as_it_was() {
        let json = sighting().json();
        assert_eq!(
            json,
            r#"{"time":1764214633.123456,"device":"lk-branch7","direction":"out","interface":"lan0","protocol":"udp","source":"10.1.0.5","source_port":4000,"destination":"10.2.0.9","destination_port":5060,"dscp":46,"length":200,"tenant":null,"rule":"sip","class":"voice","mark":1,"tunnel":"branch-7","lane":"voice.0"}"#
        );
        assert_eq!(serde_json::from_str::<Sighting>(&json).unwrap(), Sighting { bytes: None, ..sighting() });
    }

    #[test]
    fn a_line_says_what_becomes_of_it_and_why() {
        let line = sighting().text();
        assert_eq!(
            line,
            "03:37:13.123456 lk-branch7 out udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef length 200: voice by sip, lane voice.0"
        );
        let ending = |sighting: Sighting| sighting.text().split_once(": ").unwrap().1.to_owned();
        let fallen = Sighting {
            lane: Some("default.0".into()),
            fallback: Some("no_lane".into()),
            tenant: Some("acme".into()),
            rule: None,
            ..sighting()
        };
        assert_eq!(ending(fallen), "tenant acme, voice by default, falls back to lane default.0: no_lane");
        let blocked = Sighting { lane: None, mark: None, blocked: Some("no_lane".into()), ..sighting() };
        assert_eq!(ending(blocked), "voice by sip, blocked: no_lane");
        let arrived = Sighting { direction: Direction::In, rule: None, mark: None, ..sighting() };
        assert!(arrived.text().contains(" in udp ") && ending(arrived) == "voice, lane voice.0");
        let unread = Sighting {
            protocol: None,
            source: None,
            destination: None,
            rule: None,
            unparsed: Some("truncated".into()),
            ..sighting()
        };
        assert_eq!(
            unread.text(),
            "03:37:13.123456 lk-branch7 out length 200: voice by default, unread: truncated, lane voice.0"
        );
        let six = Sighting {
            source: Some("2001:db8::5".parse().unwrap()),
            destination: Some("2001:db8::9".parse().unwrap()),
            destination_port: None,
            ..sighting()
        };
        assert!(six.text().contains("[2001:db8::5]:4000 > 2001:db8::9 dscp"), "{}", six.text());
    }
}
