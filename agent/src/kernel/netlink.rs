//! The netlink sockets, and what every request has in common.
//!
//! Messages of [`netlink_packet_xfrm`] show keys in their Debug form: none is ever formatted here, and errors carry the
//! kernel's number alone.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_xfrm::XfrmMessage;
use netlink_sys::protocols::{NETLINK_ROUTE, NETLINK_XFRM};

use super::Error;
use super::dump::Dumper;

/// `NLM_F_DUMP_INTR`: what is dumped changed meanwhile.
const DUMP_INTERRUPTED: u16 = 0x10;

/// A dump that is interrupted this often meets something that never rests.
const DUMP_TRIES: usize = 8;

/// Sockets in the network namespace of the thread that opened them.
#[derive(Clone)]
pub struct Netlink {
    route: rtnetlink::Handle,
    xfrm: xfrmnetlink::Handle,
    route_dumps: Arc<Dumper>,
    xfrm_dumps: Arc<Dumper>,
}

/// Why a request has no good answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The kernel's refusal.
    Errno(i32),
    /// The socket's task is gone.
    Closed,
    /// Every try of a dump was interrupted.
    Restless,
}

impl Netlink {
    /// Opens all; inside a tokio runtime, whose tasks carry them.
    pub fn open() -> Result<Self, Error> {
        let (mut connection, route, _) = rtnetlink::new_connection_with_strict_check().map_err(Error::Open)?;
        // An end that is not seen could be a socket that died.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        tokio::spawn(connection);
        let (mut connection, xfrm, _) = xfrmnetlink::new_connection().map_err(Error::Open)?;
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        tokio::spawn(connection);
        let open = |protocol, strict| Dumper::open(protocol, strict).map(Arc::new).map_err(Error::Open);
        Ok(Self { route, xfrm, route_dumps: open(NETLINK_ROUTE, true)?, xfrm_dumps: open(NETLINK_XFRM, false)? })
    }

    pub(super) async fn route(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Failure> {
        let stream = self.route.clone().request(request(message, NLM_F_ACK | flags)).map_err(|_| Failure::Closed)?;
        answers(stream).await.map(drop)
    }

    /// One object.
    pub(super) async fn get_route(&self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        let stream = self.route.clone().request(request(message, NLM_F_ACK)).map_err(|_| Failure::Closed)?;
        Ok(answers(stream).await?.unwrap_or_default())
    }

    /// All objects.
    pub(super) async fn dump_route(&self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        self.dump_route_into(message, Vec::push).await
    }

    /// What has come of nothing once `take` had all objects.
    pub(super) async fn dump_route_into<A: Default>(
        &self,
        message: RouteNetlinkMessage,
        mut take: impl FnMut(&mut A, RouteNetlinkMessage),
    ) -> Result<A, Failure> {
        for _ in 0..DUMP_TRIES {
            if let Some(all) = self.route_dumps.dump(message.clone(), &mut take).await? {
                return Ok(all);
            }
        }
        Err(Failure::Restless)
    }

    pub(super) async fn xfrm(&self, message: XfrmMessage, flags: u16) -> Result<(), Failure> {
        let stream = self.xfrm.clone().request(request(message, NLM_F_ACK | flags)).map_err(|_| Failure::Closed)?;
        answers(stream).await.map(drop)
    }

    /// One object.
    pub(super) async fn get_xfrm(&self, message: XfrmMessage) -> Result<Vec<XfrmMessage>, Failure> {
        let stream = self.xfrm.clone().request(request(message, NLM_F_ACK)).map_err(|_| Failure::Closed)?;
        Ok(answers(stream).await?.unwrap_or_default())
    }

    /// What has come of nothing once `take` had all objects.
    pub(super) async fn dump_xfrm_into<A: Default>(
        &self,
        message: XfrmMessage,
        mut take: impl FnMut(&mut A, XfrmMessage),
    ) -> Result<A, Failure> {
        for _ in 0..DUMP_TRIES {
            if let Some(all) = self.xfrm_dumps.dump(message.clone(), &mut take).await? {
                return Ok(all);
            }
        }
        Err(Failure::Restless)
    }
}

fn request<T: NetlinkSerializable>(message: T, flags: u16) -> NetlinkMessage<T>
where
    NetlinkPayload<T>: From<T>,
{
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    request
}

/// Everything up to the end of the answer.
async fn answers<T>(stream: impl Stream<Item = NetlinkMessage<T>>) -> Result<Option<Vec<T>>, Failure>
where
    T: NetlinkDeserializable,
{
    let mut stream = std::pin::pin!(stream);
    let mut answer = Answer::default();
    while let Some(message) = stream.next().await {
        if let Some(all) = answer.take(message, &mut Vec::push) {
            return all;
        }
    }
    Err(Failure::Closed)
}

/// What has come of an answer so far.
#[derive(Default)]
pub(super) struct Answer<A> {
    all: A,
    interrupted: bool,
}

impl<A: Default> Answer<A> {
    /// Has `take` make of an object what is kept of it: thousands of them as they come are much memory. With the last message it
    /// gives what has come of all, or `None` if a dump was interrupted.
    pub fn take<T>(
        &mut self,
        message: NetlinkMessage<T>,
        take: &mut impl FnMut(&mut A, T),
    ) -> Option<Result<Option<A>, Failure>> {
        self.interrupted |= message.header.flags & DUMP_INTERRUPTED != 0;
        let code = match message.payload {
            NetlinkPayload::InnerMessage(inner) => {
                take(&mut self.all, inner);
                return None;
            }
            NetlinkPayload::Error(error) => error.raw_code(),
            NetlinkPayload::Done(done) => done.code,
            // Part of a dump was lost.
            NetlinkPayload::Overrun(_) => return Some(Ok(None)),
            // Nothing, or a kind that this crate has yet to learn.
            _ => return None,
        };
        Some(match code {
            0.. if self.interrupted => Ok(None),
            0.. => Ok(Some(std::mem::take(&mut self.all))),
            ..0 => Err(Failure::Errno(-code)),
        })
    }
}

impl Failure {
    pub(super) fn is(&self, errno: i32) -> bool {
        matches!(self, Self::Errno(code) if *code == errno)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(code) => io::Error::from_raw_os_error(*code).fmt(f),
            Self::Closed => f.write_str("the netlink socket was closed"),
            Self::Restless => write!(f, "{DUMP_TRIES} dumps were interrupted by changes"),
        }
    }
}
