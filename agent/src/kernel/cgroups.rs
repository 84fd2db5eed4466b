//! The hierarchy of cgroup2: where it is mounted, and the ids of the cgroups in it.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy(PathBuf);

impl Hierarchy {
    /// By this process's mounts; `None` where none is of it.
    pub fn find() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/self/mountinfo").ok()?)
    }

    /// The mount of its root, or else the first of a part of it (proc_pid_mountinfo(5)).
    fn of(mounts: &str) -> Option<Self> {
        let mounts = mounts.lines().filter_map(|line| {
            let (own, of) = line.split_once(" - ")?;
            let mut own = own.split(' ').skip(3);
            let (root, point) = (own.next()?, own.next()?);
            (of.split(' ').next() == Some("cgroup2")).then_some((root != "/", point))
        });
        let (_, point) = mounts.min_by_key(|(part, _)| *part)?;
        Some(Self(unescape(point)))
    }

    /// The folder of its root.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The id of the cgroup of that path: the number of its folder's inode (kernfs, on 64 bits). `None` where there is none.
    pub fn id(&self, path: &str) -> Option<u64> {
        fs::metadata(self.0.join(path.trim_start_matches('/')))
            .ok()
            .filter(fs::Metadata::is_dir)
            .map(|found| found.ino())
    }
}

/// Blanks and backslashes are written `\040`, in octal.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let octal = others.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: &str =
        "22 1 0:21 / /proc rw - proc proc rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";

    #[test]
    fn the_mount_of_the_root_is_found_among_others() {
        let of = |mounts: &str| Hierarchy::of(&format!("{OTHERS}{mounts}")).map(|found| found.0);
        assert_eq!(of(""), None);
        let one = "41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let part = "40 31 0:38 /a/b /mnt/a\\040part rw - cgroup2 none rw\n";
        assert_eq!(of(one), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(of(part), Some("/mnt/a part".into()));
        assert_eq!(of(&format!("{part}{one}")), of(one));
    }

    #[test]
    fn only_a_folder_has_an_id() {
        let hierarchy = Hierarchy(env!("CARGO_MANIFEST_DIR").into());
        assert_eq!(hierarchy.id("/"), Some(fs::metadata(env!("CARGO_MANIFEST_DIR")).unwrap().ino()));
        assert!(hierarchy.id("/src/kernel").is_some());
        assert_eq!((hierarchy.id("/Cargo.toml"), hierarchy.id("/nothing")), (None, None));
    }
}
