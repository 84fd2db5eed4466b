//! The one way to a packet's bytes and to what is known of it beside them.

use core::cell::Cell;
use core::hint::black_box;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_skb_load_bytes, bpf_skb_load_bytes_relative, bpf_xdp_adjust_meta};
use aya_ebpf::programs::{TcContext, XdpContext};
use lanekeeper_common::abi::{Handed, NO_VLAN, device_flag};
use lanekeeper_common::packet::{Bytes, Layer};

/// linux/bpf.h, enum bpf_hdr_start_off.
const BPF_HDR_START_NET: u32 = 1;

/// A packet of tc.
pub struct Skb<'a>(pub &'a TcContext);

impl Skb<'_> {
    #[inline(always)]
    pub fn raw(&self) -> *mut __sk_buff {
        self.0.skb.skb
    }

    #[inline(always)]
    pub fn mark(&self) -> u32 {
        // SAFETY: the verifier turns reads of the context's fields into reads of the skb.
        unsafe { (*self.raw()).mark }
    }

    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: as in `mark`.
        unsafe { (*self.raw()).ifindex }
    }

    #[inline(always)]
    pub fn ingress_ifindex(&self) -> u32 {
        // SAFETY: as in `mark`.
        unsafe { (*self.raw()).ingress_ifindex }
    }

    /// Segments of an offloaded packet and their payload's size; (0, 0) for any other.
    #[inline(always)]
    pub fn segments(&self) -> (u32, u32) {
        // SAFETY: as in `mark`.
        unsafe { ((*self.raw()).gso_segs, (*self.raw()).gso_size) }
    }

    /// What the first byte belongs to. Without a link-layer header only the skb knows.
    #[inline(always)]
    pub fn layer(&self, flags: u32) -> Layer {
        if flags & device_flag::ETHERNET != 0 {
            Layer::ETHERNET
        } else {
            // SAFETY: as in `mark`. The field is in network byte order.
            Layer::network(u16::from_be(unsafe { (*self.raw()).protocol } as u16))
        }
    }

    /// What came in by a tunnel begins with: [`device_flag::ETHERNET`] or nothing. tc is given it with as long a link-layer header
    /// as the device below had, which a device without one does not take off: xfrm leaves Ethernet's before the packet inside
    /// (skb_mac_header_rebuild). The skb knows where its network header is.
    #[inline(always)]
    pub fn arrived(&self) -> u32 {
        let (mut first, mut network) = (0u64, 0u64);
        let size = size_of::<u64>() as u32;
        // SAFETY: the helpers write so many bytes or zeros.
        unsafe {
            bpf_skb_load_bytes(self.raw().cast(), 0, (&raw mut first).cast(), size);
            bpf_skb_load_bytes_relative(self.raw().cast(), 0, (&raw mut network).cast(), size, BPF_HDR_START_NET);
        }
        if first == network { 0 } else { device_flag::ETHERNET }
    }

    /// Id of a tag that is not in the bytes, or [`NO_VLAN`].
    #[inline(always)]
    pub fn tag(&self) -> u16 {
        // SAFETY: as in `mark`.
        unsafe { if (*self.raw()).vlan_present != 0 { ((*self.raw()).vlan_tci & 0x0fff) as u16 } else { NO_VLAN } }
    }

    /// What XDP left in front of it, if that is of our make.
    #[inline(always)]
    pub fn handed(&self) -> Option<Handed> {
        // SAFETY: as in `mark`.
        let (start, end) = (unsafe { (*self.raw()).data_meta } as usize, self.0.data());
        // Two tests, of which the compiler must not make one: only the first tells the verifier what may be read.
        if black_box(end.wrapping_sub(start)) != size_of::<Handed>() || start + size_of::<Handed>() > end {
            return None;
        }
        // SAFETY: within the metadata by the line above; all of its bit patterns are values, and words lie on words.
        let handed = unsafe { *(start as *const Handed) };
        if handed.magic == Handed::MAGIC { Some(handed) } else { None }
    }
}

impl Bytes for Skb<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes N bytes or fails; only then are they taken as initialised.
        unsafe {
            if bpf_skb_load_bytes(self.raw().cast(), offset, bytes.as_mut_ptr().cast(), N as u32) == 0 {
                Some(bytes.assume_init())
            } else {
                None
            }
        }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.0.len()
    }
}

/// The same bytes as far as they lie together, which headers nearly always do: reading them takes no call of a helper. What
/// lies elsewhere looks as if it were not there, and [`Linear::missed`] says so.
pub struct Linear<'a> {
    skb: Skb<'a>,
    missed: Cell<bool>,
}

impl<'a> Linear<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a TcContext) -> Self {
        Self { skb: Skb(ctx), missed: Cell::new(false) }
    }

    /// Whether it was asked for bytes that it does not have.
    #[inline(always)]
    pub fn missed(&self) -> bool {
        self.missed.get()
    }
}

impl Bytes for Linear<'_> {
    /// Pointers into a packet are numbers that the verifier keeps apart: behind eight headers of any length are more than it
    /// looks at.
    const EXTENSION_HEADERS: usize = 0;

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let bytes = between(self.skb.0.data(), self.skb.0.data_end(), offset);
        self.missed.set(self.missed.get() || bytes.is_none());
        bytes
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.skb.len()
    }
}

/// Bytes of a packet that lie together from `start` to before `end`.
#[inline(always)]
fn between<const N: usize>(start: usize, end: usize, offset: u32) -> Option<[u8; N]> {
    /// The verifier follows no pointer into a packet by more than 64 KiB; headers end long before this.
    const LIMIT: u32 = 0x3fff;
    if offset <= LIMIT {
        let at = start + offset as usize;
        // As `at < end` the verifier would learn nothing from it.
        let behind = if N == 1 { black_box(at + N) } else { at + N };
        if behind <= end {
            // SAFETY: within the packet by the line above, which the verifier insists on; bytes have no alignment.
            return Some(unsafe { *(at as *const [u8; N]) });
        }
    }
    None
}

/// A frame of XDP, all of which lies together.
pub struct Frame<'a>(pub &'a XdpContext);

impl Bytes for Frame<'_> {
    /// As in [`Linear`].
    const EXTENSION_HEADERS: usize = 0;

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        between(self.0.data(), self.0.data_end(), offset)
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        // Or the compiler would add to the end, which no pointer of a packet may be reached from.
        black_box(self.0.data_end().wrapping_sub(self.0.data())) as u32
    }
}

/// Leaves a verdict in front of the frame; nothing where the driver has no room for it.
#[inline(always)]
pub fn hand(xdp: &XdpContext, handed: &Handed) {
    // SAFETY: the helper moves the metadata's beginning or fails.
    if unsafe { bpf_xdp_adjust_meta(xdp.ctx, -(size_of::<Handed>() as i32)) } != 0 {
        return;
    }
    let (start, end) = (xdp.metadata(), xdp.metadata_end());
    if start + size_of::<Handed>() <= end {
        // SAFETY: within the metadata by the line above; words lie on words.
        unsafe { *(start as *mut Handed) = *handed };
    }
}
