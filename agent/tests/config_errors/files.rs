//! Files on the disk: key files, includes, and what `check` prints.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lanekeeper::check;
use lanekeeper::config::{self, Facts, FileFact, Source};
use lanekeeper_common::abi::MAX_INTERFACES;

use super::{FINE, same};

/// The fine config as a file's text and facts about its key file.
fn with_key_file(fact: FileFact, in_use: bool) -> String {
    let mut facts = Facts { in_use, ..Facts::default() };
    facts.files.insert("/etc/lanekeeper/branch-7.psk".into(), fact);
    match config::parse(&[Source::new("/etc/lanekeeper/gw.toml", FINE)], &facts) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn a_key_file_that_others_can_read() {
    for in_use in [true, false] {
        same(
            &with_key_file(FileFact::Regular { mode: 0o644 }, in_use),
            r#"
/etc/lanekeeper/gw.toml:11:29: error: tunnel "branch-7": psk-file /etc/lanekeeper/branch-7.psk has mode 0644: readable by others than its owner
    chmod 600 /etc/lanekeeper/branch-7.psk; if others may have read it, make a new key for both ends
"#,
        );
    }
    same(
        &with_key_file(FileFact::Regular { mode: 0o640 }, true),
        r#"
/etc/lanekeeper/gw.toml:11:29: error: tunnel "branch-7": psk-file /etc/lanekeeper/branch-7.psk has mode 0640: readable by others than its owner
    chmod 600 /etc/lanekeeper/branch-7.psk; if others may have read it, make a new key for both ends
"#,
    );
    for private in [0o600, 0o400] {
        same(&with_key_file(FileFact::Regular { mode: private }, true), "");
    }
}

#[test]
fn a_key_file_that_is_missing_is_an_error_in_use_and_else_a_warning() {
    same(
        &with_key_file(FileFact::Missing, true),
        r#"
/etc/lanekeeper/gw.toml:11:29: error: tunnel "branch-7": psk-file /etc/lanekeeper/branch-7.psk does not exist
    make it before apply; relative paths start at the config's folder
"#,
    );
    same(
        &with_key_file(FileFact::Missing, false),
        r#"
/etc/lanekeeper/gw.toml:11:29: warning: tunnel "branch-7": psk-file /etc/lanekeeper/branch-7.psk does not exist on this machine
    apply and run will refuse this config without it
"#,
    );
}

#[test]
fn a_key_file_that_is_no_file_or_cannot_be_seen() {
    same(
        &with_key_file(FileFact::NotRegular("a directory"), true),
        r#"
/etc/lanekeeper/gw.toml:11:29: error: tunnel "branch-7": psk-file /etc/lanekeeper/branch-7.psk is a directory, not a regular file
    name the file itself
"#,
    );
    same(
        &with_key_file(FileFact::Hidden, true),
        r#"
/etc/lanekeeper/gw.toml:11:29: error: tunnel "branch-7": psk-file /etc/lanekeeper/branch-7.psk cannot be looked at: permission denied
    run as root, or see who may enter its folder
"#,
    );
    same(
        &with_key_file(FileFact::Hidden, false),
        r#"
/etc/lanekeeper/gw.toml:11:29: warning: tunnel "branch-7": psk-file /etc/lanekeeper/branch-7.psk was not checked: permission denied
    apply and run look at it as root
"#,
    );
}

/// A folder with these files; what is said, with the folder's name cut off.
fn on_disk(files: &[(&str, &str)], read: impl Fn(&Path) -> Result<config::Loaded, config::Errors>) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        let mode = if name.contains("open") { 0o644 } else { 0o600 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let said = match read(&folder.path().join("gw.toml")) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(errors) => errors.to_string(),
    };
    said.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn the_loader_looks_at_key_files_beside_the_config() {
    let open = FINE.replace("branch-7.psk", "open.psk");
    same(
        &on_disk(&[("gw.toml", &open), ("open.psk", "secret")], config::load),
        r#"
gw.toml:11:29: error: tunnel "branch-7": psk-file open.psk has mode 0644: readable by others than its owner
    chmod 600 open.psk; if others may have read it, make a new key for both ends
"#,
    );
    same(&on_disk(&[("gw.toml", FINE), ("branch-7.psk", "secret")], config::load), "");
    same(
        &on_disk(&[("gw.toml", FINE)], config::load),
        r#"
gw.toml:11:29: error: tunnel "branch-7": psk-file branch-7.psk does not exist
    make it before apply; relative paths start at the config's folder
"#,
    );
    same(
        &on_disk(&[("gw.toml", FINE)], config::inspect),
        r#"
gw.toml:11:29: warning: tunnel "branch-7": psk-file branch-7.psk does not exist on this machine
    apply and run will refuse this config without it
"#,
    );
}

#[test]
fn a_config_that_is_not_there() {
    same(
        &on_disk(&[], config::load),
        r#"
gw.toml: error: cannot read this file: no such file
    see that it is there and that you may read it
"#,
    );
}

#[test]
fn includes_have_errors_of_their_own() {
    let main = format!("include = [\"rules.d/*.toml\", \"none.toml\", \"a**b\", \"empty.d/*.toml\"]\n{FINE}");
    let files = [
        ("gw.toml", main.as_str()),
        ("branch-7.psk", "secret"),
        ("rules.d/a.toml", "[[rule]]\nname = \"sip\"\nclass = \"vioce\"\n[default]\nclass = \"voice\"\n"),
        ("rules.d/b.toml", "include = \"c.toml\"\n[[class]]\nname = \"voice\"\n"),
    ];
    same(
        &on_disk(&files, config::load),
        r#"
gw.toml:1:30: error: include: cannot read none.toml: no such file
    see that it is there and that you may read it
gw.toml:1:43: error: include: "a**b" is not a pattern: recursive wildcards must form a single path component
    write it like "rules.d/*.toml"
rules.d/a.toml:3:9: error: rule "sip": no class is named "vioce"
    did you mean "voice"?
rules.d/a.toml:4:1: error: [default] is already set at gw.toml:13:1
    keep one of them, best in the main file
rules.d/b.toml:1:11: error: include: this file is included itself, by gw.toml
    move this line to gw.toml: only the main file includes
rules.d/b.toml:3:8: error: class "voice": duplicate name, the first one is at gw.toml:3:8
    rename one of them
"#,
    );
}

#[test]
fn what_is_included_comes_after_the_main_file_in_the_order_of_names() {
    let main = format!(
        "include = [\"rules.d/*.toml\", \"rules.d/a.toml\"]\n{FINE}[[rule]]\nname = \"one\"\nclass = \"voice\"\ndscp = 1\n"
    );
    let rule = |name: &str| format!("[[rule]]\nname = \"{name}\"\nclass = \"voice\"\ndscp = 2\n");
    let files = [
        ("gw.toml", main.as_str()),
        ("branch-7.psk", "secret"),
        ("rules.d/b.toml", &rule("three")),
        ("rules.d/a.toml", &rule("two")),
    ];
    let said = on_disk(&files, |path| {
        let loaded = config::load(path)?;
        let names: Vec<_> = loaded.policy.rules.iter().filter_map(|rule| rule.name.as_deref()).collect();
        assert_eq!(names, ["one", "two", "three"]);
        assert_eq!(loaded.sources.len(), 3);
        assert!(loaded.policy.rules[1].place.ends_with("rules.d/a.toml:1:1"), "{}", loaded.policy.rules[1].place);
        Ok(loaded)
    });
    same(&said, "");
}

#[test]
fn a_folder_named_like_a_pattern_is_no_pattern() {
    let folder = tempfile::tempdir().expect("a folder");
    let odd = folder.path().join("gateways[1]");
    fs::create_dir(&odd).expect("a folder");
    fs::write(odd.join("gw.toml"), format!("include = [\"rules.toml\", \"more.toml\"]\n{FINE}")).expect("a file");
    fs::write(odd.join("rules.toml"), "[[rule]]\nclass = \"voice\"\n").expect("a file");
    let errors = config::inspect(&odd.join("gw.toml")).expect_err("more.toml is not there");
    let text = errors.to_string().replace(&format!("{}/", folder.path().display()), "");
    same(
        &text,
        r#"
gateways[1]/gw.toml:1:26: error: include: cannot read gateways[1]/more.toml: no such file
    see that it is there and that you may read it
"#,
    );
}

#[test]
fn an_error_of_check_is_json_on_demand() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gw.toml");
    fs::write(&path, format!("{FINE}[[rule]]\nclas = \"voice\"\n")).expect("a file");
    let checked = check::check(&path, true);
    assert_eq!((checked.code, checked.err.as_str()), (2, ""));
    let json: serde_json::Value = serde_json::from_str(&checked.out).expect("JSON");
    assert_eq!(json["ok"], false);
    assert_eq!(json["errors"][0]["line"], 15);
    assert_eq!(json["errors"][0]["column"], 1);
    assert_eq!(json["errors"][0]["message"], "rule 1: unknown key \"clas\"");
    assert_eq!(json["errors"][0]["help"], "did you mean \"class\"?");
    assert_eq!(json["warnings"], serde_json::json!([]));
}

#[test]
fn check_counts_its_errors_and_exits_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gw.toml");
    fs::write(&path, format!("{FINE}[[rule]]\nclas = \"voice\"\ncolour = 1\n")).expect("a file");
    let checked = check::check(&path, false);
    assert_eq!((checked.code, checked.out.as_str()), (2, ""));
    assert!(checked.err.ends_with("gw.toml: 2 errors\n"), "{}", checked.err);
}

/// What only compiling tells.
#[test]
fn a_config_that_the_data_path_has_no_room_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gw.toml");
    let interfaces: Vec<String> = (0..=MAX_INTERFACES).map(|at| format!("\"lan{at}\"")).collect();
    let rule = format!("[[rule]]\nclass = \"voice\"\ninterface = [{}]\n", interfaces.join(", "));
    fs::write(&path, format!("{FINE}{rule}")).expect("a file");
    let checked = check::check(&path, false);
    let text = checked.err.replace(&format!("{}/", folder.path().display()), "");
    assert_eq!(checked.code, 2);
    let full = format!("gw.toml: error: the registry holds no more than {MAX_INTERFACES} ingress interfaces, those of");
    assert!(text.starts_with(&full) && text.ends_with("gw.toml: 1 error\n"), "{text}");
}

/// What the file itself allows.
#[test]
fn a_list_of_more_memory_than_the_file_allows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gw.toml");
    let ports: Vec<String> = (0..20_000).map(|at| at.to_string()).collect();
    let rule = format!("[[rule]]\nclass = \"voice\"\nlength = [{}]\n", ports.join(", "));
    let with = |limit: &str| {
        fs::write(
            &path,
            format!("{FINE}[limits]\nmemory = {limit}\n[[rule]]\nclass = \"voice\"\ndscp = 1\n{rule}{rule}"),
        )
        .expect("a file");
        check::check(&path, false).err.replace(&format!("{}/", folder.path().display()), "")
    };
    let text = with("\"36MiB\"");
    let (head, rest) = text.split_once(" MiB as a whole").expect("what it takes");
    let (place, needed) = head.rsplit_once(", and ").expect("the bound");
    let bound = "up to here the list takes more than the 36 MiB of [limits] memory";
    assert_eq!(place, format!("gw.toml: error: rule gw.toml:22:1: {bound}"));
    assert!(rest.starts_with("; raise it, or take fewer rules or shorter lists\n"), "{rest}");
    // What it says is what is enough.
    let enough: u64 = needed.parse().expect("a number");
    assert!(!with(&format!("\"{enough}MiB\"")).contains("error"));
    assert!(with(&format!("\"{}MiB\"", enough - 1)).contains("error"));
    same(
        with("\"16MiB\"").trim_end_matches("gw.toml: 1 error\n").trim_end(),
        r#"
gw.toml:15:10: error: [limits]: memory 16777216 is outside 33554432 to 18446744073709551615
"#,
    );
}

/// What is kept of files says the same as files that are read for the first time, wherever they stand by now.
#[test]
fn a_folder_that_is_read_again_says_what_it_says_the_first_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    let (main, mut shelf) = (folder.path().join("gw.toml"), config::Shelf::default());
    let rules = |class: &str, first: u8| -> String {
        let rule = |dscp| format!("[[rule]]\nname = \"dscp {dscp}\"\nclass = \"{class}\"\ndscp = {dscp}\n");
        (first..first + 3).map(rule).collect()
    };
    fs::create_dir(folder.path().join("rules.d")).expect("a folder");
    file("branch-7.psk", "secret");
    fs::set_permissions(folder.path().join("branch-7.psk"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let fine = format!("include = \"rules.d/*.toml\"\n{FINE}");
    file("gw.toml", &fine);
    let mut read = |errors: usize| {
        let (again, first) = (config::load_again(&main, &mut shelf), config::load(&main));
        assert_eq!(again.as_ref().err().map_or(0, |errors| errors.0.len()), errors, "{again:?}");
        assert_eq!(again, first);
        again.map_or(0, |loaded| loaded.policy.rules.len())
    };
    assert_eq!(read(0), 0);
    file("rules.d/b.toml", &rules("voice", 10));
    file("rules.d/c.toml", &rules("voice", 20));
    assert_eq!((read(0), read(0)), (6, 6));
    // What is beside rules is there again, too.
    file("rules.d/d.toml", &format!("{}[[port]]\nname = \"lan0\"\n", rules("voice", 40)));
    assert_eq!((read(0), read(0)), (9, 9));
    fs::remove_file(folder.path().join("rules.d/d.toml")).expect("it was there");
    // One before it moves the others, one is changed, and one goes.
    file("rules.d/a.toml", &rules("default", 30));
    assert_eq!((read(0), read(0)), (9, 9));
    file("rules.d/b.toml", &rules("default", 11));
    assert_eq!((read(0), read(0)), (9, 9));
    fs::remove_file(folder.path().join("rules.d/a.toml")).expect("it was there");
    assert_eq!(read(0), 6);
    // What is wrong with a file by itself, what with rules that are kept, and what with both.
    file("rules.d/b.toml", "[[rule]]\nclas = \"voice\"\n");
    assert_eq!((read(1), read(1)), (0, 0));
    file("rules.d/b.toml", &rules("voice", 10));
    file("gw.toml", &fine.replace("name = \"voice\"", "name = \"speech\"").replace("\"voice\", ", "\"speech\", "));
    assert_eq!((read(6), read(6)), (0, 0));
    file("rules.d/b.toml", "[[rule]\n");
    file("gw.toml", &fine);
    assert_eq!(read(1), 0);
    file("rules.d/b.toml", &rules("voice", 10));
    assert_eq!(read(0), 6);
}
