//! Devices for human eyes: a line of what each is, one of where it leads, and one of what it carried in each direction.

use std::fmt::{Display, Write};

use super::{Count, Device};

pub(super) fn render(devices: &[Device]) -> String {
    if devices.is_empty() {
        return "no XFRM, VTI or GRE device\n".to_owned();
    }
    devices.iter().fold(String::new(), |mut text, device| {
        let owner = match (&device.owner, &device.tunnel) {
            (Some(owner), Some(tunnel)) => format!("{owner}, tunnel {tunnel}"),
            (Some(owner), None) => owner.clone(),
            (None, _) => "-".to_owned(),
        };
        let Device { name, kind, mtu, .. } = device;
        let _ = writeln!(text, "{name}  {kind}  {}  mtu {mtu}  owner {owner}", device.state.name());
        let leads = leads(device);
        if !leads.is_empty() {
            let _ = writeln!(text, "  {}", leads.join("  "));
        }
        for (way, count) in [("in ", &device.inbound), ("out", &device.outbound)] {
            let Count { packets, bytes, errors, dropped } = count;
            let _ = writeln!(text, "  {way} {packets} packets  {bytes} bytes  {errors} errors  {dropped} dropped");
        }
        text
    })
}

fn leads(device: &Device) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |what: &str, value: Option<&dyn Display>| words.extend(value.map(|value| format!("{what} {value}")));
    say("if_id", device.if_id.as_ref().map(|id| id as &dyn Display));
    let (ikey, okey) = (device.ikey.map(Hex), device.okey.map(Hex));
    if ikey == okey {
        say("key", ikey.as_ref().map(|key| key as &dyn Display));
    } else {
        say("ikey", ikey.as_ref().map(|key| key as &dyn Display));
        say("okey", okey.as_ref().map(|key| key as &dyn Display));
    }
    let has_ends = device.kind != "xfrm" && !device.external;
    let any = "any";
    let end = |address: &Option<std::net::IpAddr>| address.map_or(any.to_owned(), |address| address.to_string());
    if has_ends {
        say("local", Some(&end(&device.local)));
        say("remote", Some(&end(&device.remote)));
    }
    say("over", device.underlying.as_ref().map(|name| name as &dyn Display));
    let fwmark = device.fwmark.map(Hex);
    say("fwmark", fwmark.as_ref().map(|mark| mark as &dyn Display));
    say("netns", device.link_netns.as_ref().map(|id| id as &dyn Display));
    say(if device.master_is_vrf { "vrf" } else { "master" }, device.master.as_ref().map(|name| name as &dyn Display));
    if device.external {
        words.push("external".to_owned());
    }
    words
}

#[derive(PartialEq, Eq)]
struct Hex(u32);

impl Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::tests::device;
    use super::*;

    #[test]
    fn each_says_what_it_is_where_it_leads_and_what_it_carried() {
        let ours = Device {
            if_id: Some(42),
            underlying: Some("wan0".into()),
            owner: Some("lanekeeper".into()),
            tunnel: Some("b7".into()),
            master: Some("blue".into()),
            master_is_vrf: true,
            outbound: Count { packets: 3, bytes: 252, errors: 1, dropped: 2 },
            ..device("lk-b7", "xfrm")
        };
        let vti = Device {
            state: State::Down,
            ikey: Some(1),
            okey: Some(2),
            local: Some("192.0.2.1".parse().unwrap()),
            fwmark: Some(0x20),
            ..device("vti1", "vti")
        };
        let gre = Device { external: true, link_netns: Some(0), state: State::NoCarrier, ..device("gre1", "gre") };
        let none = "  in  0 packets  0 bytes  0 errors  0 dropped\n  out 0 packets  0 bytes  0 errors  0 dropped\n";
        assert_eq!(
            render(&[ours, vti, gre]),
            format!(
                "lk-b7  xfrm  up  mtu 1400  owner lanekeeper, tunnel b7\n  if_id 42  over wan0  vrf blue\n  \
                 in  0 packets  0 bytes  0 errors  0 dropped\n  out 3 packets  252 bytes  1 errors  2 dropped\n\
                 vti1  vti  DOWN  mtu 1400  owner -\n  ikey 0x1  okey 0x2  local 192.0.2.1  remote any  fwmark 0x20\n{none}\
                 gre1  gre  NO CARRIER  mtu 1400  owner -\n  netns 0  external\n{none}"
            )
        );
    }

    #[test]
    fn one_key_for_both_ways_is_said_once_even_if_it_is_zero() {
        let both = Device { ikey: Some(0), okey: Some(0), ..device("gre1", "gre") };
        assert_eq!(leads(&both), ["key 0x0", "local any", "remote any"]);
    }

    #[test]
    fn a_box_without_any_says_so() {
        assert_eq!(render(&[]), "no XFRM, VTI or GRE device\n");
    }
}
