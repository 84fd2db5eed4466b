//! strongswan.conf: sections, values and included files, as far as single settings can be asked for.

use std::collections::BTreeMap;

/// All values, by their path: `charon.plugins.vici.socket`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The main file.
    pub file: Option<String>,
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Of that file, not yet read.
    pub fn of(file: &str) -> Self {
        Self { file: Some(file.to_owned()), values: BTreeMap::new() }
    }

    /// A value.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.values.get(path).map(String::as_str)
    }

    /// Whether a switch is on; `default` where the file does not say.
    pub fn is_on(&self, path: &str, default: bool) -> bool {
        match self.get(path) {
            Some("yes" | "true" | "enabled" | "1") => true,
            Some("no" | "false" | "disabled" | "0") => false,
            Some(_) | None => default,
        }
    }

    /// Reads a file's text. `include` gives the texts behind a pattern.
    pub fn read(&mut self, text: &str, include: &mut dyn FnMut(&str) -> Vec<String>) {
        self.within(&mut Vec::new(), text, include);
    }

    fn within(&mut self, path: &mut Vec<String>, text: &str, include: &mut dyn FnMut(&str) -> Vec<String>) {
        let depth = path.len();
        for line in text.lines() {
            self.line(path, line.split('#').next().unwrap_or_default(), include);
        }
        // An included file closes what it opens.
        path.truncate(depth);
    }

    fn line(&mut self, path: &mut Vec<String>, line: &str, include: &mut dyn FnMut(&str) -> Vec<String>) {
        let mut rest = line.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('}') {
                path.pop();
                rest = after.trim_start();
            } else if let Some(pattern) = rest.strip_prefix("include ") {
                for text in include(pattern.trim()) {
                    self.within(path, &text, include);
                }
                return;
            } else {
                let Some(at) = rest.find(['{', '=', '}']) else { return };
                let (name, after) = (rest[..at].trim().to_owned(), &rest[at + 1..]);
                if rest[at..].starts_with('=') {
                    let end = after.find('}').unwrap_or(after.len());
                    let value = after[..end].trim().trim_matches('"').to_owned();
                    path.push(name);
                    self.values.insert(path.join("."), value);
                    path.pop();
                    rest = after[end..].trim_start();
                } else if rest[at..].starts_with('{') {
                    path.push(name);
                    rest = after.trim_start();
                } else {
                    rest = &rest[at..];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_path_through_included_files() {
        let main = "# a remark {\ncharon {\n  load_modular = yes\n  plugins {\n    include strongswan.d/charon/*.conf\n  }\n\
                    install_routes = no # not ours\n}\ninclude strongswan.d/*.conf\n";
        let mut settings = Settings::default();
        settings.read(main, &mut |pattern| match pattern {
            "strongswan.d/charon/*.conf" => vec!["kernel-netlink {\n  install_routes_xfrmi = yes\n}\n".to_owned()],
            "strongswan.d/*.conf" => vec!["charon { port = 500 }\ncharon { filelog { a = \"b c\" } }".to_owned()],
            other => panic!("{other}"),
        });
        assert_eq!(settings.get("charon.plugins.kernel-netlink.install_routes_xfrmi"), Some("yes"));
        assert_eq!((settings.get("charon.port"), settings.get("charon.filelog.a")), (Some("500"), Some("b c")));
        assert!(!settings.is_on("charon.install_routes", true));
        assert!(settings.is_on("charon.load_modular", false) && settings.is_on("charon.nothing", true));
    }
}
