//! Dumps, read a piece at a time.
//!
//! A connection of the library's takes in all that the kernel has to say before anybody looks at it: with thousands of SAs that is
//! more than the agent keeps in all.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ALIGNTO, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::netlink::{Answer, Failure};

/// The kernel answers in pieces of at most 32 KiB to whoever has room (`netlink_recvmsg` of net/netlink/af_netlink.c), larger ones
/// only of a device with hundreds of virtual functions.
const PIECE: usize = 64 << 10;

/// A socket for one dump at a time; whoever else wants one waits.
pub(super) struct Dumper(Mutex<Asking>);

struct Asking {
    socket: TokioSocket,
    /// Of the last question.
    sequence: u32,
    /// Whether the end of its answer has not been read: who asked may have gone.
    open: bool,
}

impl Dumper {
    /// In the network namespace of this thread, inside a tokio runtime. A strict kernel filters dumps by table and protocol, and
    /// refuses what it does not know.
    pub fn open(protocol: isize, strict: bool) -> io::Result<Self> {
        let mut socket = TokioSocket::new(protocol)?;
        socket.socket_mut().bind_auto()?;
        if strict {
            socket.socket_mut().set_netlink_get_strict_chk(true)?;
        }
        Ok(Self(Mutex::new(Asking { socket, sequence: 0, open: false })))
    }

    /// What has come of nothing once `take` had all objects; `None` if something changed meanwhile or was lost.
    pub async fn dump<T, A>(&self, question: T, take: &mut impl FnMut(&mut A, T)) -> Result<Option<A>, Failure>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
        A: Default,
    {
        let mut asking = self.0.lock().await;
        let mut piece = Zeroizing::new(Vec::with_capacity(PIECE));
        while asking.open {
            asking.read(&mut piece).await?;
            for (header, _) in Messages(&piece) {
                asking.has_ended(&header);
            }
        }
        asking.ask(question).await?;
        let mut answer = Answer::default();
        loop {
            asking.read(&mut piece).await?;
            for (header, bytes) in Messages(&piece) {
                if header.sequence_number != asking.sequence {
                    continue;
                }
                asking.has_ended(&header);
                // What this version of the library cannot read is nothing that it could have made. Its error may hold a key.
                let Ok(message) = NetlinkMessage::<T>::deserialize(bytes) else {
                    tracing::warn!("a netlink message of type {} cannot be read", header.message_type);
                    continue;
                };
                if let Some(all) = answer.take(message, take) {
                    return all;
                }
            }
        }
    }
}

impl Asking {
    async fn ask<T: NetlinkSerializable>(&mut self, question: T) -> Result<(), Failure> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0)).await.map_err(failure)?;
        self.open = true;
        Ok(())
    }

    async fn read(&mut self, piece: &mut Vec<u8>) -> Result<(), Failure> {
        piece.clear();
        self.socket.recv_from(piece).await.map(drop).map_err(failure)
    }

    fn has_ended(&mut self, header: &NetlinkHeader) {
        let is_end = matches!(header.message_type, NLMSG_DONE | NLMSG_ERROR);
        self.open &= !(is_end && header.sequence_number == self.sequence);
    }
}

fn failure(error: io::Error) -> Failure {
    error.raw_os_error().map_or(Failure::Closed, Failure::Errno)
}

/// What one piece holds; what is left once a length lies is nothing.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (NetlinkHeader, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let buffer = NetlinkBuffer::new_checked(self.0).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        let mut header = NetlinkHeader::default();
        header.length = buffer.length();
        header.message_type = buffer.message_type();
        header.flags = buffer.flags();
        header.sequence_number = buffer.sequence_number();
        header.port_number = buffer.port_number();
        let bytes = self.0.get(..length)?;
        let aligned = length.next_multiple_of(usize::from(NLMSG_ALIGNTO));
        self.0 = self.0.get(aligned..).unwrap_or_default();
        Some((header, bytes))
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};
    use netlink_sys::protocols::NETLINK_ROUTE;

    use super::*;

    fn links() -> RouteNetlinkMessage {
        RouteNetlinkMessage::GetLink(LinkMessage::default())
    }

    fn name(names: &mut Vec<String>, message: RouteNetlinkMessage) {
        let RouteNetlinkMessage::NewLink(message) = message else { return };
        names.extend(message.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        }));
    }

    #[tokio::test]
    async fn what_nobody_waited_for_is_no_answer_to_who_asks_next() {
        let dumper = Dumper::open(NETLINK_ROUTE, true).unwrap();
        let all = dumper.dump(links(), &mut name).await.unwrap().unwrap();
        assert!(all.contains(&"lo".to_owned()), "{all:?}");
        // Asked and gone.
        dumper.0.lock().await.ask(links()).await.unwrap();
        assert_eq!(dumper.dump(links(), &mut name).await.unwrap(), Some(all));
    }

    #[tokio::test]
    async fn a_refusal_is_the_kernels_and_the_next_question_is_answered() {
        let dumper = Dumper::open(NETLINK_ROUTE, true).unwrap();
        // A strict kernel takes no name in a dump.
        let mut wrong = LinkMessage::default();
        wrong.attributes.push(LinkAttribute::IfName("lo".into()));
        let refused = dumper.dump(RouteNetlinkMessage::GetLink(wrong), &mut name).await.unwrap_err();
        assert!(refused.is(libc::EINVAL), "{refused}");
        assert!(dumper.dump(links(), &mut name).await.unwrap().is_some());
    }

    #[test]
    fn a_length_that_lies_ends_the_piece() {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(links()));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let two = [bytes.clone(), bytes.clone()].concat();
        assert_eq!(Messages(&two).count(), 2);
        assert_eq!(Messages(&two[..two.len() - 1]).count(), 1);
        bytes[0] = 3;
        assert_eq!(Messages(&bytes).count(), 0);
    }
}
