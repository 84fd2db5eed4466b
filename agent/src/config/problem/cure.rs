//! The way out of each.

use super::Problem;

impl Problem {
    /// What to do about it.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } | Self::Include { .. } => {
                Some("see that it is there and that you may read it".to_owned())
            }
            Self::Pattern { .. } => Some("write it like \"rules.d/*.toml\"".to_owned()),
            Self::NestedInclude { by } => Some(format!("move this line to {by}: only the main file includes")),
            Self::Syntax { first, .. } => first
                .then(|| "what refers from one part of the config to another is checked once this is right".to_owned()),
            Self::DuplicateKey { .. } | Self::DuplicateTable { .. } => Some("keep one of them".to_owned()),
            Self::UnknownKey { cure, .. } | Self::UnknownName { cure, .. } => Some(cure.clone()),
            Self::NotYet { cure, .. } => Some((*cure).to_owned()),
            Self::Value { reason, .. } => reason.cure(),
            Self::SetTwice { .. } => Some("keep one of them, best in the main file".to_owned()),
            Self::NameTaken { .. } => Some("rename one of them".to_owned()),
            Self::Twice { .. } => Some("say it once".to_owned()),
            Self::NoDefault => Some("add [default] with class = \"...\", or a class named \"default\"".to_owned()),
            Self::NotCarried { class, whose, tunnels, .. } => Some(match tunnels.as_slice() {
                [] if !whose.is_empty() => format!("add a [[tunnel]]{whose}: this config has none"),
                [] => "add a [[tunnel]]: this config has none".to_owned(),
                _ => format!("add \"{class}\" to the classes of a tunnel: {}", tunnels.join(", ")),
            }),
            Self::OnlyRules { .. } => Some("put it into the agent's file, then `lanekeeper reload`".to_owned()),
            Self::NoRules => Some("write each rule like in the agent's file, below a line [[rule]]".to_owned()),
            Self::Unnamed { .. } => Some("add name = \"...\"".to_owned()),
            Self::FallbackLoop { .. } => Some("end the chain with fallback = \"block\" at one of them".to_owned()),
            Self::MaskZero => Some("leave [mark] out for 0x000000ff, or take bits that nobody else uses".to_owned()),
            Self::MaskGaps { mask } => {
                let whole = (u32::MAX << mask.trailing_zeros()) & (u32::MAX >> mask.leading_zeros());
                Some(format!("did you mean {whole:#010x}?"))
            }
            Self::OuterOfLanes { .. } => Some("take bits that nothing else sets, as 0x00002000".to_owned()),
            Self::MaskSmall { mask, lanes, .. } => Some(wider(*mask, *lanes, "lanes")),
            Self::MaskClasses { mask, classes, .. } => Some(wider(*mask, *classes, "classes")),
            Self::PortIsDevice { .. } => Some(
                "ports are the interfaces that packets come in by from the LAN; what comes out of a tunnel is its class's already"
                    .to_owned(),
            ),
            Self::TooMany { cure, .. } => Some((*cure).to_owned()),
            Self::FallbackLong { .. } => {
                Some("end the chain with fallback = \"block\" at an earlier class, or carry fewer of them".to_owned())
            }
            Self::IfIdTaken { free, .. } => Some(format!("{free} is free; both ends of a tunnel may differ in it")),
            Self::KeyTaken { free, .. } => Some(format!("{free} is free; both ends of a tunnel may differ in it")),
            Self::KeyIsMark { free, .. } => {
                Some(format!("whatever has its mark enters a VTI, wherever it is routed to: take {free:#x}"))
            }
            Self::KeyTwice { .. } => Some("write key alone, or ikey and okey".to_owned()),
            Self::OfOtherDevice { key, of, .. } => Some(format!("take {key} out: it is for type = \"{of}\"")),
            Self::NoDevice { key: "routes", .. } => Some(
                "take routes out: whatever is for remote-ts enters the tunnel, wherever it is routed to; or take type = \"xfrm\""
                    .to_owned(),
            ),
            Self::NoDevice { key, .. } => Some(format!("take {key} out, or take type = \"xfrm\"")),
            Self::OfCharon { key, .. } => Some(match *key {
                "mtu" => "take mtu out: kernel-libipsec's is 1400".to_owned(),
                _ => format!("take {key} out: a TUN device has charon's virtual IPs"),
            }),
            Self::TunTakesAll { .. } => Some("add remote-ts = [\"10.2.0.0/16\"]: the networks on the peer's side".to_owned()),
            Self::TunKeys { .. } => Some("take [tunnel.ike], or type = \"xfrm\"".to_owned()),
            Self::NoSelectors { key, .. } => Some(match *key {
                "local-ts" => "add local-ts = [\"10.1.0.0/16\"]: the networks on this side".to_owned(),
                _ => "add remote-ts = [\"10.2.0.0/16\"]: the networks on the peer's side".to_owned(),
            }),
            Self::SelectorsMeet { .. } => {
                Some("name only what is on each side, or take type = \"xfrm\", which takes any selectors".to_owned())
            }
            Self::SelectorsAroundEnds { .. } => Some(
                "name the networks behind the two, without their outer addresses, or take type = \"xfrm\"".to_owned(),
            ),
            Self::BehindBoth { .. } => Some(
                "a packet's tunnel is found by its destination: keep them apart, or take type = \"xfrm\" for one of them, and \
                 routes"
                    .to_owned(),
            ),
            Self::NothingMarks { .. } => Some(
                "add a [[port]] for each interface of the LAN, or mark-sockets = true in [host] for what the host itself sends"
                    .to_owned(),
            ),
            Self::BareOwned { .. } => {
                Some("take it out: the tunnel is then for all; or give it a device, type = \"xfrm\"".to_owned())
            }
            Self::OneLane { .. } => Some(
                "list one class of one lane, which all others fall back to, or take type = \"xfrm\": an XFRM interface carries \
                 any number of lanes"
                    .to_owned(),
            ),
            Self::LanesOfGre { .. } => Some(
                "write lanes = 1 for the class, or take type = \"xfrm\": an XFRM interface carries any number of lanes".to_owned(),
            ),
            Self::NoKeys { .. } => Some(
                "add key = 1 to the device, on both ends: the first device has that key, and the next ones those behind it"
                    .to_owned(),
            ),
            Self::NumberedLong { name, long, most, .. } => {
                let room = name.len().saturating_sub(long.len().saturating_sub(*most));
                Some(format!("take a name of {room} bytes at most: further devices are called NAME-2, NAME-3 and so on"))
            }
            Self::FallbackOfGre { .. } => Some(
                "write fallback = \"block\" for the class, list one class alone, or take type = \"xfrm\": an XFRM interface carries \
                 both"
                    .to_owned(),
            ),
            Self::NothingChooses { .. } => Some(
                "add a [[port]] for each interface of the LAN, or mark-sockets = true in [host] for what the host itself sends; or \
                 list one class alone"
                    .to_owned(),
            ),
            Self::SeveralOwned { .. } => Some(
                "take it out: the tunnel is then for all; or list one class alone, or take type = \"xfrm\"".to_owned(),
            ),
            Self::EndsTaken { .. } => Some(
                "give one of the tunnels an address of its own, or make one tunnel with an XFRM interface of them".to_owned(),
            ),
            Self::DeviceTaken { .. } => Some(
                "rename one of them; or have both by one XFRM interface: with the same if-id, or external = true, in each".to_owned(),
            ),
            Self::LinkIsTunnel { .. } => Some(
                "name the device by which ESP leaves the machine, or take link out: its packets are then routed by the main table"
                    .to_owned(),
            ),
            Self::RouteTaken { .. } => Some("take it out of one of them, or make one more specific".to_owned()),
            Self::OuterDscpDiffers { .. } => Some(
                "list the same classes in the same order in both tunnels: outgoing ESP packets are told apart by addresses \
                 and mark alone"
                    .to_owned(),
            ),
            Self::Families { .. } => Some("take addresses of one family; what goes inside may be of both".to_owned()),
            Self::SameEnds { .. } => Some("local is this gateway, remote is its peer".to_owned()),
            Self::NotEndpoint { .. } => Some("write the gateway's own unicast address".to_owned()),
            Self::MtuSmall { .. } => Some("take 1280 at least (RFC 8200 section 5), or IPv4 only".to_owned()),
            Self::NoPorts { .. } => Some("take the ports out, or write a rule with one of these protocols".to_owned()),
            Self::NotOfHost { .. } => Some("take one of the two out, or write a rule for each".to_owned()),
            Self::NotTcp { .. } => Some("take the flags out, or write a rule with protocol = \"tcp\"".to_owned()),
            Self::NotIcmp { .. } => {
                Some("write protocol = \"icmp\" or \"icmpv6\": a type has another meaning in each of them".to_owned())
            }
            Self::MarkOurs { rest, .. } => Some(match rest {
                Some(rest) => format!("did you mean \"{rest}\"?"),
                None => "match bits of others, or move [mark] mask".to_owned(),
            }),
            Self::TunnelOwned { .. } => Some(
                "take it out of one of them; a tunnel that no tenant names is for all that have none of their own"
                    .to_owned(),
            ),
            Self::EmptyTenant { .. } => {
                Some("add interfaces = [\"vlan12\"] or sources = [\"10.1.12.0/24\"]".to_owned())
            }
            Self::Keying { .. } => Some(
                "[tunnel.ike] for strongSwan, [tunnel.adopt] for a connection of your own swanctl.conf, [tunnel.static] for \
                 keys from a file"
                    .to_owned(),
            ),
            Self::NotOurs { key, .. } => {
                let there = match *key {
                    "replay-window" => "replay_window",
                    "local-ts" => "local_ts",
                    _ => "remote_ts",
                };
                Some(format!("write it as {there} of the child in swanctl.conf, and take it out here"))
            }
            Self::OfAdopted { key, .. } => Some(format!("write out its {key}, or take [tunnel.adopt]")),
            Self::EachOfOurs { .. } => Some("write a number, or take [tunnel.adopt]".to_owned()),
            Self::OfNamespace { key: "%unique", .. } => Some("write a number, or take namespace out".to_owned()),
            Self::OfNamespace { key, .. } => Some(format!("take {key} out, and have it there: `ip -n NAME`, or whatever makes the namespace")),
            Self::OfSeveral { key, .. } => Some(format!("list one class, which all others fall back to, or take {key} out")),
            Self::JointUnrouted { .. } => Some("add routes = [\"10.2.0.0/16\"]: the networks on the peer's side".to_owned()),
            Self::JointLearnt { .. } => Some("list the prefixes, or give the tunnel a device of its own".to_owned()),
            Self::OfJoint { key: "%unique", .. } => Some("write a number".to_owned()),
            Self::OfJoint { key, external: true, .. } => Some(format!("take {key} out, or external")),
            Self::OfJoint { key, external: false, .. } => {
                Some(format!("take {key} out, or give the tunnel a device of its own"))
            }
            Self::JointDiffers { key, .. } => Some(format!("write one {key} in both, or give one of them a device of its own")),
            Self::JointSelectors { .. } => Some(
                "add remote-ts = [\"10.2.0.0/16\"], by which the kernel tells their SAs apart; or write external = true in the device \
                 of each, and an if-id of its own"
                    .to_owned(),
            ),
            Self::JointMeet { .. } => Some(
                "keep them apart, or write external = true in the device of each, and an if-id of its own".to_owned(),
            ),
            Self::JointTables { .. } => Some("keep them apart, or give the tunnel a device of its own".to_owned()),
            Self::JointOwned { .. } => Some("give the tunnel a device of its own, or name the tenant's `sources`".to_owned()),
            Self::SecondExternal { .. } => {
                Some("give both the same name: their if-ids and routes say which tunnel a packet takes".to_owned())
            }
            Self::EachOfGre { .. } => Some("write a number, or type = \"vti\"".to_owned()),
            Self::EachName { each: true, .. } => Some("write %d in it, like \"lk-rw%d\": the if_id or key stands there".to_owned()),
            Self::EachName { each: false, .. } => Some("write if-id = \"%unique\", a VTI's key = \"%unique\", or take the %d out".to_owned()),
            Self::EachOwned { .. } => Some("write out an if-id, or name the tenant's `sources`".to_owned()),
            Self::AnyPeer { .. } => Some("write out its remote, or take [tunnel.adopt]".to_owned()),
            Self::Connections { .. } => Some("name one connection, or write remote = \"any\"".to_owned()),
            Self::AdoptDevice { .. } => Some(
                "write type = \"xfrm\" and the if-id that the children have as if_id_in and if_id_out in swanctl.conf, type = \"vti\" \
                 and the key that one of them has as mark_in and mark_out, or type = \"none\""
                    .to_owned(),
            ),
            Self::NoChildren { class, .. } => Some(format!(
                "add {{ class = \"{class}\", names = [\"{class}*\"] }} to its children, or take \"{class}\" out of the \
                 tunnel's classes"
            )),
            Self::ChildrenOfOther { class, .. } => {
                Some(format!("add \"{class}\" to the classes of the tunnel, or take the entry out"))
            }
            Self::Auth { .. } => Some(
                "write { psk-file = \"...\" } or { certificate = \"...\", key = \"...\", ca = \"...\" }".to_owned(),
            ),
            Self::LaneIdentity { .. } => {
                Some("take one like \"moon.example\": lane 0 of voice is then \"voice.0.moon.example\"".to_owned())
            }
            Self::IdleNever { .. } => {
                Some("write start = \"trap\" in its [tunnel.ike] or in a [[class]] that it carries".to_owned())
            }
            Self::KeyFileOpen { path, .. } => {
                Some(format!("chmod 600 {0}; if others may have read it, make a new key for both ends", path.display()))
            }
            Self::FileMissing { .. } => {
                Some("make it before apply; relative paths start at the config's folder".to_owned())
            }
            Self::FileKind { .. } => Some("name the file itself".to_owned()),
            Self::FileHidden { .. } => Some("run as root, or see who may enter its folder".to_owned()),
        }
    }
}

/// The mask that has a mark for so many, from the same bit on.
fn wider(mask: u32, count: u32, what: &str) -> String {
    let bits = u32::BITS - count.leading_zeros();
    let shift = mask.trailing_zeros();
    if bits + shift <= u32::BITS {
        let wide = (u32::MAX >> (u32::BITS - bits)) << shift;
        format!("take fewer {what}, or a mask of {bits} bits such as {wide:#010x}")
    } else {
        format!("take fewer {what}, or a mask of {bits} bits")
    }
}
