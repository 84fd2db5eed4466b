//! Keys that nobody but their files, charon and the kernel may have, and where they turn up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Keys in each form that a program may print them in.
#[derive(Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// A key that is text.
    pub fn add_text(&mut self, key: &str) {
        self.0.push(key.to_lowercase());
        self.add_bytes(key.as_bytes());
    }

    /// A key that is bytes: as hexadecimal, with or without something between, and as Rust's `Debug` has them. Sixteen of
    /// them are enough to be no chance.
    pub fn add_bytes(&mut self, key: &[u8]) {
        let key = &key[..key.len().min(16)];
        let joined = |between: &str, form: fn(&u8) -> String| key.iter().map(form).collect::<Vec<_>>().join(between);
        let hex: fn(&u8) -> String = |byte| format!("{byte:02x}");
        self.0.extend(["", " ", ":"].map(|between| joined(between, hex)));
        self.0.push(joined(", ", |byte| byte.to_string()));
        // Whole groups, whose letters do not hang on what follows.
        self.0.push(STANDARD.encode(&key[..key.len() / 3 * 3]).to_lowercase());
    }

    /// The first line of `text` that has one, cut to what can be read.
    pub fn told_in(&self, text: &str) -> Option<String> {
        let text = text.to_lowercase();
        let line = text.lines().find(|line| self.0.iter().any(|key| line.contains(key)))?;
        Some(line.chars().take(300).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_each_form_and_nothing_else_is() {
        let mut secrets = Secrets::default();
        secrets.add_text("Moon and sun, and stars");
        secrets.add_bytes(&[0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        for told in [
            "psk = moon and sun, and stars!",
            "key: 4d6f6f6e20616e642073756e2c20616e64",
            "Vec [222, 173, 190, 239, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]",
            "0xDEADBEEF0102030405060708090A0B0C",
            "de ad be ef 01 02 03 04 05 06 07 08 09 0a 0b 0c",
            "TW9vbiBhbmQgc3VuLCBhb",
        ] {
            assert!(secrets.told_in(&format!("first\n{told}\nlast")).is_some(), "{told}");
        }
        assert_eq!(secrets.told_in("moon and stars\ndeadbeef\n222, 173"), None);
    }
}
