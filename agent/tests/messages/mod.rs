//! Whether a test of messages has every variant of an enum.

use std::collections::BTreeSet;
use std::fmt::Debug;

/// The names of these variants, as `Debug` begins.
pub fn variants<T: Debug>(values: &[T]) -> BTreeSet<String> {
    let name = |value| format!("{value:?}").chars().take_while(char::is_ascii_alphanumeric).collect();
    values.iter().map(name).collect()
}

/// Every variant that the source of an enum declares.
pub fn declared(source: &str, name: &str) -> BTreeSet<String> {
    let body = source.split(&format!("pub enum {name} {{")).nth(1).expect("the enum");
    let body = body.split("\n}\n").next().expect("its end");
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let heads = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    heads.map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect()).collect()
}
