//! The asking end: blocking, for a command that does nothing else meanwhile.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Error, REPLY_LIMIT, REQUEST_LIMIT, Reply, Request, within};

/// A reload reads back all that it applied; a charon that hangs is given up on earlier by the agent itself.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks the agent behind `socket`; its answers come line by line.
pub fn open(socket: &Path, request: &Request) -> Result<UnixStream, Error> {
    let question = request.encode();
    within(&question, REQUEST_LIMIT)?;
    let mut stream = connect(socket)?;
    // Whoever is turned away is told so unasked.
    let _ = stream.write_all(&question);
    Ok(stream)
}

fn connect(socket: &Path) -> Result<UnixStream, Error> {
    UnixStream::connect(socket).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Denied { socket: socket.into(), source },
        _ => Error::Absent { socket: socket.into(), source },
    })
}

/// Asks the agent behind `socket` and waits for its answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply, Error> {
    ask_within(socket, request, PATIENCE)
}

/// The same, for so long.
pub fn ask_within(socket: &Path, request: &Request, patience: Duration) -> Result<Reply, Error> {
    let io = |what| move |source| Error::Io { socket: socket.into(), what, source };
    let question = request.encode();
    within(&question, REQUEST_LIMIT)?;
    let mut stream = connect(socket)?;
    stream.set_read_timeout(Some(patience)).map_err(io("set a timeout"))?;
    stream.set_write_timeout(Some(patience)).map_err(io("set a timeout"))?;
    // Whoever is turned away is told so unasked: then the answer is there, though nobody took the question.
    let asked = stream.write_all(&question);
    let mut line = Vec::new();
    let read = BufReader::new(stream.take(REPLY_LIMIT as u64 + 1)).read_until(b'\n', &mut line);
    if line.ends_with(b"\n") {
        return Reply::decode(&line);
    }
    asked.map_err(io("ask"))?;
    read.map_err(io("read the answer"))?;
    match line.is_empty() {
        true => Err(io("read the answer")(io::ErrorKind::UnexpectedEof.into())),
        false => Reply::decode(&line),
    }
}

/// Whether an agent listens behind `socket`.
pub fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}
