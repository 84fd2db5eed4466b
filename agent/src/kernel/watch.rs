//! The kernel's own words about change: when to look again. Open it before the first [`super::snapshot`].

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use netlink_packet_xfrm::constants::{XFRMNLGRP_ACQUIRE, XFRMNLGRP_POLICY, XFRMNLGRP_SA};
use netlink_packet_xfrm::{UserSaInfo, XfrmAttrs, XfrmMessage};
use netlink_sys::{AsyncSocket, SocketAddr};
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Error, rule, state};
use crate::plan::{ALIAS, PROTOCOL, REQIDS};

const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// Something that concerns us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// An object of ours came, went or changed, perhaps by our own hand.
    Changed(What),
    /// A packet took a policy with that request id, one of ours, and there is no state: the kernel asks for one.
    Acquire(u32),
    /// Words were lost: anything may have changed.
    Overrun,
}

/// Of which kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A device with our alias, or a VRF.
    Link,
    /// Another device, by which packets may come in.
    Interface,
    /// An address with our protocol id.
    Address,
    /// A route with our protocol id.
    Route,
    /// A rule with our protocol id.
    Rule,
    /// A static state of ours, or one of charon's that was removed.
    State,
    /// A policy with a request id of ours.
    Policy,
}

/// Multicast sockets in the network namespace of the thread that opened them.
pub struct Watch {
    events: Receiver<Event>,
    _handles: (rtnetlink::Handle, xfrmnetlink::Handle),
}

type Words<T> = UnboundedReceiver<(NetlinkMessage<T>, SocketAddr)>;

impl Watch {
    /// Listens from now on; inside a tokio runtime, whose tasks carry it.
    pub fn open() -> Result<Self, Error> {
        let (connection, route_handle, route) = rtnetlink::new_multicast_connection(&GROUPS).map_err(Error::Open)?;
        tokio::spawn(connection);
        let (mut connection, xfrm_handle, xfrm) = xfrmnetlink::new_connection().map_err(Error::Open)?;
        let groups = [XFRMNLGRP_ACQUIRE, XFRMNLGRP_SA, XFRMNLGRP_POLICY];
        let groups = groups.into_iter().fold(0, |groups, group| groups | 1 << (group - 1));
        connection.socket_mut().socket_mut().bind(&SocketAddr::new(0, groups)).map_err(Error::Open)?;
        tokio::spawn(connection);
        let (sender, events) = channel(1);
        tokio::spawn(hear(route, xfrm, sender));
        Ok(Self { events, _handles: (route_handle, xfrm_handle) })
    }

    /// Waits for what concerns us; what was told several times meanwhile comes once. `None` once a socket is dead: open another
    /// watch and look at everything. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// Takes every word as it comes and keeps what it says, until somebody asks. Of thousands of tunnels that come up the words
/// themselves, with keys in them, would be more than all that the agent keeps.
async fn hear(mut route: Words<RouteNetlinkMessage>, mut xfrm: Words<XfrmMessage>, events: Sender<Event>) {
    let mut heard = BTreeSet::new();
    loop {
        tokio::select! {
            message = route.next() => match message {
                Some((message, _)) => heard.extend(event(message.payload, Event::of_route)),
                None => return,
            },
            message = xfrm.next() => match message {
                Some((message, _)) => heard.extend(event(message.payload, Event::of_xfrm)),
                None => return,
            },
            place = events.reserve(), if !heard.is_empty() => match (place, heard.pop_first()) {
                (Ok(place), Some(event)) => place.send(event),
                (Ok(_), None) => {}
                (Err(_), _) => return,
            },
        }
    }
}

fn event<T>(payload: NetlinkPayload<T>, concerns: impl FnOnce(T) -> Option<Event>) -> Option<Event> {
    match payload {
        NetlinkPayload::InnerMessage(message) => concerns(message),
        NetlinkPayload::Overrun(_) => Some(Event::Overrun),
        _ => None,
    }
}

impl Event {
    /// What a word of rtnetlink's says that concerns us.
    pub fn of_route(message: RouteNetlinkMessage) -> Option<Self> {
        of_route(message).map(Self::Changed)
    }

    /// The same of XFRM's. Wipes the keys in it.
    pub fn of_xfrm(message: XfrmMessage) -> Option<Self> {
        match message {
            XfrmMessage::Acquire(message) => our_template(&message.nlas).map(Self::Acquire),
            message => of_object(message).map(Self::Changed),
        }
    }
}

fn of_route(message: RouteNetlinkMessage) -> Option<What> {
    match message {
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
            Some(if is_our_link(&link) || is_vrf(&link) { What::Link } else { What::Interface })
        }
        RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
            is_our_address(&address).then_some(What::Address)
        }
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            is_our_route(&route).then_some(What::Route)
        }
        RouteNetlinkMessage::NewRule(rule) | RouteNetlinkMessage::DelRule(rule) => {
            rule::is_ours(&rule).then_some(What::Rule)
        }
        _ => None,
    }
}

fn is_our_link(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::IfAlias(alias) if alias == ALIAS))
}

fn is_vrf(link: &LinkMessage) -> bool {
    let says = |info: &LinkInfo| *info == LinkInfo::Kind(InfoKind::Vrf);
    link.attributes
        .iter()
        .any(|attribute| matches!(attribute, LinkAttribute::LinkInfo(infos) if infos.iter().any(says)))
}

fn is_our_address(address: &AddressMessage) -> bool {
    address.attributes.contains(&AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)))
}

fn is_our_route(route: &RouteMessage) -> bool {
    route.header.protocol == RouteProtocol::Other(PROTOCOL)
}

/// What charon adds at every rekey is not drift.
fn is_our_state(info: &UserSaInfo) -> bool {
    is_of_ours(info) && state::is_tagged(info)
}

/// A state of ours, or one of charon's that carries a lane of ours.
fn is_of_ours(info: &UserSaInfo) -> bool {
    REQIDS.contains(&info.reqid)
}

fn of_object(message: XfrmMessage) -> Option<What> {
    match message {
        XfrmMessage::AddSa(mut message) | XfrmMessage::UpdateSa(mut message) => {
            state::wipe(&mut message.nlas);
            is_our_state(&message.user_sa_info).then_some(What::State)
        }
        XfrmMessage::DeleteSa(mut message) => {
            // By charon at the end of a rekey, or behind its back: it does not notice.
            let ours =
                message.nlas.iter().any(|attribute| matches!(attribute, XfrmAttrs::SaInfo(info) if is_of_ours(info)));
            state::wipe(&mut message.nlas);
            ours.then_some(What::State)
        }
        XfrmMessage::FlushSa(_) => Some(What::State),
        XfrmMessage::AddPolicy(message) | XfrmMessage::UpdatePolicy(message) => {
            our_template(&message.nlas).map(|_| What::Policy)
        }
        XfrmMessage::DeletePolicy(message) => our_template(&message.nlas).map(|_| What::Policy),
        XfrmMessage::FlushPolicy(_) => Some(What::Policy),
        _ => None,
    }
}

/// The request id of ours in a policy's template.
fn our_template(attributes: &[XfrmAttrs]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        XfrmAttrs::Template(templates) => {
            templates.iter().map(|template| template.reqid).find(|reqid| REQIDS.contains(reqid))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::unbounded;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn what_is_told_a_thousand_times_before_somebody_asks_is_kept_once() {
        let ((words, route), (_xfrm, xfrm)) = (unbounded(), unbounded());
        let (sender, mut events) = channel(1);
        let hearing = tokio::spawn(hear(route, xfrm, sender));
        for _ in 0..1_000 {
            let word = NetlinkMessage::from(RouteNetlinkMessage::NewLink(LinkMessage::default()));
            words.unbounded_send((word, SocketAddr::new(0, 0))).unwrap();
        }
        while !words.is_empty() {
            yield_now().await;
        }
        let mut heard = Vec::new();
        for _ in 0..100 {
            heard.extend(events.try_recv());
            yield_now().await;
        }
        // One that waited at the door, and one for all that came behind it.
        let change = Event::Changed(What::Interface);
        assert!(heard.iter().all(|event| *event == change) && (1..=2).contains(&heard.len()), "{heard:?}");
        drop(words);
        hearing.await.unwrap();
        assert_eq!(events.recv().await, None, "the socket is dead");
    }
}
