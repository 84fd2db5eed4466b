//! Why a packet was not parsed or not let through: numbered for good, every one counted.

/// Why a packet could not be read as one expects. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum ParseReason {
    /// A header ends beyond the packet's end.
    Truncated = 1,
    /// Neither IPv4 nor IPv6.
    NotIp = 2,
    /// A version, header length or total length that contradicts itself.
    Malformed = 3,
    /// More IPv6 extension headers or VLAN tags than are followed.
    TooDeep = 4,
    /// A later fragment whose first one was not seen: classified without ports.
    FragmentUnseen = 5,
}

impl ParseReason {
    /// One more than the highest number.
    pub const COUNT: u32 = 6;
    /// All of them, in the order of their numbers.
    pub const ALL: [ParseReason; 5] = [
        ParseReason::Truncated,
        ParseReason::NotIp,
        ParseReason::Malformed,
        ParseReason::TooDeep,
        ParseReason::FragmentUnseen,
    ];

    /// As metrics and `explain` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            ParseReason::Truncated => "truncated",
            ParseReason::NotIp => "not_ip",
            ParseReason::Malformed => "malformed",
            ParseReason::TooDeep => "too_deep",
            ParseReason::FragmentUnseen => "fragment_unseen",
        }
    }

    /// The reason of that number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(ParseReason::Truncated),
            2 => Some(ParseReason::NotIp),
            3 => Some(ParseReason::Malformed),
            4 => Some(ParseReason::TooDeep),
            5 => Some(ParseReason::FragmentUnseen),
            _ => None,
        }
    }
}

/// Why a packet was dropped. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum BlockReason {
    /// No lane of its class, nor of any class in the fallback chain, is up.
    NoLane = 1,
    /// This tunnel carries neither its class nor one of the fallback chain.
    NotCarried = 2,
    /// No tables are loaded, or the device leads to no tunnel of theirs, or to none that the destination is behind.
    NoTables = 3,
    /// The tunnel is another tenant's own, or the packet's tenant has tunnels of its own and this is none of them.
    Tenant = 4,
}

impl BlockReason {
    /// One more than the highest number.
    pub const COUNT: u32 = 5;
    /// All of them, in the order of their numbers.
    pub const ALL: [BlockReason; 4] =
        [BlockReason::NoLane, BlockReason::NotCarried, BlockReason::NoTables, BlockReason::Tenant];

    /// As metrics and `explain` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            BlockReason::NoLane => "no_lane",
            BlockReason::NotCarried => "not_carried",
            BlockReason::NoTables => "no_tables",
            BlockReason::Tenant => "tenant",
        }
    }

    /// The reason of that number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(BlockReason::NoLane),
            2 => Some(BlockReason::NotCarried),
            3 => Some(BlockReason::NoTables),
            4 => Some(BlockReason::Tenant),
            _ => None,
        }
    }
}
