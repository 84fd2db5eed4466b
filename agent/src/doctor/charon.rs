//! charon: whether it is there, new enough, and leaves the kernel's objects to those who want them.

use super::settings::Settings;
use super::{Finding, Scope};

const CHECK: &str = "charon";

/// What is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Charon {
    /// Why it does not answer, or is too old, with the cure.
    pub trouble: Option<String>,
    /// Plugins that it has loaded.
    pub plugins: Vec<String>,
    /// Its strongswan.conf, where that could be read.
    pub settings: Option<Settings>,
    /// VTI devices of the box.
    pub vti: Vec<String>,
}

/// Only for tunnels that charon keys, or for what it does by itself.
pub fn findings(charon: Option<&Charon>, scope: &Scope) -> Vec<Finding> {
    let Some(charon) = charon else { return Vec::new() };
    let mut findings = Vec::new();
    if let Some(trouble) = charon.trouble.as_ref().filter(|_| scope.tunnels.iter().any(|tunnel| tunnel.by_charon)) {
        findings.push(Finding::advise(
            CHECK,
            "no lane can come up: charon does not answer as it must".to_owned(),
            trouble.clone(),
        ));
    }
    let has = |plugin: &str| charon.plugins.iter().any(|loaded| loaded == plugin);
    let without = |plugin: &str| {
        format!("set load = no in section charon.plugins.{plugin} of strongswan.conf and restart charon")
    };
    let (by_tun, others): (Vec<_>, Vec<_>) =
        scope.tunnels.iter().filter(|tunnel| tunnel.by_charon).partition(|tunnel| tunnel.by_tun);
    if has("kernel-libipsec") && (by_tun.is_empty() || !others.is_empty()) {
        let problem =
            "charon encrypts by itself (kernel-libipsec): its SAs are not in the kernel, and no lane finds one"
                .to_owned();
        findings.push(Finding::advise(CHECK, problem, without("kernel-libipsec")));
    }
    if let Some(tunnel) = by_tun.first().filter(|_| !charon.plugins.is_empty() && !has("kernel-libipsec")) {
        let problem = format!(
            "tunnel \"{}\" goes by charon's TUN device, and charon has not loaded the plugin that makes it (kernel-libipsec)",
            tunnel.name
        );
        let cure =
            "load it before kernel-netlink, with charon.load or load_modular of strongswan.conf, and restart charon";
        findings.push(Finding::advise(CHECK, problem, cure.to_owned()));
    }
    if has("connmark") && !charon.vti.is_empty() {
        let problem = format!(
            "charon's connmark plugin restores marks of connections, beside VTI {}: what VTI has marked goes astray",
            charon.vti.join(", ")
        );
        findings.push(Finding::advise(CHECK, problem, without("connmark")));
    }
    if let Some(settings) = &charon.settings {
        findings.extend(routes(settings));
        findings.extend(virtual_ips(settings, scope));
        findings.extend(outer_mark(settings, scope));
    }
    findings
}

/// Routes for CHILD_SAs with an if_id, from 5.9.10 on where they are wished for.
fn routes(settings: &Settings) -> Option<Finding> {
    let wished = settings.is_on("charon.plugins.kernel-netlink.install_routes_xfrmi", false)
        && settings.is_on("charon.install_routes", true);
    wished.then(|| {
        let problem = "charon installs routes of its own for XFRM interfaces (install_routes_xfrmi): they go before ours, and come \
                       and go with the SAs"
            .to_owned();
        let file = settings.file.as_deref().unwrap_or("strongswan.conf");
        let cure = format!("set install_routes_xfrmi = no in section charon.plugins.kernel-netlink of {file} and restart charon");
        Finding::advise(CHECK, problem, cure)
    })
}

/// It gives virtual IPs to a device of its own choice, unless it is told not to.
fn virtual_ips(settings: &Settings, scope: &Scope) -> Option<Finding> {
    let device = &scope.tunnels.iter().find(|tunnel| tunnel.virtual_ips)?.device;
    // There they are where they should be, and taken for what they are: charon's.
    let on_device = settings.get("charon.install_virtual_ip_on") == Some(device);
    let installs = settings.is_on("charon.install_virtual_ip", true) && !on_device;
    installs.then(|| {
        let problem = format!(
            "charon gives virtual IPs to a device of its own choice (install_virtual_ip), and {device} has them too: which of \
             the two answers for them is chance"
        );
        let file = settings.file.as_deref().unwrap_or("strongswan.conf");
        let cure = format!("set install_virtual_ip = no in section charon of {file} and restart charon");
        Finding::advise(CHECK, problem, cure)
    })
}

/// Without their mark the packets of IKE are asked for routes around peers like any others.
fn outer_mark(settings: &Settings, scope: &Scope) -> Option<Finding> {
    const SETTING: &str = "charon.plugins.socket-default.fwmark";
    let outer = scope.outer;
    let marks = settings.get(SETTING).map(|text| text.split('/').next().unwrap_or_default().trim());
    let value = marks.and_then(|text| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    });
    (value.unwrap_or(0) & outer != outer).then(|| {
        let problem = format!(
            "IKE packets leave without the mark that [mark] outer names, {outer:#x}: those to a peer that has moved, or that comes from \
             anywhere, are routed into tunnels"
        );
        let file = settings.file.as_deref().unwrap_or("strongswan.conf");
        let cure =
            format!("set fwmark = {outer:#x} in section charon.plugins.socket-default of {file} and restart charon");
        Finding::advise(CHECK, problem, cure)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{said, scope};
    use super::*;

    #[test]
    fn what_keeps_lanes_down_is_said() {
        let mut settings = Settings::of("/etc/strongswan.conf");
        settings.read("charon { plugins { kernel-netlink { install_routes_xfrmi = yes } } }", &mut |_| Vec::new());
        let charon = Charon {
            trouble: Some("charon is not at /run/x: start it".into()),
            plugins: ["vici", "connmark", "kernel-libipsec"].map(str::to_owned).into(),
            settings: Some(settings),
            vti: vec!["vti1".into()],
        };
        assert_eq!(
            said(&findings(Some(&charon), &scope())),
            [
                "no lane can come up: charon does not answer as it must -> charon is not at /run/x: start it",
                "charon encrypts by itself (kernel-libipsec): its SAs are not in the kernel, and no lane finds one -> set load = no \
                 in section charon.plugins.kernel-libipsec of strongswan.conf and restart charon",
                "charon's connmark plugin restores marks of connections, beside VTI vti1: what VTI has marked goes astray -> set \
                 load = no in section charon.plugins.connmark of strongswan.conf and restart charon",
                "charon installs routes of its own for XFRM interfaces (install_routes_xfrmi): they go before ours, and come and \
                 go with the SAs -> set install_routes_xfrmi = no in section charon.plugins.kernel-netlink of \
                 /etc/strongswan.conf and restart charon",
            ]
        );
    }

    #[test]
    fn a_tun_device_takes_kernel_libipsec_and_all_others_take_the_kernel() {
        let mut scope = scope();
        let with = |plugins: &[&str]| Charon {
            plugins: plugins.iter().map(|plugin| (*plugin).to_owned()).collect(),
            ..Charon::default()
        };
        let found = |scope: &Scope, plugins: &[&str]| said(&findings(Some(&with(plugins)), scope));
        scope.tunnels.truncate(1);
        (scope.tunnels[0].by_charon, scope.tunnels[0].by_tun) = (true, true);
        assert_eq!(found(&scope, &["vici", "kernel-libipsec"]), [""; 0]);
        assert_eq!(
            found(&scope, &["vici"]),
            ["tunnel \"b7\" goes by charon's TUN device, and charon has not loaded the plugin that makes it \
              (kernel-libipsec) -> load it before kernel-netlink, with charon.load or load_modular of strongswan.conf, and \
              restart charon"]
        );
        let mut kernels = scope.tunnels[0].clone();
        kernels.by_tun = false;
        scope.tunnels.push(kernels);
        assert_eq!(found(&scope, &["vici", "kernel-libipsec"]).len(), 1);
    }

    #[test]
    fn virtual_ips_belong_to_one_of_the_two() {
        let mut scope = scope();
        let charon = |text: &str| {
            let mut settings = Settings::of("/etc/strongswan.conf");
            settings.read(text, &mut |_| Vec::new());
            Charon { settings: Some(settings), ..Charon::default() }
        };
        let said = |text: &str, scope: &Scope| said(&findings(Some(&charon(text)), scope));
        assert_eq!(said("", &scope), [] as [&str; 0]);
        scope.tunnels[0].virtual_ips = true;
        assert_eq!(
            said("charon { install_virtual_ip = yes }", &scope),
            [
                "charon gives virtual IPs to a device of its own choice (install_virtual_ip), and lk-b7 has them too: which of the two \
              answers for them is chance -> set install_virtual_ip = no in section charon of /etc/strongswan.conf and restart \
              charon"
            ]
        );
        // It is on by default.
        assert_eq!(said("", &scope).len(), 1);
        for fine in ["install_virtual_ip = no", "install_virtual_ip_on = lk-b7"] {
            assert_eq!(said(&format!("charon {{ {fine} }}"), &scope), [] as [&str; 0]);
        }
    }

    #[test]
    fn ike_has_the_mark_that_the_file_names() {
        let with = |outer, text: &str| {
            let mut settings = Settings::of("/etc/strongswan.conf");
            settings.read(text, &mut |_| Vec::new());
            said(&findings(
                Some(&Charon { settings: Some(settings), ..Charon::default() }),
                &Scope { outer, ..scope() },
            ))
        };
        let fwmark = |value: &str| format!("charon {{ plugins {{ socket-default {{ fwmark = {value} }} }} }}");
        assert_eq!(with(0, ""), [""; 0]);
        for fine in ["0x2000", "8192", "0x2000/0x2000", "0x3000"] {
            assert_eq!(with(0x2000, &fwmark(fine)), [""; 0]);
        }
        assert_eq!(
            with(0x2000, ""),
            [
                "IKE packets leave without the mark that [mark] outer names, 0x2000: those to a peer that has moved, or that comes from \
              anywhere, are routed into tunnels -> set fwmark = 0x2000 in section charon.plugins.socket-default of \
              /etc/strongswan.conf and restart charon"
            ]
        );
        assert_eq!(with(0x3000, &fwmark("0x2000")).len(), 1);
    }

    #[test]
    fn connmark_alone_is_fine_and_so_is_a_silent_charon_that_nobody_needs() {
        let charon = Charon { trouble: Some("x".into()), plugins: vec!["connmark".into()], ..Charon::default() };
        assert_eq!(findings(Some(&charon), &Scope::default()), []);
    }
}
