//! What values look like in the JSON Schema, where that is not what they become.

use schemars::JsonSchema;

/// One value, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Many<T> {
    /// Several.
    #[schemars(extend("minItems" = 1))]
    List(Vec<T>),
    /// One.
    One(T),
}

/// A protocol.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Number {
    /// By number.
    Number(u8),
    /// By name.
    Name(String),
}

/// A DSCP.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Dscp {
    /// By number.
    Number(#[schemars(range(max = 63))] u8),
    /// By name: `ef`, `af41`, `cs5`, `le`, `df`.
    Name(String),
}

/// Ports.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Ports {
    /// One port.
    Port(u16),
    /// A port, or a range such as `16384-32767`.
    Range(#[schemars(regex(pattern = r"^ *[0-9]+ *(- *[0-9]+ *)?$"))] String),
}

/// An amount of memory.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Memory {
    /// In bytes.
    Bytes(#[schemars(range(min = 33_554_432))] u64),
    /// With a unit.
    Text(#[schemars(regex(pattern = r"^[0-9]+ *(KiB|MiB|GiB)?$"))] String),
}

/// Lengths.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Lengths {
    /// One length.
    Length(u16),
    /// A length, or a range such as `0-200`.
    Range(#[schemars(regex(pattern = r"^ *[0-9]+ *(- *[0-9]+ *)?$"))] String),
}

/// TCP flags: those that are set, `/`, those that are looked at.
#[derive(JsonSchema)]
pub struct TcpFlags(#[schemars(regex(pattern = r"^[A-Za-z, ]*(/[A-Za-z, ]+)?$"), length(min = 1))] String);

/// An ICMP type.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum IcmpType {
    /// By number.
    Number(u8),
    /// By name.
    Name(String),
}

/// A mark of somebody else.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum ForeignMark {
    /// Its value.
    Value(u32),
    /// Its value, or value and mask such as `0x100/0xf00`.
    Masked(#[schemars(regex(pattern = r"^ *(0x[0-9A-Fa-f]+|[0-9]+) *(/ *(0x[0-9A-Fa-f]+|[0-9]+) *)?$"))] String),
}

/// An if_id.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum IfId {
    /// One.
    Number(#[schemars(range(min = 1))] u32),
    /// Each IKE_SA's own.
    Unique(#[schemars(regex(pattern = "^%unique$"))] String),
}

/// A duration.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Duration {
    /// In seconds.
    Seconds(u32),
    /// With a unit.
    Text(#[schemars(regex(pattern = r"^[0-9]+(s|m|min|h|d)?$"))] String),
}

/// What tells lanes apart.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Distincts {
    /// A label on each CHILD_SA.
    Label,
    /// An IKE_SA of its own, with identities of its own.
    Identity,
}

/// What a network card does of IPsec.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Offloads {
    /// Nothing.
    No,
    /// Encryption.
    Crypto,
}

/// Who initiates.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Starts {
    /// This end, at once.
    Start,
    /// This end, with a lane's first packet.
    Trap,
    /// The peer.
    None,
}

/// How the lanes of a class come up.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum ClassStarts {
    /// At once.
    Start,
    /// With their first packet.
    Trap,
}

/// Where a port's packets are classified.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Classify {
    /// At tc ingress.
    Tc,
    /// By XDP, in the driver where it can.
    Xdp,
    /// By XDP in the kernel's generic way.
    XdpGeneric,
}

/// What becomes of rules that name what is not there.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Missing {
    /// The file is refused.
    Refuse,
    /// Nothing matches it until it is there.
    Wait,
}

/// The sentence that says yes.
#[derive(JsonSchema)]
pub enum Consent {
    /// See `STATIC_KEY_CONSENT`.
    #[schemars(rename = "static keys repeat nonces after a reboot")]
    Yes,
}
