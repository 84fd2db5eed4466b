//! `swanctl.conf` of a managed config, for those who keep it by hand: the messages that [`Connection`] loads over VICI, as
//! text, but for what only makes sense with an agent beside charon.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::Connection;
use crate::plan::{self, XfrmPolicyId};
use crate::policy::{Auth, Keying, Policy, Start, Tunnel, TunnelIndex};
use crate::vici::{Message, Value};

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The gateway's that the config is for.
    Ours,
    /// The far end's: ends swapped.
    Peer,
}

/// Why there is no such file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Nothing for charon.
    #[error("charon keys no tunnel of this file; swanctl.conf knows no static keys")]
    NoTunnel,
    /// A path that swanctl would take for two.
    #[error("connection {connection:?}: swanctl.conf ends a file's name at a comma: rename {}", path.display())]
    Comma {
        /// The connection.
        connection: String,
        /// The file.
        path: PathBuf,
    },
}

/// The file, with every tunnel that charon keys. Holds no key: where one belongs it names the file that has it. Relative
/// paths of the config begin in `here`.
pub fn conf(policy: &Policy, end: End, here: &Path) -> Result<String, Error> {
    let policy = match end {
        End::Ours => policy.clone(),
        End::Peer => mirrored(policy),
    };
    let (mut names, mut made) = (Names::default(), BTreeSet::new());
    let (mut connections, mut secrets, mut devices) = (String::new(), String::new(), String::new());
    for (at, tunnel) in policy.tunnels.iter().enumerate() {
        let mut tunnels_if_id = None;
        for connection in Connection::all(&policy, TunnelIndex(at)) {
            let by_hand = ByHand { name: names.free(&connection.key), connection, end, here };
            section(&mut connections, 1, &by_hand.name, &by_hand.message()?);
            secrets += &by_hand.secret();
            tunnels_if_id = by_hand.if_id().map(str::to_owned);
        }
        if !tunnel.device.kind.is_device() && tunnels_if_id.is_some() {
            blocks(&mut devices, tunnel);
        } else if let Some(if_id) = tunnels_if_id {
            let device = &tunnel.device;
            let how = match device.external {
                true => "external".to_owned(),
                false => format!("dev WAN if_id {if_id}"),
            };
            // Several may have it.
            if made.insert(&device.name) {
                let _ = writeln!(devices, "#   ip link add {} type xfrm {how}", device.name);
            }
            if device.external {
                let _ = writeln!(devices, "#   ip route add PREFIX encap xfrm if_id {if_id} dev {}", device.name);
            }
        }
    }
    if connections.is_empty() {
        return Err(Error::NoTunnel);
    }
    let head = match end {
        End::Ours => HEAD_OURS.to_owned(),
        End::Peer => format!("{HEAD_PEER}{devices}"),
    };
    Ok(format!("{head}connections {{\n{connections}}}\nsecrets {{\n{secrets}}}\n"))
}

/// Where there is no device a mark without a child is not dropped by itself.
fn blocks(text: &mut String, tunnel: &Tunnel) {
    for block in plan::blocks(tunnel) {
        let XfrmPolicyId { direction, selector, .. } = block.id;
        let (from, to) = (selector.source, selector.destination);
        let _ = writeln!(
            text,
            "#   ip xfrm policy add dir {direction} src {from} dst {to} priority {} action block",
            block.priority
        );
    }
}

const HEAD_OURS: &str =
    "# What `lanekeeper run` loads over VICI, under other names: with both, each lane would be there twice.\n";
const HEAD_PEER: &str = "# For the far end, which marks by itself what it sends: a mark without a child is dropped. Its devices, with MTU,\n\
                         # addresses and routes like ours, where WAN is the interface that leads here:\n";

/// The tunnels as the far end sees them. Where we wait, it begins.
fn mirrored(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    for tunnel in &mut policy.tunnels {
        std::mem::swap(&mut tunnel.local, &mut tunnel.remote);
        std::mem::swap(&mut tunnel.local_ts, &mut tunnel.remote_ts);
        if let Keying::Ike(ike) = &mut tunnel.keying {
            std::mem::swap(&mut ike.local_id, &mut ike.remote_id);
            ike.start = match ike.start {
                Start::Start | Start::Trap => Start::None,
                Start::None => Start::Start,
            };
        }
    }
    policy
}

/// A connection that no agent is beside.
struct ByHand<'a> {
    name: String,
    connection: Connection,
    end: End,
    here: &'a Path,
}

impl ByHand<'_> {
    fn message(&self) -> Result<Message, Error> {
        let begins = self.connection.lanes.iter().any(|lane| lane.start != Start::None);
        let mut message = Message::new();
        for (key, value) in self.connection.ike_message(None).elements() {
            message = match (key, value) {
                ("keyingtries", _) if begins => message.with(key, "0"),
                ("local" | "remote", Value::Section(identity)) => {
                    message.with_section(key, self.certified(key == "local", identity.clone())?)
                }
                (_, value) => message.with_value(key, value.clone()),
            };
        }
        let mut names = Names::default();
        let lanes = self.connection.lanes.iter().zip(&self.connection.children);
        let children = lanes.fold(Message::new(), |children, (lane, (name, child))| {
            children.with_section(&names.free(name), child_by_hand(child, lane.start))
        });
        Ok(message.with_section("children", children))
    }

    /// That of its XFRM interface.
    fn if_id(&self) -> Option<&str> {
        self.connection.children.first()?.1.text("if_id_out")
    }

    /// With the certificate's file, as far as this end has it.
    fn certified(&self, is_local: bool, identity: Message) -> Result<Message, Error> {
        let (key, path) = match (&self.connection.ike.auth, self.end, is_local) {
            (Auth::Psk { .. }, _, _) | (Auth::Certificate { .. }, End::Peer, _) => return Ok(identity),
            (Auth::Certificate { certificate, .. }, End::Ours, true) => ("certs", certificate),
            (Auth::Certificate { ca, .. }, End::Ours, false) => ("cacerts", ca),
        };
        let path = self.here.join(path);
        let text = path.display().to_string();
        if text.contains(',') {
            return Err(Error::Comma { connection: self.name.clone(), path });
        }
        Ok(identity.with_list(key, [text]))
    }

    /// The section that says which secret is missing, or a remark on where swanctl looks for it.
    fn secret(&self) -> String {
        let (name, ike) = (&self.name, &self.connection.ike);
        match (&ike.auth, self.end) {
            (Auth::Psk { file }, end) => {
                let whose = match end {
                    End::Ours => "",
                    End::Peer => " of our end",
                };
                let owners = Message::new().with("id-1", &ike.local_id).with("id-2", &ike.remote_id);
                let mut body = String::new();
                elements(&mut body, 2, &owners);
                format!(
                    "    ike-{name} {{\n{body}        # what is in {}{whose}, up to the last newline; swanctl loads none until it is here:\n        \
                     # secret = \"...\"\n    }}\n",
                    self.here.join(file).display()
                )
            }
            (Auth::Certificate { key, .. }, End::Ours) => {
                format!("    # {name}: put {} into /etc/swanctl/private\n", self.here.join(key).display())
            }
            (Auth::Certificate { .. }, End::Peer) => format!(
                "    # {name}: put the certificate of {} into /etc/swanctl/x509, its key into /etc/swanctl/private and\n    \
                 # the CA of {} into /etc/swanctl/x509ca\n",
                ike.local_id, ike.remote_id
            ),
        }
    }
}

/// Without the reqid, which is the sign of what `lanekeeper down` removes; with charon's own restarts where this end begins at
/// once. A trap stays whatever becomes of its SAs.
fn child_by_hand(child: &Message, start: Start) -> Message {
    let begins = start == Start::Start;
    child.elements().fold(Message::new(), |by_hand, (key, value)| match key {
        "reqid" => by_hand,
        "start_action" | "close_action" if begins => by_hand.with(key, "start"),
        "dpd_action" if begins => by_hand.with(key, "restart"),
        _ => by_hand.with_value(key, value.clone()),
    })
}

/// Names of sections beside each other. swanctl takes a dot for the end of one, and a colon for a reference.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// That name without them, and with a number behind it where another has it.
    fn free(&mut self, name: &str) -> String {
        let plain = name.replace(['.', ':'], "-");
        let mut free = plain.clone();
        let mut number = 2;
        while !self.0.insert(free.clone()) {
            free = format!("{plain}-{number}");
            number += 1;
        }
        free
    }
}

fn section(out: &mut String, depth: usize, name: &str, message: &Message) {
    let indent = "    ".repeat(depth);
    let _ = writeln!(out, "{indent}{name} {{");
    elements(out, depth + 1, message);
    let _ = writeln!(out, "{indent}}}");
}

fn elements(out: &mut String, depth: usize, message: &Message) {
    let indent = "    ".repeat(depth);
    for (key, value) in message.elements() {
        match value {
            Value::Leaf(value) => {
                let _ = writeln!(out, "{indent}{key} = {}", quoted(&String::from_utf8_lossy(value.bytes())));
            }
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| String::from_utf8_lossy(item.bytes())).collect();
                let _ = writeln!(out, "{indent}{key} = {}", quoted(&items.join(", ")));
            }
            Value::Section(message) => section(out, depth, key, message),
        }
    }
}

/// As it is where the parser reads it back so, else in quotes.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/%+, ".contains(c);
    let ends = |c: char| c == ' ';
    if !text.is_empty()
        && text.chars().all(plain)
        && !text.starts_with(ends)
        && !text.ends_with(ends)
        && !text.contains("  ")
    {
        return text.to_owned();
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests;
