//! What a namespace holds, in words that do not change by themselves: to prove that a machine is left as it was found.

use std::path::Path;

use anyhow::Result;

use super::netns::Ns;

/// Links, addresses, routes, rules, SAs, policies, qdiscs, filters and the pins below `bpffs`, as text.
pub fn machine(ns: &Ns, bpffs: &Path) -> Result<String> {
    ns.sh(&format!(
        "echo '# links'; ip -o -d link show | sed -E 's/^[0-9]+: //; s/ qlen [0-9]+//; s/(xdp[a-z]*) id [0-9]+/\\1/; s/ load_time [0-9]+//; s/ btf_id [0-9]+//'
         echo '# addresses'; ip -o addr show | sed -E 's/^[0-9]+: //; s/(valid|preferred)_lft [^ ]+//g'
         echo '# routes'; for family in -4 -6; do ip $family route show table all | sed -E 's/ expires [0-9]+sec//' | sort; done
         echo '# rules'; ip -4 rule show; ip -6 rule show
         echo '# states'; ip xfrm state list nokeys
         echo '# policies'; ip xfrm policy list nosock
         echo '# policy default'; ip xfrm policy getdefault
         echo '# qdiscs'; tc qdisc show
         echo '# filters'; ip -o link show | while read -r _ device _; do
             device=${{device%:}}; device=${{device%@*}}
             echo filter show dev $device ingress; echo filter show dev $device egress
         done | tc -force -batch - 2>/dev/null || true
         echo '# pins'; find {bpffs} -mindepth 1 | sort",
        bpffs = bpffs.display()
    ))
}

/// Lines of one dump that the other lacks, `-` for lost and `+` for new; empty where they agree.
pub fn difference(before: &str, after: &str) -> Vec<String> {
    let lost = before.lines().filter(|line| !after.lines().any(|other| other == *line)).map(|line| format!("- {line}"));
    let new = after.lines().filter(|line| !before.lines().any(|other| other == *line)).map(|line| format!("+ {line}"));
    lost.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_new_lines_are_told_apart() {
        assert_eq!(difference("a\nb\n", "b\nc\n"), ["- a", "+ c"]);
        assert!(difference("a\nb", "b\na").is_empty());
    }
}
