//! The loaded programs on this kernel, attached to nothing of the host's.

use lanekeeper::kernel::dataplane::Trial;

#[test]
fn the_object_loads() {
    Trial::new().unwrap_or_else(|error| panic!("{error}"));
}
