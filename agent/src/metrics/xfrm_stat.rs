//! /proc/net/xfrm_stat.

use std::io;
use std::path::Path;

/// The kernel's own file.
pub const FILE: &str = "/proc/net/xfrm_stat";

/// Name and count of each line; lines of another shape are left out.
pub fn parse(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            let (name, count) = line.split_once(char::is_whitespace)?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        })
        .collect()
}

/// What `file` says now; nothing where the kernel has no such file (built without CONFIG_XFRM_STATISTICS).
pub fn read(file: &Path) -> io::Result<Vec<(String, u64)>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_name_and_a_count() {
        let text = "XfrmInError             \t0\nXfrmInStateSeqError     \t2604\nodd\nXfrmX y\n";
        assert_eq!(parse(text), [("XfrmInError".into(), 0), ("XfrmInStateSeqError".into(), 2604)]);
    }

    #[test]
    fn a_kernel_without_the_file_has_no_lines() {
        assert_eq!(read(Path::new("/nonexistent")).unwrap(), []);
        // A folder is there, and nothing to read.
        read(Path::new("/proc")).unwrap_err();
    }
}
