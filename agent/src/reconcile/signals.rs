//! Signals of whoever runs us.

use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Error;

/// From when this is made until it is dropped and after, none of them ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    /// Read the file again; or a terminal that is gone.
    pub hangup: Signal,
    /// End.
    pub terminate: Signal,
    /// End, from a terminal.
    pub interrupt: Signal,
}

impl Signals {
    /// Takes them.
    pub fn new() -> Result<Self, Error> {
        let take = |kind| {
            let path = PathBuf::from("signals");
            signal(kind).map_err(|source| Error::Io { path, what: "take them", source })
        };
        Ok(Self {
            hangup: take(SignalKind::hangup())?,
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    /// Waits to be told to end; a word that came before this was called counts.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::{Signal as Number, raise};

    use super::*;

    #[tokio::test]
    async fn a_word_that_came_before_it_was_waited_for_counts() {
        let mut signals = Signals::new().unwrap();
        raise(Number::SIGTERM).unwrap();
        tokio::time::timeout(Duration::from_secs(5), signals.end()).await.unwrap();
    }
}
