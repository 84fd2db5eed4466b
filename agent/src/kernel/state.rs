//! XFRM states by netlink: ESP, in tunnel mode with either family inside, or in transport mode.

use std::net::IpAddr;

use netlink_packet_xfrm::constants::{AF_INET6, XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, XFRM_STATE_AF_UNSPEC};
use netlink_packet_xfrm::state::{DelGetMessage, GetDumpMessage, ModifyMessage};
use netlink_packet_xfrm::{
    Address, Alg, AlgAead, AlgAuth, Mark as WireMark, ReplayEsn, UserSaInfo, XfrmAttrs, XfrmMessage,
};
use zeroize::{Zeroize, Zeroizing};

use super::netlink::{Failure, Netlink};
use crate::keyfile::{Algorithm, Key};
use crate::plan::{Mark, Observed, REQIDS, STATE_TAG, State, StateId};
use crate::policy::Mode;

/// Above this the window does not fit `xfrm_usersa_info` and goes by XFRMA_REPLAY_ESN_VAL, with or without ESN.
const SMALL_WINDOW: u32 = 32;
const GCM: &str = "rfc4106(gcm(aes))";
const CHACHA: &str = "rfc7539esp(chacha20,poly1305)";
const CBC: &str = "cbc(aes)";
const SHA256: &str = "hmac(sha256)";
const ICV_BITS: u32 = 128;

/// What [`add_to`] makes of all.
pub(super) async fn dump(netlink: &Netlink) -> Result<Observed, Failure> {
    netlink.dump_xfrm_into(XfrmMessage::GetDumpSa(GetDumpMessage::default()), add_to).await
}

/// Sorts one with a request id of ours, charon's and larval ones (SPI 0, no key yet) included.
pub(super) fn add_to(observed: &mut Observed, message: XfrmMessage) {
    if let Some((state, tagged)) = ours(message) {
        observed.add_state(state, tagged);
    }
}

/// And whether it has our tag.
fn ours(message: XfrmMessage) -> Option<(State, bool)> {
    let XfrmMessage::AddSa(mut message) = message else { return None };
    let is_ours = REQIDS.contains(&message.user_sa_info.reqid);
    let state = is_ours.then(|| (read(&message), is_tagged(&message.user_sa_info)));
    wipe(&mut message.nlas);
    state
}

/// Those of one lane that are not ours.
pub(super) async fn flush(netlink: &Netlink, reqid: u32, if_id: u32) -> Result<(), Failure> {
    let theirs = |all: &mut Vec<StateId>, message| {
        let is_theirs = |(state, tagged): &(State, bool)| {
            !tagged && state.id.spi != 0 && state.reqid == reqid && state.if_id == if_id
        };
        all.extend(ours(message).filter(is_theirs).map(|(state, _)| state.id));
    };
    for id in netlink.dump_xfrm_into(XfrmMessage::GetDumpSa(GetDumpMessage::default()), theirs).await? {
        match remove(netlink, &id).await {
            Err(failure) if failure.is(libc::ESRCH) => {}
            answer => answer?,
        }
    }
    Ok(())
}

/// What `keep` makes of each, ours and others', with its keys wiped.
pub(super) async fn dump_without_keys<R>(
    netlink: &Netlink,
    mut keep: impl FnMut(ModifyMessage) -> Option<R>,
) -> Result<Vec<R>, Failure> {
    let wiped = |all: &mut Vec<R>, message| {
        if let XfrmMessage::AddSa(mut message) = message {
            wipe(&mut message.nlas);
            all.extend(keep(message));
        }
    };
    netlink.dump_xfrm_into(XfrmMessage::GetDumpSa(GetDumpMessage::default()), wiped).await
}

pub(super) async fn add(netlink: &Netlink, state: &State) -> Result<(), Failure> {
    netlink.xfrm(XfrmMessage::AddSa(message(state)), 0).await
}

pub(super) async fn remove(netlink: &Netlink, id: &StateId) -> Result<(), Failure> {
    let mut message = DelGetMessage::default();
    message.user_sa_id.destination(&id.destination);
    message.user_sa_id.spi = id.spi;
    message.user_sa_id.proto = libc::IPPROTO_ESP as u8;
    message.nlas.extend(id.mark.map(wire_mark));
    netlink.xfrm(XfrmMessage::DeleteSa(message), 0).await
}

pub(super) fn is_tagged(info: &UserSaInfo) -> bool {
    info.lifetime_cfg.soft_byte_limit == STATE_TAG
}

pub(super) fn wire_mark(mark: Mark) -> XfrmAttrs {
    XfrmAttrs::Mark(WireMark { value: mark.value, mask: mark.mask })
}

pub(super) fn ip(address: &Address, family: u16) -> IpAddr {
    if family == AF_INET6 { address.to_ipv6().into() } else { address.to_ipv4().into() }
}

fn message(state: &State) -> ModifyMessage {
    let mut message = ModifyMessage::default();
    let info = &mut message.user_sa_info;
    info.destination(&state.id.destination);
    info.source(&state.source);
    info.id.spi = state.id.spi;
    info.id.proto = libc::IPPROTO_ESP as u8;
    info.lifetime_cfg.soft_byte_limit = STATE_TAG;
    info.reqid = state.reqid;
    match state.mode {
        Mode::Tunnel => {
            info.mode = XFRM_MODE_TUNNEL;
            // Without it the inner family is the outer one's.
            info.flags = XFRM_STATE_AF_UNSPEC;
        }
        Mode::Transport => info.mode = XFRM_MODE_TRANSPORT,
    }
    if state.replay_window <= SMALL_WINDOW {
        info.replay_window = state.replay_window as u8;
    } else {
        let words = state.replay_window.div_ceil(u32::BITS);
        message.nlas.push(XfrmAttrs::ReplayStateEsn(ReplayEsn {
            bmp_len: words,
            replay_window: state.replay_window,
            bmp: vec![0; words as usize],
            ..ReplayEsn::default()
        }));
    }
    message.nlas.push(XfrmAttrs::IfId(state.if_id));
    message.nlas.extend(state.id.mark.map(wire_mark));
    if let Some(mark) = state.set_mark {
        message.nlas.push(XfrmAttrs::MarkVal(mark.value));
        message.nlas.push(XfrmAttrs::MarkMask(mark.mask));
    }
    message.nlas.extend(algorithm(state.algorithm, &state.key));
    message
}

fn algorithm(algorithm: Algorithm, key: &Key) -> Vec<XfrmAttrs> {
    let aead = |name| {
        vec![XfrmAttrs::EncryptionAlgAead(AlgAead {
            alg_name: padded(name),
            alg_key_len: bits(key.expose()),
            alg_icv_len: ICV_BITS,
            alg_key: key.expose().to_vec(),
        })]
    };
    match algorithm {
        Algorithm::Aes128Gcm16 | Algorithm::Aes256Gcm16 => aead(GCM),
        Algorithm::Chacha20Poly1305 => aead(CHACHA),
        Algorithm::Aes128Sha256 | Algorithm::Aes256Sha256 => {
            let (cipher, auth) = key.expose().split_at(algorithm.cipher_key_len());
            vec![
                XfrmAttrs::EncryptionAlg(Alg {
                    alg_name: padded(CBC),
                    alg_key_len: bits(cipher),
                    alg_key: cipher.to_vec(),
                }),
                XfrmAttrs::AuthenticationAlgTrunc(AlgAuth {
                    alg_name: padded(SHA256),
                    alg_key_len: bits(auth),
                    alg_trunc_len: ICV_BITS,
                    alg_key: auth.to_vec(),
                }),
            ]
        }
    }
}

fn read(message: &ModifyMessage) -> State {
    let info = &message.user_sa_info;
    let (mut mark, mut set, mut set_mask, mut if_id) = (None, None, u32::MAX, 0);
    let mut replay_window = u32::from(info.replay_window);
    for attribute in &message.nlas {
        match attribute {
            XfrmAttrs::Mark(is) => mark = Some(Mark { value: is.value, mask: is.mask }),
            XfrmAttrs::MarkVal(is) => set = Some(*is),
            XfrmAttrs::MarkMask(is) => set_mask = *is,
            XfrmAttrs::IfId(is) => if_id = *is,
            XfrmAttrs::ReplayStateEsn(esn) => replay_window = esn.replay_window,
            _ => {}
        }
    }
    // A transform that is not ours has no key here, and so equals no state of ours.
    let (algorithm, key) = read_algorithm(&message.nlas).unwrap_or((Algorithm::Aes256Gcm16, Key::default()));
    State {
        id: StateId { destination: ip(&info.id.daddr, info.family), spi: info.id.spi, mark },
        source: ip(&info.saddr, info.family),
        reqid: info.reqid,
        if_id,
        mode: if info.mode == XFRM_MODE_TRANSPORT { Mode::Transport } else { Mode::Tunnel },
        set_mark: set.map(|value| Mark { value, mask: set_mask }),
        replay_window,
        algorithm,
        key,
    }
}

fn read_algorithm(attributes: &[XfrmAttrs]) -> Option<(Algorithm, Key)> {
    let (mut cipher, mut auth) = (None, None);
    for attribute in attributes {
        match attribute {
            XfrmAttrs::EncryptionAlgAead(aead) if aead.alg_icv_len == ICV_BITS => {
                let algorithm = match (name(&aead.alg_name), aead.alg_key.len()) {
                    (GCM, 20) => Algorithm::Aes128Gcm16,
                    (GCM, 36) => Algorithm::Aes256Gcm16,
                    (CHACHA, 36) => Algorithm::Chacha20Poly1305,
                    _ => return None,
                };
                return Some((algorithm, Key::new(aead.alg_key.clone())));
            }
            XfrmAttrs::EncryptionAlg(alg) if name(&alg.alg_name) == CBC => cipher = Some(&alg.alg_key),
            XfrmAttrs::AuthenticationAlgTrunc(alg)
                if name(&alg.alg_name) == SHA256 && alg.alg_trunc_len == ICV_BITS =>
            {
                auth = Some(&alg.alg_key);
            }
            _ => {}
        }
    }
    let (cipher, auth) = (cipher?, auth?);
    let algorithm = [Algorithm::Aes128Sha256, Algorithm::Aes256Sha256]
        .into_iter()
        .find(|is| is.cipher_key_len() == cipher.len() && is.key_len() == cipher.len() + auth.len())?;
    let both = Zeroizing::new([cipher.as_slice(), auth].concat());
    Some((algorithm, Key::new(both.to_vec())))
}

/// The message's own copies of keys.
pub(super) fn wipe(attributes: &mut [XfrmAttrs]) {
    for attribute in attributes {
        match attribute {
            XfrmAttrs::EncryptionAlgAead(alg) => alg.alg_key.zeroize(),
            XfrmAttrs::EncryptionAlg(alg) | XfrmAttrs::AuthenticationAlg(alg) => alg.alg_key.zeroize(),
            XfrmAttrs::AuthenticationAlgTrunc(alg) => alg.alg_key.zeroize(),
            _ => {}
        }
    }
}

fn bits(key: &[u8]) -> u32 {
    key.len() as u32 * 8
}

fn padded<const N: usize>(name: &str) -> [u8; N] {
    let mut padded = [0; N];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

fn name(padded: &[u8]) -> &str {
    let end = padded.iter().position(|&byte| byte == 0).unwrap_or(padded.len());
    std::str::from_utf8(&padded[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for (algorithm, replay_window) in Algorithm::ALL.into_iter().zip([0, 32, 33, 1024, 4096]) {
            for mark in [None, Some(Mark::new(0x20, 0xff))] {
                let state = State {
                    id: StateId { destination: "2001:db8::2".parse().unwrap(), spi: 0x1234_5678, mark },
                    source: "2001:db8::1".parse().unwrap(),
                    reqid: *REQIDS.start(),
                    if_id: 42,
                    mode: if mark.is_some() { Mode::Tunnel } else { Mode::Transport },
                    set_mark: mark,
                    replay_window,
                    algorithm,
                    key: Key::new((0..algorithm.key_len() as u8).collect()),
                };
                assert_eq!(read(&message(&state)), state);
                assert!(is_tagged(&message(&state).user_sa_info));
            }
        }
    }

    #[test]
    fn an_unknown_transform_has_no_key_and_a_wiped_one_nothing_left() {
        let state = State {
            id: StateId { destination: "192.0.2.2".parse().unwrap(), spi: 0x100, mark: None },
            source: "192.0.2.1".parse().unwrap(),
            reqid: *REQIDS.start(),
            if_id: 1,
            mode: Mode::Tunnel,
            set_mark: None,
            replay_window: 0,
            algorithm: Algorithm::Aes128Gcm16,
            key: Key::new(vec![7; 20]),
        };
        let mut message = message(&state);
        wipe(&mut message.nlas);
        assert_eq!(read(&message).key, Key::default());
        assert!(!format!("{message:?}").contains("7, 7, 7"));
    }
}
