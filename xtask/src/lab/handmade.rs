//! Lanes made by hand with `ip xfrm` and tc, without the agent: proves the lab itself, and is what the agent replaces.

use anyhow::Result;

use super::scenario::{DEVICE, IF_ID};
use super::{Family, Lab, Side};

/// Anti-replay window of every SA, in packets.
const WINDOW: u32 = 32;

/// One SA for everything on both gateways.
pub fn one_sa(lab: &Lab) -> Result<()> {
    for side in [Side::A, Side::B] {
        set_up(lab, side, 1)?;
    }
    Ok(())
}

/// Two lanes: mark 2 for EF, mark 1 for all else.
pub fn two_lanes(lab: &Lab) -> Result<()> {
    for side in [Side::A, Side::B] {
        set_up(lab, side, 2)?;
        lab.gateway(side).sh(&format!(
            "tc qdisc add dev {DEVICE} clsact
             tc filter add dev {DEVICE} egress protocol ip prio 1 u32 match ip dsfield 0xb8 0xfc action skbedit mark 2 pipe action pass
             tc filter add dev {DEVICE} egress protocol ip prio 2 u32 match u32 0 0 action skbedit mark 1 pipe action pass"
        ))?;
    }
    Ok(())
}

/// What a peer without an agent does by itself at B: the device, routes into it, and the marks of what it sends, of which the last
/// match of nft's counts; all else has `rest`.
pub fn peer(lab: &Lab, rest: u32, marks: &[(&str, u32)]) -> Result<()> {
    let (lan4, lan6) = (Side::A.lan(Family::V4), Side::A.lan(Family::V6));
    let mut script = format!(
        "ip link add {DEVICE} type xfrm dev wan0 if_id {IF_ID}
         ip link set {DEVICE} mtu 1400 up
         for net in {lan4} {lan6}; do ip route add $net dev {DEVICE}; done
         nft add table inet lanes
         nft add chain inet lanes out '{{ type filter hook forward priority -150; }}'
         nft add rule inet lanes out oifname {DEVICE} meta mark set {rest}\n"
    );
    for (is, mark) in marks {
        script.push_str(&format!("nft add rule inet lanes out oifname {DEVICE} {is} meta mark set {mark}\n"));
    }
    lab.gateway(Side::B).sh(&script)?;
    Ok(())
}

/// The device, its route, and an SA and policies each way per mark. The keys are the lab's and mean nothing.
fn set_up(lab: &Lab, side: Side, lanes: u32) -> Result<()> {
    let (ours, theirs) = (side.outer(Family::V4), side.other().outer(Family::V4));
    let far = side.other().lan(Family::V4);
    let mut script = format!(
        "ip link add {DEVICE} type xfrm dev wan0 if_id {IF_ID}
         ip link set {DEVICE} mtu 1400 up
         ip route add {far} dev {DEVICE}\n"
    );
    for lane in 1..=lanes {
        let mark = if lanes == 1 { String::new() } else { format!("mark {lane} mask 0xff") };
        for (from, to, policies) in [(ours, theirs, &["out"][..]), (theirs, ours, &["in", "fwd"])] {
            let spi = if from == Side::A.outer(Family::V4) { 0x100 + lane } else { 0x200 + lane };
            // An inbound state is found by its SPI, with no mark on the packet yet; the mark that it sets is what the in
            // and fwd policies see.
            let state_mark = match (lanes, policies[0]) {
                (1, _) => String::new(),
                (_, "in") => format!("output-mark {lane} mask 0xff"),
                (_, _) => mark.clone(),
            };
            script.push_str(&format!(
                "ip xfrm state add src {from} dst {to} proto esp spi {spi} reqid {lane} mode tunnel replay-window {WINDOW} \
                 flag af-unspec aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f{spi:08x} 128 \
                 {state_mark} if_id {IF_ID}\n"
            ));
            for policy in policies {
                script.push_str(&format!(
                    "ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir {policy} {mark} \
                     tmpl src {from} dst {to} proto esp reqid {lane} mode tunnel if_id {IF_ID}\n"
                ));
            }
        }
    }
    lab.gateway(side).sh(&script)?;
    Ok(())
}
