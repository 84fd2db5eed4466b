//! Why an initiation failed, from the lines that charon logs meanwhile, and what to do about it.

/// What charon said, what it means, and the cure.
struct Sign {
    /// Part of charon's line.
    says: &'static str,
    /// For the operator.
    means: &'static str,
}

/// The first that is found in the log counts, so the more telling stand first.
const SIGNS: [Sign; 14] = [
    Sign {
        says: "no shared key found",
        means: "charon has no pre-shared key for these identities: compare `local-id` and `remote-id` with the peer's",
    },
    Sign {
        says: "no private key found",
        means: "charon has no private key that fits the certificate: compare `certificate` and `key`, and that `local-id` is one of the certificate's names",
    },
    Sign {
        says: "no trusted",
        means: "the peer's certificate is not signed by `ca`, or does not carry `remote-id` as subject or subjectAltName",
    },
    Sign { says: "MAC mismatched", means: "the pre-shared keys differ: compare `psk-file` on both ends" },
    Sign {
        says: "AUTHENTICATION_FAILED",
        means: "the peer refuses our identity: compare the pre-shared key (or the certificate and its CA), `local-id` and `remote-id` on both ends; the peer's log says which",
    },
    Sign {
        says: "constraint check",
        means: "the peer's identity or certificate is not what `remote-id` and `ca` ask for: compare both ends",
    },
    Sign {
        says: "NO_PROPOSAL_CHOSEN",
        means: "the two ends share no proposal: compare `proposals` and `esp-proposals` on both ends, and that the peer has a connection for these addresses",
    },
    Sign {
        says: "TS_UNACCEPTABLE",
        means: "the peer has no child with this label and these selectors: give both ends the same classes, lanes and selectors, and strongSwan 5.9.6 or newer (for labels)",
    },
    Sign {
        says: "unable to allocate SPIs",
        means: "the kernel gives charon no SPI: it needs ESP and XFRM (`modprobe esp4 esp6 xfrm_user`)",
    },
    Sign {
        says: "unable to install",
        means: "the kernel refuses the SA: it needs ESP and XFRM (`modprobe esp4 esp6 xfrm_user`); `lanekeeper doctor` looks further",
    },
    Sign { says: "not establishing CHILD_SA", means: "charon has this CHILD_SA already" },
    Sign { says: "unable to resolve", means: "charon finds no address for the peer: compare `remote`" },
    Sign {
        says: "giving up after",
        means: "the peer does not answer: is it up, does charon run there, does a firewall drop UDP 500 and 4500?",
    },
    Sign {
        says: "retransmit ",
        means: "the peer does not answer yet: is it up, does charon run there, does a firewall drop UDP 500 and 4500?",
    },
];

/// The reason for `refusal` (charon's answer to `initiate`), from its log lines.
pub fn explain(child: &str, refusal: &str, log: &[String]) -> String {
    let found = SIGNS.iter().find_map(|sign| {
        let line = log.iter().rev().find(|line| line.contains(sign.says))?;
        Some((line, sign.means))
    });
    match (found, log.last()) {
        (Some((line, means)), _) => format!("initiating {child}: charon says \"{line}\": {means}"),
        (None, Some(last)) => format!("initiating {child}: {refusal}; charon's last word is \"{last}\", see its log"),
        (None, None) => format!("initiating {child}: {refusal}; see charon's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    /// Logged by charon 5.9.8 with a wrong key on one end.
    #[test]
    fn a_wrong_key_names_the_key_and_the_identities() {
        let log = lines(&["initiating IKE_SA lk-t[2] to 192.0.2.2", "received AUTHENTICATION_FAILED notify error"]);
        let text = explain("voice.0", "establishing CHILD_SA 'voice.0' failed", &log);
        assert!(text.contains("AUTHENTICATION_FAILED") && text.contains("pre-shared key"), "{text}");
    }

    /// Logged by charon 5.9.8 where the peer knows no such label.
    #[test]
    fn an_unknown_label_names_classes_and_lanes() {
        let log = lines(&[
            "received TS_UNACCEPTABLE notify, no CHILD_SA built",
            "failed to establish CHILD_SA, keeping IKE_SA",
        ]);
        let text = explain("voice.0", "establishing CHILD_SA 'voice.0' failed", &log);
        assert!(text.contains("same classes, lanes and selectors"), "{text}");
    }

    #[test]
    fn a_silent_peer_is_named_so() {
        let log = lines(&["initiating IKE_SA lk-t[2] to 192.0.2.2", "retransmit 1 of request with message ID 0"]);
        let text = explain("voice.0", "CHILD_SA 'voice.0' not established after 6000ms", &log);
        assert!(text.contains("does not answer yet"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_quoted() {
        let text = explain("voice.0", "establishing CHILD_SA 'voice.0' failed", &lines(&["the moon is full"]));
        assert!(text.contains("the moon is full") && text.contains("failed"), "{text}");
        assert!(explain("voice.0", "no", &[]).contains("see charon's log"));
    }

    #[test]
    fn every_sign_has_a_meaning_of_its_own() {
        for (at, sign) in SIGNS.iter().enumerate() {
            assert!(!sign.means.is_empty() && !sign.means.ends_with('.'), "{}", sign.says);
            assert!(SIGNS[..at].iter().all(|other| other.says != sign.says));
        }
    }
}
