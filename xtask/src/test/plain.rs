//! What tests without privilege run in: somebody who owns no file, has no capability and reaches nobody.
//!
//! Where the other tests run as root, what needs a capability that it should not need would pass unseen.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Who owns no file (`nobody` of Linux).
const USER: &str = "65534";

/// Runs the program that is added to it as arguments so, in namespaces that end with it. Root may ask for it.
pub fn plain(root: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "sh", "-ec", include_str!("plain.sh"), "sh"]);
    command.arg(root).arg(closed(root).unwrap_or(Path::new(""))).arg(USER);
    command
}

/// The first folder on the way to `path` that not everybody may enter.
fn closed(path: &Path) -> Option<&Path> {
    let open = |folder: &Path| fs::metadata(folder).is_ok_and(|said| said.permissions().mode() & 0o001 != 0);
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.into_iter().rev().find(|folder| !open(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_may_not_enter_is_found() {
        let folder = std::env::temp_dir().join(format!("lk-plain-{}", std::process::id()));
        let tree = folder.join("closed/open/tree");
        fs::create_dir_all(&tree).unwrap();
        let set = |name: &str, mode| fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        ["", "closed", "closed/open", "closed/open/tree"].into_iter().for_each(|name| set(name, 0o711));
        assert_eq!(closed(&tree), None);
        set("closed/open/tree", 0o700);
        assert_eq!(closed(&tree), None, "the tree is what it is");
        set("closed", 0o750);
        assert_eq!(closed(&tree), Some(folder.join("closed").as_path()));
        fs::remove_dir_all(&folder).unwrap();
    }
}
