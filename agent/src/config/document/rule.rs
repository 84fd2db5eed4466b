//! `[[rule]]`.

use ipnet::IpNet;
use schemars::JsonSchema;

use super::shape::{Dscp, ForeignMark, IcmpType, Lengths, Many, Number, Ports, TcpFlags};
use crate::config::findings::{At, Spot};
use crate::config::table::Table;
use crate::config::value;

/// Which packets are of which class. A rule without a field matches any value of it; the first match wins.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rule {
    /// Named rules are counted.
    #[schemars(with = "Option<String>")]
    pub name: Option<At<String>>,
    /// The class of what it matches.
    #[schemars(with = "String", required)]
    pub class: Option<At<String>>,
    /// Whose traffic it is about. Without it: traffic of no tenant.
    #[schemars(with = "Option<String>")]
    pub tenant: Option<At<String>>,
    /// Source prefixes, IPv4 and IPv6; an address without a length is one host.
    #[schemars(with = "Option<Many<String>>")]
    pub source: Vec<At<IpNet>>,
    /// Destination prefixes.
    #[schemars(with = "Option<Many<String>>")]
    pub destination: Vec<At<IpNet>>,
    /// IP protocol, by name or number; in IPv6 the one behind the extension headers.
    #[schemars(with = "Option<Number>")]
    pub protocol: Option<At<u8>>,
    /// Source ports or inclusive ranges of them; matches TCP, UDP and SCTP only.
    #[schemars(with = "Option<Many<Ports>>")]
    pub source_port: Vec<At<(u16, u16)>>,
    /// Destination ports or inclusive ranges of them; matches TCP, UDP and SCTP only.
    #[schemars(with = "Option<Many<Ports>>")]
    pub destination_port: Vec<At<(u16, u16)>>,
    /// DSCP values by name or number.
    #[schemars(with = "Option<Many<Dscp>>")]
    pub dscp: Vec<At<u8>>,
    /// Ingress interfaces.
    #[schemars(with = "Option<Many<String>>")]
    pub interface: Vec<At<String>>,
    /// VLAN ids, 0 to 4094: that of the VLAN interface that packets came in by, the inner one of two; of a tag that is still
    /// on them, the outermost.
    #[schemars(with = "Option<Many<u16>>")]
    pub vlan: Vec<At<u16>>,
    /// Lengths in bytes from the IP header on, or inclusive ranges of them, 0 to 65535.
    #[schemars(with = "Option<Many<Lengths>>")]
    pub length: Vec<At<(u16, u16)>>,
    /// TCP flags that are set, `/`, those that are looked at: `syn/syn,ack`; `none` for no flag. Without `/` the named
    /// ones are set and no other is looked at. Matches TCP only.
    #[schemars(with = "Option<TcpFlags>")]
    pub tcp_flags: Option<At<(u8, u8)>>,
    /// ICMP or ICMPv6 types by name or number; `protocol` says of which of the two.
    #[schemars(with = "Option<Many<IcmpType>>")]
    pub icmp_type: Vec<At<value::IcmpType>>,
    /// Whether the packet is a fragment, the first one of a datagram or a later one.
    #[schemars(with = "Option<bool>")]
    pub fragment: Option<At<bool>>,
    /// The mark that the packet came with: value, `/`, the bits that are looked at. Without `/`: all bits that are not
    /// Lanekeeper's own. Lanekeeper's own bits cannot be matched.
    #[schemars(with = "Option<ForeignMark>")]
    pub mark: Option<At<(u32, Option<u32>)>>,
    /// Cgroups by their paths below the mount of cgroup2, like `/system.slice/backup.service`: what this host's own sockets
    /// send that were made in one of them or below. `/` is all of these.
    #[schemars(with = "Option<Many<String>>")]
    pub cgroup: Vec<At<String>>,
    #[schemars(skip)]
    pub(crate) object: String,
    #[schemars(skip)]
    pub(crate) spot: Spot,
    /// No condition is written, not even a bad one.
    #[schemars(skip)]
    pub(crate) bare: bool,
    /// A protocol is written, maybe a bad one.
    #[schemars(skip)]
    pub(crate) has_protocol: bool,
}

const CONDITIONS: [&str; 14] = [
    "source",
    "destination",
    "protocol",
    "source-port",
    "destination-port",
    "dscp",
    "interface",
    "vlan",
    "length",
    "tcp-flags",
    "icmp-type",
    "fragment",
    "mark",
    "cgroup",
];

impl Rule {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        let empty = "leave the key out to match every value";
        Self {
            name: table.one("name", &value::RULE_NAME),
            class: table.required("class", &value::TEXT),
            tenant: table.one("tenant", &value::TEXT),
            source: table.many("source", &value::PREFIX, empty),
            destination: table.many("destination", &value::PREFIX, empty),
            protocol: table.one("protocol", &value::PROTOCOL),
            source_port: table.many("source-port", &value::PORTS, empty),
            destination_port: table.many("destination-port", &value::PORTS, empty),
            dscp: table.many("dscp", &value::DSCP, empty),
            interface: table.many("interface", &value::INTERFACE, empty),
            vlan: table.many("vlan", &value::VLAN, empty),
            length: table.many("length", &value::LENGTH, empty),
            tcp_flags: table.one("tcp-flags", &value::TCP_FLAGS),
            icmp_type: table.many("icmp-type", &value::ICMP_TYPE, empty),
            fragment: table.flag("fragment"),
            mark: table.one("mark", &value::MARK),
            cgroup: table.many("cgroup", &value::CGROUP, empty),
            object: table.object.clone(),
            spot: table.spot,
            bare: CONDITIONS.iter().all(|key| !table.has(key)),
            has_protocol: table.has("protocol"),
        }
    }

    /// Makes it one of another source, in which it is written at the same place.
    pub fn move_to(&mut self, source: usize) {
        fn one<T>(at: &mut Option<At<T>>, source: usize) {
            many(at, source);
        }
        fn many<'a, T: 'a>(all: impl IntoIterator<Item = &'a mut At<T>>, source: usize) {
            all.into_iter().for_each(|at| at.spot.source = source);
        }
        let Self {
            name,
            class,
            tenant,
            source: sources,
            destination,
            protocol,
            source_port,
            destination_port,
            dscp,
            interface,
            vlan,
            length,
            tcp_flags,
            icmp_type,
            fragment,
            mark,
            cgroup,
            object: _,
            spot,
            bare: _,
            has_protocol: _,
        } = self;
        spot.source = source;
        one(name, source);
        one(class, source);
        one(tenant, source);
        many(sources, source);
        many(destination, source);
        one(protocol, source);
        many(source_port, source);
        many(destination_port, source);
        many(dscp, source);
        many(interface, source);
        many(vlan, source);
        many(length, source);
        one(tcp_flags, source);
        many(icmp_type, source);
        one(fragment, source);
        one(mark, source);
        many(cgroup, source);
    }
}
