//! Names and the bcrypt hashes of their passwords.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::seal::Sealer;

/// Who may ask. Shown nowhere.
#[derive(Default)]
pub struct Users {
    hashes: BTreeMap<String, String>,
    sealer: Sealer,
    /// Of each user the password that was found right last, sealed: the next scrape costs no bcrypt.
    known: Mutex<BTreeMap<String, Vec<u8>>>,
}

/// What a caller calls itself. Shown nowhere, and wiped.
pub struct Credentials {
    /// Before the first colon.
    pub name: String,
    /// All behind it.
    pub password: Zeroizing<Vec<u8>>,
}

impl Users {
    /// By their names; each hash is one that bcrypt reads.
    pub fn new(hashes: BTreeMap<String, String>) -> Self {
        Self { hashes, ..Self::default() }
    }

    /// Whether anybody may ask.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether these were right the last time that bcrypt was asked. Takes microseconds.
    pub fn remember(&self, who: &Credentials) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&who.name).is_some_and(|seal| self.sealer.holds(&who.password, seal))
    }

    /// Asks bcrypt, which takes as long as the hash's cost says. As long for a name that nobody has.
    pub fn check(&self, who: &Credentials) -> bool {
        let hash = self.hashes.get(&who.name);
        let Some(asked) = hash.or_else(|| self.hashes.values().next()) else { return false };
        let right = bcrypt::verify(&*who.password, asked).unwrap_or(false) && hash.is_some();
        if right {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(who.name.clone(), self.sealer.seal(&who.password));
        }
        right
    }
}

impl Credentials {
    /// Those of a request (RFC 7617), if it has any that can be read.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = Zeroizing::new(STANDARD.decode(rest.trim()).ok()?);
        let colon = text.iter().position(|&byte| byte == b':')?;
        let name = std::str::from_utf8(&text[..colon]).ok()?.to_owned();
        Some(Self { name, password: Zeroizing::new(text[colon + 1..].to_vec()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> Option<(String, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        Credentials::of(&headers).map(|who| (who.name, who.password.to_vec()))
    }

    fn who(name: &str, password: &str) -> Credentials {
        Credentials { name: name.into(), password: Zeroizing::new(password.into()) }
    }

    fn users() -> Users {
        let hash = bcrypt::hash("right", 4).unwrap();
        Users::new([("scraper".to_owned(), hash)].into())
    }

    #[test]
    fn a_name_ends_at_the_first_colon() {
        let both = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(header(&both("a:b:c")), Some(("a".into(), b"b:c".to_vec())));
        assert_eq!(header(&both("a:")), Some(("a".into(), Vec::new())));
        assert_eq!(header(&both("a:b").replace("Basic", "bAsIc")), Some(("a".into(), b"b".to_vec())));
        for wrong in [both("no colon").as_str(), "Basic", "Basic !!", "Bearer YTpi", "YTpi"] {
            assert_eq!(header(wrong), None, "{wrong}");
        }
        assert!(Credentials::of(&HeaderMap::new()).is_none());
    }

    #[test]
    fn fault_only_the_right_password_of_the_right_user_is_right_and_remembered() {
        let users = users();
        for wrong in [who("scraper", "wrong"), who("scraper", ""), who("other", "right"), who("", "right")] {
            assert!(!users.check(&wrong) && !users.remember(&wrong), "{}", wrong.name);
        }
        assert!(!users.remember(&who("scraper", "right")));
        assert!(users.check(&who("scraper", "right")));
        assert!(users.remember(&who("scraper", "right")));
        // What is remembered of one is nobody else's, and no other password's.
        for wrong in [who("scraper", "wrong"), who("other", "right"), who("scraper", "righ"), who("scraper", "rightt")]
        {
            assert!(!users.remember(&wrong), "{}", wrong.name);
        }
        assert!(!Users::default().check(&who("scraper", "right")));
    }

    #[test]
    fn passwords_are_not_kept() {
        let users = users();
        assert!(users.check(&who("scraper", "right")));
        let known = users.known.lock().unwrap();
        assert!(known.values().all(|seal| !seal.windows(5).any(|part| part == b"right")));
    }
}
