//! `lanekeeper import` as its user meets it: what is printed, what is listed, and that the file works.

#[allow(dead_code, reason = "each test target uses a part")]
#[path = "witness/random.rs"]
mod random;

#[path = "imported/filters.rs"]
mod filters;
mod imported;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use filters::agrees;
use lanekeeper::import::{Imported, Reason, Traffic, classbench, iptables, nft};

/// Exit code, standard output, standard error.
fn types(words: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
    let mut child =
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The rules alone, one a line, without comments and names.
fn rules(imported: &Imported) -> Vec<String> {
    let blocks = imported.file.split("\n[[rule]]\n").skip(1);
    let lines = |block: &str| {
        let own = block.lines().take_while(|line| !line.is_empty() && !line.starts_with(['#', '[']));
        own.filter(|line| !line.starts_with("name = ")).collect::<Vec<_>>().join("; ")
    };
    blocks.map(lines).collect()
}

fn mangle(rules: &str) -> Imported {
    let chains = ":PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:user - [0:0]\n";
    iptables::import("f", &format!("*mangle\n{chains}{rules}COMMIT\n"), Traffic::Forwarded).unwrap()
}

#[test]
fn the_last_mark_of_a_chain_comes_first_and_what_ends_it_keeps_its_place() {
    let imported = mangle(
        "-A PREROUTING -s 10.1.0.0/16 -j MARK --set-mark 1\n\
         -A PREROUTING -s 10.1.0.9 -j RETURN\n\
         -A PREROUTING -p udp -j MARK --set-mark 2\n",
    );
    assert_eq!(
        rules(&imported),
        [
            "class = \"mark-0x1\"; source = [\"10.1.0.9/32\"]",
            "class = \"mark-0x2\"; source = [\"10.1.0.0/16\"]; protocol = \"udp\"",
            "class = \"mark-0x1\"; source = [\"10.1.0.0/16\"]",
            "class = \"mark-0x2\"; source = [\"0.0.0.0/0\"]; protocol = \"udp\"",
        ]
    );
    assert_eq!(imported.left_out, []);
}

#[test]
fn a_mark_with_a_verdict_behind_it_is_one_rule() {
    let pairs: String = (1..=3)
        .map(|mark| {
            let when = format!("-A PREROUTING -p tcp -m tcp --dport {mark}");
            format!("{when} -j MARK --set-mark {mark}\n{when} -j RETURN\n")
        })
        .collect();
    let imported = mangle(&format!("-A PREROUTING -i lan0 -j MARK --set-mark 9\n{pairs}"));
    let marks: Vec<String> = rules(&imported).iter().map(|rule| rule[9..17].to_owned()).collect();
    assert_eq!(marks, ["mark-0x1", "mark-0x2", "mark-0x3", "mark-0x9"]);
}

#[test]
fn a_negation_is_an_exception_before_the_rule() {
    let imported = mangle("-A PREROUTING ! -s 10.0.0.0/8 -d 10.2.0.0/16 -j MARK --set-mark 1\n");
    assert_eq!(
        rules(&imported),
        ["class = \"default\"; source = [\"10.0.0.0/8\"]", "class = \"mark-0x1\"; destination = [\"10.2.0.0/16\"]",]
    );
}

#[test]
fn a_comment_becomes_the_name_that_the_rule_is_counted_by() {
    let rule = "-A PREROUTING -p udp -m comment --comment \"sip \\\"and\\\" rtp\" -m multiport --ports 5060,16384:32767 -j MARK --set-mark 1\n";
    let imported = mangle(rule);
    assert!(imported.file.contains("name = 'sip \"and\" rtp'\n"), "{}", imported.file);
    // Ports of either end take two rules, and names are there once.
    assert!(imported.file.contains("name = 'sip \"and\" rtp (2)'\n"), "{}", imported.file);
    imported::policy(&imported.file);
}

/// The reason why a rule is missing.
fn reason(rule: &str) -> String {
    let imported = mangle(&format!("-A PREROUTING {rule}\n-A PREROUTING -j MARK --set-mark 3\n"));
    let [lost] = imported.left_out.as_slice() else { panic!("{rule}: {:#?}", imported.left_out) };
    assert_eq!((lost.place.as_str(), &*lost.rule), ("f:5", &*format!("-A PREROUTING {rule}")));
    format!("{}; {}", lost.reason, lost.effect)
}

#[test]
fn what_iptables_says_and_we_cannot_is_listed_with_its_reason() {
    for (rule, expected) in [
        ("-m conntrack --ctstate NEW,ESTABLISHED -j MARK --set-mark 1", "-m conntrack depends on earlier packets"),
        ("-m limit --limit 5/sec -j MARK --set-mark 1", "-m limit depends on earlier packets"),
        ("-m set --match-set voip src -j MARK --set-mark 1", "-m set depends on earlier packets"),
        ("-m owner --uid-owner 0 -j MARK --set-mark 1", "a rule cannot ask for -m owner"),
        ("-m socket --transparent -j MARK --set-mark 1", "a rule cannot ask for -m socket"),
        ("-o eth0 -j MARK --set-mark 1", "a rule cannot ask for -o, the interface that it leaves by"),
        ("-i eth+ -j MARK --set-mark 1", "\"eth+\" is a pattern"),
        ("-f -j MARK --set-mark 1", "it tells first fragments from later ones"),
        ("-p icmp -m icmp --icmp-type 3/4 -j MARK --set-mark 1", "it asks for the code of an ICMP message"),
        ("-m tos --tos 0x10/0xff -j MARK --set-mark 1", "it asks for ECN bits"),
        ("-p dccp -m dccp --dport 5 -j MARK --set-mark 1", "it asks for ports of dccp"),
        ("-p tcp -m tcp --dport http -j MARK --set-mark 1", "--dport \"http\" cannot be read"),
        ("-m mark --mark 0x100/0xf00 -j MARK --set-mark 1", "it asks for a mark that no rule before it sets"),
        ("-j CONNMARK --restore-mark", "the mark that CONNMARK restores depends on earlier packets"),
        ("-j MARK --set-mark one", "options of -j MARK \"--set-mark one\" cannot be read"),
        ("-p udp -j DSCP --set-dscp 0x2e", "-j DSCP changes the packet, and lanekeeper sees it as it leaves"),
        ("-j SET --map-set voip dst,dst --map-mark", "the mark of -j SET --map-set depends on earlier packets"),
        ("-p udp -j nowhere", "chain \"f nowhere\" is not in the file"),
        ("-m frobnicate --frob -j ACCEPT", "a rule cannot ask for -m frobnicate"),
        ("-p tcp --frob 3 -j ACCEPT", "--frob is not known to this import"),
    ] {
        let said = reason(rule);
        assert!(said.starts_with(&expected.replace("f nowhere", "ip mangle nowhere")), "{rule}: {said}");
    }
    let said = reason("-m conntrack --ctstate NEW -j ACCEPT");
    assert!(said.ends_with("packets that it kept from the rules behind it meet them now, and may be of another class"));
    let said = reason("-m conntrack --ctstate NEW -j user");
    assert!(said.contains("do not reach chain \"ip mangle user\" by it"), "{said}");
}

#[test]
fn what_decides_no_mark_is_not_listed() {
    let imported = mangle(
        "-A PREROUTING -m conntrack --ctstate INVALID -j DROP\n\
         -A PREROUTING -m limit --limit 1/sec -j LOG\n\
         -A PREROUTING -p tcp -j TCPMSS --clamp-mss-to-pmtu\n\
         -A PREROUTING -j CONNMARK --save-mark\n\
         -A PREROUTING -p udp -j MARK --set-mark 1\n",
    );
    assert_eq!((imported.left_out, rules(&mangle("-A PREROUTING -p udp -j MARK --set-mark 1\n")).len()), (vec![], 1));
}

#[test]
fn a_built_in_chain_needs_no_line_and_protocols_have_the_names_of_the_tools() {
    let rules_of = |text: &str| rules(&iptables::import("f", text, Traffic::Forwarded).unwrap());
    assert_eq!(
        rules_of(
            "*mangle\n-A FORWARD -p ipencap -j MARK --set-mark 2\n-A FORWARD -p ipip -j MARK --set-mark 2\nCOMMIT\n"
        ),
        [94, 4].map(|number| {
            let protocol = if number == 4 { "\"ipip\"".to_owned() } else { number.to_string() };
            format!("class = \"mark-0x2\"; source = [\"0.0.0.0/0\"]; protocol = {protocol}")
        }),
    );
}

#[test]
fn chains_of_other_traffic_are_listed_and_can_be_had() {
    let dump = "*mangle\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n-A PREROUTING -p udp -j MARK --set-mark 1\n\
                -A INPUT -p udp -j MARK --set-mark 2\n-A OUTPUT -p tcp -j MARK --set-mark 3\nCOMMIT\n\
                *nat\n:POSTROUTING ACCEPT\n-A POSTROUTING -o ppp0 -j MASQUERADE\n-A POSTROUTING -o ppp1 -j MASQUERADE\nCOMMIT\n";
    let forwarded = iptables::import("f", dump, Traffic::Forwarded).unwrap();
    let places = |imported: &Imported| imported.left_out.iter().map(ToString::to_string).collect::<Vec<_>>();
    let said = places(&forwarded);
    assert!(
        said[0].starts_with("f:3: left out: these packets do not go through input\n    chain ip mangle INPUT\n"),
        "{said:?}"
    );
    assert!(said[1].contains(
        "f:4: left out: these packets do not go through output: for the host's own packets there is `--traffic host`"
    ));
    assert!(said[2].contains("f:11: left out: -j MASQUERADE changes the packet"), "{said:?}");
    assert_eq!(said.len(), 3);
    let host = iptables::import("f", dump, Traffic::Host).unwrap();
    assert_eq!(rules(&host), ["class = \"mark-0x3\"; source = [\"0.0.0.0/0\"]; protocol = \"tcp\""]);
    assert!(places(&host)[1].contains("for forwarded packets there is `--traffic forwarded`"));
}

/// Rules of nft's JSON, in a chain at prerouting.
fn ruleset(more: &str, rules: &[&str]) -> Imported {
    let head = r#"{"metainfo": {"json_schema_version": 1}}, {"table": {"family": "inet", "name": "t", "handle": 1}},
        {"chain": {"family": "inet", "table": "t", "name": "c", "handle": 2, "type": "filter", "hook": "prerouting", "prio": -150, "policy": "accept"}}"#;
    let rule = |(place, expr): (usize, &&str)| {
        format!(
            r#", {{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": {}, "expr": [{expr}]}}}}"#,
            place + 10
        )
    };
    let rules: String = rules.iter().enumerate().map(rule).collect();
    nft::import("f", &format!(r#"{{"nftables": [{head}{more}{rules}]}}"#), Traffic::Forwarded).unwrap()
}

const MARK: &str = r#"{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 3}}"#;

#[test]
fn what_nft_says_and_we_cannot_is_listed_with_its_reason() {
    let left = |left: &str, op: &str, right: &str| {
        format!(r#"{{"match": {{"op": "{op}", "left": {left}, "right": {right}}}}}, {MARK}"#)
    };
    let payload =
        |protocol: &str, field: &str| format!(r#"{{"payload": {{"protocol": "{protocol}", "field": "{field}"}}}}"#);
    let meta = |key: &str| format!(r#"{{"meta": {{"key": "{key}"}}}}"#);
    let lively = r#", {"set": {"family": "inet", "name": "s", "table": "t", "type": "ipv4_addr", "handle": 5, "flags": ["dynamic"]}}"#;
    for (rule, expected) in [
        (left(r#"{"ct": {"key": "state"}}"#, "in", "\"new\""), "ct state depends on earlier packets"),
        (left(&meta("skuid"), "==", "0"), "a rule cannot ask for meta skuid"),
        (left(&meta("oifname"), "==", "\"eth0\""), "a rule cannot ask for meta oifname"),
        (left(&meta("iifname"), "==", "\"eth*\""), "\"eth*\" is a pattern"),
        (left(&payload("ip6", "nexthdr"), "==", "6"), "\"ip6 nexthdr\" is the header behind the first"),
        (left(&payload("icmp", "code"), "==", "4"), "it asks for the code of an ICMP message"),
        (left(&payload("th", "dport"), "==", "53"), "it asks for ports of any protocol"),
        (left(&payload("udplite", "dport"), "==", "53"), "it asks for ports of udplite"),
        (left(&payload("ip", "saddr"), "==", "\"@gone\""), "set or map \"gone\" is not in the file"),
        (left(&payload("ip", "saddr"), "==", "\"@s\""), "set or map \"s\" changes by itself"),
        (left(&payload("ip", "saddr"), "==", "\"x.y\""), "ip saddr \"\"x.y\"\" cannot be read"),
        (left(r#"{"exthdr": {"name": "frag"}}"#, "==", "true"), "it tells first fragments from later ones"),
        (left(r#"{"fib": {"result": "type"}}"#, "==", "2"), "a rule cannot ask for fib"),
        (format!(r#"{{"limit": {{"rate": 1}}}}, {MARK}"#), "limit depends on earlier packets"),
        (format!(r#"{{"frob": null}}, {MARK}"#), "frob is not known to this import"),
        (
            format!(r#"{{"set": {{"op": "update", "elem": 1, "set": "@s"}}}}, {MARK}"#),
            "the set statement depends on earlier",
        ),
        (
            format!(r#"{{"mangle": {{"key": {{"meta": {{"key": "priority"}}}}, "value": {{"map": {{}}}}}}}}, {MARK}"#),
            r#"{"meta":{"key":"priority"}} set by a map is not known"#,
        ),
        (
            left(r#"{"payload": {"tunnel": "vxlan", "protocol": "ip", "field": "saddr"}}"#, "==", "\"10.0.0.1\""),
            "a rule cannot ask for headers within a tunnel",
        ),
        (
            format!(r#"{{"xt": {{"type": "match", "name": "tcp"}}}}, {MARK}"#),
            "nft does not say what match tcp of iptables-nft does",
        ),
        (
            r#"{"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"ct": {"key": "mark"}}}}"#.to_owned(),
            "the mark that it sets comes from",
        ),
        (
            r#"{"mangle": {"key": {"payload": {"protocol": "ip", "field": "dscp"}}, "value": 46}}"#.to_owned(),
            "ip dscp set changes the packet",
        ),
    ] {
        let imported = ruleset(lively, &[&rule, MARK]);
        let [lost] = imported.left_out.as_slice() else { panic!("{rule}: {:#?}", imported.left_out) };
        assert_eq!(lost.place, "f: inet t c handle 10");
        assert!(lost.reason.to_string().starts_with(expected), "{rule}: {}", lost.reason);
        assert_eq!(rules(&imported), ["class = \"mark-0x3\""]);
    }
}

#[test]
fn what_no_element_has_is_still_of_the_protocol_that_was_looked_up() {
    let rule = r#"{"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"map": {
        "key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[22, 3], ["*", 9]]}}}}}"#;
    assert_eq!(
        rules(&ruleset("", &[rule])),
        [
            "class = \"mark-0x3\"; protocol = \"tcp\"; destination-port = [22]",
            "class = \"mark-0x9\"; protocol = \"tcp\"",
        ]
    );
}

#[test]
fn chains_of_bridges_and_of_tables_that_sleep_mark_nothing() {
    let bridge = r#", {"chain": {"family": "bridge", "table": "t", "name": "d", "handle": 3, "type": "filter", "hook": "prerouting", "prio": -200, "policy": "accept"}},
        {"rule": {"family": "bridge", "table": "t", "chain": "d", "handle": 4, "expr": [{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 5}}]}}"#;
    let imported = ruleset(bridge, &[MARK]);
    assert_eq!(rules(&imported), ["class = \"mark-0x3\""]);
    assert!(
        imported.left_out[0].to_string().contains("do not go through bridge prerouting"),
        "{:?}",
        imported.left_out
    );
    let asleep = r#", {"table": {"family": "ip", "name": "z", "handle": 7, "flags": ["dormant"]}},
        {"chain": {"family": "ip", "table": "z", "name": "d", "handle": 3, "type": "filter", "hook": "prerouting", "prio": 0, "policy": "accept"}},
        {"rule": {"family": "ip", "table": "z", "chain": "d", "handle": 4, "expr": [{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 5}}]}}"#;
    assert_eq!(rules(&ruleset(asleep, &[MARK])), ["class = \"mark-0x3\""]);
}

#[test]
fn two_chains_at_one_place_are_not_ordered_by_a_guess() {
    let twin = r#", {"chain": {"family": "ip", "table": "t", "name": "d", "handle": 3, "type": "filter", "hook": "prerouting", "prio": -150, "policy": "accept"}},
        {"rule": {"family": "ip", "table": "t", "chain": "d", "handle": 4, "expr": [{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 5}}]}}"#;
    let imported = ruleset(twin, &[MARK]);
    assert!(matches!(imported.left_out[0].reason, Reason::SamePlace { .. }), "{:?}", imported.left_out);
    assert_eq!(imported.left_out.len(), 1);
}

const DUMP: &str =
    "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -m udp --dport 5060 -j MARK --set-mark 7\nCOMMIT\n";

#[test]
fn exit_codes_say_whether_all_of_it_came_over() {
    let (code, file, said) = types(&["import", "iptables", "-"], DUMP);
    assert_eq!((code, said.as_str()), (0, ""), "{file}");
    assert!(file.starts_with("# Made from <stdin> (iptables-save)"), "{file}");
    let lossy = DUMP.replace("-p udp -m", "-m state --state NEW -p udp -m");
    let (code, _, said) = types(&["import", "iptables", "-"], &lossy);
    assert_eq!(code, 1);
    assert!(said.starts_with("<stdin>:3: left out: -m state depends on earlier packets"), "{said}");
    let (code, out, _) = types(&["import", "iptables", "-", "--json"], &lossy);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["left_out"][0]["place"].as_str()), (1, Some("<stdin>:3")), "{json}");
    assert!(json["file"].as_str().unwrap().contains("[default]"));
    for (words, input, wanted) in [
        (&["import", "iptables", "no-such-file"][..], "", "no-such-file"),
        (&["import", "iptables", "-"], "", "<stdin> has no table: give it what `iptables-save` writes"),
        (&["import", "iptables", "-"], "*mangle\n:PREROUTING ACCEPT\nCOMMIT\n", "<stdin> has no rule that sets a mark"),
        (&["import", "iptables", "-"], "-A x -j y\n", "<stdin>:1: \"-A x -j y\" stands in no table: a dump has lines"),
        (&["import", "iptables", "-"], "*mangle\nfrob\n", "<stdin>:2: \"frob\" is no rule"),
        (&["import", "nft", "-"], "table inet t {}", "<stdin>: not JSON"),
        (&["import", "nft", "-"], "{}", "<stdin>: the whole: \"nftables\" is missing"),
        (&["import", "nft", "-"], "{\"nftables\": [{\"rule\": {}}]}", "<stdin>: object 1: family is missing"),
        (
            &["import", "nft", "-"],
            "{\"nftables\": []}",
            "<stdin> has no rule: give it what `nft -j list ruleset` writes",
        ),
        (&["import", "classbench", "-"], "# none\n", "<stdin> has no filter"),
        (&["import", "classbench", "-"], "@1.2.3.4/8\n", "<stdin>:1: the line ends where DESTINATION/LENGTH is wanted"),
        (
            &["import", "classbench", "-"],
            "@0.0.0.0/0 0.0.0.0/0 9 : 5 0 : 1 0/0\n",
            "<stdin>:1: 9 : 5 is an empty range of ports",
        ),
        (&["import", "classbench", "-", "--classes", "0"], "", "from 1 to 32"),
    ] {
        let (code, out, said) = types(words, input);
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}");
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn the_printed_file_checks_with_its_tunnel_filled_in_or_included_by_a_file_that_has_one() {
    let (_, file, _) = types(&["import", "iptables", "-"], DUMP);
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str| types(&["check", folder.path().join(name).to_str().unwrap()], "");
    let write = |name: &str, text: &str| std::fs::write(Path::join(folder.path(), name), text).unwrap();
    write("whole.toml", &imported::completed(&file));
    let (code, out, said) = check("whole.toml");
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("2 classes, 1 tunnel with 2 lanes, 1 rule"), "{out}");
    write("rules.toml", &file);
    let tunnel = imported::completed(&file).split_off(file.len());
    write("gw.toml", &format!("include = [\"rules.toml\"]\n{tunnel}"));
    let (code, _, said) = check("gw.toml");
    assert_eq!(code, 0, "{said}");
}

/// Lines of the form's every kind: whole and no prefixes, ranges, masks, flags, any protocol.
const FILTERS: &str = "\
@27.195.96.7/32\t107.130.16.1/32\t0 : 65535\t4646 : 4646\t0x06/0xFF\t0x0000/0x0200\t
@27.195.96.0/20\t107.130.16.1/32\t0 : 65535\t1221 : 1221\t0x06/0xFF\t0x1000/0x1000
@27.195.96.0/20\t107.130.0.0/16\t1024 : 65535\t0 : 1023\t0x11/0xFF\t0x0000/0x0000
@0.0.0.0/0\t107.130.0.0/16\t0 : 65535\t750 : 4000\t0x06/0xFF\t0x0200/0x0200
@27.0.0.0/8\t107.130.64.0/18\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000
@27.195.0.0/16\t0.0.0.0/0\t53 : 53\t0 : 65535\t0x00/0x00
@27.195.96.7/32\t107.0.0.0/8\t0 : 65535\t0 : 65535\t0x01/0xFF\t0x0000/0x0000
@27.195.64.0/18\t107.128.0.0/9\t0 : 65535\t0 : 65535\t0x10/0xFE\t0x0000/0x0000
@0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x84/0xFF\t0x0000/0x0000
";

const FILTERS_V6: &str = "\
@2001:db8:1::/48\t2001:db8:2::1/128\t0 : 65535\t80 : 80\t0x06/0xFF\t0x0000/0x0000
@2001:db8::/32\t::/0\t0 : 65535\t1024 : 65535\t0x11/0xFF
@::/0\t2001:db8:2::/47\t0 : 65535\t0 : 65535\t0x00/0x00
";

#[test]
fn classify_agrees_with_a_filter_set_of_classbench_by_its_own_lines() {
    let classes = agrees("filters", FILTERS, 12_000);
    assert_eq!(classes.len(), 5, "{classes:?}");
    let classes = agrees("filters of IPv6", FILTERS_V6, 4_000);
    assert_eq!(classes.len(), 4, "{classes:?}");
}

#[test]
fn filters_that_mean_nothing_here_are_listed_and_the_others_keep_their_class() {
    let text = "@0.0.0.0/0 0.0.0.0/0 5 : 5 0 : 65535 0x01/0xFF\n@0.0.0.0/0 0.0.0.0/0 0 : 65535 0 : 65535 0x11/0xFF 0x0200/0x0200\n\
                @0.0.0.0/0 0.0.0.0/0 0 : 65535 0 : 65535 0x06/0xFF 0x0001/0x0001\n@10.0.0.9/8 0.0.0.0/0 0 : 65535 0 : 65535 0x06/0xFF\n";
    let imported = classbench::import("f", text, 3).unwrap();
    let reasons: Vec<String> = imported.left_out.iter().map(|lost| lost.reason.to_string()).collect();
    assert_eq!(
        reasons,
        [
            "it asks for ports of icmp, and rules know those of tcp, udp and sctp",
            "flags 0x0200/0x0200 have a meaning for tcp alone, in their upper byte",
            "flags 0x0001/0x0001 have a meaning for tcp alone, in their upper byte",
        ]
    );
    assert_eq!(rules(&imported), ["class = \"class-1\"; source = [\"10.0.0.0/8\"]; protocol = \"tcp\""]);
}
