//! systemd-networkd, which deletes routes and rules that it did not make.

use super::Finding;

/// What its files say; its own default is yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networkd {
    /// ManageForeignRoutes=.
    pub routes: bool,
    /// ManageForeignRoutingPolicyRules=.
    pub rules: bool,
}

impl Networkd {
    /// Of its main file and its drop-ins, in the order in which they count: the last wins.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a str>) -> Self {
        let mut networkd = Self { routes: true, rules: true };
        for text in files {
            let mut section = "";
            for line in text.lines().map(str::trim) {
                if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                    section = name;
                }
                let Some((key, value)) = line.split_once('=').filter(|_| section == "Network") else { continue };
                // Words of systemd's; another leaves what was.
                let said = match value.trim().to_ascii_lowercase().as_str() {
                    "yes" | "true" | "on" | "1" | "y" | "t" => true,
                    "no" | "false" | "off" | "0" | "n" | "f" => false,
                    _ => continue,
                };
                match key.trim() {
                    "ManageForeignRoutes" => networkd.routes = said,
                    "ManageForeignRoutingPolicyRules" => networkd.rules = said,
                    _ => {}
                }
            }
        }
        networkd
    }
}

/// Where it runs and does so.
pub fn findings(networkd: Option<&Networkd>) -> Vec<Finding> {
    let Some(networkd) = networkd else { return Vec::new() };
    let each = [
        (networkd.routes, "ManageForeignRoutes", "routes"),
        (networkd.rules, "ManageForeignRoutingPolicyRules", "rules"),
    ];
    let on: Vec<_> = each.into_iter().filter(|(on, _, _)| *on).collect();
    if on.is_empty() {
        return Vec::new();
    }
    let objects = on.iter().map(|(_, _, objects)| *objects).collect::<Vec<_>>().join(" and ");
    let problem =
        format!("systemd-networkd runs, and deletes {objects} that it did not make whenever it starts or reloads");
    let lines: String = on.iter().map(|(_, key, _)| format!("{key}=no\\n")).collect();
    let cure = format!(
        "mkdir -p /etc/systemd/networkd.conf.d && printf '[Network]\\n{lines}' > /etc/systemd/networkd.conf.d/lanekeeper.conf && \
         systemctl restart systemd-networkd"
    );
    vec![Finding::run("networkd", problem, cure)]
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;

    #[test]
    fn the_last_file_that_says_it_wins() {
        assert_eq!(Networkd::of([]), Networkd { routes: true, rules: true });
        let main = "# ManageForeignRoutes=no\n[Network]\nManageForeignRoutes = no\n[DHCPv4]\nManageForeignRoutingPolicyRules=no\n";
        assert_eq!(Networkd::of([main]), Networkd { routes: false, rules: true });
        assert_eq!(
            Networkd::of([main, "[Network]\nManageForeignRoutes=yes\n"]),
            Networkd { routes: true, rules: true }
        );
    }

    #[test]
    fn what_it_manages_of_others_is_said_once() {
        assert_eq!(findings(None), []);
        assert_eq!(findings(Some(&Networkd { routes: false, rules: false })), []);
        assert_eq!(
            said(&findings(Some(&Networkd { routes: true, rules: true }))),
            [
                "systemd-networkd runs, and deletes routes and rules that it did not make whenever it starts or reloads -> mkdir -p \
              /etc/systemd/networkd.conf.d && printf '[Network]\\nManageForeignRoutes=no\\nManageForeignRoutingPolicyRules=no\\n' > \
              /etc/systemd/networkd.conf.d/lanekeeper.conf && systemctl restart systemd-networkd"
            ]
        );
    }
}
