//! What is loaded where the file asks for latencies, an object apart from that of the programs that steer. On any other target
//! this crate is an empty stub.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod wait;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::macros::{classifier, raw_tracepoint};
    use aya_ebpf::programs::{RawTracePointContext, TcContext};

    use crate::wait;

    /// tc egress of a tunnel device, behind the program that steers.
    #[classifier]
    #[inline(always)]
    pub fn lanekeeper_stamp(ctx: TcContext) -> i32 {
        wait::begin(&ctx)
    }

    /// Where a device is handed a packet, whichever device and packet.
    #[raw_tracepoint(tracepoint = "net_dev_start_xmit")]
    #[inline(always)]
    pub fn lanekeeper_sent(ctx: RawTracePointContext) -> i32 {
        wait::end(&ctx)
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
