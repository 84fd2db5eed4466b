//! More than the data path holds: said at the first that is too much.

use std::fmt::Write;

use super::{FINE, said, same, with};

/// Classes c1, c2..., each falling back to the one before it, without a line of their own.
fn chain(count: usize) -> String {
    let mut text = String::new();
    for number in 1..=count {
        let before = if number == 1 { "block".to_owned() } else { format!("c{}", number - 1) };
        let _ = write!(text, "[[class]]\nname = \"c{number}\"\nfallback = \"{before}\"\n");
    }
    text
}

/// The fine config whose tunnel carries the chain as well.
fn carrying(count: usize) -> String {
    let names: Vec<String> = (1..=count).map(|number| format!("\"c{number}\"")).collect();
    let fine = FINE.replacen("[\"voice\", \"default\"]", &format!("[\"voice\", \"default\", {}]", names.join(", ")), 1);
    fine + &chain(count)
}

#[test]
fn a_chain_of_fallbacks_that_is_too_long() {
    same(&said(&carrying(8)), "");
    same(
        &said(&carrying(9)),
        r#"
gw.toml:40:12: error: class "c9": its chain of fallbacks has 9 classes that tunnel "branch-7" carries, 8 at most: c9 -> c8 -> c7 -> c6 -> c5 -> c4 -> c3 -> c2 -> c1
    end the chain with fallback = "block" at an earlier class, or carry fewer of them
"#,
    );
}

/// What a tunnel does not carry is no hop of its own.
#[test]
fn a_long_chain_that_no_tunnel_carries_whole_is_fine() {
    same(&with(&chain(20)), "");
}

#[test]
fn more_classes_than_the_data_path_holds() {
    same(&with(&chain(62)), "");
    same(
        &with(&chain(64)),
        r#"
gw.toml:200:1: error: class "c63": classes: 66 are more than the 64 that the data path holds
    take fewer classes
"#,
    );
}

#[test]
fn more_tenants_than_the_data_path_holds() {
    let mut text = String::new();
    for number in 1..=16384 {
        let _ = write!(text, "[[tenant]]\nname = \"t{number}\"\ninterfaces = \"lan{number}\"\n");
    }
    same(
        &with(&text),
        r#"
gw.toml:49163:1: error: tenant "t16384": tenants: 16384 are more than the 16383 that the data path holds
    take fewer tenants
"#,
    );
}

/// `count` further tunnels with 64 lanes each, of six lines.
fn tunnels(count: usize) -> String {
    let mut text = FINE.replace("name = \"voice\"", "name = \"voice\"\nlanes = 32");
    text = text.replace("name = \"default\"\n[[tunnel]]", "name = \"default\"\nlanes = 32\n[[tunnel]]");
    for number in 1..=count {
        let (high, low) = (number / 200, number % 200 + 1);
        let _ = write!(
            text,
            "[[tunnel]]\nname = \"t{number}\"\nlocal = \"192.0.2.1\"\nremote = \"198.51.{high}.{low}\"\n\
             classes = [\"voice\", \"default\"]\ndevice = {{ type = \"xfrm\", name = \"lk-{number}\", if-id = {} }}\n\
             ike = {{ auth = {{ psk-file = \"x\" }} }}\n",
            number + 1000
        );
    }
    text
}

#[test]
fn more_lanes_than_the_data_path_holds() {
    same(&said(&tunnels(127)), "");
    same(
        &said(&tunnels(130)),
        r#"
gw.toml:905:1: error: tunnel "t128": lanes of all tunnels: 8384 are more than the 8192 that the data path holds
    take fewer tunnels, classes or lanes
"#,
    );
}
