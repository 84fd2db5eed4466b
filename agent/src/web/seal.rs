//! Tells whether a password is one that was seen before, without keeping it.

use ring::hmac::{HMAC_SHA256, Key, sign, verify};
use ring::rand::SystemRandom;

/// Seals under a key that nobody else has and that ends with it: what is kept tells nobody the password.
pub struct Sealer(Key);

impl Default for Sealer {
    fn default() -> Self {
        Self(Key::generate(HMAC_SHA256, &SystemRandom::new()).expect("the kernel gives random bytes"))
    }
}

impl Sealer {
    /// What to keep of it.
    pub fn seal(&self, secret: &[u8]) -> Vec<u8> {
        sign(&self.0, secret).as_ref().to_vec()
    }

    /// Whether the seal is of this secret; takes as long whichever byte differs.
    pub fn holds(&self, secret: &[u8], seal: &[u8]) -> bool {
        verify(&self.0, secret, seal).is_ok()
    }
}
