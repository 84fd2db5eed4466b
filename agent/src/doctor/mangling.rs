//! Rules of firewalls that write marks.

use serde_json::Value;

use super::{Finding, Scope};

/// A rule that writes marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// `nft table inet fw chain pre`, `iptables mangle PREROUTING`.
    pub place: String,
    /// Where its chain hangs; `None` for one that others jump to.
    pub hook: Option<String>,
    /// The interface that it is for, as the firewall writes it; `None` for more than one.
    pub interface: Option<String>,
    /// The bits that it may change.
    pub bits: u32,
}

/// What comes out of a tunnel has its lane's mark when it is asked for a policy, and that is behind prerouting and input. On
/// its way in, our program writes the mark behind every hook.
pub fn findings(writers: &[Writer], scope: &Scope) -> Vec<Finding> {
    let Some(ours) = scope.mask else { return Vec::new() };
    let before_policy = |hook: &str| match hook {
        "prerouting" | "input" | "ingress" => true,
        "forward" | "output" | "postrouting" | "egress" => false,
        // Nobody knows what else the kernel learns.
        _ => true,
    };
    let of_tunnel = |pattern: &str| scope.devices.iter().any(|device| fits(pattern, device));
    let clashing = writers
        .iter()
        .filter(|writer| writer.bits & ours != 0 && writer.hook.as_deref().is_none_or(before_policy))
        .filter(|writer| writer.interface.as_deref().is_none_or(of_tunnel));
    clashing
        .map(|writer| {
            let problem = format!(
                "{} writes bits {:#x} of our mask {ours:#x}: what came by a lane then fits no policy and is dropped",
                writer.place,
                writer.bits & ours
            );
            let kept = format!("{:#010x}", !ours);
            let cure = format!(
                "have it keep ours (nft: meta mark set meta mark and {ours:#010x} or VALUE, iptables: --set-xmark VALUE/{kept}), or \
                 leave out what comes in by {}",
                scope.devices.iter().cloned().collect::<Vec<_>>().join(", ")
            );
            Finding::advise("firewall", problem, cure)
        })
        .collect()
}

/// nft writes `eth*`, iptables `eth+`.
fn fits(pattern: &str, device: &str) -> bool {
    match pattern.strip_suffix(['*', '+']) {
        Some(begin) => device.starts_with(begin),
        None => pattern == device,
    }
}

/// Those of `nft -j list ruleset`; `None` where that is no list of nft's.
pub fn of_nft(json: &Value) -> Option<Vec<Writer>> {
    let objects = json["nftables"].as_array()?;
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let place = |object: &Value, chain: &str| {
        format!("nft table {} {} chain {chain}", text(object, "family"), text(object, "table"))
    };
    let mut hooks = std::collections::BTreeMap::new();
    for chain in objects.iter().filter_map(|object| object.get("chain")) {
        if let Some(hook) = chain["hook"].as_str() {
            hooks.insert(place(chain, &text(chain, "name")), hook.to_owned());
        }
    }
    let mut writers: Vec<Writer> = Vec::new();
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        let place = place(rule, &text(rule, "chain"));
        for statement in rule["expr"].as_array().into_iter().flatten() {
            let mangle = &statement["mangle"];
            if mangle["key"]["meta"]["key"] == "mark" {
                let (hook, interface) = (hooks.get(&place).cloned(), interface(rule));
                writers.push(Writer { place: place.clone(), hook, interface, bits: written(&mangle["value"]) });
            }
        }
    }
    Some(writers)
}

fn interface(rule: &Value) -> Option<String> {
    let matches = rule["expr"].as_array().into_iter().flatten().map(|statement| &statement["match"]);
    let of_name = |is: &&Value| is["op"] == "==" && is["left"]["meta"]["key"] == "iifname";
    matches.filter(of_name).find_map(|is| Some(is["right"].as_str()?.to_owned()))
}

/// The bits that an expression over the mark does not keep.
fn written(value: &Value) -> u32 {
    if value["meta"]["key"] == "mark" {
        return 0;
    }
    let sides = |operator: &str| {
        let sides = value[operator].as_array().filter(|sides| sides.len() == 2)?;
        Some((&sides[0], &sides[1]))
    };
    let constant = |value: &Value| value.as_u64().map(|number| number as u32);
    match (sides("&"), sides("|").or_else(|| sides("^"))) {
        (Some((mark, mask)), _) => constant(mask).map_or(u32::MAX, |mask| written(mark) | !mask),
        (None, Some((mark, bits))) => constant(bits).map_or(u32::MAX, |bits| written(mark) | bits),
        (None, None) => u32::MAX,
    }
}

/// Those of a dump of `iptables-save` or `ip6tables-save`.
pub fn of_iptables(program: &str, dump: &str) -> Vec<Writer> {
    let mut table = "";
    let mut writers = Vec::new();
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(chain) = words.iter().position(|word| *word == "-A").and_then(|at| words.get(at + 1)) else {
            continue;
        };
        let bits = match words.iter().position(|word| *word == "-j").and_then(|at| words.get(at + 1)) {
            Some(&"MARK") => marked(&words),
            Some(&"CONNMARK") if words.contains(&"--restore-mark") => restored(&words),
            _ => continue,
        };
        let hook = match *chain {
            "PREROUTING" | "INPUT" | "FORWARD" | "OUTPUT" | "POSTROUTING" => Some(chain.to_lowercase()),
            _ => None,
        };
        let at = words.iter().position(|word| *word == "-i").filter(|at| words.get(at.wrapping_sub(1)) != Some(&"!"));
        let interface = at.and_then(|at| words.get(at + 1)).map(|name| (*name).to_owned());
        writers.push(Writer { place: format!("{program} {table} {chain}"), hook, interface, bits });
    }
    writers
}

fn argument<'a>(words: &[&'a str], option: &str) -> Option<&'a str> {
    words.iter().position(|word| *word == option).and_then(|at| words.get(at + 1).copied())
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `--set-xmark value/mask` clears the mask's bits and flips the value's; so are all forms dumped.
fn marked(words: &[&str]) -> u32 {
    let both = argument(words, "--set-xmark").and_then(|text| {
        let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
        Some(number(value)? | number(mask)?)
    });
    both.unwrap_or(u32::MAX)
}

fn restored(words: &[&str]) -> u32 {
    argument(words, "--nfmask").or_else(|| argument(words, "--mask")).and_then(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{said, scope};
    use super::*;

    #[test]
    fn a_writer_before_the_policy_check_is_said() {
        let writer = |hook: Option<&str>, bits| Writer {
            place: "nft table inet fw chain pre".into(),
            hook: hook.map(str::to_owned),
            interface: None,
            bits,
        };
        let for_interface =
            |name: &str| Writer { interface: Some(name.to_owned()), ..writer(Some("prerouting"), 0xffff_ffff) };
        let writers = [
            writer(Some("prerouting"), 0xffff_ffff),
            writer(Some("prerouting"), 0xff00),
            writer(Some("forward"), 0xff),
            writer(Some("postrouting"), 0xff),
            writer(None, 0x1),
            for_interface("lan0"),
            for_interface("lk-*"),
        ];
        let said = said(&findings(&writers, &scope()));
        assert_eq!(said.len(), 3, "{said:?}");
        assert_eq!(
            said[0],
            "nft table inet fw chain pre writes bits 0xff of our mask 0xff: what came by a lane then fits no policy and is dropped \
             -> have it keep ours (nft: meta mark set meta mark and 0x000000ff or VALUE, iptables: --set-xmark \
             VALUE/0xffffff00), or leave out what comes in by lk-b7"
        );
        assert!(said[1].contains("writes bits 0x1 of"), "{}", said[1]);
    }

    #[test]
    fn nft_says_what_a_rule_keeps() {
        let meta = json!({"meta": {"key": "mark"}});
        for (value, bits) in [
            (json!(5), u32::MAX),
            (meta.clone(), 0),
            (json!({"|": [meta, 0x100]}), 0x100),
            (json!({"|": [{"&": [meta, 0xffff_00ff_u32]}, 0x100]}), 0xff00),
            (json!({"^": [meta, 1]}), 1),
            (json!({"ct": {"key": "mark"}}), u32::MAX),
        ] {
            assert_eq!(written(&value), bits, "{value}");
        }
        let set = json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": 5}});
        let list = json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"chain": {"family": "inet", "table": "fw", "name": "pre", "hook": "prerouting"}},
            {"chain": {"family": "inet", "table": "fw", "name": "sub"}},
            {"rule": {"family": "inet", "table": "fw", "chain": "pre", "expr": [
                {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lan0"}}, set]}},
            {"rule": {"family": "inet", "table": "fw", "chain": "sub", "expr": [set, {"accept": null}]}},
            {"rule": {"family": "inet", "table": "fw", "chain": "pre", "expr": [{"drop": null}]}},
        ]});
        let found = of_nft(&list).unwrap();
        let hooks: Vec<_> =
            found.iter().map(|writer| (writer.place.as_str(), writer.hook.as_deref(), writer.bits)).collect();
        assert_eq!(found.iter().map(|writer| writer.interface.as_deref()).collect::<Vec<_>>(), [Some("lan0"), None]);
        assert_eq!(
            hooks,
            [
                ("nft table inet fw chain pre", Some("prerouting"), u32::MAX),
                ("nft table inet fw chain sub", None, u32::MAX)
            ]
        );
        assert_eq!(of_nft(&json!({})), None);
    }

    #[test]
    fn iptables_says_what_a_rule_clears_and_sets() {
        let dump = "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i lan0 -j MARK --set-xmark 0x100/0xff00\n\
                    -A FORWARD -j MARK --set-xmark 0x1/0xffffffff\n\
                    -A mine -j CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0xf0\n-A PREROUTING -j CONNMARK --save-mark\nCOMMIT\n";
        let found = of_iptables("iptables", dump);
        let said: Vec<_> =
            found.iter().map(|writer| (writer.place.as_str(), writer.hook.as_deref(), writer.bits)).collect();
        assert_eq!(
            said,
            [
                ("iptables mangle PREROUTING", Some("prerouting"), 0xff00),
                ("iptables mangle FORWARD", Some("forward"), u32::MAX),
                ("iptables mangle mine", None, 0xf0),
            ]
        );
    }
}
