//! One operation of a plan, carried out.

use super::netlink::{Failure, Netlink};
use super::{Error, address, elsewhere, link, route, rule, state, xfrm_policy};
use crate::plan::{Lack, Link, LinkKind, Op, Room, RouteVia};

/// Carries out an operation of [`Room::Netlink`]. What is already gone is removed; what is already there is an error that says
/// who may have put it there, for we plan no operation on what is ours already.
pub async fn apply(netlink: &Netlink, op: &Op) -> Result<(), Error> {
    if op.room() != Room::Netlink {
        return Err(Error::OtherRoom { op: op.to_string() });
    }
    match carry_out(netlink, op).await {
        Err(failure) if is_gone(op, &failure) => Ok(()),
        Err(failure) => {
            Err(Error::Refused { op: op.to_string(), cause: failure.to_string(), hint: hint(op, &failure) })
        }
        Ok(()) => Ok(()),
    }
}

async fn carry_out(netlink: &Netlink, op: &Op) -> Result<(), Failure> {
    match op {
        Op::AddLink(link) => link::add(netlink, link).await,
        Op::SetMtu { name, to, .. } => link::set_mtu(netlink, name, *to).await,
        Op::SetVrf { name, vrf } => link::set_vrf(netlink, name, vrf.as_deref()).await,
        Op::SetNamespace { name, namespace } => link::set_namespace(netlink, name, namespace).await,
        Op::Await { .. } => Err(Failure::Errno(libc::ENODEV)),
        Op::DisablePolicy { name } => link::disable_policy(netlink, name).await,
        Op::SourceByMark { name } => link::source_by_mark(netlink, name).await,
        Op::LinkUp { name } => link::up(netlink, name).await,
        Op::RemoveLink { name } => link::remove(netlink, name).await,
        Op::RemoveElsewhere { name, namespace } => elsewhere::remove(netlink, name, *namespace).await,
        Op::AddRoute(route) | Op::FollowRoute(route) => {
            route::add(netlink, route, index_of_via(netlink, &route.via).await?).await
        }
        Op::RemoveRoute(route) => route::remove(netlink, route, index_of_via(netlink, &route.via).await?).await,
        Op::AddRule(rule) => rule::add(netlink, *rule).await,
        Op::RemoveRule(rule) => rule::remove(netlink, *rule).await,
        Op::AddAddress(address) | Op::FollowAddress(address) => {
            address::add(netlink, address, link::index(netlink, &address.device).await?).await
        }
        Op::RemoveAddress(address) => {
            address::remove(netlink, address, link::index(netlink, &address.device).await?).await
        }
        Op::AddState(state) => state::add(netlink, state).await,
        Op::RemoveState(id) => state::remove(netlink, id).await,
        Op::AddPolicy(policy) => xfrm_policy::add(netlink, policy).await,
        Op::UpdatePolicy(policy) => xfrm_policy::update(netlink, policy).await,
        Op::RemovePolicy(id) => xfrm_policy::remove(netlink, id).await,
        Op::FlushLane { reqid, if_id } => flush(netlink, *reqid, *if_id).await,
        Op::LoadTables { .. }
        | Op::Attach { .. }
        | Op::Detach { .. }
        | Op::AttachPort { .. }
        | Op::DetachPort { .. }
        | Op::AttachSockets
        | Op::DetachSockets
        | Op::RemoveDataplane
        | Op::LoadConnection { .. }
        | Op::UnloadConnection { .. } => Ok(()),
    }
}

/// What charon has there: where the lane's keys are static now, its own states and policies are beside those.
async fn flush(netlink: &Netlink, reqid: u32, if_id: u32) -> Result<(), Failure> {
    // Policies first: one without a state would make the kernel ask for a new one.
    xfrm_policy::flush(netlink, reqid, if_id).await?;
    state::flush(netlink, reqid, if_id).await
}

async fn index_of_via(netlink: &Netlink, via: &RouteVia) -> Result<Option<u32>, Failure> {
    match via {
        RouteVia::Device(device) | RouteVia::External { device, .. } => link::index(netlink, device).await.map(Some),
        RouteVia::Unreachable | RouteVia::Throw => Ok(None),
    }
}

/// A removal that came too late, or an address that another put there meanwhile.
fn is_gone(op: &Op, failure: &Failure) -> bool {
    match op {
        Op::RemoveLink { .. } => failure.is(libc::ENODEV),
        Op::RemoveRoute(_) => failure.is(libc::ESRCH) || failure.is(libc::ENODEV),
        Op::RemoveAddress(_) => {
            // ENXIO: the device has lost IPv6 whole.
            [libc::EADDRNOTAVAIL, libc::ENODEV, libc::ENXIO].into_iter().any(|errno| failure.is(errno))
        }
        Op::RemoveRule(_) => failure.is(libc::ENOENT),
        Op::RemoveState(_) => failure.is(libc::ESRCH),
        Op::RemovePolicy(_) => failure.is(libc::ENOENT),
        Op::AddAddress(_) | Op::FollowAddress(_) => failure.is(libc::EEXIST),
        _ => false,
    }
}

/// What the operator can do about it.
fn hint(op: &Op, failure: &Failure) -> String {
    if failure.is(libc::EPERM) {
        return "; run as root or with CAP_NET_ADMIN".to_owned();
    }
    match op {
        Op::Await { lack: Lack::Vrf(vrf), .. } => no_vrf(vrf),
        Op::Await { lack: Lack::NoVrf(vrf), .. } => {
            format!("; {vrf} is no VRF: name one (`ip link show type vrf` lists them), or take vrf = \"{vrf}\" out of the tunnel's device")
        }
        Op::Await { lack: Lack::Link(link), .. } => no_link(link),
        Op::Await { lack: Lack::Elsewhere(number), .. } => format!(
            "; somebody took it there (`ip netns list-id` says what {number} is called), and nothing is steered or counted there: take it \
             back with `ip link set`, or delete it there, and it is made anew"
        ),
        Op::Await { lack: Lack::Namespace(name), .. } => format!(
            "; make it (`ip netns add {name}`), or take namespace = \"{name}\" out of the tunnel's device"
        ),
        Op::Await { lack: Lack::Tcx, .. } => {
            "; boot a later kernel, or take namespace out of the tunnel's device".to_owned()
        }
        Op::Await { name, lack: Lack::Tun } => format!(
            "; start a charon that loads the plugin kernel-libipsec, before kernel-netlink: its first TUN device is ipsec0 \
             (`ip tuntap show` lists them), and the tunnel's names {name}"
        ),
        Op::AddLink(Link { vrf: Some(vrf), .. }) | Op::SetVrf { vrf: Some(vrf), .. } if failure.is(libc::ENODEV) => no_vrf(vrf),
        Op::AddLink(Link { kind, .. }) if failure.is(libc::EEXIST) => match kind {
            LinkKind::Xfrm { if_id } => format!(
                "; another device has that name, or another XFRM interface if_id {if_id}: see `ip -d link show type xfrm`"
            ),
            LinkKind::External => "; another device has that name, or another XFRM interface is external, of which Linux has one in a network \
                                   namespace: see `ip -d link show type xfrm`"
                .to_owned(),
            LinkKind::Vti { local, remote, .. } => format!(
                "; another device has that name, or another VTI lies between {local} and {remote}: see `ip -d link show`"
            ),
            LinkKind::Gre { local, remote, .. } => format!(
                "; another device has that name, or another GRE device lies between {local} and {remote}: see \
                 `ip -d link show`"
            ),
            LinkKind::Other => String::new(),
        },
        Op::AddLink(Link { kind, .. }) if failure.is(libc::EOPNOTSUPP) => match kind {
            LinkKind::Xfrm { .. } | LinkKind::External => {
                "; this kernel has no XFRM interfaces: load the module xfrm_interface (CONFIG_XFRM_INTERFACE)"
                    .to_owned()
            }
            LinkKind::Vti { local, .. } => {
                let module = if local.is_ipv4() { "ip_vti (CONFIG_NET_IPVTI)" } else { "ip6_vti (CONFIG_IPV6_VTI)" };
                format!("; this kernel has no VTIs: load the module {module}")
            }
            LinkKind::Gre { local, .. } => {
                let module = if local.is_ipv4() { "ip_gre (CONFIG_NET_IPGRE)" } else { "ip6_gre (CONFIG_IPV6_GRE)" };
                format!("; this kernel has no GRE devices: load the module {module}")
            }
            LinkKind::Other => String::new(),
        },
        Op::FollowRoute(route) if failure.is(libc::EEXIST) => format!(
            "; another program has a route in its place: see `ip route show {}`, remove it or have swanctl.conf leave the prefix \
             out of the selectors",
            route.destination
        ),
        Op::AddRoute(route) if failure.is(libc::EEXIST) => format!(
            "; another program has a route in its place: see `ip route show {}`, remove it or take the prefix out of the \
             tunnel's routes",
            route.destination
        ),
        Op::AddRoute(route) | Op::FollowRoute(route) if failure.is(libc::ENODEV) || failure.is(libc::ENETDOWN) => {
            format!("; the device of {} is gone or down", route.destination)
        }
        Op::AddRule(_) if failure.is(libc::EOPNOTSUPP) => {
            "; this kernel has no policy routing (CONFIG_IP_MULTIPLE_TABLES), which a route around a peer's own address takes"
                .to_owned()
        }
        Op::AddState(state) if failure.is(libc::EEXIST) => format!(
            "; another program has an SA of that SPI: see `ip xfrm state get dst {} proto esp spi {:#x}`, choose another in \
             the key file",
            state.id.destination, state.id.spi
        ),
        Op::AddState(_)
            if failure.is(libc::EPROTONOSUPPORT) || failure.is(libc::ENOSYS) || failure.is(libc::ENOENT) =>
        {
            "; this kernel lacks ESP or the cipher: load the modules esp4, esp6 and the cipher's".to_owned()
        }
        Op::AddPolicy(policy) if failure.is(libc::EEXIST) => format!(
            "; another program has a policy of that selector, mark and if_id: see `ip xfrm policy`, give the tunnel another \
             if-id than {}",
            policy.id.if_id
        ),
        _ => String::new(),
    }
}

fn no_link(link: &str) -> String {
    format!(
        "; bring {link} up, or take link = \"{link}\" out of the tunnel's device, whose ESP packets are then routed by the main table"
    )
}

fn no_vrf(vrf: &str) -> String {
    format!(
        "; make the VRF (`ip link add {vrf} up type vrf table NUMBER`), which is yours to choose, or take vrf = \"{vrf}\" out of \
         the tunnel's device"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyfile::{Algorithm, Key};
    use crate::plan::{Asks, Mark, Route, Rule, State, StateId, Table};

    fn link() -> Op {
        Op::AddLink(Link {
            name: "lk0".into(),
            kind: LinkKind::Xfrm { if_id: 42 },
            mtu: 1400,
            up: true,
            disable_policy: false,
            source_by_mark: false,
            vrf: None,
            namespace: None,
            link: None,
        })
    }

    fn vti() -> Op {
        let (local, remote) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let kind = LinkKind::Vti { local, remote, input_key: 1, output_key: 2 };
        Op::AddLink(Link {
            name: "lk1".into(),
            kind,
            mtu: 1400,
            up: true,
            disable_policy: true,
            source_by_mark: false,
            vrf: None,
            namespace: None,
            link: None,
        })
    }

    fn gre() -> Op {
        let (local, remote) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let kind = LinkKind::Gre { local, remote, key: None, ttl: 64, fwmark: 1 };
        Op::AddLink(Link {
            name: "lk2".into(),
            kind,
            mtu: 1400,
            up: true,
            disable_policy: false,
            source_by_mark: false,
            vrf: None,
            namespace: None,
            link: None,
        })
    }

    fn state() -> Op {
        Op::AddState(State {
            id: StateId { destination: "192.0.2.2".parse().unwrap(), spi: 0x1001, mark: Some(Mark::new(1, 0xff)) },
            source: "192.0.2.1".parse().unwrap(),
            reqid: 0x4c4b_0000,
            if_id: 42,
            mode: crate::policy::Mode::Tunnel,
            set_mark: None,
            replay_window: 0,
            algorithm: Algorithm::Aes128Gcm16,
            key: Key::new(vec![0x5a; 20]),
        })
    }

    #[test]
    fn every_refusal_names_the_cure() {
        let route = || {
            let destination = "10.2.0.0/16".parse().unwrap();
            Op::AddRoute(Route { destination, via: RouteVia::Device("lk0".into()), metric: 0, table: Table::Main })
        };
        for (op, errno, cure) in [
            (link(), libc::EPERM, "; run as root or with CAP_NET_ADMIN"),
            (
                link(),
                libc::EEXIST,
                "; another device has that name, or another XFRM interface if_id 42: see `ip -d link show type xfrm`",
            ),
            (
                link(),
                libc::EOPNOTSUPP,
                "; this kernel has no XFRM interfaces: load the module xfrm_interface (CONFIG_XFRM_INTERFACE)",
            ),
            (
                vti(),
                libc::EEXIST,
                "; another device has that name, or another VTI lies between 192.0.2.1 and 192.0.2.2: see `ip -d link show`",
            ),
            (vti(), libc::EOPNOTSUPP, "; this kernel has no VTIs: load the module ip_vti (CONFIG_NET_IPVTI)"),
            (gre(), libc::EOPNOTSUPP, "; this kernel has no GRE devices: load the module ip6_gre (CONFIG_IPV6_GRE)"),
            (route(), libc::ENETDOWN, "; the device of 10.2.0.0/16 is gone or down"),
            (
                Op::FollowRoute(Route {
                    destination: "10.2.0.0/16".parse().unwrap(),
                    via: RouteVia::Unreachable,
                    metric: 0,
                    table: Table::Main,
                }),
                libc::EEXIST,
                "; another program has a route in its place: see `ip route show 10.2.0.0/16`, remove it or have swanctl.conf leave \
                 the prefix out of the selectors",
            ),
            (
                state(),
                libc::EEXIST,
                "; another program has an SA of that SPI: see `ip xfrm state get dst 192.0.2.2 proto esp spi 0x1001`, choose \
                 another in the key file",
            ),
            (
                state(),
                libc::EPROTONOSUPPORT,
                "; this kernel lacks ESP or the cipher: load the modules esp4, esp6 and the cipher's",
            ),
            (
                Op::AddRule(Rule { ipv4: true, length: 0, asks: Asks::Table { but: 0 } }),
                libc::EOPNOTSUPP,
                "; this kernel has no policy routing (CONFIG_IP_MULTIPLE_TABLES), which a route around a peer's own address takes",
            ),
            (
                Op::Await { name: "lk0".into(), lack: Lack::Vrf("blue".into()) },
                libc::ENODEV,
                "; make the VRF (`ip link add blue up type vrf table NUMBER`), which is yours to choose, or take vrf = \"blue\" out of \
                 the tunnel's device",
            ),
            (
                Op::Await { name: "lk0".into(), lack: Lack::Elsewhere(3) },
                libc::ENODEV,
                "; somebody took it there (`ip netns list-id` says what 3 is called), and nothing is steered or counted there: take it \
                 back with `ip link set`, or delete it there, and it is made anew",
            ),
            (
                Op::Await { name: "lk0".into(), lack: Lack::Link("wan0".into()) },
                libc::ENODEV,
                "; bring wan0 up, or take link = \"wan0\" out of the tunnel's device, whose ESP packets are then routed by the main table",
            ),
            (
                Op::Await { name: "lk0".into(), lack: Lack::NoVrf("lo".into()) },
                libc::ENODEV,
                "; lo is no VRF: name one (`ip link show type vrf` lists them), or take vrf = \"lo\" out of the tunnel's device",
            ),
            (Op::SetVrf { name: "lk0".into(), vrf: None }, libc::ENODEV, ""),
            (Op::LinkUp { name: "lk0".into() }, libc::ENOMEM, ""),
        ] {
            assert_eq!(hint(&op, &Failure::Errno(errno)), cure, "{op} {errno}");
        }
    }

    #[test]
    fn an_error_of_a_state_shows_no_key() {
        let cause = Failure::Errno(libc::EEXIST);
        let error = Error::Refused { op: state().to_string(), cause: cause.to_string(), hint: hint(&state(), &cause) };
        for shown in [error.to_string(), format!("{error:?}"), format!("{:?}", state())] {
            assert!(!shown.contains("5a5a") && !shown.contains("90, 90"), "{shown}");
        }
    }

    #[test]
    fn only_removals_may_come_too_late() {
        let gone = Failure::Errno(libc::ESRCH);
        assert!(is_gone(
            &Op::RemoveState(StateId { destination: "192.0.2.2".parse().unwrap(), spi: 1, mark: None }),
            &gone
        ));
        assert!(!is_gone(&state(), &gone));
        assert!(!is_gone(&link(), &Failure::Errno(libc::EEXIST)));
    }
}
