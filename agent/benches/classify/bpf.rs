//! bpf(2) for what the measurement itself puts into the kernel: empty programs, and an XDP program that makes packets.
//! In raw instructions, so that nothing of it is part of the shipped object.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Bytes of a frame that are written anew for each packet; none is longer.
pub const FRAME: usize = 80;
/// A packet as it comes in.
pub type Frame = [u8; FRAME];
/// Frames that an injector goes through, one after the other and then again.
pub const FRAMES: usize = 4_096;

// linux/bpf.h
const BPF_MAP_CREATE: i32 = 0;
const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_TEST_RUN: i32 = 10;
const BPF_LINK_CREATE: i32 = 28;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
const BPF_PSEUDO_MAP_VALUE: u8 = 2;
const XDP_ABORTED: i32 = 0;
const XDP_PASS: i32 = 2;
const XDP_TX: i32 = 3;
const TC_ACT_UNSPEC: i32 = -1;

/// `union bpf_attr` as far as BPF_MAP_CREATE goes.
#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
}

/// The same for BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// The same for BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    /// Nanoseconds of one run.
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    _pad: u32,
}

/// The same for BPF_LINK_CREATE.
#[repr(C)]
#[derive(Default)]
struct Attach {
    program: u32,
    ifindex: u32,
    kind: u32,
    flags: u32,
    /// Of tc: anywhere among the programs that are there.
    relative: u32,
    _pad: u32,
    revision: u64,
}

/// Who runs a program of XDP (linux/if_link.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// The kernel, over skbs.
    Generic = 1 << 1,
    /// The driver.
    Driver = 1 << 2,
}

/// `struct xdp_md`.
#[repr(C)]
#[derive(Default)]
struct XdpMd {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// One of bpf(2)'s commands.
///
/// # Safety
/// `attributes` is what the command takes, and what it points to outlives the call.
unsafe fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: the caller's; the kernel reads and writes no more than the size given.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// A program in the kernel.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    fn load(kind: u32, code: &[u64]) -> Result<Self> {
        let license = c"GPL";
        let mut load = Load {
            kind,
            instructions: code.len() as u32,
            code: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
        };
        // SAFETY: the code and the licence outlive the call; what it returns is a new descriptor.
        unsafe {
            let descriptor = bpf(BPF_PROG_LOAD, &mut load).context("loading a program of the measurement's own")?;
            Ok(Self(OwnedFd::from_raw_fd(descriptor as i32)))
        }
    }

    /// A tc program that returns at once.
    pub fn empty() -> Result<Self> {
        Self::load(BPF_PROG_TYPE_SCHED_CLS, &[instruction(0xb7, 0, 0, 0, TC_ACT_UNSPEC), EXIT])
    }

    /// An XDP program that lets all pass.
    pub fn passing() -> Result<Self> {
        Self::load(BPF_PROG_TYPE_XDP, &[instruction(0xb7, 0, 0, 0, XDP_PASS), EXIT])
    }

    /// Puts an XDP program on a device, for as long as what this returns lives.
    pub fn attach_xdp(&self, ifindex: u32, mode: XdpMode) -> Result<OwnedFd> {
        let program = self.0.as_raw_fd() as u32;
        let mut attach = Attach { program, ifindex, kind: BPF_XDP, flags: mode as u32, ..Attach::default() };
        // SAFETY: plain values; what it returns is a new descriptor.
        unsafe {
            let link = bpf(BPF_LINK_CREATE, &mut attach).context("an empty program of XDP")?;
            Ok(OwnedFd::from_raw_fd(link as i32))
        }
    }

    /// Puts a tc program at a device's ingress, for as long as what this returns lives.
    pub fn attach(&self, ifindex: u32) -> Result<OwnedFd> {
        let program = self.0.as_raw_fd() as u32;
        let mut attach = Attach { program, ifindex, kind: BPF_TCX_INGRESS, ..Attach::default() };
        // SAFETY: plain values; what it returns is a new descriptor.
        unsafe {
            let link =
                bpf(BPF_LINK_CREATE, &mut attach).context("an empty program at ingress, which takes Linux 6.6")?;
            Ok(OwnedFd::from_raw_fd(link as i32))
        }
    }

    /// How long one run over the frame takes by the kernel's count, over that many in a row.
    pub fn time(&self, frame: &[u8], repeat: u32) -> Result<Duration> {
        let mut run = TestRun {
            program: self.0.as_raw_fd() as u32,
            size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat,
            ..TestRun::default()
        };
        // SAFETY: the frame outlives the call.
        unsafe { bpf(BPF_PROG_TEST_RUN, &mut run) }.context("a test run of the empty program")?;
        Ok(Duration::from_nanos(run.duration.into()))
    }

    /// Has that many frames come in by the device, and what the program says done with each; how long each took, from the
    /// program to the end of its way. So many come at once; with 0 as many as the kernel likes, which is 64.
    pub fn inject(&self, ifindex: u32, packets: u32, batch: u32) -> Result<Duration> {
        let frame = [0u8; FRAME];
        let context = XdpMd { data_end: FRAME as u32, ingress_ifindex: ifindex, ..XdpMd::default() };
        let mut run = TestRun {
            program: self.0.as_raw_fd() as u32,
            size_in: FRAME as u32,
            data_in: frame.as_ptr() as u64,
            repeat: packets,
            context_size_in: size_of::<XdpMd>() as u32,
            context_in: &raw const context as u64,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            batch,
            ..TestRun::default()
        };
        // SAFETY: frame and context outlive the call.
        unsafe { bpf(BPF_PROG_TEST_RUN, &mut run) }.context("live frames")?;
        Ok(Duration::from_nanos(run.duration.into()))
    }
}

/// An XDP program that writes the next of its frames over each packet and passes it on, up the stack or back out. The stack
/// hands pages back with what it left in them, so each packet is written whole.
#[derive(Debug)]
pub struct Injector {
    program: Program,
    window: Window,
}

/// Bytes from one frame of the map's value to the next, of which the first is the place in turn.
const STRIDE: usize = 128;
const VALUE: usize = STRIDE * (FRAMES + 1);

impl Injector {
    /// Loads one whose packets go up the stack of the device that they came in by, as its driver would hand them up.
    pub fn new() -> Result<Self> {
        Self::doing(XDP_PASS)
    }

    /// Loads one whose packets leave by that device again, as frames.
    pub fn sending() -> Result<Self> {
        Self::doing(XDP_TX)
    }

    fn doing(action: i32) -> Result<Self> {
        let mut create = Create {
            kind: BPF_MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: VALUE as u32,
            entries: 1,
            flags: BPF_F_MMAPABLE,
        };
        // SAFETY: plain values; what it returns is a new descriptor.
        let map =
            unsafe { OwnedFd::from_raw_fd(bpf(BPF_MAP_CREATE, &mut create).context("a map for packets")? as i32) };
        let window = Window::open(&map)?;
        let program = Program::load(BPF_PROG_TYPE_XDP, &injection(map.as_raw_fd(), action))?;
        Ok(Self { program, window })
    }

    /// Takes these frames from now on, the first of them next.
    pub fn fill(&mut self, frames: &[Frame]) {
        self.window.write(0, &0u64.to_ne_bytes());
        for (place, frame) in frames.iter().cycle().take(FRAMES).enumerate() {
            self.window.write(STRIDE * (place + 1), frame);
        }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }
}

/// The map's value, mapped: nothing else writes while no program runs.
#[derive(Debug)]
struct Window(*mut u8);

impl Window {
    fn open(map: &OwnedFd) -> Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of a descriptor of ours; the kernel rounds the length up to whole pages.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), VALUE, access, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            bail!("mapping packets: {}", io::Error::last_os_error());
        }
        Ok(Self(at.cast()))
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= VALUE);
        // SAFETY: within the mapping, which lives as long as `self`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.add(offset), bytes.len()) };
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: `open` mapped it, and nobody else knows where.
        unsafe { libc::munmap(self.0.cast(), VALUE) };
    }
}

/// `struct bpf_insn`, little endian.
const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    code as u64 | ((from << 4 | to) as u64) << 8 | (offset as u16 as u64) << 16 | (value as u32 as u64) << 32
}

const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);

fn injection(map: i32, action: i32) -> Vec<u64> {
    const WORDS: usize = FRAME / 8;
    let mut code = vec![
        // r2 = data, r3 = data_end; if r2 + FRAME > r3 goto abort
        instruction(0x61, 2, 1, 0, 0),
        instruction(0x61, 3, 1, 4, 0),
        instruction(0xbf, 4, 2, 0, 0),
        instruction(0x07, 4, 0, 0, FRAME as i32),
        instruction(0x2d, 4, 3, 11 + 2 * WORDS as i16, 0),
        // r5 = the map's value
        instruction(0x18, 5, BPF_PSEUDO_MAP_VALUE, 0, map),
        instruction(0, 0, 0, 0, 0),
        // r0 = place++
        instruction(0x79, 0, 5, 0, 0),
        instruction(0xbf, 1, 0, 0, 0),
        instruction(0x07, 1, 0, 0, 1),
        instruction(0x7b, 5, 1, 0, 0),
        // r5 += (r0 & (FRAMES - 1)) * STRIDE
        instruction(0x57, 0, 0, 0, FRAMES as i32 - 1),
        instruction(0x67, 0, 0, 0, STRIDE.trailing_zeros() as i32),
        instruction(0x0f, 5, 0, 0, 0),
    ];
    for word in 0..WORDS {
        // r1 = the frame's word; the packet's word = r1
        code.push(instruction(0x79, 1, 5, (STRIDE + word * 8) as i16, 0));
        code.push(instruction(0x7b, 2, 1, (word * 8) as i16, 0));
    }
    code.extend([instruction(0xb7, 0, 0, 0, action), EXIT, instruction(0xb7, 0, 0, 0, XDP_ABORTED), EXIT]);
    code
}
