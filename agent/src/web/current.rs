//! What a web-config file says now: read again when it, or a file that it names, has changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::load::files;
use super::{Web, load};
use crate::config::Errors;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Shared between connections.
pub struct Current(Mutex<State>);

struct State {
    file: Option<PathBuf>,
    web: Arc<Web>,
    seen: Vec<(PathBuf, Option<Stamp>)>,
    looked: Instant,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Current {
    /// Of this file, or of a listener that has none.
    pub fn read(file: Option<&Path>) -> Result<Self, Errors> {
        // The stamps first: what changes while it is read is read again.
        let seen = file.map(stamps).unwrap_or_default();
        let web = file.map(load).transpose()?.unwrap_or_default();
        let state = State { file: file.map(Path::to_owned), web: Arc::new(web), seen, looked: Instant::now() };
        Ok(Self(Mutex::new(state)))
    }

    /// Another one's file from now on.
    pub fn become_like(&self, other: Self) {
        let other = other.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = other;
    }

    /// Whether new connections are over TLS, as far as is known without a look.
    pub fn speaks_tls(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).web.tls.is_some()
    }

    /// What holds now. May read files, so it is for a thread that may block.
    pub fn web(&self) -> Arc<Web> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = state.file.clone() else { return Arc::clone(&state.web) };
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            let now = stamps(&file);
            if now != state.seen {
                state.seen = now;
                match load(&file) {
                    Ok(web) => {
                        tracing::info!(file = %file.display(), "read again for new connections");
                        state.web = Arc::new(web);
                    }
                    Err(errors) => tracing::error!("what was read before goes on for connections: {errors}"),
                }
            }
        }
        Arc::clone(&state.web)
    }
}

fn stamps(file: &Path) -> Vec<(PathBuf, Option<Stamp>)> {
    let stamp = |file: PathBuf| {
        let stamp = std::fs::metadata(&file).ok().as_ref().map(Stamp::of);
        (file, stamp)
    };
    files(file).into_iter().map(stamp).collect()
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self { file: (meta.dev(), meta.ino()), size: meta.size(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }
}
