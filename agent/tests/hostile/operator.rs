//! The two ends of the control socket.

use lanekeeper::control::access::{Access, permit};
use lanekeeper::control::{Reply, Request};

/// Any uid but root's and the agent's.
const STRANGER: u32 = 1234;

/// Bytes are a line to the agent and one from it: what is understood is said again in the same way, and a stranger may ask for
/// what shows counters alone.
pub fn control(bytes: &[u8]) {
    match Request::decode(bytes) {
        Ok(request) => {
            assert_eq!(Request::decode(&request.encode()).unwrap(), request);
            assert!(permit(&request, 0, STRANGER + 1).is_ok());
            let reads = request.access() == Access::Read;
            assert_eq!(permit(&request, STRANGER, STRANGER + 1).is_ok(), reads, "{request:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(reply) = Reply::decode(bytes) {
        let line = reply.encode();
        assert_eq!(Reply::decode(&line).unwrap().encode(), line);
    }
}
