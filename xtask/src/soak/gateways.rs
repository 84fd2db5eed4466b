//! The gateways of a soak: the demo's tunnel, and one with static keys whose routes go around the peer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;

use super::judge::PASSING;
use super::secrets::Secrets;
use crate::lab::gateways::Gateways;
use crate::lab::scenario::{Keying, PSK, Scenario};
use crate::lab::{Family, Side};

/// Lanes of both tunnels.
pub const LANES: u64 = 6;

/// The device of the tunnel with static keys.
pub const SPARE: &str = "lk-spare";

/// A rule of the file that comes and goes; no flow is its.
const IN_FILE: &str =
    "[[rule]]\nname = \"soak-file\"\nclass = \"video\"\nprotocol = \"udp\"\ndestination-port = [6000]\n\n";

/// Files are written and charons run; no agent does. What nobody may tell goes into `secrets`.
pub fn set_up(binary: &Path, secrets: &mut Secrets) -> Result<Gateways> {
    let mut gateways = Gateways::idle("soak", Scenario::four_classes(Keying::Psk), binary)?;
    secrets.add_text(PSK);
    for side in [Side::A, Side::B] {
        let keys = gateways.lab().files(side).join("spare.keys");
        fs::write(&keys, key_file(side, secrets))?;
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600))?;
        let config = gateways.agent_of(side).config();
        fs::write(&config, format!("{}{}", fs::read_to_string(&config)?, spare(side, &keys)))?;
        gateways.agent(side).set_level("trace");
    }
    Ok(gateways)
}

/// The file with a rule more.
pub fn with_rule(toml: &str) -> String {
    toml.replacen("[[rule]]", &format!("{IN_FILE}[[rule]]"), 1)
}

/// A file that does not hold together: a rule names a class that is not there.
pub fn broken(toml: &str) -> String {
    toml.replacen("class = \"voice\"\nprotocol", "class = \"vocie\"\nprotocol", 1)
}

/// The rule that `rules add` adds.
pub fn added() -> (String, String) {
    let name = format!("{PASSING}-added");
    let text =
        format!("[[rule]]\nname = \"{name}\"\nclass = \"bulk\"\nprotocol = \"udp\"\ndestination-port = [6001]\n");
    (name, text)
}

fn spare(side: Side, keys: &Path) -> String {
    let around = match side {
        Side::A => "203.0.112.0/23",
        Side::B => "198.51.100.0/23",
    };
    format!(
        "\n[[tunnel]]\nname = \"spare\"\nlocal = \"{}\"\nremote = \"{}\"\nclasses = [\"default\"]\n\
         device = {{ type = \"xfrm\", if-id = 43, name = \"{SPARE}\", mtu = 1400 }}\n\
         routes = [\"{around}\", \"2001:db8:a::/47\"]\n\
         [tunnel.static]\nkey-file = \"{}\"\ni-know = \"static keys repeat nonces after a reboot\"\n",
        side.outer(Family::V6),
        side.other().outer(Family::V6),
        keys.display()
    )
}

/// Bytes that are found nowhere else by chance.
fn key_file(side: Side, secrets: &mut Secrets) -> String {
    let mut text = String::new();
    for (from, direction) in [(side, "out"), (side.other(), "in")] {
        let spi: u32 = if from == Side::A { 0x1001 } else { 0x2001 };
        let key: Vec<u8> = (0..20u8).map(|at| at.wrapping_mul(37) ^ 0xc5 ^ from as u8).collect();
        secrets.add_bytes(&key);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!(
            "[[sa]]\nlane = \"default.0\"\ndirection = \"{direction}\"\nspi = {spi:#x}\n\
             algorithm = \"aes128gcm16\"\nkey = \"{hex}\"\n\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_differ_in_one_rule() {
        let toml = Scenario::four_classes(Keying::Psk).toml(Side::A, Path::new("/a"), Path::new("/b"));
        assert_eq!(with_rule(&toml).matches("[[rule]]").count(), toml.matches("[[rule]]").count() + 1);
        assert_eq!(broken(&toml).matches("vocie").count(), 1);
    }
}
