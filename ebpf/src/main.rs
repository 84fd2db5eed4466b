//! Lanekeeper's programs for the kernel. On any other target this crate is an empty stub.
//!
//! Every program of tc leaves the packet to those behind it on the hook (TC_ACT_UNSPEC, which TCX calls NEXT) unless it drops it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod act;
#[cfg(target_arch = "bpf")]
mod cgroup;
#[cfg(target_arch = "bpf")]
mod ctx;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod outer;
#[cfg(target_arch = "bpf")]
mod passage;
#[cfg(target_arch = "bpf")]
mod port;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod stats;
#[cfg(target_arch = "bpf")]
mod tables;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr, classifier, xdp};
    use aya_ebpf::programs::{SockAddrContext, SockContext, TcContext, XdpContext};

    use crate::{act, outer, port, socket};

    // Inlined into their entry points: the verifier of 6.1 tracks no precision through calls, those of global functions
    // included, takes every number for precise instead, and so finds no two ways alike. `lanekeeper_wan` makes no
    // call; the others leave what has many ways to the global functions in `tables`.

    /// tc egress of a tunnel device.
    #[classifier]
    #[inline(always)]
    pub fn lanekeeper_out(ctx: TcContext) -> i32 {
        act::out(&ctx)
    }

    /// tc ingress of a tunnel device.
    #[classifier]
    #[inline(always)]
    pub fn lanekeeper_in(ctx: TcContext) -> i32 {
        act::count_in(&ctx)
    }

    /// tc egress of the device that ESP leaves by.
    #[classifier]
    #[inline(always)]
    pub fn lanekeeper_wan(ctx: TcContext) -> i32 {
        outer::mark_dscp(&ctx)
    }

    /// tc ingress of a port.
    #[classifier]
    #[inline(always)]
    pub fn lanekeeper_port(ctx: TcContext) -> i32 {
        port::mark_class(&ctx)
    }

    /// tc ingress of a device that ESP comes in by, and no port.
    #[classifier]
    #[inline(always)]
    pub fn lanekeeper_arrived(ctx: TcContext) -> i32 {
        act::count_arrived(&ctx)
    }

    /// XDP of a port. Not for frames in pieces (`xdp.frags`): generic XDP copies those that it would have to make linear into
    /// another skb, and that one has lost its mac_len, so that tc would take IP's header for Ethernet's (seen on 6.18). A
    /// driver without room for a whole frame refuses the program, and generic XDP makes its packets linear.
    #[xdp]
    #[inline(always)]
    pub fn lanekeeper_xdp(ctx: XdpContext) -> u32 {
        port::hand_over(&ctx)
    }

    /// cgroup/sock_create.
    #[cgroup_sock(sock_create)]
    #[inline(always)]
    pub fn lanekeeper_socket(ctx: SockContext) -> i32 {
        socket::create(&ctx);
        ALLOW
    }

    /// cgroup/connect4.
    #[cgroup_sock_addr(connect4)]
    #[inline(always)]
    pub fn lanekeeper_connect4(ctx: SockAddrContext) -> i32 {
        socket::connect4(&ctx);
        ALLOW
    }

    /// cgroup/connect6.
    #[cgroup_sock_addr(connect6)]
    #[inline(always)]
    pub fn lanekeeper_connect6(ctx: SockAddrContext) -> i32 {
        socket::connect6(&ctx);
        ALLOW
    }

    /// cgroup/sendmsg4.
    #[cgroup_sock_addr(sendmsg4)]
    #[inline(always)]
    pub fn lanekeeper_sendmsg4(ctx: SockAddrContext) -> i32 {
        socket::sendmsg(&ctx);
        ALLOW
    }

    /// cgroup/sendmsg6.
    #[cgroup_sock_addr(sendmsg6)]
    #[inline(always)]
    pub fn lanekeeper_sendmsg6(ctx: SockAddrContext) -> i32 {
        socket::sendmsg(&ctx);
        ALLOW
    }

    /// What a program of a cgroup returns to have the call go on.
    const ALLOW: i32 = 1;
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
