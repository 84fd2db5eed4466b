//! Paths of cgroups, as rules name them: absolute below the mount of the hierarchy, `/` for its root.

use lanekeeper_common::abi::NAME_BYTES;

/// Bytes of the longest path: the agent's registry keeps it beside a word and two zero bytes.
pub const LONGEST: usize = NAME_BYTES - "cgroup".len() - 2;

/// The names of it and of those above it, the root's left out.
pub fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

/// Whether it is `above`, or below that.
pub fn is_below(path: &str, above: &str) -> bool {
    let mut own = names(path);
    names(above).all(|name| own.next() == Some(name))
}

/// The one above it; `None` for the root.
pub fn above(path: &str) -> Option<&str> {
    let (above, name) = path.rsplit_once('/')?;
    match (above, name) {
        ("", "") => None,
        ("", _) => Some("/"),
        (above, _) => Some(above),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_by_whole_names() {
        for (path, above) in [("/", "/"), ("/a", "/"), ("/a/b", "/a"), ("/a/b", "/a/b")] {
            assert!(is_below(path, above), "{path} {above}");
        }
        for (path, above) in [("/", "/a"), ("/ab", "/a"), ("/a", "/a/b"), ("/b/a", "/a")] {
            assert!(!is_below(path, above), "{path} {above}");
        }
    }

    #[test]
    fn above_ends_at_the_root() {
        let all: Vec<&str> = std::iter::successors(Some("/a/b"), |path| above(path)).collect();
        assert_eq!(all, ["/a/b", "/a", "/"]);
    }
}
