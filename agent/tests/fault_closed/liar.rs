//! In charon's place on its socket: whoever connects is told nonsense, half the truth, nothing, or what is not so.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lanekeeper::vici::{Frames, Message, Packet};

pub struct Liar {
    stop: Arc<AtomicBool>,
    told: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

/// How to answer, in turn.
#[derive(Clone, Copy)]
enum Lie {
    /// Bytes that are no packet.
    Nonsense,
    /// Half of what was asked for, and then nobody is there.
    Truncated,
    /// Nothing.
    Silence,
    /// A packet that is no answer.
    OtherKind,
    /// It has no connections, and no SAs.
    Nothing,
}

const LIES: [Lie; 5] = [Lie::Nothing, Lie::Nonsense, Lie::Truncated, Lie::OtherKind, Lie::Silence];

impl Liar {
    /// In the place of whatever socket is there.
    pub fn start(socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, told) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (until, counted) = (Arc::clone(&stop), Arc::clone(&told));
        let listening = thread::spawn(move || {
            let mut lies = LIES.into_iter().cycle();
            while !until.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (lie, counted) = (lies.next().unwrap(), Arc::clone(&counted));
                        thread::spawn(move || answer(stream, lie, &counted));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        Self { stop, told, listening }
    }

    /// Ends; how many lies it has told.
    pub fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.listening.join().unwrap();
        self.told.load(Ordering::SeqCst)
    }
}

/// Until the other end has enough of it.
fn answer(mut stream: UnixStream, lie: Lie, told: &AtomicUsize) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut frames, mut bytes) = (Frames::default(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        frames.push(&bytes[..count]);
        while let Ok(Some(packet)) = frames.next_packet() {
            told.fetch_add(1, Ordering::SeqCst);
            let right = match packet {
                Packet::Request { .. } => {
                    Packet::Response(Message::new().with("daemon", "charon").with("version", "5.9.8"))
                }
                _ => Packet::Confirm,
            };
            let right = right.encode().unwrap().to_vec();
            let said = match lie {
                Lie::Nothing => right,
                Lie::Nonsense => vec![0xff; 64],
                Lie::Truncated => right[..right.len() / 2].to_vec(),
                Lie::OtherKind => Packet::EventUnknown.encode().unwrap().to_vec(),
                Lie::Silence => Vec::new(),
            };
            if stream.write_all(&said).is_err() || matches!(lie, Lie::Truncated) {
                return;
            }
        }
    }
}
