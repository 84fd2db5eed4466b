//! Logs: to stderr, never with a key.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};

/// Targets that print whole netlink messages, keys included. Silenced for good: no level and no variable brings them back.
const SILENCED: [&str; 5] = ["netlink_proto", "netlink_packet", "netlink_sys", "rtnetlink", "xfrmnetlink"];

/// Which levels of which targets are logged; as tracing's `EnvFilter` takes it.
const VARIABLE: &str = "LANEKEEPER_LOG";

/// Starts logging. Records of the `log` crate are not taken up at all, which is how the netlink crates write theirs;
/// should one turn to `tracing`, the filter stops it.
pub fn start(default: &str) {
    let wanted = std::env::var(VARIABLE).unwrap_or_else(|_| default.to_owned());
    let (filter, mistake) = match EnvFilter::try_new(&wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(default), Some(error)),
    };
    // Under systemd the journal has the time already.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    let layer = if journal { layer.without_time().boxed() } else { layer.boxed() };
    let subscriber = tracing_subscriber::registry()
        .with(layer.with_filter(filter_fn(|meta| !silenced(meta.target()))).with_filter(filter));
    // Fails where a test has one already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    if let Some(error) = mistake {
        tracing::warn!(%error, "{VARIABLE}={wanted} is not understood; logging {default}");
    }
}

fn silenced(target: &str) -> bool {
    SILENCED.iter().any(|prefix| target.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_print_keys_are_silent() {
        for target in [
            "netlink_proto::connection",
            "netlink_packet_xfrm::sa",
            "netlink_packet_core",
            "rtnetlink",
            "xfrmnetlink::handle",
        ] {
            assert!(silenced(target), "{target}");
        }
        assert!(!silenced("lanekeeper::kernel::netlink"));
    }
}
