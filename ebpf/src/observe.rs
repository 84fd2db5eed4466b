//! What `lanekeeper observe` loads while somebody observes, an object apart from that of the programs that steer. On any other
//! target this crate is an empty stub.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// Shared with the programs that steer, which need more of them.
#![allow(dead_code)]

#[cfg(target_arch = "bpf")]
mod cgroup;
#[cfg(target_arch = "bpf")]
mod ctx;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod passage;
#[cfg(target_arch = "bpf")]
mod sight;
#[cfg(target_arch = "bpf")]
mod tables;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::macros::classifier;
    use aya_ebpf::programs::TcContext;

    use crate::sight;

    /// tc egress of a tunnel device, in front of the program that steers.
    #[classifier]
    #[inline(always)]
    pub fn lanekeeper_observe_out(ctx: TcContext) -> i32 {
        sight::leaving(&ctx)
    }

    /// tc ingress of a tunnel device.
    #[classifier]
    #[inline(always)]
    pub fn lanekeeper_observe_in(ctx: TcContext) -> i32 {
        sight::arriving(&ctx)
    }

    /// tc ingress where packets of tunnels without a device pass, in front of the program that steers or counts them.
    #[classifier]
    #[inline(always)]
    pub fn lanekeeper_observe_passing(ctx: TcContext) -> i32 {
        sight::passing(&ctx)
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
