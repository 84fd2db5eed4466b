//! The maps. Their names and shapes are `lanekeeper_common::abi`'s; the agent checks a pin against them.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use lanekeeper_common::abi::{
    COUNTERS_TOGETHER, Candidates, Counters, Device, FIELDS, FLOWS_OF_BLOCK, FlowBlock, FragmentKey, FragmentValue,
    Generation, Guide, Heads, Ingress, MAX_CGROUPS, MAX_COUNTERS, MAX_DEVICES, MAX_FLOWS, MAX_FRAGMENTS, MAX_GROUPS,
    MAX_INGRESS, MAX_NAMES, MAX_OUTER, MAX_RECORDS, MAX_SOCKETS, MAX_TALLIES, MAX_TENANTS, Name, Numbers, OuterKey,
    Passages, Record, Scratch, Socket, Tenant,
};

/// bpf.h; hash maps that are large and seldom full take memory as they fill.
const BPF_F_NO_PREALLOC: u32 = 1;

/// bpf.h; what is edited in place. Both kinds of arrays of this size lie in pages of vmalloc.
const BPF_F_MMAPABLE: u32 = 1 << 10;

#[map]
pub static ACTIVE: Array<u64> = Array::with_max_entries(1, 0);
#[map]
pub static GENERATIONS: Array<Generation> = Array::with_max_entries(2, BPF_F_MMAPABLE);
#[map]
pub static DIGESTS: Array<u64> = Array::with_max_entries(2, 0);
#[map]
pub static RECORDS: Array<Record> = Array::with_max_entries(2 * MAX_RECORDS as u32, BPF_F_MMAPABLE);
#[map]
pub static HEADS: Array<Heads> = Array::with_max_entries(2, BPF_F_MMAPABLE);
#[map]
pub static CANDIDATES: Array<Candidates> = Array::with_max_entries(2 * FIELDS as u32, BPF_F_MMAPABLE);
#[map]
pub static TENANTS: Array<Tenant> = Array::with_max_entries(2 * MAX_TENANTS as u32, BPF_F_MMAPABLE);
#[map]
pub static LANES_UP: Array<u32> = Array::with_max_entries(MAX_GROUPS as u32, 0);
#[map]
pub static DEVICES: HashMap<u32, Device> = HashMap::with_max_entries(MAX_DEVICES as u32, BPF_F_NO_PREALLOC);
#[map]
pub static INTERFACES: HashMap<u32, Ingress> = HashMap::with_max_entries(MAX_INGRESS as u32, BPF_F_NO_PREALLOC);
#[map]
pub static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(MAX_CGROUPS as u32, BPF_F_NO_PREALLOC);
#[map]
pub static GUIDES: HashMap<u32, Guide> = HashMap::with_max_entries(MAX_CGROUPS as u32, BPF_F_NO_PREALLOC);
#[map]
pub static SOCKETS: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(MAX_SOCKETS as u32, 0);
#[map]
pub static FLOWS: PerCpuArray<FlowBlock> = PerCpuArray::with_max_entries((MAX_FLOWS / FLOWS_OF_BLOCK) as u32, 0);
#[map]
pub static PASSAGES: PerCpuArray<Passages> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentValue> = LruHashMap::with_max_entries(MAX_FRAGMENTS as u32, 0);
#[map]
pub static COUNTERS: PerCpuArray<Counters> =
    PerCpuArray::with_max_entries((MAX_COUNTERS / COUNTERS_TOGETHER) as u32, 0);
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static OUTER: HashMap<OuterKey, u32> = HashMap::with_max_entries(MAX_OUTER as u32, BPF_F_NO_PREALLOC);
#[map]
pub static NAMES: HashMap<Name, Numbers> = HashMap::with_max_entries(MAX_NAMES as u32, BPF_F_NO_PREALLOC);
#[map]
pub static TALLIES: Array<u64> = Array::with_max_entries(MAX_TALLIES as u32, 0);
