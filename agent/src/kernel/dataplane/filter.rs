//! What hangs below the clsact qdisc of a device, and taking a qdisc of ours away. aya finds a filter only by place, and a
//! place may be somebody else's.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// What a cls_bpf filter says of its program.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// A digest of its instructions; maps are not part of it.
    pub tag: u64,
}

/// The program of the cls_bpf filter in one place of a hook, if there is one.
pub fn program(ifindex: u32, hook: u16, priority: u16, handle: u32) -> io::Result<Option<Program>> {
    Ok(filters(ifindex, hook)?.iter().find_map(|filter| {
        let header = &filter.header;
        let at = (u32::from(header.handle), (header.info >> 16) as u16);
        if at == (handle, priority) { bpf_program(filter) } else { None }
    }))
}

/// Whether neither hook of the clsact qdisc has a filter, anybody's.
pub fn none(ifindex: u32) -> io::Result<bool> {
    Ok(filters(ifindex, TcHandle::MIN_INGRESS)?.is_empty() && filters(ifindex, TcHandle::MIN_EGRESS)?.is_empty())
}

/// Deletes the clsact qdisc; fine where it or the device is gone.
pub fn delete_clsact(ifindex: u32) -> io::Result<()> {
    let mut message = TcMessage::with_index(ifindex as i32);
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: 0xffff, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    match ask(RouteNetlinkMessage::DelQueueDiscipline(message), NLM_F_ACK) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(()),
        other => other.map(drop),
    }
}

/// All of a hook, anybody's.
pub fn filters(ifindex: u32, hook: u16) -> io::Result<Vec<TcMessage>> {
    let mut message = TcMessage::with_index(ifindex as i32);
    message.header.parent = TcHandle { major: 0xffff, minor: hook };
    ask(RouteNetlinkMessage::GetTrafficFilter(message), NLM_F_DUMP)
}

/// The program of a cls_bpf filter.
pub fn bpf_program(filter: &TcMessage) -> Option<Program> {
    let options = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let (mut name, mut tag) = (None, 0);
    for option in options {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(text)) => name = Some(text.trim_end_matches('\0').to_owned()),
            TcOption::Bpf(TcFilterBpfOption::ProgTag(bytes)) => tag = u64::from_be_bytes(*bytes),
            _ => {}
        }
    }
    Some(Program { name: name?, tag })
}

/// One request and its answers, up to the acknowledgement or the end of the dump.
pub fn ask(request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<TcMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut found = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewTrafficFilter(filter)) => found.push(filter),
                _ => {}
            }
            let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[length..];
        }
    }
}
