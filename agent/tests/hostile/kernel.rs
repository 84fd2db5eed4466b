//! What comes by netlink.

use lanekeeper::config;
use lanekeeper::kernel::{self, Event};
use lanekeeper::plan::{self, Desired};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_xfrm::XfrmMessage;

/// Message types of linux/rtnetlink.h: new and gone links, addresses, routes, rules.
const ROUTE: [u16; 8] = [16, 17, 20, 21, 24, 25, 32, 33];
/// Of linux/xfrm.h: new, gone, updated and flushed states and policies, an acquire, an expiry; and the bytes of each one's fixed
/// part. The kernel never sends less, and netlink-packet-xfrm 0.5.0 counts on that: what is shorter is filled up here. (It
/// panics on less, in the task that carries the socket, which then is opened anew, and everything is looked at again.)
const XFRM: [(u16, usize); 9] =
    [(0x10, 224), (0x11, 24), (0x13, 168), (0x14, 64), (0x17, 280), (0x18, 232), (0x19, 168), (0x1a, 224), (0x1c, 1)];

const FILE: &str = r#"
[[class]]
name = "voice"
[[tunnel]]
name = "b7"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["voice"]
device = { type = "xfrm", name = "lk-b7", if-id = 42, addresses = ["10.255.0.1/30"] }
routes = ["10.2.0.0/16"]
[tunnel.ike]
auth = { psk-file = "/nowhere" }
[default]
class = "voice"
"#;

/// Bytes are messages, each a type, two bytes of length and so many bytes: none of them breaks what reads it, and of what was
/// seen, whatever it was, a plan can be made or is refused by name.
pub fn netlink(bytes: &[u8]) {
    let (mut route, mut xfrm) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while let Some((&[which, high, low], after)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (body, next) = after.split_at(len);
        let which = usize::from(which) % (ROUTE.len() + XFRM.len());
        match ROUTE.get(which) {
            Some(&kind) => {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&framed(kind, body));
                if let Some(NetlinkPayload::InnerMessage(message)) = message.ok().map(|message| message.payload) {
                    let _ = Event::of_route(message.clone());
                    route.push(message);
                }
            }
            None => {
                let (kind, least) = XFRM[which - ROUTE.len()];
                let mut body = body.to_vec();
                body.resize(body.len().max(least), 0);
                let message = NetlinkMessage::<XfrmMessage>::deserialize(&framed(kind, &body));
                if let Some(NetlinkPayload::InnerMessage(message)) = message.ok().map(|message| message.payload) {
                    let _ = Event::of_xfrm(message.clone());
                    xfrm.push(message);
                }
            }
        }
        rest = next;
    }
    let observed = kernel::read(&route, xfrm);
    let policy = config::parse_text("fuzz.toml", FILE).unwrap().policy;
    let desired = Desired::new(&policy, &Default::default()).unwrap();
    if let Err(conflicts) = plan::diff(&desired, &observed) {
        assert!(!conflicts.to_string().is_empty());
    }
}

/// Behind the header of linux/netlink.h.
fn framed(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(16 + body.len());
    frame.extend((16 + body.len() as u32).to_ne_bytes());
    frame.extend(kind.to_ne_bytes());
    frame.extend([0; 10]);
    frame.extend(body);
    frame
}
